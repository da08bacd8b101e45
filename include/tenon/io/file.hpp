// Files for the readers and writers of formats: a whole file as memory, and a file that appears whole or not at all.
#pragma once

#include <tenon/base/error.hpp>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>

namespace tenon::io::detail {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "tenon: the file formats are written for little-endian machines");

// A file descriptor that closes itself.
class Descriptor {
public:
    explicit Descriptor(int number = -1) noexcept : number_(number) {}
    Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
    Descriptor& operator=(Descriptor&& other) noexcept {
        std::swap(number_, other.number_);
        return *this;
    }
    ~Descriptor() {
        if (number_ >= 0) ::close(number_);
    }
    int get() const { return number_; }
    int release() { return std::exchange(number_, -1); }

private:
    int number_;
};

// The bytes of a file. A regular file is mapped, copy-on-write: writing into the bytes changes neither the file nor what
// other readers of it see, and pages that nobody looks at are never read. (Replacing the file by another leaves the
// mapping as it was; cutting it short in place takes the pages away, as for every mapping.) What cannot be mapped, such
// as a pipe, is read.
class FileBytes {
public:
    // Throws FileError naming the operation and the path.
    FileBytes(const char* operation, const std::string& path) {
        Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
        if (file.get() < 0)
            fail<FileError>(operation, ": cannot open \"", path.c_str(), "\": expected a readable file, got \"", std::strerror(errno),
                            "\"\nhint: check the path and the permissions of the file");
        struct stat status;
        if (::fstat(file.get(), &status) != 0) cannot_read(operation, path, errno);
        if (S_ISDIR(status.st_mode)) cannot_read(operation, path, EISDIR);
        if (S_ISREG(status.st_mode)) {
            size_ = static_cast<std::size_t>(status.st_size);
            if (size_ == 0) return;
            void* at = ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, file.get(), 0);
            if (at != MAP_FAILED) {
                bytes_ = static_cast<unsigned char*>(at);
                mapped_ = true;
                return;
            }
            size_ = 0;
        }
        std::size_t capacity = 0;
        for (;;) {
            if (size_ == capacity) {
                capacity = capacity == 0 ? std::size_t(1) << 16 : 2 * capacity;
                void* fresh = std::realloc(bytes_, capacity);
                if (fresh == nullptr) {
                    std::free(bytes_);
                    fail<MemoryError>(operation, ": no memory for the ", static_cast<unsigned long>(capacity), " bytes of \"", path.c_str(), "\"");
                }
                bytes_ = static_cast<unsigned char*>(fresh);
            }
            const ssize_t got = ::read(file.get(), bytes_ + size_, capacity - size_);
            if (got < 0 && errno == EINTR) continue;
            if (got < 0) {
                const int why = errno;
                std::free(bytes_);
                cannot_read(operation, path, why);
            }
            if (got == 0) return;
            size_ += static_cast<std::size_t>(got);
        }
    }
    FileBytes(const FileBytes&) = delete;
    FileBytes& operator=(const FileBytes&) = delete;
    ~FileBytes() {
        if (mapped_) ::munmap(bytes_, size_);
        else std::free(bytes_);
    }
    unsigned char* data() const { return bytes_; }
    std::size_t size() const { return size_; }

private:
    [[noreturn]] static void cannot_read(const char* operation, const std::string& path, int why) {
        fail<FileError>(operation, ": cannot read \"", path.c_str(), "\": expected a file, got \"", std::strerror(why),
                        "\"\nhint: name the file itself, not its folder");
    }
    unsigned char* bytes_ = nullptr;
    std::size_t size_ = 0;
    bool mapped_ = false;
};

inline std::string folder_of(const std::string& path) {
    const std::size_t slash = path.rfind('/');
    return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

// Makes the names in a folder survive a crash of the machine. Not every file system can: then nothing happens.
inline void sync_folder(const std::string& folder) {
    const Descriptor handle(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (handle.get() >= 0) (void)::fsync(handle.get());
}

// Writes a file under a name of its own beside the target; commit() gives it its name. Until then, and when anything
// goes wrong, whatever was under that name stays as it was.
class AtomicFile {
public:
    // Throws FileError, here and in the members.
    AtomicFile(const char* operation, const std::string& path)
        : operation_(operation), path_(path), unfinished_(path + ".part-" + std::to_string(static_cast<long>(::getpid()))),
          file_(::open(unfinished_.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)) {
        if (file_.get() < 0)
            fail<FileError>(operation, ": cannot create \"", unfinished_.c_str(), "\": ", std::strerror(errno),
                            "\nhint: does the folder exist, and may this user write into it?");
    }
    AtomicFile(const AtomicFile&) = delete;
    AtomicFile& operator=(const AtomicFile&) = delete;
    ~AtomicFile() {
        if (!committed_) std::remove(unfinished_.c_str());
    }

    void write(const void* bytes, std::size_t count) {
        put(bytes, count, position_);
        position_ += count;
    }
    void write(const std::string& bytes) { write(bytes.data(), bytes.size()); }
    // Over bytes that were written before.
    void overwrite(std::size_t at, const void* bytes, std::size_t count) { put(bytes, count, at); }
    // How many bytes were written.
    std::size_t position() const { return position_; }

    // sync: file and name survive a crash of the machine, not only one of the program.
    void commit(bool sync) {
        if (sync && ::fsync(file_.get()) != 0) failed();
        if (::close(file_.release()) != 0) failed();
        if (std::rename(unfinished_.c_str(), path_.c_str()) != 0) failed();
        committed_ = true;
        if (sync) sync_folder(folder_of(path_));
    }

private:
    void put(const void* bytes, std::size_t count, std::size_t at) {
        const char* from = static_cast<const char*>(bytes);
        while (count > 0) {
            const ssize_t done = ::pwrite(file_.get(), from, count, static_cast<off_t>(at));
            if (done < 0 && errno == EINTR) continue;
            if (done <= 0) failed();
            from += done;
            at += static_cast<std::size_t>(done);
            count -= static_cast<std::size_t>(done);
        }
    }
    [[noreturn]] void failed() const {
        fail<FileError>(operation_, ": cannot write \"", path_.c_str(), "\": ", std::strerror(errno), "\nhint: is the disk full?");
    }

    const char* operation_;
    std::string path_, unfinished_;
    Descriptor file_;
    std::size_t position_ = 0;
    bool committed_ = false;
};

}  // namespace tenon::io::detail

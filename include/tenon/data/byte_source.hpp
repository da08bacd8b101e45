// Bytes of a file, plain or packed with gzip, for the readers of published formats. Needs zlib (-lz).
#pragma once

#include <tenon/base/error.hpp>

#include <zlib.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace tenon::data::detail {

// Reads the bytes of a file in order, unpacking them when the file begins like a gzip file.
class ByteSource {
public:
    ByteSource(const char* operation, const std::string& path) : operation_(operation), path_(path) {
        file_.handle = std::fopen(path.c_str(), "rb");
        if (file_.handle == nullptr)
            fail<FileError>(operation_, ": cannot open \"", path.c_str(), "\": expected a readable file, got \"",
                            std::strerror(errno), "\"\nhint: check the path and the permissions of the file");
        fill();
        gzip_ = available_ >= 2 && input_[0] == 0x1f && input_[1] == 0x8b;
        if (!gzip_) return;
        if (inflateInit2(&stream_, 15 + 16) != Z_OK)
            fail<MemoryError>(operation_, ": zlib could not be started for \"", path.c_str(), "\"");
    }
    ByteSource(const ByteSource&) = delete;
    ByteSource& operator=(const ByteSource&) = delete;
    ~ByteSource() {
        if (gzip_) inflateEnd(&stream_);
    }

    // Up to count bytes; fewer only where the file ends.
    std::size_t read(unsigned char* to, std::size_t count) {
        std::size_t done = 0;
        while (done < count) {
            const std::size_t got = gzip_ ? unpack(to + done, count - done) : take(to + done, count - done);
            if (got == 0) break;
            done += got;
        }
        return done;
    }

private:
    struct File {
        std::FILE* handle = nullptr;
        ~File() {
            if (handle != nullptr) std::fclose(handle);
        }
    };

    void fill() {
        begin_ = 0;
        available_ = std::fread(input_, 1, sizeof input_, file_.handle);
        if (std::ferror(file_.handle) == 0) return;
        fail<FileError>(operation_, ": cannot read \"", path_.c_str(), "\": expected a file, got \"",
                        std::strerror(errno), "\"\nhint: name the file itself, not its folder");
    }

    std::size_t take(unsigned char* to, std::size_t count) {
        if (available_ == 0) fill();
        const std::size_t got = count < available_ ? count : available_;
        std::memcpy(to, input_ + begin_, got);
        begin_ += got;
        available_ -= got;
        return got;
    }

    std::size_t unpack(unsigned char* to, std::size_t count) {
        // avail_out is 32 bits wide: large reads come in pieces.
        const std::size_t piece = count < (std::size_t(1) << 30) ? count : std::size_t(1) << 30;
        for (;;) {
            if (available_ == 0) fill();
            if (member_ended_) {
                // A gzip file may be several members in a row; anything else behind a member is an error.
                if (available_ == 0) return 0;
                if (inflateReset(&stream_) != Z_OK) broken("zlib could not be restarted");
                member_ended_ = false;
            } else if (available_ == 0) {
                broken("the file ends inside of the packed data (truncated)");
            }
            stream_.next_in = input_ + begin_;
            stream_.avail_in = static_cast<uInt>(available_);
            stream_.next_out = to;
            stream_.avail_out = static_cast<uInt>(piece);
            const int status = inflate(&stream_, Z_NO_FLUSH);
            begin_ += available_ - stream_.avail_in;
            available_ = stream_.avail_in;
            const std::size_t got = piece - stream_.avail_out;
            if (status == Z_MEM_ERROR) fail<MemoryError>(operation_, ": no memory to unpack \"", path_.c_str(), "\"");
            if (status != Z_OK && status != Z_STREAM_END && status != Z_BUF_ERROR)
                broken(stream_.msg != nullptr ? stream_.msg : "the packed data makes no sense");
            if (status == Z_STREAM_END) member_ended_ = true;
            if (got != 0) return got;
        }
    }

    [[noreturn]] void broken(const char* why) {
        fail<FileError>(operation_, ": \"", path_.c_str(), "\" is a damaged gzip file: ", why,
                        "\nhint: fetch the file again, or check it with gzip -t");
    }

    const char* operation_;
    const std::string& path_;
    File file_;
    bool gzip_ = false, member_ended_ = false;
    z_stream stream_{};
    std::size_t begin_ = 0, available_ = 0;
    unsigned char input_[1 << 16];
};

// Memory that grows while a file is read: the contents are not cleared first, a failure throws MemoryError.
class GrowingBytes {
public:
    GrowingBytes() = default;
    GrowingBytes(const GrowingBytes&) = delete;
    GrowingBytes& operator=(const GrowingBytes&) = delete;
    ~GrowingBytes() { std::free(bytes_); }
    void resize(std::size_t size) {
        void* fresh = std::realloc(bytes_, size == 0 ? 1 : size);
        if (fresh == nullptr) fail<MemoryError>("reading a file: no memory for ", static_cast<unsigned long>(size), " bytes");
        bytes_ = static_cast<unsigned char*>(fresh);
        size_ = size;
    }
    unsigned char* data() { return bytes_; }
    std::size_t size() const { return size_; }

private:
    unsigned char* bytes_ = nullptr;
    std::size_t size_ = 0;
};

}  // namespace tenon::data::detail

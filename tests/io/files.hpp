// What the tests of file formats share: a folder that goes away, bytes of files, values that Python computes too, and
// every small way to damage a file.
#pragma once

#include <tenon/io/array.hpp>
#include <tenon/base/philox.hpp>
#include <tenon/tenon.hpp>

#include <catch2/catch.hpp>

#include <dirent.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace files {

using Bytes = std::vector<unsigned char>;

struct Folder {
    std::string path;
    Folder() {
        char name[] = "/tmp/tenon-io-XXXXXX";
        path = ::mkdtemp(name);
    }
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;
    ~Folder() {
        std::error_code ignored;
        std::filesystem::remove_all(path, ignored);
    }
    std::string operator/(const std::string& file) const { return path + "/" + file; }
    std::vector<std::string> list() const {
        std::vector<std::string> names;
        if (DIR* folder = ::opendir(path.c_str())) {
            while (const dirent* entry = ::readdir(folder))
                if (entry->d_name[0] != '.') names.push_back(entry->d_name);
            ::closedir(folder);
        }
        return names;
    }
};

inline Bytes read(const std::string& path) {
    Bytes bytes;
    std::FILE* file = std::fopen(path.c_str(), "rb");
    REQUIRE(file != nullptr);
    unsigned char piece[4096];
    for (std::size_t got; (got = std::fread(piece, 1, sizeof piece, file)) > 0;) bytes.insert(bytes.end(), piece, piece + got);
    std::fclose(file);
    return bytes;
}
inline void write(const std::string& path, const Bytes& bytes) {
    std::FILE* file = std::fopen(path.c_str(), "wb");
    REQUIRE(file != nullptr);
    if (!bytes.empty()) REQUIRE(std::fwrite(bytes.data(), 1, bytes.size(), file) == bytes.size());
    std::fclose(file);
}
inline Bytes bytes_of(const std::string& text) { return Bytes(text.begin(), text.end()); }

// The text of the error of type E that f throws; empty where it throws none.
template <class E = tenon::Error, class F>
std::string error_of(F&& f) {
    try {
        f();
    } catch (const E& error) {
        return error.what();
    }
    return "";
}
inline bool has(const std::string& text, const std::string& part) {
    UNSCOPED_INFO(text << " should contain: " << part);
    return text.find(part) != std::string::npos;
}

// Element i of the arrays that both sides of an exchange make up; exact in every type.
template <class T>
T value(long i) {
    const long v = i * 7 % 50;
    if constexpr (std::is_same_v<T, bool>) return v % 3 == 0;
    else if constexpr (std::is_same_v<T, std::uint8_t>) return static_cast<T>(v);
    else if constexpr (tenon::Floating<T>) return T(static_cast<float>(v - 20) / 4);
    else return static_cast<T>(v - 20);
}
template <class T>
tenon::io::Array make(const std::vector<long>& shape) {
    tenon::detail::AnyTensor x(tenon::detail::new_record(tenon::dtype_of<T>, static_cast<int>(shape.size()), shape.data(), tenon::cpu));
    for (long i = 0; i < x->size; ++i) reinterpret_cast<T*>(x->data())[i] = value<T>(i);
    return tenon::io::Array(x);
}
inline std::string text_of(const std::vector<long>& shape) {
    std::string text;
    for (long size : shape) text += (text.empty() ? "" : "x") + std::to_string(size);
    return text.empty() ? "scalar" : text;
}
// Same type, shape and bits.
inline bool equal(const tenon::io::Array& a, const tenon::io::Array& b) {
    if (a.dtype() != b.dtype() || a.rank() != b.rank()) return false;
    for (int i = 0; i < a.rank(); ++i)
        if (a.shape(i) != b.shape(i)) return false;
    const auto x = tenon::io::detail::row_major(a.any()), y = tenon::io::detail::row_major(b.any());
    return a.size() == 0 || std::memcmp(x->data(), y->data(), tenon::io::detail::byte_count(x.get())) == 0;
}
// f("f4", T{}) for every element type, with NumPy's name of it.
template <class F>
void for_each_type(F&& f) {
    f("float32", float{}), f("float64", double{}), f("float16", tenon::half{}), f("bfloat16", tenon::bf16{}), f("int8", std::int8_t{});
    f("int32", std::int32_t{}), f("int64", std::int64_t{}), f("uint8", std::uint8_t{}), f("bool", bool{});
}
inline const std::vector<std::vector<long>> shapes = {{}, {0}, {1}, {5}, {2, 3}, {2, 0, 3}, {2, 3, 4}, {1, 2, 1, 2, 1, 2, 1, 2}};

// A file of these bytes that has no name on disk.
class MemoryFile {
public:
    explicit MemoryFile(const Bytes& bytes) : MemoryFile(bytes.data(), bytes.size()) {}
    MemoryFile(const unsigned char* bytes, std::size_t size) : number_(::memfd_create("tenon", MFD_CLOEXEC)) {
        for (std::size_t done = 0; done < size;) {
            const ssize_t put = ::write(number_, bytes + done, size - done);
            if (put <= 0) break;
            done += static_cast<std::size_t>(put);
        }
    }
    MemoryFile(const MemoryFile&) = delete;
    MemoryFile& operator=(const MemoryFile&) = delete;
    ~MemoryFile() { ::close(number_); }
    std::string path() const { return "/proc/self/fd/" + std::to_string(number_); }

private:
    int number_;
};

struct Damage {
    long read = 0, refused = 0;
};
// Reads every truncation, every bit flip, hostile numbers in every place and some random damage of a good file. Whatever
// comes, the reader gives a result or throws one of tenon's errors that names the file, and takes no more memory than
// `memory` bytes.
inline Damage damage(const Bytes& good, const std::function<void(const std::string& path)>& reader, long memory = 16 << 20, std::size_t flips = 100000) {
    Damage result;
    const long before = tenon::memory::statistics().live;
    const auto attempt = [&](const Bytes& bytes, const char* what, std::size_t at) {
        const MemoryFile file(bytes);
        try {
            reader(file.path());
            ++result.read;
        } catch (const tenon::Error& error) {
            ++result.refused;
            if (std::string(error.what()).find(file.path()) == std::string::npos) FAIL(what << " at " << at << ": the error names no file: " << error.what());
        } catch (const std::exception& error) {
            FAIL(what << " at " << at << ": " << error.what());
        }
        if (tenon::memory::statistics().peak - before > memory + (2 << 20)) FAIL(what << " at " << at << ": took " << tenon::memory::statistics().peak - before << " bytes");
    };
    for (std::size_t size = 0; size < good.size() && size < flips; ++size) attempt(Bytes(good.begin(), good.begin() + static_cast<long>(size)), "cut", size);
    Bytes bytes = good;
    bytes.push_back(0);
    attempt(bytes, "one byte more", good.size());
    bytes = good;
    for (std::size_t bit = 0; bit < 8 * good.size() && bit < flips; ++bit) {
        bytes[bit / 8] = static_cast<unsigned char>(good[bit / 8] ^ (1u << bit % 8));
        attempt(bytes, "flipped bit", bit);
        bytes[bit / 8] = good[bit / 8];
    }
    static constexpr unsigned char patterns[][8] = {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, {0xff, 0xff, 0xff, 0x7f, 0, 0, 0, 0},
                                                    {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}, {0, 0, 0, 0, 0, 0, 0, 0}, {0x7f, 0xff, 0xff, 0xff, '9', '9', '9', '9'},
                                                    {'9', '9', '9', '9', '9', '9', '9', '9'}, {0, 0, 0, 0x80, 0, 0, 0, 0x80}};
    for (std::size_t at = 0; at < good.size() && at < flips; ++at)
        for (const auto& pattern : patterns)
            for (std::size_t width : {2u, 4u, 8u}) {
                if (at + width > good.size()) continue;
                std::memcpy(bytes.data() + at, pattern, width);
                attempt(bytes, "hostile number", at);
                std::memcpy(bytes.data() + at, good.data() + at, width);
            }
    const tenon::Key key(7);
    std::uint64_t word = 0;
    for (int round = 0; round < 300; ++round) {
        bytes = good;
        const int count = 1 + static_cast<int>(tenon::random_word(key, word++) % 8);
        for (int i = 0; i < count && !bytes.empty(); ++i) {
            const std::uint32_t r = tenon::random_word(key, word++), at = tenon::random_word(key, word++) % static_cast<std::uint32_t>(bytes.size());
            if (r % 4 == 0) bytes.erase(bytes.begin() + at);
            else if (r % 4 == 1) bytes.insert(bytes.begin() + at, static_cast<unsigned char>(r >> 8));
            else bytes[at] = static_cast<unsigned char>(r >> 8);
        }
        attempt(bytes, "random damage", static_cast<std::size_t>(round));
    }
    return result;
}

}  // namespace files

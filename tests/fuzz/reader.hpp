// What the fuzz targets share: the bytes as a file without a name on disk, and the rule that a reader gives a result or
// throws one of tenon's errors. Anything else (another exception, a crash, a sanitizer's report, too much memory or time)
// ends the target.
#pragma once

#include <tenon/core/factories.hpp>
#include <tenon/io/array.hpp>
#include <tenon/nn/linear.hpp>

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <string>

namespace fuzz {

class MemoryFile {
public:
    MemoryFile(const std::uint8_t* bytes, std::size_t size) : number_(::memfd_create("fuzz", MFD_CLOEXEC)) {
        for (std::size_t done = 0; done < size;) {
            const ssize_t put = ::write(number_, bytes + done, size - done);
            if (put <= 0) __builtin_trap();
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

// Looks at every element, so that memory that is not there is noticed.
inline void touch(const tenon::io::Array& x) {
    const auto rows = tenon::io::detail::row_major(x.any());
    unsigned sum = 0;
    const std::size_t count = tenon::io::detail::byte_count(rows.get());
    for (std::size_t i = 0; i < count; ++i) sum = sum * 31 + static_cast<unsigned char>(rows->data()[i]);
    volatile unsigned sink = sum;
    (void)sink;
}

// A layer to load into; zeros, so that no kernel runs in a target that looks at readers.
inline tenon::nn::Linear<float> layer(long out, long in) {
    tenon::nn::Linear<float> made;
    made.weight = tenon::zeros<float>({out, in}).require_grad();
    made.bias = tenon::zeros<float>({out}).require_grad();
    return made;
}

template <class Reader>
int run(const std::uint8_t* bytes, std::size_t size, Reader&& reader) {
    const MemoryFile file(bytes, size);
    try {
        reader(file.path());
    } catch (const tenon::Error& error) {
        if (error.what()[0] != 't') __builtin_trap();  // every text begins with "tenon: "
    }
    // Whatever was read is gone again: a leak of tensors is an error too.
    static const long live = tenon::memory::statistics().live;
    if (tenon::memory::statistics().live > live + (1 << 20)) __builtin_trap();
    return 0;
}

}  // namespace fuzz

// Memory that kernels need for a while.
#pragma once

#include <tenon/base/error.hpp>

#include <cstdlib>
#include <sys/mman.h>

namespace tenon::detail {

// `bytes` for std::free, in huge pages where they fill some: there are fewer pages to ask for, rows far apart share an entry of the
// TLB, and the hardware looks further ahead. unit: multiples of it; 0: whatever malloc gives. Throws MemoryError, which says for what.
inline void* allocate_scratch(std::size_t bytes, const char* what, std::size_t unit = 0) {
    constexpr std::size_t huge = std::size_t(1) << 21;
    if (bytes >= huge / 2) unit = huge;
    const std::size_t rounded = unit > 0 ? (bytes + unit - 1) / unit * unit : bytes > 0 ? bytes : 1;
    void* const memory = unit > 0 ? std::aligned_alloc(unit, rounded) : std::malloc(rounded);
    if (memory != nullptr && unit == huge) madvise(memory, rounded, MADV_HUGEPAGE);
    if (memory == nullptr) fail<MemoryError>(what, ": out of memory for ", static_cast<unsigned long>(bytes), " bytes of scratch");
    return memory;
}

// Memory for `count` numbers that frees itself; not initialised.
template <class T>
class Scratch {
public:
    explicit Scratch(long count) : data_(static_cast<T*>(allocate_scratch(static_cast<std::size_t>(count > 0 ? count : 1) * sizeof(T), "a kernel"))) {}
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    ~Scratch() { std::free(data_); }
    T* data() const { return data_; }
    T& operator[](long i) const { return data_[i]; }

private:
    T* data_;
};

}  // namespace tenon::detail

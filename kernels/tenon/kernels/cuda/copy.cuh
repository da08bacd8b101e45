// Copies between strided arrays of one shape.
#pragma once

#include <tenon/kernels/cuda/sum.cuh>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cuda {

template <class Word>
__global__ void copy_words(Word* to, Walk to_walk, const Word* from, Walk from_walk, unsigned count) {
#if TENON_DEVICE_CODE
    for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x) to[to_walk.offset(i)] = from[from_walk.offset(i)];
#endif
}

namespace copy_impl {

struct Word16 { std::uint64_t halves[2]; };

template <class Word>
void copy_as(int rank, const long* dims, char* to, const long* to_strides, const char* from, const long* from_strides) {
    long row = 1;
    for (int i = 1; i < rank; ++i) row *= dims[i];
    const long whole = rank == 0 ? 1 : dims[0], largest = 1l << 30;
    if (row > largest) fail<ShapeError>("copy: more than 2^30 elements behind the first axis");
    for (long done = 0; done < whole;) {
        const long some = whole - done < largest / row ? whole - done : largest / row;
        Walk to_walk, from_walk;
        for (int i = 0; i < rank; ++i) {
            to_walk.push(i == 0 ? some : dims[i], to_strides[i]);
            from_walk.push(i == 0 ? some : dims[i], from_strides[i]);
        }
        launch("copy", copy_words<Word>, blocks_for(some * row, block_threads), block_threads,
               reinterpret_cast<Word*>(to) + (rank == 0 ? 0 : done * to_strides[0]), to_walk,
               reinterpret_cast<const Word*>(from) + (rank == 0 ? 0 : done * from_strides[0]), from_walk, static_cast<unsigned>(some * row));
        done += some;
    }
}

}  // namespace copy_impl

// to = from; strides in elements of `size` bytes (1, 2, 4 or 8).
inline void copy_strided(int rank, const long* dims, void* to, const long* to_strides, const void* from, const long* from_strides, int size) {
    // Axes that both walk through as one, without those of size 1.
    long merged[cpu::elementwise_max_rank], a[cpu::elementwise_max_rank], b[cpu::elementwise_max_rank];
    int n = 0;
    for (int i = 0; i < rank; ++i) {
        if (dims[i] == 0) return;
        if (dims[i] == 1) continue;
        if (n > 0 && a[n - 1] == to_strides[i] * dims[i] && b[n - 1] == from_strides[i] * dims[i]) {
            merged[n - 1] *= dims[i];
            a[n - 1] = to_strides[i];
            b[n - 1] = from_strides[i];
        } else {
            merged[n] = dims[i];
            a[n] = to_strides[i];
            b[n++] = from_strides[i];
        }
    }
    // Contiguous rows are copied in the widest words that fit all addresses.
    int word = size;
    if (n > 0 && a[n - 1] == 1 && b[n - 1] == 1) {
        std::uintptr_t bits = reinterpret_cast<std::uintptr_t>(to) | reinterpret_cast<std::uintptr_t>(from) |
                              static_cast<std::uintptr_t>(merged[n - 1] * size);
        for (int i = 0; i + 1 < n; ++i) bits |= static_cast<std::uintptr_t>(a[i] * size) | static_cast<std::uintptr_t>(b[i] * size);
        while (word < 16 && bits % static_cast<std::uintptr_t>(2 * word) == 0) word *= 2;
        merged[n - 1] = merged[n - 1] * size / word;
        for (int i = 0; i + 1 < n; ++i) {
            a[i] = a[i] * size / word;
            b[i] = b[i] * size / word;
        }
    }
    char* const out = static_cast<char*>(to);
    const char* const in = static_cast<const char*>(from);
    switch (word) {
        case 1: return copy_impl::copy_as<std::uint8_t>(n, merged, out, a, in, b);
        case 2: return copy_impl::copy_as<std::uint16_t>(n, merged, out, a, in, b);
        case 4: return copy_impl::copy_as<std::uint32_t>(n, merged, out, a, in, b);
        case 8: return copy_impl::copy_as<std::uint64_t>(n, merged, out, a, in, b);
        default: return copy_impl::copy_as<copy_impl::Word16>(n, merged, out, a, in, b);
    }
}

}  // namespace kernels::cuda
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

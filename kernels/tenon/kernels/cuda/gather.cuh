// Choosing rows and elements by index on the device.
#pragma once

#include <tenon/kernels/cpu/gather.hpp>
#include <tenon/kernels/cuda/sum.cuh>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cuda {

template <class I>
__global__ void find_bad(const I* index, long count, long size, unsigned long long* first) {
#if TENON_DEVICE_CODE
    const long stride = static_cast<long>(gridDim.x) * blockDim.x;
    for (long i = static_cast<long>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += stride)
        if (index[i] < 0 || static_cast<long>(index[i]) >= size) atomicMin(first, static_cast<unsigned long long>(i));
#endif
}
// The first position whose index lies outside of [0, size), or -1. The answer has to reach the host: waits for the stream.
// While that is being captured nothing can be asked: -1.
template <class I>
long find_bad_index(const I* index, long count, long size) {
    if (count <= 0) return -1;
    cudaStreamCaptureStatus capture = cudaStreamCaptureStatusNone;
    cuda_detail::check(cudaStreamIsCapturing(cuda_detail::current_stream, &capture), "cudaStreamIsCapturing");
    if (capture != cudaStreamCaptureStatusNone) return -1;
    const Scratch<unsigned long long> first(1);
    cuda_detail::check(cudaMemsetAsync(first.get(), 0xff, sizeof(unsigned long long), cuda_detail::current_stream), "cudaMemsetAsync");
    launch("find_bad_index", find_bad<I>, blocks_for(count, block_threads), block_threads, index, count, size, first.get());
    return static_cast<long>(read_back(first.get()));
}

// Rows and columns of the words that a launch moves.
struct SliceWalk {
    Divisor words, m;
    long first, n;  // of the rows [outer, m]; slices per outer one in the source
    unsigned count;
};
template <class Word, class I>
__global__ void gather_words(const Word* src, const I* index, Word* dst, SliceWalk w) {
#if TENON_DEVICE_CODE
    for (unsigned k = blockIdx.x * blockDim.x + threadIdx.x; k < w.count; k += gridDim.x * blockDim.x) {
        const unsigned q = w.words.quotient(k), row = static_cast<unsigned>(w.first) + q;
        const unsigned outer = w.m.quotient(row);
        const long from = outer * w.n + static_cast<long>(index[row - outer * w.m.divisor]);
        dst[w.first * w.words.divisor + k] = src[from * w.words.divisor + (k - q * w.words.divisor)];
    }
#endif
}

namespace gather_impl {

struct Word16 { std::uint64_t halves[2]; };

// Calls f(a word, words per slice) for the widest word that divides a slice and fits the addresses.
template <class F>
void with_word(long bytes, const void* a, const void* b, F f) {
    const std::uintptr_t addresses = reinterpret_cast<std::uintptr_t>(a) | reinterpret_cast<std::uintptr_t>(b);
    const std::uintptr_t bits = static_cast<std::uintptr_t>(bytes) | addresses;
    if (bits % 16 == 0) f(Word16(), bytes / 16);
    else if (bits % 8 == 0) f(std::uint64_t(), bytes / 8);
    else if (bits % 4 == 0) f(std::uint32_t(), bytes / 4);
    else if (bits % 2 == 0) f(std::uint16_t(), bytes / 2);
    else f(std::uint8_t(), bytes);
}
// Calls f(walk) for pieces of at most 2^30 words.
template <class F>
void for_slices(const char* name, long outer, long n, long m, long words, F f) {
    const long rows = outer * m, largest = 1l << 30;
    if (rows >= 1l << 31 || words > largest) fail<ShapeError>(name, ": more than 2^31 indices, or slices of more than 2^30 words");
    const long step = largest / words;
    for (long first = 0; first < rows; first += step) {
        const long some = rows - first < step ? rows - first : step;
        f(SliceWalk{Divisor(static_cast<unsigned>(words)), Divisor(static_cast<unsigned>(m)), first, n, static_cast<unsigned>(some * words)});
    }
}

}  // namespace gather_impl

// dst[o, j, :] = src[o, index[j], :]: src is [outer, n] slices of `bytes` bytes, dst [outer, m]. Reads and writes the slices once.
template <class I>
void gather_slices(long outer, long n, long m, long bytes, const void* src, const I* index, void* dst) {
    if (outer <= 0 || m <= 0 || bytes <= 0) return;
    gather_impl::with_word(bytes, src, dst, [&]<class Word>(Word, long words) {
        gather_impl::for_slices("gather", outer, n, m, words, [&](const SliceWalk& w) {
            launch("gather", gather_words<Word, I>, blocks_for(w.count, block_threads), block_threads, static_cast<const Word*>(src),
                   index, static_cast<Word*>(dst), w);
        });
    });
}
// dst[i, :] = src[index[i], :] for i in [0, count); rows of `bytes` bytes.
template <class I>
void gather_rows(long count, long bytes, const void* src, const I* index, void* dst) {
    gather_slices(1, 0, count, bytes, src, index, dst);
}

// One index per element: positions of [outer, m, inner] and what they lead to in [outer, n, inner].
struct AxisWalk {
    Divisor inner, plane;  // m * inner
    long n;
#if TENON_DEVICE_CODE
    TENON_HD long target(unsigned at, long index) const {
        const unsigned outer = plane.quotient(at), rest = at - outer * plane.divisor;
        return (outer * n + index) * inner.divisor + (rest - inner.quotient(rest) * inner.divisor);
    }
#endif
};

namespace gather_impl {

// Calls f(walk, outer ones before, elements) for pieces of at most 2^30 elements.
template <class F>
void for_planes(const char* name, long outer, long n, long m, long inner, F f) {
    const long plane = m * inner, largest = 1l << 30;
    if (outer <= 0 || plane <= 0) return;
    if (plane > largest) fail<ShapeError>(name, ": more than 2^30 indices behind the first axis");
    const long step = largest / plane;
    for (long first = 0; first < outer; first += step) {
        const long some = outer - first < step ? outer - first : step;
        f(AxisWalk{Divisor(static_cast<unsigned>(inner)), Divisor(static_cast<unsigned>(plane)), n}, first, static_cast<unsigned>(some * plane));
    }
}

}  // namespace gather_impl

template <class T, class I>
__global__ void gather_elements(const T* src, const I* index, T* dst, AxisWalk w, unsigned count) {
#if TENON_DEVICE_CODE
    for (unsigned k = blockIdx.x * blockDim.x + threadIdx.x; k < count; k += gridDim.x * blockDim.x)
        dst[k] = src[w.target(k, static_cast<long>(index[k]))];
#endif
}
// dst[o, j, i] = src[o, index[o, j, i], i]: src is [outer, n, inner], index and dst are [outer, m, inner].
template <class T, class I>
void gather_axis(long outer, long n, long m, long inner, const T* src, const I* index, T* dst) {
    gather_impl::for_planes("gather", outer, n, m, inner, [&](const AxisWalk& w, long before, unsigned count) {
        launch("gather", gather_elements<T, I>, blocks_for(count, block_threads), block_threads, src + before * n * inner,
               index + before * m * inner, dst + before * m * inner, w, count);
    });
}

}  // namespace kernels::cuda
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

// Whole slices of an axis by one list of indices: chosen, added up, replaced; in every one of `outer` tensors.
#pragma once

#include <tenon/kernels/cpu/gather.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

// dst[o, j, :] = src[o, index[j], :]: src is [outer, n] slices of `bytes` bytes, dst [outer, m].
template <class I>
void gather_slices(long outer, long n, long m, long bytes, const void* src, const I* index, void* dst) {
    if (outer == 1) return gather_rows(m, bytes, src, index, dst);
    if (outer <= 0 || m <= 0 || bytes <= 0) return;
    const char* from = static_cast<const char*>(src);
    char* to = static_cast<char*>(dst);
    long group = 65536 / (m * bytes + 1);
    if (group < 1) group = 1;
    parallel_for((outer + group - 1) / group, [=](long task) {
        for (long o = task * group; o < (task + 1) * group && o < outer; ++o)
            gather_rows(m, bytes, from + o * n * bytes, index, to + o * m * bytes);
    });
}

// dst[o, index[j], :] += src[o, j, :], in the order of j: src is [outer, m, inner], dst [outer, n, inner]. With accumulate =
// false dst is overwritten. touched: as of scatter_add_rows, where outer is 1.
template <class T, class I>
long scatter_add_slices(long outer, long n, long m, long inner, const T* src, const I* index, T* dst, bool accumulate,
                        std::int64_t* touched = nullptr) {
    if (outer == 1) return scatter_add_rows(m, inner, src, index, n, dst, accumulate, touched);
    if (outer <= 0) return -1;
    long group = 16384 / (n * inner + m * inner + 1);
    if (group < 1) group = 1;
    parallel_for((outer + group - 1) / group, [=](long task) {
        for (long o = task * group; o < (task + 1) * group && o < outer; ++o) {
            const T* from = src + o * m * inner;
            T* to = dst + o * n * inner;
            // Wide slices and 16-bit sums are worth sorting for.
            if (inner >= 32 || sizeof(T) == 2) {
                scatter_add_rows(m, inner, from, index, n, to, accumulate);
                continue;
            }
            if (!accumulate && n * inner > 0) std::memset(static_cast<void*>(to), 0, static_cast<std::size_t>(n * inner) * sizeof(T));
            for (long j = 0; j < m; ++j)
                for (long i = 0; i < inner; ++i) {
                    T& sum = to[static_cast<long>(index[j]) * inner + i];
                    sum = static_cast<T>(sum + from[j * inner + i]);
                }
        }
    });
    return -1;
}

// dst[o, index[j], :] = src[o, j, :], the last of several; zeros where src is null.
template <class I>
void put_slices(long outer, long n, long m, long bytes, const void* src, const I* index, void* dst) {
    if (outer <= 0 || m <= 0 || bytes <= 0) return;
    const char* from = static_cast<const char*>(src);
    char* to = static_cast<char*>(dst);
    parallel_for(outer, [=](long o) {
        for (long j = 0; j < m; ++j) {
            char* slice = to + (o * n + static_cast<long>(index[j])) * bytes;
            if (from == nullptr) std::memset(slice, 0, static_cast<std::size_t>(bytes));
            else std::memcpy(slice, from + (o * m + j) * bytes, static_cast<std::size_t>(bytes));
        }
    });
}

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

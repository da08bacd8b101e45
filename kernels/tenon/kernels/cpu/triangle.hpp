// The lower or upper triangle of matrices.
#pragma once

#include <tenon/kernels/cpu/remap.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

namespace reference {

// The plain version: element [i, j] is kept where j <= i + offset (lower) or j >= i + offset (upper).
template <class T>
void triangle(long batch, long rows, long columns, long offset, bool lower, const T* x, T* y) {
    for (long b = 0; b < batch; ++b)
        for (long i = 0; i < rows; ++i)
            for (long j = 0; j < columns; ++j) {
                const long at = (b * rows + i) * columns + j;
                y[at] = (lower ? j <= i + offset : j >= i + offset) ? x[at] : T(0.f);
            }
}

}  // namespace reference

// y = the triangle of each matrix of x [batch, rows, columns], 0 elsewhere; add: y += it. Every row is one run of x and
// one or two of zeros.
template <class T>
void triangle(long batch, long rows, long columns, long offset, bool lower, const T* x, T* y, bool add) {
    if (batch <= 0 || rows <= 0 || columns <= 0) return;
    long group = impl::move_bytes / (columns * static_cast<long>(sizeof(T)));
    if (group < 1) group = 1;
    const long total = batch * rows;
    parallel_for((total + group - 1) / group, [&](long task) {
        for (long row = task * group; row < (task + 1) * group && row < total; ++row) {
            // The kept columns are [begin, end).
            const long edge = row % rows + offset + (lower ? 1 : 0), cut = edge < 0 ? 0 : edge > columns ? columns : edge;
            const long begin = lower ? 0 : cut, end = lower ? cut : columns;
            const T* from = x + row * columns;
            T* to = y + row * columns;
            if (add) {
                dispatch<impl::AddRunBody, Isa::avx2>(to + begin, from + begin, end - begin, false);
                continue;
            }
            if (begin > 0) std::memset(static_cast<void*>(to), 0, static_cast<std::size_t>(begin) * sizeof(T));
            if (end > begin) __builtin_memcpy(static_cast<void*>(to + begin), from + begin, static_cast<std::size_t>(end - begin) * sizeof(T));
            if (end < columns) std::memset(static_cast<void*>(to + end), 0, static_cast<std::size_t>(columns - end) * sizeof(T));
        }
    });
}

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

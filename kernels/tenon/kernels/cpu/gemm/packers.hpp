// Packers: how the blocked product reads its operands. A packer is any struct with
//   void operator()(T* out, long lanes, long first, long valid, long k0, long steps) const;
// that writes out[(i / lanes * steps + l) * lanes + i % lanes] = element (first + i, k0 + l) of A, or (k0 + l, first + i)
// of B, for i < valid and l < steps, and zeros for the i from valid up to a multiple of lanes. Convolution brings packers
// of its own; these read a strided matrix.
#pragma once

#include <tenon/kernels/cpu/gemm/kernel_table.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {
namespace gemm_impl {

template <class T>
struct PackRows {
    MatrixView<T> a;
    typename Kernels<T>::PackFunction pack;
    void operator()(T* out, long lanes, long first, long valid, long k0, long steps) const {
        pack(out, lanes, valid, a.data + first * a.row_stride + k0 * a.column_stride, a.row_stride, a.column_stride, steps);
    }
};

template <class T>
struct PackColumns {
    MatrixView<T> b;
    typename Kernels<T>::PackFunction pack;
    void operator()(T* out, long lanes, long first, long valid, long k0, long steps) const {
        pack(out, lanes, valid, b.data + first * b.column_stride + k0 * b.row_stride, b.column_stride, b.row_stride, steps);
    }
};

}  // namespace gemm_impl
}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

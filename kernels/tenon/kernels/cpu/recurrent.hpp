// Recurrent layers: one layer in one direction over whole sequences, between the product of all inputs with W_ih, which comes
// before, and the products that give the gradients of weights and inputs, which come after. float and double.
//
// As gemm.hpp, compiled once in a program built with TENON_EXTERN_KERNELS.
#pragma once

#include <tenon/kernels/cpu/gemm.hpp>
#include <tenon/kernels/cpu/recurrent/cells.hpp>

#if !defined(TENON_EXTERN_KERNELS) || defined(TENON_INSTANTIATE_KERNELS)
#include <tenon/kernels/cpu/recurrent/reference.hpp>
#include <tenon/kernels/cpu/recurrent/sequence.hpp>
#endif

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

// From gates, which hold W_ih x and the biases, to y, h_n, c_n and what backward reads. Bits depend on the sizes of the weights, T
// and the instruction set: neither on the threads nor on the batch.
template <class T>
void recurrent_forward(const RecurrentShape& s, const RecurrentForward<T>& a);
// From dy, dh_n, dc_n to the gradients of the sums before the activations, of h0 and c0.
template <class T>
void recurrent_backward(const RecurrentShape& s, const RecurrentBackward<T>& a);
// C[m, n] = A' B, or C + A' B, for A[k, m] and B[k, n] with rows lda and n apart: gradients of weights, sums over all steps.
template <class T>
void gemm_over_rows(long m, long n, long k, const T* a, long lda, const T* b, T* c, bool accumulate);

#if !defined(TENON_EXTERN_KERNELS) || defined(TENON_INSTANTIATE_KERNELS)
template <class T>
void recurrent_forward(const RecurrentShape& s, const RecurrentForward<T>& a) {
    if (s.batch > 0 && s.hidden > 0) with_cell(s.cell, [&]<RecurrentCell cell>() { impl::forward_sequences<cell>(s, a); });
}
template <class T>
void recurrent_backward(const RecurrentShape& s, const RecurrentBackward<T>& a) {
    if (s.batch > 0 && s.hidden > 0) with_cell(s.cell, [&]<RecurrentCell cell>() { impl::backward_sequences<cell>(s, a); });
}
template <class T>
void gemm_over_rows(long m, long n, long k, const T* a, long lda, const T* b, T* c, bool accumulate) {
    GemmOptions<T> options;
    options.accumulate = accumulate;
    const MatrixView<T> left{a, 1, lda}, right{b, n, 1};
    // A is read across its rows: packed once, whatever C is like, rather than by every tile.
    if (m < 24 || n < 2 || k < 64) return gemm<T>(m, n, k, left, right, c, n, options);
    const auto pack = gemm_impl::kernels<T>().pack;
    gemm_impl::gemm_blocked(m, n, k, gemm_impl::PackRows<T>{left, pack}, gemm_impl::PackColumns<T>{right, pack}, c, n, options);
}
#endif

#if defined(TENON_EXTERN_KERNELS) || defined(TENON_INSTANTIATE_KERNELS)
#if defined(TENON_INSTANTIATE_KERNELS)
#define TENON_RECURRENT_INSTANCE template
#else
#define TENON_RECURRENT_INSTANCE extern template
#endif
TENON_RECURRENT_INSTANCE void recurrent_forward<float>(const RecurrentShape&, const RecurrentForward<float>&);
TENON_RECURRENT_INSTANCE void recurrent_forward<double>(const RecurrentShape&, const RecurrentForward<double>&);
TENON_RECURRENT_INSTANCE void recurrent_backward<float>(const RecurrentShape&, const RecurrentBackward<float>&);
TENON_RECURRENT_INSTANCE void recurrent_backward<double>(const RecurrentShape&, const RecurrentBackward<double>&);
TENON_RECURRENT_INSTANCE void gemm_over_rows<float>(long, long, long, const float*, long, const float*, float*, bool);
TENON_RECURRENT_INSTANCE void gemm_over_rows<double>(long, long, long, const double*, long, const double*, double*, bool);
#undef TENON_RECURRENT_INSTANCE
#endif

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

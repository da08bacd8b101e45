// Scaled dot-product attention, forward and backward, in memory linear in the number of positions (Dao et al. 2022).
//
// Scores exist for one block of queries and keys at a time. Forward keeps the result and, for each query, the logarithm of the sum
// of exponentials; backward computes the scores again. Which terms are added in what order depends on the numbers of queries and
// keys alone: neither the number of threads nor the strides change a bit.
//
// The code is compiled once under TENON_EXTERN_KERNELS, as the matrix product's (gemm/gemm_instances.hpp).
#pragma once

#include <tenon/kernels/cpu/attention/problem.hpp>

#if !defined(TENON_EXTERN_KERNELS) || defined(TENON_INSTANTIATE_KERNELS)
#include <tenon/kernels/cpu/attention/backward.hpp>
#include <tenon/kernels/cpu/attention/forward.hpp>
#endif

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

// y = softmax(scale * q k' + mask) v for each head, laid out by p.y_strides; lse [batch, heads, queries] takes the logarithms of
// the sums of exponentials, +inf for a query that sees no key, whose result is 0. T: float, double, bf16, half.
template <class T>
void attention(const AttentionProblem<T>& p, T* y, accumulator<T>* lse);

// The gradients of q, k, v, packed [batch, heads, positions, features], each written or added to what is there; null where none is
// wanted. dscores [batch, heads, queries, keys] takes that of the scaled scores, the bias's before it is summed.
template <class T>
void attention_backward(const AttentionProblem<T>& p, const T* y, const accumulator<T>* lse, const T* dy, T* dq, bool add_dq, T* dk,
                        bool add_dk, T* dv, bool add_dv, T* dscores);

#if !defined(TENON_EXTERN_KERNELS) || defined(TENON_INSTANTIATE_KERNELS)
template <class T>
void attention(const AttentionProblem<T>& p, T* y, accumulator<T>* lse) {
    if (p.batch * p.heads * p.queries > 0) attention_impl::Forward<T>(p, y, lse).run();
}
template <class T>
void attention_backward(const AttentionProblem<T>& p, const T* y, const accumulator<T>* lse, const T* dy, T* dq, bool add_dq, T* dk,
                        bool add_dk, T* dv, bool add_dv, T* dscores) {
    using A = accumulator<T>;
    const long rows = p.batch * p.heads * p.queries;
    if (dscores != nullptr)
        for (long i = 0; i < rows * p.keys; ++i) dscores[i] = T(A(0));
    const impl::Scratch<A> delta(rows);
    parallel_for(p.batch * p.heads, 0.2 * double(rows) * double(p.value_width), [&](long head) {
        const long at = head / p.heads * p.y_strides[0] + head % p.heads * p.y_strides[1];
        dispatch<attention_impl::DeltaBody, Isa::avx2>(p.queries, p.value_width, y + at, dy + at, p.y_strides[2],
                                                       delta.data() + head * p.queries);
    });
    attention_impl::Backward<T>(p, y, lse, dy, delta.data(), {dq, dk, dv, dscores, add_dq, add_dk, add_dv}).run();
}
#endif

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

#if defined(TENON_EXTERN_KERNELS) || defined(TENON_INSTANTIATE_KERNELS)
#if defined(TENON_INSTANTIATE_KERNELS)
#define TENON_ATTENTION_INSTANCE template
#else
#define TENON_ATTENTION_INSTANCE extern template
#endif
namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {
#define TENON_ATTENTION_INSTANCES(T)                                                                                                     \
    TENON_ATTENTION_INSTANCE void attention<T>(const AttentionProblem<T>&, T*, accumulator<T>*);                                         \
    TENON_ATTENTION_INSTANCE void attention_backward<T>(const AttentionProblem<T>&, const T*, const accumulator<T>*, const T*, T*, bool, \
                                                        T*, bool, T*, bool, T*);
TENON_ATTENTION_INSTANCES(float)
TENON_ATTENTION_INSTANCES(double)
TENON_ATTENTION_INSTANCES(bf16)
TENON_ATTENTION_INSTANCES(half)
#undef TENON_ATTENTION_INSTANCES
}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
#undef TENON_ATTENTION_INSTANCE
#endif

// Classes as rows of zeros with a one, on the device: cleared, then one element per row.
#pragma once

#include <tenon/kernels/cpu/one_hot.hpp>
#include <tenon/kernels/cuda/each.cuh>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cuda {

namespace one_hot_impl {
template <class T, class I>
struct OneStep {
    long classes;
    const I* index;
    T* to;
    TENON_FUNCTOR void operator()(long k) const { to[k * classes + static_cast<long>(index[k])] = static_cast<T>(1.f); }
};
}  // namespace one_hot_impl

// to[k, index[k]] = 1, 0 elsewhere: [count, classes].
template <class T, class I>
void one_hot(long count, long classes, const I* index, T* to) {
    if (count <= 0 || classes <= 0) return;
    const std::size_t bytes = static_cast<std::size_t>(count * classes) * sizeof(T);
    cuda_detail::check(cudaMemsetAsync(to, 0, bytes, cuda_detail::current_stream), "cudaMemsetAsync");
    each(count, one_hot_impl::OneStep<T, I>{classes, index, to});
}

}  // namespace kernels::cuda
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

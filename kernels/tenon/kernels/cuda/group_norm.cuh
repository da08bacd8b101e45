// Group norm on the device (cpu/group_norm.hpp): the sums of groups and planes are those of batch norm (channel_norm.cuh), whose
// channels they are there.
#pragma once

#include <tenon/kernels/cpu/group_norm.hpp>
#include <tenon/kernels/cuda/channel_norm.cuh>
#include <tenon/kernels/cuda/each.cuh>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cuda {

using cpu::GroupShape;

// The mean of each plane's group.
template <class A>
struct PlaneMeanStep {
    long per;
    const A* mean;
    A* to;
    TENON_FUNCTOR void operator()(long plane) const { to[plane] = mean[plane / per]; }
};
// The parts of each plane's two sums, in order.
struct PlaneSumsStep {
    ChannelCut cut;
    const ChannelSums* parts;
    double* planes;
    TENON_FUNCTOR void operator()(long plane) const {
        const long each = cut.columns ? cut.inner : 1, width = cut.columns ? cut.channels * cut.inner : cut.channels;
        double first = 0, second = 0;
        for (long part = 0; part < cut.parts; ++part)
            for (long i = 0; i < each; ++i) {
                first += parts[part * width + plane * each + i].first;
                second += parts[part * width + plane * each + i].second;
            }
        planes[2 * plane] = first;
        planes[2 * plane + 1] = second;
    }
};

template <class T>
void group_norm(const GroupShape& s, const T* x, const T* weight, const T* bias, double eps, T* y, accumulator<T>* mean, accumulator<T>* rstd) {
    using A = accumulator<T>;
    if (s.rows() <= 0 || s.row() <= 0) return;
    const ChannelCut cut(1, s.rows(), s.row());
    const Scratch<ChannelSums> sums(cut.parts * cut.sums());
    const Scratch<A> variance(s.rows());
    launch("group_norm", cut.columns ? channel_moments_kernel<true, T> : channel_moments_kernel<false, T>, cut.grid(), dim3(block_threads), std::size_t(0), cut, x,
           sums.get());
    launch("group_norm", merge_moments_kernel<A>, blocks_for(s.rows(), block_threads / 32), block_threads, cut, sums.get(), eps, mean, variance.get(), rstd);
    for_each_index("group_norm", s.planes() * s.inner, cpu::GroupApplyStep<T>{s, x, weight, bias, mean, rstd, y});
}
inline long group_norm_workspace(const GroupShape& s) { return cpu::group_norm_workspace(s); }
template <class T>
void group_norm_backward(const GroupShape& s, const T* x, const T* weight, const accumulator<T>* mean, const accumulator<T>* rstd, const T* dy, T* dx, bool add_dx,
                         T* dweight, bool add_dweight, T* dbias, bool add_dbias, double* workspace) {
    using A = accumulator<T>;
    double *planes = workspace, *means = workspace + 2 * s.planes();
    if (s.planes() > 0) {
        const ChannelCut cut(1, s.planes(), s.inner);
        const Scratch<ChannelSums> sums(cut.parts * cut.sums());
        const Scratch<A> plane_means(s.planes());
        for_each_index("group_norm", s.planes(), PlaneMeanStep<A>{s.per, mean, plane_means.get()});
        if (cut.parts > 0 && s.inner > 0)
            launch("group_norm", cut.columns ? channel_gradients_kernel<true, false, T> : channel_gradients_kernel<false, false, T>, cut.grid(), dim3(block_threads),
                   std::size_t(0), cut, x, static_cast<const T*>(nullptr), static_cast<const T*>(nullptr), static_cast<const A*>(plane_means.get()),
                   static_cast<const A*>(nullptr), dy, sums.get());
        for_each_index("group_norm", s.planes(), PlaneSumsStep{cut, sums.get(), planes});
        if (s.inner > 0) {
            for_each_index("group_norm", s.rows(), cpu::GroupMeansStep<T>{s, planes, weight, rstd, means});
            if (dx != nullptr)
                for_each_index("group_norm", s.planes() * s.inner, cpu::GroupGradientStep<T>{s, x, weight, dy, mean, rstd, means, dx, add_dx});
        }
    }
    if (dweight != nullptr || dbias != nullptr)
        for_each_index("group_norm", s.channels(), cpu::GroupChannelStep<T>{s, planes, rstd, dweight, dbias, add_dweight, add_dbias});
}

}  // namespace kernels::cuda
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

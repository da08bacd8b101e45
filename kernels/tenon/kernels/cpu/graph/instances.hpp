// The instances of the kernels over graphs, for programs that compile the kernels once: as gemm_instances.hpp says, with
//     #define TENON_INSTANTIATE_KERNELS
//     #include <tenon/kernels/cpu/graph/instances.hpp>
#pragma once

#include <tenon/kernels/cpu/graph/attention.hpp>
#include <tenon/kernels/cpu/graph/extreme.hpp>

#if defined(TENON_KERNEL_INSTANCE)
namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {
#define TENON_GRAPH_INSTANCES(T)                                                                                                           \
    TENON_KERNEL_INSTANCE void spmm<Chosen::all, T>(const SpmmProblem<T>&);                                                                \
    TENON_KERNEL_INSTANCE void spmm<Chosen::by_row, T>(const SpmmProblem<T>&);                                                             \
    TENON_KERNEL_INSTANCE void spmm<Chosen::by_column, T>(const SpmmProblem<T>&);                                                          \
    TENON_KERNEL_INSTANCE void spmm_extreme<true, T>(const SpmmProblem<T>&, std::int32_t*);                                                \
    TENON_KERNEL_INSTANCE void spmm_extreme<false, T>(const SpmmProblem<T>&, std::int32_t*);                                               \
    TENON_KERNEL_INSTANCE void sddmm<T>(const SddmmProblem<T>&);                                                                           \
    TENON_KERNEL_INSTANCE void neighbour_attention<T>(const NeighbourAttention<T>&, T*);                                                   \
    TENON_KERNEL_INSTANCE void neighbour_attention_backward<T>(const NeighbourAttention<T>&, const CsrRows&, const T*, const T*, T*,       \
                                                              bool, T*, bool, T*, bool, T*, bool, typename NeighbourAttention<T>::A*);
TENON_GRAPH_INSTANCES(float)
TENON_GRAPH_INSTANCES(double)
#undef TENON_GRAPH_INSTANCES
}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
#endif

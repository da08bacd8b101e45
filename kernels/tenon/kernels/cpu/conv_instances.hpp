// The instances of convolution, for programs that compile the kernels once: see gemm_instances.hpp.
#pragma once

#include <tenon/kernels/cpu/conv.hpp>

#if defined(TENON_EXTERN_KERNELS) || defined(TENON_INSTANTIATE_KERNELS)
#if defined(TENON_INSTANTIATE_KERNELS)
#define TENON_CONV_INSTANCE template
#else
#define TENON_CONV_INSTANCE extern template
#endif
namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {
#define TENON_CONV_INSTANCES(T, D)                                                                                                   \
    TENON_CONV_INSTANCE void conv_forward<T, D>(const ConvShape<D>&, const T*, const ImageStrides<D>&, const T*, T*,                  \
                                                const ImageStrides<D>&, const ConvEpilogue<T>&);                                    \
    TENON_CONV_INSTANCE void conv_backward_data<T, D>(const ConvShape<D>&, const T*, const ImageStrides<D>&, const T*, T*,            \
                                                      const ImageStrides<D>&, const ConvEpilogue<T>&);                              \
    TENON_CONV_INSTANCE void conv_backward_weights<T, D>(const ConvShape<D>&, const T*, const ImageStrides<D>&, const T*,             \
                                                         const ImageStrides<D>&, T*, bool);
TENON_CONV_INSTANCES(float, 1)
TENON_CONV_INSTANCES(float, 2)
TENON_CONV_INSTANCES(float, 3)
TENON_CONV_INSTANCES(double, 1)
TENON_CONV_INSTANCES(double, 2)
TENON_CONV_INSTANCES(double, 3)
#undef TENON_CONV_INSTANCES
}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
#undef TENON_CONV_INSTANCE
#endif

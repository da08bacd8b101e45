// Second derivatives: include this where a backward pass is to be recorded ({.create_graph = true}), for jvp and for
// hessian_vector_product. Expressions of every element type, everything else for float and double.
//
// The code takes most of a minute to compile. Under TENON_EXTERN_KERNELS it lives in one source file, which says
//     #define TENON_INSTANTIATE_KERNELS  // or TENON_INSTANTIATE_SECOND_ORDER: this and no other kernels
//     #include <tenon/ops/second_order.hpp>
// and elsewhere this header declares and nothing more. A program that lacks that file does not link.
#pragma once

#include <tenon/autograd/functional.hpp>

#if defined(TENON_INSTANTIATE_KERNELS) && !defined(TENON_INSTANTIATE_SECOND_ORDER)
#define TENON_INSTANTIATE_SECOND_ORDER
#endif

#if !defined(TENON_EXTERN_KERNELS) || defined(TENON_INSTANTIATE_SECOND_ORDER)
#include <tenon/ops/second_order/conv.hpp>
#include <tenon/ops/second_order/count.hpp>
#include <tenon/ops/second_order/fused.hpp>
#include <tenon/ops/second_order/index.hpp>
#include <tenon/ops/second_order/matmul.hpp>
#include <tenon/ops/second_order/norm.hpp>
#include <tenon/ops/second_order/norm_layers.hpp>
#include <tenon/ops/second_order/perturb.hpp>
#include <tenon/ops/second_order/reduce.hpp>
#include <tenon/ops/second_order/scan.hpp>
#include <tenon/ops/second_order/shape.hpp>
#include <tenon/ops/second_order/softmax.hpp>
#include <tenon/ops/second_order/spatial.hpp>
#include <tenon/ops/second_order/sparse.hpp>
#include <tenon/ops/second_order/views.hpp>
#endif

#if defined(TENON_EXTERN_KERNELS) || defined(TENON_INSTANTIATE_SECOND_ORDER)
namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

// The linker prints this name where the source file above is missing; the call takes that file out of a static library.
bool include_tenon_ops_second_order_hpp_where_TENON_INSTANTIATE_KERNELS_is_defined();
#if defined(TENON_INSTANTIATE_SECOND_ORDER)
bool include_tenon_ops_second_order_hpp_where_TENON_INSTANTIATE_KERNELS_is_defined() { return true; }
#else
inline const bool second_order_is_linked = include_tenon_ops_second_order_hpp_where_TENON_INSTANTIATE_KERNELS_is_defined();
#endif

}  // namespace impl
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
#endif

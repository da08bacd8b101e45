// The sizes around axes: what kernels over [outer, n, inner] need.
#pragma once

#include <tenon/core/tensor.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

struct AxisSplit { long outer = 1, n = 1, inner = 1; };

// Around the axes first ... last, which count as one.
inline AxisSplit split_at(const detail::Record* r, int first, int last) {
    AxisSplit s;
    for (int i = 0; i < r->rank; ++i) (i < first ? s.outer : i <= last ? s.n : s.inner) *= r->dims()[i];
    return s;
}
inline AxisSplit split_at(const detail::Record* r, int axis) { return split_at(r, axis, axis); }

}  // namespace impl
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

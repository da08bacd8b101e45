// Second derivatives of pooling and interpolation: both are linear maps, max pooling at the positions that were chosen.
#pragma once

#include <tenon/ops/pool.hpp>
#include <tenon/ops/second_order/shape.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

template <class T>
struct SpatialEntries {
    detail::RecordedBackward band{&detail::node_kind<LinearMapNode<T, BandMap>>, &linear_map_recorded<T, BandMap>};
    detail::RecordedBackward pick{&detail::node_kind<LinearMapNode<T, PoolPickMap>>, &linear_map_recorded<T, PoolPickMap>};
};
inline SpatialEntries<float> spatial_entries_float;
inline SpatialEntries<double> spatial_entries_double;

}  // namespace impl
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

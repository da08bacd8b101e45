// Read-outs: one row per graph from the rows of its nodes.
#pragma once

#include <tenon/graph/pool/batch.hpp>

namespace tenon::graph {

// global_add_pool(x, batch), global_mean_pool, global_max_pool: x [nodes, features] -> [graphs, features]: the sum, mean or
// largest element of the nodes of each graph; a graph without nodes gives 0. Of several largest the first gets the gradient.
// Throws ShapeError and DeviceError.
template <class T>
[[nodiscard]] Tensor<T, 2> global_add_pool(const Tensor<T, 2>& x, const Segments& batch = {}) {
    return segment_sum(x, impl_pool::batch_of("global_add_pool", x, batch));
}
template <class T>
[[nodiscard]] Tensor<T, 2> global_mean_pool(const Tensor<T, 2>& x, const Segments& batch = {}) {
    return segment_mean(x, impl_pool::batch_of("global_mean_pool", x, batch));
}
template <class T>
[[nodiscard]] Tensor<T, 2> global_max_pool(const Tensor<T, 2>& x, const Segments& batch = {}) {
    return segment_max(x, impl_pool::batch_of("global_max_pool", x, batch)).values;
}

}  // namespace tenon::graph

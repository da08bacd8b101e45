// What graph convolutions share: how weights begin, and features that are dense or sparse.
#pragma once

#include <tenon/graph/normalize.hpp>
#include <tenon/nn/linear.hpp>
#include <tenon/nn/sequential.hpp>

namespace tenon::graph {
inline namespace TENON_CONFIG_NAMESPACE {

// Fresh weights, uniform in +-sqrt(6 / (sum of the last two sizes)) (Glorot and Bengio 2010, as PyTorch Geometric counts).
template <class T, int R>
Tensor<T, R> glorot(Shape<R> sizes, Key key) {
    static_assert(R >= 2);
    const double bound = __builtin_sqrt(6 / static_cast<double>(sizes[R - 2] + sizes[R - 1]));
    return uniform<T>(sizes, key, {-bound, bound}).require_grad();
}
template <class T, std::size_t R>
Tensor<T, static_cast<int>(R)> glorot(const Dim (&sizes)[R], Key key) {
    Shape<static_cast<int>(R)> s;
    for (std::size_t i = 0; i < R; ++i) s.dims[i] = sizes[i].value;
    return glorot<T>(s, key);
}
// A linear layer without bias, weight [out, in], that begins so.
template <class T>
nn::Linear<T, false> glorot_linear(long in, long out, Key key) {
    nn::Linear<T, false> layer(in, out, key);
    layer.weight = glorot<T>({out, in}, key);
    return layer;
}

// x times the transpose of a weight [out, in]; x dense or a Csr of bag-of-words features.
template <class T>
Tensor<T, 2> project(const Tensor<T, 2>& x, const Tensor<T, 2>& weight) {
    return linear(x, weight);
}
template <class T>
Tensor<T, 2> project(const Csr<T>& x, const Tensor<T, 2>& weight) {
    return matmul(x, contiguous(weight.transpose()));
}
template <class X>
inline constexpr bool is_csr = false;
template <class T>
inline constexpr bool is_csr<Csr<T>> = true;

namespace impl {

// Features of the edges must be there where a layer was made for them, and only there: [edges, edge_dim].
template <class T>
void check_edge_attr(const char* layer, const Graph& g, const Tensor<T, 2>& edge_attr, long edge_dim) {
    if (!edge_attr.has_value()) {
        if (edge_dim > 0)
            fail<ValueError>(layer, ": no features of the edges came, but edge_dim is ", edge_dim, ": expected [", g.edges(), ", ",
                             edge_dim, "]");
        return;
    }
    if (edge_dim == 0)
        fail<ValueError>(layer, ": features of the edges, ", edge_attr.record()->description(), ", came, but edge_dim is 0");
    check_nodes(layer, g, edge_attr.record(), g.edges(), "edges");
    if (edge_attr.shape(1) != edge_dim)
        fail<ShapeError>(layer, ": features of the edges are ", edge_attr.record()->description(), ", but edge_dim is ", edge_dim);
}
// The graph with a self-loop at every node where that is asked for: sources and targets must be the same nodes then.
inline const Graph& looped(const char* layer, const Graph& g, bool add_self_loops) {
    if (!add_self_loops) return g;
    if (g.sources() != g.targets())
        fail<ValueError>(layer, ": no self-loops can be added between ", g.sources(), " sources and ", g.targets(),
                         " targets\n       hint: set add_self_loops to false for graphs between different nodes");
    return with_self_loops(g);
}

}  // namespace impl

// Operands of layers: expressions are evaluated, sparse matrices stay.
template <class X>
auto features(X&& x) {
    if constexpr (is_csr<std::remove_cvref_t<X>>) return x;
    else return contiguous(impl::as_tensor(static_cast<X&&>(x)));
}

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon::graph

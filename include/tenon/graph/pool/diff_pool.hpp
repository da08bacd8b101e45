// Dense graphs, padded to the same number of nodes, and DiffPool on them (Ying et al., "Hierarchical graph representation learning
// with differentiable pooling", NeurIPS 2018).
#pragma once

#include <tenon/graph/graph.hpp>
#include <tenon/graph/pool/batch.hpp>
#include <tenon/ops/mask.hpp>
#include <tenon/ops/matmul.hpp>
#include <tenon/ops/norm.hpp>
#include <tenon/ops/reduce.hpp>
#include <tenon/ops/scatter.hpp>
#include <tenon/ops/softmax.hpp>

namespace tenon::graph {

template <class T>
struct DenseNodes {
    Tensor<T, 3> x;        // [graphs, n, F], zero where a graph has fewer nodes
    Tensor<bool, 2> mask;  // [graphs, n], true where there is a node
};

namespace impl_pool {

// Of each row the place in [graphs, n], n being the most nodes of a graph or as given.
inline Tensor<std::int64_t, 1> dense_places(const char* operation, const Segments& batch, long& n) {
    const Tensor<std::int64_t, 1> pointers = batch.pointers().to(cpu);
    long most = 0;
    for (long s = 0; s < batch.count(); ++s)
        most = static_cast<long>(pointers.data()[s + 1] - pointers.data()[s]) > most
                   ? static_cast<long>(pointers.data()[s + 1] - pointers.data()[s])
                   : most;
    if (n < 0) n = most;
    if (most > n) fail<ShapeError>(operation, ": a graph has ", most, " nodes, but there is room for ", n);
    const bool ordered = !batch.order().has_value();
    const Tensor<std::int64_t, 1> order = ordered ? Tensor<std::int64_t, 1>() : batch.order().to(cpu);
    Tensor<std::int64_t, 1> places = empty<std::int64_t>({batch.rows()});
    for (long s = 0; s < batch.count(); ++s)
        for (std::int64_t k = pointers.data()[s]; k < pointers.data()[s + 1]; ++k)
            places.data()[ordered ? k : order.data()[k]] = s * n + k - pointers.data()[s];
    return places;
}

}  // namespace impl_pool

// auto [x, mask] = to_dense_batch(x, batch, n): the rows of each graph beside those of the others, padded with zeros to n rows (-1:
// the most that a graph has). Throws ShapeError where a graph has more. Derivative: the rows' own. (The host works out their places.)
template <class T>
[[nodiscard]] DenseNodes<T> to_dense_batch(const Tensor<T, 2>& x, const Segments& given = {}, long n = -1) {
    const Segments batch = impl_pool::batch_of("to_dense_batch", x, given);
    const Tensor<std::int64_t, 1> places = impl_pool::dense_places("to_dense_batch", batch, n);
    Tensor<bool, 2> mask = full<bool>({batch.count(), n}, false);
    for (long i = 0; i < places.size(); ++i) mask.data()[places.data()[i]] = true;
    const Tensor<T, 2> rows = index_copy<0>(zeros<T>({batch.count() * n, x.shape(1)}, x.device()), places.to(x.device()), x);
    return {rows.reshape({batch.count(), n, x.shape(1)}), mask.to(x.device())};
}

// to_dense_adj(g, batch, n, weight): [graphs, n, n]: element (source, target) of a graph's matrix is the sum of the weights (1
// without any) of its edges. An edge between two graphs throws ValueError. Derivative: to the weights.
// (The host works out the elements.)
template <class T>
[[nodiscard]] Tensor<T, 3> to_dense_adj(const Graph& g, const Segments& given = {}, long n = -1, const Tensor<T, 1>& weight = {}) {
    const Segments batch =
        given.pointers().has_value() ? given : Segments::from_pointers(from<std::int64_t>({0, static_cast<std::int64_t>(g.nodes())}));
    if (batch.rows() != g.nodes()) fail<ShapeError>("to_dense_adj: a graph of ", g.nodes(), " nodes, but the batch is of ", batch.rows());
    if (weight.has_value() && weight.size() != g.edges())
        fail<ShapeError>("to_dense_adj: ", weight.size(), " weights for ", g.edges(), " edges");
    const Tensor<std::int64_t, 1> places = impl_pool::dense_places("to_dense_adj", batch, n);
    const Tensor<std::int64_t, 2> ends = g.edge_index().to(cpu);
    Tensor<std::int64_t, 1> to = empty<std::int64_t>({g.edges()});
    for (long e = 0; e < g.edges(); ++e) {
        const std::int64_t a = places.data()[ends.data()[e]], b = places.data()[ends.data()[g.edges() + e]];
        if (a / n != b / n) fail<ValueError>("to_dense_adj: edge ", e, " goes from graph ", a / n, " to graph ", b / n);
        to.data()[e] = a * n + b % n;
    }
    const Tensor<T, 1> values = weight.has_value() ? weight : ones<T>({g.edges()}, g.device());
    const Tensor<T, 1> flat = index_add<0>(zeros<T>({batch.count() * n * n}, g.device()), to.to(g.device()), values);
    return flat.reshape({batch.count(), n, n});
}

template <class T>
struct DiffPooled {
    Tensor<T, 3> x;            // [graphs, clusters, F]
    Tensor<T, 3> adjacency;    // [graphs, clusters, clusters]
    Tensor<T, 0> link_loss;    // |A - S S'| (Frobenius), divided by the number of elements
    Tensor<T, 0> entropy_loss; // the mean entropy of the rows of S
};

// dense_diff_pool(x, adjacency, scores, mask): nodes x [B, n, F] are shared out among clusters by S = softmax(scores [B, n, C]):
// S' x and S' A S, with rows where the mask is false (no mask: none) left out. normalize: whether the link loss is divided by the
// number of elements. Throws ShapeError. Differentiable throughout.
template <class T>
[[nodiscard]] DiffPooled<T> dense_diff_pool(const Tensor<T, 3>& given, const Tensor<T, 3>& adjacency, const Tensor<T, 3>& scores,
                                            const Tensor<bool, 2>& mask = {}, bool normalize = true) {
    const long batch = given.shape(0), n = given.shape(1);
    const auto expect = [&](bool right, const char* what, const detail::Record* r) {
        if (!right) fail<ShapeError>("dense_diff_pool: ", what, " is ", r->description(), " for x ", given.record()->description());
    };
    expect(adjacency.shape(0) == batch && adjacency.shape(1) == n && adjacency.shape(2) == n, "the adjacency", adjacency.record());
    expect(scores.shape(0) == batch && scores.shape(1) == n, "the scores", scores.record());
    Tensor<T, 3> x = given, s = softmax<-1>(scores);
    if (mask.has_value()) {
        expect(mask.shape(0) == batch && mask.shape(1) == n, "the mask", mask.record());
        const Tensor<bool, 3> absent = !mask.template unsqueeze<2>();
        x = Tensor<T, 3>(masked_fill(x, absent, 0));
        s = Tensor<T, 3>(masked_fill(s, absent, 0));
    }
    const Tensor<T, 3> back = s.transpose();
    DiffPooled<T> result;
    result.x = matmul(back, x);
    const Tensor<T, 3> half = matmul(back, adjacency), reached = matmul(s, back);
    result.adjacency = matmul(half, s);
    result.link_loss = norm(adjacency - reached);
    if (normalize) result.link_loss = result.link_loss * (T(1) / static_cast<T>(adjacency.size() > 0 ? adjacency.size() : 1));
    result.entropy_loss = tenon::mean(tenon::sum<-1>(-s * log(s + T(1e-15))));
    return result;
}

}  // namespace tenon::graph

// What a node receives from its neighbours: sums, means and extremes of their rows, weighted by edge; nothing of size edges x
// features is stored.
#pragma once

#include <tenon/graph/ordered_weights.hpp>

namespace tenon::graph {

// The last three of messages that are formulas only (message.hpp).
enum class Aggregation : int { sum, mean, max, min, product, std_dev, softmax_sum };
inline constexpr Aggregation sum = Aggregation::sum, mean = Aggregation::mean, max = Aggregation::max, min = Aggregation::min;
inline constexpr Aggregation product = Aggregation::product, std_dev = Aggregation::std_dev, softmax_sum = Aggregation::softmax_sum;

inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

using namespace tenon::impl;

// Operands of a graph operation: where they are, how many rows they have.
inline void check_nodes(const char* operation, const Graph& g, const detail::Record* x, long rows, const char* which) {
    check_device(operation, x->storage->device);
    if (!(x->storage->device == g.device())) fail_devices(operation, g.device(), x->storage->device);
    if (x->dims()[0] != rows)
        fail<ShapeError>(operation, ": ", x->description(), " has ", x->dims()[0], " rows, but the graph has ", rows, " ", which);
}

template <class T>
detail::AnyTensor aggregate_any(Aggregation how, const Graph& g, detail::Record* x, detail::Record* w) {
    constexpr const char* name = "aggregate";
    check_nodes(name, g, x, g.sources(), "sources");
    SparseProduct p{g.structure(), false, how == Aggregation::mean, 1, 1, {}};
    long columns = 1, dims[max_rank];
    for (int i = 1; i < x->rank; ++i) columns *= dims[i] = x->dims()[i];
    dims[0] = g.targets();
    if (w != nullptr) {
        check_nodes(name, g, w, g.edges(), "edges");
        if (w->rank == 2) p.heads = w->dims()[1];
        if (w->rank == 2 && (x->rank < 2 || (x->dims()[1] != p.heads && p.heads != 1)))
            fail<ShapeError>(name, ": weights ", w->description(), " of ", p.heads, " heads came for ", x->description(),
                             ", expected [nodes, heads, ...]");
    }
    p.width = p.heads > 0 ? columns / p.heads : 0;
    if (how == Aggregation::sum || how == Aggregation::mean) {
        // Weights that want gradients change with every step.
        OrderedValues ordered;
        if (w != nullptr && !detail::wants_gradient(w)) ordered = ordered_weights(g, w, p.heads, detail::wants_gradient(x));
        return spmm_of<T>(name, p, x, w, x->rank, dims, ordered);
    }
    if (how != Aggregation::max && how != Aggregation::min)
        fail<ValueError>(
            name, ": product, std_dev and softmax_sum are there for messages that are formulas: include <tenon/graph/message.hpp>");
    const bool recorded = detail::wants_gradient(x) || (w != nullptr && detail::wants_gradient(w));
    detail::AnyTensor y(detail::new_record(dtype_of<T>, x->rank, dims, x->storage->device, name)), at;
    if (recorded) at = detail::AnyTensor(detail::new_record(DType::int32, x->rank, dims, x->storage->device, name));
    std::int32_t* const places = at ? reinterpret_cast<std::int32_t*>(at->data()) : nullptr;
    const T* const weights = w != nullptr ? reinterpret_cast<const T*>(w->data()) : nullptr;
    const kernels::cpu::SpmmProblem<T> problem{csr_rows(g.in()), weights, p.heads, p.width, reinterpret_cast<const T*>(x->data()), nullptr,
                                               false, reinterpret_cast<T*>(y->data()), false};
    if (how == Aggregation::max) TENON_RUN(x->storage->device, spmm_extreme<true>(problem, places));
    else TENON_RUN(x->storage->device, spmm_extreme<false>(problem, places));
    if (recorded) {
        p.chosen = at;
        detail::make_node<SpmmNode<T>>(name, p, x, w)->set_result(y.get());
    }
    return y;
}

template <class X>
auto operand(X&& given) {
    auto x = contiguous(as_tensor(static_cast<X&&>(given)));
    static_assert(Floating<typename decltype(x)::Scalar>,
                  "tenon: aggregate: defined for floating-point tensors: write cast<float>(x) first");
    static_assert(decltype(x)::rank >= 1, "tenon: aggregate: a scalar has no rows");
    return x;
}

}  // namespace impl

// aggregate(sum, g, x): row i of the result is the sum (mean, max, min) over the edges j -> i of x[j]: [sources, ...] ->
// [targets, ...]. Targets without edges get 0. 16-bit types add up in float. Of several extremes the first edge in the order
// (source, position) counts; a NaN is larger (for min smaller) than everything. Throws ShapeError. Derivative: the
// neighbours' share of the gradient; of an extreme, all of it goes to the neighbour found.
template <Expression X>
[[nodiscard]] auto aggregate(Aggregation how, const Graph& g, X&& given) {
    const auto x = impl::operand(static_cast<X&&>(given));
    using Own = std::remove_const_t<decltype(x)>;
    return Own(impl::aggregate_any<typename Own::Scalar>(how, g, x.record(), nullptr));
}
// The same of weight[e] * x[j]: weights of the edges as they are in edge_index, [E], or [E, H] for x [sources, H, ...]. A mean
// divides by the number of edges, not by the weights. Derivatives of both.
template <Expression X, Expression W>
[[nodiscard]] auto aggregate(Aggregation how, const Graph& g, X&& given, W&& weights) {
    const auto x = impl::operand(static_cast<X&&>(given));
    const auto w = impl::operand(static_cast<W&&>(weights));
    using Own = std::remove_const_t<decltype(x)>;
    using Weights = std::remove_const_t<decltype(w)>;
    static_assert(std::is_same_v<typename Own::Scalar, typename Weights::Scalar>,
                  "tenon: aggregate: features and weights must have one element type");
    static_assert(Weights::rank <= 2, "tenon: aggregate: weights are [edges] or [edges, heads]");
    return Own(impl::aggregate_any<typename Own::Scalar>(how, g, x.record(), w.record()));
}
// aggregate<graph::sum>(g, x), aggregate<graph::max>(g, x, weights).
template <Aggregation How, Expression... A>
[[nodiscard]] auto aggregate(const Graph& g, A&&... operands) {
    return aggregate(How, g, static_cast<A&&>(operands)...);
}

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon::graph

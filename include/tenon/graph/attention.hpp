// Attention to neighbours with additive scores, in memory linear in the number of nodes.
#pragma once

#include <tenon/graph/aggregate.hpp>
#include <tenon/kernels/cpu/graph/attention.hpp>
#include <tenon/kernels/cpu/rng.hpp>
#include <tenon/ops/layer_norm.hpp>
#if TENON_CUDA
#include <tenon/kernels/cuda/graph/attention.cuh>
#include <tenon/kernels/cuda/rng.cuh>
#endif

namespace tenon::graph {

struct GatOptions {
    double negative_slope = 0.2;  // of scores below 0
    double dropout = 0;           // probability that a weight is set to 0 (the others are divided by 1 - dropout)
    Key key = {};                 // for it: weights [edges, heads] are kept as dropout(weights, p, key) keeps them
};

inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

template <class T>
class GatNode final : public detail::OperationNode<4> {
public:
    using A = typename kernels::cpu::NeighbourAttention<T>::A;
    GatNode(const Graph& g, const GatOptions& options, detail::Record* h, detail::Record* s, detail::Record* t, detail::Record* e, detail::Record* y,
            detail::AnyTensor statistics)
        : OperationNode("gat_aggregate"), graph_(g), options_(options), statistics_(static_cast<detail::AnyTensor&&>(statistics)) {
        detail::Record* const given[4] = {h, s, t, e};
        for (int k = 0; k < 4; ++k) {
            if (given[k] == nullptr) continue;
            set_input(k, given[k]);
            saved_[k].save(given[k]);
        }
        y_.save_output(y);
    }
    const void* kind() const noexcept override { return &detail::node_kind<GatNode>; }
    void release_saved() noexcept override {
        for (detail::Saved& s : saved_) s.tensor = detail::AnyTensor();
        y_.tensor = statistics_ = detail::AnyTensor();
        graph_ = Graph();
    }
    void backward() override;
    const Graph& graph() const { return graph_; }
    const GatOptions& options() const { return options_; }
    const detail::Saved& saved(int k) const { return saved_[k]; }

private:
    Graph graph_;
    GatOptions options_;
    detail::Saved saved_[4], y_;
    detail::AnyTensor statistics_;
};

// Whether weights are kept, for the time of a pass.
inline detail::AnyTensor kept_weights(const Graph& g, long heads, const GatOptions& options) {
    if (options.dropout == 0) return {};
    const long dims[2] = {g.edges(), heads};
    detail::AnyTensor kept(detail::new_record(DType::boolean, 2, dims, g.device()));
    TENON_RUN(g.device(), bernoulli(options.key, kept->size, reinterpret_cast<bool*>(kept->data()), 1 - options.dropout));
    return kept;
}
template <class T>
kernels::cpu::NeighbourAttention<T> attention_problem(const Graph& g, const GatOptions& options, const detail::Record* const (&given)[4], const detail::AnyTensor& kept,
                                                      const detail::AnyTensor& statistics) {
    using A = typename kernels::cpu::NeighbourAttention<T>::A;
    kernels::cpu::NeighbourAttention<T> p;
    const auto data = [](const detail::Record* r) { return r == nullptr ? nullptr : reinterpret_cast<const T*>(r->data()); };
    p.a = csr_rows(g.in());
    p.heads = given[0]->dims()[1];
    p.width = given[0]->dims()[2];
    p.h = data(given[0]), p.source = data(given[1]), p.target = data(given[2]), p.edge = data(given[3]);
    p.slope = static_cast<A>(options.negative_slope);
    if (kept) p.kept = reinterpret_cast<const bool*>(kept->data());
    p.keep_scale = static_cast<A>(options.dropout < 1 ? 1 / (1 - options.dropout) : 0);
    if (statistics) {
        p.top = reinterpret_cast<A*>(statistics->data());
        p.norm = p.top + g.targets() * p.heads;
    }
    return p;
}

template <class T>
void GatNode<T>::backward() {
    const detail::Record* given[4] = {};
    for (int k = 0; k < 4; ++k)
        if (saved_[k].tensor) given[k] = saved_[k].check(name);
    const long heads = given[0]->dims()[1], dims[2] = {graph_.edges(), heads};
    const detail::AnyTensor kept = kept_weights(graph_, heads, options_);
    const auto p = attention_problem<T>(graph_, options_, given, kept, statistics_);
    const detail::AnyTensor scores(detail::new_record(dtype_of<A>, 2, dims, graph_.device()));
    // Sources and targets may be given the same scores: the gradient of the second is then added to the first's.
    const bool same = wanted(1) && wanted(2) && edges_[1].node == edges_[2].node && edges_[1].slot == edges_[2].slot;
    const OptionalTarget<T> dh(edges_[0]), ds(edges_[1]), dt(edges_[2]), de(edges_[3]);
    TENON_RUN(graph_.device(), neighbour_attention_backward(p, csr_rows(graph_.out()), reinterpret_cast<const T*>(y_.check(name)->data()),
                                                            reinterpret_cast<const T*>(gradient()->data()), dh.data, dh.add, ds.data, ds.add, dt.data, dt.add || same,
                                                            de.data, de.add, reinterpret_cast<A*>(scores->data())));
}

template <class T>
Tensor<T, 3> gat_of(const Graph& g, const Tensor<T, 3>& h, const Tensor<T, 2>& s, const Tensor<T, 2>& t, const Tensor<T, 2>& e, const GatOptions& options) {
    constexpr const char* name = "gat_aggregate";
    using A = typename kernels::cpu::NeighbourAttention<T>::A;
    const long heads = h.shape(1);
    check_nodes(name, g, h.record(), g.sources(), "sources");
    check_nodes(name, g, s.record(), g.sources(), "sources");
    check_nodes(name, g, t.record(), g.targets(), "targets");
    if (e.has_value()) check_nodes(name, g, e.record(), g.edges(), "edges");
    for (const Tensor<T, 2>* x : {&s, &t, &e})
        if (x->has_value() && x->shape(1) != heads)
            fail<ShapeError>(name, ": scores ", x->record()->description(), " came for ", heads, " heads of ", h.record()->description());
    if (!(options.dropout >= 0 && options.dropout <= 1)) fail<ValueError>(name, ": dropout ", options.dropout, ", expected 0 to 1");
    const bool recorded = detail::wants_gradient(h.record()) || detail::wants_gradient(s.record()) || detail::wants_gradient(t.record()) ||
                          (e.has_value() && detail::wants_gradient(e.record()));
    const Tensor<T, 3> y = empty<T>({g.targets(), heads, h.shape(2)}, h.device());
    detail::AnyTensor statistics;
    const long dims[3] = {2, g.targets(), heads};
    // (Of heads without width there is no pass that writes them.)
    if (recorded && h.shape(2) == 0) statistics = detail::AnyTensor::share(ones<A>({2, g.targets(), heads}, h.device()).record());
    else if (recorded) statistics = detail::AnyTensor(detail::new_record(dtype_of<A>, 3, dims, h.device()));
    const detail::Record* const given[4] = {h.record(), s.record(), t.record(), e.has_value() ? e.record() : nullptr};
    const detail::AnyTensor kept = kept_weights(g, heads, options);
    const auto p = attention_problem<T>(g, options, given, kept, statistics);
    TENON_RUN(h.device(), neighbour_attention(p, y.data()));
    if (recorded)
        detail::make_node<GatNode<T>>(g, options, h.record(), s.record(), t.record(), e.has_value() ? e.record() : nullptr, y.record(),
                                      static_cast<detail::AnyTensor&&>(statistics))
            ->set_result(y.record());
    return y;
}

}  // namespace impl

// gat_aggregate(g, h, s, t): what graph attention (Velickovic et al. 2018) sums up at each target i and head: the h[j] of its
// edges j -> i, weighted by the softmax over them of leaky_relu(s[j] + t[i]). h [sources, H, C], s [sources, H], t [targets, H];
// result [targets, H, C], 0 where there are no edges. Kept for backward are two numbers per target and head. 16-bit types
// compute in float. Throws ShapeError, ValueError. Derivatives of h, s and t.
template <Expression X, Expression S, Expression D>
[[nodiscard]] auto gat_aggregate(const Graph& g, X&& h, S&& s, D&& t, const GatOptions& options = {}) {
    using T = typename decltype(impl::operand(static_cast<X&&>(h)))::Scalar;
    const Tensor<T, 3> values = impl::operand(static_cast<X&&>(h));
    const Tensor<T, 2> sources = impl::operand(static_cast<S&&>(s)), targets = impl::operand(static_cast<D&&>(t));
    return impl::gat_of<T>(g, values, sources, targets, Tensor<T, 2>(), options);
}
// The same with scores of the edges, [E, H], that are added before the leaky_relu; with their derivative.
template <Expression X, Expression S, Expression D, Expression E>
[[nodiscard]] auto gat_aggregate(const Graph& g, X&& h, S&& s, D&& t, E&& e, const GatOptions& options = {}) {
    using T = typename decltype(impl::operand(static_cast<X&&>(h)))::Scalar;
    const Tensor<T, 3> values = impl::operand(static_cast<X&&>(h));
    const Tensor<T, 2> sources = impl::operand(static_cast<S&&>(s)), targets = impl::operand(static_cast<D&&>(t)), edges = impl::operand(static_cast<E&&>(e));
    return impl::gat_of<T>(g, values, sources, targets, edges, options);
}

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon::graph

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

// What forward keeps: of each target and head the largest score and the sum of exponentials, [2, targets, heads]; and, where the
// targets' scores get their gradients from it, NeighbourAttention::slopes and bent, [targets, heads] and [targets, heads, width].
struct Kept {
    detail::AnyTensor statistics, slopes, bent;
};

template <class T>
class GatNode final : public detail::OperationNode<4> {
public:
    using A = typename kernels::cpu::NeighbourAttention<T>::A;
    GatNode(const Graph& g, const GatOptions& options, detail::Record* h, detail::Record* s, detail::Record* t, detail::Record* e, detail::Record* y, Kept kept)
        : OperationNode("gat_aggregate"), graph_(g), options_(options), kept_(static_cast<Kept&&>(kept)) {
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
        y_.tensor = detail::AnyTensor();
        kept_ = Kept();
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
    Kept kept_;
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
kernels::cpu::NeighbourAttention<T> attention_problem(const Graph& g, const GatOptions& options, const detail::Record* const (&given)[4],
                                                      const detail::AnyTensor& weights, const Kept& kept) {
    using A = typename kernels::cpu::NeighbourAttention<T>::A;
    kernels::cpu::NeighbourAttention<T> p;
    const auto data = [](const detail::Record* r) { return r == nullptr ? nullptr : reinterpret_cast<const T*>(r->data()); };
    p.a = csr_rows(g.in());
    p.heads = given[0]->dims()[1];
    p.width = given[0]->dims()[2];
    p.h = data(given[0]), p.source = data(given[1]), p.target = data(given[2]), p.edge = data(given[3]);
    p.slope = static_cast<A>(options.negative_slope);
    if (weights) p.kept = reinterpret_cast<const bool*>(weights->data());
    p.keep_scale = static_cast<A>(options.dropout < 1 ? 1 / (1 - options.dropout) : 0);
    if (kept.statistics) {
        p.top = reinterpret_cast<A*>(kept.statistics->data());
        p.norm = p.top + g.targets() * p.heads;
    }
    if (kept.bent) {
        p.bent = reinterpret_cast<A*>(kept.bent->data());
        p.slopes = reinterpret_cast<A*>(kept.slopes->data());
    }
    return p;
}

template <class T>
void GatNode<T>::backward() {
    const detail::Record* given[4] = {};
    for (int k = 0; k < 4; ++k)
        if (saved_[k].tensor) given[k] = saved_[k].check(name);
    const long heads = given[0]->dims()[1], dims[2] = {graph_.edges(), heads};
    const detail::AnyTensor weights = kept_weights(graph_, heads, options_);
    const auto p = attention_problem<T>(graph_, options_, given, weights, kept_);
    detail::AnyTensor scores;
    // (Kernels of a device take all their sums from them.)
    if (wanted(3) || (wanted(2) && !kept_.bent) || !graph_.device().is_cpu())
        scores = detail::AnyTensor(detail::new_record(dtype_of<A>, 2, dims, graph_.device()));
    // Sources and targets may be given the same scores: the gradient that comes second is then added to the first.
    const bool same = wanted(1) && wanted(2) && edges_[1].node == edges_[2].node && edges_[1].slot == edges_[2].slot, targets_first = p.bent != nullptr;
    const OptionalTarget<T> dh(edges_[0]), ds(edges_[1]), dt(edges_[2]), de(edges_[3]);
    const bool add_s = same && targets_first ? true : ds.add, add_t = !same ? dt.add : targets_first ? ds.add : true;
    TENON_RUN(graph_.device(), neighbour_attention_backward(p, csr_rows(graph_.out()), reinterpret_cast<const T*>(y_.check(name)->data()),
                                                            reinterpret_cast<const T*>(gradient()->data()), dh.data, dh.add, ds.data, add_s, dt.data,
                                                            add_t, de.data, de.add, scores ? reinterpret_cast<A*>(scores->data()) : nullptr));
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
    Kept kept;
    const long dims[3] = {2, g.targets(), heads};
    // (Of heads without width there is no pass that writes them.)
    if (recorded && h.shape(2) == 0) kept.statistics = detail::AnyTensor::share(ones<A>({2, g.targets(), heads}, h.device()).record());
    else if (recorded) kept.statistics = detail::AnyTensor(detail::new_record(dtype_of<A>, 3, dims, h.device()));
    // Else backward writes a number for every edge and head, and reads it again: at places all over the memory, if those are many.
    const bool many = g.edges() * heads * static_cast<long>(sizeof(A)) > 2 * kernels::cpu::impl::near_table &&
                      g.edges() > g.targets() * h.shape(2);  // and there is not more to keep than that
    if (recorded && many && std::is_same_v<A, T> && h.device().is_cpu() && h.shape(2) > 0 && detail::wants_gradient(t.record()) &&
        !(e.has_value() && detail::wants_gradient(e.record()))) {
        const long like[3] = {g.targets(), heads, h.shape(2)};
        kept.slopes = detail::AnyTensor(detail::new_record(dtype_of<A>, 2, like, h.device()));
        kept.bent = detail::AnyTensor(detail::new_record(dtype_of<A>, 3, like, h.device()));
    }
    const detail::Record* const given[4] = {h.record(), s.record(), t.record(), e.has_value() ? e.record() : nullptr};
    const detail::AnyTensor weights = kept_weights(g, heads, options);
    const auto p = attention_problem<T>(g, options, given, weights, kept);
    TENON_RUN(h.device(), neighbour_attention(p, y.data()));
    if (recorded)
        detail::make_node<GatNode<T>>(g, options, h.record(), s.record(), t.record(), e.has_value() ? e.record() : nullptr, y.record(),
                                      static_cast<Kept&&>(kept))
            ->set_result(y.record());
    return y;
}

}  // namespace impl

// gat_aggregate(g, h, s, t): what graph attention (Velickovic et al. 2018) sums up at each target i and head: the h[j] of its
// edges j -> i, weighted by the softmax over them of leaky_relu(s[j] + t[i]). h [sources, H, C], s [sources, H], t [targets, H];
// result [targets, H, C], 0 where there are no edges. Kept for backward are two numbers per target and head, and over large graphs
// as much again as the result; backward takes [E, H] for its time else (so that a gradient's last bits may depend on the graph's
// size). 16-bit types compute in float. Throws ShapeError, ValueError. Derivatives of h, s and t.
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

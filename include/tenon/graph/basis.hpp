// Rows of matrices of which there is one for each kind, all weighted sums of the same few (Schlichtkrull et al. 2018, equation 3):
// only the rows that are asked for are ever made.
#pragma once

#include <tenon/graph/edges.hpp>
#include <tenon/kernels/cpu/graph/basis.hpp>
#if TENON_CUDA
#include <tenon/kernels/cuda/graph/basis.cuh>
#endif

namespace tenon::graph {
inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

template <class T>
kernels::cpu::BasisProblem<T> basis_problem(const Graph& g, const detail::Record* weight, const detail::Record* bases) {
    kernels::cpu::BasisProblem<T> p;
    p.a = csr_rows(g.in());
    if (!g.device().is_cpu()) p.by_kind = csr_rows(g.out());
    p.bases = bases->dims()[0];
    p.width = bases->dims()[2];
    p.weight = reinterpret_cast<const T*>(weight->data());
    p.table = reinterpret_cast<const T*>(bases->data());
    return p;
}

// Linear in the weights and in the bases.
template <class T>
class BasisNode final : public detail::OperationNode<2> {
public:
    BasisNode(const Graph& g, detail::Record* weight, detail::Record* bases) : OperationNode("basis_rows"), graph_(g) {
        set_input(0, weight);
        set_input(1, bases);
        weight_.save(weight);
        bases_.save(bases);
    }
    const void* kind() const noexcept override { return &detail::node_kind<BasisNode>; }
    void release_saved() noexcept override {
        weight_.tensor = bases_.tensor = detail::AnyTensor();
        graph_ = Graph();
    }
    void backward() override {
        const kernels::cpu::BasisProblem<T> p = basis_problem<T>(graph_, weight_.check(name), bases_.check(name));
        const T* dy = reinterpret_cast<const T*>(gradient()->data());
        if (wanted(0)) {
            const detail::GradientTarget to = detail::gradient_target(edges_[0]);
            TENON_RUN(graph_.device(), basis_rows_weight(p, dy, reinterpret_cast<T*>(to.record->data()), to.mode == 2));
        }
        if (wanted(1)) {
            const detail::GradientTarget to = detail::gradient_target(edges_[1]);
            TENON_RUN(graph_.device(), basis_rows_table(p, dy, reinterpret_cast<T*>(to.record->data()), to.mode == 2));
        }
    }
    const Graph& graph() const { return graph_; }
    const detail::Saved& weight() const { return weight_; }
    const detail::Saved& bases() const { return bases_; }

private:
    Graph graph_;
    detail::Saved weight_, bases_;
};

}  // namespace impl

// basis_rows(g, weight, bases): an edge k -> i of the bipartite graph g, from kinds to rows, asks for row i of the matrix of kind k,
// sum over b of weight[k, b] bases[b]; weight [kinds, B], bases [B, rows, F] -> [edges, F], in the order of edge_index. float and
// double. Throws ShapeError. Derivatives of both, as sums over the edges in a fixed order.
template <Expression W, Expression X>
[[nodiscard]] auto basis_rows(const Graph& g, W&& given_weight, X&& given_bases) {
    const auto weight = impl::operand(static_cast<W&&>(given_weight));
    const auto bases = impl::operand(static_cast<X&&>(given_bases));
    using T = typename std::remove_const_t<decltype(bases)>::Scalar;
    static_assert(std::is_same_v<T, typename std::remove_const_t<decltype(weight)>::Scalar>,
                  "tenon: basis_rows: weights and bases must have one element type");
    static_assert(sizeof(T) >= 4, "tenon: basis_rows: defined for float and double: write cast<float>(x) first");
    static_assert(std::remove_const_t<decltype(weight)>::rank == 2 && std::remove_const_t<decltype(bases)>::rank == 3,
                  "tenon: basis_rows: weights are [kinds, B], bases [B, rows, F]");
    constexpr const char* name = "basis_rows";
    impl::check_nodes(name, g, weight.record(), g.sources(), "kinds");
    impl::check_device(name, bases.device());
    if (!(bases.device() == g.device())) impl::fail_devices(name, g.device(), bases.device());
    if (weight.shape(1) != bases.shape(0) || bases.shape(1) != g.targets())
        fail<ShapeError>(name, ": weights ", weight.record()->description(), " and bases ", bases.record()->description(),
                         " came for a graph with ", g.targets(), " rows, expected [kinds, B] and [B, rows, F]");
    const Tensor<T, 2> y = empty<T>({g.edges(), bases.shape(2)}, g.device());
    const kernels::cpu::BasisProblem<T> p = impl::basis_problem<T>(g, weight.record(), bases.record());
    TENON_RUN(g.device(), basis_rows(p, y.data()));
    if (detail::wants_gradient(weight.record()) || detail::wants_gradient(bases.record()))
        detail::make_node<impl::BasisNode<T>>(g, weight.record(), bases.record())->set_result(y.record());
    return y;
}

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon::graph

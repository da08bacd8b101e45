// Relational graph convolution (Schlichtkrull et al. 2018) with basis matrices.
#pragma once

#include <tenon/graph/conv/common.hpp>

namespace tenon::graph {
inline namespace TENON_CONFIG_NAMESPACE {

// 1 / the number of edges of the same relation at the same target, for every edge: what turns a sum into a sum of means. Types are 0 to
// relations - 1. Throws ShapeError, IndexError.
template <class T>
[[nodiscard]] Tensor<T, 1> relation_norm(const Graph& g, const Tensor<std::int64_t, 1>& edge_type, long relations) {
    if (edge_type.size() != g.edges()) fail<ShapeError>("relation_norm: ", edge_type.record()->description(), " came for ", g.edges(), " edges");
    const Tensor<std::int64_t, 1> types = contiguous(edge_type.detach()).to(cpu);
    impl::check_indices<std::int64_t>("relation_norm", types.record(), relations);
    const CsrPattern in = g.in().to(cpu);
    const Tensor<T, 1> norm = empty<T>({g.edges()});
    const Tensor<std::int64_t, 1> count = zeros<std::int64_t>({relations});
    const auto type = [&](long k) -> std::int64_t& { return count.data()[types.data()[in.edges.data()[k]]]; };
    for (long i = 0; i < in.rows; ++i) {
        const long begin = in.pointers.data()[i], end = in.pointers.data()[i + 1];
        for (long k = begin; k < end; ++k) ++type(k);
        for (long k = begin; k < end; ++k) norm.data()[in.edges.data()[k]] = static_cast<T>(1.0 / static_cast<double>(type(k)));
        for (long k = begin; k < end; ++k) type(k) = 0;
    }
    return norm.to(g.device());
}

}  // namespace TENON_CONFIG_NAMESPACE

// y_i = sum over relations r of the mean over the edges of that relation of x_j W_r, + x_i root + b, with W_r = sum over b of comp[r, b]
// weight[b]. weight [bases, in, out], comp [relations, bases], root [in, out] glorot, bias zeros. x [N, in], or an empty handle: nodes
// without features, whose rows of the matrices stand for them (in = N). norm: relation_norm, computed once; empty: in every call.
template <class T = float>
struct RGCNConv {
    Tensor<T, 3> weight;
    Tensor<T, 2> comp, root;
    Tensor<T, 1> bias;

    RGCNConv() = default;
    RGCNConv(long in, long out, long relations, long bases, Key key)
        : weight(glorot<T>({bases, in, out}, key.split(0))), comp(glorot<T>({relations, bases}, key.split(1))), root(glorot<T>({in, out}, key.split(2))),
          bias(zeros<T>({out}).require_grad()) {}
    Tensor<T, 2> operator()(const Tensor<T, 2>& x, const Graph& g, const Tensor<std::int64_t, 1>& edge_type, const Tensor<T, 1>& norm = {}) const {
        const long bases = weight.shape(0), in = weight.shape(1), out = weight.shape(2);
        const Tensor<T, 1> scale = norm.has_value() ? norm : relation_norm<T>(g, edge_type, comp.shape(0));
        const Tensor<T, 2> w = index_select<0>(comp, edge_type) * scale.reshape({g.edges(), 1});
        if (!x.has_value()) {
            const Tensor<T, 3> rows = contiguous(weight.template permute<1, 0, 2>());
            return tenon::sum<1>(aggregate<sum>(g, rows, w)) + root + bias;
        }
        const Tensor<T, 3> copies = contiguous(x.reshape({x.shape(0), 1, in}).expand({x.shape(0), bases, in}));
        const Tensor<T, 2> near = aggregate<sum>(g, copies, w).reshape({g.targets(), bases * in});
        const Tensor<T, 2> y = matmul(near, weight.reshape({bases * in, out}));
        return y + matmul(x, root) + bias;
    }
    static void visit(auto& self, auto&& f) {
        f("weight", self.weight);
        f("comp", self.comp);
        f("root", self.root);
        f("bias", self.bias);
    }
};

}  // namespace tenon::graph

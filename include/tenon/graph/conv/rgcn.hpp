// Relational graph convolution (Schlichtkrull et al. 2018): a matrix for each relation, made of basis matrices, of blocks, or free.
#pragma once

#include <tenon/graph/basis.hpp>
#include <tenon/graph/conv/kinds.hpp>

#include <algorithm>
#include <vector>

namespace tenon::graph {
inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

// Types of the edges on the host. Throws ShapeError, IndexError.
inline Tensor<std::int64_t, 1> checked_types(const char* operation, const Graph& g, const Tensor<std::int64_t, 1>& edge_type,
                                             long relations) {
    if (edge_type.size() != g.edges())
        fail<ShapeError>(operation, ": ", edge_type.record()->description(), " came for ", g.edges(), " edges");
    const Tensor<std::int64_t, 1> types = contiguous(edge_type.detach()).to(cpu);
    check_indices<std::int64_t>(operation, types.record(), relations);
    return types;
}

// A place for every pair of a source and a kind that an edge has, sorted by source, then by kind. near: from kinds to sources, one edge
// for each place; far: from places to targets, edges in the order in which they were given.
inline KindPlaces source_places(long count, const std::int64_t* source, const std::int64_t* target, const std::int64_t* kind, long sources,
                                long targets, long kinds, Device device) {
    const CsrPattern by_kind = detail::sort_by_row(
        kinds, sources, count, [&](long e) { return kind[e]; }, [&](long e) { return source[e]; }, [](long e) { return e; });
    const CsrPattern sorted = detail::transposed(by_kind);
    std::vector<std::int64_t> from, to;
    const auto far = empty<std::int64_t>({2, count});
    for (long j = 0; j < sources; ++j)
        for (long k = sorted.pointers.data()[j]; k < sorted.pointers.data()[j + 1]; ++k) {
            const std::int64_t own = sorted.columns.data()[k], e = sorted.edges.data()[k];
            if (to.empty() || to.back() != j || from.back() != own) from.push_back(own), to.push_back(j);
            far.data()[e] = static_cast<std::int64_t>(to.size()) - 1;
            far.data()[count + e] = target[e];
        }
    const long places = static_cast<long>(to.size());
    const auto near = empty<std::int64_t>({2, places});
    std::copy(from.begin(), from.end(), near.data());
    std::copy(to.begin(), to.end(), near.data() + places);
    KindPlaces result;
    result.near = Graph::bipartite(near.to(device), kinds, sources);
    result.far = Graph::bipartite(far.to(device), places, targets);
    return result;
}

}  // namespace impl

// 1 / the number of edges of the same relation at the same target, for every edge: what turns a sum into a sum of means. Types are 0 to
// relations - 1. Throws ShapeError, IndexError.
template <class T>
[[nodiscard]] Tensor<T, 1> relation_norm(const Graph& g, const Tensor<std::int64_t, 1>& edge_type, long relations) {
    const Tensor<std::int64_t, 1> types = impl::checked_types("relation_norm", g, edge_type, relations);
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

struct RgcnOptions {
    long bases = 0;   // matrices of which all relations' are weighted sums
    long blocks = 0;  // or: blocks on the diagonals of the matrices, zeros elsewhere; must divide both widths
    Aggregation aggregation = Aggregation::mean;
    bool root_weight = true;
};

// y_i = sum over relations r of the mean (sum, max, min) over the edges of that relation of x_j W_r, + x_i root + b. weight is [relations,
// in, out], or with bases [bases, in, out] and W_r = sum over b of comp[r, b] weight[b], or with blocks [relations, blocks, in / blocks,
// out / blocks]; all, comp [relations, bases] and root [in, out] begin as glorot, bias zeros. x [N, in], or an empty handle: nodes without
// features, whose rows of the matrices stand for them (in = N; not with blocks): looked up, and with bases only those that are looked up
// are made. What is stored beyond that is a row of x for each pair of a target and a relation. Extremes are those of x_j, before the
// matrix. norm, of a mean: relation_norm; empty: computed where it is needed. That and how the edges are sorted by relation are
// found on the host once and kept with the graph. Throws ShapeError, ValueError, IndexError. Derivatives of
// x and the parameters.
template <class T = float>
struct RGCNConv {
    Tensor<T, 3> weight;
    Tensor<T, 4> block_weight;  // "weight" with blocks
    Tensor<T, 2> comp, root;
    Tensor<T, 1> bias;
    RgcnOptions options;
    long in = 0, out = 0, relations = 0;

    RGCNConv() = default;
    RGCNConv(long inputs, long outputs, long number, long bases, Key key)
        : RGCNConv(inputs, outputs, number, key, {bases, 0, Aggregation::mean, true}) {}
    RGCNConv(long inputs, long outputs, long number, Key key, const RgcnOptions& o = {})
        : bias(zeros<T>({outputs}).require_grad()), options(o), in(inputs), out(outputs), relations(number) {
        if (number < 1 || o.bases < 0 || o.blocks < 0 || (o.bases > 0 && o.blocks > 0))
            fail<ValueError>("RGCNConv: ", number, " relations, ", o.bases, " bases, ", o.blocks,
                             " blocks: expected relations, and bases or blocks or neither");
        if (o.blocks > 0 && (in % o.blocks != 0 || out % o.blocks != 0))
            fail<ShapeError>("RGCNConv: ", o.blocks, " blocks do not divide ", in, " -> ", out, " features");
        if (o.blocks > 0) block_weight = glorot<T>({relations, o.blocks, in / o.blocks, out / o.blocks}, key.split(0));
        else weight = glorot<T>({o.bases > 0 ? o.bases : relations, in, out}, key.split(0));
        if (o.bases > 0) comp = glorot<T>({relations, o.bases}, key.split(1));
        if (o.root_weight) root = glorot<T>({in, out}, key.split(2));
    }
    Tensor<T, 2> operator()(const Tensor<T, 2>& x, const Graph& g, const Tensor<std::int64_t, 1>& edge_type,
                            const Tensor<T, 1>& norm = {}) const {
        const Tensor<T, 2> y = neighbours(x, g, edge_type, norm);
        if (!options.root_weight) return y + bias;
        if (!x.has_value()) return y + root + bias;
        return y + matmul(x, root) + bias;
    }
    // Of a bipartite graph.
    Tensor<T, 2> operator()(const Tensor<T, 2>& sources, const Tensor<T, 2>& targets, const Graph& g,
                            const Tensor<std::int64_t, 1>& edge_type) const {
        impl::check_nodes("RGCNConv", g, targets.record(), g.targets(), "targets");
        const Tensor<T, 2> y = neighbours(sources, g, edge_type, {});
        if (!options.root_weight) return y + bias;
        return y + matmul(targets, root) + bias;
    }
    static void visit(auto& self, auto&& f) {
        if (self.options.blocks > 0) f("weight", self.block_weight);
        else f("weight", self.weight);
        if (self.options.bases > 0) f("comp", self.comp);
        if (self.options.root_weight) f("root", self.root);
        f("bias", self.bias);
    }

private:
    Tensor<T, 2> neighbours(const Tensor<T, 2>& x, const Graph& g, const Tensor<std::int64_t, 1>& edge_type,
                            const Tensor<T, 1>& norm) const {
        if (x.has_value() && x.shape(1) != in)
            fail<ShapeError>("RGCNConv: x is ", x.record()->description(), ", expected ", in, " features");
        if (!x.has_value() && g.sources() != in)
            fail<ShapeError>("RGCNConv: without features the graph must have ", in, " nodes, but it has ", g.sources());
        const bool bare = !x.has_value(), averages = options.aggregation == Aggregation::mean || options.aggregation == Aggregation::sum;
        if (bare && options.blocks > 0) fail<ValueError>("RGCNConv: blocks are for nodes with features");
        if constexpr (sizeof(T) >= 4)
            if (bare && averages && options.bases > 0) return rows_of_bases(g, edge_type, norm);
        Tensor<T, 3> matrices = weight;
        if (options.bases > 0)
            matrices = Tensor<T, 2>(matmul(comp, weight.reshape({options.bases, in * out}))).reshape({relations, in, out});
        const impl::KindPlaces places = impl::kept_places(g, edge_type, {relations, bare ? 1 : 0}, [&] {
            const Tensor<std::int64_t, 1> types = impl::checked_types("RGCNConv", g, edge_type, relations);
            const Tensor<std::int64_t, 2> ends = g.edge_index().to(cpu);
            const std::int64_t* const targets = ends.data() + g.edges();
            if (!bare)
                return impl::kind_places(g.edges(), ends.data(), targets, types.data(), g.sources(), g.targets(), relations, g.device());
            // Node j of relation r is row r * N + j of the matrices.
            std::vector<std::int64_t> rows(static_cast<std::size_t>(g.edges()));
            for (long e = 0; e < g.edges(); ++e) rows[static_cast<std::size_t>(e)] = types.data()[e] * in + ends.data()[e];
            return impl::kind_places(g.edges(), rows.data(), targets, types.data(), relations * in, g.targets(), relations, g.device());
        });
        const auto near_of = [&](const Tensor<T, 2>& rows) {
            if (options.aggregation == Aggregation::mean && norm.has_value()) return aggregate<sum>(places.near, rows, norm);
            return aggregate(options.aggregation, places.near, rows);
        };
        if (bare) return aggregate<sum>(places.far, near_of(matrices.reshape({relations * in, out})));
        const Tensor<T, 2> near = near_of(x);
        if (options.blocks == 0)
            return impl::sum_of_kinds(places, near, out, [&](const Tensor<T, 2>& rows, long r) {
                return Tensor<T, 2>(matmul(rows, Tensor<T, 2>(matrices(r))));
            });
        return impl::sum_of_kinds(places, near, out, [&](const Tensor<T, 2>& rows, long r) {
            const long count = rows.shape(0), blocks = options.blocks;
            const Tensor<T, 3> apart = rows.reshape({count, blocks, in / blocks}).template permute<1, 0, 2>();
            const Tensor<T, 3> y = matmul(apart, Tensor<T, 3>(block_weight(r)));
            return contiguous(y.template permute<1, 0, 2>()).reshape({count, out});
        });
    }
    Tensor<T, 1> kept_norm(const Graph& g, const Tensor<std::int64_t, 1>& edge_type) const {
        const auto make = [&] { return relation_norm<T>(g, edge_type, relations); };
        return impl::kept<Tensor<T, 1>>(g, {edge_type.detach().any()}, {relations}, make);
    }
    // Without features: a row for each pair of a node and a relation of an edge of its, which its edges of that relation share.
    Tensor<T, 2> rows_of_bases(const Graph& g, const Tensor<std::int64_t, 1>& edge_type, const Tensor<T, 1>& norm) const {
        const impl::KindPlaces places = impl::kept_places(g, edge_type, {relations, 2}, [&] {
            const Tensor<std::int64_t, 1> types = impl::checked_types("RGCNConv", g, edge_type, relations);
            const Tensor<std::int64_t, 2> ends = g.edge_index().to(cpu);
            return impl::source_places(g.edges(), ends.data(), ends.data() + g.edges(), types.data(), g.sources(), g.targets(), relations,
                                       g.device());
        });
        const Tensor<T, 2> rows = basis_rows(places.near, comp, weight);
        if (options.aggregation == Aggregation::sum) return aggregate<sum>(places.far, rows);
        return aggregate<sum>(places.far, rows, norm.has_value() ? norm : kept_norm(g, edge_type));
    }
};

}  // namespace tenon::graph

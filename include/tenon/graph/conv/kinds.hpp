// Edges of several kinds, each kind with a matrix of its own: rows are added up per target and kind first, and multiplied once for each
// such pair, so that neither edges x features nor targets x kinds x features are stored.
#pragma once

#include <tenon/graph/conv/common.hpp>
#include <tenon/ops/concat.hpp>

#include <vector>

namespace tenon::graph {
inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

// A place for every pair of a kind and a target that an edge has, sorted by kind, then by target.
struct KindPlaces {
    Graph near;               // from sources to places; edges in the order in which they were given
    Graph far;                // from places to targets, one edge for each place
    std::vector<long> begin;  // [kinds + 1]: the places of each kind
};

// source, target and kind of `count` edges, on the host and within their ranges.
inline KindPlaces kind_places(long count, const std::int64_t* source, const std::int64_t* target, const std::int64_t* kind, long sources,
                              long targets, long kinds, Device device) {
    // Sorted by target, then, stably, by kind.
    const auto sorted = [&](const std::int64_t* by, long most, const std::vector<std::int64_t>& edges) {
        std::vector<std::int64_t> next(static_cast<std::size_t>(most) + 1, 0), order(edges.size());
        for (const std::int64_t e : edges) ++next[static_cast<std::size_t>(by[e]) + 1];
        for (std::size_t i = 1; i < next.size(); ++i) next[i] += next[i - 1];
        for (const std::int64_t e : edges) order[static_cast<std::size_t>(next[static_cast<std::size_t>(by[e])]++)] = e;
        return order;
    };
    std::vector<std::int64_t> order(static_cast<std::size_t>(count));
    for (long e = 0; e < count; ++e) order[static_cast<std::size_t>(e)] = e;
    order = sorted(kind, kinds, sorted(target, targets, order));

    KindPlaces result;
    result.begin.assign(static_cast<std::size_t>(kinds) + 1, 0);
    const auto near = empty<std::int64_t>({2, count});
    std::vector<std::int64_t> to;
    std::int64_t last_kind = -1;
    for (const std::int64_t e : order) {
        if (to.empty() || kind[e] != last_kind || target[e] != to.back()) {
            to.push_back(target[e]);
            last_kind = kind[e];
            ++result.begin[static_cast<std::size_t>(last_kind) + 1];
        }
        near.data()[e] = source[e];
        near.data()[count + e] = static_cast<std::int64_t>(to.size()) - 1;
    }
    for (std::size_t k = 1; k < result.begin.size(); ++k) result.begin[k] += result.begin[k - 1];
    const long places = static_cast<long>(to.size());
    const auto far = empty<std::int64_t>({2, places});
    for (long p = 0; p < places; ++p) far.data()[p] = p, far.data()[places + p] = to[static_cast<std::size_t>(p)];
    result.near = Graph::bipartite(near.to(device), sources, places);
    result.far = Graph::bipartite(far.to(device), places, targets);
    return result;
}

// The last places that were made for a graph, kept with it: found again by the tensor that names the kinds (its storage, place and
// version) and some numbers.
struct KeptPlaces final : graph_detail::Attachment {
    struct Entry {
        detail::AnyTensor of;  // held, so that no other tensor can come to lie there
        unsigned version = 0;
        std::vector<long> key;
        KindPlaces places;
    };
    KeptPlaces() : Attachment(Graph::kind_of<KeptPlaces>()) {}
    mutable int lock = 0;
    mutable Entry entries[4];
    mutable int oldest = 0;
};
template <class X, class Make>
KindPlaces kept_places(const Graph& g, const X& of, const std::vector<long>& key, Make make) {
    const KeptPlaces& kept = g.attached<KeptPlaces>([](const KeptPlaces&) { return true; }, [] { return new KeptPlaces; });
    const detail::Record* const now = of.record();
    {
        const detail::FirstUse guard(kept.lock);
        for (const KeptPlaces::Entry& entry : kept.entries) {
            if (!entry.of || entry.key != key || entry.version != now->storage->version) continue;
            bool same = entry.of->storage == now->storage && entry.of->offset == now->offset && entry.of->rank == now->rank;
            for (int i = 0; same && i < now->rank; ++i)
                same = entry.of->dims()[i] == now->dims()[i] && entry.of->strides()[i] == now->strides()[i];
            if (same) return entry.places;
        }
    }
    const KindPlaces places = make();
    const detail::FirstUse guard(kept.lock);
    kept.entries[kept.oldest] = {of.detach().any(), now->storage->version, key, places};
    kept.oldest = (kept.oldest + 1) % 4;
    return places;
}

// At every target the sum over its places of times(rows of a kind, kind), rows [places, in] -> [targets, out].
template <class T, class Times>
Tensor<T, 2> sum_of_kinds(const KindPlaces& places, const Tensor<T, 2>& rows, long out, Times times) {
    std::vector<Tensor<T, 2>> parts;
    for (std::size_t k = 0; k + 1 < places.begin.size(); ++k)
        if (places.begin[k] < places.begin[k + 1])
            parts.push_back(times(Tensor<T, 2>(rows(slice(places.begin[k], places.begin[k + 1]))), static_cast<long>(k)));
    if (parts.empty()) return zeros<T>({places.far.targets(), out}, rows.device());
    return aggregate<sum>(places.far, parts.size() == 1 ? parts[0] : Tensor<T, 2>(concat<0>(parts)));
}

}  // namespace impl
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon::graph

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

// The last values that were made for a graph from tensors and numbers, kept with it: found again by the tensors (their storage, place and
// version) and the numbers. What takes a walk on the host is done once, and nothing waits for a device in every call.
template <class Value, int Many>
struct KeptValues final : graph_detail::Attachment {
    struct Entry {
        bool made = false;
        std::vector<detail::AnyTensor> of;  // held, so that no other tensors can come to lie there
        std::vector<unsigned> versions;
        std::vector<long> key;
        Value value;
    };
    KeptValues() : Attachment(Graph::kind_of<KeptValues>()) {}
    mutable int lock = 0;
    mutable Entry entries[Many];
    mutable int oldest = 0;
};
inline bool same_place(const detail::Record* a, const detail::Record* b) {
    bool same = a->storage == b->storage && a->offset == b->offset && a->rank == b->rank;
    for (int i = 0; same && i < a->rank; ++i) same = a->dims()[i] == b->dims()[i] && a->strides()[i] == b->strides()[i];
    return same;
}
template <class Value, int Many = 4, class Make>
Value kept(const Graph& g, const std::vector<detail::AnyTensor>& of, const std::vector<long>& key, Make make) {
    using Values = KeptValues<Value, Many>;
    const Values& all_kept = g.attached<Values>([](const Values&) { return true; }, [] { return new Values; });
    const auto fits = [&](const typename Values::Entry& entry) {
        bool same = entry.made && entry.key == key && entry.of.size() == of.size();
        for (std::size_t i = 0; same && i < of.size(); ++i)
            same = entry.versions[i] == of[i]->storage->version && same_place(entry.of[i].get(), of[i].get());
        return same;
    };
    {
        const detail::FirstUse guard(all_kept.lock);
        for (const auto& entry : all_kept.entries)
            if (fits(entry)) return entry.value;
    }
    std::vector<unsigned> versions;
    for (const detail::AnyTensor& x : of) versions.push_back(x->storage->version);
    const Value value = make();
    const detail::FirstUse guard(all_kept.lock);
    all_kept.entries[all_kept.oldest] = {true, of, versions, key, value};
    all_kept.oldest = (all_kept.oldest + 1) % Many;
    return value;
}
template <class X, class Make>
KindPlaces kept_places(const Graph& g, const X& of, const std::vector<long>& key, Make make) {
    return kept<KindPlaces>(g, {of.detach().any()}, key, make);
}

// 1 / the number of edges of every target (1 without any), [targets, 1].
template <class T>
Tensor<T, 2> mean_shares(const Graph& g) {
    return kept<Tensor<T, 2>>(g, {}, {}, [&] {
        const no_grad guard;
        const Tensor<std::int32_t, 1> begins = g.in().pointers, count = begins(slice(1, g.targets() + 1)) - begins(slice(0, g.targets()));
        const Tensor<T, 1> share = T(1) / maximum(cast<T>(count), T(1));
        return share.reshape({g.targets(), 1});
    });
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

// Neighbour sampling: the part of a large graph that a few nodes need (Hamilton, Ying, Leskovec, "Inductive representation learning on
// large graphs", NeurIPS 2017), also of graphs with several kinds of nodes and edges.
#pragma once

#include <tenon/base/parallel.hpp>
#include <tenon/base/philox.hpp>
#include <tenon/graph/sampling/induced.hpp>

namespace tenon::graph {

struct NeighbourOptions {
    bool replace = false;  // draw with replacement
};

// A sample of one graph. Nodes come in the order in which they were met, the seeds first; edges hop after hop, so that a layer that
// needs fewer hops takes leading parts.
struct NeighbourSample : Sampled {
    std::vector<long> nodes_by_hop, edges_by_hop;  // how many there are after the seeds alone (0 edges), after one hop, after two, ..
};

// One kind of edges of a graph with several: from nodes of type `source` to nodes of type `target`.
struct Relation {
    long source = 0, target = 0;
    Graph graph;  // bipartite
};
struct RelationSample {
    std::vector<Tensor<std::int64_t, 1>> nodes;  // by type
    std::vector<Graph> graphs;                   // by relation, bipartite
    std::vector<Tensor<std::int64_t, 1>> edges;  // by relation
};

namespace impl_sampling {

// Places in [0, degree) for one node: all, or `count` drawn by the words of a key. Without replacement by Floyd's algorithm
// (Bentley and Floyd, CACM 1987): one draw for each, none rejected.
inline void draw_places(Key key, long degree, long count, bool replace, std::int64_t base, std::int64_t* to) {
    if (replace) {
        for (long k = 0; k < count; ++k)
            to[k] = base + static_cast<std::int64_t>(
                               scale_to_range(random_word64(key, static_cast<std::uint64_t>(k)), static_cast<std::uint64_t>(degree)));
        return;
    }
    if (count == degree) {
        for (long k = 0; k < count; ++k) to[k] = base + k;
        return;
    }
    // Draw k is of 0 to degree - count + k, and that last place itself, which no draw before could reach, where it was drawn already.
    const auto draw = [&](long k) {
        return static_cast<std::int64_t>(scale_to_range(random_word64(key, static_cast<std::uint64_t>(k)),
                                                        static_cast<std::uint64_t>(degree - count + k + 1)));
    };
    if (count <= 32) {
        for (long k = 0; k < count; ++k) {
            to[k] = base + draw(k);
            for (long j = 0; j < k; ++j)
                if (to[j] == to[k]) {
                    to[k] = base + degree - count + k;
                    break;
                }
        }
        return;
    }
    LocalIds drawn(count);
    for (long k = 0; k < count; ++k) {
        std::int64_t place = draw(k);
        if (drawn.number(place) != k) {
            place = degree - count + k;
            static_cast<void>(drawn.number(place));
        }
        to[k] = base + place;
    }
}
inline long draw_count(long degree, long fanout, bool replace) {
    if (degree == 0) return 0;
    if (fanout < 0) return degree;
    return replace || fanout < degree ? fanout : degree;
}

// The edges of one kind that have been sampled, with local numbers.
struct SampledEdges { std::vector<std::int64_t> source, target, edges; };

// One hop: incoming edges of the nodes `first` to `last` of `targets`, their other ends numbered among `sources`. The draws depend on the
// key and on the node alone, so they are made by any number of threads; numbers are given in order.
inline void sample_hop(const Graph& g, long first, long last, long fanout, Key key, bool replace, const LocalIds& targets,
                       LocalIds& sources, SampledEdges& to) {
    const CsrPattern& in = g.in();
    const long n = last - first;
    std::vector<long> begins(static_cast<std::size_t>(n) + 1, 0);
    const auto degree_of = [&](std::int64_t v) { return static_cast<long>(in.pointers.data()[v + 1] - in.pointers.data()[v]); };
    const std::vector<std::int64_t> frontier(targets.nodes.begin() + first, targets.nodes.begin() + last);
    for (long i = 0; i < n; ++i)
        begins[static_cast<std::size_t>(i) + 1] =
            begins[static_cast<std::size_t>(i)] + draw_count(degree_of(frontier[static_cast<std::size_t>(i)]), fanout, replace);
    std::vector<std::int64_t> places(static_cast<std::size_t>(begins.back()));
    constexpr long chunk = 128;
    parallel_for((n + chunk - 1) / chunk, [&](long task) {
        for (long i = task * chunk; i < n && i < (task + 1) * chunk; ++i) {
            const std::int64_t v = frontier[static_cast<std::size_t>(i)];
            const long begin = begins[static_cast<std::size_t>(i)], count = begins[static_cast<std::size_t>(i) + 1] - begin,
                       degree = degree_of(v);
            if (count > 0)
                draw_places(key.split(static_cast<std::uint64_t>(v)), degree, count, replace && fanout >= 0, in.pointers.data()[v],
                            places.data() + begin);
        }
    });
    for (long i = 0; i < n; ++i)
        for (long k = begins[static_cast<std::size_t>(i)]; k < begins[static_cast<std::size_t>(i) + 1]; ++k) {
            const std::int64_t place = places[static_cast<std::size_t>(k)];
            to.source.push_back(sources.number(in.columns.data()[place]));
            to.target.push_back(first + i);
            to.edges.push_back(in.edges.data()[place]);
        }
}
inline void add_seeds(const char* operation, const Tensor<std::int64_t, 1>& given, long nodes, LocalIds& ids) {
    const Tensor<std::int64_t, 1> seeds = contiguous(given);
    for (long i = 0; i < seeds.size(); ++i) {
        check_node(operation, seeds.data()[i], i, nodes);
        if (ids.number(seeds.data()[i]) != i)
            fail<ValueError>(operation, ": seed ", static_cast<long>(seeds.data()[i]), " comes twice, at position ", i,
                             " again\n       hint: unique(seeds) gives each once, and where");
    }
}
inline void check_fanouts(const char* operation, const std::vector<long>& fanouts) {
    for (std::size_t h = 0; h < fanouts.size(); ++h)
        if (fanouts[h] < -1) fail<ValueError>(operation, ": ", fanouts[h], " neighbours in hop ", h, ", expected 0 or more (-1: all)");
}

}  // namespace impl_sampling

// neighbour_sample(g, seeds, {15, 10}, key): from the distinct nodes `seeds`, int64 [n], hop after hop up to so many incoming edges of each
// node that the hop before has added (-1: all), drawn without replacement unless asked. Which edges a node gets depends on (key, hop,
// node) alone: not on threads, and not on the other seeds. A loss is taken on the first n rows. Throws IndexError, ValueError. On the host.
[[nodiscard]] inline NeighbourSample neighbour_sample(const Graph& g, const Tensor<std::int64_t, 1>& seeds,
                                                      const std::vector<long>& fanouts, Key key, NeighbourOptions options = {}) {
    impl_sampling::check_host("neighbour_sample", g.device());
    impl_sampling::check_fanouts("neighbour_sample", fanouts);
    impl_sampling::LocalIds ids(seeds.size() * 4);
    impl_sampling::add_seeds("neighbour_sample", seeds, g.nodes(), ids);
    impl_sampling::SampledEdges edges;
    NeighbourSample sample;
    long first = 0, last = static_cast<long>(ids.nodes.size());
    sample.nodes_by_hop.push_back(last);
    sample.edges_by_hop.push_back(0);
    for (std::size_t hop = 0; hop < fanouts.size(); ++hop) {
        impl_sampling::sample_hop(g, first, last, fanouts[hop], key.split(hop), options.replace, ids, ids, edges);
        first = last;
        last = static_cast<long>(ids.nodes.size());
        sample.nodes_by_hop.push_back(last);
        sample.edges_by_hop.push_back(static_cast<long>(edges.edges.size()));
    }
    sample.nodes = impl_sampling::tensor_of(ids.nodes);
    sample.graph = Graph::from_edges(impl_sampling::pairs_of(edges.source, edges.target), last);
    sample.edges = impl_sampling::tensor_of(edges.edges);
    return sample;
}

// neighbour_sample(relations, seeds, fanouts, key): of a graph whose nodes have types 0, 1, ..: seeds[t] are those of type t (an empty
// handle: none). fanouts[hop] edges of every relation. A type's nodes come in the order in which they were met, its seeds first.
[[nodiscard]] inline RelationSample neighbour_sample(const std::vector<Relation>& relations,
                                                     const std::vector<Tensor<std::int64_t, 1>>& seeds, const std::vector<long>& fanouts,
                                                     Key key, NeighbourOptions options = {}) {
    impl_sampling::check_fanouts("neighbour_sample", fanouts);
    const long types = static_cast<long>(seeds.size());
    std::vector<long> sizes(seeds.size(), -1);
    for (std::size_t r = 0; r < relations.size(); ++r) {
        impl_sampling::check_host("neighbour_sample", relations[r].graph.device());
        for (const bool at_source : {true, false}) {
            const long type = at_source ? relations[r].source : relations[r].target,
                       n = at_source ? relations[r].graph.sources() : relations[r].graph.targets();
            if (type < 0 || type >= types)
                fail<IndexError>("neighbour_sample: relation ", r, " names node type ", type, ", expected 0 to ", types - 1,
                                 ", as there are lists of seeds");
            long& size = sizes[static_cast<std::size_t>(type)];
            if (size >= 0 && size != n)
                fail<ShapeError>("neighbour_sample: relation ", r, " has ", n, " nodes of type ", type, ", one before it ", size);
            size = n;
        }
    }
    std::vector<impl_sampling::LocalIds> ids(seeds.size());
    std::vector<impl_sampling::SampledEdges> edges(relations.size());
    std::vector<long> first(seeds.size(), 0);
    for (std::size_t t = 0; t < seeds.size(); ++t)
        if (seeds[t].has_value()) impl_sampling::add_seeds("neighbour_sample", seeds[t], sizes[t], ids[t]);
    for (std::size_t hop = 0; hop < fanouts.size(); ++hop) {
        std::vector<long> last;
        for (const auto& own : ids) last.push_back(static_cast<long>(own.nodes.size()));
        for (std::size_t r = 0; r < relations.size(); ++r) {
            const std::size_t target = static_cast<std::size_t>(relations[r].target);
            impl_sampling::sample_hop(relations[r].graph, first[target], last[target], fanouts[hop], key.split(hop).split(r),
                                      options.replace, ids[target], ids[static_cast<std::size_t>(relations[r].source)], edges[r]);
        }
        first = last;
    }
    RelationSample sample;
    for (const auto& own : ids) sample.nodes.push_back(impl_sampling::tensor_of(own.nodes));
    for (std::size_t r = 0; r < relations.size(); ++r) {
        sample.graphs.push_back(Graph::bipartite(impl_sampling::pairs_of(edges[r].source, edges[r].target),
                                                 sample.nodes[static_cast<std::size_t>(relations[r].source)].size(),
                                                 sample.nodes[static_cast<std::size_t>(relations[r].target)].size()));
        sample.edges.push_back(impl_sampling::tensor_of(edges[r].edges));
    }
    return sample;
}

}  // namespace tenon::graph

// GraphSAINT: training on subgraphs, with weights that undo what sampling prefers (Zeng et al., ICLR 2020).
#pragma once

#include <tenon/graph/sampling/walks.hpp>

#include <algorithm>
#include <cmath>

namespace tenon::graph {

enum class SaintSampler { node, edge, walk };
struct SaintOptions {
    SaintSampler sampler = SaintSampler::walk;
    long size = 1000;       // draws of nodes or edges, or roots of walks, per subgraph
    long walk_length = 2;   // steps of a walk
    double coverage = 50;   // the weights are counted until every node has come so often on average; 0: no weights
};

// sampler.sample(key): distinct nodes, ascending, and all edges between them. node: drawn in proportion to their outgoing edges; edge: both
// ends of edges drawn in proportion to 1 / incoming edges of the target + 1 / outgoing edges of the source; walk: all nodes of walks from
// uniform roots. node_weight [nodes]: of a node's loss, so that the sum over a subgraph estimates the mean over all nodes; edge_weight
// [edges]: of a message, so that a sum over a subgraph's edges estimates that over all of a node's; index both by what was sampled. They
// are counted at construction over samples of `key`. Throws ValueError. On the host.
class GraphSaint {
public:
    GraphSaint(const Graph& g, SaintOptions options, Key key) : graph_(g), options_(options) {
        impl_sampling::check_host("GraphSaint", g.device());
        if (options.size < 1) fail<ValueError>("GraphSaint: size is ", options.size, ", expected at least 1");
        if (options.walk_length < 0 || !(options.coverage >= 0)) fail<ValueError>("GraphSaint: walk_length and coverage are 0 or more");
        if (g.nodes() < 1 || (options.sampler != SaintSampler::walk && g.edges() < 1))
            fail<ValueError>("GraphSaint: there is nothing to sample from");
        if (options.sampler == SaintSampler::edge) {
            const long n = g.nodes(), edges = g.edges();
            std::vector<double> in(static_cast<std::size_t>(n), 0), out(static_cast<std::size_t>(n), 0);
            const std::int64_t* ends = g.edge_index().data();
            for (long e = 0; e < edges; ++e) {
                ++out[static_cast<std::size_t>(ends[e])];
                ++in[static_cast<std::size_t>(ends[edges + e])];
            }
            double total = 0;
            for (long e = 0; e < edges; ++e) {
                total += 1 / out[static_cast<std::size_t>(ends[e])] + 1 / in[static_cast<std::size_t>(ends[edges + e])];
                until_.push_back(total);
            }
        }
        if (options.coverage > 0) count(key);
    }
    Sampled sample(Key key) const { return induced_graph(graph_, impl_sampling::tensor_of(draw(key))); }

    Tensor<float, 1> node_weight, edge_weight;

private:
    std::vector<std::int64_t> draw(Key key) const {
        std::vector<std::int64_t> nodes;
        const std::int64_t* ends = graph_.edge_index().data();
        const std::uint64_t edges = static_cast<std::uint64_t>(graph_.edges());
        if (options_.sampler == SaintSampler::walk) {
            Tensor<std::int64_t, 1> roots = empty<std::int64_t>({options_.size});
            const Key own = key.split(0);
            for (long k = 0; k < options_.size; ++k)
                roots.data()[k] = static_cast<std::int64_t>(
                    scale_to_range(random_word64(own, static_cast<std::uint64_t>(k)), static_cast<std::uint64_t>(graph_.nodes())));
            const Tensor<std::int64_t, 2> walks = random_walk(graph_, roots, options_.walk_length, key.split(1));
            nodes.assign(walks.data(), walks.data() + walks.size());
        } else {
            for (long k = 0; k < options_.size; ++k) {
                const std::uint64_t word = random_word64(key, static_cast<std::uint64_t>(k));
                if (options_.sampler == SaintSampler::node) {
                    nodes.push_back(ends[scale_to_range(word, edges)]);
                    continue;
                }
                const std::size_t e = std::min<std::size_t>(
                    until_.size() - 1,
                    static_cast<std::size_t>(std::upper_bound(until_.begin(), until_.end(), unit_double(word) * until_.back()) -
                                             until_.begin()));
                nodes.push_back(ends[e]);
                nodes.push_back(ends[edges + e]);
            }
        }
        std::sort(nodes.begin(), nodes.end());
        nodes.erase(std::unique(nodes.begin(), nodes.end()), nodes.end());
        return nodes;
    }
    void count(Key key) {
        const long n = graph_.nodes(), edges = graph_.edges();
        std::vector<double> of_node(static_cast<std::size_t>(n), 0), of_edge(static_cast<std::size_t>(edges), 0);
        double total = 0;
        std::uint64_t samples = 0;
        for (; total < options_.coverage * static_cast<double>(n); ++samples) {
            const Sampled s = sample(key.split(samples));
            for (long i = 0; i < s.nodes.size(); ++i) ++of_node[static_cast<std::size_t>(s.nodes.data()[i])];
            for (long e = 0; e < s.edges.size(); ++e) ++of_edge[static_cast<std::size_t>(s.edges.data()[e])];
            total += static_cast<double>(s.nodes.size());
        }
        // What has never come is taken to come once in ten times as many samples.
        node_weight = empty<float>({n});
        edge_weight = empty<float>({edges});
        for (long i = 0; i < n; ++i)
            node_weight.data()[i] = static_cast<float>(static_cast<double>(samples) / std::max(of_node[static_cast<std::size_t>(i)], 0.1) /
                                                       static_cast<double>(n));
        const std::int64_t* target = graph_.edge_index().data() + edges;
        for (long e = 0; e < edges; ++e)
            edge_weight.data()[e] = static_cast<float>(std::max(of_node[static_cast<std::size_t>(target[e])], 0.1) /
                                                       std::max(of_edge[static_cast<std::size_t>(e)], 0.1));
    }

    Graph graph_;
    SaintOptions options_;
    std::vector<double> until_;  // running sums of the edges' weights
};

}  // namespace tenon::graph

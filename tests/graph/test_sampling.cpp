// Sampling from graphs: what is sampled is there, in the right numbers and with the right frequencies; keys decide, threads do not.
#include <tenon/graph/sampling/clusters.hpp>
#include <tenon/graph/sampling/link_split.hpp>
#include <tenon/graph/sampling/neighbours.hpp>
#include <tenon/graph/sampling/saint.hpp>

#include <catch2/catch.hpp>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <vector>

using namespace tenon;
using graph::Graph;

namespace {

using Pair = std::pair<std::int64_t, std::int64_t>;

template <int R>
std::vector<std::int64_t> list(const Tensor<std::int64_t, R>& given) {
    const auto x = contiguous(given);
    return {x.data(), x.data() + x.size()};
}
std::vector<Pair> pairs(const Tensor<std::int64_t, 2>& index) {
    std::vector<Pair> p;
    const auto x = contiguous(index);
    for (long e = 0; e < x.shape(1); ++e) p.emplace_back(x.data()[e], x.data()[x.shape(1) + e]);
    return p;
}
Graph random_graph(long nodes, long edges, Key key) { return Graph::from_edges(integers({2, edges}, key, 0, nodes), nodes); }

// Every sampled edge is the edge that it says it is.
void check_sampled(const graph::Sampled& s, const Graph& g) {
    const auto own = pairs(s.graph.edge_index()), whole = pairs(g.edge_index());
    const auto nodes = list(s.nodes), edges = list(s.edges);
    REQUIRE(own.size() == edges.size());
    REQUIRE(s.graph.nodes() == static_cast<long>(nodes.size()));
    REQUIRE(std::set<std::int64_t>(nodes.begin(), nodes.end()).size() == nodes.size());
    for (std::size_t e = 0; e < edges.size(); ++e) {
        REQUIRE(nodes[static_cast<std::size_t>(own[e].first)] == whole[static_cast<std::size_t>(edges[e])].first);
        REQUIRE(nodes[static_cast<std::size_t>(own[e].second)] == whole[static_cast<std::size_t>(edges[e])].second);
    }
}
double chi_square(const std::vector<double>& counts, double expected) {
    double sum_of_squares = 0;
    for (const double c : counts) sum_of_squares += (c - expected) * (c - expected) / expected;
    return sum_of_squares;
}

}  // namespace

TEST_CASE("the graph between some nodes", "[graph]") {
    const Graph g = random_graph(40, 300, Key{1});
    const auto nodes = from<std::int64_t>({7, 3, 22, 39, 0, 11, 12});
    const graph::Sampled s = graph::induced_graph(g, nodes);
    check_sampled(s, g);
    const auto chosen = list(nodes);
    long between = 0;
    for (const auto& [a, b] : pairs(g.edge_index()))
        between += std::count(chosen.begin(), chosen.end(), a) > 0 && std::count(chosen.begin(), chosen.end(), b) > 0;
    CHECK(s.graph.edges() == between);
    CHECK_THROWS_WITH(graph::induced_graph(g, from<std::int64_t>({1, 2, 1})),
                      Catch::Contains("induced_graph: node 1 comes twice, at position 2 again"));
    CHECK_THROWS_WITH(graph::induced_graph(g, from<std::int64_t>({40})),
                      Catch::Contains("induced_graph: node 40 at position 0 is out of range, expected 0 to 39"));
}

TEST_CASE("neighbour samples have the numbers of edges asked for, hop after hop", "[graph]") {
    const Graph g = random_graph(300, 3000, Key{2});
    const auto seeds = from<std::int64_t>({5, 250, 17, 99});
    std::vector<long> degree(300, 0);
    for (const auto& [a, b] : pairs(g.edge_index())) ++degree[static_cast<std::size_t>(b)];
    for (const bool replace : {false, true})
        for (const std::vector<long>& fanouts : {std::vector<long>{3, 2}, {-1}, {12, -1, 1}, {0, 4}, {}}) {
            const auto s = graph::neighbour_sample(g, seeds, fanouts, Key{7}, {.replace = replace});
            check_sampled(s, g);
            REQUIRE(s.nodes_by_hop.size() == fanouts.size() + 1);
            CHECK(s.nodes_by_hop.front() == 4);
            CHECK(s.nodes_by_hop.back() == s.nodes.size());
            CHECK(s.edges_by_hop.back() == s.graph.edges());
            for (long i = 0; i < 4; ++i) CHECK(s.nodes.data()[i] == seeds.data()[i]);
            const auto own = pairs(s.graph.edge_index());
            for (std::size_t hop = 0; hop < fanouts.size(); ++hop) {
                std::map<std::int64_t, long> into;
                std::set<std::int64_t> different;
                for (long e = s.edges_by_hop[hop]; e < s.edges_by_hop[hop + 1]; ++e) {
                    ++into[own[static_cast<std::size_t>(e)].second];
                    different.insert(s.edges.data()[e]);
                    CHECK(own[static_cast<std::size_t>(e)].first < s.nodes_by_hop[hop + 1]);
                }
                if (!replace) CHECK(static_cast<long>(different.size()) == s.edges_by_hop[hop + 1] - s.edges_by_hop[hop]);
                for (long v = hop == 0 ? 0 : s.nodes_by_hop[hop - 1]; v < s.nodes_by_hop[hop]; ++v) {
                    const long d = degree[static_cast<std::size_t>(s.nodes.data()[v])], wanted = fanouts[hop] < 0 ? d
                                                                                                 : replace && d > 0
                                                                                                     ? fanouts[hop]
                                                                                                     : std::min(d, fanouts[hop]);
                    CHECK(into[v] == wanted);
                }
            }
        }
}

TEST_CASE("every neighbour is as likely as any other", "[graph]") {
    // Node 0 has 8 neighbours, 3 are drawn: each comes in 3/8 of the samples, each set of three equally often.
    const Graph star = Graph::from_edges(from<std::int64_t>({2, 8}, {1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0}), 9);
    const long samples = 20000;
    std::vector<double> single(8, 0);
    std::map<std::set<std::int64_t>, double> sets;
    for (long k = 0; k < samples; ++k) {
        const auto s = graph::neighbour_sample(star, from<std::int64_t>({0}), {3}, Key{k});
        std::set<std::int64_t> chosen;
        for (long i = 1; i < s.nodes.size(); ++i) {
            ++single[static_cast<std::size_t>(s.nodes.data()[i] - 1)];
            chosen.insert(s.nodes.data()[i]);
        }
        ++sets[chosen];
    }
    // Beyond these values chance goes once in ten thousand times: 7 and 55 degrees of freedom.
    CHECK(chi_square(single, samples * 3.0 / 8) < 27);
    CHECK(sets.size() == 56);
    std::vector<double> counts;
    for (const auto& entry : sets) counts.push_back(entry.second);
    CHECK(chi_square(counts, samples / 56.0) < 98);
}

TEST_CASE("draws with replacement: every neighbour is as likely in every draw, whatever the others were", "[graph]") {
    // Node 0 has 5 neighbours, 3 are drawn: 125 lists, all equally likely.
    const Graph star = Graph::from_edges(from<std::int64_t>({2, 5}, {1, 2, 3, 4, 5, 0, 0, 0, 0, 0}), 6);
    const long samples = 25000;
    std::vector<double> counts(125, 0);
    for (long k = 0; k < samples; ++k) {
        const auto s = graph::neighbour_sample(star, from<std::int64_t>({0}), {3}, Key{k}, {.replace = true});
        REQUIRE(s.edges.size() == 3);
        ++counts[static_cast<std::size_t>((s.edges.data()[0] * 5 + s.edges.data()[1]) * 5 + s.edges.data()[2])];
    }
    // Beyond this value chance goes once in ten thousand times: 124 degrees of freedom.
    CHECK(chi_square(counts, static_cast<double>(samples) / 125) < 190);
}

TEST_CASE("large fan-outs: the draws of Floyd's algorithm, in time linear in them", "[graph]") {
    const auto plain = [](Key key, long degree, long count) {
        std::vector<std::int64_t> to;
        std::set<std::int64_t> drawn;
        for (long k = 0; k < count; ++k) {
            const std::int64_t last = degree - count + k;
            std::int64_t place = static_cast<std::int64_t>(
                scale_to_range(random_word64(key, static_cast<std::uint64_t>(k)), static_cast<std::uint64_t>(last + 1)));
            if (!drawn.insert(place).second) drawn.insert(place = last);
            to.push_back(1000 + place);
        }
        return to;
    };
    // (Looking through all earlier draws would be 2 * 10^10 steps for the last.)
    for (const auto& [degree, count] : {std::pair{40l, 31l}, {40l, 32l}, {40l, 33l}, {40l, 39l}, {1000l, 500l}, {500000l, 200000l}}) {
        INFO(count << " of " << degree);
        std::vector<std::int64_t> to(static_cast<std::size_t>(count));
        graph::impl_sampling::draw_places(Key{3}, degree, count, false, 1000, to.data());
        CHECK(to == plain(Key{3}, degree, count));
        CHECK(static_cast<long>(std::set<std::int64_t>(to.begin(), to.end()).size()) == count);
        CHECK(*std::min_element(to.begin(), to.end()) >= 1000);
        CHECK(*std::max_element(to.begin(), to.end()) < 1000 + degree);
    }
}

TEST_CASE("sampling: the key decides, threads and other seeds do not", "[graph]") {
    const Graph g = random_graph(2000, 30000, Key{3});
    const auto seeds = arange<std::int64_t>(0, 900);
    const int before = num_threads();
    const auto sample = [&] { return graph::neighbour_sample(g, seeds, {5, 5}, Key{1}); };
    const auto walk = [&] { return list(graph::random_walk(g, seeds, 20, Key{1}, {.p = 0.5, .q = 2})); };
    set_num_threads(1);
    const auto one = sample();
    const auto walks = walk();
    set_num_threads(2);
    const auto two = sample();
    CHECK(list(one.nodes) == list(two.nodes));
    CHECK(list(one.edges) == list(two.edges));
    CHECK(walks == walk());
    set_num_threads(before);
    CHECK(list(one.edges) != list(graph::neighbour_sample(g, seeds, {5, 5}, Key{2}).edges));
    // Seed 600 alone has the neighbours that it has among others.
    const auto alone = graph::neighbour_sample(g, from<std::int64_t>({600}), {5}, Key{1});
    std::vector<std::int64_t> there;
    const auto own = pairs(one.graph.edge_index());
    for (long e = 0; e < one.edges_by_hop[1]; ++e)
        if (one.nodes.data()[own[static_cast<std::size_t>(e)].second] == 600) there.push_back(one.edges.data()[e]);
    CHECK(list(alone.edges) == there);
}

TEST_CASE("samples of graphs with kinds of nodes and edges", "[graph]") {
    // Papers (0) cite papers, authors (1) write papers, papers belong to venues (2).
    const Graph cites = random_graph(100, 600, Key{4}), writes = Graph::bipartite(integers({2, 300}, Key{5}, 0, 60), 60, 100),
                held = Graph::bipartite(integers({2, 200}, Key{6}, 0, 10), 100, 10);
    const std::vector<graph::Relation> relations = {{0, 0, cites}, {1, 0, writes}, {0, 2, held}};
    const auto s = graph::neighbour_sample(relations, {from<std::int64_t>({3, 50}), {}, from<std::int64_t>({9})}, {4, 3}, Key{1});
    REQUIRE(s.nodes.size() == 3);
    CHECK(s.nodes[0].data()[0] == 3);
    CHECK(s.nodes[0].data()[1] == 50);
    CHECK(s.nodes[2].size() == 1);
    for (std::size_t r = 0; r < relations.size(); ++r) {
        const auto own = pairs(s.graphs[r].edge_index()), whole = pairs(relations[r].graph.edge_index());
        CHECK(s.edges[r].size() == static_cast<long>(own.size()));
        CHECK(!own.empty());
        for (std::size_t e = 0; e < own.size(); ++e) {
            const auto& given = whole[static_cast<std::size_t>(s.edges[r].data()[e])];
            CHECK(s.nodes[static_cast<std::size_t>(relations[r].source)].data()[own[e].first] == given.first);
            CHECK(s.nodes[static_cast<std::size_t>(relations[r].target)].data()[own[e].second] == given.second);
        }
    }
    CHECK_THROWS_WITH(graph::neighbour_sample({{0, 3, cites}}, {from<std::int64_t>({3})}, {1}, Key{1}),
                      Catch::Contains("relation 0 names node type 3, expected 0 to 0"));
    CHECK_THROWS_WITH(graph::neighbour_sample({{0, 0, cites}, {1, 0, held}}, {from<std::int64_t>({3}), {}}, {1}, Key{1}),
                      Catch::Contains("relation 1 has 10 nodes of type 0, one before it 100"));
}

TEST_CASE("random walks follow edges", "[graph]") {
    const Graph g = random_graph(50, 120, Key{7});
    const auto starts = arange<std::int64_t>(0, 50);
    for (const double p : {1.0, 4.0}) {
        const auto walks = graph::random_walk(g, starts, 30, Key{8}, {.p = p, .q = 0.5});
        for (long i = 0; i < 50; ++i)
            for (long s = 0; s < 30; ++s) {
                const std::int64_t a = walks(i, s).item(), b = walks(i, s + 1).item();
                const bool stuck = g.out().pointers.data()[a] == g.out().pointers.data()[a + 1];
                REQUIRE((stuck ? a == b : graph::has_edge(g, a, b)));
            }
    }
    // A triangle 0, 1, 2 with a tail 2 - 3: after 0 -> 2 node2vec goes back to 0 with weight 1/p, to 1 (a neighbour of 0) with 1, to 3 with
    // 1/q.
    const Graph tail = Graph::from_edges(from<std::int64_t>({2, 8}, {0, 1, 1, 2, 0, 2, 2, 3, 1, 0, 2, 1, 2, 0, 3, 2}), 4);
    std::vector<double> to(4, 0);
    const auto walks = graph::random_walk(tail, full<std::int64_t>({60000}, 0), 2, Key{9}, {.p = 2, .q = 0.25});
    double from_two = 0;
    for (long i = 0; i < 60000; ++i)
        if (walks.data()[3 * i + 1] == 2) {
            ++to[static_cast<std::size_t>(walks.data()[3 * i + 2])];
            ++from_two;
        }
    const double total = 0.5 + 1 + 4;
    CHECK(from_two == Approx(30000).margin(4 * std::sqrt(15000.0)));
    for (const auto& [node, weight] : {std::pair<std::size_t, double>{0, 0.5}, {1, 1.0}, {3, 4.0}})
        CHECK(to[node] == Approx(from_two * weight / total).margin(4 * std::sqrt(from_two / 4)));
    CHECK_THROWS_WITH(graph::random_walk(g, starts, 3, Key{1}, {.p = 0}), Catch::Contains("random_walk: p is 0"));
}

TEST_CASE("whether there is an edge", "[graph]") {
    const Graph g = Graph::bipartite(from<std::int64_t>({2, 4}, {0, 2, 2, 1, 0, 1, 1, 1}), 3, 2);
    CHECK(graph::has_edge(g, 0, 0));
    CHECK(graph::has_edge(g, 2, 1));
    CHECK(!graph::has_edge(g, 2, 0));
    CHECK_THROWS_WITH(graph::has_edge(g, 3, 0), Catch::Contains("has_edge: 3 -> 0 in a graph of 3 sources and 2 targets"));
    CHECK_THROWS_AS(graph::has_edge(g, 0, 2), IndexError);
    CHECK_THROWS_AS(graph::has_edge(g, -1, 0), IndexError);
    CHECK_THROWS_AS(graph::has_edge(g, 0, -1), IndexError);
}

TEST_CASE("pairs without an edge", "[graph]") {
    for (const long edges : {20, 200, 1500}) {
        const Graph g = random_graph(40, edges, Key{10});
        std::set<Pair> there;
        for (const auto& p : pairs(g.edge_index())) there.insert(p);
        long loops = 0;
        for (const auto& p : there) loops += p.first == p.second;
        const long left = 40 * 39 - (static_cast<long>(there.size()) - loops);
        for (const long wanted : {0l, 30l, left, left + 100}) {
            const auto found = pairs(graph::negative_sampling(g, wanted, Key{1}));
            CHECK(static_cast<long>(found.size()) == std::min(wanted, left));
            const std::set<Pair> different(found.begin(), found.end());
            CHECK(different.size() == found.size());
            for (const auto& p : found) REQUIRE((p.first != p.second && there.count(p) == 0));
        }
        CHECK(static_cast<long>(graph::negative_sampling(g, 100000, Key{1}, {.loops = true}).shape(1)) ==
              1600 - static_cast<long>(there.size()));
        if (edges < 1500) {
            const auto other = list(graph::structured_negative_sampling(g, Key{2}));
            const auto own = pairs(g.edge_index());
            for (std::size_t e = 0; e < own.size(); ++e) REQUIRE((other[e] != own[e].first && there.count({own[e].first, other[e]}) == 0));
        }
    }
    const Graph bipartite = Graph::bipartite(from<std::int64_t>({2, 2}, {0, 1, 2, 0}), 2, 3);
    CHECK(graph::negative_sampling(bipartite, 10, Key{1}).shape(1) == 4);
    const Graph complete = Graph::from_edges(from<std::int64_t>({2, 2}, {0, 1, 1, 0}), 2);
    CHECK(graph::negative_sampling(complete, 5, Key{1}).shape(1) == 0);
    CHECK_THROWS_WITH(graph::structured_negative_sampling(complete, Key{1}),
                      Catch::Contains("node 0, the source of edge 0, has an edge to every target"));
    // Without a direction: no edge leads either way.
    for (const long edges : {20, 200, 1500})
        for (const bool loops : {false, true}) {
            const Graph g = random_graph(40, edges, Key{10});
            std::set<Pair> there;
            for (const auto& p : pairs(g.edge_index())) there.insert(std::minmax(p.first, p.second));
            if (!loops)
                for (long v = 0; v < 40; ++v) there.erase({v, v});
            const long left = 40 * 39 / 2 + (loops ? 40 : 0) - static_cast<long>(there.size());
            for (const long wanted : {30l, left, left + 100}) {
                const auto found = pairs(graph::negative_sampling(g, wanted, Key{1}, {.loops = loops, .undirected = true}));
                CHECK(static_cast<long>(found.size()) == std::min(wanted, left));
                CHECK(std::set<Pair>(found.begin(), found.end()).size() == found.size());
                for (const auto& p : found) REQUIRE((p.first < p.second + (loops ? 1 : 0) && there.count(p) == 0));
            }
        }
    CHECK_THROWS_AS(graph::negative_sampling(bipartite, 1, Key{1}, {.undirected = true}), ShapeError);
    // All pairs are equally likely.
    std::vector<double> counts(12, 0);
    const Graph none = Graph::from_edges(zeros<std::int64_t>({2, 0}), 4);
    for (long k = 0; k < 12000; ++k) {
        const auto p = pairs(graph::negative_sampling(none, 1, Key{k}))[0];
        ++counts[static_cast<std::size_t>(p.first * 3 + p.second - (p.second > p.first))];
    }
    CHECK(chi_square(counts, 1000) < 34);
    std::vector<double> undirected(6, 0);
    for (long k = 0; k < 6000; ++k) {
        const auto p = pairs(graph::negative_sampling(none, 1, Key{k}, {.undirected = true}))[0];
        ++undirected[static_cast<std::size_t>(p.first * (5 - p.first) / 2 + p.second - 1)];
    }
    CHECK(chi_square(undirected, 1000) < 26);
}

TEST_CASE("GraphSAINT's weights undo what sampling prefers", "[graph]") {
    // A few nodes with many edges.
    Tensor<std::int64_t, 2> index = integers({2, 800}, Key{11}, 0, 100);
    for (long e = 0; e < 300; ++e) index.data()[e] %= 5;
    const Graph g = Graph::from_edges(index, 100);
    for (const auto sampler : {graph::SaintSampler::node, graph::SaintSampler::edge, graph::SaintSampler::walk}) {
        INFO("sampler " << static_cast<int>(sampler));
        const graph::GraphSaint saint(g, {.sampler = sampler, .size = 20, .coverage = 400}, Key{12});
        check_sampled(saint.sample(Key{1}), g);
        CHECK(list(saint.sample(Key{1}).nodes) == list(saint.sample(Key{1}).nodes));
        CHECK(list(saint.sample(Key{1}).nodes) != list(saint.sample(Key{2}).nodes));
        // Nodes that can be sampled at all: the weighted sum over samples is the mean over them.
        double reachable = 0, value = 0, estimate = 0;
        for (long i = 0; i < 100; ++i)
            if (saint.node_weight.data()[i] < 0.05f * 400) {
                ++reachable;
                value += static_cast<double>(i * i) / 100;
            }
        const long samples = 3000;
        for (long k = 0; k < samples; ++k) {
            const auto s = saint.sample(Key{1000 + k});
            for (long i = 0; i < s.nodes.size(); ++i)
                estimate += static_cast<double>(saint.node_weight.data()[s.nodes.data()[i]]) *
                            static_cast<double>(s.nodes.data()[i] * s.nodes.data()[i]);
        }
        CHECK(reachable > 90);
        CHECK(estimate / static_cast<double>(samples) == Approx(value).epsilon(0.03));
        // An edge is in a sample only where its target is.
        for (long e = 0; e < g.edges(); ++e) REQUIRE(saint.edge_weight.data()[e] >= 1);
    }
    CHECK_THROWS_WITH(graph::GraphSaint(g, {.size = 0}, Key{1}), Catch::Contains("GraphSaint: size is 0"));
}

TEST_CASE("GraphSAINT: the mean over keys of weighted sums is the sum over the whole graph", "[graph]") {
    // Every node has edges both ways, so that all come; some have many.
    const long nodes = 60;
    std::vector<std::int64_t> source, target;
    const auto more = integers({400}, Key{21}, 0, nodes);
    for (long v = 0; v < nodes; ++v) source.push_back(v), target.push_back((v + 1) % nodes);
    for (long k = 0; k < 200; ++k) source.push_back(k % 3 == 0 ? k % 4 : more.data()[2 * k]), target.push_back(more.data()[2 * k + 1]);
    const Graph g = Graph::from_edges(graph::impl_sampling::pairs_of(source, target), nodes);
    const Tensor<double, 1> value = uniform<double>({nodes}, Key{22}, {1., 3.});
    // Of node i alone, and of its incoming edges: what the sums over all of a node's edges are to a layer.
    double of_nodes = 0, of_edges = 0;
    for (long i = 0; i < nodes; ++i) of_nodes += value.data()[i] / nodes;
    for (long e = 0; e < g.edges(); ++e) of_edges += value.data()[source[static_cast<std::size_t>(e)]] / nodes;
    for (const auto sampler : {graph::SaintSampler::node, graph::SaintSampler::edge, graph::SaintSampler::walk}) {
        INFO("sampler " << static_cast<int>(sampler));
        // The weights are counts themselves, over about as many samples as there are here.
        const long samples = 4000;
        const graph::GraphSaint saint(g, {.sampler = sampler, .size = 8, .coverage = 600}, Key{23});
        const auto spread = [&](auto&& f, double expected) {
            double first = 0, second = 0;
            for (long k = 0; k < samples; ++k) {
                const double v = f(saint.sample(Key{5000 + k}));
                first += v;
                second += v * v;
            }
            const double mean = first / samples, deviation = std::sqrt((second / samples - mean * mean) / samples);
            INFO(mean << " +- " << deviation << " for " << expected);
            CHECK(std::abs(mean - expected) < 5 * deviation);
            CHECK(deviation < 0.02 * expected);
        };
        spread(
            [&](const graph::Sampled& s) {
                double total = 0;
                for (long i = 0; i < s.nodes.size(); ++i)
                    total += static_cast<double>(saint.node_weight.data()[s.nodes.data()[i]]) * value.data()[s.nodes.data()[i]];
                return total;
            },
            of_nodes);
        spread(
            [&](const graph::Sampled& s) {
                double total = 0;
                for (long e = 0; e < s.edges.size(); ++e) {
                    const std::size_t own = static_cast<std::size_t>(s.edges.data()[e]);
                    total += static_cast<double>(saint.node_weight.data()[target[own]]) *
                             static_cast<double>(saint.edge_weight.data()[own]) * value.data()[source[own]];
                }
                return total;
            },
            of_edges);
    }
}

TEST_CASE("partitions are balanced and cut few edges", "[graph]") {
    // Eight groups of 50 nodes with many edges inside and few between.
    std::vector<std::int64_t> source, target;
    const Tensor<std::int64_t, 1> inside = integers({8000}, Key{13}, 0, 50), mixed = integers({800}, Key{14}, 0, 400),
                                  name = permutation(400, Key{15});
    for (long e = 0; e < 4000; ++e) {
        source.push_back(name.data()[e % 8 * 50 + inside.data()[2 * e]]);
        target.push_back(name.data()[e % 8 * 50 + inside.data()[2 * e + 1]]);
    }
    for (long e = 0; e < 400; ++e) {
        source.push_back(name.data()[mixed.data()[2 * e]]);
        target.push_back(name.data()[mixed.data()[2 * e + 1]]);
    }
    const Graph g = Graph::from_edges(graph::impl_sampling::pairs_of(source, target), 400);
    const auto part = graph::partition(g, 8, Key{1});
    std::vector<long> sizes(8, 0);
    for (long v = 0; v < 400; ++v) ++sizes[static_cast<std::size_t>(part.data()[v])];
    CHECK(*std::max_element(sizes.begin(), sizes.end()) <= 53);
    const auto chance = integers({400}, Key{2}, 0, 8);
    CHECK(graph::edge_cut(g, part) < graph::edge_cut(g, chance) / 2);
    // The groups themselves, from two of three random starts at least, but for a few nodes: as few edges as between the groups, and a tenth.
    Tensor<std::int64_t, 1> group = empty<std::int64_t>({400});
    for (long v = 0; v < 400; ++v) group.data()[name.data()[v]] = v / 50;
    const long between = graph::edge_cut(g, group);
    long found = 0;
    for (long k = 0; k < 3; ++k) found += 10 * graph::edge_cut(g, graph::partition(g, 8, Key{k})) <= 11 * between ? 1 : 0;
    CHECK(found >= 2);
    // Sweeps never cut more.
    CHECK(graph::edge_cut(g, part) <= graph::edge_cut(g, graph::partition(g, 8, Key{1}, {.sweeps = 0})));
    // No slack: all parts of the same size.
    const auto even = graph::partition(g, 8, Key{1}, {.slack = 0});
    std::vector<long> same(8, 0);
    for (long v = 0; v < 400; ++v) ++same[static_cast<std::size_t>(even.data()[v])];
    CHECK(same == std::vector<long>(8, 50));
    CHECK(list(part) == list(graph::partition(g, 8, Key{1})));
    const auto batch = graph::parts_graph(g, part, {3, 1});
    check_sampled(batch, g);
    CHECK(batch.nodes.size() == sizes[3] + sizes[1]);
    CHECK(part.data()[batch.nodes.data()[0]] == 3);
    CHECK(graph::edge_cut(g, graph::partition(g, 1, Key{1})) == 0);
    CHECK(graph::partition(Graph::from_edges(zeros<std::int64_t>({2, 0}), 7), 3, Key{1}).size() == 7);
    CHECK_THROWS_WITH(graph::partition(g, 0, Key{1}), Catch::Contains("partition: 0 parts"));
    CHECK_THROWS_WITH(graph::parts_graph(g, part, {1, 1}), Catch::Contains("parts_graph: part 1 is chosen twice"));
    CHECK_THROWS_WITH(graph::parts_graph(g, part, {1, 8}), Catch::Contains("parts_graph: there is no part 8: nodes are in parts up to 7"));
    CHECK_THROWS_AS(graph::parts_graph(g, part, {-1}), IndexError);
    // Parts that do not lie one behind the other in memory, and one without nodes.
    Tensor<std::int64_t, 2> both = full<std::int64_t>({400, 2}, 2);
    for (long v = 0; v < 400; ++v) both.data()[2 * v] = part.data()[v] == 5 ? 4 : part.data()[v];
    const Tensor<std::int64_t, 1> strided = both(all, 0);
    CHECK(list(graph::parts_graph(g, strided, {3, 1}).nodes) == list(batch.nodes));
    CHECK(graph::parts_graph(g, strided, {5}).nodes.size() == 0);
    CHECK(graph::edge_cut(g, strided) == graph::edge_cut(g, contiguous(strided)));
}

TEST_CASE("edges to learn from and to predict", "[graph]") {
    std::set<Pair> once;
    for (const auto& p : pairs(random_graph(60, 500, Key{16}).edge_index())) once.insert(p);
    const auto graph_of = [](const auto& list_of_pairs) {
        std::vector<std::int64_t> source, target;
        for (const auto& [a, b] : list_of_pairs) {
            source.push_back(a);
            target.push_back(b);
        }
        return Graph::from_edges(graph::impl_sampling::pairs_of(source, target), 60);
    };
    const Graph directed = graph_of(once);
    const auto check_split = [](const Graph& g, const graph::LinkSplit& s, long edges, bool undirected) {
        const long validation = edges / 10, test = edges / 5;
        CHECK(s.validation.positive.shape(1) == validation);
        CHECK(s.test.positive.shape(1) == test);
        CHECK(s.train.positive.shape(1) == edges - validation - test);
        std::multiset<Pair> all_positive;
        for (const auto* part : {&s.train, &s.validation, &s.test})
            for (const auto& p : pairs(part->positive)) all_positive.insert(p);
        std::multiset<Pair> given;
        for (const auto& p : pairs(g.edge_index()))
            if (!undirected || p.first <= p.second) given.insert(p);
        CHECK(all_positive == given);
        CHECK(s.train.graph.edges() <= (undirected ? 2 : 1) * s.train.positive.shape(1));
        std::set<Pair> negative;
        long count = 0;
        for (const auto* part : {&s.train, &s.validation, &s.test}) {
            CHECK(part->negative.shape(1) == part->positive.shape(1));
            for (const auto& p : pairs(part->negative)) {
                negative.insert(undirected ? Pair(std::minmax(p.first, p.second)) : p);
                ++count;
                REQUIRE(!graph::has_edge(g, p.first, p.second));
                REQUIRE((!undirected || !graph::has_edge(g, p.second, p.first)));
            }
        }
        CHECK(static_cast<long>(negative.size()) == count);
    };
    check_split(directed, graph::random_link_split(directed, Key{1}), static_cast<long>(once.size()), false);
    // No edge of a simple undirected graph predicts itself.
    std::set<Pair> simple;
    for (const auto& [a, b] : pairs(directed.edge_index()))
        if (a != b) {
            simple.insert({a, b});
            simple.insert({b, a});
        }
    const Graph g = graph_of(simple);
    const auto s = graph::random_link_split(g, Key{2}, {.undirected = true});
    check_split(g, s, static_cast<long>(simple.size()) / 2, true);
    for (const auto& [a, b] : pairs(s.validation.positive))
        CHECK((!graph::has_edge(s.validation.graph, a, b) && !graph::has_edge(s.validation.graph, b, a) &&
               graph::has_edge(s.test.graph, a, b)));
    for (const auto& [a, b] : pairs(s.test.positive)) CHECK((!graph::has_edge(s.test.graph, a, b) && !graph::has_edge(s.test.graph, b, a)));
    CHECK_THROWS_WITH(graph::random_link_split(directed, Key{1}, {.undirected = true}), Catch::Contains("has no edge back"));
    // In either direction, whatever node is the smaller, and as often.
    using List = std::vector<Pair>;
    CHECK_THROWS_WITH(graph::random_link_split(graph_of(List{{0, 1}, {1, 0}, {2, 5}}), Key{1}, {.undirected = true}),
                      Catch::Contains("random_link_split: edge 2, 2 -> 5, has no edge back"));
    CHECK_THROWS_WITH(graph::random_link_split(graph_of(List{{5, 2}, {0, 1}, {1, 0}}), Key{1}, {.undirected = true}),
                      Catch::Contains("random_link_split: edge 0, 5 -> 2, has no edge back"));
    CHECK_THROWS_WITH(graph::random_link_split(graph_of(List{{0, 1}, {1, 0}, {3, 3}, {0, 1}}), Key{1}, {.undirected = true}),
                      Catch::Contains("random_link_split: edge 3, 0 -> 1, has no edge back"));
    CHECK_THROWS_AS(graph::random_link_split(Graph::bipartite(from<std::int64_t>({2, 1}, {0, 2}), 2, 3), Key{1}, {.undirected = true}),
                    ShapeError);
    CHECK_THROWS_WITH(graph::random_link_split(directed, Key{1}, {.validation = 0.9}),
                      Catch::Contains("random_link_split: parts of 0.9 and 0.2"));
}

TEST_CASE("edges that come several times do not predict themselves", "[graph]") {
    // Every pair up to four times, in random order; with and without its way back.
    const auto times = integers({40}, Key{31}, 1, 5);
    for (const bool undirected : {false, true}) {
        std::vector<Pair> given;
        for (long k = 0; k < 40; ++k)
            for (long t = 0; t < times.data()[k]; ++t) {
                given.emplace_back(k % 8, 8 + k / 8);
                if (undirected) given.emplace_back(8 + k / 8, k % 8);
            }
        const auto order = list(permutation(static_cast<long>(given.size()), Key{32}));
        std::vector<std::int64_t> source, target;
        for (const std::int64_t k : order) {
            source.push_back(given[static_cast<std::size_t>(k)].first);
            target.push_back(given[static_cast<std::size_t>(k)].second);
        }
        const Graph g = Graph::from_edges(graph::impl_sampling::pairs_of(source, target), 13);
        for (std::uint64_t k = 0; k < 10; ++k) {
            const auto s = graph::random_link_split(g, Key{k}, {.validation = 0.25, .test = 0.25, .undirected = undirected});
            std::multiset<Pair> positive;
            std::set<Pair> of_part[3];
            long part = 0;
            for (const auto* own : {&s.train, &s.validation, &s.test}) {
                for (const auto& p : pairs(own->positive)) positive.insert(p), of_part[part].insert(p);
                ++part;
            }
            // A quarter of the pairs each, and every edge once.
            CHECK((of_part[0].size() == 20 && of_part[1].size() == 10 && of_part[2].size() == 10));
            std::multiset<Pair> expected;
            for (const auto& p : given)
                if (p.first < p.second) expected.insert(p);
            CHECK(positive == expected);
            for (const auto& [a, b] : of_part[1])
                REQUIRE((!graph::has_edge(s.validation.graph, a, b) && !graph::has_edge(s.validation.graph, b, a)));
            for (const auto& [a, b] : of_part[2]) REQUIRE((!graph::has_edge(s.test.graph, a, b) && !graph::has_edge(s.test.graph, b, a)));
            CHECK(s.train.graph.edges() == (undirected ? 2 : 1) * s.train.positive.shape(1));
            // Negatives of undirected graphs come in one direction, whatever the part.
            std::set<Pair> negative;
            long count = 0;
            for (const auto* own : {&s.train, &s.validation, &s.test})
                for (const auto& p : pairs(own->negative)) negative.insert(undirected ? Pair(std::minmax(p.first, p.second)) : p), ++count;
            CHECK(static_cast<long>(negative.size()) == count);
        }
    }
}

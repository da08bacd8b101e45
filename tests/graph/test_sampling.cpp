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
    // All pairs are equally likely.
    std::vector<double> counts(12, 0);
    const Graph none = Graph::from_edges(zeros<std::int64_t>({2, 0}), 4);
    for (long k = 0; k < 12000; ++k) {
        const auto p = pairs(graph::negative_sampling(none, 1, Key{k}))[0];
        ++counts[static_cast<std::size_t>(p.first * 3 + p.second - (p.second > p.first))];
    }
    CHECK(chi_square(counts, 1000) < 34);
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
    CHECK(list(part) == list(graph::partition(g, 8, Key{1})));
    const auto batch = graph::parts_graph(g, part, {3, 1});
    check_sampled(batch, g);
    CHECK(batch.nodes.size() == sizes[3] + sizes[1]);
    CHECK(part.data()[batch.nodes.data()[0]] == 3);
    CHECK(graph::edge_cut(g, graph::partition(g, 1, Key{1})) == 0);
    CHECK(graph::partition(Graph::from_edges(zeros<std::int64_t>({2, 0}), 7), 3, Key{1}).size() == 7);
    CHECK_THROWS_WITH(graph::partition(g, 0, Key{1}), Catch::Contains("partition: 0 parts"));
    CHECK_THROWS_WITH(graph::parts_graph(g, part, {1, 1}), Catch::Contains("parts_graph: part 1 is chosen twice"));
}

TEST_CASE("edges to learn from and to predict", "[graph]") {
    const Graph directed = random_graph(60, 500, Key{16});
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
                negative.insert(p);
                ++count;
                REQUIRE(!graph::has_edge(g, p.first, p.second));
            }
        }
        CHECK(static_cast<long>(negative.size()) == count);
    };
    check_split(directed, graph::random_link_split(directed, Key{1}), 500, false);
    // No edge of a simple undirected graph predicts itself.
    std::set<Pair> simple;
    for (const auto& [a, b] : pairs(directed.edge_index()))
        if (a != b) {
            simple.insert({a, b});
            simple.insert({b, a});
        }
    std::vector<std::int64_t> source, target;
    for (const auto& [a, b] : simple) {
        source.push_back(a);
        target.push_back(b);
    }
    const Graph g = Graph::from_edges(graph::impl_sampling::pairs_of(source, target), 60);
    const auto s = graph::random_link_split(g, Key{2}, {.undirected = true});
    check_split(g, s, static_cast<long>(simple.size()) / 2, true);
    for (const auto& [a, b] : pairs(s.validation.positive))
        CHECK((!graph::has_edge(s.validation.graph, a, b) && !graph::has_edge(s.validation.graph, b, a) &&
               graph::has_edge(s.test.graph, a, b)));
    for (const auto& [a, b] : pairs(s.test.positive)) CHECK((!graph::has_edge(s.test.graph, a, b) && !graph::has_edge(s.test.graph, b, a)));
    CHECK_THROWS_WITH(graph::random_link_split(directed, Key{1}, {.undirected = true}), Catch::Contains("has no edge back"));
    CHECK_THROWS_WITH(graph::random_link_split(directed, Key{1}, {.validation = 0.9}),
                      Catch::Contains("random_link_split: parts of 0.9 and 0.2"));
}

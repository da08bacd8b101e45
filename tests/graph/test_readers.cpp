// The readers of graph formats other than Planetoid's: small files written by hand, damaged files, and the real sets where the
// machine has them.
#include "../data/gzip.hpp"
#include "shared_data.hpp"

#include <tenon/graph/io/gin_text.hpp>
#include <tenon/graph/io/linqs.hpp>
#include <tenon/graph/io/npz_graph.hpp>
#include <tenon/graph/io/off.hpp>
#include <tenon/graph/io/ogb_csv.hpp>
#include <tenon/graph/io/tu.hpp>

using namespace tenon;
using files::bytes_of, files::error_of, files::has;

namespace {

struct Scratch : files::Folder {
    std::string put(const std::string& name, const std::string& text) const {
        files::write(*this / name, bytes_of(text));
        return *this / name;
    }
};
std::vector<std::int64_t> flat(const Tensor<std::int64_t, 2>& x) { return {x.data(), x.data() + x.size()}; }
std::vector<std::int64_t> flat(const Tensor<std::int64_t, 1>& x) { return {x.data(), x.data() + x.size()}; }
std::vector<float> flat(const Tensor<float, 2>& x) { return {x.data(), x.data() + x.size()}; }
using Longs = std::vector<std::int64_t>;
using Floats = std::vector<float>;

const char* const gin = "2\n3 5\n0 2 1 2\n7 1 0\n0 1 0\n1 -1\n3 0\n";
const char* const content = "p10\t1\t0\t0.5\tTheory\np7\t0\t1\t0\tAgents\nx\t0\t0\t0\tTheory\n";
const char* const cites = "p10\tp7\np10\tx\nabsent\tx\n";
const char* const papers_tab = "NODE\tpaper\ncat=1,2:label\tnumeric:w-rat:0.0\tnumeric:w-common:0.0\tsummary:summary\n"
                               "12\tlabel=2\tw-common=0.25\tw-rat=1.5\tsummary=w-common,w-rat\n9\tlabel=1\tw-rat=0.5\tsummary=w-rat\n";
const char* const cites_tab = "DIRECTED\tcites\nNO_FEATURES\n33\tpaper:12\t|\tpaper:9\n34\tpaper:9\t|\tpaper:77\n";
const char* const off = "OFF\n# a comment\n4 2 0\n0 0 0\n1 0 0\n1 1 0\n0 1 -2.5e-1\n4 0 1 2 3\n3 0 1 2 255 0 0\n";

}  // namespace

TEST_CASE("GIN text: neighbours, tags as one-hot rows, labels in ascending order", "[readers]") {
    const Scratch folder;
    const auto set = graph::read_gin_text(folder.put("a.txt", gin));
    CHECK(set.size() == 2);
    CHECK(flat(set.data.graph_y) == Longs{1, 0});
    CHECK(flat(set[0].edge_index) == Longs{1, 2, 0, 0, 0, 0, 1, 2});
    CHECK(flat(set.data.x) == Floats{1, 0, 0, 0, 0, 1, 1, 0, 0, 0, 1, 0});
    CHECK(set[1].nodes == 1);
    CHECK(set[1].edges() == 0);
    CHECK(flat(graph::read_gin_text(folder.put("b.txt", "1\n1 0\n4 0 0.5 -2\n")).data.x) == Floats{1, 0.5f, -2});

    const auto error = [&](const char* text) { return error_of<FileError>([&] { graph::read_gin_text(folder.put("c.txt", text)); }); };
    CHECK(has(error(""), "c.txt\" ends after line 0: expected the number of graphs"));
    CHECK(has(error("0\n"), "line 1: expected at least one graph"));
    CHECK(has(error("1\n1 0\n"), "ends after line 2: expected another node"));
    CHECK(has(error("1\n1 0\n0 1 1\n"), "line 3: a neighbour that is no node of this graph"));
    CHECK(has(error("1\n1 0\n0 2 0\n"), "line 3: expected a neighbour, the line ends"));
    CHECK(has(error("1\n1 0\n0 x\n"), "line 3: expected a number of neighbours, got \"x\""));
    CHECK(has(error("1\n1 0\n0 99999999999999999999\n"), "got \"99999999999999999999\""));
    CHECK(has(error("1\n1 0\n0 0\n0 0\n"), "line 4: the file goes on behind"));
    CHECK(has(error("1\n2 0\n0 0 1\n0 0\n"), "line 4: a node with more or fewer numbers"));
    const auto result = files::damage(bytes_of(gin), [](const std::string& path) { graph::read_gin_text(path); }, 4 << 20);
    CHECK(result.refused > 100);
}

TEST_CASE("LINQS: papers, words, classes and citations", "[readers]") {
    const Scratch folder;
    const std::string c = folder.put("content", content), e = folder.put("cites", cites);
    const auto papers = graph::read_linqs(c, e);
    CHECK(papers.ids == std::vector<std::string>{"p10", "p7", "x"});
    CHECK(papers.classes == std::vector<std::string>{"Agents", "Theory"});
    CHECK(flat(papers.data.y) == Longs{1, 0, 1});
    CHECK(flat(papers.data.x.to_dense()) == Floats{1, 0, 0.5f, 0, 1, 0, 0, 0, 0});
    CHECK(flat(papers.data.edge_index) == Longs{1, 2, 0, 0});  // p7 and x cite p10
    CHECK(papers.unknown == 1);

    const std::string t = folder.put("papers.tab", papers_tab), ct = folder.put("cites.tab", cites_tab);
    const auto tab = graph::read_linqs_tab(t, ct);
    CHECK(tab.ids == std::vector<std::string>{"12", "9"});
    CHECK(flat(tab.data.y) == Longs{1, 0});
    CHECK(flat(tab.data.x.to_dense()) == Floats{1.5f, 0.25f, 0.5f, 0});
    CHECK(flat(tab.data.edge_index) == Longs{0, 1});
    CHECK(tab.unknown == 1);

    CHECK(has(error_of<FileError>([&] { graph::read_linqs(folder.put("d", "a 1 T\na 0 T\n"), e); }), "line 2: a paper that was there before"));
    CHECK(has(error_of<FileError>([&] { graph::read_linqs(folder.put("d", "a 1 T\nb T\n"), e); }), "line 2: a paper with more or fewer words"));
    CHECK(has(error_of<FileError>([&] { graph::read_linqs(folder.put("d", "a z T\n"), e); }), "line 1: expected a number, got \"z\""));
    CHECK(has(error_of<FileError>([&] { graph::read_linqs(c, folder.put("d", "p7 x p10\n")); }), "line 1: expected the end of the line, got \"p10\""));
    CHECK(has(error_of<FileError>([&] { graph::read_linqs_tab(folder.put("d", "a\nnumeric:w:0\n1\tlabel=1\tv=2\n"), ct); }), "line 3: expected a word that was declared, got \"v=2\""));
    CHECK(has(error_of<FileError>([&] { graph::read_linqs_tab(t, folder.put("d", "a\nb\n1 paper:9 paper:9\n")); }), "line 3: expected |, got \"paper:9\""));
    for (const bool damaged_cites : {false, true}) {
        files::damage(bytes_of(damaged_cites ? cites : content), [&](const std::string& path) { graph::read_linqs(damaged_cites ? c : path, damaged_cites ? path : e); }, 4 << 20);
        files::damage(bytes_of(damaged_cites ? cites_tab : papers_tab), [&](const std::string& path) { graph::read_linqs_tab(damaged_cites ? t : path, damaged_cites ? path : ct); }, 4 << 20);
    }
}

TEST_CASE("TU: loops and duplicates go, labels become one-hot, attributes come when asked for", "[readers]") {
    const Scratch folder;
    folder.put("T_graph_indicator.txt", "1\n1\n1\n2\n2\n");
    folder.put("T_A.txt", "2, 1\n1, 2\n3, 3\n 1,2\n5, 4\n4, 5\n");
    folder.put("T_graph_labels.txt", "1\n-1\n");
    folder.put("T_node_labels.txt", "3\n5\n4\n3\n3\n");
    folder.put("T_node_attributes.txt", "0.5, 1\n1.5, 2\n2, 3\n3, 4\n1e-3, 5\n");
    folder.put("T_edge_labels.txt", "0\n1\n0\n0\n1\n1\n");
    const auto set = graph::read_tu(folder.path, "T");
    CHECK(set.size() == 2);
    CHECK(flat(set.data.graph_y) == Longs{1, 0});
    CHECK(flat(set[0].edge_index) == Longs{0, 1, 1, 0});
    CHECK(flat(set[1].edge_index) == Longs{0, 1, 1, 0});
    CHECK(flat(set.data.x) == Floats{1, 0, 0, 0, 0, 1, 0, 1, 0, 1, 0, 0, 1, 0, 0});
    CHECK(!set.data.edge_attr.has_value());
    const auto full = graph::read_tu(folder.path, "T", {.node_attributes = true, .edge_attributes = true});
    CHECK(flat(full[1].x) == Floats{3, 4, 1, 0, 0, 1e-3f, 5, 1, 0, 0});
    CHECK(flat(full.data.edge_attr) == Floats{0, 1, 1, 0, 0, 1, 0, 1});  // edge 1 -> 2 has the label of its first line
    files::write(folder / "T_A.txt.gz", files::gzip(files::read(folder / "T_A.txt")));
    std::remove((folder / "T_A.txt").c_str());
    CHECK(graph::read_tu(folder.path, "T").data.edges() == 4);
    std::remove((folder / "T_A.txt.gz").c_str());

    const auto error = [&](const char* file, const char* text) {
        const Scratch other;
        other.put("T_graph_indicator.txt", "1\n1\n1\n2\n2\n");
        other.put("T_A.txt", "2, 1\n1, 2\n");
        other.put("T_graph_labels.txt", "1\n-1\n");
        other.put(file, text);
        return error_of<FileError>([&] { graph::read_tu(other.path, "T"); });
    };
    CHECK(has(error("T_A.txt", "1, 4\n"), "T_A.txt\", line 1: an edge between two graphs"));
    CHECK(has(error("T_A.txt", "1, 6\n"), "line 1: an edge of a node that graph_indicator does not have"));
    CHECK(has(error("T_A.txt", "1 2\n"), "line 1: expected a node, got \"1 2\""));
    CHECK(has(error("T_graph_indicator.txt", "1\n3\n"), "line 2: the numbers of graphs must begin with 1 and go up by one"));
    CHECK(has(error("T_graph_indicator.txt", "0\n1\n"), "line 1: the numbers of graphs"));
    CHECK(has(error("T_graph_labels.txt", "1\n"), "has 1 lines, expected 2, one for each graph"));
    CHECK(has(error("T_node_labels.txt", "1\n2\n"), "T_node_labels.txt\" has 2 lines, expected 5, one for each node"));
    CHECK(has(error("T_node_labels.txt", "1\n2\n3\n4\n9223372036854775807\n"), "too many for one-hot"));
    CHECK(has(error_of<FileError>([&] { graph::read_tu(folder.path, "none"); }), "cannot open"));
}

TEST_CASE("OFF: vertices and triangles", "[readers]") {
    const Scratch folder;
    const auto mesh = graph::read_off(folder.put("a.off", off));
    CHECK(mesh.nodes == 4);
    CHECK(flat(mesh.pos) == Floats{0, 0, 0, 1, 0, 0, 1, 1, 0, 0, 1, -0.25f});
    CHECK(flat(mesh.face) == Longs{0, 0, 0, 1, 2, 1, 2, 3, 2});
    CHECK(graph::read_off(folder.put("glued.off", "OFF1 0 0\n1 2 3\n")).nodes == 1);
    CHECK(has(error_of<FileError>([&] { graph::read_off(folder.put("b", "OF\n")); }), "line 1: expected OFF, got \"OF\""));
    CHECK(has(error_of<FileError>([&] { graph::read_off(folder.put("b", "OFF\n1 1 0\n0 0 0\n3 0 0 1\n")); }), "line 4: a face with a vertex that is not there"));
    CHECK(has(error_of<FileError>([&] { graph::read_off(folder.put("b", "OFF\n2000000000 0 0\n0 0 0\n")); }), "ends after line 3: expected another vertex"));
    files::damage(bytes_of(off), [](const std::string& path) { graph::read_off(path); }, 4 << 20);
}

TEST_CASE("npz of attributed graphs: symmetric, without loops, features of 0 and 1", "[readers]") {
    const Scratch folder;
    const auto longs = [](std::initializer_list<std::int32_t> v) { return io::Array(from<std::int32_t>(v)); };
    const std::vector<io::NamedArray> arrays = {{"adj_data", io::Array(from<float>({1, 1, 1, 0}))}, {"adj_indices", longs({1, 2, 2, 0})}, {"adj_indptr", longs({0, 2, 2, 4})},
                                                {"adj_shape", io::Array(from<std::int64_t>({3, 3}))}, {"attr_data", io::Array(from<float>({2, -1, 0.5f}))},
                                                {"attr_indices", longs({0, 1, 3})}, {"attr_indptr", longs({0, 2, 2, 3})}, {"attr_shape", longs({3, 4})},
                                                {"labels", io::Array(from<std::int64_t>({2, 0, 1}))}};
    io::write_npz(folder / "a.npz", arrays);
    const auto data = graph::read_npz_graph(folder / "a.npz");
    CHECK(flat(data.edge_index) == Longs{0, 0, 1, 2, 1, 2, 0, 0});
    CHECK(flat(data.x.to_dense()) == Floats{1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1});
    CHECK(flat(graph::read_npz_graph(folder / "a.npz", {.binary_features = false}).x.to_dense()) == Floats{2, -1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0.5f});
    CHECK(flat(data.y) == Longs{2, 0, 1});
    const auto error = [&](std::size_t which, const io::Array& other) {
        auto changed = arrays;
        changed[which].array = other;
        io::write_npz(folder / "b.npz", changed);
        return error_of([&] { graph::read_npz_graph(folder / "b.npz"); });
    };
    CHECK(has(error(1, longs({1, 3, 2, 0})), "member \"adj\" is no sparse matrix: tenon: Csr: column 3 of element 1"));
    CHECK(has(error(3, longs({3, 4})), "expected as many rows as columns"));
    CHECK(has(error(3, longs({4, 4})), "the shape is not that of the row pointers"));
    CHECK(has(error(8, longs({1, 2})), "member \"labels\" has 2 entries, expected 3"));
    CHECK(has(error(1, io::Array(from<float>({1, 2, 2, 0}))), "member \"adj_indices\": expected whole numbers"));
    files::damage(files::read(folder / "a.npz"), [](const std::string& path) { graph::read_npz_graph(path); }, 4 << 20, 1500);
}

TEST_CASE("OGB: counts, edges, features and labels in packed tables", "[readers]") {
    const Scratch folder;
    const auto put = [&](const std::string& name, const std::string& text) { files::write(folder / (name + ".csv.gz"), files::gzip(bytes_of(text))); };
    put("num-node-list", "2\n3\n");
    put("num-edge-list", "1\n2\n");
    put("edge", "0,1\n2,0\n1,1\n");
    put("node-feat", "1,2\n3,4\n5,6\n7,8\n9,10\n");
    put("edge-feat", "0.5\n1\n2\n");
    put("graph-label", "1\nnan\n");
    const auto set = graph::read_ogb_csv(folder.path);
    CHECK(set.size() == 2);
    CHECK(flat(set[1].edge_index) == Longs{2, 1, 0, 1});
    CHECK(flat(set[1].x) == Floats{5, 6, 7, 8, 9, 10});
    CHECK(flat(set[1].edge_attr) == Floats{1, 2});
    CHECK(flat(set.data.graph_y) == Longs{1, -1});
    const auto both = graph::read_ogb_csv(folder.path, {.add_inverse_edge = true});
    CHECK(flat(both[1].edge_index) == Longs{2, 0, 1, 1, 0, 2, 1, 1});
    CHECK(flat(both[1].edge_attr) == Floats{1, 1, 2, 2});
    put("train", "0\n"), put("valid", "1\n"), put("test", "");
    CHECK(flat(graph::read_ogb_split(folder.path).validation) == Longs{1});
    const auto error = [&] { return error_of<FileError>([&] { graph::read_ogb_csv(folder.path); }); };
    put("edge", "0,1\n2,0\n");
    CHECK(has(error(), "ends after line 2: expected another edge"));
    put("edge", "0,1\n2,3\n1,1\n");
    CHECK(has(error(), "line 2: an edge of a node that its graph does not have"));
    put("num-node-list", "2\n-3\n");
    CHECK(has(error(), "line 2: expected counts of 0 or more"));
    put("num-node-list", "2\n");
    CHECK(has(error(), "has 2 lines, expected 1, one for each graph"));
    std::remove((folder / "node-feat.csv.gz").c_str()), std::remove((folder / "edge-feat.csv.gz").c_str());
    put("num-node-list", "2\n2000000000\n"), put("edge", "0,1\n2,0\n1,1\n");
    CHECK(has(error(), "claims 2000000002 nodes"));
}

TEST_CASE("the real sets count as published", "[readers]") {
    if (const std::string folder = shared_data("tu/MUTAG"); !folder.empty()) {
        const auto set = graph::read_tu(folder, "MUTAG", {.edge_attributes = true});
        CHECK(set.size() == 188);
        CHECK(set.data.nodes == 3371);
        CHECK(set.data.edges() == 7442);
        CHECK(set.data.edge_attr.shape(1) == 4);
        std::vector<long> atoms(7);
        for (long i = 0; i < set.data.nodes; ++i)
            for (long c = 0; c < 7; ++c) atoms[static_cast<std::size_t>(c)] += set.data.x.data()[7 * i + c] == 1;
        CHECK(atoms == std::vector<long>{2395, 345, 593, 12, 1, 23, 2});
        long active = 0;
        for (std::int64_t y : flat(set.data.graph_y)) active += y == 1;
        CHECK(active == 125);
    }
    if (const std::string folder = shared_data("tu/PROTEINS"); !folder.empty()) {
        const auto set = graph::read_tu(folder, "PROTEINS");
        CHECK(set.size() == 1113);
        CHECK(set.data.nodes == 43471);
        CHECK(set.data.edges() == 162088);
        CHECK(set.data.x.shape(1) == 3);
        CHECK(graph::read_tu(folder, "PROTEINS", {.node_attributes = true}).data.x.shape(1) == 4);
        long ones = 0, largest = 0, alone = 0;
        for (std::int64_t y : flat(set.data.graph_y)) ones += y == 1;
        for (long i = 0; i < set.size(); ++i) largest = std::max<long>(largest, set.pointers.data()[i + 1] - set.pointers.data()[i]);
        for (long i = 0; i < set.data.nodes; ++i) alone += set.graph.in().pointers.data()[i + 1] == set.graph.in().pointers.data()[i];
        CHECK(ones == 450);
        CHECK(largest == 620);
        CHECK(alone == 5);
    }
    if (const std::string path = shared_data("gin/IMDBBINARY.txt"); !path.empty()) {
        const auto set = graph::read_gin_text(path);
        CHECK(set.size() == 1000);
        long ones = 0, largest = 0;
        for (std::int64_t y : flat(set.data.graph_y)) ones += y;
        for (long i = 0; i < set.data.nodes; ++i) largest = std::max<long>(largest, set.graph.in().pointers.data()[i + 1] - set.graph.in().pointers.data()[i]);
        CHECK(ones == 500);
        CHECK(largest == 135);
    }
}

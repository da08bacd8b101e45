// The files of the Planetoid release: the pickles in them, what is put together from them, and Cora and CiteSeer themselves.
#include "pickles.hpp"
#include "shared_data.hpp"

#include <tenon/graph/io/planetoid.hpp>

using namespace tenon;
using files::Bytes, files::error_of, files::has;
using pickles::Writer;

namespace {

// Five nodes with features, of which the last two (4 and 6 of 0 ... 6) are tested; node 5 is described nowhere.
struct Tiny : files::Folder {
    graph::PlanetoidFiles paths = graph::PlanetoidFiles::in(path, "tiny");
    Tiny() {
        files::write(paths.x, pickles::csr(3, {0, 1, 3}, {0, 1, 2}, {1, 1, 1}));
        files::write(paths.allx, pickles::csr(3, {0, 1, 3, 3, 4}, {0, 1, 2, 2}, {1, 1, 1, 0.5f}));
        files::write(paths.tx, pickles::csr(3, {0, 1, 2}, {0, 1}, {2, 3}));
        files::write(paths.y, pickles::labels({1, 0, 0, 1}, 2));
        files::write(paths.ally, pickles::labels({1, 0, 0, 1, 0, 1, 1, 0}, 2));
        files::write(paths.ty, pickles::labels({0, 1, 1, 0}, 2));
        files::write(paths.graph, pickles::adjacency({{1, 2, 0}, {0, 0}, {6}, {}, {3}, {}, {2}}));
        files::write(paths.test_index, files::bytes_of("6\n4\n"));
    }
};
std::vector<std::int64_t> list(const Tensor<std::int64_t, 1>& x) { return {x.data(), x.data() + x.size()}; }
std::vector<std::int64_t> flat(const Tensor<std::int64_t, 2>& x) { return {x.data(), x.data() + x.size()}; }

}  // namespace

TEST_CASE("the eight files are put together: a test row belongs to the node that test.index names", "[planetoid]") {
    const Tiny tiny;
    const auto data = graph::read_planetoid(tiny.path, "tiny");
    CHECK(data.nodes == 7);
    CHECK(list(data.y) == std::vector<std::int64_t>{0, 1, 1, 0, 0, 0, 1});
    const auto x = data.x.to_dense();
    CHECK(std::vector<float>(x.data(), x.data() + x.size()) == std::vector<float>{1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0.5f, 0, 3, 0, 0, 0, 0, 2, 0, 0});
    // Self-loops and duplicates are gone, both directions are there, in order.
    CHECK(flat(data.edge_index) == std::vector<std::int64_t>{0, 0, 1, 2, 2, 3, 4, 6, 1, 2, 0, 0, 6, 4, 3, 2});
    CHECK(list(data.train) == std::vector<std::int64_t>{0, 1});
    CHECK(list(data.validation) == std::vector<std::int64_t>{2, 3});
    CHECK(list(data.test) == std::vector<std::int64_t>{6, 4});
    CHECK(data.graph().edges() == 8);
}

TEST_CASE("a pickle is values and nothing else: other opcodes and names are refused where they stand", "[planetoid]") {
    const Tiny tiny;
    const auto read = [&](const Bytes& bytes) {
        files::write(tiny.paths.x, bytes);
        return error_of<FileError>([&] { graph::read_planetoid(tiny.paths); });
    };
    Bytes protocol_0 = files::bytes_of("cos\nsystem\n(S'true'\ntR.");
    CHECK(has(read(protocol_0), "offset 0: the name \"os system\""));
    CHECK(has(read(Writer().name("posix", "system").string("true").text("\x85R").end()), "offset 2: the name \"posix system\""));
    CHECK(has(read(Writer().name("numpy", "dtype ").end()), "offset 2: the name \"numpy dtype \""));
    CHECK(has(read(Writer().text("I1\n").end()), "offset 2: the opcode 0x49"));
    CHECK(has(read(Writer().text("\x93").end()), "offset 2: the opcode 0x93"));
    CHECK(has(read({0x80, 4, '.'}), "another protocol"));
    CHECK(has(read(Writer().name("numpy", "ndarray").text(")R").end()), "a call of a name that is no function here"));
    CHECK(has(read(Writer().name("numpy", "dtype").text(")\x81").end()), "a call of a name that is no function here"));
    CHECK(has(read(Writer().text(std::string(100, '(')).end()), "too many marks"));
    CHECK(has(read(Writer().text("r").little(0xfffffff0u, 4).end()), "a memo number larger than the file"));
    CHECK(has(read(Writer().text("h").little(3, 1).end()), "nothing was stored under"));
    CHECK(has(read(Writer().text("N").text("T").little(0x7fffffff, 4).end()), "truncated"));
    CHECK(has(read(Writer().text("NN").end()), "more than one value"));
    CHECK(has(read(Writer().text("(").end()), "no value at the end"));
    CHECK(has(read(Writer().text("N.").end()), "goes on behind its end"));
    CHECK(has(read(Writer().text("N").end()), "expected features as a csr_matrix of float32, got another value"));
    CHECK(has(read({}), "truncated"));
}

TEST_CASE("what does not fit together is an error that names the files", "[planetoid]") {
    const auto error = [](auto&& change) {
        const Tiny tiny;
        change(tiny.paths);
        return error_of<FileError>([&] { graph::read_planetoid(tiny.paths); });
    };
    using F = graph::PlanetoidFiles;
    CHECK(has(error([](const F& f) { files::write(f.y, pickles::labels({1, 0}, 2)); }), "ind.tiny.x\" has 2 rows, "));
    CHECK(has(error([](const F& f) { files::write(f.tx, pickles::csr(4, {0, 1, 2}, {0, 1}, {2, 3})); }), "has 4 columns"));
    CHECK(has(error([](const F& f) { files::write(f.ty, pickles::labels({0, 2, 1, 0}, 2)); }), "labels of zeros and ones"));
    CHECK(has(error([](const F& f) { files::write(f.ty, pickles::labels({1, 1, 1, 0}, 2)); }), "one label for a node"));
    CHECK(has(error([](const F& f) { files::write(f.tx, pickles::csr(3, {0, 1, 2}, {0, 3}, {2, 3})); }), "column 3 of element 1"));
    CHECK(has(error([](const F& f) { files::write(f.tx, pickles::csr(3, {0, 2, 1}, {0}, {2})); }), "row pointers"));
    CHECK(has(error([](const F& f) { files::write(f.test_index, files::bytes_of("6\n4\n5\n")); }), "has 3 test nodes"));
    CHECK(has(error([](const F& f) { files::write(f.test_index, files::bytes_of("6\n6\n")); }), "has node 6 twice"));
    CHECK(has(error([](const F& f) { files::write(f.test_index, files::bytes_of("6\n3\n")); }), "line 2: a node that allx has already"));
    CHECK(has(error([](const F& f) { files::write(f.test_index, files::bytes_of("6\n9999999\n")); }), "line 2: a node far beyond"));
    CHECK(has(error([](const F& f) { files::write(f.test_index, files::bytes_of("6\nx\n")); }), "line 2: expected a node, got \"x\""));
    CHECK(has(error([](const F& f) { files::write(f.graph, pickles::adjacency({{7}})); }), "a neighbour beyond them"));
    CHECK(has(error([](const F& f) { files::write(f.graph, pickles::adjacency({{}, {}, {}, {}, {}, {}, {}, {}})); }), "a node beyond them"));
    CHECK(has(error([](const F& f) { std::remove(f.graph.c_str()); }), "cannot open"));
}

TEST_CASE("whatever is damaged in one of the files, the reader gives a result or an error that names it", "[planetoid]") {
    const Tiny tiny;
    for (std::string graph::PlanetoidFiles::* which : {&graph::PlanetoidFiles::tx, &graph::PlanetoidFiles::ty, &graph::PlanetoidFiles::graph, &graph::PlanetoidFiles::test_index}) {
        const auto result = files::damage(files::read(tiny.paths.*which), [&](const std::string& path) {
            graph::PlanetoidFiles paths = tiny.paths;
            paths.*which = path;
            graph::read_planetoid(paths);
        }, 1 << 20);
        CHECK(result.refused > 100);
    }
}

TEST_CASE("one list named again and again does not cost more than the file", "[planetoid]") {
    const Tiny tiny;
    Writer w;
    w.text("}(");
    w.integer(0).text("](");
    for (int i = 0; i < 2000; ++i) w.integer(1);
    // The list is stored once and named by every other entry.
    w.text("eq").little(1, 1);
    for (int i = 0; i < 2000; ++i) w.integer(1).text("h").little(1, 1);
    files::write(tiny.paths.graph, w.text("u").end());
    CHECK(has(error_of<FileError>([&] { graph::read_planetoid(tiny.paths); }), "one list for many nodes"));
}

TEST_CASE("Cora is Cora", "[planetoid]") {
    const std::string folder = shared_data("planetoid");
    if (folder.empty()) return;
    const auto data = graph::read_planetoid(folder, "cora");
    CHECK(data.nodes == 2708);
    CHECK(data.x.shape(0) == 2708);
    CHECK(data.x.shape(1) == 1433);
    CHECK(data.x.elements() == 49216);
    CHECK(data.edges() == 10556);
    CHECK(data.train.size() == 140);
    CHECK(data.validation.size() == 500);
    CHECK(data.validation.data()[0] == 140);
    CHECK(data.test.size() == 1000);
    const auto labels = list(data.y);
    CHECK(std::vector<std::int64_t>(labels.begin(), labels.begin() + 10) == std::vector<std::int64_t>{3, 4, 4, 0, 3, 2, 0, 3, 3, 2});
    std::vector<long> classes(7), test_classes(7), train_classes(7);
    for (std::int64_t label : labels) ++classes[static_cast<std::size_t>(label)];
    for (std::int64_t node : list(data.test)) ++test_classes[static_cast<std::size_t>(labels[static_cast<std::size_t>(node)])];
    for (std::int64_t node : list(data.train)) ++train_classes[static_cast<std::size_t>(labels[static_cast<std::size_t>(node)])];
    CHECK(classes == std::vector<long>{351, 217, 418, 818, 426, 298, 180});
    CHECK(test_classes == std::vector<long>{130, 91, 144, 319, 149, 103, 64});
    CHECK(train_classes == std::vector<long>(7, 20));
    const auto g = data.graph();
    long smallest = 1000, largest = 0;
    const CsrPattern& in = g.in();
    for (long i = 0; i < data.nodes; ++i) {
        const long degree = in.pointers.data()[i + 1] - in.pointers.data()[i];
        smallest = std::min(smallest, degree), largest = std::max(largest, degree);
    }
    CHECK(smallest == 1);
    CHECK(largest == 168);
    const CsrPattern& rows = data.x.structure().by_row();
    for (long i = 0; i < data.nodes; ++i) {
        const long ones = rows.pointers.data()[i + 1] - rows.pointers.data()[i];
        if (ones < 1 || ones > 30) FAIL("node " << i << " has " << ones << " words");
    }
    for (long k = 0; k < data.x.elements(); ++k)
        if (data.x.values().data()[k] != 1) FAIL("word " << k << " is no 1");
}

TEST_CASE("CiteSeer is CiteSeer", "[planetoid]") {
    const std::string folder = shared_data("planetoid");
    if (folder.empty()) return;
    const auto data = graph::read_planetoid(folder, "citeseer");
    CHECK(data.nodes == 3327);
    CHECK(data.x.shape(1) == 3703);
    CHECK(data.x.elements() == 105165);
    CHECK(data.edges() == 9104);
    CHECK(data.train.size() == 120);
    CHECK(data.validation.size() == 500);
    CHECK(data.test.size() == 1000);
    std::vector<long> classes(6);
    for (std::int64_t label : list(data.y)) ++classes[static_cast<std::size_t>(label)];
    CHECK(classes == std::vector<long>{264, 590, 668, 701, 596, 508});
    const auto g = data.graph();
    long alone = 0, largest = 0, empty_rows = 0;
    for (long i = 0; i < data.nodes; ++i) {
        const long degree = g.in().pointers.data()[i + 1] - g.in().pointers.data()[i];
        alone += degree == 0, largest = std::max(largest, degree);
        const CsrPattern& rows = data.x.structure().by_row();
        empty_rows += rows.pointers.data()[i + 1] == rows.pointers.data()[i];
    }
    CHECK(alone == 48);
    CHECK(largest == 99);
    CHECK(empty_rows == 15);
    // Cora's files in the place of CiteSeer's: they do not fit together.
    graph::PlanetoidFiles mixed = graph::PlanetoidFiles::in(folder, "citeseer");
    mixed.graph = graph::PlanetoidFiles::in(folder, "cora").graph;
    const auto other = graph::read_planetoid(mixed);
    CHECK(other.edges() == 10556);
    mixed.tx = graph::PlanetoidFiles::in(folder, "cora").tx;
    CHECK(has(error_of<FileError>([&] { graph::read_planetoid(mixed); }), "has 1433 columns"));
}

// The Cora that third_party/cora.sh makes is Planetoid's, to the last word and edge.
#include "../io/files.hpp"
#include "shared_data.hpp"

#include <tenon/graph/io/npz_graph.hpp>
#include <tenon/graph/io/planetoid.hpp>

using namespace tenon;

TEST_CASE("Cora from the package is Cora from Planetoid", "[cora]") {
    const std::string made = std::string(TENON_TEST_DIR) + "/../build/data/cora.npz";
    if (!std::filesystem::exists(made)) {
        std::fprintf(stderr, "SKIPPED: no \"%s\": third_party/cora.sh makes it\n", made.c_str());
        return;
    }
    const auto ours = graph::read_npz_graph(made);
    CHECK(ours.nodes == 2708);
    CHECK(ours.edges() == 10556);
    CHECK(ours.x.elements() == 49216);
    const std::string folder = shared_data("planetoid");
    if (folder.empty()) return;
    const auto theirs = graph::read_planetoid(folder, "cora");
    CHECK(files::equal(io::Array(ours.y), io::Array(theirs.y)));
    CHECK(files::equal(io::Array(ours.edge_index), io::Array(theirs.edge_index)));
    CHECK(files::equal(io::Array(ours.x.to_dense()), io::Array(theirs.x.to_dense())));
    CHECK(theirs.train.data()[139] == 139);
    CHECK(theirs.validation.data()[499] == 639);
    std::vector<std::int64_t> test(theirs.test.data(), theirs.test.data() + 1000);
    std::sort(test.begin(), test.end());
    for (long i = 0; i < 1000; ++i) CHECK(test[static_cast<std::size_t>(i)] == 1708 + i);
}

// Reductions over segments of rows, and bags of a table's rows.
#include "record.hpp"

#include <tenon/ops/embedding_bag.hpp>
#include <tenon/ops/segment.hpp>
#include <tenon/ops/segment_folds.hpp>

TENON_OPERATORS(segment) {
    using namespace tenon;
    using namespace operators;
    const auto rows = real<2>("x", {5000, 64});
    const auto at = integer<1>("indices", {5000}, 0, 6);
    add<halves | whole>({.name = "segment_sum", .golden = "segment_sum/unsorted"},
                        [](const auto& x, const auto& i) { return segment_sum(x, Segments::from_indices(i, 6)); }, rows, at);
    add<halves>({.name = "segment_sum, sorted", .golden = "segment_sum/sorted"}, [](const auto& x, const auto& i) { return segment_sum(x, Segments::from_sorted(i, 6)); },
                real<3>("x", {5000, 4, 16}), integer<1>("indices", {5000}, 0, 1));
    add({.name = "segment_sum, row pointers", .golden = "segment_sum/pointers"},
        [](const auto& x, const auto& p) { return segment_sum(x, Segments::from_pointers(p)); }, real<2>("x", {0, 64}), integer<1>("pointers", {10}, 0, 1));
    add<halves>({.name = "segment_mean", .golden = "segment_mean/unsorted"},
                [](const auto& x, const auto& i) { return segment_mean(x, Segments::from_indices(i, 6)); }, rows, at);
    add({.name = "segment_mean, row pointers", .golden = "segment_mean/pointers"},
        [](const auto& x, const auto& p) { return segment_mean(x, Segments::from_pointers(p)); }, real<2>("x", {0, 64}), integer<1>("pointers", {10}, 0, 1));
    add<halves>({.name = "segment_max", .golden = "segment_max/unsorted", .kinks = true},
                [](const auto& x, const auto& i) { return segment_max(x, Segments::from_indices(i, 6)).values; }, rows, at);
    add({.name = "segment_max, sorted", .golden = "segment_max/sorted", .kinks = true},
        [](const auto& x, const auto& i) { return segment_max(x, Segments::from_sorted(i, 6)).values; }, real<3>("x", {5000, 4, 16}), integer<1>("indices", {5000}, 0, 1));
    add<halves>({.name = "segment_min", .golden = "segment_min/unsorted", .kinks = true},
                [](const auto& x, const auto& i) { return segment_min(x, Segments::from_indices(i, 6)).values; }, rows, at);
    add({.name = "segment_min, row pointers", .golden = "segment_min/pointers", .kinks = true},
        [](const auto& x, const auto& p) { return segment_min(x, Segments::from_pointers(p)).values; }, real<2>("x", {0, 64}), integer<1>("pointers", {10}, 0, 1));
    add<halves>({.name = "segment_softmax", .golden = "segment_softmax/unsorted"},
                [](const auto& x, const auto& i) { return segment_softmax(x, Segments::from_indices(i, 6)); }, rows, at);
    add({.name = "segment_softmax, row pointers", .golden = "segment_softmax/pointers"},
        [](const auto& x, const auto& p) { return segment_softmax(x, Segments::from_pointers(p)); }, real<2>("x", {0, 64}), integer<1>("pointers", {10}, 0, 1));
    add<halves>({.name = "segment_product", .golden = "segment_product/unsorted"},
                [](const auto& x, const auto& i) { return segment_product(x, Segments::from_indices(i, 6)); }, rows, at);
    add({.name = "segment_product, row pointers", .golden = "segment_product/pointers"},
        [](const auto& x, const auto& p) { return segment_product(x, Segments::from_pointers(p)); }, real<2>("x", {0, 64}), integer<1>("pointers", {10}, 0, 1));
    add<halves>({.name = "segment_std", .golden = "segment_std/unsorted"},
                [](const auto& x, const auto& i) { return segment_std(x, Segments::from_indices(i, 6)); }, rows, at);
    add({.name = "segment_std, row pointers", .golden = "segment_std/pointers"},
        [](const auto& x, const auto& p) { return segment_std(x, Segments::from_pointers(p)); }, real<2>("x", {0, 64}), integer<1>("pointers", {10}, 0, 1));
    const auto table = real<2>("table", {1000, 64});
    const auto one = integer<1>("indices", {6000}, 0, 1000);
    const auto starts = integer<1>("offsets", {100}, 0, 1);  // all in the last bag
    const auto two = integer<2>("indices", {300, 20}, 0, 1000);
    add<halves>({.name = "embedding_bag, sum", .golden = "embedding_bag/sum"},
                [](const auto& t, const auto& i, const auto& o) { return embedding_bag(t, i, o, {.mode = BagMode::sum}); }, table, one, starts);
    add<halves>({.name = "embedding_bag, mean", .golden = "embedding_bag/mean"}, [](const auto& t, const auto& i, const auto& o) { return embedding_bag(t, i, o); },
                table, one, starts);
    add({.name = "embedding_bag, max", .golden = "embedding_bag/max", .kinks = true},
        [](const auto& t, const auto& i, const auto& o) { return embedding_bag(t, i, o, {.mode = BagMode::max}); }, table, one, starts);
    add({.name = "embedding_bag, sum of bags of one length", .golden = "embedding_bag_rows/sum"},
        [](const auto& t, const auto& i) { return embedding_bag(t, i, {.mode = BagMode::sum}); }, table, two);
    add({.name = "embedding_bag, mean of bags of one length", .golden = "embedding_bag_rows/mean"}, [](const auto& t, const auto& i) { return embedding_bag(t, i); }, table, two);
    add({.name = "embedding_bag, max of bags of one length", .golden = "embedding_bag_rows/max", .kinks = true},
        [](const auto& t, const auto& i) { return embedding_bag(t, i, {.mode = BagMode::max}); }, table, two);
    add<halves>({.name = "embedding_bag, weighted", .golden = "embedding_bag_weighted"},
                [](const auto& t, const auto& i, const auto& o, const auto& w) { return embedding_bag(t, i, o, {.mode = BagMode::sum}, w); }, table, one, starts, real<1>("weights", {6000}));

    const auto x = zeros<float>({3, 2});
    add_error("segment_sum", [x] { return segment_sum(x, Segments::from_pointers(from<std::int64_t>({0, 2}))); }, "float[3, 2] on cpu has 3 rows, but the segments are of 2");
    add_error("segment_sum", [x] { return segment_sum(x, Segments()); }, "the segments are empty");
    add_error("Segments", [] { return Segments::from_pointers(from<std::int64_t>({0, 2, 1})).count(); }, "the row pointers go down at position 2, from 2 to 1");
    add_error("Segments", [] { return Segments::from_pointers(from<std::int64_t>({1, 2})).count(); }, "the row pointers begin with 1, expected 0");
    add_error("Segments", [] { return Segments::from_sorted(from<std::int64_t>({1, 0})).count(); }, "Segments::from_indices takes them in any order");
    add_error("Segments", [] { return Segments::from_indices(from<std::int64_t>({1, 5}), 5).count(); }, "Segments: index 5 at position [1]");
    add_error("embedding_bag", [x] { return embedding_bag(x, from<std::int64_t>({1, 3}), from<std::int64_t>({0})); }, "embedding_bag: index 3 at position [1]");
    add_error("embedding_bag", [x] { return embedding_bag(x, from<std::int64_t>({1, 2}), from<std::int64_t>({0, 3})); }, "embedding_bag: offset 3 of bag 1");
    add_error("embedding_bag", [x] { return embedding_bag(x, from<std::int64_t>({1, 2}), from<std::int64_t>({0}), {}, ones<float>({2})); }, "go with sums only");
    add_error("embedding_bag", [x] { return embedding_bag(x, from<std::int64_t>({1, 2}), from<std::int64_t>({0}), {.mode = BagMode::sum}, ones<float>({3})); },
              "expected the shape of the indices int64[2] on cpu");
}

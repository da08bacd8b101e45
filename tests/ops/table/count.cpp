// Counting into bins.
#include "record.hpp"

#include <tenon/ops/count.hpp>

TENON_OPERATORS(count) {
    using namespace tenon;
    using namespace operators;
    add({.name = "bincount", .golden = "bincount"}, [](const auto& x) { return bincount(x); }, integer<1>("x", {300000}, 0, 1000));
    add({.name = "bincount, minlength", .golden = "bincount_least"}, [](const auto& x) { return bincount(x, 12); }, integer<1>("x", {300000}, 0, 1000));
    add<halves>({.name = "bincount, weights", .golden = "bincount_weights"}, [](const auto& x, const auto& w) { return bincount(x, w, 12); },
                integer<1>("x", {300000}, 0, 1000), real<1>("weights", {300000}));
    add({.name = "histogram, range", .golden = "histogram_range"}, [](const auto& x) { return histogram(x.detach(), 8, 0, 1).counts; }, real<2>("x", {300, 1000}));
    add({.name = "histogram", .golden = "histogram"}, [](const auto& x) { return histogram(x.detach(), 7).counts; }, real<2>("x", {300, 1000}));
    add({.name = "histogram, edges", .golden = "histogram_edges"}, [](const auto& x, const auto& e) { return histogram(x.detach(), e).counts; }, real<2>("x", {300, 1000}),
        real<1>("edges", {5}));
    add({.name = "histogram, its edges", .golden = "histogram_sides"}, [](const auto& x) { return histogram(x.detach(), 6).edges; }, real<2>("x"));

    add_error("bincount", [] { return bincount(from<std::int64_t>({1, -2})); }, "bincount: -2 at position 1, expected no negative numbers");
    add_error("bincount", [] { return bincount(from<std::int64_t>({1, 2}), zeros<float>({3})); }, "bincount: float[3] on cpu has not one weight for each of int64[2] on cpu");
    add_error("histogram", [] { return histogram(zeros<float>({3}), 0, 0, 1).counts; }, "histogram: 0 bins");
    add_error("histogram", [] { return histogram(zeros<float>({3}), 2, 1, 0).counts; }, "falls");
    add_error("histogram", [] { return histogram(zeros<float>({3}), zeros<float>({1})).counts; }, "expected at least two");
}

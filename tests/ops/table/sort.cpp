// Sorting, top-k, k-th elements, unique elements and searches.
#include "record.hpp"

#include <tenon/ops/sort.hpp>

TENON_OPERATORS(sort) {
    using namespace tenon;
    using namespace operators;
    add<halves | whole>({.name = "sort<1>", .golden = "sort/rising/middle", .kinks = true}, [](const auto& x) { return sort<1>(x).values; }, real<3>("x", {20, 300, 40}));
    add<halves>({.name = "sort<1>, descending", .golden = "sort/falling/middle", .kinks = true}, [](const auto& x) { return sort<1>(x, {.descending = true}).values; },
                real<3>("x", {20, 300, 40}));
    add({.name = "sort", .golden = "sort/rising/last", .kinks = true}, [](const auto& x) { return sort(x).values; }, real<3>("x", {1, 1, 300000}));
    add({.name = "sort, descending", .golden = "sort/falling/last", .kinks = true}, [](const auto& x) { return sort(x, {.descending = true}).values; }, real<3>("x", {10, 20, 1000}));
    add<halves | whole>({.name = "argsort<1>", .golden = "argsort/rising"}, [](const auto& x) { return argsort<1>(x); }, real<3>("x", {20, 300, 40}));
    add<halves | whole>({.name = "argsort<1>, descending", .golden = "argsort/falling"}, [](const auto& x) { return argsort<1>(x, {.descending = true}); },
                        real<3>("x", {20, 300, 40}));
    add<halves>({.name = "topk<1>", .golden = "topk/largest/middle", .kinks = true}, [](const auto& x) { return topk<1>(x, 3).values; }, real<3>("x", {20, 300, 40}));
    add<halves>({.name = "topk<1>, smallest", .golden = "topk/smallest/middle", .kinks = true}, [](const auto& x) { return topk<1>(x, 3, {.largest = false}).values; },
                real<3>("x", {20, 300, 40}));
    add({.name = "topk", .golden = "topk/largest/last", .kinks = true}, [](const auto& x) { return topk(x, 3).values; }, real<3>("x", {32, 128, 1000}));
    add({.name = "topk, smallest", .golden = "topk/smallest/last", .kinks = true}, [](const auto& x) { return topk(x, 3, {.largest = false}).values; },
        real<3>("x", {10, 20, 1000}));
    add({.name = "topk, many", .golden = "topk_many/largest", .kinks = true}, [](const auto& x) { return topk(x, 70).values; }, real<3>("x", {10, 20, 1000}));
    add({.name = "topk, many, smallest", .golden = "topk_many/smallest", .kinks = true}, [](const auto& x) { return topk(x, 70, {.largest = false}).values; },
        real<3>("x", {10, 20, 1000}));
    add({.name = "topk<1>, indices", .golden = "topk_indices/largest"}, [](const auto& x) { return topk<1>(x, 3).indices; }, real<3>("x", {20, 300, 40}));
    add({.name = "topk<1>, smallest, indices", .golden = "topk_indices/smallest"}, [](const auto& x) { return topk<1>(x, 3, {.largest = false}).indices; },
        real<3>("x", {20, 300, 40}));
    add<halves>({.name = "kthvalue<1>", .golden = "kthvalue", .kinks = true}, [](const auto& x) { return kthvalue<1>(x, 3).values; }, real<3>("x", {20, 300, 40}));
    add({.name = "kthvalue<1>, indices", .golden = "kthvalue_indices"}, [](const auto& x) { return kthvalue<1>(x, 3).indices; }, real<3>("x", {20, 300, 40}));
    add<halves>({.name = "median<1>", .golden = "median", .kinks = true}, [](const auto& x) { return median<1>(x).values; }, real<3>("x", {20, 300, 40}));
    add({.name = "median", .golden = "median_all", .kinks = true}, [](const auto& x) { return median(x); }, real<3>("x", {20, 300, 40}));
    add<whole>({.name = "unique, values", .golden = "unique_values", .kinks = true}, [](const auto& x) { return unique(x).values; }, real<2>("x", {300, 1000}));
    add<whole>({.name = "unique, inverse", .golden = "unique_inverse"}, [](const auto& x) { return unique(x).inverse; }, real<2>("x", {300, 1000}));
    add<whole>({.name = "unique, counts", .golden = "unique_counts"}, [](const auto& x) { return unique(x).counts; }, real<2>("x", {300, 1000}));
    add({.name = "searchsorted", .golden = "searchsorted/left"}, [](const auto& s, const auto& x) { return searchsorted(s, x); }, real<1>("sorted", {1000}),
        real<2>("values", {100, 300}));
    add({.name = "searchsorted, right", .golden = "searchsorted/right"}, [](const auto& s, const auto& x) { return searchsorted(s, x, {.right = true}); },
        real<1>("sorted", {1000}), real<2>("values", {100, 300}));
    add({.name = "searchsorted, rows", .golden = "searchsorted_rows/left"}, [](const auto& s, const auto& x) { return searchsorted(s, x); }, real<2>("sorted", {100, 50}),
        real<2>("values", {100, 300}));
    add({.name = "searchsorted, rows, right", .golden = "searchsorted_rows/right"}, [](const auto& s, const auto& x) { return searchsorted(s, x, {.right = true}); },
        real<2>("sorted", {100, 50}), real<2>("values", {100, 300}));
    add({.name = "bucketize", .golden = "bucketize"}, [](const auto& x, const auto& b) { return bucketize(x, b); }, real<2>("x", {100, 300}), real<1>("boundaries", {20}));

    add_error("topk", [] { return topk<1>(zeros<float>({2, 3}), 4).values; }, "topk: k = 4 is outside of 0 to 3, the size of axis 1 of float[2, 3] on cpu");
    add_error("topk", [] { return topk(zeros<float>({2, 3}), -1).values; }, "topk: k = -1");
    add_error("kthvalue", [] { return kthvalue<0>(zeros<float>({2, 3}), 0).values; }, "kthvalue: k = 0 is outside of 1 to 2, the size of axis 0 of float[2, 3] on cpu");
    add_error("median", [] { return median<0>(zeros<float>({0, 3})).values; }, "median: float[0, 3] on cpu has no elements along axis 0");
    add_error("searchsorted", [] { return searchsorted(zeros<float>({2, 3}), zeros<float>({3, 3})); }, "searchsorted: the values float[3, 3] on cpu do not have the rows of");
}

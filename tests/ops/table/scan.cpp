// Running sums, products and extremes.
#include "record.hpp"

#include <tenon/ops/scan.hpp>

TENON_OPERATORS(scan) {
    using namespace tenon;
    using namespace operators;
    add<halves | whole>({.name = "cumsum<1>", .golden = "cumsum/middle"}, [](const auto& x) { return cumsum<1>(x); }, real<3>("x", {20, 300, 60}));
    add({.name = "cumsum<0>", .golden = "cumsum/first"}, [](const auto& x) { return cumsum<0>(x); }, real<3>("x", {3000, 4, 9}));
    add({.name = "cumsum<-1>", .golden = "cumsum/last"}, [](const auto& x) { return cumsum<-1>(x); }, real<3>("x", {1, 2, 200000}));
    add<halves | whole>({.name = "cumprod<1>", .golden = "cumprod/middle"}, [](const auto& x) { return cumprod<1>(x); }, real<3>("x", {20, 300, 60}, 0.9, 1.1));
    add({.name = "cumprod<0>", .golden = "cumprod/first"}, [](const auto& x) { return cumprod<0>(x); }, real<3>("x", {3000, 4, 9}, 0.99, 1.01));
    add({.name = "cumprod<-1>", .golden = "cumprod/last"}, [](const auto& x) { return cumprod<-1>(x); }, real<3>("x", {10, 20, 1000}, 0.99, 1.01));
    add<halves>({.name = "cummax<1>", .golden = "cummax/middle", .kinks = true}, [](const auto& x) { return cummax<1>(x).values; }, real<3>("x", {20, 300, 60}));
    add({.name = "cummax<0>", .golden = "cummax/first", .kinks = true}, [](const auto& x) { return cummax<0>(x).values; }, real<3>("x", {3000, 4, 9}));
    add({.name = "cummax<-1>", .golden = "cummax/last", .kinks = true}, [](const auto& x) { return cummax<-1>(x).values; }, real<3>("x", {20, 20, 1000}));
    add<halves>({.name = "cummin<1>", .golden = "cummin/middle", .kinks = true}, [](const auto& x) { return cummin<1>(x).values; }, real<3>("x", {20, 300, 60}));
    add({.name = "cummin<0>", .golden = "cummin/first", .kinks = true}, [](const auto& x) { return cummin<0>(x).values; }, real<3>("x", {3000, 4, 9}));
    add({.name = "cummin<-1>", .golden = "cummin/last", .kinks = true}, [](const auto& x) { return cummin<-1>(x).values; }, real<3>("x", {20, 20, 1000}));
    add({.name = "cummax<1>, indices", .golden = "cummax_indices"}, [](const auto& x) { return cummax<1>(x).indices; }, real<3>("x", {20, 300, 60}));
    add({.name = "cummin<1>, indices", .golden = "cummin_indices"}, [](const auto& x) { return cummin<1>(x).indices; }, real<3>("x", {20, 300, 60}));

    add_error("cumsum", [] { return cumsum<0>(Tensor<float, 1>()); }, "empty");
    add_error("cummax", [] { return cummax<0>(Tensor<float, 1>()).values; }, "empty");
}

// Norms, products and other reductions over several axes.
#include "record.hpp"

#include <tenon/ops/norm.hpp>

#include <limits>

namespace {

using namespace tenon;
constexpr double inf = std::numeric_limits<double>::infinity();

}  // namespace

TENON_OPERATORS(norm) {
    using namespace operators;
    // One formula serves all orders, so that they are instantiated once.
    const auto norms = [](double p) { return [p](const auto& x) { return norm<1>(x, p); }; };
    const struct { const char *name, *golden; double p; } orders[] = {
        {"norm<1>, p = 2", "norm_2/axis", 2},         {"norm<1>, p = 1", "norm_1/axis", 1},      {"norm<1>, p = 0", "norm_0/axis", 0},
        {"norm<1>, p = inf", "norm_inf/axis", inf}, {"norm<1>, p = -inf", "norm_minus_inf/axis", -inf}, {"norm<1>, p = 3", "norm_3/axis", 3},
        {"norm<1>, p = 0.5", "norm_half/axis", 0.5}, {"norm<1>, p = 1.5", "norm_15/axis", 1.5}, {"norm<1>, p = -1", "norm_minus_1/axis", -1}};
    for (const auto& [name, golden, p] : orders)
        add<halves>({.name = name, .golden = golden, .kinks = p != 2, .view_bits = false, .in_double = 1e-11}, norms(p), real<3>("x", {20, 300, 40}));
    add<halves>({.name = "norm<-1>", .golden = "norm_2/last", .view_bits = false, .in_double = 1e-11}, [](const auto& x) { return norm<-1>(x); },
                real<3>("x", {20, 40, 300}));
    const struct { const char *outer, *every; double p; } some[] = {{"norm_2/outer", "norm_2/all", 2}, {"norm_inf/outer", "norm_inf/all", inf}, {"norm_3/outer", "norm_3/all", 3}};
    for (const auto& [outer, every, p] : some) {
        add({.name = "norm<0, 2>, any p", .golden = outer, .kinks = p != 2, .view_bits = false, .in_double = 1e-11},
            [p = p](const auto& x) { return norm<0, 2>(x, p); }, real<3>("x", {40, 30, 40}));
        add({.name = "norm, any p", .golden = every, .kinks = p != 2, .view_bits = false, .in_double = 1e-11}, [p = p](const auto& x) { return norm(x, p); },
            real<3>("x", {40, 30, 40}));
    }
    add<halves | whole>({.name = "prod<1>", .golden = "prod/axis"}, [](const auto& x) { return prod<1>(x); }, real<3>("x", {20, 300, 40}, 0.9, 1.1));
    add({.name = "prod<-1>", .golden = "prod/last"}, [](const auto& x) { return prod<-1>(x); }, real<3>("x", {20, 40, 300}, 0.9, 1.1));
    add({.name = "prod<0, 2>", .golden = "prod/outer"}, [](const auto& x) { return prod<0, 2>(x); }, real<3>("x", {20, 40, 30}, 0.9, 1.1));
    add({.name = "prod", .golden = "prod/all"}, [](const auto& x) { return prod(x); }, real<3>("x", {20, 30, 30}, 0.99, 1.01));
    add<halves>({.name = "amax<1>", .golden = "amax/axis", .kinks = true}, [](const auto& x) { return amax<1>(x); }, real<3>("x", {20, 300, 40}));
    add({.name = "amax<0, 2>", .golden = "amax/outer", .kinks = true}, [](const auto& x) { return amax<0, 2>(x); }, real<3>("x", {20, 300, 40}));
    add({.name = "amax", .golden = "amax/all", .kinks = true}, [](const auto& x) { return amax(x); }, real<3>("x", {20, 300, 40}));
    add<halves>({.name = "amin<1>", .golden = "amin/axis", .kinks = true}, [](const auto& x) { return amin<1>(x); }, real<3>("x", {20, 300, 40}));
    add({.name = "amin<-1>", .golden = "amin/last", .kinks = true}, [](const auto& x) { return amin<-1>(x); }, real<3>("x", {20, 40, 300}));
    add({.name = "amin<0, 2>", .golden = "amin/outer", .kinks = true}, [](const auto& x) { return amin<0, 2>(x); }, real<3>("x", {20, 300, 40}));
    add<halves>({.name = "logsumexp<1>", .golden = "logsumexp/axis"}, [](const auto& x) { return logsumexp<1>(x); }, real<3>("x", {20, 300, 40}));
    add({.name = "logsumexp<-1>", .golden = "logsumexp/last"}, [](const auto& x) { return logsumexp<-1>(x); }, real<3>("x", {20, 40, 300}));
    add({.name = "logsumexp<0, 2>", .golden = "logsumexp/outer"}, [](const auto& x) { return logsumexp<0, 2>(x); }, real<3>("x", {20, 300, 40}));
    add({.name = "logsumexp", .golden = "logsumexp/all"}, [](const auto& x) { return logsumexp(x); }, real<3>("x", {20, 300, 40}));
    add<halves | whole>({.name = "count_nonzero<1>", .golden = "count_nonzero/axis"}, [](const auto& x) { return count_nonzero<1>(x); }, real<3>("x", {20, 300, 40}));
    add({.name = "count_nonzero<0, 2>", .golden = "count_nonzero/outer"}, [](const auto& x) { return count_nonzero<0, 2>(x); }, real<3>("x", {20, 300, 40}));
    add({.name = "count_nonzero", .golden = "count_nonzero/all"}, [](const auto& x) { return count_nonzero(x); }, real<3>("x", {20, 300, 40}));

    add_error("norm", [] { return norm<1>(zeros<float>({2, 0}), inf); }, "norm: float[2, 0] on cpu has no elements along the reduced axes");
    add_error("norm", [] { return norm<1>(zeros<float>({2, 3}), std::numeric_limits<double>::quiet_NaN()); }, "norm: the order p is NaN");
    add_error("amax", [] { return amax(zeros<float>({2, 0})); }, "amax: float[2, 0] on cpu has no elements");
}

// Norms, products and other reductions over several axes.
#include "record.hpp"

#include <tenon/ops/norm.hpp>

#include <limits>

namespace {

using namespace tenon;
constexpr double inf = std::numeric_limits<double>::infinity();

template <int... Axes, class B>
void add_norms(B& builder, const char* const* golden, const std::vector<long>& sizes) {
    using namespace operators;
    const char* const names[] = {"norm", "norm, p = 1", "norm, p = 0", "norm, p = inf", "norm, p = -inf", "norm, p = 3", "norm, p = 0.5", "norm, p = 1.5", "norm, p = -1"};
    const double orders[] = {2, 1, 0, inf, -inf, 3, 0.5, 1.5, -1};
    for (int i = 0; i < 9; ++i) {
        const double p = orders[i];
        builder.template add<halves>({.name = names[i], .golden = golden[i], .twice = p != 0, .kinks = p != 2, .view_bits = false, .in_double = 1e-11},
                                     [p](const auto& x) { return norm<Axes...>(x, p); }, real<3>("x", sizes));
    }
}

}  // namespace

TENON_OPERATORS(norm) {
    using namespace operators;
    const char* const axis[] = {"norm_2/axis", "norm_1/axis", "norm_0/axis", "norm_inf/axis", "norm_minus_inf/axis", "norm_3/axis", "norm_half/axis", "norm_15/axis", "norm_minus_1/axis"};
    const char* const outer[] = {"norm_2/outer", "norm_1/outer", "norm_0/outer", "norm_inf/outer", "norm_minus_inf/outer", "norm_3/outer", "norm_half/outer", "norm_15/outer", "norm_minus_1/outer"};
    const char* const all[] = {"norm_2/all", "norm_1/all", "norm_0/all", "norm_inf/all", "norm_minus_inf/all", "norm_3/all", "norm_half/all", "norm_15/all", "norm_minus_1/all"};
    add_norms<1>(*this, axis, {20, 300, 40});
    add_norms<0, 2>(*this, outer, {40, 30, 40});
    add_norms<>(*this, all, {40, 30, 40});
    add<halves | whole>({.name = "prod<1>", .golden = "prod/axis", .twice = true}, [](const auto& x) { return prod<1>(x); }, real<3>("x", {20, 300, 40}, 0.9, 1.1));
    add({.name = "prod<-1>", .golden = "prod/last", .twice = true}, [](const auto& x) { return prod<-1>(x); }, real<3>("x", {20, 40, 300}, 0.9, 1.1));
    add({.name = "prod<0, 2>", .golden = "prod/outer", .twice = true}, [](const auto& x) { return prod<0, 2>(x); }, real<3>("x", {20, 40, 30}, 0.9, 1.1));
    add({.name = "prod", .golden = "prod/all", .twice = true}, [](const auto& x) { return prod(x); }, real<3>("x", {20, 30, 30}, 0.99, 1.01));
    add<halves>({.name = "amax<1>", .golden = "amax/axis", .twice = true, .kinks = true}, [](const auto& x) { return amax<1>(x); }, real<3>("x", {20, 300, 40}));
    add({.name = "amax<0, 2>", .golden = "amax/outer", .twice = true, .kinks = true}, [](const auto& x) { return amax<0, 2>(x); }, real<3>("x", {20, 300, 40}));
    add({.name = "amax", .golden = "amax/all", .twice = true, .kinks = true}, [](const auto& x) { return amax(x); }, real<3>("x", {20, 300, 40}));
    add<halves>({.name = "amin<1>", .golden = "amin/axis", .twice = true, .kinks = true}, [](const auto& x) { return amin<1>(x); }, real<3>("x", {20, 300, 40}));
    add({.name = "amin<-1>", .golden = "amin/last", .twice = true, .kinks = true}, [](const auto& x) { return amin<-1>(x); }, real<3>("x", {20, 40, 300}));
    add({.name = "amin<0, 2>", .golden = "amin/outer", .twice = true, .kinks = true}, [](const auto& x) { return amin<0, 2>(x); }, real<3>("x", {20, 300, 40}));
    add<halves>({.name = "logsumexp<1>", .golden = "logsumexp/axis", .twice = true}, [](const auto& x) { return logsumexp<1>(x); }, real<3>("x", {20, 300, 40}));
    add({.name = "logsumexp<-1>", .golden = "logsumexp/last", .twice = true}, [](const auto& x) { return logsumexp<-1>(x); }, real<3>("x", {20, 40, 300}));
    add({.name = "logsumexp<0, 2>", .golden = "logsumexp/outer", .twice = true}, [](const auto& x) { return logsumexp<0, 2>(x); }, real<3>("x", {20, 300, 40}));
    add({.name = "logsumexp", .golden = "logsumexp/all", .twice = true}, [](const auto& x) { return logsumexp(x); }, real<3>("x", {20, 300, 40}));
    add<halves | whole>({.name = "count_nonzero<1>", .golden = "count_nonzero/axis"}, [](const auto& x) { return count_nonzero<1>(x); }, real<3>("x", {20, 300, 40}));
    add({.name = "count_nonzero<0, 2>", .golden = "count_nonzero/outer"}, [](const auto& x) { return count_nonzero<0, 2>(x); }, real<3>("x", {20, 300, 40}));
    add({.name = "count_nonzero", .golden = "count_nonzero/all"}, [](const auto& x) { return count_nonzero(x); }, real<3>("x", {20, 300, 40}));

    add_error("norm", [] { return norm<1>(zeros<float>({2, 0}), inf); }, "norm: float[2, 0] on cpu has no elements along the reduced axes");
    add_error("norm", [] { return norm<1>(zeros<float>({2, 3}), std::numeric_limits<double>::quiet_NaN()); }, "norm: the order p is NaN");
    add_error("amax", [] { return amax(zeros<float>({2, 0})); }, "amax: float[2, 0] on cpu has no elements");
}

// Elementary functions that are not in elementwise.cpp.
#include "record.hpp"

TENON_OPERATORS(functions) {
    using namespace tenon;
    using namespace operators;
#define TENON_FUNCTION(function, low, high) \
    add<halves>({.name = #function, .golden = #function}, [](const auto& x) { return function(x); }, real<2>("x", {300, 1000}, low, high));
    TENON_FUNCTION(erfc, -3, 3)
    TENON_FUNCTION(exp2, -3, 3)
    TENON_FUNCTION(log2, 0.1, 3)
    TENON_FUNCTION(log10, 0.1, 3)
    TENON_FUNCTION(tan, -1.5, 1.5)
    TENON_FUNCTION(asin, -1, 1)
    TENON_FUNCTION(acos, -1, 1)
    TENON_FUNCTION(atan, -3, 3)
    TENON_FUNCTION(sinh, -3, 3)
    TENON_FUNCTION(cosh, -3, 3)
#undef TENON_FUNCTION
    add<halves>({.name = "ceil", .golden = "ceil"}, [](const auto& x) { return ceil(x); }, real<2>("x", {300, 1000}, -3, 3));
    add<halves>({.name = "trunc", .golden = "trunc"}, [](const auto& x) { return trunc(x); }, real<2>("x", {300, 1000}, -3, 3));
    add<halves>({.name = "isinf", .golden = "isinf"}, [](const auto& x) { return isinf(x); }, real<2>("x", {300, 1000}));
    add<halves>({.name = "isfinite", .golden = "isfinite"}, [](const auto& x) { return isfinite(x); }, real<2>("x", {300, 1000}));
    add<halves>({.name = "atan2", .golden = "atan2/plain"}, [](const auto& a, const auto& b) { return atan2(a, b); }, real<2>("a", {300, 1000}), real<1>("b", {1000}));
    add({.name = "atan2, special values", .golden = "atan2/nan"}, [](const auto& a, const auto& b) { return atan2(a.detach(), b.detach()); }, real<1>("a"), real<1>("b"));
    add<halves>({.name = "hypot", .golden = "hypot/plain"}, [](const auto& a, const auto& b) { return hypot(a, b); }, real<2>("a", {300, 1000}), real<1>("b", {1000}));
    add({.name = "hypot, far from 1", .golden = "hypot/kink_large"}, [](const auto& a, const auto& b) { return hypot(a, b); }, real<1>("a"), real<1>("b"));
    add<halves>({.name = "logaddexp", .golden = "logaddexp/plain"}, [](const auto& a, const auto& b) { return logaddexp(a, b); }, real<2>("a", {300, 1000}),
                real<1>("b", {1000}));
    add({.name = "logaddexp, special values", .golden = "logaddexp/nan"}, [](const auto& a, const auto& b) { return logaddexp(a.detach(), b.detach()); }, real<1>("a"), real<1>("b"));
    add({.name = "fmod", .golden = "fmod/kink_plain"}, [](const auto& a, const auto& b) { return fmod(a, b); }, real<2>("a", {300, 1000}, -9, 9), real<1>("b", {1000}, 0.5, 2));
    add({.name = "fmod, signs", .golden = "fmod/tie_signs"}, [](const auto& a, const auto& b) { return fmod(a, b); }, real<1>("a"), real<1>("b"));
    add({.name = "fmod, special values", .golden = "fmod/nan"}, [](const auto& a, const auto& b) { return fmod(a.detach(), b.detach()); }, real<1>("a"), real<1>("b"));
    add({.name = "remainder", .golden = "remainder/kink_plain"}, [](const auto& a, const auto& b) { return remainder(a, b); }, real<2>("a", {300, 1000}, -9, 9),
        real<1>("b", {1000}, 0.5, 2));
    add({.name = "remainder, signs", .golden = "remainder/tie_signs"}, [](const auto& a, const auto& b) { return remainder(a, b); }, real<1>("a"), real<1>("b"));
    add({.name = "remainder, special values", .golden = "remainder/nan"}, [](const auto& a, const auto& b) { return remainder(a.detach(), b.detach()); }, real<1>("a"), real<1>("b"));
    add<halves>({.name = "lerp", .golden = "lerp"}, [](const auto& a, const auto& b, const auto& w) { return lerp(a, b, w); }, real<2>("a", {300, 1000}),
                real<1>("b", {1000}), real<2>("w", {300, 1}));

    add_error("atan2", [] { return eval(atan2(zeros<float>({2, 3}), zeros<float>({4, 3}))); }, "atan2: shapes cannot be broadcast");
}

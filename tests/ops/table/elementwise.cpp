// The elementwise operations: their values and derivatives are checked by test_unary.cpp and test_binary.cpp, which read
// the same table; here are their benchmark and their lines in the documentation.
#include "../operator_table.hpp"
#include "record.hpp"

TENON_OPERATORS(elementwise) {
    using namespace operators;
    for_each_unary([&](const auto& record) {
        add<halves>({.name = record.name}, record.formula, real<1>("x", {100003}, record.domain.low, record.domain.high));
    });
    for_each_binary([&](const auto& record) {
        add<halves>({.name = record.name}, record.formula, real<2>("a", {300, 211}, record.domain.low, record.domain.high),
                    real<1>("b", {211}, record.domain.low, record.domain.high));
    });
    add({.name = "where"}, [](const auto& x, const auto& y) { return where(x > y, x, y * 2.f); }, real<1>("x", {100003}), real<1>("y", {100003}));
    add({.name = "cast"}, [](const auto& x) { return cast<float>(x); }, real<1>("x", {100003}));
}

// Products in every floating type.
#include "record.hpp"

#include <tenon/ops/matmul_half.hpp>

TENON_OPERATORS(products) {
    using namespace tenon;
    using namespace operators;
    add<halves>({.name = "matmul, every type", .golden = "matmul", .note = "bf16 and half: `ops/matmul_half.hpp`, sums in float"},
                [](const auto& a, const auto& b) { return matmul(a, b); }, real<2>("a", {130, 70}), real<2>("b", {70, 90}));
    add<halves>({.name = "matmul, every type, batches", .golden = "batched"}, [](const auto& a, const auto& b) { return matmul(a, b); },
                real<4>("a", {4, 1, 33, 40}), real<3>("b", {5, 40, 20}));
    add<halves>({.name = "matmul, every type, vector", .golden = "vector"}, [](const auto& a, const auto& b) { return matmul(a, b); }, real<1>("a", {300}),
                real<3>("b", {3, 300, 200}));
    add<halves>({.name = "matmul, every type, dot", .golden = "dot"}, [](const auto& a, const auto& b) { return matmul(a, b); }, real<1>("a", {10000}),
                real<1>("b", {10000}));
    add<halves>({.name = "linear, every type", .golden = "linear"}, [](const auto& x, const auto& w, const auto& b) { return linear(x, w, b); },
                real<2>("x", {128, 256}), real<2>("w", {64, 256}), real<1>("b", {64}));
    add<halves>({.name = "relu(linear), every type", .golden = "linear_relu", .kinks = true},
                [](const auto& x, const auto& w, const auto& b) { return relu(linear(x, w, b)); }, real<2>("x", {128, 256}), real<2>("w", {64, 256}),
                real<1>("b", {64}));
    add<halves>({.name = "tanh(linear / 8), every type", .golden = "linear_tanh"},
                [](const auto& x, const auto& w, const auto& b) { return tanh(linear(x, w, b) * 0.125f); }, real<3>("x", {4, 32, 256}), real<2>("w", {64, 256}),
                real<1>("b", {64}));

    add_error("matmul", [] { return eval(matmul(zeros<bf16>({2, 3}), zeros<bf16>({2, 3}))); },
              "matmul: inner sizes differ: left is bf16[2, 3] on cpu (last axis 3), right is bf16[2, 3] on cpu (second to last axis 2)");
    add_error("linear", [] { return eval(linear(zeros<half>({2, 3}), Tensor<half, 2>(zeros<half>({3, 2})))); }, "linear: inner sizes differ: left is half[2, 3]");
}

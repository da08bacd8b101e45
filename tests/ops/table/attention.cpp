// Scaled dot-product attention.
#include "record.hpp"

#include <tenon/ops/attention.hpp>

TENON_OPERATORS(attention) {
    using namespace tenon;
    using namespace operators;
    const auto q = real<4>("q", {2, 8, 300, 64}), k = real<4>("k", {2, 8, 300, 64}), v = real<4>("v", {2, 8, 300, 64});
    const auto shared_k = real<4>("k", {2, 2, 300, 64}), shared_v = real<4>("v", {2, 2, 300, 64});
    add<halves>(
        {.name = "scaled_dot_product_attention", .golden = "plain"},
        [](const auto& a, const auto& b, const auto& c) { return scaled_dot_product_attention(a, b, c); }, q, k, v);
    add<halves>(
        {.name = "scaled_dot_product_attention, causal", .golden = "causal"},
        [](const auto& a, const auto& b, const auto& c) { return scaled_dot_product_attention(a, b, c, {.causal = true}); }, q, k, v);
    add(
        {.name = "scaled_dot_product_attention, grouped queries", .golden = "grouped"},
        [](const auto& a, const auto& b, const auto& c) { return scaled_dot_product_attention(a, b, c); }, q, shared_k, shared_v);
    add(
        {.name = "scaled_dot_product_attention, [B, T, D]", .golden = "three"},
        [](const auto& a, const auto& b, const auto& c) { return scaled_dot_product_attention(a, b, c); }, real<3>("q", {8, 300, 64}),
        real<3>("k", {8, 300, 64}), real<3>("v", {8, 300, 64}));
    add(
        {.name = "scaled_dot_product_attention, scale", .golden = "scale"},
        [](const auto& a, const auto& b, const auto& c) { return scaled_dot_product_attention(a, b, c, {.scale = 0.3}); }, q, k, v);
    add(
        {.name = "scaled_dot_product_attention, lengths", .golden = "lengths"},
        [](const auto& a, const auto& b, const auto& c, const auto& n) { return scaled_dot_product_attention(a, b, c, {.lengths = n}); }, q,
        k, v, integer<1>("lengths", {2}, 0, 300));
    add(
        {.name = "scaled_dot_product_attention, bool mask", .golden = "mask"},
        [](const auto& a, const auto& b, const auto& c, const auto& m) { return scaled_dot_product_attention(a, b, c, m); }, q, shared_k,
        shared_v, boolean<4>("mask", {1, 8, 300, 300}));
    add<halves>(
        {.name = "scaled_dot_product_attention, mask that is added", .golden = "bias"},
        [](const auto& a, const auto& b, const auto& c, const auto& m) { return scaled_dot_product_attention(a, b, c, m); }, q, shared_k,
        shared_v, real<4>("mask", {1, 8, 300, 300}));
    add(
        {.name = "scaled_dot_product_attention, [B, T, D], mask that is added", .golden = "bias_three"},
        [](const auto& a, const auto& b, const auto& c, const auto& m) { return scaled_dot_product_attention(a, b, c, m); },
        real<3>("q", {8, 200, 32}), real<3>("k", {8, 100, 32}), real<3>("v", {8, 100, 40}), real<3>("mask", {8, 1, 100}));
    add(
        {.name = "scaled_dot_product_attention, dropout"},
        [](const auto& a, const auto& b, const auto& c) { return scaled_dot_product_attention(a, b, c, {.dropout = 0.3, .key = Key{3}}); },
        real<4>("q", {2, 3, 100, 20}), real<4>("k", {2, 3, 130, 20}), real<4>("v", {2, 3, 130, 30}));

    const auto x = [](std::initializer_list<Dim> sizes) {
        long n[4];
        int i = 0;
        for (const Dim& d : sizes) n[i++] = d.value;
        return zeros<float>({n[0], n[1], n[2], n[3]});
    };
    add_error(
        "width",
        [=] {
            return scaled_dot_product_attention(x({1, 2, 3, 4}), x({1, 2, 3, 5}), x({1, 2, 3, 4}));
        },
        "expected queries and keys of the same width");
    add_error(
        "sequences",
        [=] {
            return scaled_dot_product_attention(x({1, 2, 3, 4}), x({2, 2, 3, 4}), x({1, 2, 3, 4}));
        },
        "queries are float[1, 2, 3, 4] on cpu, keys float[2, 2, 3, 4]");
    add_error(
        "values",
        [=] {
            return scaled_dot_product_attention(x({1, 2, 3, 4}), x({1, 2, 3, 4}), x({1, 2, 4, 4}));
        },
        "as many values as keys");
    add_error(
        "heads",
        [=] {
            return scaled_dot_product_attention(x({1, 3, 3, 4}), x({1, 2, 3, 4}), x({1, 2, 3, 4}));
        },
        "divides that of query heads");
    add_error(
        "value heads",
        [=] {
            return scaled_dot_product_attention(x({1, 2, 3, 4}), x({1, 2, 3, 4}), x({1, 1, 3, 4}));
        },
        "as many heads of values as of keys");
    add_error(
        "no width",
        [=] {
            return scaled_dot_product_attention(x({1, 2, 3, 0}), x({1, 2, 3, 0}), x({1, 2, 3, 4}));
        },
        "a width (last axis) of at least 1");
    add_error(
        "mask",
        [=] {
            return scaled_dot_product_attention(x({1, 2, 3, 4}), x({1, 2, 5, 4}), x({1, 2, 5, 4}), zeros<bool>({3, 4}));
        },
        "the mask is bool[3, 4] on cpu, queries float[1, 2, 3, 4] on cpu, keys float[1, 2, 5, 4] on cpu: expected a mask that broadcasts "
        "to the scores [1, 2, 3, 5]");
    add_error(
        "lengths",
        [=] {
            return scaled_dot_product_attention(x({2, 2, 3, 4}), x({2, 2, 3, 4}), x({2, 2, 3, 4}), {.lengths = zeros<std::int64_t>({3})});
        },
        "expected one for each of the 2 sequences");
    add_error(
        "length",
        [=] {
            return scaled_dot_product_attention(x({2, 2, 3, 4}), x({2, 2, 3, 4}), x({2, 2, 3, 4}), {.lengths = from<std::int64_t>({1, 4})});
        },
        "length 4 of sequence 1, expected 0 to 3");
    add_error(
        "dropout",
        [=] {
            return scaled_dot_product_attention(x({2, 2, 3, 4}), x({2, 2, 3, 4}), x({2, 2, 3, 4}), {.dropout = 1.5});
        },
        "dropout 1.5, expected 0 to 1");
}

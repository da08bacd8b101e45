// Products and sums by named axes.
#include "record.hpp"

#include <tenon/ops/einsum.hpp>

TENON_OPERATORS(einsum) {
    using namespace tenon;
    using namespace operators;
#define TENON_ONE(key, text, ...) add({.name = "einsum<\"" text "\">", .golden = key, .view_bits = false}, [](const auto& a) { return einsum<text>(a); }, __VA_ARGS__)
#define TENON_TWO(key, text, ...) \
    add({.name = "einsum<\"" text "\">", .golden = key, .view_bits = false}, [](const auto& a, const auto& b) { return einsum<text>(a, b); }, __VA_ARGS__)
    TENON_ONE("transpose", "ij->ji", real<2>("a", {300, 400}));
    TENON_ONE("sum", "ijk->j", real<3>("a", {30, 40, 50}));
    TENON_ONE("trace", "ii->", real<2>("a", {300, 300}));
    TENON_ONE("diagonal", "bii->bi", real<3>("a", {30, 40, 40}));
    TENON_ONE("three_times", "iii->i", real<3>("a", {40, 40, 40}));
    TENON_TWO("implicit", "ba,bc", real<2>("a", {60, 70}), real<2>("b", {60, 80}));
    TENON_TWO("product", "ij,jk->ik", real<2>("a", {130, 70}), real<2>("b", {70, 90}));
    TENON_TWO("product_turned", "ij,jk->ki", real<2>("a", {130, 70}), real<2>("b", {70, 90}));
    TENON_TWO("batched", "bij,bjk->bik", real<3>("a", {10, 33, 40}), real<3>("b", {10, 40, 20}));
    TENON_TWO("batched_turned", "bij,kbj->kib", real<3>("a", {10, 33, 40}), real<3>("b", {20, 10, 40}));
    TENON_TWO("ellipsis", "...ij,...jk->...ik", real<4>("a", {4, 1, 33, 40}), real<3>("b", {5, 40, 20}));
    TENON_TWO("ellipsis_last", "i...,ij->j...", real<3>("a", {30, 40, 50}), real<2>("b", {30, 20}));
    TENON_TWO("attention", "bqhd,bkhd->bhqk", real<4>("a", {2, 50, 4, 32}), real<4>("b", {2, 60, 4, 32}));
    TENON_TWO("dot", "i,i->", real<1>("a", {10000}), real<1>("b", {10000}));
    TENON_TWO("rows", "bi,bi->b", real<2>("a", {300, 400}), real<2>("b", {300, 400}));
    TENON_TWO("outer", "i,j->ij", real<1>("a", {300}), real<1>("b", {400}));
    TENON_TWO("outer_turned", "i,j->ji", real<1>("a", {300}), real<1>("b", {400}));
    TENON_TWO("hadamard", "ij,ij->ij", real<2>("a", {300, 400}), real<2>("b", {300, 400}));
    TENON_TWO("vector", "ij,j->i", real<2>("a", {300, 400}), real<1>("b", {400}));
    TENON_TWO("vector_left", "i,ij->j", real<1>("a", {300}), real<2>("b", {300, 400}));
    TENON_TWO("two_summed", "ijk,jkl->il", real<3>("a", {30, 20, 10}), real<3>("b", {20, 10, 40}));
    TENON_TWO("two_summed_crossed", "ijk,kjl->il", real<3>("a", {30, 20, 10}), real<3>("b", {10, 20, 40}));
    TENON_TWO("summed_alone", "ij,kl->i", real<2>("a", {30, 40}), real<2>("b", {20, 50}));
    TENON_TWO("diagonal_product", "ii,ij->j", real<2>("a", {40, 40}), real<2>("b", {40, 50}));
    const auto three = [](const auto& a, const auto& b, const auto& c) { return einsum<"bi,oij,bj->bo">(a, b, c); };
    add({.name = "einsum<\"bi,oij,bj->bo\">", .golden = "bilinear", .view_bits = false}, three, real<2>("a", {20, 30}), real<3>("b", {10, 30, 40}),
        real<2>("c", {20, 40}));
    const auto chain = [](const auto& a, const auto& b, const auto& c, const auto& d) { return einsum<"ij,jk,kl,lm->im">(a, b, c, d); };
    add({.name = "einsum<\"ij,jk,kl,lm->im\">", .golden = "chain", .view_bits = false}, chain, real<2>("a", {20, 30}), real<2>("b", {30, 40}), real<2>("c", {40, 30}),
        real<2>("d", {30, 50}));
    const auto four = [](const auto& a, const auto& b, const auto& c, const auto& d) { return einsum<"i,bij,bjk,k->b">(a, b, c, d); };
    add({.name = "einsum<\"i,bij,bjk,k->b\">", .golden = "four", .view_bits = false}, four, real<1>("a", {30}), real<3>("b", {10, 30, 40}), real<3>("c", {10, 40, 20}),
        real<1>("d", {20}));
#undef TENON_ONE
#undef TENON_TWO

    add_error("einsum", [] { return einsum<"ij,jk->ik">(zeros<float>({2, 3}), zeros<float>({4, 5})); },
              "einsum \"ij,jk->ik\": axis 0 of operand 1, float[4, 5] on cpu, has size 4, but other axes of that name have size 3");
    add_error("einsum", [] { return einsum<"ii->i">(zeros<float>({2, 3})); }, "axes 0 and 1 of operand 0, float[2, 3] on cpu, have the same name, but sizes 2 and 3");
}

// Padding, flipping, tiling, triangles, diagonals, windows, pieces and grids.
#include "record.hpp"

#include <tenon/ops/einsum.hpp>
#include <tenon/ops/grid.hpp>
#include <tenon/ops/linear_view.hpp>
#include <tenon/ops/pad.hpp>
#include <tenon/ops/split.hpp>
#include <tenon/ops/triangle.hpp>

TENON_OPERATORS(shape) {
    using namespace tenon;
    using namespace operators;
    add<halves>({.name = "pad<0, 2>", .golden = "pad/constant"}, [](const auto& x) { return pad<0, 2>(x, {{1, 3}, {2, 1}}, {.value = 1.5}); },
                real<3>("x", {50, 60, 70}));
    add({.name = "pad, negative margins", .golden = "pad/cut"}, [](const auto& x) { return pad<0, 1>(x, {{1, -2}, {-1, 2}}); }, real<2>("x", {500, 300}));
    add<halves>({.name = "pad, reflect", .golden = "pad/reflect"},
                [](const auto& x) { return pad<-1, -2>(x, {{3, 4}, {2, 1}}, {.mode = PadMode::reflect}); }, real<4>("x", {10, 20, 30, 40}));
    add<halves>({.name = "pad, replicate", .golden = "pad/replicate"},
                [](const auto& x) { return pad<-1, -2>(x, {{3, 7}, {2, 6}}, {.mode = PadMode::replicate}); }, real<4>("x", {10, 20, 30, 40}));
    add({.name = "pad, circular", .golden = "pad/circular"}, [](const auto& x) { return pad<-1, -2>(x, {{3, 5}, {2, 1}}, {.mode = PadMode::circular}); },
        real<4>("x", {10, 20, 30, 40}));
    add<halves>({.name = "flip<0>", .golden = "flip/first"}, [](const auto& x) { return flip<0>(x); }, real<3>("x", {50, 60, 70}));
    add<halves>({.name = "flip<-1>", .golden = "flip/last"}, [](const auto& x) { return flip<-1>(x); }, real<3>("x", {50, 60, 70}));
    add({.name = "flip<0, 2>", .golden = "flip/two"}, [](const auto& x) { return flip<0, 2>(x); }, real<3>("x", {50, 60, 70}));
    add({.name = "flip", .golden = "flip/all"}, [](const auto& x) { return flip(x); }, real<3>("x", {50, 60, 70}));
    add<halves>({.name = "roll<0, 2>", .golden = "roll/two"}, [](const auto& x) { return roll<0, 2>(x, 1, -7); }, real<3>("x", {50, 60, 70}));
    add<halves>({.name = "tile", .golden = "tile"}, [](const auto& x) { return tile(x, {2, 1, 3}); }, real<2>("x", {100, 300}));
    add({.name = "repeat", .golden = "repeat"}, [](const auto& x) { return repeat(x, {3, 2}); }, real<2>("x", {100, 300}));
    add({.name = "repeat_interleave<1>", .golden = "repeat_interleave"}, [](const auto& x) { return repeat_interleave<1>(x, 3); },
        real<3>("x", {10, 100, 30}));
    add<halves | whole>({.name = "tril", .golden = "tril/0"}, [](const auto& x) { return tril(x); }, real<3>("x", {4, 200, 300}));
    add({.name = "tril, offset", .golden = "tril/2"}, [](const auto& x) { return tril(x, 2); }, real<3>("x", {4, 200, 300}));
    add({.name = "tril, negative offset", .golden = "tril/-1"}, [](const auto& x) { return tril(x, -1); }, real<3>("x", {4, 200, 300}));
    add<halves | whole>({.name = "triu", .golden = "triu/0"}, [](const auto& x) { return triu(x); }, real<3>("x", {4, 200, 300}));
    add({.name = "triu, offset", .golden = "triu/2"}, [](const auto& x) { return triu(x, 2); }, real<3>("x", {4, 200, 300}));
    add({.name = "triu, negative offset", .golden = "triu/-1"}, [](const auto& x) { return triu(x, -1); }, real<3>("x", {4, 200, 300}));
    add({.name = "diag of a matrix", .golden = "diag/matrix/0"}, [](const auto& x) { return diag(x); }, real<2>("x", {300, 400}));
    add({.name = "diag of a matrix, offset", .golden = "diag/matrix/1"}, [](const auto& x) { return diag(x, 1); }, real<2>("x", {300, 400}));
    add({.name = "diag of a matrix, negative offset", .golden = "diag/matrix/-2"}, [](const auto& x) { return diag(x, -2); }, real<2>("x", {300, 400}));
    add<halves>({.name = "diag of a vector", .golden = "diag/vector/0"}, [](const auto& x) { return diag(x); }, real<1>("x", {300}));
    add({.name = "diag of a vector, offset", .golden = "diag/vector/1"}, [](const auto& x) { return diag(x, 1); }, real<1>("x", {300}));
    add({.name = "diag of a vector, negative offset", .golden = "diag/vector/-2"}, [](const auto& x) { return diag(x, -2); }, real<1>("x", {300}));
    add({.name = "diagonal", .golden = "diagonal/0"}, [](const auto& x) { return diagonal<0, 2>(x) * 2.f; }, real<3>("x", {30, 40, 50}));
    add({.name = "diagonal, offset", .golden = "diagonal/1"}, [](const auto& x) { return diagonal<0, 2>(x, 1) * 2.f; }, real<3>("x", {30, 40, 50}));
    add({.name = "diagonal, negative offset", .golden = "diagonal/-2"}, [](const auto& x) { return diagonal<0, 2>(x, -2) * 2.f; }, real<3>("x", {30, 40, 50}));
    add({.name = "diagonal, beyond the matrix", .golden = "diagonal/beyond"}, [](const auto& x) { return diagonal<0, 2>(x, 7) * 2.f; }, real<3>("x", {3, 2, 5}));
    add<halves>({.name = "trace", .golden = "trace"}, [](const auto& x) { return trace(x); }, real<2>("x", {300, 300}));
    add<halves>({.name = "outer", .golden = "outer"}, [](const auto& a, const auto& b) { return outer(a, b); }, real<1>("a", {300}), real<1>("b", {400}));
    add({.name = "dot", .golden = "dot"}, [](const auto& a, const auto& b) { return dot(a, b); }, real<1>("a", {10000}), real<1>("b", {10000}));
    add({.name = "meshgrid", .golden = "meshgrid/ij"}, [](const auto& a, const auto& b) {
        const auto [x, y] = meshgrid(a, b);
        return x * y * y;
    }, real<1>("a", {300}), real<1>("b", {400}));
    add({.name = "meshgrid_xy", .golden = "meshgrid/xy"}, [](const auto& a, const auto& b) {
        const auto [x, y] = meshgrid_xy(a, b);
        return x * y * y;
    }, real<1>("a", {300}), real<1>("b", {400}));
    add({.name = "one_hot", .golden = "one_hot"}, [](const auto& i) { return one_hot(i, 4); }, integer<2>("indices", {30, 40}, 0, 4));
    add<halves>({.name = "sliding_window<1>", .golden = "sliding_window"}, [](const auto& x) { return sliding_window<1>(x, 4, 2) * 2.f; },
                real<3>("x", {10, 200, 30}));
    add({.name = "sliding_window<1>, apart", .golden = "sliding_window_apart"}, [](const auto& x) { return sliding_window<1>(x, 2, 3) * 2.f; }, real<3>("x", {10, 200, 30}));
    add({.name = "split<1>", .golden = "split"}, [](const auto& x) {
        const auto p = split<1>(x, x.shape(1) / 2);
        return p[0] * p[1] + sum(p[2]);
    }, real<2>("x", {50, 41}));
    add({.name = "split<0>, sizes", .golden = "split_sizes"}, [](const auto& x) {
        const auto p = split<0>(x, {2, 4, 1});
        return sum(p[0]) * p[2] + sum(p[1]);
    }, real<2>("x", {7, 500}));
    add({.name = "chunk<1, 3>", .golden = "chunk"}, [](const auto& x) {
        const auto [a, b, c] = chunk<1, 3>(x);
        return a * b * c;
    }, real<2>("x", {500, 600}));

    add_error("pad", [] { return pad<0>(zeros<float>({3}), {{1, 3}}, {.mode = PadMode::reflect}); }, "a mirrored border is at most 2 wide here");
    add_error("pad", [] { return pad<1>(zeros<float>({2, 3}), {{-2, -2}}); }, "margins -2 and -2 for axis 1 of float[2, 3] on cpu: they cut off more than there is");
    add_error("pad", [] { return pad<0>(zeros<float>({3}), {{-1, 1}}, {.mode = PadMode::replicate}); }, "only constant padding takes negative ones");
    add_error("pad", [] { return pad<0>(zeros<float>({0}), {{1, 1}}, {.mode = PadMode::replicate}); }, "has no elements to show");
    add_error("tile", [] { return tile(zeros<float>({3}), {-1}); }, "tile: count -1 for axis 0");
    add_error("repeat_interleave", [] { return repeat_interleave<0>(zeros<float>({3}), -1); }, "repeat_interleave: count -1");
    add_error("split", [] { return split<0>(zeros<float>({3}), 0)[0]; }, "split: size 0, expected 1 or more");
    add_error("split", [] { return split<0>(zeros<float>({3}), {1, 1})[0]; }, "split: sizes [1, 1] add up to 2, but axis 0 of float[3] on cpu has 3");
    add_error("split", [] { return split<0>(zeros<float>({3}), 2)[2]; }, "split: piece 2 of 2");
    add_error("chunk", [] { return chunk<0, 2>(zeros<float>({3})).pieces[0]; }, "does not divide into 2 equal parts");
    add_error("chunk", [] { return chunk<0>(zeros<float>({3}), 0)[0]; }, "chunk: 0 chunks");
    add_error("sliding_window", [] { return sliding_window<0>(zeros<float>({3}), 4); }, "windows of 4 elements with step 1 do not fit axis 0 of float[3] on cpu");
    add_error("one_hot", [] { return one_hot(from<std::int64_t>({1, 4}), 4); }, "one_hot: index 4 at position [1]");
    add_error("dot", [] { return eval(dot(zeros<float>({3}), zeros<float>({4}))); }, "inner sizes differ");
}

// Products, reductions, softmax, indexing, joining and views.
#include "record.hpp"

TENON_OPERATORS(core) {
    using namespace tenon;
    using namespace operators;
    add({.name = "matmul", .golden = "matmul"}, [](const auto& a, const auto& b) { return matmul(a, b); }, real<2>("a", {130, 70}), real<2>("b", {70, 90}));
    add({.name = "matmul, broadcast batches", .golden = "matmul_batched"}, [](const auto& a, const auto& b) { return matmul(a, b); },
        real<4>("a", {4, 1, 33, 40}), real<3>("b", {5, 40, 20}));
    add({.name = "matmul, vector", .golden = "matmul_vector"}, [](const auto& a, const auto& b) { return matmul(a, b); }, real<1>("a", {300}), real<3>("b", {3, 300, 200}));
    add({.name = "matmul, dot", .golden = "matmul_dot"}, [](const auto& a, const auto& b) { return matmul(a, b); }, real<1>("a", {10000}), real<1>("b", {10000}));
    add({.name = "relu(linear)", .golden = "linear_relu", .kinks = true}, [](const auto& x, const auto& w, const auto& b) { return relu(linear(x, w, b)); },
        real<2>("x", {128, 256}), real<2>("w", {64, 256}), real<1>("b", {64}));
    add({.name = "silu(linear)", .golden = "linear_silu"}, [](const auto& x, const auto& w, const auto& b) { return silu(linear(x, w, b)); },
        real<3>("x", {4, 32, 256}), real<2>("w", {64, 256}), real<1>("b", {64}));
    add<halves>({.name = "tanh(x * w + b) * x, broadcast", .golden = "broadcast"}, [](const auto& x, const auto& w, const auto& b) { return tanh(x * w + b) * x; },
                real<3>("x", {30, 1, 200}), real<2>("w", {40, 1}), real<1>("b", {200}));
    add<halves>({.name = "sum", .golden = "sum/all"}, [](const auto& x) { return sum(x); }, real<3>("x", {100, 100, 100}));
    add<halves | whole>({.name = "sum<1>", .golden = "sum/axis"}, [](const auto& x) { return sum<1>(x); }, real<3>("x", {100, 100, 100}));
    add<halves>({.name = "mean<0, 2>", .golden = "mean"}, [](const auto& x) { return mean<0, 2>(x); }, real<3>("x", {100, 100, 100}));
    add<halves>({.name = "var<1>", .golden = "var"}, [](const auto& x) { return var<1>(x); }, real<3>("x", {100, 100, 100}));
    add<halves>({.name = "std_dev<1>", .golden = "std"}, [](const auto& x) { return std_dev<1>(x); }, real<3>("x", {100, 100, 100}));
    add<halves>({.name = "max<1>", .golden = "max", .kinks = true}, [](const auto& x) { return max<1>(x).values; }, real<3>("x", {100, 100, 100}));
    add<halves>({.name = "min<1>", .golden = "min", .kinks = true}, [](const auto& x) { return min<1>(x).values; }, real<3>("x", {100, 100, 100}));
    add({.name = "argmax<1>", .golden = "argmax"}, [](const auto& x) { return argmax<1>(x); }, real<3>("x", {100, 100, 100}));
    add({.name = "argmin<1>", .golden = "argmin"}, [](const auto& x) { return argmin<1>(x); }, real<3>("x", {100, 100, 100}));
    add<halves>({.name = "softmax", .golden = "softmax"}, [](const auto& x) { return softmax<1>(x); }, real<2>("x", {512, 1000}));
    add<halves>({.name = "softmax<0>", .golden = "softmax_first"}, [](const auto& x) { return softmax<0>(x); }, real<3>("x", {20, 100, 100}));
    add<halves>({.name = "log_softmax", .golden = "log_softmax"}, [](const auto& x) { return log_softmax(x); }, real<2>("x", {512, 1000}));
    add({.name = "cross_entropy", .golden = "cross_entropy"}, [](const auto& x, const auto& labels) { return cross_entropy(x, labels); },
        real<2>("x", {512, 81}), integer<1>("labels", {512}, 0, 81));
    add<halves>({.name = "index_select<0>", .golden = "index_select"}, [](const auto& x, const auto& i) { return index_select<0>(x, i); }, real<2>("x", {1000, 64}),
                integer<1>("indices", {5000}, 0, 1000));
    add({.name = "gather<1>", .golden = "gather"}, [](const auto& x, const auto& i) { return gather<1>(x, i); }, real<2>("x", {1000, 64}),
        integer<2>("indices", {1000, 16}, 0, 64));
    add<halves>({.name = "embedding", .golden = "embedding"}, [](const auto& table, const auto& i) { return embedding(table, i); }, real<2>("table", {1000, 64}),
                integer<2>("indices", {100, 50}, 0, 1000));
    add<halves>({.name = "concat<1>", .golden = "concat"}, [](const auto& a, const auto& b) { return concat<1>(a, b * b); }, real<2>("a", {500, 300}), real<2>("b", {500, 200}));
    add<halves>({.name = "stack<1>", .golden = "stack"}, [](const auto& a, const auto& b) { return stack<1>(a, b); }, real<2>("a", {500, 300}), real<2>("b", {500, 300}));
    add<halves>({.name = "x(slice, index)", .golden = "slice"}, [](const auto& x) { return x(slice(1, 5, 2), 2); }, real<2>("x", {500, 300}));
    add<halves>({.name = "transpose", .golden = "transpose"}, [](const auto& x) { return transpose(x) * 2.f; }, real<2>("x", {500, 300}));
    add<halves>({.name = "permute", .golden = "permute"}, [](const auto& x) { return x.template permute<2, 0, 1>() * 2.f; }, real<3>("x", {50, 60, 70}));
    add<halves>({.name = "reshape", .golden = "reshape"}, [](const auto& x) { return x.template permute<2, 0, 1>().reshape({x.shape(0) * x.shape(1), -1}) * 2.f; },
                real<3>("x", {50, 60, 70}));
    add<halves>({.name = "expand", .golden = "expand"}, [](const auto& x) { return x.expand({2, -1, 4}) * 2.f; }, real<2>("x", {300, 1}));

    add_error("matmul", [] { return eval(matmul(zeros<float>({2, 3}), zeros<float>({2, 3}))); },
              "matmul: inner sizes differ: left is float[2, 3] on cpu (last axis 3), right is float[2, 3] on cpu (second to last axis 2)");
    add_error("matmul", [] { return eval(matmul(zeros<float>({2, 3}), zeros<float>({2, 3}))); }, "did you mean transpose(right)?");
    add_error("add", [] { return zeros<float>({2, 3}) + zeros<float>({4, 3}); }, "add: shapes cannot be broadcast");
    add_error("add", [] { return zeros<float>({2, 3}) + zeros<float>({4, 3}); }, "float[4, 3] on cpu");
    add_error("cross_entropy", [] { return cross_entropy(zeros<float>({2, 3}), from<std::int64_t>({0, 3})); }, "cross_entropy: label 3 of row 1 is outside of [0, 3)");
    add_error("cross_entropy", [] { return cross_entropy(zeros<float>({2, 3}), from<std::int64_t>({0})); }, "expected one label for each row");
    add_error("index_select", [] { return index_select<0>(zeros<float>({2, 3}), from<std::int64_t>({0, 2})); }, "index_select: index 2 at position [1]");
    add_error("gather", [] { return gather<1>(zeros<float>({2, 3}), zeros<std::int64_t>({3, 1})); }, "gather");
    add_error("embedding", [] { return embedding(zeros<float>({2, 3}), from<std::int64_t>({-1})); }, "negative indices do not count from the end");
    add_error("concat", [] { return concat<0>({zeros<float>({2, 3}), zeros<float>({2, 4})}); }, "concat");
    add_error("reshape", [] { return zeros<float>({2, 3}).reshape({4, 2}); }, "has 6 elements, which do not fit [4, 2]");
    add_error("expand", [] { return zeros<float>({2, 3}).expand({4, 3}); }, "has size 2 and cannot become 4");
    add_error("squeeze", [] { return zeros<float>({2, 3}).squeeze<0>(); }, "has size 2, expected 1");
    add_error("index", [] { return zeros<float>({2, 3})(5); }, "index: 5 is outside of axis 0 of float[2, 3] on cpu");
    add_error("slice", [] { return zeros<float>({2, 3})(slice(0, 2, 0)); }, "slice: step 0 is not positive");
    add_error("item", [] { return zeros<float>({2, 3}).item(); }, "item: float[2, 3] on cpu has 6 elements, expected 1");
    add_error("dropout", [] { return dropout(zeros<float>({2}), 1.5, Key{1}); }, "1.5");
    add_error("zeros", [] { return zeros<float>({2}, cuda(0)); }, "cuda:0");
    add_error("zeros", [] { return zeros<float>({-1}); }, "negative size");
    add_error("max", [] { return max<1>(zeros<float>({2, 0})).values; }, "expected at least one");
    add_error("backward", [] { zeros<float>({2}).require_grad().backward(); return 0; }, "backward: float[2] on cpu has 2 elements, expected 1");
}

// Scattering, putting and choosing by index and mask.
#include "record.hpp"

#include <tenon/ops/mask.hpp>
#include <tenon/ops/scatter.hpp>

TENON_OPERATORS(scatter) {
    using namespace tenon;
    using namespace operators;
    const auto wide = real<2>("x", {500, 64});
    const auto at = integer<2>("indices", {500, 40}, 0, 64);
    const auto source = real<2>("src", {500, 40});
    add<halves | whole>({.name = "scatter<1>", .golden = "scatter"},
                        [](const auto& x, const auto& i, const auto& s) { return scatter<1>(x, i, s); }, wide, at, source);
    add({.name = "scatter<1>, number", .golden = "scatter_value"}, [](const auto& x, const auto& i) { return scatter<1>(x, i, 2.5f); }, wide, at);
    add({.name = "scatter_add<0>", .golden = "scatter_first"}, [](const auto& x, const auto& i, const auto& s) { return scatter_add<0>(x, i, s); },
        real<3>("x", {40, 50, 60}), integer<3>("indices", {100, 50, 60}, 0, 40), real<3>("src", {100, 50, 60}));
    add<halves | whole>({.name = "scatter_add<1>", .golden = "scatter_add"},
                        [](const auto& x, const auto& i, const auto& s) { return scatter_add<1>(x, i, s); }, wide, at, source);
    add<halves>({.name = "scatter_mean<1>", .golden = "scatter_mean/with"},
                [](const auto& x, const auto& i, const auto& s) { return scatter_mean<1>(x, i, s); }, wide, at, source);
    add({.name = "scatter_mean<1>, without self", .golden = "scatter_mean/without"},
        [](const auto& x, const auto& i, const auto& s) { return scatter_mean<1>(x, i, s, {.include_self = false}); }, wide, at, source);
    add<halves | whole>({.name = "scatter_max<1>", .golden = "scatter_max/with", .kinks = true},
                        [](const auto& x, const auto& i, const auto& s) { return scatter_max<1>(x, i, s); }, wide, at, source);
    add({.name = "scatter_max<1>, without self", .golden = "scatter_max/without", .kinks = true},
        [](const auto& x, const auto& i, const auto& s) { return scatter_max<1>(x, i, s, {.include_self = false}); }, wide, at, source);
    add<halves | whole>({.name = "scatter_min<1>", .golden = "scatter_min/with", .kinks = true},
                        [](const auto& x, const auto& i, const auto& s) { return scatter_min<1>(x, i, s); }, wide, at, source);
    add({.name = "scatter_min<1>, without self", .golden = "scatter_min/without", .kinks = true},
        [](const auto& x, const auto& i, const auto& s) { return scatter_min<1>(x, i, s, {.include_self = false}); }, wide, at, source);
    add<halves | whole>({.name = "index_add<0>", .golden = "index_add/first"},
                        [](const auto& x, const auto& i, const auto& s) { return index_add<0>(x, i, s); }, real<2>("x", {1000, 64}),
                        integer<1>("indices", {5000}, 0, 1000), real<2>("src", {5000, 64}));
    add<halves>({.name = "index_add<1>", .golden = "index_add/middle"}, [](const auto& x, const auto& i, const auto& s) { return index_add<1>(x, i, s); },
                real<3>("x", {30, 40, 50}), integer<1>("indices", {100}, 0, 40), real<3>("src", {30, 100, 50}));
    add({.name = "index_copy<1>", .golden = "index_copy"}, [](const auto& x, const auto& i, const auto& s) { return index_copy<1>(x, i, s); },
        real<3>("x", {30, 40, 50}), integer<1>("indices", {10}, 0, 40), real<3>("src", {30, 10, 50}));
    add<halves>({.name = "index_get", .golden = "index_get"}, [](const auto& x, const auto& i, const auto& j) { return index_get(x, i, j); },
                real<3>("x", {30, 40, 50}), integer<2>("i", {20, 30}, 0, 30), integer<2>("j", {20, 30}, 0, 40));
    add({.name = "index_put", .golden = "index_put/set"}, [](const auto& x, const auto& v, const auto& i, const auto& j) { return index_put(x, v, i, j); },
        real<3>("x", {30, 40, 50}), real<2>("values", {300, 50}), integer<1>("i", {300}, 0, 30), integer<1>("j", {300}, 0, 40));
    add<halves>({.name = "index_put, accumulate", .golden = "index_put/add"},
                [](const auto& x, const auto& v, const auto& i, const auto& j) { return index_put(x, v, {.accumulate = true}, i, j); }, real<3>("x", {30, 40, 50}),
                real<2>("values", {3000, 50}), integer<1>("i", {3000}, 0, 30), integer<1>("j", {3000}, 0, 40));
    add<halves>({.name = "masked_select", .golden = "masked_select"}, [](const auto& x, const auto& m) { return masked_select(x, m); },
                real<2>("x", {500, 300}), boolean<2>("mask", {500, 300}));
    add<halves>({.name = "masked_fill", .golden = "masked_fill"}, [](const auto& x, const auto& m) { return masked_fill(x, m, 2.5f); }, real<2>("x", {500, 300}),
                boolean<2>("mask", {500, 300}));
    add({.name = "masked_scatter", .golden = "masked_scatter"}, [](const auto& x, const auto& m, const auto& s) { return masked_scatter(x, m, s); },
        real<2>("x", {500, 300}), boolean<2>("mask", {500, 300}), real<2>("src", {500, 300}));
    add({.name = "nonzero", .golden = "nonzero"}, [](const auto& x) { return nonzero(x); }, real<2>("x", {500, 300}));

    add_error("scatter", [] { return scatter<1>(zeros<float>({2, 3}), zeros<std::int64_t>({3, 1}), zeros<float>({3, 1})); },
              "scatter: the indices int64[3, 1] on cpu are larger than float[2, 3] on cpu at axis 0");
    add_error("scatter_add", [] { return scatter_add<1>(zeros<float>({2, 3}), zeros<std::int64_t>({2, 2}), zeros<float>({2, 1})); }, "are larger than the source");
    add_error("scatter_max", [] { return scatter_max<0>(zeros<float>({2}), from<std::int64_t>({0, 2}), zeros<float>({2})); }, "scatter_max: index 2 at position [1]");
    add_error("index_add", [] { return index_add<0>(zeros<float>({2, 3}), from<std::int64_t>({0}), zeros<float>({2, 3})); },
              "index_add: the source is float[2, 3] on cpu, expected size 1 at axis 0 (one slice for each index)");
    add_error("index_add", [] { return index_add<0>(zeros<float>({2, 3}), from<std::int64_t>({-1}), zeros<float>({1, 3})); }, "negative indices do not count from the end");
    add_error("index_copy", [] { return index_copy<0>(zeros<float>({2, 3}), from<std::int64_t>({0}), zeros<float>({1, 4})); }, "as the tensor has");
    add_error("index_get", [] { return index_get(zeros<float>({2, 3}), from<std::int64_t>({0}), from<std::int64_t>({0, 1})); }, "indices of different shapes");
    add_error("index_put", [] { return index_put(zeros<float>({2, 3}), zeros<float>({2}), from<std::int64_t>({0}), from<std::int64_t>({0})); },
              "expected size 1 at axis 0 as the indices have");
    add_error("masked_select", [] { return masked_select(zeros<float>({2, 3}), zeros<bool>({2})); }, "the mask bool[2] on cpu does not fit float[2, 3] on cpu at axis 1");
    add_error("masked_scatter", [] { return masked_scatter(zeros<float>({2}), ones<bool>({2}), zeros<float>({1})); }, "the mask has 2 true elements");
}

// Normalisation and masked softmax.
#include "record.hpp"

#include <tenon/ops/batch_norm.hpp>
#include <tenon/ops/layer_norm.hpp>
#include <tenon/ops/masked_softmax.hpp>

TENON_OPERATORS(norm_layers) {
    using namespace tenon;
    using namespace operators;
    const auto x = real<2>("x", {1024, 768});
    const auto w = real<1>("w", {768}, 0.5, 2), b = real<1>("b", {768});
    add<halves>({.name = "layer_norm", .golden = "layer_norm"}, [](const auto& a, const auto& u, const auto& v) { return layer_norm(a, u, v); }, x, w, b);
    add<halves>({.name = "layer_norm, without weight", .golden = "layer_norm_plain"}, [](const auto& a) { return layer_norm(a, 1e-3); }, x);
    add({.name = "layer_norm, two axes", .golden = "layer_norm_2"}, [](const auto& a, const auto& u, const auto& v) { return layer_norm(a, u, v); }, real<4>("x", {64, 16, 24, 32}),
        real<2>("w", {24, 32}), real<2>("b", {24, 32}));
    add<halves>({.name = "rms_norm", .golden = "rms_norm"}, [](const auto& a, const auto& u) { return rms_norm(a, u, 1e-5); }, x, w);
    add<halves>({.name = "batch_norm, [N, C]", .golden = "batch_norm"}, [](const auto& a, const auto& u, const auto& v) { return batch_norm(a, u, v); }, x, w, b);
    add<halves>({.name = "batch_norm, [N, C], relu", .golden = "batch_norm_relu", .kinks = true}, [](const auto& a, const auto& u, const auto& v) { return batch_norm(a, u, v, {}, {}, {.relu = true}); }, x, w, b);
    add<halves>({.name = "batch_norm, [N, C, L]", .golden = "batch_norm_3"}, [](const auto& a) { return batch_norm(a, {}, {}, {}, {}, {.eps = 1e-3}); }, real<3>("x", {32, 64, 400}));
    add({.name = "batch_norm_inference", .golden = "batch_norm_inference"},
        [](const auto& a, const auto& u, const auto& v) {
            using T = typename std::remove_cvref_t<decltype(a)>::Scalar;
            return batch_norm_inference(a, u, v, from<T>({T(0.5), T(-1), T(2)}).to(a.device()), from<T>({T(0.25), T(1), T(3)}).to(a.device()));
        },
        real<3>("x", {256, 3, 1000}), real<1>("w", {3}), real<1>("b", {3}));
    add<halves>({.name = "softmax, mask", .golden = "softmax_mask"}, [](const auto& a, const auto& m) { return softmax(a, m); }, real<2>("x", {512, 1000}), boolean<2>("mask", {512, 1000}));
    add<halves>({.name = "softmax<1>, mask", .golden = "softmax_mask_middle"}, [](const auto& a, const auto& m) { return softmax<1>(a, m); }, real<3>("x", {20, 100, 100}),
                boolean<2>("mask", {100, 100}));
    add<halves>({.name = "log_softmax, mask", .golden = "log_softmax_mask_sum"},
                [](const auto& a, const auto& m) {
                    using T = typename std::remove_cvref_t<decltype(a)>::Scalar;
                    return where(m, log_softmax(a, m), T(0));
                },
                real<2>("x", {512, 1000}), boolean<2>("mask", {512, 1000}));
    add_error("softmax", [] { return softmax(zeros<float>({2, 3}), zeros<bool>({2, 4})); }, "the mask is bool[2, 4]");
    add_error("layer_norm", [] { return layer_norm(zeros<float>({2, 3}), zeros<float>({2})); }, "expected the sizes of the last 1 axis of the input");
    add_error("layer_norm", [] { return layer_norm(zeros<float>({2, 3}), -1.0); }, "layer_norm: eps is -1");
    add_error("batch_norm", [] { return batch_norm(zeros<float>({2, 3}), zeros<float>({2})); }, "expected one element for each of the 3 channels");
    add_error("batch_norm", [] { return batch_norm(zeros<float>({1, 3})); }, "one value per channel");
    add_error("batch_norm_inference", [] { return batch_norm_inference(zeros<float>({2, 3}), {}, {}, {}, {}); }, "no running statistics");
}

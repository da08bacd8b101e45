// Pooling.
#include "record.hpp"

#include <tenon/ops/pool.hpp>

TENON_OPERATORS(pool) {
    using namespace tenon;
    using namespace operators;
    const auto x = real<4>("x", {16, 32, 56, 56});
    // The same image with its channels innermost in memory.
    const auto channels_last = [](const auto& a) { return contiguous(a.template permute<0, 2, 3, 1>()).template permute<0, 3, 1, 2>(); };
    add<halves>({.name = "max_pool2d", .golden = "max_pool2d"}, [](const auto& a) { return max_pool2d(a, 3, {.stride = 2, .padding = 1}); }, x);
    add({.name = "max_pool2d, 2 x 2", .golden = "max_pool2d_even"}, [](const auto& a) { return max_pool2d(a, 2); }, x);
    add({.name = "max_pool2d, dilation", .golden = "max_pool2d_dilated"},
        [](const auto& a) { return max_pool2d(a, {2, 3}, {.stride = {2, 1}, .padding = 1, .dilation = {2, 3}}); }, real<4>("x", {4, 8, 57, 61}));
    add({.name = "max_pool2d, ceil_mode", .golden = "max_pool2d_ceil"}, [](const auto& a) { return max_pool2d(a, 3, {.stride = 3, .padding = 1, .ceil_mode = true}); },
        real<4>("x", {4, 8, 57, 61}));
    add({.name = "max_pool2d, [C, H, W]", .golden = "max_pool2d_image"}, [](const auto& a) { return max_pool2d(a, {2, 1}, {.stride = {1, 3}}); }, real<3>("x", {32, 56, 56}));
    add({.name = "max_pool2d, large windows", .golden = "max_pool2d_large"}, [](const auto& a) { return max_pool2d(a, 17, {.stride = 1, .padding = 8}); },
        real<4>("x", {1, 2, 33, 35}));
    add<halves>({.name = "max_pool2d, channels-last", .golden = "max_pool2d_channels"},
                [=](const auto& a) { return max_pool2d(channels_last(a), 3, {.stride = 2, .padding = 1}); }, x);
    add<halves>({.name = "max_pool1d", .golden = "max_pool1d"}, [](const auto& a) { return max_pool1d(a, 4, {.stride = 2, .padding = 1}); }, real<3>("x", {32, 64, 400}));
    add({.name = "max_pool3d", .golden = "max_pool3d"}, [](const auto& a) { return max_pool3d(a, {2, 3, 3}, {.stride = {1, 2, 2}, .padding = 1}); },
        real<5>("x", {2, 8, 9, 28, 28}));
    add({.name = "max_pool2d_with_indices", .golden = "max_pool2d_indices"}, [](const auto& a) { return max_pool2d_with_indices(a, 3, {.stride = 2, .padding = 1}).indices; }, x);
    add({.name = "max_unpool2d", .golden = "max_unpool2d"}, [](const auto& a) {
        const auto p = max_pool2d_with_indices(a, 2);
        return max_unpool2d(p.values, p.indices, 2, {.output_size = {a.shape(2), a.shape(3)}});
    }, x);
    add({.name = "max_unpool1d", .golden = "max_unpool1d"}, [](const auto& a, const auto& i) { return max_unpool1d(a, i, 2); }, real<3>("x", {8, 8, 4}),
        integer<3>("indices", {8, 8, 4}, 0, 8));
    add({.name = "max_unpool3d", .golden = "max_unpool3d"}, [](const auto& a, const auto& i) { return max_unpool3d(a, i, 2); }, real<5>("x", {8, 8, 1, 2, 2}),
        integer<5>("indices", {8, 8, 1, 2, 2}, 0, 32));
    add<halves>({.name = "adaptive_max_pool2d", .golden = "adaptive_max_pool2d"}, [](const auto& a) { return adaptive_max_pool2d(a, {3, 4}); }, x);
    add({.name = "adaptive_max_pool2d, whole", .golden = "adaptive_max_pool2d_one"}, [](const auto& a) { return adaptive_max_pool2d(a, 1); }, x);
    add({.name = "adaptive_max_pool1d_with_indices", .golden = "adaptive_max_pool1d_indices"}, [](const auto& a) { return adaptive_max_pool1d_with_indices(a, 4).indices; },
        real<3>("x", {32, 64, 400}));
    add({.name = "adaptive_max_pool3d", .golden = "adaptive_max_pool3d"}, [](const auto& a) { return adaptive_max_pool3d(a, {2, 3, 5}); }, real<5>("x", {2, 8, 9, 28, 28}));

    add<halves>({.name = "avg_pool2d", .golden = "avg_pool2d"}, [](const auto& a) { return avg_pool2d(a, 3, {.stride = 2, .padding = 1}); }, x);
    add({.name = "avg_pool2d, 2 x 2", .golden = "avg_pool2d_even"}, [](const auto& a) { return avg_pool2d(a, 2); }, x);
    add({.name = "avg_pool2d, stride 1", .golden = "avg_pool2d_same"},
        [](const auto& a) { return avg_pool2d(a, 3, {.stride = 1, .padding = 1, .count_include_pad = false}); }, x);
    add({.name = "avg_pool2d, ceil_mode", .golden = "avg_pool2d_ceil"}, [](const auto& a) { return avg_pool2d(a, 3, {.stride = 3, .padding = 1, .ceil_mode = true}); },
        real<4>("x", {4, 8, 57, 61}));
    add({.name = "avg_pool2d, without the padding", .golden = "avg_pool2d_own"},
        [](const auto& a) { return avg_pool2d(a, {2, 3}, {.stride = {1, 2}, .padding = {1, 0}, .ceil_mode = true, .count_include_pad = false}); }, real<4>("x", {4, 8, 57, 61}));
    add({.name = "avg_pool2d, divisor_override", .golden = "avg_pool2d_divisor"}, [](const auto& a) { return avg_pool2d(a, 3, {.stride = 2, .padding = 1, .divisor_override = 7}); }, x);
    add<halves>({.name = "avg_pool2d, channels-last", .golden = "avg_pool2d_channels", .view_bits = false},
                [=](const auto& a) { return avg_pool2d(channels_last(a), 3, {.stride = 2, .padding = 1}); }, x);
    add({.name = "avg_pool2d, [C, H, W]", .golden = "avg_pool2d_image"}, [](const auto& a) { return avg_pool2d(a, {2, 1}, {.stride = {1, 3}}); }, real<3>("x", {32, 56, 56}));
    add<halves>({.name = "avg_pool1d", .golden = "avg_pool1d"}, [](const auto& a) { return avg_pool1d(a, 4, {.stride = 2, .padding = 1}); }, real<3>("x", {32, 64, 400}));
    add({.name = "avg_pool3d", .golden = "avg_pool3d"}, [](const auto& a) { return avg_pool3d(a, {2, 3, 3}, {.stride = {1, 2, 2}, .padding = 1}); },
        real<5>("x", {2, 8, 9, 28, 28}));
    add<halves>({.name = "adaptive_avg_pool2d", .golden = "adaptive_avg_pool2d"}, [](const auto& a) { return adaptive_avg_pool2d(a, {3, 4}); }, x);
    add({.name = "adaptive_avg_pool2d, whole", .golden = "adaptive_avg_pool2d_one"}, [](const auto& a) { return adaptive_avg_pool2d(a, 1); }, x);
    add({.name = "adaptive_avg_pool2d, a size kept", .golden = "adaptive_avg_pool2d_keep"}, [](const auto& a) { return adaptive_avg_pool2d(a, {-1, 4}); }, x);
    add({.name = "adaptive_avg_pool1d", .golden = "adaptive_avg_pool1d"}, [](const auto& a) { return adaptive_avg_pool1d(a, 4); }, real<3>("x", {32, 64, 400}));
    add({.name = "adaptive_avg_pool3d", .golden = "adaptive_avg_pool3d"}, [](const auto& a) { return adaptive_avg_pool3d(a, {2, 3, 5}); }, real<5>("x", {2, 8, 9, 28, 28}));
    add({.name = "lp_pool2d", .golden = "lp_pool2d"}, [](const auto& a) { return lp_pool2d(a, 3, 2, {.stride = {2, 1}}); }, real<4>("x", {4, 8, 28, 28}, 0.5, 2));
    add({.name = "lp_pool1d", .golden = "lp_pool1d"}, [](const auto& a) { return lp_pool1d(a, 2, 3, {.ceil_mode = true}); }, real<3>("x", {4, 8, 28}, 0.5, 2));

    add_error("max_pool2d", [] { return max_pool2d(zeros<float>({1, 1, 4, 4}), 3, {.padding = 2}); }, "padding 2 is more than half of a window that reaches over 3 elements");
    add_error("max_pool2d", [] { return max_pool2d(zeros<float>({1, 1, 2, 4}), 3); }, "max_pool2d: axis 2 of float[1, 1, 2, 4] on cpu has no room for a window");
    add_error("max_pool2d", [] { return max_pool2d(zeros<float>({1, 1, 4, 4}), 0); }, "kernel 0, stride 0");
    add_error("max_pool1d", [] { return max_pool1d(zeros<float>({1, 1, 1}), 2, {.padding = 2, .dilation = 3}); }, "window 0 along axis 2 of float[1, 1, 1] on cpu would hold nothing but padding");
    add_error("avg_pool1d", [] { return avg_pool1d(zeros<float>({1, 4, 4}), 2, {.divisor_override = -1}); }, "divisor_override -1");
    add_error("adaptive_avg_pool2d", [] { return adaptive_avg_pool2d(zeros<float>({1, 4, 4}), {0, 1}); }, "output size 0 for axis 1 of float[1, 4, 4] on cpu");
    add_error("lp_pool1d", [] { return lp_pool1d(zeros<float>({1, 4, 4}), 0, 2); }, "lp_pool1d: norm type 0");
    add_error("max_unpool1d", [] { return max_unpool1d(zeros<float>({1, 4, 4}), zeros<std::int64_t>({1, 4, 3}), 2); }, "expected the same sizes");
    add_error("max_unpool1d", [] { return max_unpool1d(zeros<float>({1, 1, 1}), full<std::int64_t>({1, 1, 1}, 2), 2); }, "index 2");
}

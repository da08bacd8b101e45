// Convolutions.
#include "record.hpp"

#include <tenon/ops/conv.hpp>

TENON_OPERATORS(conv) {
    using namespace tenon;
    using namespace operators;
    const auto b = real<1>("b", {64});
    add({.name = "conv1d", .golden = "conv1d"}, [](const auto& x, const auto& w, const auto& v) { return conv1d(x, w, v); }, real<3>("x", {8, 32, 400}),
        real<3>("w", {64, 32, 3}), b);
    add({.name = "conv1d, stride, padding, dilation, groups", .golden = "conv1d_strided"},
        [](const auto& x, const auto& w, const auto& v) { return conv1d(x, w, v, {.stride = 3, .padding = 2, .dilation = 2, .groups = 2}); },
        real<3>("x", {8, 32, 400}), real<3>("w", {64, 16, 4}), b);
    add<halves>({.name = "conv2d", .golden = "conv2d", .note = "bf16 and half: sums in float"},
                [](const auto& x, const auto& w, const auto& v) { return conv2d(x, w, v, {.padding = 1}); }, real<4>("x", {4, 32, 28, 28}),
                real<4>("w", {64, 32, 3, 3}), b);
    add({.name = "conv2d, no bias", .golden = "conv2d_plain"}, [](const auto& x, const auto& w) { return conv2d(x, w); }, real<4>("x", {4, 3, 32, 32}),
        real<4>("w", {64, 3, 5, 5}));
    add({.name = "conv2d, stride", .golden = "conv2d_strided"},
        [](const auto& x, const auto& w, const auto& v) { return conv2d(x, w, v, {.stride = {2, 3}, .padding = {1, 0}}); }, real<4>("x", {4, 32, 28, 28}),
        real<4>("w", {64, 32, 3, 3}), b);
    add({.name = "conv2d, dilation", .golden = "conv2d_dilated"},
        [](const auto& x, const auto& w, const auto& v) { return conv2d(x, w, v, {.padding = {2, 1}, .dilation = {2, 3}}); }, real<4>("x", {4, 32, 28, 28}),
        real<4>("w", {64, 32, 3, 3}), b);
    add({.name = "conv2d, groups", .golden = "conv2d_groups"}, [](const auto& x, const auto& w, const auto& v) { return conv2d(x, w, v, {.padding = 1, .groups = long(x.shape(1) / w.shape(1))}); },
        real<4>("x", {4, 32, 28, 28}), real<4>("w", {64, 8, 3, 3}), b);
    add({.name = "conv2d, depthwise", .golden = "conv2d_depthwise"},
        [](const auto& x, const auto& w, const auto& v) { return conv2d(x, w, v, {.padding = 1, .groups = long(x.shape(1))}); }, real<4>("x", {4, 64, 28, 28}),
        real<4>("w", {64, 1, 3, 3}), b);
    add({.name = "conv2d, 1 x 1", .golden = "conv2d_pointwise"}, [](const auto& x, const auto& w, const auto& v) { return conv2d(x, w, v); }, real<4>("x", {4, 128, 28, 28}),
        real<4>("w", {64, 128, 1, 1}), b);
    add({.name = "conv2d, same padding", .golden = "conv2d_same"},
        [](const auto& x, const auto& w, const auto& v) { return conv2d(x, w, v, {.padding = same_padding, .dilation = {1, 2}}); }, real<4>("x", {4, 32, 28, 28}),
        real<4>("w", {64, 32, 4, 3}), b);
    add({.name = "conv2d, channels last", .golden = "conv2d"},
        [](const auto& x, const auto& w, const auto& v) { return conv2d(channels_last(x), w, v, {.padding = 1}); }, real<4>("x", {4, 32, 28, 28}),
        real<4>("w", {64, 32, 3, 3}), b);
    add({.name = "conv2d, reflect padding", .golden = "conv2d_reflect"},
        [](const auto& x, const auto& w, const auto& v) { return conv2d(x, w, v, {.stride = 2, .padding = {1, 2}, .padding_mode = PadMode::reflect}); },
        real<4>("x", {4, 32, 28, 28}), real<4>("w", {64, 32, 3, 5}), b);
    add({.name = "conv2d, replicate padding", .golden = "conv2d_replicate"},
        [](const auto& x, const auto& w, const auto& v) { return conv2d(x, w, v, {.stride = 2, .padding = {1, 2}, .padding_mode = PadMode::replicate}); },
        real<4>("x", {4, 32, 28, 28}), real<4>("w", {64, 32, 3, 5}), b);
    add({.name = "conv2d, circular padding", .golden = "conv2d_circular"},
        [](const auto& x, const auto& w, const auto& v) { return conv2d(x, w, v, {.stride = 2, .padding = {1, 2}, .padding_mode = PadMode::circular}); },
        real<4>("x", {4, 32, 28, 28}), real<4>("w", {64, 32, 3, 5}), b);
    add({.name = "conv3d", .golden = "conv3d"},
        [](const auto& x, const auto& w, const auto& v) { return conv3d(x, w, v, {.stride = {1, 2, 1}, .padding = {1, 1, 0}}); }, real<5>("x", {2, 16, 8, 14, 14}),
        real<5>("w", {64, 16, 2, 3, 2}), b);
    add({.name = "conv_transpose1d", .golden = "conv_transpose1d"},
        [](const auto& x, const auto& w, const auto& v) { return conv_transpose1d(x, w, v, {.stride = 2, .padding = 1, .output_padding = 1}); },
        real<3>("x", {8, 32, 200}), real<3>("w", {32, 64, 3}), b);
    add<halves>({.name = "conv_transpose2d", .golden = "conv_transpose2d"},
                [](const auto& x, const auto& w, const auto& v) { return conv_transpose2d(x, w, v, {.stride = 2, .padding = 1}); }, real<4>("x", {4, 32, 14, 14}),
                real<4>("w", {32, 64, 4, 4}), b);
    add({.name = "conv_transpose2d, groups", .golden = "conv_transpose2d_groups"},
        [](const auto& x, const auto& w, const auto& v) {
            return conv_transpose2d(x, w, v, {.stride = {2, 3}, .padding = {1, 0}, .output_padding = {1, 2}, .dilation = {2, 1}, .groups = 2});
        },
        real<4>("x", {4, 32, 14, 14}), real<4>("w", {32, 32, 3, 2}), b);
    add({.name = "conv_transpose3d", .golden = "conv_transpose3d"},
        [](const auto& x, const auto& w, const auto& v) { return conv_transpose3d(x, w, v, {.stride = {1, 2, 1}, .padding = {0, 1, 1}}); },
        real<5>("x", {2, 16, 6, 7, 7}), real<5>("w", {16, 64, 2, 3, 2}), b);

    const auto images = [] { return zeros<float>({2, 3, 8, 8}); };
    add_error("conv2d", [images] { return conv2d(images(), zeros<float>({4, 5, 3, 3})); },
              "conv2d: channels differ: input is float[2, 3, 8, 8] on cpu (axis 1: 3 channels), weight is float[4, 5, 3, 3] on cpu (axis 1: 5 for each of 1 group)");
    add_error("conv2d", [images] { return conv2d(images(), zeros<float>({4, 1, 3, 3}), {.groups = 3}); }, "cannot be cut into 3 groups");
    add_error("conv2d", [images] { return conv2d(images(), zeros<float>({4, 3, 9, 3})); }, "along axis 2 the kernel spans 9 of 8 elements");
    add_error("conv2d", [images] { return conv2d(images(), zeros<float>({4, 3, 3, 3}), zeros<float>({3})); }, "expected one element for each of the 4 output channels");
    add_error("conv2d", [images] { return conv2d(images(), zeros<float>({4, 3, 3, 3}), {.stride = {1, 0}}); }, "conv2d: stride 0 and dilation 1 along axis 3");
    add_error("conv2d", [images] { return conv2d(images(), zeros<float>({4, 3, 3, 3}), {.padding = -1}); }, "conv2d: padding -1 along axis 2");
    add_error("conv2d", [images] { return conv2d(images(), zeros<float>({4, 3, 3, 3}), {.stride = 2, .padding = same_padding}); }, "same padding with stride 2");
    add_error("conv2d", [images] { return conv2d(images(), zeros<float>({4, 3, 3, 3}), {.groups = 0}); }, "conv2d: 0 groups");
    add_error("conv_transpose2d", [images] { return conv_transpose2d(images(), zeros<float>({4, 3, 3, 3})); },
              "conv_transpose2d: channels differ: input is float[2, 3, 8, 8] on cpu (axis 1: 3 channels), weight is float[4, 3, 3, 3] on cpu (axis 0: 4)");
    add_error("conv_transpose2d", [images] { return conv_transpose2d(images(), zeros<float>({3, 4, 3, 3}), {.output_padding = 1}); }, "output_padding 1 along axis 2");
    add_error("conv_transpose2d", [images] { return conv_transpose2d(images(), zeros<float>({3, 4, 1, 1}), {.padding = 4}); }, "the output would have 0 elements");
}

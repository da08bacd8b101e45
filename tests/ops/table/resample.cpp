// Interpolation, and channels exchanged for points.
#include "record.hpp"

#include <tenon/ops/resample.hpp>

TENON_OPERATORS(resample) {
    using namespace tenon;
    using namespace operators;
    const auto x = real<4>("x", {8, 16, 28, 28});
    using enum Interpolation;
    add<halves>({.name = "interpolate, nearest", .golden = "nearest"}, [](const auto& a) { return interpolate(a, {8, 10}); }, x);
    add({.name = "interpolate, nearest, one axis", .golden = "nearest_1"}, [](const auto& a) { return interpolate(a, 17, {.mode = nearest}); }, real<3>("x", {8, 16, 100}));
    add({.name = "interpolate, nearest, three axes", .golden = "nearest_3"}, [](const auto& a) { return interpolate(a, {5, 6, 4}); }, real<5>("x", {2, 4, 5, 8, 8}));
    add({.name = "interpolate_by, nearest, twice", .golden = "nearest_twice"}, [](const auto& a) { return interpolate_by(a, 2); }, x);
    add({.name = "interpolate_by, nearest", .golden = "nearest_by"}, [](const auto& a) { return interpolate_by(a, {1.7, 0.6}); }, x);
    add({.name = "interpolate, nearest_exact", .golden = "nearest_exact"}, [](const auto& a) { return interpolate(a, {8, 10}, {.mode = nearest_exact}); }, x);
    add<halves>({.name = "interpolate, linear", .golden = "linear_1"}, [](const auto& a) { return interpolate(a, 17, {.mode = linear}); }, real<3>("x", {8, 16, 100}));
    add<halves>({.name = "interpolate, bilinear", .golden = "bilinear"}, [](const auto& a) { return interpolate(a, {8, 10}, {.mode = linear}); }, x);
    add({.name = "interpolate, bilinear, align_corners", .golden = "bilinear_align"},
        [](const auto& a) { return interpolate(a, {8, 10}, {.mode = linear, .align_corners = true}); }, x);
    add({.name = "interpolate, bilinear, align_corners, to one", .golden = "bilinear_align_one"},
        [](const auto& a) { return interpolate(a, {1, 12}, {.mode = linear, .align_corners = true}); }, x);
    add({.name = "interpolate_by, bilinear, twice", .golden = "bilinear_twice"}, [](const auto& a) { return interpolate_by(a, 2, {.mode = linear}); }, x);
    add({.name = "interpolate_by, bilinear", .golden = "bilinear_by"}, [](const auto& a) { return interpolate_by(a, {1.7, 0.6}, {.mode = linear}); }, x);
    add({.name = "interpolate, bilinear, antialias", .golden = "bilinear_smooth"}, [](const auto& a) { return interpolate(a, {5, 30}, {.mode = linear, .antialias = true}); }, x);
    add({.name = "interpolate, trilinear", .golden = "trilinear"}, [](const auto& a) { return interpolate(a, {5, 6, 4}, {.mode = linear}); }, real<5>("x", {2, 4, 5, 8, 8}));
    add({.name = "interpolate, trilinear, align_corners", .golden = "trilinear_align"},
        [](const auto& a) { return interpolate(a, {5, 6, 4}, {.mode = linear, .align_corners = true}); }, real<5>("x", {2, 4, 5, 8, 8}));
    add<halves>({.name = "interpolate, bicubic", .golden = "bicubic"}, [](const auto& a) { return interpolate(a, {8, 10}, {.mode = cubic}); }, x);
    add({.name = "interpolate, bicubic, align_corners", .golden = "bicubic_align"},
        [](const auto& a) { return interpolate(a, {8, 10}, {.mode = cubic, .align_corners = true}); }, x);
    add({.name = "interpolate, bicubic, antialias", .golden = "bicubic_smooth"}, [](const auto& a) { return interpolate(a, {5, 30}, {.mode = cubic, .antialias = true}); }, x);
    add({.name = "interpolate, bilinear, channels-last", .golden = "bilinear_channels", .view_bits = false},
        [](const auto& a) {
            return interpolate(contiguous(a.template permute<0, 2, 3, 1>()).template permute<0, 3, 1, 2>(), {7, 3}, {.mode = linear});
        },
        x);
    add<halves>({.name = "pixel_shuffle", .golden = "pixel_shuffle"}, [](const auto& a) { return pixel_shuffle(a, 3); }, real<4>("x", {4, 18, 28, 28}));
    add({.name = "pixel_unshuffle", .golden = "pixel_unshuffle"}, [](const auto& a) { return pixel_unshuffle(a, 2); }, x);
    add({.name = "channel_shuffle", .golden = "channel_shuffle"}, [](const auto& a) { return channel_shuffle(a, 3); }, real<4>("x", {4, 18, 28, 28}));

    add_error("interpolate", [] { return interpolate(zeros<float>({1, 1, 4, 4}), {0, 4}); }, "interpolate: axis 2 of float[1, 1, 4, 4] on cpu to size 0");
    add_error("interpolate", [] { return interpolate(zeros<float>({1, 1, 4}), 4, {.align_corners = true}); }, "align_corners and antialias are for linear and cubic");
    add_error("interpolate_by", [] { return interpolate_by(zeros<float>({1, 1, 4}), -1); }, "interpolate: factor -1");
    add_error("pixel_shuffle", [] { return pixel_shuffle(zeros<float>({6, 4, 4}), 2); }, "expected a number whose square divides the 6 channels");
    add_error("pixel_unshuffle", [] { return pixel_unshuffle(zeros<float>({6, 5, 4}), 2); }, "expected a number that divides both sizes");
    add_error("channel_shuffle", [] { return channel_shuffle(zeros<float>({1, 6, 4}), 4); }, "4 groups of the 6 channels");
}

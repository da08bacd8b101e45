// Layers that change an image's size without weights.
#pragma once

#include <tenon/nn/module.hpp>
#include <tenon/ops/resample.hpp>

namespace tenon::nn {

// Upsample layer(2.0, {.mode = Interpolation::linear}): interpolate_by of every spatial axis.
struct Upsample {
    double factor = 1;
    InterpolateOptions options;

    Upsample() = default;
    explicit Upsample(double scale_factor, InterpolateOptions given = {}) : factor(scale_factor), options(given) {}
    template <Expression X>
    auto operator()(X&& x) const { return interpolate_by(static_cast<X&&>(x), factor, options); }
    static void visit(auto&, auto&&) {}
};

// [N, C * r * r, H, W] to [N, C, H * r, W * r], and back.
struct PixelShuffle {
    long factor = 1;

    PixelShuffle() = default;
    explicit PixelShuffle(long upscale_factor) : factor(upscale_factor) {}
    template <Expression X>
    auto operator()(X&& x) const { return pixel_shuffle(static_cast<X&&>(x), factor); }
    static void visit(auto&, auto&&) {}
};
struct PixelUnshuffle {
    long factor = 1;

    PixelUnshuffle() = default;
    explicit PixelUnshuffle(long downscale_factor) : factor(downscale_factor) {}
    template <Expression X>
    auto operator()(X&& x) const { return pixel_unshuffle(static_cast<X&&>(x), factor); }
    static void visit(auto&, auto&&) {}
};
struct ChannelShuffle {
    long groups = 1;

    ChannelShuffle() = default;
    explicit ChannelShuffle(long number) : groups(number) {}
    template <Expression X>
    auto operator()(X&& x) const { return channel_shuffle(static_cast<X&&>(x), groups); }
    static void visit(auto&, auto&&) {}
};

}  // namespace tenon::nn

// Pooling, interpolation, grid sampling and group norm on the device against the CPU.
#include "device_agreement.hpp"

#include <tenon/tenon.hpp>
#include <tenon/ops/grid_sample.hpp>
#include <tenon/ops/group_norm.hpp>
#include <tenon/ops/pool.hpp>
#include <tenon/ops/resample.hpp>

using namespace tenon;
using namespace device_agreement;

namespace {

template <class X>
auto channels_last(const X& x) { return contiguous(x.template permute<0, 2, 3, 1>()).template permute<0, 3, 1, 2>(); }
}  // namespace

TEMPLATE_TEST_CASE("windows and their largest elements", "", float, bf16) {
    using T = TestType;
    for (const long n : {5l, 9l, 34l}) {
        CAPTURE(n);
        // Few different numbers: ties.
        const auto x = numbers<T>(Shape<4>{{2, 3, 7, n}});
        const auto same = [&](auto&& f) { agree([&](const auto& a) { return f(a); }, x); };
        same([](const auto& a) { return max_pool2d(a, 3, {.stride = 2, .padding = 1}); });
        same([](const auto& a) { return max_pool2d(a, {2, 3}, {.stride = {3, 1}, .dilation = {2, 1}, .ceil_mode = true}); });
        same([](const auto& a) { return max_pool2d(channels_last(a), 2); });
        same([](const auto& a) { return adaptive_max_pool2d(a, {3, 4}); });
        same([](const auto& a) { return adaptive_max_pool2d(a, 1); });
        same([](const auto& a) { return avg_pool2d(a, 3, {.stride = 2, .padding = 1}); });
        same([](const auto& a) { return avg_pool2d(a, 3, {.stride = 1, .padding = 1, .count_include_pad = false}); });
        same([](const auto& a) { return avg_pool2d(channels_last(a), 2); });
        same([](const auto& a) { return adaptive_avg_pool2d(a, {3, 4}); });
        same([](const auto& a) {
            const auto p = max_pool2d_with_indices(a, 2);
            return max_unpool2d(p.values, p.indices, 2, {.output_size = {a.shape(2), a.shape(3)}});
        });
        check_close(max_pool2d_with_indices(x.to(gpu), 3, {.stride = 2, .padding = 1}).indices, max_pool2d_with_indices(x, 3, {.stride = 2, .padding = 1}).indices);
        // More than 256 taps: positions of four bytes.
        if (n == 34) agree([](const auto& a) { return max_pool2d(a, 17, {.stride = 3, .padding = 8}); }, numbers<T>(Shape<4>{{1, 1, 20, n}}));
    }
    agree([](const auto& a) { return max_pool3d(a, 2, {.stride = 1, .padding = 1}); }, numbers<T>(Shape<5>{{1, 2, 3, 4, 5}}));
}

TEMPLATE_TEST_CASE("images in other sizes", "", float, half) {
    using T = TestType;
    const auto x = numbers<T>(Shape<4>{{2, 3, 5, 9}});
    for (const Interpolation mode : {Interpolation::nearest, Interpolation::nearest_exact, Interpolation::linear, Interpolation::cubic})
        for (const bool second : {false, true})
            for (const bool corners : {false, true}) {
                const bool filters = mode == Interpolation::linear || mode == Interpolation::cubic;
                if (!filters && (second || corners)) continue;
                CAPTURE(static_cast<int>(mode), second, corners);
                const InterpolateOptions options{mode, corners, second && !corners};
                agree([&](const auto& a) { return interpolate(a, {7, 4}, options); }, x);
                agree([&](const auto& a) { return interpolate(a, {10, 18}, options); }, x);
            }
    agree([](const auto& a) { return interpolate_by(channels_last(a), 1.7, {.mode = Interpolation::linear}); }, x);
    agree([](const auto& a) { return pixel_shuffle(a, 2); }, numbers<T>(Shape<4>{{2, 8, 3, 5}}));
}

TEMPLATE_TEST_CASE("images at any points", "", float, double) {
    using T = TestType;
    const auto x = numbers<T>(Shape<4>{{2, 3, 5, 6}}), grid = numbers<T>(Shape<4>{{2, 7, 9, 2}}, 5);
    for (const GridMode mode : {GridMode::bilinear, GridMode::nearest, GridMode::bicubic})
        for (const GridPadding padding : {GridPadding::zeros, GridPadding::border, GridPadding::reflection}) {
            CAPTURE(static_cast<int>(mode), static_cast<int>(padding));
            agree([&](Device d, const auto& a) { return grid_sample(a, eval(grid.to(d) * T(0.6)), {mode, padding}); }, x);
            agree([&](Device d, const auto& g) { return grid_sample(x.to(d), eval(g * T(0.6)), {mode, padding, true}); }, grid);
        }
    // Many points read the same few elements.
    agree([&](Device d, const auto& a) { return grid_sample(a, eval(grid.to(d) * T(0.01))); }, x);
    const auto volume = numbers<T>(Shape<5>{{1, 2, 3, 4, 5}}), points = numbers<T>(Shape<5>{{1, 2, 3, 2, 3}}, 7);
    agree([&](Device d, const auto& a) { return grid_sample(a, eval(points.to(d) * T(0.5))); }, volume);
    agree([](const auto& theta) { return affine_grid<2>(theta, {3, 4}); }, numbers<T>(Shape<3>{{2, 2, 3}}));
}

TEMPLATE_TEST_CASE("groups of channels", "", float, bf16) {
    using T = TestType;
    for (const long inner : {1l, 7l, 70l}) {
        CAPTURE(inner);
        const auto x = numbers<T>(Shape<3>{{3, 6, inner}});
        const auto w = numbers<T>(Shape<1>{{6}}, 3), b = numbers<T>(Shape<1>{{6}}, 4);
        agree([&](Device d, const auto& a) { return group_norm(a, 2, w.to(d), b.to(d)); }, x);
        agree([&](const auto& a) { return group_norm(a, 1); }, x);
        agree([&](Device d, const auto& u) { return group_norm(x.to(d), 3, u, b.to(d)); }, w);
        agree([&](Device d, const auto& u) { return group_norm(x.to(d), 3, w.to(d), u); }, b);
        if (inner > 1) agree([&](Device d, const auto& a) { return instance_norm(a, w.to(d)); }, x);
        if constexpr (std::is_same_v<T, float>) agree([&](const auto& a) { return local_response_norm(a, 3); }, x);
    }
}

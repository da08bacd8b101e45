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

// The tests run with cuDNN and without (TENON_CUDNN=0).
TEMPLATE_TEST_CASE("pooling that cuDNN can make", "", float, double, half, bf16) {
    using T = TestType;
    // What f does to x on the device is what the CPU's does, by so many calls of cuDNN where it is there.
    const auto made_by = [](auto f, const auto& x, [[maybe_unused]] long calls) {
#if defined(TENON_CUDA_EMULATOR)
        const long before = cuda_emulator::cudnn_poolings();
#endif
        check_close(f(x.to(gpu)), f(x), 2 * rounding<T>);
#if defined(TENON_CUDA_EMULATOR)
        CHECK(cuda_emulator::cudnn_poolings() - before == (cuda_detail::cudnn_library().usable ? calls : 0));
#endif
    };
    auto x = fiftieths<T>({2, 3, 7, 9});
    x.data()[20] = T(NAN);
    x.data()[21] = T(-INFINITY);
    made_by([](const auto& a) { return max_pool2d(a, 3, {.stride = 2, .padding = 1}); }, x, 1);
    made_by([](const auto& a) { return max_pool2d(channels_last(a), {2, 3}, {.stride = {1, 2}}); }, x, 1);
    made_by([](const auto& a) { return max_pool2d(a, 3, {.stride = 3, .ceil_mode = true}); }, fiftieths<T>({2, 3, 6, 9}), 1);
    made_by([](const auto& a) { return max_pool1d(a, 4, {.stride = 3, .padding = 2}); }, fiftieths<T>({2, 5, 17}), 1);
    made_by([](const auto& a) { return max_pool3d(a, 2, {.stride = 1, .padding = 1}); }, fiftieths<T>({1, 2, 3, 4, 5}), 1);
    made_by([](const auto& a) { return avg_pool2d(a, 3, {.stride = 2, .padding = 1}); }, x, 1);
    made_by([](const auto& a) { return avg_pool2d(a, {1, 4}, {.stride = 1, .padding = {0, 2}, .count_include_pad = false}); }, x, 1);
    made_by([](const auto& a) { return avg_pool2d(channels_last(a), 3, {.padding = 1, .count_include_pad = false}); }, x, 1);
    made_by([](const auto& a) { return avg_pool3d(a, {2, 1, 3}); }, fiftieths<T>({1, 2, 3, 4, 5}), 1);
    // Dilation, windows beyond the end, positions, strides, a divisor of one's own, sizes instead of windows.
    made_by([](const auto& a) { return max_pool2d(a, 2, {.dilation = 2}); }, x, 0);
    made_by([](const auto& a) { return max_pool2d(a, 2, {.ceil_mode = true}); }, x, 0);
    made_by([](const auto& a) { return max_pool2d_with_indices(a, 2).values; }, x, 0);
    made_by([](const auto& a) { return max_pool2d(transpose(a), 2); }, x, 0);
    made_by([](const auto& a) { return avg_pool2d(a, 2, {.ceil_mode = true}); }, x, 0);
    made_by([](const auto& a) { return avg_pool2d(a, 2, {.divisor_override = 3}); }, x, 0);
    made_by([](const auto& a) { return adaptive_avg_pool2d(a, {3, 4}); }, x, 0);
    made_by([](const auto& a) { return avg_pool2d(a, 2); }, zeros<T>({0, 3, 4, 4}), 0);
    // A gradient that is recorded wants positions.
    made_by([](const auto& a) { return max_pool2d(clone(a).require_grad(), 2).detach(); }, x, 0);
    // Forward, and twice backward, of which the second adds.
    const auto smooth = fiftieths<T>({2, 3, 7, 9});
    agree(2 * rounding<T>, [](const auto& a) { return avg_pool2d(a, 3, {.stride = 2, .padding = 1}); }, smooth);
    agree(2 * rounding<T>, [](const auto& a) { return avg_pool2d(a, 3, {.stride = 2, .padding = 1, .count_include_pad = false}); }, smooth);
    agree(2 * rounding<T>, [](const auto& a) { return avg_pool2d(channels_last(a), 2); }, smooth);
    agree(2 * rounding<T>, [](const auto& a) { return avg_pool3d(a, 2, {.stride = 1, .padding = 1}); }, fiftieths<T>({1, 2, 3, 4, 5}));
#if defined(TENON_CUDA_EMULATOR)
    if (!cuda_detail::cudnn_library().usable) return;
    const long before = cuda_emulator::cudnn_poolings();
    const auto leaf = clone(smooth.to(gpu)).require_grad();
    sum(avg_pool2d(leaf, 2)).backward();
    CHECK(cuda_emulator::cudnn_poolings() == before + 2);
    // What a call does not support after all is left to the library's own kernels; a failure is an error that names the call.
    cuda_emulator::fail_next("cudnnPoolingForward", 3000);
    made_by([](const auto& a) { return max_pool2d(a, 2); }, smooth, 0);
    cuda_emulator::fail_next("cudnnPoolingBackward", 5000);
    CHECK_THROWS_WITH(sum(avg_pool2d(leaf, 2)).backward(), Catch::Contains("cudnnPoolingBackward: cuDNN reports CUDNN_STATUS_EXECUTION_FAILED"));
#endif
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

// Padding, tiling, masks, triangles, joins and classes on the device against the CPU.
#include "device_agreement.hpp"

#include <tenon/tenon.hpp>

using namespace tenon;
using namespace device_agreement;

TEMPLATE_TEST_CASE("axes are padded, flipped, rolled and repeated", "", float, bf16) {
    using T = TestType;
    for (const long n : {1l, 7l, 33l}) {
        CAPTURE(n);
        const auto x = numbers<T>(Shape<3>{{3, n, 5}});
        const auto same = [&](auto&& f) { agree([&](const auto& a) { return f(a); }, x); };
        same([](const auto& a) { return pad<1, 2>(a, {{2, 3}, {1, 0}}, {.value = 1.5}); });
        same([](const auto& a) { return pad<1>(a, {{-1, 4}}); });
        same([](const auto& a) { return pad<0, 1>(a, {{1, 2}, {3, 2}}, {.mode = PadMode::replicate}); });
        same([&](const auto& a) { return pad<0, 1>(a, {{2, 1}, {n - 1, n - 1}}, {.mode = PadMode::reflect}); });
        same([&](const auto& a) { return pad<1, 2>(a, {{n, 1}, {5, 2}}, {.mode = PadMode::circular}); });
        same([](const auto& a) { return flip(a); });
        same([](const auto& a) { return flip<1>(a); });
        same([](const auto& a) { return roll<1, 2>(a, 3, -2); });
        same([](const auto& a) { return tile(a, {2, 1, 2, 3}); });
        same([](const auto& a) { return repeat(a, {1, 5, 1}); });
        same([](const auto& a) { return repeat_interleave<1>(a, 4); });
        same([](const auto& a) { return repeat_interleave<2>(a, 1); });
        same([](const auto& a) { return repeat_interleave<0>(a, 0); });
    }
    check_close(pad<0>(numbers<std::int8_t>(Shape<1>{{1000}}).to(gpu), {{3, 3}}, {.value = 7}), pad<0>(numbers<std::int8_t>(Shape<1>{{1000}}), {{3, 3}}, {.value = 7}));
    check_close(flip(numbers<bool>(Shape<2>{{31, 9}}).to(gpu)), flip(numbers<bool>(Shape<2>{{31, 9}})));
    // Nothing but padding.
    agree([](const auto& a) { return pad<1>(a, {{2, 1}}, {.value = 3}); }, numbers<T>(Shape<2>{{4, 0}}));
}

TEST_CASE("tables of any kind are looked up on the device") {
    // Neither tiles nor repeats: families that travel through memory.
    const std::int64_t source[] = {3, -1, 0, 1, 2, 2, 0, -1, -1, 3, 3, 1, 0};
    const kernels::cpu::AxisTable axes[] = {{2, 2, nullptr, nullptr, 0}, {4, 13, source, nullptr, 0}, {3, 3, nullptr, nullptr, 0}};
    const auto x = numbers<float>(Shape<3>{{2, 4, 3}}), dy = numbers<float>(Shape<3>{{2, 13, 3}});
    Tensor<float, 3> y = empty<float>({2, 13, 3}), dx = zeros<float>({2, 4, 3});
    Tensor<float, 3> there = empty<float>({2, 13, 3}, gpu), gradient = empty<float>({2, 4, 3}, gpu);
    kernels::cpu::reference::remap(3, axes, static_cast<const float*>(x.data()), 9.f, y.data());
    kernels::cpu::reference::remap_transposed(3, axes, static_cast<const float*>(dy.data()), dx.data());
    const auto x_there = x.to(gpu), dy_there = dy.to(gpu);
    kernels::cuda::remap(3, axes, static_cast<const float*>(x_there.data()), 9.f, there.data());
    kernels::cuda::remap_transposed(3, axes, static_cast<const float*>(dy_there.data()), gradient.data(), false);
    check_close(there, y);
    check_close(gradient, dx);
}

TEMPLATE_TEST_CASE("masks choose on the device", "", float, half) {
    using T = TestType;
    for (const long n : {0l, 1l, 31l, 33l, 1000l, 4100l}) {
        if (n > 1000 && !std::is_same_v<T, float>) continue;
        CAPTURE(n);
        const auto x = numbers<T>(Shape<2>{{n, 3}});
        const auto mask = numbers<bool>(Shape<2>{{n, 3}}, 4), column = numbers<bool>(Shape<2>{{n, 1}}, 5);
        check_close(nonzero(mask.to(gpu)), nonzero(mask));
        agree([&](Device d, const auto& a) { return masked_select(a, mask.to(d)); }, x);
        agree([&](Device d, const auto& a) { return masked_select(a, column.to(d)); }, x);
        agree([&](Device d, const auto& a) { return eval(masked_fill(a, mask.to(d), 2)); }, x);
        agree([&](Device d, const auto& a) { return masked_scatter(a, mask.to(d), numbers<T>(Shape<1>{{3 * n}}, 8).to(d)); }, x);
    }
    const auto cube = numbers<T>(Shape<3>{{4, 5, 6}});
    check_close(nonzero(cube.to(gpu)), nonzero(cube));
}

TEMPLATE_TEST_CASE("triangles, joins and classes", "", float, bf16) {
    using T = TestType;
    for (const long n : {1l, 31l, 40l}) {
        const auto x = numbers<T>(Shape<3>{{2, n, 33}});
        for (const long offset : {-2l, 0l, 3l}) {
            agree([&](const auto& a) { return tril(a, offset); }, x);
            agree([&](const auto& a) { return triu(a, offset); }, x);
        }
        const auto other = numbers<T>(Shape<3>{{2, 3, 33}}, 4);
        agree([&](Device d, const auto& a) { return concat<1>({a, other.to(d), a}); }, x);
        agree([&](const auto& a) { return stack<2>({a, a}); }, x);
        agree([&](const auto& a) { return concat<0>(a * 2, transpose(transpose(a))); }, x);
        agree([&](const auto& a) { return contiguous(split<2>(a, 20)[1]); }, x);
        const auto labels = indices<std::int64_t>(Shape<2>{{n, 3}}, 11);
        check_close(one_hot<T>(labels.to(gpu), 11), one_hot<T>(labels, 11));
    }
    agree([](const auto& a) {
        const auto [rows, columns] = meshgrid(a, a);
        return eval(rows * columns);
    }, numbers<T>(Shape<1>{{7}}));
}

// Scatters on the device against the CPU.
#include "device_agreement.hpp"

#include <tenon/tenon.hpp>

#include <limits>

using namespace tenon;
using namespace device_agreement;

TEMPLATE_TEST_CASE("scattering", "", float, bf16) {
    using T = TestType;
    const Shape<3> shape{{2, 13, 5}};
    for (const long m : {0l, 1l, 9l, 300l}) {
        CAPTURE(m);
        // Fewer along the last axis too: positions in all of x.
        for (const long inner : {5l, 3l}) {
            const Shape<3> sizes{{2, m, inner}};
            const auto index = indices<std::int64_t>(sizes, 13);
            const auto small = indices<std::int32_t>(sizes, 13);
            const auto other = numbers<T>(shape, 5);
            // As functions of the source, then of the tensor.
            const auto both = [&](auto&& f) {
                agree([&](Device d, const auto& src) { return f(other.to(d), index.to(d), src); }, numbers<T>(sizes, 2));
                agree([&](Device d, const auto& x) { return f(x, small.to(d), numbers<T>(sizes, 2).to(d)); }, other);
            };
            both([](const auto& x, const auto& i, const auto& s) { return scatter<1>(x, i, s); });
            both([](const auto& x, const auto& i, const auto& s) { return scatter_add<1>(x, i, s); });
            both([](const auto& x, const auto& i, const auto& s) { return scatter_mean<1>(x, i, s); });
            both([](const auto& x, const auto& i, const auto& s) { return scatter_mean<1>(x, i, s, {.include_self = false}); });
            both([](const auto& x, const auto& i, const auto& s) { return scatter_max<1>(x, i, s); });
            both([](const auto& x, const auto& i, const auto& s) { return scatter_min<1>(x, i, s, {.include_self = false}); });
        }
        const auto rows = indices<std::int64_t>(Shape<1>{{m}}, 13);
        const auto other = numbers<T>(shape, 5);
        const Shape<3> sizes{{2, m, 5}};
        const auto slices = [&](auto&& f) {
            agree([&](Device d, const auto& src) { return f(other.to(d), rows.to(d), src); }, numbers<T>(sizes, 2));
            agree([&](Device d, const auto& x) { return f(x, rows.to(d), numbers<T>(sizes, 2).to(d)); }, other);
        };
        slices([](const auto& x, const auto& i, const auto& s) { return index_add<1>(x, i, s); });
        slices([](const auto& x, const auto& i, const auto& s) { return index_copy<1>(x, i, s); });
        const auto first = indices<std::int64_t>(Shape<1>{{m}}, 2, 4);
        slices([&](const auto& x, const auto& i, const auto& s) {
            return index_put(x, s(0), {.accumulate = true}, first.to(x.device()), i);
        });
        slices([&](const auto& x, const auto& i, const auto&) { return index_get(x, first.to(x.device()), i); });
    }
}
TEMPLATE_TEST_CASE("scattering integers and double", "", std::int8_t, std::uint8_t, std::int64_t, double) {
    using T = TestType;
    const auto x = numbers<T>(Shape<2>{{4, 11}}), src = numbers<T>(Shape<2>{{4, 300}}, 7);
    const auto index = indices<std::int64_t>(Shape<2>{{4, 300}}, 11);
    const auto same = [&](auto&& f) { check_close(f(x.to(gpu), index.to(gpu), src.to(gpu)), f(x, index, src)); };
    same([](const auto& a, const auto& i, const auto& s) { return scatter<1>(a, i, s); });
    same([](const auto& a, const auto& i, const auto& s) { return scatter_add<1>(a, i, s); });
    same([](const auto& a, const auto& i, const auto& s) { return scatter_max<1>(a, i, s); });
    same([](const auto& a, const auto& i, const auto& s) { return scatter_min<1>(a, i, s, {.include_self = false}); });
}
TEST_CASE("NaN wins a scattered extreme, and infinities keep their order") {
    const float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
    const auto x = from({0.f, -inf, inf, -1.f});
    const auto src = from({nan, -inf, 3.f, -2.f, inf, 0.f, -0.f});
    const auto index = from({std::int64_t(0), std::int64_t(1), std::int64_t(1), std::int64_t(3), std::int64_t(2), std::int64_t(3), std::int64_t(0)});
    check_close(scatter_max<0>(x.to(gpu), index.to(gpu), src.to(gpu)), scatter_max<0>(x, index, src));
    check_close(scatter_min<0>(x.to(gpu), index.to(gpu), src.to(gpu)), scatter_min<0>(x, index, src));
}

#include "device_agreement.hpp"

#include <tenon/ops/sort.hpp>

using namespace tenon;
using namespace device_agreement;

namespace {

// Several lines per block, one, and lines that are sorted by digits.
constexpr Sizes lines[] = {{1, 1, 1}, {70, 5, 1}, {3, 33, 1}, {2, 1000, 1}, {2, 2048, 1}, {2, 2049, 1}, {1, 9000, 1}, {3, 7, 5}, {2, 65, 9}, {1, 2100, 2}, {0, 4, 1}, {2, 0, 3}};

template <class T>
Tensor<T, 3> sample(const Sizes& s) {
    Tensor<T, 3> x = fiftieths<T>({s.outer, s.n, s.inner});
    if constexpr (Floating<T>) {
        for (long i = 5; i < x.size(); i += 17) x.data()[i] = static_cast<T>(i % 2 == 0 ? 0.f : -0.f);
        for (long i = 11; i < x.size(); i += 211) x.data()[i] = static_cast<T>(i % 3 == 0 ? NAN : i % 3 == 1 ? HUGE_VALF : -HUGE_VALF);
    }
    return x;
}
// The same bits: which of two zeros came first shows.
template <class T, int R>
bool same_bits(const Tensor<T, R>& found, const Tensor<T, R>& wanted) {
    const auto a = contiguous(found.to(cpu)), b = contiguous(wanted.to(cpu));
    if (!same(a, b)) return false;
    if constexpr (Floating<T>)
        for (long i = 0; i < a.size(); ++i)
            if (std::signbit(static_cast<double>(a.data()[i])) != std::signbit(static_cast<double>(b.data()[i])) && !std::isnan(static_cast<double>(b.data()[i]))) return false;
    return true;
}
template <class Found, class Wanted>
void check(const Found& found, const Wanted& wanted) {
    CHECK(same(found.indices, wanted.indices));
    CHECK(same_bits(found.values, wanted.values));
}

}  // namespace

TEMPLATE_TEST_CASE("sort on the device", "[cuda]", float, double, bf16, std::int64_t, std::uint8_t) {
    using T = TestType;
    for (const Sizes& s : lines) {
        INFO(s.outer << ", " << s.n << ", " << s.inner);
        const auto x = sample<T>(s), there = x.to(gpu);
        check(sort<1>(there), sort<1>(x));
        check(sort<1>(there, {.descending = true}), sort<1>(x, {.descending = true}));
        CHECK(same(argsort<1>(there), argsort<1>(x)));
    }
}

TEMPLATE_TEST_CASE("topk on the device", "[cuda]", float, double, std::uint8_t) {
    using T = TestType;
    for (const Sizes& s : lines) {
        const auto x = sample<T>(s), there = x.to(gpu);
        for (const long k : {0l, 1l, 3l, s.n / 2, s.n}) {
            if (k > s.n) continue;
            INFO(s.outer << ", " << s.n << ", " << s.inner << ", k = " << k);
            for (const bool largest : {true, false})
                for (const bool sorted : {true, false}) check(topk<1>(there, k, {largest, sorted}), topk<1>(x, k, {largest, sorted}));
        }
    }
    // More than one block selects, and more is sorted than one block can.
    const auto x = sample<T>({1, 70000, 1});
    check(topk<1>(x.to(gpu), 10), topk<1>(x, 10));
    check(topk<1>(x.to(gpu), 10, {.sorted = false}), topk<1>(x, 10, {.sorted = false}));
}

TEMPLATE_TEST_CASE("the k-th element and the median on the device", "[cuda]", float, double, std::int64_t) {
    using T = TestType;
    for (const Sizes& s : lines) {
        if (s.n == 0) continue;
        INFO(s.outer << ", " << s.n << ", " << s.inner);
        for (const bool plain : {true, false}) {
            const auto x = plain ? fiftieths<T>({s.outer, s.n, s.inner}) : sample<T>(s);
            const auto there = x.to(gpu);
            for (const long k : {1l, (s.n + 1) / 2, s.n}) check(kthvalue<1>(there, k), kthvalue<1>(x, k));
            check(median<1>(there), median<1>(x));
        }
    }
}

TEMPLATE_TEST_CASE("unique elements on the device", "[cuda]", float, std::int64_t, bool) {
    using T = TestType;
    for (const long n : {0l, 1l, 31l, 1000l, 5000l}) {
        Tensor<T, 2> x = empty<T>({n, 1});
        if constexpr (std::is_same_v<T, bool>) {
            for (long i = 0; i < n; ++i) x.data()[i] = i % 3 == 0;
        } else {
            x = fiftieths<T>({n, 1});
            if constexpr (Floating<T>)
                for (long i = 7; i < n; i += 300) x.data()[i] = i % 2 == 0 ? -0.f : NAN;
        }
        const auto wanted = unique(x), found = unique(x.to(gpu));
        CHECK(same(found.values, wanted.values));
        CHECK(same(found.inverse, wanted.inverse));
        CHECK(same(found.counts, wanted.counts));
    }
}

TEMPLATE_TEST_CASE("searches in what is sorted on the device", "[cuda]", float, bf16, std::int64_t) {
    using T = TestType;
    const Tensor<T, 1> row = sort(fiftieths<T>({777})).values;
    const Tensor<T, 2> rows = sort(fiftieths<T>({5, 33})).values;
    Tensor<T, 2> x = fiftieths<T>({5, 40}, 3);
    if constexpr (Floating<T>) {
        x.data()[3] = static_cast<T>(NAN);
        x.data()[4] = static_cast<T>(HUGE_VALF);
        x.data()[5] = static_cast<T>(-HUGE_VALF);
    }
    for (const bool right : {false, true}) {
        CHECK(same(searchsorted(row.to(gpu), x.to(gpu), {right}), searchsorted(row, x, {right})));
        CHECK(same(searchsorted(rows.to(gpu), x.to(gpu), {right}), searchsorted(rows, x, {right})));
        CHECK(same(bucketize(x.to(gpu), row.to(gpu), {right}), bucketize(x, row, {right})));
    }
    CHECK(same(searchsorted(zeros<T>({0}, gpu), x.to(gpu)), searchsorted(zeros<T>({0}), x)));
    CHECK_THROWS_AS(searchsorted(row, x.to(gpu)), DeviceError);
}

TEMPLATE_TEST_CASE("gradients of what is picked by order on the device", "[cuda]", float, bf16) {
    using T = TestType;
    const auto x = fiftieths<T>({4, 33, 3});
    CHECK(gradient_difference(x, [](const auto& v) { return sort<1>(v, {.descending = true}).values; }) == 0);
    CHECK(gradient_difference(x, [](const auto& v) { return sort(v.template permute<2, 0, 1>()).values; }) == 0);
    CHECK(gradient_difference(x, [](const auto& v) { return topk<1>(v, 5).values; }) == 0);
    CHECK(gradient_difference(x, [](const auto& v) { return kthvalue<0>(v, 2, keepdim).values; }) == 0);
    CHECK(gradient_difference(x, [](const auto& v) { return median(v); }) == 0);
    CHECK(gradient_difference(x, [](const auto& v) { return unique(v).values; }) == 0);
}

// Segments and bags on the device against the CPU.
#include "device_agreement.hpp"

#include <tenon/ops/segment_folds.hpp>
#include <tenon/tenon.hpp>

using namespace tenon;
using namespace device_agreement;

namespace {

// Rows in some order, a few segments empty, one long enough for a block of its own.
Tensor<std::int64_t, 1> membership(long rows, long segments) {
    Tensor<std::int64_t, 1> x = empty<std::int64_t>({rows});
    for (long k = 0; k < rows; ++k) x.data()[k] = k % 3 == 0 ? 2 % segments : (k * k + 5) % segments;
    return x;
}

}  // namespace

TEST_CASE("segments are the same whichever device made them") {
    for (const long rows : {0l, 1l, 40l, 900l}) {
        CAPTURE(rows);
        const auto of = membership(rows, 17);
        const auto host = Segments::from_indices(of, 19), device = Segments::from_indices(of.to(gpu), 19);
        CHECK(device.count() == 19);
        CHECK(device.rows() == rows);
        check_close(device.pointers(), host.pointers());
        const auto again = Segments::from_pointers(device.pointers());
        CHECK(again.rows() == rows);
        check_close(again.pointers(), host.pointers());
        CHECK(Segments::from_indices(of.to(gpu)).count() == Segments::from_indices(of).count());
    }
    CHECK_THROWS_AS(Segments::from_pointers(from({std::int64_t(0), std::int64_t(3), std::int64_t(2)}).to(gpu)), ValueError);
    CHECK_THROWS_AS(segment_sum(numbers<float>(Shape<2>{{40, 2}}).to(gpu), Segments::from_indices(membership(40, 5))), DeviceError);
}

TEMPLATE_TEST_CASE("reductions of segments", "", float, double, bf16) {
    using T = TestType;
    for (const long rows : {0l, 1l, 33l, 900l}) {
        for (const long width : {1l, 3l, 40l}) {
            if (rows == 900 && width == 40 && !std::is_same_v<T, float>) continue;
            CAPTURE(rows, width);
            const auto of = membership(rows, 7);
            const auto sorted = Segments::from_sorted(sort<0>(of).values, 9), unsorted = Segments::from_indices(of, 9);
            for (const Segments& s : {sorted, unsorted}) {
                const Segments there = s.to(gpu);
                const auto x = numbers<T>(Shape<2>{{rows, width}});
                const auto on = [&](Device d) -> const Segments& { return d.is_cpu() ? s : there; };
                agree([&](Device d, const auto& a) { return segment_sum(a, on(d)); }, x);
                agree([&](Device d, const auto& a) { return segment_mean(a, on(d)); }, x);
                agree([&](Device d, const auto& a) { return segment_max(a, on(d)).values; }, x);
                agree([&](Device d, const auto& a) { return segment_softmax(a, on(d)); }, x);
                const auto near_one = eval(x * T(0.01f) + T(1.f));
                agree([&](Device d, const auto& a) { return segment_product(a, on(d)); }, near_one);
                agree([&](Device d, const auto& a) { return segment_std(a, on(d)); }, x);
                check_close(segment_min(x.to(gpu), there).indices, segment_min(x, s).indices);
            }
        }
    }
}
TEST_CASE("the special values of segments") {
    const float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
    const auto x = from({-inf, 0.f, -inf, -inf, nan, 1.f, inf, 2.f, 3.f, 3.f});
    const auto of = from({std::int64_t(0), std::int64_t(0), std::int64_t(1), std::int64_t(1), std::int64_t(2), std::int64_t(2), std::int64_t(3),
                          std::int64_t(3), std::int64_t(5), std::int64_t(5)});
    const auto s = Segments::from_sorted(of, 6), there = s.to(gpu);
    check_close(segment_softmax(x.to(gpu), there), segment_softmax(x, s));
    check_close(segment_max(x.to(gpu), there).values, segment_max(x, s).values);
    check_close(segment_max(x.to(gpu), there).indices, segment_max(x, s).indices);
    check_close(segment_min(x.to(gpu), there).indices, segment_min(x, s).indices);
    check_close(segment_mean(x.to(gpu), there), segment_mean(x, s));
    check_close(segment_product(x.to(gpu), there), segment_product(x, s));
    // The derivative of a product beside one zero, and beside two.
    const auto zeros_among = from({0.f, 2.f, 3.f, 0.f, 5.f, 0.f, 7.f});
    const auto three = Segments::from_sorted(from({std::int64_t(0), std::int64_t(0), std::int64_t(0), std::int64_t(1), std::int64_t(1), std::int64_t(1),
                                                   std::int64_t(2)}), 4);
    agree([&](Device d, const auto& a) { return segment_product(a, d.is_cpu() ? three : three.to(gpu)); }, zeros_among);
}

TEMPLATE_TEST_CASE("bags of embeddings", "", float, half) {
    using T = TestType;
    const auto index = indices<std::int64_t>(Shape<1>{{400}}, 30);
    const auto offsets = from({std::int64_t(0), std::int64_t(3), std::int64_t(3), std::int64_t(10), std::int64_t(40)});
    const auto pairs = indices<std::int32_t>(Shape<2>{{9, 5}}, 30);
    const auto table = numbers<T>(Shape<2>{{30, 6}});
    for (const BagMode mode : {BagMode::sum, BagMode::mean, BagMode::max}) {
        agree([&](Device d, const auto& w) { return embedding_bag(w, index.to(d), offsets.to(d), {.mode = mode}); }, table);
        agree([&](Device d, const auto& w) { return embedding_bag(w, pairs.to(d), {.mode = mode}); }, table);
    }
    const auto weights = numbers<T>(Shape<1>{{400}}, 9);
    agree([&](Device d, const auto& w) { return embedding_bag(w, index.to(d), offsets.to(d), {.mode = BagMode::sum}, weights.to(d)); }, table);
    agree([&](Device d, const auto& w) { return embedding_bag(table.to(d), index.to(d), offsets.to(d), {.mode = BagMode::sum}, w); }, weights);
}

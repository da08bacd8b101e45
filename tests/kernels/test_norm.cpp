// Layer norm, RMS norm and batch norm against the plain loops in double, forward and backward.
#include "numbers.hpp"

#include <tenon/kernels/cpu/batch_norm.hpp>
#include <tenon/kernels/cpu/layer_norm.hpp>

#include <cmath>
#include <cstring>
#include <vector>

using namespace tenon;
namespace k = tenon::kernels::cpu;
using numbers::arithmetic, numbers::epsilon, numbers::on_threads, numbers::random, numbers::same_bits, numbers::value;

namespace {

// The largest error as a multiple of what is allowed; NaN counts as infinite.
struct Worst {
    double value = 0;
    void add(double got, double expected, double allowed) {
        const double ratio = std::abs(got - expected) / allowed;
        if (!(ratio <= value)) value = ratio == ratio ? ratio : INFINITY;
    }
};

struct Rows {
    long rows, n;
};
const Rows row_shapes[] = {{1, 1}, {5, 2}, {33, 7}, {3, 8}, {17, 16}, {9, 31}, {20, 32}, {3, 33}, {40, 47}, {2, 64}, {5, 65}, {700, 100}, {3, 1000}, {2, 4097}, {1, 9000}, {0, 4}};
struct Channels {
    long outer, channels, inner;
};
const Channels channel_shapes[] = {{4, 1, 1},   {2, 3, 1},   {128, 10, 1}, {300, 70, 1}, {5, 4, 2},   {7, 3, 7},   {9, 5, 31},  {3, 2, 32},
                                   {4, 3, 49},  {2, 5, 65},  {6, 2, 1000}, {1, 3, 5000}, {70, 3, 1024}, {20000, 5, 1}, {3000, 1, 31}, {3, 64, 33}, {0, 3, 4}, {2, 0, 3}};

}  // namespace

TEMPLATE_TEST_CASE("layer norm and RMS norm forward and backward", "[norm]", float, double, bf16, half) {
    using T = TestType;
    using A = k::accumulator<T>;
    for (const Rows& s : row_shapes)
        for (int given = 0; given < 4; ++given) {
            const bool centred = given != 3, with_weight = given != 0, with_bias = given == 1;
            INFO("[" << s.rows << ", " << s.n << "], given " << given);
            const double eps = 1e-5;
            const auto x = random<T>(s.rows * s.n, 1, -2, 3), w = random<T>(s.n, 2, 0.5, 2), b = random<T>(s.n, 3, -1, 1), dy = random<T>(s.rows * s.n, 4, -1, 1);
            const T *weight = with_weight ? w.data() : nullptr, *bias = with_bias ? b.data() : nullptr;
            std::vector<T> expected(x.size()), start(x.size());
            std::vector<A> mean(static_cast<std::size_t>(s.rows)), rstd(mean.size());
            const auto y = on_threads<T>(start, [&](T* out) {
                if (centred) k::layer_norm<true>(s.rows, s.n, x.data(), weight, bias, eps, out, mean.data(), rstd.data());
                else k::layer_norm<false>(s.rows, s.n, x.data(), weight, bias, eps, out, static_cast<A*>(nullptr), rstd.data());
            });
            if (centred) k::reference::layer_norm<true>(s.rows, s.n, x.data(), weight, bias, eps, expected.data());
            else k::reference::layer_norm<false>(s.rows, s.n, x.data(), weight, bias, eps, expected.data());
            Worst forward;
            // rstd carries the rounding of the mean, of a distance and of a sum; it is at most 1 / sqrt(eps) where a row hardly varies.
            for (long r = 0; r < s.rows; ++r) {
                const double spread = value(T(1.f)) * double(rstd[std::size_t(r)]) * 8 + 8;
                const double slack = arithmetic<T>() * spread * (4 + std::sqrt(double(s.n)));
                for (long c = 0; c < s.n; ++c) {
                    const std::size_t i = std::size_t(r * s.n + c);
                    forward.add(value(y[i]), value(expected[i]), epsilon<T>() * std::abs(value(expected[i])) + slack);
                }
            }
            CHECK(forward.value <= 1);
            for (bool accumulate : {false, true}) {
                const auto before = random<T>(long(x.size()), 5, -1, 1), before_w = random<T>(s.n, 6, -1, 1);
                std::vector<T> dw = before_w, db = before_w, want = before;
                std::vector<A> space(static_cast<std::size_t>(k::layer_norm_workspace(s.rows, s.n)));
                std::vector<double> want_w(w.size()), want_b(w.size());
                std::vector<T> first_w;
                const auto dx = on_threads<T>(before, [&](T* out) {
                    dw = db = before_w;
                    if (centred)
                        k::layer_norm_backward<true>(s.rows, s.n, x.data(), weight, mean.data(), rstd.data(), dy.data(), out, accumulate,
                                                     with_weight ? dw.data() : nullptr, accumulate, with_bias ? db.data() : nullptr, accumulate, space.data());
                    else
                        k::layer_norm_backward<false>(s.rows, s.n, x.data(), weight, static_cast<const A*>(nullptr), rstd.data(), dy.data(), out, accumulate,
                                                      with_weight ? dw.data() : nullptr, accumulate, static_cast<T*>(nullptr), accumulate, space.data());
                    if (first_w.empty()) first_w = dw;
                    CHECK(same_bits(first_w, dw));
                });
                if (centred)
                    k::reference::layer_norm_backward<true>(s.rows, s.n, x.data(), weight, eps, dy.data(), want.data(), accumulate, want_w.data(), want_b.data());
                else
                    k::reference::layer_norm_backward<false>(s.rows, s.n, x.data(), weight, eps, dy.data(), want.data(), accumulate, want_w.data(), want_b.data());
                Worst backward;
                for (long r = 0; r < s.rows; ++r) {
                    const double scale = double(rstd[std::size_t(r)]), slack = arithmetic<T>() * (scale + 1) * (scale + 1) * 16 * (4 + std::sqrt(double(s.n)));
                    for (long c = 0; c < s.n; ++c) {
                        const std::size_t i = std::size_t(r * s.n + c);
                        backward.add(value(dx[i]), value(want[i]), epsilon<T>() * std::abs(value(want[i])) + slack);
                    }
                }
                CHECK(backward.value <= 1);
                double largest = 0;
                for (A v : rstd) largest = double(v) > largest ? double(v) : largest;
                for (std::size_t c = 0; c < w.size(); ++c) {
                    const double slack = arithmetic<T>() * (8 + 8 * largest) * double(s.rows + 4);
                    const double add = accumulate ? value(before_w[c]) : 0;
                    if (with_weight) CHECK(std::abs(value(dw[c]) - (want_w[c] + add)) <= epsilon<T>() * std::abs(want_w[c] + add) + slack);
                    if (with_bias) CHECK(std::abs(value(db[c]) - (want_b[c] + add)) <= epsilon<T>() * std::abs(want_b[c] + add) + slack);
                }
            }
        }
}

TEMPLATE_TEST_CASE("batch norm forward and backward", "[norm]", float, double, bf16, half) {
    using T = TestType;
    using A = k::accumulator<T>;
    for (const Channels& s : channel_shapes)
        for (bool affine : {false, true}) {
            INFO("[" << s.outer << ", " << s.channels << ", " << s.inner << "], affine " << affine);
            const long size = s.outer * s.channels * s.inner;
            const double eps = 1e-5;
            const auto x = random<T>(size, 1, -2, 3), w = random<T>(s.channels, 2, 0.5, 2), b = random<T>(s.channels, 3, -1, 1), dy = random<T>(size, 4, -1, 1);
            const T *weight = affine ? w.data() : nullptr, *bias = affine ? b.data() : nullptr;
            std::vector<double> space(std::size_t(k::batch_norm_workspace(s.outer, s.channels, s.inner))), want_mean(w.size()), want_variance(w.size());
            std::vector<A> mean(w.size()), variance(w.size()), rstd(w.size());
            std::vector<T> expected(x.size()), start(x.size());
            const auto y = on_threads<T>(start, [&](T* out) {
                k::batch_norm(s.outer, s.channels, s.inner, x.data(), weight, bias, eps, out, mean.data(), variance.data(), rstd.data(), space.data());
            });
            k::reference::channel_moments(s.outer, s.channels, s.inner, x.data(), want_mean.data(), want_variance.data());
            if (size > 0)
                for (std::size_t c = 0; c < w.size(); ++c) {
                    CHECK(std::abs(double(mean[c]) - want_mean[c]) <= 8 * arithmetic<T>());
                    CHECK(std::abs(double(variance[c]) - want_variance[c]) <= 64 * arithmetic<T>());
                }
            k::reference::batch_norm(s.outer, s.channels, s.inner, x.data(), weight, bias, eps, want_mean.data(), want_variance.data(), expected.data());
            double largest = 1;
            for (A v : rstd) largest = double(v) > largest ? double(v) : largest;
            const double slack = arithmetic<T>() * 256 * largest * largest;
            Worst forward;
            for (std::size_t i = 0; i < y.size(); ++i) forward.add(value(y[i]), value(expected[i]), epsilon<T>() * std::abs(value(expected[i])) + slack);
            CHECK(forward.value <= 1);
            const auto same = on_threads<T>(start, [&](T* out) {
                k::batch_norm_with(s.outer, s.channels, s.inner, x.data(), weight, bias, mean.data(), rstd.data(), out);
            });
            CHECK(same_bits(same, y));
            // A relu that follows, and the gradient where it let through.
            k::reference::batch_norm(s.outer, s.channels, s.inner, x.data(), weight, bias, eps, want_mean.data(), want_variance.data(), expected.data(), true);
            const auto positive = on_threads<T>(start, [&](T* out) {
                k::batch_norm_with(s.outer, s.channels, s.inner, x.data(), weight, bias, mean.data(), rstd.data(), out, A(0));
            });
            Worst rectified;
            std::vector<T> passed = dy;
            for (std::size_t i = 0; i < y.size(); ++i) {
                rectified.add(value(positive[i]), value(expected[i]), epsilon<T>() * std::abs(value(expected[i])) + slack);
                if (!(value(positive[i]) > 0)) passed[i] = T(0.f);
            }
            CHECK(rectified.value <= 1);
            for (bool training : {true, false})
                for (bool accumulate : {false, true})
                    for (bool relu : {false, true}) {
                    const auto before = random<T>(size, 5, -1, 1), before_w = random<T>(s.channels, 6, -1, 1);
                    std::vector<T> dw, db, want = before, first_w;
                    std::vector<double> want_w(w.size()), want_b(w.size());
                    const auto dx = on_threads<T>(before, [&](T* out) {
                        dw = db = before_w;
                        if (relu && training)
                            k::batch_norm_backward<true, true>(s.outer, s.channels, s.inner, x.data(), weight, bias, mean.data(), rstd.data(), dy.data(), out, accumulate,
                                                               dw.data(), accumulate, db.data(), accumulate, space.data());
                        else if (relu)
                            k::batch_norm_backward<false, true>(s.outer, s.channels, s.inner, x.data(), weight, bias, mean.data(), rstd.data(), dy.data(), out, accumulate,
                                                                dw.data(), accumulate, db.data(), accumulate, space.data());
                        else if (training)
                            k::batch_norm_backward<true>(s.outer, s.channels, s.inner, x.data(), weight, bias, mean.data(), rstd.data(), dy.data(), out, accumulate,
                                                         dw.data(), accumulate, db.data(), accumulate, space.data());
                        else
                            k::batch_norm_backward<false>(s.outer, s.channels, s.inner, x.data(), weight, bias, mean.data(), rstd.data(), dy.data(), out, accumulate,
                                                          dw.data(), accumulate, db.data(), accumulate, space.data());
                        if (first_w.empty()) first_w = dw;
                        CHECK(same_bits(first_w, dw));
                    });
                    k::reference::batch_norm_backward(s.outer, s.channels, s.inner, x.data(), weight, eps, want_mean.data(), want_variance.data(), training,
                                                      relu ? passed.data() : dy.data(), want.data(), accumulate, want_w.data(), want_b.data());
                    Worst backward;
                    for (std::size_t i = 0; i < dx.size(); ++i) backward.add(value(dx[i]), value(want[i]), epsilon<T>() * std::abs(value(want[i])) + slack * 4);
                    CHECK(backward.value <= 1);
                    for (std::size_t c = 0; c < w.size(); ++c) {
                        const double add = accumulate ? value(before_w[c]) : 0, many = arithmetic<T>() * 64 * largest * (16 + std::sqrt(double(s.outer * s.inner)));
                        CHECK(std::abs(value(dw[c]) - (want_w[c] + add)) <= epsilon<T>() * std::abs(want_w[c] + add) + many);
                        CHECK(std::abs(value(db[c]) - (want_b[c] + add)) <= epsilon<T>() * std::abs(want_b[c] + add) + many);
                    }
                }
        }
}

TEST_CASE("large means do not spoil a variance", "[norm]") {
    // A mean 10^4 times the deviation: a sum of squares would have no digit left in float.
    for (const Channels& s : {Channels{64, 2, 100}, Channels{500, 3, 1}}) {
        auto x = random<float>(s.outer * s.channels * s.inner, 9, -1, 1);
        for (float& v : x) v += 10000;
        std::vector<float> y(x.size()), mean(3), variance(3), rstd(3);
        std::vector<double> space(std::size_t(k::batch_norm_workspace(s.outer, s.channels, s.inner))), m(3), q(3);
        k::batch_norm(s.outer, s.channels, s.inner, x.data(), static_cast<const float*>(nullptr), static_cast<const float*>(nullptr), 0., y.data(), mean.data(),
                      variance.data(), rstd.data(), space.data());
        k::reference::channel_moments(s.outer, s.channels, s.inner, x.data(), m.data(), q.data());
        for (long c = 0; c < s.channels; ++c) CHECK(variance[std::size_t(c)] == Approx(q[std::size_t(c)]).epsilon(1e-3));
    }
    auto x = random<float>(400, 9, -1, 1);
    for (float& v : x) v += 10000;
    std::vector<float> y(400), expected(400), mean(4), rstd(4);
    k::layer_norm<true>(4, 100, x.data(), static_cast<const float*>(nullptr), static_cast<const float*>(nullptr), 0., y.data(), mean.data(), rstd.data());
    k::reference::layer_norm<true>(4, 100, x.data(), static_cast<const float*>(nullptr), static_cast<const float*>(nullptr), 0., expected.data());
    for (std::size_t i = 0; i < 400; ++i) CHECK(y[i] == Approx(expected[i]).margin(2e-3));
}

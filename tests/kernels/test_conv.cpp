// Convolution against its definition, summed in double: odd shapes, both layouts and neither, one thread and two.
#include "conv_cases.hpp"
#include "numbers.hpp"

#include <tenon/kernels/cpu/conv.hpp>
#include <tenon/kernels/cpu/conv/reference.hpp>
#include <tenon/runtime/precision.hpp>

#include <cmath>
#include <limits>
#include <vector>

using namespace tenon;
using namespace tenon::kernels::cpu;
using namespace conv_cases;
using numbers::epsilon, numbers::on_threads, numbers::random;

namespace {

// f(index in memory, index in a contiguous array, channel) for every element of images.
template <int D, class F>
void each(const ImageStrides<D>& s, long n, long channels, const long* sizes, F f) {
    long pixels = 1;
    for (int i = 0; i < D; ++i) pixels *= sizes[i];
    for (long b = 0; b < n; ++b)
        for (long c = 0; c < channels; ++c)
            for (long p = 0; p < pixels; ++p) {
                long at[D], rest = p;
                for (int i = D - 1; i >= 0; --i) at[i] = rest % sizes[i], rest /= sizes[i];
                f(std::size_t(reference::at(s, b, c, at)), std::size_t((b * channels + c) * pixels + p), c);
            }
}

// A sum of K products in any order is off by at most K / 2 ulps of the sum of their absolute values, and so is the definition's own
// where T is double.
template <class T>
double allowed(const Sums& sums, std::size_t i, long products) { return epsilon<T>() * double(products + 4) * (sums.size[i] + 1); }

// The contiguous array in another layout, with `filling` in between.
template <int D, class T>
std::vector<T> laid_out(const std::vector<T>& v, const ImageStrides<D>& s, long n, long channels, const long* sizes, T filling) {
    std::vector<T> r(std::size_t(extent(s, n, channels, sizes)), filling);
    each(s, n, channels, sizes, [&](std::size_t to, std::size_t from, long) { r[to] = v[from]; });
    return r;
}

// The largest error as a multiple of what is allowed; infinite where something in between was written.
template <int D, class T, class F>
double worst(const std::vector<T>& got, const ImageStrides<D>& s, long n, long channels, const long* sizes, const Sums& sums, long products, T filling, F expected) {
    double most = 0;
    std::vector<bool> written(got.size());
    each(s, n, channels, sizes, [&](std::size_t at, std::size_t i, long c) {
        written[at] = true;
        const double error = std::abs(double(got[at]) - expected(sums.value[i], i, c)) / allowed<T>(sums, i, products);
        if (!(error <= most)) most = error == error ? error : INFINITY;
    });
    for (std::size_t i = 0; i < got.size(); ++i)
        if (!written[i] && got[i] != filling) most = INFINITY;
    return most;
}

template <class T, int D>
void check(const Case<D>& given) {
    const ConvShape<D> s = given.shape();
    INFO(D << "-d, n " << s.n << ", " << s.c_in << " -> " << s.c_out << " in " << s.groups << " groups, in " << s.in[0] << " x " << s.in[D - 1] << ", kernel "
           << s.kernel[0] << " x " << s.kernel[D - 1] << ", stride " << s.stride[D - 1]);
    const long x_size = s.n * s.c_in * s.in_size(), y_size = s.n * s.c_out * s.out_size(), w_size = s.c_out * s.group_in() * s.kernel_size();
    const auto x = random<T>(x_size, 1, -1, 1), w = random<T>(w_size, 2, -1, 1), dy = random<T>(y_size, 3, -1, 1);
    const auto bias = random<T>(s.c_out, 4, -1, 1), scale = random<T>(s.c_out, 5, 0.5, 1.5);
    const auto x_start = random<T>(x_size, 6, -1, 1), y_start = random<T>(y_size, 7, -1, 1), w_start = random<T>(w_size, 8, -1, 1);
    const T filling = 77;

    const Products sums = products_of(s, x, w, dy);
    const Sums &y_sums = sums.y, &dx_sums = sums.dx, &dw_sums = sums.dw;

    for (Layout from : layouts)
        for (Layout to : layouts) {
            INFO("layouts " << int(from) << int(to));
            const auto xs = strides_of<D>(from, s.c_in, s.in), ys = strides_of<D>(to, s.c_out, s.out);
            const auto xl = laid_out(x, xs, s.n, s.c_in, s.in, filling), dyl = laid_out(dy, ys, s.n, s.c_out, s.out, filling);
            for (const bool rich : {false, true}) {
                ConvEpilogue<T> epilogue;
                if (rich) epilogue = {scale.data(), bias.data(), true, true};
                const auto y = on_threads<T>(laid_out(y_start, ys, s.n, s.c_out, s.out, filling),
                                             [&](T* out) { conv_forward<T, D>(s, xl.data(), xs, w.data(), out, ys, epilogue); });
                CHECK(worst(y, ys, s.n, s.c_out, s.out, y_sums, s.group_in() * s.kernel_size(), filling, [&](double sum, std::size_t i, long o) {
                          if (!rich) return sum;
                          const double r = sum * double(scale[std::size_t(o)]) + double(bias[std::size_t(o)]) + double(y_start[i]);
                          return r < 0 ? 0 : r;
                      }) <= 1);
            }
            for (const bool add : {false, true}) {
                ConvEpilogue<T> epilogue;
                epilogue.accumulate = add;
                const auto dx = on_threads<T>(laid_out(x_start, xs, s.n, s.c_in, s.in, filling),
                                              [&](T* out) { conv_backward_data<T, D>(s, dyl.data(), ys, w.data(), out, xs, epilogue); });
                CHECK(worst(dx, xs, s.n, s.c_in, s.in, dx_sums, s.group_out() * s.kernel_size(), filling,
                            [&](double sum, std::size_t i, long) { return add ? sum + double(x_start[i]) : sum; }) <= 1);
                const auto dw = on_threads<T>(w_start, [&](T* out) { conv_backward_weights<T, D>(s, xl.data(), xs, dyl.data(), ys, out, add); });
                double most = 0;
                for (std::size_t i = 0; i < dw.size(); ++i) {
                    const double sum = dw_sums.value[i] + (add ? double(w_start[i]) : 0);
                    const double error = std::abs(double(dw[i]) - sum) / allowed<T>(dw_sums, i, s.n * s.out_size());
                    if (!(error <= most)) most = error == error ? error : INFINITY;
                }
                CHECK(most <= 1);
            }
        }
}

template <class T, int D, std::size_t N>
void check_all(const Case<D> (&cases)[N]) {
    for (const auto& c : cases) check<T, D>(c);
}

}  // namespace

TEMPLATE_TEST_CASE("convolution in one dimension", "[conv]", float, double) { check_all<TestType>(cases_1d); }
TEMPLATE_TEST_CASE("convolution in two dimensions", "[conv]", float, double) { check_all<TestType>(cases_2d); }
TEMPLATE_TEST_CASE("convolution in three dimensions", "[conv]", float, double) { check_all<TestType>(cases_3d); }

TEST_CASE("the precision of 3x3 convolutions is a choice") {
    Case<2> c{2, 64, 64, 1, {20, 20}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}};
    const ConvShape<2> s = c.shape();
    const auto x = random<float>(s.n * s.c_in * s.in_size(), 1, -1, 1), w = random<float>(s.c_out * s.c_in * s.kernel_size(), 2, -1, 1);
    const auto xs = ImageStrides<2>::contiguous(s.c_in, s.in), ys = ImageStrides<2>::contiguous(s.c_out, s.out);
    std::vector<double> xd(x.begin(), x.end()), wd(w.begin(), w.end()), exact(static_cast<std::size_t>(s.n * s.c_out * s.out_size()));
    CHECK(conv_precision() == ConvPrecision::fast);
    const auto error = [&](ConvPrecision precision) {
        set_conv_precision(precision);
        CHECK(conv_precision() == precision);
        CHECK((conv_algorithm(s, ConvProduct::forward) == ConvAlgorithm::winograd) == (precision != ConvPrecision::exact));
        std::vector<float> y(exact.size());
        conv_forward<float, 2>(s, x.data(), xs, w.data(), y.data(), ys);
        double errors = 0, squares = 0;
        for (std::size_t i = 0; i < y.size(); ++i) errors += std::pow(y[i] - exact[i], 2), squares += exact[i] * exact[i];
        return std::sqrt(errors / squares);
    };
    set_conv_precision(ConvPrecision::exact);
    conv_forward<double, 2>(s, xd.data(), xs, wd.data(), exact.data(), ys);
    const double fast = error(ConvPrecision::fast), close = error(ConvPrecision::close), plain = error(ConvPrecision::exact);
    set_conv_precision(ConvPrecision::fast);
    CHECK(fast < 2e-6);
    CHECK(close < 6e-7);
    CHECK(plain < 9e-7);
    CHECK(fast > close);
}

namespace {

// A 1x1 convolution of one image of h x w pixels against its definition in double; the gradient of the weight is added to ones, and so
// are sums and biases before negative results become zeros.
template <class T>
void check_pointwise(long c_in, long c_out, long h, long w, bool x_last, bool y_last) {
    const Case<2> c{1, c_in, c_out, 1, {h, w}, {1, 1}, {1, 1}, {0, 0}, {0, 0}, {1, 1}};
    const ConvShape<2> s = c.shape();
    const auto strides = [&](bool last, long channels) { return last ? ImageStrides<2>::channels_last(channels, s.in) : ImageStrides<2>::contiguous(channels, s.in); };
    const ImageStrides<2> xs = strides(x_last, c_in), ys = strides(y_last, c_out);
    const long p = h * w;
    const auto x = random<T>(c_in * p, 1, -1, 1), weight = random<T>(c_in * c_out, 2, -1, 1), dy = random<T>(c_out * p, 3, -1, 1);
    const auto bias = random<T>(c_out, 4, -1, 1);
    const auto plane = [&](const std::vector<T>& image, const ImageStrides<2>& at, long channel) {
        std::vector<double> values;
        for (long r = 0; r < h; ++r)
            for (long k = 0; k < w; ++k) values.push_back(static_cast<double>(image[static_cast<std::size_t>(channel * at.channel + r * at.axis[0] + k * at.axis[1])]));
        return values;
    };
    // y, dx and dw behind each other, of ones at first.
    const auto all = on_threads<T>(static_cast<long>(dy.size() + x.size() + weight.size()), [&](T* to) {
        conv_forward<T, 2>(s, x.data(), xs, weight.data(), to, ys, {nullptr, bias.data(), true, true});
        conv_backward_data<T, 2>(s, dy.data(), ys, weight.data(), to + dy.size(), xs);
        conv_backward_weights<T, 2>(s, x.data(), xs, dy.data(), ys, to + dy.size() + x.size(), true);
    });
    const auto part = [&](std::size_t begin, std::size_t count) { return std::vector<T>(all.begin() + static_cast<long>(begin), all.begin() + static_cast<long>(begin + count)); };
    const auto y = part(0, dy.size()), dx = part(dy.size(), x.size()), dw = part(dy.size() + x.size(), weight.size());
    std::vector<std::vector<double>> xd, dyd, yd(static_cast<std::size_t>(c_out), std::vector<double>(static_cast<std::size_t>(p))), dxd(static_cast<std::size_t>(c_in), yd[0]);
    for (long i = 0; i < c_in; ++i) xd.push_back(plane(x, xs, i));
    for (long o = 0; o < c_out; ++o) dyd.push_back(plane(dy, ys, o));
    for (std::size_t o = 0; o < yd.size(); ++o)
        for (double& value : yd[o]) value = 1 + static_cast<double>(bias[o]);
    double worst_weight = 0;
    for (std::size_t o = 0; o < yd.size(); ++o)
        for (std::size_t i = 0; i < dxd.size(); ++i) {
            const std::size_t at = o * dxd.size() + i;
            const double k = static_cast<double>(weight[at]);
            double sum = 1;
            for (std::size_t q = 0; q < static_cast<std::size_t>(p); ++q) {
                yd[o][q] += k * xd[i][q];
                dxd[i][q] += k * dyd[o][q];
                sum += dyd[o][q] * xd[i][q];
            }
            worst_weight = std::max(worst_weight, std::abs(static_cast<double>(dw[at]) - sum));
        }
    for (auto& plane_of_y : yd)
        for (double& value : plane_of_y) value = std::max(value, 0.0);
    const auto worst = [&](const std::vector<T>& image, const ImageStrides<2>& at, const std::vector<std::vector<double>>& expected) {
        double largest = 0;
        for (std::size_t channel = 0; channel < expected.size(); ++channel) {
            const auto found = plane(image, at, static_cast<long>(channel));
            for (std::size_t q = 0; q < found.size(); ++q) largest = std::max(largest, std::abs(found[q] - expected[channel][q]));
        }
        return largest;
    };
    INFO(c_in << " -> " << c_out << ", " << h << " x " << w << (x_last ? ", channels-last x" : "") << (y_last ? ", channels-last y" : ""));
    CHECK(worst(y, ys, yd) <= epsilon<T>() * static_cast<double>(c_in + 2));
    CHECK(worst(dx, xs, dxd) <= epsilon<T>() * static_cast<double>(c_out));
    CHECK(worst_weight <= epsilon<T>() * static_cast<double>(p + 1));
}

}  // namespace

// Large enough for x to be packed and used up in pieces, and for sums of more than one chunk.
TEMPLATE_TEST_CASE("1x1 convolutions of large images", "[conv]", float, double) {
    for (const bool x_last : {false, true})
        for (const bool y_last : {false, true}) {
            check_pointwise<TestType>(260, 52, 66, 63, x_last, y_last);
            check_pointwise<TestType>(64, 130, 70, 61, x_last, y_last);
        }
    check_pointwise<TestType>(1100, 50, 65, 64, false, false);
    check_pointwise<TestType>(48, 33, 64, 64, false, false);
    // One channel on either side.
    check_pointwise<TestType>(1, 24, 128, 128, true, true);
    check_pointwise<TestType>(24, 1, 128, 128, true, true);
}
TEMPLATE_TEST_CASE("1x1 convolutions of several images", "[conv]", float, double) {
    check<TestType>(Case<2>{9, 30, 41, 1, {12, 13}, {1, 1}, {1, 1}, {0, 0}, {0, 0}, {1, 1}});
    check<TestType>(Case<2>{9, 40, 30, 1, {16, 16}, {1, 1}, {1, 1}, {0, 0}, {0, 0}, {1, 1}});
}

// More weights than pixels: of several images, with pixels left over by vectors, phases of a stride, and three axes.
TEMPLATE_TEST_CASE("convolutions over few pixels", "[conv]", float, double) {
    check<TestType>(Case<2>{2, 66, 140, 1, {7, 7}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}});
    check<TestType>(Case<2>{1, 130, 70, 1, {7, 7}, {5, 5}, {1, 1}, {2, 2}, {2, 2}, {1, 1}});
    check<TestType>(Case<2>{1, 130, 70, 1, {9, 13}, {3, 3}, {2, 2}, {1, 1}, {1, 1}, {1, 1}});
    // A kernel of more places than are added up apart.
    check<TestType>(Case<2>{1, 66, 2, 1, {7, 7}, {33, 33}, {1, 1}, {16, 16}, {16, 16}, {1, 1}});
    check<TestType>(Case<3>{1, 68, 72, 1, {2, 3, 3}, {2, 3, 3}, {1, 1, 1}, {1, 1, 1}, {0, 1, 1}, {1, 1, 1}});
}

// Odd columns meet the kernel's second column alone, those left over by vectors too.
TEMPLATE_TEST_CASE("an infinite weight stays out of few pixels that it does not reach", "[conv]", float, double) {
    using T = TestType;
    const ConvShape<2> s = Case<2>{1, 70, 6, 1, {7, 14}, {2, 2}, {1, 2}, {0, 0}, {1, 0}, {1, 1}}.shape();
    const auto dy = random<T>(6 * s.out_size(), 1, -1, 1);
    auto weight = random<T>(6 * 70 * 4, 2, -1, 1);
    weight[0] = std::numeric_limits<T>::infinity();
    std::vector<T> dx(static_cast<std::size_t>(70 * s.in_size()));
    conv_backward_data<T, 2>(s, dy.data(), ImageStrides<2>::contiguous(6, s.out), weight.data(), dx.data(), ImageStrides<2>::contiguous(70, s.in));
    for (std::size_t i = 0; i < dx.size(); ++i)
        if (i % 2 == 1) CHECK(std::isfinite(dx[i]));
    CHECK_FALSE(std::isfinite(dx[0]));
}

// Of every layout the same sums in the same order: rows in several blocks, tiles that are not full, all phases of a stride.
TEMPLATE_TEST_CASE("depthwise convolutions give the same bits for every layout", "[conv]", float, double) {
    for (const Case<2>& c : {Case<2>{2, 18, 18, 18, {14, 15}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}}, Case<2>{1, 2, 2, 2, {50, 340}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}},
                             Case<2>{1, 18, 18, 18, {9, 16}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}}, Case<2>{1, 3, 3, 3, {5, 33}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}},
                             Case<2>{2, 17, 17, 17, {40, 8}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}}, Case<2>{1, 2, 2, 2, {130, 300}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}},
                             Case<2>{1, 3, 3, 3, {7, 4}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}}, Case<2>{1, 5, 5, 5, {13, 21}, {5, 3}, {2, 2}, {2, 1}, {2, 1}, {1, 1}}}) {
        const ConvShape<2> s = c.shape();
        const auto x = random<TestType>(s.n * s.c_in * s.in_size(), 1, -1, 1), w = random<TestType>(s.c_out * s.kernel_size(), 2, -1, 1);
        const auto dy = random<TestType>(s.n * s.c_out * s.out_size(), 3, -1, 1), bias = random<TestType>(s.c_out, 4, -1, 1);
        std::vector<TestType> first[3];
        for (const Layout layout : layouts) {
            INFO(s.in[0] << " x " << s.in[1] << ", layout " << int(layout));
            const auto xs = strides_of<2>(layout, s.c_in, s.in), ys = strides_of<2>(layout, s.c_out, s.out);
            const auto xl = laid_out(x, xs, s.n, s.c_in, s.in, TestType(77)), dyl = laid_out(dy, ys, s.n, s.c_out, s.out, TestType(77));
            std::vector<TestType> y(dyl.size()), dx(xl.size()), found[3] = {dy, x, w};
            conv_forward<TestType, 2>(s, xl.data(), xs, w.data(), y.data(), ys, {nullptr, bias.data(), true, false});
            conv_backward_data<TestType, 2>(s, dyl.data(), ys, w.data(), dx.data(), xs);
            conv_backward_weights<TestType, 2>(s, xl.data(), xs, dyl.data(), ys, found[2].data());
            each(ys, s.n, s.c_out, s.out, [&](std::size_t at, std::size_t i, long) { found[0][i] = y[at]; });
            each(xs, s.n, s.c_in, s.in, [&](std::size_t at, std::size_t i, long) { found[1][i] = dx[at]; });
            for (int k = 0; k < 3; ++k) {
                if (layout == Layout::contiguous) first[k] = found[k];
                CHECK(found[k] == first[k]);
            }
        }
    }
}

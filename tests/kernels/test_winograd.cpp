// Winograd's convolutions against the plain sum in double, in every layout; their rounding errors; bits independent of threads and batch.
#include "matrices.hpp"

#include <tenon/kernels/cpu/conv/winograd.hpp>
#include <tenon/kernels/cpu/conv/winograd_tile.hpp>

#include <catch2/catch.hpp>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace cpu = tenon::kernels::cpu;
using cpu::ConvEpilogue, cpu::ConvShape, cpu::ImageStrides, cpu::WinogradTile;
using matrices::Random, matrices::Threads;

namespace {

ConvShape<2> shape_of(long n, long c_in, long c_out, long height, long width, long top, long bottom, long left, long right,
                      long groups = 1) {
    ConvShape<2> s;
    s.n = n, s.c_in = c_in, s.c_out = c_out, s.groups = groups;
    s.in[0] = height, s.in[1] = width;
    s.padding_begin[0] = top, s.padding_end[0] = bottom, s.padding_begin[1] = left, s.padding_end[1] = right;
    for (int i = 0; i < 2; ++i) {
        s.kernel[i] = 3;
        s.stride[i] = s.dilation[i] = 1;
        s.out[i] = s.output_size(i);
    }
    return s;
}

// Layouts: 0 contiguous, 1 channels last, 2 contiguous with gaps between rows, 3 channels last with gaps between pixels, 4 no axis
// contiguous.
constexpr int layouts = 5;
struct Layout {
    ImageStrides<2> strides;
    long size;
    Layout(int kind, long n, long channels, const long* sizes) {
        if (kind == 0) strides = ImageStrides<2>::contiguous(channels, sizes);
        if (kind == 1) strides = ImageStrides<2>::channels_last(channels, sizes);
        if (kind == 2) {
            const long apart[2] = {sizes[0] + 1, sizes[1] + 3};
            strides = ImageStrides<2>::contiguous(channels, apart);
        }
        if (kind == 3) strides = ImageStrides<2>::channels_last(channels + 5, sizes);
        if (kind == 4) {
            strides = ImageStrides<2>::contiguous(channels, sizes);
            strides.n *= 2, strides.channel *= 2, strides.axis[0] *= 2, strides.axis[1] *= 2;
        }
        size = strides.n * (n - 1) + strides.channel * (channels - 1) + strides.axis[0] * (sizes[0] - 1) +
               strides.axis[1] * (sizes[1] - 1) + 1;
    }
    std::size_t at(long n, long c, long i, long j) const {
        return static_cast<std::size_t>(n * strides.n + c * strides.channel + i * strides.axis[0] + j * strides.axis[1]);
    }
};

// f(y's group-wise position, x's, w's) for every product of the convolution.
template <class F>
void each_product(const ConvShape<2>& s, const Layout& x, const Layout& y, F&& f) {
    const long in = s.group_in(), out = s.group_out();
    // The results that have this tap inside of the image, along an axis.
    const auto first = [&](int axis, long tap) { return std::max(0l, s.padding_begin[axis] - tap); };
    const auto end = [&](int axis, long tap) { return std::min(s.out[axis], s.in[axis] + s.padding_begin[axis] - tap); };
    for (long n = 0; n < s.n; ++n)
        for (long k = 0; k < s.c_out; ++k)
            for (long c = 0; c < in; ++c)
                for (long a = 0; a < 3; ++a)
                    for (long b = 0; b < 3; ++b) {
                        const auto by = static_cast<std::size_t>(((k * in + c) * 3 + a) * 3 + b);
                        const long channel = k / out * in + c, j0 = first(1, b), j1 = end(1, b);
                        for (long i = first(0, a); i < end(0, a); ++i) {
                            const std::size_t to = y.at(n, k, i, 0), from = x.at(n, channel, i + a - s.padding_begin[0], 0);
                            const long y_step = y.strides.axis[1], x_step = x.strides.axis[1];
                            for (long j = j0; j < j1; ++j)
                                f(to + static_cast<std::size_t>(j * y_step), from + static_cast<std::size_t>((j + b - s.padding_begin[1]) * x_step), by);
                        }
                    }
}

// The rows of a transform, from what it makes of the unit vectors.
template <int In, int Out, class F>
std::vector<std::vector<double>> matrix_of(F&& transform) {
    std::vector<std::vector<double>> rows(Out, std::vector<double>(In));
    for (int i = 0; i < In; ++i) {
        double from[In] = {}, to[Out] = {};
        from[i] = 1;
        transform(from, to);
        for (int o = 0; o < Out; ++o) rows[static_cast<std::size_t>(o)][static_cast<std::size_t>(i)] = to[o];
    }
    return rows;
}
double square_norm(const std::vector<double>& v) {
    double sum = 0;
    for (double x : v) sum += x * x;
    return sum;
}

// How much larger the terms of a transformed sum are than the sum, squared, along one axis: the largest over the results i of
// sum over positions p of (last[i][p] |first_p| |second_p|)^2.
template <int M>
double growth(bool of_weights) {
    using Transform = cpu::winograd_impl::Transform<M>;
    constexpr int I = M + 2;
    const auto data = matrix_of<I, I>([](double (&from)[I], double (&to)[I]) {
        Transform::data(from);
        for (int i = 0; i < I; ++i) to[i] = from[i];
    });
    const auto other = of_weights ? matrix_of<M, I>([](double (&from)[M], double (&to)[I]) { Transform::output_gradient(from, to); })
                                  : matrix_of<3, I>([](double (&from)[3], double (&to)[I]) { Transform::weight(from, to); });
    const auto last = of_weights ? matrix_of<I, 3>([](double (&from)[I], double (&to)[3]) { Transform::weight_gradient(from, to); })
                                 : matrix_of<I, M>([](double (&from)[I], double (&to)[M]) { Transform::output(from, to); });
    double most = 0;
    for (const auto& row : last) {
        double sum = 0;
        for (std::size_t p = 0; p < row.size(); ++p) sum += row[p] * row[p] * square_norm(data[p]) * square_norm(other[p]);
        most = std::fmax(most, sum);
    }
    return most;
}

// The standard deviation that roundings can give a result of `terms` transformed products of independent inputs of mean square
// `square`: each product is rounded about twenty times on its way (two transforms of three steps for either factor and of four for
// the sum), and once more per term of the sum; each rounding is at most half a unit in the last place.
template <class T>
double rounding(WinogradTile tile, bool of_weights, long terms, double square) {
    const double unit = sizeof(T) == 4 ? 0x1p-24 : 0x1p-53,
                 axis = tile == WinogradTile::f4x4 ? growth<4>(of_weights) : growth<2>(of_weights);
    return unit * std::sqrt(20.0 + static_cast<double>(terms)) * axis * std::sqrt(static_cast<double>(terms)) * square;
}

long tiles_of(const ConvShape<2>& s, WinogradTile tile) {
    const long m = static_cast<long>(tile);
    return s.n * ((s.out[0] + m - 1) / m) * ((s.out[1] + m - 1) / m);
}

// got = expected within `tolerance` where an image has an element, untouched elsewhere.
template <class T>
void compare(const std::vector<T>& got, const std::vector<double>& expected, const std::vector<T>& before, const Layout& at, long n,
             long channels, const long* sizes, double tolerance) {
    std::vector<char> mine(got.size(), 0);
    double worst = 0;
    bool finite = true;
    for (long b = 0; b < n; ++b)
        for (long c = 0; c < channels; ++c)
            for (long i = 0; i < sizes[0]; ++i)
                for (long j = 0; j < sizes[1]; ++j) {
                    const std::size_t p = at.at(b, c, i, j);
                    mine[p] = 1;
                    finite = finite && std::isfinite(got[p]);
                    worst = std::fmax(worst, std::fabs(static_cast<double>(got[p]) - expected[p]));
                }
    bool untouched = true;
    for (std::size_t p = 0; p < got.size(); ++p) untouched = untouched && (mine[p] != 0 || got[p] == before[p]);
    REQUIRE(finite);
    REQUIRE(worst <= tolerance);
    REQUIRE(untouched);
}

std::vector<double> sums_in(std::size_t n) { return std::vector<double>(n, 0.0); }

template <class T>
void finish(std::vector<double>& sums, const std::vector<T>& before, const Layout& at, long n, long channels, const long* sizes,
            const ConvEpilogue<T>& epilogue) {
    for (long b = 0; b < n; ++b)
        for (long c = 0; c < channels; ++c)
            for (long i = 0; i < sizes[0]; ++i)
                for (long j = 0; j < sizes[1]; ++j) {
                    double& y = sums[at.at(b, c, i, j)];
                    if (epilogue.scale != nullptr) y *= static_cast<double>(epilogue.scale[c]);
                    if (epilogue.bias != nullptr) y += static_cast<double>(epilogue.bias[c]);
                    if (epilogue.accumulate) y += static_cast<double>(before[at.at(b, c, i, j)]);
                    if (epilogue.relu && y < 0) y = 0;
                }
}

// All three products of one shape. Inputs are in [-1, 1), their mean square is a third; eight deviations are never exceeded.
template <class T>
void check(const ConvShape<2>& s, int x_layout, int y_layout, WinogradTile tile, int mode, Random& random) {
    INFO("n " << s.n << " c_in " << s.c_in << " c_out " << s.c_out << " groups " << s.groups << " image " << s.in[0] << "x" << s.in[1]
              << " padding " << s.padding_begin[0] << "," << s.padding_end[0] << " " << s.padding_begin[1] << "," << s.padding_end[1]
              << " layouts " << x_layout << "," << y_layout << " tile " << static_cast<int>(tile) << " mode " << mode);
    REQUIRE(cpu::winograd_fits(s));
    const Layout xl(x_layout, s.n, s.c_in, s.in), yl(y_layout, s.n, s.c_out, s.out);
    const std::vector<T> x = random.values<T>(xl.size), w = random.values<T>(s.c_out * s.group_in() * 9), y = random.values<T>(yl.size);
    auto epilogue_for = [&](const std::vector<T>& scale, const std::vector<T>& bias) {
        ConvEpilogue<T> e;
        if ((mode & 1) != 0) e.bias = bias.data();
        if ((mode & 2) != 0) e.scale = scale.data();
        e.relu = (mode & 4) != 0;
        e.accumulate = (mode & 8) != 0;
        return e;
    };
    // Adding an old value or a bias below one rounds once more.
    const double end = sizeof(T) == 4 ? 0x1p-22 : 0x1p-51;
    {
        const auto scale = random.values<T>(s.c_out), bias = random.values<T>(s.c_out);
        const auto epilogue = epilogue_for(scale, bias);
        std::vector<T> got = y;
        cpu::winograd_forward<T>(s, x.data(), xl.strides, w.data(), got.data(), yl.strides, epilogue, tile);
        auto expected = sums_in(y.size());
        each_product(s, xl, yl, [&](std::size_t to, std::size_t from, std::size_t by) {
            expected[to] += static_cast<double>(x[from]) * static_cast<double>(w[by]);
        });
        finish(expected, y, yl, s.n, s.c_out, s.out, epilogue);
        INFO("forward");
        compare(got, expected, y, yl, s.n, s.c_out, s.out, 8 * rounding<T>(tile, false, s.group_in(), 1.0 / 3) + end);
    }
    {
        const auto scale = random.values<T>(s.c_in), bias = random.values<T>(s.c_in);
        const auto epilogue = epilogue_for(scale, bias);
        std::vector<T> got = x;
        cpu::winograd_backward_data<T>(s, y.data(), yl.strides, w.data(), got.data(), xl.strides, epilogue, tile);
        auto expected = sums_in(x.size());
        each_product(s, xl, yl, [&](std::size_t from, std::size_t to, std::size_t by) {
            expected[to] += static_cast<double>(y[from]) * static_cast<double>(w[by]);
        });
        finish(expected, x, xl, s.n, s.c_in, s.in, epilogue);
        INFO("backward data");
        compare(got, expected, x, xl, s.n, s.c_in, s.in, 8 * rounding<T>(tile, false, s.group_out(), 1.0 / 3) + end);
    }
    {
        const bool accumulate = (mode & 8) != 0;
        std::vector<T> got = w;
        got.push_back(T(7));
        cpu::winograd_backward_weights<T>(s, x.data(), xl.strides, y.data(), yl.strides, got.data(), accumulate, tile);
        auto expected = sums_in(w.size());
        each_product(s, xl, yl, [&](std::size_t to, std::size_t from, std::size_t by) {
            expected[by] += static_cast<double>(x[from]) * static_cast<double>(y[to]);
        });
        double worst = 0;
        for (std::size_t i = 0; i < w.size(); ++i)
            worst = std::fmax(worst, std::fabs(static_cast<double>(got[i]) - expected[i] - (accumulate ? static_cast<double>(w[i]) : 0.0)));
        INFO("backward weights");
        REQUIRE(worst <= 8 * rounding<T>(tile, true, tiles_of(s, tile), 1.0 / 3) + end);
        REQUIRE(got.back() == T(7));
    }
}

}  // namespace

TEMPLATE_TEST_CASE("Winograd agrees with the sum on small images, every padding", "[winograd]", float, double) {
    Random random(1);
    const long sizes[][2] = {{1, 1}, {2, 2}, {3, 3}, {1, 5}, {5, 1}, {2, 9}, {4, 4}, {6, 6}, {7, 8}};
    int number = 0;
    for (const auto& size : sizes)
        for (int paddings = 0; paddings < 81; ++paddings) {
            const auto s = shape_of(1 + number % 2, 1 + number % 5, 1 + number % 3, size[0], size[1], paddings % 3, paddings / 3 % 3,
                                    paddings / 9 % 3, paddings / 27);
            ++number;
            if (s.out[0] < 1 || s.out[1] < 1) {
                REQUIRE_FALSE(cpu::winograd_fits(s));
                continue;
            }
            check<TestType>(s, number % layouts, number / 7 % layouts, number % 2 == 0 ? WinogradTile::f4x4 : WinogradTile::f2x2,
                            number % 16, random);
        }
}

TEMPLATE_TEST_CASE("Winograd agrees with the sum over channel counts, layouts and epilogues", "[winograd]", float, double) {
    Random random(2);
    const long channels[] = {1, 3, 4, 7, 8, 9, 15, 16, 17, 24, 31, 33, 40, 65};
    const long count = sizeof channels / sizeof *channels;
    for (int number = 0; number < 160; ++number) {
        const long c_in = channels[random.below(count)], c_out = channels[random.below(count)];
        const auto s = shape_of(1 + random.below(3), c_in, c_out, 3 + random.below(15), 3 + random.below(20), random.below(3),
                                random.below(3), random.below(3), random.below(3));
        check<TestType>(s, number % layouts, number / layouts % layouts, number % 3 == 0 ? WinogradTile::f2x2 : WinogradTile::f4x4,
                        number % 16, random);
    }
}

TEMPLATE_TEST_CASE("Winograd with groups", "[winograd]", float, double) {
    Random random(3);
    for (int number = 0; number < 12; ++number)
        check<TestType>(shape_of(2, 3 * (1 + number), 3 * (12 - number), 9, 11, 1, 1, 1, 1, 3), number % layouts, number / 2 % layouts,
                        number % 4 == 0 ? WinogradTile::f2x2 : WinogradTile::f4x4, number, random);
}

TEMPLATE_TEST_CASE("Winograd over several blocks of tiles, long rows and several chunks of channels", "[winograd]", float, double) {
    Random random(4);
    const ConvShape<2> shapes[] = {shape_of(3, 20, 70, 37, 61, 1, 1, 1, 1), shape_of(1, 530, 36, 9, 10, 1, 1, 1, 1),
                                   shape_of(2, 34, 300, 13, 12, 0, 2, 1, 0), shape_of(40, 16, 16, 14, 14, 1, 1, 1, 1),
                                   shape_of(1, 8, 8, 5, 400, 1, 1, 1, 1)};
    int number = 0;
    for (const auto& s : shapes)
        for (int layout = 0; layout < 2; ++layout)
            for (WinogradTile tile : {WinogradTile::f4x4, WinogradTile::f2x2})
                check<TestType>(s, layout, 1 - layout, tile, ++number % 16, random);
}

namespace {
struct Errors {
    double rms, most;
};
// Relative to the results' root mean square, normal inputs.
template <class T>
Errors errors(long channels, WinogradTile tile, int product) {
    Random random(5);
    auto normal = [&](long n) {
        std::vector<T> v(static_cast<std::size_t>(n));
        for (T& x : v) {
            double sum = 0;
            for (int i = 0; i < 12; ++i) sum += random.uniform();
            x = static_cast<T>(sum / 2);
        }
        return v;
    };
    const auto s = shape_of(2, channels, 16, 28, 28, 1, 1, 1, 1);
    const Layout xl(1, s.n, s.c_in, s.in), yl(1, s.n, s.c_out, s.out);
    const auto x = normal(xl.size), w = normal(s.c_out * s.c_in * 9), y = normal(yl.size);
    std::vector<T> got;
    if (product == 0) {
        got = y;
        cpu::winograd_forward<T>(s, x.data(), xl.strides, w.data(), got.data(), yl.strides, {}, tile);
    } else {
        got = w;
        cpu::winograd_backward_weights<T>(s, x.data(), xl.strides, y.data(), yl.strides, got.data(), false, tile);
    }
    // Sums of products of doubles would be no better than the results of doubles.
    std::vector<long double> expected(got.size(), 0.0L);
    each_product(s, xl, yl, [&](std::size_t to, std::size_t from, std::size_t by) {
        if (product == 0) expected[to] += static_cast<long double>(x[from]) * static_cast<long double>(w[by]);
        else expected[by] += static_cast<long double>(x[from]) * static_cast<long double>(y[to]);
    });
    double square = 0, error = 0, most = 0;
    for (std::size_t i = 0; i < got.size(); ++i) {
        const double e = static_cast<double>(static_cast<long double>(got[i]) - expected[i]);
        square += static_cast<double>(expected[i] * expected[i]);
        error += e * e;
        most = std::fmax(most, std::fabs(e));
    }
    return {std::sqrt(error / square), most / std::sqrt(square / static_cast<double>(got.size()))};
}
}  // namespace

// What the header states, with a third on top for other seeds and instruction sets.
TEST_CASE("Winograd's errors are those stated", "[winograd]") {
    struct Stated {
        WinogradTile tile;
        int product;
        long channels;
        double rms, most;
    };
    const Stated all[] = {{WinogradTile::f4x4, 0, 64, 8.3e-7, 7e-6},   {WinogradTile::f4x4, 0, 256, 1.5e-6, 1.4e-5},
                          {WinogradTile::f2x2, 0, 64, 2.8e-7, 1.6e-6}, {WinogradTile::f2x2, 0, 256, 5e-7, 2.7e-6},
                          {WinogradTile::f4x4, 2, 64, 1e-6, 7.6e-6},   {WinogradTile::f2x2, 2, 64, 4.6e-7, 2.4e-6}};
    for (const Stated& x : all) {
        const Errors single = errors<float>(x.channels, x.tile, x.product), twice = errors<double>(x.channels, x.tile, x.product);
        INFO("tile " << static_cast<int>(x.tile) << " product " << x.product << " channels " << x.channels << ": float rms " << single.rms
                     << " max " << single.most << ", double rms " << twice.rms << " max " << twice.most);
        CHECK(single.rms <= x.rms * 4 / 3);
        CHECK(single.most <= x.most * 4 / 3);
        CHECK(twice.rms <= x.rms * 4 / 3 * 0x1p-29);
        CHECK(twice.most <= x.most * 4 / 3 * 0x1p-29);
    }
}

TEMPLATE_TEST_CASE("Winograd's bits depend neither on the threads nor on the batch", "[winograd]", float, double) {
    Random random(6);
    const ConvShape<2> shapes[] = {shape_of(3, 33, 70, 19, 23, 1, 1, 1, 1), shape_of(5, 20, 150, 8, 8, 1, 1, 1, 1),
                                   shape_of(1, 64, 64, 60, 70, 1, 1, 1, 1)};
    for (const auto& s : shapes)
        for (int layout = 0; layout < 2; ++layout)
            for (WinogradTile tile : {WinogradTile::f4x4, WinogradTile::f2x2}) {
                const Layout xl(layout, s.n, s.c_in, s.in), yl(layout, s.n, s.c_out, s.out);
                const auto x = random.values<TestType>(xl.size), w = random.values<TestType>(s.c_out * s.c_in * 9),
                           dy = random.values<TestType>(yl.size);
                auto run = [&](int threads) {
                    const Threads use(threads);
                    std::vector<TestType> y(static_cast<std::size_t>(yl.size)), dx(static_cast<std::size_t>(xl.size)), dw(w.size());
                    cpu::winograd_forward<TestType>(s, x.data(), xl.strides, w.data(), y.data(), yl.strides, {}, tile);
                    cpu::winograd_backward_data<TestType>(s, dy.data(), yl.strides, w.data(), dx.data(), xl.strides, {}, tile);
                    cpu::winograd_backward_weights<TestType>(s, x.data(), xl.strides, dy.data(), yl.strides, dw.data(), false, tile);
                    y.insert(y.end(), dx.begin(), dx.end());
                    y.insert(y.end(), dw.begin(), dw.end());
                    return y;
                };
                const auto one = run(1), two = run(2), three = run(3);
                REQUIRE(std::memcmp(one.data(), two.data(), one.size() * sizeof(TestType)) == 0);
                REQUIRE(std::memcmp(one.data(), three.data(), one.size() * sizeof(TestType)) == 0);
                // The last image alone.
                ConvShape<2> alone = s;
                alone.n = 1;
                std::vector<TestType> y(static_cast<std::size_t>(yl.strides.n));
                cpu::winograd_forward<TestType>(alone, x.data() + (s.n - 1) * xl.strides.n, xl.strides, w.data(), y.data(), yl.strides, {},
                                                tile);
                REQUIRE(std::memcmp(y.data(), one.data() + (s.n - 1) * yl.strides.n, y.size() * sizeof(TestType)) == 0);
            }
}

TEST_CASE("Winograd fits 3 x 3 kernels of stride and dilation 1 with padding up to 2", "[winograd]") {
    const auto good = shape_of(1, 8, 8, 10, 10, 2, 2, 0, 1);
    CHECK(cpu::winograd_fits(good));
    for (int axis = 0; axis < 2; ++axis) {
        for (int what = 0; what < 6; ++what) {
            auto bad = good;
            if (what == 0) bad.kernel[axis] = 5;
            if (what == 1) bad.stride[axis] = 2;
            if (what == 2) bad.dilation[axis] = 2;
            if (what == 3) bad.padding_begin[axis] = 3;
            if (what == 4) bad.padding_end[axis] = 3;
            if (what == 5) bad.in[axis] = 0;
            if (what != 5) bad.out[axis] = bad.output_size(axis);
            INFO("axis " << axis << " what " << what);
            CHECK_FALSE(cpu::winograd_fits(bad));
        }
    }
}

TEST_CASE("Winograd is chosen where there are channels and tiles enough", "[winograd]") {
    CHECK(cpu::winograd_pays(shape_of(1, 64, 64, 32, 32, 1, 1, 1, 1)));
    CHECK(cpu::winograd_pays(shape_of(128, 256, 256, 8, 8, 1, 1, 1, 1), true));
    CHECK_FALSE(cpu::winograd_pays(shape_of(64, 3, 64, 32, 32, 1, 1, 1, 1)));
    CHECK_FALSE(cpu::winograd_pays(shape_of(64, 64, 3, 32, 32, 1, 1, 1, 1)));
    CHECK_FALSE(cpu::winograd_pays(shape_of(64, 256, 256, 32, 32, 1, 1, 1, 1, 64)));
    CHECK_FALSE(cpu::winograd_pays(shape_of(1, 512, 512, 7, 7, 1, 1, 1, 1)));
    // Few tiles: the kernels decide, and their gradient needs more.
    CHECK(cpu::winograd_pays(shape_of(1, 128, 128, 16, 16, 1, 1, 1, 1)));
    CHECK_FALSE(cpu::winograd_pays(shape_of(1, 256, 256, 8, 8, 1, 1, 1, 1)));
    CHECK(cpu::winograd_pays(shape_of(1, 256, 256, 28, 28, 1, 1, 1, 1)));
    CHECK_FALSE(cpu::winograd_pays(shape_of(1, 64, 64, 8, 8, 1, 1, 1, 1), true));
}

// Shapes and layouts of convolutions for the tests of both devices.
#pragma once

#include <tenon/kernels/cpu/conv/reference.hpp>

#include <vector>

namespace conv_cases {

using namespace tenon;
using kernels::cpu::ConvShape, kernels::cpu::ImageStrides;

enum class Layout { contiguous, channels_last, neither };
inline const Layout layouts[] = {Layout::contiguous, Layout::channels_last, Layout::neither};

template <int D>
ImageStrides<D> strides_of(Layout layout, long channels, const long* sizes) {
    if (layout == Layout::contiguous) return ImageStrides<D>::contiguous(channels, sizes);
    ImageStrides<D> s = ImageStrides<D>::channels_last(channels, sizes);
    if (layout == Layout::channels_last) return s;
    // Every other element of something larger.
    s.n *= 6, s.channel = 2;
    for (int i = 0; i < D; ++i) s.axis[i] *= 3;
    s.channel = 2;
    return s;
}
template <int D>
long extent(const ImageStrides<D>& s, long n, long channels, const long* sizes) {
    long last = (n - 1) * s.n + (channels - 1) * s.channel;
    for (int i = 0; i < D; ++i) last += (sizes[i] - 1) * s.axis[i];
    return n == 0 ? 0 : last + 1;
}

// The three products of contiguous arrays by the definition, in double, and those of the absolute values, which bound what rounding
// does. In one walk over the products: finding their places takes most of the time.
struct Sums {
    std::vector<double> value, size;
    explicit Sums(long count) : value(static_cast<std::size_t>(count)), size(value) {}
    void add(std::size_t i, double product) {
        value[i] += product;
        size[i] += product < 0 ? -product : product;
    }
};
struct Products {
    Sums y, dx, dw;
};
template <class T, int D>
Products products_of(const ConvShape<D>& s, const std::vector<T>& x, const std::vector<T>& w, const std::vector<T>& dy) {
    const auto xs = ImageStrides<D>::contiguous(s.c_in, s.in), ys = ImageStrides<D>::contiguous(s.c_out, s.out);
    Products sums{Sums(static_cast<long>(dy.size())), Sums(static_cast<long>(x.size())), Sums(static_cast<long>(w.size()))};
    const std::vector<double> xd(x.begin(), x.end()), wd(w.begin(), w.end()), dyd(dy.begin(), dy.end());
    namespace definition = kernels::cpu::reference;
    definition::for_products(s, [&](long b, long o, long c, const long* out, long t, const long* in) {
        const long channel = o / s.group_out() * s.group_in() + c;
        const auto xi = static_cast<std::size_t>(definition::at(xs, b, channel, in));
        const auto yi = static_cast<std::size_t>(definition::at(ys, b, o, out));
        const auto wi = static_cast<std::size_t>((o * s.group_in() + c) * s.kernel_size() + t);
        sums.y.add(yi, xd[xi] * wd[wi]);
        sums.dx.add(xi, dyd[yi] * wd[wi]);
        sums.dw.add(wi, xd[xi] * dyd[yi]);
    });
    return sums;
}

template <int D>
struct Case {
    long n, c_in, c_out, groups;
    long in[D], kernel[D], stride[D], begin[D], end[D], dilation[D];

    ConvShape<D> shape() const {
        ConvShape<D> s;
        s.n = n, s.c_in = c_in, s.c_out = c_out, s.groups = groups;
        for (int i = 0; i < D; ++i) {
            s.in[i] = in[i], s.kernel[i] = kernel[i], s.stride[i] = stride[i];
            s.padding_begin[i] = begin[i], s.padding_end[i] = end[i], s.dilation[i] = dilation[i];
            s.out[i] = s.output_size(i);
        }
        return s;
    }
};

inline const Case<1> cases_1d[] = {
    {1, 1, 1, 1, {1}, {1}, {1}, {0}, {0}, {1}},       {2, 3, 5, 1, {17}, {3}, {1}, {1}, {1}, {1}},     {3, 4, 6, 2, {33}, {5}, {3}, {2}, {0}, {2}},
    {1, 40, 70, 1, {300}, {1}, {1}, {0}, {0}, {1}},   {2, 7, 7, 7, {41}, {4}, {2}, {1}, {3}, {1}},     {5, 2, 3, 1, {6}, {2}, {4}, {0}, {0}, {1}},
    {2, 20, 33, 1, {900}, {9}, {1}, {4}, {4}, {1}},   {0, 3, 4, 1, {8}, {3}, {1}, {1}, {1}, {1}},
};
inline const Case<2> cases_2d[] = {
    {1, 1, 1, 1, {1, 1}, {1, 1}, {1, 1}, {0, 0}, {0, 0}, {1, 1}},
    {2, 3, 4, 1, {5, 7}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}},
    {1, 1, 32, 1, {19, 23}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}},
    {2, 3, 64, 1, {33, 29}, {7, 7}, {2, 2}, {3, 3}, {3, 3}, {1, 1}},
    {3, 1, 6, 1, {28, 28}, {5, 5}, {1, 1}, {0, 0}, {0, 0}, {1, 1}},
    {3, 6, 16, 1, {14, 14}, {5, 5}, {1, 1}, {0, 0}, {0, 0}, {1, 1}},
    {1, 17, 19, 1, {9, 40}, {2, 3}, {1, 2}, {0, 1}, {1, 2}, {1, 1}},
    {2, 8, 12, 4, {10, 9}, {3, 2}, {2, 1}, {1, 0}, {1, 0}, {1, 1}},
    {2, 16, 16, 16, {11, 13}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}},
    {1, 37, 37, 37, {15, 17}, {3, 3}, {2, 2}, {1, 1}, {1, 1}, {1, 1}},
    {1, 2, 2, 2, {61, 341}, {3, 3}, {2, 2}, {1, 1}, {1, 1}, {1, 1}},
    {2, 5, 10, 5, {12, 11}, {5, 3}, {1, 2}, {2, 0}, {1, 1}, {2, 1}},
    {2, 12, 20, 1, {13, 13}, {3, 3}, {1, 1}, {2, 2}, {2, 2}, {2, 2}},
    {1, 10, 9, 1, {16, 15}, {3, 3}, {2, 3}, {3, 2}, {3, 2}, {2, 3}},
    {2, 24, 48, 1, {8, 8}, {1, 1}, {1, 1}, {0, 0}, {0, 0}, {1, 1}},
    {1, 24, 40, 1, {17, 15}, {1, 1}, {2, 2}, {0, 0}, {0, 0}, {1, 1}},
    {1, 9, 11, 1, {6, 6}, {1, 1}, {1, 1}, {1, 1}, {1, 1}, {1, 1}},
    {40, 33, 65, 1, {4, 4}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}},
    {1, 96, 70, 1, {7, 7}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}},
    {2, 70, 66, 1, {9, 7}, {3, 3}, {2, 2}, {1, 1}, {1, 1}, {1, 1}},
    {2, 24, 80, 1, {7, 7}, {1, 1}, {2, 2}, {0, 0}, {0, 0}, {1, 1}},
    {1, 80, 30, 1, {40, 37}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}},
    {2, 4, 3, 1, {3, 3}, {5, 5}, {1, 1}, {2, 2}, {2, 2}, {1, 1}},
    {1, 3, 2, 1, {7, 7}, {2, 2}, {5, 5}, {0, 0}, {0, 0}, {1, 1}},
    {1, 3, 4, 1, {4, 60}, {3, 3}, {1, 1}, {4, 5}, {0, 6}, {1, 1}},
};
inline const Case<3> cases_3d[] = {
    {1, 2, 3, 1, {3, 4, 5}, {2, 2, 2}, {1, 1, 1}, {0, 0, 0}, {0, 0, 0}, {1, 1, 1}},
    {2, 5, 7, 1, {6, 5, 9}, {3, 3, 3}, {1, 1, 1}, {1, 1, 1}, {1, 1, 1}, {1, 1, 1}},
    {2, 4, 6, 2, {7, 8, 6}, {3, 2, 1}, {2, 3, 1}, {1, 0, 1}, {0, 1, 0}, {1, 2, 1}},
    {1, 6, 6, 6, {5, 6, 7}, {3, 3, 3}, {1, 2, 1}, {1, 1, 1}, {1, 1, 1}, {1, 1, 2}},
    {1, 9, 8, 1, {4, 5, 6}, {1, 1, 1}, {1, 1, 1}, {0, 0, 0}, {0, 0, 0}, {1, 1, 1}},
};

}  // namespace conv_cases

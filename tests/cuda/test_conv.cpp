// Convolutions on the device against sums in double: the library's own kernels, plain and tiled, and cuDNN's.
#include "../kernels/conv_cases.hpp"
#include "device_agreement.hpp"

#include <tenon/kernels/cpu/conv/reference.hpp>
#include <tenon/kernels/cuda/conv.cuh>
#include <tenon/ops/conv.hpp>
#include <tenon/runtime/precision.hpp>

#include <catch2/catch.hpp>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace {

using namespace tenon;
using namespace conv_cases;
namespace host = tenon::kernels::cpu::reference;
namespace device = tenon::kernels::cuda;
using device::ConvEpilogue;

template <class T>
class Array {
public:
    explicit Array(const std::vector<T>& values) : size_(values.size()) {
        REQUIRE(cudaMalloc(reinterpret_cast<void**>(&data_), (size_ + 1) * sizeof(T)) == cudaSuccess);
        if (size_ > 0) REQUIRE(cudaMemcpy(data_, values.data(), size_ * sizeof(T), cudaMemcpyHostToDevice) == cudaSuccess);
    }
    Array(const Array&) = delete;
    Array& operator=(const Array&) = delete;
    ~Array() { cudaFree(data_); }
    T* get() const { return data_; }
    std::vector<T> values() const {
        std::vector<T> v(size_);
        if (size_ > 0) REQUIRE(cudaMemcpy(v.data(), data_, size_ * sizeof(T), cudaMemcpyDeviceToHost) == cudaSuccess);
        return v;
    }

private:
    T* data_ = nullptr;
    std::size_t size_;
};

template <class T>
std::vector<T> numbers(long count, unsigned seed) {
    std::vector<T> v(static_cast<std::size_t>(count));
    unsigned long long state = 88172645463325252ull + seed * 0x9e3779b97f4a7c15ull;
    for (T& x : v) {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        x = static_cast<T>(static_cast<device::accumulator<T>>(static_cast<double>(state >> 11) * 0x1p-52 - 1));
    }
    return v;
}
template <class T>
std::vector<double> wide(const std::vector<T>& v) { return std::vector<double>(v.begin(), v.end()); }

// Images in memory: which places hold the elements of a contiguous array, in its order.
template <int D>
std::vector<std::size_t> places(const ImageStrides<D>& s, long n, long channels, const long* sizes) {
    std::vector<std::size_t> r;
    long pixels = 1;
    for (int i = 0; i < D; ++i) pixels *= sizes[i];
    for (long b = 0; b < n; ++b)
        for (long c = 0; c < channels; ++c)
            for (long p = 0; p < pixels; ++p) {
                long at = b * s.n + c * s.channel, rest = p;
                for (int i = D - 1; i >= 0; --i) at += rest % sizes[i] * s.axis[i], rest /= sizes[i];
                r.push_back(static_cast<std::size_t>(at));
            }
    return r;
}
constexpr int filling = 77;
template <class T>
std::vector<T> spread(const std::vector<T>& v, const std::vector<std::size_t>& to, long extent) {
    std::vector<T> r(static_cast<std::size_t>(extent), T(filling));
    for (std::size_t i = 0; i < v.size(); ++i) r[to[i]] = v[i];
    return r;
}
template <class T>
std::vector<T> gathered(const std::vector<T>& memory, const std::vector<std::size_t>& from) {
    std::vector<T> r(from.size());
    for (std::size_t i = 0; i < from.size(); ++i) r[i] = memory[from[i]];
    return r;
}

// What makes the three products.
enum class Way { library, own, reference, cudnn };

template <class T, int D>
bool forward(Way way, const ConvShape<D>& s, const T* x, const ImageStrides<D>& xs, const T* w, T* y, const ImageStrides<D>& ys,
             const ConvEpilogue<T>& e) {
    using namespace device::conv_impl;
    switch (way) {
        case Way::library: device::conv_forward<T, D>(s, x, xs, w, y, ys, e); return true;
        case Way::own: device::own::conv_forward<T>(lift(s), x, lift(xs), w, y, lift(ys), e); return true;
        case Way::reference: device::reference::conv_forward<T, D>(s, x, xs, w, y, ys, e); return true;
        default: return device::cudnn::conv_forward<T>(lift(s), x, lift(xs), w, y, lift(ys), e);
    }
}
template <class T, int D>
bool backward_data(Way way, const ConvShape<D>& s, const T* dy, const ImageStrides<D>& dys, const T* w, T* dx, const ImageStrides<D>& dxs,
                   const ConvEpilogue<T>& e) {
    using namespace device::conv_impl;
    switch (way) {
        case Way::library: device::conv_backward_data<T, D>(s, dy, dys, w, dx, dxs, e); return true;
        case Way::own: device::own::conv_backward_data<T>(lift(s), dy, lift(dys), w, dx, lift(dxs), e); return true;
        case Way::reference: device::reference::conv_backward_data<T, D>(s, dy, dys, w, dx, dxs, e); return true;
        default: return device::cudnn::conv_backward_data<T>(lift(s), dy, lift(dys), w, dx, lift(dxs), e);
    }
}
template <class T, int D>
bool backward_weights(Way way, const ConvShape<D>& s, const T* x, const ImageStrides<D>& xs, const T* dy, const ImageStrides<D>& dys, T* dw,
                      bool accumulate) {
    using namespace device::conv_impl;
    switch (way) {
        case Way::library: device::conv_backward_weights<T, D>(s, x, xs, dy, dys, dw, accumulate); return true;
        case Way::own: device::own::conv_backward_weights<T>(lift(s), x, lift(xs), dy, lift(dys), dw, accumulate); return true;
        case Way::reference: device::reference::conv_backward_weights<T, D>(s, x, xs, dy, dys, dw, accumulate); return true;
        default: return device::cudnn::conv_backward_weights<T>(lift(s), x, lift(xs), dy, lift(dys), dw, accumulate);
    }
}

// The largest error as a multiple of what is allowed: a sum of K products in any order is off by at most K / 2 ulps of the sum of
// their absolute values; a 16-bit result is rounded once more, and `twice` where something is added to a rounded one.
template <class T>
double worst(const std::vector<T>& got, const std::vector<double>& wanted, const std::vector<double>& sizes, long products, bool twice) {
    const double epsilon = sizeof(T) == 8 ? 0x1p-52 : 0x1p-23, unit = sizeof(T) > 2 ? 0 : std::is_same_v<T, half> ? 0x1p-11 : 0x1p-8;
    double most = 0;
    for (std::size_t i = 0; i < got.size(); ++i) {
        const double summed = epsilon * static_cast<double>(products + 4) * (sizes[i] + 2),
                     rounded = unit * (std::abs(wanted[i]) + (twice ? sizes[i] + 2 : 0)),
                     error = std::abs(static_cast<double>(got[i]) - wanted[i]) / (summed + rounded);
        if (!(error <= most)) most = error == error ? error : INFINITY;
    }
    return most;
}
// Nothing between the elements was written.
template <class T>
bool untouched(const std::vector<T>& memory, const std::vector<std::size_t>& used) {
    std::vector<bool> mine(memory.size());
    for (std::size_t i : used) mine[i] = true;
    for (std::size_t i = 0; i < memory.size(); ++i)
        if (!mine[i] && memory[i] != T(filling)) return false;
    return true;
}

// How many of the three products a way has made.
struct Made { int forward = 0, data = 0, weights = 0; };

template <class T, int D>
Made check(Way way, const Case<D>& given) {
    const ConvShape<D> s = given.shape();
    INFO(D << "-d, n " << s.n << ", " << s.c_in << " -> " << s.c_out << " in " << s.groups << " groups, in " << s.in[0] << " x "
           << s.in[D - 1] << ", kernel " << s.kernel[0] << " x " << s.kernel[D - 1] << ", stride " << s.stride[D - 1]);
    const long x_size = s.n * s.c_in * s.in_size(), y_size = s.n * s.c_out * s.out_size(),
               w_size = s.c_out * s.group_in() * s.kernel_size();
    const auto x = numbers<T>(x_size, 1), w = numbers<T>(w_size, 2), dy = numbers<T>(y_size, 3), bias = numbers<T>(s.c_out, 4),
               scale = numbers<T>(s.c_out, 5);
    const auto x_start = numbers<T>(x_size, 6), y_start = numbers<T>(y_size, 7), w_start = numbers<T>(w_size, 8),
               x_bias = numbers<T>(s.c_in, 9);
    const Products sums = products_of(s, x, w, dy);

    const Array<T> dw_array(w_start), w_array(w), bias_array(bias), scale_array(scale), x_bias_array(x_bias);
    const long out = s.out_size(), in = s.in_size();
    Made made;
    std::vector<T> y_bits, dx_bits, dw_bits;
    for (const Layout from : layouts)
        for (const Layout to : layouts) {
            INFO("layouts " << int(from) << int(to));
            const bool rich = (int(from) + int(to)) % 2 != 0, twice = rich && (way == Way::library || way == Way::cudnn);
            const auto xs = strides_of<D>(from, s.c_in, s.in), ys = strides_of<D>(to, s.c_out, s.out);
            const auto x_at = places(xs, s.n, s.c_in, s.in), y_at = places(ys, s.n, s.c_out, s.out);
            const long x_extent = extent(xs, s.n, s.c_in, s.in), y_extent = extent(ys, s.n, s.c_out, s.out);
            const Array<T> xa(spread(x, x_at, x_extent)), dya(spread(dy, y_at, y_extent));
            {
                const Array<T> result(spread(y_start, y_at, y_extent));
                ConvEpilogue<T> e;
                if (rich) e = {way == Way::cudnn ? nullptr : scale_array.get(), bias_array.get(), true, true};
                if (forward<T, D>(way, s, xa.get(), xs, w_array.get(), result.get(), ys, e)) {
                    ++made.forward;
                    const auto memory = result.values(), y = gathered(memory, y_at);
                    auto wanted = sums.y.value;
                    for (std::size_t i = 0; rich && i < wanted.size(); ++i) {
                        const auto channel = i / static_cast<std::size_t>(out) % static_cast<std::size_t>(s.c_out);
                        if (e.scale != nullptr) wanted[i] *= static_cast<double>(scale[channel]);
                        wanted[i] += static_cast<double>(y_start[i]) + static_cast<double>(bias[channel]);
                        if (wanted[i] < 0) wanted[i] = 0;
                    }
                    CHECK(worst(y, wanted, sums.y.size, s.group_in() * s.kernel_size(), twice) <= 1);
                    CHECK(untouched(memory, y_at));
                    // The same bits from every layout.
                    if (way == Way::own && !rich) {
                        if (y_bits.empty()) y_bits = y;
                        CHECK(y_bits == y);
                    }
                }
            }
            {
                const Array<T> result(spread(x_start, x_at, x_extent));
                ConvEpilogue<T> e;
                if (rich) e = {nullptr, x_bias_array.get(), false, true};
                if (backward_data<T, D>(way, s, dya.get(), ys, w_array.get(), result.get(), xs, e)) {
                    ++made.data;
                    const auto memory = result.values(), dx = gathered(memory, x_at);
                    auto wanted = sums.dx.value;
                    for (std::size_t i = 0; rich && i < wanted.size(); ++i)
                        wanted[i] += static_cast<double>(x_start[i]) +
                                     static_cast<double>(x_bias[i / static_cast<std::size_t>(in) % static_cast<std::size_t>(s.c_in)]);
                    CHECK(worst(dx, wanted, sums.dx.size, s.group_out() * s.kernel_size(), twice) <= 1);
                    CHECK(untouched(memory, x_at));
                    if (way == Way::own && !rich) {
                        if (dx_bits.empty()) dx_bits = dx;
                        CHECK(dx_bits == dx);
                    }
                }
            }
            {
                REQUIRE(cudaMemcpy(dw_array.get(), w_start.data(), w_start.size() * sizeof(T), cudaMemcpyHostToDevice) == cudaSuccess);
                if (backward_weights<T, D>(way, s, xa.get(), xs, dya.get(), ys, dw_array.get(), rich)) {
                    ++made.weights;
                    const auto dw = dw_array.values();
                    auto wanted = sums.dw.value;
                    for (std::size_t i = 0; rich && i < wanted.size(); ++i) wanted[i] += static_cast<double>(w_start[i]);
                    CHECK(worst(dw, wanted, sums.dw.size, s.n * s.out_size(), twice) <= 1);
                    if (way == Way::own && !rich) {
                        if (dw_bits.empty()) dw_bits = dw;
                        CHECK(dw_bits == dw);
                    }
                }
            }
        }
    return made;
}

// What is emulated takes its time: cases of some million products.
template <class T, int D, std::size_t N>
Made check_all(Way way, const Case<D> (&cases)[N], double most) {
    Made sum;
    for (const auto& c : cases) {
        if (c.shape().flops() > 2 * most) continue;
        const Made made = check<T, D>(way, c);
        sum.forward += made.forward, sum.data += made.data, sum.weights += made.weights;
    }
    return sum;
}

// More than a tile of everything, in fours, and with sums that are split.
const Case<2> tiled[] = {
    {2, 8, 72, 1, {9, 8}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}},
    {1, 68, 12, 1, {8, 10}, {3, 2}, {2, 1}, {1, 0}, {1, 1}, {1, 1}},
    {1, 12, 16, 1, {24, 24}, {2, 2}, {1, 1}, {0, 0}, {0, 0}, {2, 3}},
    {2, 24, 40, 2, {7, 7}, {3, 3}, {3, 3}, {1, 1}, {1, 1}, {1, 1}},
    {1, 1, 3, 1, {90, 90}, {2, 2}, {1, 1}, {1, 1}, {1, 1}, {1, 1}},
};

}  // namespace

TEMPLATE_TEST_CASE("the library's own convolutions", "", float, double, bf16, half) {
    const double most = sizeof(TestType) == 4 ? 2e5 : 5e4;
    check_all<TestType>(Way::own, cases_1d, most);
    check_all<TestType>(Way::own, cases_2d, most);
    check_all<TestType>(Way::own, cases_3d, most);
    check_all<TestType>(Way::own, tiled, 1e6);
}

// The test runs with cuDNN and without (TENON_CUDNN=0).
TEMPLATE_TEST_CASE("cuDNN's convolutions", "", float, double, bf16, half) {
    const bool usable = cuda_detail::cudnn_library().usable;
    const Made one = check_all<TestType>(Way::cudnn, cases_1d, 3e4), two = check_all<TestType>(Way::cudnn, cases_2d, 5e4),
               three = check_all<TestType>(Way::cudnn, cases_3d, 5e4);
    for (const Made& made : {one, two, three}) {
        CHECK((made.forward > 0) == usable);
        CHECK((made.data > 0) == usable);
        CHECK((made.weights > 0) == usable);
    }
}

TEMPLATE_TEST_CASE("the library takes cuDNN or its own", "", float, bf16) {
    check_all<TestType>(Way::library, cases_1d, 3e4);
    check_all<TestType>(Way::library, cases_2d, 3e4);
    check_all<TestType>(Way::library, cases_3d, 3e4);
}

TEMPLATE_TEST_CASE("the plain reference", "", float, half) {
    const double most = sizeof(TestType) == 4 ? 1e5 : 3e4;
    check_all<TestType>(Way::reference, cases_1d, most);
    check_all<TestType>(Way::reference, cases_2d, most);
    check_all<TestType>(Way::reference, cases_3d, most);
}

TEMPLATE_TEST_CASE("convolutions of 16-bit tensors agree with the CPU's, which go through floats", "", bf16, half) {
    using T = TestType;
    using device_agreement::agree, device_agreement::eighths;
    // The device rounds before and after the bias, the CPU after it.
    const double within = 3 * device_agreement::rounding<T>;
    const auto x = eighths<T>({2, 6, 7, 9}, 1), w = eighths<T>({10, 6, 3, 3}, 2);
    const auto b = eighths<T>({10}, 3), in = eighths<T>({6}, 4);
    agree(within, [](const auto& a, const auto& v, const auto& c) { return conv2d(a, v, c, {.stride = {1, 2}, .padding = 1}); }, x, w, b);
    agree(within, [](const auto& a, const auto& v, const auto& c) { return conv2d(channels_last(a), v, c, {.padding = 1}); }, x, w, b);
    agree(within, [](const auto& a, const auto& v) { return conv2d(a, v, {.padding = 1, .groups = 6}); }, x, eighths<T>({12, 1, 3, 3}, 5));
    agree(within, [](const auto& a, const auto& v, const auto& c) { return conv_transpose2d(a, v, c, {.stride = 2, .padding = 1}); },
          eighths<T>({2, 10, 4, 5}, 6), w, in);
    agree(within, [](const auto& a, const auto& v) { return conv1d(a, v, {.padding = 2, .padding_mode = PadMode::reflect}); },
          eighths<T>({2, 3, 17}, 7), eighths<T>({9, 3, 5}, 8));
    agree(within, [](const auto& a, const auto& v) { return conv3d(a, v); }, eighths<T>({1, 2, 3, 4, 5}, 9), eighths<T>({3, 2, 2, 2, 2}, 10));
    CHECK_THROWS_AS(conv2d(x.to(cuda()), w), DeviceError);
}

TEST_CASE("a convolution of 16-bit tensors makes no floats of them") {
    const auto x = device_agreement::eighths<bf16>({1, 64, 64, 64}, 1).to(cuda()), w = device_agreement::eighths<bf16>({8, 64, 1, 1}, 2).to(cuda());
    auto& memory = cuda_detail::device_memory();
    memory.reset_peak(0);
    const long before = memory.statistics(0).live;
    CHECK(conv2d(x, w).shape(1) == 8);
    CHECK(memory.statistics(0).peak - before < x.size());
}

namespace {

// One 3 x 3 convolution of 8 channels to 8, in the three directions.
template <class T>
struct Small {
    ConvShape<2> s;
    ImageStrides<2> xs, ys;
    Array<T> x, w, dy, y, dx, dw;
    explicit Small(long dilation = 1)
        : s(Case<2>{2, 8, 8, 1, {17, 16}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {dilation, dilation}}.shape()),
          xs(ImageStrides<2>::contiguous(8, s.in)),
          ys(ImageStrides<2>::contiguous(8, s.out)),
          x(numbers<T>(2 * 8 * s.in_size(), 1)),
          w(numbers<T>(8 * 8 * 9, 2)),
          dy(numbers<T>(2 * 8 * s.out_size(), 3)),
          y(std::vector<T>(static_cast<std::size_t>(2 * 8 * s.out_size()))),
          dx(std::vector<T>(static_cast<std::size_t>(2 * 8 * s.in_size()))),
          dw(std::vector<T>(8 * 8 * 9)) {}
    void forward() const { device::conv_forward<T, 2>(s, x.get(), xs, w.get(), y.get(), ys); }
    void backward_data() const { device::conv_backward_data<T, 2>(s, dy.get(), ys, w.get(), dx.get(), xs); }
    void backward_weights() const { device::conv_backward_weights<T, 2>(s, x.get(), xs, dy.get(), ys, dw.get()); }
    std::vector<double> exact() const {
        std::vector<double> r(static_cast<std::size_t>(2 * 8 * s.out_size()));
        const auto xv = wide(x.values()), wv = wide(w.values());
        host::conv_forward<double, 2>(s, xv.data(), xs, wv.data(), r.data(), ys);
        return r;
    }
    double error() const {
        forward();
        const auto got = y.values();
        const auto wanted = exact();
        double most = 0;
        for (std::size_t i = 0; i < got.size(); ++i) most = std::max(most, std::abs(static_cast<double>(got[i]) - wanted[i]));
        return most;
    }
};

template <class F>
std::string message_of(F f) {
    try {
        f();
    } catch (const DeviceError& e) {
        return e.what();
    }
    return "";
}

}  // namespace

TEST_CASE("floats keep their precision unless TF32 is allowed") {
    const Small<float> small;
    CHECK(small.error() < 1e-5);
    if (!cuda_detail::cudnn_library().usable) return;
    allow_tf32(true);
    const double rounded = small.error();
    allow_tf32(false);
    CHECK(rounded < 2e-2);
#if defined(TENON_CUDA_EMULATOR)
    CHECK(rounded > 1e-5);
#endif
    CHECK(small.error() < 1e-5);
}

// Stands for the offsets of images of more than 2^30 elements, of which the emulator has no room: few images, far apart.
TEST_CASE("images beyond 32 bits are convolved some at a time") {
    const ConvShape<3> s = device::conv_impl::lift(Case<2>{5, 2, 3, 1, {4, 4}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}}.shape());
    ImageStrides<3> xs = ImageStrides<3>::contiguous(2, s.in);
    const ImageStrides<3> ys = ImageStrides<3>::contiguous(3, s.out);
    xs.n = 1l << 29;
    std::vector<long> firsts, counts;
    device::conv_impl::for_images(s, xs, ys, [&](const ConvShape<3>& part, long first) {
        firsts.push_back(first);
        counts.push_back(part.n);
    });
    CHECK(firsts == std::vector<long>{0, 2, 4});
    CHECK(counts == std::vector<long>{2, 2, 1});
    xs.channel = 1l << 40;
    counts.clear();
    device::conv_impl::for_images(s, xs, ys, [&](const ConvShape<3>& part, long) { counts.push_back(part.n); });
    CHECK(counts == std::vector<long>{5});
    ConvShape<3> none = s;
    none.n = 0;
    counts.clear();
    device::conv_impl::for_images(none, ImageStrides<3>::contiguous(2, s.in), ys,
                                  [&](const ConvShape<3>& part, long) { counts.push_back(part.n); });
    CHECK(counts == std::vector<long>{0});
}

#if defined(TENON_CUDA_EMULATOR)

TEST_CASE("cuDNN is found by its name, or by what TENON_CUDNN names") {
    using cuda_detail::load_cudnn;
    struct Restore {
        const bool there = cuda_emulator::open_library("libcudnn.so.9") != nullptr;
        ~Restore() {
            cuda_emulator::install_cudnn(there);
            cuda_emulator::hide_symbol(nullptr);
            cuda_emulator::set_cudnn_version(91900);
        }
    } restore;
    cuda_emulator::install_cudnn(false);
    CHECK_FALSE(load_cudnn(nullptr).usable);
    CHECK(std::string(load_cudnn(nullptr).reason) == "libcudnn.so.9 was not found");
    CHECK(std::string(load_cudnn("/elsewhere").reason) == "TENON_CUDNN=/elsewhere cannot be loaded: no such library is emulated");
    cuda_emulator::install_cudnn(true);
    CHECK(load_cudnn(nullptr).usable);
    CHECK(load_cudnn("/somewhere/libcudnn.so.9").usable);
    CHECK_FALSE(load_cudnn("/somewhere/libother.so").usable);
    const auto none = load_cudnn("0");
    CHECK_FALSE(none.usable);
    CHECK_FALSE(none.wanted);
    cuda_emulator::hide_symbol("cudnnConvolutionBackwardFilter");
    const auto lacking = load_cudnn(nullptr);
    CHECK_FALSE(lacking.usable);
    CHECK(lacking.wanted);
    CHECK(std::string(lacking.reason) == "the library found has no entry point cudnnConvolutionBackwardFilter");
    cuda_emulator::hide_symbol(nullptr);
    cuda_emulator::set_cudnn_version(8902);
    CHECK(std::string(load_cudnn(nullptr).reason) == "the library found is version 8902, wanted is 9.x (9xxxx)");
}

TEST_CASE("what cuDNN refuses") {
    if (!cuda_detail::cudnn_library().usable) return;
    const Small<double> small(2);
    const auto count = [] { return cuda_emulator::cudnn_convolutions(); };
    // A failure is an exception that names the call and the status.
    cuda_emulator::fail_next("cudnnGetConvolutionForwardAlgorithm_v7", 4000);
    CHECK(message_of([&] { small.forward(); }) ==
          "tenon: cudnnGetConvolutionForwardAlgorithm_v7: cuDNN reports CUDNN_STATUS_INTERNAL_ERROR (4000): "
          "cudnnGetConvolutionForwardAlgorithm_v7 was told to fail");
    small.forward();
    cuda_emulator::fail_next("cudnnConvolutionForward", 5000);
    CHECK(message_of([&] { small.forward(); }) ==
          "tenon: cudnnConvolutionForward: cuDNN reports CUDNN_STATUS_EXECUTION_FAILED (5000): cudnnConvolutionForward was told to fail");
    cuda_emulator::fail_next("cudnnConvolutionBackwardData", 5000);
    CHECK(message_of([&] { small.backward_data(); }).find("cudnnConvolutionBackwardData: cuDNN reports CUDNN_STATUS_EXECUTION_FAILED") !=
          std::string::npos);
    cuda_emulator::fail_next("cudnnConvolutionBackwardFilter", 5000);
    CHECK(message_of([&] {
              small.backward_weights();
          }).find("cudnnConvolutionBackwardFilter: cuDNN reports CUDNN_STATUS_EXECUTION_FAILED") != std::string::npos);
    // It works again.
    long before = count();
    small.forward();
    small.backward_data();
    small.backward_weights();
    CHECK(count() == before + 3);
    // An algorithm that its call does not support after all is left for the next, and then for the library's own.
    const double error = small.error();
    cuda_emulator::fail_next("cudnnConvolutionForward", 3000);
    before = count();
    CHECK(small.error() <= 1e-12);
    CHECK(error <= 1e-12);
    CHECK(count() == before);
    // Channels last with nothing for a weight that has its own last: with the weight as it is.
    const Small<double> last(3);
    const auto lx = ImageStrides<2>::channels_last(8, last.s.in), ly = ImageStrides<2>::channels_last(8, last.s.out);
    cuda_emulator::fail_next("cudnnGetConvolutionBackwardFilterAlgorithm_v7", 3000);
    before = count();
    device::conv_backward_weights<double, 2>(last.s, last.x.get(), lx, last.dy.get(), ly, last.dw.get());
    CHECK(count() == before + 1);
    // No algorithm at all (the emulated heuristic has none for this dilation).
    const Small<double> strange(7);
    before = count();
    CHECK(strange.error() <= 1e-12);
    CHECK(count() == before);
}

TEST_CASE("cuDNN's algorithms") {
    if (!cuda_detail::cudnn_library().usable) return;
    const Small<float> small;
    // The heuristic's first supported one would be algorithm 0, which adds in no fixed order backward.
    small.forward();
    CHECK(cuda_emulator::cudnn_algorithm() == 6);
    small.backward_data();
    CHECK(cuda_emulator::cudnn_algorithm() == 4);
    small.backward_weights();
    CHECK(cuda_emulator::cudnn_algorithm() == 5);
    set_conv_precision(ConvPrecision::exact);
    small.forward();
    CHECK(cuda_emulator::cudnn_algorithm() == 1);
    small.backward_data();
    CHECK(cuda_emulator::cudnn_algorithm() == 1);
    small.backward_weights();
    CHECK(cuda_emulator::cudnn_algorithm() == 1);
    set_conv_precision(ConvPrecision::fast);
    // Depthwise convolutions stay with the library's own kernels.
    const long before = cuda_emulator::cudnn_convolutions();
    check<float>(Way::library, Case<2>{1, 4, 4, 4, {5, 6}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}});
    CHECK(cuda_emulator::cudnn_convolutions() == before);
}

#endif

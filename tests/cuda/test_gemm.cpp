// The device's matrix products against sums in double, through cuBLASLt and through tiles.
#include <tenon/kernels/cuda/gemm_half.cuh>
#include <tenon/kernels/cuda/gemm_int8.cuh>

#include <catch2/catch.hpp>

#include <cmath>
#include <limits>
#include <vector>

namespace {

using namespace tenon;
namespace device = tenon::kernels::cuda;
using device::GemmOptions;
using device::MatrixView;

template <class T>
struct Array {
    T* data = nullptr;
    std::size_t size;

    explicit Array(const std::vector<T>& values) : size(values.size()) {
        REQUIRE(cudaMalloc(reinterpret_cast<void**>(&data), (size + 1) * sizeof(T)) == cudaSuccess);
        if (size > 0) REQUIRE(cudaMemcpy(data, values.data(), size * sizeof(T), cudaMemcpyHostToDevice) == cudaSuccess);
    }
    Array(const Array&) = delete;
    Array& operator=(const Array&) = delete;
    ~Array() { cudaFree(data); }
    std::vector<T> get() const {
        std::vector<T> values(size);
        if (size > 0) REQUIRE(cudaMemcpy(values.data(), data, size * sizeof(T), cudaMemcpyDeviceToHost) == cudaSuccess);
        return values;
    }
};

// Multiples of 1/8 in [-2, 2): exact in every type.
template <class T>
std::vector<T> numbers(long n, unsigned seed) {
    std::vector<T> values(static_cast<std::size_t>(n));
    unsigned state = seed * 2654435761u + 1;
    for (T& v : values) {
        state = state * 1664525u + 1013904223u;
        v = static_cast<T>((static_cast<float>(state >> 27) - 16.0f) / 8.0f);
    }
    return values;
}

enum class Layout { rows, columns, spread };

// How a matrix lies in memory, and how much of it there is.
struct Place {
    long row, column, size;
};
Place place(Layout layout, long rows, long columns) {
    switch (layout) {
        case Layout::rows: return {columns + 3, 1, rows * (columns + 3)};
        case Layout::columns: return {1, rows + 1, columns * (rows + 1)};
        default: return {2 * columns + 1, 2, rows * (2 * columns + 1) + 2};
    }
}

struct Settings {
    bool accumulate, bias, relu;
    float alpha;
};

// What makes the product: tiles, cuBLASLt, or whichever the library takes.
enum class Way { tiles, cublas, either };

template <class T, class Out>
void check(long batch, long m, long n, long k, Layout of_a, Layout of_b, bool shared_b, const Settings& settings, Way way) {
    using Sum = typename device::gemm_impl::sum_of<T>::type;
    const Place pa = place(of_a, m, k), pb = place(of_b, k, n);
    const long ldc = (n + 3) / 2 * 2, c_batch = m * ldc + 4, b_batch = shared_b ? 0 : pb.size;
    const auto a = numbers<T>(batch * pa.size, 1), b = numbers<T>((shared_b ? 1 : batch) * pb.size, 2);
    const auto c = numbers<Out>(batch * c_batch, 3), bias = numbers<Out>(n, 4);
    const Array<T> da(a), db(b);
    const Array<Out> dc(c), dbias(bias);
    GemmOptions<Out> options;
    options.accumulate = settings.accumulate;
    options.alpha = settings.alpha;
    options.bias = settings.bias ? dbias.data : nullptr;
    options.relu = settings.relu;
    const auto product =
        device::gemm_impl::make_product<T, Out>(batch, m, n, k, MatrixView<T>{da.data, pa.row, pa.column}, pa.size,
                                                MatrixView<T>{db.data, pb.row, pb.column}, b_batch, dc.data, ldc, c_batch, options);
    if (way == Way::tiles) device::gemm_impl::run_tiles("gemm", product);
    else if (way == Way::either) device::gemm_impl::multiply(product);
#if TENON_CUBLAS
    else if (batch > 0 && m > 0 && n > 0 && k > 0) REQUIRE(device::gemm_impl::multiply_readable(product));
    else return;
#endif
    const auto got = dc.get();
    // k terms of at most 4 in magnitude, each rounded, and one more rounding to the result's type.
    const double unit = std::is_same_v<Sum, double> ? 0x1p-53 : 0x1p-24;
    const double last = std::is_same_v<Out, bf16> ? 0x1p-8 : std::is_same_v<Out, half> ? 0x1p-11 : unit;
    long wrong = 0;
    for (long p = 0; p < batch; ++p)
        for (long i = 0; i < m; ++i)
            for (long j = 0; j < ldc; ++j) {
                const std::size_t at = static_cast<std::size_t>(p * c_batch + i * ldc + j);
                const double before = static_cast<double>(c[at]), have = static_cast<double>(got[at]);
                if (j >= n) {
                    wrong += have != before;
                    continue;
                }
                double sum = 0, magnitude = 8;
                for (long l = 0; l < k; ++l) {
                    const double term = static_cast<double>(a[static_cast<std::size_t>(p * pa.size + i * pa.row + l * pa.column)]) *
                                        static_cast<double>(b[static_cast<std::size_t>(p * b_batch + l * pb.row + j * pb.column)]);
                    sum += term;
                    magnitude += std::fabs(term);
                }
                sum *= static_cast<double>(settings.alpha);
                if (settings.accumulate) sum += before;
                if (settings.bias) sum += static_cast<double>(bias[static_cast<std::size_t>(j)]);
                if (settings.relu && sum < 0) sum = 0;
                wrong += !(std::fabs(have - sum) <= static_cast<double>(k + 4) * unit * magnitude + last * std::fabs(sum));
            }
    CAPTURE(batch, m, n, k, int(of_a), int(of_b), settings.accumulate, settings.bias, settings.relu, int(way));
    CHECK(wrong == 0);
}

const Settings plain{false, false, false, 1}, everything{true, true, true, 0.5f};

template <class T, class Out>
void check_sizes(Way way) {
    struct Sizes {
        long m, n, k;
    };
    for (const Sizes s : {Sizes{1, 1, 1}, {1, 33, 31}, {33, 1, 17}, {5, 7, 0}, {31, 33, 65}, {65, 66, 16}, {130, 9, 40}}) {
        check<T, Out>(1, s.m, s.n, s.k, Layout::rows, Layout::rows, false, plain, way);
        check<T, Out>(1, s.m, s.n, s.k, Layout::columns, Layout::columns, false, everything, way);
    }
    for (const Layout a : {Layout::rows, Layout::columns, Layout::spread})
        for (const Layout b : {Layout::rows, Layout::columns, Layout::spread})
            for (const bool shared : {false, true}) check<T, Out>(3, 12, 10, 70, a, b, shared, {false, true, false, 1}, way);
    for (const Settings& s : {Settings{true, false, false, 1},
                              {false, true, false, 1},
                              {false, false, true, 1},
                              {false, true, true, 1},
                              {false, false, false, -2}})
        check<T, Out>(2, 8, 72, 8, Layout::rows, Layout::rows, false, s, way);
    for (const Settings& s : {plain, everything}) {
        check<T, Out>(0, 3, 4, 5, Layout::rows, Layout::rows, false, s, way);
        check<T, Out>(2, 0, 4, 5, Layout::rows, Layout::rows, false, s, way);
        check<T, Out>(2, 3, 0, 5, Layout::rows, Layout::rows, false, s, way);
    }
}

}  // namespace

#if TENON_CUBLAS
constexpr Way ways[] = {Way::tiles, Way::cublas, Way::either};
#else
constexpr Way ways[] = {Way::tiles, Way::either};
#endif

TEST_CASE("products of floats") {
    for (const Way way : ways) check_sizes<float, float>(way);
}
TEST_CASE("products of doubles") {
    for (const Way way : ways) check_sizes<double, double>(way);
}
TEST_CASE("products of bf16") {
    for (const Way way : ways) check_sizes<bf16, bf16>(way);
    for (const Way way : ways) check_sizes<bf16, float>(way);
}
TEST_CASE("products of half") {
    for (const Way way : ways) check_sizes<half, half>(way);
    for (const Way way : ways) check_sizes<half, float>(way);
}

TEST_CASE("a NaN passes through bias and relu, and infinities stay in their row") {
    const long m = 70, n = 72, k = 68;
    auto a = numbers<float>(m * k, 1), b = numbers<float>(k * n, 2), bias = numbers<float>(n, 3);
    a[static_cast<std::size_t>(3 * k + 5)] = std::numeric_limits<float>::quiet_NaN();
    bias[7] = std::numeric_limits<float>::quiet_NaN();
    const Array<float> da(a), db(b), dbias(bias), dc(std::vector<float>(static_cast<std::size_t>(m * n), -1.0f));
    GemmOptions<float> options;
    options.bias = dbias.data;
    options.relu = true;
    device::gemm<float>(m, n, k, da.data, k, db.data, n, dc.data, n, options);
    const auto c = dc.get();
    for (long i = 0; i < m; ++i)
        for (long j = 0; j < n; ++j) {
            const float value = c[static_cast<std::size_t>(i * n + j)];
            if (i == 3 || j == 7) REQUIRE(std::isnan(value));
            else REQUIRE(value >= 0);
        }
}

TEST_CASE("the same bits on every run") {
    const long m = 33, n = 65, k = 200;
    const auto a = numbers<float>(m * k, 5), b = numbers<float>(k * n, 6);
    const Array<float> da(a), db(b), one(std::vector<float>(static_cast<std::size_t>(m * n))),
        two(std::vector<float>(static_cast<std::size_t>(m * n)));
    for (const Array<float>* c : {&one, &two}) device::gemm<float>(m, n, k, da.data, k, db.data, n, c->data, n);
    CHECK(one.get() == two.get());
}

TEST_CASE("sums of halves are rounded once") {
    std::vector<float> sums = {1.0f, 0x1p-9f, 3.0f, -2.5f, 1.00390625f};
    const Array<float> from(sums);
    const Array<bf16> to(std::vector<bf16>(sums.size(), bf16(1.0f)));
    device::round_sums<bf16>(static_cast<long>(sums.size()), from.data, to.data, true);
    auto got = to.get();
    for (std::size_t i = 0; i < sums.size(); ++i) CHECK(static_cast<float>(got[i]) == static_cast<float>(bf16(1.0f + sums[i])));
    device::round_sums<bf16>(static_cast<long>(sums.size()), from.data, to.data, false);
    got = to.get();
    for (std::size_t i = 0; i < sums.size(); ++i) CHECK(static_cast<float>(got[i]) == static_cast<float>(bf16(sums[i])));
}

namespace {

template <class T, class Out>
void check_int8(long m, long n, long k, Layout of_a, Layout of_b, bool zeros, bool scales, bool then) {
    const Place pa = place(of_a, m, k), pb = place(of_b, k, n);
    const auto integers = [](auto* values, unsigned seed) {
        unsigned state = seed;
        for (auto& v : *values) {
            state = state * 1664525u + 1013904223u;
            v = static_cast<std::remove_reference_t<decltype(v)>>(state >> 24);
        }
    };
    std::vector<T> a(static_cast<std::size_t>(pa.size));
    std::vector<std::int8_t> b(static_cast<std::size_t>(pb.size));
    integers(&a, 1);
    integers(&b, 2);
    std::vector<std::int32_t> a_zero(static_cast<std::size_t>(m)), b_zero(static_cast<std::size_t>(n));
    std::vector<float> a_scale(static_cast<std::size_t>(m)), b_scale(static_cast<std::size_t>(n));
    for (std::size_t i = 0; i < a_zero.size(); ++i) {
        a_zero[i] = static_cast<std::int32_t>(i % 7) - 3;
        a_scale[i] = 0.25f + static_cast<float>(i % 3);
    }
    for (std::size_t j = 0; j < b_zero.size(); ++j) {
        b_zero[j] = static_cast<std::int32_t>(j % 5) - 2;
        b_scale[j] = 0.01f * static_cast<float>(1 + j % 4);
    }
    std::vector<Out> c(static_cast<std::size_t>(m * n), Out(3)), bias(static_cast<std::size_t>(n));
    for (std::size_t j = 0; j < bias.size(); ++j) bias[j] = static_cast<Out>(static_cast<int>(j) * 11 - 100);
    const Array<T> da(a);
    const Array<std::int8_t> db(b);
    const Array<std::int32_t> da_zero(a_zero), db_zero(b_zero);
    const Array<float> da_scale(a_scale), db_scale(b_scale);
    const Array<Out> dc(c), dbias(bias);
    device::Int8Options<Out> options;
    options.accumulate = then;
    options.relu = then;
    if (then) options.bias = dbias.data;
    if (zeros) {
        options.a_zero = {da_zero.data, 1};
        options.b_zero = {db_zero.data, 1};
    }
    if (scales) {
        options.a_scale = {da_scale.data, 1};
        options.b_scale = {db_scale.data, 1};
    }
    device::gemm_int8<T, Out>(m, n, k, {da.data, pa.row, pa.column}, {db.data, pb.row, pb.column}, dc.data, n, options);
    const auto got = dc.get();
    long wrong = 0;
    for (long i = 0; i < m; ++i)
        for (long j = 0; j < n; ++j) {
            std::int32_t sum = 0;
            for (long l = 0; l < k; ++l)
                sum += (a[static_cast<std::size_t>(i * pa.row + l * pa.column)] - (zeros ? a_zero[static_cast<std::size_t>(i)] : 0)) *
                       (b[static_cast<std::size_t>(l * pb.row + j * pb.column)] - (zeros ? b_zero[static_cast<std::size_t>(j)] : 0));
            Out want;
            if constexpr (std::is_same_v<Out, float>) {
                const float scale = scales ? a_scale[static_cast<std::size_t>(i)] * b_scale[static_cast<std::size_t>(j)] : 1.0f;
                volatile float product = scale * static_cast<float>(sum);
                want = product;
            } else {
                want = sum;
            }
            if (then) {
                want += c[0];
                want += bias[static_cast<std::size_t>(j)];
                if (want < 0) want = 0;
            }
            wrong += got[static_cast<std::size_t>(i * n + j)] != want;
        }
    CAPTURE(m, n, k, int(of_a), int(of_b), zeros, scales, then);
    CHECK(wrong == 0);
}

}  // namespace

TEST_CASE("products of bytes are exact") {
    struct Sizes {
        long m, n, k;
    };
    for (const Sizes s : {Sizes{1, 1, 1}, {33, 31, 20}, {8, 64, 72}, {65, 68, 36}, {3, 4, 0}})
        for (const bool zeros : {false, true})
            for (const bool then : {false, true}) {
                check_int8<std::int8_t, std::int32_t>(s.m, s.n, s.k, Layout::rows, Layout::rows, zeros, false, then);
                check_int8<std::int8_t, float>(s.m, s.n, s.k, Layout::spread, Layout::columns, zeros, true, then);
                check_int8<std::uint8_t, float>(s.m, s.n, s.k, Layout::columns, Layout::rows, zeros, false, then);
            }
}

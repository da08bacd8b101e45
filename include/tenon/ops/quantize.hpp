// Integers of eight bits for floats: quantisation by tensor or by channel, and products of the integers.
//
// q stands for (q - zero point) * scale. None of these has a derivative: results carry no gradient record.
#pragma once

#include <tenon/core/factories.hpp>
#include <tenon/kernels/cpu/gemm_int8.hpp>
#include <tenon/ops/copy.hpp>
#include <tenon/ops/matmul.hpp>
#if TENON_CUDA
#include <tenon/kernels/cuda/gemm_int8.cuh>
#endif

namespace tenon {

// How integers stand for floats: one scale and zero point for all, or one for each channel.
struct Quantization {
    float scale = 1;
    std::int32_t zero_point = 0;
    Tensor<float, 1> scales = {};              // empty, or one for each channel (then `scale` does not count)
    Tensor<std::int32_t, 1> zero_points = {};  // empty, or one for each channel (then `zero_point` does not count)
};

// What follows a product of integers that results in floats.
struct Int8Epilogue {
    Tensor<float, 1> bias = {};  // one for each column; empty: none
    bool relu = false;           // a NaN passes
};

inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

template <class Q>
inline constexpr bool is_quantized = std::is_same_v<Q, std::int8_t> || std::is_same_v<Q, std::uint8_t>;

// Scales must be positive and finite, which the host looks at, and there must be `channels` of them.
inline void check_quantization(const char* operation, const Quantization& q, Device device, long channels, const char* of) {
    auto positive = [&](float scale, long at) {
        if (!(scale > 0 && scale <= 3.4028234e38f)) fail<ValueError>(operation, ": scale ", static_cast<double>(scale), " of channel ", at, " is not a positive number");
    };
    if (q.scales.has_value()) {
        if (!(q.scales.device() == device)) fail_devices(operation, device, q.scales.device());
        if (q.scales.size() != channels) fail<ShapeError>(operation, ": scales are ", q.scales.record()->description(), ", expected one for each of the ", channels, " ", of);
        const Tensor<float, 1> scales = contiguous(q.scales.detach().to(cpu));
        for (long i = 0; i < channels; ++i) positive(scales.data()[i], i);
    } else {
        positive(q.scale, 0);
    }
    if (q.zero_points.has_value()) {
        if (!(q.zero_points.device() == device)) fail_devices(operation, device, q.zero_points.device());
        if (q.zero_points.size() != channels)
            fail<ShapeError>(operation, ": zero points are ", q.zero_points.record()->description(), ", expected one for each of the ", channels, " ", of);
    }
}
// [channels] as a view that broadcasts along axis Axis of R.
template <int R, int Axis, class T>
auto along_axis(const Tensor<T, 1>& channels) {
    Shape<R - Axis> sizes;
    sizes.dims[0] = channels.shape(0);
    for (int i = 1; i < R - Axis; ++i) sizes.dims[i] = 1;
    return channels.reshape(sizes);
}
inline Tensor<float, 1> scales_of(const Quantization& q, Device device) {
    return q.scales.has_value() ? q.scales.detach() : full<float>({1}, q.scale, device);
}
inline Tensor<std::int32_t, 1> zero_points_of(const Quantization& q, Device device) {
    return q.zero_points.has_value() ? q.zero_points : full<std::int32_t>({1}, q.zero_point, device);
}

template <class Q, int Axis, class E>
auto quantize_any(const char* operation, E&& e, const Quantization& q) {
    static_assert(is_quantized<Q>, "tenon: quantize: the result is int8 or uint8");
    const auto x = as_tensor(static_cast<E&&>(e)).detach();
    static_assert(std::is_same_v<typename decltype(x.detach())::Scalar, float>, "tenon: quantize: the input must be float: write cast<float>(x) first");
    constexpr int rank = decltype(x.detach())::rank;
    static_assert(Axis >= -rank && Axis < rank, "tenon: quantize_per_channel<Axis>: the axis is outside of the tensor's rank");
    constexpr int axis = detail::normal_axis<Axis, rank>();
    check_device(operation, x.device());
    check_quantization(operation, q, x.device(), x.shape(axis), "channels");
    const auto scale = along_axis<rank, axis>(scales_of(q, x.device()));
    const auto zero = along_axis<rank, axis>(zero_points_of(q, x.device()));
    constexpr float low = std::is_same_v<Q, std::int8_t> ? -128.0f : 0.0f, high = std::is_same_v<Q, std::int8_t> ? 127.0f : 255.0f;
    const Tensor<Q, rank> result = cast<Q>(clamp(where(isnan(x), 0.0f, round(x / scale)) + cast<float>(zero), low, high));
    return result;
}
template <int Axis, class Q, int R>
Tensor<float, R> dequantize_any(const char* operation, const Tensor<Q, R>& x, const Quantization& q) {
    static_assert(is_quantized<Q> || std::is_same_v<Q, std::int32_t>, "tenon: dequantize: the input is int8, uint8 or int32");
    static_assert(Axis >= -R && Axis < R, "tenon: dequantize_per_channel<Axis>: the axis is outside of the tensor's rank");
    constexpr int axis = detail::normal_axis<Axis, R>();
    check_device(operation, x.device());
    check_quantization(operation, q, x.device(), x.shape(axis), "channels");
    // The difference is taken in integers, where it is exact.
    const Tensor<float, R> result = cast<float>(cast<std::int32_t>(x) - along_axis<R, axis>(zero_points_of(q, x.device()))) *
                                    along_axis<R, axis>(scales_of(q, x.device()));
    return result;
}

// The product of every matrix of a batch.
template <class Q, class Out>
void run_int8_product(const ProductSpec& s, Out* c, const kernels::cpu::Int8Options<Out>& options) {
    const Q* a = reinterpret_cast<const Q*>(s.a->data());
    const std::int8_t* b = reinterpret_cast<const std::int8_t*>(s.b->data());
    for_batch(s, [&](long p, long ao, long bo) {
        kernels::cpu::Int8Options<Out> mine = options;
        mine.a_zero = options.a_zero.from(p * s.m);
        mine.a_scale = options.a_scale.from(p * s.m);
        TENON_RUN(s.a->storage->device, gemm_int8<Q, Out>(s.m, s.n, s.k, {a + ao, s.a_row, s.a_column}, {b + bo, s.b_row, s.b_column},
                                                          c + p * s.m * s.n, s.n, mine));
    });
}
template <class Q, int RA, int RB>
ProductSpec int8_spec(const char* operation, const Tensor<Q, RA>& a, const Tensor<std::int8_t, RB>& b, bool transposed, long* dims) {
    static_assert(is_quantized<Q>, "tenon: matmul_int8: the left operand is int8 or uint8, the right one int8");
    static_assert(RA >= 1 && RB >= 1, "tenon: matmul_int8: a scalar has no axis to multiply over");
    ProductSpec spec;
    spec.a = a.any();
    spec.b = b.any();
    spec.b_transposed = transposed;
    set_product(operation, spec, dims);
    check_device(operation, a.device());
    return spec;
}
template <class Q, int RA, int RB>
Tensor<std::int32_t, product_rank(RA, RB)> int8_product(const char* operation, const Tensor<Q, RA>& a, const Tensor<std::int8_t, RB>& b, bool transposed) {
    long dims[max_rank];
    const ProductSpec spec = int8_spec(operation, a, b, transposed, dims);
    Tensor<std::int32_t, product_rank(RA, RB)> y(detail::AnyTensor(detail::new_record(DType::int32, product_rank(RA, RB), dims, a.device(), operation)));
    run_int8_product<Q, std::int32_t>(spec, y.data(), {});
    return y;
}
template <class Q, int RA, int RB>
Tensor<float, product_rank(RA, RB)> int8_product(const char* operation, const Tensor<Q, RA>& a, const Quantization& of_a, const Tensor<std::int8_t, RB>& b,
                                                 const Quantization& of_b, const Int8Epilogue& then, bool transposed) {
    constexpr int rank = product_rank(RA, RB);
    long dims[max_rank];
    const ProductSpec spec = int8_spec(operation, a, b, transposed, dims);
    const bool by_row = of_a.scales.has_value() || of_a.zero_points.has_value();
    if (RB > 2 && by_row)
        fail<ShapeError>(operation, ": the left operand is quantised by row, and the right one, ", b.record()->description(),
                         ", is a batch\n       hint: quantise the left operand by tensor, or multiply with one matrix");
    check_quantization(operation, of_a, a.device(), spec.k > 0 ? a.size() / spec.k : spec.m, "rows of the left operand");
    check_quantization(operation, of_b, a.device(), spec.n, "columns of the right operand");
    Tensor<float, 1> a_scales = contiguous(scales_of(of_a, a.device())), b_scales = contiguous(scales_of(of_b, a.device())), bias;
    Tensor<std::int32_t, 1> a_zeros = contiguous(zero_points_of(of_a, a.device())), b_zeros = contiguous(zero_points_of(of_b, a.device()));
    kernels::cpu::Int8Options<float> options;
    options.a_scale = {a_scales.data(), of_a.scales.has_value() ? 1 : 0};
    options.b_scale = {b_scales.data(), of_b.scales.has_value() ? 1 : 0};
    if (of_a.zero_points.has_value() || of_a.zero_point != 0) options.a_zero = {a_zeros.data(), of_a.zero_points.has_value() ? 1 : 0};
    if (of_b.zero_points.has_value() || of_b.zero_point != 0) options.b_zero = {b_zeros.data(), of_b.zero_points.has_value() ? 1 : 0};
    if (then.bias.has_value()) {
        if (!(then.bias.device() == a.device())) fail_devices(operation, a.device(), then.bias.device());
        if (then.bias.size() != spec.n)
            fail<ShapeError>(operation, ": bias is ", then.bias.record()->description(), ", expected one value for each of the ", spec.n, " columns of the right operand");
        bias = contiguous(then.bias.detach());
        options.bias = bias.data();
    }
    options.relu = then.relu;
    Tensor<float, rank> y(detail::AnyTensor(detail::new_record(DType::float32, rank, dims, a.device(), operation)));
    run_int8_product<Q, float>(spec, y.data(), options);
    return y;
}

}  // namespace impl

// quantize_per_tensor<Q>(x, {.scale = s, .zero_point = z}): clamp(round(x / s) + z) as Q, int8 or uint8, of float x; halves go to
// the even neighbour, a NaN to the zero point. Throws ValueError for a scale that is not positive and finite. No derivative.
template <class Q = std::int8_t, Expression E>
[[nodiscard]] auto quantize_per_tensor(E&& x, const Quantization& q) {
    static_assert(wrap_t<E>::rank >= 1, "tenon: quantize_per_tensor: the input is a scalar");
    if (q.scales.has_value() || q.zero_points.has_value())
        fail<ValueError>("quantize_per_tensor: scales or zero points by channel came\n       hint: quantize_per_channel<Axis>(x, q) takes them");
    return impl::quantize_any<Q, 0>("quantize_per_tensor", static_cast<E&&>(x), q);
}
// quantize_per_channel<Axis, Q>(x, {.scales = s[c], .zero_points = z[c]}): the same with a scale and a zero point for each
// index of an axis (zero points: 0 where none come). Throws ShapeError for another number of them.
template <int Axis, class Q = std::int8_t, Expression E>
[[nodiscard]] auto quantize_per_channel(E&& x, const Quantization& q) {
    return impl::quantize_any<Q, Axis>("quantize_per_channel", static_cast<E&&>(x), q);
}
// dequantize_per_tensor(q, {...}), dequantize_per_channel<Axis>(q, {...}): (q - zero point) * scale as float, of int8, uint8 and
// int32. No derivative.
template <class Q, int R>
[[nodiscard]] Tensor<float, R> dequantize_per_tensor(const Tensor<Q, R>& x, const Quantization& q) {
    if (q.scales.has_value() || q.zero_points.has_value())
        fail<ValueError>("dequantize_per_tensor: scales or zero points by channel came\n       hint: dequantize_per_channel<Axis>(x, q) takes them");
    return impl::dequantize_any<0>("dequantize_per_tensor", x, q);
}
template <int Axis, class Q, int R>
[[nodiscard]] Tensor<float, R> dequantize_per_channel(const Tensor<Q, R>& x, const Quantization& q) {
    return impl::dequantize_any<Axis>("dequantize_per_channel", x, q);
}

// matmul_int8(a, b): matmul of int8 or uint8 by int8, summed exactly: int32 (sums beyond it wrap, which takes more than 65 793
// terms). Shapes, batches and strides as matmul; throws ShapeError as it does. No derivative.
template <class Q, int RA, int RB>
[[nodiscard]] auto matmul_int8(const Tensor<Q, RA>& a, const Tensor<std::int8_t, RB>& b) { return impl::int8_product("matmul_int8", a, b, false); }
// linear_int8(x[..., in], weight[out, in]): x times the transpose of weight.
template <class Q, int R>
[[nodiscard]] auto linear_int8(const Tensor<Q, R>& x, const Tensor<std::int8_t, 2>& weight) { return impl::int8_product("linear_int8", x, weight, true); }

// matmul_int8(a, qa, b, qb, {.bias = bias, .relu = true}): the product of what the integers stand for, in float: the exact sum
// of (a - zero point) * (b - zero point), times both scales, plus bias, through relu; one pass. a is quantised by tensor or by
// row (counted through all leading axes; b then is one matrix), b by tensor or by column. No derivative. Throws ShapeError
// for other numbers of scales, ValueError for scales that are not positive.
template <class Q, int RA, int RB>
[[nodiscard]] auto matmul_int8(const Tensor<Q, RA>& a, const Quantization& qa, const Tensor<std::int8_t, RB>& b, const Quantization& qb, const Int8Epilogue& then = {}) {
    return impl::int8_product("matmul_int8", a, qa, b, qb, then, false);
}
// The same for weight[out, in], quantised by tensor or by row.
template <class Q, int R>
[[nodiscard]] auto linear_int8(const Tensor<Q, R>& x, const Quantization& qx, const Tensor<std::int8_t, 2>& weight, const Quantization& qw, const Int8Epilogue& then = {}) {
    return impl::int8_product("linear_int8", x, qx, weight, qw, then, true);
}

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

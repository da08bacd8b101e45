// Quantisation and products of bytes on the device: the CPU's bits.
#include <tenon/ops/quantize.hpp>

#include "device_agreement.hpp"

using namespace tenon;
using device_agreement::check_close;
using device_agreement::eighths;

namespace {

constexpr double same = 0;

Quantization on_device(const Quantization& q) {
    Quantization there = q;
    if (q.scales.has_value()) there.scales = q.scales.to(cuda());
    if (q.zero_points.has_value()) there.zero_points = q.zero_points.to(cuda());
    return there;
}
Tensor<float, 1> scales(long n) {
    Tensor<float, 1> s = full<float>({n}, 0.0f);
    for (long i = 0; i < n; ++i) s.data()[i] = 0.03f * static_cast<float>(1 + i % 5);
    return s;
}
Tensor<std::int32_t, 1> zero_points(long n) {
    Tensor<std::int32_t, 1> z = full<std::int32_t>({n}, 0);
    for (long i = 0; i < n; ++i) z.data()[i] = static_cast<std::int32_t>(i % 7) - 3;
    return z;
}
template <class Q, int R>
bool same_bytes(const Tensor<Q, R>& a, const Tensor<Q, R>& b) {
    const Tensor<Q, R> back = b.to(cpu);
    bool equal = b.device() == cuda() && a.size() == back.size();
    for (long i = 0; equal && i < a.size(); ++i) equal = a.data()[i] == back.data()[i];
    return equal;
}

}  // namespace

TEST_CASE("quantisation") {
    const auto x = eighths<float>({5, 33}, 1);
    const Quantization whole{.scale = 0.05f, .zero_point = 3};
    Quantization rows;
    rows.scales = scales(5);
    rows.zero_points = zero_points(5);
    const auto a = quantize_per_tensor(x, whole), b = quantize_per_tensor(x.to(cuda()), whole);
    CHECK(same_bytes(a, b));
    check_close(dequantize_per_tensor(b, whole), dequantize_per_tensor(a, whole), same);
    const auto c = quantize_per_channel<0, std::uint8_t>(x, rows), d = quantize_per_channel<0, std::uint8_t>(x.to(cuda()), on_device(rows));
    CHECK(same_bytes(c, d));
    check_close(dequantize_per_channel<0>(d, on_device(rows)), dequantize_per_channel<0>(c, rows), same);
    CHECK_THROWS_AS(quantize_per_channel<0>(x.to(cuda()), rows), DeviceError);
}

TEST_CASE("products of bytes") {
    const Quantization by_tensor{.scale = 0.05f}, shifted{.scale = 0.02f, .zero_point = 100};
    Quantization columns;
    columns.scales = scales(68);
    const auto x = eighths<float>({3, 12, 72}, 1);
    const auto w = eighths<float>({68, 72}, 2);
    const auto qx = quantize_per_tensor(x, by_tensor);
    const auto qw = quantize_per_channel<0>(w, columns);
    const auto ux = quantize_per_tensor<std::uint8_t>(x, shifted);
    check_close(linear_int8(qx.to(cuda()), qw.to(cuda())), linear_int8(qx, qw), same);
    check_close(matmul_int8(ux.to(cuda()), transpose(qw.to(cuda()))), matmul_int8(ux, transpose(qw)), same);
    const auto bias = eighths<float>({68}, 3);
    check_close(linear_int8(qx.to(cuda()), by_tensor, qw.to(cuda()), on_device(columns), {.bias = bias.to(cuda()), .relu = true}),
                linear_int8(qx, by_tensor, qw, columns, {.bias = bias, .relu = true}), same);
    check_close(linear_int8(ux.to(cuda()), shifted, qw.to(cuda()), on_device(columns)), linear_int8(ux, shifted, qw, columns), same);
}

// Random tensors from explicit keys: the same key gives the same bits, on every device and with any number of threads.
// Order of arguments: shape, key, (parameters,) device.
#pragma once

#include <tenon/base/philox.hpp>
#include <tenon/core/factories.hpp>
#include <tenon/kernels/cpu/rng.hpp>
#include <tenon/autograd/fused.hpp>
#if TENON_CUDA
#include <tenon/kernels/cuda/rng.cuh>
#endif

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

template <class T, class Fill>
detail::AnyTensor random(const char* name, int rank, const long* dims, Device device, Fill fill) {
    check_device(name, device);
    detail::AnyTensor result(detail::new_record(dtype_of<T>, rank, dims, device, name));
    fill(result->size, reinterpret_cast<T*>(result->data()));
    return result;
}

}  // namespace impl

// Standard normal. T: float, double, bf16, half.
template <Floating T, std::size_t R>
[[nodiscard]] Tensor<T, static_cast<int>(R)> randn(const Dim (&sizes)[R], Key key, Device device = {}) {
    return Tensor<T, static_cast<int>(R)>(impl::random<T>("randn", static_cast<int>(R), detail::DimList<R>(sizes).dims, device,
                                                          [&](long n, T* out) { TENON_RUN(device, normal(key, n, out)); }));
}
template <Floating T>
[[nodiscard]] Tensor<T, 0> randn(ScalarShape, Key key, Device device = {}) {
    return Tensor<T, 0>(impl::random<T>("randn", 0, nullptr, device, [&](long n, T* out) { TENON_RUN(device, normal(key, n, out)); }));
}
template <Floating T, int R>
[[nodiscard]] Tensor<T, R> randn(const Shape<R>& shape, Key key, Device device = {}) {
    return Tensor<T, R>(impl::random<T>("randn", R, shape.dims, device, [&](long n, T* out) { TENON_RUN(device, normal(key, n, out)); }));
}

// The ends of a uniform draw.
struct Range { double low = 0, high = 1; };
// Uniform in [low, high), by default [0, 1). T: float, double, bf16, half.
template <Floating T, std::size_t R>
[[nodiscard]] Tensor<T, static_cast<int>(R)> uniform(const Dim (&sizes)[R], Key key, Range range = {}, Device device = {}) {
    return Tensor<T, static_cast<int>(R)>(impl::random<T>("uniform", static_cast<int>(R), detail::DimList<R>(sizes).dims, device, [&](long n, T* out) {
        using P = std::conditional_t<std::is_same_v<T, double>, double, float>;
        TENON_RUN(device, uniform(key, n, out, static_cast<P>(range.low), static_cast<P>(range.high)));
    }));
}
template <Floating T, int R>
[[nodiscard]] Tensor<T, R> uniform(const Shape<R>& shape, Key key, Range range = {}, Device device = {}) {
    return Tensor<T, R>(impl::random<T>("uniform", R, shape.dims, device, [&](long n, T* out) {
        using P = std::conditional_t<std::is_same_v<T, double>, double, float>;
        TENON_RUN(device, uniform(key, n, out, static_cast<P>(range.low), static_cast<P>(range.high)));
    }));
}

// Integers in [low, high). Throws ValueError when low >= high.
template <std::size_t R>
[[nodiscard]] Tensor<std::int64_t, static_cast<int>(R)> integers(const Dim (&sizes)[R], Key key, long low, long high, Device device = {}) {
    return Tensor<std::int64_t, static_cast<int>(R)>(
        impl::random<std::int64_t>("integers", static_cast<int>(R), detail::DimList<R>(sizes).dims, device,
                                   [&](long n, std::int64_t* out) { TENON_RUN(device, integers(key, n, out, low, high)); }));
}
// true with probability p. Throws ValueError when p is outside of [0, 1].
template <std::size_t R>
[[nodiscard]] Tensor<bool, static_cast<int>(R)> bernoulli(const Dim (&sizes)[R], Key key, double p, Device device = {}) {
    return Tensor<bool, static_cast<int>(R)>(impl::random<bool>("bernoulli", static_cast<int>(R), detail::DimList<R>(sizes).dims, device,
                                                                [&](long n, bool* out) { TENON_RUN(device, bernoulli(key, n, out, p)); }));
}
// 0 ... n - 1 in random order.
[[nodiscard]] inline Tensor<std::int64_t, 1> permutation(long n, Key key, Device device = {}) {
    return Tensor<std::int64_t, 1>(
        impl::random<std::int64_t>("permutation", 1, &n, device, [&](long count, std::int64_t* out) { TENON_RUN(device, permutation(key, count, out)); }));
}

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

// Tensors from sizes and values: the factories that need no kernels. Order of arguments: shape, (value or key,) device.
#pragma once

#include <tenon/core/tensor.hpp>

#include <initializer_list>

namespace tenon {
namespace detail {

template <class T>
AnyTensor filled(int rank, const long* dims, T value, Device device, const char* operation) {
    AnyTensor host(new_record(dtype_of<T>, rank, dims, cpu, operation));
    T* data = reinterpret_cast<T*>(host->data());
    for (long i = 0; i < host->size; ++i) data[i] = value;
    if (device.is_cpu()) return host;
    AnyTensor result(new_record(dtype_of<T>, rank, dims, device, operation));
    runtime::backend(device).copy(device, result->data(), cpu, data, static_cast<std::size_t>(host->size) * sizeof(T));
    return result;
}
inline AnyTensor zeroed(DType dtype, int rank, const long* dims, Device device) {
    AnyTensor result(new_record(dtype, rank, dims, device, "zeros"));
    const std::size_t bytes = static_cast<std::size_t>(result->size) * static_cast<std::size_t>(size_of(dtype));
    zero_bytes(device, result->data(), bytes);
    return result;
}
template <std::size_t R>
struct DimList {
    long dims[R];
    constexpr DimList(const Dim (&sizes)[R]) {
        for (std::size_t i = 0; i < R; ++i) dims[i] = sizes[i].value;
    }
};

}  // namespace detail

// Uninitialised.
template <Element T, std::size_t R>
[[nodiscard]] Tensor<T, static_cast<int>(R)> empty(const Dim (&sizes)[R], Device device = {}) {
    return Tensor<T, static_cast<int>(R)>(detail::AnyTensor(detail::new_record(dtype_of<T>, static_cast<int>(R), detail::DimList<R>(sizes).dims, device)));
}
template <Element T>
[[nodiscard]] Tensor<T, 0> empty(ScalarShape, Device device = {}) {
    return Tensor<T, 0>(detail::AnyTensor(detail::new_record(dtype_of<T>, 0, nullptr, device)));
}
template <Element T, int R>
[[nodiscard]] Tensor<T, R> empty(const Shape<R>& shape, Device device = {}) {
    return Tensor<T, R>(detail::AnyTensor(detail::new_record(dtype_of<T>, R, shape.dims, device)));
}

template <Element T, std::size_t R>
[[nodiscard]] Tensor<T, static_cast<int>(R)> zeros(const Dim (&sizes)[R], Device device = {}) {
    return Tensor<T, static_cast<int>(R)>(detail::zeroed(dtype_of<T>, static_cast<int>(R), detail::DimList<R>(sizes).dims, device));
}
template <Element T>
[[nodiscard]] Tensor<T, 0> zeros(ScalarShape, Device device = {}) {
    return Tensor<T, 0>(detail::zeroed(dtype_of<T>, 0, nullptr, device));
}
template <Element T, int R>
[[nodiscard]] Tensor<T, R> zeros(const Shape<R>& shape, Device device = {}) {
    return Tensor<T, R>(detail::zeroed(dtype_of<T>, R, shape.dims, device));
}

// Every element `value`.
template <Element T, std::size_t R>
[[nodiscard]] Tensor<T, static_cast<int>(R)> full(const Dim (&sizes)[R], std::type_identity_t<T> value, Device device = {}) {
    return Tensor<T, static_cast<int>(R)>(detail::filled<T>(static_cast<int>(R), detail::DimList<R>(sizes).dims, value, device, "full"));
}
template <Element T>
[[nodiscard]] Tensor<T, 0> full(ScalarShape, std::type_identity_t<T> value, Device device = {}) {
    return Tensor<T, 0>(detail::filled<T>(0, nullptr, value, device, "full"));
}
template <Element T, int R>
[[nodiscard]] Tensor<T, R> full(const Shape<R>& shape, std::type_identity_t<T> value, Device device = {}) {
    return Tensor<T, R>(detail::filled<T>(R, shape.dims, value, device, "full"));
}
template <Element T, std::size_t R>
[[nodiscard]] Tensor<T, static_cast<int>(R)> ones(const Dim (&sizes)[R], Device device = {}) { return full<T>(sizes, T(1), device); }
template <Element T>
[[nodiscard]] Tensor<T, 0> ones(ScalarShape, Device device = {}) { return full<T>(ScalarShape{}, T(1), device); }
template <Element T, int R>
[[nodiscard]] Tensor<T, R> ones(const Shape<R>& shape, Device device = {}) { return full<T>(shape, T(1), device); }

// Uninitialised / zeros / ones like x: its sizes, element type and device.
template <Element T, int R>
[[nodiscard]] Tensor<T, R> empty_like(const Tensor<T, R>& x) { return empty<T>(x.shape(), x.device()); }
template <Element T, int R>
[[nodiscard]] Tensor<T, R> zeros_like(const Tensor<T, R>& x) { return zeros<T>(x.shape(), x.device()); }
template <Element T, int R>
[[nodiscard]] Tensor<T, R> ones_like(const Tensor<T, R>& x) { return ones<T>(x.shape(), x.device()); }

// The values of a list, as one axis; or in row-major order under sizes. Throws ShapeError where their number differs.
template <Element T>
[[nodiscard]] Tensor<T, 1> from(std::initializer_list<T> values, Device device = {}) {
    const long n = static_cast<long>(values.size());
    Tensor<T, 1> host = empty<T>({n});
    long i = 0;
    for (const T& v : values) host.data()[i++] = v;
    return device.is_cpu() ? host : host.to(device);
}
template <Element T, std::size_t R>
[[nodiscard]] Tensor<T, static_cast<int>(R)> from(const Dim (&sizes)[R], std::initializer_list<std::type_identity_t<T>> values, Device device = {}) {
    Tensor<T, static_cast<int>(R)> host = empty<T>(sizes);
    if (host.size() != static_cast<long>(values.size()))
        fail<ShapeError>("from: ", values.size(), " values came for ", host.record()->description());
    long i = 0;
    for (const T& v : values) host.data()[i++] = v;
    return device.is_cpu() ? host : host.to(device);
}
// A copy of host memory in row-major order.
template <Element T, std::size_t R>
[[nodiscard]] Tensor<T, static_cast<int>(R)> from(const Dim (&sizes)[R], const T* data, Device device = {}) {
    Tensor<T, static_cast<int>(R)> host = empty<T>(sizes);
    if (host.size() > 0) std::memcpy(host.data(), data, static_cast<std::size_t>(host.size()) * sizeof(T));
    return device.is_cpu() ? host : host.to(device);
}

// start, start + step, ... below stop.
template <Element T>
[[nodiscard]] Tensor<T, 1> arange(std::type_identity_t<T> start, std::type_identity_t<T> stop, std::type_identity_t<T> step = T(1), Device device = {}) {
    const double span = static_cast<double>(stop) - static_cast<double>(start), width = static_cast<double>(step);
    if (!(width != 0)) fail<ValueError>("arange: step must not be 0");
    const double count = __builtin_ceil(span / width);
    const long n = count > 0 ? static_cast<long>(count) : 0;
    Tensor<T, 1> host = empty<T>({n});
    for (long i = 0; i < n; ++i) {
        if constexpr (std::is_integral_v<T>) host.data()[i] = static_cast<T>(start + static_cast<T>(i) * step);
        else host.data()[i] = static_cast<T>(static_cast<double>(start) + static_cast<double>(i) * width);
    }
    return device.is_cpu() ? host : host.to(device);
}
template <Element T>
[[nodiscard]] Tensor<T, 1> arange(std::type_identity_t<T> stop) { return arange<T>(T(0), stop); }

// n evenly spaced values from start to stop, both included.
template <Element T>
[[nodiscard]] Tensor<T, 1> linspace(double start, double stop, long n, Device device = {}) {
    Tensor<T, 1> host = empty<T>({n});
    for (long i = 0; i < n; ++i)
        host.data()[i] = static_cast<T>(n == 1 ? start : start + (stop - start) * static_cast<double>(i) / static_cast<double>(n - 1));
    return device.is_cpu() ? host : host.to(device);
}

// The identity matrix, or its first `columns` columns.
template <Element T>
[[nodiscard]] Tensor<T, 2> eye(long n, long columns = -1, Device device = {}) {
    Tensor<T, 2> host = zeros<T>({n, columns < 0 ? n : columns});
    for (long i = 0; i < n && i < host.shape(1); ++i) host.data()[i * host.shape(1) + i] = T(1);
    return device.is_cpu() ? host : host.to(device);
}

}  // namespace tenon

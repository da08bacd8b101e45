// What every record of the operator table must hold.
#pragma once

#include "operator_table.hpp"

#include <tenon/testing/gradcheck.hpp>

#include <catch2/catch.hpp>

#include <cmath>
#include <cstring>
#include <limits>

namespace operators {

template <class T>
double bound_of(const Bounds& bounds, double expected) {
    if (std::is_same_v<T, double>) return bounds.in_double * std::abs(expected) + 1e-300;
    return bounds.in_float * std::abs(expected) + bounds.in_float_absolute + 1.2e-38;  // below that, float is denormal
}
// Equal up to the record's bound; NaN, infinities and float's overflow as they are.
template <class T>
bool agrees(T got, double expected, const Bounds& bounds, double slack = 1) {
    if (std::isnan(expected)) return std::isnan(static_cast<double>(got));
    if (static_cast<T>(expected) == got) return true;
    if (std::isinf(static_cast<double>(static_cast<T>(expected)))) return static_cast<double>(got) == static_cast<double>(static_cast<T>(expected));
    return std::abs(static_cast<double>(got) - expected) <= slack * bound_of<T>(bounds, expected);
}

template <class T>
Tensor<T, 1> tensor_of(const double* values, int count) {
    auto t = empty<T>({count});
    for (int i = 0; i < count; ++i) t.data()[i] = static_cast<T>(values[i]);
    return t;
}
template <class T, int R>
bool same_bits(const Tensor<T, R>& a, const Tensor<T, R>& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), static_cast<std::size_t>(a.size()) * sizeof(T)) == 0;
}

// The derivative may lose a few more roundings than the value does, relative to 1 where terms cancel.
inline Bounds of_gradient(Bounds b) { return {b.in_double * 20 + 5e-15, b.in_float * 8 + 1e-6, b.in_float_absolute * 8 + 1e-6}; }

template <class T, class R>
void check_golden(const R& record) {
    auto x = tensor_of<T>(record.x, record.count).require_grad();
    const Tensor<T, 1> y = record.formula(x);
    if (y.requires_grad()) y.backward(ones<T>({record.count}));
    for (int i = 0; i < record.count; ++i) {
        INFO(record.name << "(" << record.x[i] << "): got " << y.data()[i] << ", expected " << record.y[i]);
        CHECK(agrees(y.data()[i], record.y[i], record.bounds));
        // At the ends of the line derivatives are 0 * inf in one library and 0 in the other.
        if (!std::isfinite(record.x[i]) || !std::isfinite(record.dx[i])) continue;
        const T dx = x.has_grad() ? x.grad().data()[i] : T(0);
        INFO("derivative: got " << dx << ", expected " << record.dx[i]);
        const Bounds b = of_gradient(record.bounds);
        CHECK((agrees(dx, record.dx[i], b) || std::abs(double(dx) - record.dx[i]) <= (std::is_same_v<T, double> ? b.in_double : b.in_float_absolute)));
    }
}
template <class T, class R>
void check_golden_binary(const R& record) {
    auto a = tensor_of<T>(record.a, record.count).require_grad(), b = tensor_of<T>(record.b, record.count).require_grad();
    const Tensor<T, 1> y = record.formula(a, b);
    y.backward(ones<T>({record.count}));
    for (int i = 0; i < record.count; ++i) {
        INFO(record.name << "(" << record.a[i] << ", " << record.b[i] << "): got " << y.data()[i] << ", expected " << record.y[i]);
        CHECK(agrees(y.data()[i], record.y[i], record.bounds));
        if (!std::isfinite(record.a[i]) || !std::isfinite(record.b[i])) continue;
        INFO("derivatives: got " << a.grad().data()[i] << ", " << b.grad().data()[i] << ", expected " << record.da[i] << ", " << record.db[i]);
        const Bounds bounds = of_gradient(record.bounds);
        if (std::isfinite(record.da[i])) CHECK(agrees(a.grad().data()[i], record.da[i], bounds));
        if (std::isfinite(record.db[i])) CHECK(agrees(b.grad().data()[i], record.db[i], bounds));
    }
}

// The bits of an element depend on its value alone: not on views, sizes, tails or threads.
template <class R>
void check_variants(const R& record) {
    INFO(record.name);
    const Range range{record.domain.low, record.domain.high};
    const auto x = uniform<float>({37, 53}, Key{11}, range);
    const Tensor<float, 2> y = record.formula(x);
    const Tensor<float, 2> transposed = record.formula(transpose(x));
    CHECK(same_bits(clone(transpose(y)), transposed));
    const Tensor<float, 2> part = record.formula(x(slice(3, 30, 2), slice(1, 50, 3)));
    CHECK(same_bits(clone(y(slice(3, 30, 2), slice(1, 50, 3))), part));
    const Tensor<float, 3> expanded = record.formula(x(all, slice(0, 1)).reshape({37, 1, 1}).expand({37, 5, 4}));
    CHECK(same_bits(clone(y(all, slice(0, 1)).reshape({37, 1, 1}).expand({37, 5, 4})), expanded));
    bool tails = true;
    for (long n = 0; n <= 40; ++n) {
        const Tensor<float, 1> few = record.formula(x.reshape({-1})(slice(0, n)));
        tails = tails && same_bits(few, clone(y.reshape({-1})(slice(0, n))));
    }
    CHECK(tails);
    const auto large = uniform<float>({100003}, Key{12}, range);
    set_num_threads(1);
    const Tensor<float, 1> one = record.formula(large);
    set_num_threads(2);
    const Tensor<float, 1> two = record.formula(large);
    CHECK(same_bits(one, two));
}

// 16-bit storage: the value is the float one, rounded.
template <class T, class R>
void check_storage(const R& record) {
    const auto x = uniform<T>({301}, Key{13}, {record.domain.low, record.domain.high});
    const Tensor<T, 1> y = record.formula(x);
    const Tensor<float, 1> wide = record.formula(clone(Tensor<float, 1>(cast<float>(x))));
    bool equal = true;
    for (long i = 0; i < x.size(); ++i) equal = equal && y.data()[i].bits == T(wide.data()[i]).bits;
    INFO(record.name);
    CHECK(equal);
}

}  // namespace operators

// The same function on the CPU and on the device: results and gradients.
#pragma once

#include <tenon/ops/copy.hpp>
#include <tenon/ops/reduce.hpp>

#include <catch2/catch.hpp>

#include <cmath>
#include <tuple>
#include <utility>

namespace agreement {

using namespace tenon;

// Multiples of 1/8 in [-2, 2): sums of their products are exact in float, in whatever order.
template <class T, int R>
Tensor<T, R> numbers(Shape<R> sizes, unsigned seed) {
    Tensor<T, R> x = full<T>(sizes, T(0.0f));
    unsigned state = seed * 2654435761u + 1;
    for (long i = 0; i < x.size(); ++i) {
        state = state * 1664525u + 1013904223u;
        x.data()[i] = static_cast<T>((static_cast<float>(state >> 27) - 16.0f) / 8.0f);
    }
    return x;
}
template <class T, std::size_t R>
Tensor<T, static_cast<int>(R)> numbers(const long (&sizes)[R], unsigned seed) {
    Shape<static_cast<int>(R)> shape;
    for (std::size_t i = 0; i < R; ++i) shape.dims[i] = sizes[i];
    return numbers<T>(shape, seed);
}

inline double number(const detail::Record* r, long i) {
    switch (r->dtype) {
        case DType::float32: return static_cast<double>(reinterpret_cast<const float*>(r->data())[i]);
        case DType::float64: return reinterpret_cast<const double*>(r->data())[i];
        case DType::bfloat16: return static_cast<double>(static_cast<float>(reinterpret_cast<const bf16*>(r->data())[i]));
        case DType::float16: return static_cast<double>(static_cast<float>(reinterpret_cast<const half*>(r->data())[i]));
        case DType::int32: return static_cast<double>(reinterpret_cast<const std::int32_t*>(r->data())[i]);
        default: return static_cast<double>(reinterpret_cast<const std::int64_t*>(r->data())[i]);
    }
}

// |a - b| <= bound * (1 + |a|), or the same, or both NaN, everywhere.
inline void check_close(const detail::AnyTensor& want, const detail::AnyTensor& have, double bound) {
    REQUIRE(want->dtype == have->dtype);
    REQUIRE(want->rank == have->rank);
    for (int i = 0; i < want->rank; ++i) REQUIRE(want->dims()[i] == have->dims()[i]);
    const detail::AnyTensor a = want->contiguous ? want : impl::recorded_copy_any(want.get()), b = impl::transferred(have.get(), cpu);
    long wrong = 0, first = -1;
    for (long i = 0; i < a->size; ++i) {
        const double x = number(a.get(), i), y = number(b.get(), i);
        if (x == y || std::fabs(x - y) <= bound * (1 + std::fabs(x)) || (std::isnan(x) && std::isnan(y))) continue;
        ++wrong;
        if (first < 0) first = i;
    }
    const double wanted = first < 0 ? 0 : number(a.get(), first), got = first < 0 ? 0 : number(b.get(), first);
    CAPTURE(first, wanted, got, bound);
    CHECK(wrong == 0);
}
template <class T, int R>
void check_close(const Tensor<T, R>& want, const Tensor<T, R>& have, double bound) { check_close(want.any(), have.any(), bound); }

inline detail::AnyTensor weights_for(const detail::AnyTensor& y) {
    const Shape<1> size{{y->size}};
    switch (y->dtype) {
        case DType::float32: return numbers<float>(size, 99).any();
        case DType::float64: return numbers<double>(size, 99).any();
        case DType::bfloat16: return numbers<bf16>(size, 99).any();
        default: return numbers<half>(size, 99).any();
    }
}
inline void run_backward(const detail::AnyTensor& y) {
    detail::AnyTensor weights = weights_for(y);
    if (!y->storage->device.is_cpu()) weights = impl::transferred(weights.get(), y->storage->device);
    detail::run_backward(y->node, y->slot, detail::reshape_any(weights.get(), y->rank, y->dims()));
}

// Values and gradients of f at the inputs; gradients of a sum with weights, taken twice: the second one is added.
template <class F, class... X>
void agree(double bound, F f, const X&... inputs) {
    const std::tuple<X...> here{clone(inputs).require_grad()...}, there{inputs.to(cuda()).detach().require_grad()...};
    for (int times = 0; times < 2; ++times) {
        const detail::AnyTensor y = impl::as_tensor(std::apply(f, here)).any(), z = impl::as_tensor(std::apply(f, there)).any();
        CHECK(z->storage->device == cuda());
        check_close(y, z, bound);
        run_backward(y);
        run_backward(z);
        [&]<std::size_t... K>(std::index_sequence<K...>) {
            (check_close(std::get<K>(here).grad(), std::get<K>(there).grad(), bound), ...);
        }(std::index_sequence_for<X...>{});
    }
}

}  // namespace agreement

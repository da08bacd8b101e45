// Tensors whose element type is known at run time: what runs a record and looks at the result.
#pragma once

#include "record.hpp"

#include <cmath>
#include <cstring>

namespace operators {

template <class V>
auto with_type(DType dtype, V&& visit) {
    switch (dtype) {
        case DType::float32: return visit(float());
        case DType::float64: return visit(double());
        case DType::bfloat16: return visit(bf16());
        case DType::float16: return visit(half());
        case DType::int8: return visit(std::int8_t());
        case DType::int32: return visit(std::int32_t());
        case DType::int64: return visit(std::int64_t());
        case DType::uint8: return visit(std::uint8_t());
        default: return visit(bool());
    }
}
inline AnyTensor new_tensor(DType dtype, const std::vector<long>& shape) {
    return AnyTensor(detail::new_record(dtype, static_cast<int>(shape.size()), shape.data(), cpu));
}
inline std::vector<long> shape_of(const AnyTensor& x) { return {x->dims(), x->dims() + x->rank}; }
inline long offset_of(const AnyTensor& x, long at) {
    long offset = 0;
    for (int i = x->rank - 1; i >= 0; --i) {
        offset += at % x->dims()[i] * x->strides()[i];
        at /= x->dims()[i];
    }
    return offset;
}
// Element `at` in row-major order.
inline double get(const AnyTensor& x, long at) {
    return with_type(x->dtype, [&](auto zero) { return static_cast<double>(reinterpret_cast<const decltype(zero)*>(x->data())[offset_of(x, at)]); });
}
inline void set(const AnyTensor& x, long at, double value) {
    with_type(x->dtype, [&](auto zero) {
        using T = decltype(zero);
        T& to = reinterpret_cast<T*>(x->data())[offset_of(x, at)];
        if constexpr (std::is_same_v<T, bf16> || std::is_same_v<T, half>) to = T(static_cast<float>(value));
        else to = static_cast<T>(value);
    });
}
inline void mark(const AnyTensor& x) {
    detail::record_view = &impl::record_view;
    x->node = new detail::LeafNode(x.get());
    x->recorded_writes = x->storage->recorded_writes;
}
inline bool has_gradient(const AnyTensor& x) { return x->node != nullptr && x->node->slots[0].has; }
inline AnyTensor gradient_of(const AnyTensor& x) { return x->node->slots[0].gradient; }
// cos(i), for the elements i of y.
inline AnyTensor cosines(const AnyTensor& y) {
    const AnyTensor weights = new_tensor(y->dtype, shape_of(y));
    for (long i = 0; i < y->size; ++i) set(weights, i, std::cos(static_cast<double>(i)));
    return weights;
}
// Backward of sum(y[i] * cos(i)).
inline void run_backward(const AnyTensor& y) {
    if (y->node != nullptr) detail::run_backward(y->node, y->slot, cosines(y));
}

inline DType dtype_for(const Argument& a, DType real) {
    switch (a.kind) {
        case Kind::real: return real;
        case Kind::integer: return DType::int64;
        case Kind::boolean: return DType::boolean;
        case Kind::byte: return DType::int8;
        default: return DType::uint8;
    }
}

// Random inputs of the sizes (none beyond `most`) and ranges that the record names, reals as leaves if so wanted; none where a
// size is not named.
inline Inputs random_inputs(const Record& record, DType dtype, bool leaves = true, long most = 1L << 60) {
    Inputs inputs;
    for (std::size_t k = 0; k < record.arguments.size(); ++k) {
        const Argument& a = record.arguments[k];
        if (static_cast<int>(a.sizes.size()) != a.rank || (a.rank == 0 && record.arguments.size() == 1)) return {};
        std::vector<long> sizes = a.sizes;
        for (long& n : sizes) n = n < most ? n : most;
        const AnyTensor x = new_tensor(dtype_for(a, dtype), sizes);
        const auto random = uniform<double>({x->size}, Key{77}.split(k), {a.low, a.high});
        for (long i = 0; i < x->size; ++i) set(x, i, a.kind == Kind::real && is_floating(dtype) ? random.data()[i] : std::floor(random.data()[i]));
        if (leaves && a.kind == Kind::real && is_floating(dtype)) mark(x);
        inputs.push_back(x);
    }
    return inputs;
}

}  // namespace operators

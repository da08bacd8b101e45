// close(a, b, tolerance): do two tensors hold the same values? Says where they differ most.
#pragma once

#include <tenon/autograd/evaluate.hpp>
#include <tenon/ops/copy.hpp>
#include <tenon/ops/matmul.hpp>

namespace tenon {
namespace testing {

// Values a and b agree where |a - b| <= absolute + relative * |b|; infinities where they are the same. Negative: 1e-5 and
// 1e-6 for float, 1e-12 and 1e-14 for double, two units in the last place for bf16 and half, 0 for other types.
struct Tolerance {
    double relative = -1, absolute = -1;
    bool nan_equal = false;
};

// The answer: true or false, and a sentence that names the worst position, for a test to print.
struct Closeness {
    bool equal = true;
    char text[400] = "all values agree";

    explicit operator bool() const { return equal; }
    bool operator!() const { return !equal; }
    template <class Stream>
    friend auto operator<<(Stream& stream, const Closeness& c) -> decltype(stream << static_cast<const char*>(nullptr)) { return stream << static_cast<const char*>(c.text); }
};

namespace impl_testing {

template <class T>
constexpr double default_relative() {
    if constexpr (std::is_same_v<T, float>) return 1e-5;
    else if constexpr (std::is_same_v<T, double>) return 1e-12;
    else if constexpr (std::is_same_v<T, bf16>) return 0x1p-7;
    else if constexpr (std::is_same_v<T, half>) return 0x1p-10;
    else return 0;
}
template <class T>
constexpr double default_absolute() {
    if constexpr (std::is_same_v<T, float>) return 1e-6;
    else if constexpr (std::is_same_v<T, double>) return 1e-14;
    else if constexpr (std::is_same_v<T, bf16>) return 1e-30;
    else if constexpr (std::is_same_v<T, half>) return 0x1p-23;
    else return 0;
}

// Calls f(offset of the element, index along each axis) in row-major order.
template <class F>
void for_elements(const tenon::detail::Record* r, F f) {
    long index[max_rank] = {}, offset = 0;
    for (long n = 0; n < r->size; ++n) {
        f(n, offset, static_cast<const long*>(index));
        for (int i = r->rank - 1; i >= 0; --i) {
            offset += r->strides()[i];
            if (++index[i] < r->dims()[i]) break;
            offset -= index[i] * r->strides()[i];
            index[i] = 0;
        }
    }
}

inline void write_text(Closeness& to, const Message& message) {
    const std::size_t length = message.size() < sizeof to.text ? message.size() : sizeof to.text - 1;
    std::memcpy(to.text, message.text(), length);
    to.text[length] = '\0';
}
inline Message& add_number(Message& message, double value) {
    char digits[40];
    __builtin_snprintf(digits, sizeof digits, "%.17g", value);
    return message << static_cast<const char*>(digits);
}

}  // namespace impl_testing

// Whether two tensors or expressions of the same element type and rank have the same shape and close values.
template <Expression A, Expression B>
[[nodiscard]] Closeness close(const A& a, const B& b, Tolerance tolerance = {}) {
    const no_grad guard;
    const auto left = impl::as_tensor(a).to(cpu);
    const auto right = impl::as_tensor(b).to(cpu);
    using T = typename decltype(left)::Scalar;
    static_assert(std::is_same_v<T, typename decltype(right)::Scalar>, "tenon: close(a, b): the element types differ");
    static_assert(decltype(left)::rank == decltype(right)::rank, "tenon: close(a, b): the ranks differ");
    const double relative = tolerance.relative >= 0 ? tolerance.relative : impl_testing::default_relative<T>();
    const double absolute = tolerance.absolute >= 0 ? tolerance.absolute : impl_testing::default_absolute<T>();
    Closeness result;
    const detail::Record *x = left.record(), *y = right.record();
    for (int i = 0; i < x->rank; ++i)
        if (x->dims()[i] != y->dims()[i]) {
            Message message;
            message << "shapes differ: " << x->description() << " and " << y->description();
            impl_testing::write_text(result, message);
            result.equal = false;
            return result;
        }
    const Tensor<T, decltype(right)::rank> other = right.is_contiguous() ? right : clone(right);
    const T* expected = other.data();
    const T* found = left.data();
    long wrong = 0, worst_index[max_rank] = {};
    double worst = -1, worst_a = 0, worst_b = 0;
    impl_testing::for_elements(x, [&](long n, long offset, const long* index) {
        const double p = static_cast<double>(found[offset]), q = static_cast<double>(expected[n]);
        bool same;
        double excess;
        if (p != p || q != q) {
            same = tolerance.nan_equal && p != p && q != q;
            excess = __builtin_inf();
        } else if (p == q) {
            same = true;
            excess = 0;
        } else {
            const double difference = __builtin_fabs(p - q), allowed = absolute + relative * __builtin_fabs(q);
            same = difference <= allowed && __builtin_isfinite(q);
            excess = same ? 0 : allowed > 0 ? difference / allowed : __builtin_inf();
            if (excess != excess) excess = __builtin_inf();
        }
        if (same) return;
        ++wrong;
        if (excess > worst) {
            worst = excess;
            worst_a = p;
            worst_b = q;
            for (int i = 0; i < x->rank; ++i) worst_index[i] = index[i];
        }
    });
    if (wrong > 0) {
        result.equal = false;
        Message message;
        message << wrong << " of " << x->size << " values of " << x->description() << " differ, most at ";
        detail::add_dims(message, worst_index, x->rank) << ": ";
        impl_testing::add_number(message, worst_a) << " against ";
        impl_testing::add_number(message, worst_b);
        impl_testing::write_text(result, message);
    }
    return result;
}

// Throws Error with close's sentence where two tensors differ.
template <Expression A, Expression B>
void require_close(const A& a, const B& b, Tolerance tolerance = {}) {
    const Closeness result = close(a, b, tolerance);
    if (!result) fail<Error>("close: ", static_cast<const char*>(result.text));
}

}  // namespace testing
}  // namespace tenon

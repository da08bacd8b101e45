// gradcheck(f, inputs...): compares the gradients that backward computes with central differences, in double.
#pragma once

#include <tenon/testing/close.hpp>

namespace tenon {
namespace testing {

struct GradcheckOptions {
    double relative = 1e-6, absolute = 1e-7;  // |backward - differences| <= absolute + relative * the larger of the two
    double step = 1e-5;                       // of the differences, times max(1, |x|)
    long positions = 400;                     // checked one by one per input; of larger inputs so many, spread out
    bool taylor = true;                       // also check that the remainder of the first-order expansion falls as h^2
    bool kinks = false;                // f has kinks (relu, max): leaves the Taylor check out
    unsigned long long seed = 1;              // of the output's weights and of the direction
};

namespace impl_testing {

// Deterministic numbers in [-1, 1) without a zero among them.
class Numbers {
public:
    explicit Numbers(unsigned long long seed) : state_(seed * 0x9e3779b97f4a7c15ull + 0x632be59bd9b4e019ull) {}
    double next() {
        state_ ^= state_ << 13;
        state_ ^= state_ >> 7;
        state_ ^= state_ << 17;
        return (static_cast<double>(state_ >> 12) + 0.5) * 0x1p-51 - 1.0;
    }

private:
    unsigned long long state_;
};

template <class X>
struct is_double_tensor : std::false_type {};
template <int R>
struct is_double_tensor<Tensor<double, R>> : std::true_type {};

// The inputs, which f sees: those of type double are copies, as leaves or not.
template <class... X>
struct Inputs {
    template <class F>
    auto apply(F&& f) const { return f(); }
    template <class F>
    void each(F&&, int = 0) const {}
};
template <class X, class... R>
struct Inputs<X, R...> {
    X head;
    Inputs<R...> tail;

    template <class F>
    auto apply(F&& f) const {
        return tail.apply([&](const auto&... rest) { return f(head, rest...); });
    }
    // f(k, tensor) for every double input.
    template <class F>
    void each(F&& f, int k = 0) const {
        if constexpr (is_double_tensor<X>::value) f(k, head);
        tail.each(f, k + 1);
    }
};
template <class X>
X copy_input(const X& x, bool leaf) {
    if constexpr (is_double_tensor<X>::value) {
        X copy = clone(x);
        if (leaf) copy.require_grad();
        return copy;
    } else {
        (void)leaf;
        return x;
    }
}
inline Inputs<> make_inputs(bool) { return {}; }
template <class X, class... R>
Inputs<X, R...> make_inputs(bool leaf, const X& x, const R&... rest) {
    return {copy_input(x, leaf), make_inputs(leaf, rest...)};
}

template <class F, class I>
auto value_of(F& f, const I& inputs) {
    return inputs.apply([&](const auto&... x) {
        auto y = impl::as_tensor(f(x...));
        static_assert(std::is_same_v<typename decltype(y)::Scalar, double>, "tenon: gradcheck: f must return a double tensor: differences of "
                                                                            "other types are too coarse");
        return y.is_contiguous() ? y : decltype(y)(contiguous(y));
    });
}

// sum(weights * (a - b)): first the difference, so that outputs that did not move do not add rounding errors.
template <class Y>
double weighted_difference(const Y& weights, const Y& a, const Y& b) {
    double total = 0;
    for (long i = 0; i < a.size(); ++i) total += weights.data()[i] * (a.data()[i] - b.data()[i]);
    return total;
}

[[noreturn]] TENON_COLD inline void fail_position(const char* what, int input, const detail::Record* r, long position, double analytic, double numeric) {
    long index[max_rank];
    for (int i = r->rank - 1; i >= 0; --i) {
        index[i] = position % r->dims()[i];
        position /= r->dims()[i];
    }
    Message message;
    message << "tenon: gradcheck: input " << input << ", " << r->description() << ", element ";
    detail::add_dims(message, index, r->rank) << ": backward gives ";
    add_number(message, analytic) << ", " << what << " ";
    add_number(message, numeric);
    throw Error(message.text());
}

}  // namespace impl_testing

// f takes the inputs (tensors of double, which are checked; tensors of other types stay as they are) and returns a double
// tensor or expression of any shape. Its elements are weighted by fixed random numbers and summed; the gradient of that
// is checked per element of every input, and along one direction through all of them. f must compute the same
// values whenever it is called. Throws Error with the position and both values where they differ.
template <class F, class... X>
    requires(sizeof...(X) >= 1)
void gradcheck(const GradcheckOptions& options, F&& f, const X&... inputs) {
    namespace own = impl_testing;
    static_assert(((!Floating<typename X::Scalar> || own::is_double_tensor<X>::value) && ...),
                  "tenon: gradcheck: floating-point inputs must be double: differences of other types are too coarse");
    static_assert((own::is_double_tensor<X>::value || ...), "tenon: gradcheck: no input is a double tensor");

    const auto on_cpu = [](const auto& x) {
        if (!x.device().is_cpu())
            fail<DeviceError>("gradcheck: an input is ", x.record()->description(), ": expected tensors on cpu\n       hint: move them inside f: x.to(device)");
    };
    (on_cpu(inputs), ...);
    const auto leaves = own::make_inputs(true, inputs...);
    const auto y = own::value_of(f, leaves);
    using Y = std::remove_cvref_t<decltype(y)>;
    own::Numbers numbers(options.seed);
    Y weights = empty_like(y.detach());
    for (long i = 0; i < weights.size(); ++i) weights.data()[i] = numbers.next();
    if (y.requires_grad()) y.backward(weights);

    const no_grad guard;
    const auto moved = own::make_inputs(false, inputs...);
    const Y middle = own::value_of(f, moved);
    if (!close(middle, y, {.relative = 0, .absolute = 0, .nan_equal = true}))
        fail<Error>("gradcheck: f gives other values when it is called again on the same inputs: ", static_cast<const char*>(close(middle, y).text));

    leaves.each([&](int k, const auto& leaf) {
        const long n = leaf.size();
        using Leaf = std::remove_cvref_t<decltype(leaf)>;
        const Leaf gradient = leaf.has_grad() ? clone(leaf.grad()) : zeros_like(leaf.detach());
        moved.each([&](int j, const auto& x) {
            if (j != k) return;
            const long checked = n < options.positions ? n : options.positions;
            for (long c = 0; c < checked; ++c) {
                const long at = checked == n ? c : c * (n - 1) / (checked - 1);
                double& value = x.data()[at];
                const double before = value, magnitude = __builtin_fabs(before), h = options.step * (magnitude > 1 ? magnitude : 1.0);
                value = before + h;
                const double up = value;
                const Y above = own::value_of(f, moved);
                value = before - h;
                const double width = up - value;
                const Y below = own::value_of(f, moved);
                value = before;
                const double numeric = own::weighted_difference(weights, above, below) / width;
                const double analytic = gradient.data()[at];
                const double a = __builtin_fabs(analytic), b = __builtin_fabs(numeric);
                if (!(__builtin_fabs(analytic - numeric) <= options.absolute + options.relative * (a > b ? a : b)))
                    own::fail_position("central differences", k, leaf.record(), at, analytic, numeric);
            }
        });
    });
    if (!options.taylor || options.kinks) return;

    // |phi(x + h d) - phi(x) - h <g, d>| falls fourfold when h is halved, unless it is lost in rounding errors already.
    const auto away = own::make_inputs(false, inputs...);
    const auto remainder = [&](double h) {
        own::Numbers directions(options.seed + 1);
        double slope = 0;  // <gradient, step>
        leaves.each([&](int k, const auto& leaf) {
            away.each([&](int j, const auto& x) {
                if (j != k) return;
                for (long i = 0; i < x.size(); ++i) {
                    const double d = directions.next();
                    x.data()[i] = leaf.data()[i] + h * d;
                    if (leaf.has_grad()) slope += (x.data()[i] - leaf.data()[i]) * leaf.grad().data()[i];
                }
            });
        });
        const Y there = own::value_of(f, away);
        return __builtin_fabs(own::weighted_difference(weights, there, middle) - slope);
    };
    double scale = 0;
    for (long i = 0; i < middle.size(); ++i) scale += __builtin_fabs(weights.data()[i] * middle.data()[i]);
    const double noise = 1e-13 * (1 + scale);
    const double coarse = remainder(2e-4), fine = remainder(1e-4);
    if (coarse > 100 * noise && !(fine < coarse / 3)) {
        Message message;
        message << "tenon: gradcheck: the remainder of the first-order expansion along a direction is ";
        own::add_number(message, coarse) << " at h = 2e-4 and ";
        own::add_number(message, fine) << " at h = 1e-4; with a right gradient it falls fourfold"
                                          "\n       hint: a kink within 2e-4 of an input does this too: set kinks, or move the input";
        throw Error(message.text());
    }
}
template <class F, class... X>
    requires(sizeof...(X) >= 1 && !std::is_same_v<std::remove_cvref_t<F>, GradcheckOptions>)
void gradcheck(F&& f, const X&... inputs) {
    gradcheck(GradcheckOptions{}, static_cast<F&&>(f), inputs...);
}

}  // namespace testing
}  // namespace tenon

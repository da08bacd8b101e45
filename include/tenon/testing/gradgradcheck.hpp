// gradgradcheck(f, inputs...): compares second derivatives with central differences of the first, in double.
#pragma once

#include <tenon/core/factories.hpp>
#include <tenon/ops/second_order.hpp>
#include <tenon/testing/gradcheck.hpp>

#include <vector>

namespace tenon {
namespace testing {
namespace impl_testing {

template <class X>
X as_leaf(const X& x) {
    if constexpr (is_double_tensor<X>::value) {
        if (!x.requires_grad()) return X(x.detach()).require_grad();
    }
    return x;
}
// The gradients of <f(x...), w> for all double inputs, one after the other; recorded.
template <class F, class W, class... X>
Tensor<double, 1> gradients_of(F& f, const W& w, const X&... x) {
    struct Recording {
        int depth = tenon::detail::no_grad_depth;
        Recording() { tenon::detail::no_grad_depth = 0; }
        ~Recording() { tenon::detail::no_grad_depth = depth; }
    } const recording;
    auto y = impl::as_tensor(f(x...));
    std::vector<tenon::detail::AnyTensor> inputs;
    const auto take = [&](const auto& t) {
        if constexpr (is_double_tensor<std::remove_cvref_t<decltype(t)>>::value) inputs.push_back(t.any());
    };
    (take(x), ...);
    std::vector<tenon::detail::AnyTensor> gradients(inputs.size());
    std::vector<tenon::detail::GradTarget> targets(inputs.size());
    if (y.requires_grad()) {
        GradOptions<decltype(y)> options;
        options.grad_output = w;
        options.create_graph = options.allow_unused = true;
        impl::grad_into(y, options, inputs.data(), gradients.data(), targets.data(), static_cast<long>(inputs.size()));
    }
    std::vector<Tensor<double, 1>> flat;
    for (std::size_t k = 0; k < inputs.size(); ++k) {
        if (gradients[k]) {
            long n = gradients[k]->size;
            flat.push_back(Tensor<double, 1>(tenon::detail::reshape_any(gradients[k].get(), 1, &n)));
        } else {
            flat.push_back(zeros<double>({inputs[k]->size}));
        }
    }
    return concat<0>(flat);
}

}  // namespace impl_testing

// f as for gradcheck. Its output is weighted by fixed random numbers w; what is checked is the gradient of <f, w> as a
// function of w and the inputs. Inputs of types other than double are constants. Throws Error with the position and both
// values where they differ (input 0 is w).
template <class F, class... X>
    requires(sizeof...(X) >= 1)
void gradgradcheck(const GradcheckOptions& options, F&& f, const X&... inputs) {
    namespace own = impl_testing;
    const auto weights = [&] {
        const no_grad none;
        const auto y = own::value_of(f, own::make_inputs(false, inputs...));
        own::Numbers numbers(options.seed + 7);
        auto w = empty_like(y.detach());
        for (long i = 0; i < w.size(); ++i) w.data()[i] = numbers.next();
        return w;
    }();
    gradcheck(options, [&f](const auto& w, const auto&... x) { return own::gradients_of(f, own::as_leaf(w), own::as_leaf(x)...); }, weights, inputs...);
}
template <class F, class... X>
    requires(sizeof...(X) >= 1 && !std::is_same_v<std::remove_cvref_t<F>, GradcheckOptions>)
void gradgradcheck(F&& f, const X&... inputs) {
    gradgradcheck(GradcheckOptions{}, static_cast<F&&>(f), inputs...);
}

}  // namespace testing
}  // namespace tenon

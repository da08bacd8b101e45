// What wrappers of optimisers do to parameters, in the form of rules: averages of weights, Lookahead, SAM, and the steps
// of L-BFGS.
#pragma once

#include <tenon/kernels/cpu/rules/common.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

// p becomes a number.
template <class T>
struct Fill {
    static constexpr int states = 0;
    T value, gradient_scale = 1;
    explicit Fill(double number) : value(T(number)) {}
    template <class V>
    TENON_FUNCTOR void operator()(V& p, const V&, V&, V&, V&) const { p = V(value); }
};

// p moves towards g by a share: exponential moving averages and plain ones (share 1 / (n + 1)).
template <class T>
struct MoveTowards {
    static constexpr int states = 0;
    T share, gradient_scale = 1;
    explicit MoveTowards(double part) : share(T(part)) {}
    template <class V>
    TENON_FUNCTOR void operator()(V& p, const V& g, V&, V&, V&) const { p = p + V(share) * (g - p); }
};

// Lookahead (Zhang et al. 2019): the slow weights, the state, move towards the fast ones, which then start from there.
template <class T>
struct Lookahead {
    static constexpr int states = 1;
    T share, gradient_scale = 1;
    explicit Lookahead(double part) : share(T(part)) {}
    template <class V>
    TENON_FUNCTOR void operator()(V& p, const V&, V& slow, V&, V&) const {
        slow = slow + V(share) * (p - slow);
        p = slow;
    }
};

// SAM (Foret et al. 2021): p moves up the gradient, and its state remembers where it was; Adaptive (Kwon et al. 2021): by p^2.
template <class T, bool Adaptive>
struct SamAscend {
    static constexpr int states = 1;
    T scale, gradient_scale = 1;
    explicit SamAscend(double factor) : scale(T(factor)) {}
    template <class V>
    TENON_FUNCTOR void operator()(V& p, const V& g, V& before, V&, V&) const {
        before = p;
        if constexpr (Adaptive) p = p + V(scale) * (p * p * g);
        else p = p + V(scale) * g;
    }
};

// p = keep * p + gain * g.
template <class T>
struct Combine {
    static constexpr int states = 0;
    T keep, gain, gradient_scale = 1;
    Combine(double own, double other) : keep(T(own)), gain(T(other)) {}
    template <class V>
    TENON_FUNCTOR void operator()(V& p, const V& g, V&, V&, V&) const { p = keep == T(0) ? V(gain) * g : V(keep) * p + V(gain) * g; }
};

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

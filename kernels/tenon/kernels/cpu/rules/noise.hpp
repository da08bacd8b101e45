// How the deviations of stochastic weights move, in the form of a rule: the "parameter" is the deviation.
#pragma once

#include <tenon/kernels/cpu/rules/common.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

// The stochastic delta rule (Hanson 1990; Frazier-Logue and Hanson 2018): deviations grow with the size of the gradient and
// shrink by a factor, s = zeta * (s + beta * |g|); with growth after the decay, s = zeta * s + beta * |g|. Held to [least, most].
template <class T, bool GrowthDecays>
struct SdrDeviation {
    static constexpr int states = 0;
    T beta, zeta, least, most, gradient_scale = 1;
    SdrDeviation(double growth, double decay, double low, double high) : beta(T(growth)), zeta(T(decay)), least(T(low)), most(T(high)) {}
    template <class V>
    TENON_FUNCTOR void operator()(V& s, const V& g, V&, V&, V&) const {
        const V growth = V(beta) * impl::optim_abs(g);
        if constexpr (GrowthDecays) s = V(zeta) * (s + growth);
        else s = V(zeta) * s + growth;
        s = impl::optim_clamp(s, V(least), V(most));
    }
};

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

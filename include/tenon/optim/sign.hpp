// Rules that take the sign of a gradient: Lion (Signum and signSGD among its options) and Rprop.
#pragma once

#include <tenon/kernels/cpu/rules/sign.hpp>
#include <tenon/optim/adaptive.hpp>

namespace tenon::optim {
inline namespace TENON_CONFIG_NAMESPACE {

using kernels::cpu::LionOptions;
using kernels::cpu::RpropOptions;

namespace impl {

struct LionRule : PlainRule<LionOptions, kernels::cpu::Lion> {
    static constexpr const char* name = "lion";
    static const char* state_name(const Options&, int) { return "m"; }
};
struct RpropRule : PlainRule<RpropOptions, kernels::cpu::Rprop> {
    static constexpr const char* name = "rprop";
    static const char* state_name(const Options&, int i) { return i == 0 ? "last_gradient" : "step_size"; }
    static double initial(const Options& o, int i) { return i == 0 ? 0 : o.lr; }
};

}  // namespace impl

// Lion (Chen et al. 2023), decoupled weight decay. beta1 = beta2: Signum; both 0: signSGD (Bernstein et al. 2018).
template <class M>
[[nodiscard]] Optimizer<impl::LionRule> lion(M& module, LionOptions options = {}) { return {module, options}; }
// Rprop (Riedmiller and Braun 1993), for gradients of the whole data set. Its options have no weight decay; lr is the first step
// of every coordinate.
template <class M>
[[nodiscard]] Optimizer<impl::RpropRule> rprop(M& module, RpropOptions options = {}) { return {module, options}; }

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon::optim

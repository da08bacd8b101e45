// Rules for large batches, whose rate depends on norms over each parameter: LARS and LAMB.
#pragma once

#include <tenon/optim/adaptive.hpp>

namespace tenon::optim {
inline namespace TENON_CONFIG_NAMESPACE {

using kernels::cpu::LambOptions;
using kernels::cpu::LarsOptions;

namespace impl {

struct LarsRule : PlainRule<LarsOptions, kernels::cpu::Lars> {
    static constexpr const char* name = "lars";
    static constexpr bool layerwise = true;
    static const char* state_name(const Options&, int) { return "momentum"; }
};
struct LambRule : PlainRule<LambOptions, kernels::cpu::Lamb> {
    static constexpr const char* name = "lamb";
    static constexpr bool layerwise = true;
    static const char* state_name(const Options&, int i) { return moment_name(i); }
};

}  // namespace impl

// LARS (You, Gitman and Ginsburg 2017). Parameters of fewer than two axes take plain steps unless options.vectors.
template <class M>
[[nodiscard]] Optimizer<impl::LarsRule> lars(M& module, LarsOptions options = {}) { return {module, options}; }
// LAMB (You et al. 2020).
template <class M>
[[nodiscard]] Optimizer<impl::LambRule> lamb(M& module, LambOptions options = {}) { return {module, options}; }

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon::optim

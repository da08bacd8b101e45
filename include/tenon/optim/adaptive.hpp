// More rules with a rate for every coordinate: RMSprop, Adagrad, Adadelta, NAdam, RAdam, Adamax, AdaBelief, Yogi, AdaMod; averaged
// SGD. Formulas and options: docs/optimisers.md and kernels/cpu/rules.
#pragma once

#include <tenon/kernels/cpu/rules/adam_moments.hpp>
#include <tenon/kernels/cpu/rules/adam_variants.hpp>
#include <tenon/kernels/cpu/rules/rmsprop.hpp>
#include <tenon/optim/optimizer.hpp>

namespace tenon::optim {
inline namespace TENON_CONFIG_NAMESPACE {

using kernels::cpu::AdaBeliefOptions;
using kernels::cpu::AdadeltaOptions;
using kernels::cpu::AdagradOptions;
using kernels::cpu::AdamaxOptions;
using kernels::cpu::AdaModOptions;
using kernels::cpu::AsgdOptions;
using kernels::cpu::NadamOptions;
using kernels::cpu::RadamOptions;
using kernels::cpu::RmspropOptions;
using kernels::cpu::YogiOptions;

namespace impl {

// A rule whose kernel is made from the options and the number of the step.
template <class OptionsType, template <class> class Kernel>
struct PlainRule : RuleDefaults {
    using Options = OptionsType;
    static int states(const Options&) { return Kernel<double>::states; }
    static void check(const Options& o) { Kernel<double>(o, 1); }
    template <class T, class F>
    static void with_kernel(const Options&, F&& f) {
        f([](const Options& now, long t, double) { return Kernel<T>(now, t); });
    }
};

struct RmspropRule : RuleDefaults {
    using Options = RmspropOptions;
    static constexpr const char* name = "rmsprop";
    static int states(const Options& o) { return 1 + (o.momentum != 0) + o.centered; }
    static const char* state_name(const Options& o, int i) { return i == 0 ? "mean_square" : i == 1 && o.momentum != 0 ? "momentum" : "mean"; }
    static void check(const Options& o) { kernels::cpu::Rmsprop<double, false, false>(o, 1); }
    template <class T, class F>
    static void with_kernel(const Options& o, F&& f) {
        const auto of = [&]<class Kernel>(std::type_identity<Kernel>) { f([](const Options& now, long t, double) { return Kernel(now, t); }); };
        if (o.momentum != 0 && o.centered) of(std::type_identity<kernels::cpu::Rmsprop<T, true, true>>());
        else if (o.momentum != 0) of(std::type_identity<kernels::cpu::Rmsprop<T, true, false>>());
        else if (o.centered) of(std::type_identity<kernels::cpu::Rmsprop<T, false, true>>());
        else of(std::type_identity<kernels::cpu::Rmsprop<T, false, false>>());
    }
};
struct AdagradRule : PlainRule<AdagradOptions, kernels::cpu::Adagrad> {
    static constexpr const char* name = "adagrad";
    static const char* state_name(const Options&, int) { return "sum"; }
    static double initial(const Options& o, int) { return o.initial_accumulator; }
};
struct AdadeltaRule : PlainRule<AdadeltaOptions, kernels::cpu::Adadelta> {
    static constexpr const char* name = "adadelta";
    static const char* state_name(const Options&, int i) { return i == 0 ? "mean_square" : "mean_square_update"; }
};
struct NadamRule : RuleDefaults {
    using Options = NadamOptions;
    static constexpr const char* name = "nadam";
    static constexpr bool remembers = true;  // the product of the momenta
    static const char* state_name(const Options&, int i) { return moment_name(i); }
    static int states(const Options&) { return 2; }
    static void check(const Options& o) { kernels::cpu::Nadam<double>(o, 1, kernels::cpu::nadam_momentum(o, 1)); }
    static double advance(const Options& o, long t, double product) { return (t == 1 ? 1 : product) * kernels::cpu::nadam_momentum(o, t); }
    template <class T, class F>
    static void with_kernel(const Options&, F&& f) {
        f([](const Options& now, long t, double product) { return kernels::cpu::Nadam<T>(now, t, product); });
    }
};
struct RadamRule : PlainRule<RadamOptions, kernels::cpu::Radam> {
    static constexpr const char* name = "radam";
    static const char* state_name(const Options&, int i) { return moment_name(i); }
};
struct AdamaxRule : PlainRule<AdamaxOptions, kernels::cpu::Adamax> {
    static constexpr const char* name = "adamax";
    static const char* state_name(const Options&, int i) { return i == 0 ? "m" : "u"; }
};
struct AdaBeliefRule : PlainRule<AdaBeliefOptions, kernels::cpu::AdaBelief> {
    static constexpr const char* name = "adabelief";
    static const char* state_name(const Options&, int i) { return i == 0 ? "m" : "s"; }
};
struct YogiRule : PlainRule<YogiOptions, kernels::cpu::Yogi> {
    static constexpr const char* name = "yogi";
    static const char* state_name(const Options&, int i) { return moment_name(i); }
    static double initial(const Options& o, int i) { return i == 0 ? 0 : o.initial_accumulator; }
};
struct AdaModRule : PlainRule<AdaModOptions, kernels::cpu::AdaMod> {
    static constexpr const char* name = "adamod";
    static const char* state_name(const Options&, int i) { return i == 2 ? "mean_rate" : moment_name(i); }
};
struct AsgdRule : PlainRule<AsgdOptions, kernels::cpu::Asgd> {
    static constexpr const char* name = "asgd";
    static const char* state_name(const Options&, int) { return "average"; }
};

}  // namespace impl

// RMSprop (Tieleman and Hinton 2012), with momentum, centred (Graves 2013).
template <class M>
[[nodiscard]] Optimizer<impl::RmspropRule> rmsprop(M& module, RmspropOptions options = {}) { return {module, options}; }
// Adagrad (Duchi, Hazan and Singer 2011).
template <class M>
[[nodiscard]] Optimizer<impl::AdagradRule> adagrad(M& module, AdagradOptions options = {}) { return {module, options}; }
// Adadelta (Zeiler 2012).
template <class M>
[[nodiscard]] Optimizer<impl::AdadeltaRule> adadelta(M& module, AdadeltaOptions options = {}) { return {module, options}; }
// NAdam (Dozat 2016).
template <class M>
[[nodiscard]] Optimizer<impl::NadamRule> nadam(M& module, NadamOptions options = {}) { return {module, options}; }
// RAdam (Liu et al. 2020).
template <class M>
[[nodiscard]] Optimizer<impl::RadamRule> radam(M& module, RadamOptions options = {}) { return {module, options}; }
// Adamax (Kingma and Ba 2015).
template <class M>
[[nodiscard]] Optimizer<impl::AdamaxRule> adamax(M& module, AdamaxOptions options = {}) { return {module, options}; }
// AdaBelief (Zhuang et al. 2020).
template <class M>
[[nodiscard]] Optimizer<impl::AdaBeliefRule> adabelief(M& module, AdaBeliefOptions options = {}) { return {module, options}; }
// Yogi (Zaheer et al. 2018).
template <class M>
[[nodiscard]] Optimizer<impl::YogiRule> yogi(M& module, YogiOptions options = {}) { return {module, options}; }
// AdaMod (Ding et al. 2019).
template <class M>
[[nodiscard]] Optimizer<impl::AdaModRule> adamod(M& module, AdaModOptions options = {}) { return {module, options}; }
// Averaged SGD (Polyak and Juditsky 1992); the average is the state "average".
template <class M>
[[nodiscard]] Optimizer<impl::AsgdRule> asgd(M& module, AsgdOptions options = {}) { return {module, options}; }

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon::optim

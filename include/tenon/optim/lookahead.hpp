// Lookahead: slow weights that follow the steps of another optimiser.
#pragma once

#include <tenon/optim/blocks.hpp>
#include <tenon/optim/optimizer.hpp>

namespace tenon::optim {

struct LookaheadOptions {
    long every = 5;      // steps of the inner optimiser between two of the slow weights
    double alpha = 0.5;  // how far the slow weights move
};

inline namespace TENON_CONFIG_NAMESPACE {

// Every `every` steps: slow += alpha * (fast - slow), fast = slow (Zhang et al. 2019). The inner optimiser keeps its state. The slow
// weights start from the parameters as they are.
//
//     auto opt = optim::lookahead(optim::adam(net, {.lr = 1e-3}), {.every = 6});
template <class Inner>
class Lookahead {
public:
    // Throws ValueError unless every >= 1 and alpha lies in [0, 1].
    explicit Lookahead(Inner inner, LookaheadOptions options = {}) : inner_(static_cast<Inner&&>(inner)), options_(options) {
        check_numbers();
        slow_.cover(inner_.parameter_set(), true);
    }
    template <class M, class Options>
    void add_group(M& module, const Options& options) {
        inner_.add_group(module, options);
        slow_.cover(inner_.parameter_set(), true);
    }
    // As the inner optimiser's; a skipped step does not count.
    void step(typename Inner::StepOptions options = {}) {
        impl::check_not_captured("lookahead");
        impl::ParameterSet& set = inner_.parameter_set();
        slow_.cover(set, true);
        const long before = inner_.statistics().steps;
        inner_.step(options);
        if (inner_.statistics().steps == before || ++count_ % options_.every != 0) return;
        impl::for_each_arena("lookahead", set, [&](const impl::Arena& arena, auto* p, auto* slow) {
            using T = std::remove_pointer_t<decltype(p)>;
            T* none = nullptr;
            TENON_RUN(arena.device, fused_step(kernels::cpu::Lookahead<T>(options_.alpha), arena.elements, p, p, slow, none, none, false));
        }, impl::Values{set}, slow_);
        set.note_writes("lookahead");
    }
    void zero_grad() { inner_.zero_grad(); }
    double clip_norm(double max_norm, double power = 2) { return inner_.clip_norm(max_norm, power); }
    void clip_value(double limit) { inner_.clip_value(limit); }
    bool unscale(double factor) { return inner_.unscale(factor); }
    void set_lr_scale(double scale) { inner_.set_lr_scale(scale); }
    Inner& inner() { return inner_; }

    static constexpr impl::JoinedText name_{"lookahead", Inner::rule_name};
    static constexpr const char* rule_name = name_.text;
    const StepStatistics& statistics() const { return inner_.statistics(); }
    void restore(const StepStatistics& statistics) { inner_.restore(statistics); }
    template <class Tensor, class Steps>
    void visit_state(Tensor&& tensor, Steps&& steps) {
        inner_.visit_state(tensor, steps);
        for (const impl::Parameter& p : inner_.parameter_set().parameters) tensor(p.name.text(), "slow", slow_.part(p));
    }
    template <class F>
    void visit_numbers(F&& f) {
        inner_.visit_numbers(f);
        f("lookahead.every", options_.every);
        f("lookahead.alpha", options_.alpha);
        f("lookahead.count", count_);
    }
    void check_numbers() const {
        inner_.check_numbers();
        if (options_.every < 1 || !(options_.alpha >= 0 && options_.alpha <= 1) || count_ < 0)
            fail<ValueError>("lookahead: every ", options_.every, " and alpha ", options_.alpha, ": expected at least 1, and a number in [0, 1]");
    }

private:
    Inner inner_;
    LookaheadOptions options_;
    impl::Blocks slow_;
    long count_ = 0;
};
template <class Inner>
[[nodiscard]] Lookahead<Inner> lookahead(Inner inner, LookaheadOptions options = {}) { return Lookahead<Inner>(static_cast<Inner&&>(inner), options); }

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon::optim

// Sharpness-aware minimisation: the gradient is taken where the loss is highest nearby.
#pragma once

#include <tenon/optim/blocks.hpp>
#include <tenon/optim/optimizer.hpp>

namespace tenon::optim {

struct SamOptions {
    double rho = 0.05;      // the radius of "nearby"
    bool adaptive = false;  // in proportion to each parameter's size (ASAM, Kwon et al. 2021; rho is then some 0.5 to 2)
};

inline namespace TENON_CONFIG_NAMESPACE {

// p moves up by rho * g / |g|, the gradient is computed there, p moves back (to the bit) and the inner optimiser steps with
// that gradient (Foret et al. 2021).
//
//     auto opt = optim::sam(optim::sgd(net, {.lr = 0.1, .momentum = 0.9}), {.rho = 0.05});
//     opt.step([&] { auto loss = cross_entropy(net(x), y); loss.backward(); return loss; });
template <class Inner>
class Sam {
public:
    // Throws ValueError unless rho is a finite number of at least 0.
    explicit Sam(Inner inner, SamOptions options = {}) : inner_(static_cast<Inner&&>(inner)), options_(options) { check_numbers(); }

    // Calls the closure, which computes the loss and its gradients, twice; gives what it returned at first.
    template <class F>
    auto step(F&& closure) {
        zero_grad();
        auto first = closure();
        ascend();
        try {
            static_cast<void>(closure());
        } catch (...) {
            go_back();
            throw;
        }
        descend();
        return first;
    }
    // The two halves by hand: backward, ascend(), backward, descend(). Throws GradError for two ascents in a row, and a descent
    // without an ascent.
    void ascend() {
        impl::check_not_captured("sam");
        if (up_) fail<GradError>("sam: ascend() after ascend()", "\n       hint: descend() comes between");
        impl::ParameterSet& set = inner_.parameter_set();
        before_.cover(set);
        moved_.clear();
        const double norm = __builtin_sqrt(squares());
        // A norm that is not finite moves nothing: the second gradient shows what the first has.
        const double scale = norm > 0 && norm - norm == 0 ? options_.rho / (norm + 1e-12) : 0;
        up_ = true;
        if (scale == 0) return zero_grad();
        set.for_each_gradient([&](const impl::Arena& arena, long first, long end) {
            moved_.push_back({static_cast<std::size_t>(&arena - set.arenas.data()), first, end});
            impl::with_type(arena.dtype, [&]<class T>(T*) {
                T *p = pointer<T>(arena.values, first), *g = pointer<T>(arena.gradients, first), *none = nullptr;
                T* before = pointer<T>(before_[moved_.back().arena], first);
                tenon::impl::check_device("sam", arena.device);
                if (options_.adaptive) TENON_RUN(arena.device, fused_step(kernels::cpu::SamAscend<T, true>(scale), end - first, p, g, before, none, none, false));
                else TENON_RUN(arena.device, fused_step(kernels::cpu::SamAscend<T, false>(scale), end - first, p, g, before, none, none, false));
            });
        });
        set.note_writes("sam");
        zero_grad();
    }
    void descend(typename Inner::StepOptions options = {}) {
        if (!up_) fail<GradError>("sam: descend() without ascend()");
        go_back();
        inner_.step(options);
    }
    void zero_grad() { inner_.zero_grad(); }
    // For the step that descend() makes: of the second gradient.
    double clip_norm(double max_norm, double power = 2) { return inner_.clip_norm(max_norm, power); }
    void clip_value(double limit) { inner_.clip_value(limit); }
    void set_lr_scale(double scale) { inner_.set_lr_scale(scale); }
    Inner& inner() { return inner_; }

    static constexpr impl::JoinedText name_{"sam", Inner::rule_name};
    static constexpr const char* rule_name = name_.text;
    const StepStatistics& statistics() const { return inner_.statistics(); }
    void restore(const StepStatistics& statistics) { inner_.restore(statistics); }
    template <class Tensor, class Steps>
    void visit_state(Tensor&& tensor, Steps&& steps) { inner_.visit_state(tensor, steps); }
    template <class F>
    void visit_numbers(F&& f) {
        inner_.visit_numbers(f);
        f("sam.rho", options_.rho);
        f("sam.adaptive", options_.adaptive);
    }
    void check_numbers() const {
        inner_.check_numbers();
        kernels::cpu::impl::check_option("sam", "rho", options_.rho, 0);
    }

private:
    struct Range {
        std::size_t arena;
        long first, end;
    };
    template <class T>
    static T* pointer(impl::Storage* block, long first) { return reinterpret_cast<T*>(block->data) + first; }
    double squares() {
        impl::ParameterSet& set = inner_.parameter_set();
        if (!options_.adaptive) return set.gradient_squares("sam");
        double sum = 0;
        set.for_each_gradient([&](const impl::Arena& arena, long first, long end) {
            tenon::impl::check_device("sam", arena.device);
            impl::with_type(arena.dtype, [&]<class T>(T*) {
                const T *p = pointer<T>(arena.values, first), *g = pointer<T>(arena.gradients, first);
                sum += TENON_RUN(arena.device, sum_of_squared_products(end - first, p, g));
            });
        });
        return sum;
    }
    void go_back() {
        impl::ParameterSet& set = inner_.parameter_set();
        for (const Range& range : moved_) {
            const impl::Arena& arena = set.arenas[range.arena];
            impl::with_type(arena.dtype, [&]<class T>(T*) {
                const std::size_t bytes = static_cast<std::size_t>(range.end - range.first) * sizeof(T);
                tenon::detail::copy_bytes(arena.device, pointer<T>(arena.values, range.first), pointer<T>(before_[range.arena], range.first), bytes);
            });
        }
        moved_.clear();
        set.note_writes("sam");
        up_ = false;
    }

    Inner inner_;
    SamOptions options_;
    impl::Blocks before_;
    std::vector<Range> moved_;
    bool up_ = false;
};
template <class Inner>
[[nodiscard]] Sam<Inner> sam(Inner inner, SamOptions options = {}) { return Sam<Inner>(static_cast<Inner&&>(inner), options); }

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon::optim

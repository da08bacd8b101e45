// L-BFGS: a quasi-Newton method for smooth losses of the whole data set.
#pragma once

#include <tenon/optim/blocks.hpp>
#include <tenon/optim/optimizer.hpp>
#include <tenon/optim/strong_wolfe.hpp>

namespace tenon::optim {

struct LbfgsOptions {
    double lr = 1;                      // the first step length that is tried, but for the very first iteration
    double lr_scale = 1;
    long iterations = 20;               // per step
    long evaluations = 0;               // per step; 0: 5/4 of the iterations
    double gradient_tolerance = 1e-7;   // done when no gradient is larger
    double change_tolerance = 1e-9;     // or no coordinate nor the loss changes by more
    long history = 10;                  // pairs of steps and gradient changes, two vectors each
    bool strong_wolfe = true;           // a line search; else every iteration goes lr along its direction
    static void visit(auto& o, auto&& f) {
        f("lr", o.lr);
        f("lr_scale", o.lr_scale);
        f("iterations", o.iterations);
        f("evaluations", o.evaluations);
        f("gradient_tolerance", o.gradient_tolerance);
        f("change_tolerance", o.change_tolerance);
        f("history", o.history);
        f("strong_wolfe", o.strong_wolfe);
    }
};

inline namespace TENON_CONFIG_NAMESPACE {

// Limited-memory BFGS (Nocedal 1980; Liu and Nocedal 1989) over all parameters as one vector; iterations, tolerances and line
// search are PyTorch's.
//
//     auto opt = optim::lbfgs(net);
//     opt.step([&] { auto loss = mean(square(net(x) - y)); loss.backward(); return loss; });
class Lbfgs {
public:
    // Throws as Optimizer does, and ValueError for options out of range.
    template <class M>
    explicit Lbfgs(M& module, LbfgsOptions options = {}) : options_(options) {
        check_numbers();
        set_.take(rule_name, module, 0, 0, nullptr);
        changes_.resize(static_cast<std::size_t>(options.history));
        inverses_.resize(static_cast<std::size_t>(options.history));
        for (Pair& pair : changes_) {
            pair.step.cover(set_);
            pair.gradient.cover(set_);
        }
        for (impl::Blocks* block : {&direction_, &last_gradient_, &start_}) block->cover(set_);
    }

    // Some iterations. The closure computes the loss and its gradients and returns the loss (a tensor of rank 0, or a number); it is
    // called at least once, with no gradients there. Returns the loss before the step.
    template <class F>
    double step(F&& closure) {
        impl::check_not_captured(rule_name);
        const auto evaluate = [&] {
            set_.zero_grad();
            const auto result = closure();
            ++total_evaluations_;
            clear_missing();
            if constexpr (requires { result.item(); }) return static_cast<double>(result.item());
            else return static_cast<double>(result);
        };
        const double first = iterate(evaluate);
        set_.zero_grad();
        ++statistics_.steps;
        return first;
    }
    void zero_grad() { set_.zero_grad(); }
    void set_lr_scale(double scale) { options_.lr_scale = scale; }
    const LbfgsOptions& options() const { return options_; }
    // Since the optimiser was built.
    long iterations() const { return total_iterations_; }
    long evaluations() const { return total_evaluations_; }

    static constexpr const char* rule_name = "lbfgs";
    const StepStatistics& statistics() const { return statistics_; }
    void restore(const StepStatistics& statistics) { statistics_ = statistics; }
    template <class Tensor, class Steps>
    void visit_state(Tensor&& tensor, Steps&& steps) {
        for (impl::Parameter& p : set_.parameters) {
            tensor(p.name.text(), "direction", direction_.part(p));
            tensor(p.name.text(), "last_gradient", last_gradient_.part(p));
            for (std::size_t i = 0; i < changes_.size(); ++i) {
                Message name;
                name << "step" << static_cast<unsigned long>(i);
                tensor(p.name.text(), name.text(), changes_[i].step.part(p));
                Message other;
                other << "gradient_change" << static_cast<unsigned long>(i);
                tensor(p.name.text(), other.text(), changes_[i].gradient.part(p));
            }
            steps(p.name.text(), p.steps);
        }
    }
    template <class F>
    void visit_numbers(F&& f) {
        LbfgsOptions::visit(options_, f);
        f("state.length", length_);
        f("state.scale", scale_);
        f("state.pairs", pairs_);
        f("state.oldest", oldest_);
        f("state.iterations", total_iterations_);
        f("state.evaluations", total_evaluations_);
        for (std::size_t i = 0; i < inverses_.size(); ++i) {
            Message name;
            name << "state.inverse" << static_cast<unsigned long>(i);
            f(name.text(), inverses_[i]);
        }
    }
    void check_numbers() const {
        kernels::cpu::impl::check_option(rule_name, "lr", options_.lr, 0);
        kernels::cpu::impl::check_option(rule_name, "lr_scale", options_.lr_scale, 0);
        kernels::cpu::impl::check_option(rule_name, "gradient_tolerance", options_.gradient_tolerance, 0);
        kernels::cpu::impl::check_option(rule_name, "change_tolerance", options_.change_tolerance, 0);
        if (options_.iterations < 1 || options_.evaluations < 0 || options_.history < 1)
            fail<ValueError>("lbfgs: iterations ", options_.iterations, ", evaluations ", options_.evaluations, ", history ", options_.history,
                             ": expected at least 1, 0 and 1");
        if (!changes_.empty() && options_.history != static_cast<long>(changes_.size()))
            fail<ValueError>("lbfgs: a history of ", options_.history, " pairs, but there is room for ", static_cast<long>(changes_.size()));
        if (pairs_ < 0 || pairs_ > options_.history || oldest_ < 0 || oldest_ >= options_.history)
            fail<ValueError>("lbfgs: ", pairs_, " pairs from ", oldest_, " on, of ", options_.history);
    }

private:
    struct Pair {
        impl::Blocks step, gradient;
    };
    using Point = LinePoint<impl::Blocks>;

    std::size_t slot(long i) const { return static_cast<std::size_t>((oldest_ + i) % options_.history); }

    template <class Evaluate>
    double iterate(Evaluate& evaluate) {
        const impl::Values p{set_};
        const impl::Gradients g{set_};
        const long most = options_.evaluations > 0 ? options_.evaluations : options_.iterations * 5 / 4;
        const double lr = options_.lr * options_.lr_scale;
        const double first = evaluate();
        double loss = first;
        long used = 1;
        if (impl::largest(rule_name, set_, g) <= options_.gradient_tolerance) return first;
        for (long i = 1; i <= options_.iterations; ++i) {
            ++total_iterations_;
            for (impl::Parameter& q : set_.parameters) q.steps = total_iterations_;
            find_direction(g);
            impl::copy(set_, last_gradient_, g);
            const double before = loss;
            length_ = lr;
            if (total_iterations_ == 1) {
                const double sum = impl::magnitudes(rule_name, set_, g);
                length_ = (1 / sum < 1 ? 1 / sum : 1) * lr;
            }
            const double slope = impl::dot(rule_name, set_, g, direction_);
            if (slope > -options_.change_tolerance) break;
            bool done = false;
            const double size = impl::largest(rule_name, set_, direction_);
            if (options_.strong_wolfe) {
                loss = search(evaluate, loss, slope, size, used);
                done = impl::largest(rule_name, set_, g) <= options_.gradient_tolerance;
            } else {
                impl::combine(rule_name, set_, p, 1, length_, direction_);
                set_.note_writes(rule_name);
                // The last iteration's loss is the next step's.
                if (i < options_.iterations) {
                    loss = evaluate();
                    ++used;
                    done = impl::largest(rule_name, set_, g) <= options_.gradient_tolerance;
                }
            }
            if (done || used >= most || length_ * size <= options_.change_tolerance || __builtin_fabs(loss - before) < options_.change_tolerance) break;
        }
        return first;
    }

    // The direction: minus the gradient, times the inverse Hessian that the pairs describe (the two-loop recursion).
    void find_direction(const impl::Gradients& g) {
        if (total_iterations_ == 1) {
            impl::combine(rule_name, set_, direction_, 0, -1, g);
            return;
        }
        Pair& fresh = changes_[slot(pairs_)];  // of a full history the oldest, which is overwritten only if the pair is taken
        impl::copy(set_, start_, g);
        impl::combine(rule_name, set_, start_, 1, -1, last_gradient_);
        const double curvature = length_ * impl::dot(rule_name, set_, start_, direction_);
        if (curvature > 1e-10) {
            impl::copy(set_, fresh.gradient, start_);
            impl::combine(rule_name, set_, fresh.step, 0, length_, direction_);
            inverses_[slot(pairs_)] = 1 / curvature;
            if (pairs_ == options_.history) oldest_ = (oldest_ + 1) % options_.history;
            else ++pairs_;
            scale_ = curvature / impl::dot(rule_name, set_, start_, start_);
        }
        std::vector<double> weights(static_cast<std::size_t>(pairs_));
        impl::combine(rule_name, set_, direction_, 0, -1, g);
        for (long i = pairs_ - 1; i >= 0; --i) {
            const std::size_t k = slot(i);
            const double weight = weights[static_cast<std::size_t>(i)] = impl::dot(rule_name, set_, changes_[k].step, direction_) * inverses_[k];
            impl::combine(rule_name, set_, direction_, 1, -weight, changes_[k].gradient);
        }
        impl::combine(rule_name, set_, direction_, 0, scale_, direction_);
        for (long i = 0; i < pairs_; ++i) {
            const std::size_t k = slot(i);
            const double weight = impl::dot(rule_name, set_, changes_[k].gradient, direction_) * inverses_[k];
            impl::combine(rule_name, set_, direction_, 1, weights[static_cast<std::size_t>(i)] - weight, changes_[k].step);
        }
    }

    // Leaves parameters and gradients at the point that the line search likes best, and gives its loss.
    template <class Evaluate>
    double search(Evaluate& evaluate, double loss, double slope, double size, long& used) {
        const impl::Values p{set_};
        const impl::Gradients g{set_};
        impl::copy(set_, start_, p);
        const auto copy_of_gradient = [&] {
            impl::Blocks copy;
            copy.cover(set_);
            impl::copy(set_, copy, g);
            return copy;
        };
        const auto go_to = [&](double t) {
            impl::copy(set_, p, start_);
            impl::combine(rule_name, set_, p, 1, t, direction_);
            set_.note_writes(rule_name);
        };
        const Point best = strong_wolfe(
            [&](double t) {
                go_to(t);
                Point found;
                found.t = t;
                found.loss = evaluate();
                found.gradient = copy_of_gradient();
                found.slope = impl::dot(rule_name, set_, g, direction_);
                return found;
            },
            Point{0, loss, slope, copy_of_gradient()}, length_, size, used);
        go_to(best.t);
        impl::copy(set_, g, best.gradient);
        length_ = best.t;
        return best.loss;
    }

    // The gradient of a parameter that the loss does not reach is 0, whatever its memory holds.
    void clear_missing() {
        for (const impl::Parameter& q : set_.parameters) {
            if (q.slot().has) continue;
            const impl::Arena& arena = set_.arenas[q.arena];
            const long element = size_of(arena.dtype);
            tenon::detail::zero_bytes(arena.device, arena.gradients->data + q.first * element, static_cast<std::size_t>(q.padded * element));
        }
    }

    impl::ParameterSet set_;
    LbfgsOptions options_;
    StepStatistics statistics_;
    std::vector<Pair> changes_;
    std::vector<double> inverses_;  // of the pairs' products
    impl::Blocks direction_, last_gradient_, start_;
    double length_ = 0, scale_ = 1;
    long pairs_ = 0, oldest_ = 0, total_iterations_ = 0, total_evaluations_ = 0;
};
template <class M>
[[nodiscard]] Lbfgs lbfgs(M& module, LbfgsOptions options = {}) { return Lbfgs(module, options); }

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon::optim

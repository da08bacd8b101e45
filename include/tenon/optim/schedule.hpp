// Learning-rate schedules: small values that map the number of a step (or epoch), counted from 0, to a factor of the
// base rate. They hold no state and no optimiser: `opt.set_lr_scale(schedule(step))`, and resuming is calling them with the
// right number; so a lambda is a schedule, too. Rules that bound their step by another rate (AdaBound) scale the bounds by the
// same factor. Cycles and restarts are in optim/schedule_cycles.hpp, what needs a state in optim/scheduler.hpp.
#pragma once

#include <tenon/base/error.hpp>

#include <concepts>
#include <initializer_list>

namespace tenon::optim {

// What can be called with the number of a step and gives a factor of the base rate. A tensor, which can be called with an index, is
// none: its operators are its own.
template <class S>
concept Schedule = !requires { typename S::Scalar; } && requires(const S& schedule, long step) {
    { schedule(step) } -> std::convertible_to<double>;
};

namespace detail {
inline long clamp_step(long step) { return step < 0 ? 0 : step; }
inline void check_length(const char* who, const char* what, long value) {
    if (value < 1) fail<ValueError>(who, ": ", what, " is ", value, ": expected at least 1");
}
}  // namespace detail

// The factor 1, always.
struct Constant {
    double operator()(long) const { return 1.0; }
};

// A factor for the first steps, then 1.
class ConstantFactor {
public:
    // Throws ValueError unless steps >= 0.
    ConstantFactor(double factor, long steps) : steps_(steps), factor_(factor) {
        if (steps < 0) fail<ValueError>("ConstantFactor: steps is ", steps, ": expected at least 0");
    }
    double operator()(long step) const { return step < steps_ ? factor_ : 1.0; }

private:
    long steps_;
    double factor_;
};

// factor^floor(step / every).
class StepDecay {
public:
    // Throws ValueError unless every >= 1.
    explicit StepDecay(long every, double factor = 0.1) : every_(every), factor_(factor) {
        detail::check_length("StepDecay", "every", every);
    }
    double operator()(long step) const {
        return __builtin_pow(factor_, static_cast<double>(detail::clamp_step(step) / every_));
    }

private:
    long every_;
    double factor_;
};

// factor^(number of milestones <= step).
class MultiStep {
public:
    static constexpr int max_milestones = 16;

    // Throws ValueError unless the milestones rise and are at most 16.
    MultiStep(std::initializer_list<long> milestones, double factor = 0.1) : factor_(factor) {
        if (milestones.size() > static_cast<std::size_t>(max_milestones))
            fail<ValueError>("MultiStep: ", static_cast<long>(milestones.size()), " milestones, expected at most ",
                             int(max_milestones));
        for (long milestone : milestones) {
            if (count_ > 0 && milestone <= milestones_[count_ - 1])
                fail<ValueError>("MultiStep: milestone ", milestone, " follows ", milestones_[count_ - 1],
                                 ": expected rising numbers");
            milestones_[count_++] = milestone;
        }
    }
    double operator()(long step) const {
        int passed = 0;
        while (passed < count_ && milestones_[passed] <= step) ++passed;
        return __builtin_pow(factor_, static_cast<double>(passed));
    }

private:
    long milestones_[max_milestones] = {};
    int count_ = 0;
    double factor_;
};

// gamma^step.
class Exponential {
public:
    explicit Exponential(double gamma) : gamma_(gamma) {}
    double operator()(long step) const { return __builtin_pow(gamma_, static_cast<double>(detail::clamp_step(step))); }

private:
    double gamma_;
};

// Half a cosine from 1 at step 0 to last at step total, then last.
class Cosine {
public:
    // Throws ValueError unless total >= 1.
    explicit Cosine(long total, double last = 0.0) : total_(total), last_(last) {
        detail::check_length("Cosine", "total", total);
    }
    double operator()(long step) const {
        const long at = detail::clamp_step(step);
        if (at >= total_) return last_;
        const double angle = 3.14159265358979323846 * static_cast<double>(at) / static_cast<double>(total_);
        return last_ + (1.0 - last_) * 0.5 * (1.0 + __builtin_cos(angle));
    }

private:
    long total_;
    double last_;
};

// A straight line from first at step 0 to 1 at step steps, then 1.
class LinearWarmup {
public:
    // Throws ValueError unless steps >= 1.
    explicit LinearWarmup(long steps, double first = 0.0) : steps_(steps), first_(first) {
        detail::check_length("LinearWarmup", "steps", steps);
    }
    double operator()(long step) const {
        const long at = detail::clamp_step(step);
        if (at >= steps_) return 1.0;
        return first_ + (1.0 - first_) * (static_cast<double>(at) / static_cast<double>(steps_));
    }

private:
    long steps_;
    double first_;
};

// A straight line from first at step 0 to last at step steps, then last.
class Linear {
public:
    // Throws ValueError unless steps >= 1.
    Linear(double first, double last, long steps) : steps_(steps), first_(first), last_(last) { detail::check_length("Linear", "steps", steps); }
    double operator()(long step) const {
        const long at = detail::clamp_step(step);
        if (at >= steps_) return last_;
        return first_ + (last_ - first_) * (static_cast<double>(at) / static_cast<double>(steps_));
    }

private:
    long steps_;
    double first_, last_;
};

// (1 - step / total)^power, then 0.
class Polynomial {
public:
    // Throws ValueError unless total >= 1 and power >= 0.
    explicit Polynomial(long total, double power = 1.0) : total_(total), power_(power) {
        detail::check_length("Polynomial", "total", total);
        if (!(power >= 0)) fail<ValueError>("Polynomial: power is ", power, ": expected at least 0");
    }
    double operator()(long step) const {
        const long at = detail::clamp_step(step);
        return at >= total_ ? 0.0 : __builtin_pow(1.0 - static_cast<double>(at) / static_cast<double>(total_), power_);
    }

private:
    long total_;
    double power_;
};

// The product of f(1), ..., f(step), 1 at step 0. Going on by a step takes one call of f.
template <class F>
class Multiplicative {
public:
    explicit Multiplicative(F f) : f_(static_cast<F&&>(f)) {}
    double operator()(long step) const {
        if (step < at_) at_ = 0, product_ = 1.0;
        while (at_ < step) product_ *= f_(++at_);
        return product_;
    }

private:
    F f_;
    mutable long at_ = 0;  // what has been multiplied already
    mutable double product_ = 1.0;
};

// One schedule for the first steps, then another that counts from 0 again: Sequence{LinearWarmup{500}, 500, Cosine{n}}.
template <Schedule First, Schedule Second>
class Sequence {
public:
    // Throws ValueError unless steps >= 1.
    Sequence(First first, long steps, Second second) : first_(first), second_(second), steps_(steps) {
        detail::check_length("Sequence", "steps", steps);
    }
    double operator()(long step) const { return step < steps_ ? first_(step) : second_(step - steps_); }

private:
    First first_;
    Second second_;
    long steps_;
};

// Two schedules at once: the product of their factors.
template <Schedule First, Schedule Second>
class Product {
public:
    Product(First first, Second second) : first_(first), second_(second) {}
    double operator()(long step) const { return first_(step) * second_(step); }

private:
    First first_;
    Second second_;
};
template <Schedule First, Schedule Second>
Product<First, Second> operator*(First first, Second second) {
    return {first, second};
}

}  // namespace tenon::optim

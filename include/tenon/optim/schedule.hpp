// Learning-rate schedules: small values that map the number of a step (or epoch), counted from 0, to a factor of the
// base rate. They hold no state and no optimiser: `opt.lr_scale(schedule(step))`, and resuming is calling them with the
// right number. Rules that bound their step by another rate (AdaBound) scale the bounds by the same factor.
#pragma once

#include <tenon/base/error.hpp>

#include <concepts>
#include <initializer_list>

namespace tenon::optim {

// What can be called with the number of a step and gives a factor of the base rate.
template <class S>
concept Schedule = requires(const S& schedule, long step) {
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

// Schedules with a state of their own, which a checkpoint keeps: one that counts its steps, and one that watches a value.
#pragma once

#include <tenon/optim/schedule.hpp>

namespace tenon::optim {

// A schedule and the number of the next step. scheduler(optimiser) before every step of it sets its rate, and its momentum where
// the schedule has one (OneCycle), and counts. io::save_checkpoint(path, state, net, optimiser, scheduler) keeps the count.
template <Schedule S>
class Scheduler {
public:
    explicit Scheduler(S schedule) : schedule_(static_cast<S&&>(schedule)) {}
    template <class Optimiser>
    void operator()(Optimiser& optimiser) {
        optimiser.set_lr_scale(schedule_(step_));
        if constexpr (requires { optimiser.set_momentum(schedule_.momentum(step_)); }) optimiser.set_momentum(schedule_.momentum(step_));
        ++step_;
    }
    long step() const { return step_; }
    const S& schedule() const { return schedule_; }
    void visit_numbers(auto&& f) { f("step", step_); }

private:
    S schedule_;
    long step_ = 0;
};

struct PlateauOptions {
    double factor = 0.1;
    long patience = 10;       // how many values in a row may be no better
    double threshold = 1e-4;  // how much better is better
    bool relative = true;     // the threshold: to the best value, or as it is
    bool maximize = false;    // larger is better
    long cooldown = 0;        // values after a cut that do not count
    double least = 0;         // the factor of the base rate never falls below it
    double eps = 1e-8;        // a cut by less is none
};

// Cuts the rate when a value stops getting better: opt.set_lr_scale(plateau(validation_loss)) after every epoch. NaN is no better.
// All of PyTorch's ReduceLROnPlateau, with factors of the base rate in place of rates.
class ReduceOnPlateau {
public:
    // Throws ValueError unless factor lies in [0, 1), and the others are not negative.
    explicit ReduceOnPlateau(PlateauOptions options = {}) : options_(options), best_(options.maximize ? -__builtin_inf() : __builtin_inf()) {
        if (!(options.factor >= 0 && options.factor < 1)) fail<ValueError>("ReduceOnPlateau: factor is ", options.factor, ": expected a number in [0, 1)");
        if (options.patience < 0 || options.cooldown < 0 || !(options.threshold >= 0) || !(options.least >= 0) || !(options.eps >= 0))
            fail<ValueError>("ReduceOnPlateau: patience ", options.patience, ", cooldown ", options.cooldown, ", threshold ", options.threshold, ", least ", options.least,
                             ", eps ", options.eps, ": expected none below 0");
    }
    // The factor of the base rate after another value.
    double operator()(double value) {
        if (better(value)) {
            best_ = value;
            bad_ = 0;
        } else {
            ++bad_;
        }
        if (resting_ > 0) {
            --resting_;
            bad_ = 0;
        }
        if (bad_ > options_.patience) {
            const double cut = scale_ * options_.factor, next = cut > options_.least ? cut : options_.least;
            if (scale_ - next > options_.eps) scale_ = next;
            resting_ = options_.cooldown;
            bad_ = 0;
        }
        return scale_;
    }
    double scale() const { return scale_; }
    double best() const { return best_; }
    void visit_numbers(auto&& f) {
        f("scale", scale_);
        f("best", best_);
        f("bad", bad_);
        f("resting", resting_);
    }

private:
    bool better(double value) const {
        if (options_.relative) return options_.maximize ? value > best_ * (1 + options_.threshold) : value < best_ * (1 - options_.threshold);
        return options_.maximize ? value > best_ + options_.threshold : value < best_ - options_.threshold;
    }

    PlateauOptions options_;
    double best_, scale_ = 1;
    long bad_ = 0, resting_ = 0;
};

}  // namespace tenon::optim

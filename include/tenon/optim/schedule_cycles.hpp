// Learning-rate schedules that come back: warm restarts, cycles, one cycle.
#pragma once

#include <tenon/optim/schedule.hpp>

namespace tenon::optim {

namespace detail {
// Half a cosine from first at 0 to last at 1.
inline double cosine_between(double first, double last, double part) {
    return last + (first - last) * 0.5 * (1.0 + __builtin_cos(3.14159265358979323846 * part));
}
}  // namespace detail

// Half a cosine from 1 to last over `period` steps, again and again, each time `growth` times as long (Loshchilov and Hutter,
// "SGDR", ICLR 2017).
class WarmRestarts {
public:
    // Throws ValueError unless period and growth are at least 1.
    explicit WarmRestarts(long period, long growth = 1, double last = 0.0) : period_(period), growth_(growth), last_(last) {
        detail::check_length("WarmRestarts", "period", period);
        detail::check_length("WarmRestarts", "growth", growth);
    }
    double operator()(long step) const {
        long at = detail::clamp_step(step), period = period_;
        if (growth_ == 1) at %= period;
        else
            while (at >= period) {
                at -= period;
                period *= growth_;
            }
        return detail::cosine_between(1.0, last_, static_cast<double>(at) / static_cast<double>(period));
    }

private:
    long period_, growth_;
    double last_;
};

// Straight lines from low up to 1 in `up` steps and back in `down`, again and again (Smith, "Cyclical learning rates", WACV 2017).
class Cyclic {
public:
    enum class Mode {
        triangular,   // every cycle as high as the first
        triangular2,  // every cycle half as high as the one before
        decaying,     // the height is gamma^step
    };
    // down: 0 is as many as up. Throws ValueError unless up >= 1 and down >= 0.
    Cyclic(double low, long up, long down = 0, Mode mode = Mode::triangular, double gamma = 1.0)
        : low_(low), gamma_(gamma), up_(up), down_(down == 0 ? up : down), mode_(mode) {
        detail::check_length("Cyclic", "up", up);
        if (down < 0) fail<ValueError>("Cyclic: down is ", down, ": expected at least 0");
    }
    double operator()(long step) const {
        const long at = detail::clamp_step(step), total = up_ + down_, cycle = at / total, place = at % total;
        const double part = place <= up_ ? static_cast<double>(place) / static_cast<double>(up_) : static_cast<double>(total - place) / static_cast<double>(down_);
        double height = 1.0;
        if (mode_ == Mode::triangular2) height = __builtin_pow(0.5, static_cast<double>(cycle));
        else if (mode_ == Mode::decaying) height = __builtin_pow(gamma_, static_cast<double>(at));
        return low_ + (1.0 - low_) * part * height;
    }

private:
    double low_, gamma_;
    long up_, down_;
    Mode mode_;
};

struct OneCycleOptions {
    double rise = 0.3;           // the part of the steps in which the rate rises
    double first = 1.0 / 25;     // the factor at step 0
    double last = 1.0 / 25e4;    // the factor at the last step
    bool linear = false;         // straight lines instead of cosines
    bool three_phases = false;   // down to `first` as fast as up, then on to `last`
    double low_momentum = 0.85, high_momentum = 0.95;
};

// Up to the base rate, which is the highest, and down again, with the momentum in antiphase (Smith and Topin, "Super-convergence",
// 2018): opt.set_momentum(schedule.momentum(step)), which is beta1 for Adam.
class OneCycle {
public:
    // Throws ValueError unless total >= 2 and rise lies within (0, 1), or (0, 0.5] with three phases.
    explicit OneCycle(long total, OneCycleOptions options = {}) : options_(options), total_(total) {
        if (total < 2) fail<ValueError>("OneCycle: total is ", total, ": expected at least 2");
        if (!(options.rise > 0 && options.rise < 1) || (options.three_phases && !(options.rise <= 0.5)))
            fail<ValueError>("OneCycle: rise is ", options.rise, ": expected a number in ", options.three_phases ? "(0, 0.5]" : "(0, 1)");
    }
    double operator()(long step) const { return at(step, options_.first, 1.0, options_.last); }
    double momentum(long step) const { return at(step, options_.high_momentum, options_.low_momentum, options_.high_momentum); }

private:
    double at(long step, double first, double middle, double last) const {
        const double steps = static_cast<double>(total_), end = steps - 1, top = options_.rise * steps - 1;
        double place = static_cast<double>(detail::clamp_step(step));
        if (place > end) place = end;
        if (top > 0 && place <= top) return between(first, middle, place / top);
        if (!options_.three_phases) return between(middle, last, (place - top) / (end - top));
        const double down = 2 * options_.rise * steps - 2;
        if (place <= down) return between(middle, first, (place - top) / (down - top));
        return between(first, last, (place - down) / (end - down));
    }
    double between(double first, double last, double part) const { return options_.linear ? first + (last - first) * part : detail::cosine_between(first, last, part); }

    OneCycleOptions options_;
    long total_;
};

}  // namespace tenon::optim

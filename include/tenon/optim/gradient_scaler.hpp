// Loss scaling for training in half precision.
#pragma once

#include <tenon/optim/optimizer.hpp>

namespace tenon::optim {

struct GradientScalerOptions {
    double scale = 65536;   // the first one
    double growth = 2;      // after `interval` steps in a row with finite gradients
    double backoff = 0.5;   // after a step without
    long interval = 2000;
};

// Scales the loss so that small gradients do not vanish in 16 bits, and takes the factor out again before the step; a step
// whose gradients overflowed is skipped and the scale shrinks (Micikevicius et al., "Mixed precision training", ICLR 2018,
// section 3.2; the rule of the scale is PyTorch's GradScaler's). bf16 has float's range and needs none of this.
//
//     scaler.scaled(loss).backward();
//     scaler.step(optimiser);             // with clipping: scaler.unscale(optimiser); optimiser.clip_norm(1); scaler.step(optimiser);
class GradientScaler {
public:
    // Throws ValueError for a scale, growth or backoff that is not positive, or an interval below 1.
    explicit GradientScaler(GradientScalerOptions options = {}) : options_(options), scale_(options.scale) {
        if (!(options.scale > 0) || !(options.growth >= 1) || !(options.backoff > 0 && options.backoff <= 1) || options.interval < 1)
            fail<ValueError>("GradientScaler: scale ", options.scale, ", growth ", options.growth, ", backoff ", options.backoff, ", interval ", options.interval,
                             ": expected a scale above 0, a growth of at least 1, a backoff in (0, 1] and an interval of at least 1");
    }
    // loss times the scale, recorded.
    template <class T>
    Tensor<T, 0> scaled(const Tensor<T, 0>& loss) const { return loss * static_cast<T>(scale_); }
    // Takes the scale out of the gradients that the next step sees. Once per step.
    template <class Optimiser>
    bool unscale(Optimiser& optimiser) {
        finite_ = optimiser.unscale(1 / scale_);
        unscaled_ = true;
        return finite_;
    }
    // The optimiser's step, or none; sets the next scale. Returns whether it stepped.
    template <class Optimiser>
    bool step(Optimiser& optimiser) {
        if (!unscaled_) unscale(optimiser);
        unscaled_ = false;
        optimiser.step();
        if (!finite_) {
            scale_ *= options_.backoff;
            good_ = 0;
        } else if (++good_ == options_.interval) {
            scale_ *= options_.growth;
            good_ = 0;
        }
        return finite_;
    }
    double scale() const { return scale_; }
    // What a checkpoint keeps.
    void visit_numbers(auto&& f) {
        f("scale", scale_);
        f("good", good_);
    }

private:
    GradientScalerOptions options_;
    double scale_;
    long good_ = 0;
    bool unscaled_ = false, finite_ = true;
};

}  // namespace tenon::optim

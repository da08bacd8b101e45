// Stops a training that no longer gets better.
#pragma once

#include <tenon/base/error.hpp>

#include <cmath>
#include <vector>

namespace tenon::train {

struct EarlyStoppingOptions {
    int patience = 10;        // epochs in a row that may fail to be better
    double threshold = 0;     // by how much a value must be better than the best one
    bool maximise = false;    // whether larger is better (an accuracy), or smaller (a loss)
};

// if (stopping.update(validation_loss)) break; NaN is never better. Throws ValueError for a patience below 1 or a negative threshold.
class EarlyStopping {
public:
    explicit EarlyStopping(EarlyStoppingOptions options = {}) : options_(options) {
        if (options.patience < 1) fail<ValueError>("EarlyStopping: patience is ", options.patience, ": expected at least 1");
        if (!(options.threshold >= 0)) fail<ValueError>("EarlyStopping: threshold is ", options.threshold, ": expected 0 or more");
    }
    // Takes the value of an epoch; whether training should stop.
    bool update(double value) {
        const double gain = options_.maximise ? value - best_ : best_ - value;
        improved_ = count_ == 0 || best_ != best_ ? value == value : gain > options_.threshold;
        ++count_;
        if (improved_) {
            best_ = value;
            best_epoch_ = count_;
        }
        return stopped();
    }
    bool stopped() const { return count_ - best_epoch_ >= options_.patience; }
    // Whether the last value was the best so far: the time to keep the weights.
    bool improved() const { return improved_; }
    double best() const { return best_; }
    // The epoch of the best value, counted from 1; 0 before there was one.
    int best_epoch() const { return best_epoch_; }

    // For a checkpoint's numbers. Throws ValueError for numbers that state() did not give.
    std::vector<double> state() const { return {best_, static_cast<double>(best_epoch_), static_cast<double>(count_), improved_ ? 1.0 : 0.0}; }
    void restore(const std::vector<double>& numbers) {
        if (numbers.size() != 4 || !(numbers[1] >= 0 && numbers[2] >= numbers[1] && numbers[2] < 1e9)) fail<ValueError>("EarlyStopping: the state does not come from state()");
        best_ = numbers[0];
        best_epoch_ = static_cast<int>(numbers[1]), count_ = static_cast<int>(numbers[2]);
        improved_ = numbers[3] != 0;
    }

private:
    EarlyStoppingOptions options_;
    double best_ = std::nan("");
    int best_epoch_ = 0, count_ = 0;
    bool improved_ = false;
};

}  // namespace tenon::train

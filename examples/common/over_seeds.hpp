// Figures of runs that differ in their seed alone: mean and deviation.
#pragma once

#include "example.hpp"

#include <tenon/train/fit.hpp>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

namespace example {

using Run = std::vector<tenon::train::Epoch>;

struct Spread {
    double mean = std::nan(""), deviation = std::nan("");
    std::size_t count = 0;
};
// get(run), over the runs for which it is a number.
template <class Runs, class Get>
Spread over_seeds(const Runs& runs, Get&& get) {
    Spread s;
    double sum = 0.0, squares = 0.0;
    for (const auto& run : runs) {
        const double v = get(run);
        if (v != v) continue;
        sum += v;
        squares += v * v;
        ++s.count;
    }
    if (s.count == 0) return s;
    const double n = static_cast<double>(s.count);
    s.mean = sum / n;
    s.deviation = s.count > 1 ? std::sqrt(std::max(0.0, (squares - sum * sum / n) / (n - 1))) : 0.0;
    return s;
}
inline std::string percent(const Spread& s) {
    if (s.count == 0) return "-";
    return number(100 * s.mean, 2) + (s.count > 1 ? " \u00b1 " + number(100 * s.deviation, 2) : "");
}
inline auto at_epoch(std::size_t epoch, double tenon::train::Epoch::*field) {
    return [=](const Run& run) { return run.size() >= epoch && epoch > 0 ? run[epoch - 1].*field : std::nan(""); };
}
inline double best_of(const Run& run) {
    double best = std::nan("");
    for (const tenon::train::Epoch& e : run) best = e.test_accuracy > best || best != best ? e.test_accuracy : best;
    return best;
}
// A run cut short by Ctrl-C goes on with --resume and is no row yet; one that diverged is a row without figures.
inline bool is_complete(const Run& run, std::size_t epochs) { return run.size() >= epochs || (!run.empty() && !std::isfinite(run.back().train_loss)); }

}  // namespace example

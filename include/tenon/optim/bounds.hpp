// What the convergence proofs of AdaBound ask of its bounds.
#pragma once

#include <tenon/base/error.hpp>

namespace tenon::optim {

// The largest t / lower(t) - (t - 1) / upper(t - 1) over steps 1 to `steps`. AdaBound's regret is O(sqrt T) where this stays below a
// constant as the number of steps grows (Savarese, "On the convergence of AdaBound and its connection to SGD", 2019; the
// original proof assumes that the rate of a coordinate never rises). For the default bounds it is at most (1 + 2 / gamma) / final_lr;
// for bounds that do not close in it grows with the steps. lower and upper map a step to a rate. Throws ValueError for bounds that
// are not positive or cross.
template <class Lower, class Upper>
double regret_constant(Lower&& lower, Upper&& upper, long steps) {
    double most = 0;
    for (long t = 1; t <= steps; ++t) {
        const double low = lower(t), high = upper(t);
        if (!(low > 0 && low <= high)) fail<ValueError>("regret_constant: the bounds of step ", t, " are ", low, " and ", high, ": expected 0 < lower <= upper");
        const double value = static_cast<double>(t) / low - (t > 1 ? static_cast<double>(t - 1) / upper(t - 1) : 0);
        if (value > most) most = value;
    }
    return most;
}

}  // namespace tenon::optim

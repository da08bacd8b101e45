// A line search along a direction of descent: a step length that fulfils the strong Wolfe conditions (Nocedal and Wright,
// "Numerical optimization", algorithms 3.5 and 3.6), with cubic interpolation and the safeguards of Schmidt's minFunc, which PyTorch
// has, too.
#pragma once

namespace tenon::optim {

struct WolfeOptions {
    double decrease = 1e-4;   // c1: how much of the linear model's decrease is enough
    double curvature = 0.9;   // c2: how much of the slope may be left
    double change = 1e-9;     // a bracket whose ends lie closer than this is not divided further
    int most = 25;            // evaluations after the first
};

namespace detail {

// Where a cubic with the values f and slopes g at a and b has its minimum, within [low, high]; their middle where it has none.
inline double cubic_minimum(double a, double fa, double ga, double b, double fb, double gb, double low, double high) {
    const double d1 = ga + gb - 3 * (fa - fb) / (a - b), square = d1 * d1 - ga * gb;
    if (!(square >= 0)) return (low + high) / 2;
    const double d2 = __builtin_sqrt(square);
    const double at = a <= b ? b - (b - a) * ((gb + d2 - d1) / (gb - ga + 2 * d2)) : a - (a - b) * ((ga + d2 - d1) / (ga - gb + 2 * d2));
    const double raised = at > low ? at : low;
    return raised < high ? raised : high;
}

}  // namespace detail

// A step length with the loss, the slope along the direction and the gradient found there.
template <class Gradient>
struct LinePoint {
    double t = 0, loss = 0, slope = 0;
    Gradient gradient;
};

// evaluate(t) gives the point at step length t; start is the one at 0, first the length to begin with, size the largest
// magnitude in the direction. Gives the best point, and adds the evaluations to the count.
template <class Point, class Evaluate>
Point strong_wolfe(Evaluate&& evaluate, Point start, double first, double size, long& evaluations, const WolfeOptions& options = {}) {
    const double loss = start.loss, slope = start.slope;
    const auto too_high = [&](const Point& p) { return p.loss > loss + options.decrease * p.t * slope; };
    const auto flat = [&](const Point& p) { return __builtin_fabs(p.slope) <= -options.curvature * slope; };
    const auto count = [&](double t) {
        ++evaluations;
        return evaluate(t);
    };

    // Out, until a minimum lies between the last two points.
    Point last = static_cast<Point&&>(start), now = count(first);
    int tried = 0;
    for (;; ++tried) {
        if (tried == options.most) break;
        if (too_high(now) || (tried > 1 && now.loss >= last.loss)) break;
        if (flat(now)) return now;
        if (now.slope >= 0) break;
        const double next = detail::cubic_minimum(last.t, last.loss, last.slope, now.t, now.loss, now.slope, now.t + 0.01 * (now.t - last.t), 10 * now.t);
        last = static_cast<Point&&>(now);
        now = count(next);
    }

    // In: the lower of the two ends stays, the other closes in.
    Point low = static_cast<Point&&>(last), high = static_cast<Point&&>(now);
    bool swapped = false;  // is the higher end the earlier one?
    const auto order = [&] {
        // An end without enough decrease is no minimum, however low it lies.
        const bool low_fails = too_high(low), high_fails = too_high(high);
        if (low_fails == high_fails ? low.loss <= high.loss : high_fails) return;
        Point other = static_cast<Point&&>(low);
        low = static_cast<Point&&>(high);
        high = static_cast<Point&&>(other);
        swapped = !swapped;
    };
    order();
    bool stuck = false;
    while (tried < options.most) {
        const double least = low.t < high.t ? low.t : high.t, most = low.t < high.t ? high.t : low.t;
        if ((most - least) * size < options.change) break;
        const Point &a = swapped ? high : low, &b = swapped ? low : high;
        double t = detail::cubic_minimum(a.t, a.loss, a.slope, b.t, b.loss, b.slope, least, most);
        // Close to an end twice in a row, or outside: a tenth of the bracket away from it.
        const double margin = 0.1 * (most - least);
        const bool near_end = (most - t < t - least ? most - t : t - least) < margin;
        if (near_end && (stuck || t >= most || t <= least)) {
            t = __builtin_fabs(t - most) < __builtin_fabs(t - least) ? most - margin : least + margin;
            stuck = false;
        } else {
            stuck = near_end;
        }
        Point found = count(t);
        ++tried;
        if (too_high(found) || found.loss >= low.loss) {
            high = static_cast<Point&&>(found);
            order();
            continue;
        }
        const bool done = flat(found);
        if (!done && found.slope * (high.t - low.t) >= 0) high = static_cast<Point&&>(low);
        low = static_cast<Point&&>(found);
        if (done) break;
    }
    return low;
}

}  // namespace tenon::optim

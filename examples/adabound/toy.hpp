// The counter-example of the paper's third section: a convex problem on which Adam walks away from the optimum for any
// learning rate, with the steps at which the other methods get there.
#pragma once

#include "../common/example.hpp"

#include <tenon/io/csv.hpp>
#include <tenon/io/plot.hpp>
#include <tenon/kernels/cpu/multi_tensor.hpp>

#include <cmath>
#include <cstdlib>
#include <string>
#include <vector>

namespace adabound_example {

// Online problem of period C: f_t(x) = -100 for x < 0, 0 for x > 1, and on [0, 1] -x where t mod C = 1, 2x where
// t mod C = 2, else 0. Every x < 0 is optimal.
struct ToyProblem {
    long period;
    double beta2;
    long steps;
    double start = 0.5, lr = 0.01, final_lr = 0.01, gamma = 1e-3, eps = 1e-8;

    double slope(long t, double x) const {
        if (x < 0.0 || x > 1.0) return 0.0;
        return t % period == 1 ? -1.0 : t % period == 2 ? 2.0 : 0.0;
    }
    double value(long t, double x) const { return x < 0.0 ? -100.0 : x > 1.0 ? 0.0 : slope(t, x) * x; }
};

enum class ToyRule { sgd, adam, amsgrad, adabound, amsbound };
inline constexpr ToyRule toy_rules[] = {ToyRule::sgd, ToyRule::adam, ToyRule::amsgrad, ToyRule::adabound, ToyRule::amsbound};
inline const char* name(ToyRule rule) {
    constexpr const char* names[] = {"SGD", "Adam", "AMSGrad", "AdaBound", "AMSBound"};
    return names[static_cast<int>(rule)];
}

struct ToyRun {
    long first_negative = 0;  // step after which x < 0 for the first time, 0: never
    double last = 0.0, mean_regret = 0.0;
    std::vector<double> path;  // x after each step, from the start on
};

// The library's own rules, on one number in double, as in the paper's analysis: beta1 = 0 and no bias correction.
inline ToyRun run_toy(const ToyProblem& problem, ToyRule which) {
    namespace rules = tenon::kernels::cpu;
    ToyRun run;
    double x = problem.start, m = 0.0, v = 0.0, largest = 0.0, regret = 0.0;
    run.path.reserve(static_cast<std::size_t>(problem.steps) + 1);
    run.path.push_back(x);
    for (long t = 1; t <= problem.steps; ++t) {
        regret += problem.value(t, x) + 100.0;
        const double g = problem.slope(t, x);
        const rules::AdamOptions adam{
            .lr = problem.lr, .beta1 = 0.0, .beta2 = problem.beta2, .eps = problem.eps, .bias_correction = false};
        const rules::AdaBoundOptions bound{.lr = problem.lr,           .final_lr = problem.final_lr, .gamma = problem.gamma,
                                           .beta1 = 0.0,               .beta2 = problem.beta2,       .eps = problem.eps,
                                           .bias_correction = false};
        switch (which) {
            case ToyRule::sgd: rules::Sgd<double, false>(rules::sgd_scalars(t, {.lr = problem.lr}))(x, g, m, v, largest); break;
            case ToyRule::adam: rules::Adam<double>(rules::adam_scalars(t, adam))(x, g, m, v, largest); break;
            case ToyRule::amsgrad: rules::Adam<double, true>(rules::adam_scalars(t, adam))(x, g, m, v, largest); break;
            case ToyRule::adabound: rules::AdaBound<double>(rules::adabound_scalars(t, bound))(x, g, m, v, largest); break;
            case ToyRule::amsbound: rules::AdaBound<double, true>(rules::adabound_scalars(t, bound))(x, g, m, v, largest); break;
        }
        x = std::min(std::max(x, -2.0), 2.0);
        if (x < 0.0 && run.first_negative == 0) run.first_negative = t;
        run.path.push_back(x);
    }
    run.last = x;
    run.mean_regret = regret / static_cast<double>(problem.steps);
    return run;
}

// What the runs must give, in double arithmetic; NaN and -1: not stated.
struct ToyExpectation {
    ToyRule rule;
    long first_negative;
    double last, mean_regret;
};

// Runs both instances, prints ours beside the expected figures, draws the paths. The number of figures that are off.
inline int toy(const std::string& out) {
    const double unstated = std::nan("");
    struct Instance {
        ToyProblem problem;
        std::vector<ToyExpectation> expected;
        const char* file;
    };
    const std::vector<Instance> instances = {
        {{10, 0.4, 20000},
         {{ToyRule::sgd, 492, unstated, 2.4607},
          {ToyRule::adam, 0, 1.000584, 100.0315},
          {ToyRule::amsgrad, 822, -0.004048, 4.1111},
          {ToyRule::adabound, 4492, -0.002326, 22.4708},
          {ToyRule::amsbound, 822, unstated, 4.1111}},
         "toy_c10"},
        {{60, 0.9, 60000},
         {{ToyRule::sgd, 2942, unstated, unstated},
          {ToyRule::adam, 0, 1.002231, unstated},
          {ToyRule::amsgrad, 2162, unstated, unstated},
          {ToyRule::adabound, 3302, unstated, 5.5037},
          {ToyRule::amsbound, -1, unstated, unstated}},
         "toy_c60"},
    };
    int off = 0, checked = 0;
    example::make_folder(out);
    tenon::io::CsvLog log(out + "/toy.csv", {"period", "beta2", "steps", "rule", "first_negative_step", "last_x", "mean_regret"});
    std::vector<std::string> pictures;
    for (const Instance& instance : instances) {
        const ToyProblem& p = instance.problem;
        std::printf("\ncounter-example with period C = %ld, beta2 = %g, lr = %g, final lr = %g, gamma = %g, %ld steps from x = %g\n",
                    p.period, p.beta2, p.lr, p.final_lr, p.gamma, p.steps, p.start);
        example::Table table({"rule", "first x < 0", "expected", "last x", "expected", "regret / T", "expected", "verdict"});
        tenon::io::Plot plot({.title = "Counter-example, C = " + std::to_string(p.period) + ": every x < 0 is optimal, Adam goes to 1",
                              .x_label = "step (logarithmic)", .y_label = "x", .x_log = true});
        for (const ToyExpectation& expected : instance.expected) {
            const ToyRun run = run_toy(p, expected.rule);
            const auto step_text = [](long step) { return step == 0 ? std::string("never") : step < 0 ? "-" : std::to_string(step); };
            bool good = true;
            const auto check = [&](bool stated, bool right) {
                if (!stated) return;
                ++checked;
                good = good && right;
                off += right ? 0 : 1;
            };
            check(expected.first_negative >= 0, run.first_negative == expected.first_negative);
            check(expected.last == expected.last, std::abs(run.last - expected.last) <= 1e-6);
            check(expected.mean_regret == expected.mean_regret, std::abs(run.mean_regret - expected.mean_regret) <= 1e-4);
            table.row({name(expected.rule), step_text(run.first_negative), step_text(expected.first_negative),
                       example::number(run.last, 6), example::number(expected.last, 6), example::number(run.mean_regret, 4),
                       example::number(expected.mean_regret, 4), good ? "as expected" : "OFF"});
            log.row(p.period, p.beta2, p.steps, name(expected.rule), run.first_negative, run.last, run.mean_regret);
            tenon::io::Series series{.name = name(expected.rule)};
            for (std::size_t t = 1; t < run.path.size(); ++t) {
                series.x.push_back(static_cast<double>(t));
                series.y.push_back(run.path[t]);
            }
            series.dashed = expected.rule == ToyRule::amsbound;
            plot.add(std::move(series));
        }
        table.print();
        pictures.push_back(out + "/" + instance.file + ".png");
        plot.save(pictures.back());
    }
    std::printf("\n%d of %d figures as expected; pictures: %s, %s; table: %s\n", checked - off, checked, pictures[0].c_str(),
                pictures[1].c_str(), log.path().c_str());
    example::Result()
        .add("toy_figures", std::to_string(checked))
        .add("toy_figures_off", std::to_string(off))
        .add("adabound_first_negative", std::to_string(run_toy(instances[0].problem, ToyRule::adabound).first_negative))
        .add("adam_last_x", run_toy(instances[0].problem, ToyRule::adam).last, 6)
        .print();
    return off;
}

}  // namespace adabound_example

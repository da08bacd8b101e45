// Tables, pictures and the paper's claims, from whatever runs are complete.
#pragma once

#include "../common/over_seeds.hpp"
#include "contest.hpp"

#include <tenon/io/csv.hpp>
#include <tenon/io/plot.hpp>

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

namespace adabound_example {

using example::at_epoch;
using example::best_of;
using example::percent;
using example::Spread;
template <class Get>
Spread over_seeds(const Contestant& who, Get&& get) { return example::over_seeds(who.runs, get); }

// How AdaBound turns from Adam into SGD: where its rates lie between the bounds, over the steps.
inline bool draw_bounds(const std::vector<const Contestant*>& ran, const std::string& out) {
    for (const Contestant* c : ran) {
        if (c->key != "adabound") continue;
        io::Plot plot({.title = "AdaBound: where the rates of its coordinates lie", .x_label = "step (logarithmic)", .y_label = "coordinates (%)", .x_log = true});
        const std::pair<const char*, double BoundSample::*> parts[] = {{"at the lower bound", &BoundSample::at_lower},
                                                                       {"between the bounds", &BoundSample::inside},
                                                                       {"at the upper bound", &BoundSample::at_upper}};
        for (const auto& [name, field] : parts) {
            io::Series series{.name = name};
            for (const BoundSample& sample : c->bounds) {
                series.x.push_back(static_cast<double>(sample.step));
                series.y.push_back(100 * sample.*field);
            }
            plot.add(std::move(series));
        }
        plot.save(out + "/bounds.png");
        return true;
    }
    return false;
}

inline void draw_curves(const std::vector<const Contestant*>& ran, const Arm& arm, std::size_t last, const std::string& out) {
    const std::string on = std::string(" on ") + (arm.colour ? "CIFAR-10, " : "Fashion-MNIST, ") + arm.network;
    io::Plot test_plot({.title = "Test accuracy" + on, .x_label = "epoch", .y_label = "test accuracy (%)"});
    io::Plot train_plot({.title = "Training accuracy" + on, .x_label = "epoch", .y_label = "training accuracy (%)"});
    int colour = 0;
    for (const Contestant* c : ran) {
        for (const bool test : {true, false}) {
            io::Series series{.name = c->name};
            for (std::size_t epoch = 1; epoch <= last; ++epoch) {
                const Spread s = over_seeds(*c, at_epoch(epoch, test ? &train::Epoch::test_accuracy : &train::Epoch::train_accuracy));
                series.x.push_back(static_cast<double>(epoch));
                series.y.push_back(100 * s.mean);
                if (c->runs.size() > 1) series.spread.push_back(100 * s.deviation);
            }
            series.colour = colour;
            series.dashed = c->key.starts_with("ams") || c->key.starts_with("adabound_");
            (test ? test_plot : train_plot).add(std::move(series));
        }
        ++colour;
    }
    test_plot.save(out + "/test_accuracy.png");
    train_plot.save(out + "/train_accuracy.png");
}

// The paper's claims, each against a threshold of what one seed can be off.
inline void judge(const std::vector<const Contestant*>& ran, std::size_t last) {
    constexpr double noise = 0.3;
    const auto find = [&](const char* key) -> const Contestant* {
        for (const Contestant* c : ran)
            if (c->key == key) return c;
        return nullptr;
    };
    const auto difference = [&](const char* a, const char* b, std::size_t epoch, double train::Epoch::*field) {
        const Contestant *x = find(a), *y = find(b);
        return x == nullptr || y == nullptr ? std::nan("") : 100 * (over_seeds(*x, at_epoch(epoch, field)).mean - over_seeds(*y, at_epoch(epoch, field)).mean);
    };
    bool said = false;
    const auto say = [&](const char* claim, double gap, bool holds) {
        if (gap != gap) return;
        if (!said) std::printf("\nthe paper's claims on this task (a gap within %.1f points counts as none):\n", noise);
        said = true;
        std::printf("  %-74s %+.2f points: %s\n", claim, gap, holds ? "seen here" : "NOT reproduced here");
    };
    double gap = difference("adabound", "adam", last, &train::Epoch::test_accuracy);
    say("AdaBound generalises better than Adam at the end", gap, gap > noise);
    gap = difference("amsbound", "amsgrad", last, &train::Epoch::test_accuracy);
    say("AMSBound generalises better than AMSGrad at the end", gap, gap > noise);
    gap = difference("adabound", "sgd", last, &train::Epoch::test_accuracy);
    say("AdaBound ends as good as SGD with lr 0.1, or better", gap, gap >= -noise);
    gap = difference("adabound", "adam", 1, &train::Epoch::train_accuracy);
    say("AdaBound starts as fast as Adam (training accuracy, epoch 1)", gap, gap >= -2 * noise);
    gap = difference("adabound", "sgd", 1, &train::Epoch::train_accuracy);
    say("AdaBound starts faster than SGD with lr 0.1", gap, gap > noise);
    gap = difference("adabound", "sgd_tenth", last, &train::Epoch::test_accuracy);
    say("control: it ends where its limit ends, SGD with lr 0.01 (equal)", gap, std::abs(gap) <= noise);
}

// Prints and draws; the results go into the result line under the arm's name.
inline void report(std::vector<Contestant>& all, const Arm& arm, const Options& options, const std::string& out, example::Result& result) {
    const std::size_t last = static_cast<std::size_t>(arm.epochs);
    std::vector<const Contestant*> ran;
    for (Contestant& c : all) {
        std::erase_if(c.runs, [&](const example::Run& run) { return !example::is_complete(run, last); });
        if (!c.runs.empty()) ran.push_back(&c);
    }
    if (ran.empty()) {
        std::printf("%s: no optimiser finished its epochs: no table\n", arm.key);
        return;
    }
    std::printf("\n%s: accuracy in per cent%s; train: over the batches of the epoch as they came\n", arm.key,
                options.seeds.size() > 1 ? (", mean \u00b1 deviation over " + std::to_string(options.seeds.size()) + " seeds").c_str() : "");
    example::Table table({"optimiser", "test, epoch 1", "test, best", "test, last", "train, epoch 1", "train, last", "s / epoch", arm.reference_name});
    for (const Contestant* c : ran) {
        double reference = std::nan("");
        for (const Reference& r : arm.reference)
            if (c->key == r.optimiser) reference = r.accuracy;
        table.row({c->name, percent(over_seeds(*c, at_epoch(1, &train::Epoch::test_accuracy))), percent(over_seeds(*c, best_of)),
                   percent(over_seeds(*c, at_epoch(last, &train::Epoch::test_accuracy))), percent(over_seeds(*c, at_epoch(1, &train::Epoch::train_accuracy))),
                   percent(over_seeds(*c, at_epoch(last, &train::Epoch::train_accuracy))), example::number(over_seeds(*c, at_epoch(last, &train::Epoch::seconds)).mean, 2),
                   example::number(reference, 2)});
    }
    table.print();
    std::printf("%s", arm.reference_note.c_str());
    draw_curves(ran, arm, last, out);
    const bool bounds = draw_bounds(ran, out);
    io::CsvLog log(out + "/curves.csv", {"seed", "optimiser", "epoch", "train_loss", "train_accuracy", "test_loss", "test_accuracy", "seconds"});
    for (std::size_t seed = 0; seed < options.seeds.size(); ++seed)
        for (const Contestant* c : ran)
            if (seed < c->runs.size())
                for (std::size_t e = 0; e < c->runs[seed].size(); ++e) {
                    const train::Epoch& figures = c->runs[seed][e];
                    log.row(options.seeds[seed], c->key, static_cast<long>(e + 1), figures.train_loss, figures.train_accuracy, figures.test_loss, figures.test_accuracy, figures.seconds);
                }
    std::printf("pictures: %s/test_accuracy.png, train_accuracy.png%s; every epoch: %s\n", out.c_str(), bounds ? ", bounds.png" : "", log.path().c_str());
    if (options.quick) std::printf("a quick run: nothing follows about the paper's claims\n");
    else judge(ran, last);
    for (const Contestant* c : ran) result.add(std::string(arm.key) + "." + c->key, over_seeds(*c, at_epoch(last, &train::Epoch::test_accuracy)).mean, 4);
}

}  // namespace adabound_example

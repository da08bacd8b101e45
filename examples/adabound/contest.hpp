// Runs of an arm's network under its optimisers: one folder per run, from which an interrupted comparison goes on.
#pragma once

#include "../common/example.hpp"
#include "../common/image_sets.hpp"
#include "networks.hpp"

#include <tenon/data/augment.hpp>
#include <tenon/optim/adaptive.hpp>
#include <tenon/optim/schedule.hpp>
#include <tenon/train/fit.hpp>

#include <cmath>
#include <string>
#include <vector>

namespace adabound_example {

struct Options : example::CommonOptions {
    std::vector<std::string> arms;
    std::vector<std::uint64_t> seeds;
    std::vector<std::string> optimisers;
    long batch = 128;
    double weight_decay = 5e-4, drop = 0.1;
    double lr_sgd = 0.1, lr_adaptive = 1e-3, final_lr = 0.1, gamma = 1e-3;
    bool toy = false, sweep = false, full = false;
    long checkpoint_every = 0;
    long layers = 1, steps = 64;  // of char-lstm
    double clip = 1;

    // What a run must have in common with the one whose checkpoint it goes on from.
    std::string description(const Arm& arm, int epochs_of_run) const {
        char numbers[320];
        std::snprintf(numbers, sizeof numbers, "epochs %d, batch %ld, images %ld, weight decay %.17g, drop %.17g at %.17g, lr %.17g and %.17g, final lr %.17g, gamma %.17g", epochs_of_run,
                      batch, arm.train_images, weight_decay, drop, arm.drop_at, lr_sgd, lr_adaptive, final_lr, gamma);
        return numbers;
    }
};

// Parts of the coordinates whose rate lies at AdaBound's lower bound, between the bounds, at the upper bound.
struct BoundSample {
    long step;
    double at_lower, inside, at_upper;
};

struct Contestant {
    std::string key, name;
    std::vector<std::vector<train::Epoch>> runs = {};  // per seed; only complete ones count
    std::vector<BoundSample> bounds = {};              // of the first seed, at steps that grow by a fifth
};

inline std::string short_number(double value) {
    char text[32];
    std::snprintf(text, sizeof text, "%g", value);
    return text;
}
// adabound_high: this many times the final rate.
inline constexpr double high_rate = 10;
inline std::string name_of(const std::string& key, const Options& o) {
    if (key == "sgd") return "SGD lr " + short_number(o.lr_sgd);
    if (key == "sgd_half") return "SGD lr " + short_number(o.lr_sgd / 2);
    if (key == "sgd_tenth") return "SGD lr " + short_number(o.lr_sgd / 10);
    if (key == "csgd") return "CSGD lr " + short_number(o.lr_sgd);
    if (key == "adagrad") return "AdaGrad";
    if (key == "adam") return "Adam";
    if (key == "adamw") return "AdamW";
    if (key == "amsgrad") return "AMSGrad";
    if (key == "adabound") return "AdaBound";
    if (key == "amsbound") return "AMSBound";
    if (key == "adabound_2") return "AdaBound g " + short_number(10 * o.gamma);
    if (key == "adabound_1") return "AdaBound g " + short_number(100 * o.gamma);
    if (key == "adabound_high") return "AdaBound final " + short_number(high_rate * o.final_lr);
    fail<ValueError>("--optimisers: \"", key.c_str(),
                     "\": expected sgd, sgd_half, sgd_tenth, csgd, adagrad, adam, adamw, amsgrad, adabound, amsbound, adabound_2, adabound_1 or adabound_high");
}

// Calls run(optimiser) with the optimiser of that name for a network.
template <class Net, class F>
void with_optimiser(const std::string& key, Net& net, const Options& o, F&& run) {
    const double wd = o.weight_decay;
    const auto sgd = [&](double lr) { run(optim::sgd(net, {.lr = lr, .momentum = 0.9, .weight_decay = wd})); };
    const auto bound = [&](double gamma, double final_lr) { return kernels::cpu::AdaBoundOptions{.lr = o.lr_adaptive, .final_lr = final_lr, .gamma = gamma, .weight_decay = wd}; };
    if (key == "sgd") sgd(o.lr_sgd);
    else if (key == "sgd_half") sgd(o.lr_sgd / 2);
    else if (key == "sgd_tenth") sgd(o.lr_sgd / 10);
    else if (key == "csgd") run(optim::sgd(net, {.lr = o.lr_sgd, .momentum = 0.9, .weight_decay = wd, .bias_corrected = true}));
    else if (key == "adagrad") run(optim::adagrad(net, {.lr = 0.01, .weight_decay = wd}));
    else if (key == "adam") run(optim::adam(net, {.lr = o.lr_adaptive, .weight_decay = wd}));
    else if (key == "amsgrad") run(optim::amsgrad(net, {.lr = o.lr_adaptive, .weight_decay = wd}));
    else if (key == "adabound") run(optim::adabound(net, bound(o.gamma, o.final_lr)));
    else if (key == "amsbound") run(optim::amsbound(net, bound(o.gamma, o.final_lr)));
    else if (key == "adabound_2") run(optim::adabound(net, bound(10 * o.gamma, o.final_lr)));
    else if (key == "adamw") run(optim::adamw(net, {.lr = o.lr_adaptive}));
    else if (key == "adabound_high") run(optim::adabound(net, bound(o.gamma, high_rate * o.final_lr)));
    else if (key == "adabound_1") run(optim::adabound(net, bound(100 * o.gamma, o.final_lr)));
}

// Notes where an optimiser with bounds has its rates, at steps that grow by a fifth: four numbers per BoundSample.
template <class Optimiser>
void watch_bounds(train::FitOptions& fit, const Optimiser& optimiser, std::vector<double>& notes) {
    if constexpr (requires { optimiser.bound_histogram(); })
        fit.after_step = [&](long step) {
            if (!notes.empty() && 5 * static_cast<double>(step) < 6 * notes[notes.size() - 4]) return;
            const auto counts = optimiser.bound_histogram();
            const double count = static_cast<double>(counts.at_lower + counts.inside + counts.at_upper);
            notes.insert(notes.end(), {static_cast<double>(step), static_cast<double>(counts.at_lower) / count, static_cast<double>(counts.inside) / count,
                                       static_cast<double>(counts.at_upper) / count});
        };
}
inline void keep_bounds(Contestant& who, const std::vector<double>& notes) {
    for (std::size_t i = 0; i + 4 <= notes.size(); i += 4) who.bounds.push_back({static_cast<long>(notes[i]), notes[i + 1], notes[i + 2], notes[i + 3]});
}
// The rate drops once, late.
inline optim::MultiStep drop_late(const Options& options, double drop_at, long steps) {
    return optim::MultiStep({std::max(1L, static_cast<long>(drop_at * static_cast<double>(steps)))}, options.drop);
}

using Sets = example::ImageSets;

// One run, or what it left behind when it was finished before. Where it was cut short, interrupted() is set.
inline std::vector<train::Epoch> run_one(Contestant& who, const Arm& arm, const Options& options, std::uint64_t seed, const Sets& sets, const std::string& folder) {
    const Device device = options.place();
    Network net = to(arm.make(Key(seed).split(0)), device);
    std::vector<train::Epoch> epochs;
    with_optimiser(who.key, net, options, [&](auto optimiser) {
        const long per_epoch = (sets.train.size() + options.batch - 1) / options.batch;
        std::vector<double> notes;
        const bool watch = who.runs.empty();
        train::FitOptions fit{.epochs = arm.epochs, .batch = options.batch, .key = Key(seed).split(1), .schedule = drop_late(options, arm.drop_at, per_epoch * arm.epochs), .name = who.name,
                              .out = folder, .resume = options.resume, .description = options.description(arm, arm.epochs), .checkpoint_every = options.checkpoint_every,
                              .interrupted = example::interrupted, .notes = &notes};
        if (watch) watch_bounds(fit, optimiser, notes);
        const auto step = [&](const data::ColourBatch& batch, const nn::Context& context) { return train::classify(net, batch.images, batch.labels, context, device); };
        const Key draws = Key(seed).split(2);
        const auto train_set = [&](int epoch) {
            return data::augmented(sets.train, draws.split(static_cast<std::uint64_t>(epoch)), [colour = arm.colour](data::ColourBatch batch, Key key) {
                if (colour) batch.images = data::random_flip(data::random_crop(batch.images, {.padding = 4}, key.split(0)), key.split(1));
                return batch;
            });
        };
        epochs = train::fit(net, optimiser, train_set, sets.test, step, fit).epochs;
        if (watch) keep_bounds(who, notes);
    });
    return epochs;
}

}  // namespace adabound_example

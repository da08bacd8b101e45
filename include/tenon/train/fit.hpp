// A training loop: epochs over a data set with a progress bar, a CSV log, TensorBoard events, curves as pictures, early
// stopping, and checkpoints from which an interrupted run goes on to the same bits.
#pragma once

#include <tenon/data/loader.hpp>
#include <tenon/io/checkpoint.hpp>
#include <tenon/io/csv.hpp>
#include <tenon/io/plot.hpp>
#include <tenon/io/tensorboard.hpp>
#include <tenon/nn/context.hpp>
#include <tenon/nn/module.hpp>
#include <tenon/ops/cross_entropy.hpp>
#include <tenon/train/early_stopping.hpp>
#include <tenon/train/metrics.hpp>
#include <tenon/train/progress.hpp>

#include <cstdio>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace tenon::train {

// What a step says of a batch.
struct Scored {
    Tensor<float, 0> loss;  // the mean over the rows, with its graph where gradients are wanted
    long rows = 0;
    long correct = -1;      // of the rows; -1: not a classification
};

// The step of a classifier: cross-entropy of net(images, context), or of net(images) where the network takes no context. images may
// have any shape whose first axis is the batch; the batch is moved to the device.
template <class Net, class X, class Labels>
Scored classify(const Net& net, const X& images, const Labels& labels, const nn::Context& context, Device device = {}) {
    const auto x = images.to(device);
    const auto t = labels.to(device);
    Tensor<float, 2> logits;
    if constexpr (requires { net(x, context); }) logits = net(x, context);
    else logits = net(x);
    return {cross_entropy(logits, t), labels.size(), count_correct(logits, labels)};
}

// What is known after an epoch; accuracies are parts of one, NaN where steps do not count. Training figures are those of the batches
// as they came; seconds are those of training.
struct Epoch {
    double train_loss, train_accuracy, test_loss, test_accuracy, seconds;
};

struct FitOptions {
    int epochs = 10;
    long batch = 128;                               // rows per step
    long test_batch = 500;
    Key key = Key(0);                               // of the order of the batches and of what the steps draw
    bool shuffle = true;                            // false: batches in the order of the set, as of a text that goes on from one to the next
    std::function<double(long)> schedule = {};      // factor of the rate at a step (optim/schedule.hpp); none: 1
    double clip_norm = 0;                           // the norm that the gradients of a step are held to; 0: none
    std::string name = "training";                  // at the progress bar
    std::string out = {};                           // folder for log.csv, events, curves and checkpoints; none: nothing is written
    bool resume = false;                            // go on from the latest checkpoint in out, where there is one
    std::string description = {};                   // what the resumed run must have in common with the one that was stopped
    long checkpoint_every = 0;                      // steps; 0: after every epoch
    int keep = 2;                                   // checkpoints
    bool keep_best = false;                         // the weights of the best test loss (or accuracy, as early_stopping says) as best.safetensors
    std::optional<EarlyStoppingOptions> early_stopping = {};  // on the test loss; with maximise on the test accuracy
    bool progress = true;                           // bar and a line per epoch on standard output
    std::function<bool()> interrupted = {};         // asked after every step: ends the run with a checkpoint
    std::function<void(long)> after_step = {};      // told the number of steps done
    std::vector<double>* notes = nullptr;           // numbers of the caller's, saved with every checkpoint and brought back by resume
};

struct Fitted {
    std::vector<Epoch> epochs;
    bool interrupted = false, stopped_early = false, diverged = false;
};

namespace impl_fit {

inline constexpr const char* columns[] = {"epoch", "step", "lr_scale", "train_loss", "train_accuracy", "test_loss", "test_accuracy", "seconds"};

inline void draw(const std::string& out, const std::string& name, const std::vector<Epoch>& epochs) {
    const auto plot = [&](const char* file, const char* label, double factor, double Epoch::*train, double Epoch::*test) {
        io::Plot picture({.title = name, .x_label = "epoch", .y_label = label});
        bool any = false;
        for (const auto& [field, what] : {std::pair{train, "training"}, std::pair{test, "test"}}) {
            io::Series series{.name = what};
            for (std::size_t e = 0; e < epochs.size(); ++e) {
                any = any || std::isfinite(epochs[e].*field);
                series.x.push_back(static_cast<double>(e + 1));
                series.y.push_back(factor * epochs[e].*field);
            }
            picture.add(std::move(series));
        }
        if (any) picture.save(out + "/" + file);
    };
    plot("loss.png", "loss", 1, &Epoch::train_loss, &Epoch::test_loss);
    plot("accuracy.png", "accuracy (%)", 100, &Epoch::train_accuracy, &Epoch::test_accuracy);
}

struct Sums {
    Mean loss, accuracy;
    void add(const Scored& scored) {
        const double rows = static_cast<double>(scored.rows);
        loss.add(static_cast<double>(scored.loss.item()), rows);
        if (scored.correct >= 0) accuracy.add(static_cast<double>(scored.correct) / rows, rows);
    }
};

template <class D, class = void>
struct Source {
    const D& dataset;
    const D& operator()(int) const { return dataset; }
};
template <class D>
struct Source<D, std::enable_if_t<std::is_invocable_v<const D&, int>>> {
    const D& make;
    auto operator()(int epoch) const { return make(epoch); }
};

}  // namespace impl_fit

// Trains net by optimiser on train_set, and scores test_set after every epoch.
//
// step(batch, context) gives the Scored of a batch: it runs the network and the loss, with context.training and a key of the step's own.
// train_set is a data set (data/loader.hpp), or a function of the number of the epoch (from 1) that gives one: augmentation with a
// key per epoch. A loss that is no number ends the run (diverged). With out: log.csv (a row per epoch), TensorBoard events, loss.png, accuracy.png
// and checkpoints/; a run that had ended is not trained again by resume, its figures are those of before. Throws ValueError
// where options are out of range or where the checkpoint is of a run with another description, and what the files throw.
//
//     auto fitted = train::fit(net, optimiser, set, test, [&](const auto& batch, const nn::Context& c) {
//         return train::classify(net, batch.images, batch.labels, c); }, {.epochs = 5, .out = "out/run"});
template <class Net, class Optimiser, class TrainSet, data::Dataset TestSet, class Step>
Fitted fit(Net& net, Optimiser& optimiser, const TrainSet& train_set, const TestSet& test_set, Step&& step, const FitOptions& options) {
    if (options.epochs < 0) fail<ValueError>("fit: epochs is ", options.epochs, ": expected 0 or more");
    if (options.batch < 1 || options.test_batch < 1) fail<ValueError>("fit: batches of ", options.batch, " and ", options.test_batch, ": expected at least 1");
    if (!(options.clip_norm >= 0)) fail<ValueError>("fit: clip_norm is ", options.clip_norm, ": expected 0 (none) or more");
    const impl_fit::Source<TrainSet> source{train_set};
    const bool files = !options.out.empty();
    Fitted fitted;
    impl_fit::Sums sums;
    long steps = 0, first_batch = 0;
    int first_epoch = 1;
    double spent = 0;
    std::optional<EarlyStopping> stopping;
    if (options.early_stopping) stopping.emplace(*options.early_stopping);

    std::optional<io::Checkpoints> checkpoints;
    io::CheckpointState state;
    bool resumed = false;
    if (files) {
        checkpoints.emplace(options.out + "/checkpoints", io::CheckpointOptions{.keep = options.keep});
        if (!options.resume) {
            checkpoints->clear();
        } else if (const auto before = checkpoints->latest_state()) {
            const auto was = before->texts.find("description");
            const std::string text = was == before->texts.end() ? "" : was->second;
            if (text != options.description)
                fail<ValueError>("fit: the checkpoint in \"", options.out.c_str(), "/checkpoints\" is of a run with ", text.c_str(), "\nexpected ",
                                 options.description.c_str(), "\nhint: give the options of that run, or another folder");
            state = *checkpoints->load_latest(net, optimiser);
            resumed = true;
            steps = state.step, first_epoch = static_cast<int>(state.epoch), first_batch = state.batch;
            const std::vector<double>& s = state.numbers["sums"];
            if (s.size() != 5) fail<FileError>("fit: the checkpoint in \"", options.out.c_str(), "/checkpoints\" is not one of fit()");
            sums.loss.restore(s[0], s[1]), sums.accuracy.restore(s[2], s[3]), spent = s[4];
            const std::vector<double>& e = state.numbers["epochs"];
            for (std::size_t i = 0; i + 5 <= e.size(); i += 5) fitted.epochs.push_back({e[i], e[i + 1], e[i + 2], e[i + 3], e[i + 4]});
            if (stopping) stopping->restore(state.numbers["stopping"]);
            if (options.notes != nullptr) *options.notes = state.numbers["notes"];
            fitted.stopped_early = state.counters["stopped"] == 1, fitted.diverged = state.counters["stopped"] == 2;
        }
    }
    if (fitted.stopped_early || fitted.diverged || first_epoch > options.epochs) return fitted;

    std::optional<io::CsvLog> log;
    std::optional<io::EventFile> events;
    if (files) {
        log.emplace(options.out + "/log.csv", std::vector<std::string>(std::begin(impl_fit::columns), std::end(impl_fit::columns)),
                    resumed ? io::CsvMode::append : io::CsvMode::replace, resumed ? state.counters["csv"] : -1);
        events.emplace(options.out);
    }
    const long rows = source(first_epoch).size(), per_epoch = (rows + options.batch - 1) / options.batch;
    std::optional<Progress> bar;
    if (options.progress) {
        bar.emplace(options.name, per_epoch * options.epochs);
        bar->skip(steps);
    }
    const auto save = [&](int epoch, long batch) {
        if (!files) return;
        state.step = steps, state.epoch = epoch, state.batch = batch, state.key = options.key;
        state.texts["description"] = options.description;
        state.counters["csv"] = log->size(), state.counters["stopped"] = fitted.stopped_early ? 1 : fitted.diverged ? 2 : 0;
        state.numbers["sums"] = {sums.loss.sum(), sums.loss.weight(), sums.accuracy.sum(), sums.accuracy.weight(), spent};
        std::vector<double>& e = state.numbers["epochs"];
        e.clear();
        for (const Epoch& epoch_figures : fitted.epochs)
            e.insert(e.end(), {epoch_figures.train_loss, epoch_figures.train_accuracy, epoch_figures.test_loss, epoch_figures.test_accuracy, epoch_figures.seconds});
        if (stopping) state.numbers["stopping"] = stopping->state();
        if (options.notes != nullptr) state.numbers["notes"] = *options.notes;
        checkpoints->save(state, net, optimiser);
    };
    const Key order = options.key.split(0), draws = options.key.split(1);
    const auto scale_at = [&](long at) { return options.schedule ? options.schedule(at) : 1.0; };

    double drawn = 0;
    for (int epoch = first_epoch; epoch <= options.epochs; ++epoch) {
        const double begun = Progress::now(), spent_before = spent;
        long batch = first_batch;
        const auto& set = source(epoch);
        const data::Shuffle shuffle = options.shuffle ? data::Shuffle(order.split(static_cast<std::uint64_t>(epoch))) : data::Shuffle();
        for (auto&& rows_now : data::batches(set, {.size = options.batch, .shuffle = shuffle, .first = first_batch})) {
            optimiser.set_lr_scale(scale_at(steps));
            const Scored scored = step(rows_now, nn::Context{draws.split(static_cast<std::uint64_t>(steps)), true});
            scored.loss.backward();
            if (options.clip_norm > 0) optimiser.clip_norm(options.clip_norm);
            optimiser.step();
            ++steps, ++batch;
            sums.add(scored);
            spent = spent_before + Progress::now() - begun;
            if (options.after_step) options.after_step(steps);
            if (bar) {
                char note[64];
                std::snprintf(note, sizeof note, "epoch %d/%d  loss %.4f", epoch, options.epochs, sums.loss.value());
                bar->advance(note);
            }
            if (options.interrupted && options.interrupted()) {
                // Half an epoch is no figure, but a resumed run goes on from here.
                save(epoch, batch);
                if (files && !fitted.epochs.empty()) impl_fit::draw(options.out, options.name, fitted.epochs);
                fitted.interrupted = true;
                return fitted;
            }
            if (options.checkpoint_every > 0 && steps % options.checkpoint_every == 0 && batch < per_epoch) save(epoch, batch);
        }
        impl_fit::Sums test;
        {
            const no_grad guard;
            for (auto&& rows_now : data::batches(test_set, {.size = options.test_batch})) test.add(step(rows_now, nn::Context{draws, false}));
        }
        const Epoch e{sums.loss.value(), sums.accuracy.value(), test.loss.value(), test.accuracy.value(), spent};
        fitted.epochs.push_back(e);
        if (files) {
            log->row(epoch, steps, scale_at(steps - 1), e.train_loss, e.train_accuracy, e.test_loss, e.test_accuracy, e.seconds);
            events->scalar("lr_scale", steps, scale_at(steps - 1));
            for (const auto& [tag, value] : {std::pair{"loss/train", e.train_loss}, {"loss/test", e.test_loss}, {"accuracy/train", e.train_accuracy}, {"accuracy/test", e.test_accuracy}})
                if (value == value) events->scalar(tag, steps, value);
        }
        if (bar) {
            char line[200];
            int at = std::snprintf(line, sizeof line, "%-12s epoch %2d/%d  loss %.4f  test loss %.4f", options.name.c_str(), epoch, options.epochs, e.train_loss, e.test_loss);
            if (e.train_accuracy == e.train_accuracy)
                at += std::snprintf(line + at, sizeof line - static_cast<std::size_t>(at), "  train %.2f %%  test %.2f %%", 100 * e.train_accuracy, 100 * e.test_accuracy);
            std::snprintf(line + at, sizeof line - static_cast<std::size_t>(at), "  %.2f s", e.seconds);
            bar->line(line);
        }
        sums = {}, spent = 0, first_batch = 0;
        fitted.diverged = !std::isfinite(e.train_loss);
        if (stopping && !fitted.diverged) fitted.stopped_early = stopping->update(options.early_stopping->maximise ? e.test_accuracy : e.test_loss);
        if (files && options.keep_best) {
            bool best = true;
            const bool by_accuracy = options.early_stopping && options.early_stopping->maximise;
            for (std::size_t i = 0; i + 1 < fitted.epochs.size(); ++i)
                best = best && (by_accuracy ? e.test_accuracy > fitted.epochs[i].test_accuracy : e.test_loss < fitted.epochs[i].test_loss);
            if (best) io::save(options.out + "/best.safetensors", net);
        }
        save(epoch + 1, 0);
        // Short epochs are not held up by their pictures.
        if (files && (epoch == options.epochs || fitted.diverged || fitted.stopped_early || Progress::now() - drawn > 10)) {
            impl_fit::draw(options.out, options.name, fitted.epochs);
            drawn = Progress::now();
        }
        if (fitted.diverged) {
            if (bar) bar->line(options.name + " has diverged: its loss is no number any more");
            break;
        }
        if (fitted.stopped_early) {
            if (bar) bar->line(options.name + " stops early: no better than epoch " + std::to_string(stopping->best_epoch()) + " for " + std::to_string(options.early_stopping->patience) + " epochs");
            break;
        }
    }
    return fitted;
}

}  // namespace tenon::train

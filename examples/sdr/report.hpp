// Table, pictures and the paper's claims, each beside the control that separates its two causes.
#pragma once

#include "arms.hpp"
#include "published.hpp"

#include <tenon/io/csv.hpp>
#include <tenon/io/plot.hpp>

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

namespace sdr_example {

using example::over_seeds;
using example::percent;
using example::Spread;

inline Spread error_of(Spread accuracy) {
    accuracy.mean = 1 - accuracy.mean;
    return accuracy;
}
inline Spread final_error(const Runs& r, double train::Epoch::*field = &train::Epoch::test_accuracy) {
    return error_of(over_seeds(r.runs, [field](const example::Run& run) { return run.empty() ? std::nan("") : run.back().*field; }));
}
// The first epoch with an error at or below, in the mean of the seeds; NaN: never.
inline double epochs_to(const Runs& r, double error, double train::Epoch::*field) {
    for (std::size_t e = 1; !r.runs.empty() && e <= r.runs[0].size(); ++e)
        if (1 - over_seeds(r.runs, example::at_epoch(e, field)).mean <= error) return static_cast<double>(e);
    return std::nan("");
}
inline Spread ratio_at(const Runs& r, std::size_t epoch) {
    return over_seeds(r.ratios, [epoch](const std::vector<double>& ratios) { return epoch <= ratios.size() ? ratios[epoch - 1] : std::nan(""); });
}
inline std::string scientific(double value) {
    if (value != value) return "-";
    char text[32];
    std::snprintf(text, sizeof text, "%.1e", value);
    return text;
}

inline void draw(const std::vector<const Runs*>& ran, std::size_t epochs, const std::string& title, const std::string& out) {
    io::Plot test({.title = "Test error, " + title, .x_label = "epoch", .y_label = "error (%)"});
    io::Plot train({.title = "Training error as the batches came (noise on), " + title, .x_label = "epoch", .y_label = "error (%)"});
    io::Plot noise({.title = "Noise to weight, " + title, .x_label = "epoch", .y_label = "log10 of |deviation| / |mean|"});
    bool noisy = false;
    for (const Runs* r : ran) {
        const std::pair<io::Plot*, double train::Epoch::*> plots[] = {{&test, &train::Epoch::test_accuracy}, {&train, &train::Epoch::train_accuracy}};
        for (const auto& [plot, field] : plots) {
            io::Series series{.name = r->arm.name};
            for (std::size_t e = 1; e <= epochs; ++e) {
                const Spread s = over_seeds(r->runs, example::at_epoch(e, field));
                series.x.push_back(static_cast<double>(e));
                series.y.push_back(100 * (1 - s.mean));
                if (r->runs.size() > 1) series.spread.push_back(100 * s.deviation);
            }
            plot->add(std::move(series));
        }
        if (!r->arm.sdr) continue;
        io::Series series{.name = r->arm.name};
        for (std::size_t e = 1; e <= epochs; ++e) {
            series.x.push_back(static_cast<double>(e));
            series.y.push_back(std::log10(std::max(1e-16, ratio_at(*r, e).mean)));
        }
        noise.add(std::move(series));
        noisy = true;
    }
    test.save(out + "/test_error.png");
    train.save(out + "/train_error.png");
    if (noisy) noise.save(out + "/noise.png");
}

// The claims, and what the run without any regularisation does about them.
inline void judge(const std::vector<const Runs*>& ran, std::size_t seeds) {
    const auto find = [&](const char* start) -> const Runs* {
        for (const Runs* r : ran)
            if (r->arm.key == start || r->arm.key.starts_with(std::string(start) + "-")) return r;
        return nullptr;
    };
    const Runs *none = find("none"), *dropout = find("dropout"), *sdr = find("sdr");
    if (none == nullptr || dropout == nullptr || sdr == nullptr) return;
    std::printf("\nthe paper's claims on this task (%zu seed%s; test errors within two deviations of each other count as equal):\n", seeds, seeds == 1 ? "" : "s");
    const auto compare = [&](const Runs& a, const Runs& b) {
        const Spread x = final_error(a), y = final_error(b);
        const double gap = 100 * (x.mean - y.mean), noise = 200 * std::max(x.deviation, y.deviation);
        return std::pair(gap, gap < -noise ? "lower" : gap > noise ? "higher" : "equal");
    };
    auto [gap, word] = compare(*sdr, *dropout);
    std::printf("  SDR's test error is lower than dropout's:              %+.2f points, %s%s\n", gap, word, word[0] == 'l' ? ": seen here" : ": NOT reproduced here");
    std::tie(gap, word) = compare(*sdr, *none);
    std::printf("  control: against no regularisation at all:              %+.2f points, %s\n", gap, word);
    const double a = final_error(*sdr, &train::Epoch::train_accuracy).mean, b = final_error(*dropout, &train::Epoch::train_accuracy).mean,
                 c = final_error(*none, &train::Epoch::train_accuracy).mean;
    std::printf("  SDR's training error is far below dropout's:            %.2f %% against %.2f %%: %s\n", 100 * a, 100 * b, a < 0.5 * b ? "seen here" : "NOT reproduced here");
    std::printf("  control: without regularisation it is                   %.2f %%%s\n", 100 * c, c < 0.5 * b ? ": the absence of dropout does it" : "");
    const double target = final_error(*dropout).mean, with = epochs_to(*sdr, target, &train::Epoch::test_accuracy), without = epochs_to(*none, target, &train::Epoch::test_accuracy);
    std::printf("  SDR reaches dropout's final test error early:           epoch %s (none: epoch %s) of %zu\n", example::number(with, 0).c_str(), example::number(without, 0).c_str(),
                sdr->runs[0].size());
    const std::size_t epochs = sdr->runs[0].size();
    std::printf("  the noise of the published recipe, as a share of the weights: %s after epoch 1, %s after epoch %zu, %s at the end\n", scientific(ratio_at(*sdr, 1).mean).c_str(),
                scientific(ratio_at(*sdr, std::max<std::size_t>(1, epochs / 4)).mean).c_str(), std::max<std::size_t>(1, epochs / 4), scientific(ratio_at(*sdr, epochs).mean).c_str());
}

inline void report(std::vector<Runs>& all, const Architecture& arch, const Options& options, int epochs, double lr, example::Result& result) {
    std::vector<const Runs*> ran;
    for (const Runs& r : all)
        if (!r.runs.empty() && r.lr == lr) ran.push_back(&r);
    if (ran.empty()) {
        std::printf("no arm finished its epochs: no table\n");
        return;
    }
    const Runs* dropout = nullptr;
    const Runs* none = nullptr;
    for (const Runs* r : ran) {
        if (dropout == nullptr && r->arm.dropout > 0) dropout = r;
        if (r->arm.key == "none") none = r;
    }
    const std::size_t last = static_cast<std::size_t>(epochs);
    std::printf("\n%s, learning rate %g: error in per cent%s\n", arch.key, lr,
                options.seeds.size() > 1 ? (", mean \u00b1 deviation over " + std::to_string(options.seeds.size()) + " seeds").c_str() : "");
    example::Table table({"arm", "test, last", "test, best", "train, noise on", "train, noise off", "epoch of dropout's last", "train error 15 / 10 / 5", "noise, first", "noise, last", "time"});
    const auto seconds = [](const Runs& r) { return over_seeds(r.runs, [](const example::Run& run) { return run.empty() ? std::nan("") : run.back().seconds; }).mean; };
    for (const Runs* r : ran) {
        std::string to;
        for (const double e : {0.15, 0.10, 0.05}) to += (to.empty() ? "" : " / ") + example::number(epochs_to(*r, e, &train::Epoch::train_accuracy), 0);
        const Spread off = over_seeds(r->train_errors, [](double e) { return e; });
        table.row({r->arm.name, percent(final_error(*r)), percent(error_of(over_seeds(r->runs, example::best_of))), percent(final_error(*r, &train::Epoch::train_accuracy)), percent(off),
                   dropout != nullptr ? example::number(epochs_to(*r, final_error(*dropout).mean, &train::Epoch::test_accuracy), 0) : "-", to,
                   r->arm.sdr ? scientific(ratio_at(*r, 1).mean) : "-", r->arm.sdr ? scientific(ratio_at(*r, last).mean) : "-",
                   none != nullptr ? example::number(seconds(*r) / seconds(*none), 2) + " x" : "-"});
    }
    table.print();
    std::printf("train, noise on: over the last epoch's batches as they came; noise off: the same images through the means. noise: |deviation| / |mean|. time: of an epoch, against none\n");
    const std::string out = options.out + "/" + arch.key + (options.lrs.size() > 1 ? "-lr" + short_number(lr) : "");
    example::make_folder(out);
    draw(ran, last, std::string(arch.key) + ", learning rate " + short_number(lr), out);
    io::CsvLog log(out + "/curves.csv", {"arm", "seed", "epoch", "train_loss", "train_accuracy", "test_loss", "test_accuracy", "noise", "seconds"});
    for (const Runs* r : ran)
        for (std::size_t s = 0; s < r->runs.size(); ++s)
            for (std::size_t e = 0; e < r->runs[s].size(); ++e) {
                const train::Epoch& f = r->runs[s][e];
                log.row(r->arm.key, options.seeds[s], static_cast<long>(e + 1), f.train_loss, f.train_accuracy, f.test_loss, f.test_accuracy, e < r->ratios[s].size() ? r->ratios[s][e] : 0.0,
                        f.seconds);
            }
    std::printf("pictures: %s/test_error.png, train_error.png, noise.png; every epoch: %s\n", out.c_str(), log.path().c_str());
    if (options.quick) std::printf("a quick run: nothing follows about the paper's claims\n");
    else judge(ran, options.seeds.size());
    for (const Runs* r : ran) result.add(std::string(arch.key) + (options.lrs.size() > 1 ? "@" + short_number(lr) : "") + "." + r->arm.key, 100 * final_error(*r).mean, 2);
}

}  // namespace sdr_example

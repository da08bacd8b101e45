// How much the end depends on the rate: SGD's over its learning rate, AdaBound's over its final rate and over gamma (the
// paper's appendix on sensitivity).
#pragma once

#include "report.hpp"

namespace adabound_example {

inline int sweep(const Arm& arm, const Options& options, const Sets& sets) {
    struct Point {
        const char* line;
        std::string optimiser;
        double value;
        Options with;
    };
    std::vector<Point> points;
    for (const double lr : {1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001}) {
        Options o = options;
        o.lr_sgd = lr;
        points.push_back({"SGD, learning rate", "sgd", lr, o});
        o = options;
        o.final_lr = lr;
        points.push_back({"AdaBound, final rate", "adabound", lr, o});
    }
    for (const double gamma : {1e-1, 1e-2, 1e-3, 1e-4}) {
        Options o = options;
        o.gamma = gamma;
        points.push_back({"AdaBound, gamma", "adabound", gamma, o});
    }
    std::printf("sweep of %s: %ld training images, %d epochs each, seed %llu\n", arm.network.c_str(), sets.train.size(), arm.epochs, static_cast<unsigned long long>(options.seeds[0]));
    std::vector<std::pair<std::string, std::vector<std::pair<double, double>>>> lines;
    example::Table table({"sweep", "value", "test, last", "train, last"});
    for (const Point& p : points) {
        if (example::interrupted()) break;
        Contestant who{p.optimiser, std::string(p.optimiser == "sgd" ? "SGD " : p.line[10] == 'f' ? "final lr " : "gamma ") + short_number(p.value)};
        const std::string folder = options.out + "/sweep/" + std::string(p.line[0] == 'S' ? "sgd" : p.line[10] == 'f' ? "final" : "gamma") + "-" + short_number(p.value);
        const auto epochs = run_one(who, arm, p.with, options.seeds[0], sets, folder);
        if (epochs.empty() || (static_cast<int>(epochs.size()) < arm.epochs && std::isfinite(epochs.back().train_loss))) break;
        const bool diverged = !std::isfinite(epochs.back().train_loss);
        const double test = diverged ? std::nan("") : 100 * epochs.back().test_accuracy;
        table.row({p.line, short_number(p.value), diverged ? "diverged" : example::number(test, 2), diverged ? "-" : example::number(100 * epochs.back().train_accuracy, 2)});
        if (lines.empty() || std::none_of(lines.begin(), lines.end(), [&](const auto& l) { return l.first == p.line; })) lines.push_back({p.line, {}});
        for (auto& line : lines)
            if (line.first == p.line) line.second.push_back({p.value, test});
    }
    std::printf("\n");
    table.print();
    io::Plot plot({.title = "Sensitivity: test accuracy over the rate", .x_label = "learning rate, final rate, or gamma (logarithmic)", .y_label = "test accuracy (%)", .x_log = true});
    double low = std::nan(""), high = std::nan("");
    for (auto& [name, values] : lines) {
        std::sort(values.begin(), values.end());
        io::Series series{.name = name};
        for (const auto& [x, y] : values) {
            series.x.push_back(x), series.y.push_back(y);
            if (name == "AdaBound, final rate" && y == y) low = y < low || low != low ? y : low, high = y > high || high != high ? y : high;
        }
        plot.add(std::move(series));
    }
    plot.save(options.out + "/sweep.png");
    std::printf("picture: %s/sweep.png\n", options.out.c_str());
    example::Result result;
    result.add("final_rate_spread", high - low, 2).add("interrupted", example::interrupted() ? "1" : "0").print();
    return example::interrupted() ? example::interrupted_exit : example::success;
}

}  // namespace adabound_example

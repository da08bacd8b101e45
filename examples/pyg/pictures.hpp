// Curves of accuracy, and what a network makes of the nodes, in the plane.
#pragma once

#include "embedding.hpp"
#include "protocol.hpp"

#include <tenon/io/plot.hpp>

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

namespace pyg_example {

// Accuracies by epoch of the runs of one network; runs that stopped early count as long as they ran.
struct Curve {
    std::string name;
    std::vector<std::vector<Epoch>> runs;
};
inline void draw_curves(const std::vector<Curve>& curves, double Epoch::*field, const std::string& title, const std::string& path) {
    io::Plot plot({.title = title, .x_label = "epoch", .y_label = "accuracy (%)"});
    for (const Curve& curve : curves) {
        io::Series series{.name = curve.name};
        for (std::size_t e = 0;; ++e) {
            double sum = 0, squares = 0, count = 0;
            for (const auto& run : curve.runs)
                if (e < run.size()) sum += 100 * run[e].*field, squares += 1e4 * run[e].*field * run[e].*field, ++count;
            if (count == 0 || count < static_cast<double>(curve.runs.size()) / 2) break;
            series.x.push_back(static_cast<double>(e + 1));
            series.y.push_back(sum / count);
            if (curve.runs.size() > 1)
                series.spread.push_back(std::sqrt(std::max(0.0, (squares - sum * sum / count) / std::max(1.0, count - 1))));
        }
        plot.add(std::move(series));
    }
    plot.save(path);
}

// Rows of numbers of nodes in the plane, coloured by class: along their first two principal components, or by t-SNE.
inline void draw_nodes(const Tensor<float, 2>& given, const Tensor<std::int64_t, 1>& y, long classes, bool by_tsne, bool quick,
                       const std::string& title, const std::string& path) {
    const Tensor<float, 2> x = contiguous(given.detach()).to(cpu);
    const Tensor<float, 2> place = by_tsne ? tsne(x, example::interrupted, {.steps = quick ? 50 : 300}) : principal_components(x);
    io::Plot plot({.title = title,
                   .x_label = by_tsne ? "t-SNE" : "first principal component",
                   .y_label = by_tsne ? "" : "second",
                   .width = 1000,
                   .height = 900});
    double low = 0, high = 0;
    for (long i = 0; i < place.size(); ++i)
        low = std::min(low, static_cast<double>(place.data()[i])), high = std::max(high, static_cast<double>(place.data()[i]));
    const double arm = 0.002 * (high - low);
    for (long c = 0; c < classes; ++c) {
        // Every node is a small cross: lines of its own.
        io::Series series{.name = "class " + std::to_string(c)};
        const double gap = std::nan("");
        for (long i = 0; i < x.shape(0); ++i) {
            if (y.data()[i] != c) continue;
            const double px = static_cast<double>(place.data()[2 * i]), py = static_cast<double>(place.data()[2 * i + 1]);
            series.x.insert(series.x.end(), {px - arm, px + arm, gap, px, px, gap});
            series.y.insert(series.y.end(), {py, py, gap, py - arm, py + arm, gap});
        }
        plot.add(std::move(series));
    }
    plot.save(path);
}

}  // namespace pyg_example

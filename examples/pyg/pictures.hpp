// Curves of accuracy, and what a network makes of the nodes, seen from the two directions in which they differ most.
#pragma once

#include "protocol.hpp"

#include <tenon/io/plot.hpp>
#include <tenon/ops/linalg.hpp>

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

// The nodes' probabilities along their first two principal components, coloured by class. (Their logarithms would give the picture to the
// few nodes of which the network is surest.)
inline void draw_nodes(const Hidden& logits, const Tensor<std::int64_t, 1>& y, long classes, const std::string& title,
                       const std::string& path) {
    const no_grad none;
    const Tensor<double, 2> x = cast<double>(softmax<1>(logits.to(cpu)));
    const Tensor<double, 2> centred = x - tenon::mean<0>(x, keepdim);
    const auto axes = eigh(Tensor<double, 2>(matmul(contiguous(centred.transpose()), centred)));
    const long width = x.shape(1);
    const Tensor<double, 2> two = axes.vectors(all, slice(width - 2, width));
    const Tensor<double, 2> place = matmul(centred, contiguous(two));
    io::Plot plot({.title = title, .x_label = "first principal component", .y_label = "second", .width = 1000, .height = 900});
    double low = 0, high = 0;
    for (long i = 0; i < place.size(); ++i) low = std::min(low, place.data()[i]), high = std::max(high, place.data()[i]);
    const double arm = 0.002 * (high - low);
    for (long c = 0; c < classes; ++c) {
        // Every node is a small cross: lines of its own.
        io::Series series{.name = "class " + std::to_string(c)};
        const double gap = std::nan("");
        for (long i = 0; i < x.shape(0); ++i) {
            if (y.data()[i] != c) continue;
            const double px = place.data()[2 * i + 1], py = place.data()[2 * i];
            series.x.insert(series.x.end(), {px - arm, px + arm, gap, px, px, gap});
            series.y.insert(series.y.end(), {py, py, gap, py - arm, py + arm, gap});
        }
        plot.add(std::move(series));
    }
    plot.save(path);
}

}  // namespace pyg_example

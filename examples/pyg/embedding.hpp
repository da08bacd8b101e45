// Where to draw rows of numbers in the plane: along their principal components, or so that neighbours stay neighbours.
#pragma once

#include <tenon/ops/linalg.hpp>
#include <tenon/tenon.hpp>

#include <algorithm>
#include <cmath>
#include <limits>

namespace pyg_example {

using namespace tenon;

// Along the two directions in which the rows differ most, the first one first: [n, width] -> [n, 2]; width >= 2.
inline Tensor<float, 2> principal_components(const Tensor<float, 2>& given) {
    const no_grad none;
    const Tensor<double, 2> x = cast<double>(given);
    const Tensor<double, 2> centred = x - tenon::mean<0>(x, keepdim);
    const auto axes = eigh(Tensor<double, 2>(matmul(contiguous(centred.transpose()), centred)));
    const long width = x.shape(1);
    const Tensor<double, 2> first = axes.vectors(all, slice(width - 1, width)), second = axes.vectors(all, slice(width - 2, width - 1));
    return cast<float>(matmul(centred, Tensor<double, 2>(concat<1>(first, second))));
}

struct TsneOptions {
    double perplexity = 30;  // about so many neighbours count
    long steps = 300;        // the first quarter with attraction twelve times as strong
};

// t-SNE (van der Maaten and Hinton, 2008) with all pairs: [n, width] -> [n, 2]. Joint probabilities p of neighbours come from Gaussians,
// each row's as wide as gives the perplexity; the places minimise the Kullback-Leibler divergence of p from q, in proportion to
// 1 / (1 + distance^2), by gradient descent with momentum from the principal components. O(n^2) a step. stop(): asked before every step whether
// that is enough.
template <class Stop>
Tensor<float, 2> tsne(const Tensor<float, 2>& given, Stop&& stop, const TsneOptions& options = {}) {
    const no_grad none;
    const long n = given.shape(0);
    const Tensor<float, 2> start = principal_components(given);
    const Tensor<float, 2> x = given - tenon::mean<0>(given, keepdim);

    // Squared distances less that of the nearest other row; a row is no neighbour of itself.
    Tensor<float, 2> far = matmul(x, x.transpose());
    {
        const Tensor<float, 2> length = sum<1>(square(x), keepdim);
        far = maximum(length + length.transpose() - 2.0f * far, 0.0f);
        const float never = 1e30f;
        for (long i = 0; i < n; ++i) far.data()[i * n + i] = never;
        far = far - amin<1>(far, keepdim);
    }
    // Precisions by bisection of all rows at once: the entropy falls with them.
    const float wanted = static_cast<float>(std::log(std::min(options.perplexity, static_cast<double>(n) / 3)));
    const float infinite = std::numeric_limits<float>::infinity();
    Tensor<float, 2> low = zeros<float>({n, 1}), high = full<float>({n, 1}, infinite), precision = ones<float>({n, 1});
    for (int k = 0; k < 30; ++k) {
        const Tensor<float, 2> total = sum<1>(exp(-far * precision), keepdim), weighted = sum<1>(far * exp(-far * precision), keepdim);
        const Tensor<bool, 2> wide = log(total) + precision * weighted / total > wanted;
        low = where(wide, precision, low);
        high = where(wide, high, precision);
        precision = where(high < infinite, 0.5f * (low + high), 2.0f * precision);
    }
    Tensor<float, 2> p = exp(-far * precision);
    p = p / sum<1>(p, keepdim);
    p = (p + p.transpose()) * static_cast<float>(0.5 / static_cast<double>(n));

    const float spread = std::sqrt(Tensor<float, 0>(tenon::mean(square(Tensor<float, 1>(start(all, 0))))).item());
    Tensor<float, 2> place = start * (1e-4f / std::max(spread, 1e-30f)), velocity = zeros<float>({n, 2}), near, pull;
    const Tensor<float, 2> one = ones<float>({n, 1});
    for (long step = 0; step < options.steps && !stop(); ++step) {
        const bool early = step < options.steps / 4;
        const float attraction = early ? 12.0f : 1.0f, momentum = early ? 0.5f : 0.8f, rate = static_cast<float>(n) / attraction;
        const Tensor<float, 2> across = place(all, slice(0, 1)), up = place(all, slice(1, 2));
        near = 1.0f / (1.0f + square(across - across.transpose()) + square(up - up.transpose()));
        // Every row is nearest to itself, with 1, which does not count.
        const float share = 1 / (Tensor<float, 0>(sum(near)).item() - static_cast<float>(n));
        pull = (attraction * p - share * near) * near;
        // The sum over all other rows of pull times the way from there: with the places and ones as columns one thin product.
        const Tensor<float, 2> sums = matmul(pull, Tensor<float, 2>(concat<1>(place, one)));
        velocity = momentum * velocity - rate * (place * sums(all, slice(2, 3)) - sums(all, slice(0, 2)));
        // No step is longer than 5, so that a few rows that begin close together are not thrown out.
        velocity = velocity * minimum(5.0f / maximum(norm<1>(velocity, keepdim), 1e-30f), 1.0f);
        place = place + velocity;
    }
    return place;
}

}  // namespace pyg_example

// Link prediction: scores of pairs of nodes, the losses of graph auto-encoders, and how well scores rank (Kipf and Welling, "Variational
// graph auto-encoders", 2016).
#pragma once

#include <tenon/ops/index.hpp>
#include <tenon/ops/loss.hpp>
#include <tenon/ops/matmul.hpp>
#include <tenon/ops/random.hpp>
#include <tenon/ops/reduce.hpp>

#include <algorithm>
#include <cmath>
#include <vector>

namespace tenon::graph {

// inner_product(z, pairs): <z_source, z_target> for pairs int64 [2, n]: the logits of edges, [n]. inner_product(z): of all pairs, [nodes,
// nodes]. Throws ShapeError, IndexError.
template <class T>
[[nodiscard]] Tensor<T, 1> inner_product(const Tensor<T, 2>& z, const Tensor<std::int64_t, 2>& pairs) {
    if (pairs.shape(0) != 2) fail<ShapeError>("inner_product: the pairs are ", pairs.record()->description(), ", expected [2, n]");
    return tenon::sum<1>(index_select<0>(z, contiguous(pairs(0, all))) * index_select<0>(z, contiguous(pairs(1, all))));
}
template <class T>
[[nodiscard]] Tensor<T, 2> inner_product(const Tensor<T, 2>& z) {
    return matmul(z, z.transpose());
}

// link_loss(positive, negative): from logits, the mean of -log sigmoid(positive) plus the mean of -log(1 - sigmoid(negative)).
template <class T>
[[nodiscard]] Tensor<T, 0> link_loss(const Tensor<T, 1>& positive, const Tensor<T, 1>& negative) {
    return tenon::mean(softplus(-positive)) + tenon::mean(softplus(negative));
}

// What a variational encoder gives: mean and logarithm of the standard deviation of each node's normal distribution, [nodes, F].
template <class T>
struct Latent {
    Tensor<T, 2> mean, log_deviation;
};
// sample(latent, key): mean + noise * exp(log_deviation), the deviation being at most exp(10).
template <class T>
[[nodiscard]] Tensor<T, 2> sample(const Latent<T>& latent, Key key) {
    const Tensor<T, 2> noise = randn<T>(latent.mean.shape(), key, latent.mean.device());
    return latent.mean + noise * exp(minimum(latent.log_deviation, T(10)));
}
// kl_loss(latent): the divergence from the standard normal distribution, summed over features, averaged over nodes. (A VGAE's loss is
// link_loss + kl_loss / nodes.)
template <class T>
[[nodiscard]] Tensor<T, 0> kl_loss(const Latent<T>& latent) {
    const Tensor<T, 2> log_deviation = minimum(latent.log_deviation, T(10));
    return tenon::mean(tenon::sum<1>(T(0.5) * (square(latent.mean) + exp(T(2) * log_deviation)) - log_deviation - T(0.5)));
}

namespace impl_links {

struct Scored {
    double score;
    bool positive;
};
template <class T>
std::vector<Scored> ranked(const char* operation, const Tensor<T, 1>& positive, const Tensor<T, 1>& negative) {
    std::vector<Scored> all_scores;
    for (const bool is_positive : {true, false}) {
        const Tensor<T, 1> x = contiguous((is_positive ? positive : negative).detach().to(cpu));
        for (long i = 0; i < x.size(); ++i) {
            const double s = static_cast<double>(x.data()[i]);
            if (s != s)
                fail<ValueError>(operation, ": the score of a ", is_positive ? "positive" : "negative", " pair, at position ", i,
                                 ", is NaN");
            all_scores.push_back({s, is_positive});
        }
    }
    std::sort(all_scores.begin(), all_scores.end(), [](const Scored& a, const Scored& b) { return a.score > b.score; });
    return all_scores;
}

}  // namespace impl_links

// link_auc(positive, negative): the area under the ROC curve, the probability that an edge scores higher than a pair without one,
// equal scores counting half; NaN without one of either. Throws ValueError for NaN scores.
template <class T>
[[nodiscard]] double link_auc(const Tensor<T, 1>& positive, const Tensor<T, 1>& negative) {
    const auto all_scores = impl_links::ranked("link_auc", positive, negative);
    double above = 0, area = 0;  // positives so far; pairs in the right order
    for (std::size_t i = 0; i < all_scores.size();) {
        double here = 0, others = 0;
        const double score = all_scores[i].score;
        for (; i < all_scores.size() && !(all_scores[i].score < score); ++i) ++(all_scores[i].positive ? here : others);
        area += others * (above + here / 2);
        above += here;
    }
    const double pairs = static_cast<double>(positive.size()) * static_cast<double>(negative.size());
    return pairs > 0 ? area / pairs : std::nan("");
}
// average_precision(positive, negative): the precision at every threshold, weighted by the recall that it adds; equal scores are one
// threshold. NaN without a positive.
template <class T>
[[nodiscard]] double average_precision(const Tensor<T, 1>& positive, const Tensor<T, 1>& negative) {
    const auto all_scores = impl_links::ranked("average_precision", positive, negative);
    double above = 0, total = 0;
    for (std::size_t i = 0; i < all_scores.size();) {
        double here = 0;
        const double score = all_scores[i].score;
        for (; i < all_scores.size() && !(all_scores[i].score < score); ++i) here += all_scores[i].positive;
        above += here;
        total += here * above / static_cast<double>(i);
    }
    return positive.size() > 0 ? total / static_cast<double>(positive.size()) : std::nan("");
}

}  // namespace tenon::graph

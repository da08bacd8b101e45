// Normalisation over the nodes of each graph.
#pragma once

#include <tenon/graph/pool/batch.hpp>
#include <tenon/nn/module.hpp>
#include <tenon/ops/norm.hpp>
#include <tenon/ops/reduce.hpp>

namespace tenon::graph {

// layer(x, batch): x [nodes, F]: per graph and feature (x - mean_scale * mean) / sqrt(variance around that + eps) * weight + bias
// (Cai et al., "GraphNorm", ICML 2021); the same sizes. Parameters "weight", "bias", "mean_scale" [F]. Throws ShapeError.
// Derivatives of x and the parameters.
template <class T = float>
struct GraphNorm {
    Tensor<T, 1> weight, bias, mean_scale;
    double eps = 1e-5;

    GraphNorm() = default;
    // Throws ShapeError.
    explicit GraphNorm(long channels, double eps_ = 1e-5) : eps(eps_) {
        if (channels < 1) fail<ShapeError>("GraphNorm: ", channels, " channels, expected at least 1");
        weight = ones<T>({channels}).require_grad();
        bias = zeros<T>({channels}).require_grad();
        mean_scale = ones<T>({channels}).require_grad();
    }
    Tensor<T, 2> operator()(const Tensor<T, 2>& x, const Segments& given = {}) const {
        if (x.shape(1) != weight.size())
            fail<ShapeError>("GraphNorm: x is ", x.record()->description(), ", expected ", weight.size(), " channels");
        const Segments batch = impl_pool::batch_of("GraphNorm", x, given);
        const Tensor<std::int64_t, 1> graph_of = segment_index(batch);
        const Tensor<T, 2> away = x - index_select<0>(segment_mean(x, batch), graph_of) * mean_scale;
        const Tensor<T, 2> scale = rsqrt(segment_mean(away * away, batch) + static_cast<T>(eps));
        return weight * away * index_select<0>(scale, graph_of) + bias;
    }
    static void visit(auto& self, auto&& f) {
        f("weight", self.weight);
        f("bias", self.bias);
        f("mean_scale", self.mean_scale);
    }
};

struct PairNormOptions {
    double scale = 1, eps = 1e-5;
    bool scale_individually = false;  // each node by its own length
};
// pair_norm(x, batch): x [nodes, F] less the mean of its graph, times scale, divided by the root of the mean squared length of the
// graph's nodes: the total distance of pairs stays the same through layers (Zhao and Akoglu, "PairNorm", ICLR 2020, equations 10 and 11).
// Throws ShapeError. Derivative: of x.
template <class T>
[[nodiscard]] Tensor<T, 2> pair_norm(const Tensor<T, 2>& x, const Segments& given = {}, PairNormOptions options = {}) {
    const Segments batch = impl_pool::batch_of("pair_norm", x, given);
    const Tensor<std::int64_t, 1> graph_of = segment_index(batch);
    const Tensor<T, 2> away = x - index_select<0>(segment_mean(x, batch), graph_of);
    const T scale = static_cast<T>(options.scale), eps = static_cast<T>(options.eps);
    if (options.scale_individually) return away * scale / (norm<1>(away, keepdim) + eps);
    const Tensor<T, 2> length = segment_mean(tenon::sum<1>(away * away, keepdim), batch);
    return away * scale * index_select<0>(rsqrt(length + eps), graph_of);
}

}  // namespace tenon::graph

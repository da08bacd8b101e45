// The graph and the weights of the golden vectors: 5 nodes, directed, weighted, a self-loop at 2, node 4 isolated.
#pragma once

#include <tenon/graph/conv/common.hpp>
#include <tenon/nn/context.hpp>

#include <catch2/catch.hpp>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

namespace golden_graph {

using namespace tenon;
using graph::Graph;

inline Graph make_graph() { return Graph::from_edges(from<std::int64_t>({2, 6}, {0, 1, 1, 2, 3, 2, 1, 0, 2, 1, 2, 2}), 5); }
template <class T>
Tensor<T, 1> edge_weights() { return from<T>({T(1), T(1), T(2), T(0.5), T(1.5), T(3)}); }
template <class T>
Tensor<T, 2> features() {
    const Tensor<T, 2> x = empty<T>({5, 3});
    for (long i = 0; i < 5; ++i)
        for (long f = 0; f < 3; ++f) x.data()[3 * i + f] = static_cast<T>((3 * i + f) % 7 - 3) / T(2);
    return x;
}
// As a layer keeps them: [out, in]. W and V are [in, out].
template <class T>
Tensor<T, 2> w_matrix() { return from<T>({3, 2}, {T(0.5), T(-1), T(0.25), T(0.75), T(-0.5), T(0.1)}); }
template <class T>
Tensor<T, 2> v_matrix() { return from<T>({3, 2}, {T(0.1), T(0.2), T(-0.3), T(0.4), T(0.5), T(-0.6)}); }
template <class T>
Tensor<T, 2> turned(const Tensor<T, 2>& x) { return clone(x.transpose()); }

template <class T>
constexpr double bound = sizeof(T) == 4 ? 2e-6 : 6e-7;
template <class T, int R>
void check(const Tensor<T, R>& got, const std::vector<double>& expected) {
    REQUIRE(got.size() == static_cast<long>(expected.size()));
    const auto y = contiguous(got);
    for (std::size_t i = 0; i < expected.size(); ++i) {
        INFO("element " << i << ": got " << y.data()[i] << ", expected " << expected[i]);
        CHECK(std::abs(static_cast<double>(y.data()[i]) - expected[i]) <= bound<T>);
    }
}

// Of a layer that is linear in what it drops the mean over keys is what it gives without dropping, to five standard errors; the same
// key gives the same bits, and without training nothing is dropped.
template <class Layer, class... Rest>
void check_dropout(const Layer& layer, const Tensor<double, 2>& x, const Graph& g, const Rest&... rest) {
    const auto call = [&](const nn::Context& context) { return Tensor<double, 2>(layer(x, g, context, rest...)); };
    const nn::Context fixed{Key{1}};
    const Tensor<double, 2> exact = layer(x, g, rest...), resting = call({Key{1}, false}), one = call(fixed), again = call(fixed);
    const std::size_t size = static_cast<std::size_t>(exact.size());
    std::vector<double> total(size, 0), squares(size, 0);
    const int keys = 3000;
    for (int k = 0; k < keys; ++k) {
        const Tensor<double, 2> y = call({Key{static_cast<std::uint64_t>(k)}});
        for (std::size_t i = 0; i < size; ++i) total[i] += y.data()[i], squares[i] += y.data()[i] * y.data()[i];
    }
    bool varies = false;
    for (std::size_t i = 0; i < size; ++i) {
        CHECK((one.data()[i] == again.data()[i] && resting.data()[i] == exact.data()[i]));
        const double mean = total[i] / keys, variance = std::max(0.0, squares[i] / keys - mean * mean);
        varies = varies || variance > 1e-3;
        INFO("element " << i << ": " << mean << " instead of " << exact.data()[i]);
        CHECK(std::abs(mean - exact.data()[i]) <= 5 * std::sqrt(variance / keys) + 1e-12);
    }
    CHECK(varies);
}

}  // namespace golden_graph

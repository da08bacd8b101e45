// Set2Set: a read-out that does not depend on the order of the nodes (Vinyals, Bengio, Kudlur, "Order matters: sequence to
// sequence for sets", ICLR 2016).
#pragma once

#include <tenon/graph/pool/batch.hpp>
#include <tenon/nn/recurrent.hpp>
#include <tenon/ops/concat.hpp>
#include <tenon/ops/reduce.hpp>

namespace tenon::graph {

// pool(x, batch): x [nodes, F] -> [graphs, 2 F]. From zeros on, `steps` times: q = LSTM([q, r]), a = softmax of <x, q> over the nodes
// of each graph, r = sum of a x; the result is [q, r]. Parameters are those of "lstm". Beside other graphs a graph's result may differ from
// that alone in the last bits: the LSTM's products are over all graphs at once, and one row is summed up in another order than several.
// Throws ShapeError. Derivatives of x and the parameters.
template <class T = float>
struct Set2Set {
    nn::LSTM<T> lstm;
    long channels = 0, steps = 0;

    Set2Set() = default;
    // Throws ShapeError for no channels, ValueError for no steps.
    Set2Set(long channels_, long steps_, Key key) : channels(channels_), steps(steps_) {
        if (channels < 1) fail<ShapeError>("Set2Set: ", channels, " channels, expected at least 1");
        if (steps < 1) fail<ValueError>("Set2Set: ", steps, " steps, expected at least 1");
        lstm = nn::LSTM<T>(2 * channels, channels, key);
    }
    Tensor<T, 2> operator()(const Tensor<T, 2>& x, const Segments& given = {}) const {
        if (x.shape(1) != channels) fail<ShapeError>("Set2Set: x is ", x.record()->description(), ", expected ", channels, " channels");
        const Segments batch = impl_pool::batch_of("Set2Set", x, given);
        const Tensor<std::int64_t, 1> graph_of = segment_index(batch);
        Tensor<T, 2> both = zeros<T>({batch.count(), 2 * channels}, x.device());
        LstmState<T> state;
        for (long step = 0; step < steps; ++step) {
            auto [y, after] = lstm(both.template unsqueeze<0>(), state);
            state = after;
            const Tensor<T, 2> q = y.template squeeze<0>();
            const Tensor<T, 2> alike = tenon::sum<1>(x * index_select<0>(q, graph_of), keepdim);
            const Tensor<T, 2> r = segment_sum(segment_softmax(alike, batch) * x, batch);
            both = concat<1>({q, r});
        }
        return both;
    }
    static void visit(auto& self, auto&& f) { f("lstm", self.lstm); }
};

}  // namespace tenon::graph

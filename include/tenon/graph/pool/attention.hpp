// Read-out by attention (Li et al., "Gated graph sequence neural networks", ICLR 2016, eq. 7).
#pragma once

#include <tenon/graph/pool/batch.hpp>
#include <tenon/nn/sequential.hpp>

namespace tenon::graph {

// What stands for the transformation where there is none.
struct Unchanged {
    template <Expression X>
    auto operator()(X&& x) const { return tenon::impl::as_tensor(static_cast<X&&>(x)); }
    static void visit(auto&, auto&&) {}
};

// pool(x, batch): x [nodes, F] -> [graphs, C]: the sum over the nodes of a graph of softmax(gate_nn(x)) * nn(x), the softmax being
// over the nodes of the graph; gate_nn is any module to [nodes, 1] (or [nodes, C]: a gate per feature), nn one to [nodes, C].
// A graph without nodes gives 0. pool(x, context, batch) hands the context to the modules that take one. Names are PyTorch Geometric's
// (GlobalAttention, now AttentionalAggregation). Throws ShapeError. Derivatives of x and of both modules' parameters.
template <class Gate, class Net = Unchanged>
struct AttentionalAggregation {
    Gate gate_nn;
    Net nn;

    AttentionalAggregation() = default;
    explicit AttentionalAggregation(Gate gate, Net net = {}) : gate_nn(static_cast<Gate&&>(gate)), nn(static_cast<Net&&>(net)) {}

    template <class T>
    Tensor<T, 2> operator()(const Tensor<T, 2>& x, const Segments& batch = {}) const {
        return run(x, batch);
    }
    template <class T>
    Tensor<T, 2> operator()(const Tensor<T, 2>& x, const tenon::nn::Context& context, const Segments& batch = {}) const {
        return run(x, batch, context);
    }
    static void visit(auto& self, auto&& f) {
        f("gate_nn", self.gate_nn);
        f("nn", self.nn);
    }

private:
    template <class T, class... C>
    Tensor<T, 2> run(const Tensor<T, 2>& x, const Segments& given, const C&... context) const {
        const Segments batch = impl_pool::batch_of("AttentionalAggregation", x, given);
        const Tensor<T, 2> gate = tenon::nn::detail::call(gate_nn, x, context...), values = tenon::nn::detail::call(nn, x, context...);
        if (gate.shape(1) != 1 && gate.shape(1) != values.shape(1))
            fail<ShapeError>("AttentionalAggregation: the gate gives ", gate.record()->description(), " for values ",
                             values.record()->description(), ": expected one column, or as many");
        return segment_sum(segment_softmax(gate, batch) * values, batch);
    }
};
template <class Gate>
AttentionalAggregation(Gate) -> AttentionalAggregation<Gate>;
template <class Gate, class Net>
AttentionalAggregation(Gate, Net) -> AttentionalAggregation<Gate, Net>;

}  // namespace tenon::graph

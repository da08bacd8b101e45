// Embedding: a table of vectors, one for each index.
#pragma once

#include <tenon/nn/init.hpp>
#include <tenon/nn/module.hpp>
#include <tenon/ops/index.hpp>

namespace tenon::nn {

// weight [count, dim], standard normal at first (PyTorch's default). layer(indices) maps int64 or int32 indices of any
// number of axes [..] to [.., dim]. Throws IndexError for an index outside of [0, count).
template <class T = float>
struct Embedding {
    Tensor<T, 2> weight;

    // An empty layer, to be assigned.
    Embedding() = default;
    // Throws ShapeError on sizes below 1.
    Embedding(long count, long dim, Key key) {
        if (count < 1 || dim < 1) fail<ShapeError>("Embedding: sizes ", count, " x ", dim, ", expected at least 1 each");
        weight = randn<T>({count, dim}, key).require_grad();
    }

    template <Expression N>
    auto operator()(N&& indices) const { return embedding(weight, static_cast<N&&>(indices)); }

    static void visit(auto& self, auto&& f) { f("weight", self.weight); }
};

}  // namespace tenon::nn

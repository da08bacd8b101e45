// What graph convolutions share: how weights begin, and features that are dense or sparse.
#pragma once

#include <tenon/graph/normalize.hpp>
#include <tenon/nn/linear.hpp>

namespace tenon::graph {
inline namespace TENON_CONFIG_NAMESPACE {

// Fresh weights, uniform in +-sqrt(6 / (sum of the last two sizes)) (Glorot and Bengio 2010, as PyTorch Geometric counts).
template <class T, int R>
Tensor<T, R> glorot(Shape<R> sizes, Key key) {
    static_assert(R >= 2);
    const double bound = __builtin_sqrt(6 / static_cast<double>(sizes[R - 2] + sizes[R - 1]));
    return uniform<T>(sizes, key, {-bound, bound}).require_grad();
}
template <class T, std::size_t R>
Tensor<T, static_cast<int>(R)> glorot(const Dim (&sizes)[R], Key key) {
    Shape<static_cast<int>(R)> s;
    for (std::size_t i = 0; i < R; ++i) s.dims[i] = sizes[i].value;
    return glorot<T>(s, key);
}
// A linear layer without bias, weight [out, in], that begins so.
template <class T>
nn::Linear<T, false> glorot_linear(long in, long out, Key key) {
    nn::Linear<T, false> layer(in, out, key);
    layer.weight = glorot<T>({out, in}, key);
    return layer;
}

// x times the transpose of a weight [out, in]; x dense or a Csr of bag-of-words features.
template <class T>
Tensor<T, 2> project(const Tensor<T, 2>& x, const Tensor<T, 2>& weight) {
    return linear(x, weight);
}
template <class T>
Tensor<T, 2> project(const Csr<T>& x, const Tensor<T, 2>& weight) {
    return matmul(x, contiguous(weight.transpose()));
}
template <class X>
inline constexpr bool is_csr = false;
template <class T>
inline constexpr bool is_csr<Csr<T>> = true;

// Operands of layers: expressions are evaluated, sparse matrices stay.
template <class X>
auto features(X&& x) {
    if constexpr (is_csr<std::remove_cvref_t<X>>) return x;
    else return contiguous(impl::as_tensor(static_cast<X&&>(x)));
}

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon::graph

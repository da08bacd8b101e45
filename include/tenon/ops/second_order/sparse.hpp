// Recorded backward passes of products with sparse matrices: sums over rows and products of pairs of rows are closed under
// differentiation.
#pragma once

#include <tenon/autograd/recorded.hpp>
#include <tenon/ops/sparse.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

template <class T>
Tensor<T, 3> sparse_product(SparseProduct p, bool transposed, const Tensor<T, 3>& x, const Tensor<T, 2>& w) {
    const Tensor<T, 3> own = contiguous(x);
    const Tensor<T, 2> weight = w.has_value() ? contiguous(w) : w;
    p.transposed = transposed;
    p.mean = false;
    const long dims[3] = {transposed ? p.structure.columns() : p.structure.rows(), p.heads, p.width};
    return Tensor<T, 3>(spmm_of<T>("derivative of a sparse product", p, own.record(), weight.has_value() ? weight.record() : nullptr, 3, dims));
}
template <class T>
Tensor<T, 2> sparse_pairs(const SparseProduct& p, const Tensor<T, 3>& u, const Tensor<T, 3>& v) {
    const Tensor<T, 3> a = contiguous(u), b = contiguous(v);
    const long dims[2] = {p.structure.elements(), p.heads};
    return Tensor<T, 2>(sddmm_of<T>("derivative of a sparse product", p, a.record(), b.record(), 2, dims));
}

template <class T>
void spmm_recorded(Node& any) {
    auto& node = static_cast<SpmmNode<T>&>(any);
    const SparseProduct& p = node.product();
    const long rows = p.structure.rows(), columns = p.structure.columns();
    const Shape<3> x_sizes{{p.transposed ? rows : columns, p.heads, p.width}}, y_sizes{{p.transposed ? columns : rows, p.heads, p.width}};
    const Shape<2> w_sizes{{p.structure.elements(), p.heads}};
    auto dy = recorded_gradient<T, 3>(node, y_sizes);
    if (p.mean) {
        const Tensor<T, 3> one = ones<T>({rows, 1, 1}, dy.device());
        const Tensor<T, 3> share(mean_shares<T>(SparseProduct{p.structure, false, false, 1, 1, {}}, one.record()));
        dy = eval(dy * share);
    }
    if (detail::wanted_now(node.inputs[0]))
        accumulate_reshaped(node.inputs[0], sparse_product<T>(p, !p.transposed, dy, node.w().tensor ? saved_input<T, 2>(node, 1, node.w(), w_sizes) : Tensor<T, 2>()));
    if (detail::wanted_now(node.inputs[1])) {
        const auto x = saved_input<T, 3>(node, 0, node.x(), x_sizes);
        accumulate_reshaped(node.inputs[1], sparse_pairs<T>(p, p.transposed ? x : dy, p.transposed ? dy : x));
    }
}
template <class T>
void sddmm_recorded(Node& any) {
    auto& node = static_cast<SddmmNode<T>&>(any);
    const SparseProduct& p = node.product();
    const Shape<3> u_sizes{{p.structure.rows(), p.heads, p.width}}, v_sizes{{p.structure.columns(), p.heads, p.width}};
    const auto dy = recorded_gradient<T, 2>(node, Shape<2>{{p.structure.elements(), p.heads}});
    if (detail::wanted_now(node.inputs[0])) accumulate_reshaped(node.inputs[0], sparse_product<T>(p, false, saved_input<T, 3>(node, 1, node.v(), v_sizes), dy));
    if (detail::wanted_now(node.inputs[1])) accumulate_reshaped(node.inputs[1], sparse_product<T>(p, true, saved_input<T, 3>(node, 0, node.u(), u_sizes), dy));
}

template <class T>
struct SparseEntries {
    detail::RecordedBackward entries[2] = {{&detail::node_kind<SpmmNode<T>>, &spmm_recorded<T>}, {&detail::node_kind<SddmmNode<T>>, &sddmm_recorded<T>}};
};
inline SparseEntries<float> sparse_entries_float;
inline SparseEntries<double> sparse_entries_double;

}  // namespace impl
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

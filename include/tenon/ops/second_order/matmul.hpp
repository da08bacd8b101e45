// Recorded backward passes of products: products again.
#pragma once

#include <tenon/autograd/recorded.hpp>
#include <tenon/ops/matmul.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

inline detail::AnyTensor recorded_reshape(const detail::AnyTensor& x, int rank, const long* dims) {
    long sizes[max_rank];
    for (int i = 0; i < rank; ++i) sizes[i] = dims[i];
    return detail::reshape_any(x.get(), rank, sizes);
}
inline detail::AnyTensor recorded_transpose(const detail::AnyTensor& x) {
    detail::ViewMap map = detail::identity_map(x.get());
    const int last = x->rank - 1;
    std::swap(map.axis[last], map.axis[last - 1]);
    std::swap(map.dims[last], map.dims[last - 1]);
    return detail::make_view(x.get(), map);
}
template <class T>
detail::AnyTensor recorded_product(const detail::AnyTensor& a, const detail::AnyTensor& b) {
    ProductSpec spec;
    spec.a = a;
    spec.b = b;
    long dims[max_rank];
    set_product(spec, dims);
    return evaluate_product<T>(spec, a->rank > b->rank ? a->rank : b->rank, dims);
}
// Summed over the axes along which x was broadcast, down to `dims` (aligned at the last axis).
template <class T>
detail::AnyTensor recorded_sum_to(const detail::AnyTensor& x, int rank, const long* dims) {
    const int extra = x->rank - rank;
    long kept[max_rank] = {};
    bool same = extra == 0;
    for (int i = 0; i < x->rank; ++i) {
        kept[i] = i < extra ? 1 : dims[i - extra];
        same = same && kept[i] == x->dims()[i];
    }
    if (same) return x;
    Collector c;
    c.add(x.get());
    return evaluate_sum(formula::table<formula::In<T>, true>, c, x->rank, x->dims(), kept, rank, dims, x->storage->device, 1, "sum");
}

template <class T>
void product_recorded(Node& any) {
    ProductNode<T>& node = static_cast<ProductNode<T>&>(any);
    // The sizes of an operand: of the gradient that it wants, or of the values that the other's gradient needs.
    struct Sizes {
        int rank;
        const long* dims;
    };
    const auto sizes = [](const Edge& edge, const detail::Saved& saved) {
        if (saved.tensor) return Sizes{saved.tensor->rank, saved.tensor->dims()};
        const Node::Slot& slot = edge.node->slots[edge.slot];
        return Sizes{slot.rank, slot.dims};
    };
    const Sizes a = sizes(node.inputs[0], node.a()), b = sizes(node.inputs[1], node.b());
    // dy with both matrix axes, which vectors have dropped.
    const detail::AnyTensor arrived = recorded_gradient(node);
    const int batch = a.rank > b.rank ? (a.rank > 2 ? a.rank - 2 : 0) : (b.rank > 2 ? b.rank - 2 : 0);
    long dims[max_rank];
    for (int i = 0; i < batch; ++i) dims[i] = arrived->dims()[i];
    dims[batch] = a.rank > 1 ? a.dims[a.rank - 2] : 1;
    dims[batch + 1] = b.rank > 1 ? b.dims[node.b_transposed() ? b.rank - 2 : b.rank - 1] : 1;
    const long m = dims[batch], n = dims[batch + 1], k = a.dims[a.rank - 1];
    const detail::AnyTensor dy = recorded_reshape(arrived, batch + 2, dims);
    if (detail::wanted_now(node.inputs[0])) {
        detail::AnyTensor right = saved_input(node, 1, node.b());
        const long column[] = {k, 1};
        if (b.rank == 1) right = recorded_reshape(right, 2, column);
        detail::AnyTensor da = recorded_product<T>(dy, node.b_transposed() ? right : recorded_transpose(right));
        long full[max_rank];  // a's sizes with both matrix axes
        const int rank = a.rank > 1 ? a.rank : 2;
        for (int i = 0; i < a.rank; ++i) full[rank - a.rank + i] = a.dims[i];
        if (a.rank == 1) full[0] = 1;
        accumulate_recorded(node.inputs[0], recorded_reshape(recorded_sum_to<T>(da, rank, full), a.rank, a.dims));
    }
    if (detail::wanted_now(node.inputs[1])) {
        detail::AnyTensor left = saved_input(node, 0, node.a()), of = dy;
        const long row[] = {1, k};
        if (a.rank == 1) left = recorded_reshape(left, 2, row);
        if (b.rank <= 2 && batch > 0) {
            // One matrix for all batches: their rows are rows of one product.
            long rows = m;
            for (int i = 0; i < batch; ++i) rows *= dims[i];
            const long tall_left[] = {rows, k}, tall[] = {rows, n};
            left = recorded_reshape(left, 2, tall_left);
            of = recorded_reshape(dy, 2, tall);
        }
        const detail::AnyTensor db = node.b_transposed() ? recorded_product<T>(recorded_transpose(of), left) : recorded_product<T>(recorded_transpose(left), of);
        long full[max_rank];
        const int rank = b.rank > 1 ? b.rank : 2;
        for (int i = 0; i < b.rank; ++i) full[i] = b.dims[i];
        if (b.rank == 1) full[1] = 1;
        accumulate_recorded(node.inputs[1], recorded_reshape(recorded_sum_to<T>(db, rank, full), b.rank, b.dims));
    }
}
inline detail::RecordedBackward product_entries[] = {{&detail::node_kind<ProductNode<float>>, &product_recorded<float>},
                                                     {&detail::node_kind<ProductNode<double>>, &product_recorded<double>}};

}  // namespace impl
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

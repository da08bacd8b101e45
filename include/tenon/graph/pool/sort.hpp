// SortPool: a read-out of fixed size that keeps single nodes (Zhang et al., "An end-to-end deep learning architecture for graph
// classification", AAAI 2018).
#pragma once

#include <tenon/graph/pool/batch.hpp>
#include <tenon/ops/scatter.hpp>

namespace tenon::graph {

// sort_pool(x, k, batch): x [nodes, F] -> [graphs, k F]: of each graph the k nodes with the largest last feature, largest first (of
// equal ones the first), one after the other, and zeros where it has fewer. Derivative: to the nodes that were kept. (Sorted on the
// device; the host reads how many nodes each graph has.) Throws ShapeError, and ValueError for k < 1.
template <class T>
[[nodiscard]] Tensor<T, 2> sort_pool(const Tensor<T, 2>& x, long k, const Segments& given = {}) {
    if (k < 1) fail<ValueError>("sort_pool: k is ", k, ", expected at least 1");
    if (x.shape(1) < 1) fail<ShapeError>("sort_pool: ", x.record()->description(), " has no features to sort by");
    const Segments batch = impl_pool::batch_of("sort_pool", x, given);
    const Tensor<T, 1> key = contiguous(x.detach()(all, -1));
    const impl_pool::Kept kept = impl_pool::largest_rows(key, batch, [k](long n) { return n < k ? n : k; });
    const Tensor<std::int64_t, 1> begins = kept.batch.pointers().to(cpu);
    Tensor<std::int64_t, 1> places = empty<std::int64_t>({kept.rows.size()});
    for (long s = 0; s < batch.count(); ++s)
        for (std::int64_t p = begins.data()[s]; p < begins.data()[s + 1]; ++p) places.data()[p] = s * k + p - begins.data()[s];
    const Tensor<T, 2> table =
        index_copy<0>(zeros<T>({batch.count() * k, x.shape(1)}, x.device()), places.to(x.device()), index_select<0>(x, kept.rows));
    return table.reshape({batch.count(), k * x.shape(1)});
}

}  // namespace tenon::graph

// Which graph a node belongs to: Segments of the rows, of a batch vector (Segments::from_sorted(batch, graphs)) or of row
// pointers; empty Segments mean that all rows are one graph. What pooling layers need of them.
#pragma once

#include <tenon/ops/scatter.hpp>
#include <tenon/ops/segment.hpp>
#include <tenon/ops/sort.hpp>

namespace tenon::graph {

// The batch vector: int64 [rows], for every row its segment.
[[nodiscard]] inline Tensor<std::int64_t, 1> segment_index(const Segments& batch) {
    const Tensor<std::int64_t, 1>&pointers = batch.pointers(), &order = batch.order();
    const bool ordered = !order.has_value();
    const Device device = pointers.device();
    if (!device.is_cpu()) {
        // The last pointer at or before a place; the host waits for nothing.
        const Tensor<std::int64_t, 1> places =
            searchsorted(pointers, arange<std::int64_t>(0, batch.rows(), 1, device), {.right = true}) - std::int64_t(1);
        return ordered ? places : Tensor<std::int64_t, 1>(index_copy<0>(places, order, places));
    }
    Tensor<std::int64_t, 1> index = empty<std::int64_t>({batch.rows()});
    for (long s = 0; s < batch.count(); ++s)
        for (std::int64_t k = pointers.data()[s]; k < pointers.data()[s + 1]; ++k) index.data()[ordered ? k : order.data()[k]] = s;
    return index;
}

namespace impl_pool {

// All rows as one graph where no segments came.
template <class T, int R>
Segments batch_of(const char* operation, const Tensor<T, R>& x, const Segments& batch) {
    if (!batch.pointers().has_value())
        return Segments::from_pointers(from<std::int64_t>({0, static_cast<std::int64_t>(x.shape(0))})).to(x.device());
    if (batch.rows() != x.shape(0))
        fail<ShapeError>(operation, ": ", x.record()->description(), " has ", x.shape(0), " rows, but the batch is of ", batch.rows());
    return batch;
}

// Rows that were kept of each segment.
struct Kept {
    Tensor<std::int64_t, 1> rows;  // segment after segment
    Segments batch;                // of what is kept
};

// Of each segment of n rows the keep(n) with the largest scores, largest first, of equal ones the first. A NaN is largest.
// On a device only the numbers of rows are read by the host.
template <class T, class F>
Kept largest_rows(const Tensor<T, 1>& given, const Segments& batch, F&& keep) {
    const Tensor<T, 1> score = given.detach();
    const Device device = score.device();
    Tensor<std::int64_t, 1> by_score = argsort(score, {.descending = true});
    if (batch.count() != 1) {
        const Tensor<std::int64_t, 1> segment = index_select<0>(segment_index(batch), by_score);
        by_score = Tensor<std::int64_t, 1>(index_select<0>(by_score, argsort(segment)));
    }
    const Tensor<std::int64_t, 1> pointers = batch.pointers().to(cpu);
    Tensor<std::int64_t, 1> begins = zeros<std::int64_t>({batch.count() + 1});
    for (long s = 0; s < batch.count(); ++s) {
        const long n = static_cast<long>(pointers.data()[s + 1] - pointers.data()[s]), k = keep(n);
        begins.data()[s + 1] = begins.data()[s] + (k < n ? k : n);
    }
    Tensor<std::int64_t, 1> places = empty<std::int64_t>({begins.data()[batch.count()]});
    for (long s = 0; s < batch.count(); ++s)
        for (std::int64_t k = begins.data()[s]; k < begins.data()[s + 1]; ++k) places.data()[k] = pointers.data()[s] + k - begins.data()[s];
    return {index_select<0>(by_score, places.to(device)), Segments::from_pointers(begins).to(device)};
}

}  // namespace impl_pool
}  // namespace tenon::graph

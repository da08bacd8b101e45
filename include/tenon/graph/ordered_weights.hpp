// Weights of edges in the order in which the rows of a graph name them, kept with the graph: read in their own order they are no
// second access to memory for each edge.
#pragma once

#include <tenon/graph/graph.hpp>
#include <tenon/kernels/cpu/fingerprint.hpp>
#include <tenon/kernels/cpu/gather.hpp>
#include <tenon/ops/sparse.hpp>

namespace tenon::graph {
inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

using namespace tenon::impl;

// What came twice is expected again. Kept are copies, found by their contents: whoever writes to weights, by whatever way, gets
// the sums of what is written.
struct OrderedWeights final : graph_detail::Attachment {
    struct Entry {
        kernels::cpu::Fingerprint of;
        long uses = 0;
        DType dtype = DType::float32;
        detail::AnyTensor by_row, by_column;
    };
    OrderedWeights() : Attachment(Graph::kind_of<OrderedWeights>()) {}
    mutable int lock = 0, oldest = 0;
    mutable Entry entries[2];
};

inline detail::AnyTensor in_order_of(const CsrPattern& pattern, const detail::Record* w, long heads) {
    detail::AnyTensor to(detail::new_record(w->dtype, w->rank, w->dims(), w->storage->device));
    kernels::cpu::gather_rows(pattern.elements(), heads * static_cast<long>(size_of(w->dtype)), w->data(), static_cast<const std::int32_t*>(pattern.edges.data()), to->data());
    return to;
}

// The weights w [edges] or [edges, heads] of sums over g's rows, in their order, and in that of the rows of the transpose where that
// is asked for; empty where it would not pay: weights that come for the first time, are few or lie in order already.
inline OrderedValues ordered_weights(const Graph& g, const detail::Record* w, long heads, bool transposed) {
    const long bytes = w->size * static_cast<long>(size_of(w->dtype));
    if (!g.device().is_cpu() || bytes <= kernels::cpu::impl::near_table || (g.in().in_order && !transposed)) return {};
    const kernels::cpu::Fingerprint own = kernels::cpu::fingerprint(w->data(), bytes);
    const auto& kept = g.attached<OrderedWeights>([](const OrderedWeights&) { return true; }, [] { return new OrderedWeights; });
    const detail::FirstUse guard(kept.lock);
    OrderedWeights::Entry* found = nullptr;
    for (OrderedWeights::Entry& e : kept.entries)
        if (e.uses > 0 && e.of == own && e.dtype == w->dtype) found = &e;
    if (found == nullptr) {
        kept.entries[kept.oldest] = {own, 1, w->dtype, {}, {}};
        kept.oldest = 1 - kept.oldest;
        return {};
    }
    ++found->uses;
    if (!found->by_row && !g.in().in_order) found->by_row = in_order_of(g.in(), w, heads);
    if (transposed && !found->by_column && !g.out().in_order) found->by_column = in_order_of(g.out(), w, heads);
    return {found->by_row, transposed ? found->by_column : detail::AnyTensor()};
}

}  // namespace impl
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon::graph

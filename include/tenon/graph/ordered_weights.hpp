// Weights of edges in the order in which the rows of a graph name them, kept with the graph: read in their own order they are no
// second access to memory for each edge.
#pragma once

#include <tenon/graph/graph.hpp>
#include <tenon/kernels/cpu/gather.hpp>
#include <tenon/ops/sparse.hpp>

#include <atomic>
#include <cstring>

namespace tenon::graph {
inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

using namespace tenon::impl;

// What lay at one address twice is kept, and used from then on as long as it is the same byte for byte: whoever writes to weights, by
// whatever way, gets the sums of what is written.
struct OrderedWeights final : graph_detail::Attachment {
    struct Entry {
        const char* at = nullptr;
        DType dtype = DType::float32;
        detail::AnyTensor copy, by_row, by_column;  // copy: the weights as they came, once they have come again
    };
    OrderedWeights() : Attachment(Graph::kind_of<OrderedWeights>()) {}
    mutable int lock = 0, oldest = 0;
    mutable Entry entries[2];
};

inline detail::AnyTensor in_order_of(const CsrPattern& pattern, const detail::Record* w, long heads) {
    detail::AnyTensor to(detail::new_record(w->dtype, w->rank, w->dims(), w->storage->device));
    kernels::cpu::gather_rows(pattern.elements(), heads * static_cast<long>(size_of(w->dtype)), w->data(),
                              static_cast<const std::int32_t*>(pattern.edges.data()), to->data());
    return to;
}

inline bool same_bytes(const char* a, const char* b, long bytes) {
    constexpr long piece = 1l << 18;
    std::atomic<bool> same{true};
    parallel_for((bytes + piece - 1) / piece, 0.1 * double(bytes), [&](long k) {
        const long begin = k * piece, count = bytes - begin < piece ? bytes - begin : piece;
        if (same.load(std::memory_order_relaxed) && std::memcmp(a + begin, b + begin, static_cast<std::size_t>(count)) != 0)
            same.store(false, std::memory_order_relaxed);
    });
    return same.load();
}

// The weights w [edges] or [edges, heads] of sums over g's rows, in their order, and in that of the rows of the transpose where that
// is asked for; empty where it would not pay: weights that come for the first or second time, are few or lie in order already.
inline OrderedValues ordered_weights(const Graph& g, const detail::Record* w, long heads, bool transposed) {
    const long bytes = w->size * static_cast<long>(size_of(w->dtype));
    if (!g.device().is_cpu() || bytes <= kernels::cpu::impl::near_table || (g.in().in_order && !transposed)) return {};
    const char* const data = w->data();
    const auto& kept = g.attached<OrderedWeights>([](const OrderedWeights&) { return true; }, [] { return new OrderedWeights; });
    const auto entry = [&]() -> OrderedWeights::Entry* {
        for (OrderedWeights::Entry& e : kept.entries)
            if (e.at == data && e.dtype == w->dtype && (!e.copy || e.copy->size == w->size)) return &e;
        return nullptr;
    };
    // Only handles are taken and put back under the lock: no thread waits for another's pass over weights.
    OrderedWeights::Entry known, next{data, w->dtype, {}, {}, {}};
    {
        const detail::FirstUse guard(kept.lock);
        const OrderedWeights::Entry* const e = entry();
        if (e == nullptr) {
            std::swap(kept.entries[kept.oldest], next);
            kept.oldest = 1 - kept.oldest;
            return {};
        }
        known = *e;
    }
    try {
        if (!known.copy) {
            next.copy = detail::AnyTensor(detail::new_record(w->dtype, w->rank, w->dims(), w->storage->device));
            std::memcpy(next.copy->data(), data, static_cast<std::size_t>(bytes));
        } else if (same_bytes(data, known.copy->data(), bytes)) {
            next = known;
            if (!next.by_row && !g.in().in_order) next.by_row = in_order_of(g.in(), w, heads);
            if (transposed && !next.by_column && !g.out().in_order) next.by_column = in_order_of(g.out(), w, heads);
        }
    } catch (const MemoryError&) {
        // Where there is no room, sums read the weights by number.
    }
    const OrderedValues result{next.by_row, transposed ? next.by_column : detail::AnyTensor()};
    const detail::FirstUse guard(kept.lock);
    if (OrderedWeights::Entry* const e = entry()) std::swap(*e, next);
    return result;
}

}  // namespace impl
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon::graph

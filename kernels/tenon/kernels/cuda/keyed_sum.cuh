// Sums of the rows that have equal keys, of a list sorted by key: out[key, :] += its rows, in a fixed order.
//
// The list is cut into chunks of a length that its size alone decides; a thread adds up one column of one chunk. A key whose
// rows all lie in one chunk is written at once; a chunk hands on the sums of what reaches beyond its borders, two rows with
// their keys, which are summed by the same kernel until one chunk is left. A key with a million rows costs no more
// than a million keys.
#pragma once

#include <tenon/kernels/cuda/sort_indices.cuh>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cuda {

// Column c = (o, i) of row k is rows[o * from_outer + order[k] * from_row + i]; of key it is out[o * to_outer + key * inner + i].
template <class Row, class Sum, class Out, class Key>
struct KeyedRows {
    const Row* rows;
    const std::uint32_t* order;  // null: row k
    const Key* keys;
    long count, chunk, chunks;
    long columns, inner, from_outer, from_row, to_outer;
    Key limit;  // keys from here on are left out
    Out* out;
    Key* next_keys;  // [2 * chunks]
    Sum* next_rows;  // [2 * chunks, columns]
};

template <class Row, class Sum, class Out, class Key>
__global__ void keyed_sum_chunks(KeyedRows<Row, Sum, Out, Key> a) {
#if TENON_DEVICE_CODE
    const long stride = static_cast<long>(gridDim.x) * blockDim.x, total = a.chunks * a.columns;
    for (long flat = static_cast<long>(blockIdx.x) * blockDim.x + threadIdx.x; flat < total; flat += stride) {
        const long chunk = flat / a.columns, column = flat - chunk * a.columns;
        const long outer = column / a.inner, i = column - outer * a.inner;
        const long first = chunk * a.chunk, last = first + a.chunk < a.count ? first + a.chunk : a.count;
        const Row* from = a.rows + outer * a.from_outer + i;
        Out* to = a.out + outer * a.to_outer + i;
        Key key = a.keys[first];
        const Key first_key = key;
        bool open = first > 0 && a.keys[first - 1] == key;  // began in an earlier chunk
        Sum sum = Sum(0), head = Sum(0);
        const auto close = [&] {
            if (open) head = sum;
            if (open || !(key < a.limit)) return;
            Out& target = to[static_cast<long>(key) * a.inner];
            target = static_cast<Out>(static_cast<Sum>(target) + sum);
        };
        for (long k = first; k < last; ++k) {
            const Key here = a.keys[k];
            if (here != key) {
                close();
                open = false;
                key = here;
                sum = Sum(0);
            }
            sum = static_cast<Sum>(sum + static_cast<Sum>(from[(a.order == nullptr ? k : static_cast<long>(a.order[k])) * a.from_row]));
        }
        const bool goes_on = last < a.count && a.keys[last] == key;
        if (!goes_on || open) close();
        if (a.chunks == 1) continue;
        // What is not there is a zero row of a key of this chunk.
        a.next_rows[2 * chunk * a.columns + column] = head;
        a.next_rows[(2 * chunk + 1) * a.columns + column] = goes_on && !open ? sum : Sum(0);
        if (column == 0) {
            a.next_keys[2 * chunk] = first_key;
            a.next_keys[2 * chunk + 1] = key;
        }
    }
#endif
}

// a: without chunks and what is handed on.
template <class Row, class Sum, class Out, class Key>
void keyed_sum(KeyedRows<Row, Sum, Out, Key> a) {
    if (a.count <= 0 || a.columns <= 0) return;
    // Threads to fill the device, and few sums to hand on.
    a.chunk = 64;
    while (a.chunk > 8 && a.count * a.columns / a.chunk < 1l << 18) a.chunk /= 2;
    a.chunks = (a.count + a.chunk - 1) / a.chunk;
    const long handed_on = a.chunks > 1 ? 2 * a.chunks : 0;
    const Scratch<Key> next_keys(handed_on);
    const Scratch<Sum> next_rows(handed_on * a.columns);
    a.next_keys = next_keys.get();
    a.next_rows = next_rows.get();
    launch("scatter", keyed_sum_chunks<Row, Sum, Out, Key>, blocks_for(a.chunks * a.columns, block_threads), block_threads, a);
    if (handed_on == 0) return;
    keyed_sum(KeyedRows<Sum, Sum, Out, Key>{next_rows.get(), nullptr, next_keys.get(), handed_on, 0, 0, a.columns, a.inner, a.inner,
                                            a.columns, a.to_outer, a.limit, a.out, nullptr, nullptr});
}

}  // namespace kernels::cuda
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

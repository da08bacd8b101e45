// Groups of threads that take a row together: what softmax, losses and normalisation are written over.
//
// A row is the middle axis of [outer, n, inner]. Where inner is 1, eight lanes, a warp or a block take one, by its length;
// else eight threads do, each every eighth element, and the 32 rows of a block are neighbours along inner, so that a warp
// reads neighbouring elements either way. The order of every sum depends on the shape alone.
#pragma once

#include <tenon/kernels/cpu/reduce.hpp>
#include <tenon/kernels/cuda/sum.cuh>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cuda {

using cpu::accumulator;

enum class Group { eight, warp, block, columns };

// Where the rows lie; there are at most 2^31 - 1 of them.
struct Rows {
    long count, n, inner;
    Divisor by_inner;

    Rows(const char* name, long outer, long length, long behind) : count(outer * behind), n(length), inner(behind) {
        if (count >= (1l << 31)) fail<ShapeError>(name, ": more than 2^31 rows");
        if (inner > 0) by_inner = Divisor(static_cast<unsigned>(inner));
    }
};

// A block's part: `per_block` rows with `lanes` threads each.
template <Group G>
struct RowGroup {
    static constexpr int lanes = G == Group::warp ? 32 : G == Group::block ? block_threads : 8;
    static constexpr int per_block = block_threads / lanes;
#if TENON_DEVICE_CODE
    // The number of the thread's row within the block, and of the thread within the row.
    TENON_HD static unsigned row() { return G == Group::columns ? threadIdx.x % 32 : threadIdx.x / lanes; }
    TENON_HD static unsigned lane() { return G == Group::columns ? threadIdx.x / 32 : threadIdx.x % lanes; }
#endif
};

#if TENON_DEVICE_CODE
__device__ inline float row_shuffle(float value, int d) { return __shfl_xor_sync(0xffffffffu, value, d); }
__device__ inline double row_shuffle(double value, int d) { return __shfl_xor_sync(0xffffffffu, value, d); }

// Combines the values of a row's threads; each of them has the result. Every thread of the block must call. combine is
// commutative to the bit.
template <Group G, class V, class Combine>
__device__ inline V row_combine(V value, Combine combine) {
    if constexpr (G == Group::columns) {
        TENON_SHARED(V, values, block_threads);
        __syncthreads();  // an earlier call's values have been read
        values[threadIdx.x] = value;
        __syncthreads();
        V total = values[threadIdx.x % 32];
        for (unsigned k = 1; k < 8; ++k) total = combine(total, values[k * 32 + threadIdx.x % 32]);
        return total;
    } else {
        constexpr int width = G == Group::eight ? 8 : 32;
        for (int d = width / 2; d > 0; d /= 2) value = combine(value, row_shuffle(value, d));
        if constexpr (G == Group::block) {
            TENON_SHARED(V, warps, block_threads / 32);
            __syncthreads();
            if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = value;
            __syncthreads();
            value = warps[0];
            for (int w = 1; w < block_threads / 32; ++w) value = combine(value, warps[w]);
        }
        return value;
    }
}
struct AddValues {
    template <class V>
    __device__ V operator()(V a, V b) const { return a + b; }
};
template <Group G, class V>
__device__ inline V row_sum(V value) { return row_combine<G>(value, AddValues()); }

// Calls f(row, offset of its first element, whether there is such a row) as often for every thread of a block.
template <Group G, class F>
__device__ inline void for_rows(const Rows& rows, F f) {
    using R = RowGroup<G>;
    for (long base = static_cast<long>(blockIdx.x) * R::per_block; base < rows.count; base += static_cast<long>(gridDim.x) * R::per_block) {
        const long r = base + R::row();
        if constexpr (G == Group::columns) {
            const unsigned o = rows.by_inner.quotient(static_cast<unsigned>(r < rows.count ? r : 0));
            f(r, static_cast<long>(o) * (rows.n - 1) * rows.inner + r, r < rows.count);
        } else {
            f(r, r * rows.n, r < rows.count);
        }
    }
}
// Calls f(k, offset from the row's first element) for the thread's elements of a row.
template <Group G, class F>
__device__ inline void for_elements(const Rows& rows, bool exists, F f) {
    using R = RowGroup<G>;
    if (!exists) return;
    for (long k = R::lane(); k < rows.n; k += R::lanes) f(k, G == Group::columns ? k * rows.inner : k);
}
#endif

// Calls run(group constant, blocks) with the group for such rows.
template <class F>
void with_row_group(const Rows& rows, F&& run) {  // inner is 1
    const auto with = [&]<Group G>(std::integral_constant<Group, G> group) { run(group, blocks_for(rows.count, RowGroup<G>::per_block)); };
    if (rows.n <= 32) with(std::integral_constant<Group, Group::eight>());
    else if (rows.n <= 1024) with(std::integral_constant<Group, Group::warp>());
    else with(std::integral_constant<Group, Group::block>());
}
template <class F>
void with_group(const Rows& rows, F&& run) {
    if (rows.inner == 1) with_row_group(rows, run);
    else run(std::integral_constant<Group, Group::columns>(), blocks_for(rows.count, RowGroup<Group::columns>::per_block));
}

// Of a row of numbers: the largest, and the sum of exponentials of their distances from it, in one pass.
template <class A>
struct Spread { A largest, sum; };
#if TENON_DEVICE_CODE
template <class A>
__device__ inline Spread<A> row_shuffle(Spread<A> s, int d) { return {row_shuffle(s.largest, d), row_shuffle(s.sum, d)}; }
template <class A>
__device__ inline Spread<A> no_spread() { return {static_cast<A>(-INFINITY), A(0)}; }
// A NaN never becomes the largest; the sum is NaN from there on.
template <class A>
__device__ inline void add_to(Spread<A>& s, A x) {
    if (x > s.largest) {
        s.sum = s.sum * math::exp(s.largest - x) + A(1);
        s.largest = x;
    } else {
        s.sum += x == s.largest ? A(1) : math::exp(x - s.largest);
    }
}
struct MergeSpreads {
    template <class A>
    __device__ Spread<A> operator()(const Spread<A>& a, const Spread<A>& b) const {
        if (a.largest == b.largest) return {a.largest, a.sum + b.sum};
        const Spread<A>&high = a.largest > b.largest ? a : b, &low = a.largest > b.largest ? b : a;
        return {high.largest, high.sum + low.sum * math::exp(low.largest - high.largest)};
    }
};
// Infinite numbers, and -inf alone, make the sum NaN.
template <Group G, class A>
__device__ inline Spread<A> row_spread(Spread<A> s) {
    s = row_combine<G>(s, MergeSpreads());
    if (!(s.largest - s.largest == A(0))) s.sum = static_cast<A>(NAN);
    return s;
}
#endif

}  // namespace kernels::cuda
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

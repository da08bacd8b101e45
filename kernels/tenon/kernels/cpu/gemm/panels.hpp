// The columns of C, cut into panels as wide as a tile, and the rows, cut into tiles.
#pragma once

#include <tenon/base/parallel.hpp>
#include <tenon/kernels/cpu/gemm/kernel_table.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {
namespace gemm_impl {

// All panels are `most` vectors wide, but a rest of one vector is shared out between the last two.
struct Panels {
    long columns, lanes, most, vectors, count;

    TENON_ALWAYS_INLINE Panels(long n, long lanes_, long most_)
        : columns(n), lanes(lanes_), most(most_), vectors((n + lanes - 1) / lanes), count((vectors + most - 1) / most) {}
    long first_vector(long panel) const {
        if (panel == count) return vectors;
        return panel * most - (panel == count - 1 && panel > 0 && vectors % most == 1 ? 1 : 0);
    }
    long first(long panel) const {
        const long column = first_vector(panel) * lanes;
        return column < columns ? column : columns;
    }
    // In vectors.
    long width(long panel) const { return first_vector(panel + 1) - first_vector(panel); }
};

// Tiles of `large` rows, then up to two of `small` rows where that wastes fewer.
struct RowTiles {
    long rows, large, small, larges, smalls;

    TENON_ALWAYS_INLINE RowTiles(long m, long large_, long small_) : rows(m), large(large_), small(small_) {
        smalls = 0;
        larges = (m + large - 1) / large;
        long best = larges * large;
        for (long s = 1; s <= 2; ++s) {
            const long rest = m > s * small ? (m - s * small + large - 1) / large : 0;
            if (rest * large + s * small < best) {
                best = rest * large + s * small;
                larges = rest;
                smalls = s;
            }
        }
    }
    long count() const { return larges + smalls; }
    long first(long tile) const { return tile < larges ? tile * large : larges * large + (tile - larges) * small; }
    long end(long tile) const {
        const long row = first(tile);
        return row < rows ? row : rows;
    }
    long height(long tile) const { return tile < larges ? large : small; }
};

// The part [first, last) of `count` things that falls to part `index` of `parts`.
struct Part {
    long first, last;
    Part(long count, long parts, long index) : first(count * index / parts), last(count * (index + 1) / parts) {}
};

// How long a product takes one thread, roughly; below serial_flops it is not worth a fork.
inline constexpr double nanoseconds_per_flop = 0.01;
inline constexpr double serial_flops = fork_nanoseconds / nanoseconds_per_flop;

}  // namespace gemm_impl
}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

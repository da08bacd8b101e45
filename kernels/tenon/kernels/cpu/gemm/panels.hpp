// The columns of C, cut into panels as wide as a tile.
#pragma once

#include <tenon/kernels/cpu/gemm/kernel_table.hpp>

namespace tenon::kernels::cpu {
inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

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

// The part [first, last) of `count` things that falls to part `index` of `parts`.
struct Part {
    long first, last;
    Part(long count, long parts, long index) : first(count * index / parts), last(count * (index + 1) / parts) {}
};

// Below this, waking a second thread costs more than it saves.
inline constexpr double serial_flops = 2e5;

}  // namespace impl
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon::kernels::cpu

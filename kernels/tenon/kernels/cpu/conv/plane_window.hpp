// A plane of an image in the first cache: the rows that some rows of results read, with the padding around them and a run of columns for
// each phase of the stride, so that every tap reads whole vectors of neighbouring columns.
#pragma once

#include <tenon/kernels/cpu/conv/planar.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {
namespace conv_impl {

// Channels of an image that a task takes.
inline constexpr long plane_group = 16;

// The padded copy of the rows that some rows of results read. Along a row there is one run for each phase of the step, element u of
// which is the source's column (u + low) * step + phase.
struct PlaneWindow {
    long row_step = 1, first = 0, reach = 0;  // source row of the first tap of result row 0; rows to the last tap's
    long step = 1, low = 0, phases = 1, run = 0, pitch = 0;

    // For all passes over one source, whose steps are the same.
    PlaneWindow(const Pass* passes, long count) {
        long last = 0, high = 0, columns = 0;
        bool any = false;
        for (long i = 0; i < count; ++i) {
            const PassAxis &x1 = passes[i].axis[1], &x2 = passes[i].axis[2];
            if (x2.grid > columns) columns = x2.grid;
            if (passes[i].taps() == 0) continue;
            const TapAxis taps(x2);
            const long end = x1.offset + (x1.taps - 1) * x1.offset_step;
            if (!any || x1.offset < first) first = x1.offset;
            if (!any || end > last) last = end;
            if (!any || taps.low < low) low = taps.low;
            if (!any || taps.high > high) high = taps.high;
            if (taps.phases > phases) phases = taps.phases;
            row_step = x1.in_step;
            step = x2.in_step;
            any = true;
        }
        reach = last - first;
        // The lanes behind the last column read zeros.
        run = (columns + 15) / 16 * 16 + high - low;
        pitch = phases * run;
    }
    long rows(long results) const { return (results - 1) * row_step + reach + 1; }
    // Where tap j of a pass, counted over the two axes, finds what it reads for row 0 and column 0.
    long at(const Pass& pass, long j) const {
        const PassAxis &x1 = pass.axis[1], &x2 = pass.axis[2];
        const long j1 = j / x2.taps, j2 = j % x2.taps, phase = phases > 1 ? TapAxis::phase(x2, j2) : 0;
        return (x1.offset + j1 * x1.offset_step - first) * pitch + phase * run + TapAxis::shift(x2, j2) - low;
    }
};

// to[i] = from[2 * i], and the other way round to[2 * i] = even[i], to[2 * i + 1] = odd[i].
template <class T, int L>
TENON_ALWAYS_INLINE void take_every_second(T* to, const T* from, long count) {
    long i = 0;
    if constexpr (sizeof(T) == 4 && L >= 4) {
        constexpr int H = L / 2;
        const auto move = [&](long at) __attribute__((always_inline)) {
            using Pairs = simd<std::uint64_t, H>;
            using Pair = typename Pairs::Unaligned;
            const Pairs pairs{typename Pairs::Raw(*reinterpret_cast<const Pair*>(from + 2 * at))};
            convert<std::uint32_t>(pairs).store(reinterpret_cast<std::uint32_t*>(to + at));
        };
        // The last pair may end behind the row.
        for (; i + H < count; i += H) move(i);
        if (count > H && i < count - 1) {
            move(count - 1 - H);
            i = count - 1;
        }
    }
    for (; i < count; ++i) to[i] = from[2 * i];
}
template <class T, int L>
TENON_ALWAYS_INLINE void put_alternately(T* to, const T* even, const T* odd, long evens, long odds) {
    long i = 0;
    if constexpr (sizeof(T) == 4 && L >= 4) {
        constexpr int H = L / 2;
        using Words = simd<std::uint32_t, H>;
        using Pairs = simd<std::uint64_t, H>;
        for (; i + H <= odds; i += H) {
            const Words e = Words::load(reinterpret_cast<const std::uint32_t*>(even + i)),
                        o = Words::load(reinterpret_cast<const std::uint32_t*>(odd + i));
            const Pairs pairs{typename Pairs::Raw(convert<std::uint64_t>(e).v | convert<std::uint64_t>(o).v << 32)};
            *reinterpret_cast<typename Pairs::Unaligned*>(to + 2 * i) = pairs.v;
        }
    }
    for (; i < odds; ++i) {
        to[2 * i] = even[i];
        to[2 * i + 1] = odd[i];
    }
    if (evens > odds) to[2 * odds] = even[odds];
}

// A plane of images: its element (0, 0), the distance of its rows, its sizes.
template <class T>
struct Plane {
    const T* data;
    long row, rows, columns;
};

// Copies what of the rows `first` ... of a plane exists; the padding has been zeroed before.
template <class T, int L>
TENON_ALWAYS_INLINE void fill_window(const PlaneWindow& window, const Plane<T>& plane, long first, long rows, T* to) {
    const long start = first < 0 ? -first : 0, stop = plane.rows - first < rows ? plane.rows - first : rows, step = window.step;
    for (long p = 0; p < window.phases; ++p) {
        const long at = window.low * step + p, left = plane.columns - at;
        long begin = at >= 0 ? 0 : (-at + step - 1) / step, end = left <= 0 ? 0 : (left + step - 1) / step;
        if (end > window.run) end = window.run;
        if (begin >= end) continue;
        T* out = to + start * window.pitch + p * window.run + begin;
        const T* from = plane.data + (first + start) * plane.row + at + begin * step;
        for (long s = start; s < stop; ++s, out += window.pitch, from += plane.row) {
            if (step == 1) {
                copy_run<T, L>(out, from, end - begin);
            } else if (step == 2) {
                take_every_second<T, L>(out, from, end - begin);
            } else {
                for (long u = 0; u < end - begin; ++u) out[u] = from[u * step];
            }
        }
    }
}

// What the next plane reads, and reads or writes, is fetched while this one is computed: its pages are others, and the hardware does
// not look ahead across them.
struct NextPlane {
    Ahead first, second;
    template <class T>
    static TENON_ALWAYS_INLINE Ahead of(const T* data, long row, long rows, long columns, long steps) {
        return row == columns ? Ahead(data, 0, rows * columns, 1, steps) : Ahead(data, row, columns, rows, steps);
    }
    TENON_ALWAYS_INLINE void step() {
        first.step();
        second.step();
    }
};

// Rows of results whose source takes a third of the first cache.
inline long plane_rows(const PlaneWindow& window, long grid, long value_size) {
    if (grid < 1) return 1;
    const long most = (16 << 10) / (window.pitch * value_size) - window.reach,
               rows = most / window.row_step < 8 ? 8 : most / window.row_step;
    const long blocks = (grid + rows - 1) / rows;
    return blocks < 2 ? grid : (grid + blocks - 1) / blocks;
}

}  // namespace conv_impl
}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

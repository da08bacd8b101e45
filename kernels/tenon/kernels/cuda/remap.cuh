// Moving whole axes on the device: padding, flipping, rolling, tiling, repeating (cpu/remap.hpp), and the transpose.
//
// Runs that follow one another evenly (tiles, repeats) are one family: run r is shifted by r * to_step in the result and by
// r * from_step in the tensor. So an axis is a few families, which travel with the launch; any others are copied to
// the device. A thread makes one element: of the result by looking up one position per axis; of the gradient by adding up
// all that show it, in order.
#pragma once

#include <tenon/kernels/cpu/remap.hpp>
#include <tenon/kernels/cuda/sum.cuh>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cuda {

using cpu::AxisTable;
using cpu::RemapRun;

struct RemapFamily {
    long to, from, length, step;  // the first run; from -1: the fill value
    long repeats, from_step;
    Divisor to_step;
};
inline constexpr int remap_families = 3;
struct RemapAxis {
    Divisor to, from;  // sizes
    int count;         // of families; 0: every position shows itself
    RemapFamily own[remap_families];
    const RemapFamily* many;  // on the device, ascending; null: own
};
struct RemapSpace {
    RemapAxis axes[cpu::remap_max_rank];
    long first;          // position along the first axis that this launch begins with
    unsigned elements;   // that it makes
};

#if TENON_DEVICE_CODE
__device__ inline const RemapFamily& remap_family(const RemapAxis& a, int f) { return a.many != nullptr ? a.many[f] : a.own[f]; }
// What position i of the result shows, or -1.
__device__ inline long remap_source(const RemapAxis& a, long i) {
    if (a.count == 0) return i;
    int low = 0, high = a.count - 1;  // the last family that begins at i or before
    while (low < high) {
        const int middle = (low + high + 1) / 2;
        if (remap_family(a, middle).to <= i) low = middle;
        else high = middle - 1;
    }
    const RemapFamily& f = remap_family(a, low);
    if (f.from < 0) return -1;
    const unsigned at = static_cast<unsigned>(i - f.to), r = f.repeats > 1 ? f.to_step.quotient(at) : 0u;
    return f.from + r * f.from_step + static_cast<long>(at - r * f.to_step.divisor) * f.step;
}
// The positions start, start + stride, ... of the result where family f shows position j; returns their number.
__device__ inline long remap_shown(const RemapFamily& f, long j, long& start, long& stride) {
    if (f.from < 0) return 0;
    if (f.step == 0) {
        // Of run r alone, if any.
        const long r = f.from_step == 0 ? 0 : (j - f.from) / f.from_step;
        if (r < 0 || r >= f.repeats || f.from + r * f.from_step != j) return 0;
        start = f.to + r * f.to_step.divisor;
        stride = 1;
        return f.from_step == 0 ? f.length * f.repeats : f.length;
    }
    const long t = (j - f.from) * f.step;  // the step is 1 or -1
    if (t < 0 || t >= f.length) return 0;
    start = f.to + t;
    stride = f.to_step.divisor;
    return f.repeats;
}
#endif

// Rank: of the axes that are looked at, known to the compiler, which keeps their state in registers; those beyond the
// tensor's have one element.
template <int Rank, class T>
__global__ void remap_elements(RemapSpace s, const T* x, T fill, T* y) {
#if TENON_DEVICE_CODE
    for (unsigned k = blockIdx.x * blockDim.x + threadIdx.x; k < s.elements; k += gridDim.x * blockDim.x) {
        long source = 0, scale = 1;
        unsigned rest = k;
        bool shown = true;
        for (int d = Rank - 1; d >= 0; --d) {
            const unsigned before = d > 0 ? s.axes[d].to.quotient(rest) : 0u;
            const long at = remap_source(s.axes[d], (d > 0 ? 0 : s.first) + static_cast<long>(rest - before * s.axes[d].to.divisor));
            shown = shown && at >= 0;
            source += at * scale;
            scale *= s.axes[d].from.divisor;
            rest = before;
        }
        y[k] = shown ? x[source] : fill;
    }
#endif
}
template <int Rank, class T>
__global__ void remap_gradients(RemapSpace s, const T* dy, T* dx, bool accumulate) {
#if TENON_DEVICE_CODE
    using A = typename cpu::impl::sum_type<T>::type;
    for (unsigned k = blockIdx.x * blockDim.x + threadIdx.x; k < s.elements; k += gridDim.x * blockDim.x) {
        long position[Rank], scale[Rank];
        // Per axis: the family at work, and where it stands in its positions.
        int family[Rank] = {};
        long start[Rank], stride[Rank], count[Rank], at[Rank];
        unsigned rest = k;
        long size = 1;
        for (int d = Rank - 1; d >= 0; --d) {
            const unsigned before = d > 0 ? s.axes[d].from.quotient(rest) : 0u;
            position[d] = (d > 0 ? 0 : s.first) + static_cast<long>(rest - before * s.axes[d].from.divisor);
            scale[d] = size;
            size *= s.axes[d].to.divisor;
            rest = before;
        }
        // The next family of an axis that shows the position, from family[d] on.
        const auto settle = [&](int d) {
            const RemapAxis& a = s.axes[d];
            at[d] = 0;
            if (a.count == 0) {
                start[d] = position[d];
                stride[d] = 0;
                count[d] = family[d] == 0 ? 1 : 0;
                return count[d] > 0;
            }
            for (; family[d] < a.count; ++family[d]) {
                count[d] = remap_shown(remap_family(a, family[d]), position[d], start[d], stride[d]);
                if (count[d] > 0) return true;
            }
            return false;
        };
        const auto begin = [&](int d) {
            family[d] = 0;
            return settle(d);
        };
        bool any = true;
        for (int d = 0; d < Rank; ++d) any = begin(d) && any;
        A sum = A(0);
        while (any) {
            long from = 0;
            for (int d = 0; d < Rank; ++d) from += (start[d] + at[d] * stride[d]) * scale[d];
            sum = static_cast<A>(sum + static_cast<A>(dy[from]));
            int d = Rank - 1;
            for (; d >= 0; --d) {
                if (++at[d] < count[d]) break;
                ++family[d];
                if (settle(d)) break;
                begin(d);
            }
            any = d >= 0;
        }
        dx[k] = static_cast<T>(accumulate ? static_cast<A>(static_cast<A>(dx[k]) + sum) : sum);
    }
#endif
}

namespace remap_impl {

// The families of an axis; returns their number. With families = null they are counted only.
inline int find_families(const AxisTable& a, RemapFamily* families) {
    int count = 0;
    const auto run_at = [&](long r) {
        if (a.runs != nullptr) return a.runs[r];
        const long source = static_cast<long>(a.source[r]);
        return RemapRun{r, source < 0 ? -1 : source, 1, 1};
    };
    const long runs = a.runs != nullptr ? a.run_count : a.to;
    for (long r = 0; r < runs;) {
        const RemapRun first = run_at(r);
        // Neighbours one by one are a run.
        if (first.length == 1 && first.from >= 0) {
            long length = 1;
            while (r + length < runs && run_at(r + length).length == 1 && run_at(r + length).from == first.from + length) ++length;
            if (length > 1) {
                if (families != nullptr) families[count] = {first.to, first.from, length, 1, 1, 0, Divisor(static_cast<unsigned>(length))};
                ++count;
                r += length;
                continue;
            }
        }
        long repeats = 1, from_step = 0;
        const auto alike = [&](const RemapRun& b) {
            return b.length == first.length && b.step == first.step && (b.from < 0) == (first.from < 0);
        };
        if (r + 1 < runs && first.from >= 0 && alike(run_at(r + 1))) {
            from_step = run_at(r + 1).from - first.from;
            // Tiles show the same places again, repeats one place after the other.
            if (first.step != 0 ? from_step == 0 : from_step != 0)
                while (r + repeats < runs && alike(run_at(r + repeats)) && run_at(r + repeats).from == first.from + repeats * from_step)
                    ++repeats;
        }
        if (families != nullptr)
            families[count] = {first.to,  first.from, first.length, first.step,
                               repeats,   from_step,  Divisor(static_cast<unsigned>(first.length))};
        ++count;
        r += repeats;
    }
    return count;
}

// All axes of a plan; keeps the tables that had to be copied.
class Space {
public:
    Space(int rank, const AxisTable* tables, bool transposed) {
        // Axes that show themselves are merged with their neighbours.
        AxisTable axes[cpu::remap_max_rank];
        int n = 0;
        for (int d = 0; d < rank; ++d) {
            if (!tables[d].moves() && tables[d].to == 1) continue;
            if (n > 0 && !axes[n - 1].moves() && !tables[d].moves() && axes[n - 1].to * tables[d].to < 1l << 30) {
                axes[n - 1].to *= tables[d].to;
                axes[n - 1].from *= tables[d].from;
            } else {
                axes[n++] = tables[d];
            }
        }
        if (n == 0) axes[n++] = AxisTable{};
        rank_ = n;
        for (int d = n; d < cpu::remap_max_rank; ++d) {
            space.axes[d].to = space.axes[d].from = Divisor(1u);
            space.axes[d].count = 0;
            space.axes[d].many = nullptr;
        }
        long families = 0;
        for (int d = 0; d < n; ++d) {
            if (axes[d].to >= 1l << 31 || axes[d].from >= 1l << 31) fail<ShapeError>("remap: an axis of more than 2^31 elements");
            RemapAxis& a = space.axes[d];
            a.to = Divisor(static_cast<unsigned>(axes[d].to));
            a.from = Divisor(static_cast<unsigned>(axes[d].from));
            a.many = nullptr;
            a.count = axes[d].moves() ? find_families(axes[d], nullptr) : 0;
            // An axis of nothing but what was cut off.
            if (axes[d].moves() && a.count == 0) {
                a.own[0] = {0, -1, axes[d].to, 0, 1, 0, Divisor(1u)};
                a.count = 1;
            } else if (a.count <= remap_families) {
                if (a.count > 0) find_families(axes[d], a.own);
            } else {
                families += a.count;
            }
            first_size = d == 0 ? (transposed ? axes[d].from : axes[d].to) : first_size;
            inner *= d == 0 ? 1 : transposed ? axes[d].from : axes[d].to;
        }
        if (inner > 1l << 30) fail<ShapeError>("remap: more than 2^30 elements behind the first axis");
        if (families == 0) return;
        many_ = new Scratch<RemapFamily>(families);
        const cpu::impl::Scratch<RemapFamily> host(families);
        long at = 0;
        for (int d = 0; d < n; ++d) {
            if (space.axes[d].count <= remap_families) continue;
            find_families(axes[d], host.data() + at);
            space.axes[d].many = many_->get() + at;
            at += space.axes[d].count;
        }
        cuda_detail::copy_in(cuda_detail::current_device(), many_->get(), host.data(), static_cast<std::size_t>(families) * sizeof(RemapFamily));
    }
    Space(const Space&) = delete;
    Space& operator=(const Space&) = delete;
    ~Space() { delete many_; }

    // Calls f(rank for the kernel, space, elements before) for pieces of at most 2^30 elements.
    template <class F>
    void each_piece(F f) {
        if (inner <= 0) return;
        const long step = (1l << 30) / inner;
        for (long first = 0; first < first_size; first += step) {
            space.first = first;
            space.elements = static_cast<unsigned>((first_size - first < step ? first_size - first : step) * inner);
            if (rank_ <= 3) f(std::integral_constant<int, 3>(), space, first * inner);
            else f(std::integral_constant<int, cpu::remap_max_rank>(), space, first * inner);
        }
    }

    RemapSpace space;
    long first_size = 1, inner = 1;

private:
    int rank_ = 0;
    Scratch<RemapFamily>* many_ = nullptr;
};

}  // namespace remap_impl

// y[i, j, ...] = x[axes[0].source[i], axes[1].source[j], ...], or fill where one of them is -1; the tables lie on the host.
template <class T>
void remap(int rank, const AxisTable* axes, const T* x, T fill, T* y) {
    remap_impl::Space space(rank, axes, false);
    space.each_piece([&]<int Rank>(std::integral_constant<int, Rank>, const RemapSpace& s, long before) {
        launch("remap", remap_elements<Rank, T>, blocks_for(s.elements, block_threads), block_threads, s, x, fill, y + before);
    });
}
// dx[source...] += dy[...] over all positions that show something. With accumulate = false dx is overwritten.
template <class T>
void remap_transposed(int rank, const AxisTable* axes, const T* dy, T* dx, bool accumulate) {
    remap_impl::Space space(rank, axes, true);
    space.each_piece([&]<int Rank>(std::integral_constant<int, Rank>, const RemapSpace& s, long before) {
        launch("remap", remap_gradients<Rank, T>, blocks_for(s.elements, block_threads), block_threads, s, dy, dx + before, accumulate);
    });
}

}  // namespace kernels::cuda
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

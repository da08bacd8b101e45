// Moving whole axes: y[i, j, ...] = x[row(i), column(j), ...] for a table of source positions per axis, and the transpose
// of that. Padding, flipping, rolling, tiling and repeating are such tables.
#pragma once

#include <tenon/kernels/cpu/gather.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

inline constexpr int remap_max_rank = 8;

// Positions [to, to + length) show from, from + step, ...; step is 1, -1 or 0, and from is -1 for the fill value.
struct RemapRun { long to, from, length, step; };

// One axis: `to` positions of the result, each showing one of the `from` positions of the tensor, or the fill value. Which
// is said by runs, one after the other; or by source[i], -1 for the fill value; with neither every position shows itself
// (from == to).
struct AxisTable {
    long from = 1, to = 1;
    const std::int64_t* source = nullptr;
    const RemapRun* runs = nullptr;
    long run_count = 0;
    bool moves() const { return source != nullptr || runs != nullptr; }
};

namespace reference {

// The plain versions: one element after the other.
template <class T>
void remap(int rank, const AxisTable* axes, const T* x, T fill, T* y) {
    if (rank == 0) {
        *y = *x;
        return;
    }
    long x_inner = 1, y_inner = 1;
    for (int d = 1; d < rank; ++d) {
        x_inner *= axes[d].from;
        y_inner *= axes[d].to;
    }
    for (long i = 0; i < axes[0].to; ++i) {
        const long at = axes[0].source == nullptr ? i : static_cast<long>(axes[0].source[i]);
        if (at >= 0) reference::remap(rank - 1, axes + 1, x + at * x_inner, fill, y + i * y_inner);
        else
            for (long k = 0; k < y_inner; ++k) y[i * y_inner + k] = fill;
    }
}
// dx += the transpose of remap, of dy.
template <class T>
void remap_transposed(int rank, const AxisTable* axes, const T* dy, T* dx) {
    if (rank == 0) {
        *dx = static_cast<T>(*dx + *dy);
        return;
    }
    long x_inner = 1, y_inner = 1;
    for (int d = 1; d < rank; ++d) {
        x_inner *= axes[d].from;
        y_inner *= axes[d].to;
    }
    for (long i = 0; i < axes[0].to; ++i) {
        const long at = axes[0].source == nullptr ? i : static_cast<long>(axes[0].source[i]);
        if (at >= 0) remap_transposed(rank - 1, axes + 1, dy + i * y_inner, dx + at * x_inner);
    }
}

}  // namespace reference

namespace impl {

// to[i] += from[i], to[i] += from[-i].
struct AddRunBody {
    template <int Lanes, class T>
    static TENON_ALWAYS_INLINE void run(T* to, const T* from, long count, bool backwards) {
        using A = typename sum_type<T>::type;
        if (backwards) {
            for (long i = 0; i < count; ++i) to[i] = static_cast<T>(static_cast<A>(to[i]) + static_cast<A>(from[-i]));
            return;
        }
        constexpr int N = move_lanes<A, Lanes>;
        long i = 0;
        for (; i + N <= count; i += N) move_store<A, N>(to + i, move_load<A, N>(to + i, N) + move_load<A, N>(from + i, N), N);
        for (; i < count; ++i) to[i] = static_cast<T>(static_cast<A>(to[i]) + static_cast<A>(from[i]));
    }
};
template <class T>
T add_up(const T* p, long count) {
    using A = typename sum_type<T>::type;
    A total = 0;
    for (long i = 0; i < count; ++i) total += static_cast<A>(p[i]);
    return static_cast<T>(total);
}

// to[-i] = from[i]: vectors are turned in registers.
template <class T>
struct ReverseBody {
    template <int Lanes>
    static TENON_ALWAYS_INLINE void run(T* to, const T* from, long count) {
        long i = 0;
        if constexpr (sizeof(T) == 4 || sizeof(T) == 8) {
            constexpr int N = 32 / int(sizeof(T));
            using U = typename tenon::impl::int_of<sizeof(T)>::type;
            typedef typename simd<U, N>::Unaligned V;
            for (; i + N <= count; i += N) {
                const typename simd<U, N>::Raw v = *reinterpret_cast<const V*>(from + i);
                if constexpr (N == 8) *reinterpret_cast<V*>(to - i - (N - 1)) = __builtin_shufflevector(v, v, 7, 6, 5, 4, 3, 2, 1, 0);
                else *reinterpret_cast<V*>(to - i - (N - 1)) = __builtin_shufflevector(v, v, 3, 2, 1, 0);
            }
        }
        for (; i < count; ++i) to[-i] = from[i];
    }
};

// Axes that show themselves are merged with their neighbours; what is left ends in an axis with a list of runs, and the
// others have a table.
struct RemapPlan {
    int rank = 0;
    AxisTable axes[remap_max_rank + 1];
    long outer_to = 1, outer_from = 1;  // rows of y, of x
    long last_to = 1, last_from = 1;
    const RemapRun* runs = nullptr;
    long run_count = 0;
    bool onto = true;  // the runs show every position of x's last axis exactly once

    RemapPlan(int given, const AxisTable* tables) {
        for (int d = 0; d < given; ++d) {
            if (!tables[d].moves() && tables[d].to == 1) continue;
            if (rank > 0 && !axes[rank - 1].moves() && !tables[d].moves()) {
                axes[rank - 1].to *= tables[d].to;
                axes[rank - 1].from *= tables[d].from;
            } else {
                axes[rank++] = tables[d];
            }
        }
        if (rank == 0) axes[rank++] = AxisTable{};
        const AxisTable& last = axes[rank - 1];
        long room = 0;
        for (int d = 0; d < rank - 1; ++d) {
            outer_to *= axes[d].to;
            outer_from *= axes[d].from;
            if (axes[d].runs != nullptr) room += axes[d].to;
        }
        last_to = last.to;
        last_from = last.from;
        if (room > 0) {
            std::int64_t* table = static_cast<std::int64_t*>(allocate(static_cast<std::size_t>(room) * sizeof(std::int64_t), tables_));
            for (int d = 0; d < rank - 1; ++d) {
                if (axes[d].runs == nullptr) continue;
                for (long r = 0; r < axes[d].run_count; ++r) {
                    const RemapRun& run = axes[d].runs[r];
                    for (long i = 0; i < run.length; ++i) table[run.to + i] = run.from < 0 ? -1 : run.from + i * run.step;
                }
                axes[d].source = table;
                table += axes[d].to;
            }
        }
        if (last.runs != nullptr) {
            runs = last.runs;
            run_count = last.run_count;
        } else if (last.source == nullptr) {
            RemapRun* own = static_cast<RemapRun*>(allocate(sizeof(RemapRun), runs_));
            own[0] = {0, 0, last.to, 1};
            runs = own;
            run_count = 1;
            return;
        } else {
            find_runs(last);
        }
        // Shown exactly once: as many positions as x has, in runs that do not overlap. (Of many runs that is not asked.)
        long shown = 0;
        onto = run_count <= 8;
        for (long r = 0; r < run_count && onto; ++r) {
            if (runs[r].from < 0) continue;
            shown += runs[r].length;
            if (runs[r].step == 0 && runs[r].length > 1) onto = false;
            for (long q = 0; q < r; ++q)
                if (runs[q].from >= 0 && lowest(runs[r]) <= lowest(runs[q]) + runs[q].length - 1 && lowest(runs[q]) <= lowest(runs[r]) + runs[r].length - 1)
                    onto = false;
        }
        if (shown != last.from) onto = false;
    }
    RemapPlan(const RemapPlan&) = delete;
    RemapPlan& operator=(const RemapPlan&) = delete;
    ~RemapPlan() {
        std::free(runs_);
        std::free(tables_);
    }

private:
    static void* allocate(std::size_t bytes, void*& owner) {
        owner = std::malloc(bytes);
        if (owner == nullptr) fail<MemoryError>("out of memory for ", bytes, " bytes of a plan");
        return owner;
    }
    static long lowest(const RemapRun& run) { return run.step < 0 ? run.from - (run.length - 1) : run.from; }
    // Counted first, then filled in.
    void find_runs(const AxisTable& axis) {
        for (int pass = 0; pass < 2; ++pass) {
            RemapRun* own = static_cast<RemapRun*>(runs_);
            long count = 0;
            for (long i = 0; i < axis.to;) {
                const long from = static_cast<long>(axis.source[i]);
                long step = 0, length = 1;
                if (i + 1 < axis.to) {
                    const long next = static_cast<long>(axis.source[i + 1]);
                    if (from < 0 ? next < 0 : next >= 0 && next - from >= -1 && next - from <= 1) {
                        step = from < 0 ? 0 : next - from;
                        while (i + length < axis.to && axis.source[i + length] == (from < 0 ? -1 : from + length * step) &&
                               (from < 0 || axis.source[i + length] >= 0))
                            ++length;
                    }
                }
                if (pass == 1) own[count] = {i, from < 0 ? -1 : from, length, length == 1 ? 1 : step};
                ++count;
                i += length;
            }
            if (pass == 1) break;
            allocate(sizeof(RemapRun) * static_cast<std::size_t>(count > 0 ? count : 1), runs_);
            run_count = count;
        }
        runs = static_cast<const RemapRun*>(runs_);
    }

    void *runs_ = nullptr, *tables_ = nullptr;
};

}  // namespace impl

// y[i, j, ...] = x[axes[0].source[i], axes[1].source[j], ...], or fill where one of them is -1. x and y are contiguous.
// Row by row, the last axis in runs that are one memcpy each.
template <class T>
void remap(int rank, const AxisTable* axes, const T* x, T fill, T* y) {
    const impl::RemapPlan plan(rank, axes);
    if (plan.outer_to <= 0 || plan.last_to <= 0) return;
    // A few long rows are cut into pieces at the runs' own borders or inside of them.
    const long piece = impl::move_bytes / static_cast<long>(sizeof(T));
    const long pieces = plan.last_to > 2 * piece ? (plan.last_to + piece - 1) / piece : 1;
    const long group = pieces > 1 || plan.last_to >= piece ? 1 : piece / plan.last_to;
    const long tasks = (plan.outer_to + group - 1) / group * pieces;
    parallel_for(tasks, [&](long task) {
        const long first = task / pieces * group, last = first + group < plan.outer_to ? first + group : plan.outer_to;
        const long begin = pieces > 1 ? task % pieces * piece : 0;
        const long end = pieces > 1 && begin + piece < plan.last_to ? begin + piece : plan.last_to;
        // The first run that reaches into the piece.
        long low = 0, high = plan.run_count;
        while (low < high) {
            const long middle = (low + high) / 2;
            if (plan.runs[middle].to + plan.runs[middle].length <= begin) low = middle + 1;
            else high = middle;
        }
        long at[remap_max_rank + 1], rest = first;
        for (int d = plan.rank - 2; d >= 0; --d) {
            at[d] = rest % plan.axes[d].to;
            rest /= plan.axes[d].to;
        }
        for (long row = first; row < last; ++row) {
            long source = 0;
            for (int d = 0; d < plan.rank - 1 && source >= 0; ++d) {
                const long here = plan.axes[d].source == nullptr ? at[d] : static_cast<long>(plan.axes[d].source[at[d]]);
                source = here < 0 ? -1 : source * plan.axes[d].from + here;
            }
            T* to = y + row * plan.last_to;
            if (source < 0) {
                for (long i = begin; i < end; ++i) to[i] = fill;
            } else {
                const T* from = x + source * plan.last_from;
                for (long r = low; r < plan.run_count && plan.runs[r].to < end; ++r) {
                    RemapRun run = plan.runs[r];
                    if (run.to < begin) {
                        const long cut = begin - run.to;
                        if (run.from >= 0) run.from += cut * run.step;
                        run.to += cut;
                        run.length -= cut;
                    }
                    if (run.to + run.length > end) run.length = end - run.to;
                    if (run.from < 0 || run.step == 0) {
                        const T value = run.from < 0 ? fill : from[run.from];
                        for (long i = 0; i < run.length; ++i) to[run.to + i] = value;
                    } else if (run.length == 1) {
                        to[run.to] = from[run.from];
                    } else if (run.step == 1) {
                        __builtin_memcpy(static_cast<void*>(to + run.to), from + run.from, static_cast<std::size_t>(run.length) * sizeof(T));
                    } else {
                        const T* start = from + run.from - (run.length - 1);
                        dispatch<impl::ReverseBody<T>, Isa::avx2>(to + run.to + run.length - 1, start, run.length);
                    }
                }
            }
            for (int d = plan.rank - 2; d >= 0; --d) {
                if (++at[d] < plan.axes[d].to) break;
                at[d] = 0;
            }
        }
    });
}

// dx[source...] += dy[...] over all positions that show something: the transpose of remap. With accumulate = false dx is
// overwritten. Every row of dx collects the rows of dy that show it, in their order, so that threads change nothing.
template <class T>
void remap_transposed(int rank, const AxisTable* axes, const T* dy, T* dx, bool accumulate) {
    const impl::RemapPlan plan(rank, axes);
    if (plan.outer_from <= 0 || plan.last_from <= 0) return;
    const int outer = plan.rank - 1;
    // Per outer axis: which positions of y show position j of x, ascending: show[d][start[d][j]] ... show[d][start[d][j + 1]].
    long room = 0;
    for (int d = 0; d < outer; ++d) room += plan.axes[d].from + 1 + plan.axes[d].to;
    const impl::Scratch<std::int64_t> memory(room);
    std::int64_t *start[remap_max_rank + 1], *show[remap_max_rank + 1], *free = memory.data();
    for (int d = 0; d < outer; ++d) {
        const AxisTable& a = plan.axes[d];
        start[d] = free;
        show[d] = start[d] + a.from + 1;
        free = show[d] + a.to;
        for (long j = 0; j <= a.from; ++j) start[d][j] = a.moves() ? 0 : j;
        if (!a.moves()) {
            for (long i = 0; i < a.to; ++i) show[d][i] = i;
            continue;
        }
        for (long i = 0; i < a.to; ++i)
            if (a.source[i] >= 0) ++start[d][a.source[i] + 1];
        for (long j = 0; j < a.from; ++j) start[d][j + 1] += start[d][j];
        for (long i = a.to - 1; i >= 0; --i) {
            // Filled from behind: the ends serve as counters, and the order stays.
            if (a.source[i] >= 0) show[d][--start[d][a.source[i] + 1]] = i;
        }
        // Every start[j + 1] has come down to the start of j: shift.
        for (long j = 0; j < a.from; ++j) start[d][j] = start[d][j + 1];
        long shown = 0;
        for (long i = 0; i < a.to; ++i) shown += a.source[i] >= 0 ? 1 : 0;
        start[d][a.from] = shown;
    }
    const long piece = impl::move_bytes / static_cast<long>(sizeof(T));
    const long work = plan.last_to > plan.last_from ? plan.last_to : plan.last_from;
    const long group = work >= piece ? 1 : piece / work;
    parallel_for((plan.outer_from + group - 1) / group, [&](long task) {
        const long first = task * group, last = first + group < plan.outer_from ? first + group : plan.outer_from;
        for (long row = first; row < last; ++row) {
            long at[remap_max_rank + 1], from[remap_max_rank + 1], to[remap_max_rank + 1], rest = row;
            bool any = plan.last_to > 0;
            for (int d = outer - 1; d >= 0; --d) {
                const long j = rest % plan.axes[d].from;
                rest /= plan.axes[d].from;
                from[d] = static_cast<long>(start[d][j]);
                to[d] = static_cast<long>(start[d][j + 1]);
                at[d] = from[d];
                any = any && from[d] < to[d];
            }
            T* target = dx + row * plan.last_from;
            bool write = !accumulate && plan.onto && any;
            if (!accumulate && !write) std::memset(static_cast<void*>(target), 0, static_cast<std::size_t>(plan.last_from) * sizeof(T));
            while (any) {
                long source = 0;
                for (int d = 0; d < outer; ++d) source = source * plan.axes[d].to + static_cast<long>(show[d][at[d]]);
                const T* given = dy + source * plan.last_to;
                for (long r = 0; r < plan.run_count; ++r) {
                    const RemapRun& run = plan.runs[r];
                    if (run.from < 0) continue;
                    if (run.step == 0) {
                        target[run.from] = static_cast<T>(target[run.from] + impl::add_up(given + run.to, run.length));
                    } else if (run.step == 1) {
                        if (write)
                            __builtin_memcpy(static_cast<void*>(target + run.from), given + run.to, static_cast<std::size_t>(run.length) * sizeof(T));
                        else dispatch<impl::AddRunBody, Isa::avx2>(target + run.from, given + run.to, run.length, false);
                    } else {
                        T* start_of = target + run.from - (run.length - 1);
                        const T* end_of = given + run.to + run.length - 1;
                        if (write) dispatch<impl::ReverseBody<T>, Isa::avx2>(start_of + run.length - 1, given + run.to, run.length);
                        else dispatch<impl::AddRunBody, Isa::avx2>(start_of, end_of, run.length, true);
                    }
                }
                write = false;
                int d = outer - 1;
                for (; d >= 0; --d) {
                    if (++at[d] < to[d]) break;
                    at[d] = from[d];
                }
                any = d >= 0;
            }
        }
    });
}

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

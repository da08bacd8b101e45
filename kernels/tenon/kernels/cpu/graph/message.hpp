// Messages along the edges of a graph, each a formula of what its source, its target and itself have, brought together at the
// targets. A message lives in registers: forward folds it at once, backward computes it again.
//
// The formula comes as a type M: M::leaves operands, M::gather(k) says whose row operand k reads, M::value and M::derive run it
// over a vector of columns in a context that reads the operands and takes their gradients.
#pragma once

#include <tenon/base/simd_math.hpp>
#include <tenon/kernels/cpu/graph/rows.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

// Whose row of an operand a message reads; whole: the same one for all.
enum class Gather : unsigned char { source, target, edge, whole };
enum class MessageFold : unsigned char { sum, mean, max, min, product, std_dev, softmax_sum };

constexpr bool is_extreme(MessageFold fold) { return fold == MessageFold::max || fold == MessageFold::min; }
// Rows of [targets, outer, inner] that backward needs of forward.
constexpr int statistics_of(MessageFold fold) {
    return fold == MessageFold::product || fold == MessageFold::std_dev ? 2 : fold == MessageFold::softmax_sum ? 3 : 0;
}

// A standard deviation that is this part of the mean, or less, is what rounding makes of equal messages: it counts as 0.
template <class A>
TENON_HD constexpr A spread_limit() { return sizeof(A) == 4 ? A(0x1p-21) : A(0x1p-50); }

inline constexpr int max_message_operands = 8;

// Elements from one row (outer index, inner index) to the next; inner is 0 or 1.
struct MessageOperand {
    const char* data = nullptr;
    int size = 4;  // bytes of an element
    long rows = 1, row = 0, outer = 0, inner = 0;
};
// Where the gradient of an operand goes: rows of [outer, inner] numbers of the type that messages compute in, or (narrow, of
// edges only) of [outer]. data null: it is not wanted.
struct MessageTarget {
    char* data = nullptr;
    bool add = false, narrow = false;
};
struct MessageProblem {
    CsrRows a;  // rows are targets; in the second half of backward sources
    long outer = 1, inner = 1, targets = 0;
    const char* parameters = nullptr;
    MessageOperand operands[max_message_operands];
    char* y = nullptr;                // [targets, outer, inner]
    std::int32_t* chosen = nullptr;   // of extremes, the same sizes: numbers of edges; null: not wanted
    char* statistics = nullptr;       // [statistics, targets, outer, inner] in the type of the computation; null: not wanted
    const char* dy = nullptr;         // of a mean: divided already
    MessageTarget gradients[max_message_operands];

    TENON_HD long columns() const { return outer * inner; }
};

namespace reference {

// message(source, target, edge, column), in double.
template <class F>
void message_aggregate(const CsrRows& a, MessageFold fold, long columns, F&& message, double* y) {
    for (long r = 0; r < a.rows; ++r)
        for (long j = 0; j < columns; ++j) {
            const long begin = a.begin(r), end = a.end(r);
            const auto m = [&](long k) { return message(static_cast<long>(a.columns[k]), r, a.edge(k), j); };
            const auto over = [&](double start, auto&& step) {
                double v = start;
                for (long k = begin; k < end; ++k) v = step(v, m(k));
                return v;
            };
            double& to = y[r * columns + j];
            to = 0;
            if (begin == end) continue;
            const double count = static_cast<double>(end - begin), sum = over(0, [](double v, double x) { return v + x; });
            const double top = over(-__builtin_inf(), [](double v, double x) { return x > v ? x : v; });
            switch (fold) {
                case MessageFold::sum: to = sum; break;
                case MessageFold::mean: to = sum / count; break;
                case MessageFold::max: to = top; break;
                case MessageFold::min: to = over(__builtin_inf(), [](double v, double x) { return x < v ? x : v; }); break;
                case MessageFold::product: to = over(1, [](double v, double x) { return v * x; }); break;
                case MessageFold::std_dev:
                    to = __builtin_sqrt(over(0, [&](double v, double x) { return v + (x - sum / count) * (x - sum / count); }) / count);
                    break;
                case MessageFold::softmax_sum:
                    to = over(0, [&](double v, double x) { return v + x * __builtin_exp(x - top); }) /
                         over(0, [&](double v, double x) { return v + __builtin_exp(x - top); });
            }
        }
}

}  // namespace reference

namespace impl {

// The operands of one tile of columns, edge by edge.
template <class M, int L, bool Part>
struct MessageContext {
    using A = typename M::A;
    using V = simd<A, L>;
    static constexpr int leaves = M::leaves;

    const MessageProblem& p;
    const char* at[leaves];    // where the tile begins in the row of the edge in hand
    const char* tile[leaves];  // and in row 0
    long step[leaves];         // bytes from one row to the next
    long last[leaves];         // up to this row a whole vector may be read
    bool splat[leaves], whole[leaves];
    unsigned char modes[leaves];  // what a formula's derivative asks of a gradient: 0 not wanted, 1 wanted
    const char* parameters;
    long o, j, rest, edge = 0;
    mutable V sums[leaves];  // gradients of one row's edges

    TENON_ALWAYS_INLINE MessageContext(const MessageProblem& problem, long o_, long j_, long rest_)
        : p(problem), parameters(problem.parameters), o(o_), j(j_), rest(rest_) {
        TENON_UNROLL(8)
        for (int k = 0; k < leaves; ++k) {
            const MessageOperand& x = p.operands[k];
            const long offset = o * x.outer + j * x.inner, room = x.rows * x.row - offset - L;
            at[k] = tile[k] = x.data + offset * x.size;
            step[k] = x.row * x.size;
            splat[k] = x.inner == 0;
            if constexpr (Part) last[k] = x.row == 0 || room < 0 ? -1 : room / x.row;
            whole[k] = !Part;
            modes[k] = 0;
        }
    }
    TENON_ALWAYS_INLINE void point(long source, long target, long e) {
        edge = e;
        TENON_UNROLL(8)
        for (int k = 0; k < leaves; ++k) {
            if (M::gather(k) == Gather::whole) continue;
            const long row = M::gather(k) == Gather::source ? source : M::gather(k) == Gather::target ? target : e;
            at[k] = tile[k] + row * step[k];
            if constexpr (Part) whole[k] = row <= last[k];
        }
    }
    template <class T, int>
    TENON_ALWAYS_INLINE auto read(int k, long i) const {
        return M::template load<T, L>(at[k], i, splat[k], !Part || whole[k] ? L : rest);
    }
    template <class T, int>
    TENON_ALWAYS_INLINE auto read_output(int k, long i) const { return read<T, L>(k, i); }  // modes never ask for it
    template <class T, int, class G>
    TENON_ALWAYS_INLINE void write(int k, long, const G& value) const {
        if constexpr (std::is_same_v<G, V>) {
            if (M::gather(k) == Gather::edge) write_edge(p.gradients[k], value);
            else sums[k] += value;
        }
    }
    TENON_ALWAYS_INLINE void write_edge(const MessageTarget& to, const V& value) const {
        if (to.narrow) {
            A& number = reinterpret_cast<A*>(to.data)[edge * p.outer + o];
            A sum = 0;
            if constexpr (Part) {
                A lane[L];
                value.store(lane);
                for (long i = 0; i < rest; ++i) sum += lane[i];
            } else {
                sum = reduce_add(value);
            }
            number = j > 0 || to.add ? number + sum : sum;
            return;
        }
        A* const d = reinterpret_cast<A*>(to.data) + (edge * p.outer + o) * p.inner + j;
        if (to.add) move_store<A, L>(d, value + move_load<A, L>(d, Part ? rest : L), Part ? rest : L);
        else move_store<A, L>(d, value, Part ? rest : L);
    }
};

template <class M, MessageFold Fold>
struct MessageForwardBody {
    template <int L>
    static TENON_ALWAYS_INLINE void run(const MessageProblem* problem, long first, long last) {
        const MessageProblem& p = *problem;
        for (long r = first; r < last; ++r)
            for (long o = 0; o < p.outer; ++o) {
                long j = 0;
                for (; j + 2 * L <= p.inner; j += 2 * L) tile<L, 2, false>(p, r, o, j, L);
                if (j + L <= p.inner) tile<L, 1, false>(p, r, o, j, L), j += L;
                if (j < p.inner) tile<L, 1, true>(p, r, o, j, p.inner - j);
            }
    }

private:
    // f(q, message, edge, whether it is the row's first), over the edges k from begin on.
    template <int L, int Q, class C, class F>
    static TENON_ALWAYS_INLINE void sweep(const MessageProblem& p, C& c, long r, long begin, long end, F&& f) {
        for (long k = begin; k < end; ++k) {
            const long e = p.a.edge(k);
            c.point(p.a.columns[k], r, e);
            TENON_UNROLL(2)
            for (int q = 0; q < Q; ++q) {
                typename C::V m;
                M::template value<L>(c, q * L, m);
                f(q, m, e, k == begin);
            }
        }
    }
    template <int L, int Q, bool Part>
    static TENON_ALWAYS_INLINE void tile(const MessageProblem& p, long r, long o, long j, long rest) {
        using A = typename M::A;
        using T = typename M::T;
        using V = simd<A, L>;
        using P = std::conditional_t<sizeof(A) == 4, std::int32_t, std::int64_t>;
        MessageContext<M, L, Part> c(p, o, j, rest);
        const long begin = p.a.begin(r), end = p.a.end(r), to = (r * p.outer + o) * p.inner + j;
        const V zero(0);
        V result[Q], kept[3][Q];
        TENON_UNROLL(2)
        for (int q = 0; q < Q; ++q) result[q] = kept[0][q] = kept[1][q] = kept[2][q] = zero;
        [[maybe_unused]] const auto total = [&](V(&out)[Q], auto&& of) __attribute__((always_inline)) {
            for (long block = begin; block < end; block += scatter_block) {
                V a[Q];
                TENON_UNROLL(2)
                for (int q = 0; q < Q; ++q) a[q] = zero;
                sweep<L, Q>(p, c, r, block, block + scatter_block < end ? block + scatter_block : end,
                            [&](int q, const V& m, long, bool) __attribute__((always_inline)) { a[q] += of(q, m); });
                TENON_UNROLL(2)
                for (int q = 0; q < Q; ++q) out[q] += a[q];
            }
        };
        [[maybe_unused]] const V share(begin < end ? static_cast<A>(1.0 / static_cast<double>(end - begin)) : A(0));
        if constexpr (Fold == MessageFold::sum || Fold == MessageFold::mean) {
            total(result, [](int, const V& m) __attribute__((always_inline)) { return m; });
            TENON_UNROLL(2)
            for (int q = 0; Fold == MessageFold::mean && q < Q; ++q) result[q] *= share;
        } else if constexpr (is_extreme(Fold)) {
            simd<P, L> where[Q];
            TENON_UNROLL(2)
            for (int q = 0; q < Q; ++q) where[q] = simd<P, L>(-1);
            sweep<L, Q>(p, c, r, begin, end, [&](int q, const V& m, long e, bool first) __attribute__((always_inline)) {
                const simd<P, L> number(static_cast<P>(e));
                if (first) {
                    result[q] = m;
                    where[q] = number;
                    return;
                }
                const auto better = ((Fold == MessageFold::max ? m > result[q] : m < result[q]) | (m != m)) & (result[q] == result[q]);
                result[q] = select(better, m, result[q]);
                where[q] = select(better, number, where[q]);
            });
            if (p.chosen != nullptr)
                for (int q = 0; q < Q; ++q)
                    for (long i = 0; i < (Part ? rest : L); ++i)
                        p.chosen[to + q * L + i] = static_cast<std::int32_t>(where[q][static_cast<int>(i)]);
        } else if constexpr (Fold == MessageFold::product) {
            // kept: the product of what is not zero, and how many are.
            if (begin < end)
                for (int q = 0; q < Q; ++q) result[q] = kept[0][q] = V(1);
            sweep<L, Q>(p, c, r, begin, end, [&](int q, const V& m, long, bool) __attribute__((always_inline)) {
                const auto none = m == zero;
                result[q] *= m;
                kept[0][q] *= select(none, V(1), m);
                kept[1][q] += select(none, V(1), zero);
            });
        } else if constexpr (Fold == MessageFold::std_dev) {
            // kept: the mean, and 1 / (count * result).
            total(kept[0], [](int, const V& m) __attribute__((always_inline)) { return m; });
            TENON_UNROLL(2)
            for (int q = 0; q < Q; ++q) kept[0][q] *= share;
            total(result, [&](int q, const V& m) __attribute__((always_inline)) { return (m - kept[0][q]) * (m - kept[0][q]); });
            TENON_UNROLL(2)
            for (int q = 0; q < Q; ++q) {
                result[q] = math::sqrt(result[q] * share);
                result[q] = select(result[q] <= V(spread_limit<A>()) * math::abs(kept[0][q]), zero, result[q]);
                kept[1][q] = select(result[q] == zero, zero, share / result[q]);
            }
        } else {
            // kept: the largest, 1 / the sum of exponentials, the result.
            sweep<L, Q>(p, c, r, begin, end, [&](int q, const V& m, long, bool first) __attribute__((always_inline)) {
                kept[0][q] = first ? m : max(kept[0][q], m);
            });
            V norm[Q];
            TENON_UNROLL(2)
            for (int q = 0; q < Q; ++q) norm[q] = zero;
            for (long block = begin; block < end; block += scatter_block) {
                V a[Q], b[Q];
                TENON_UNROLL(2)
                for (int q = 0; q < Q; ++q) a[q] = b[q] = zero;
                sweep<L, Q>(p, c, r, block, block + scatter_block < end ? block + scatter_block : end,
                            [&](int q, const V& m, long, bool) __attribute__((always_inline)) {
                                const V w = math::exp(m - kept[0][q]);
                                a[q] += w * m;
                                b[q] += w;
                            });
                TENON_UNROLL(2)
                for (int q = 0; q < Q; ++q) result[q] += a[q], norm[q] += b[q];
            }
            TENON_UNROLL(2)
            for (int q = 0; q < Q; ++q) {
                if (begin < end) kept[1][q] = V(1) / norm[q];
                kept[2][q] = result[q] = result[q] * kept[1][q];
            }
        }
        TENON_UNROLL(2)
        for (int q = 0; q < Q; ++q) move_store<A, L>(reinterpret_cast<T*>(p.y) + to + q * L, result[q], Part ? rest : L);
        if constexpr (statistics_of(Fold) > 0) {
            if (p.statistics == nullptr) return;
            for (int s = 0; s < statistics_of(Fold); ++s) {
                TENON_UNROLL(2)
                for (int q = 0; q < Q; ++q)
                    move_store<A, L>(reinterpret_cast<A*>(p.statistics) + s * p.targets * p.columns() + to + q * L, kept[s][q],
                                     Part ? rest : L);
            }
        }
    }
};

// The gradients of targets, edges and whole operands (rows are targets), or of sources (rows are sources).
template <class M, MessageFold Fold, bool BySource>
struct MessageBackwardBody {
    template <int L>
    static TENON_ALWAYS_INLINE void run(const MessageProblem* problem, long first, long last) {
        const MessageProblem& p = *problem;
        for (long r = first; r < last; ++r)
            for (long o = 0; o < p.outer; ++o) {
                long j = 0;
                for (; j + L <= p.inner; j += L) tile<L, false>(p, r, o, j, L);
                if (j < p.inner) tile<L, true>(p, r, o, j, p.inner - j);
            }
    }

private:
    template <int L, bool Part>
    static TENON_ALWAYS_INLINE void tile(const MessageProblem& p, long r, long o, long j, long rest) {
        using A = typename M::A;
        using T = typename M::T;
        using V = simd<A, L>;
        using P = std::conditional_t<sizeof(A) == 4, std::int32_t, std::int64_t>;
        constexpr int leaves = M::leaves;
        MessageContext<M, L, Part> c(p, o, j, rest);
        V totals[leaves];
        TENON_UNROLL(8)
        for (int k = 0; k < leaves; ++k) {
            c.modes[k] = (M::gather(k) == Gather::source) == BySource && p.gradients[k].data != nullptr;
            totals[k] = V(0);
        }
        const V zero(0);
        const long begin = p.a.begin(r), end = p.a.end(r), inside = Part ? last_inside(p.targets, p.columns(), o * p.inner + j, L) : 0;
        for (long block = begin; block < end; block += scatter_block) {
            const long stop = block + scatter_block < end ? block + scatter_block : end;
            TENON_UNROLL(8)
            for (int k = 0; k < leaves; ++k) c.sums[k] = zero;
            for (long k = block; k < stop; ++k) {
                const long other = p.a.columns[k], e = p.a.edge(k), target = BySource ? other : r;
                c.point(BySource ? r : other, target, e);
                const long at = (target * p.outer + o) * p.inner + j, count = !Part || target <= inside ? L : rest;
                const auto derivative = [&](const V& m, V& d) __attribute__((always_inline)) {
                    const auto statistic = [&](int s) __attribute__((always_inline)) {
                        return move_load<A, L>(reinterpret_cast<const A*>(p.statistics) + s * p.targets * p.columns() + at, count);
                    };
                    const V dy = move_load<A, L>(reinterpret_cast<const T*>(p.dy) + at, count);
                    if constexpr (is_extreme(Fold)) {
                        const simd<std::int32_t, L> chosen = move_load<std::int32_t, L>(p.chosen + at, count);
                        d = select(convert<P>(chosen) == simd<P, L>(static_cast<P>(e)), dy, zero);
                    } else if constexpr (Fold == MessageFold::product) {
                        const V others = dy * statistic(0), zeros = statistic(1);
                        const auto none = m == zero;
                        const V alone = select(zeros == V(1), others, zero),
                                beside = select(zeros == zero, others / select(none, V(1), m), zero);
                        d = select(none, alone, beside);
                    } else if constexpr (Fold == MessageFold::std_dev) {
                        const V factor = statistic(1);
                        d = select(factor == zero, zero, dy * factor * (m - statistic(0)));
                    } else if constexpr (Fold == MessageFold::softmax_sum) {
                        d = dy * math::exp(m - statistic(0)) * statistic(1) * (V(1) + m - statistic(2));
                    } else {
                        d = dy;
                    }
                };
                M::template derive<L>(c, 0, derivative);
            }
            TENON_UNROLL(8)
            for (int k = 0; k < leaves; ++k) totals[k] += c.sums[k];
        }
        TENON_UNROLL(8)
        for (int k = 0; k < leaves; ++k) {
            if (c.modes[k] == 0 || M::gather(k) == Gather::edge) continue;
            A* const d = reinterpret_cast<A*>(p.gradients[k].data) + (r * p.outer + o) * p.inner + j;
            if (p.gradients[k].add) totals[k] += move_load<A, L>(d, Part ? rest : L);
            move_store<A, L>(d, totals[k], Part ? rest : L);
        }
    }
};

// What an edge costs alone.
template <class M>
long message_bytes(const MessageProblem& p) {
    long bytes = 8;
    for (int k = 0; k < M::leaves; ++k)
        if (M::gather(k) != Gather::whole) bytes += p.operands[k].row * p.operands[k].size;
    return bytes;
}

}  // namespace impl

// y[target] = the fold of the messages of its edges, 0 where there are none. Of extremes the first edge counts, a NaN is larger
// (for min smaller) than everything; std_dev is that of the population; softmax_sum weighs messages by their softmax.
template <class M, MessageFold Fold>
void message_aggregate(const MessageProblem& p) {
    if (p.columns() <= 0) return;
    const MessageProblem* problem = &p;
    const long bytes = impl::message_bytes<M>(p);
    impl::for_row_pieces(p.a, bytes, 0.05 * double(bytes) + 2, [&](long first, long last) {
        dispatch<impl::MessageForwardBody<M, Fold>, impl::graph_isa>(problem, first, last);
    });
}
// The gradients of operands, BySource of those of sources alone (then rows are sources), else of all others. Of whole operands
// those of each row.
template <class M, MessageFold Fold, bool BySource>
void message_gradient(const MessageProblem& p) {
    if (p.columns() <= 0) return;
    const MessageProblem* problem = &p;
    const long bytes = impl::message_bytes<M>(p) + p.columns() * static_cast<long>(sizeof(typename M::T));
    impl::for_row_pieces(p.a, bytes, 0.1 * double(bytes) + 2, [&](long first, long last) {
        dispatch<impl::MessageBackwardBody<M, Fold, BySource>, impl::graph_isa>(problem, first, last);
    });
}

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

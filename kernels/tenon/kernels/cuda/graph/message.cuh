// Messages along the edges of a graph on the device (cpu/graph/message.hpp).
#pragma once

#include <tenon/kernels/cpu/graph/message.hpp>
#include <tenon/kernels/cuda/graph/fold_rows.cuh>
#include <tenon/kernels/cuda/sum.cuh>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cuda {

using cpu::Gather;
using cpu::MessageFold;
using cpu::MessageProblem;
using cpu::MessageTarget;

// The operands of one column of one edge, and their gradients.
template <class M>
struct DeviceMessage {
    using A = typename M::A;
    const char* at[M::leaves];
    unsigned char modes[M::leaves];
    const char* parameters;
    mutable A sums[M::leaves];

    TENON_FUNCTOR DeviceMessage(const MessageProblem& p, const char* numbers, long source, long target, long e, long j)
        : parameters(numbers) {
        const long o = j / p.inner, i = j - o * p.inner;
        for (int k = 0; k < M::leaves; ++k) {
            const cpu::MessageOperand& x = p.operands[k];
            const Gather from = M::gather(k);
            const long row = from == Gather::source ? source : from == Gather::target ? target : from == Gather::edge ? e : 0;
            at[k] = x.data + (row * x.row + o * x.outer + i * x.inner) * x.size;
            modes[k] = 0;
            sums[k] = 0;
        }
    }
    template <class T, int L>
    TENON_FUNCTOR auto read(int k, long) const { return M::template load_one<T>(at[k]); }
    template <class T, int L>
    TENON_FUNCTOR auto read_output(int k, long i) const { return read<T, L>(k, i); }
    template <class T, int L, class V>
    TENON_FUNCTOR void write(int k, long, const V& value) const { sums[k] += static_cast<A>(value.v[0]); }
};
// The numbers of a formula, which lie on the host.
template <class M>
struct MessageNumbers {
    static constexpr int count = M::parameters > 0 ? M::parameters : 1;
    alignas(8) char data[8 * count];
    explicit MessageNumbers(const char* from) { __builtin_memcpy(data, from, 8 * M::parameters); }
};

// Over the edges of a target. The mean and spread of std_dev and the softmax are kept up to date message by message.
template <class M, MessageFold Kind>
struct MessageFoldRows {
    using A = typename M::A;
    using T = typename M::T;
    struct State {
        A a, b, c;
        std::int32_t where;
    };
    MessageProblem p;
    MessageNumbers<M> numbers;

    TENON_FUNCTOR State start() const {
        if constexpr (Kind == MessageFold::product) return {A(1), A(1), A(0), -1};
        else if constexpr (Kind == MessageFold::softmax_sum) return {-A(__builtin_inf()), A(0), A(0), -1};
        else return {A(0), A(0), A(0), -1};
    }
    TENON_FUNCTOR void step(State& s, long r, long k, long j) const {
        const long e = p.a.edge(k);
        const DeviceMessage<M> message(p, numbers.data, p.a.columns[k], r, e, j);
        typename M::One value;
        M::template value<M::one>(message, 0, value);
        const A m = value.v[0];
        const std::int32_t number = static_cast<std::int32_t>(e);
        if constexpr (Kind == MessageFold::product) join(s, {m, m == A(0) ? A(1) : m, m == A(0) ? A(1) : A(0), number});
        else if constexpr (Kind == MessageFold::std_dev) join(s, {m, A(0), A(1), number});
        else if constexpr (Kind == MessageFold::softmax_sum) join(s, {m, A(1), m, number});
        else join(s, {m, A(0), A(0), number});
    }
    // std_dev: the mean, the sum of squares of what is off it, the count (Chan, Golub and LeVeque 1983); softmax_sum: the largest, the
    // sum of exponentials, the weighted sum; product: also of what is not zero, and the number of zeros.
    TENON_FUNCTOR void join(State& total, const State& part) const {
        if (part.where < 0) return;
        if (total.where < 0) {
            total = part;
            return;
        }
        if constexpr (cpu::is_extreme(Kind)) {
            const A v = part.a;
            if (total.a == total.a && (v != v || (Kind == MessageFold::max ? v > total.a : v < total.a))) total = part;
        } else if constexpr (Kind == MessageFold::product) {
            total.a *= part.a, total.b *= part.b, total.c += part.c;
        } else if constexpr (Kind == MessageFold::std_dev) {
            const A count = total.c + part.c, apart = part.a - total.a;
            total.b += part.b + apart * apart * (total.c * part.c / count);
            total.a += apart * (part.c / count);
            total.c = count;
        } else if constexpr (Kind == MessageFold::softmax_sum) {
            const bool higher = part.a > total.a || part.a != part.a;
            const A top = higher ? part.a : total.a, old = math::exp(total.a - top), fresh = math::exp(part.a - top);
            total.a = top;
            total.b = total.b * old + part.b * fresh;
            total.c = total.c * old + part.c * fresh;
        } else {
            total.a += part.a;
        }
    }
    TENON_FUNCTOR void finish(const State& s, long r, long j) const {
        const long begin = p.a.begin(r), end = p.a.end(r), i = r * p.columns() + j;
        const bool any = end > begin;
        const A share = any ? static_cast<A>(1.0 / static_cast<double>(end - begin)) : A(0);
        A y = any ? s.a : A(0), kept[3] = {A(0), A(0), A(0)};
        if constexpr (Kind == MessageFold::mean) y *= share;
        if constexpr (Kind == MessageFold::product) kept[0] = s.b, kept[1] = s.c;
        if constexpr (Kind == MessageFold::std_dev) {
            y = math::sqrt(s.b * share);
            if (y <= cpu::spread_limit<A>() * math::abs(s.a)) y = A(0);
            kept[0] = s.a;
            kept[1] = y == A(0) ? A(0) : share / y;
        }
        if constexpr (Kind == MessageFold::softmax_sum) {
            kept[0] = any ? s.a : A(0);
            kept[1] = any ? A(1) / s.b : A(0);
            kept[2] = y = any ? s.c * kept[1] : A(0);
        }
        reinterpret_cast<T*>(p.y)[i] = static_cast<T>(y);
        if (cpu::is_extreme(Kind) && p.chosen != nullptr) p.chosen[i] = s.where;
        for (int q = 0; p.statistics != nullptr && q < cpu::statistics_of(Kind); ++q)
            reinterpret_cast<A*>(p.statistics)[q * p.targets * p.columns() + i] = kept[q];
    }
};
template <class M, MessageFold Kind>
void message_aggregate(const MessageProblem& p) {
    fold_csr_rows("message_aggregate", MessageFoldRows<M, Kind>{p, MessageNumbers<M>(p.parameters)}, p.a, p.columns());
}

// The gradient of the fold by one message.
template <class M, MessageFold Kind>
struct MessageDerivative {
    using A = typename M::A;
    const MessageProblem& p;
    long i, e;

    TENON_FUNCTOR A statistic(int s) const { return reinterpret_cast<const A*>(p.statistics)[s * p.targets * p.columns() + i]; }
    template <class V>
    TENON_FUNCTOR void operator()(const V& message, V& d) const {
        const A m = message.v[0], dy = static_cast<A>(reinterpret_cast<const typename M::T*>(p.dy)[i]);
        A g = dy;
        if constexpr (cpu::is_extreme(Kind)) g = p.chosen[i] == e ? dy : A(0);
        if constexpr (Kind == MessageFold::product) {
            const A others = dy * statistic(0), zeros = statistic(1);
            g = m == A(0) ? (zeros == A(1) ? others : A(0)) : zeros == A(0) ? others / m : A(0);
        }
        if constexpr (Kind == MessageFold::std_dev) g = statistic(1) == A(0) ? A(0) : dy * statistic(1) * (m - statistic(0));
        if constexpr (Kind == MessageFold::softmax_sum) g = dy * math::exp(m - statistic(0)) * statistic(1) * (A(1) + m - statistic(2));
        d = V(g);
    }
};
template <class M, MessageFold Kind, bool BySource>
struct MessageGradientRows {
    using A = typename M::A;
    struct State {
        A sums[M::leaves];
    };
    MessageProblem p;
    MessageNumbers<M> numbers;

    TENON_FUNCTOR bool taken(int k) const {
        return p.gradients[k].data != nullptr && M::gather(k) != Gather::edge && (M::gather(k) == Gather::source) == BySource;
    }
    TENON_FUNCTOR State start() const {
        State s;
        for (int k = 0; k < M::leaves; ++k) s.sums[k] = 0;
        return s;
    }
    TENON_FUNCTOR void step(State& s, long r, long k, long j) const {
        const long other = p.a.columns[k], e = p.a.edge(k), source = BySource ? r : other, target = BySource ? other : r;
        DeviceMessage<M> message(p, numbers.data, source, target, e, j);
        for (int l = 0; l < M::leaves; ++l) message.modes[l] = taken(l);
        M::template derive<M::one>(message, 0, MessageDerivative<M, Kind>{p, target * p.columns() + j, e});
        for (int l = 0; l < M::leaves; ++l) s.sums[l] += message.sums[l];
    }
    TENON_FUNCTOR void join(State& total, const State& part) const {
        for (int k = 0; k < M::leaves; ++k) total.sums[k] += part.sums[k];
    }
    TENON_FUNCTOR void finish(const State& s, long r, long j) const {
        for (int k = 0; k < M::leaves; ++k) {
            if (!taken(k)) continue;
            A& to = reinterpret_cast<A*>(p.gradients[k].data)[r * p.columns() + j];
            to = p.gradients[k].add ? to + s.sums[k] : s.sums[k];
        }
    }
};
template <class M, MessageFold Kind>
__global__ void message_edge_gradients(MessageProblem p, MessageNumbers<M> numbers) {
#if TENON_DEVICE_CODE
    using A = typename M::A;
    const long lane = threadIdx.x % 32;
    each_element(p.a, [&](long r, long k) {
        const long e = p.a.edge(k);
        for (long o = 0; o < p.outer; ++o) {
            A totals[M::leaves] = {};
            for (long j = o * p.inner + lane; j < (o + 1) * p.inner; j += 32) {
                DeviceMessage<M> message(p, numbers.data, p.a.columns[k], r, e, j);
                for (int l = 0; l < M::leaves; ++l) message.modes[l] = M::gather(l) == Gather::edge && p.gradients[l].data != nullptr;
                M::template derive<M::one>(message, 0, MessageDerivative<M, Kind>{p, r * p.columns() + j, e});
                for (int l = 0; l < M::leaves; ++l) {
                    if (message.modes[l] == 0) continue;
                    totals[l] += message.sums[l];
                    if (p.gradients[l].narrow) continue;
                    A& to = reinterpret_cast<A*>(p.gradients[l].data)[e * p.columns() + j];
                    to = p.gradients[l].add ? to + message.sums[l] : message.sums[l];
                }
            }
            for (int l = 0; l < M::leaves; ++l) {
                if (M::gather(l) != Gather::edge || p.gradients[l].data == nullptr || !p.gradients[l].narrow) continue;
                const A sum = warp_sum(totals[l]);
                if (lane != 0) continue;
                A& to = reinterpret_cast<A*>(p.gradients[l].data)[e * p.outer + o];
                to = p.gradients[l].add ? to + sum : sum;
            }
        }
    });
#endif
}
template <class M, MessageFold Kind, bool BySource>
void message_gradient(const MessageProblem& p) {
    if (p.columns() <= 0) return;
    const MessageNumbers<M> numbers(p.parameters);
    bool rows = false, edges = false;
    for (int k = 0; k < M::leaves; ++k)
        if (p.gradients[k].data != nullptr) (M::gather(k) == Gather::edge ? edges : rows) = true;
    if (rows) fold_csr_rows("message_gradient", MessageGradientRows<M, Kind, BySource>{p, numbers}, p.a, p.columns());
    if (edges && p.a.elements > 0)
        launch("message_gradient", message_edge_gradients<M, Kind>, blocks_for_elements(p.a), block_threads, p, numbers);
}

}  // namespace kernels::cuda
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

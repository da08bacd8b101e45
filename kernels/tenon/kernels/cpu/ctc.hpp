// Connectionist temporal classification: the sum over all alignments of a label sequence with a longer input (Graves et al.
// 2006), forward and backward.
//
// A label sequence of length S has 2 S + 1 states, blanks around and between the labels. Logarithms of the sums over partial
// alignments are kept relative to the largest of their step, whose total is kept in double: digits do not go with the length.
// Lanes run along the states; sequences are tasks.
#pragma once

#include <tenon/base/dispatch.hpp>
#include <tenon/base/parallel.hpp>
#include <tenon/base/simd_math.hpp>
#include <tenon/kernels/cpu/reduce.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

namespace reference {

// The plain version, in double: loss of one sequence from logs[t * step + c] and, where dx is not null, the derivative of scale
// * loss in the logits that logs = log_softmax(logits) came from, dx[t * step + c]. alphas, betas: time * (2 S + 1) each.
template <class T, class I>
double ctc(long time, long classes, long step, const T* logs, const I* labels, long count, long blank, double scale, T* dx, double* alphas, double* betas) {
    using A = accumulator<T>;
    const long states = 2 * count + 1;
    const auto state = [&](long s) { return s % 2 == 0 ? blank : static_cast<long>(labels[s / 2]); };
    const auto skips = [&](long s) { return s % 2 == 1 && s >= 3 && state(s) != state(s - 2); };
    const auto add = [](double a, double b) {
        const double m = a > b ? a : b;
        return m == -__builtin_inf() ? m : m + __builtin_log(__builtin_exp(a - m) + __builtin_exp(b - m));
    };
    const auto emission = [&](long t, long s) { return double(A(logs[t * step + state(s)])); };
    for (long t = 0; t < time; ++t)
        for (long s = 0; s < states; ++s) {
            double sum = t == 0 ? (s < 2 ? 0 : -__builtin_inf()) : alphas[(t - 1) * states + s];
            if (t > 0 && s >= 1) sum = add(sum, alphas[(t - 1) * states + s - 1]);
            if (t > 0 && skips(s)) sum = add(sum, alphas[(t - 1) * states + s - 2]);
            alphas[t * states + s] = sum + emission(t, s);
        }
    const double* last = alphas + (time - 1) * states;
    const double loss = time == 0 ? (count == 0 ? 0 : __builtin_inf()) : -(states > 1 ? add(last[states - 1], last[states - 2]) : last[0]);
    if (dx == nullptr) return loss;
    for (long t = time - 1; t >= 0; --t) {
        for (long s = 0; s < states; ++s) {
            double sum = t == time - 1 ? (s >= states - 2 ? 0 : -__builtin_inf()) : betas[(t + 1) * states + s];
            if (t < time - 1 && s + 1 < states) sum = add(sum, betas[(t + 1) * states + s + 1]);
            if (t < time - 1 && s + 2 < states && skips(s + 2)) sum = add(sum, betas[(t + 1) * states + s + 2]);
            betas[t * states + s] = sum + emission(t, s);
        }
        for (long c = 0; c < classes; ++c) {
            double through = 0;
            for (long s = 0; s < states; ++s)
                if (state(s) == c) through += __builtin_exp(alphas[t * states + s] + betas[t * states + s] - emission(t, s) + loss);
            dx[t * step + c] = T(A(scale * (__builtin_exp(double(A(logs[t * step + c]))) - through)));
        }
    }
    return loss;
}

}  // namespace reference

namespace impl {

constexpr long ctc_front = 8;  // elements of -inf before the states of a step
// Elements of a step's row: what is read and written around the states is there.
constexpr long ctc_row(long labels) { return ctc_front + (2 * labels + 1 + 2 + 8 + 7) / 8 * 8; }

template <class T, class I>
struct CtcSequence {
    using A = accumulator<T>;
    long time, classes, step;  // step: between times
    const T* logs;
    const I* labels;
    long count, blank;
    A* alphas;       // time rows
    double* totals;  // of each time
    double* loss;
    // backward
    A* scratch;      // four rows and one element for each class
    double scale;
    T* dx;
    bool accumulate;

    long states() const { return 2 * count + 1; }
    long row() const { return ctc_row(count); }
};

template <class A, int N>
TENON_ALWAYS_INLINE simd<A, N> add_logarithms(const simd<A, N>& a, const simd<A, N>& b, const simd<A, N>& c) {
    using V = simd<A, N>;
    V m = select(a > b, a, b);
    m = select(c > m, c, m);
    m = select(m == V(-A(__builtin_inf())), V(0), m);  // nothing arrives: log(0), not NaN
    return m + math::log(math::exp(a - m) + math::exp(b - m) + math::exp(c - m));
}
// Takes the largest of a row from all of it; returns it. A row of nothing stays.
template <class A>
TENON_ALWAYS_INLINE double normalise_row(A* row, long n) {
    A m = -A(__builtin_inf());
    for (long s = 0; s < n; ++s)
        if (row[s] > m || row[s] != row[s]) m = row[s];
    if (m == -A(__builtin_inf())) return 0;
    for (long s = 0; s < n; ++s) row[s] -= m;
    return static_cast<double>(m);
}

struct CtcForwardBody {
    // The logarithms of the states at one time (-inf beyond), and what forbids to skip from two states before.
    template <class T, class I, class A>
    static TENON_ALWAYS_INLINE void emissions(const CtcSequence<T, I>& q, long t, A* to) {
        const T* logs = q.logs + t * q.step;
        const A blank = static_cast<A>(logs[q.blank]);
        for (long k = 0; k < q.count; ++k) {
            to[2 * k] = blank;
            to[2 * k + 1] = static_cast<A>(logs[static_cast<long>(q.labels[k])]);
        }
        to[2 * q.count] = blank;
        for (long s = q.states(); s < q.row() - ctc_front; ++s) to[s] = -A(__builtin_inf());
    }
    template <class T, class I, class A>
    static TENON_ALWAYS_INLINE void walls(const CtcSequence<T, I>& q, A* to) {
        const A closed = -A(__builtin_inf());
        for (long s = 0; s < q.row() - ctc_front; ++s) to[s] = closed;
        for (long k = 1; k < q.count; ++k)
            if (q.labels[k] != q.labels[k - 1] && static_cast<long>(q.labels[k]) != q.blank) to[2 * k + 1] = A(0);
    }
    template <int Lanes, class T, class I>
    static TENON_ALWAYS_INLINE void run(const CtcSequence<T, I>* sequence, accumulator<T>* scratch) {
        using A = accumulator<T>;
        constexpr int N = Lanes * 4 / int(sizeof(A));
        using V = simd<A, N>;
        const CtcSequence<T, I>& q = *sequence;
        const long states = q.states(), row = q.row();
        const A none = -A(__builtin_inf());
        A *wall = scratch, *emission = scratch + row;
        walls(q, wall);
        double total = 0;
        for (long t = 0; t < q.time; ++t) {
            A* to = q.alphas + t * row;
            for (long s = 0; s < row; ++s) to[s] = none;
            emissions(q, t, emission);
            if (t == 0) {
                for (long s = 0; s < states && s < 2; ++s) to[ctc_front + s] = emission[s];
            } else {
                const A* from = to - row + ctc_front;
                for (long s = 0; s < states; s += N) {
                    const V sum = add_logarithms(V::load(from + s), V::load(from + s - 1), V::load(from + s - 2) + V::load(wall + s));
                    (sum + V::load(emission + s)).store(to + ctc_front + s);
                }
            }
            total += normalise_row(to + ctc_front, states);
            q.totals[t] = total;
        }
        if (q.time == 0) {
            *q.loss = q.count == 0 ? 0 : __builtin_inf();
            return;
        }
        const A* last = q.alphas + (q.time - 1) * row + ctc_front + states - 1;
        const double sum = math::exp(static_cast<double>(last[0])) + (states > 1 ? math::exp(static_cast<double>(last[-1])) : 0);
        *q.loss = -(math::log(sum) + total);
    }
};
struct CtcBackwardBody {
    template <int Lanes, class T, class I>
    static TENON_ALWAYS_INLINE void run(const CtcSequence<T, I>* sequence) {
        using A = accumulator<T>;
        constexpr int N = Lanes * 4 / int(sizeof(A));
        using V = simd<A, N>;
        const CtcSequence<T, I>& q = *sequence;
        const long states = q.states(), row = q.row();
        const A none = -A(__builtin_inf());
        A *wall = q.scratch, *emission = wall + row, *later = emission + row, *now = later + row, *through = now + row;
        CtcForwardBody::walls(q, wall);
        double total = 0;
        for (long t = q.time - 1; t >= 0; --t) {
            CtcForwardBody::emissions(q, t, emission);
            for (long s = 0; s < row; ++s) now[s] = none;
            if (t == q.time - 1) {
                for (long s = states > 1 ? states - 2 : 0; s < states; ++s) now[s] = emission[s];
            } else {
                for (long s = 0; s < states; s += N) {
                    const V sum = add_logarithms(V::load(later + s), V::load(later + s + 1), V::load(later + s + 2) + V::load(wall + s + 2));
                    (sum + V::load(emission + s)).store(now + s);
                }
            }
            for (long s = states; s < row; ++s) now[s] = none;
            total += normalise_row(now, states);
            // The share of all alignments that passes through each state, added up for each class.
            const A rest = static_cast<A>(q.totals[t] + total + *q.loss);
            const A* alphas = q.alphas + t * row + ctc_front;
            for (long s = 0; s < states; s += N) {
                const V e = V::load(emission + s);
                // Where nothing is emitted nothing passes.
                const V share = select(e == V(none), V(0), math::exp(V::load(alphas + s) + V::load(now + s) - e + V(rest)));
                share.store(emission + s);
            }
            for (long c = 0; c < q.classes; ++c) through[c] = A(0);
            for (long k = 0; k < q.count; ++k) {
                through[q.blank] += emission[2 * k];
                through[static_cast<long>(q.labels[k])] += emission[2 * k + 1];
            }
            through[q.blank] += emission[2 * q.count];
            const T* logs = q.logs + t * q.step;
            T* dx = q.dx + t * q.step;
            const V scale{A(q.scale)};
            long c = 0;
            for (; c + N <= q.classes; c += N) put<false, A, N>(logs + c, through + c, dx + c, N, scale, q.accumulate);
            if (c < q.classes) put<true, A, N>(logs + c, through + c, dx + c, q.classes - c, scale, q.accumulate);
            A* swap = later;
            later = now;
            now = swap;
        }
    }
    template <bool Part, class A, int N, class T>
    static TENON_ALWAYS_INLINE void put(const T* logs, const A* through, T* dx, long count, const simd<A, N>& scale, bool accumulate) {
        simd<A, N> d = (math::exp(load_some<Part, A, N>(logs, count)) - load_some<Part, A, N>(through, count)) * scale;
        if (accumulate) d = d + load_some<Part, A, N>(dx, count);
        store_some<Part, A, N>(dx, d, count);
    }
};

}  // namespace impl

// Elements (of accumulator<T>) that a batch of sequences of at most `labels` labels needs: alphas for the forward and backward,
// scratch for either.
constexpr long ctc_alphas(long batch, long time, long labels) { return batch * time * impl::ctc_row(labels); }
constexpr long ctc_scratch(long batch, long classes, long labels) { return batch * (4 * impl::ctc_row(labels) + classes); }

// Of logs [time, batch, classes], logarithms of probabilities: loss[n] = -log of the sum over all alignments of sequence n, whose
// labels are labels[first[n]] ... (target_lengths[n] of them, each in [0, classes)), with the first input_lengths[n] times; inf
// where there is no alignment. totals: batch * time. `most` is the largest of target_lengths.
template <class T, class I>
void ctc_loss(long time, long batch, long classes, const T* logs, const I* labels, const long* first, const long* input_lengths, const long* target_lengths, long most,
              long blank, double* loss, accumulator<T>* alphas, double* totals, accumulator<T>* scratch) {
    const long row = impl::ctc_row(most);
    parallel_for(batch, [&](long n) {
        const impl::CtcSequence<T, I> q{input_lengths[n], classes, batch * classes, logs + n * classes, labels + first[n], target_lengths[n], blank,
                                        alphas + n * time * row, totals + n * time, loss + n, nullptr, 0, nullptr, false};
        dispatch<impl::CtcForwardBody, impl::reduce_isa>(&q, scratch + n * (4 * row + classes));
    });
}
// dx (+)= scale[n] * (exp(logs) - the share of alignments through each class): the derivative in the logits where logs =
// log_softmax(logits), which log_softmax's own derivative leaves as it is. Zero beyond input_lengths[n] and where scale[n] is 0.
template <class T, class I>
void ctc_loss_backward(long time, long batch, long classes, const T* logs, const I* labels, const long* first, const long* input_lengths, const long* target_lengths,
                       long most, long blank, const double* loss, accumulator<T>* alphas, double* totals, accumulator<T>* scratch, const double* scale, T* dx, bool accumulate) {
    const long row = impl::ctc_row(most);
    parallel_for(batch, [&](long n) {
        const long used = scale[n] == 0 ? 0 : input_lengths[n];
        for (long t = used; t < time && !accumulate; ++t)
            __builtin_memset(static_cast<void*>(dx + (t * batch + n) * classes), 0, static_cast<unsigned long>(classes) * sizeof(T));
        if (used == 0) return;
        double value = loss[n];
        const impl::CtcSequence<T, I> q{input_lengths[n], classes, batch * classes, logs + n * classes, labels + first[n], target_lengths[n], blank,
                                        alphas + n * time * row, totals + n * time, &value, scratch + n * (4 * row + classes), scale[n], dx + n * classes, accumulate};
        dispatch<impl::CtcBackwardBody, impl::reduce_isa>(&q);
    });
}

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

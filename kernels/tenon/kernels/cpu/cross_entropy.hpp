// Cross-entropy of logits, forward and backward, without the softmax in between in memory.
//
// Logits are [outer, columns, inner] (rows of a matrix: inner = 1), with one label for each of the outer * inner rows, or
// with a target for each element. Short rows are turned on their side, a vector's lanes are rows then; where inner > 1 the
// lanes run along it. 16-bit types compute in float. A row's bits depend on its length, the type and the instruction set.
#pragma once

#include <tenon/kernels/cpu/softmax.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

namespace reference {

// The plain versions, in double. weight (one for each column) may be null. Loss and gradient of one row, `inner` apart, whose
// target for column c is target(c):
//     loss = -sum_c weight[c] target(c) log softmax(x)[c]
template <class T, class A, class F>
double cross_entropy_row(long columns, long inner, const T* x, const A* weight, F&& target, double scale, T* dx, bool accumulate) {
    double largest = -__builtin_inf(), sum = 0, loss = 0, total = 0;
    for (long c = 0; c < columns; ++c)
        if (double(A(x[c * inner])) > largest) largest = double(A(x[c * inner]));
    for (long c = 0; c < columns; ++c) sum += __builtin_exp(double(A(x[c * inner])) - largest);
    for (long c = 0; c < columns; ++c) {
        const double t = target(c) * (weight != nullptr ? double(weight[c]) : 1);
        total += t;
        if (t != 0) loss += t * (largest - double(A(x[c * inner])) + __builtin_log(sum));
    }
    for (long c = 0; c < columns && dx != nullptr; ++c) {
        const double p = __builtin_exp(double(A(x[c * inner])) - largest) / sum;
        const double d = scale * (p * total - target(c) * (weight != nullptr ? double(weight[c]) : 1));
        dx[c * inner] = T(A(d + (accumulate ? double(A(dx[c * inner])) : 0)));
    }
    return loss;
}
// One label for each row: the target is 1 - smoothing at the label plus smoothing / columns everywhere, and the label's part
// has the label's weight. loss, or dx = scale[r] * its derivative; either may be null.
template <class T, class I>
void cross_entropy(long outer, long columns, long inner, const T* x, const I* labels, long ignore_index, double smoothing, const accumulator<T>* weight,
                   const accumulator<T>* scale, accumulator<T>* loss, T* dx, bool accumulate) {
    using A = accumulator<T>;
    for (long o = 0; o < outer; ++o)
        for (long i = 0; i < inner; ++i) {
            const long r = o * inner + i, at = o * columns * inner + i, label = static_cast<long>(labels[r]);
            if (label == ignore_index) {
                if (loss != nullptr) loss[r] = 0;
                for (long c = 0; c < columns && dx != nullptr && !accumulate; ++c) dx[at + c * inner] = T(A(0));
                continue;
            }
            const auto target = [&](long c) { return (c == label ? 1 - smoothing : 0) + smoothing / double(columns); };
            const double value = cross_entropy_row(columns, inner, x + at, weight, target, scale != nullptr ? double(scale[r]) : 0., dx != nullptr ? dx + at : dx, accumulate);
            if (loss != nullptr) loss[r] = A(value);
        }
}
// A target for each element, mixed with the uniform one by smoothing.
template <class T>
void soft_cross_entropy(long outer, long columns, long inner, const T* x, const T* targets, double smoothing, const accumulator<T>* weight,
                        const accumulator<T>* scale, accumulator<T>* loss, T* dx, bool accumulate) {
    using A = accumulator<T>;
    for (long o = 0; o < outer; ++o)
        for (long i = 0; i < inner; ++i) {
            const long r = o * inner + i, at = o * columns * inner + i;
            const auto target = [&](long c) { return (1 - smoothing) * double(A(targets[at + c * inner])) + smoothing / double(columns); };
            const double value = cross_entropy_row(columns, inner, x + at, weight, target, scale != nullptr ? double(scale[r]) : 0., dx != nullptr ? dx + at : dx, accumulate);
            if (loss != nullptr) loss[r] = A(value);
        }
}

}  // namespace reference

namespace impl {

// Runs a body over rows of a length: long ones with as many lanes as their type is worth.
template <class T>
struct ByLength {
    bool is_long;
    template <class Body, class... A>
    void operator()(A... arguments) const {
        if (is_long) dispatch<Body, row_isa<T>>(arguments...);
        else dispatch<Body, reduce_isa>(arguments...);
    }
};
template <class T>
ByLength<T> by_length(long columns) { return {columns > softmax_short}; }

// What the losses of all rows share.
template <class A>
struct CrossEntropyTerms {
    long ignore_index;
    const A* weight;  // of the columns, or null
    A hot;            // 1 - smoothing
    A flat;           // smoothing / columns
    A weights;        // the sum of the weights
    A of(long column) const { return weight != nullptr ? weight[column] : A(1); }
};

// One row's loss from its maximum, the logarithm of its sum of exponentials relative to that, and the (weighted) sum of
// distances from the maximum. The maximum cancels first: a loss near zero keeps its digits.
template <bool Smooth, class A>
TENON_ALWAYS_INLINE A row_loss(const CrossEntropyTerms<A>& terms, long label, A at_label, A largest, A logs, A distances) {
    if (label == terms.ignore_index) return A(0);
    A weight = terms.hot;
    if (terms.weight != nullptr) weight *= terms.weight[label];
    A loss = weight * ((largest - at_label) + logs);
    if constexpr (Smooth) loss += terms.flat * (distances + terms.weights * logs);
    else (void)distances;
    return loss;
}

// sum_c weight[c] * (largest - x[c]) of a row of at least N.
template <class A, int N, class T>
TENON_ALWAYS_INLINE A row_distances(const T* x, long n, const A* weight, A largest) {
    using V = simd<A, N>;
    const V m(largest);
    double total = 0;
    for (long begin = 0; begin < n; begin += fold_block) {
        const long end = begin + fold_block < n ? begin + fold_block : n;
        V sum(0);
        long c = begin;
        for (; c + N <= end; c += N) {
            const V d = m - load_lanes<A, N>(x + c);
            sum += weight != nullptr ? d * V::load(weight + c) : d;
        }
        if (c < end) {
            V d = m - load_lanes<A, N>(x + n - N);
            if (weight != nullptr) d = d * V::load(weight + n - N);
            sum += select(lane_numbers<A, N>() >= V(A(N - (end - c))), d, V(0));
        }
        total += static_cast<double>(reduce_add(sum));
    }
    return A(total);
}

// Element k of lane l is x[k * stride + l].
template <bool Smooth, bool Part, class A, int N, class T>
TENON_ALWAYS_INLINE void lanes_cross_entropy(long n, const T* x, long stride, long count, const A* weight, A* largest, A* logs, A* distances) {
    using V = simd<A, N>;
    const V m = lanes_max<Part, A, N>(n, x, stride, count);
    V sum(0), d(0);
    for (long c = 0; c < n; ++c) {
        const V v = load_some<Part, A, N>(x + c * stride, count);
        sum += row_exp(v - m);
        if constexpr (Smooth) d += weight != nullptr ? (m - v) * V(weight[c]) : m - v;
    }
    m.store(largest);
    math::log(sum).store(logs);
    if constexpr (Smooth) d.store(distances);
}

// Loss and log-sum-exp per row; labels are known to be in range.
template <bool Smooth>
struct CrossEntropyBody {
    template <int Lanes, class T, class I>
    static TENON_ALWAYS_INLINE void run(long rows, long columns, const T* x, const I* labels, const CrossEntropyTerms<accumulator<T>>* terms, accumulator<T>* loss,
                                        accumulator<T>* top, accumulator<T>* logs) {
        using A = accumulator<T>;
        constexpr int N = Lanes * 4 / int(sizeof(A));
        A largest[N], spread[N], distances[N] = {};
        A in[softmax_short * N];
        for (long r = 0; r < rows; r += N) {
            const long count = rows - r < N ? rows - r : N;
            if (Lanes <= 8 && columns <= softmax_short) {
                if constexpr (Lanes <= 8) {
                    turn_in<A, N>(count, columns, x + r * columns, in);
                    lanes_cross_entropy<Smooth, false, A, N>(columns, in, N, N, terms->weight, largest, spread, distances);
                }
            } else {
                for (long l = 0; l < count; ++l) {
                    const T* row = x + (r + l) * columns;
                    largest[l] = fold_contiguous<Fold::max, A, fold_lanes<A, N>>(row, columns, A(0));
                    // Without the largest element's own 1: a sum near it keeps its digits. The logarithms are taken together.
                    spread[l] = A(row_exponentials<false, A, N>(row, columns, largest[l], static_cast<T*>(nullptr)) - 1);
                    if constexpr (Smooth) distances[l] = row_distances<A, fold_lanes<A, N>>(row, columns, terms->weight, largest[l]);
                }
                for (long l = count; l < N; ++l) spread[l] = 0;
                constexpr int H = fold_lanes<A, N>;
                for (int l = 0; l < N; l += H) math::log1p(simd<A, H>::load(spread + l)).store(spread + l);
            }
            for (long l = 0; l < count; ++l) {
                const long label = static_cast<long>(labels[r + l]);
                const A at_label = label == terms->ignore_index ? A(0) : static_cast<A>(x[(r + l) * columns + label]);
                top[r + l] = largest[l];
                logs[r + l] = spread[l];
                loss[r + l] = row_loss<Smooth>(*terms, label, at_label, largest[l], spread[l], distances[l]);
            }
        }
    }
};
// `width` neighbouring rows of [columns, inner].
template <bool Smooth>
struct CrossEntropyAxisBody {
    template <int Lanes, class T, class I>
    static TENON_ALWAYS_INLINE void run(long columns, long inner, long width, const T* x, const I* labels, const CrossEntropyTerms<accumulator<T>>* terms,
                                        accumulator<T>* loss, accumulator<T>* top, accumulator<T>* logs) {
        using A = accumulator<T>;
        constexpr int N = Lanes * 4 / int(sizeof(A));
        A largest[N], spread[N], distances[N] = {};
        for (long j = 0; j < width; j += N) {
            const long count = width - j < N ? width - j : N;
            if (count == N) lanes_cross_entropy<Smooth, false, A, N>(columns, x + j, inner, N, terms->weight, largest, spread, distances);
            else lanes_cross_entropy<Smooth, true, A, N>(columns, x + j, inner, count, terms->weight, largest, spread, distances);
            for (long l = 0; l < count; ++l) {
                const long label = static_cast<long>(labels[j + l]);
                const A at_label = label == terms->ignore_index ? A(0) : static_cast<A>(x[label * inner + j + l]);
                top[j + l] = largest[l];
                logs[j + l] = spread[l];
                loss[j + l] = row_loss<Smooth>(*terms, label, at_label, largest[l], spread[l], distances[l]);
            }
        }
    }
};

// dx[c] = p * (hot + flats) - (c == label ? hot : 0) - flat * weight[c], with what belongs to the row in hot (scale * (1 -
// smoothing) * weight[label]), flat (scale * smoothing / columns) and flats (flat * the sum of the weights). The maximum and the
// logarithm of the sum are kept apart: added up, large logits would take the digits of the second.
template <bool Smooth>
struct CrossEntropyBackwardBody {
    template <class A>
    static TENON_ALWAYS_INLINE A hot_of(const CrossEntropyTerms<A>& terms, long label, A scale) {
        return label == terms.ignore_index ? A(0) : scale * terms.hot * (terms.weight != nullptr ? terms.weight[label] : A(1));
    }
    template <int Lanes, class T, class I>
    static TENON_ALWAYS_INLINE void run(long rows, long columns, const T* x, const I* labels, const CrossEntropyTerms<accumulator<T>>* terms,
                                        const accumulator<T>* top, const accumulator<T>* logs, const accumulator<T>* scale, T* dx, bool accumulate) {
        using A = accumulator<T>;
        constexpr int N = Lanes * 4 / int(sizeof(A));
        using V = simd<A, N>;
        if (Lanes <= 8 && columns <= softmax_short) {
            A in[softmax_short * N], out[softmax_short * N];
            for (long r = 0; Lanes <= 8 && r < rows; r += N) {
                const long count = rows - r < N ? rows - r : N;
                turn_in<A, N>(count, columns, x + r * columns, in);
                if (accumulate) turn_in<A, N>(count, columns, dx + r * columns, out);
                lanes_backward<false, A, N>(columns, in, out, N, N, count, labels + r, *terms, top + r, logs + r, scale + r, accumulate);
                turn_out<A, N>(count, columns, out, dx + r * columns);
            }
            return;
        }
        for (long r = 0; r < rows; ++r) {
            const long label = static_cast<long>(labels[r]);
            const T* from = x + r * columns;
            T* to = dx + r * columns;
            if (label == terms->ignore_index) {
                if (!accumulate) __builtin_memset(static_cast<void*>(to), 0, static_cast<unsigned long>(columns) * sizeof(T));
                continue;
            }
            const A h = hot_of(*terms, label, scale[r]), f = scale[r] * terms->flat;
            // The row's factor of exp(x - top), to which the sum of exponentials belongs.
            const A inverse = math::exp(-logs[r]);
            const V m(top[r]), hot(h), flat(f), all((h + f * terms->weights) * inverse);
            const long tail = columns - N;
            const V last = step(from, to, tail, m, hot, flat, all, terms->weight, label - tail, accumulate);
            for (long c = 0; c + N <= columns; c += N)
                store_lanes<A, N>(to + c, step(from, to, c, m, hot, flat, all, terms->weight, label - c, accumulate));
            store_lanes<A, N>(to + tail, last);
        }
    }
    template <class A, int N, class T>
    static TENON_ALWAYS_INLINE simd<A, N> step(const T* from, const T* to, long c, const simd<A, N>& m, const simd<A, N>& hot, const simd<A, N>& flat,
                                               const simd<A, N>& all, const A* weight, long at, bool accumulate) {
        using V = simd<A, N>;
        V p = row_exp(load_lanes<A, N>(from + c) - m) * all;
        if constexpr (Smooth) p = p - (weight != nullptr ? flat * V::load(weight + c) : flat);
        if (at >= 0 && at < N) p.v[at] -= hot.v[0];
        if (accumulate) p = p + load_lanes<A, N>(to + c);
        return p;
    }
    // Lanes beyond `count` are not rows.
    template <bool Part, class A, int N, class T, class I>
    static TENON_ALWAYS_INLINE void lanes_backward(long columns, const T* x, T* dx, long stride, long width, long count, const I* labels,
                                                   const CrossEntropyTerms<A>& terms, const A* top, const A* logs, const A* scale, bool accumulate) {
        using V = simd<A, N>;
        using Lane = typename V::Mask::Lane;
        A m[N] = {}, l[N] = {}, h[N] = {}, f[N] = {};
        simd<Lane, N> at(-1);
        for (int k = 0; k < int(count); ++k) {
            const long label = static_cast<long>(labels[k]);
            if (label == terms.ignore_index) continue;
            at.v[k] = static_cast<Lane>(label);
            m[k] = top[k];
            l[k] = logs[k];
            h[k] = hot_of(terms, label, scale[k]);
            f[k] = scale[k] * terms.flat;
        }
        const V tops = V::load(m), hot = V::load(h), flat = V::load(f), all = (hot + flat * V(terms.weights)) * row_exp(-V::load(l)), zero(0);
        const auto used = at >= simd<Lane, N>(0);
        for (long c = 0; c < columns; ++c) {
            V d = row_exp(load_some<Part, A, N>(x + c * stride, width) - tops) * all;
            if constexpr (Smooth) d = d - flat * V(terms.of(c));
            d = select(at == simd<Lane, N>(c), d - hot, d);
            // Chosen, not multiplied by zero: an ignored row may hold anything.
            d = select(used, d, zero);
            if (accumulate) d = d + load_some<Part, A, N>(dx + c * stride, width);
            store_some<Part, A, N>(dx + c * stride, d, width);
        }
    }
};
template <bool Smooth>
struct CrossEntropyAxisBackwardBody {
    template <int Lanes, class T, class I>
    static TENON_ALWAYS_INLINE void run(long columns, long inner, long width, const T* x, const I* labels, const CrossEntropyTerms<accumulator<T>>* terms,
                                        const accumulator<T>* top, const accumulator<T>* logs, const accumulator<T>* scale, T* dx, bool accumulate) {
        using A = accumulator<T>;
        constexpr int N = Lanes * 4 / int(sizeof(A));
        using Rows = CrossEntropyBackwardBody<Smooth>;
        long j = 0;
        for (; j + N <= width; j += N)
            Rows::template lanes_backward<false, A, N>(columns, x + j, dx + j, inner, N, N, labels + j, *terms, top + j, logs + j, scale + j, accumulate);
        if (j < width)
            Rows::template lanes_backward<true, A, N>(columns, x + j, dx + j, inner, width - j, width - j, labels + j, *terms, top + j, logs + j, scale + j, accumulate);
    }
};

// A target for each element.
template <class A>
struct SoftTerms {
    const A* weight;
    A keep, flat;  // the target is keep * t + flat
};

// Lanes of x and t at one column.
template <bool Part, class A, int N>
struct SoftLanes {
    using V = simd<A, N>;
    V m, sum, total, distances;
    TENON_ALWAYS_INLINE SoftLanes() : m(-A(__builtin_inf())), sum(0), total(0), distances(0) {}
    TENON_ALWAYS_INLINE void add(const V& x, const V& t, A weight, const SoftTerms<A>& terms) {
        const V u = (t * V(terms.keep) + V(terms.flat)) * V(weight);
        sum += row_exp(x - m);
        total += u;
        // A column without a target counts for nothing, whatever its logit.
        distances += select(u == V(0), V(0), u * (m - x));
    }
};
struct SoftCrossEntropyBody {
    // [columns, inner], lanes along inner.
    template <bool Part, class A, int N, class T>
    static TENON_ALWAYS_INLINE void lanes(long columns, long inner, long count, const T* x, const T* t, const SoftTerms<A>& terms, A* loss, A* top, A* logs, A* total) {
        using V = simd<A, N>;
        SoftLanes<Part, A, N> s;
        s.m = lanes_max<Part, A, N>(columns, x, inner, count);
        for (long c = 0; c < columns; ++c)
            s.add(load_some<Part, A, N>(x + c * inner, count), load_some<Part, A, N>(t + c * inner, count), terms.weight != nullptr ? terms.weight[c] : A(1), terms);
        const V spread = math::log(s.sum);
        store_some<true, A, N>(top, s.m, count);
        store_some<true, A, N>(logs, spread, count);
        store_some<true, A, N>(total, s.total, count);
        store_some<true, A, N>(loss, s.distances + s.total * spread, count);
    }
    // One row of at least N columns.
    template <class A, int N, class T>
    static TENON_ALWAYS_INLINE void row(long columns, const T* x, const T* t, const SoftTerms<A>& terms, A* loss, A* top, A* logs, A* total) {
        using V = simd<A, N>;
        const A largest = fold_contiguous<Fold::max, A, N>(x, columns, A(0));
        const A spread = A(math::log(row_exponentials<false, A, N>(x, columns, largest, static_cast<T*>(nullptr))));
        const V m(largest), keep(terms.keep), flat(terms.flat), zero(0);
        double all = 0, far = 0;
        for (long begin = 0; begin < columns; begin += fold_block) {
            const long end = begin + fold_block < columns ? begin + fold_block : columns;
            V a(0), d(0);
            for (long c = begin; c < end; c += N) {
                const bool whole = c + N <= end;
                const long at = whole ? c : columns - N;
                V u = load_lanes<A, N>(t + at) * keep + flat;
                if (terms.weight != nullptr) u = u * V::load(terms.weight + at);
                if (!whole) u = select(lane_numbers<A, N>() >= V(A(N - (end - c))), u, zero);
                a += u;
                d += select(u == zero, zero, u * (m - load_lanes<A, N>(x + at)));
            }
            all += static_cast<double>(reduce_add(a));
            far += static_cast<double>(reduce_add(d));
        }
        *top = largest;
        *logs = spread;
        *total = A(all);
        *loss = A(far + all * static_cast<double>(spread));
    }
    template <int Lanes, class T>
    static TENON_ALWAYS_INLINE void run(long columns, long inner, long width, const T* x, const T* t, const SoftTerms<accumulator<T>>* terms, accumulator<T>* loss,
                                        accumulator<T>* top, accumulator<T>* logs, accumulator<T>* total) {
        using A = accumulator<T>;
        constexpr int N = Lanes * 4 / int(sizeof(A));
        if (inner > 1) {
            long j = 0;
            for (; j + N <= width; j += N) lanes<false, A, N>(columns, inner, N, x + j, t + j, *terms, loss + j, top + j, logs + j, total + j);
            if (j < width) lanes<true, A, N>(columns, inner, width - j, x + j, t + j, *terms, loss + j, top + j, logs + j, total + j);
            return;
        }
        if (columns > softmax_short) {
            for (long r = 0; r < width; ++r) row<A, N>(columns, x + r * columns, t + r * columns, *terms, loss + r, top + r, logs + r, total + r);
            return;
        }
        A in[softmax_short * N], targets[softmax_short * N];
        for (long r = 0; r < width; r += N) {
            const long count = width - r < N ? width - r : N;
            turn_in<A, N>(count, columns, x + r * columns, in);
            turn_in<A, N>(count, columns, t + r * columns, targets);
            A l[N], m[N], s[N], a[N];
            lanes<false, A, N>(columns, N, N, in, targets, *terms, l, m, s, a);
            for (long k = 0; k < count; ++k) {
                loss[r + k] = l[k];
                top[r + k] = m[k];
                logs[r + k] = s[k];
                total[r + k] = a[k];
            }
        }
    }
};
// dx = scale * (p * total - weight * target), dt = scale * keep * weight * (logs - (x - top)); either may be null.
struct SoftCrossEntropyBackwardBody {
    template <class V>
    static TENON_ALWAYS_INLINE V logit(const V& x, const V& t, const V& weight, const V& logs, const V& total, const V& scale, const V& keep, const V& flat) {
        return (row_exp(x - logs) * total - (t * keep + flat) * weight) * scale;
    }
    template <bool Part, class A, int N, class T>
    static TENON_ALWAYS_INLINE void lanes(long columns, long inner, long count, const T* x, const T* t, const SoftTerms<A>& terms, const A* top, const A* logs, const A* total,
                                          const A* scale, T* dx, bool add_dx, T* dt, bool add_dt) {
        using V = simd<A, N>;
        const V m = load_some<true, A, N>(top, count), l = load_some<true, A, N>(logs, count), a = load_some<true, A, N>(total, count), s = load_some<true, A, N>(scale, count), keep(terms.keep), flat(terms.flat);
        for (long c = 0; c < columns; ++c) {
            const long at = c * inner;
            const V w(terms.weight != nullptr ? terms.weight[c] : A(1)), v = load_some<Part, A, N>(x + at, count) - m;
            if (dx != nullptr) {
                V d = logit(v, load_some<Part, A, N>(t + at, count), w, l, a, s, keep, flat);
                if (add_dx) d = d + load_some<Part, A, N>(dx + at, count);
                store_some<Part, A, N>(dx + at, d, count);
            }
            if (dt != nullptr) {
                V d = s * keep * w * (l - v);
                if (add_dt) d = d + load_some<Part, A, N>(dt + at, count);
                store_some<Part, A, N>(dt + at, d, count);
            }
        }
    }
    template <int Lanes, class T>
    static TENON_ALWAYS_INLINE void run(long columns, long inner, long width, const T* x, const T* t, const SoftTerms<accumulator<T>>* terms, const accumulator<T>* top,
                                        const accumulator<T>* logs, const accumulator<T>* total, const accumulator<T>* scale, T* dx, bool add_dx, T* dt, bool add_dt) {
        using A = accumulator<T>;
        constexpr int N = Lanes * 4 / int(sizeof(A));
        using V = simd<A, N>;
        if (inner > 1) {
            long j = 0;
            for (; j + N <= width; j += N)
                lanes<false, A, N>(columns, inner, N, x + j, t + j, *terms, top + j, logs + j, total + j, scale + j, dx ? dx + j : dx, add_dx, dt ? dt + j : dt, add_dt);
            if (j < width)
                lanes<true, A, N>(columns, inner, width - j, x + j, t + j, *terms, top + j, logs + j, total + j, scale + j, dx ? dx + j : dx, add_dx, dt ? dt + j : dt, add_dt);
            return;
        }
        for (long r = 0; r < width; ++r) {
            const V m(top[r]), l(logs[r]), a(total[r]), s(scale[r]), keep(terms->keep), flat(terms->flat);
            long c = 0;
            for (; c + N <= columns; c += N) piece<false, A, N>(r * columns + c, N, c, x, t, *terms, m, l, a, s, keep, flat, dx, add_dx, dt, add_dt);
            if (c < columns) piece<true, A, N>(r * columns + c, columns - c, c, x, t, *terms, m, l, a, s, keep, flat, dx, add_dx, dt, add_dt);
        }
    }
    template <bool Part, class A, int N, class T>
    static TENON_ALWAYS_INLINE void piece(long at, long count, long c, const T* x, const T* t, const SoftTerms<A>& terms, const simd<A, N>& m, const simd<A, N>& l, const simd<A, N>& a,
                                          const simd<A, N>& s, const simd<A, N>& keep, const simd<A, N>& flat, T* dx, bool add_dx, T* dt, bool add_dt) {
        using V = simd<A, N>;
        V w(1);
        if (terms.weight != nullptr) w = load_some<Part, A, N>(terms.weight + c, count);
        const V v = load_some<Part, A, N>(x + at, count) - m;
        if (dx != nullptr) {
            V d = logit(v, load_some<Part, A, N>(t + at, count), w, l, a, s, keep, flat);
            if (add_dx) d = d + load_some<Part, A, N>(dx + at, count);
            store_some<Part, A, N>(dx + at, d, count);
        }
        if (dt != nullptr) {
            V d = s * keep * w * (l - v);
            if (add_dt) d = d + load_some<Part, A, N>(dt + at, count);
            store_some<Part, A, N>(dt + at, d, count);
        }
    }
};

template <class A>
CrossEntropyTerms<A> cross_entropy_terms(long columns, long ignore_index, double smoothing, const A* weight) {
    double weights = static_cast<double>(columns);
    if (weight != nullptr) {
        weights = 0;
        for (long c = 0; c < columns; ++c) weights += static_cast<double>(weight[c]);
    }
    return {ignore_index, weight, static_cast<A>(1 - smoothing), static_cast<A>(smoothing / static_cast<double>(columns)), static_cast<A>(weights)};
}

}  // namespace impl

// Cross-entropy of logits x [outer, columns, inner] with one label (int64 or int32) for each of the outer * inner rows:
//     loss[r] = (1 - smoothing) * weight[label] * (lse[r] - x[label]) + smoothing / columns * sum_c weight[c] * (lse[r] - x[c])
// and 0 where the label is ignore_index; weight (per column, null: ones). top[r] = max(x) and logs[r] = log(sum(exp(x - top))), whose sum is lse, are what backward reads; *counted = the
// sum of weight[label] over rows that are not ignored. Returns -1, or the first row whose label lies outside of [0, columns)
// (then nothing is computed).
template <class T, class I>
long cross_entropy(long outer, long columns, long inner, const T* x, const I* labels, long ignore_index, double smoothing, const accumulator<T>* weight,
                   accumulator<T>* loss, accumulator<T>* top, accumulator<T>* logs, double* counted) {
    using A = accumulator<T>;
    double used = 0;
    const long rows = outer * inner;
    for (long r = 0; r < rows; ++r) {
        const long label = static_cast<long>(labels[r]);
        if (label == ignore_index) continue;
        if (label < 0 || label >= columns) return r;
        used += weight != nullptr ? static_cast<double>(weight[label]) : 1;
    }
    *counted = used;
    if (columns <= 0)
        for (long r = 0; r < rows; ++r) {
            loss[r] = top[r] = 0;
            logs[r] = -static_cast<A>(__builtin_inf());
        }
    const impl::CrossEntropyTerms<A> terms = impl::cross_entropy_terms(columns, ignore_index, smoothing, weight);
    if (inner == 1)
        impl::for_rows(rows, columns, [&](long first, long count) {
            const T* from = x + first * columns;
            const auto run = impl::by_length<T>(columns);
            if (smoothing != 0) run.template operator()<impl::CrossEntropyBody<true>>(count, columns, from, labels + first, &terms, loss + first, top + first, logs + first);
            else run.template operator()<impl::CrossEntropyBody<false>>(count, columns, from, labels + first, &terms, loss + first, top + first, logs + first);
        });
    else
        impl::for_axis(outer, columns, inner, [&](long at, long width) {
            const long row = at / (columns * inner) * inner + at % inner;
            if (smoothing != 0) dispatch<impl::CrossEntropyAxisBody<true>, impl::reduce_isa>(columns, inner, width, x + at, labels + row, &terms, loss + row, top + row, logs + row);
            else dispatch<impl::CrossEntropyAxisBody<false>, impl::reduce_isa>(columns, inner, width, x + at, labels + row, &terms, loss + row, top + row, logs + row);
        });
    return -1;
}
// dx = scale[r] * the derivative of loss[r], in one pass over x, from the forward's top and logs; 0 for ignored rows. accumulate adds to
// dx. dx may be x without accumulate. Labels must have passed the forward's check.
template <class T, class I>
void cross_entropy_backward(long outer, long columns, long inner, const T* x, const I* labels, long ignore_index, double smoothing,
                            const accumulator<T>* weight, const accumulator<T>* top, const accumulator<T>* logs, const accumulator<T>* scale, T* dx, bool accumulate) {
    using A = accumulator<T>;
    const impl::CrossEntropyTerms<A> terms = impl::cross_entropy_terms(columns, ignore_index, smoothing, weight);
    if (inner == 1)
        impl::for_rows(outer, columns, [&](long first, long count) {
            const long at = first * columns;
            const auto run = impl::by_length<T>(columns);
            if (smoothing != 0)
                run.template operator()<impl::CrossEntropyBackwardBody<true>>(count, columns, x + at, labels + first, &terms, top + first, logs + first, scale + first, dx + at, accumulate);
            else
                run.template operator()<impl::CrossEntropyBackwardBody<false>>(count, columns, x + at, labels + first, &terms, top + first, logs + first, scale + first, dx + at, accumulate);
        });
    else
        impl::for_axis(outer, columns, inner, [&](long at, long width) {
            const long row = at / (columns * inner) * inner + at % inner;
            if (smoothing != 0)
                dispatch<impl::CrossEntropyAxisBackwardBody<true>, impl::reduce_isa>(columns, inner, width, x + at, labels + row, &terms, top + row, logs + row, scale + row, dx + at, accumulate);
            else
                dispatch<impl::CrossEntropyAxisBackwardBody<false>, impl::reduce_isa>(columns, inner, width, x + at, labels + row, &terms, top + row, logs + row, scale + row, dx + at, accumulate);
        });
}
// The same for rows of a matrix, without weights and smoothing; *counted = rows that are not ignored.
template <class T, class I>
long cross_entropy(long rows, long columns, const T* x, const I* labels, long ignore_index, accumulator<T>* loss, accumulator<T>* top, accumulator<T>* logs, long* counted) {
    double used = 0;
    const long bad = cross_entropy(rows, columns, 1l, x, labels, ignore_index, 0., static_cast<const accumulator<T>*>(nullptr), loss, top, logs, &used);
    if (bad < 0) *counted = static_cast<long>(used);
    return bad;
}
template <class T, class I>
void cross_entropy_backward(long rows, long columns, const T* x, const I* labels, long ignore_index, const accumulator<T>* top,
                            const accumulator<T>* logs, const accumulator<T>* scale, T* dx, bool accumulate) {
    cross_entropy_backward(rows, columns, 1l, x, labels, ignore_index, 0., static_cast<const accumulator<T>*>(nullptr), top, logs, scale, dx, accumulate);
}

// Cross-entropy with a target t [outer, columns, inner] for each element, u = (1 - smoothing) * t + smoothing / columns:
//     loss[r] = sum_c weight[c] * u[c] * (lse[r] - x[c])
// A column with u = 0 counts for nothing, even at -inf. top, logs and total (the sum of weight * u) are what backward reads.
template <class T>
void soft_cross_entropy(long outer, long columns, long inner, const T* x, const T* t, double smoothing, const accumulator<T>* weight, accumulator<T>* loss,
                        accumulator<T>* top, accumulator<T>* logs, accumulator<T>* total) {
    using A = accumulator<T>;
    const impl::SoftTerms<A> terms{weight, static_cast<A>(1 - smoothing), static_cast<A>(smoothing / static_cast<double>(columns))};
    if (inner == 1)
        impl::for_rows(outer, columns, [&](long first, long count) {
            const long at = first * columns;
            dispatch<impl::SoftCrossEntropyBody, impl::reduce_isa>(columns, 1l, count, x + at, t + at, &terms, loss + first, top + first, logs + first, total + first);
        });
    else
        impl::for_axis(outer, columns, inner, [&](long at, long width) {
            const long row = at / (columns * inner) * inner + at % inner;
            dispatch<impl::SoftCrossEntropyBody, impl::reduce_isa>(columns, inner, width, x + at, t + at, &terms, loss + row, top + row, logs + row, total + row);
        });
}
// dx, dt (either may be null) = scale[r] * the derivatives of loss[r] in x and t. The flags say whether they are added to.
template <class T>
void soft_cross_entropy_backward(long outer, long columns, long inner, const T* x, const T* t, double smoothing, const accumulator<T>* weight,
                                 const accumulator<T>* top, const accumulator<T>* logs, const accumulator<T>* total, const accumulator<T>* scale, T* dx, bool add_dx, T* dt, bool add_dt) {
    using A = accumulator<T>;
    const impl::SoftTerms<A> terms{weight, static_cast<A>(1 - smoothing), static_cast<A>(smoothing / static_cast<double>(columns))};
    const auto from = [](T* p, long at) { return p != nullptr ? p + at : p; };
    if (inner == 1)
        impl::for_rows(outer, columns, [&](long first, long count) {
            const long at = first * columns;
            dispatch<impl::SoftCrossEntropyBackwardBody, impl::reduce_isa>(columns, 1l, count, x + at, t + at, &terms, top + first, logs + first, total + first, scale + first,
                                                                           from(dx, at), add_dx, from(dt, at), add_dt);
        });
    else
        impl::for_axis(outer, columns, inner, [&](long at, long width) {
            const long row = at / (columns * inner) * inner + at % inner;
            dispatch<impl::SoftCrossEntropyBackwardBody, impl::reduce_isa>(columns, inner, width, x + at, t + at, &terms, top + row, logs + row, total + row, scale + row,
                                                                           from(dx, at), add_dx, from(dt, at), add_dt);
        });
}

// Of logarithms of probabilities x [outer, columns, inner] and labels: loss[r] = -weight[label] * x[label], 0 where the label is
// ignore_index. *counted and the result are those of cross_entropy.
template <class T, class I>
long nll_loss(long outer, long columns, long inner, const T* x, const I* labels, long ignore_index, const accumulator<T>* weight, accumulator<T>* loss, double* counted) {
    using A = accumulator<T>;
    double used = 0;
    for (long o = 0; o < outer; ++o)
        for (long i = 0; i < inner; ++i) {
            const long r = o * inner + i, label = static_cast<long>(labels[r]);
            loss[r] = 0;
            if (label == ignore_index) continue;
            if (label < 0 || label >= columns) return r;
            const A w = weight != nullptr ? weight[label] : A(1);
            used += static_cast<double>(w);
            loss[r] = -w * static_cast<A>(x[(o * columns + label) * inner + i]);
        }
    *counted = used;
    return -1;
}
// dx (+)= scale[r] * the derivative of loss[r]: one element for each row that counts.
template <class T, class I>
void nll_loss_backward(long outer, long columns, long inner, const I* labels, long ignore_index, const accumulator<T>* weight, const accumulator<T>* scale, T* dx,
                       bool accumulate) {
    using A = accumulator<T>;
    const long tasks = (outer * columns * inner + impl::softmax_task - 1) / impl::softmax_task, size = outer * columns * inner;
    if (!accumulate)
        parallel_for(tasks, [&](long task) {
            const long first = task * impl::softmax_task, count = size - first < impl::softmax_task ? size - first : impl::softmax_task;
            __builtin_memset(static_cast<void*>(dx + first), 0, static_cast<unsigned long>(count) * sizeof(T));
        });
    for (long o = 0; o < outer; ++o)
        for (long i = 0; i < inner; ++i) {
            const long r = o * inner + i, label = static_cast<long>(labels[r]);
            if (label == ignore_index) continue;
            T& to = dx[(o * columns + label) * inner + i];
            to = static_cast<T>(static_cast<A>(to) - (weight != nullptr ? weight[label] : A(1)) * scale[r]);
        }
}

// From the losses of rows to a result: each rounded, or their sum (in double) times scale, divided by *counted where that is
// not null.
template <class T>
void round_losses(long n, const accumulator<T>* loss, T* out) {
    for (long i = 0; i < n; ++i) out[i] = static_cast<T>(loss[i]);
}
template <class T>
void sum_losses(long n, const accumulator<T>* loss, const double* counted, double scale, T* out) {
    double total = 0;
    for (long i = 0; i < n; ++i) total += static_cast<double>(loss[i]);
    if (counted != nullptr) scale /= *counted;
    *out = static_cast<T>(static_cast<accumulator<T>>(total * scale));
}
// And back: the gradient of each row's loss, its own (each) or the result's one times that factor; where nothing counts, 0.
template <class T>
void row_gradients(long rows, const T* dy, bool each, const double* counted, double scale, accumulator<T>* out) {
    using A = accumulator<T>;
    if (counted != nullptr) scale = *counted == 0 ? 0 : scale / *counted;
    const A all = each || rows == 0 ? A(0) : static_cast<A>(static_cast<double>(static_cast<A>(*dy)) * scale);
    for (long i = 0; i < rows; ++i) out[i] = each ? static_cast<A>(dy[i]) : all;
}

#if defined(TENON_KERNEL_INSTANCE)
#define TENON_CROSS_ENTROPY_INSTANCES(T)                                                                                                   \
    TENON_KERNEL_INSTANCE long cross_entropy<T, std::int64_t>(long, long, long, const T*, const std::int64_t*, long, double, const T*, T*, \
                                                              T*, T*, double*);                                                            \
    TENON_KERNEL_INSTANCE void cross_entropy_backward<T, std::int64_t>(long, long, long, const T*, const std::int64_t*, long, double,      \
                                                                       const T*, const T*, const T*, const T*, T*, bool);
TENON_CROSS_ENTROPY_INSTANCES(float)
TENON_CROSS_ENTROPY_INSTANCES(double)
#undef TENON_CROSS_ENTROPY_INSTANCES
#endif

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

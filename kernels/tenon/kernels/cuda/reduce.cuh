// Reductions along one axis, as cpu/reduce.hpp: the input is contiguous [outer, n, inner], the output [outer, inner].
// Each reads its input once and writes its output; what an element and a thread's few are added in is stated per operation,
// across threads it is double (int64 for integers).
#pragma once

#include <tenon/kernels/cpu/reduce.hpp>
#include <tenon/kernels/cuda/fold.cuh>
#include <tenon/kernels/cuda/split.cuh>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cuda {

using cpu::accumulator;

namespace reduce_impl {

template <class A>
using wide = std::conditional_t<std::is_floating_point_v<A>, double, A>;

template <class T, class Out>
struct Sum {
    using Local = accumulator<T>;
    using State = wide<Local>;
    const T* x;
    Out* out;
    double divisor;  // 1, or what a mean divides by
    TENON_FUNCTOR Local begin() const { return 0; }
    TENON_FUNCTOR void add(Local& local, long at, long) const { local += static_cast<Local>(x[at]); }
    TENON_FUNCTOR State close(const Local& local) const { return static_cast<State>(local); }
    TENON_FUNCTOR State combine(State a, State b) const { return a + b; }
    TENON_FUNCTOR void finish(long m, State s) const {
        if constexpr (std::is_floating_point_v<Local>) out[m] = static_cast<Out>(static_cast<Local>(s / divisor));
        else out[m] = static_cast<Out>(s);
    }
};

// In double from the start: products of a few floats may leave float's range where the whole does not. Integers wrap around.
template <class T, class Out>
struct Product {
    using State = std::conditional_t<std::is_floating_point_v<accumulator<T>>, double, std::uint64_t>;
    using Local = State;
    const T* x;
    Out* out;
    TENON_FUNCTOR Local begin() const { return 1; }
    TENON_FUNCTOR void add(Local& local, long at, long) const { local *= static_cast<State>(static_cast<accumulator<T>>(x[at])); }
    TENON_FUNCTOR State close(const Local& local) const { return local; }
    TENON_FUNCTOR State combine(State a, State b) const { return a * b; }
    TENON_FUNCTOR void finish(long m, State s) const { out[m] = static_cast<Out>(static_cast<accumulator<T>>(s)); }
};

// The arithmetic type of an order: 4 or 8 bytes.
template <class T>
using ordered = typename cpu::impl::fold_type<cpu::impl::Fold::max, T>::A;

template <class A>
struct Found {
    A value;
    std::conditional_t<sizeof(A) == 8, std::uint64_t, std::uint32_t> at;  // no padding; all ones: of nothing
};
// The first of the best; a NaN is the best of all.
template <bool Max, class T>
struct Extreme {
    using A = ordered<T>;
    using State = Found<A>;
    using Local = State;
    const T* x;
    T* values;              // may be null
    std::int64_t* indices;  // may be null
    long n, inner;
    TENON_FUNCTOR State begin() const {
        State s;
        s.value = A(0);
        s.at = static_cast<decltype(s.at)>(~0ull);
        return s;
    }
    TENON_FUNCTOR void add(Local& local, long at, long r) const {
        State s;
        s.value = static_cast<A>(x[at]);
        s.at = static_cast<decltype(s.at)>(r);
        local = combine(local, s);
    }
    TENON_FUNCTOR State close(const Local& local) const { return local; }
    TENON_FUNCTOR State combine(const State& a, const State& b) const {
        const decltype(a.at) nothing = static_cast<decltype(a.at)>(~0ull);
        const bool a_nan = a.value != a.value, b_nan = b.value != b.value, same = a.value == b.value || (a_nan && b_nan);
        const bool better = b_nan ? !a_nan : !a_nan && (Max ? b.value > a.value : b.value < a.value);
        const bool take = a.at == nothing || (b.at != nothing && (better || (same && b.at < a.at)));
        return take ? b : a;
    }
    TENON_FUNCTOR void finish(long m, const State& s) const {
        if (indices != nullptr) indices[m] = static_cast<std::int64_t>(s.at);
        // The element itself: which zero it is, a NaN's bits.
        if (values != nullptr) values[m] = x[(m / inner * n + static_cast<long>(s.at)) * inner + m % inner];
    }
};

template <bool Largest, class T>
struct Magnitude {
    using A = accumulator<T>;
    using State = A;
    using Local = A;
    const T* x;
    T* out;
    TENON_FUNCTOR A begin() const { return Largest ? A(0) : A(__builtin_inf()); }
    TENON_FUNCTOR void add(A& local, long at, long) const { local = combine(local, math::abs(static_cast<A>(x[at]))); }
    TENON_FUNCTOR A close(A local) const { return local; }
    TENON_FUNCTOR A combine(A a, A b) const { return b != b || (Largest ? b > a : b < a) ? b : a; }
    TENON_FUNCTOR void finish(long m, A s) const { out[m] = static_cast<T>(s); }
};

// Deviations from a thread's first element in double, whose squares lose nothing over the few elements that a thread has;
// threads meet by Chan, Golub and LeVeque's formula ("Updating formulae and a pairwise algorithm for computing sample
// variances", 1979), so the input is read once.
template <class T>
struct Variance {
    using A = accumulator<T>;
    struct Local { double shift, sum, deviations, squares, count; };
    struct State { double count, sum, squares; };
    const T* x;
    T* variance;
    A* mean;  // may be null
    double n, divisor;
    TENON_FUNCTOR Local begin() const { return {0, 0, 0, 0, 0}; }
    TENON_FUNCTOR void add(Local& l, long at, long) const {
        const double v = static_cast<double>(static_cast<A>(x[at]));
        if (l.count == 0) l.shift = v;
        const double d = v - l.shift;
        l.sum += v;
        l.deviations += d;
        l.squares += d * d;
        l.count += 1;
    }
    TENON_FUNCTOR State close(const Local& l) const {
        return {l.count, l.sum, l.count == 0 ? 0. : l.squares - l.deviations * l.deviations / l.count};
    }
    TENON_FUNCTOR State combine(const State& a, const State& b) const {
        if (b.count == 0) return a;
        if (a.count == 0) return b;
        const double count = a.count + b.count, d = b.sum / b.count - a.sum / a.count;
        return {count, a.sum + b.sum, a.squares + b.squares + d * d * (a.count * b.count / count)};
    }
    TENON_FUNCTOR void finish(long m, const State& s) const {
        if (mean != nullptr) mean[m] = static_cast<A>(s.sum / n);
        variance[m] = static_cast<T>(static_cast<A>((s.squares < 0 ? 0 : s.squares) / divisor));
    }
};

// The largest so far and the sum of exp(x - largest), made smaller when a larger one comes.
template <class T>
struct Logsumexp {
    using A = accumulator<T>;
    struct State { double largest, sum; };
    struct Local { A largest, sum; };
    const T* x;
    T* out;
    TENON_FUNCTOR Local begin() const { return {-A(__builtin_inf()), A(0)}; }
    TENON_FUNCTOR void add(Local& l, long at, long) const {
        const A v = static_cast<A>(x[at]);
        if (v > l.largest) {
            l.sum = l.sum * math::exp(l.largest - v) + A(1);
            l.largest = v;
        } else {
            l.sum += v == l.largest ? A(1) : math::exp(v - l.largest);  // equal infinities have no difference
        }
    }
    TENON_FUNCTOR State close(const Local& l) const { return {static_cast<double>(l.largest), static_cast<double>(l.sum)}; }
    TENON_FUNCTOR State combine(const State& a, const State& b) const {
        if (a.largest == b.largest) return {a.largest, a.sum + b.sum};
        if (b.largest > a.largest) return {b.largest, b.sum + a.sum * math::exp(a.largest - b.largest)};
        return {a.largest, a.sum + b.sum * math::exp(b.largest - a.largest)};
    }
    TENON_FUNCTOR void finish(long m, const State& s) const { out[m] = static_cast<T>(static_cast<A>(s.largest + math::log(s.sum))); }
};

template <class T>
TENON_FUNCTOR void put_or_add(T* to, accumulator<T> value, bool add) {
    *to = static_cast<T>(add ? static_cast<accumulator<T>>(*to) + value : value);
}

template <class T>
struct SelectBackward {
    const T* dy;
    const std::int64_t* indices;
    T* dx;
    long n, inner;
    bool accumulate;
    TENON_FUNCTOR void operator()(long m) const {
        const long o = m / inner;
        put_or_add(dx + (o * n + indices[m]) * inner + (m - o * inner), static_cast<accumulator<T>>(dy[m]), accumulate);
    }
};

template <class T>
struct VarBackward {
    using A = accumulator<T>;
    const T* x;
    const A* mean;
    const T* dy;
    T* dx;
    A scale;
    bool accumulate;
    TENON_FUNCTOR void operator()(long at, long, long m) const {
        put_or_add(dx + at, (static_cast<A>(x[at]) - mean[m]) * (scale * static_cast<A>(dy[m])), accumulate);
    }
};

// Whether a product may be divided by its factors (cpu/reduce.hpp).
template <class T>
TENON_FUNCTOR bool safe_product(T y) {
    constexpr double least = std::is_same_v<T, double> ? 0x1p-1000 : std::is_same_v<T, half> ? 0x1p-14 : 0x1p-120;
    constexpr double most = std::is_same_v<T, double> ? 0x1p1000 : std::is_same_v<T, half> ? 65504. : 0x1p120;
    const double magnitude = math::abs(static_cast<double>(static_cast<accumulator<T>>(y)));
    return magnitude >= least && magnitude <= most;
}
template <class T>
struct ProdBackward {
    using A = accumulator<T>;
    const T* x;
    const T* y;
    const T* dy;
    T* dx;
    bool accumulate;
    TENON_FUNCTOR void operator()(long at, long, long m) const {
        if (!safe_product(y[m])) return;
        put_or_add(dx + at, static_cast<A>(static_cast<double>(static_cast<A>(dy[m])) * static_cast<double>(static_cast<A>(y[m])) / static_cast<double>(static_cast<A>(x[at]))),
                   accumulate);
    }
};
// A thread per line whose product may not be divided: the product before every 16th element is kept, those between are
// multiplied again on the way back.
template <class T>
struct ProdBackwardLines {
    using A = accumulator<T>;
    static constexpr int stretch = 16;
    const T* x;
    const T* y;
    const T* dy;
    T* dx;
    double* before;  // [stretches, outputs]
    long n, inner, outputs;
    bool accumulate;
    TENON_FUNCTOR double factor(long start, long r) const { return static_cast<double>(static_cast<A>(x[start + r * inner])); }
    TENON_FUNCTOR void operator()(long m) const {
        if (safe_product(y[m])) return;
        const long o = m / inner, start = o * n * inner + (m - o * inner);
        double product = 1;
        for (long r = 0; r < n; ++r) {
            if (r % stretch == 0) before[r / stretch * outputs + m] = product;
            product *= factor(start, r);
        }
        double behind = static_cast<double>(static_cast<A>(dy[m]));
        for (long s = (n - 1) / stretch; s >= 0; --s) {
            const long first = s * stretch;
            const int count = n - first < stretch ? static_cast<int>(n - first) : stretch;
            double ahead[stretch];
            product = before[s * outputs + m];
            for (int k = 0; k < count; ++k) {
                ahead[k] = product;
                product *= factor(start, first + k);
            }
            for (int k = count - 1; k >= 0; --k) {
                put_or_add(dx + start + (first + k) * inner, static_cast<A>(ahead[k] * behind), accumulate);
                behind *= factor(start, first + k);
            }
        }
    }
};

template <class T>
struct SquareRoot {
    T* x;
    TENON_FUNCTOR void operator()(long i) const { x[i] = static_cast<T>(math::sqrt(static_cast<accumulator<T>>(x[i]))); }
};
template <class T>
struct SquareRootBackward {
    using A = accumulator<T>;
    const T* root;
    const T* dy;
    T* dv;
    TENON_FUNCTOR void operator()(long i) const {
        const A r = static_cast<A>(root[i]);
        dv[i] = static_cast<T>(r == A(0) ? A(0) : static_cast<A>(dy[i]) / (A(2) * r));
    }
};

template <bool Max, class T>
void reduce_extreme(const char* name, long outer, long n, long inner, const T* x, T* values, std::int64_t* indices) {
    if (outer <= 0 || inner <= 0) return;
    if (n <= 0) fail<ShapeError>(name, ": expected at least one element along the axis, got 0");
    if (sizeof(ordered<T>) == 4 && n >= 0xffffffffl) fail<ShapeError>(name, ": the axis has ", n, " elements, of this type at most 4294967294 are supported on a GPU");
    fold_axis(name, outer, n, inner, Extreme<Max, T>{x, values, indices, n, inner});
}

}  // namespace reduce_impl

template <class T, class Out>
void reduce_sum(long outer, long n, long inner, const T* x, Out* out) {
    fold_axis("sum", outer, n, inner, reduce_impl::Sum<T, Out>{x, out, 1});
}
template <class T>
void reduce_mean(long outer, long n, long inner, const T* x, T* out) {
    fold_axis("mean", outer, n, inner, reduce_impl::Sum<T, T>{x, out, static_cast<double>(n)});
}
template <class T, class Out>
void reduce_prod(long outer, long n, long inner, const T* x, Out* out) {
    fold_axis("prod", outer, n, inner, reduce_impl::Product<T, Out>{x, out});
}
template <class T>
void reduce_max(long outer, long n, long inner, const T* x, T* values, std::int64_t* indices) {
    reduce_impl::reduce_extreme<true>("max", outer, n, inner, x, values, indices);
}
template <class T>
void reduce_min(long outer, long n, long inner, const T* x, T* values, std::int64_t* indices) {
    reduce_impl::reduce_extreme<false>("min", outer, n, inner, x, values, indices);
}
template <class T>
void reduce_magnitude(bool largest, long outer, long n, long inner, const T* x, T* out) {
    if (outer <= 0 || inner <= 0) return;
    if (n <= 0) fail<ShapeError>("norm: expected at least one element along the axis, got 0");
    if (largest) fold_axis("norm", outer, n, inner, reduce_impl::Magnitude<true, T>{x, out});
    else fold_axis("norm", outer, n, inner, reduce_impl::Magnitude<false, T>{x, out});
}
template <class T>
void reduce_var(long outer, long n, long inner, const T* x, long correction, T* variance, accumulator<T>* mean) {
    fold_axis("var", outer, n, inner,
              reduce_impl::Variance<T>{x, variance, mean, static_cast<double>(n), static_cast<double>(n > correction ? n - correction : 0)});
}
template <class T>
void reduce_logsumexp(long outer, long n, long inner, const T* x, T* out) {
    fold_axis("logsumexp", outer, n, inner, reduce_impl::Logsumexp<T>{x, out});
}

template <class T>
void reduce_select_backward(long outer, long n, long inner, const T* dy, const std::int64_t* indices, T* dx, bool accumulate) {
    if (outer <= 0 || n <= 0 || inner <= 0) return;
    if (!accumulate) zero_memory(dx, static_cast<std::size_t>(outer * n * inner) * sizeof(T));
    for_each_index("max", outer * inner, reduce_impl::SelectBackward<T>{dy, indices, dx, n, inner, accumulate});
}
template <class T>
void reduce_prod_backward(long outer, long n, long inner, const T* x, const T* y, const T* dy, T* dx, bool accumulate) {
    if (outer <= 0 || n <= 0 || inner <= 0) return;
    using Lines = reduce_impl::ProdBackwardLines<T>;
    for_each_split("prod", outer, n, inner, reduce_impl::ProdBackward<T>{x, y, dy, dx, accumulate});
    const long outputs = outer * inner;
    const Scratch<double> before((n + Lines::stretch - 1) / Lines::stretch * outputs);
    for_each_index("prod", outputs, Lines{x, y, dy, dx, before.get(), n, inner, outputs, accumulate});
}
template <class T>
void reduce_var_backward(long outer, long n, long inner, const T* x, const accumulator<T>* mean, const T* dy, long correction, T* dx, bool accumulate) {
    using A = accumulator<T>;
    const A scale = static_cast<A>(2. / static_cast<double>(n > correction ? n - correction : 0));
    for_each_split("var", outer, n, inner, reduce_impl::VarBackward<T>{x, mean, dy, dx, scale, accumulate});
}

template <class T>
void square_roots(long n, T* x) {
    for_each_index("std_dev", n, reduce_impl::SquareRoot<T>{x});
}
template <class T>
void square_roots_backward(long n, const T* root, const T* dy, T* dv) {
    for_each_index("std_dev", n, reduce_impl::SquareRootBackward<T>{root, dy, dv});
}

}  // namespace kernels::cuda
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

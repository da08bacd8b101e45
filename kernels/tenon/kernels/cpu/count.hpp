// Counting into bins: of whole numbers (bincount) and of intervals (histogram).
#pragma once

#include <tenon/kernels/cpu/reduce.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

namespace reference {

// The interval of rising edges that holds v, or -1: [edge, next edge), the last one with its end.
template <class A, class T>
long find_bin(A v, long bins, const T* edges) {
    for (long b = 0; b < bins; ++b) {
        const A low = static_cast<A>(edges[b]), high = static_cast<A>(edges[b + 1]);
        if (v >= low && (v < high || (b == bins - 1 && v == high))) return b;
    }
    return -1;
}

}  // namespace reference

namespace impl {

constexpr long count_share = 65536;   // elements worth a thread of their own
constexpr long count_tables = 1 << 16;  // most bins of which threads have their own counts

// counts[bin(i)] += 1 for i in [0, n), where that is not negative. Whole numbers: the order does not matter.
template <class F>
void count_all(long n, long bins, std::int64_t* counts, F&& bin) {
    std::memset(counts, 0, static_cast<std::size_t>(bins) * sizeof(std::int64_t));
    const long most = bins <= count_tables ? num_threads() : 1, wanted = n / count_share;
    const long parts = wanted < 1 ? 1 : wanted < most ? wanted : most;
    const Scratch<std::int64_t> tables(parts > 1 ? parts * bins : 0);
    parallel_for(parts, [&](long p) {
        std::int64_t* table = parts > 1 ? tables.data() + p * bins : counts;
        if (parts > 1) std::memset(table, 0, static_cast<std::size_t>(bins) * sizeof(std::int64_t));
        const long first = n * p / parts, last = n * (p + 1) / parts;
        for (long i = first; i < last; ++i) {
            const long b = bin(i);
            if (b >= 0) ++table[b];
        }
    });
    if (parts > 1)
        for (long p = 0; p < parts; ++p)
            for (long b = 0; b < bins; ++b) counts[b] += tables[p * bins + b];
}

}  // namespace impl

// counts[v] = how many of x are v; 0 <= x < bins.
template <class I>
void bincount(long n, const I* x, long bins, std::int64_t* counts) {
    impl::count_all(n, bins, counts, [&](long i) { return static_cast<long>(x[i]); });
}
// sums[v] = the sum of the weights where x is v, in double and in order.
template <class I, class T>
void bincount(long n, const I* x, const T* weights, long bins, T* sums) {
    const impl::Scratch<double> total(bins);
    std::memset(static_cast<void*>(total.data()), 0, static_cast<std::size_t>(bins) * sizeof(double));
    for (long i = 0; i < n; ++i) total[static_cast<long>(x[i])] += static_cast<double>(static_cast<accumulator<T>>(weights[i]));
    for (long b = 0; b < bins; ++b) sums[b] = static_cast<T>(static_cast<accumulator<T>>(total[b]));
}

// Its backward: every weight gets the gradient of its bin; accumulate adds to dweights.
template <class I, class T>
void bincount_backward(long n, const I* x, const T* dsums, T* dweights, bool accumulate) {
    for (long i = 0; i < n; ++i) {
        const accumulator<T> d = static_cast<accumulator<T>>(dsums[static_cast<long>(x[i])]);
        dweights[i] = static_cast<T>(accumulate ? static_cast<accumulator<T>>(dweights[i]) + d : d);
    }
}

// counts[b] = how many of x lie in [edges[b], edges[b + 1]), the last interval with its end; what lies outside, and NaN,
// counts nowhere. edges: bins + 1 of them, rising. uniform: they are evenly spaced, which finds the bin by arithmetic.
template <class T>
void histogram(long n, const T* x, long bins, const T* edges, bool uniform, std::int64_t* counts) {
    using A = accumulator<T>;
    const A low = static_cast<A>(edges[0]), high = static_cast<A>(edges[bins]);
    const A scale = uniform ? static_cast<A>(bins) / (high - low) : A(0);
    impl::count_all(n, bins, counts, [&](long i) -> long {
        const A v = static_cast<A>(x[i]);
        if (!(v >= low && v <= high)) return -1;
        long at = 0;
        if (uniform) {
            at = static_cast<long>((v - low) * scale);
            at = at >= bins ? bins - 1 : at;
            // Rounding may have missed by one: the edges decide.
            while (at > 0 && v < static_cast<A>(edges[at])) --at;
            while (at + 1 < bins && v >= static_cast<A>(edges[at + 1])) ++at;
            return at;
        }
        for (long left = bins; left > 1;) {
            const long half_of = left / 2;
            at = v >= static_cast<A>(edges[at + half_of]) ? at + half_of : at;
            left -= half_of;
        }
        return at;
    });
}

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

// Farthest point sampling (Eldar et al. 1997; Moenning and Dodgson 2003): from a start on, always the point whose distance to
// those chosen is largest. Of several the first counts; no point is chosen twice.
#pragma once

#include <tenon/base/dispatch.hpp>
#include <tenon/base/parallel.hpp>
#include <tenon/base/simd.hpp>
#include <tenon/kernels/cpu/gather.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

namespace reference {

// x [n, dims] of one cloud; chosen [m] begins with the start.
template <class T>
void farthest_points(long n, long dims, const T* x, long start, long m, std::int64_t* chosen) {
    const impl::Scratch<T> nearest(n);
    for (long i = 0; i < n; ++i) nearest[i] = static_cast<T>(__builtin_inf());
    long at = start;
    for (long s = 0; s < m; ++s) {
        chosen[s] = at;
        nearest[at] = T(-1);
        long next = -1;
        for (long i = 0; i < n; ++i) {
            T d(0);
            for (long j = 0; j < dims; ++j) d += (x[i * dims + j] - x[at * dims + j]) * (x[i * dims + j] - x[at * dims + j]);
            if (d < nearest[i]) nearest[i] = d;
            if (next < 0 || nearest[i] > nearest[next]) next = i;
        }
        at = next;
    }
}

}  // namespace reference

namespace impl {

constexpr long point_lanes = 16;      // points are padded to a multiple of the widest vector
constexpr long farthest_part = 8192;  // points of a cloud that one task looks at
constexpr long padded_points(long n) { return (n + point_lanes - 1) / point_lanes * point_lanes; }

// x [n, dims] -> to [dims, padded], `fill` behind the last point.
template <class T>
void turn_points(long n, long dims, const T* x, long padded, T fill, T* to) {
    for (long j = 0; j < dims; ++j) {
        for (long i = 0; i < n; ++i) to[j * padded + i] = x[i * dims + j];
        for (long i = n; i < padded; ++i) to[j * padded + i] = fill;
    }
}

// nearest[i] = min(nearest[i], distance to the point `at`); the largest of them, the first of several, and where it is.
// Dims 0: told at run time.
template <int Dims>
struct FarthestBody {
    template <int Lanes, class T>
    static TENON_ALWAYS_INLINE void run(const T* x, long padded, long given, const T* at, long begin, long end, T* nearest, T* most, long* where) {
        using P = std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>;
        constexpr int N = Lanes * 4 / static_cast<int>(sizeof(T));
        using V = simd<T, N>;
        const long dims = Dims > 0 ? Dims : given;
        V best(-2);
        simd<P, N> place(0), own(0);
        for (int q = 0; q < N; ++q) own.v[q] = static_cast<P>(begin + q);
        for (long i = begin; i < end; i += N) {
            V d(0);
            for (long j = 0; j < dims; ++j) {
                const V away = V::load(x + j * padded + i) - V(at[j]);
                d += away * away;
            }
            const V before = V::load(nearest + i), now = select(d < before, d, before);
            now.store(nearest + i);
            const auto better = now > best;
            best = select(better, now, best);
            place = select(better, own, place);
            own += simd<P, N>(static_cast<P>(N));
        }
        T top = best[0];
        P found = place[0];
        for (int q = 1; q < N; ++q)
            if (best[q] > top || (!(best[q] < top) && place[q] < found)) {
                top = best[q];
                found = place[q];
            }
        *most = top;
        *where = static_cast<long>(found);
    }
};

template <class T>
void farthest_of_cloud(long n, long dims, const T* x, long start, long m, std::int64_t* chosen, std::int64_t base) {
    if (m <= 0) return;
    const long padded = padded_points(n), parts = (padded + farthest_part - 1) / farthest_part;
    const Scratch<T> turned(dims * padded), nearest(padded), point(dims), most(parts);
    const Scratch<long> where(parts);
    turn_points(n, dims, x, padded, T(0), turned.data());
    for (long i = 0; i < padded; ++i) nearest[i] = i < n ? static_cast<T>(__builtin_inf()) : T(-1);
    long at = start;
    for (long s = 0;; ++s) {
        chosen[s] = base + at;
        if (s + 1 == m) return;
        nearest[at] = T(-1);
        for (long j = 0; j < dims; ++j) point[j] = x[at * dims + j];
        parallel_for(parts, [&](long part) {
            const long begin = part * farthest_part, end = begin + farthest_part < padded ? begin + farthest_part : padded;
            const T *points = turned.data(), *from = point.data();
            T *d = nearest.data(), *top = most.data() + part;
            long* place = where.data() + part;
            if (dims == 3) dispatch<FarthestBody<3>>(points, padded, dims, from, begin, end, d, top, place);
            else if (dims == 2) dispatch<FarthestBody<2>>(points, padded, dims, from, begin, end, d, top, place);
            else dispatch<FarthestBody<0>>(points, padded, dims, from, begin, end, d, top, place);
        });
        long best = 0;
        for (long part = 1; part < parts; ++part)
            if (most[part] > most[best]) best = part;
        at = where[best];
    }
}

}  // namespace impl

// Cloud c is the rows [pointers[c], pointers[c + 1]) of x [points, dims]; of it chosen[begins[c]] to chosen[begins[c + 1] - 1] are
// filled with rows of x, the first being starts[c] (a row of x). At most as many as the cloud has. Idea: points lie by
// coordinate, one pass per chosen point updates the distances and finds the farthest.
template <class T>
void farthest_points(long clouds, const std::int64_t* pointers, [[maybe_unused]] long points, long dims, const T* x, const std::int64_t* begins, const std::int64_t* starts, std::int64_t* chosen) {
    parallel_for(clouds, [&](long c) {
        const long first = static_cast<long>(pointers[c]);
        impl::farthest_of_cloud(static_cast<long>(pointers[c + 1]) - first, dims, x + first * dims, static_cast<long>(starts[c]) - first,
                                static_cast<long>(begins[c + 1] - begins[c]), chosen + begins[c], pointers[c]);
    });
}

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

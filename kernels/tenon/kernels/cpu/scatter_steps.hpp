// What scatters do element by element, on every device (each.hpp).
#pragma once

#include <tenon/kernels/cpu/each.hpp>
#include <tenon/kernels/cpu/gather.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

inline constexpr int scatter_max_rank = 8;

// Where the indices cover a part of the other axes only: positions in all of x.
template <class I>
struct PositionStep {
    int rank, axis;
    long dims[scatter_max_rank], index_dims[scatter_max_rank];
    const I* index;
    std::int64_t* to;
    TENON_FUNCTOR void operator()(long k) const {
        long rest = k, position = 0, stride = 1;
        for (int i = rank - 1; i >= 0; --i) {
            const long before = rest / index_dims[i];
            position += (i == axis ? static_cast<long>(index[k]) : rest - before * index_dims[i]) * stride;
            stride *= dims[i];
            rest = before;
        }
        to[k] = position;
    }
};
// Positions of one more axis, of size n, joined to those of the axes before; n = 0: there are none.
template <class I>
struct RowStep {
    const I* index;
    long n;
    std::int64_t* rows;
    TENON_FUNCTOR void operator()(long i) const { rows[i] = (n == 0 ? 0 : rows[i] * n) + static_cast<long>(index[i]); }
};
template <class To, class From>
struct ConvertStep {
    const From* from;
    To* to;
    TENON_FUNCTOR void operator()(long i) const { to[i] = static_cast<To>(from[i]); }
};

// Parts: the sources of an element and, with self, what it held.
template <class T, class A>
struct ShareStep {
    const T* dy;
    const A* parts;
    int self;
    T* share;
    TENON_FUNCTOR void operator()(long i) const {
        const A n = parts[i] + A(self);
        share[i] = n > A(1) ? static_cast<T>(static_cast<A>(dy[i]) / n) : dy[i];
    }
};
// The gradient of what an element held, where only sources count.
template <class T, class A>
struct DropCountedStep {
    const A* counts;
    T* share;
    TENON_FUNCTOR void operator()(long i) const {
        if (counts[i] > A(0)) share[i] = T(0.f);
    }
};
template <class T>
struct DropUnlessStep {
    const bool* kept;
    T* values;
    TENON_FUNCTOR void operator()(long i) const {
        if (!kept[i]) values[i] = T(0.f);
    }
};
struct SetTrueStep {
    bool* flags;
    TENON_FUNCTOR void operator()(long i) const { flags[i] = true; }
};
// own: whether what an element held is its extreme.
template <class T, class A>
struct OwnTieStep {
    const T *x, *y;
    bool* own;
    A* ties;
    TENON_FUNCTOR void operator()(long i) const {
        own[i] = own[i] && x[i] == y[i];
        ties[i] = A(own[i] ? 1 : 0);
    }
};
template <class T, class A>
struct SourceTieStep {
    const T *src, *met;
    bool* equal;
    A* ones;
    TENON_FUNCTOR void operator()(long k) const {
        equal[k] = src[k] == met[k];
        ones[k] = equal[k] ? A(1) : A(0);
    }
};

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

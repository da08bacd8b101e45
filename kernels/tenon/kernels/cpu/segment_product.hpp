// Products over segments of rows, column by column, and their backward pass. Segments are those of segment.hpp: the rows order[k] of x for
// k in [pointers[s], pointers[s + 1]), or the rows k themselves where order is null. A segment without rows gives 0.
#pragma once

#include <tenon/kernels/cpu/segment.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

namespace reference {

// The plain versions, in double.
template <class T>
void segment_product(long segments, const std::int64_t* pointers, const std::int64_t* order, long width, const T* x, double* y) {
    for (long s = 0; s < segments; ++s)
        for (long j = 0; j < width; ++j) {
            y[s * width + j] = pointers[s] < pointers[s + 1] ? 1 : 0;
            for (long k = pointers[s]; k < pointers[s + 1]; ++k)
                y[s * width + j] *= static_cast<double>(x[(order == nullptr ? k : static_cast<long>(order[k])) * width + j]);
        }
}
// dx[row] = dy[segment] times the product of the segment's other rows.
template <class T>
void segment_product_backward(long segments, const std::int64_t* pointers, const std::int64_t* order, long width, const T* x, const T* dy,
                              double* dx) {
    const auto row = [&](long k) { return order == nullptr ? k : static_cast<long>(order[k]); };
    for (long s = 0; s < segments; ++s)
        for (long k = pointers[s]; k < pointers[s + 1]; ++k)
            for (long j = 0; j < width; ++j) {
                double others = static_cast<double>(dy[s * width + j]);
                for (long i = pointers[s]; i < pointers[s + 1]; ++i)
                    if (i != k) others *= static_cast<double>(x[row(i) * width + j]);
                dx[row(k) * width + j] = others;
            }
}

}  // namespace reference

namespace impl {

struct SegmentProductBody {
    template <int Lanes, class T>
    static TENON_ALWAYS_INLINE void run(const T* x, long width, const std::int64_t* order, long first, long count, T* y) {
        using A = typename sum_type<T>::type;
        constexpr int N = move_lanes<A, Lanes>;
        for (long j = 0; j < width; j += N) {
            const long rest = width - j;
            simd<A, N> product(1);
            for (long k = first; k < first + count; ++k)
                product = product * move_load<A, N>(x + (order == nullptr ? k : static_cast<long>(order[k])) * width + j, rest);
            move_store<A, N>(y + j, product, rest);
        }
    }
};

// Products of the rows before each row wait in `before`, [count, lanes]; those of the rows behind it come in a second walk, from the last
// one up: nothing is divided, so that zeros need no care.
struct SegmentProductBackwardBody {
    template <int Lanes, class T, class A>
    static TENON_ALWAYS_INLINE void run(const T* x, const T* dy, long width, const std::int64_t* order, long first, long count, bool add,
                                        A* before, T* dx) {
        constexpr int N = move_lanes<A, Lanes>;
        using V = simd<A, N>;
        for (long j = 0; j < width; j += N) {
            const long rest = width - j;
            V product(1);
            for (long k = 0; k < count; ++k) {
                const long row = order == nullptr ? first + k : static_cast<long>(order[first + k]);
                move_store<A, N>(before + k * N, product, N);
                product = product * move_load<A, N>(x + row * width + j, rest);
            }
            V behind = move_load<A, N>(dy + j, rest);
            for (long k = count; k-- > 0;) {
                const long row = order == nullptr ? first + k : static_cast<long>(order[first + k]);
                V d = behind * move_load<A, N>(before + k * N, N);
                if (add) d = d + move_load<A, N>(dx + row * width + j, rest);
                behind = behind * move_load<A, N>(x + row * width + j, rest);
                move_store<A, N>(dx + row * width + j, d, rest);
            }
        }
    }
};

}  // namespace impl

// y[s, :] = the products over the rows of each segment, 0 where there are none. 16-bit types multiply in float.
template <class T>
void segment_product(long segments, const std::int64_t* pointers, const std::int64_t* order, long width, const T* x, T* y) {
    if (width <= 0) return;
    impl::for_segments(segments, pointers, width * static_cast<long>(sizeof(T)), [&](long s) {
        const long first = static_cast<long>(pointers[s]), count = static_cast<long>(pointers[s + 1]) - first;
        if (count == 0) std::memset(static_cast<void*>(y + s * width), 0, static_cast<std::size_t>(width) * sizeof(T));
        else dispatch<impl::SegmentProductBody, Isa::avx2>(x, width, order, first, count, y + s * width);
    });
}

// dx[order[k], :] (+)= dy[s, :] times the product of the other rows of segment s; rows in no segment are left alone.
template <class T>
void segment_product_backward(long segments, const std::int64_t* pointers, const std::int64_t* order, long width, const T* x, const T* dy,
                              T* dx, bool accumulate) {
    if (width <= 0) return;
    using A = typename impl::sum_type<T>::type;
    impl::for_segments(segments, pointers, width * static_cast<long>(sizeof(T)) * 4, [&](long s) {
        const long first = static_cast<long>(pointers[s]), count = static_cast<long>(pointers[s + 1]) - first;
        if (count == 0) return;
        const impl::Scratch<A> before(count * 16);  // of 16 lanes at most
        dispatch<impl::SegmentProductBackwardBody, Isa::avx2>(x, dy + s * width, width, order, first, count, accumulate, before.data(), dx);
    });
}

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

// Moving elements: rows by index and back (a scatter that sorts, so that sums keep their order), gather along an axis,
// copies between strided layouts.
//
// Indices are int64 or int32 and must lie in range: find_bad_index says whether they do. Negative ones do not count from
// the end.
#pragma once

#include <tenon/base/dispatch.hpp>
#include <tenon/base/error.hpp>
#include <tenon/base/parallel.hpp>
#include <tenon/base/scratch.hpp>
#include <tenon/base/simd.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

namespace reference {

// The plain versions: one element after the other.
template <class T, class I>
void gather_rows(long count, long width, const T* src, const I* index, T* dst) {
    for (long i = 0; i < count; ++i)
        for (long j = 0; j < width; ++j) dst[i * width + j] = src[static_cast<long>(index[i]) * width + j];
}
// In double, into dst, which holds `rows` rows.
template <class T, class I>
void scatter_add_rows(long count, long width, const T* src, const I* index, double* dst) {
    for (long i = 0; i < count; ++i)
        for (long j = 0; j < width; ++j) dst[static_cast<long>(index[i]) * width + j] += static_cast<double>(src[i * width + j]);
}
template <class T, class I>
void gather_axis(long outer, long n, long m, long inner, const T* src, const I* index, T* dst) {
    for (long o = 0; o < outer; ++o)
        for (long j = 0; j < m; ++j)
            for (long i = 0; i < inner; ++i)
                dst[(o * m + j) * inner + i] = src[(o * n + static_cast<long>(index[(o * m + j) * inner + i])) * inner + i];
}
inline void copy_strided(int rank, const long* shape, void* dst, const long* dst_strides, const void* src, const long* src_strides,
                         int element_size) {
    if (rank == 0) {
        std::memcpy(dst, src, static_cast<std::size_t>(element_size));
        return;
    }
    for (long i = 0; i < shape[0]; ++i)
        copy_strided(rank - 1, shape + 1, static_cast<char*>(dst) + i * dst_strides[0] * element_size, dst_strides + 1,
                     static_cast<const char*>(src) + i * src_strides[0] * element_size, src_strides + 1, element_size);
}

}  // namespace reference

namespace impl {

constexpr long move_bytes = 1 << 17;  // per task

using detail::Scratch;

struct BadIndexBody {
    template <int Lanes, class I>
    static TENON_ALWAYS_INLINE void run(const I* index, long count, I size, long* at) {
        constexpr int N = Lanes * 4 / int(sizeof(I));
        using V = simd<I, N>;
        const V zero(0), end(size);
        long i = 0;
        for (; i + 4 * N <= count; i += 4 * N) {
            const V a = V::load(index + i), b = V::load(index + i + N), c = V::load(index + i + 2 * N), d = V::load(index + i + 3 * N);
            const auto bad = (a < zero) | (a >= end) | (b < zero) | (b >= end) | (c < zero) | (c >= end) | (d < zero) | (d >= end);
            if (reduce_add(V(bad.v)) != 0) break;
        }
        for (; i < count; ++i)
            if (index[i] < 0 || index[i] >= size) break;
        *at = i < count ? i : -1;
    }
};

}  // namespace impl

// The first position whose index lies outside of [0, size), or -1.
template <class I>
long find_bad_index(const I* index, long count, long size) {
    if (count <= 0) return -1;
    if (size > 0x7fffffffl && sizeof(I) == 4) size = 0x7fffffffl;  // every non-negative index is below it or invalid anyway
    long at = -1;
    dispatch<impl::BadIndexBody, Isa::avx2>(index, count, static_cast<I>(size), &at);
    return at;
}

namespace impl {

// Results of this size leave the caches before anybody reads them: they are written past the caches.
constexpr long stream_bytes = 1l << 25;

// Sixteen bytes past the caches, to an aligned address.
TENON_ALWAYS_INLINE void stream_store(void* to, const simd<float, 4>::Raw& v) {
#if defined(__clang__)
    __builtin_nontemporal_store(v, static_cast<simd<float, 4>::Raw*>(to));
#elif defined(__x86_64__)
    __builtin_ia32_movntps(static_cast<float*>(to), v);
#else
    *static_cast<simd<float, 4>::Unaligned*>(to) = v;
#endif
}
TENON_ALWAYS_INLINE void stream_fence() {
#if defined(__x86_64__)
    __builtin_ia32_sfence();
#endif
}

// Whole cache lines, written past the caches where the machine can.
struct StreamRowsBody {
    template <int Lanes, class I>
    static TENON_ALWAYS_INLINE void run(long count, long bytes, const char* src, const I* index, char* dst) {
        using V = simd<float, 4>;
        for (long i = 0; i < count; ++i) {
            const char* from = src + static_cast<long>(index[i]) * bytes;
            char* to = dst + i * bytes;
            if (i + 8 < count) {
                const char* next = src + static_cast<long>(index[i + 8]) * bytes;
                for (long line = 0; line < bytes && line < 512; line += 64) __builtin_prefetch(next + line);
            }
            for (long b = 0; b < bytes; b += 64)
                TENON_UNROLL(4)
                for (long q = b; q < b + 64; q += 16) {
                    stream_store(to + q, V::Raw(*reinterpret_cast<const V::Unaligned*>(from + q)));
                }
        }
        stream_fence();
    }
};

}  // namespace impl

// dst[i, :] = src[index[i], :] for i in [0, count); rows of `bytes` bytes.
template <class I>
void gather_rows(long count, long bytes, const void* src, const I* index, void* dst) {
    if (count <= 0 || bytes <= 0) return;
    const char* from = static_cast<const char*>(src);
    char* to = static_cast<char*>(dst);
    long rows = impl::move_bytes / bytes;
    if (rows < 1) rows = 1;
    if (bytes % 64 == 0 && reinterpret_cast<std::uintptr_t>(dst) % 64 == 0 && count * bytes >= impl::stream_bytes)
        return parallel_for((count + rows - 1) / rows, [&](long task) {
            const long first = task * rows, own = first + rows < count ? rows : count - first;
            dispatch<impl::StreamRowsBody, Isa::avx2>(own, bytes, from, index + first, to + first * bytes);
        });
    parallel_for((count + rows - 1) / rows, 0.05 * double(count) * double(bytes), [&](long task) {
        const long first = task * rows, last = first + rows < count ? first + rows : count;
        // Sizes that are one move of the machine are worth a loop of their own.
        auto each = [&](auto size) {
            for (long i = first; i < last; ++i) {
                // Rows lie anywhere: ask for one a few rows early.
                if (i + 8 < last) {
                    const char* next = from + static_cast<long>(index[i + 8]) * bytes;
                    for (long line = 0; line < static_cast<long>(size) && line < 256; line += 64) __builtin_prefetch(next + line);
                }
                __builtin_memcpy(to + i * bytes, from + static_cast<long>(index[i]) * bytes, static_cast<std::size_t>(size));
            }
        };
        switch (bytes) {
            case 1: return each(std::integral_constant<long, 1>());
            case 2: return each(std::integral_constant<long, 2>());
            case 4: return each(std::integral_constant<long, 4>());
            case 8: return each(std::integral_constant<long, 8>());
            case 16: return each(std::integral_constant<long, 16>());
            case 32: return each(std::integral_constant<long, 32>());
            case 64: return each(std::integral_constant<long, 64>());
            default: return each(bytes);
        }
    });
}

// order[0, count) = the positions, sorted by index; equal ones keep their order. Indices lie in [0, size).
template <class I>
void sort_positions(long count, const I* index, long size, std::int64_t* order) {
    if (count <= 0) return;
    if (count <= 24) {
        for (long i = 0; i < count; ++i) {
            long at = i;
            for (; at > 0 && index[order[at - 1]] > index[i]; --at) order[at] = order[at - 1];
            order[at] = i;
        }
        return;
    }
    if (size <= 4 * count) {
        const impl::Scratch<std::int64_t> start(size + 1);
        std::memset(start.data(), 0, static_cast<std::size_t>(size + 1) * sizeof(std::int64_t));
        for (long i = 0; i < count; ++i) ++start[static_cast<long>(index[i]) + 1];
        for (long r = 0; r < size; ++r) start[r + 1] += start[r];
        for (long i = 0; i < count; ++i) order[start[static_cast<long>(index[i])]++] = i;
        return;
    }
    // Least digit first, 11 bits at a time.
    const impl::Scratch<std::int64_t> other(count);
    std::int64_t* from = order;
    std::int64_t* to = other.data();
    for (long i = 0; i < count; ++i) from[i] = i;
    long start[2049];
    for (int shift = 0; shift < 63 && (size - 1) >> shift != 0; shift += 11) {
        std::memset(start, 0, sizeof start);
        for (long i = 0; i < count; ++i) ++start[((static_cast<long>(index[i]) >> shift) & 2047) + 1];
        for (int d = 0; d < 2048; ++d) start[d + 1] += start[d];
        for (long i = 0; i < count; ++i) to[start[(static_cast<long>(index[from[i]]) >> shift) & 2047]++] = from[i];
        std::int64_t* swap = from;
        from = to;
        to = swap;
    }
    if (from != order) std::memcpy(order, from, static_cast<std::size_t>(count) * sizeof(std::int64_t));
}

namespace impl {

constexpr long scatter_block = 256;  // rows added before they join the total

template <class T>
struct sum_type { using type = T; };
template <> struct sum_type<bf16> { using type = float; };
template <> struct sum_type<half> { using type = float; };

// Lanes of A in a vector of so many floats; vectors have 16 at most.
template <class A, int Lanes>
constexpr int move_lanes = Lanes * 4 / int(sizeof(A)) < 16 ? Lanes * 4 / int(sizeof(A)) : 16;

template <class A, int N, class T>
TENON_ALWAYS_INLINE simd<A, N> move_load(const T* p, long count) {
    if (count < N) {
        T lane[N];
        __builtin_memset(static_cast<void*>(lane), 0, sizeof lane);
        __builtin_memcpy(static_cast<void*>(lane), p, static_cast<std::size_t>(count) * sizeof(T));
        if constexpr (std::is_same_v<T, A>) return simd<A, N>::load(lane);
        else return load_as_float<N>(lane);
    }
    if constexpr (std::is_same_v<T, A>) return simd<A, N>::load(p);
    else return load_as_float<N>(p);
}
template <class A, int N, class T>
TENON_ALWAYS_INLINE void move_store(T* p, const simd<A, N>& a, long count) {
    if (count < N) {
        T lane[N];
        if constexpr (std::is_same_v<T, A>) a.store(lane);
        else store_float(lane, a);
        __builtin_memcpy(static_cast<void*>(p), lane, static_cast<std::size_t>(count) * sizeof(T));
    } else if constexpr (std::is_same_v<T, A>) {
        a.store(p);
    } else {
        store_float(p, a);
    }
}

// to[0, width) = (add ? to : 0) + scale * sum over k of coefficient[k] * src[order[k], :], in the order given. order null:
// rows 0, 1, ...; coefficient null: ones.
struct RowsSumBody {
    template <int Lanes, class T, class I>
    static TENON_ALWAYS_INLINE void run(const T* src, long width, const I* order, const T* coefficient, long count, double scale, bool add, T* to) {
        if (order == nullptr) {
            if (coefficient == nullptr) sum<Lanes, false, false>(src, width, order, coefficient, count, scale, add, to);
            else sum<Lanes, false, true>(src, width, order, coefficient, count, scale, add, to);
        } else if (coefficient == nullptr) {
            sum<Lanes, true, false>(src, width, order, coefficient, count, scale, add, to);
        } else {
            sum<Lanes, true, true>(src, width, order, coefficient, count, scale, add, to);
        }
    }

private:
    template <int Lanes, bool Ordered, bool Weighted, class T, class I>
    static TENON_ALWAYS_INLINE void sum(const T* src, long width, const I* order, const T* coefficient, long count, double scale, bool add, T* to) {
        using A = typename sum_type<T>::type;
        constexpr int N = move_lanes<A, Lanes>;
        long j = 0;
        // A block of rows is added before it joins the total, so that long sums lose less.
        for (; j + 4 * N <= width; j += 4 * N) columns<Lanes, Ordered, Weighted, 4>(src, width, order, coefficient, count, scale, add, to, j, N);
        for (; j + N <= width; j += N) columns<Lanes, Ordered, Weighted, 1>(src, width, order, coefficient, count, scale, add, to, j, N);
        if (j < width) columns<Lanes, Ordered, Weighted, 1>(src, width, order, coefficient, count, scale, add, to, j, width - j);
    }
    template <int Lanes, bool Ordered, bool Weighted, int Q, class T, class I>
    static TENON_ALWAYS_INLINE void columns(const T* src, long width, const I* order, const T* coefficient, long count, double scale, bool add, T* to, long j,
                                            long rest) {
        using A = typename sum_type<T>::type;
        constexpr int N = move_lanes<A, Lanes>;
        using V = simd<A, N>;
        const V zero(0);
        V total[Q], a[Q];
        TENON_UNROLL(4)
        for (int q = 0; q < Q; ++q) total[q] = zero;
        for (long begin = 0; begin < count; begin += scatter_block) {
            const long end = begin + scatter_block < count ? begin + scatter_block : count;
            TENON_UNROLL(4)
            for (int q = 0; q < Q; ++q) a[q] = zero;
            for (long k = begin; k < end; ++k) {
                const T* p = src + (Ordered ? static_cast<long>(order[k]) : k) * width + j;
                if constexpr (Weighted) {
                    const V c(static_cast<A>(coefficient[k]));
                    TENON_UNROLL(4)
                    for (int q = 0; q < Q; ++q) a[q] += c * move_load<A, N>(p + q * N, rest);
                } else {
                    TENON_UNROLL(4)
                    for (int q = 0; q < Q; ++q) a[q] += move_load<A, N>(p + q * N, rest);
                }
            }
            TENON_UNROLL(4)
            for (int q = 0; q < Q; ++q) total[q] += a[q];
        }
        if (scale != 1) {
            const V factor(static_cast<A>(scale));
            TENON_UNROLL(4)
            for (int q = 0; q < Q; ++q) total[q] *= factor;
        }
        TENON_UNROLL(4)
        for (int q = 0; q < Q; ++q) {
            if (add) total[q] += move_load<A, N>(to + j + q * N, rest);
            move_store<A, N>(to + j + q * N, total[q], rest);
        }
    }
};

// Asks for the rows of the next segments early: rows lie anywhere.
template <class T, class I>
TENON_ALWAYS_INLINE void prefetch_rows(const T* src, long width, const I* order, long count) {
    const long bytes = width * static_cast<long>(sizeof(T));
    for (long k = 0; k < count && k < 64; ++k) {
        const char* p = reinterpret_cast<const char*>(src + static_cast<long>(order[k]) * width);
        for (long line = 0; line < bytes && line < 512; line += 64) __builtin_prefetch(p + line);
    }
}

// dst[index[i], begin ... end) += src[i, begin ... end), one row after the other.
struct AddRowsBody {
    template <int Lanes, class T, class I>
    static TENON_ALWAYS_INLINE void run(long count, long width, long begin, long end, const T* src, const I* index, T* dst) {
        constexpr int N = move_lanes<T, Lanes>;
        const long bytes = (end - begin) * static_cast<long>(sizeof(T));
        for (long i = 0; i < count; ++i) {
            if (i + 8 < count) {
                const char* next = reinterpret_cast<const char*>(dst + static_cast<long>(index[i + 8]) * width + begin);
                for (long line = 0; line < bytes && line < 512; line += 64) __builtin_prefetch(next + line, 1);
            }
            const T* from = src + i * width;
            T* to = dst + static_cast<long>(index[i]) * width;
            long j = begin;
            for (; j + N <= end; j += N) (simd<T, N>::load(to + j) + simd<T, N>::load(from + j)).store(to + j);
            for (; j < end; ++j) to[j] = (simd<T, 2>(to[j]) + simd<T, 2>(from[j]))[0];
        }
    }
};

constexpr long near_bytes = 1l << 18;  // of dst that stay in a core's cache while they are added to
constexpr long most_bands = 4096;

// A source and the row that it goes to.
struct Move {
    std::uint32_t from, to;
};
struct AddMovesBody {
    template <int Lanes, class T>
    static TENON_ALWAYS_INLINE void run(long count, long width, const T* src, const Move* moves, T* dst) {
        constexpr int N = move_lanes<T, Lanes>;
        const long bytes = width * static_cast<long>(sizeof(T));
        for (long i = 0; i < count; ++i) {
            if (i + 12 < count) {
                const char* next = reinterpret_cast<const char*>(src + static_cast<long>(moves[i + 12].from) * width);
                for (long line = 0; line < bytes && line < 512; line += 64) __builtin_prefetch(next + line);
            }
            const T* from = src + static_cast<long>(moves[i].from) * width;
            T* to = dst + static_cast<long>(moves[i].to) * width;
            long j = 0;
            for (; j + N <= width; j += N) (simd<T, N>::load(to + j) + simd<T, N>::load(from + j)).store(to + j);
            for (; j < width; ++j) to[j] = (simd<T, 2>(to[j]) + simd<T, 2>(from[j]))[0];
        }
    }
};

// dst[index[i], :] += src[i, :] where dst is larger than caches: the sources are dealt out to bands of dst, in their order, and a
// band after the other is added to. Each source is read once, a band stays in cache.
template <class T, class I>
void add_by_bands(long count, long width, const T* src, const I* index, long rows, T* dst) {
    int shift = 0;
    while ((width * static_cast<long>(sizeof(T)) << (shift + 1)) <= near_bytes || rows >> shift >= most_bands) ++shift;
    const long bands = ((rows - 1) >> shift) + 1;
    // Chunks of sources are counted and dealt out apart; by the shape alone.
    long chunk = (count + 63) / 64;
    if (chunk < 8192) chunk = 8192;
    const long chunks = (count + chunk - 1) / chunk;
    const Scratch<Move> moves(count);
    const Scratch<long> starts(chunks * bands + 1);
    const auto each = [&](long c, auto&& f) {
        const long end = (c + 1) * chunk < count ? (c + 1) * chunk : count;
        for (long i = c * chunk; i < end; ++i) f(i);
    };
    parallel_for(chunks, [&](long c) {
        long* own = starts.data() + c * bands;
        std::memset(own, 0, static_cast<std::size_t>(bands) * sizeof(long));
        each(c, [&](long i) { ++own[static_cast<long>(index[i]) >> shift]; });
    });
    const Scratch<long> first(bands + 1);
    long total = 0;
    for (long b = 0; b < bands; ++b) {
        first[b] = total;
        for (long c = 0; c < chunks; ++c) {
            const long here = starts[c * bands + b];
            starts[c * bands + b] = total;
            total += here;
        }
    }
    first[bands] = total;
    parallel_for(chunks, [&](long c) {
        long* own = starts.data() + c * bands;
        each(c, [&](long i) {
            const long row = static_cast<long>(index[i]);
            moves[own[row >> shift]++] = {static_cast<std::uint32_t>(i), static_cast<std::uint32_t>(row)};
        });
    });
    parallel_for(bands, [&](long b) {
        dispatch<AddMovesBody, Isa::avx2>(first[b + 1] - first[b], width, src, static_cast<const Move*>(moves.data() + first[b]), dst);
    });
}

}  // namespace impl

// dst[index[i], :] += src[i, :] for i in [0, count): the backward of gather_rows. dst has `rows` rows of `width`; with
// accumulate = false it is overwritten (rows without a source become 0). Rows with the same index are added in the order
// of i, so the result does not depend on threads. Where an index comes rarely, straight into dst, columns apart between the
// threads; else sorted, so that long sums are added in blocks. Lists the different rows that were touched, ascending, in
// touched[0, min(count, rows)) unless that is null, and then returns their number. T: float, double, bf16, half (added in float), integers.
template <class T, class I>
long scatter_add_rows(long count, long width, const T* src, const I* index, long rows, T* dst, bool accumulate,
                      std::int64_t* touched = nullptr) {
    if (!accumulate && rows > 0 && width > 0) std::memset(static_cast<void*>(dst), 0, static_cast<std::size_t>(rows * width) * sizeof(T));
    if (count <= 0) return 0;
    if constexpr (std::is_same_v<typename impl::sum_type<T>::type, T> && !std::is_same_v<T, bool>) {
        if (touched == nullptr && width > 0 && count <= impl::scatter_block * rows) {
            const long bytes = width * static_cast<long>(sizeof(T));
            if (bytes >= 64 && bytes <= impl::near_bytes / 2 && rows * bytes >= 4 * impl::near_bytes && count >= 65536 && count <= 0xffffffffl && rows <= 0xffffffffl) {
                impl::add_by_bands(count, width, src, index, rows, dst);
                return -1;
            }
            const long line = 64 / static_cast<long>(sizeof(T)), least = count * width <= 65536 ? width : 2 * line;
            long block = ((width + 7) / 8 + line - 1) / line * line;
            if (block < least) block = least;
            parallel_for((width + block - 1) / block, [&](long task) {
                const long begin = task * block, end = begin + block < width ? begin + block : width;
                dispatch<impl::AddRowsBody, Isa::avx2>(count, width, begin, end, src, index, dst);
            });
            return -1;
        }
    }
    const impl::Scratch<std::int64_t> order(count), starts(count + 1);
    sort_positions(count, index, rows, order.data());
    long segments = 0;
    for (long k = 0; k < count; ++k) {
        const long row = static_cast<long>(index[order[k]]);
        if (k != 0 && row == static_cast<long>(index[order[k - 1]])) continue;
        starts[segments] = k;
        if (touched != nullptr) touched[segments] = row;
        ++segments;
    }
    starts[segments] = count;
    if (width <= 0) return segments;
    // Tasks of about as many source rows: a task owns the segments that begin in its share.
    long share = impl::move_bytes / (width * static_cast<long>(sizeof(T)));
    if (share < 1) share = 1;
    parallel_for((count + share - 1) / share, 0.2 * double(count) * double(width), [&](long task) {
        long low = 0, high = segments;
        while (low < high) {
            const long middle = (low + high) / 2;
            if (starts[middle] < task * share) low = middle + 1;
            else high = middle;
        }
        for (long s = low; s < segments && starts[s] < (task + 1) * share; ++s) {
            if (s + 1 < segments) impl::prefetch_rows(src, width, order.data() + starts[s + 1], starts[s + 2] - starts[s + 1]);
            dispatch<impl::RowsSumBody, Isa::avx2>(src, width, static_cast<const std::int64_t*>(order.data() + starts[s]), static_cast<const T*>(nullptr),
                                                   starts[s + 1] - starts[s], 1.0, accumulate, dst + static_cast<long>(index[order[starts[s]]]) * width);
        }
    });
    return segments;
}

namespace impl {
// Calls f(o, first column, last column) over outer x column blocks of an axis operation that handles `work` elements in all.
template <class F>
void for_columns(long outer, long work, long inner, F&& f) {
    if (outer <= 0 || inner <= 0 || work <= 0) return;
    const long per_outer = work / outer;
    if (per_outer <= 16384) {
        const long group = 16384 / (per_outer < 1 ? 1 : per_outer);
        parallel_for((outer + group - 1) / group, 0.3 * double(work), [&](long task) {
            for (long o = task * group; o < (task + 1) * group && o < outer; ++o) f(o, 0l, inner);
        });
        return;
    }
    const long block = inner < 256 ? 16 : 64, blocks = (inner + block - 1) / block;
    parallel_for(outer * blocks, [&](long task) {
        const long j = task % blocks * block;
        f(task / blocks, j, j + block < inner ? j + block : inner);
    });
}
}  // namespace impl

// dst[o, j, i] = src[o, index[o, j, i], i]: src is [outer, n, inner], index and dst are [outer, m, inner].
template <class T, class I>
void gather_axis(long outer, long n, long m, long inner, const T* src, const I* index, T* dst) {
    impl::for_columns(outer, outer * m * inner, inner, [&](long o, long begin, long end) {
        for (long j = 0; j < m; ++j) {
            const I* at = index + (o * m + j) * inner;
            T* to = dst + (o * m + j) * inner;
            const T* from = src + o * n * inner;
            for (long i = begin; i < end; ++i) to[i] = from[static_cast<long>(at[i]) * inner + i];
        }
    });
}

// dst[o, index[o, j, i], i] = src[o, j, i]: dst is [outer, n, inner], index and src are [outer, m, inner]. Of several
// sources of one element the last wins.
template <class T, class I>
void scatter_axis(long outer, long n, long m, long inner, const T* src, const I* index, T* dst) {
    impl::for_columns(outer, outer * m * inner, inner, [&](long o, long begin, long end) {
        for (long j = 0; j < m; ++j)
            for (long i = begin; i < end; ++i)
                dst[(o * n + static_cast<long>(index[(o * m + j) * inner + i])) * inner + i] = src[(o * m + j) * inner + i];
    });
}

// dst[o, index[o, j, i], i] += src[o, j, i], in the order of j: the backward of gather_axis. With accumulate = false dst
// is cleared first.
template <class T, class I>
void scatter_add_axis(long outer, long n, long m, long inner, const T* src, const I* index, T* dst, bool accumulate) {
    using A = typename impl::sum_type<T>::type;
    if (!accumulate && outer * n * inner > 0) std::memset(static_cast<void*>(dst), 0, static_cast<std::size_t>(outer * n * inner) * sizeof(T));
    impl::for_columns(outer, outer * m * inner, inner, [&](long o, long begin, long end) {
        for (long j = 0; j < m; ++j)
            for (long i = begin; i < end; ++i) {
                T& to = dst[(o * n + static_cast<long>(index[(o * m + j) * inner + i])) * inner + i];
                to = static_cast<T>(static_cast<A>(to) + static_cast<A>(src[(o * m + j) * inner + i]));
            }
    });
}

// ---- Strided copies -------------------------------------------------------------------------------------------------

inline constexpr int copy_max_rank = 16;

namespace impl {

struct CopyPlan {
    int rank = 0;
    long shape[copy_max_rank], to[copy_max_rank], from[copy_max_rank];  // strides in elements
};

constexpr long magnitude(long a) { return a < 0 ? -a : a; }

// Axes of size 1 dropped, sorted by the destination's stride (largest first), neighbours merged where both sides walk
// through them as one. False if there is nothing to copy.
inline bool plan_copy(CopyPlan& plan, int rank, const long* shape, const long* to, const long* from) {
    int count = 0;
    for (int d = 0; d < rank; ++d) {
        if (shape[d] == 0) return false;
        if (shape[d] == 1) continue;
        int at = count++;
        for (; at > 0 && (magnitude(plan.to[at - 1]) < magnitude(to[d]) ||
                          (magnitude(plan.to[at - 1]) == magnitude(to[d]) && magnitude(plan.from[at - 1]) < magnitude(from[d])));
             --at) {
            plan.shape[at] = plan.shape[at - 1];
            plan.to[at] = plan.to[at - 1];
            plan.from[at] = plan.from[at - 1];
        }
        plan.shape[at] = shape[d];
        plan.to[at] = to[d];
        plan.from[at] = from[d];
    }
    int kept = 0;
    for (int d = 0; d < count; ++d) {
        if (kept > 0 && plan.to[kept - 1] == plan.shape[d] * plan.to[d] && plan.from[kept - 1] == plan.shape[d] * plan.from[d]) {
            plan.shape[kept - 1] *= plan.shape[d];
            plan.to[kept - 1] = plan.to[d];
            plan.from[kept - 1] = plan.from[d];
            continue;
        }
        plan.shape[kept] = plan.shape[d];
        plan.to[kept] = plan.to[d];
        plan.from[kept] = plan.from[d];
        ++kept;
    }
    plan.rank = kept;
    return true;
}

// Calls f(offset in dst, offset in src) for the points [first, last) of the first `rank` axes.
template <class F>
void walk(const CopyPlan& plan, int rank, long first, long last, F&& f) {
    long at[copy_max_rank], rest = first, to = 0, from = 0;
    for (int d = rank - 1; d >= 0; --d) {
        at[d] = rest % plan.shape[d];
        rest /= plan.shape[d];
        to += at[d] * plan.to[d];
        from += at[d] * plan.from[d];
    }
    for (long point = first; point < last; ++point) {
        f(to, from);
        for (int d = rank - 1; d >= 0; --d) {
            to += plan.to[d];
            from += plan.from[d];
            if (++at[d] < plan.shape[d]) break;
            to -= at[d] * plan.to[d];
            from -= at[d] * plan.from[d];
            at[d] = 0;
        }
    }
}

template <int Size>
struct MoveElement { struct type { unsigned char bytes[Size]; }; };
template <> struct MoveElement<1> { typedef std::uint8_t type __attribute__((may_alias)); };
template <> struct MoveElement<2> { typedef std::uint16_t type __attribute__((may_alias)); };
template <> struct MoveElement<4> { typedef std::uint32_t type __attribute__((may_alias)); };
template <> struct MoveElement<8> { typedef std::uint64_t type __attribute__((may_alias)); };

// The lower (upper) halves of two vectors, element by element in turn.
template <class V>
TENON_ALWAYS_INLINE V interleave_low(const V& a, const V& b) {
    constexpr int n = int(sizeof(V) / sizeof(a[0]));
    if constexpr (n == 2) return __builtin_shufflevector(a, b, 0, 2);
    else if constexpr (n == 4) return __builtin_shufflevector(a, b, 0, 4, 1, 5);
    else if constexpr (n == 8) return __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
    else return __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
}
template <class V>
TENON_ALWAYS_INLINE V interleave_high(const V& a, const V& b) {
    constexpr int n = int(sizeof(V) / sizeof(a[0]));
    if constexpr (n == 2) return __builtin_shufflevector(a, b, 1, 3);
    else if constexpr (n == 4) return __builtin_shufflevector(a, b, 2, 6, 3, 7);
    else if constexpr (n == 8) return __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
    else return __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}

// to[r * to_stride + c] = from[c * from_stride + r] for r < rows, c < columns. Squares of 16-byte vectors are transposed in
// registers: shuffling rows i and i + n / 2 into each other log2(n) times does it.
template <class E>
void transpose_block(long rows, long columns, E* to, long to_stride, const E* from, long from_stride, bool stream) {
    long r = 0;
    if constexpr (sizeof(E) <= 8) {
        constexpr int n = 16 / int(sizeof(E)), steps = n == 2 ? 1 : n == 4 ? 2 : n == 8 ? 3 : 4;
        using V = typename simd<E, n>::Raw;
        using U = typename simd<E, n>::Unaligned;
        // (Into caches, two long rows in turn are slower than one after the other, element by element.)
        const long squares = n == 2 && !stream ? 0 : rows;
        for (; r + n <= squares; r += n) {
            long c = 0;
            for (; c + n <= columns; c += n) {
                V a[n], b[n];
                TENON_UNROLL(16)
                for (int i = 0; i < n; ++i) a[i] = *reinterpret_cast<const U*>(from + (c + i) * from_stride + r);
                TENON_UNROLL(4)
                for (int step = 0; step < steps; ++step) {
                    TENON_UNROLL(8)
                    for (int i = 0; i < n / 2; ++i) {
                        b[2 * i] = interleave_low(a[i], a[i + n / 2]);
                        b[2 * i + 1] = interleave_high(a[i], a[i + n / 2]);
                    }
                    TENON_UNROLL(16)
                    for (int i = 0; i < n; ++i) a[i] = b[i];
                }
                if (stream) {
                    TENON_UNROLL(16)
                    for (int i = 0; i < n; ++i) stream_store(to + (r + i) * to_stride + c, (simd<float, 4>::Raw)a[i]);
                } else {
                    TENON_UNROLL(16)
                    for (int i = 0; i < n; ++i) *reinterpret_cast<U*>(to + (r + i) * to_stride + c) = a[i];
                }
            }
            for (; c < columns; ++c)
                for (long q = 0; q < n; ++q) to[(r + q) * to_stride + c] = from[c * from_stride + r + q];
        }
    }
    for (; r < rows; ++r)
        for (long c = 0; c < columns; ++c) to[r * to_stride + c] = from[c * from_stride + r];
}

template <class E>
void copy_elements(CopyPlan& plan, E* dst, const E* src) {
    const int last = plan.rank - 1;
    const long length = plan.shape[last], to_step = plan.to[last], from_step = plan.from[last];
    // The axis along which the source is contiguous, if that is not the last one.
    int across = -1;
    if (to_step == 1 && from_step != 1 && length >= 4)
        for (int d = 0; d < last; ++d)
            if (plan.from[d] == 1 && plan.shape[d] >= 4) across = d;
    if (across >= 0) {
        // Move it next to the last axis, then transpose tile by tile.
        const long rows = plan.shape[across], to_row = plan.to[across];
        for (int d = across; d + 1 < last; ++d) {
            plan.shape[d] = plan.shape[d + 1];
            plan.to[d] = plan.to[d + 1];
            plan.from[d] = plan.from[d + 1];
        }
        // Half a page of one row of the source at a time, and whole cache lines of the destination.
        constexpr long tile = 512 / long(sizeof(E)), depth = 64;
        const long bands = (rows + tile - 1) / tile;
        long outer = 1;
        std::uintptr_t misaligned = reinterpret_cast<std::uintptr_t>(dst) | static_cast<std::uintptr_t>(to_row) * sizeof(E);
        for (int d = 0; d < last - 1; ++d) {
            outer *= plan.shape[d];
            misaligned |= static_cast<std::uintptr_t>(plan.to[d]) * sizeof(E);
        }
        // (Squares of narrow elements have more rows than the machine has buffers for streams.)
        const bool stream = sizeof(E) >= 4 && misaligned % 64 == 0 && outer * rows * length * static_cast<long>(sizeof(E)) >= stream_bytes;
        // A task is a piece of a band.
        long piece = move_bytes / (tile * static_cast<long>(sizeof(E))) / depth * depth;
        if (piece < depth) piece = depth;
        const long pieces = (length + piece - 1) / piece, total = outer * bands;
        long group = move_bytes / ((rows < tile ? rows : tile) * length * static_cast<long>(sizeof(E)));
        if (group < 1 || pieces > 1) group = 1;
        parallel_for((total + group - 1) / group * pieces, [&](long task) {
            for (long item = task / pieces * group; item < (task / pieces + 1) * group && item < total; ++item) {
                const long band = item % bands * tile, height = rows - band < tile ? rows - band : tile;
                const long first = task % pieces * piece, end = first + piece < length ? first + piece : length;
                walk(plan, last - 1, item / bands, item / bands + 1, [&](long to, long from) {
                    // Through a buffer: whole lines are read, whatever the stride does to the sets of the cache.
                    alignas(64) E buffer[tile * depth];
                    for (long c = first; c < end; c += depth) {
                        const long width = end - c < depth ? end - c : depth;
                        for (long q = 0; q < width; ++q)
                            __builtin_memcpy(static_cast<void*>(buffer + q * tile), src + from + band + (c + q) * from_step,
                                             static_cast<std::size_t>(height) * sizeof(E));
                        transpose_block(height, width, dst + to + band * to_row + c, to_row, static_cast<const E*>(buffer), tile, stream);
                    }
                });
            }
            if (stream) stream_fence();
        });
        return;
    }
    long outer = 1;
    for (int d = 0; d < last; ++d) outer *= plan.shape[d];
    auto line = [&](E* to, const E* from, long count) {
        if (to_step == 1 && from_step == 1) {
            __builtin_memcpy(static_cast<void*>(to), from, static_cast<std::size_t>(count) * sizeof(E));
        } else if (to_step == 1 && from_step == 0) {
            const E value = *from;
            for (long i = 0; i < count; ++i) to[i] = value;
        } else {
            for (long i = 0; i < count; ++i) to[i * to_step] = from[i * from_step];
        }
    };
    // Long lines are cut into pieces, short ones grouped.
    const long piece = move_bytes / static_cast<long>(sizeof(E)), pieces = (length + piece - 1) / piece;
    if (pieces > 1) {
        parallel_for(outer * pieces, [&](long task) {
            const long begin = task % pieces * piece, count = length - begin < piece ? length - begin : piece;
            walk(plan, last, task / pieces, task / pieces + 1,
                 [&](long to, long from) { line(dst + to + begin * to_step, src + from + begin * from_step, count); });
        });
        return;
    }
    const long group = piece / length;
    parallel_for((outer + group - 1) / group, [&](long task) {
        walk(plan, last, task * group, (task + 1) * group < outer ? (task + 1) * group : outer,
             [&](long to, long from) { line(dst + to, src + from, length); });
    });
}

}  // namespace impl

// dst[i, j, ...] = src[i, j, ...] over `shape`, for any strides (in elements; negative and, in src, zero ones too).
// The two must not overlap. element_size is 1, 2, 4, 8 or 16 bytes; rank at most 16. Serves contiguous copies, permuted
// views, concatenation and writes through views.
inline void copy_strided(int rank, const long* shape, void* dst, const long* dst_strides, const void* src, const long* src_strides,
                         int element_size) {
    if (rank > copy_max_rank) fail<ShapeError>("copy: rank ", rank, " is above ", copy_max_rank);
    impl::CopyPlan plan;
    if (!impl::plan_copy(plan, rank, shape, dst_strides, src_strides)) return;
    if (plan.rank == 0) {
        __builtin_memcpy(dst, src, static_cast<std::size_t>(element_size));
        return;
    }
    auto run = [&](auto element) {
        using E = typename decltype(element)::type;
        impl::copy_elements(plan, static_cast<E*>(dst), static_cast<const E*>(src));
    };
    switch (element_size) {
        case 1: return run(impl::MoveElement<1>());
        case 2: return run(impl::MoveElement<2>());
        case 4: return run(impl::MoveElement<4>());
        case 8: return run(impl::MoveElement<8>());
        case 16: return run(impl::MoveElement<16>());
        default: fail<DtypeError>("copy: elements of ", element_size, " bytes; expected 1, 2, 4, 8 or 16");
    }
}

// dst[i, j, ...] = *value over `shape`.
inline void fill_strided(int rank, const long* shape, void* dst, const long* strides, const void* value, int element_size) {
    const long none[copy_max_rank] = {};
    copy_strided(rank, shape, dst, strides, value, static_cast<const long*>(none), element_size);
}

#if defined(TENON_KERNEL_INSTANCE)
namespace impl {
TENON_KERNEL_INSTANCE void copy_elements<std::uint8_t>(CopyPlan&, std::uint8_t*, const std::uint8_t*);
TENON_KERNEL_INSTANCE void copy_elements<std::uint16_t>(CopyPlan&, std::uint16_t*, const std::uint16_t*);
TENON_KERNEL_INSTANCE void copy_elements<std::uint32_t>(CopyPlan&, std::uint32_t*, const std::uint32_t*);
TENON_KERNEL_INSTANCE void copy_elements<std::uint64_t>(CopyPlan&, std::uint64_t*, const std::uint64_t*);
TENON_KERNEL_INSTANCE void copy_elements<MoveElement<16>::type>(CopyPlan&, MoveElement<16>::type*, const MoveElement<16>::type*);
}  // namespace impl
TENON_KERNEL_INSTANCE long scatter_add_rows<float>(long, long, const float*, const std::int64_t*, long, float*, bool, std::int64_t*);
TENON_KERNEL_INSTANCE long scatter_add_rows<double>(long, long, const double*, const std::int64_t*, long, double*, bool, std::int64_t*);
#endif

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

// The nearest points of each query, nearest first, of several the one with the lower index; all of them, or those within a distance.
//
// Distances are sums of squared differences, coordinate after coordinate, in the points' own type: never by products, which lose
// what matters between close points. Clouds in up to three dimensions are searched through a tree, the others point by point.
#pragma once

#include <tenon/kernels/cpu/fold.hpp>
#include <tenon/kernels/cpu/points/farthest.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

namespace reference {

// The k nearest points of x [n, dims] with a squared distance below `limit` from one query; point `skip` does not count.
// Returns how many there are.
template <class T>
long nearest(long n, long dims, const T* x, const T* query, long k, T limit, long skip, std::int64_t* index) {
    const impl::Scratch<T> away(k);
    long count = 0;
    for (long i = 0; i < n; ++i) {
        T d(0);
        for (long j = 0; j < dims; ++j) d += (x[i * dims + j] - query[j]) * (x[i * dims + j] - query[j]);
        if (i == skip || !(d < limit)) continue;
        long at = count;
        while (at > 0 && away[at - 1] > d) --at;
        if (at == k) continue;
        if (count < k) ++count;
        for (long p = count - 1; p > at; --p) away[p] = away[p - 1], index[p] = index[p - 1];
        away[at] = d;
        index[at] = i;
    }
    return count;
}

}  // namespace reference

namespace impl {

// The best so far, by (distance, index).
template <class T>
struct NearestList {
    T* distance;
    std::int32_t* index;
    long capacity, count;
    std::int32_t skip;
    T worst;  // of a full list the last distance; else the limit, which itself does not count

    static long room(long k) { return 2 * k; }  // numbers of T, at least as wide as the indices
    void start(T* memory, long k, T limit, std::int32_t left_out) { *this = {memory, reinterpret_cast<std::int32_t*>(memory + k), k, 0, left_out, limit}; }
    long write(std::int64_t* to) const {
        for (long s = 0; s < count; ++s) to[s] = index[s];
        return count;
    }

    TENON_ALWAYS_INLINE bool takes(T d) const { return count < capacity ? d < worst : d <= worst; }
    TENON_ALWAYS_INLINE bool before(T d, std::int32_t i, long at) const { return d < distance[at] || (!(d > distance[at]) && i < index[at]); }
    template <int Lanes>
    TENON_ALWAYS_INLINE void offer(T d, std::int32_t i) {
        if (i == skip) return;
        long at = count;
        if (count == capacity) {
            if (!before(d, i, --at)) return;
        } else {
            ++count;
        }
        for (; at > 0 && before(d, i, at - 1); --at) {
            distance[at] = distance[at - 1];
            index[at] = index[at - 1];
        }
        distance[at] = d;
        index[at] = i;
        if (count == capacity) worst = distance[capacity - 1];
    }
};

// The same of floats: distance and index are one integer, whose order is theirs (distances are not negative), and a place is made
// for a new one without a branch, a vector at a time: new[j] = min(old[j], max(old[j - 1], key)). A list begins full of the limit.
template <>
struct NearestList<float> {
    std::int64_t* keys;  // the one before the first is lower than all
    long capacity, padded;
    std::int32_t skip;
    float worst;
    std::int64_t end;  // the limit's key

    static constexpr long front = 8;
    static long room(long k) { return 2 * (front + padded_keys(k)); }
    static long padded_keys(long k) { return (k + 7) / 8 * 8; }
    static TENON_ALWAYS_INLINE std::int64_t key_of(float d, std::int32_t i) {
        std::uint32_t bits;
        __builtin_memcpy(&bits, &d, sizeof bits);
        return static_cast<std::int64_t>(bits) << 32 | static_cast<std::uint32_t>(i);
    }
    void start(float* memory, long k, float limit, std::int32_t left_out) {
        *this = {reinterpret_cast<std::int64_t*>(memory) + front, k, padded_keys(k), left_out, limit, key_of(limit, 0)};
        for (long s = 0; s < padded; ++s) keys[s] = end;
        keys[-1] = -1;
    }
    long write(std::int64_t* to) const {
        long count = 0;
        for (; count < capacity && keys[count] < end; ++count) to[count] = keys[count] & 0x7fffffff;
        return count;
    }

    TENON_ALWAYS_INLINE bool takes(float d) const { return d <= worst; }
    template <int Lanes>
    TENON_ALWAYS_INLINE void offer(float d, std::int32_t i) {
        constexpr int N = Lanes / 2;
        using V = simd<std::int64_t, N>;
        const std::int64_t key = key_of(d, i);
        if (i == skip || key >= keys[capacity - 1]) return;
        const V own(key);
        for (long j = padded - N; j >= 0; j -= N) {
            min(V::load(keys + j), max(V::load(keys + j - 1), own)).store(keys + j);
            if (keys[j - 1] < key) break;
        }
        const std::uint32_t bits = static_cast<std::uint32_t>(keys[capacity - 1] >> 32);
        __builtin_memcpy(&worst, &bits, sizeof worst);
    }
};

constexpr int nearest_rows = 4;  // queries that share the loads of points

// Offers the points [begin, end) (turned, padded with infinity) to four queries.
struct NearestBody {
    template <int Lanes, class T>
    static TENON_ALWAYS_INLINE void run(const T* x, long padded, long dims, long begin, long end, std::int32_t base, const T* query, long rows, NearestList<T>* lists) {
        constexpr int N = Lanes * 4 / static_cast<int>(sizeof(T));
        constexpr int C = Lanes == 16 ? 4 : 2;
        using V = simd<T, N>;
        // Queries that are not there are the last one again, which hears nothing.
        const T* from[nearest_rows];
        for (long r = 0; r < nearest_rows; ++r) from[r] = query + (r < rows ? r : rows - 1) * dims;
        for (long i = begin; i < end; i += C * N) {
            V d[nearest_rows][C];
            for (int r = 0; r < nearest_rows; ++r)
                for (int c = 0; c < C; ++c) d[r][c] = V(0);
            for (long j = 0; j < dims; ++j) {
                V own[C];
                TENON_UNROLL(4)
                for (int c = 0; c < C; ++c) own[c] = V::load(x + j * padded + i + c * N);
                TENON_UNROLL(4)
                for (int r = 0; r < nearest_rows; ++r) {
                    const V at(from[r][j]);
                    TENON_UNROLL(4)
                    for (int c = 0; c < C; ++c) {
                        const V away = own[c] - at;
                        d[r][c] += away * away;
                    }
                }
            }
            TENON_UNROLL(4)
            for (int r = 0; r < nearest_rows; ++r) {
                V least = d[r][0];
                TENON_UNROLL(4)
                for (int c = 1; c < C; ++c) least = select(d[r][c] < least, d[r][c], least);
                if (r >= rows || !lists[r].takes(best_lane<false>(least))) continue;
                T lane[C * N];
                TENON_UNROLL(4)
                for (int c = 0; c < C; ++c) d[r][c].store(lane + c * N);
                for (int q = 0; q < C * N; ++q)
                    if (lists[r].takes(lane[q])) lists[r].template offer<Lanes>(lane[q], base + static_cast<std::int32_t>(i + q));
            }
        }
    }
};

// A balanced tree over one cloud in `Dims` dimensions: node (level, j) holds the points [j n >> level, (j + 1) n >> level) of
// an order in which every node is split at the middle of its widest side. Leaves keep their coordinates apart, one vector each.
template <class T, int Dims>
class PointTree {
public:
    static constexpr long leaf = point_lanes;

    PointTree(long n, const T* x, std::int32_t base) : n_(n), levels_(levels_of(n)), box_(2 * (1l << levels_) * 2 * Dims), leaves_((1l << levels_) * leaf * Dims), index_((1l << levels_) * leaf) {
        const Scratch<Point> points(n);
        for (long i = 0; i < n; ++i) {
            for (int d = 0; d < Dims; ++d) points[i].at[d] = x[i * Dims + d];
            points[i].index = base + static_cast<std::int32_t>(i);
        }
        for (int level = 0; level <= levels_; ++level)
            parallel_for(1l << level, [&](long j) { make_node(level, j, points.data()); });
    }
    static int levels_of(long n) {
        int levels = 0;
        while ((n + (1l << levels) - 1) >> levels > leaf) ++levels;
        return levels;
    }

    template <int Lanes>
    TENON_ALWAYS_INLINE void search(const T* query, NearestList<T>& list) const {
        struct Waiting {
            long node;  // 1 is the root, node k has the children 2 k and 2 k + 1
            T bound;
        };
        Waiting stack[40];
        int depth = 0;
        stack[depth++] = {1, T(0)};
        const long first_leaf = 1l << levels_;
        while (depth > 0) {
            const Waiting now = stack[--depth];
            if (!list.takes(now.bound)) continue;
            if (now.node >= first_leaf) {
                offer_leaf<Lanes>(now.node - first_leaf, query, list);
                continue;
            }
            const T left = bound_of(2 * now.node, query), right = bound_of(2 * now.node + 1, query);
            const bool right_first = right < left;
            stack[depth++] = {2 * now.node + !right_first, right_first ? left : right};
            stack[depth++] = {2 * now.node + right_first, right_first ? right : left};
        }
    }

private:
    struct Point {
        T at[Dims];
        std::int32_t index;
    };
    const T* lows(long node) const { return box_.data() + node * 2 * Dims; }

    // Below what is computed for any point in the box: rounding is taken off.
    TENON_ALWAYS_INLINE T bound_of(long node, const T* query) const {
        const T *low = lows(node), *high = low + Dims;
        T sum(0);
        for (int d = 0; d < Dims; ++d) {
            T away = low[d] - query[d];
            const T beyond = query[d] - high[d];
            away = away > beyond ? away : beyond;
            away = away > T(0) ? away : T(0);
            sum += away * away;
        }
        return sum * (T(1) - T(8) * (sizeof(T) == 4 ? T(0x1p-24) : T(0x1p-53)));
    }
    template <int Lanes>
    TENON_ALWAYS_INLINE void offer_leaf(long at, const T* query, NearestList<T>& list) const {
        constexpr int N = Lanes * 4 / static_cast<int>(sizeof(T));
        using V = simd<T, N>;
        const T* x = leaves_.data() + at * leaf * Dims;
        T lane[leaf];
        V least(__builtin_inf());
        TENON_UNROLL(8)
        for (int c = 0; c < static_cast<int>(leaf) / N; ++c) {
            V d(0);
            TENON_UNROLL(4)
            for (int j = 0; j < Dims; ++j) {
                const V away = V::load(x + j * leaf + c * N) - V(query[j]);
                d += away * away;
            }
            d.store(lane + c * N);
            least = select(d < least, d, least);
        }
        if (!list.takes(best_lane<false>(least))) return;
        const std::int32_t* index = index_.data() + at * leaf;
        for (int q = 0; q < static_cast<int>(leaf); ++q)
            if (list.takes(lane[q])) list.template offer<Lanes>(lane[q], index[q]);
    }

    void make_node(int level, long j, Point* points) {
        const long begin = j * n_ >> level, end = (j + 1) * n_ >> level, node = (1l << level) + j;
        T *low = box_.data() + node * 2 * Dims, *high = low + Dims;
        for (int d = 0; d < Dims; ++d) {
            low[d] = static_cast<T>(__builtin_inf());
            high[d] = -low[d];
        }
        for (long i = begin; i < end; ++i)
            for (int d = 0; d < Dims; ++d) {
                const T v = points[i].at[d];
                low[d] = v < low[d] ? v : low[d];
                high[d] = v > high[d] ? v : high[d];
            }
        if (level == levels_) {
            T* x = leaves_.data() + j * leaf * Dims;
            for (long s = 0; s < leaf; ++s) {
                for (int d = 0; d < Dims; ++d) x[d * leaf + s] = begin + s < end ? points[begin + s].at[d] : static_cast<T>(__builtin_inf());
                index_[j * leaf + s] = begin + s < end ? points[begin + s].index : -2;
            }
            return;
        }
        int widest = 0;
        for (int d = 1; d < Dims; ++d)
            if (high[d] - low[d] > high[widest] - low[widest]) widest = d;
        halve(points, begin, end - 1, (2 * j + 1) * n_ >> (level + 1), widest);
    }
    // Moves points so that those before `middle` come before it in the order of (coordinate d, index): Hoare's selection.
    static void halve(Point* p, long low, long high, long middle, int d) {
        const auto less = [d](const Point& a, const Point& b) { return a.at[d] < b.at[d] || (!(a.at[d] > b.at[d]) && a.index < b.index); };
        const auto swap = [p](long a, long b) {
            const Point kept = p[a];
            p[a] = p[b];
            p[b] = kept;
        };
        while (low < high) {
            const long centre = low + (high - low) / 2;
            if (less(p[centre], p[low])) swap(centre, low);
            if (less(p[high], p[low])) swap(high, low);
            if (less(p[high], p[centre])) swap(high, centre);
            const Point pivot = p[centre];
            long i = low, k = high;
            while (i <= k) {
                while (less(p[i], pivot)) ++i;
                while (less(pivot, p[k])) --k;
                if (i <= k) swap(i++, k--);
            }
            if (middle <= k) high = k;
            else if (middle >= i) low = i;
            else return;
        }
    }

    long n_;
    int levels_;
    Scratch<T> box_, leaves_;
    Scratch<std::int32_t> index_;
};

template <int Dims>
struct TreeSearchBody {
    template <int Lanes, class T>
    static TENON_ALWAYS_INLINE void run(const PointTree<T, Dims>* tree, const T* queries, long rows, NearestList<T>* lists) {
        for (long r = 0; r < rows; ++r) tree->template search<Lanes>(queries + r * Dims, lists[r]);
    }
};

constexpr long nearest_task = 32;     // queries per task
constexpr long tree_points = 192;     // smaller clouds are searched point by point
constexpr long nearest_bytes = 131072;  // of points that meet all queries of a task before the next ones come

// The lists of a task's queries.
template <class T>
class TaskLists {
public:
    // In units of 8 bytes.
    TaskLists(long rows, long k, T limit, std::int64_t first, bool skip_self) : memory_(rows * (NearestList<T>::room(k) + 1)) {
        const long step = (NearestList<T>::room(k) * static_cast<long>(sizeof(T)) + 7) / 8;
        for (long r = 0; r < rows; ++r)
            lists[r].start(reinterpret_cast<T*>(memory_.data() + r * step), k, limit, skip_self ? static_cast<std::int32_t>(first + r) : -1);
    }
    void write(long rows, long k, std::int64_t* index, std::int64_t* count) const {
        for (long r = 0; r < rows; ++r) count[r] = lists[r].write(index + r * k);
    }
    NearestList<T> lists[nearest_task];

private:
    Scratch<std::int64_t> memory_;
};

template <class T, class F>
void for_query_tasks(long queries, std::int64_t first, long k, T limit, bool skip_self, std::int64_t* index, std::int64_t* count, F&& f) {
    parallel_for((queries + nearest_task - 1) / nearest_task, [&](long task) {
        const long begin = task * nearest_task, rows = begin + nearest_task < queries ? nearest_task : queries - begin;
        const std::int64_t row = first + begin;
        TaskLists<T> own(rows, k, limit, row, skip_self);
        f(row, rows, static_cast<NearestList<T>*>(own.lists));
        own.write(rows, k, index + row * k, count + row);
    });
}

template <int Dims, class T>
void nearest_by_tree(long n, const T* x, std::int64_t base, long queries, std::int64_t first, const T* y, long k, T limit, bool skip_self, std::int64_t* index,
                     std::int64_t* count) {
    const PointTree<T, Dims> tree(n, x, static_cast<std::int32_t>(base));
    for_query_tasks(queries, first, k, limit, skip_self, index, count, [&](std::int64_t row, long rows, NearestList<T>* lists) {
        const PointTree<T, Dims>* search = &tree;
        dispatch<TreeSearchBody<Dims>>(search, y + row * Dims, rows, lists);
    });
}
template <class T>
void nearest_by_blocks(long n, long dims, const T* x, std::int64_t base, long queries, std::int64_t first, const T* y, long k, T limit, bool skip_self,
                       std::int64_t* index, std::int64_t* count) {
    constexpr long step = 4 * point_lanes;
    const long padded = (n + step - 1) / step * step;
    const Scratch<T> turned(dims * padded);
    turn_points(n, dims, x, padded, static_cast<T>(__builtin_inf()), turned.data());
    long block = nearest_bytes / static_cast<long>(sizeof(T)) / (dims < 1 ? 1 : dims) / step * step;
    if (block < step) block = step;
    for_query_tasks(queries, first, k, limit, skip_self, index, count, [&](std::int64_t row, long rows, NearestList<T>* lists) {
        const T* points = turned.data();
        for (long begin = 0; begin < padded; begin += block) {
            const long end = begin + block < padded ? begin + block : padded;
            for (long r = 0; r < rows; r += nearest_rows)
                dispatch<NearestBody>(points, padded, dims, begin, end, static_cast<std::int32_t>(base), y + (row + r) * dims,
                                      rows - r < nearest_rows ? rows - r : static_cast<long>(nearest_rows), lists + r);
        }
    });
}

}  // namespace impl

// For every query, row q of y [queries, dims] in cloud c (rows [y_pointers[c], y_pointers[c + 1])): the k >= 1 nearest rows of x in
// the same cloud whose squared distance is below `limit`: index[q k + s], s < count[q], nearest first, lower index first. With
// skip_self row q of x does not count. All coordinates are finite; at most 2^31 - 1 rows.
template <class T>
void nearest(long clouds, const std::int64_t* x_pointers, const std::int64_t* y_pointers, [[maybe_unused]] long queries, long dims, const T* x, const T* y, long k, T limit,
             bool skip_self, std::int64_t* index, std::int64_t* count) {
    parallel_for(clouds, [&](long c) {
        const std::int64_t base = x_pointers[c], first = y_pointers[c];
        const long n = static_cast<long>(x_pointers[c + 1] - base), many = static_cast<long>(y_pointers[c + 1] - first);
        const T* own = x + base * dims;
        if (n >= impl::tree_points && dims == 3) impl::nearest_by_tree<3>(n, own, base, many, first, y, k, limit, skip_self, index, count);
        else if (n >= impl::tree_points && dims == 2) impl::nearest_by_tree<2>(n, own, base, many, first, y, k, limit, skip_self, index, count);
        else if (n >= impl::tree_points && dims == 1) impl::nearest_by_tree<1>(n, own, base, many, first, y, k, limit, skip_self, index, count);
        else impl::nearest_by_blocks(n, dims, own, base, many, first, y, k, limit, skip_self, index, count);
    });
}

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

// Sorting, the largest k and the k-th element along an axis, over contiguous [outer, n, inner].
//
// Elements become unsigned integers whose order is theirs (-0 equals 0, every NaN is the largest; a falling order turns
// the bits over), so that one code sorts every type. Every sort is stable, so the result is unique: it depends on
// neither threads nor instruction sets.
#pragma once

#include <tenon/kernels/cpu/reduce.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

namespace reference {

// The plain stable sort of one line after the other: by insertion into what is sorted already.
template <class T>
void sort(long outer, long n, long inner, const T* x, T* values, std::int64_t* indices, bool descending) {
    auto before = [&](const T& a, const T& b) {
        const accumulator<T> u = static_cast<accumulator<T>>(a), v = static_cast<accumulator<T>>(b);
        const bool u_last = u != u, v_last = v != v;
        if (u_last || v_last) return descending ? u_last && !v_last : !u_last && v_last;
        return descending ? u > v : u < v;
    };
    if (n <= 0) return;
    for (long line = 0; line < outer * inner; ++line) {
        const T* from = x + line / inner * n * inner + line % inner;
        T* to = values + line / inner * n * inner + line % inner;
        std::int64_t* at = indices + line / inner * n * inner + line % inner;
        for (long k = 0; k < n; ++k) {
            long j = k;
            for (; j > 0 && before(from[k * inner], to[(j - 1) * inner]); --j) {
                to[j * inner] = to[(j - 1) * inner];
                at[j * inner] = at[(j - 1) * inner];
            }
            to[j * inner] = from[k * inner];
            at[j * inner] = k;
        }
    }
}

}  // namespace reference

namespace impl {

template <int Bytes>
struct unsigned_of;
template <> struct unsigned_of<1> { using type = std::uint8_t; };
template <> struct unsigned_of<2> { using type = std::uint16_t; };
template <> struct unsigned_of<4> { using type = std::uint32_t; };
template <> struct unsigned_of<8> { using type = std::uint64_t; };

// The key of an element: 8 bytes for 8-byte types, else 4, of which small types use the low bits.
template <class T>
using sort_key_t = std::conditional_t<sizeof(T) == 8, std::uint64_t, std::uint32_t>;
template <class T>
inline constexpr int sort_key_bits = 8 * int(sizeof(T));

template <class T>
TENON_FUNCTOR sort_key_t<T> sort_key(const T& x) {
    using U = typename unsigned_of<int(sizeof(T))>::type;
    constexpr U top = static_cast<U>(U(1) << (8 * sizeof(T) - 1));
    U u;
    __builtin_memcpy(&u, &x, sizeof u);
    if constexpr (std::is_integral_v<T>) {
        return static_cast<sort_key_t<T>>(std::is_signed_v<T> ? static_cast<U>(u ^ top) : u);
    } else {
        constexpr U infinity = std::is_same_v<T, float> ? U(0x7f800000u)
                               : std::is_same_v<T, double> ? U(0x7ff0000000000000ull) : std::is_same_v<T, bf16> ? U(0x7f80u) : U(0x7c00u);
        const U magnitude = static_cast<U>(u & static_cast<U>(~top));
        const U ordered = static_cast<U>((u & top) != 0 ? static_cast<U>(~u) : static_cast<U>(u | top));
        const U key = magnitude == 0 ? top : ordered;
        return static_cast<sort_key_t<T>>(magnitude > infinity ? static_cast<U>(~U(0)) : key);
    }
}

// The keys of zeros and NaN, which stand for several elements.
template <class T>
TENON_FUNCTOR bool is_shared_key(sort_key_t<T> key) {
    using U = typename unsigned_of<int(sizeof(T))>::type;
    if constexpr (std::is_integral_v<T>) return false;
    else return key == static_cast<U>(~U(0)) || key == static_cast<U>(U(1) << (8 * sizeof(T) - 1));
}
// The element of any other key.
template <class T>
TENON_FUNCTOR T sorted_value(sort_key_t<T> key) {
    using U = typename unsigned_of<int(sizeof(T))>::type;
    constexpr U top = static_cast<U>(U(1) << (8 * sizeof(T) - 1));
    U u = static_cast<U>(key);
    if constexpr (!std::is_integral_v<T>) u = static_cast<U>((u & top) != 0 ? static_cast<U>(u ^ top) : static_cast<U>(~u));
    else if constexpr (std::is_signed_v<T>) u = static_cast<U>(u ^ top);
    T x;
    __builtin_memcpy(static_cast<void*>(&x), &u, sizeof u);
    return x;
}
// What turns the order of the keys over.
template <class T>
inline constexpr sort_key_t<T> sort_flip = static_cast<typename unsigned_of<int(sizeof(T))>::type>(~sort_key_t<T>(0));

// A key and the position it came from. 4-byte keys share 8 bytes with it, whose order is that of both: any sort of
// those is stable.
struct SortPair { std::uint64_t key, at; };

template <class K>
struct sort_item { using type = SortPair; };
template <> struct sort_item<std::uint32_t> { using type = std::uint64_t; };
template <class T>
using sort_item_t = typename sort_item<sort_key_t<T>>::type;

TENON_FUNCTOR void make_item(std::uint64_t& item, std::uint32_t key, long at) { item = static_cast<std::uint64_t>(key) << 32 | static_cast<std::uint64_t>(at); }
TENON_FUNCTOR void make_item(SortPair& item, std::uint64_t key, long at) { item = {key, static_cast<std::uint64_t>(at)}; }
TENON_FUNCTOR std::uint64_t item_key(std::uint64_t item) { return item >> 32; }
TENON_FUNCTOR std::uint64_t item_key(const SortPair& item) { return item.key; }
TENON_FUNCTOR long item_at(std::uint64_t item) { return static_cast<long>(item & 0xffffffffu); }
TENON_FUNCTOR long item_at(const SortPair& item) { return static_cast<long>(item.at); }
TENON_FUNCTOR bool item_less(std::uint64_t a, std::uint64_t b) { return a < b; }
TENON_FUNCTOR bool item_less(const SortPair& a, const SortPair& b) { return a.key < b.key || (a.key == b.key && a.at < b.at); }

constexpr long sort_insertion = 24;   // up to here by insertion
constexpr long sort_radix = 160;      // from here by digits
constexpr long sort_part = 131072;    // elements of a line that are worth a thread of their own

template <class Item>
void insertion_sort(Item* items, long n) {
    for (long i = 1; i < n; ++i) {
        const Item item = items[i];
        long at = i;
        for (; at > 0 && item_less(item, items[at - 1]); --at) items[at] = items[at - 1];
        items[at] = item;
    }
}

// Runs by insertion, then merged two by two without branches. Returns where the result lies: items or other.
template <class Item>
Item* merge_sort(Item* items, Item* other, long n) {
    for (long i = 0; i < n; i += sort_insertion) insertion_sort(items + i, n - i < sort_insertion ? n - i : sort_insertion);
    for (long run = sort_insertion; run < n; run *= 2) {
        for (long begin = 0; begin < n; begin += 2 * run) {
            const long middle = begin + run < n ? begin + run : n, end = middle + run < n ? middle + run : n;
            const Item* a = items + begin;
            const Item* b = items + middle;
            const Item* const a_end = b;
            const Item* const b_end = items + end;
            Item* to = other + begin;
            while (a < a_end && b < b_end) {
                const bool second = item_less(*b, *a);
                *to++ = *(second ? b : a);
                a += !second;
                b += second;
            }
            while (a < a_end) *to++ = *a++;
            while (b < b_end) *to++ = *b++;
        }
        Item* swap = items;
        items = other;
        other = swap;
    }
    return items;
}

// Least digit first, 8 bits at a time; digits that are the same everywhere cost nothing. Returns where the result lies.
template <class Item>
Item* radix_sort(Item* items, Item* other, long n, int bits) {
    constexpr int most = sizeof(Item) == 8 ? 4 : 8;
    const int digits = bits / 8;
    std::uint32_t count[most][256];
    std::memset(static_cast<void*>(count), 0, sizeof(count[0]) * static_cast<std::size_t>(digits));
    if (digits == 4 && most == 4) {
        for (long i = 0; i < n; ++i) {
            const std::uint64_t key = item_key(items[i]);
            ++count[0][key & 255];
            ++count[1][key >> 8 & 255];
            ++count[2][key >> 16 & 255];
            ++count[3][key >> 24 & 255];
        }
    } else {
        for (long i = 0; i < n; ++i) {
            const std::uint64_t key = item_key(items[i]);
            for (int d = 0; d < digits; ++d) ++count[d][key >> (8 * d) & 255];
        }
    }
    for (int d = 0; d < digits; ++d) {
        std::uint32_t* start = count[d];
        if (start[item_key(items[0]) >> (8 * d) & 255] == static_cast<std::uint32_t>(n)) continue;
        std::uint32_t sum = 0;
        for (int v = 0; v < 256; ++v) {
            const std::uint32_t c = start[v];
            start[v] = sum;
            sum += c;
        }
        for (long i = 0; i < n; ++i) {
            const Item item = items[i];
            other[start[item_key(item) >> (8 * d) & 255]++] = item;
        }
        Item* swap = items;
        items = other;
        other = swap;
    }
    return items;
}

// The same by several threads: a digit's counts are taken per part, and each part knows where its own go.
template <class Item>
Item* radix_sort_parallel(Item* items, Item* other, long n, int bits) {
    const long parts = num_threads() < 16 ? num_threads() : 16, part = (n + parts - 1) / parts;
    const Scratch<long> start(parts * 256);
    for (int shift = 0; shift < bits; shift += 8) {
        parallel_for(parts, [&](long p) {
            long* count = start.data() + p * 256;
            std::memset(count, 0, 256 * sizeof(long));
            const long last = (p + 1) * part < n ? (p + 1) * part : n;
            for (long i = p * part; i < last; ++i) ++count[item_key(items[i]) >> shift & 255];
        });
        long sum = 0;
        bool trivial = false;
        for (int v = 0; v < 256; ++v) {
            const long before = sum;
            for (long p = 0; p < parts; ++p) {
                const long c = start[p * 256 + v];
                start[p * 256 + v] = sum;
                sum += c;
            }
            trivial = trivial || sum - before == n;
        }
        if (trivial) continue;
        parallel_for(parts, [&](long p) {
            long* to = start.data() + p * 256;
            const long last = (p + 1) * part < n ? (p + 1) * part : n;
            for (long i = p * part; i < last; ++i) {
                const Item item = items[i];
                other[to[item_key(item) >> shift & 255]++] = item;
            }
        });
        Item* swap = items;
        items = other;
        other = swap;
    }
    return items;
}

template <class Item>
Item* sort_items(Item* items, Item* other, long n, int bits, bool parallel) {
    if (n <= sort_insertion) {
        insertion_sort(items, n);
        return items;
    }
    if (n < sort_radix) return merge_sort(items, other, n);
    return parallel || n > 0xffffffffl ? radix_sort_parallel(items, other, n, bits) : radix_sort(items, other, n, bits);
}


// items[k] = key (turned over by flip) and position of the line's element k.
template <class T>
void make_items(const T* x, long n, long stride, sort_key_t<T> flip, long first, sort_item_t<T>* items) {
    for (long k = 0; k < n; ++k) make_item(items[k], static_cast<sort_key_t<T>>(sort_key(x[k * stride]) ^ flip), first + k);
}
// Values and positions of sorted items; either may be null.
template <class T>
void store_items(const T* x, const sort_item_t<T>* items, long n, long stride, sort_key_t<T> flip, T* values, std::int64_t* indices) {
    for (long k = 0; k < n; ++k) {
        const long at = item_at(items[k]);
        if (values != nullptr) {
            const sort_key_t<T> key = static_cast<sort_key_t<T>>(static_cast<sort_key_t<T>>(item_key(items[k])) ^ flip);
            values[k * stride] = is_shared_key<T>(key) ? x[at * stride] : sorted_value<T>(key);
        }
        if (indices != nullptr) indices[k * stride] = at;
    }
}

// Calls f(first line, end) for all lines of [outer, n, inner], a few neighbours per task.
template <class F>
void for_sort_lines(long outer, long n, long inner, F&& f) {
    const long lines = outer * inner;
    long group = 16384 / (n > 0 ? n : 1);
    if (group < 1) group = 1;
    parallel_for((lines + group - 1) / group, [&](long task) {
        const long last = (task + 1) * group < lines ? (task + 1) * group : lines;
        f(task * group, last);
    });
}

template <class T>
void check_sort_size(const char* name, long n) {
    if (sizeof(sort_key_t<T>) == 4 && n > 0xffffffffl) fail<ShapeError>(name, ": the axis has ", n, " elements, of this type at most 4294967295 are supported");
}

// Finds the element of rank `rank` (from 0) among keys, the first of equal ones first: returns its key and sets `less`, how many
// are smaller. Most significant digit first; scratch holds n keys.
template <class K>
K select_key(const K* keys, long n, int bits, long rank, long& less, K* scratch) {
    const K* from = keys;
    less = 0;
    K prefix = 0;
    for (int shift = bits - 8; shift >= 0; shift -= 8) {
        long count[256] = {};
        for (long i = 0; i < n; ++i) ++count[from[i] >> shift & 255];
        int digit = 0;
        while (less + count[digit] <= rank) less += count[digit++];
        prefix = static_cast<K>(prefix | static_cast<K>(static_cast<K>(digit) << shift));
        if (shift == 0 || count[digit] == n) continue;
        long kept = 0;
        for (long i = 0; i < n; ++i) {
            const K key = from[i];
            scratch[kept] = key;
            kept += (key >> shift & 255) == static_cast<K>(digit);
        }
        from = scratch;
        n = kept;
    }
    return prefix;
}

constexpr long topk_few = 64;

// Puts the best `k` <= topk_few items of a contiguous line into best[0, k), in order: almost every element is turned away
// by one comparison with the worst of them.
template <bool Largest>
struct TopkBody {
    template <int Lanes, class T, class Item>
    static TENON_ALWAYS_INLINE void run(const T* x, long n, long k, Item* best) {
        using A = typename fold_type<Fold::max, T>::A;
        constexpr int N = Lanes * 4 / int(sizeof(A));
        using V = simd<A, N>;
        constexpr sort_key_t<T> flip = Largest ? sort_flip<T> : sort_key_t<T>(0);
        for (long i = 0; i < k; ++i) insert(best, i, static_cast<sort_key_t<T>>(sort_key(x[i]) ^ flip), i);
        long i = k;
        V worst(static_cast<A>(x[item_at(best[k - 1])]));
        for (; i + N <= n; i += N) {
            const V v = load_lanes<A, N>(x + i);
            auto better = Largest ? v > worst : v < worst;
            // A NaN is the largest; of the smallest, everything else is better.
            if constexpr (std::is_floating_point_v<A>) better = better | (Largest ? (v != v) & (worst == worst) : (worst != worst) & (v == v));
            if (TENON_LIKELY(!math::impl::any(better))) continue;
            for (long j = i; j < i + N; ++j) offer(best, k, static_cast<sort_key_t<T>>(sort_key(x[j]) ^ flip), j);
            worst = V(static_cast<A>(x[item_at(best[k - 1])]));
        }
        for (; i < n; ++i) offer(best, k, static_cast<sort_key_t<T>>(sort_key(x[i]) ^ flip), i);
    }
    template <class Item, class K>
    static TENON_ALWAYS_INLINE void insert(Item* best, long count, K key, long i) {
        Item item;
        make_item(item, key, i);
        long at = count;
        for (; at > 0 && item_less(item, best[at - 1]); --at) best[at] = best[at - 1];
        best[at] = item;
    }
    template <class Item, class K>
    static TENON_ALWAYS_INLINE void offer(Item* best, long k, K key, long i) {
        if (static_cast<std::uint64_t>(key) < item_key(best[k - 1])) insert(best, k - 1, key, i);
    }
};

}  // namespace impl

// The elements of every line in order (falling: descending) and the positions they came from; equal ones keep their order,
// -0 equals 0, NaN is larger than everything. values or indices may be null.
template <class T>
void sort(long outer, long n, long inner, const T* x, T* values, std::int64_t* indices, bool descending) {
    using Item = impl::sort_item_t<T>;
    if (outer <= 0 || n <= 0 || inner <= 0) return;
    impl::check_sort_size<T>("sort", n);
    const impl::sort_key_t<T> flip = descending ? impl::sort_flip<T> : impl::sort_key_t<T>(0);
    constexpr int bits = impl::sort_key_bits<T>;
    if (n >= 2 * impl::sort_part && outer * inner < num_threads()) {
        // Long lines, one after the other.
        const impl::Scratch<Item> items(n), other(n);
        const long parts = (n + impl::sort_part - 1) / impl::sort_part;
        for (long line = 0; line < outer * inner; ++line) {
            const long first = line / inner * n * inner + line % inner;
            auto each_part = [&](auto&& f) {
                parallel_for(parts, [&](long p) {
                    const long begin = p * impl::sort_part;
                    f(begin, n - begin < impl::sort_part ? n - begin : impl::sort_part);
                });
            };
            each_part([&](long begin, long count) { impl::make_items(x + first + begin * inner, count, inner, flip, begin, items.data() + begin); });
            const Item* sorted = impl::sort_items(items.data(), other.data(), n, bits, true);
            each_part([&](long begin, long count) {
                impl::store_items(x + first, sorted + begin, count, inner, flip, values != nullptr ? values + first + begin * inner : nullptr,
                                  indices != nullptr ? indices + first + begin * inner : nullptr);
            });
        }
        return;
    }
    impl::for_sort_lines(outer, n, inner, [&](long begin, long end) {
        const impl::Scratch<Item> items(n), other(n);
        for (long line = begin; line < end; ++line) {
            const long first = line / inner * n * inner + line % inner;
            impl::make_items(x + first, n, inner, flip, 0, items.data());
            const Item* sorted = impl::sort_items(items.data(), other.data(), n, bits, false);
            impl::store_items(x + first, sorted, n, inner, flip, values != nullptr ? values + first : nullptr, indices != nullptr ? indices + first : nullptr);
        }
    });
}

// The k largest (or smallest) elements of every line, best first (or, unsorted, by position), as [outer, k, inner]. Of
// equal ones the first count; NaN is larger than everything. 0 <= k <= n.
template <class T>
void topk(long outer, long n, long inner, long k, const T* x, T* values, std::int64_t* indices, bool largest, bool sorted) {
    using Item = impl::sort_item_t<T>;
    using K = impl::sort_key_t<T>;
    if (outer <= 0 || n <= 0 || inner <= 0 || k <= 0) return;
    impl::check_sort_size<T>("topk", n);
    const K flip = largest ? impl::sort_flip<T> : K(0);
    constexpr int bits = impl::sort_key_bits<T>;
    impl::for_sort_lines(outer, n, inner, [&](long begin, long end) {
        const bool few = k <= impl::topk_few && k < n, whole = !few && k == n;
        const impl::Scratch<Item> items(k), other(few ? 0 : k);
        const impl::Scratch<K> keys(few || whole ? 0 : n), rest(few || whole ? 0 : n);
        const impl::Scratch<T> line_values(few && inner > 1 ? n : 0);
        for (long line = begin; line < end; ++line) {
            const long o = line / inner, i = line % inner, first = o * n * inner + i, to = o * k * inner + i;
            const T* from = x + first;
            Item* chosen = items.data();
            if (few) {
                const T* row = from;
                if (inner > 1) {
                    for (long j = 0; j < n; ++j) line_values[j] = from[j * inner];
                    row = line_values.data();
                }
                if (largest) dispatch<impl::TopkBody<true>, impl::reduce_isa>(row, n, k, chosen);
                else dispatch<impl::TopkBody<false>, impl::reduce_isa>(row, n, k, chosen);
            } else if (whole) {
                impl::make_items(from, n, inner, flip, 0, chosen);
                if (sorted) chosen = impl::sort_items(chosen, other.data(), n, bits, false);
            } else {
                for (long j = 0; j < n; ++j) keys[j] = static_cast<K>(impl::sort_key(from[j * inner]) ^ flip);
                long less, count = 0;
                const K limit = impl::select_key(static_cast<const K*>(keys.data()), n, bits, k - 1, less, rest.data());
                long equal = k - less;
                for (long j = 0; j < n && count < k; ++j)
                    if (keys[j] < limit || (keys[j] == limit && equal-- > 0)) impl::make_item(items[count++], keys[j], j);
                if (sorted) chosen = impl::sort_items(chosen, other.data(), k, bits, false);
            }
            if (few && !sorted) {
                for (long a = 1; a < k; ++a) {
                    const Item item = chosen[a];
                    long at = a;
                    for (; at > 0 && impl::item_at(item) < impl::item_at(chosen[at - 1]); --at) chosen[at] = chosen[at - 1];
                    chosen[at] = item;
                }
            }
            impl::store_items(from, chosen, k, inner, flip, values + to, indices + to);
        }
    });
}

// The element of rank k (from 0, rising; of equal ones the first come first) of every line, as [outer, inner]. nan_wins: a
// line with NaN gives its first NaN.
template <class T>
void kth_value(long outer, long n, long inner, long k, const T* x, T* values, std::int64_t* indices, bool nan_wins) {
    using K = impl::sort_key_t<T>;
    if (outer <= 0 || n <= 0 || inner <= 0) return;
    impl::for_sort_lines(outer, n, inner, [&](long begin, long end) {
        const impl::Scratch<K> keys(n), rest(n);
        for (long line = begin; line < end; ++line) {
            const T* from = x + line / inner * n * inner + line % inner;
            bool any_nan = false;
            for (long j = 0; j < n; ++j) {
                keys[j] = impl::sort_key(from[j * inner]);
                if constexpr (!std::is_integral_v<T>) any_nan = any_nan || keys[j] == impl::sort_flip<T>;
            }
            K wanted = impl::sort_flip<T>;
            long equal = 0;
            if (!(nan_wins && any_nan)) {
                long less;
                wanted = impl::select_key(static_cast<const K*>(keys.data()), n, impl::sort_key_bits<T>, k, less, rest.data());
                equal = k - less;
            }
            long at = 0;
            for (;; ++at)
                if (keys[at] == wanted && equal-- == 0) break;
            values[line] = from[at * inner];
            indices[line] = at;
        }
    });
}

// The different elements of x, rising (every NaN counts as one of its own), where each comes first, how often it comes, and
// for every element of x which of them it is; values, firsts and counts have room for n. Returns how many there are.
template <class T>
long unique(long n, const T* x, T* values, std::int64_t* firsts, std::int64_t* inverse, std::int64_t* counts) {
    if (n <= 0) return 0;
    const impl::Scratch<std::int64_t> order(n);
    const impl::Scratch<T> sorted(n);
    sort(1, n, 1, x, sorted.data(), order.data(), false);
    long found = 0;
    for (long k = 0; k < n; ++k) {
        const accumulator<T> v = static_cast<accumulator<T>>(sorted[k]);
        if (k == 0 || v != static_cast<accumulator<T>>(sorted[k - 1])) {
            values[found] = sorted[k];
            firsts[found] = order[k];
            counts[found++] = 0;
        }
        ++counts[found - 1];
        inverse[order[k]] = found - 1;
    }
    return found;
}

// For every value how many elements of its sorted row are smaller (right: or equal): where it would be inserted. rows of n
// sorted elements and of m values; one row of sorted elements for all where `shared`. A NaN goes to the end.
template <class T>
void search_sorted(long rows, long n, long m, const T* sorted, bool shared, const T* values, std::int64_t* out, bool right) {
    if (rows <= 0 || m <= 0) return;
    using A = accumulator<T>;
    constexpr long share = 4096;
    parallel_for((rows * m + share - 1) / share, [&](long task) {
        const long last = (task + 1) * share < rows * m ? (task + 1) * share : rows * m;
        for (long i = task * share; i < last; ++i) {
            const T* row = sorted + (shared ? 0 : i / m * n);
            const A v = static_cast<A>(values[i]);
            long at = 0, left = n;
            while (left > 0) {
                const long step = left / 2;
                const A middle = static_cast<A>(row[at + step]);
                const bool go = right ? !(middle > v) : !(middle >= v);
                at = go ? at + step + 1 : at;
                left = go ? left - step - 1 : step;
            }
            out[i] = at;
        }
    });
}

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

// The largest element of every window of an image, and where it lies.
//
// Positions are numbers of taps within a window, (d * kernel[1] + h) * kernel[2] + w: a byte is enough for windows of up to 256
// taps, where a position in the image would take eight. As PyTorch: a tie goes to the first tap, and of several NaN the last wins.
#pragma once

#include <tenon/kernels/cpu/each.hpp>
#include <tenon/kernels/cpu/max_pool_pairs.hpp>
#include <tenon/kernels/cpu/pairs.hpp>
#include <tenon/kernels/cpu/pool_shape.hpp>
#include <tenon/kernels/cpu/reduce.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

// The plain version, one element of y at a time: what a device runs, too. position may be null.
template <class T, class P>
struct MaxPoolStep {
    PoolShape shape;
    const T* x;
    T* y;
    P* position;
    TENON_FUNCTOR void operator()(long i) const {
        using A = accumulator<T>;
        const VolumePoint o = volume_point(shape.y, i);
        const PoolAxis *d = shape.axes, *h = shape.axes + 1, *w = shape.axes + 2;
        const long d0 = d->start(o.at[0]), h0 = h->start(o.at[1]), w0 = w->start(o.at[2]);
        const T* from = x + o.n * shape.x.stride_n + o.c * shape.x.stride_c;
        A best = 0;
        long place = -1;
        const long d_end = d->end_tap(o.at[0]), h_end = h->end_tap(o.at[1]), w_end = w->end_tap(o.at[2]), w_first = w->first_tap(o.at[2]);
        for (long a = d->first_tap(o.at[0]); a < d_end; ++a)
            for (long b = h->first_tap(o.at[1]); b < h_end; ++b)
                for (long c = w_first; c < w_end; ++c) {
                    const A v = static_cast<A>(from[(d0 + a * d->dilation) * shape.x.stride[0] + (h0 + b * h->dilation) * shape.x.stride[1] +
                                                    (w0 + c * w->dilation) * shape.x.stride[2]]);
                    if (place >= 0 && !(v > best) && v == v) continue;
                    best = v;
                    place = (a * h->kernel + b) * w->kernel + c;
                }
        const long at = volume_offset(shape.y, o);
        y[at] = static_cast<T>(best);
        if (position != nullptr) position[at] = static_cast<P>(place);
    }
};
// dx[i] (+)= the gradients of the windows whose largest element it is. dx and dy are packed.
template <class T, class P>
struct MaxPoolBackwardStep {
    PoolShape shape;
    const P* position;
    const T* dy;
    T* dx;
    bool add;
    TENON_FUNCTOR void operator()(long i) const {
        using A = accumulator<T>;
        const VolumePoint p = volume_point(shape.x, i);
        const PoolAxis *d = shape.axes, *h = shape.axes + 1, *w = shape.axes + 2;
        const T* from = dy + (p.n * shape.y.c + p.c) * shape.y.points();
        const P* places = position + p.n * shape.y.stride_n + p.c * shape.y.stride_c;
        A sum = add ? static_cast<A>(dx[i]) : A(0);
        for (long a = d->first_window(p.at[0]); a < d->end_window(p.at[0]); ++a) {
            const long ta = d->tap(a, p.at[0]);
            if (ta < 0) continue;
            for (long b = h->first_window(p.at[1]); b < h->end_window(p.at[1]); ++b) {
                const long tb = h->tap(b, p.at[1]);
                if (tb < 0) continue;
                for (long c = w->first_window(p.at[2]); c < w->end_window(p.at[2]); ++c) {
                    const long tc = w->tap(c, p.at[2]);
                    if (tc < 0 || static_cast<long>(places[a * shape.y.stride[0] + b * shape.y.stride[1] + c * shape.y.stride[2]]) != (ta * h->kernel + tb) * w->kernel + tc)
                        continue;
                    sum = sum + static_cast<A>(from[(a * shape.y.size[1] + b) * shape.y.size[2] + c]);
                }
            }
        }
        dx[i] = static_cast<T>(sum);
    }
};
// to[o] (+)= the element of the packed `from` (which has x's sizes) that was the largest of window o; `to` is packed.
template <class T, class P>
struct MaxPoolPickStep {
    PoolShape shape;
    const P* position;
    const T* from;
    T* to;
    bool add;
    TENON_FUNCTOR void operator()(long i) const {
        using A = accumulator<T>;
        const VolumePoint o = volume_point(shape.y, i);
        const A v = static_cast<A>(from[(o.n * shape.x.c + o.c) * shape.x.points() + shape.source(o, static_cast<long>(position[volume_offset(shape.y, o)]))]);
        to[i] = static_cast<T>(add ? static_cast<A>(to[i]) + v : v);
    }
};
// Positions in the planes of x, where `indices` is laid out as the positions are.
template <class P>
struct PoolIndexStep {
    PoolShape shape;
    const P* position;
    std::int64_t* indices;
    TENON_FUNCTOR void operator()(long i) const {
        const VolumePoint o = volume_point(shape.y, i);
        const long at = volume_offset(shape.y, o);
        indices[at] = static_cast<std::int64_t>(shape.source(o, static_cast<long>(position[at])));
    }
};

namespace impl {

// For n neighbours at once: the largest of `count` taps and its code. initial: the code of the first tap that lies within the
// image, one for each neighbour (null: codes[0]).
template <bool With>
struct MaxTapsBody {
    template <int Lanes, class T, class To, class P>
    static TENON_ALWAYS_INLINE void run(long count, const T* const* taps, const int* codes, const int* initial, long n, To* y, P* position) {
        using A = accumulator<T>;
        constexpr int N = Lanes * 4 / int(sizeof(A));
        if (n < N) return block<true, A, N>(count, taps, codes, initial, 0, n, y, position);
        long i = 0;
        for (; i + N <= n; i += N) block<false, A, N>(count, taps, codes, initial, i, N, y, position);
        // The last block overlaps the one before it.
        if (i < n) block<false, A, N>(count, taps, codes, initial, n - N, N, y, position);
    }
    template <bool Part, class A, int N, class T, class To, class P>
    static TENON_ALWAYS_INLINE void block(long count, const T* const* taps, const int* codes, const int* initial, long i, long width, To* y, P* position) {
        using V = simd<A, N>;
        using I = simd<std::int32_t, N>;
        V best(lowest_value<A>());
        if constexpr (With) {
            I code(codes[0]);
            if (initial != nullptr) code = load_some<Part, std::int32_t, N>(initial + i, width);
            for (long k = 0; k < count; ++k) {
                const V v = load_some<Part, A, N>(taps[k] + i, width);
                const auto wins = (v > best) | (v != v);
                best = select(wins, v, best);
                code = select(wins, I(codes[k]), code);
            }
            if constexpr (Part) {
                std::int32_t lanes[N];
                code.store(lanes);
                for (long l = 0; l < width; ++l) position[i + l] = static_cast<P>(lanes[l]);
            } else {
                store_codes(position + i, code);
            }
        } else {
            for (long k = 0; k < count; ++k) best = max(best, load_some<Part, A, N>(taps[k] + i, width));
        }
        store_some<Part, A, N>(y + i, best, width);
    }
};

// One wide window: lanes are neighbouring taps, merged in the end as if they had been seen in order. rows: of the window, each
// `width` contiguous elements; best and place: its largest element and the code of that.
struct MaxWindowBody {
    template <int Lanes, class T, class A>
    static TENON_ALWAYS_INLINE void run(long count, const T* const* rows, const int* codes, long width, A* best, int* place) {
        constexpr int N = Lanes * 4 / int(sizeof(A));
        using V = simd<A, N>;
        using I = simd<std::int32_t, N>;
        constexpr int none = 0x7fffffff;
        V largest(lowest_value<A>());
        I code(none);
        const I numbers = lane_numbers<std::int32_t, N>();
        A tail = lowest_value<A>();
        int tail_code = none;
        for (long r = 0; r < count; ++r) {
            const T* row = rows[r];
            long i = 0;
            for (; i + N <= width; i += N) {
                const V v = load_lanes<A, N>(row + i);
                const auto wins = (v > largest) | (v != v);
                largest = select(wins, v, largest);
                code = select(wins, I(codes[r] + static_cast<int>(i)) + numbers, code);
            }
            for (; i < width; ++i) {
                const A v = static_cast<A>(row[i]);
                if (!(v > tail) && v == v) continue;
                tail = v;
                tail_code = codes[r] + static_cast<int>(i);
            }
        }
        for (int l = 0; l < N; ++l) {
            const A v = largest[l];
            const bool odd = v != v, before = tail != tail;
            const bool wins = odd || before ? odd && (!before || code[l] > tail_code) : v > tail || (v == tail && code[l] < tail_code);
            if (!wins) continue;
            tail = v;
            tail_code = code[l];
        }
        *best = tail;
        *place = tail_code == none ? codes[0] : tail_code;
    }
};

// A row of an image into a buffer: element i goes to phase (i + padding) % stride at (i + padding) / stride.
struct SplitRowBody {
    template <int Lanes, class T, class A>
    static TENON_ALWAYS_INLINE void run(const T* x, long step, long n, long padding, long stride, long phase, A* to) {
        constexpr int N = Lanes * 4 / int(sizeof(A));
        if (step == 1 && stride == 1) {
            long i = 0;
            for (; i + N <= n; i += N) load_lanes<A, N>(x + i).store(to + padding + i);
            if (i < n && n >= N) {
                load_lanes<A, N>(x + n - N).store(to + padding + n - N);
                i = n;
            }
            for (; i < n; ++i) to[padding + i] = static_cast<A>(x[i]);
            return;
        }
        long i = 0;
        if (step == 1 && stride == 2) {
            A *first = to + padding % 2 * phase + padding / 2, *second = to + (padding + 1) % 2 * phase + (padding + 1) / 2;
            const auto block = [&](long at) {
                simd<A, N> even, odd;
                split_pairs(load_lanes<A, N>(x + at), load_lanes<A, N>(x + at + N), even, odd);
                even.store(first + at / 2);
                odd.store(second + at / 2);
            };
            for (; i + 2 * N <= n; i += 2 * N) block(i);
            if (i + 1 < n && n >= 2 * N) {  // overlaps the one before it
                i = n / 2 * 2;
                block(i - 2 * N);
            }
        }
        long at = (padding + i) / stride, p = (padding + i) % stride;
        for (; i < n; ++i) {
            to[p * phase + at] = static_cast<A>(x[i * step]);
            if (++p == stride) {
                p = 0;
                ++at;
            }
        }
    }
};

// Rows of an image that lie in cache, turned into what a stride makes contiguous. A row stays until another one needs its
// place; the borders are filled once.
template <class A>
class RowCache {
public:
    RowCache(const PoolShape& s, A fill)
        : shape_(s), rows_((s.axes[1].kernel - 1) * s.axes[1].dilation + 1), depth_((s.axes[0].kernel - 1) * s.axes[0].dilation + 1), slots_(depth_ * rows_),
          place_(s.x.size[1]) {
        for (long h = 0; h < s.x.size[1]; ++h) place_[h] = h % rows_;
        const PoolAxis& w = s.axes[2];
        const long reach = w.out + (w.kernel - 1) * w.dilation / w.stride + 1, whole = (w.in + 2 * w.padding) / w.stride + 2;
        phase_ = reach > whole ? reach : whole;
        memory_ = static_cast<A*>(std::malloc(static_cast<std::size_t>(slots_ * size()) * sizeof(A)));
        held_ = static_cast<long*>(std::malloc(static_cast<std::size_t>(slots_) * sizeof(long)));
        if (memory_ == nullptr || held_ == nullptr) {
            std::free(memory_);
            std::free(held_);
            fail<MemoryError>("max_pool: out of memory for the rows of a window");
        }
        for (long i = 0; i < slots_ * size(); ++i) memory_[i] = fill;
        for (long i = 0; i < slots_; ++i) held_[i] = -1;
    }
    RowCache(const RowCache&) = delete;
    RowCache& operator=(const RowCache&) = delete;
    ~RowCache() {
        std::free(memory_);
        std::free(held_);
    }
    template <class T>
    const A* row(const T* plane, long plane_number, long d, long h) {
        const long slot = depth_ == 1 ? place_[h] : d % depth_ * rows_ + place_[h];
        const long wanted = (plane_number * shape_.x.size[0] + d) * shape_.x.size[1] + h;
        A* to = memory_ + slot * size();
        if (held_[slot] == wanted) return to;
        const PoolAxis& w = shape_.axes[2];
        dispatch<SplitRowBody, reduce_isa>(plane + d * shape_.x.stride[0] + h * shape_.x.stride[1], shape_.x.stride[2], w.in, w.padding, w.stride, phase_, to);
        held_[slot] = wanted;
        return to;
    }
    long offset(long tap) const {
        const PoolAxis& w = shape_.axes[2];
        return tap * w.dilation % w.stride * phase_ + tap * w.dilation / w.stride;
    }

private:
    long size() const { return phase_ * shape_.axes[2].stride; }

    const PoolShape& shape_;
    long rows_, depth_, slots_, phase_ = 0;
    Scratch<long> place_;
    A* memory_ = nullptr;
    long* held_ = nullptr;
};

template <bool With, class T, class P>
void max_pool_rows(const PoolShape& s, const T* x, T* y, P* position) {
    using A = accumulator<T>;
    const PoolAxis &d = s.axes[0], &h = s.axes[1], &w = s.axes[2];
    const long per_plane = d.out * h.out, rows = s.y.n * s.y.c * per_plane;
    long per = pool_task / (w.out * (s.taps() < 16 ? 4 : 16));
    if (per < h.out && per_plane % h.out == 0) per = s.y.n * s.y.c < 8 ? (per > 4 ? per : 4) : h.out;
    if (per > rows) per = rows;
    parallel_for((rows + per - 1) / per, [&](long task) {
        RowCache<A> cache(s, lowest_value<A>());
        const Scratch<const A*> taps(s.taps());
        const Scratch<int> codes(s.taps()), first(w.out), initial(w.out);
        const Scratch<long> offsets(w.kernel);
        for (long k = 0; k < w.kernel; ++k) offsets[k] = cache.offset(k);
        for (long o = 0; o < w.out; ++o) first[o] = static_cast<int>(w.first_tap(o));
        VolumeRow at_row(s.y, task * per);
        for (long row = task * per; row < (task + 1) * per && row < rows; ++row, at_row.next(s.y)) {
            const auto [number, n, c, od, oh] = at_row;
            const T* plane = x + n * s.x.stride_n + c * s.x.stride_c;
            long count = 0;
            const long a_end = d.end_tap(od), b_first = h.first_tap(oh), b_end = h.end_tap(oh);
            for (long a = d.first_tap(od); a < a_end; ++a)
                for (long b = b_first; b < b_end; ++b) {
                    const A* from = cache.row(plane, number, d.start(od) + a * d.dilation, h.start(oh) + b * h.dilation);
                    for (long k = 0; k < w.kernel; ++k, ++count) {
                        taps[count] = from + offsets[k];
                        codes[count] = static_cast<int>((a * h.kernel + b) * w.kernel + k);
                    }
                }
            if constexpr (With) {
                const int base = codes[0];
                for (long o = 0; o < w.out; ++o) initial[o] = base + first[o];
            }
            const long at = n * s.y.stride_n + c * s.y.stride_c + od * s.y.stride[0] + oh * s.y.stride[1];
            dispatch<MaxTapsBody<With>, reduce_isa>(count, static_cast<const A* const*>(taps.data()), static_cast<const int*>(codes.data()),
                                                          static_cast<const int*>(With ? initial.data() : nullptr), w.out, y + at, With ? position + at : position);
        }
    });
}
template <bool With, class T, class P>
void max_pool_channels(const PoolShape& s, const T* x, T* y, P* position) {
    const PoolAxis &d = s.axes[0], &h = s.axes[1], &w = s.axes[2];
    const long points = s.y.n * s.y.points();
    long per = pool_task / (s.y.c * (s.taps() < 32 ? s.taps() : 32));
    if (per < 1) per = 1;
    parallel_for((points + per - 1) / per, [&](long task) {
        const Scratch<const T*> taps(s.taps());
        const Scratch<int> codes(s.taps());
        for (long point = task * per; point < (task + 1) * per && point < points; ++point) {
            const long ow = point % w.out, oh = point / w.out % h.out, od = point / w.out / h.out % d.out, n = point / s.y.points();
            const T* from = x + n * s.x.stride_n;
            long count = 0;
            const long a_end = d.end_tap(od), b_end = h.end_tap(oh), k_end = w.end_tap(ow);
            for (long a = d.first_tap(od); a < a_end; ++a)
                for (long b = h.first_tap(oh); b < b_end; ++b)
                    for (long k = w.first_tap(ow); k < k_end; ++k, ++count) {
                        taps[count] = from + (d.start(od) + a * d.dilation) * s.x.stride[0] + (h.start(oh) + b * h.dilation) * s.x.stride[1] +
                                      (w.start(ow) + k * w.dilation) * s.x.stride[2];
                        codes[count] = static_cast<int>((a * h.kernel + b) * w.kernel + k);
                    }
            const long at = n * s.y.stride_n + od * s.y.stride[0] + oh * s.y.stride[1] + ow * s.y.stride[2];
            dispatch<MaxTapsBody<With>, reduce_isa>(count, static_cast<const T* const*>(taps.data()), static_cast<const int*>(codes.data()),
                                                           static_cast<const int*>(nullptr), s.y.c, y + at, With ? position + at : position);
        }
    });
}

template <class T, class P>
void max_pool_wide(const PoolShape& s, const T* x, T* y, P* position) {
    const PoolAxis &d = s.axes[0], &h = s.axes[1], &w = s.axes[2];
    long per = pool_task / s.taps();
    if (per < 1) per = 1;
    const long windows = s.y.elements();
    parallel_for((windows + per - 1) / per, [&](long task) {
        const Scratch<const T*> rows(d.kernel * h.kernel);
        const Scratch<int> codes(d.kernel * h.kernel);
        for (long i = task * per; i < (task + 1) * per && i < windows; ++i) {
            const VolumePoint o = volume_point(s.y, i);
            const long first = w.first_tap(o.at[2]), width = w.end_tap(o.at[2]) - first;
            const T* from = x + o.n * s.x.stride_n + o.c * s.x.stride_c + w.start(o.at[2]) + first;
            long count = 0;
            for (long a = d.first_tap(o.at[0]); a < d.end_tap(o.at[0]); ++a)
                for (long b = h.first_tap(o.at[1]); b < h.end_tap(o.at[1]); ++b, ++count) {
                    rows[count] = from + (d.start(o.at[0]) + a * d.dilation) * s.x.stride[0] + (h.start(o.at[1]) + b * h.dilation) * s.x.stride[1];
                    codes[count] = static_cast<int>((a * h.kernel + b) * w.kernel + first);
                }
            accumulator<T> best;
            int place;
            dispatch<MaxWindowBody, reduce_isa>(count, static_cast<const T* const*>(rows.data()), static_cast<const int*>(codes.data()), width, &best, &place);
            const long at = volume_offset(s.y, o);
            y[at] = static_cast<T>(best);
            if (position != nullptr) position[at] = static_cast<P>(place);
        }
    });
}

}  // namespace impl

// y = the largest element of every window of x; position (null: not wanted): the number of its tap. Rows and channels that are
// contiguous in x are so in y.
template <class T, class P>
void max_pool(const PoolShape& s, const T* x, T* y, P* position) {
    if (s.y.elements() <= 0) return;
    const PoolAxis& w = s.axes[2];
    const bool equal = !w.adaptive && !s.axes[0].adaptive && !s.axes[1].adaptive;
    // Windows of more than 256 taps, few of them or unequal ones: vectors within a window at best.
    if constexpr (sizeof(P) == 1) {
        if (impl::is_pairs(s) && s.x.stride[2] == 1 && s.y.stride[2] == 1) {
            if (position != nullptr) return impl::max_pool_pairs<true>(s, x, y, position);
            return impl::max_pool_pairs<false>(s, x, y, position);
        }
        if (s.x.channels_last() && s.y.channels_last()) {
            if (position != nullptr) return impl::max_pool_channels<true>(s, x, y, position);
            return impl::max_pool_channels<false>(s, x, y, position);
        }
        if (equal && w.out >= 4 && s.y.stride[2] == 1) {
            if (position != nullptr) return impl::max_pool_rows<true>(s, x, y, position);
            return impl::max_pool_rows<false>(s, x, y, position);
        }
    }
    if (w.kernel >= 8 && w.dilation == 1 && s.x.stride[2] == 1) return impl::max_pool_wide(s, x, y, position);
    each(s.y.elements(), MaxPoolStep<T, P>{s, x, y, position});
}

// dx (+)= dy at the positions; dy and dx packed. A plane is the work of one task, which goes through its windows in order.
template <class T, class P>
void max_pool_backward(const PoolShape& s, const P* position, const T* dy, T* dx, bool add) {
    using A = accumulator<T>;
    const long from_points = s.y.points(), to_points = s.x.points(), planes = s.x.n * s.x.c;
    if (planes <= 0 || to_points <= 0) return;
    if constexpr (sizeof(P) == 1)
        if (!add && impl::is_pairs(s) && s.y.stride[2] == 1) return impl::max_pool_pairs_backward(s, position, dy, dx);
    const impl::Scratch<long> offsets(s.taps());
    const PoolAxis &d = s.axes[0], &h = s.axes[1], &w = s.axes[2];
    for (long k = 0; k < s.taps(); ++k)
        offsets[k] = (k / w.kernel / h.kernel * d.dilation * s.x.size[1] + k / w.kernel % h.kernel * h.dilation) * s.x.size[2] + k % w.kernel * w.dilation;
    long per = impl::pool_task / to_points;
    if (per < 1) per = 1;
    parallel_for((planes + per - 1) / per, [&](long task) {
        constexpr bool direct = std::is_same_v<T, A>;
        const impl::Scratch<A> own(direct ? 1 : to_points);  // sums of 16-bit types are kept in float
        for (long plane = task * per; plane < (task + 1) * per && plane < planes; ++plane) {
            A* to;
            if constexpr (direct) to = dx + plane * to_points;
            else to = own.data();
            if (!direct || !add) std::memset(static_cast<void*>(to), 0, static_cast<std::size_t>(to_points) * sizeof(A));
            const T* from = dy + plane * from_points;
            const P* places = position + plane / s.y.c * s.y.stride_n + plane % s.y.c * s.y.stride_c;
            for (long a = 0; a < d.out; ++a)
                for (long b = 0; b < h.out; ++b, from += w.out) {
                    const long base = (d.start(a) * s.x.size[1] + h.start(b)) * s.x.size[2];
                    const P* row = places + a * s.y.stride[0] + b * s.y.stride[1];
                    const long step = s.y.stride[2];
                    if (!w.adaptive) {
                        long at = base - w.padding;
                        for (long o = 0; o < w.out; ++o, at += w.stride) to[at + offsets[static_cast<long>(row[o * step])]] += static_cast<A>(from[o]);
                    } else {
                        for (long o = 0; o < w.out; ++o) to[base + w.start(o) + offsets[static_cast<long>(row[o * step])]] += static_cast<A>(from[o]);
                    }
                }
            if constexpr (!direct) {
                T* out = dx + plane * to_points;
                for (long i = 0; i < to_points; ++i) out[i] = static_cast<T>(add ? static_cast<A>(out[i]) + to[i] : to[i]);
            }
        }
    });
}
// y (+)= the elements of x at the positions; packed. The transpose of max_pool_backward.
template <class T, class P>
void max_pool_pick(const PoolShape& s, const P* position, const T* x, T* y, bool add) {
    each(s.y.elements(), MaxPoolPickStep<T, P>{s, position, x, y, add});
}
// The positions as numbers of elements in the planes of x.
template <class P>
void pool_indices(const PoolShape& s, const P* position, std::int64_t* indices) {
    each(s.y.elements(), PoolIndexStep<P>{s, position, indices});
}

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

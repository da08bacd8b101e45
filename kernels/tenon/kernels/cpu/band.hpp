// Linear maps of images that treat each axis alone, every element of the result from a few neighbours: average pooling and all
// kinds of interpolation are y[d, h, w] = sum of D[d, i] H[h, j] W[w, k] x[i, j, k] with banded matrices D, H and W. So are their
// derivatives, with the matrices transposed; both directions run through the same loops.
#pragma once

#include <tenon/kernels/cpu/each.hpp>
#include <tenon/kernels/cpu/pairs.hpp>
#include <tenon/kernels/cpu/reduce.hpp>
#include <tenon/kernels/cpu/volume.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

// box: the windows of average pooling. adaptive: windows [o * in / out, (o + 1) * in / out), rounded outwards. nearest: PyTorch's,
// which takes the element at or before; nearest_exact: at the centre. linear, cubic (Keys 1981, a = -0.75): between the two / four
// elements around. smooth_linear, smooth_cubic (a = -0.5): the same filters as wide as the step, so that nothing is skipped.
enum class BandKind : unsigned char { box, adaptive, nearest, nearest_exact, linear, cubic, smooth_linear, smooth_cubic };

// The matrix of one axis. Row o holds weight(o, i) / divisor(o) in columns first(o) ... end(o) - 1; both grow with o.
struct BandAxis {
    long in = 1, out = 1;
    BandKind kind = BandKind::box;
    bool include_padding = false;  // box: the divisor counts the padding
    bool align_corners = false;    // linear and cubic: the first and last elements stay where they are
    long kernel = 1, stride = 1, padding = 0;
    double override = 0;           // box: the divisor, where not 0
    double scale = 1;              // from positions in the result to positions in the image

    TENON_FUNCTOR double position(long o) const {
        return align_corners ? static_cast<double>(o) * scale : (static_cast<double>(o) + 0.5) * scale - 0.5;
    }
    TENON_FUNCTOR double support() const {
        const double own = kind == BandKind::smooth_cubic ? 2 : 1;
        return scale > 1 ? own * scale : own;
    }
    TENON_FUNCTOR static long down(double v) {
        const long t = static_cast<long>(v);
        return static_cast<double>(t) > v ? t - 1 : t;
    }
    TENON_FUNCTOR static long between(long v, long low, long high) { return v < low ? low : v > high ? high : v; }
    TENON_FUNCTOR long nearest(long o) const {
        if (in == out) return o;
        if (kind == BandKind::nearest && out == 2 * in) return o / 2;
        // In float, whatever the type, as PyTorch.
        const float at = (static_cast<float>(o) + (kind == BandKind::nearest_exact ? 0.5f : 0.f)) * static_cast<float>(scale);
        return between(static_cast<long>(at), 0, in - 1);
    }
    TENON_FUNCTOR long first(long o) const {
        switch (kind) {
            case BandKind::box: return o * stride - padding < 0 ? 0 : o * stride - padding;
            case BandKind::adaptive: return o * in / out;
            case BandKind::nearest:
            case BandKind::nearest_exact: return nearest(o);
            case BandKind::linear: return between(down(position(o)), 0, in - 1);
            case BandKind::cubic: return between(down(position(o)) - 1, 0, in - 1);
            default: return between(static_cast<long>(scale * (static_cast<double>(o) + 0.5) - support() + 0.5), 0, in - 1);
        }
    }
    TENON_FUNCTOR long end(long o) const {
        switch (kind) {
            case BandKind::box: return o * stride - padding + kernel < in ? o * stride - padding + kernel : in;
            case BandKind::adaptive: return ((o + 1) * in + out - 1) / out;
            case BandKind::nearest:
            case BandKind::nearest_exact: return nearest(o) + 1;
            case BandKind::linear: {
                const double at = position(o);
                return between(at <= 0 ? 1 : down(at) + 1, 0, in - 1) + 1;
            }
            case BandKind::cubic: return between(down(position(o)) + 2, 0, in - 1) + 1;
            default: return between(static_cast<long>(scale * (static_cast<double>(o) + 0.5) + support() + 0.5), 1, in);
        }
    }
    TENON_FUNCTOR double divisor(long o) const {
        if (kind == BandKind::adaptive) return static_cast<double>(end(o) - first(o));
        if (kind != BandKind::box) return 1;
        if (override != 0) return override;
        if (!include_padding) return static_cast<double>(end(o) - first(o));
        const long start = o * stride - padding, stop = start + kernel < in + padding ? start + kernel : in + padding;
        return static_cast<double>(stop - start);
    }
    TENON_FUNCTOR double weight(long o, long i) const {
        switch (kind) {
            case BandKind::linear: {
                const double at = position(o) < 0 ? 0 : position(o);
                const long low = first(o);
                if (end(o) == low + 1) return 1;
                const double lambda = at - static_cast<double>(low);
                return i == low ? 1 - lambda : lambda;
            }
            case BandKind::cubic: {
                const long low = down(position(o));
                const double t = position(o) - static_cast<double>(low);
                double sum = 0;
                for (int k = -1; k <= 2; ++k)
                    if (between(low + k, 0, in - 1) == i) sum += keys(t - static_cast<double>(k), -0.75);
                return sum;
            }
            case BandKind::smooth_linear:
            case BandKind::smooth_cubic: {
                double total = 0;
                for (long k = first(o); k < end(o); ++k) total += filter(o, k);
                return filter(o, i) / total;
            }
            default: return 1;
        }
    }
    // The first row that has column i, where there is one: the first whose end lies beyond it.
    TENON_FUNCTOR long first_row(long i) const {
        long o = in > 0 ? between(i * out / in, 0, out - 1) : 0;
        while (o > 0 && end(o - 1) > i) --o;
        while (o < out && end(o) <= i) ++o;
        return o;
    }

private:
    // Keys' interpolation filter at a distance.
    TENON_FUNCTOR static double keys(double x, double a) {
        const double d = x < 0 ? -x : x;
        if (d < 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
        if (d < 2) return (((d - 5) * d + 8) * d - 4) * a;
        return 0;
    }
    TENON_FUNCTOR double filter(long o, long i) const {
        const double narrow = scale > 1 ? 1 / scale : 1;
        const double x = (static_cast<double>(i) - scale * (static_cast<double>(o) + 0.5) + 0.5) * narrow, d = x < 0 ? -x : x;
        if (kind == BandKind::smooth_cubic) return keys(x, -0.5);
        return d < 1 ? 1 - d : 0;
    }
};

// The map of an image's axes. transposed: y has the sizes `in`, x the sizes `out`.
struct BandShape {
    Volume x, y;
    BandAxis axes[3];
    bool transposed = false;
};

// The plain version, one element of y at a time: what a device runs, too.
template <class T>
struct BandStep {
    BandShape shape;
    const T* x;
    T* y;
    bool add;
    TENON_FUNCTOR void operator()(long i) const {
        using A = accumulator<T>;
        const VolumePoint o = volume_point(shape.y, i);
        const T* from = x + o.n * shape.x.stride_n + o.c * shape.x.stride_c;
        long first[3], end[3];
        for (int d = 0; d < 3; ++d) {
            const BandAxis& a = shape.axes[d];
            if (!shape.transposed) {
                first[d] = a.first(o.at[d]);
                end[d] = a.end(o.at[d]);
            } else {
                first[d] = end[d] = a.first_row(o.at[d]);
                while (end[d] < a.out && a.first(end[d]) <= o.at[d]) ++end[d];
            }
        }
        const auto weight = [&](int d, long k) {
            const BandAxis& a = shape.axes[d];
            return shape.transposed ? a.weight(k, o.at[d]) / a.divisor(k) : a.weight(o.at[d], k);
        };
        A sum = 0;
        for (long a = first[0]; a < end[0]; ++a) {
            const double outer = weight(0, a);
            for (long b = first[1]; b < end[1]; ++b) {
                const double middle = outer * weight(1, b);
                const T* row = from + a * shape.x.stride[0] + b * shape.x.stride[1];
                for (long c = first[2]; c < end[2]; ++c) sum = sum + static_cast<A>(middle * weight(2, c)) * static_cast<A>(row[c * shape.x.stride[2]]);
            }
        }
        if (!shape.transposed) sum = sum / static_cast<A>(shape.axes[0].divisor(o.at[0]) * shape.axes[1].divisor(o.at[1]) * shape.axes[2].divisor(o.at[2]));
        const long at = volume_offset(shape.y, o);
        y[at] = static_cast<T>(add ? static_cast<A>(y[at]) + sum : sum);
    }
};

namespace impl {

constexpr long band_task = 32768;  // elements of y per task
constexpr long band_slack = 16;    // elements behind a row's own that may be read

// How the rows of a matrix go on, from `low` up to `high`: by a step of 1 or 2 columns with the same weights (down), or by one
// column every second row (up). Then lanes are neighbours.
enum class BandPattern { none, down1, down2, up2 };

// A matrix as a table. Row o: weights[o * most ...] for columns first[o] ... first[o] + count[o] - 1, divided by divisor[o].
template <class A>
struct BandTable {
    long rows, columns, most = 1;
    Scratch<long> first, count;
    Scratch<A> divisor;
    A* weights = nullptr;
    A* by_tap = nullptr;              // the weights again, [most, rows], where lanes are gathered
    std::int32_t* positions = nullptr;  // first, then count, for those
    bool divides = false;
    BandPattern pattern = BandPattern::none;
    long low = 0, high = 0;

    BandTable(const BandAxis& a, bool transposed)
        : rows(transposed ? a.in : a.out), columns(transposed ? a.out : a.in), first(rows), count(rows), divisor(rows) {
        for (long i = 0; i < rows; ++i) {
            first[i] = count[i] = 0;
            divisor[i] = A(1);
        }
        for (long o = 0; o < a.out; ++o) {
            const long begin = a.first(o), end = a.end(o);
            if (!transposed) {
                first[o] = begin;
                count[o] = end - begin;
                divisor[o] = static_cast<A>(a.divisor(o));
                divides = divides || divisor[o] != A(1);
                most = count[o] > most ? count[o] : most;
            } else {
                for (long i = begin; i < end; ++i) {
                    if (count[i]++ == 0) first[i] = o;
                    most = count[i] > most ? count[i] : most;
                }
            }
        }
        weights = static_cast<A*>(std::malloc(static_cast<std::size_t>(rows * most > 0 ? rows * most : 1) * sizeof(A)));
        if (weights == nullptr) fail<MemoryError>("out of memory for ", rows * most, " weights of an interpolation");
        for (long o = 0; o < a.out; ++o)
            for (long i = a.first(o); i < a.end(o); ++i) {
                if (!transposed) weights[o * most + i - first[o]] = static_cast<A>(a.weight(o, i));
                else weights[i * most + o - first[i]] = static_cast<A>(a.weight(o, i) / a.divisor(o));
            }
        find_pattern();
        if (pattern != BandPattern::none || rows < 8 || most > 8) return;
        by_tap = static_cast<A*>(std::malloc(static_cast<std::size_t>(rows * most) * sizeof(A)));
        positions = static_cast<std::int32_t*>(std::malloc(static_cast<std::size_t>(2 * rows) * sizeof(std::int32_t)));
        if (by_tap == nullptr || positions == nullptr) fail<MemoryError>("out of memory for ", rows * most, " weights of an interpolation");
        for (long o = 0; o < rows; ++o) {
            positions[o] = static_cast<std::int32_t>(first[o]);
            positions[rows + o] = static_cast<std::int32_t>(count[o]);
            for (long k = 0; k < most; ++k) by_tap[k * rows + o] = k < count[o] ? weights[o * most + k] : A(0);
        }
    }
    BandTable(const BandTable&) = delete;
    BandTable& operator=(const BandTable&) = delete;
    ~BandTable() {
        std::free(weights);
        std::free(by_tap);
        std::free(positions);
    }

private:
    bool same(long o, long before, long step) const {
        if (count[o] != count[before] || count[o] == 0 || first[o] != first[before] + step || divisor[o] != divisor[before]) return false;
        for (long k = 0; k < count[o]; ++k)
            if (weights[o * most + k] != weights[before * most + k]) return false;
        return true;
    }
    void find_pattern() {
        const long middle = rows / 2;
        if (rows < 8) return;
        struct Try { BandPattern pattern; long rows, step; };
        for (const Try t : {Try{BandPattern::down1, 1, 1}, Try{BandPattern::down2, 1, 2}, Try{BandPattern::up2, 2, 1}}) {
            long from = middle, to = middle + t.rows;
            while (to < rows && same(to, to - t.rows, t.step)) ++to;
            while (from > 0 && same(from + t.rows - 1, from - 1, t.step)) --from;
            if (to - from < 8 * t.rows) continue;
            pattern = t.pattern;
            low = from;
            high = from + (to - from) / t.rows * t.rows;
            return;
        }
    }
};

// y[i] (+)= (sum of w[k] * rows[k][i]) / divisor.
struct CombineRowsBody {
    template <int Lanes, class A, class From, class To>
    static TENON_ALWAYS_INLINE void run(long count, const From* const* rows, const A* w, long n, A divisor, To* y, bool add) {
        constexpr int N = Lanes * 4 / int(sizeof(A));
        using V = simd<A, N>;
        long i = 0;
        for (; i + 4 * N <= n; i += 4 * N) {
            V sum[4];
            const V w0(w[0]);
            TENON_UNROLL(4)
            for (int u = 0; u < 4; ++u) sum[u] = w0 * load_lanes<A, N>(rows[0] + i + u * N);
            for (long k = 1; k < count; ++k) {
                const V wk(w[k]);
                TENON_UNROLL(4)
                for (int u = 0; u < 4; ++u) sum[u] = sum[u] + wk * load_lanes<A, N>(rows[k] + i + u * N);
            }
            TENON_UNROLL(4)
            for (int u = 0; u < 4; ++u) put<false, A, N>(sum[u], divisor, y + i + u * N, N, add);
        }
        for (; i + N <= n; i += N) one<false, A, N>(count, rows, w, i, N, divisor, y, add);
        if (i == n) return;
        // The last block overlaps the one before it, where that does not count twice.
        if (n >= N && !add) one<false, A, N>(count, rows, w, n - N, N, divisor, y, false);
        else one<true, A, N>(count, rows, w, i, n - i, divisor, y, add);
    }
    template <bool Part, class A, int N, class From, class To>
    static TENON_ALWAYS_INLINE void one(long count, const From* const* rows, const A* w, long i, long width, A divisor, To* y, bool add) {
        using V = simd<A, N>;
        V sum = V(w[0]) * load_some<Part, A, N>(rows[0] + i, width);
        for (long k = 1; k < count; ++k) sum = sum + V(w[k]) * load_some<Part, A, N>(rows[k] + i, width);
        put<Part, A, N>(sum, divisor, y + i, width, add);
    }
    template <bool Part, class A, int N, class To>
    static TENON_ALWAYS_INLINE void put(simd<A, N> sum, A divisor, To* y, long width, bool add) {
        if (divisor != A(1)) sum = sum / simd<A, N>(divisor);
        if (add) sum = sum + load_some<Part, A, N>(y, width);
        store_some<Part, A, N>(y, sum, width);
    }
};

// What a row needs to know of its table.
template <class A>
struct BandRow {
    long rows, columns, most;
    const long *first, *count;
    const A *divisor, *weights, *by_tap;
    const std::int32_t* positions;
    BandPattern pattern;
    long low, high;
    explicit BandRow(const BandTable<A>& t)
        : rows(t.rows), columns(t.columns), most(t.most), first(t.first.data()), count(t.count.data()), divisor(t.divides ? t.divisor.data() : nullptr),
          weights(t.weights), by_tap(t.by_tap), positions(t.positions), pattern(t.pattern), low(t.low), high(t.high) {}
};

// y[o] (+)= (row o of the matrix times x) / (divisor[o] * more). x and y contiguous; `readable` elements of x may be read.
struct AlongRowBody {
    template <int Lanes, class A, class To>
    static TENON_ALWAYS_INLINE void run(const BandRow<A>* table, const A* x, long readable, A more, To* y, bool add) {
        constexpr int N = Lanes * 4 / int(sizeof(A));
        using V = simd<A, N>;
        const BandRow<A>& t = *table;
        if (N * sizeof(A) >= 32 && t.by_tap != nullptr) {
            long o = 0;
            for (; o + N <= t.rows; o += N) gathered<A, N>(t, x, more, y, o, add);
            if (o < t.rows && !add) gathered<A, N>(t, x, more, y, t.rows - N, false);
            else rest(t, x, more, y, add, o, t.rows);
            return;
        }
        long low = t.low, high = t.low;  // done by vectors
        if (t.pattern != BandPattern::none) {
            const A* w = t.weights + t.low * t.most;
            const long begin = t.first[t.low], taps = t.count[t.low];
            const A divisor = t.divisor == nullptr ? more : t.divisor[t.low] * more;
            if (t.pattern == BandPattern::down1) {
                const auto block = [&](long o) {
                    const A* from = x + begin + (o - low);
                    V sum = V(w[0]) * V::load(from);
                    for (long k = 1; k < taps; ++k) sum = sum + V(w[k]) * V::load(from + k);
                    CombineRowsBody::put<false, A, N>(sum, divisor, y + o, N, add);
                };
                for (; high + N <= t.high; high += N) block(high);
                if (high < t.high && high > low && !add) block((high = t.high) - N);
            } else if (t.pattern == BandPattern::down2) {
                const auto fits = [&](long o) { return begin + 2 * (o - low) + (taps - 1) / 2 * 2 + 2 * N <= readable; };
                const auto block = [&](long o) {
                    const A* from = x + begin + 2 * (o - low);
                    V sum(0);
                    for (long k = 0; k < taps; k += 2) {
                        V even, odd;
                        split_pairs(V::load(from + k), V::load(from + k + N), even, odd);
                        sum = k == 0 ? V(w[0]) * even : sum + V(w[k]) * even;
                        if (k + 1 < taps) sum = sum + V(w[k + 1]) * odd;
                    }
                    CombineRowsBody::put<false, A, N>(sum, divisor, y + o, N, add);
                };
                for (; high + N <= t.high && fits(high); high += N) block(high);
                if (high < t.high && high > low && !add && fits(t.high - N)) block((high = t.high) - N);
            } else {
                const A* w1 = w + t.most;
                const long begin1 = t.first[t.low + 1], taps1 = t.count[t.low + 1];
                const A divisor1 = t.divisor == nullptr ? more : t.divisor[t.low + 1] * more;
                const auto block = [&](long o) {
                    const A *from = x + begin + (o - low) / 2, *from1 = x + begin1 + (o - low) / 2;
                    V even = V(w[0]) * V::load(from), odd = V(w1[0]) * V::load(from1);
                    for (long k = 1; k < taps; ++k) even = even + V(w[k]) * V::load(from + k);
                    for (long k = 1; k < taps1; ++k) odd = odd + V(w1[k]) * V::load(from1 + k);
                    if (divisor != A(1)) even = even / V(divisor);
                    if (divisor1 != A(1)) odd = odd / V(divisor1);
                    V a, b;
                    join_pairs(even, odd, a, b);
                    CombineRowsBody::put<false, A, N>(a, A(1), y + o, N, add);
                    CombineRowsBody::put<false, A, N>(b, A(1), y + o + N, N, add);
                };
                for (; high + 2 * N <= t.high; high += 2 * N) block(high);
                if (high < t.high && high > low && !add) block((high = t.high) - 2 * N);
            }
        }
        rest(t, x, more, y, add, 0, low);
        rest(t, x, more, y, add, high, t.rows);
    }
    template <class A, int N, class To>
    static TENON_ALWAYS_INLINE void gathered(const BandRow<A>& t, const A* x, A more, To* y, long o, bool add) {
        using V = simd<A, N>;
        using I = simd<std::int32_t, N>;
        const I count = I::load(t.positions + t.rows + o), last(static_cast<std::int32_t>(t.columns - 1));
        I at = I::load(t.positions + o);
        V sum(0);
        for (long k = 0; k < t.most; ++k) {
            const V v = gather_lanes<A, N>(x, min(at, last));
            // Taps beyond a row's own are left out rather than multiplied by zero.
            sum = select(I(static_cast<std::int32_t>(k)) < count, sum + V::load(t.by_tap + k * t.rows + o) * v, sum);
            at = at + I(1);
        }
        const V divisor = t.divisor == nullptr ? V(more) : V::load(t.divisor + o) * V(more);
        if (t.divisor != nullptr || more != A(1)) sum = sum / divisor;
        CombineRowsBody::put<false, A, N>(sum, A(1), y + o, N, add);
    }
    template <class A, class To>
    static TENON_ALWAYS_INLINE void rest(const BandRow<A>& t, const A* x, A more, To* y, bool add, long from, long to) {
        for (long o = from; o < to; ++o) {
            const A *w = t.weights + o * t.most, *p = x + t.first[o];
            const long count = t.count[o];
            A sum = 0;
            if (count == 2) sum = w[0] * p[0] + w[1] * p[1];
            else if (count > 0) {
                sum = w[0] * p[0];
                for (long k = 1; k < count; ++k) sum = sum + w[k] * p[k];
            }
            const A divisor = t.divisor == nullptr ? more : t.divisor[o] * more;
            if (divisor != A(1)) sum = sum / divisor;
            y[o] = static_cast<To>(add ? static_cast<A>(y[o]) + sum : sum);
        }
    }
};

// Elements `step` apart, as A.
struct WidenRowBody {
    template <int Lanes, class T, class A>
    static TENON_ALWAYS_INLINE void run(const T* x, long step, long n, A* to) {
        constexpr int N = Lanes * 4 / int(sizeof(A));
        long i = 0;
        if (step == 1)
            for (; i + N <= n; i += N) load_lanes<A, N>(x + i).store(to + i);
        for (; i < n; ++i) to[i] = static_cast<A>(x[i * step]);
    }
};

template <class T, class A>
class BandRows {
public:
    BandRows(const BandShape& s, const BandTable<A>* tables) : s_(s), t_(tables), along_(tables[2]) {}

    // Rows of a plane combined first, then along the row: where a row of y has many of x.
    void down_first(const T* x, T* y, bool add, long first, long last) const {
        const long most = t_[0].most * t_[1].most, width = t_[2].columns;
        const bool direct = s_.x.stride[2] == 1;
        const Scratch<A> sum(width + band_slack), weights(most), lines(direct ? 1 : most * width);
        for (long i = width; i < width + band_slack; ++i) sum[i] = A(0);
        const Scratch<const T*> rows(most);
        const Scratch<const A*> wide(most);
        VolumeRow at(s_.y, first);
        for (long row = first; row < last; ++row, at.next(s_.y)) {
            const T* from = x + at.n * s_.x.stride_n + at.c * s_.x.stride_c;
            T* to = y + row * t_[2].rows;
            long count = 0;
            const A more = for_rows(at, [&](long a, long b, A w) {
                weights[count] = w;
                rows[count++] = from + a * s_.x.stride[0] + b * s_.x.stride[1];
            });
            if (count == 0) {
                if (!add) clear(to, t_[2].rows);
                continue;
            }
            if (direct) {
                dispatch<CombineRowsBody>(count, static_cast<const T* const*>(rows.data()), static_cast<const A*>(weights.data()), width, A(1), sum.data(), false);
            } else {
                for (long k = 0; k < count; ++k) {
                    dispatch<WidenRowBody, reduce_isa>(rows[k], s_.x.stride[2], width, lines.data() + k * width);
                    wide[k] = lines.data() + k * width;
                }
                dispatch<CombineRowsBody>(count, static_cast<const A* const*>(wide.data()), static_cast<const A*>(weights.data()), width, A(1), sum.data(), false);
            }
            dispatch<AlongRowBody, reduce_isa>(static_cast<const BandRow<A>*>(&along_), static_cast<const A*>(sum.data()), width + band_slack, more, to, add);
        }
    }
    // Rows of x along themselves first, each once, then combined: where y has more rows than x.
    void along_first(const T* x, T* y, bool add, long first, long last) const {
        const long slots = t_[0].most * t_[1].most, width = t_[2].rows;
        const long across = t_[1].most;
        const Scratch<A> memory(slots * width), wide(t_[2].columns), weights(slots);
        const Scratch<long> held(slots), place(t_[1].columns);
        for (long h = 0; h < t_[1].columns; ++h) place[h] = h % across;
        const Scratch<const A*> rows(slots);
        for (long i = 0; i < slots; ++i) held[i] = -1;
        VolumeRow at(s_.y, first);
        for (long row = first; row < last; ++row, at.next(s_.y)) {
            const T* whole = x + at.n * s_.x.stride_n + at.c * s_.x.stride_c;
            T* to = y + row * width;
            long count = 0;
            const A more = for_rows(at, [&](long a, long b, A w) {
                const long slot = (t_[0].most == 1 ? 0 : a % t_[0].most) * across + place[b], wanted = (at.plane * t_[0].columns + a) * t_[1].columns + b;
                A* into = memory.data() + slot * width;
                if (held[slot] != wanted) {
                    const T* from = whole + a * s_.x.stride[0] + b * s_.x.stride[1];
                    const A* line;
                    if constexpr (std::is_same_v<T, A>) line = s_.x.stride[2] == 1 ? from : nullptr;
                    else line = nullptr;
                    if (line == nullptr) {
                        dispatch<WidenRowBody, reduce_isa>(from, s_.x.stride[2], t_[2].columns, wide.data());
                        line = wide.data();
                    }
                    dispatch<AlongRowBody, reduce_isa>(static_cast<const BandRow<A>*>(&along_), line, t_[2].columns, A(1), into, false);
                    held[slot] = wanted;
                }
                weights[count] = w;
                rows[count++] = into;
            });
            if (count == 0) {
                if (!add) clear(to, width);
                continue;
            }
            dispatch<CombineRowsBody>(count, static_cast<const A* const*>(rows.data()), static_cast<const A*>(weights.data()), width, more, to, add);
        }
    }
    // Channels innermost: a point of y is a combination of points of x.
    void channels(const T* x, T* y, bool add, long first, long last) const {
        const long most = t_[0].most * t_[1].most * t_[2].most;
        const Scratch<const T*> points(most);
        const Scratch<A> weights(most);
        Volume grid = s_.y;  // of points: rows are those of an image with one channel
        grid.c = 1;
        VolumeRow row(grid, first / t_[2].rows);
        long w = first % t_[2].rows;
        for (long point = first; point < last; ++point, ++w) {
            if (w == t_[2].rows) {
                w = 0;
                row.next(grid);
            }
            const long h = row.h, d = row.d, n = row.n;
            const T* from = x + n * s_.x.stride_n;
            T* to = y + n * s_.y.stride_n + d * s_.y.stride[0] + h * s_.y.stride[1] + w * s_.y.stride[2];
            long count = 0;
            for (long a = 0; a < t_[0].count[d]; ++a)
                for (long b = 0; b < t_[1].count[h]; ++b)
                    for (long c = 0; c < t_[2].count[w]; ++c, ++count) {
                        points[count] = from + (t_[0].first[d] + a) * s_.x.stride[0] + (t_[1].first[h] + b) * s_.x.stride[1] + (t_[2].first[w] + c) * s_.x.stride[2];
                        weights[count] = t_[0].weights[d * t_[0].most + a] * t_[1].weights[h * t_[1].most + b] * t_[2].weights[w * t_[2].most + c];
                    }
            const A divisor = t_[0].divisor[d] * t_[1].divisor[h] * t_[2].divisor[w];
            if (count > 0)
                dispatch<CombineRowsBody>(count, static_cast<const T* const*>(points.data()), static_cast<const A*>(weights.data()), s_.y.c, divisor, to, add);
            else if (!add)
                clear(to, s_.y.c);
        }
    }

private:
    // Calls f(d, h, weight) for the rows of x that a row of y is made of; returns the divisor of the outer axes.
    template <class F>
    A for_rows(const VolumeRow& row, F&& f) const {
        const long h = row.h, d = row.d;
        for (long a = 0; a < t_[0].count[d]; ++a)
            for (long b = 0; b < t_[1].count[h]; ++b)
                f(t_[0].first[d] + a, t_[1].first[h] + b, t_[0].weights[d * t_[0].most + a] * t_[1].weights[h * t_[1].most + b]);
        return t_[0].divisor[d] * t_[1].divisor[h];
    }
    static void clear(T* to, long n) {
        for (long i = 0; i < n; ++i) to[i] = static_cast<T>(A(0));
    }

    const BandShape& s_;
    const BandTable<A>* t_;
    BandRow<A> along_;
};

}  // namespace impl

// y (+)= the map of x, or its transpose. x with any strides; y packed, with the channels innermost where x has them so.
template <class T>
void band(const BandShape& s, const T* x, T* y, bool add) {
    using A = accumulator<T>;
    if (s.y.elements() <= 0) return;
    const impl::BandTable<A> tables[] = {{s.axes[0], s.transposed}, {s.axes[1], s.transposed}, {s.axes[2], s.transposed}};
    const impl::BandRows<T, A> rows(s, tables);
    const bool channels = s.x.channels_last() && s.y.channels_last();
    const long units = channels ? s.y.n * s.y.points() : s.y.n * s.y.c * s.y.size[0] * s.y.size[1], width = channels ? s.y.c : s.y.size[2];
    // Where y is small, x is what takes the time.
    const long work = s.x.elements() > s.y.elements() ? width * (s.x.elements() / s.y.elements()) : width;
    long per = impl::band_task / (work > 0 ? work : 1);
    if (per < 1) per = 1;
    const bool along = s.x.size[0] * s.x.size[1] < s.y.size[0] * s.y.size[1];
    parallel_for((units + per - 1) / per, [&](long task) {
        const long first = task * per, last = first + per < units ? first + per : units;
        if (channels) rows.channels(x, y, add, first, last);
        else if (along) rows.along_first(x, y, add, first, last);
        else rows.down_first(x, y, add, first, last);
    });
}

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

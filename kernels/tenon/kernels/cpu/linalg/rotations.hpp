// Plane rotations: how one is made, and sweeps of them that are written down first and applied to many columns later.
#pragma once

#include <tenon/kernels/cpu/linalg/vectors.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {
namespace linalg_impl {

template <class T>
struct Rotation { T c, s, r; };

// c f + s g = r and c g - s f = 0. Neither overflows nor loses digits where f and g do not.
template <class T>
inline Rotation<T> make_rotation(T f, T g) {
    if (g == T(0)) return {T(1), T(0), f};
    if (f == T(0)) return {T(0), T(1), g};
    if constexpr (std::is_same_v<T, float>) {
        const double r = __builtin_sqrt(static_cast<double>(f) * static_cast<double>(f) + static_cast<double>(g) * static_cast<double>(g));
        const double inverse = 1 / r;
        return {static_cast<float>(static_cast<double>(f) * inverse), static_cast<float>(static_cast<double>(g) * inverse), static_cast<float>(r)};
    } else {
        double unit = 1, square = f * f + g * g;
        if (!(square > 0x1p-900) || !(square < 0x1p900)) {
            unit = scalar_abs(f) > scalar_abs(g) ? scalar_abs(f) : scalar_abs(g);
            const double scaled_f = f / unit, scaled_g = g / unit;
            const double r = __builtin_sqrt(scaled_f * scaled_f + scaled_g * scaled_g);
            return {scaled_f / r, scaled_g / r, r * unit};
        }
        const double r = __builtin_sqrt(square), inverse = 1 / r;
        return {f * inverse, g * inverse, r};
    }
}

// Sweeps of rotations of neighbouring rows: pair i turns rows i and i + 1, a' = c a + s b, b' = c b - s a. A sweep goes
// up or down over the pairs [first, first + count).
template <class T>
class RotationLog {
public:
    static constexpr long most_sweeps = 64;
    // Memory for `pairs` rotations.
    static std::size_t elements(long pairs) { return static_cast<std::size_t>(2 * pairs); }

    RotationLog(T* memory, long pairs) : turns_(memory), capacity_(pairs) {}
    bool room(long pairs) const { return sweeps_ < most_sweeps && used_ + pairs <= capacity_; }
    void begin(long first, long count, bool up) { sweep_[sweeps_++] = {first, count, used_, up}; }
    // The next one in the order of the sweep.
    void add(T c, T s) {
        turns_[2 * used_] = c;
        turns_[2 * used_ + 1] = s;
        ++used_;
    }
    bool empty() const { return sweeps_ == 0; }
    void clear() { sweeps_ = used_ = 0; }

    struct Sweep {
        long first, count, at;
        bool up;
    };
    const Sweep* sweeps() const { return sweep_; }
    long sweep_count() const { return sweeps_; }
    const T* turns() const { return turns_; }
    long turn_count() const { return used_; }

private:
    T* turns_;
    long capacity_, used_ = 0, sweeps_ = 0;
    Sweep sweep_[most_sweeps];
};

// All sweeps over a strip of W vectors, whose rows lie `stride` apart. The row that two rotations share stays in registers.
template <int N, int W, class T>
TENON_ALWAYS_INLINE void turn_strip(const typename RotationLog<T>::Sweep* sweeps, long count, const T* turns, T* rows, long stride) {
    using V = simd<T, N>;
    for (long k = 0; k < count; ++k) {
        const long pairs = sweeps[k].count, step = sweeps[k].up ? stride : -stride;
        const T* turn = turns + 2 * sweeps[k].at;
        T* at = rows + (sweeps[k].up ? sweeps[k].first : sweeps[k].first + pairs) * stride;
        // Downwards the carried row is the second of the pair: the same with the sine's sign turned.
        const T sign = sweeps[k].up ? T(1) : T(-1);
        V x[W];
        TENON_UNROLL(8)
        for (int w = 0; w < W; ++w) x[w] = V::load(at + w * N);
        for (long q = 0; q < pairs; ++q) {
            const V c(turn[2 * q]), s(sign * turn[2 * q + 1]);
            TENON_UNROLL(8)
            for (int w = 0; w < W; ++w) {
                const V y = V::load(at + step + w * N);
                (c * x[w] + s * y).store(at + w * N);
                x[w] = c * y - s * x[w];
            }
            at += step;
        }
        TENON_UNROLL(8)
        for (int w = 0; w < W; ++w) x[w].store(at + w * N);
    }
}
template <class T>
struct TurnRows {
    // Bytes of a strip, the same for every instruction set.
    static constexpr long strip = 256 / static_cast<long>(sizeof(T));
    template <int Lanes>
    static TENON_ALWAYS_INLINE void run(const typename RotationLog<T>::Sweep* sweeps, long count, const T* turns, T* rows, long row_count, long stride,
                                        long columns, T* scratch) {
        constexpr int N = width_of<T, Lanes>, W = 4;
        if (columns == strip) {
            // In memory of its own, where rows do not fall on the same lines of the cache.
            for (long i = 0; i < row_count; ++i)
                for (long j = 0; j < strip; ++j) scratch[i * strip + j] = rows[i * stride + j];
            for (long j = 0; j < strip; j += W * N) turn_strip<N, W, T>(sweeps, count, turns, scratch + j, strip);
            for (long i = 0; i < row_count; ++i)
                for (long j = 0; j < strip; ++j) rows[i * stride + j] = scratch[i * strip + j];
            return;
        }
        long j = 0;
        for (; j + N <= columns; j += N) turn_strip<N, 1, T>(sweeps, count, turns, rows + j, stride);
        if (j == columns) return;
        // The last few columns, in whole vectors.
        for (long i = 0; i < row_count; ++i)
            for (long l = 0; l < N; ++l) scratch[i * N + l] = j + l < columns ? rows[i * stride + j + l] : T(0);
        turn_strip<N, 1, T>(sweeps, count, turns, scratch, N);
        for (long i = 0; i < row_count; ++i)
            for (long l = 0; j + l < columns; ++l) rows[i * stride + j + l] = scratch[i * N + l];
    }
};
// Applies what was written down to rows[row_count, columns].
template <class T>
void turn_rows(const RotationLog<T>& log, T* rows, long row_count, long stride, long columns) {
    if (log.empty()) return;
    constexpr long strip = TurnRows<T>::strip;
    const long strips = (columns + strip - 1) / strip;
    const auto one = [&](long t) {
        const Workspace::Lease scratch(leaf_workspace, static_cast<std::size_t>(row_count * strip) * sizeof(T));
        const long from = t * strip, width = columns - from < strip ? columns - from : strip;
        dispatch<TurnRows<T>>(log.sweeps(), log.sweep_count(), log.turns(), rows + from, row_count, stride, width, scratch.template as<T>());
    };
    if (static_cast<double>(log.turn_count()) * static_cast<double>(columns) < 2e4)
        for (long t = 0; t < strips; ++t) one(t);
    else parallel_for(strips, one);
}

}  // namespace linalg_impl
}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

// Group norm: the channels of an image in groups, each normalised by its own mean and variance, then scaled and shifted channel
// by channel. With one channel per group it is instance norm, with one group layer norm over the image.
//
// Statistics as in batch_norm.hpp: float sums for 16-bit types, blocks of them added in double, the variance from squared distances.
#pragma once

#include <tenon/kernels/cpu/batch_norm.hpp>
#include <tenon/kernels/cpu/each.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

// x [n, groups * per, inner]. A row is a group of one image: per * inner elements in one piece. A plane is a channel of one image.
struct GroupShape {
    long n, groups, per, inner;
    TENON_HD long rows() const { return n * groups; }
    TENON_HD long row() const { return per * inner; }
    TENON_HD long channels() const { return groups * per; }
    TENON_HD long planes() const { return n * groups * per; }
};

// The plain steps, which a device runs: y of one element; the factors of a row; dx of one element; the gradients of a channel.
template <class T>
struct GroupApplyStep {
    GroupShape s;
    const T *x, *weight, *bias;
    const accumulator<T>*mean, *rstd;
    T* y;
    TENON_FUNCTOR void operator()(long i) const {
        using A = accumulator<T>;
        const long plane = i / s.inner, row = plane / s.per, c = plane % s.channels();
        const A factor = weight != nullptr ? rstd[row] * static_cast<A>(weight[c]) : rstd[row];
        const A v = (static_cast<A>(x[i]) - mean[row]) * factor;
        y[i] = static_cast<T>(bias != nullptr ? v + static_cast<A>(bias[c]) : v);
    }
};
// planes: the sums of dy and of dy * (x - mean) of each plane; means: what dx takes of them, two numbers for each row.
template <class T>
struct GroupMeansStep {
    GroupShape s;
    const double* planes;
    const T* weight;
    const accumulator<T>* rstd;
    double* means;
    TENON_FUNCTOR void operator()(long row) const {
        using A = accumulator<T>;
        double first = 0, second = 0;
        for (long k = 0; k < s.per; ++k) {
            const double w = weight != nullptr ? static_cast<double>(static_cast<A>(weight[row % s.groups * s.per + k])) : 1;
            first += w * planes[2 * (row * s.per + k)];
            second += w * planes[2 * (row * s.per + k) + 1];
        }
        const double r = static_cast<double>(rstd[row]), points = static_cast<double>(s.row());
        means[2 * row] = first * r / points;
        means[2 * row + 1] = second * r * r * r / points;
    }
};
template <class T>
struct GroupGradientStep {
    GroupShape s;
    const T *x, *weight, *dy;
    const accumulator<T>*mean, *rstd;
    const double* means;
    T* dx;
    bool add;
    TENON_FUNCTOR void operator()(long i) const {
        using A = accumulator<T>;
        const long plane = i / s.inner, row = plane / s.per, c = plane % s.channels();
        const A factor = weight != nullptr ? rstd[row] * static_cast<A>(weight[c]) : rstd[row];
        const A d = static_cast<A>(dy[i]) * factor - static_cast<A>(means[2 * row]) - (static_cast<A>(x[i]) - mean[row]) * static_cast<A>(means[2 * row + 1]);
        dx[i] = static_cast<T>(add ? static_cast<A>(dx[i]) + d : d);
    }
};
template <class T>
struct GroupChannelStep {
    GroupShape s;
    const double* planes;
    const accumulator<T>* rstd;
    T *dweight, *dbias;
    bool add_dweight, add_dbias;
    TENON_FUNCTOR void operator()(long c) const {
        using A = accumulator<T>;
        double first = 0, second = 0;
        for (long b = 0; b < s.n; ++b) {
            first += planes[2 * (b * s.channels() + c)];
            second += planes[2 * (b * s.channels() + c) + 1] * static_cast<double>(rstd[b * s.groups + c / s.per]);
        }
        if (dweight != nullptr) dweight[c] = static_cast<T>(static_cast<A>(add_dweight ? static_cast<double>(static_cast<A>(dweight[c])) + second : second));
        if (dbias != nullptr) dbias[c] = static_cast<T>(static_cast<A>(add_dbias ? static_cast<double>(static_cast<A>(dbias[c])) + first : first));
    }
};

namespace impl {

// dx = dy * a - k1 - (x - m) * k2.
struct GroupGradientBody {
    template <int Lanes, class T>
    static TENON_ALWAYS_INLINE void run(long n, const T* x, const T* dy, accumulator<T> mean, accumulator<T> factor, accumulator<T> first, accumulator<T> second,
                                        T* dx, bool add) {
        using A = accumulator<T>;
        constexpr int N = Lanes * 4 / int(sizeof(A));
        long i = 0;
        for (; i + N <= n; i += N) one<false, A, N>(x + i, dy + i, mean, factor, first, second, dx + i, N, add);
        if (i < n) one<true, A, N>(x + i, dy + i, mean, factor, first, second, dx + i, n - i, add);
    }
    template <bool Part, class A, int N, class T>
    static TENON_ALWAYS_INLINE void one(const T* x, const T* dy, A mean, A factor, A first, A second, T* dx, long width, bool add) {
        using V = simd<A, N>;
        V d = load_some<Part, A, N>(dy, width) * V(factor) - V(first) - (load_some<Part, A, N>(x, width) - V(mean)) * V(second);
        if (add) d = d + load_some<Part, A, N>(dx, width);
        store_some<Part, A, N>(dx, d, width);
    }
};

}  // namespace impl

// y = (x - mean) * rstd * weight + bias, with mean and variance of each group of each image and rstd = 1 / sqrt(variance + eps).
// weight and bias [channels] may be null. Writes mean and rstd [n * groups], which backward reads.
template <class T>
void group_norm(const GroupShape& s, const T* x, const T* weight, const T* bias, double eps, T* y, accumulator<T>* mean, accumulator<T>* rstd) {
    using A = accumulator<T>;
    using impl::ChannelSum;
    const long size = s.row();
    if (s.rows() <= 0 || size <= 0) return;
    const GroupApplyStep<T> apply{s, x, weight, bias, mean, rstd, y};
    long per = impl::channel_task / size;
    if (per < 1) per = 1;
    parallel_for((s.rows() + per - 1) / per, [&](long task) {
        for (long row = task * per; row < (task + 1) * per && row < s.rows(); ++row) {
            const T* from = x + row * size;
            double sum[2];
            const double points = static_cast<double>(size);
            if (size >= impl::plane_short) {
                dispatch<impl::PlaneSumsBody<ChannelSum::values>, impl::reduce_isa>(1l, 0l, size, from, from, A(0), &sum[0]);
                mean[row] = static_cast<A>(sum[0] / points);
                dispatch<impl::PlaneSumsBody<ChannelSum::squares>, impl::reduce_isa>(1l, 0l, size, from, from, mean[row], &sum[0]);
            } else {
                sum[0] = 0;
                for (long i = 0; i < size; ++i) sum[0] += static_cast<double>(static_cast<A>(from[i]));
                mean[row] = static_cast<A>(sum[0] / points);
                sum[0] = 0;
                for (long i = 0; i < size; ++i) {
                    const double d = static_cast<double>(static_cast<A>(from[i]) - mean[row]);
                    sum[0] += d * d;
                }
            }
            rstd[row] = static_cast<A>(1 / __builtin_sqrt(sum[0] / points + eps));
            for (long k = 0; k < s.per; ++k) {
                const long c = row % s.groups * s.per + k, at = row * size + k * s.inner;
                const A factor = weight != nullptr ? rstd[row] * static_cast<A>(weight[c]) : rstd[row], shift = bias != nullptr ? static_cast<A>(bias[c]) : A(0);
                if (s.inner >= impl::plane_short)
                    dispatch<impl::PlaneApplyBody, impl::reduce_isa>(1l, 0l, s.inner, x + at, mean[row], factor, shift, -static_cast<A>(__builtin_inff()), y + at);
                else
                    for (long i = at; i < at + s.inner; ++i) apply(i);
            }
        }
    });
}

// Elements (double) of workspace for group_norm_backward.
inline long group_norm_workspace(const GroupShape& s) { return 2 * s.planes() + 2 * s.rows(); }
// With g = dy * weight: dx = rstd * (g - mean(g) - normal * mean(g * normal)) over each group; dweight = sum of dy * normal, dbias =
// sum of dy. Each of dx, dweight and dbias may be null; the flags say whether they are added to.
template <class T>
void group_norm_backward(const GroupShape& s, const T* x, const T* weight, const accumulator<T>* mean, const accumulator<T>* rstd, const T* dy, T* dx, bool add_dx,
                         T* dweight, bool add_dweight, T* dbias, bool add_dbias, double* workspace) {
    using A = accumulator<T>;
    using impl::ChannelSum;
    const long size = s.row();
    double *planes = workspace, *means = workspace + 2 * s.planes();
    const GroupMeansStep<T> row_means{s, planes, weight, rstd, means};
    const GroupGradientStep<T> gradient{s, x, weight, dy, mean, rstd, means, dx, add_dx};
    long per = size > 0 ? impl::channel_task / size : 0;
    if (per < 1) per = 1;
    if (size > 0)
        parallel_for((s.rows() + per - 1) / per, [&](long task) {
            for (long row = task * per; row < (task + 1) * per && row < s.rows(); ++row) {
                for (long plane = row * s.per; plane < (row + 1) * s.per; ++plane) {
                    const T *from = x + plane * s.inner, *d = dy + plane * s.inner;
                    double* out = planes + 2 * plane;
                    if (s.inner >= impl::plane_short) {
                        dispatch<impl::PlaneSumsBody<ChannelSum::gradients>, impl::reduce_isa>(1l, 0l, s.inner, from, d, mean[row], out);
                        continue;
                    }
                    out[0] = out[1] = 0;
                    for (long i = 0; i < s.inner; ++i) {
                        const double v = static_cast<double>(static_cast<A>(d[i]));
                        out[0] += v;
                        out[1] += v * static_cast<double>(static_cast<A>(from[i]) - mean[row]);
                    }
                }
                row_means(row);
                if (dx == nullptr) continue;
                for (long plane = row * s.per; plane < (row + 1) * s.per; ++plane) {
                    const long at = plane * s.inner, c = plane % s.channels();
                    const A factor = weight != nullptr ? rstd[row] * static_cast<A>(weight[c]) : rstd[row];
                    if (s.inner >= impl::plane_short)
                        dispatch<impl::GroupGradientBody, impl::reduce_isa>(s.inner, x + at, dy + at, mean[row], factor, static_cast<A>(means[2 * row]),
                                                                            static_cast<A>(means[2 * row + 1]), dx + at, add_dx);
                    else
                        for (long i = at; i < at + s.inner; ++i) gradient(i);
                }
            }
        });
    if (dweight == nullptr && dbias == nullptr) return;
    if (size <= 0)
        for (long i = 0; i < 2 * s.planes(); ++i) planes[i] = 0;
    each(s.channels(), GroupChannelStep<T>{s, planes, rstd, dweight, dbias, add_dweight, add_dbias});
}

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

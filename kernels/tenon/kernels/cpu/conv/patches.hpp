// Patches: what the sums of some pixels read, as rows of a matrix whose columns are (tap, channel). It is never built for a
// whole image: a block of rows stays in the second cache. Neighbouring taps of a row of the image are one copy.
#pragma once

#include <tenon/kernels/cpu/conv/layout.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {
namespace conv_impl {

// Images with their channels side by side; `origin` is subtracted from positions along the axes, `first` from images.
template <class T>
struct Source {
    const T* data;
    long n, axis[3], first = 0, origin[3] = {0, 0, 0};
};

template <class T>
struct PatchJob {
    const Pass* pass;
    Source<T> source;
    T* out;             // row r, step k at out[r * pitch + k - k0]
    long pitch;
    long first, rows;   // pixels, counted through all images
    long k0, steps;
};

template <class T>
struct PatchBody {
    template <int Lanes>
    static TENON_ALWAYS_INLINE void run(const PatchJob<T>* job) {
        constexpr int L = int(Lanes * 4 / sizeof(T));
        const Pass& pass = *job->pass;
        const Source<T>& source = job->source;
        const PassAxis &x0 = pass.axis[0], &x1 = pass.axis[1], &x2 = pass.axis[2];
        const long channels = pass.channels, pitch = job->pitch;
        // Taps that lie side by side make one run.
        const bool joined = x2.taps > 1 && x2.offset_step == 1 && source.axis[2] == channels;
        const long taps = joined ? x2.taps : 1, length = taps * channels, runs = pass.taps() / taps, per_row = x2.taps / taps;
        const long k_end = job->k0 + job->steps;
        for (long r = job->k0 / length; r < runs && r * length < k_end; ++r) {
            // Of this run, the part [begin, end) falls into the chunk.
            const long begin = job->k0 > r * length ? job->k0 - r * length : 0, end = k_end - r * length < length ? k_end - r * length : length;
            const long j2 = r % per_row, j1 = r / per_row % x1.taps, j0 = r / (per_row * x1.taps);
            const long o0 = x0.offset + j0 * x0.offset_step, o1 = x1.offset + j1 * x1.offset_step, o2 = x2.offset + j2 * x2.offset_step;
            // Results whose run lies inside the image: [q_low, q_high).
            const long room = x2.in - taps - o2;
            const long q_low = o2 >= 0 ? 0 : (-o2 + x2.in_step - 1) / x2.in_step, q_high = room < 0 ? 0 : room / x2.in_step + 1;
            T* out = job->out + r * length + begin - job->k0;
            const long step = x2.in_step * source.axis[2], count = end - begin;
            long p = job->first % (x0.grid * x1.grid * x2.grid), image = job->first / (x0.grid * x1.grid * x2.grid);
            long q2 = p % x2.grid, q1 = p / x2.grid % x1.grid, q0 = p / (x2.grid * x1.grid);
            for (long left = job->rows; left > 0;) {
                const long now = x2.grid - q2 < left ? x2.grid - q2 : left, stop = q2 + now;
                left -= now;
                const long i0 = q0 * x0.in_step + o0, i1 = q1 * x1.in_step + o1;
                if (i0 < 0 || i0 >= x0.in || i1 < 0 || i1 >= x1.in) {
                    for (long q = q2; q < stop; ++q, out += pitch) zero_run<T, L>(out, count);
                } else {
                    const T* const row = source.data + (image - source.first) * source.n + (i0 - source.origin[0]) * source.axis[0] +
                                         (i1 - source.origin[1]) * source.axis[1] + (o2 - source.origin[2]) * source.axis[2];
                    long q = q2;
                    while (q < stop) {
                        if (q >= q_low && q < q_high) {
                            const long inner = q_high < stop ? q_high : stop;
                            const T* from = row + q * step + begin;
                            if (count == L) {
                                using U = typename vector_of<T, L>::unaligned;
                                for (; q < inner; ++q, out += pitch, from += step) *reinterpret_cast<U*>(out) = *reinterpret_cast<const U*>(from);
                            } else {
                                for (; q < inner; ++q, out += pitch, from += step) copy_run<T, L>(out, from, count);
                            }
                            continue;
                        }
                        const long at = q * x2.in_step + o2;
                        long low = at < 0 ? -at * channels : 0, high = at + taps > x2.in ? (x2.in - at) * channels : length;
                        low = low < begin ? begin : low > end ? end : low;
                        high = high > end ? end : high < low ? low : high;
                        zero_run<T, L>(out, low - begin);
                        copy_run<T, L>(out + low - begin, row + q * step + low, high - low);
                        zero_run<T, L>(out + high - begin, end - high);
                        ++q;
                        out += pitch;
                    }
                }
                q2 = 0;
                if (++q1 == x1.grid) {
                    q1 = 0;
                    if (++q0 == x0.grid) {
                        q0 = 0;
                        ++image;
                    }
                }
            }
        }
    }
};
template <class T>
void pack_patches(const PatchJob<T>& job) { dispatch<PatchBody<T>>(&job); }

// A pitch for rows of `columns` values: whole lines, an odd number of them, so that rows do not fall on the same sets.
template <class T>
constexpr long pitch_of(long columns) {
    constexpr long line = long(64 / sizeof(T));
    const long lines = (columns + line - 1) / line;
    return (lines | 1) * line;
}

// The source of the pixels [first, first + count): where it lies, if its channels lie side by side, else copied to scratch.
template <class T>
struct Slab {
    // Positions that the pixels read, along the axis that is cut, and images.
    long image, images, axis, low, size;

    static Slab of(const Pass& pass, long first, long count) {
        const long pixels = pass.pixels();
        Slab s{first / pixels, 0, 0, 0, 0};
        s.images = (first + count - 1) / pixels - s.image + 1;
        while (s.axis < 2 && pass.axis[s.axis].grid == 1) ++s.axis;
        const PassAxis& a = pass.axis[s.axis];
        if (s.images > 1) {
            s.size = a.in;
            return s;
        }
        long unit = 1;
        for (long i = s.axis + 1; i < 3; ++i) unit *= pass.axis[i].grid;
        const long from = first % pixels / unit, to = (first + count - 1) % pixels / unit;
        const long high = to * a.in_step + a.offset + (a.taps - 1) * a.offset_step + 1;
        s.low = from * a.in_step + a.offset;
        if (s.low < 0) s.low = 0;
        if (s.low > a.in) s.low = a.in;
        s.size = (high < a.in ? high : a.in) - s.low;
        if (s.size < 0) s.size = 0;
        return s;
    }
    // Values of a copy.
    long copy_size(const Pass& pass) const {
        long values = pass.channels * images * size;
        for (int i = 0; i < 3; ++i)
            if (i != axis) values *= pass.axis[i].in;
        return values;
    }
    Source<T> copy(const Pass& pass, const T* x, const ImageStrides<3>& xs, T* scratch) const {
        Source<T> s{scratch, 0, {}, image, {0, 0, 0}};
        long box[3];
        for (int i = 0; i < 3; ++i) box[i] = i == axis ? size : pass.axis[i].in;
        s.origin[axis] = low;
        s.axis[2] = pass.channels;
        s.axis[1] = box[2] * s.axis[2];
        s.axis[0] = box[1] * s.axis[1];
        s.n = box[0] * s.axis[0];
        const ImageRows<T> rows(xs, box);
        rows.take(x + image * xs.n + low * xs.axis[axis], scratch, pass.channels, pass.channels, 0, images * box[0] * box[1] * box[2]);
        return s;
    }
};

}  // namespace conv_impl
}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

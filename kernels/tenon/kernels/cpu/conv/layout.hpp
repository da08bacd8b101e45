// Between layouts, a block at a time so that it stays in cache: the code inside reads and writes channels-last.
#pragma once

#include <tenon/kernels/cpu/conv/pass.hpp>
#include <tenon/kernels/cpu/gemm/pack.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {
namespace conv_impl {

using gemm_impl::copy_part;
using gemm_impl::PackBody;
using tenon::impl::vector_of;

// Rows of memory that are needed soon, asked for in so many steps, a few lines in each: more requests at once than the first
// cache can hold open stall what follows. They need not exist to their ends.
struct Ahead {
    const char* row = nullptr;
    long pitch = 0, width = 0, rows = 0, share = 0, at = 0;  // in bytes
    Ahead() = default;
    template <class T>
    Ahead(const T* data, long pitch_, long width_, long rows_, long steps)
        : row(reinterpret_cast<const char*>(data)), pitch(pitch_ * long(sizeof(T))), width(width_ * long(sizeof(T))), rows(rows_) {
        share = ((width + 63) / 64 * rows + steps - 1) / steps;
    }
    void step() {
        for (long i = 0; i < share && rows > 0; ++i) {
            __builtin_prefetch(row + at, 0, 2);
            at += 64;
            if (at < width) continue;
            at = 0;
            row += pitch;
            --rows;
        }
    }
};

// Keeps what has been read in a register: g++ would rather read it again for each of its uses.
template <class V>
TENON_ALWAYS_INLINE void keep_in_register([[maybe_unused]] V& v) {
#if defined(__x86_64__) && !defined(__clang__)
    __asm__("" : "+v"(v.v));
#elif defined(__aarch64__)
    if constexpr (sizeof(V) == 16) __asm__("" : "+w"(v.v));
#endif
}

template <class T, int L>
TENON_ALWAYS_INLINE void copy_run(T* to, const T* from, long count) {
    using U = typename vector_of<T, L>::unaligned;
    if (count < L) return copy_part<T, L>(to, from, count);
    long i = 0;
    for (; i + L <= count; i += L) *reinterpret_cast<U*>(to + i) = *reinterpret_cast<const U*>(from + i);
    if (i < count) *reinterpret_cast<U*>(to + count - L) = *reinterpret_cast<const U*>(from + count - L);
}
template <class T, int L>
TENON_ALWAYS_INLINE void zero_run(T* to, long count) {
    using V = typename vector_of<T, L>::type;
    using U = typename vector_of<T, L>::unaligned;
    long i = 0;
    for (; i + L <= count; i += L) *reinterpret_cast<U*>(to + i) = V{};
    for (; i < count; ++i) to[i] = T(0);
}

// out[j * out_pitch + i] = in[i * in_pitch + j].
template <class T>
struct TransposeBody {
    template <int Lanes>
    static TENON_ALWAYS_INLINE void run(T* out, long out_pitch, const T* in, long in_pitch, long rows, long columns) {
        constexpr int S = Lanes >= 8 && sizeof(T) == 4 ? 8 : 4;
        // Sixteen columns at a time use up the cache lines that they touch.
        for (long j = 0; j < columns; j += 16) {
            const long now = columns - j < 16 ? columns - j : 16, wide = now / S * S, four = now / 4 * 4;
            long i = 0;
            for (; i + 4 <= rows; i += 4) {
                T* const to = out + j * out_pitch + i;
                const T* const from = in + i * in_pitch + j;
                PackBody<T>::template transpose<S>(to, 4, out_pitch, from, in_pitch, 4, wide);
                if (S == 8 && four > wide) PackBody<T>::template transpose<4>(to + wide * out_pitch, 4, out_pitch, from + wide, in_pitch, 4, 4);
                for (long l = four; l < now; ++l)
                    for (long r = 0; r < 4; ++r) to[l * out_pitch + r] = from[r * in_pitch + l];
            }
            for (; i < rows; ++i)
                for (long l = 0; l < now; ++l) out[(j + l) * out_pitch + i] = in[i * in_pitch + j + l];
        }
    }
};
template <class T>
void transpose(T* out, long out_pitch, const T* in, long in_pitch, long rows, long columns) {
    dispatch<TransposeBody<T>>(out, out_pitch, in, in_pitch, rows, columns);
}

template <class T>
struct CopyRowsBody {
    template <int Lanes>
    static TENON_ALWAYS_INLINE void run(T* out, long out_pitch, const T* in, long in_pitch, long rows, long columns) {
        constexpr int L = int(Lanes * 4 / sizeof(T));
        for (long i = 0; i < rows; ++i) copy_run<T, L>(out + i * out_pitch, in + i * in_pitch, columns);
    }
};

// Whether the pixels of all images, in order, lie one pitch apart; size: the image's.
inline bool even_pixels(const ImageStrides<3>& s, long n, const long* size, long& pitch) {
    long expected = 0;
    const auto fits = [&](long count, long stride) {
        if (count == 1) return true;
        if (expected == 0) {
            pitch = expected = stride;
        } else if (stride != expected) {
            return false;
        }
        expected *= count;
        return true;
    };
    pitch = s.axis[2];
    return fits(size[2], s.axis[2]) && fits(size[1], s.axis[1]) && fits(size[0], s.axis[0]) && fits(n, s.n);
}

// Pixels [first, first + count) of a grid counted through all images, cut into stretches of one row (or more, where rows
// follow one another): f(image, position of the first, how many).
template <class F>
void for_stretches(const long* grid, bool whole_images, long first, long count, F f) {
    const long row = whole_images ? grid[0] * grid[1] * grid[2] : grid[2], image = grid[0] * grid[1] * grid[2];
    while (count > 0) {
        const long here = row - first % row, now = here < count ? here : count, p = first % image;
        const long at[3] = {p / (grid[1] * grid[2]), p / grid[2] % grid[1], p % grid[2]};
        f(first / image, at, now);
        first += now;
        count -= now;
    }
}

// Moves pixels between rows of a matrix, `channels` values each and `pitch` apart, and the places of a grid in an image: of
// position q along axis i, start[i] + q * step[i].
template <class T>
struct ImageRows {
    ImageStrides<3> strides;
    long grid[3], start[3], step[3];

    ImageRows(const ImageStrides<3>& s, const long* size) : strides(s) {
        for (int i = 0; i < 3; ++i) grid[i] = size[i], start[i] = 0, step[i] = 1;
    }
    ImageRows(const ImageStrides<3>& s, const Pass& pass) : strides(s) {
        for (int i = 0; i < 3; ++i) grid[i] = pass.axis[i].grid, start[i] = pass.axis[i].out_start, step[i] = pass.axis[i].out_step;
    }
    bool whole_images() const {
        const bool dense = (step[0] == 1 || grid[0] == 1) && (step[1] == 1 || grid[1] == 1) && step[2] == 1;
        return dense && (grid[1] == 1 || strides.axis[1] == grid[2] * strides.axis[2]) &&
               (grid[0] == 1 || strides.axis[0] == grid[1] * grid[2] * strides.axis[2]);
    }
    long offset(long image, const long* at) const {
        long o = image * strides.n;
        for (int i = 0; i < 3; ++i) o += (start[i] + at[i] * step[i]) * strides.axis[i];
        return o;
    }
    // From rows into images.
    void put(T* images, const T* rows, long pitch, long channels, long first, long count) const {
        const long along = strides.axis[2] * step[2], channel = strides.channel;
        for_stretches(grid, whole_images(), first, count, [&](long image, const long* at, long now) {
            T* const to = images + offset(image, at);
            if (channel == 1) {
                dispatch<CopyRowsBody<T>>(to, along, rows, pitch, now, channels);
            } else if (along == 1) {
                transpose(to, channel, rows, pitch, now, channels);
            } else {
                for (long c = 0; c < channels; ++c)
                    for (long p = 0; p < now; ++p) to[c * channel + p * along] = rows[p * pitch + c];
            }
            rows += now * pitch;
        });
    }
    // From images into rows.
    void take(const T* images, T* rows, long pitch, long channels, long first, long count) const {
        const long along = strides.axis[2] * step[2], channel = strides.channel;
        for_stretches(grid, whole_images(), first, count, [&](long image, const long* at, long now) {
            const T* const from = images + offset(image, at);
            if (channel == 1) {
                dispatch<CopyRowsBody<T>>(rows, pitch, from, along, now, channels);
            } else if (along == 1) {
                transpose(rows, pitch, from, channel, channels, now);
            } else {
                for (long p = 0; p < now; ++p)
                    for (long c = 0; c < channels; ++c) rows[p * pitch + c] = from[c * channel + p * along];
            }
            rows += now * pitch;
        });
    }
};

}  // namespace conv_impl
}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

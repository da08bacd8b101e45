// Matrix times vector: one row of C (or one column, seen as a row) in the order of the tiles, bound by memory.
//
// Where the matrix's rows run along C, eight rows at a time are added to sums kept in the first cache, so that memory is
// read in long runs. Where they run along k, sixteen of them are transposed in registers, eight steps at a time.
#pragma once

#include <tenon/base/parallel.hpp>
#include <tenon/kernels/cpu/gemm/blocked.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {
namespace gemm_impl {

// c[j * c_step] for j < columns from sum over l of x[l * x_step] * b[j * lane + l * step].
template <class T>
struct VectorProduct {
    const T* x;
    long x_step;
    const T* b;
    long lane, step;
    T* c;
    long c_step;
    const T* bias;
    long bias_step;
    long columns, k, chunk;
    T alpha;
    bool load, relu;
};

// `count` sums from column j on.
template <class T, int Lanes>
TENON_ALWAYS_INLINE void finish_columns(const VectorProduct<T>* job, long j, long count, const T* sums, bool load, bool last) {
    constexpr int L = int(Lanes * 4 / sizeof(T));
    const bool add = last && job->bias != nullptr, relu = last && job->relu;
    T* const c = job->c + j * job->c_step;
    const T* const bias = add ? job->bias + j * job->bias_step : nullptr;
    if (job->c_step == 1 && (!add || job->bias_step == 1)) {
        const Finish<T> all{c, count, 1, count, job->alpha, load, bias, relu};
        return finish<Lanes>(&all, sums, 0L);
    }
    alignas(64) T old[L] = {}, adds[L] = {};
    for (long i = 0; i < count; i += L) {
        const long width = count - i < L ? count - i : L;
        for (long l = 0; l < width; ++l) {
            if (load) old[l] = c[(i + l) * job->c_step];
            if (add) adds[l] = bias[(i + l) * job->bias_step];
        }
        const Finish<T> some{old, L, 1, L, job->alpha, load, add ? adds : nullptr, relu};
        finish<Lanes>(&some, sums + i, 0L);
        for (long l = 0; l < width; ++l) c[(i + l) * job->c_step] = old[l];
    }
}

// lane == 1.
template <class T>
struct VectorRowsBody {
    // sums += x[0..R) * rows b[0..R), one after the other.
    template <int L, int R>
    static TENON_ALWAYS_INLINE void add(T* sums, const T* x, long x_step, const T* b, long step, long columns) {
        TENON_CONTRACT
        using V = typename vector_of<T, L>::type;
        using U = typename vector_of<T, L>::unaligned;
        T value[R];
        TENON_UNROLL(8)
        for (int r = 0; r < R; ++r) value[r] = x[r * x_step];
        long j = 0;
        for (; j + L <= columns; j += L) {
            V sum = *reinterpret_cast<const U*>(sums + j);
            TENON_UNROLL(8)
            for (int r = 0; r < R; ++r) {
                // Rows begin on other pages, where the hardware does not look ahead.
                if (R > 1) __builtin_prefetch(b + (r + R) * step + j);
                sum = sum + value[r] * *reinterpret_cast<const U*>(b + r * step + j);
            }
            *reinterpret_cast<U*>(sums + j) = sum;
        }
        if (j < columns) {
            // All copies first: clang contracts a product and a sum only where no branch lies between them.
            alignas(64) T part[R][L] = {};
            for (int r = 0; r < R; ++r) copy_part<T, L>(part[r], b + r * step + j, columns - j);
            V sum = *reinterpret_cast<const U*>(sums + j);
            TENON_UNROLL(8)
            for (int r = 0; r < R; ++r) sum = sum + value[r] * *reinterpret_cast<const U*>(part[r]);
            *reinterpret_cast<U*>(sums + j) = sum;
        }
    }

    template <int Lanes>
    static TENON_ALWAYS_INLINE void run(const VectorProduct<T>* job) {
        constexpr int L = int(Lanes * 4 / sizeof(T));
        constexpr long most = 1024;
        alignas(64) T sums[most];
        for (long j = 0; j < job->columns; j += most) {
            const long columns = job->columns - j < most ? job->columns - j : most;
            bool load = job->load;
            const T* x = job->x;
            const T* b = job->b + j;
            for (long left = job->k; left > 0;) {
                long steps = left < job->chunk ? left : job->chunk;
                left -= steps;
                for (long i = 0; i < columns + L && i < most; ++i) sums[i] = T(0);
                for (; steps >= 8; steps -= 8, x += 8 * job->x_step, b += 8 * job->step)
                    add<L, 8>(sums, x, job->x_step, b, job->step, columns);
                for (; steps > 0; --steps, x += job->x_step, b += job->step) add<L, 1>(sums, x, 0, b, 0, columns);
                finish_columns<T, Lanes>(job, j, columns, sums, load, left == 0);
                load = true;
            }
        }
    }
};

// step == 1.
template <class T>
struct VectorDotsBody {
    template <int L>
    static TENON_ALWAYS_INLINE void transpose(typename vector_of<T, L>::type (&r)[L]) {
        using V = typename vector_of<T, L>::type;
        if constexpr (L == 2) {
            const V a = __builtin_shufflevector(r[0], r[1], 0, 2), b = __builtin_shufflevector(r[0], r[1], 1, 3);
            r[0] = a, r[1] = b;
        } else if constexpr (L == 4) {
            const V a = __builtin_shufflevector(r[0], r[1], 0, 4, 2, 6), b = __builtin_shufflevector(r[0], r[1], 1, 5, 3, 7);
            const V c = __builtin_shufflevector(r[2], r[3], 0, 4, 2, 6), d = __builtin_shufflevector(r[2], r[3], 1, 5, 3, 7);
            r[0] = __builtin_shufflevector(a, c, 0, 1, 4, 5), r[1] = __builtin_shufflevector(b, d, 0, 1, 4, 5);
            r[2] = __builtin_shufflevector(a, c, 2, 3, 6, 7), r[3] = __builtin_shufflevector(b, d, 2, 3, 6, 7);
        } else {
            V t[8], u[8];
            TENON_UNROLL(4)
            for (int i = 0; i < 8; i += 2) {
                t[i] = __builtin_shufflevector(r[i], r[i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
                t[i + 1] = __builtin_shufflevector(r[i], r[i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
            }
            TENON_UNROLL(2)
            for (int i = 0; i < 8; i += 4) {
                u[i] = __builtin_shufflevector(t[i], t[i + 2], 0, 1, 8, 9, 4, 5, 12, 13);
                u[i + 1] = __builtin_shufflevector(t[i], t[i + 2], 2, 3, 10, 11, 6, 7, 14, 15);
                u[i + 2] = __builtin_shufflevector(t[i + 1], t[i + 3], 0, 1, 8, 9, 4, 5, 12, 13);
                u[i + 3] = __builtin_shufflevector(t[i + 1], t[i + 3], 2, 3, 10, 11, 6, 7, 14, 15);
            }
            TENON_UNROLL(4)
            for (int i = 0; i < 4; ++i) {
                r[i] = __builtin_shufflevector(u[i], u[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
                r[i + 4] = __builtin_shufflevector(u[i], u[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
            }
        }
    }

    template <int Lanes>
    static TENON_ALWAYS_INLINE void run(const VectorProduct<T>* job) {
        TENON_CONTRACT
        // Sixteen lanes would double the shuffles and gain nothing: the dispatch stops at eight.
        constexpr int L = int((Lanes < 8 ? Lanes : 8) * 4 / sizeof(T));
        using V = typename vector_of<T, L>::type;
        using U = typename vector_of<T, L>::unaligned;
        for (long j = 0; j < job->columns; j += 2 * L) {
            const long count = job->columns - j < 2 * L ? job->columns - j : 2 * L;
            const T* row[2 * L];
            for (long i = 0; i < 2 * L; ++i) row[i] = job->b + (j + (i < count ? i : count - 1)) * job->lane;
            bool load = job->load;
            const T* x = job->x;
            for (long done = 0; done < job->k;) {
                const long end = done + job->chunk < job->k ? done + job->chunk : job->k;
                V sum[2] = {};
                // Eight rows at a time, as rows a power of two apart share few places in the cache; two steps of them use
                // up the lines.
                for (; done + 2 * L <= end; done += 2 * L, x += 2 * L * job->x_step) {
                    TENON_UNROLL(4)
                    for (int half = 0; half < 4; ++half) {
                        V r[L];
                        TENON_UNROLL(8)
                        for (int i = 0; i < L; ++i) r[i] = *reinterpret_cast<const U*>(row[half / 2 * L + i] + done + half % 2 * L);
                        transpose<L>(r);
                        TENON_UNROLL(8)
                        for (int i = 0; i < L; ++i) sum[half / 2] = sum[half / 2] + (x[(half % 2 * L + i) * job->x_step] - V{}) * r[i];
                    }
                }
                for (; done < end; ++done, x += job->x_step) {
                    alignas(64) T lanes[2 * L];
                    for (long i = 0; i < 2 * L; ++i) lanes[i] = row[i][done];
                    const V value = *x - V{};
                    sum[0] = sum[0] + value * *reinterpret_cast<const U*>(lanes);
                    sum[1] = sum[1] + value * *reinterpret_cast<const U*>(lanes + L);
                }
                alignas(64) T sums[2 * L];
                *reinterpret_cast<U*>(sums) = sum[0];
                *reinterpret_cast<U*>(sums + L) = sum[1];
                finish_columns<T, (Lanes < 8 ? Lanes : 8)>(job, j, count, sums, load, done == job->k);
                load = true;
            }
        }
    }
};

// Shares the columns out and runs them. Only lane == 1 and step == 1 are known here.
template <class T>
void gemm_vector(const VectorProduct<T>& whole, bool column, const BlockEpilogue& epilogue) {
    auto part_of = [&](long first, long last) {
        VectorProduct<T> job = whole;
        job.columns = last - first;
        job.b += first * job.lane;
        job.c += first * job.c_step;
        if (job.bias != nullptr) job.bias += first * job.bias_step;
        // Bound by memory: eight lanes are as fast as sixteen.
        if (job.lane == 1) dispatch<VectorRowsBody<T>, Isa::avx2>(static_cast<const VectorProduct<T>*>(&job));
        else dispatch<VectorDotsBody<T>, Isa::avx2>(static_cast<const VectorProduct<T>*>(&job));
        if (column) finish_block(epilogue, first, last - first, 0, 1);
        else finish_block(epilogue, 0, 1, first, last - first);
    };
    const double flops = 2.0 * double(whole.columns) * double(whole.k);
    const long unit = whole.lane == 1 ? 512 : 16, units = (whole.columns + unit - 1) / unit;
    // Bound by memory: two bytes or more to be read for every flop.
    constexpr double serial = fork_nanoseconds / 0.08;
    long tasks = flops < serial ? 1 : flops < 16 * serial ? 4 : 16;
    if (tasks > units) tasks = units;
    if (tasks == 1) return part_of(0, whole.columns);
    parallel_for(tasks, [&](long t) {
        const Part part(units, tasks, t);
        part_of(part.first * unit, part.last * unit < whole.columns ? part.last * unit : whole.columns);
    });
}

}  // namespace gemm_impl
}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

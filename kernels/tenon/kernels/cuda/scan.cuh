// Running sums, products and extremes along one axis, and their backward passes, as cpu/scan.hpp: everything is contiguous
// [outer, n, inner], floating types run in double, integers in int64.
//
// Rows of up to 64 elements, and columns, take a thread each; longer rows a warp or a block, which scan tiles of four
// elements per thread and carry on. Where there are too few lines to fill the device, the axis is cut into chunks by its
// size alone: a first launch leaves their totals, a second what comes before each, a third writes. Bytes moved: one read
// and one write, or two reads and one write.
//
// An operation has State, identity(), combine(earlier, later), load(line, element, step) and store(line, element, step,
// state), where lines are those of [outer, inner] and steps count in the direction of the scan.
#pragma once

#include <tenon/kernels/cpu/scan.hpp>
#include <tenon/kernels/cuda/reduce.cuh>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cuda {

using cpu::scan_accumulator;

struct ScanJob {
    long n, inner, lines, chunk;
    bool reverse, write;  // write: else only totals
};

#if TENON_DEVICE_CODE
template <class S>
__device__ inline S shuffle_from(const S& s, int lane) {
    static_assert(sizeof(S) % 4 == 0);
    unsigned words[sizeof(S) / 4];
    __builtin_memcpy(words, &s, sizeof(S));
    for (unsigned& word : words) word = __shfl_sync(0xffffffffu, word, lane);
    S r;
    __builtin_memcpy(&r, words, sizeof(S));
    return r;
}
#endif

// A warp or a block per row and chunk, inner == 1.
template <class Op, int Threads>
__global__ void scan_rows(Op op, ScanJob job, const typename Op::State* bases, typename Op::State* totals) {
#if TENON_DEVICE_CODE
    using State = typename Op::State;
    constexpr int items = 4;
    TENON_SHARED(State, warps, 32);
    static_cast<void>(warps);
    [[maybe_unused]] const unsigned warp = threadIdx.x % Threads / 32;
    const unsigned thread = threadIdx.x % Threads, lane = threadIdx.x % 32;
    const long per_block = block_threads / Threads, first = blockIdx.y * job.chunk;
    const long last = first + job.chunk < job.n ? first + job.chunk : job.n;
    // All threads of a block go around as often as the others: there are barriers.
    for (long begin = blockIdx.x * per_block; begin < job.lines; begin += gridDim.x * per_block) {
        const long line = begin + threadIdx.x / Threads;
        const bool here = line < job.lines;
        State carry = here && bases != nullptr ? bases[blockIdx.y * job.lines + line] : op.identity();
        for (long tile = first; tile < last; tile += Threads * items) {
            State s[items];
            State sum = op.identity();
            for (int k = 0; k < items; ++k) {
                const long step = tile + thread * items + k;
                s[k] = here && step < last ? op.load(line, line * job.n + (job.reverse ? job.n - 1 - step : step), step) : op.identity();
                sum = op.combine(sum, s[k]);
            }
            for (unsigned d = 1; d < 32; d *= 2) {
                const State before = shuffle_up(sum, d);
                if (lane >= d) sum = op.combine(before, sum);
            }
            State running = carry;
            if constexpr (Threads > 32) {
                __syncthreads();  // the totals of the tile before have been read
                if (lane == 31) warps[warp] = sum;
                __syncthreads();
                for (unsigned w = 0; w < Threads / 32; ++w) {
                    if (w == warp) running = carry;
                    carry = op.combine(carry, warps[w]);
                }
            } else {
                carry = op.combine(carry, shuffle_from(sum, 31));
            }
            const State before = shuffle_up(sum, 1);
            if (lane > 0) running = op.combine(running, before);
            if (!job.write) continue;
            for (int k = 0; k < items; ++k) {
                const long step = tile + thread * items + k;
                running = op.combine(running, s[k]);
                if (here && step < last) op.store(line, line * job.n + (job.reverse ? job.n - 1 - step : step), step, running);
            }
        }
        if (here && thread == 0 && totals != nullptr) totals[blockIdx.y * job.lines + line] = carry;
    }
#endif
}
// A thread per line and chunk.
template <class Op>
__global__ void scan_columns(Op op, ScanJob job, const typename Op::State* bases, typename Op::State* totals) {
#if TENON_DEVICE_CODE
    const long first = blockIdx.y * job.chunk, last = first + job.chunk < job.n ? first + job.chunk : job.n;
    for (long line = static_cast<long>(blockIdx.x) * blockDim.x + threadIdx.x; line < job.lines; line += static_cast<long>(gridDim.x) * blockDim.x) {
        const long o = line / job.inner, start = o * job.n * job.inner + (line - o * job.inner);
        typename Op::State running = bases != nullptr ? bases[blockIdx.y * job.lines + line] : op.identity();
        for (long step = first; step < last; ++step) {
            const long at = start + (job.reverse ? job.n - 1 - step : step) * job.inner;
            running = op.combine(running, op.load(line, at, step));
            if (job.write) op.store(line, at, step, running);
        }
        if (totals != nullptr) totals[blockIdx.y * job.lines + line] = running;
    }
#endif
}
// totals[c] becomes what comes before chunk c.
template <class Op>
__global__ void scan_totals(Op op, long lines, long chunks, typename Op::State* totals) {
#if TENON_DEVICE_CODE
    for (long line = static_cast<long>(blockIdx.x) * blockDim.x + threadIdx.x; line < lines; line += static_cast<long>(gridDim.x) * blockDim.x) {
        typename Op::State running = op.identity();
        for (long c = 0; c < chunks; ++c) {
            const typename Op::State here = totals[c * lines + line];
            totals[c * lines + line] = running;
            running = op.combine(running, here);
        }
    }
#endif
}
// A warp per row, one element after the other: for operations whose result depends on the order. All lanes hold the running
// state, so that a chain of operations is all that a row waits for.
template <class Op>
__global__ void scan_rows_in_order(Op op, ScanJob job) {
#if TENON_DEVICE_CODE
    using State = typename Op::State;
    const int lane = static_cast<int>(threadIdx.x % 32);
    const long warps = static_cast<long>(gridDim.x) * (blockDim.x / 32);
    for (long line = (static_cast<long>(blockIdx.x) * blockDim.x + threadIdx.x) / 32; line < job.lines; line += warps) {
        State running = op.identity();
        for (long tile = 0; tile < job.n; tile += 32) {
            const long step = tile + lane, at = line * job.n + (job.reverse ? job.n - 1 - step : step);
            const State s = step < job.n ? op.load(line, at, step) : op.identity();
            State own = s;
            for (int k = 0; k < 32; ++k) {
                running = op.combine(running, shuffle_from(s, k));
                if (k == lane) own = running;
            }
            if (step < job.n) op.store(line, at, step, own);
        }
    }
#endif
}

// in_order: every line in one piece, one element after the other.
template <class Op>
void scan_axis(const char* name, long outer, long n, long inner, bool reverse, bool in_order, const Op& op) {
    using State = typename Op::State;
    const long lines = outer * inner;
    if (lines <= 0 || n <= 0) return;
    const bool rows = inner == 1 && n > 64;
    ScanJob job{n, inner, lines, n, reverse, true};
    if (rows && in_order) return launch(name, scan_rows_in_order<Op>, blocks_for(lines, block_threads / 32), block_threads, op, job);
    const long units = rows ? lines : (lines + block_threads - 1) / block_threads;
    const long wanted = units < 512 ? (1024 + units - 1) / units : 1, most = rows ? n / 4096 : n / 128;
    long chunks = in_order ? 1 : wanted < most ? wanted : most;
    if (chunks < 1) chunks = 1;
    job.chunk = (n + chunks - 1) / chunks;
    chunks = (n + job.chunk - 1) / job.chunk;
    const Scratch<State> totals(chunks > 1 ? chunks * lines : 1);
    const auto pass = [&](bool write, const State* from, State* to) {
        job.write = write;
        const auto run = [&](void (*kernel)(Op, ScanJob, const State*, State*), long per_block) {
            launch(name, kernel, dim3(static_cast<unsigned>(blocks_for(lines, per_block)), static_cast<unsigned>(chunks)), dim3(block_threads),
                   std::size_t(0), op, job, from, to);
        };
        if (!rows) run(scan_columns<Op>, block_threads);
        else if (n <= 1024) run(scan_rows<Op, 32>, block_threads / 32);
        else run(scan_rows<Op, block_threads>, 1);
    };
    if (chunks == 1) return pass(true, nullptr, nullptr);
    pass(false, nullptr, totals.get());
    launch(name, scan_totals<Op>, blocks_for(lines, block_threads), block_threads, op, lines, chunks, totals.get());
    pass(true, totals.get(), nullptr);
}

namespace scan_impl {

using reduce_impl::Found;
using reduce_impl::ordered;

template <class A, class T>
TENON_FUNCTOR A read(const T* p) { return static_cast<A>(static_cast<accumulator<T>>(*p)); }
template <class Out, class A>
TENON_FUNCTOR void write(Out* p, A value, bool add) { reduce_impl::put_or_add(p, static_cast<accumulator<Out>>(value), add); }

// Integers wrap around.
template <bool Product, class T, class Out>
struct Fold {
    using A = scan_accumulator<T>;
    using State = std::conditional_t<std::is_integral_v<A>, std::uint64_t, A>;
    const T* x;
    Out* y;
    bool add;
    TENON_FUNCTOR State identity() const { return Product ? State(1) : State(0); }
    TENON_FUNCTOR State combine(State a, State b) const { return Product ? a * b : a + b; }
    TENON_FUNCTOR State load(long, long at, long) const { return static_cast<State>(read<A>(x + at)); }
    TENON_FUNCTOR void store(long, long at, long, State s) const { write(y + at, static_cast<A>(s), add); }
};

template <bool Max, class T>
struct RunningExtreme {
    using A = ordered<T>;
    using State = Found<A>;
    const T* x;
    T* values;
    std::int64_t* indices;
    TENON_FUNCTOR State identity() const {
        State s;
        s.value = A(0);
        s.at = static_cast<decltype(s.at)>(~0ull);
        return s;
    }
    TENON_FUNCTOR State combine(const State& a, const State& b) const {
        const decltype(a.at) nothing = static_cast<decltype(a.at)>(~0ull);
        if (a.at == nothing) return b;
        if (b.at == nothing) return a;
        return b.value != b.value || (Max ? b.value >= a.value : b.value <= a.value) ? b : a;
    }
    TENON_FUNCTOR State load(long, long at, long step) const {
        State s;
        s.value = static_cast<A>(x[at]);
        s.at = static_cast<decltype(s.at)>(step);
        return s;
    }
    TENON_FUNCTOR void store(long, long at, long, const State& s) const {
        values[at] = static_cast<T>(s.value);
        indices[at] = static_cast<std::int64_t>(s.at);
    }
};
template <bool Max, class T>
void running_extreme(const char* name, long outer, long n, long inner, const T* x, T* values, std::int64_t* indices) {
    if (sizeof(ordered<T>) == 4 && n >= 0xffffffffl) fail<ShapeError>(name, ": the axis has ", n, " elements, of this type at most 4294967294 are supported on a GPU");
    scan_axis(name, outer, n, inner, false, false, RunningExtreme<Max, T>{x, values, indices});
}

// The step of a line's first zero, or n.
template <class T>
struct FirstZero {
    using Local = long;
    using State = long;
    const T* x;
    long* steps;
    long n;
    bool reverse;
    TENON_FUNCTOR long begin() const { return n; }
    TENON_FUNCTOR void add(long& local, long at, long r) const {
        const long step = reverse ? n - 1 - r : r;
        if (read<double>(x + at) == 0 && step < local) local = step;
    }
    TENON_FUNCTOR long close(long local) const { return local; }
    TENON_FUNCTOR long combine(long a, long b) const { return b < a ? b : a; }
    TENON_FUNCTOR void finish(long m, long s) const { steps[m] = s; }
};
// The sum of dy y from the end, divided by x, before a line's first zero; nothing behind it.
template <class T>
struct CumprodBackward {
    using State = double;
    const T* x;
    const T* y;
    const T* dy;
    T* dx;
    const long* zeros;
    long n;
    bool add;
    TENON_FUNCTOR double identity() const { return 0; }
    TENON_FUNCTOR double combine(double a, double b) const { return a + b; }
    // Steps count from the end.
    TENON_FUNCTOR double load(long line, long at, long step) const { return n - 1 - step < zeros[line] ? read<double>(dy + at) * read<double>(y + at) : 0; }
    TENON_FUNCTOR void store(long line, long at, long step, double s) const {
        const long zero = zeros[line];
        if (n - 1 - step < zero) write(dx + at, s / read<double>(x + at), add);
        else if (n - 1 - step > zero) write(dx + at, 0., add);
    }
};
// The first zero itself gets the products without it.
template <class T>
struct CumprodBackwardZero {
    const T* x;
    const T* y;
    const T* dy;
    T* dx;
    const long* zeros;
    long n, inner;
    bool add, reverse;
    TENON_FUNCTOR void operator()(long m) const {
        const long zero = zeros[m];
        if (zero == n) return;
        const long o = m / inner, first = o * n * inner + (m - o * inner), step = reverse ? -inner : inner;
        const long at = (reverse ? first + (n - 1) * inner : first) + zero * step;
        double product = zero > 0 ? read<double>(y + at - step) : 1, total = product * read<double>(dy + at);
        for (long r = zero + 1, i = at + step; r < n; ++r, i += step) {
            product *= read<double>(x + i);
            total += product * read<double>(dy + i);
        }
        write(dx + at, total, add);
    }
};

}  // namespace scan_impl

template <class T, class Out>
void cumsum(long outer, long n, long inner, const T* x, Out* y, bool reverse = false, bool add = false) {
    scan_axis("cumsum", outer, n, inner, reverse, false, scan_impl::Fold<false, T, Out>{x, y, add});
}
// A product may leave the range of numbers and stay outside: floating ones go in order, to the CPU's bits.
template <class T, class Out>
void cumprod(long outer, long n, long inner, const T* x, Out* y, bool reverse = false) {
    scan_axis("cumprod", outer, n, inner, reverse, !std::is_integral_v<T>, scan_impl::Fold<true, T, Out>{x, y, false});
}
template <class T>
void cummax(long outer, long n, long inner, const T* x, T* values, std::int64_t* indices) {
    scan_impl::running_extreme<true>("cummax", outer, n, inner, x, values, indices);
}
template <class T>
void cummin(long outer, long n, long inner, const T* x, T* values, std::int64_t* indices) {
    scan_impl::running_extreme<false>("cummin", outer, n, inner, x, values, indices);
}
template <class T>
void cumprod_backward(long outer, long n, long inner, const T* x, const T* y, const T* dy, T* dx, bool add, bool reverse = false) {
    if (outer <= 0 || n <= 0 || inner <= 0) return;
    const Scratch<long> zeros(outer * inner);
    fold_axis("cumprod", outer, n, inner, scan_impl::FirstZero<T>{x, zeros.get(), n, reverse});
    scan_axis("cumprod", outer, n, inner, !reverse, false, scan_impl::CumprodBackward<T>{x, y, dy, dx, zeros.get(), n, add});
    for_each_index("cumprod", outer * inner, scan_impl::CumprodBackwardZero<T>{x, y, dy, dx, zeros.get(), n, inner, add, reverse});
}

}  // namespace kernels::cuda
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

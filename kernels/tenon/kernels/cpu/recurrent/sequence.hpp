// The loop over the steps, fast: the rows of a batch do not know of each other, so a task takes some of them through all the
// steps, with its state in cache and no word to the other tasks. The recurrent weights are packed once for all.
#pragma once

#include <tenon/kernels/cpu/gemm/prepacked.hpp>
#include <tenon/kernels/cpu/recurrent/rows.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {
namespace impl {

// Which rows fall to which task: about 24 to a task, more where the weights come from far, but two tasks where there are rows for
// them. In groups of four, or of two where that makes the tasks more equal. One thread alone takes 48, which share a panel of the
// weights in the first cache; the bits of a row are the same in any company.
struct RecurrentTasks {
    long batch, count, group;
    RecurrentTasks(long batch_, long weight_bytes) : batch(batch_) {
        const bool near = weight_bytes <= gemm_impl::prepacked_direct, alone = near && num_threads() == 1;
        const long rows = !near ? 64 : alone ? 48 : 24;
        count = (batch + rows - 1) / rows;
        if (!alone && batch >= 8) count = (count + 1) / 2 * 2;
        group = batch % (4 * count) == 0 ? 4 : 2;
    }
    long first(long task) const {
        const long row = ((batch + group - 1) / group) * task / count * group;
        return row < batch ? row : batch;
    }
};

// Rows of a matrix that a product reads, a little apart where they would fall on the same lines of the first cache.
template <class T>
long apart(long width) {
    const long unit = 64 / long(sizeof(T)), padded = (width + unit - 1) / unit * unit;
    return padded * long(sizeof(T)) % 1024 == 0 ? padded + unit : padded;
}

// Scratch of a task, piece after piece, each aligned to a line.
template <class T>
class TaskRoom {
public:
    explicit TaskRoom(T* memory) : at_(memory) {}
    T* take(long count) {
        T* piece = at_;
        const long unit = 64 / long(sizeof(T));
        at_ += (count + unit - 1) / unit * unit;
        return piece;
    }
    long used(const T* from) const { return long(at_ - from); }

private:
    T* at_;
};

inline long active_rows(const RecurrentShape& s, long t, long first, long rows) {
    const long here = s.sizes[t] - first;
    return here < 0 ? 0 : here < rows ? here : rows;
}

// Rows of the state into rows `stride` apart, or zeros.
template <class T>
void spread_rows(const T* from, long rows, long width, T* to, long stride) {
    for (long i = 0; i < rows; ++i)
        for (long j = 0; j < width; ++j) to[i * stride + j] = from != nullptr ? from[i * width + j] : T(0);
}
template <class T>
void gather_rows(const T* from, long stride, long rows, long width, T* to, bool add) {
    for (long i = 0; i < rows; ++i)
        for (long j = 0; j < width; ++j) to[i * width + j] = add ? to[i * width + j] + from[i * stride + j] : from[i * stride + j];
}

// A right operand that is packed once.
template <class T>
struct Prepacked {
    long n, k;
    T* data;
    static long size(long n, long k) { return (gemm_impl::prepacked_size<T>(n, k) + 15) / 16 * 16; }
    Prepacked(long n_, long k_, MatrixView<T> b, T*& memory) : n(n_), k(k_), data(memory) {
        memory += size(n, k);
        gemm_impl::prepack<T>(n, k, b, data);
    }
    long scratch(long m) const { return gemm_impl::prepacked_scratch<T>(m, n, k); }
    void multiply(long m, const T* a, long lda, T* c, long ldc, bool accumulate, const T* bias, T* room) const {
        GemmOptions<T> options;
        options.accumulate = accumulate;
        options.bias = bias;
        gemm_impl::gemm_prepacked<T>(m, n, k, MatrixView<T>{a, lda, 1}, data, c, ldc, options, room);
    }
};

template <RecurrentCell cell, class T>
void forward_sequences(const RecurrentShape& s, const RecurrentForward<T>& a) {
    constexpr bool gru = cell == RecurrentCell::gru;
    const long n = s.hidden, kept = s.kept_gates() * n, out = s.out, wide = gru ? 2 * n : kept;
    const bool projected = s.projected();
    const gemm_impl::Workspace::Lease lease(gemm_impl::shared_workspace,
                                            static_cast<std::size_t>(Prepacked<T>::size(wide, out) + (gru ? Prepacked<T>::size(n, out) : 0) +
                                                                     (projected ? Prepacked<T>::size(out, n) : 0)) *
                                                sizeof(T));
    T* memory = lease.as<T>();
    const Prepacked<T> hidden(wide, out, {a.weight_hh, 1, out}, memory);
    const Prepacked<T> candidate = gru ? Prepacked<T>(n, out, {a.weight_hh + 2 * n * out, 1, out}, memory) : hidden;
    const Prepacked<T> projection = projected ? Prepacked<T>(out, n, {a.weight_hr, 1, n}, memory) : hidden;
    const RecurrentTasks tasks(s.batch, s.weight_gates() * n * out * long(sizeof(T)));
    double numbers = 0;
    for (long t = 0; t < s.steps; ++t) numbers += double(s.sizes[t]) * double(s.weight_gates() * n) * double(out);
    parallel_for(tasks.count, 2 * numbers * gemm_impl::nanoseconds_per_flop, [&](long task) {
        const long first = tasks.first(task), rows = tasks.first(task + 1) - first;
        if (rows <= 0) return;
        const long h_apart = apart<T>(out), c_apart = cell == RecurrentCell::lstm ? apart<T>(n) : 0, p_apart = projected ? apart<T>(n) : 0;
        long scratch = hidden.scratch(rows);
        if (projected && projection.scratch(rows) > scratch) scratch = projection.scratch(rows);
        const gemm_impl::Workspace::Lease own(gemm_impl::task_workspace,
                                              static_cast<std::size_t>(rows * (h_apart + c_apart + p_apart) + scratch + 64) * sizeof(T));
        TaskRoom<T> room(own.template as<T>());
        T *const state = room.take(rows * h_apart), *const c = room.take(rows * c_apart), *const before_projection = room.take(rows * p_apart),
                 *const pack = room.take(scratch);
        spread_rows(a.h0 != nullptr ? a.h0 + first * out : nullptr, rows, out, state, h_apart);
        if (c_apart != 0) spread_rows(a.c0 != nullptr ? a.c0 + first * n : nullptr, rows, n, c, c_apart);
        for (long index = 0; index < s.steps; ++index) {
            const long t = s.step(index), m = active_rows(s, t, first, rows), at = s.offsets[t] + first;
            if (m == 0) continue;
            T* const gates = a.gates + at * kept;
            hidden.multiply(m, state, h_apart, gates, kept, true, nullptr, pack);
            if (gru) candidate.multiply(m, state, h_apart, gates + 3 * n, kept, false, a.bias_q, pack);
            CellRows<T> job{m, n, {gates, kept}, {state, h_apart}, {c, c_apart}, {}, {}, {c, c_apart}, {}, a.peephole};
            job.h = projected ? RowsOf<T>{before_projection, p_apart} : RowsOf<T>{state, h_apart};
            if (a.cells != nullptr) job.c_kept = {a.cells + at * n, n};
            if (!projected && a.y != a.gates) job.y = {a.y + at * out, out};
            dispatch<CellForwardBody<cell>>(static_cast<const CellRows<T>*>(&job));
            if (projected) {
                projection.multiply(m, before_projection, p_apart, state, h_apart, false, nullptr, pack);
                gather_rows(state, h_apart, m, out, a.y + at * out, false);
            }
        }
        if (a.h_n != nullptr) gather_rows(state, h_apart, rows, out, a.h_n + first * out, false);
        if (a.c_n != nullptr) gather_rows(c, c_apart, rows, n, a.c_n + first * n, false);
    });
}

template <RecurrentCell cell, class T>
void backward_sequences(const RecurrentShape& s, const RecurrentBackward<T>& a) {
    constexpr bool gru = cell == RecurrentCell::gru, lstm = cell == RecurrentCell::lstm;
    const long n = s.hidden, kept = s.kept_gates() * n, out = s.out, wide = gru ? 2 * n : kept;
    const bool projected = s.projected();
    const gemm_impl::Workspace::Lease lease(gemm_impl::shared_workspace,
                                            static_cast<std::size_t>(Prepacked<T>::size(out, wide) + (gru ? Prepacked<T>::size(out, n) : 0) +
                                                                     (projected ? Prepacked<T>::size(n, out) : 0)) *
                                                sizeof(T));
    T* memory = lease.as<T>();
    const Prepacked<T> hidden(out, wide, {a.weight_hh, out, 1}, memory);
    const Prepacked<T> candidate = gru ? Prepacked<T>(out, n, {a.weight_hh + 2 * n * out, out, 1}, memory) : hidden;
    const Prepacked<T> projection = projected ? Prepacked<T>(n, out, {a.weight_hr, n, 1}, memory) : hidden;
    const RecurrentTasks tasks(s.batch, s.weight_gates() * n * out * long(sizeof(T)));
    double numbers = 0;
    for (long t = 0; t < s.steps; ++t) numbers += double(s.sizes[t]) * double(s.weight_gates() * n) * double(out);
    parallel_for(tasks.count, 2 * numbers * gemm_impl::nanoseconds_per_flop, [&](long task) {
        const long first = tasks.first(task), rows = tasks.first(task + 1) - first;
        if (rows <= 0) return;
        const long h_apart = apart<T>(out), c_apart = lstm ? apart<T>(n) : 0, p_apart = projected ? apart<T>(n) : 0;
        // Products read a copy of the gradients whose rows are not a power of two apart, or pack them anyway.
        const bool again = kept * long(sizeof(T)) % 2048 == 0 && hidden.scratch(1) == 0;
        const long g_apart = again ? apart<T>(kept) : 0;
        long scratch = hidden.scratch(rows);
        if (projected && projection.scratch(rows) > scratch) scratch = projection.scratch(rows);
        const gemm_impl::Workspace::Lease own(
            gemm_impl::task_workspace, static_cast<std::size_t>(rows * (h_apart + c_apart + p_apart + g_apart) + n + scratch + 96) * sizeof(T));
        TaskRoom<T> room(own.template as<T>());
        T *const dstate = room.take(rows * h_apart), *const dc = room.take(rows * c_apart), *const inner = room.take(rows * p_apart),
                 *const copy = room.take(rows * g_apart), *const zeros = room.take(n), *const pack = room.take(scratch);
        for (long j = 0; j < n; ++j) zeros[j] = 0;
        spread_rows(a.dh_n != nullptr ? a.dh_n + first * out : nullptr, rows, out, dstate, h_apart);
        if (lstm) spread_rows(a.dc_n != nullptr ? a.dc_n + first * n : nullptr, rows, n, dc, c_apart);
        for (long index = s.steps - 1; index >= 0; --index) {
            const long t = s.step(index), m = active_rows(s, t, first, rows), at = s.offsets[t] + first;
            if (m == 0) continue;
            const long before = index > 0 ? s.step(index - 1) : 0, known = index > 0 ? active_rows(s, before, first, m) : 0;
            T* const dgates = a.dgates + at * kept;
            if (projected) {
                T* const dh = a.dh + at * out;
                gather_rows(dstate, h_apart, m, out, dh, false);
                if (a.dy != nullptr)
                    for (long j = 0; j < m * out; ++j) dh[j] += a.dy[at * out + j];
                projection.multiply(m, dh, out, inner, p_apart, false, nullptr, pack);
            }
            // Rows whose state came from the step before, then those that start here.
            for (const bool from_before : {true, false}) {
                const long skip = from_before ? 0 : known, count = from_before ? known : m - known;
                if (count <= 0) continue;
                CellGradients<T> job{count, n, {a.gates + (at + skip) * kept, kept}, {}, {}, {}, {}, {}, {dstate + skip * h_apart, h_apart},
                                     {dc + skip * c_apart, c_apart}, {dgates + skip * kept, kept}, {}, {}, {}, a.peephole};
                if (lstm) job.c = {a.cells + (at + skip) * n, n};
                if (from_before) {
                    const long row = s.offsets[before] + first;
                    job.h_before = {a.y + row * out, out};
                    if (lstm) job.c_before = {a.cells + row * n, n};
                } else {
                    job.h_before = a.h0 != nullptr ? RowsOf<const T>{a.h0 + (first + skip) * out, out} : RowsOf<const T>{zeros, 0};
                    job.c_before = a.c0 != nullptr ? RowsOf<const T>{a.c0 + (first + skip) * n, n} : RowsOf<const T>{zeros, 0};
                }
                if (projected) {
                    job.dh = {inner + skip * p_apart, p_apart};
                } else {
                    job.dh = {dstate + skip * h_apart, h_apart};
                    if (a.dy != nullptr) job.dy = {a.dy + (at + skip) * out, out};
                }
                if (again) job.dgates_again = {copy + skip * g_apart, g_apart};
                if (a.projected != nullptr) job.projected = {a.projected + (at + skip) * n, n};
                if (a.dpeephole != nullptr) job.dpeephole = {a.dpeephole + (at + skip) * 3 * n, 3 * n};
                dispatch<CellBackwardBody<cell>>(static_cast<const CellGradients<T>*>(&job));
            }
            if (index == 0 && a.dh0 == nullptr) break;
            const T* const d = again ? copy : dgates;
            const long d_apart = again ? g_apart : kept;
            hidden.multiply(m, d, d_apart, dstate, h_apart, gru, nullptr, pack);
            if (gru) candidate.multiply(m, d + 3 * n, d_apart, dstate, h_apart, true, nullptr, pack);
        }
        if (a.dh0 != nullptr) gather_rows(dstate, h_apart, rows, out, a.dh0 + first * out, a.add_dh0);
        if (a.dc0 != nullptr) gather_rows(dc, c_apart, rows, n, a.dc0 + first * n, a.add_dc0);
    });
}

}  // namespace impl
}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

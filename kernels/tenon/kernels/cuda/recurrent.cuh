// Recurrent layers on the device (cpu/recurrent.hpp): for each step one product (two of a GRU or with a projection) and one fused
// pass over the cell.
#pragma once

#include <tenon/kernels/cpu/recurrent/cells.hpp>
#include <tenon/kernels/cuda/each.cuh>
#include <tenon/kernels/cuda/gemm.cuh>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cuda {

using cpu::RecurrentBackward;
using cpu::RecurrentForward;
using cpu::RecurrentShape;

namespace recurrent_impl {

// to[i] = from[i] (zeros where there is nothing), or to[i] + from[i].
template <class T>
struct StateStep {
    const T* from;
    T* to;
    bool add;
    TENON_FUNCTOR void operator()(long i) const {
        const T value = from != nullptr ? from[i] : T(0);
        to[i] = add ? to[i] + value : value;
    }
};
template <class T>
struct SumStep {
    const T *a, *b;
    T* to;
    TENON_FUNCTOR void operator()(long i) const { to[i] = b != nullptr ? a[i] + b[i] : a[i]; }
};
template <class T>
void set_state(long count, const T* from, T* to, bool add = false) { for_each_index("recurrent", count, StateStep<T>{from, to, add}); }

// C[m, n] = A B' for row-major B[n, k], or A B for B[k, n].
template <class T>
void multiply(long m, long n, long k, const T* a, long lda, const T* b, bool transposed, T* c, long ldc, bool accumulate, const T* bias = nullptr) {
    GemmOptions<T> options;
    options.accumulate = accumulate;
    options.bias = bias;
    cuda::gemm<T>(m, n, k, MatrixView<T>{a, lda, 1}, transposed ? MatrixView<T>{b, 1, k} : MatrixView<T>{b, n, 1}, c, ldc, options);
}

}  // namespace recurrent_impl

template <class T>
void recurrent_forward(const RecurrentShape& s, const RecurrentForward<T>& a) {
    using namespace recurrent_impl;
    if (s.batch <= 0 || s.hidden <= 0) return;
    const long n = s.hidden, kept = s.kept_gates() * n, out = s.out;
    const bool lstm = s.cell == RecurrentCell::lstm, gru = s.cell == RecurrentCell::gru, projected = s.projected();
    // The states themselves are where they end up.
    const Scratch<T> room(projected ? s.batch * n : 0);
    set_state(s.batch * out, a.h0, a.h_n);
    if (lstm) set_state(s.batch * n, a.c0, a.c_n);
    for (long index = 0; index < s.steps; ++index) {
        const long t = s.step(index), m = s.sizes[t], at = s.offsets[t];
        T* const gates = a.gates + at * kept;
        multiply(m, gru ? 2 * n : kept, out, a.h_n, out, a.weight_hh, true, gates, kept, true);
        if (gru) multiply(m, n, out, a.h_n, out, a.weight_hh + 2 * n * out, true, gates + 3 * n, kept, false, a.bias_q);
        cpu::CellRows<T> job{m, n, {gates, kept}, {a.h_n, out}, {a.c_n, n}, {}, {}, {a.c_n, n}, {}, a.peephole};
        job.h = {projected ? room.get() : a.h_n, n};
        if (a.cells != nullptr) job.c_kept = {a.cells + at * n, n};
        if (!projected && a.y != a.gates) job.y = {a.y + at * out, out};
        cpu::with_cell(s.cell, [&]<RecurrentCell cell>() { for_each_index("recurrent", m * n, cpu::CellForwardStep<cell, T>{job}); });
        if (projected) {
            multiply(m, out, n, room.get(), n, a.weight_hr, true, a.h_n, out, false);
            set_state(m * out, static_cast<const T*>(a.h_n), a.y + at * out);
        }
    }
}

template <class T>
void recurrent_backward(const RecurrentShape& s, const RecurrentBackward<T>& a) {
    using namespace recurrent_impl;
    if (s.batch <= 0 || s.hidden <= 0) return;
    const long n = s.hidden, kept = s.kept_gates() * n, out = s.out;
    const bool lstm = s.cell == RecurrentCell::lstm, gru = s.cell == RecurrentCell::gru, projected = s.projected();
    const Scratch<T> dstate(s.batch * out), dc(lstm ? s.batch * n : 0), inner(projected ? s.batch * n : 0), zeros(n);
    set_state(s.batch * out, a.dh_n, dstate.get());
    if (lstm) set_state(s.batch * n, a.dc_n, dc.get());
    set_state(n, static_cast<const T*>(nullptr), zeros.get());
    const T* const nothing = zeros.get();
    for (long index = s.steps - 1; index >= 0; --index) {
        const long t = s.step(index), m = s.sizes[t], at = s.offsets[t], before = index > 0 ? s.step(index - 1) : 0;
        const long known = index == 0 ? 0 : s.sizes[before] < m ? s.sizes[before] : m;
        if (projected) {
            T* const dh = a.dh + at * out;
            for_each_index("recurrent", m * out, SumStep<T>{dstate.get(), a.dy != nullptr ? a.dy + at * out : nullptr, dh});
            multiply(m, n, out, static_cast<const T*>(dh), out, a.weight_hr, false, inner.get(), n, false);
        }
        // Rows whose state came from the step before, then those that start here.
        for (const bool from_before : {true, false}) {
            const long skip = from_before ? 0 : known, count = from_before ? known : m - known;
            if (count <= 0) continue;
            T* const dgates = a.dgates + (at + skip) * kept;
            cpu::CellGradients<T> job{count, n, {a.gates + (at + skip) * kept, kept}, {}, {}, {}, {}, {}, {dstate.get() + skip * out, out}, {}, {dgates, kept}, {}, {}, {},
                                      a.peephole};
            if (lstm) job.dc = {dc.get() + skip * n, n};
            if (lstm) job.c = {a.cells + (at + skip) * n, n};
            if (from_before) {
                job.h_before = {a.y + s.offsets[before] * out, out};
                if (lstm) job.c_before = {a.cells + s.offsets[before] * n, n};
            } else {
                job.h_before = a.h0 != nullptr ? cpu::RowsOf<const T>{a.h0 + skip * out, out} : cpu::RowsOf<const T>{nothing, 0};
                job.c_before = a.c0 != nullptr ? cpu::RowsOf<const T>{a.c0 + skip * n, n} : cpu::RowsOf<const T>{nothing, 0};
            }
            if (projected) {
                job.dh = {inner.get() + skip * n, n};
            } else {
                job.dh = {dstate.get() + skip * out, out};
                if (a.dy != nullptr) job.dy = {a.dy + (at + skip) * out, out};
            }
            if (a.projected != nullptr) job.projected = {a.projected + (at + skip) * n, n};
            if (a.dpeephole != nullptr) job.dpeephole = {a.dpeephole + (at + skip) * 3 * n, 3 * n};
            cpu::with_cell(s.cell, [&]<RecurrentCell cell>() { for_each_index("recurrent", count * n, cpu::CellBackwardStep<cell, T>{job}); });
        }
        if (index == 0 && a.dh0 == nullptr) break;
        const T* const d = a.dgates + at * kept;
        multiply(m, out, gru ? 2 * n : kept, d, kept, a.weight_hh, false, dstate.get(), out, gru);
        if (gru) multiply(m, out, n, d + 3 * n, kept, a.weight_hh + 2 * n * out, false, dstate.get(), out, true);
    }
    if (a.dh0 != nullptr) set_state(s.batch * out, static_cast<const T*>(dstate.get()), a.dh0, a.add_dh0);
    if (a.dc0 != nullptr) set_state(s.batch * n, static_cast<const T*>(dc.get()), a.dc0, a.add_dc0);
}

template <class T>
void gemm_over_rows(long m, long n, long k, const T* a, long lda, const T* b, T* c, bool accumulate) {
    GemmOptions<T> options;
    options.accumulate = accumulate;
    cuda::gemm<T>(m, n, k, MatrixView<T>{a, 1, lda}, MatrixView<T>{b, n, 1}, c, n, options);
}

}  // namespace kernels::cuda
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

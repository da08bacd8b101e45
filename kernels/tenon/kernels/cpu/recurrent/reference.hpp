// The plain version: one number after the other.
#pragma once

#include <tenon/kernels/cpu/recurrent/cells.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {
namespace reference {

// to[i] += sum of weight[i, j] x[j], or of weight[j, i] x[j].
template <class T>
void add_product(long n, long k, const T* weight, bool transposed, const T* x, T* to) {
    for (long i = 0; i < n; ++i) {
        T sum = 0;
        for (long j = 0; j < k; ++j) sum += (transposed ? weight[j * n + i] : weight[i * k + j]) * x[j];
        to[i] += sum;
    }
}

// state [batch, out] and cell [batch, hidden] come in as h0 and c0 and leave as h_n and c_n; `room` holds `hidden` numbers.
template <class T>
void recurrent_forward(const RecurrentShape& s, const RecurrentForward<T>& a, T* state, T* cell, T* room) {
    const long n = s.hidden, kept = s.kept_gates() * n;
    for (long index = 0; index < s.steps; ++index) {
        const long t = s.step(index);
        for (long row = 0; row < s.sizes[t]; ++row) {
            const long at = s.offsets[t] + row;
            T *gates = a.gates + at * kept, *h = state + row * s.out, *c = cell != nullptr ? cell + row * n : nullptr;
            if (s.cell == RecurrentCell::gru) {
                add_product(2 * n, s.out, a.weight_hh, false, h, gates);
                for (long j = 0; j < n; ++j) gates[3 * n + j] = a.bias_q != nullptr ? a.bias_q[j] : T(0);
                add_product(n, s.out, a.weight_hh + 2 * n * s.out, false, h, gates + 3 * n);
            } else {
                add_product(kept, s.out, a.weight_hh, false, h, gates);
            }
            CellRows<T> rows{1, n, {gates}, {h}, {c}, {s.projected() ? room : h}, {}, {c}, {a.cells != nullptr ? a.cells + at * n : nullptr}, a.peephole};
            with_cell(s.cell, [&]<RecurrentCell kind>() {
                for (long j = 0; j < n; ++j) cell_forward<kind>(OneNumber<T>{}, rows, 0, j);
            });
            if (s.projected()) {
                for (long j = 0; j < s.out; ++j) h[j] = 0;
                add_product(s.out, n, a.weight_hr, false, room, h);
            }
            for (long j = 0; j < s.out; ++j) a.y[at * s.out + j] = h[j];
        }
    }
}

// dstate and dcell come in as dh_n and dc_n and leave as dh0 and dc0; `room` holds `out` and two times `hidden` numbers.
template <class T>
void recurrent_backward(const RecurrentShape& s, const RecurrentBackward<T>& a, T* dstate, T* dcell, T* room) {
    const long n = s.hidden, kept = s.kept_gates() * n;
    T *total = room, *inner = room + s.out, *zeros = inner + n;
    for (long j = 0; j < n; ++j) zeros[j] = 0;
    for (long index = s.steps - 1; index >= 0; --index) {
        const long t = s.step(index);
        for (long row = 0; row < s.sizes[t]; ++row) {
            const long at = s.offsets[t] + row, before = index > 0 ? s.step(index - 1) : 0;
            const bool has_before = index > 0 && row < s.sizes[before];
            const T* h_before = has_before ? a.y + (s.offsets[before] + row) * s.out : a.h0 != nullptr ? a.h0 + row * s.out : zeros;
            const T* c_before = s.cell != RecurrentCell::lstm ? nullptr
                                : has_before                  ? a.cells + (s.offsets[before] + row) * n
                                : a.c0 != nullptr             ? a.c0 + row * n
                                                              : zeros;
            T* dh = dstate + row * s.out;
            for (long j = 0; j < s.out; ++j) total[j] = dh[j] + (a.dy != nullptr ? a.dy[at * s.out + j] : T(0));
            if (s.projected()) {
                for (long j = 0; j < s.out; ++j) a.dh[at * s.out + j] = total[j];
                for (long j = 0; j < n; ++j) inner[j] = 0;
                add_product(n, s.out, a.weight_hr, true, total, inner);
            }
            CellGradients<T> rows{1,
                                  n,
                                  {a.gates + at * kept},
                                  {a.cells != nullptr ? a.cells + at * n : nullptr},
                                  {h_before},
                                  {c_before},
                                  {s.projected() ? inner : total},
                                  {},
                                  {dh},
                                  {dcell != nullptr ? dcell + row * n : nullptr},
                                  {a.dgates + at * kept},
                                  {},
                                  {a.projected != nullptr ? a.projected + at * n : nullptr},
                                  {a.dpeephole != nullptr ? a.dpeephole + at * 3 * n : nullptr},
                                  a.peephole};
            with_cell(s.cell, [&]<RecurrentCell kind>() {
                for (long j = 0; j < n; ++j) cell_backward<kind>(OneNumber<T>{}, rows, 0, j);
            });
            const T* d = a.dgates + at * kept;
            if (s.cell == RecurrentCell::gru) {
                add_product(s.out, 2 * n, a.weight_hh, true, d, dh);
                add_product(s.out, n, a.weight_hh + 2 * n * s.out, true, d + 3 * n, dh);
            } else {
                for (long j = 0; j < s.out; ++j) dh[j] = 0;
                add_product(s.out, kept, a.weight_hh, true, d, dh);
            }
        }
    }
}

}  // namespace reference
}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

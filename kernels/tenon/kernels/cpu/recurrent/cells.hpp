// The arithmetic of recurrent cells between two products, forward and backward, in one pass each: written once for numbers (the
// reference and the device) and for vectors.
//
// tanh, relu: h = act(a). GRU: r, z = sigmoid(a_r), sigmoid(a_z); n = tanh(a_n + r q); h = n + z (h' - n), q = W_hn h' + b_hn
// (Cho et al. 2014; r after the product, as PyTorch). LSTM: c = f c' + i g, h = o tanh(c) (Hochreiter and Schmidhuber 1997, Gers et
// al. 2000), with peepholes p_i c', p_f c', p_o c in the sums of i, f and o (Gers and Schmidhuber 2000).
#pragma once

#include <tenon/base/simd_math.hpp>
#include <tenon/kernels/cpu/recurrent/types.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

// Rows that may lie anywhere; null: not there.
template <class T>
struct RowsOf {
    T* data = nullptr;
    long stride = 0;
    TENON_HD T* at(long row, long unit) const { return data + row * stride + unit; }
};

// Some rows of one step. Before and after may be the same memory.
template <class T>
struct CellRows {
    long rows, hidden;
    RowsOf<T> gates;                    // sums in, activations out
    RowsOf<const T> h_before, c_before;
    RowsOf<T> h, y, c, c_kept;          // h and c, in two places each
    const T* peephole;
};
template <class T>
struct CellGradients {
    long rows, hidden;
    RowsOf<const T> gates, c, h_before, c_before;
    RowsOf<const T> dh, dy;             // added up
    RowsOf<T> dh_before;                // GRU: the part of it that does not pass through the product
    RowsOf<T> dc;                       // of c in, of the c before out
    RowsOf<T> dgates, dgates_again;     // in two places
    RowsOf<T> projected;                // o tanh(c), or null
    RowsOf<T> dpeephole;                // the rows whose sum is its gradient, or null
    const T* peephole;
};

// How the pass reads and writes: one number.
template <class T>
struct OneNumber {
    using V = T;
    TENON_FUNCTOR T load(const T* p) const { return *p; }
    TENON_FUNCTOR void store(T* p, const T& v) const { *p = v; }
};

template <RecurrentCell cell, class Access, class T>
TENON_FUNCTOR void cell_forward(const Access& access, const CellRows<T>& s, long row, long unit) {
    using V = typename Access::V;
    T* const a = s.gates.at(row, unit);
    const long n = s.hidden;
    V h(T(0));
    if constexpr (cell == RecurrentCell::tanh || cell == RecurrentCell::relu) {
        const V x = access.load(a);
        if constexpr (cell == RecurrentCell::tanh) h = math::tanh(x);
        else h = math::select(x < V(T(0)), V(T(0)), x);
        access.store(a, h);
    } else if constexpr (cell == RecurrentCell::gru) {
        const V r = math::sigmoid(access.load(a)), z = math::sigmoid(access.load(a + n));
        const V candidate = math::tanh(access.load(a + 2 * n) + r * access.load(a + 3 * n));
        h = candidate + z * (access.load(s.h_before.at(row, unit)) - candidate);
        access.store(a, r);
        access.store(a + n, z);
        access.store(a + 2 * n, candidate);
    } else {
        const V before = access.load(s.c_before.at(row, unit));
        V i = access.load(a), f = access.load(a + n), o = access.load(a + 3 * n);
        if (s.peephole != nullptr) {
            i = i + before * access.load(s.peephole + unit);
            f = f + before * access.load(s.peephole + n + unit);
        }
        i = math::sigmoid(i);
        f = math::sigmoid(f);
        const V g = math::tanh(access.load(a + 2 * n));
        const V c = f * before + i * g;
        if (s.peephole != nullptr) o = o + c * access.load(s.peephole + 2 * n + unit);
        o = math::sigmoid(o);
        h = o * math::tanh(c);
        access.store(a, i);
        access.store(a + n, f);
        access.store(a + 2 * n, g);
        access.store(a + 3 * n, o);
        access.store(s.c.at(row, unit), c);
        if (s.c_kept.data != nullptr) access.store(s.c_kept.at(row, unit), c);
    }
    if (s.h.data != nullptr) access.store(s.h.at(row, unit), h);
    if (s.y.data != nullptr) access.store(s.y.at(row, unit), h);
}

template <class Access, class T, class V>
TENON_FUNCTOR void put_gradient(const Access& access, const CellGradients<T>& s, long row, long at, const V& d) {
    access.store(s.dgates.at(row, at), d);
    if (s.dgates_again.data != nullptr) access.store(s.dgates_again.at(row, at), d);
}
template <RecurrentCell cell, class Access, class T>
TENON_FUNCTOR void cell_backward(const Access& access, const CellGradients<T>& s, long row, long unit) {
    using V = typename Access::V;
    const T* const a = s.gates.at(row, unit);
    const long n = s.hidden;
    const V one(T(1));
    V dh = access.load(s.dh.at(row, unit));
    if (s.dy.data != nullptr) dh = dh + access.load(s.dy.at(row, unit));
    if constexpr (cell == RecurrentCell::tanh) {
        const V h = access.load(a);
        put_gradient(access, s, row, unit, dh * (one - h * h));
    } else if constexpr (cell == RecurrentCell::relu) {
        put_gradient(access, s, row, unit, math::select(access.load(a) > V(T(0)), dh, V(T(0))));
    } else if constexpr (cell == RecurrentCell::gru) {
        const V r = access.load(a), z = access.load(a + n), candidate = access.load(a + 2 * n), q = access.load(a + 3 * n);
        const V d_candidate = (dh - dh * z) * (one - candidate * candidate);
        const V dz = dh * (access.load(s.h_before.at(row, unit)) - candidate);
        put_gradient(access, s, row, unit, d_candidate * q * (r - r * r));
        put_gradient(access, s, row, n + unit, dz * (z - z * z));
        put_gradient(access, s, row, 2 * n + unit, d_candidate);
        put_gradient(access, s, row, 3 * n + unit, d_candidate * r);
        access.store(s.dh_before.at(row, unit), dh * z);
    } else {
        const V i = access.load(a), f = access.load(a + n), g = access.load(a + 2 * n), o = access.load(a + 3 * n);
        const V c = access.load(s.c.at(row, unit)), before = access.load(s.c_before.at(row, unit));
        const V t = math::tanh(c);
        const V d_o = dh * t * (o - o * o);
        V dc = access.load(s.dc.at(row, unit)) + dh * o * (one - t * t);
        if (s.peephole != nullptr) dc = dc + d_o * access.load(s.peephole + 2 * n + unit);
        const V d_i = dc * g * (i - i * i), d_f = dc * before * (f - f * f);
        put_gradient(access, s, row, unit, d_i);
        put_gradient(access, s, row, n + unit, d_f);
        put_gradient(access, s, row, 2 * n + unit, dc * i * (one - g * g));
        put_gradient(access, s, row, 3 * n + unit, d_o);
        V dc_before = dc * f;
        if (s.peephole != nullptr) dc_before = dc_before + (d_i * access.load(s.peephole + unit) + d_f * access.load(s.peephole + n + unit));
        access.store(s.dc.at(row, unit), dc_before);
        if (s.projected.data != nullptr) access.store(s.projected.at(row, unit), o * t);
        if (s.dpeephole.data != nullptr) {
            access.store(s.dpeephole.at(row, unit), d_i * before);
            access.store(s.dpeephole.at(row, n + unit), d_f * before);
            access.store(s.dpeephole.at(row, 2 * n + unit), d_o * c);
        }
    }
}

// The same as a step over rows * hidden numbers.
template <RecurrentCell cell, class T>
struct CellForwardStep {
    CellRows<T> s;
    TENON_FUNCTOR void operator()(long i) const { cell_forward<cell>(OneNumber<T>{}, s, i / s.hidden, i % s.hidden); }
};
template <RecurrentCell cell, class T>
struct CellBackwardStep {
    CellGradients<T> s;
    TENON_FUNCTOR void operator()(long i) const { cell_backward<cell>(OneNumber<T>{}, s, i / s.hidden, i % s.hidden); }
};

// f.template operator()<cell>() for the cell of that name.
template <class F>
void with_cell(RecurrentCell cell, F&& f) {
    switch (cell) {
        case RecurrentCell::tanh: return f.template operator()<RecurrentCell::tanh>();
        case RecurrentCell::relu: return f.template operator()<RecurrentCell::relu>();
        case RecurrentCell::gru: return f.template operator()<RecurrentCell::gru>();
        case RecurrentCell::lstm: return f.template operator()<RecurrentCell::lstm>();
    }
}

// What is added to W_ih x: b_ih, and b_hh below `limit` (of a GRU, that of n goes elsewhere). Either may be null.
template <class T>
struct CellBiasStep {
    const T *ih, *hh;
    T* to;
    long limit;
    TENON_FUNCTOR void operator()(long i) const { to[i] = (ih != nullptr ? ih[i] : T(0)) + (hh != nullptr && i < limit ? hh[i] : T(0)); }
};
// to[i] = from[i], or to[i] + from[i]; from `jump` on, from[i + skip].
template <class T>
struct CellSumsStep {
    const T* from;
    T* to;
    bool add;
    long jump, skip;
    TENON_FUNCTOR void operator()(long i) const {
        const T value = from[i < jump ? i : i + skip];
        to[i] = add ? to[i] + value : value;
    }
};

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

// What the recurrent kernels are told: one layer in one direction over a batch of sequences.
//
// Sequences are sorted by falling length and their steps lie packed: step t has rows [offsets[t], offsets[t] + sizes[t]), one
// for each sequence that is that long. A padded batch of equal lengths is the same thing with sizes[t] = batch.
#pragma once

#include <tenon/base/config.hpp>

namespace tenon {

enum class RecurrentCell : unsigned char { tanh, relu, gru, lstm };

inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

struct RecurrentShape {
    RecurrentCell cell;
    bool reverse;         // the last step first
    long steps, batch;    // T, B
    long hidden, out;     // H; size of the state h: H, or that of the projection
    const long *sizes, *offsets;
    bool projected() const { return cell == RecurrentCell::lstm && out != hidden; }
    // Rows of the weights, in units of `hidden`: r z n | i f g o | one.
    long weight_gates() const { return cell == RecurrentCell::lstm ? 4 : cell == RecurrentCell::gru ? 3 : 1; }
    // What is kept of a row, in the same units. A GRU keeps besides r, z and n what r multiplies.
    long kept_gates() const { return cell == RecurrentCell::lstm || cell == RecurrentCell::gru ? 4 : 1; }
    long step(long index) const { return reverse ? steps - 1 - index : index; }
};

// Pointers may be null where it says so. All matrices are contiguous.
template <class T>
struct RecurrentForward {
    const T* weight_hh;  // [weight_gates * hidden, out]
    const T* bias_q;     // GRU: what is added to W_hn h [hidden]; or null
    const T* weight_hr;  // [out, hidden], or null
    const T* peephole;   // [3, hidden]: of i, f, o; or null
    const T *h0, *c0;    // [batch, out], [batch, hidden]; null: zeros
    T* gates;            // [rows, kept_gates * hidden]: W_ih x + biases in, what backward reads out. Plain cells: y itself
    T* cells;            // LSTM: [rows, hidden], or null: not kept
    T* y;                // [rows, out]
    T *h_n, *c_n;        // [batch, out], [batch, hidden]: after the last step of each sequence
};
template <class T>
struct RecurrentBackward {
    const T *weight_hh, *weight_hr, *peephole, *h0, *c0;
    const T *gates, *cells, *y;        // as forward has left them
    const T *dy, *dh_n, *dc_n;         // null: zeros
    T* dgates;                         // [rows, kept_gates * hidden]: gradients of the sums before the activations
    T* dh;                             // projected: [rows, out], the gradient of h; else null
    T* projected;                      // projected: [rows, hidden], what was projected; else null
    T* dpeephole;                      // [rows, 3 * hidden], or null
    T *dh0, *dc0;                      // or null
    bool add_dh0, add_dc0;
};

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

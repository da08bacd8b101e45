// One recurrent layer in one direction, over packed sequences: one node of the tape for all the steps.
//
// The products that all steps can share are one each: inputs with W_ih before the loop; the gradients of inputs and weights after
// it. What is kept are the gates after their activations, and the cells of an LSTM.
#pragma once

#include <tenon/kernels/cpu/recurrent.hpp>
#include <tenon/kernels/cpu/reduce.hpp>
#include <tenon/ops/layer_norm.hpp>
#include <tenon/ops/matmul.hpp>
#include <tenon/ops/recurrent/sequences.hpp>
#if TENON_CUDA
#include <tenon/kernels/cuda/recurrent.cuh>
#include <tenon/kernels/cuda/reduce.cuh>
#endif

namespace tenon {

// The weights of a layer in one direction, in PyTorch's layouts: the rows of each are the gates one after the other, r z n of a GRU,
// i f g o of an LSTM. Biases may be empty handles; so may what only an LSTM can have: the projection of its output (Sak et al. 2014)
// and the peepholes from the cell to i, f and o.
template <class T>
struct RecurrentWeights {
    Tensor<T, 2> weight_ih;         // [gates * H, F]
    Tensor<T, 2> weight_hh;         // [gates * H, H], or [gates * H, P]
    Tensor<T, 1> bias_ih{}, bias_hh{};  // [gates * H]
    Tensor<T, 2> weight_hr{};       // [P, H]
    Tensor<T, 2> peephole{};        // [3, H]
};

inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

template <class T>
class RecurrentNode final : public Node {
public:
    enum Input { x_in, h0_in, c0_in, ih_in, hh_in, bias_ih_in, bias_hh_in, hr_in, peephole_in, inputs_count };

    RecurrentNode(const char* operation, const kernels::cpu::RecurrentShape& shape, const Sequences& sequences)
        : Node(operation, slots_, shape.cell == RecurrentCell::lstm ? 3 : 2, edges_, inputs_count), shape_(shape), sequences_(sequences) {}

    void connect(Input k, detail::Record* r) {
        if (r == nullptr) return;
        saved_[k].save(r);
        edges_[k] = detail::edge_to(r);
        if (edges_[k].node == nullptr) return;
        detail::retain(edges_[k].node);
        if (edges_[k].node->depth >= depth) depth = edges_[k].node->depth + 1;
    }
    // y, h_n and c_n (LSTM); the results take over the reference to the node.
    void finish(detail::Record* y, detail::Record* h, detail::Record* c, detail::AnyTensor gates, detail::AnyTensor cells) {
        y_.save_output(y);
        gates_ = static_cast<detail::AnyTensor&&>(gates);
        cells_ = static_cast<detail::AnyTensor&&>(cells);
        detail::Record* results[] = {y, h, c};
        for (int k = 0; k < slot_count; ++k) {
            detail::set_slot(slots_[k], results[k]);
            if (k > 0) detail::retain(static_cast<Node*>(this));
            detail::attach(results[k], this, k);
        }
    }
    void release_saved() noexcept override {
        for (detail::Saved& s : saved_) s.tensor = detail::AnyTensor();
        y_.tensor = gates_ = cells_ = detail::AnyTensor();
    }

    void backward() override {
        const Device device = y_.tensor->storage->device;
        const kernels::cpu::RecurrentShape& s = shape_;
        const long rows = sequences_.rows, n = s.hidden, kept = s.kept_gates() * n;
        const T* const y = reinterpret_cast<const T*>(y_.check(name)->data());
        const auto fresh = [&](long count, long width) {
            const long sizes[] = {count, width};
            return detail::AnyTensor(detail::new_record(dtype_of<T>, 2, sizes, device));
        };
        const auto data = [](const detail::AnyTensor& t) { return t ? reinterpret_cast<T*>(t->data()) : nullptr; };
        const detail::AnyTensor dgates = fresh(rows, kept), dh = s.projected() ? fresh(rows, s.out) : detail::AnyTensor(),
                                projected = s.projected() && wanted(hr_in) ? fresh(rows, n) : detail::AnyTensor(),
                                dpeephole = wanted(peephole_in) ? fresh(rows, 3 * n) : detail::AnyTensor();
        {
            const OptionalTarget<T> dh0(edge(h0_in)), dc0(edge(c0_in));
            const kernels::cpu::RecurrentBackward<T> job{saved(hh_in), saved(hr_in), saved(peephole_in), saved(h0_in), saved(c0_in), gates_ ? data(gates_) : y, data(cells_), y,
                                                         arrived(0), arrived(1), slot_count > 2 ? arrived(2) : nullptr, data(dgates), data(dh), data(projected),
                                                         data(dpeephole), dh0.data, dc0.data, dh0.add, dc0.add};
            TENON_RUN(device, recurrent_backward(s, job));
        }
        const T* const d = data(dgates);
        const long weight_rows = s.weight_gates() * n, features = saved_[ih_in].tensor->dims()[1];
        if (const OptionalTarget<T> dx(edge(x_in)); dx.data != nullptr) {
            kernels::cpu::GemmOptions<T> options;
            options.accumulate = dx.add;
            const kernels::cpu::MatrixView<T> left{d, kept, 1}, right{saved(ih_in), features, 1};
            TENON_RUN(device, gemm<T>(rows, features, weight_rows, left, right, dx.data, features, options));
        }
        if (const OptionalTarget<T> dw(edge(ih_in)); dw.data != nullptr)
            TENON_RUN(device, gemm_over_rows(weight_rows, features, rows, d, kept, saved(x_in), dw.data, dw.add));
        if (const OptionalTarget<T> dw(edge(hh_in)); dw.data != nullptr) hidden_weights(device, d, y, dw);
        if (const OptionalTarget<T> dw(edge(hr_in)); dw.data != nullptr)
            TENON_RUN(device, gemm_over_rows<T>(s.out, n, rows, data(dh), s.out, data(projected), dw.data, dw.add));
        if (wanted(bias_ih_in) || wanted(bias_hh_in)) {
            const detail::AnyTensor sums = fresh(1, kept);
            TENON_RUN(device, reduce_sum(1l, rows, kept, d, data(sums)));
            if (const OptionalTarget<T> db(edge(bias_ih_in)); db.data != nullptr)
                TENON_RUN(device, each(weight_rows, kernels::cpu::CellSumsStep<T>{data(sums), db.data, db.add, weight_rows, 0}));
            // Of a GRU, b_hn is added to q, which is kept last.
            if (const OptionalTarget<T> db(edge(bias_hh_in)); db.data != nullptr)
                TENON_RUN(device, each(weight_rows, kernels::cpu::CellSumsStep<T>{data(sums), db.data, db.add, s.cell == RecurrentCell::gru ? 2 * n : weight_rows, n}));
        }
        if (const OptionalTarget<T> dp(edge(peephole_in)); dp.data != nullptr) {
            const detail::AnyTensor sums = fresh(1, 3 * n);
            TENON_RUN(device, reduce_sum(1l, rows, 3 * n, data(dpeephole), data(sums)));
            TENON_RUN(device, each(3 * n, kernels::cpu::CellSumsStep<T>{data(sums), dp.data, dp.add, 3 * n, 0}));
        }
    }

private:
    bool wanted(Input k) const { return detail::wanted_now(edges_[k]); }
    Edge edge(Input k) const { return wanted(k) ? edges_[k] : Edge{}; }
    const T* saved(Input k) const { return saved_[k].tensor ? reinterpret_cast<const T*>(saved_[k].check(name)->data()) : nullptr; }
    const T* arrived(int k) const { return slots_[k].has ? reinterpret_cast<const T*>(slots_[k].gradient->data()) : nullptr; }
    // dW_hh: the gradients of all rows times the states that they started from.
    void hidden_weights(Device device, const T* d, const T* y, const OptionalTarget<T>& dw) const {
        const kernels::cpu::RecurrentShape& s = shape_;
        const long n = s.hidden, kept = s.kept_gates() * n, out = s.out, rows = sequences_.rows, b = s.batch;
        const bool gru = s.cell == RecurrentCell::gru;
        // Rows of the weight from `top` on, gradients from column `column` on.
        const auto part = [&](long top, long count, long column, long first, long k, const T* before, bool add) {
            TENON_RUN(device, gemm_over_rows(count, out, k, d + first * kept + column, kept, before, dw.data + top * out, add));
        };
        const auto all = [&](long first, long k, const T* before, bool add) {
            part(0, gru ? 2 * n : kept, 0, first, k, before, add);
            if (gru) part(2 * n, n, 3 * n, first, k, before, add);
        };
        const T* const h0 = saved(h0_in);
        if (sequences_.even) {
            // States lie a step before their gradients, but for the first.
            const long later = rows > b ? rows - b : 0;
            all(s.reverse ? 0 : b, later, s.reverse ? y + b * out : y, dw.add);
            if (h0 != nullptr && rows > 0) all(s.reverse ? later : 0, b, h0, true);
            return;
        }
        const long sizes[] = {rows, out};
        const detail::AnyTensor before(detail::new_record(dtype_of<T>, 2, sizes, device));
        T* const to = reinterpret_cast<T*>(before->data());
        for (long index = 0; index < s.steps; ++index) {
            const long t = s.step(index), at = s.offsets[t];
            long known = 0;
            if (index > 0) {
                const long last = s.step(index - 1);
                known = s.sizes[last] < s.sizes[t] ? s.sizes[last] : s.sizes[t];
                copy(device, to + at * out, y + s.offsets[last] * out, known * out);
            }
            const long left = (s.sizes[t] - known) * out;
            T* const rest = to + (at + known) * out;
            if (h0 != nullptr) copy(device, rest, h0 + known * out, left);
            else if (left > 0) detail::zero_bytes(device, rest, static_cast<std::size_t>(left) * sizeof(T));
        }
        all(0, rows, to, dw.add);
    }
    static void copy(Device device, T* to, const T* from, long count) {
        if (count > 0) detail::copy_bytes(device, to, from, static_cast<std::size_t>(count) * sizeof(T));
    }

    Slot slots_[3];
    Edge edges_[inputs_count];
    detail::Saved saved_[inputs_count], y_;
    detail::AnyTensor gates_, cells_;
    kernels::cpu::RecurrentShape shape_;
    Sequences sequences_;
};

// What a layer gives: y [rows, out], and the states [B, out] and [B, H] after the last step of each sequence.
template <class T>
struct LayerResult {
    Tensor<T, 2> y, h, c;
};

constexpr const char* gates_of(RecurrentCell cell) { return cell == RecurrentCell::lstm ? "4 * hidden" : cell == RecurrentCell::gru ? "3 * hidden" : "hidden"; }

// Sizes, checked once for all devices. x is [.., F].
template <class T>
kernels::cpu::RecurrentShape recurrent_shape(const char* operation, RecurrentCell cell, const detail::Record* x, long batch, const RecurrentWeights<T>& w, const detail::Record* h0,
                                             const detail::Record* c0) {
    kernels::cpu::RecurrentShape s{};
    s.cell = cell;
    s.batch = batch;
    const long gates = s.weight_gates(), features = x->dims()[x->rank - 1];
    const detail::Record *ih = w.weight_ih.record(), *hh = w.weight_hh.record();
    const long rows = ih->dims()[0];
    if (rows < gates || rows % gates != 0)
        fail<ShapeError>(operation, ": weight_ih is ", ih->description(), ": expected ", gates_of(cell), " rows, a multiple of ", gates);
    s.hidden = rows / gates;
    s.out = w.weight_hr.has_value() ? w.weight_hr.shape(0) : s.hidden;
    if (ih->dims()[1] != features)
        fail<ShapeError>(operation, ": input is ", x->description(), " with ", features, " features (its last axis), weight_ih is ", ih->description(), ": expected [", rows, ", ",
                         features, "]");
    const auto expect = [&](const char* what, const detail::Record* r, long first, long second) {
        if (r == nullptr) return;
        const bool fits = second < 0 ? r->size == first : r->dims()[0] == first && r->dims()[1] == second;
        if (!fits && second < 0) fail<ShapeError>(operation, ": ", what, " is ", r->description(), ", weight_ih is ", ih->description(), ": expected [", first, "]");
        if (!fits) fail<ShapeError>(operation, ": ", what, " is ", r->description(), ", input is ", x->description(), ", weight_ih is ", ih->description(), ": expected [", first, ", ", second, "]");
        if (!(r->storage->device == x->storage->device)) fail_devices(operation, x->storage->device, r->storage->device);
    };
    if (w.weight_hr.has_value() && (s.out < 1 || s.out >= s.hidden))
        fail<ShapeError>(operation, ": weight_hr is ", w.weight_hr.record()->description(), ": expected a projection from ", s.hidden, " to fewer, and at least 1");
    expect("weight_ih", ih, rows, features);
    expect("weight_hh", hh, rows, s.out);
    expect("bias_ih", record_or_null(w.bias_ih), rows, -1);
    expect("bias_hh", record_or_null(w.bias_hh), rows, -1);
    expect("weight_hr", record_or_null(w.weight_hr), s.out, s.hidden);
    expect("peephole", record_or_null(w.peephole), 3, s.hidden);
    expect("h0", h0, batch, s.out);
    expect("c0", c0, batch, s.hidden);
    return s;
}

// A layer over packed x [rows, F]; h0 and c0, in the sorted order, may be empty handles: zeros.
template <class T>
LayerResult<T> recurrent_layer(const char* operation, RecurrentCell cell, const Tensor<T, 2>& given, const Sequences& sequences, bool reverse, const Tensor<T, 2>& h0_given,
                               const Tensor<T, 2>& c0_given, const RecurrentWeights<T>& given_weights) {
    const RecurrentWeights<T> w{contiguous(given_weights.weight_ih),        contiguous(given_weights.weight_hh),        contiguous_or_empty(given_weights.bias_ih),
                                contiguous_or_empty(given_weights.bias_hh), contiguous_or_empty(given_weights.weight_hr), contiguous_or_empty(given_weights.peephole)};
    const Tensor<T, 2> x = contiguous(given), h0 = contiguous_or_empty(h0_given), c0 = contiguous_or_empty(c0_given);
    const Device device = x.device();
    check_device(operation, device);
    kernels::cpu::RecurrentShape s = recurrent_shape(operation, cell, x.record(), sequences.batch, w, record_or_null(h0), record_or_null(c0));
    s.reverse = reverse;
    s.steps = sequences.steps;
    s.sizes = sequences.sizes();
    s.offsets = sequences.offsets();
    const long n = s.hidden, kept = s.kept_gates() * n, rows = sequences.rows, weight_rows = s.weight_gates() * n, features = x.shape(1);
    const bool lstm = cell == RecurrentCell::lstm, gru = cell == RecurrentCell::gru;

    using Input = typename RecurrentNode<T>::Input;
    detail::Record* const records[] = {x.record(),  record_or_null(h0),        record_or_null(c0),        w.weight_ih.record(),       w.weight_hh.record(),
                                       record_or_null(w.bias_ih), record_or_null(w.bias_hh), record_or_null(w.weight_hr), record_or_null(w.peephole)};
    bool recorded = false;
    for (detail::Record* r : records) recorded = recorded || (r != nullptr && detail::wants_gradient(r));

    Tensor<T, 2> y = empty<T>({rows, s.out}, device), h = empty<T>({s.batch, s.out}, device), c, gates, cells;
    if (lstm) c = empty<T>({s.batch, n}, device);
    if (lstm || gru) gates = empty<T>({rows, kept}, device);
    if (lstm && recorded) cells = empty<T>({rows, n}, device);
    const auto data = [](const auto& t) { return t.has_value() ? reinterpret_cast<T*>(t.record()->data()) : nullptr; };
    T* const into = gates.has_value() ? data(gates) : data(y);

    Tensor<T, 1> bias;
    const T *bias_ih = data(w.bias_ih), *bias_hh = data(w.bias_hh);
    if (bias_ih != nullptr || bias_hh != nullptr) {
        bias = empty<T>({weight_rows}, device);
        TENON_RUN(device, each(weight_rows, kernels::cpu::CellBiasStep<T>{bias_ih, bias_hh, data(bias), gru ? 2 * n : weight_rows}));
    }
    kernels::cpu::GemmOptions<T> options;
    options.bias = data(bias);
    TENON_RUN(device, gemm<T>(rows, weight_rows, features, kernels::cpu::MatrixView<T>{data(x), features, 1}, kernels::cpu::MatrixView<T>{data(w.weight_ih), 1, features}, into, kept,
                              options));
    const kernels::cpu::RecurrentForward<T> job{data(w.weight_hh), gru && bias_hh != nullptr ? bias_hh + 2 * n : nullptr, data(w.weight_hr), data(w.peephole), data(h0), data(c0), into,
                                                data(cells), data(y), data(h), data(c)};
    TENON_RUN(device, recurrent_forward(s, job));

    if (recorded) {
        RecurrentNode<T>* const node = detail::make_node<RecurrentNode<T>>(operation, s, sequences);
        for (int k = 0; k < RecurrentNode<T>::inputs_count; ++k) node->connect(static_cast<Input>(k), records[k]);
        node->finish(y.record(), h.record(), record_or_null(c), gates.any(), cells.any());
    }
    return {y, h, c};
}

}  // namespace impl
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

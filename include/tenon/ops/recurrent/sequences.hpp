// Sequences of different lengths in one padded batch, for recurrent layers: sorted by falling length, their steps packed one after
// the other, so that a step works on the sequences that still run and on nothing else.
#pragma once

#include <tenon/ops/index.hpp>
#include <tenon/ops/scatter.hpp>

#include <cstdint>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

struct Sequences {
    long steps = 0, batch = 0, rows = 0;
    bool even = true;                   // all of one length: packed is padded, sorted is given
    detail::AnyTensor numbers;          // int64 [2, steps] on the host: how many run at a step, where its rows begin
    Tensor<std::int64_t, 1> order, inverse, positions, sequence;  // of the uneven: sorted to given and back; of each row, in [T, B] and in the sorted batch

    const long* sizes() const { return reinterpret_cast<const long*>(numbers->data()); }
    const long* offsets() const { return sizes() + steps; }
};

// lengths: one for each sequence, 1 to steps; an empty handle: all of them `steps`. Throws ShapeError and ValueError.
inline Sequences make_sequences(const char* operation, const detail::Record* x, const Tensor<std::int64_t, 1>& given, Device device) {
    Sequences s;
    s.steps = x->dims()[0];
    s.batch = x->dims()[1];
    const long sizes[] = {2, s.steps};
    s.numbers = detail::AnyTensor(detail::new_record(DType::int64, 2, sizes, cpu));
    long *size = reinterpret_cast<long*>(s.numbers->data()), *offset = size + s.steps;
    Tensor<std::int64_t, 1> lengths;
    if (given.has_value()) {
        if (given.size() != s.batch)
            fail<ShapeError>(operation, ": input is ", x->description(), ", lengths are ", given.record()->description(), ": expected one length for each of the ",
                             s.batch, " sequences (axis 1)");
        const no_grad guard;
        lengths = contiguous(given.to(cpu));
        for (long b = 0; b < s.batch; ++b) {
            const long length = lengths.data()[b];
            if (length < 1 || length > s.steps)
                fail<ValueError>(operation, ": length ", length, " of sequence ", b, ", expected 1 to ", s.steps, " (axis 0 of the input ", x->description(), ")");
            s.even = s.even && length == s.steps;
        }
    }
    for (long t = 0; t < s.steps; ++t) size[t] = s.batch;
    if (!s.even) {
        // Counted by length, longest first; those of one length stay in order.
        Tensor<std::int64_t, 1> order = empty<std::int64_t>({s.batch}), inverse = empty<std::int64_t>({s.batch}), starts = zeros<std::int64_t>({s.steps + 1});
        std::int64_t* const start = starts.data();
        for (long b = 0; b < s.batch; ++b) ++start[s.steps - lengths.data()[b] + 1];
        for (long k = 0; k < s.steps; ++k) start[k + 1] += start[k];
        for (long t = 0; t < s.steps; ++t) size[t] = start[s.steps - t];
        for (long b = 0; b < s.batch; ++b) {
            const long at = start[s.steps - lengths.data()[b]]++;
            order.data()[at] = b;
            inverse.data()[b] = at;
        }
        s.order = order;
        s.inverse = inverse;
    }
    for (long t = 0; t < s.steps; ++t) {
        offset[t] = s.rows;
        s.rows += size[t];
    }
    if (s.even) return s;
    Tensor<std::int64_t, 1> positions = empty<std::int64_t>({s.rows}), sequence = empty<std::int64_t>({s.rows});
    for (long t = 0; t < s.steps; ++t)
        for (long row = 0; row < size[t]; ++row) {
            positions.data()[offset[t] + row] = t * s.batch + s.order.data()[row];
            sequence.data()[offset[t] + row] = row;
        }
    s.positions = positions.to(device);
    s.sequence = sequence.to(device);
    s.order = s.order.to(device);
    s.inverse = s.inverse.to(device);
    return s;
}

// [T, B, F] -> [rows, F] and back, with zeros beyond the end of a sequence.
template <class T>
Tensor<T, 2> pack_sequences(const Sequences& s, const Tensor<T, 3>& x) {
    const Tensor<T, 2> flat = contiguous(x).reshape({s.steps * s.batch, x.shape(2)});
    return s.even ? flat : index_select<0>(flat, s.positions);
}
template <class T>
Tensor<T, 3> pad_sequences(const Sequences& s, const Tensor<T, 2>& y) {
    if (s.even) return y.reshape({s.steps, s.batch, y.shape(1)});
    return Tensor<T, 2>(index_copy<0>(zeros<T>({s.steps * s.batch, y.shape(1)}, y.device()), s.positions, y)).reshape({s.steps, s.batch, y.shape(1)});
}
// A state [B, H] in the sorted order and back; an empty handle stays empty.
template <class T>
Tensor<T, 2> sort_state(const Sequences& s, const Tensor<T, 2>& h) { return !h.has_value() || s.even ? h : index_select<0>(h, s.order); }
template <class T>
Tensor<T, 2> restore_state(const Sequences& s, const Tensor<T, 2>& h) { return !h.has_value() || s.even ? h : index_select<0>(h, s.inverse); }

}  // namespace impl
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

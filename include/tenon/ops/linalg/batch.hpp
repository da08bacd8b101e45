// What the operations of linear algebra share: batches under one leading axis, and their tape node.
//
// Inside, everything is a batch of matrices, [batch, rows, columns]; vectors of values are rows, [batch, 1, n]. A derivative
// is a rule: a function over such batches, made of recorded operations. The node runs it without recording; a backward pass
// that is recorded itself (create_graph) runs the very same function.
//
// All of it happens on the host, where the kernels are: as_matrices brings operands there and from_matrices takes results back to
// where the operands were; both transfers are recorded, so that gradients take the same way.
#pragma once

#include <tenon/autograd/recorded.hpp>
#include <tenon/core/factories.hpp>
#include <tenon/ops/copy.hpp>
#include <tenon/ops/matmul.hpp>
#include <tenon/ops/reduce.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

template <class T>
using Matrices = Tensor<T, 3>;

// The leading axes of operands, broadcast, and where the operands are.
struct Batch {
    Device device = cpu;
    int rank = 0;
    long dims[max_rank] = {};

    long count() const {
        long n = 1;
        for (int i = 0; i < rank; ++i) n *= dims[i];
        return n;
    }
};
// The axes of x but the last `own`.
inline Batch batch_of(const detail::Record* x, int own) {
    Batch b;
    b.device = x->storage->device;
    b.rank = x->rank - own;
    for (int i = 0; i < b.rank; ++i) b.dims[i] = x->dims()[i];
    return b;
}
inline Batch merge_batches(const char* operation, const detail::Record* a, int own_a, const detail::Record* b, int own_b) {
    Batch batch;
    batch.device = a->storage->device;
    const int ra = a->rank - own_a, rb = b->rank - own_b;
    batch.rank = ra > rb ? ra : rb;
    for (int i = 0; i < batch.rank; ++i) batch.dims[i] = 1;
    int bad = 0;
    if (!(a->storage->device == b->storage->device)) fail_devices(operation, a->storage->device, b->storage->device);
    if (!merge_dims(batch.dims, batch.rank, a->dims(), ra, &bad) || !merge_dims(batch.dims, batch.rank, b->dims(), rb, &bad))
        fail<ShapeError>(operation, ": batch axes cannot be broadcast: left is ", a->description(), ", right is ", b->description(), " (axis ", bad, ")");
    return batch;
}

// x as [batch, rows, columns] on the host; its last `own` axes (2, or 1: a column) are the matrix. A view where the strides allow it.
template <class T>
Matrices<T> as_matrices(const detail::AnyTensor& given, const Batch& batch, int own = 2) {
    const detail::AnyTensor x = given->storage->device.is_cpu() ? given : recorded_transfer(given.get(), cpu);
    detail::AnyTensor whole = x;
    const int leading = x->rank - own;
    bool expanded = leading != batch.rank;
    for (int i = 0; i < leading && !expanded; ++i) expanded = x->dims()[i] != batch.dims[i];
    if (expanded) {
        detail::ViewMap map;
        map.rank = batch.rank + own;
        const int extra = batch.rank - leading;
        for (int i = 0; i < x->rank; ++i) map.start[i] = 0;
        for (int i = 0; i < map.rank; ++i) {
            const int axis = i - extra;
            const long want = i < batch.rank ? batch.dims[i] : x->dims()[axis];
            map.axis[i] = axis < 0 || x->dims()[axis] != want ? -1 : axis;
            map.step[i] = 1;
            map.dims[i] = want;
        }
        whole = detail::make_view(x.get(), map);
    }
    long dims[3] = {batch.count(), x->dims()[leading], own == 2 ? x->dims()[leading + 1] : 1};
    if (whole->rank == 3 && own == 2) return Matrices<T>(static_cast<detail::AnyTensor&&>(whole));
    return Matrices<T>(detail::reshape_any(whole.get(), 3, dims));
}
// Back, to the operands' device: [batch..., rows, columns], or [batch..., columns] or [batch..., rows] of the only row or
// column (own = 1), or [batch...] (own = 0).
template <class T, int R>
Tensor<T, R> from_matrices(const Matrices<T>& x, const Batch& batch, int own = 2) {
    long dims[max_rank + 2] = {};
    for (int i = 0; i < batch.rank; ++i) dims[i] = batch.dims[i];
    const long rows = x.record()->dims()[1], columns = x.record()->dims()[2];
    if (own == 2) {
        dims[batch.rank] = rows;
        dims[batch.rank + 1] = columns;
        if (batch.rank == 1) return Tensor<T, R>(x.any()).to(batch.device);
    } else if (own == 1) {
        dims[batch.rank] = rows * columns;
    }
    return Tensor<T, R>(detail::reshape_any(x.record(), R, dims)).to(batch.device);
}

// An operand that is not a tensor yet: every operation also takes expressions, whose values it computes first.
template <class E>
inline constexpr bool is_tensor = false;
template <class T, int R>
inline constexpr bool is_tensor<Tensor<T, R>> = true;
template <class E>
concept Unevaluated = Expression<E> && !is_tensor<std::remove_cvref_t<E>>;

template <class T, int R>
void check_matrix(const char* operation, const Tensor<T, R>& x) {
    static_assert(std::is_same_v<T, float> || std::is_same_v<T, double>,
                  "tenon: linear algebra is defined for float and double: write cast<float>(x) first");
    static_assert(R >= 2, "tenon: linear algebra: a matrix has at least two axes, [..., rows, columns]");
    check_device(operation, x.device());
}
template <class T, int R>
void check_square(const char* operation, const Tensor<T, R>& x) {
    check_matrix(operation, x);
    const detail::Record* r = x.record();
    if (r->dims()[R - 2] != r->dims()[R - 1])
        fail<ShapeError>(operation, ": ", r->description(), " is not square: the last two axes are ", r->dims()[R - 2], " and ", r->dims()[R - 1]);
}
// "matrix 3 of the batch float[5, 4, 4] on cpu"
struct BatchElement {
    long index;
    const detail::Record* of;
};
inline Message& operator<<(Message& message, const BatchElement& e) {
    if (e.of->rank > 2) {
        const long size = e.of->dims()[e.of->rank - 1] * e.of->dims()[e.of->rank - 2];
        message << "matrix " << e.index << (size > 0 ? " (in row-major order) of " : " of ");
    }
    return message << e.of->description();
}

// Memory for one value per matrix.
template <class V>
class PerMatrix {
public:
    explicit PerMatrix(long count) : record_(detail::new_record(DType::int64, 1, &count, cpu)) {}
    V* data() const { return reinterpret_cast<V*>(record_->data()); }
    // The first matrix with a value other than zero; -1 if none.
    long first(long count) const {
        for (long p = 0; p < count; ++p)
            if (data()[p] != V(0)) return p;
        return -1;
    }

private:
    detail::AnyTensor record_;
};

template <class T>
Matrices<T> new_matrices(const char* operation, long batch, long rows, long columns) {
    const long dims[3] = {batch, rows, columns};
    return Matrices<T>(detail::AnyTensor(detail::new_record(dtype_of<T>, 3, dims, cpu, operation)));
}
// A contiguous copy that a kernel may overwrite, unrecorded.
template <class T>
Matrices<T> copy_matrices(const Matrices<T>& x) { return clone(x); }
template <class T>
long rows_of(const Matrices<T>& x) { return x.record()->dims()[1]; }
template <class T>
long columns_of(const Matrices<T>& x) { return x.record()->dims()[2]; }
template <class T>
long count_of(const Matrices<T>& x) { return x.record()->dims()[0]; }

template <class T>
Matrices<T> identity_matrices(const char* operation, long batch, long n) {
    Matrices<T> x = new_matrices<T>(operation, batch, n, n);
    if (x.size() > 0) std::memset(x.data(), 0, static_cast<std::size_t>(x.size()) * sizeof(T));
    for (long p = 0; p < batch; ++p)
        for (long i = 0; i < n; ++i) x.data()[(p * n + i) * n + i] = T(1);
    return x;
}

// --- the node -----------------------------------------------------------------------------------------------------------------

// What a rule is given, and what it gives back.
template <class T>
struct RuleData {
    Matrices<T> saved[4];
    detail::AnyTensor extra;      // pivots
    Matrices<T> dy[3];            // empty: nothing has arrived
    bool wanted[2] = {};
    bool recording = false;       // the pass is recorded: the saved tensors have their nodes
    Matrices<T> dx[2];
};

// Rule: `static constexpr int inputs, outputs` and `void operator()(RuleData<T>&) const`.
template <class T, class Rule>
class RuleNode final : public Node {
public:
    // Where a saved tensor comes from.
    static constexpr int constant = 100;
    static constexpr int output(int k) { return -1 - k; }

    RuleNode(const char* operation, const Rule& rule) : Node(operation, slots_, Rule::outputs, edges_, Rule::inputs), rule_(rule) {
        static_cast<void>(&recorded_entry);
    }

    void connect(int k, detail::Record* r) {
        edges_[k] = detail::edge_to(r);
        if (edges_[k].node == nullptr) return;
        detail::retain(edges_[k].node);
        if (edges_[k].node->depth >= depth) depth = edges_[k].node->depth + 1;
    }
    // The results take over the reference to the node.
    template <class... M>
    void finish(const M&... results) {
        int k = 0;
        ((set_slot(slots_[k], results.record()), k > 0 ? detail::retain(static_cast<Node*>(this)) : void(),
          detail::attach(results.record(), this, k), ++k),
         ...);
    }
    // Outputs after finish(): a result that has its node is saved without it.
    void save(int origin, const Matrices<T>& x) {
        origin_[saved_count_] = static_cast<signed char>(origin);
        saved_[saved_count_++].save(x.record());
    }
    void save_extra(const detail::AnyTensor& x) { extra_ = x; }

    const void* kind() const noexcept override { return &detail::node_kind<RuleNode>; }
    void release_saved() noexcept override {
        for (detail::Saved& s : saved_) s.tensor = detail::AnyTensor();
        extra_ = detail::AnyTensor();
    }
    void backward() override {
        RuleData<T> data;
        for (int k = 0; k < saved_count_; ++k) data.saved[k] = Matrices<T>(saved_constant(*this, saved_[k]));
        for (int k = 0; k < Rule::outputs; ++k)
            if (slots_[k].has) data.dy[k] = Matrices<T>(slots_[k].gradient);
        run(data);
        for (int k = 0; k < Rule::inputs; ++k) {
            if (!data.dx[k].has_value()) continue;
            const detail::GradientTarget to = detail::gradient_target(edges_[k]);
            if (to.mode == 2) add_records(to.record, data.dx[k].record());
            else copy_records(to.record, data.dx[k].record());
        }
    }
    static void record_backward(Node& any) {
        RuleNode& node = static_cast<RuleNode&>(any);
        RuleData<T> data;
        data.recording = true;
        for (int k = 0; k < node.saved_count_; ++k) {
            const int origin = node.origin_[k];
            data.saved[k] = Matrices<T>(origin == constant ? saved_constant(node, node.saved_[k])
                                        : origin >= 0      ? saved_input(node, origin, node.saved_[k])
                                                           : saved_output(node, node.saved_[k], -1 - origin));
        }
        for (int k = 0; k < Rule::outputs; ++k)
            if (node.slots_[k].has) data.dy[k] = Matrices<T>(node.slots_[k].gradient);
        node.run(data);
        for (int k = 0; k < Rule::inputs; ++k)
            if (data.dx[k].has_value()) accumulate_recorded(node.edges_[k], data.dx[k]);
    }

private:
    // The rule is compiled anyway: its recorded form costs nothing more, and is always there.
    static inline detail::RecordedBackward recorded_entry{&detail::node_kind<RuleNode>, &RuleNode::record_backward};

    void run(RuleData<T>& data) const {
        data.extra = extra_;
        for (int k = 0; k < Rule::inputs; ++k) data.wanted[k] = edges_[k].node != nullptr;
        rule_(data);
        for (int k = 0; k < Rule::inputs; ++k)
            if (!data.wanted[k]) data.dx[k] = Matrices<T>();
    }

    Rule rule_;
    Slot slots_[Rule::outputs];
    Edge edges_[Rule::inputs];
    detail::Saved saved_[4];
    signed char origin_[4] = {};
    int saved_count_ = 0;
    detail::AnyTensor extra_;
};

template <class T, class Rule, class... M>
RuleNode<T, Rule>* make_rule(const char* operation, const Rule& rule, const M&... inputs) {
    auto* node = detail::make_node<RuleNode<T, Rule>>(operation, rule);
    try {
        int k = 0;
        (node->connect(k++, inputs.record()), ...);
    } catch (...) {
        detail::release_node(node);
        throw;
    }
    return node;
}

// --- operations over batches that rules are made of ------------------------------------------------------------------------

template <class T>
Matrices<T> product(const Matrices<T>& a, const Matrices<T>& b) { return Matrices<T>(matmul(a, b)); }
template <class T>
Matrices<T> turned(const Matrices<T>& x) { return x.template transpose<1, 2>(); }

// x where low <= j - i <= high, zero elsewhere: its own derivative.
inline constexpr long no_band = 1l << 40;
template <class T>
Matrices<T> band(const Matrices<T>& x, long low, long high);
template <class T>
struct BandRule {
    static constexpr int inputs = 1, outputs = 1;
    long low, high;
    void operator()(RuleData<T>& d) const { d.dx[0] = band(d.dy[0], low, high); }
};
template <class T>
Matrices<T> band(const Matrices<T>& x, long low, long high) {
    const detail::Record* from = x.record();
    const long batch = count_of(x), rows = rows_of(x), columns = columns_of(x);
    Matrices<T> y = new_matrices<T>("band", batch, rows, columns);
    const long* strides = from->strides();
    const T* in = x.data();
    T* out = y.data();
    for (long p = 0; p < batch; ++p)
        for (long i = 0; i < rows; ++i) {
            const T* row = in + p * strides[0] + i * strides[1];
            T* to = out + (p * rows + i) * columns;
            for (long j = 0; j < columns; ++j) to[j] = j - i >= low && j - i <= high ? row[j * strides[2]] : T(0);
        }
    if (detail::wants_gradient(x.record())) make_rule<T>("band", BandRule<T>{low, high}, x)->finish(y);
    return y;
}
template <class T>
Matrices<T> lower_part(const Matrices<T>& x, long diagonal = 0) { return band(x, -no_band, diagonal); }
template <class T>
Matrices<T> upper_part(const Matrices<T>& x, long diagonal = 0) { return band(x, diagonal, no_band); }
// A row [batch, 1, n] as diagonal matrices, and the other way.
template <class T>
Matrices<T> diagonal_matrices(const Matrices<T>& row) {
    return band(row.expand({-1, columns_of(row), -1}), 0, 0);
}
template <class T>
Matrices<T> diagonal_row(const Matrices<T>& x) { return Matrices<T>(sum<1>(band(x, 0, 0), keepdim)); }

// Half of x and its transpose.
template <class T>
Matrices<T> symmetric_part(const Matrices<T>& x) { return Matrices<T>((x + turned(x)) * T(0.5)); }

}  // namespace impl
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

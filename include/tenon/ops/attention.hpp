// Scaled dot-product attention in memory linear in the number of positions.
#pragma once

#include <tenon/kernels/cpu/attention.hpp>
#include <tenon/ops/batch_norm.hpp>
#include <tenon/ops/copy.hpp>
#include <tenon/ops/reduce.hpp>
#if TENON_CUDA
#include <tenon/kernels/cuda/attention.cuh>
#endif

namespace tenon {

struct AttentionOptions {
    bool causal = false;                   // query i of Tq sees keys up to i + Tk - Tq: the queries are the last positions
    double scale = 0;                      // of the scores; 0: 1 / sqrt(D)
    Tensor<std::int64_t, 1> lengths = {};  // [B]: keys from there on take no part, and are not read
    double dropout = 0;                    // probability that a weight is set to 0 (the others are divided by 1 - dropout)
    Key key = {};                          // for it: weights, counted in row-major order, are kept as dropout(weights, p, key) keeps them
};

inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

template <class T>
class AttentionNode final : public detail::OperationNode<4> {
public:
    using A = kernels::cpu::accumulator<T>;
    AttentionNode(const kernels::cpu::AttentionProblem<T>& problem, detail::Record* q, detail::Record* k, detail::Record* v,
                  detail::Record* mask, detail::Record* lengths, detail::Record* y, detail::AnyTensor lse)
        : OperationNode("scaled_dot_product_attention"), problem_(problem), lse_(static_cast<detail::AnyTensor&&>(lse)) {
        detail::Record* const given[4] = {q, k, v, problem.bias != nullptr ? mask : nullptr};
        for (int i = 0; i < 4; ++i)
            if (given[i] != nullptr) set_input(i, given[i]);
        q_.save(q);
        k_.save(k);
        v_.save(v);
        if (mask != nullptr) mask_.save(mask);
        if (lengths != nullptr) lengths_.save(lengths);
        y_.save_output(y);
    }
    const void* kind() const noexcept override { return &detail::node_kind<AttentionNode>; }
    void release_saved() noexcept override {
        q_.tensor = k_.tensor = v_.tensor = mask_.tensor = lengths_.tensor = y_.tensor = lse_ = detail::AnyTensor();
    }
    void backward() override {
        const Device device = lse_->storage->device;
        kernels::cpu::AttentionProblem<T> p = problem_;
        p.q = reinterpret_cast<const T*>(q_.check(name)->data());
        p.k = reinterpret_cast<const T*>(k_.check(name)->data());
        p.v = reinterpret_cast<const T*>(v_.check(name)->data());
        if (p.mask != nullptr) p.mask = reinterpret_cast<const bool*>(mask_.check(name)->data());
        if (p.bias != nullptr) p.bias = reinterpret_cast<const T*>(mask_.check(name)->data());
        if (p.lengths != nullptr) p.lengths = reinterpret_cast<const std::int64_t*>(lengths_.check(name)->data());
        // One tensor may be several operands: its gradients are then added up behind the kernel.
        detail::AnyTensor apart[3];
        T* data[3] = {};
        bool add[3] = {};
        for (int i = 0; i < 3; ++i) {
            bool again = false;
            for (int before = 0; before < i; ++before)
                again = again || (wanted(i) && edges_[i].node == edges_[before].node && edges_[i].slot == edges_[before].slot);
            if (again) {
                const Slot& slot = edges_[i].node->slots[edges_[i].slot];
                apart[i] = detail::AnyTensor(detail::new_record(dtype_of<T>, slot.rank, slot.dims, device));
                data[i] = reinterpret_cast<T*>(apart[i]->data());
                continue;
            }
            const OptionalTarget<T> to(edges_[i]);
            data[i] = to.data;
            add[i] = to.add;
        }
        detail::AnyTensor scores;
        const long sizes[4] = {problem_.batch, problem_.heads, problem_.queries, problem_.keys};
        if (wanted(3)) scores = detail::AnyTensor(detail::new_record(dtype_of<T>, 4, sizes, device));
        TENON_RUN(device,
                  attention_backward(p, reinterpret_cast<const T*>(y_.check(name)->data()), reinterpret_cast<const A*>(lse_->data()),
                                     reinterpret_cast<const T*>(gradient()->data()), data[0], add[0], data[1], add[1], data[2], add[2],
                                     wanted(3) ? reinterpret_cast<T*>(scores->data()) : nullptr));
        for (int i = 0; i < 3; ++i)
            if (apart[i]) add_records(detail::gradient_target(edges_[i]).record, apart[i].get());
        if (!wanted(3)) return;
        // Summed over the axes that the bias was broadcast over. Scores of three axes [B, Tq, Tk] have one head here.
        const Slot& slot = edges_[3].node->slots[edges_[3].slot];
        long kept[4] = {1, 1, 1, 1};
        const bool three = problem_.heads == 1 && rank_ == 3;
        for (int i = 1; i <= slot.rank; ++i) kept[three && i == 3 ? 0 : 4 - i] = slot.dims[slot.rank - i];
        Collector c;
        c.add(scores.get());
        const no_grad unrecorded;
        const detail::AnyTensor part =
            evaluate_sum(formula::table<formula::In<T>, true>, c, 4, sizes, kept, slot.rank, slot.dims, device, 1, "sum");
        const detail::GradientTarget to = detail::gradient_target(edges_[3]);
        if (to.mode == 2)
            add_records(to.record, part.get());
        else
            copy_records(to.record, part.get());
    }
    void set_rank(int rank) { rank_ = rank; }

private:
    kernels::cpu::AttentionProblem<T> problem_;
    detail::Saved q_, k_, v_, mask_, lengths_, y_;
    detail::AnyTensor lse_;
    int rank_ = 4;
};

// q, k, v of rank 3 [B, T, D] or 4 [B, H, T, D]; mask of bool or T, or null. The result is [B, H, Tq, Dv], with heads_last
// [B, Tq, H, Dv].
template <class T>
detail::AnyTensor attention_of(detail::Record* q, detail::Record* k, detail::Record* v, detail::Record* mask,
                               const AttentionOptions& options, bool heads_last) {
    constexpr const char* name = "scaled_dot_product_attention";
    using A = kernels::cpu::accumulator<T>;
    const Device device = q->storage->device;
    check_device(name, device);
    const int rank = q->rank;
    kernels::cpu::AttentionProblem<T> p;
    const auto fail_shapes = [&](const char* expected) {
        fail<ShapeError>(name, ": queries are ", q->description(), ", keys ", k->description(), ", values ", v->description(),
                         ": expected ", expected);
    };
    const auto size = [&](const detail::Record* r, int axis) {
        return axis == 1 && rank == 3 ? 1 : r->dims()[rank == 3 && axis > 0 ? axis - 1 : axis];
    };
    const auto stride = [&](const detail::Record* r, int axis) {
        return axis == 1 && rank == 3 ? 0 : r->strides()[rank == 3 && axis > 0 ? axis - 1 : axis];
    };
    p.batch = size(q, 0), p.heads = size(q, 1), p.queries = size(q, 2), p.width = size(q, 3);
    p.key_heads = size(k, 1), p.keys = size(k, 2), p.value_width = size(v, 3);
    if (size(k, 0) != p.batch || size(v, 0) != p.batch) fail_shapes("the same number of sequences (axis 0)");
    if (size(k, 3) != p.width) fail_shapes("queries and keys of the same width (last axis)");
    if (size(v, 2) != p.keys) fail_shapes("as many values as keys (second to last axis)");
    if (size(v, 1) != p.key_heads) fail_shapes("as many heads of values as of keys (axis 1)");
    if (p.key_heads != p.heads && (p.key_heads == 0 || p.heads % p.key_heads != 0))
        fail_shapes("a number of key heads (axis 1) that divides that of query heads");
    if (p.width == 0) fail_shapes("a width (last axis) of at least 1");
    if (!(options.dropout >= 0 && options.dropout <= 1)) fail<ValueError>(name, ": dropout ", options.dropout, ", expected 0 to 1");
    if (!(options.scale - options.scale == 0)) fail<ValueError>(name, ": scale ", options.scale, ", expected a finite number");
    for (const detail::Record* r : {k, v})
        if (!(r->storage->device == device)) fail_devices(name, device, r->storage->device);
    for (int i = 0; i < 4; ++i) {
        p.q_strides[i] = stride(q, i);
        p.k_strides[i] = stride(k, i);
        p.v_strides[i] = stride(v, i);
    }
    p.q = reinterpret_cast<const T*>(q->data());
    p.k = reinterpret_cast<const T*>(k->data());
    p.v = reinterpret_cast<const T*>(v->data());
    if (mask != nullptr) {
        if (!(mask->storage->device == device)) fail_devices(name, device, mask->storage->device);
        const long four[4] = {p.batch, p.heads, p.queries, p.keys}, three[3] = {p.batch, p.queries, p.keys};
        const long* sizes = rank == 4 ? four : three;
        bool fits = mask->rank <= rank;
        for (int i = 1; fits && i <= mask->rank; ++i)
            fits = mask->dims()[mask->rank - i] == sizes[rank - i] || mask->dims()[mask->rank - i] == 1;
        if (!fits)
            fail<ShapeError>(name, ": the mask is ", mask->description(), ", queries ", q->description(), ", keys ", k->description(),
                             ": expected a mask that broadcasts to the scores ", detail::Sizes{rank, sizes});
        long strides[max_rank];
        broadcast_strides(strides, rank, mask->rank, mask->dims(), mask->strides());
        for (int i = 0; i < 4; ++i) p.mask_strides[i] = rank == 4 ? strides[i] : i == 0 ? strides[0] : i == 1 ? 0 : strides[i - 1];
        if (mask->dtype == DType::boolean)
            p.mask = reinterpret_cast<const bool*>(mask->data());
        else
            p.bias = reinterpret_cast<const T*>(mask->data());
    }
    detail::AnyTensor lengths;
    if (options.lengths.has_value()) {
        const Tensor<std::int64_t, 1> given = contiguous(options.lengths);
        lengths = given.any();
        if (!(lengths->storage->device == device)) fail_devices(name, device, lengths->storage->device);
        if (given.size() != p.batch)
            fail<ShapeError>(name, ": lengths are ", lengths->description(), ", queries ", q->description(),
                             ": expected one for each of the ", p.batch, " sequences");
        p.lengths = given.data();
        for (long b = 0; device.is_cpu() && b < p.batch; ++b)
            if (p.lengths[b] < 0 || p.lengths[b] > p.keys)
                fail<ValueError>(name, ": length ", static_cast<long>(p.lengths[b]), " of sequence ", b, ", expected 0 to ", p.keys,
                                 ", the number of keys");
    }
    p.causal = options.causal;
    p.scale = options.scale == 0 ? 1 / __builtin_sqrt(static_cast<double>(p.width)) : options.scale;
    p.dropout = options.dropout;
    p.key = options.key;

    const long rows[3] = {p.batch, p.heads, p.queries};
    const long four[4] = {p.batch, heads_last ? p.queries : p.heads, heads_last ? p.heads : p.queries, p.value_width},
               three[3] = {p.batch, p.queries, p.value_width};
    p.y_strides[0] = p.heads * p.queries * p.value_width;
    p.y_strides[1] = heads_last ? p.value_width : p.queries * p.value_width;
    p.y_strides[2] = heads_last ? p.heads * p.value_width : p.value_width;
    p.y_strides[3] = 1;
    detail::AnyTensor y(detail::new_record(dtype_of<T>, rank, rank == 4 ? four : three, device, name)),
        lse(detail::new_record(statistics_dtype<A>(), 3, rows, device));
    TENON_RUN(device, attention(p, reinterpret_cast<T*>(y->data()), reinterpret_cast<A*>(lse->data())));
    if (detail::wants_gradient(q) || detail::wants_gradient(k) || detail::wants_gradient(v) ||
        (mask != nullptr && detail::wants_gradient(mask))) {
        auto* node = detail::make_node<AttentionNode<T>>(p, q, k, v, mask, lengths.get(), y.get(), static_cast<detail::AnyTensor&&>(lse));
        node->set_rank(rank);
        node->set_result(y.get());
    }
    return y;
}

template <bool HeadsLast, class Q, class K, class V>
auto attention_any(Q&& queries, K&& keys, V&& values, detail::Record* mask, const AttentionOptions& options) {
    const auto q = as_tensor(static_cast<Q&&>(queries));
    const auto k = as_tensor(static_cast<K&&>(keys));
    const auto v = as_tensor(static_cast<V&&>(values));
    using X = std::remove_const_t<decltype(q)>;
    using T = typename X::Scalar;
    static_assert(Floating<T>, "tenon: scaled_dot_product_attention: queries must be floating-point: write cast<float>(q) first");
    static_assert(X::rank == 3 || X::rank == 4,
                  "tenon: scaled_dot_product_attention: queries, keys and values are [B, T, D] or [B, H, T, D]");
    static_assert(std::is_same_v<X, std::remove_const_t<decltype(k)>> && std::is_same_v<X, std::remove_const_t<decltype(v)>>,
                  "tenon: scaled_dot_product_attention: queries, keys and values must have the same element type and rank");
    static_assert(!HeadsLast || X::rank == 4);
    return X(attention_of<T>(q.record(), k.record(), v.record(), mask, options, HeadsLast));
}
template <bool HeadsLast, class Q, class K, class V, class M>
auto masked_attention_any(Q&& queries, K&& keys, V&& values, M&& given, const AttentionOptions& options) {
    const auto mask = as_tensor(static_cast<M&&>(given));
    using S = typename std::remove_const_t<decltype(mask)>::Scalar;
    static_assert(std::is_same_v<S, bool> || std::is_same_v<S, common_scalar_t<Q>>,
                  "tenon: scaled_dot_product_attention: a mask is bool (true: takes part) or has the queries' type (added to the scores)");
    static_assert(std::remove_const_t<decltype(mask)>::rank <= wrap_t<Q>::rank,
                  "tenon: scaled_dot_product_attention: the mask has more axes than the queries");
    return attention_any<HeadsLast>(static_cast<Q&&>(queries), static_cast<K&&>(keys), static_cast<V&&>(values), mask.record(), options);
}

}  // namespace impl

// scaled_dot_product_attention(q, k, v, {.causal = true}): softmax(scale * q k') v for each sequence and head (Vaswani et al.
// 2017), q [B, H, Tq, D], k [B, Hk, Tk, D], v [B, Hk, Tk, Dv], of any strides, or [B, T, D] with one head. Hk divides H: query head
// h reads key head h / (H / Hk) (grouped queries, Ainslie et al. 2023). Result [B, H, Tq, Dv]; a query that sees no key gives 0
// and no gradients. Floating types, 16-bit ones with float arithmetic. Scores are computed block by block, forward and backward (Dao
// et al. 2022): nothing of size Tq x Tk is stored. Throws ShapeError, ValueError, DeviceError. Derivatives of q, k and v.
template <Expression Q, Expression K, Expression V>
[[nodiscard]] auto scaled_dot_product_attention(Q&& q, K&& k, V&& v, const AttentionOptions& options = {}) {
    return impl::attention_any<false>(static_cast<Q&&>(q), static_cast<K&&>(k), static_cast<V&&>(v), nullptr, options);
}
// The same with a mask that broadcasts to the scores [B, H, Tq, Tk]: bool, true where a key takes part (what a hidden key's
// scores hold is nothing to the result; its value must be finite), or numbers that are added to the scaled scores, -inf hiding.
// Derivative of the latter too; that one stores the scores' gradient.
template <Expression Q, Expression K, Expression V, Expression M>
[[nodiscard]] auto scaled_dot_product_attention(Q&& q, K&& k, V&& v, M&& mask, const AttentionOptions& options = {}) {
    return impl::masked_attention_any<false>(static_cast<Q&&>(q), static_cast<K&&>(k), static_cast<V&&>(v), static_cast<M&&>(mask),
                                             options);
}

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

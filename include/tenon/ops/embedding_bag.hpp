// Sums, means and maxima of rows of a table, bag by bag, without the rows in between.
#pragma once

#include <tenon/core/factories.hpp>
#include <tenon/ops/scatter.hpp>
#include <tenon/ops/segment.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {

enum class BagMode { sum, mean, max };
struct BagOptions { BagMode mode = BagMode::mean; };

namespace impl {

// y[b] = scale[b] * sum of w[k] * table[index[k]] over the bag.
template <class T, class I>
class BagNode final : public detail::OperationNode<2> {
public:
    BagNode(detail::Record* table, detail::Record* index, const Tensor<std::int64_t, 1>& pointers, detail::Record* weights, bool mean)
        : OperationNode("embedding_bag"), rows_(table->dims()[0]), width_(table->dims()[1]), mean_(mean) {
        set_input(0, table);
        index_.save(index);
        pointers_.save(pointers.record());
        if (weights == nullptr) return;
        set_input(1, weights);
        weights_.save(weights);
        if (wanted(1)) table_.save(table);
    }
    const void* kind() const noexcept override { return &detail::node_kind<BagNode>; }
    void release_saved() noexcept override { index_.tensor = pointers_.tensor = weights_.tensor = table_.tensor = detail::AnyTensor(); }
    void backward() override {
        const detail::Record* indices = index_.check(name);
        const I* index = reinterpret_cast<const I*>(indices->data());
        const std::int64_t* pointers = reinterpret_cast<const std::int64_t*>(pointers_.check(name)->data());
        const T* weights = weights_.tensor ? reinterpret_cast<const T*>(weights_.check(name)->data()) : nullptr;
        const T* dy = reinterpret_cast<const T*>(gradient()->data());
        const long count = indices->size, bags = pointers_.tensor->size - 1, width = width_;
        const Device device = indices->storage->device;
        const DeviceBuffer<std::int64_t> bag_of(device, count);
        TENON_RUN(device, expand_pointers(bags, pointers, count, bag_of.data()));
        if (wanted(0)) {
            // A row of the table gets the gradients of the bags that it was in: the same sum over segments, transposed.
            const DeviceBuffer<std::int64_t> order(device, count), bags_of_row(device, count), starts(device, rows_ + 1);
            const DeviceBuffer<T> factors(device, count);
            TENON_RUN(device, sort_positions(count, index, rows_, order.data()));
            TENON_RUN(device, sorted_pointers(count, rows_, index, static_cast<const std::int64_t*>(order.data()), starts.data()));
            TENON_RUN(device, each(count, kernels::cpu::BagStep<T>{order.data(), bag_of.data(), pointers, weights, mean_, bags_of_row.data(), factors.data()}));
            const detail::GradientTarget to = detail::gradient_target(edges_[0]);
            TENON_RUN(device, segment_sum(rows_, static_cast<const std::int64_t*>(starts.data()), static_cast<const std::int64_t*>(bags_of_row.data()),
                                          weights == nullptr && !mean_ ? static_cast<const T*>(nullptr) : static_cast<const T*>(factors.data()), width, dy, false,
                                          reinterpret_cast<T*>(to.record->data()), to.mode == 2));
        }
        if (!wanted(1)) return;
        const T* table = reinterpret_cast<const T*>(table_.check(name)->data());
        put_gradient<T>(detail::gradient_target(edges_[1]), [&](T* dw) {
            TENON_RUN(device, dot_rows(count, width, dy, static_cast<const std::int64_t*>(bag_of.data()), table, index, dw));
        });
    }
    const detail::Saved& index() const { return index_; }
    const detail::Saved& pointers() const { return pointers_; }
    const detail::Saved& weights() const { return weights_; }
    const detail::Saved& table() const { return table_; }
    long rows() const { return rows_; }
    long width() const { return width_; }
    bool mean() const { return mean_; }

private:
    detail::Saved index_, pointers_, weights_, table_;
    long rows_, width_;
    bool mean_;
};

// weights: one for each index, or null. All contiguous; indices are flat.
template <class T, class I>
Tensor<T, 2> embedding_bags(const Tensor<T, 2>& given, detail::Record* index, const Tensor<std::int64_t, 1>& pointers, detail::Record* weights, BagMode mode) {
    const Tensor<T, 2> table = contiguous(given);
    const Device device = table.device();
    check_device("embedding_bag", device);
    if (!(table.device() == index->storage->device)) fail_devices("embedding_bag", table.device(), index->storage->device);
    check_indices<I>("embedding_bag", index, table.shape(0));
    if (weights != nullptr && mode != BagMode::sum) fail<ValueError>("embedding_bag: weights of the samples go with sums only\n       hint: {.mode = BagMode::sum}");
    const I* at = reinterpret_cast<const I*>(index->data());
    const long bags = pointers.size() - 1, width = table.shape(1);
    if (!(device == pointers.device())) fail_devices("embedding_bag", device, pointers.device());
    if (weights != nullptr && !(device == weights->storage->device)) fail_devices("embedding_bag", device, weights->storage->device);
    Tensor<T, 2> y = empty<T>({bags, width}, device);
    if (mode == BagMode::max) {
        const Tensor<std::int64_t, 1> rows = empty<std::int64_t>({index->size}, device);
        TENON_RUN(device, each(index->size, kernels::cpu::ConvertStep<std::int64_t, I>{at, rows.data()}));
        const Tensor<std::int64_t, 2> chosen = empty<std::int64_t>({bags, width}, device);
        TENON_RUN(device, segment_extreme<true>(bags, static_cast<const std::int64_t*>(pointers.data()), static_cast<const std::int64_t*>(rows.data()), width,
                                                static_cast<const T*>(table.data()), y.data(), chosen.data()));
        if (detail::wants_gradient(table.record()))
            detail::make_node<LinearMapNode<T, SegmentChoiceMap>>("embedding_bag", table.record(), SegmentChoiceMap(table.record(), bags, chosen.record()), false)
                ->set_result(y.record());
        return y;
    }
    const T* factors = weights == nullptr ? nullptr : reinterpret_cast<const T*>(weights->data());
    TENON_RUN(device, segment_sum(bags, static_cast<const std::int64_t*>(pointers.data()), at, factors, width, static_cast<const T*>(table.data()),
                                  mode == BagMode::mean, y.data(), false));
    if (detail::wants_gradient(table.record()) || (weights != nullptr && detail::wants_gradient(weights)))
        detail::make_node<BagNode<T, I>>(table.record(), index, pointers, weights, mode == BagMode::mean)->set_result(y.record());
    return y;
}

// Pointers of bags from where they begin (the last one ends with the indices), or from their common length.
template <class I>
Tensor<std::int64_t, 1> bag_pointers(const Tensor<I, 1>& offsets, long count) {
    check_index_type<I>();
    // Offsets are checked on the host.
    if (!offsets.device().is_cpu()) return bag_pointers(offsets.detach().to(cpu), count).to(offsets.device());
    const Tensor<std::int64_t, 1> pointers = empty<std::int64_t>({offsets.size() + 1});
    long before = 0;
    for (long b = 0; b < offsets.size(); ++b) {
        const long at = static_cast<long>(offsets.data()[b]);
        if (at < before || at > count || (b == 0 && at != 0))
            fail<ValueError>("embedding_bag: offset ", at, " of bag ", b, ": offsets begin with 0, never go down and end within the ", count, " indices");
        pointers.data()[b] = before = at;
    }
    pointers.data()[offsets.size()] = count;
    if (offsets.size() == 0 && count > 0) fail<ValueError>("embedding_bag: ", count, " indices, but no bags for them");
    return pointers;
}
inline Tensor<std::int64_t, 1> bag_pointers(long bags, long length, Device device) {
    check_device("embedding_bag", device);
    const Tensor<std::int64_t, 1> pointers = empty<std::int64_t>({bags + 1}, device);
    TENON_RUN(device, each(bags + 1, kernels::cpu::MultiplesStep{length, pointers.data()}));
    return pointers;
}
template <class I, class W>
constexpr void check_bag_weights() {
    static_assert(W::rank == I::rank, "tenon: embedding_bag: the weights of the samples must have the indices' shape");
}
template <class I, class W>
void check_weight_sizes(const I& index, const W& weights) {
    for (int i = 0; i < I::rank; ++i)
        if (index.shape(i) != weights.shape(i))
            fail<ShapeError>("embedding_bag: the weights of the samples are ", weights.record()->description(), ", expected the shape of the indices ",
                             index.record()->description());
}

}  // namespace impl

// embedding_bag(table, indices, offsets, {.mode = BagMode::mean}): for each bag the sum, mean (PyTorch's default) or
// largest elements of the rows table[indices[k]], k from offsets[b] up to the next offset: [bags, dim]. A bag without
// indices gives 0. With mode sum, a last argument `weights` multiplies each row. Throws IndexError, ShapeError, ValueError.
// Derivative: for the table (rows chosen several times add up, in order) and the weights; of several largest the first.
template <class T, Expression N, Expression O>
[[nodiscard]] Tensor<T, 2> embedding_bag(const Tensor<T, 2>& table, N&& indices, O&& offsets, BagOptions options = {}) {
    const auto index = contiguous(impl::as_tensor(static_cast<N&&>(indices)));
    using Index = std::remove_const_t<decltype(index)>;
    impl::check_index_type<typename Index::Scalar>();
    static_assert(Index::rank == 1 && wrap_t<O>::rank == 1, "tenon: embedding_bag: indices with offsets have one axis, and so have the offsets");
    const auto pointers = impl::bag_pointers(contiguous(impl::as_tensor(static_cast<O&&>(offsets))), index.size());
    return impl::embedding_bags<T, typename Index::Scalar>(table, index.record(), pointers, nullptr, options.mode);
}
template <class T, Expression N, Expression O, Expression W>
[[nodiscard]] Tensor<T, 2> embedding_bag(const Tensor<T, 2>& table, N&& indices, O&& offsets, BagOptions options, W&& weights) {
    const auto index = contiguous(impl::as_tensor(static_cast<N&&>(indices)));
    const auto factors = contiguous(impl::as_tensor(static_cast<W&&>(weights)));
    using Index = std::remove_const_t<decltype(index)>;
    impl::check_index_type<typename Index::Scalar>();
    impl::check_bag_weights<Index, std::remove_const_t<decltype(factors)>>();
    impl::check_weight_sizes(index, factors);
    const auto pointers = impl::bag_pointers(contiguous(impl::as_tensor(static_cast<O&&>(offsets))), index.size());
    return impl::embedding_bags<T, typename Index::Scalar>(table, index.record(), pointers, factors.record(), options.mode);
}
// embedding_bag(table, indices [bags, length], {.mode}): bags of one length.
template <class T, Expression N>
[[nodiscard]] Tensor<T, 2> embedding_bag(const Tensor<T, 2>& table, N&& indices, BagOptions options = {}) {
    const auto index = contiguous(impl::as_tensor(static_cast<N&&>(indices)));
    using Index = std::remove_const_t<decltype(index)>;
    impl::check_index_type<typename Index::Scalar>();
    static_assert(Index::rank == 2, "tenon: embedding_bag: indices without offsets are [bags, length]");
    return impl::embedding_bags<T, typename Index::Scalar>(table, index.record(), impl::bag_pointers(index.shape(0), index.shape(1), index.device()), nullptr, options.mode);
}
template <class T, Expression N, Expression W>
[[nodiscard]] Tensor<T, 2> embedding_bag(const Tensor<T, 2>& table, N&& indices, BagOptions options, W&& weights) {
    const auto index = contiguous(impl::as_tensor(static_cast<N&&>(indices)));
    using Index = std::remove_const_t<decltype(index)>;
    impl::check_index_type<typename Index::Scalar>();
    static_assert(Index::rank == 2, "tenon: embedding_bag: indices without offsets are [bags, length]");
    const auto factors = contiguous(impl::as_tensor(static_cast<W&&>(weights)));
    impl::check_bag_weights<Index, std::remove_const_t<decltype(factors)>>();
    impl::check_weight_sizes(index, factors);
    return impl::embedding_bags<T, typename Index::Scalar>(table, index.record(), impl::bag_pointers(index.shape(0), index.shape(1), index.device()), factors.record(), options.mode);
}

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

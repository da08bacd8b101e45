// The tape node of operations that pick elements along an axis: running extremes, sorting, top-k.
#pragma once

#include <tenon/autograd/operation_node.hpp>
#include <tenon/kernels/cpu/gather.hpp>
#include <tenon/ops/axis.hpp>
#include <tenon/ops/copy.hpp>
#if TENON_CUDA
#include <tenon/kernels/cuda/scatter.cuh>
#endif

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

// y[o, j, i] = x[o, indices[o, j, i], i], j in [0, m): dx gets dy there, in the order of j where an element was picked more
// than once, and 0 elsewhere.
template <class T>
class PickedNode final : public detail::OperationNode<1> {
public:
    PickedNode(const char* operation, detail::Record* x, detail::Record* indices, AxisSplit split, long m) : OperationNode(operation), split_(split), m_(m) {
        set_input(0, x);
        indices_.save(indices);
    }
    const void* kind() const noexcept override { return &detail::node_kind<PickedNode>; }
    void release_saved() noexcept override { indices_.tensor = detail::AnyTensor(); }
    void backward() override {
        const std::int64_t* indices = reinterpret_cast<const std::int64_t*>(indices_.check(name)->data());
        const T* dy = reinterpret_cast<const T*>(gradient()->data());
        const detail::GradientTarget to = detail::gradient_target(edges_[0]);
        TENON_RUN(to.record->storage->device,
                  scatter_add_axis(split_.outer, split_.n, m_, split_.inner, dy, indices, reinterpret_cast<T*>(to.record->data()), to.mode == 2));
    }
    const detail::Saved& indices() const { return indices_; }
    AxisSplit split() const { return split_; }
    long picked() const { return m_; }

private:
    AxisSplit split_;
    long m_;
    detail::Saved indices_;
};

}  // namespace impl
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

// Dropout: the mask is a function of a key, so backward computes it again instead of keeping it.
#pragma once

#include <tenon/kernels/cpu/rng.hpp>
#include <tenon/ops/copy.hpp>

#include <tenon/autograd/operation_node.hpp>
#if TENON_CUDA
#include <tenon/kernels/cuda/rng.cuh>
#endif

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

template <class T>
class DropoutNode final : public detail::OperationNode<1> {
public:
    DropoutNode(detail::Record* x, double p, Key key) : OperationNode("dropout"), p_(p), key_(key) { set_input(0, x); }
    const void* kind() const noexcept override { return &detail::node_kind<DropoutNode>; }
    double p() const { return p_; }
    Key key() const { return key_; }
    void backward() override {
        const T* dy = reinterpret_cast<const T*>(gradient()->data());
        const detail::GradientTarget to = detail::gradient_target(edges_[0]);
        if (to.mode == 1) {
            TENON_RUN(to.record->storage->device, dropout_backward(key_, to.record->size, dy, reinterpret_cast<T*>(to.record->data()), p_));
            return;
        }
        detail::AnyTensor part(detail::new_record(dtype_of<T>, to.record->rank, to.record->dims(), to.record->storage->device));
        TENON_RUN(to.record->storage->device, dropout_backward(key_, part->size, dy, reinterpret_cast<T*>(part->data()), p_));
        add_records(to.record, part.get());
    }

private:
    double p_;
    Key key_;
};

}  // namespace impl

// Sets each element to 0 with probability p and divides the others by 1 - p (Srivastava et al. 2014, inverted). Kept are
// the elements, counted in row-major order, that a Bernoulli fill of probability 1 - p marks under the same key: the same
// call gives the same mask. p = 1 gives zeros. Floating types; throws ValueError where p is not in [0, 1]. Derivative:
// dropout of the gradient under the same key; nothing is saved.
template <Expression E>
[[nodiscard]] auto dropout(E&& e, double p, Key key) {
    using T = common_scalar_t<E>;
    static_assert(Floating<T>, "tenon: dropout: defined for floating-point tensors: write cast<float>(x) first");
    const auto x = contiguous(impl::as_tensor(static_cast<E&&>(e)));
    if (!(p >= 0 && p <= 1)) fail<ValueError>("dropout: probability ", p, ", expected 0 to 1");
    detail::Record* from = x.record();
    impl::check_device("dropout", x.device());
    detail::AnyTensor result(detail::new_record(dtype_of<T>, from->rank, from->dims(), x.device(), "dropout"));
    TENON_RUN(x.device(), dropout(key, from->size, x.data(), reinterpret_cast<T*>(result->data()), p));
    if (detail::wants_gradient(from)) detail::make_node<impl::DropoutNode<T>>(from, p, key)->set_result(result.get());
    return std::remove_const_t<decltype(x)>(static_cast<detail::AnyTensor&&>(result));
}

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

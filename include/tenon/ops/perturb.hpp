// Noise on weights (or anything else) as an operation: nothing is stored for the backward pass but handles and the key.
#pragma once

#include <tenon/kernels/cpu/perturb.hpp>
#include <tenon/ops/copy.hpp>

#include <tenon/autograd/operation_node.hpp>
#if TENON_CUDA
#include <tenon/kernels/cuda/perturb.cuh>
#endif

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {

using kernels::cpu::NoiseFamily;
using kernels::cpu::NoiseKind;

namespace impl {

template <class T>
class PerturbNode final : public detail::OperationNode<2> {
public:
    // deviation null: a constant.
    PerturbNode(detail::Record* mean, detail::Record* deviation, double constant, NoiseKind noise, Key key)
        : OperationNode("perturb"), constant_(static_cast<T>(constant)), noise_(noise), key_(key) {
        set_input(0, mean);
        if (deviation == nullptr) return;
        set_input(1, deviation);
        if (noise.multiplicative && wanted(1)) mean_.save(mean);
        if (noise.multiplicative && wanted(0)) deviation_.save(deviation);
    }
    const void* kind() const noexcept override { return &detail::node_kind<PerturbNode>; }
    const detail::Saved& mean() const { return mean_; }
    const detail::Saved& deviation() const { return deviation_; }
    double constant() const { return static_cast<double>(constant_); }
    const NoiseKind& noise() const { return noise_; }
    Key key() const { return key_; }

    void backward() override {
        const T* dy = reinterpret_cast<const T*>(gradient()->data());
        const T *mean = data(mean_), *deviation = data(deviation_);
        for (int k = 0; k < 2; ++k) {
            if (!wanted(k)) continue;
            const detail::GradientTarget to = detail::gradient_target(edges_[k]);
            detail::AnyTensor part;
            detail::Record* at = to.record;
            if (to.mode == 2) {
                part = detail::AnyTensor(detail::new_record(dtype_of<T>, at->rank, at->dims(), at->storage->device));
                at = part.get();
            }
            T *out = reinterpret_cast<T*>(at->data()), *none = nullptr;
            TENON_RUN(at->storage->device,
                      perturb_backward(noise_, key_, at->size, mean, deviation, constant_, dy, k == 0 ? out : none, k == 1 ? out : none));
            if (to.mode == 2) add_records(to.record, at);
        }
    }
    void release_saved() noexcept override { mean_.tensor = deviation_.tensor = detail::AnyTensor(); }

private:
    static const T* data(const detail::Saved& saved) {
        return saved.tensor ? reinterpret_cast<const T*>(saved.check("perturb")->data()) : nullptr;
    }

    detail::Saved mean_, deviation_;
    T constant_;
    NoiseKind noise_;
    Key key_;
};

template <class T, int R>
Tensor<T, R> perturbed(const Tensor<T, R>& mean, const Tensor<T, R>* deviation, double constant, const NoiseKind& noise, Key key) {
    static_assert(std::is_same_v<T, float> || std::is_same_v<T, double>, "tenon: perturb: defined for float and double");
    kernels::cpu::impl::check_noise("perturb", noise);
    check_device("perturb", mean.device());
    const auto x = contiguous(mean);
    detail::Record* from = x.record();
    detail::AnyTensor result(detail::new_record(dtype_of<T>, R, from->dims(), x.device(), "perturb"));
    T* out = reinterpret_cast<T*>(result->data());
    const T* none = nullptr;
    if (deviation == nullptr) {
        TENON_RUN(x.device(), perturb(noise, key, from->size, x.data(), none, static_cast<T>(constant), out));
        if (detail::wants_gradient(from)) detail::make_node<PerturbNode<T>>(from, nullptr, constant, noise, key)->set_result(result.get());
    } else {
        if (deviation->shape() != mean.shape())
            fail<ShapeError>("perturb: deviation ", deviation->record()->description(), ": expected the shape of the mean, ", from->description());
        if (deviation->device() != mean.device())
            fail<DeviceError>("perturb: deviation ", deviation->record()->description(), ": expected the device of the mean, ", from->description());
        const auto d = contiguous(*deviation);
        TENON_RUN(x.device(), perturb(noise, key, from->size, x.data(), d.data(), T(0), out));
        if (detail::wants_gradient(from) || detail::wants_gradient(d.record()))
            detail::make_node<PerturbNode<T>>(from, d.record(), 0, noise, key)->set_result(result.get());
    }
    return Tensor<T, R>(static_cast<detail::AnyTensor&&>(result));
}

}  // namespace impl

// perturb(mean, deviation, noise, key): mean + deviation * e, or mean * (1 + deviation * e) for multiplicative noise, with noise e of
// mean 0 and variance 1, a function of the key and the place in row-major order: the same call draws the same. deviation: a
// tensor of the mean's shape, or a number. float and double. Throws ShapeError, DeviceError, and ValueError for a Bernoulli
// probability outside of (0, 1). Derivative (the reparametrisation of Kingma and Welling 2014): dmean = dy (times
// 1 + deviation * e), ddeviation = dy * e (times mean); e is drawn again.
template <Expression M, Expression D>
[[nodiscard]] auto perturb(M&& mean, D&& deviation, const NoiseKind& noise, Key key) {
    const auto d = impl::as_tensor(static_cast<D&&>(deviation));
    const auto m = impl::as_tensor(static_cast<M&&>(mean));
    static_assert(std::is_same_v<std::remove_const_t<decltype(m)>, std::remove_const_t<decltype(d)>>,
                  "tenon: perturb: mean and deviation must have the same element type and rank");
    return impl::perturbed(m, &d, 0, noise, key);
}
template <Expression M>
[[nodiscard]] auto perturb(M&& mean, double deviation, const NoiseKind& noise, Key key) {
    const auto m = impl::as_tensor(static_cast<M&&>(mean));
    const std::remove_const_t<decltype(m)>* none = nullptr;
    return impl::perturbed(m, none, deviation, noise, key);
}

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

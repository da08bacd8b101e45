// Averages of a model's weights over the course of training: exponential (EMA) and equal (SWA).
#pragma once

#include <tenon/core/factories.hpp>
#include <tenon/optim/blocks.hpp>

namespace tenon::optim {

struct EmaOptions {
    double decay = 0.999;  // average = decay * average + (1 - decay) * weights
    long start = 0;        // so many updates copy first, the very first always
};

inline namespace TENON_CONFIG_NAMESPACE {

// A copy of a model with averaged parameters. Buffers and frozen tensors are those of the last update; batch norm's running
// statistics of averaged weights want a pass of their own over the data (module(x, context) in training). It is a module itself:
// io::save and checkpoints store "module.<name>" and "n_averaged", which are PyTorch's names. Call the copy under no_grad.
template <class M>
class AveragedModel {
public:
    // decay below 0: every update has the same weight. Throws ValueError for a decay of 1 or more, NaN, or start < 0.
    AveragedModel(const M& model, double decay, long start)
        : module_(clone(model)), count_(zeros<std::int64_t>({})), decay_(decay), start_(start) {
        if (!(decay < 1) || start < 0) fail<ValueError>("average: decay ", decay, " and start ", start, ": expected a number below 1, and at least 0");
    }
    // Takes the weights of the model in. Throws ValueError for a model of other tensors, ShapeError for other sizes.
    void update(const M& model) {
        impl::check_not_captured("average");
        const long n = static_cast<long>(count_.item());
        const double share = n == 0 || n < start_ ? 1 : decay_ < 0 ? 1 / static_cast<double>(n + 1) : 1 - decay_;
        std::vector<impl::AnyTensor> sources, seen;
        nn::for_each_tensor(model, [&](const char*, nn::Kind, const auto& x) { sources.push_back(x.has_value() ? x.any() : impl::AnyTensor()); });
        std::size_t at = 0;
        const no_grad guard;
        nn::for_each_tensor(module_, [&](const char* name, nn::Kind kind, auto& x) {
            if (at == sources.size()) fail<ValueError>("average: the model has fewer tensors than the one that the average was made for: no \"", name, "\"");
            const impl::AnyTensor source = sources[at++];
            if (!x.has_value() || !source) return;
            for (const impl::AnyTensor& done : seen)
                if (done.get() == x.record()) return;  // tied
            seen.push_back(x.any());
            take(name, kind, x, std::remove_cvref_t<decltype(x)>(source), share);
        });
        if (at != sources.size()) fail<ValueError>("average: the model has more tensors than the one that the average was made for");
        count_.fill(n + 1);
    }
    M& module() { return module_; }
    const M& module() const { return module_; }
    long updates() const { return static_cast<long>(count_.item()); }

    static void visit(auto& self, auto&& f) {
        f("module", self.module_);
        f("n_averaged", nn::buffer(self.count_));
    }

private:
    template <class X>
    static void take(const char* name, nn::Kind kind, X& x, const X& y, double share) {
        using T = typename X::Scalar;
        if (x.shape() != y.shape())
            fail<ShapeError>("average: \"", name, "\" is ", y.record()->description(), ": expected ", x.record()->description());
        if constexpr (std::is_same_v<T, float> || std::is_same_v<T, double>) {
            if (kind == nn::Kind::parameter && x.is_contiguous() && y.is_contiguous() && x.device() == y.device()) {
                tenon::impl::check_device("average", x.device());
                T *none = nullptr, *to = reinterpret_cast<T*>(x.record()->data()), *from = reinterpret_cast<T*>(y.record()->data());
                TENON_RUN(x.device(), fused_step(kernels::cpu::MoveTowards<T>(share), x.size(), to, from, none, none, none, false));
                tenon::detail::note_write(x.record()->storage, "average");
                return;
            }
        }
        if constexpr (Floating<T>) {
            if (kind == nn::Kind::parameter && share != 1) {
                x.copy_from(x.detach() + (y.detach() - x.detach()) * static_cast<float>(share));
                return;
            }
        }
        x.copy_from(y.detach());
    }

    M module_;
    Tensor<std::int64_t, 0> count_;
    double decay_;
    long start_;
};

// Exponential moving average: after every step, ema.update(net); evaluate ema.module().
template <class M>
[[nodiscard]] AveragedModel<M> ema(const M& model, EmaOptions options = {}) {
    if (!(options.decay >= 0)) fail<ValueError>("ema: decay is ", options.decay, ": expected a number in [0, 1)");
    return AveragedModel<M>(model, options.decay, options.start);
}
// Stochastic weight averaging (Izmailov et al. 2018): the plain average of the updates, one an epoch, say, from some epoch on.
template <class M>
[[nodiscard]] AveragedModel<M> swa(const M& model) { return AveragedModel<M>(model, -1, 0); }

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon::optim

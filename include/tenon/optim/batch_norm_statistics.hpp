// Running statistics of batch norm for weights that have not seen the data: those of an average.
#pragma once

#include <tenon/nn/norm.hpp>

#include <utility>
#include <vector>

namespace tenon::optim {

namespace detail {

template <class X>
concept TracksBatches = requires(X& x) { x.settings.cumulative; x.running_mean; x.running_var; x.num_batches_tracked; };

// Calls f(layer) for every batch norm in a module.
template <class F>
struct BatchNormVisitor {
    F& f;
    template <class X>
    void operator()(const char*, X&& x) const { enter(x); }
    template <class X, nn::Kind K>
    void operator()(const char*, nn::Marked<X, K> marked) const { enter(marked.value); }
    template <class X>
    void enter(X& x) const {
        using Plain = std::remove_cvref_t<X>;
        if constexpr (TracksBatches<Plain>) {
            if (x.running_mean.has_value()) f(x);
        } else if constexpr (nn::detail::HasVisit<X>) {
            Plain::visit(x, *this);
        } else if constexpr (nn::detail::Sequence<X>) {
            for (auto& element : x) enter(element);
        }
    }
};

}  // namespace detail

// Computes the running statistics of every batch norm in a module anew, as plain averages over the batches that the function
// runs through it in training: recompute_statistics(ema.module(), [&] { for (auto [x, y] : batches) ema.module()(x, context); }).
// Records no tape, and leaves a module without batch norm, and a function that runs none, as they are.
template <class M, class F>
void recompute_statistics(M& module, F&& run) {
    std::vector<bool*> switches;
    std::vector<bool> before;
    auto take = [&](auto& layer) {
        switches.push_back(&layer.settings.cumulative);
        before.push_back(layer.settings.cumulative);
        layer.settings.cumulative = true;
        // The first batch counts in full: what was there is gone.
        layer.num_batches_tracked.fill(0);
    };
    const detail::BatchNormVisitor<decltype(take)> visitor{take};
    visitor.enter(module);
    struct Restore {
        std::vector<bool*>& switches;
        std::vector<bool>& before;
        ~Restore() {
            for (std::size_t i = 0; i < switches.size(); ++i) *switches[i] = before[i];
        }
    } const restore{switches, before};
    const no_grad guard;
    run();
}

}  // namespace tenon::optim

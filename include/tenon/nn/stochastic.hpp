// Stochastic weights: noise on the parameters of any module, of which dropout of units, DropConnect and Gaussian dropout are
// instances, and weights whose spread is learned (Bayes by backprop). The stochastic delta rule, whose spread follows the
// gradient, is optim/sdr.hpp.
//
// All of them return a copy of the module's handles whose parameters are recorded results, so that gradients reach the
// original's; the module itself is what is evaluated. A draw holds for all examples that go through it.
#pragma once

#include <tenon/core/factories.hpp>
#include <tenon/nn/module.hpp>
#include <tenon/ops/dropout.hpp>
#include <tenon/ops/perturb.hpp>
#include <tenon/ops/reduce.hpp>

#include <vector>

namespace tenon::nn {

// Which elements of a parameter [out, in, ...] have their noise in common: none; all of an input unit (the second axis), as where
// units before the layer are dropped; all of an output unit (the first axis); all.
enum class NoiseSharing { none, input, output, parameter };
// Which parameters get noise: those with two or more axes, or all.
enum class NoiseScope { weights, all };

struct WeightNoise {
    NoiseKind kind;
    double deviation = 0;  // of a weight; relative to it where the kind is multiplicative
    NoiseSharing sharing = NoiseSharing::none;
    NoiseScope scope = NoiseScope::weights;
};
// Noise that does not depend on the weight: w + deviation * e.
inline WeightNoise additive_noise(double deviation, NoiseFamily family = NoiseFamily::gaussian) { return {{family, false}, deviation}; }
// w * m / (1 - p), m being 0 with probability p, else 1, for each weight (Wan et al. 2013).
inline WeightNoise drop_connect(double p) { return {{NoiseFamily::bernoulli, true, p}, 0}; }
// The same m for all weights that leave an input unit: what dropout of the layer's input does, once for all examples.
inline WeightNoise unit_dropout(double p) { return {{NoiseFamily::bernoulli, true, p}, 0, NoiseSharing::input}; }
// w * (1 + a e), a^2 = p / (1 - p): the mean and variance of DropConnect from a normal (Srivastava et al. 2014, section 10).
inline WeightNoise gaussian_dropout(double p) { return {{NoiseFamily::gaussian, true}, __builtin_sqrt(p / (1 - p))}; }

namespace detail {

inline void check_noise(const WeightNoise& noise) {
    if (!(noise.deviation >= 0 && noise.deviation < __builtin_inf()))
        fail<ValueError>("with_noise: a deviation of ", noise.deviation, ", expected a finite number of at least 0");
    if (noise.kind.family == NoiseFamily::bernoulli && !(noise.kind.p >= 0 && noise.kind.p <= 1))
        fail<ValueError>("with_noise: Bernoulli noise of probability ", noise.kind.p, ", expected 0 to 1");
}
// 0 with probability p, else 1 / (1 - p): exactly what dropout multiplies by.
inline bool is_dropout(const WeightNoise& noise) { return noise.kind.family == NoiseFamily::bernoulli && noise.kind.multiplicative && noise.deviation == 0; }

template <class T, int R>
Tensor<T, R> noisy(const Tensor<T, R>& x, const WeightNoise& noise, Key key) {
    if (noise.sharing == NoiseSharing::none) {
        if (is_dropout(noise)) return dropout(x, noise.kind.p, key);
        return perturb(x, noise.deviation, noise.kind, key);
    }
    Shape<R> shared;
    for (int i = 0; i < R; ++i) {
        const bool kept = (noise.sharing == NoiseSharing::input && i == (R > 1 ? 1 : 0)) || (noise.sharing == NoiseSharing::output && i == 0);
        shared.dims[i] = kept ? x.shape(i) : 1;
    }
    const Tensor<T, R> one = ones<T>(shared, x.device());
    if (is_dropout(noise)) return eval(x * dropout(one, noise.kind.p, key));
    if (noise.kind.multiplicative) return eval(x * perturb(one, noise.deviation, noise.kind, key));
    return eval(x + perturb(zeros<T>(shared, x.device()), noise.deviation, noise.kind, key));
}

template <class X>
bool takes_noise(Kind kind, const X& x, NoiseScope scope) {
    using T = typename X::Scalar;
    return kind == Kind::parameter && (std::is_same_v<T, float> || std::is_same_v<T, double>) && x.has_value() && (scope == NoiseScope::all || X::rank >= 2);
}

}  // namespace detail

// A copy of the module's handles with noise on the parameters in scope. The same key draws the same. Throws ValueError for a
// negative deviation, or a probability that is none.
template <class M>
    requires detail::HasVisit<M>
[[nodiscard]] M with_noise(const M& module, const WeightNoise& noise, Key key) {
    detail::check_noise(noise);
    std::uint64_t number = 0;
    return detail::replaced(module, [&]<class X>(Kind kind, const X& x) -> X {
        const Key own = key.split(number++);
        if constexpr (std::is_same_v<typename X::Scalar, float> || std::is_same_v<typename X::Scalar, double>)
            if (detail::takes_noise(kind, x, noise.scope)) return detail::noisy(x, noise, own);
        return x;
    });
}

// A module whose parameters in scope have a normal distribution each, mean and spread both learned (Bayes by backprop, Blundell
// et al. 2015): w = mean + softplus(rho) * e. As a module its tensors are "mean.<name>" and "rho.<name>".
//
//     nn::Variational<Mlp> net(Mlp(Key{1}), {.deviation = 0.05});
//     auto drawn = net.sample(key.split(step));
//     (cross_entropy(drawn(x), y) + net.kl(1.0) / float(examples)).backward();
//
// Evaluate net.mean, or average over samples.
struct VariationalOptions {
    double deviation = 0.05;  // at the start
    NoiseScope scope = NoiseScope::all;
};
template <class M>
struct Variational {
    M mean, rho;
    NoiseScope scope = NoiseScope::all;

    Variational() = default;
    // Takes the module's handles. Throws ValueError unless the deviation is above 0.
    explicit Variational(const M& module, VariationalOptions options = {}) : mean(module), rho(clone(module)), scope(options.scope) {
        if (!(options.deviation > 0 && options.deviation < __builtin_inf()))
            fail<ValueError>("Variational: a deviation of ", options.deviation, " at the start, expected a number above 0");
        const double start = __builtin_log(__builtin_expm1(options.deviation));  // softplus of it is the deviation
        const no_grad guard;
        for_each_tensor(rho, [&](const char*, Kind kind, auto& x) {
            if constexpr (Floating<typename std::remove_cvref_t<decltype(x)>::Scalar>)
                if (detail::takes_noise(kind, x, scope)) x.fill(static_cast<typename std::remove_cvref_t<decltype(x)>::Scalar>(start));
        });
    }
    // A copy of the handles of mean with the parameters in scope drawn.
    [[nodiscard]] M sample(Key key) const {
        std::uint64_t number = 0;
        return joined([&]<class X>(const X& m, const X& r) -> X { return perturb(m, softplus(r), NoiseKind{}, key.split(number++)); });
    }
    // The divergence of the weights' distribution from normals of mean 0 and this deviation, summed over all weights:
    // log(prior / s) + (s^2 + mean^2) / (2 prior^2) - 1/2 each. Throws ValueError unless prior is above 0.
    [[nodiscard]] Tensor<float, 0> kl(double prior) const {
        if (!(prior > 0 && prior < __builtin_inf())) fail<ValueError>("Variational: a prior of deviation ", prior, ", expected a number above 0");
        Tensor<float, 0> total = zeros<float>({});
        static_cast<void>(joined([&]<class X>(const X& m, const X& r) -> X {
            using T = typename X::Scalar;
            const T scale = static_cast<T>(0.5 / (prior * prior)), offset = static_cast<T>(__builtin_log(prior) - 0.5);
            const X s = eval(softplus(r));
            total = total.to(m.device()) + cast<float>(sum((square(s) + square(m)) * scale - log(s) + offset));
            return m;
        }));
        return total;
    }

    static void visit(auto& self, auto&& f) {
        f("mean", self.mean);
        f("rho", self.rho);
    }

private:
    // mean with its parameters in scope replaced by f(m, r); tied ones once.
    template <class F>
    M joined(F&& f) const {
        std::vector<tenon::detail::AnyTensor> spreads;
        for_each_tensor(rho, [&](const char*, Kind, const auto& x) { spreads.push_back(x.has_value() ? x.any() : tenon::detail::AnyTensor()); });
        std::vector<const tenon::detail::Record*> order;
        for_each_tensor(mean, [&](const char*, Kind, const auto& x) { order.push_back(x.has_value() ? x.record() : nullptr); });
        return detail::replaced(mean, [&]<class X>(Kind kind, const X& x) -> X {
            if constexpr (std::is_same_v<typename X::Scalar, float> || std::is_same_v<typename X::Scalar, double>) {
                if (detail::takes_noise(kind, x, scope))
                    for (std::size_t i = 0; i < order.size(); ++i)
                        if (order[i] == x.record()) return f(x, X(spreads[i]));
            }
            return x;
        });
    }
};

}  // namespace tenon::nn

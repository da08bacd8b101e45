// Layers whose weight is a function of what is trained: spectral norm and weight norm.
#pragma once

#include <tenon/core/factories.hpp>
#include <tenon/nn/context.hpp>
#include <tenon/nn/init.hpp>
#include <tenon/nn/module.hpp>
#include <tenon/ops/matmul.hpp>
#include <tenon/ops/norm.hpp>
#include <tenon/ops/reduce.hpp>

#include <cstring>

namespace tenon::nn {

namespace detail {

// The weight as a matrix with axis Dim as its rows.
template <int Dim, class T, int R>
Tensor<T, 2> weight_matrix(const Tensor<T, R>& weight) {
    static_assert(Dim == 0 || Dim == 1, "tenon: SpectralNorm, WeightNorm: the rows are axis 0 or 1 of the weight");
    const long rows = weight.shape(Dim);
    if constexpr (Dim == 0) return weight.reshape({rows, weight.size() / rows});
    else return contiguous(weight.template transpose<0, 1>()).reshape({rows, weight.size() / rows});
}
template <class T>
Tensor<T, 1> unit(const Tensor<T, 1>& x, double eps) {
    return eval(x / maximum(norm(x), static_cast<T>(eps)));
}
// The visits of a layer without its weight.
template <class Layer, class F>
void visit_rest(Layer& layer, F& f) {
    std::remove_cvref_t<Layer>::visit(layer, [&](const char* name, auto&& member) {
        if (std::strcmp(name, "weight") != 0) f(name, static_cast<decltype(member)&&>(member));
    });
}
// The layer with this weight, applied.
template <class Layer, class W, class... A>
auto call_with_weight(const Layer& layer, W weight, A&&... arguments) {
    Layer whole = layer;
    whole.weight = static_cast<W&&>(weight);
    return whole(static_cast<A&&>(arguments)...);
}

}  // namespace detail

struct SpectralNormSettings {
    int n_power_iterations = 1;
    double eps = 1e-12;
};

// A layer whose weight is divided by its largest singular value (Miyato et al. 2018), as a matrix with axis Dim as its rows (1 for
// transposed convolutions): SpectralNorm layer(nn::Linear<>(...), key). The singular vectors _u and _v are estimated by 15 steps of
// power iteration at first, and by n_power_iterations more in every layer(x, context) with context.training; layer(x) takes them as
// they are. Names as of PyTorch's parametrizations.spectral_norm. The derivative takes u and v as constants.
template <class Layer, int Dim = 0>
struct SpectralNorm {
    using Weight = decltype(Layer::weight);
    using T = typename Weight::Scalar;

    Layer layer;      // its weight is empty
    Weight original;
    Tensor<T, 1> u, v;
    SpectralNormSettings settings;

    SpectralNorm() = default;
    SpectralNorm(Layer given, Key key, SpectralNormSettings wanted = {}) : layer(given), original(given.weight), settings(wanted) {
        if (settings.n_power_iterations < 1) fail<ValueError>("SpectralNorm: ", settings.n_power_iterations, " power iterations, expected at least 1");
        layer.weight = Weight();
        const Tensor<T, 2> matrix = detail::weight_matrix<Dim>(original.detach());
        u = detail::unit(randn<T>({matrix.shape(0)}, key.split(0), original.device()), settings.eps);
        v = detail::unit(randn<T>({matrix.shape(1)}, key.split(1), original.device()), settings.eps);
        iterate(matrix, 15);
    }

    // The weight that the layer gets; with training after a step of power iteration.
    Weight weight(bool training = false) const {
        const Tensor<T, 2> matrix = detail::weight_matrix<Dim>(original);
        if (training) iterate(matrix.detach(), settings.n_power_iterations);
        // Copies: the next step writes u and v, which this one's derivative needs.
        const Tensor<T, 1> left = clone(u), right = clone(v);
        const Tensor<T, 1> image = eval(matmul(matrix, right));
        return eval(original / sum(left * image));
    }
    template <Expression X>
    auto operator()(X&& x, const Context& context) const {
        if constexpr (requires { layer(static_cast<X&&>(x), context); }) return detail::call_with_weight(layer, weight(context.training), static_cast<X&&>(x), context);
        else return detail::call_with_weight(layer, weight(context.training), static_cast<X&&>(x));
    }
    template <Expression X>
    auto operator()(X&& x) const { return detail::call_with_weight(layer, weight(), static_cast<X&&>(x)); }

    static void visit(auto& self, auto&& f) {
        detail::visit_rest(self.layer, f);
        f("parametrizations.weight.original", self.original);
        f("parametrizations.weight.0._u", buffer(self.u));
        f("parametrizations.weight.0._v", buffer(self.v));
    }

private:
    void iterate(const Tensor<T, 2>& matrix, int steps) const {
        const no_grad unrecorded;
        for (int i = 0; i < steps; ++i) {
            u.copy_from(detail::unit<T>(eval(matmul(matrix, v)), settings.eps));
            v.copy_from(detail::unit<T>(eval(matmul(matrix.template transpose<0, 1>(), u)), settings.eps));
        }
    }
};
template <class Layer>
SpectralNorm(Layer, Key) -> SpectralNorm<Layer>;

// A layer whose weight has its length and its direction trained apart (Salimans and Kingma 2016): weight = g * v / |v|, lengths over
// all axes but Dim: WeightNorm layer(nn::Linear<>(...)). Names as of PyTorch's parametrizations.weight_norm: original0 is g, [.., n,
// ..] with 1 elsewhere, original1 is v.
template <class Layer, int Dim = 0>
struct WeightNorm {
    using Weight = decltype(Layer::weight);
    using T = typename Weight::Scalar;

    Layer layer;  // its weight is empty
    Weight g, v;

    WeightNorm() = default;
    explicit WeightNorm(Layer given) : layer(given) {
        static_assert(Dim == 0 || Dim == 1, "tenon: WeightNorm: the lengths are of axis 0 or 1 of the weight");
        layer.weight = Weight();
        v = clone(given.weight.detach());
        g = clone(lengths(v));
        v.require_grad();
        g.require_grad();
    }

    Weight weight() const { return eval(v * (g / lengths(v))); }
    template <Expression X, class... C>
    auto operator()(X&& x, const C&... context) const {
        if constexpr (requires { layer(static_cast<X&&>(x), context...); }) return detail::call_with_weight(layer, weight(), static_cast<X&&>(x), context...);
        else return detail::call_with_weight(layer, weight(), static_cast<X&&>(x));
    }

    static void visit(auto& self, auto&& f) {
        detail::visit_rest(self.layer, f);
        f("parametrizations.weight.original0", self.g);
        f("parametrizations.weight.original1", self.v);
    }

private:
    static Weight lengths(const Weight& x) {
        const auto rows = norm<1>(detail::weight_matrix<Dim>(x));
        long dims[max_rank];
        for (int i = 0; i < Weight::rank; ++i) dims[i] = i == Dim ? x.shape(Dim) : 1;
        return Weight(tenon::detail::reshape_any(rows.record(), Weight::rank, dims));
    }
};

}  // namespace tenon::nn

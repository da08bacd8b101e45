// Convolution by Chebyshev polynomials of the Laplacian (Defferrard et al. 2016), and by powers of the adjacency (Du et al. 2017).
#pragma once

#include <tenon/graph/conv/common.hpp>

#include <vector>

namespace tenon::graph {

inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

// w / sqrt(d d') with the degrees of sources, over the edges that are no self-loops.
template <class T>
Tensor<T, 1> source_norm(const Graph& plain, const Tensor<T, 1>& w) {
    const Tensor<T, 1> degree = segment_sum(w, source_segments(plain));
    const Tensor<T, 1> scale = where(degree > T(0), rsqrt(degree), T(0));
    return gather_sources(plain, scale) * w * gather_targets(plain, scale);
}
// Those of edges without weights, kept with the graph.
template <class T>
struct SourceNorm final : graph_detail::Attachment {
    Tensor<T, 1> weight;
    explicit SourceNorm(const Graph& plain) : Attachment(Graph::kind_of<SourceNorm>()) {
        const no_grad unrecorded;
        weight = source_norm(plain, ones<T>({plain.edges()}, plain.device()));
    }
};

}  // namespace impl
}  // namespace TENON_CONFIG_NAMESPACE

// y = sum over k < K of T_k(L) x W_k' + b with T_0 = 1, T_1(L) = L, T_k = 2 L T_{k-1} - T_{k-2} and
// L = 2 / lambda_max (I - D^-1/2 A D^-1/2) - I, self-loops left out, degrees of sources (as PyTorch Geometric). K = 1 is a linear layer.
// x [N, in] dense or Csr, weights of the edges [E] or none, lambda_max the Laplacian's largest eigenvalue or a bound of it; result
// [N, out], an expression. lins.k.weight [out, in] glorot, bias zeros; with form_of_2019 both are uniform in +-1 / sqrt(K in). Propagates
// on whichever side of the products is narrower; nothing of size edges x features is stored. Throws ShapeError, ValueError. Derivatives of
// x, the weights and the parameters.
template <class T = float>
struct ChebConv {
    std::vector<nn::Linear<T, false>> lins;
    Tensor<T, 1> bias;

    ChebConv() = default;
    ChebConv(long in, long out, long k, Key key, bool form_of_2019 = false) : bias(zeros<T>({out}).require_grad()) {
        if (k < 1) fail<ValueError>("ChebConv: K is ", k, ", expected 1 or more");
        for (long i = 0; i < k; ++i) lins.push_back(glorot_linear<T>(in, out, key.split(static_cast<std::uint64_t>(i))));
        if (!form_of_2019) return;
        const double bound = 1 / __builtin_sqrt(static_cast<double>(k * in));
        for (long i = 0; i < k; ++i)
            lins[static_cast<std::size_t>(i)].weight =
                uniform<T>({out, in}, key.split(static_cast<std::uint64_t>(i)), {-bound, bound}).require_grad();
        bias = uniform<T>({out}, key.split(static_cast<std::uint64_t>(k)), {-bound, bound}).require_grad();
    }
    template <class X>
    auto operator()(X&& given, const Graph& g, const Tensor<T, 1>& weight = {}, double lambda_max = 2) const {
        if (!(lambda_max > 0 && lambda_max < __builtin_huge_val()))
            fail<ValueError>("ChebConv: lambda_max is ", lambda_max, ", expected a number above 0");
        if (weight.has_value()) impl::check_nodes("ChebConv", g, weight.record(), g.edges(), "edges");
        const auto x = features(static_cast<X&&>(given));
        const Graph& plain = without_self_loops(g);
        const auto unweighted = [&] {
            return plain
                .attached<impl::SourceNorm<T>>([](const auto&) { return true; }, [&] { return new impl::SourceNorm<T>(plain); })
                .weight;
        };
        const Tensor<T, 1> norm =
            weight.has_value() ? impl::source_norm(plain, Tensor<T, 1>(index_select<0>(weight, impl::loop_split(g).kept))) : unweighted();
        const T across = static_cast<T>(-2 / lambda_max), along = static_cast<T>(2 / lambda_max - 1);
        const auto times = [&](const Tensor<T, 2>& z) { return Tensor<T, 2>(eval(across * aggregate<sum>(plain, z, norm) + along * z)); };
        const auto part = [&](std::size_t k) { return Tensor<T, 2>(project(x, lins[k].weight)); };
        const Tensor<T, 2> y = [&]() -> Tensor<T, 2> {
            if constexpr (!is_csr<std::remove_const_t<decltype(x)>>)
                if (lins[0].weight.shape(1) < lins[0].weight.shape(0)) return polynomials(x, times, part(0));
            return of_products(times, part);
        }();
        return y + bias;
    }
    static void visit(auto& self, auto&& f) {
        f("lins", self.lins);
        f("bias", self.bias);
    }

private:
    // The polynomials of x, from the first one up, each times its weight; y is that of the first.
    template <class Times>
    Tensor<T, 2> polynomials(const Tensor<T, 2>& x, const Times& times, Tensor<T, 2> y) const {
        Tensor<T, 2> before = x, now;
        for (std::size_t k = 1; k < lins.size(); ++k) {
            const Tensor<T, 2> next = k == 1 ? times(x) : Tensor<T, 2>(eval(T(2) * times(now) - before));
            if (k > 1) before = now;
            now = next;
            y = eval(y + project(now, lins[k].weight));
        }
        return y;
    }
    // The same by Clenshaw's recurrence: the products with x, from the last one down.
    template <class Times, class Part>
    Tensor<T, 2> of_products(const Times& times, const Part& part) const {
        Tensor<T, 2> before, now = part(lins.size() - 1);
        for (std::size_t k = lins.size() - 1; k-- > 0;) {
            const Tensor<T, 2> moved = times(now), own = part(k);
            Tensor<T, 2> next = own + (k == 0 ? T(1) : T(2)) * moved;
            if (before.has_value()) next = eval(next - before);
            before = now;
            now = next;
        }
        return now;
    }
};

// y = sum over k <= K of (D^-1/2 A D^-1/2)^k x W_k' + b (Du et al. 2017); no self-loops are added. x [N, in], weights of the edges [E] or
// none; result [N, out], an expression. lins.k.weight [out, in]: PyTorch's default; bias zeros. Nothing of size edges x features is stored.
// Throws ShapeError, ValueError. Derivatives of x, the weights and the parameters.
template <class T = float>
struct TAGConv {
    std::vector<nn::Linear<T, false>> lins;
    Tensor<T, 1> bias;

    TAGConv() = default;
    TAGConv(long in, long out, long k, Key key) : bias(zeros<T>({out}).require_grad()) {
        if (k < 0) fail<ValueError>("TAGConv: K is ", k, ", expected 0 or more");
        for (long i = 0; i <= k; ++i) lins.push_back(nn::Linear<T, false>(in, out, key.split(static_cast<std::uint64_t>(i))));
    }
    template <Expression X>
    auto operator()(X&& given, const Graph& g, const Tensor<T, 1>& weight = {}) const {
        Tensor<T, 2> x = features(static_cast<X&&>(given));
        const WeightedGraph<T> a = gcn_norm<T>(g, weight, {false, false});
        Tensor<T, 2> y = project(x, lins[0].weight);
        for (std::size_t k = 1; k < lins.size(); ++k) {
            x = aggregate<sum>(a.graph, x, a.weight);
            y = eval(y + project(x, lins[k].weight));
        }
        return y + bias;
    }
    static void visit(auto& self, auto&& f) {
        f("lins", self.lins);
        f("bias", self.bias);
    }
};

}  // namespace tenon::graph

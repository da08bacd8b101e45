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

// y = sum over k < K of T_k(L) x W_k' + b with L = 2 / lambda_max (I - D^-1/2 A D^-1/2) - I, self-loops left out, degrees of sources
// (as PyTorch Geometric). K = 1 is a linear layer. x [N, in] dense or Csr. lins.k.weight glorot, bias zeros. Propagates on whichever
// side of the products is narrower.
template <class T = float>
struct ChebConv {
    std::vector<nn::Linear<T, false>> lins;
    Tensor<T, 1> bias;

    ChebConv() = default;
    ChebConv(long in, long out, long k, Key key) : bias(zeros<T>({out}).require_grad()) {
        if (k < 1) fail<ValueError>("ChebConv: K is ", k, ", expected 1 or more");
        for (long i = 0; i < k; ++i) lins.push_back(glorot_linear<T>(in, out, key.split(static_cast<std::uint64_t>(i))));
    }
    template <class X>
    auto operator()(X&& given, const Graph& g, const Tensor<T, 1>& weight = {}, double lambda_max = 2) const {
        const auto x = features(static_cast<X&&>(given));
        const Graph& plain = without_self_loops(g);
        const Tensor<T, 1> norm =
            weight.has_value()
                ? impl::source_norm(plain, Tensor<T, 1>(index_select<0>(weight, impl::loop_split(g).kept)))
                : plain.attached<impl::SourceNorm<T>>([](const auto&) { return true; }, [&] { return new impl::SourceNorm<T>(plain); }).weight;
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

// y = sum over k <= K of (D^-1/2 A D^-1/2)^k x W_k' + b; no self-loops are added. lins: PyTorch's default.
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

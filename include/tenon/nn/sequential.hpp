// Modules one after the other.
#pragma once

#include <tenon/nn/context.hpp>
#include <tenon/nn/module.hpp>

namespace tenon::nn {

namespace detail {

template <class... M>
struct Chain;
template <>
struct Chain<> {};
template <class First, class... Rest>
struct Chain<First, Rest...> {
    First first;
    [[no_unique_address]] Chain<Rest...> rest;

    Chain() = default;
    Chain(First f, Rest... r) : first(static_cast<First&&>(f)), rest(static_cast<Rest&&>(r)...) {}
};

// Of a module that takes no context, layer(x).
template <class M, class X, class... C>
auto call(const M& module, X&& x, const C&... context) {
    if constexpr (requires { module(static_cast<X&&>(x), context...); }) return module(static_cast<X&&>(x), context...);
    else return module(static_cast<X&&>(x));
}
template <class X, class... C>
auto run(const Chain<>&, X&& x, const C&...) {
    return static_cast<X&&>(x);
}
template <class First, class... Rest, class X, class... C>
auto run(const Chain<First, Rest...>& chain, X&& x, const C&... context) {
    if constexpr (sizeof...(Rest) == 0) return call(chain.first, static_cast<X&&>(x), context...);
    else return run(chain.rest, call(chain.first, static_cast<X&&>(x), context...), context...);
}

}  // namespace detail

// Sequential net(nn::Linear<>(784, 256, key.split(0)), nn::ReLU(), nn::Linear<>(256, 10, key.split(1))): net(x), or net(x, context)
// where the context goes to the modules that take one. Names "0", "1", ... as PyTorch. get<I>() is a module. What a module returns
// lazily joins the loop of the next one.
template <class... M>
class Sequential {
public:
    Sequential() = default;
    explicit Sequential(M... modules)
        requires(sizeof...(M) > 0)
        : chain_(static_cast<M&&>(modules)...) {}

    template <Expression X>
    auto operator()(X&& x) const { return detail::run(chain_, static_cast<X&&>(x)); }
    template <Expression X>
    auto operator()(X&& x, const Context& context) const { return detail::run(chain_, static_cast<X&&>(x), context); }

    template <int I>
    auto& get() { return pick<I>(chain_); }
    template <int I>
    const auto& get() const { return pick<I>(chain_); }

    static void visit(auto& self, auto&& f) { each(self.chain_, f, 0); }

private:
    template <int I, class C>
    static auto& pick(C& chain) {
        if constexpr (I == 0) return chain.first;
        else return pick<I - 1>(chain.rest);
    }
    template <class F>
    static void each(const detail::Chain<>&, F&, int) {}
    template <class C, class F>
    static void each(C& chain, F& f, int index) {
        if constexpr (requires { chain.first; }) {
            Message name;
            name << index;
            f(name.text(), chain.first);
            each(chain.rest, f, index + 1);
        }
    }

    detail::Chain<M...> chain_;
};

// x as it is.
struct Identity {
    template <Expression X>
    auto operator()(X&& x) const { return impl::as_tensor(static_cast<X&&>(x)); }
    static void visit(auto&, auto&&) {}
};

// Axes First ... Last as one: PyTorch's [N, C, H, W] to [N, C * H * W] by default.
template <int First = 1, int Last = -1>
struct Flatten {
    template <Expression X>
    auto operator()(X&& given) const {
        const auto x = impl::as_tensor(static_cast<X&&>(given));
        constexpr int rank = std::remove_const_t<decltype(x)>::rank;
        constexpr int first = First < 0 ? First + rank : First, last = Last < 0 ? Last + rank : Last;
        static_assert(0 <= first && first <= last && last < rank, "tenon: Flatten<First, Last>: the axes are outside of the input's rank");
        Shape<rank - (last - first)> sizes;
        for (int i = 0; i < first; ++i) sizes[i] = x.shape(i);
        sizes[first] = 1;
        for (int i = first; i <= last; ++i) sizes[first] *= x.shape(i);
        for (int i = last + 1; i < rank; ++i) sizes[i - (last - first)] = x.shape(i);
        return Tensor<typename std::remove_const_t<decltype(x)>::Scalar, rank - (last - first)>(tenon::detail::reshape_any(x.record(), rank - (last - first), sizes.dims));
    }
    static void visit(auto&, auto&&) {}
};

}  // namespace tenon::nn

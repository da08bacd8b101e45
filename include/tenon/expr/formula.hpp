// A formula is the type of an expression without its data: a tree of functors over numbered leaves. From it come the
// two loops of a kernel: forward, and the derived adjoint, which computes the intermediates of one vector of elements
// again, keeps them in registers and walks them backwards.
#pragma once

#include <tenon/core/dtype.hpp>
#include <tenon/expr/functors.hpp>
#include <tenon/kernels/cpu/elementwise.hpp>
#if TENON_CUDA
#include <tenon/kernels/cuda/elementwise.cuh>
#endif

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {

namespace formula {

template <class T> struct In {};                               // a tensor leaf of element type T
template <class T> struct Par {};                              // a number
template <class Fn, class... A> struct Op {};                  // a functor of formulas
template <class Tag, class T> struct Ref {};                   // a value computed by an enclosing Let or Custom
template <class Tag, class Value, class Body> struct Let {};   // Body, in which Ref<Tag> is Value
template <class Tag, class DyTag, class YTag, class Argument, class Value, class Derivative> struct Custom {};
template <class... F> struct Outputs {};                       // several results in one pass

inline constexpr int max_leaves = 32;

// --- static facts ---------------------------------------------------------------------------------------------------

template <class T>
using compute_t = std::conditional_t<std::is_same_v<T, bf16> || std::is_same_v<T, half>, float, T>;

// Lanes of a device thread carry this bit.
inline constexpr int on_device = 1 << 16;

// The value of type T in registers.
template <class T, int L> struct lane { using type = simd<compute_t<T>, L>; };
template <int L> struct lane<bool, L> { using type = simd_mask<4, L>; };
#if TENON_CUDA
template <class T, int L>
    requires((L & on_device) != 0)
struct lane<T, L> { using type = pack<compute_t<T>, L & ~on_device>; };
template <int L>
    requires((L & on_device) != 0)
struct lane<bool, L> { using type = pack_mask<L & ~on_device>; };
#endif
template <class T, int L>
using lane_t = typename lane<T, L>::type;

// The element type of an operation's result.
template <class Fn, class... T> struct result;
template <class Fn, class T, class... R> struct result<Fn, T, R...> { using type = T; };
template <class Fn> inline constexpr bool is_predicate = false;
template <> inline constexpr bool is_predicate<fn::less> = true;
template <> inline constexpr bool is_predicate<fn::less_equal> = true;
template <> inline constexpr bool is_predicate<fn::greater> = true;
template <> inline constexpr bool is_predicate<fn::greater_equal> = true;
template <> inline constexpr bool is_predicate<fn::equal> = true;
template <> inline constexpr bool is_predicate<fn::not_equal> = true;
template <> inline constexpr bool is_predicate<fn::isnan> = true;
template <> inline constexpr bool is_predicate<fn::isinf> = true;
template <> inline constexpr bool is_predicate<fn::isfinite> = true;
template <class Fn, class T, class... R>
    requires is_predicate<Fn>
struct result<Fn, T, R...> { using type = bool; };
template <class T> struct result<fn::where, bool, T, T> { using type = T; };
template <class To, class T> struct result<fn::cast<To>, T> { using type = To; };

// What a node reads of itself in backward; a functor without derivative reads nothing.
template <class Fn>
TENON_HD constexpr tenon::needs needs_of() {
    if constexpr (requires { Fn::needs; }) return Fn::needs;
    else return tenon::needs::nothing;
}
template <class Fn>
TENON_HD constexpr bool differentiable() {
    return requires { Fn::needs; };
}
template <class To, class From>
TENON_HD constexpr bool cast_differentiable() { return Floating<To> && Floating<From>; }

// Bits of leaves from position `at` on, which may be past the last.
constexpr unsigned shift(unsigned bits, int at) { return at < max_leaves ? bits << at : 0u; }

// Facts<F>: number of leaves, parameters and nodes; needed(v): the leaves (bits) whose values backward reads, where v
// says whether the value of the whole is read; wanted: the leaves that a gradient can reach.
template <class F> struct Facts;
template <class T> struct Facts<In<T>> {
    using Type = T;
    static constexpr int leaves = 1, parameters = 0;
    static constexpr unsigned needed(bool value) { return value ? 1u : 0u; }
    static constexpr unsigned reached() { return Floating<T> ? 1u : 0u; }
    static constexpr void leaf_types(DType* out) { out[0] = dtype_of<T>; }
};
template <class T> struct Facts<Par<T>> {
    using Type = T;
    static constexpr int leaves = 0, parameters = 1;
    static constexpr unsigned needed(bool) { return 0; }
    static constexpr unsigned reached() { return 0; }
    static constexpr void leaf_types(DType*) {}
};
template <class Tag, class T> struct Facts<Ref<Tag, T>> {
    using Type = T;
    static constexpr int leaves = 0, parameters = 0;
    static constexpr unsigned needed(bool) { return 0; }
    static constexpr unsigned reached() { return 0; }
    static constexpr void leaf_types(DType*) {}
};
template <class Fn, class... A> struct Facts<Op<Fn, A...>> {
    using Type = typename result<Fn, typename Facts<A>::Type...>::type;
    static constexpr int leaves = (0 + ... + Facts<A>::leaves), parameters = (0 + ... + Facts<A>::parameters);
    static constexpr bool flows() {
        if constexpr (sizeof...(A) == 1 && std::is_same_v<Op<Fn, A...>, Op<fn::cast<Type>, A...>>)
            return (cast_differentiable<Type, typename Facts<A>::Type>() && ...);
        else return differentiable<Fn>();
    }
    // The arguments (bits) whose values are read: by the value of the whole, or by the derivative.
    static constexpr unsigned read_arguments(bool value) {
        if (value) return ~0u;
        if (!flows() || needs_of<Fn>() == tenon::needs::nothing) return 0;
        if constexpr (requires { Fn::reads(0u); }) {
            unsigned arguments = 0;
            int k = 0;
            ((arguments |= (Facts<A>::reached() != 0 ? 1u : 0u) << k++), ...);
            return Fn::reads(arguments);
        } else {
            return ~0u;
        }
    }
    static constexpr unsigned needed(bool value) {
        const unsigned read = read_arguments(value);
        unsigned bits = 0;
        int at = 0, k = 0;
        ((bits |= shift(Facts<A>::needed((read >> k++ & 1u) != 0), at), at += Facts<A>::leaves), ...);
        return bits;
    }
    static constexpr unsigned reached() {
        if (!flows()) return 0;
        unsigned bits = 0;
        int at = 0;
        ((bits |= shift(Facts<A>::reached(), at), at += Facts<A>::leaves), ...);
        return bits;
    }
    static constexpr void leaf_types(DType* out) { ((Facts<A>::leaf_types(out), out += Facts<A>::leaves), ...); }
};
template <class Tag, class Value, class Body> struct Facts<Let<Tag, Value, Body>> {
    using Type = typename Facts<Body>::Type;
    static constexpr int leaves = Facts<Value>::leaves + Facts<Body>::leaves;
    static constexpr int parameters = Facts<Value>::parameters + Facts<Body>::parameters;
    // The body reads the value wherever it likes: all of it counts as read.
    static constexpr unsigned needed(bool) { return Facts<Value>::needed(true) | shift(Facts<Body>::needed(true), Facts<Value>::leaves); }
    static constexpr unsigned reached() { return Facts<Value>::reached() | shift(Facts<Body>::reached(), Facts<Value>::leaves); }
    static constexpr void leaf_types(DType* out) {
        Facts<Value>::leaf_types(out);
        Facts<Body>::leaf_types(out + Facts<Value>::leaves);
    }
};
template <class Tag, class DyTag, class YTag, class A, class F, class D> struct Facts<Custom<Tag, DyTag, YTag, A, F, D>> {
    using Type = typename Facts<F>::Type;
    static constexpr int leaves = Facts<A>::leaves + Facts<F>::leaves + Facts<D>::leaves;
    static constexpr int parameters = Facts<A>::parameters + Facts<F>::parameters + Facts<D>::parameters;
    static constexpr unsigned needed(bool) { return leaves == 0 ? 0u : ~0u >> (32 - leaves); }
    // Tensors that the two lambdas captured are constants to it.
    static constexpr unsigned reached() { return Facts<A>::reached(); }
    static constexpr void leaf_types(DType* out) {
        Facts<A>::leaf_types(out);
        Facts<F>::leaf_types(out + Facts<A>::leaves);
        Facts<D>::leaf_types(out + Facts<A>::leaves + Facts<F>::leaves);
    }
};
template <class... F> struct Facts<Outputs<F...>> {
    static constexpr int leaves = (0 + ... + Facts<F>::leaves), parameters = (0 + ... + Facts<F>::parameters);
    static constexpr unsigned needed(bool) {
        unsigned bits = 0;
        int at = 0;
        ((bits |= shift(Facts<F>::needed(false), at), at += Facts<F>::leaves), ...);
        return bits;
    }
    static constexpr unsigned reached() {
        unsigned bits = 0;
        int at = 0;
        ((bits |= shift(Facts<F>::reached(), at), at += Facts<F>::leaves), ...);
        return bits;
    }
    static constexpr void leaf_types(DType* out) { ((Facts<F>::leaf_types(out), out += Facts<F>::leaves), ...); }
};

// --- loads and stores -----------------------------------------------------------------------------------------------

template <class T, int L>
TENON_ALWAYS_INLINE lane_t<T, L> load(const char* base, long i) {
    const T* p = reinterpret_cast<const T*>(base) + i;
    if constexpr (std::is_same_v<T, bool>) {
        const auto bytes = simd<std::uint8_t, L>::load(reinterpret_cast<const std::uint8_t*>(p));
        return simd_mask<4, L>(typename simd_mask<4, L>::Raw(convert<std::int32_t>(bytes).v != 0));
    } else if constexpr (std::is_same_v<T, bf16> || std::is_same_v<T, half>) {
        return load_as_float<L>(p);
    } else {
        return simd<T, L>::load(p);
    }
}
template <class T, int L, class V>
TENON_ALWAYS_INLINE void store(char* base, long i, const V& value) {
    T* p = reinterpret_cast<T*>(base) + i;
    if constexpr (std::is_same_v<T, bool>) {
        const auto m = value.template as<4>();
        const simd<std::int32_t, L> ones(typename simd<std::int32_t, L>::Raw(m.v & 1));
        convert<std::uint8_t>(ones).store(reinterpret_cast<std::uint8_t*>(p));
    } else if constexpr (std::is_same_v<T, bf16> || std::is_same_v<T, half>) {
        store_float<L>(p, value);
    } else {
        value.store(p);
    }
}

// The pointers of a loop, copied so that the compiler knows that no store changes them.
template <int Inputs, int Out>
struct Context {
    const char* in[Inputs > 0 ? Inputs : 1];
    char* out[Out > 0 ? Out : 1];
    unsigned char modes[Out > 0 ? Out : 1];
    const char* parameters;

    TENON_ALWAYS_INLINE Context(const char* const* in_, char* const* out_, const unsigned char* modes_, const char* parameters_)
        : parameters(parameters_) {
        for (int k = 0; k < Inputs; ++k) in[k] = in_[k];
        for (int k = 0; k < Out; ++k) out[k] = out_[k];
        if (modes_ != nullptr)
            for (int k = 0; k < Out; ++k) modes[k] = modes_[k];
    }
    template <class T, int L>
    TENON_ALWAYS_INLINE lane_t<T, L> read(int k, long i) const { return load<T, L>(in[k], i); }
    template <class T, int L>
    TENON_ALWAYS_INLINE lane_t<T, L> read_output(int k, long i) const { return load<T, L>(out[k], i); }
    template <class T, int L, class V>
    TENON_ALWAYS_INLINE void write(int k, long i, const V& value) const { store<T, L>(out[k], i, value); }
};

// --- one vector of elements, forward and backward -------------------------------------------------------------------

// Values (and, in backward, gradients) of enclosing Lets, innermost first.
struct NoScope {};
template <class Tag_, class V, class Outer>
struct Scope {
    using Tag = Tag_;
    const V& value;
    V* gradient;
    const Outer& outer;
};
// Within a branch of where: the elements that take it. What a derivative in the branch makes of the others (0 * inf)
// must not reach a gradient.
template <class M, class Outer>
struct Taken {
    using Tag = void;
    const M& mask;
    const Outer& outer;
};
template <class S, class D>
TENON_FUNCTOR D only_taken(const S&, const D& dy) { return dy; }
template <class Tag, class V, class Outer, class D>
TENON_FUNCTOR D only_taken(const Scope<Tag, V, Outer>& scope, const D& dy);
template <class M, class Outer, class D>
TENON_FUNCTOR D only_taken(const Taken<M, Outer>& scope, const D& dy) {
    return only_taken(scope.outer, select(scope.mask, dy, D(0)));
}
template <class Tag, class V, class Outer, class D>
TENON_FUNCTOR D only_taken(const Scope<Tag, V, Outer>& scope, const D& dy) { return only_taken(scope.outer, dy); }
template <class Tag, class S>
TENON_FUNCTOR const auto& find(const S& scope) {
    if constexpr (std::is_same_v<typename S::Tag, Tag>) return scope;
    else return find<Tag>(scope.outer);
}

template <class F, int L, int I, int P> struct Frame;

template <class T, int L, int I, int P>
struct Frame<In<T>, L, I, P> {
    using V = lane_t<T, L>;
    V y;
    template <class C, class S>
    TENON_FUNCTOR void forward(const C& c, long i, const S&) { y = c.template read<T, L>(I, i); }
    template <class C, class S, class D>
    TENON_FUNCTOR void backward(const C& c, long i, const S& scope, const D& dy) const {
        if constexpr (Floating<T> && !std::is_same_v<D, NoGradient>) {
            if (c.modes[I] != 0) {
                const D mine = only_taken(scope, dy);
                if (c.modes[I] == 2) c.template write<T, L>(I, i, c.template read_output<T, L>(I, i) + mine);
                else c.template write<T, L>(I, i, mine);
            }
        }
    }
};
template <class T, int L, int I, int P>
struct Frame<Par<T>, L, I, P> {
    using V = lane_t<T, L>;
    V y;
    template <class C, class S>
    TENON_FUNCTOR void forward(const C& c, long, const S&) {
        compute_t<T> value;
        __builtin_memcpy(&value, c.parameters + 8 * P, sizeof value);
        y = V(value);
    }
    template <class C, class S, class D>
    TENON_FUNCTOR void backward(const C&, long, const S&, const D&) const {}
};
template <class Tag, class T, int L, int I, int P>
struct Frame<Ref<Tag, T>, L, I, P> {
    using V = lane_t<T, L>;
    V y;
    template <class C, class S>
    TENON_FUNCTOR void forward(const C&, long, const S& scope) { y = find<Tag>(scope).value; }
    template <class C, class S, class D>
    TENON_FUNCTOR void backward(const C&, long, const S& scope, const D& dy) const {
        if constexpr (Floating<T> && !std::is_same_v<D, NoGradient>) {
            const auto& found = find<Tag>(scope);
            *found.gradient = *found.gradient + only_taken(scope, dy);
        }
    }
};

template <class Fn, class A, int L, int I, int P>
struct Frame<Op<Fn, A>, L, I, P> {
    using FA = Frame<A, L, I, P>;
    using V = decltype(Fn::f(std::declval<const typename FA::V&>()));
    FA a;
    V y;
    template <class C, class S>
    TENON_FUNCTOR void forward(const C& c, long i, const S& scope) {
        a.forward(c, i, scope);
        y = Fn::f(a.y);
    }
    template <class C, class S, class D>
    TENON_FUNCTOR void backward(const C& c, long i, const S& scope, const D& dy) const {
        if constexpr (differentiable<Fn>() && !std::is_same_v<D, NoGradient>) {
            if constexpr (requires { Fn::vjp(a.y, y, dy); }) a.backward(c, i, scope, Fn::vjp(a.y, y, dy));
            else a.backward(c, i, scope, dy * Fn::df(a.y, y));
        }
    }
};
// Conversions between element types, in both directions.
template <class To, class A, int L, int I, int P>
struct Frame<Op<fn::cast<To>, A>, L, I, P> {
    using FA = Frame<A, L, I, P>;
    using From = typename Facts<A>::Type;
    using V = lane_t<To, L>;
    FA a;
    V y;
    template <class C, class S>
    TENON_FUNCTOR void forward(const C& c, long i, const S& scope) {
        a.forward(c, i, scope);
        if constexpr (std::is_same_v<To, From>) y = a.y;
        else if constexpr (std::is_same_v<To, bool>) y = (a.y != typename FA::V(0)).template as<4>();
        else if constexpr (std::is_same_v<From, bool>) y = select(a.y, V(1), V(0));
        else y = convert<compute_t<To>>(a.y);
    }
    template <class C, class S, class D>
    TENON_FUNCTOR void backward(const C& c, long i, const S& scope, const D& dy) const {
        if constexpr (cast_differentiable<To, From>() && !std::is_same_v<D, NoGradient>)
            a.backward(c, i, scope, convert<compute_t<From>>(dy));
    }
};
template <class Fn, class A, class B, int L, int I, int P>
struct Frame<Op<Fn, A, B>, L, I, P> {
    using FA = Frame<A, L, I, P>;
    using FB = Frame<B, L, I + Facts<A>::leaves, P + Facts<A>::parameters>;
    using V = decltype(Fn::f(std::declval<const typename FA::V&>(), std::declval<const typename FB::V&>()));
    FA a;
    FB b;
    V y;
    template <class C, class S>
    TENON_FUNCTOR void forward(const C& c, long i, const S& scope) {
        a.forward(c, i, scope);
        b.forward(c, i, scope);
        y = Fn::f(a.y, b.y);
    }
    template <class C, class S, class D>
    TENON_FUNCTOR void backward(const C& c, long i, const S& scope, const D& dy) const {
        if constexpr (differentiable<Fn>() && !std::is_same_v<D, NoGradient>) {
            const auto g = Fn::vjp(a.y, b.y, y, dy);
            a.backward(c, i, scope, g.a);
            b.backward(c, i, scope, g.b);
        }
    }
};
template <class Fn, class A, class B, class E, int L, int I, int P>
struct Frame<Op<Fn, A, B, E>, L, I, P> {
    using FA = Frame<A, L, I, P>;
    using FB = Frame<B, L, I + Facts<A>::leaves, P + Facts<A>::parameters>;
    using FE = Frame<E, L, I + Facts<A>::leaves + Facts<B>::leaves, P + Facts<A>::parameters + Facts<B>::parameters>;
    using V = decltype(Fn::f(std::declval<const typename FA::V&>(), std::declval<const typename FB::V&>(),
                             std::declval<const typename FE::V&>()));
    FA a;
    FB b;
    FE e;
    V y;
    template <class C, class S>
    TENON_FUNCTOR void forward(const C& c, long i, const S& scope) {
        a.forward(c, i, scope);
        b.forward(c, i, scope);
        e.forward(c, i, scope);
        y = Fn::f(a.y, b.y, e.y);
    }
    template <class C, class S, class D>
    TENON_FUNCTOR void backward(const C& c, long i, const S& scope, const D& dy) const {
        if constexpr (differentiable<Fn>() && !std::is_same_v<D, NoGradient>) {
            const auto g = Fn::vjp(a.y, b.y, e.y, y, dy);
            a.backward(c, i, scope, g.a);
            if constexpr (std::is_same_v<Fn, fn::where>) {
                using M = typename FA::V;
                const M other = ~a.y;
                b.backward(c, i, Taken<M, S>{a.y, scope}, g.b);
                e.backward(c, i, Taken<M, S>{other, scope}, g.c);
            } else {
                b.backward(c, i, scope, g.b);
                e.backward(c, i, scope, g.c);
            }
        }
    }
};
template <class Tag, class Value, class Body, int L, int I, int P>
struct Frame<Let<Tag, Value, Body>, L, I, P> {
    using FValue = Frame<Value, L, I, P>;
    using FBody = Frame<Body, L, I + Facts<Value>::leaves, P + Facts<Value>::parameters>;
    using Held = lane_t<typename Facts<Value>::Type, L>;
    using V = typename FBody::V;
    FValue value;
    FBody body;
    Held held;
    V y;
    template <class C, class S>
    TENON_FUNCTOR void forward(const C& c, long i, const S& scope) {
        value.forward(c, i, scope);
        if constexpr (std::is_same_v<typename Facts<Value>::Type, bool>) held = value.y.template as<4>();
        else held = value.y;
        body.forward(c, i, Scope<Tag, Held, S>{held, nullptr, scope});
        y = body.y;
    }
    template <class C, class S, class D>
    TENON_FUNCTOR void backward(const C& c, long i, const S& scope, const D& dy) const {
        if constexpr (Floating<typename Facts<Value>::Type>) {
            Held gradient(0);
            body.backward(c, i, Scope<Tag, Held, S>{held, &gradient, scope}, dy);
            value.backward(c, i, scope, gradient);
        } else {
            body.backward(c, i, Scope<Tag, Held, S>{held, nullptr, scope}, dy);
        }
    }
};
template <class Tag, class DyTag, class YTag, class A, class F, class D, int L, int I, int P>
struct Frame<Custom<Tag, DyTag, YTag, A, F, D>, L, I, P> {
    using FA = Frame<A, L, I, P>;
    using FF = Frame<F, L, I + Facts<A>::leaves, P + Facts<A>::parameters>;
    using FD = Frame<D, L, I + Facts<A>::leaves + Facts<F>::leaves, P + Facts<A>::parameters + Facts<F>::parameters>;
    using V = typename FF::V;
    FA a;
    FF f;
    V y;
    template <class C, class S>
    TENON_FUNCTOR void forward(const C& c, long i, const S& scope) {
        a.forward(c, i, scope);
        f.forward(c, i, Scope<Tag, typename FA::V, S>{a.y, nullptr, scope});
        y = f.y;
    }
    template <class C, class S, class G>
    TENON_FUNCTOR void backward(const C& c, long i, const S& scope, const G& dy) const {
        if constexpr (!std::is_same_v<G, NoGradient>) {
            using S1 = Scope<Tag, typename FA::V, S>;
            using S2 = Scope<YTag, V, S1>;
            const S1 with_x{a.y, nullptr, scope};
            const S2 with_y{y, nullptr, with_x};
            FD d;
            d.forward(c, i, Scope<DyTag, G, S2>{dy, nullptr, with_y});
            a.backward(c, i, scope, d.y);
        }
    }
};

// --- the loops --------------------------------------------------------------------------------------------------------

// Elements<F>: forward and backward of the elements at i; a context gives and takes the operands.
template <class F>
struct Elements {
    static constexpr int outputs = 1, leaves = Facts<F>::leaves;
    using Out = typename Facts<F>::Type;
    template <int L, class C>
    static TENON_FUNCTOR void forward(const C& c, long i) {
        Frame<F, L, 0, 0> frame;
        frame.forward(c, i, NoScope{});
        c.template write<Out, L>(0, i, frame.y);
    }
    template <int L, class C>
    static TENON_FUNCTOR void backward(const C& c, long i) {
        Frame<F, L, 0, 0> frame;
        frame.forward(c, i, NoScope{});
        frame.backward(c, i, NoScope{}, c.template read<Out, L>(leaves, i));
    }
    static constexpr void output_types(DType* out) { out[0] = dtype_of<Out>; }
};

template <class... F>
struct Elements<Outputs<F...>> {
    static constexpr int outputs = sizeof...(F);
    static constexpr int leaves = Facts<Outputs<F...>>::leaves;
    template <int L, int K, int I, int P, class G, class... R, class C>
    static TENON_FUNCTOR void each_forward(const C& c, long i) {
        Frame<G, L, I, P> frame;
        frame.forward(c, i, NoScope{});
        if constexpr (sizeof...(R) > 0) each_forward<L, K + 1, I + Facts<G>::leaves, P + Facts<G>::parameters, R...>(c, i);
        c.template write<typename Facts<G>::Type, L>(K, i, frame.y);  // after every load: an output may be another's leaf
    }
    template <int L, int K, int I, int P, class G, class... R, class C>
    static TENON_FUNCTOR void each_backward(const C& c, long i) {
        Frame<G, L, I, P> frame;
        frame.forward(c, i, NoScope{});
        frame.backward(c, i, NoScope{}, c.template read<typename Facts<G>::Type, L>(leaves + K, i));
        if constexpr (sizeof...(R) > 0) each_backward<L, K + 1, I + Facts<G>::leaves, P + Facts<G>::parameters, R...>(c, i);
    }
    template <int L, class C>
    static TENON_FUNCTOR void forward(const C& c, long i) { each_forward<L, 0, 0, 0, F...>(c, i); }
    template <int L, class C>
    static TENON_FUNCTOR void backward(const C& c, long i) { each_backward<L, 0, 0, 0, F...>(c, i); }
    static constexpr void output_types(DType* out) { ((*out++ = dtype_of<typename Facts<F>::Type>), ...); }
};

template <class F>
struct Loops {
    static constexpr int outputs = Elements<F>::outputs, leaves = Facts<F>::leaves;
    template <int L>
    static TENON_ALWAYS_INLINE void forward(const char* const* in, char* const* out, const char* parameters, long n) {
        const Context<leaves, outputs> c(in, out, nullptr, parameters);
        for (long i = 0; i < n; i += L) Elements<F>::template forward<L>(c, i);
    }
    template <int L>
    static TENON_ALWAYS_INLINE void backward(const char* const* in, char* const* out, const unsigned char* modes, const char* parameters, long n) {
        const Context<leaves + outputs, leaves> c(in, out, modes, parameters);
        for (long i = 0; i < n; i += L) Elements<F>::template backward<L>(c, i);
    }
    static constexpr void output_types(DType* out) { Elements<F>::output_types(out); }
};

// The adjoint of a formula whose root reads only its output and whose other nodes read nothing, from that output: what
// came in front (a product) need not be kept.
template <class F> inline constexpr bool reads_nothing = false;
template <class T> inline constexpr bool reads_nothing<In<T>> = true;
template <class T> inline constexpr bool reads_nothing<Par<T>> = true;
template <class Fn, class... A>
inline constexpr bool reads_nothing<Op<Fn, A...>> = needs_of<Fn>() == tenon::needs::nothing && (reads_nothing<A> && ...);
template <class F> inline constexpr bool from_output = false;
template <class Fn, class... A>
inline constexpr bool from_output<Op<Fn, A...>> =
    (needs_of<Fn>() == tenon::needs::nothing || needs_of<Fn>() == tenon::needs::output) && (reads_nothing<A> && ...);

template <class F>
struct OutputLoop;
template <class Fn, class... A>
struct OutputLoop<Op<Fn, A...>> {
    using F = Op<Fn, A...>;
    template <int L, class C>
    static TENON_FUNCTOR void at(const C& c, long i) {
        using T = typename Facts<F>::Type;
        Frame<F, L, 0, 0> frame;  // its inner values are never read
        frame.y = c.template read<T, L>(Facts<F>::leaves + 1, i);
        frame.backward(c, i, NoScope{}, c.template read<T, L>(Facts<F>::leaves, i));
    }
    template <int L>
    static TENON_ALWAYS_INLINE void backward(const char* const* in, char* const* out, const unsigned char* modes, const char* parameters, long n) {
        const Context<Facts<F>::leaves + 2, Facts<F>::leaves> c(in, out, modes, parameters);
        for (long i = 0; i < n; i += L) at<L>(c, i);
    }
};

// --- the steps of a formula, as data --------------------------------------------------------------------------------------

// What second derivatives do with a functor: filled in, when a program starts, by those who include
// <tenon/ops/second_order.hpp>. Its address identifies the functor.
struct FunctorKernels {
    using Run = void (*)(char* const* operands, long n, bool given);
    const char* name;
    bool is_where = false, is_cast = false;
    bool differentiable = false;
    // By type (float, double, int64) and instruction set (baseline, AVX2).
    Run tangent[3][2] = {};  // y = f(x...) and its tangent
    Run adjoint[2][2] = {};  // what the derivative adds to the gradients of the arguments, and its tangent
};
template <class Fn>
inline constinit FunctorKernels functor_kernels{Fn::name, std::is_same_v<Fn, fn::where>, false, differentiable<Fn>()};
template <class To>
inline constinit FunctorKernels functor_kernels<fn::cast<To>>{"cast", false, true, Floating<To>};

enum class StepKind : unsigned char { leaf, number, operation, reference, custom };

// One step of a formula: what it applies to which steps before it.
struct Step {
    StepKind kind = StepKind::leaf;
    DType type = DType::float32;  // of the value
    short a = -1, b = -1, c = -1;  // the operands' steps; of a leaf or a number: which one
    short branch = -1;             // the step of the where around it, times 2, plus 1 on the side taken where it is false
    const FunctorKernels* functor = nullptr;
};

// The steps of the values that the enclosing lets and customs compute, innermost first. Found by type: under the sanitizers
// g++ does not compare the addresses of two variables at compile time.
struct NoNames {};
template <class Tag, class Outer>
struct Named {
    short step;
    const Outer& outer;
};
template <class Tag>
constexpr short find_named(const NoNames&) { return -1; }
template <class Tag, class Own, class Outer>
constexpr short find_named(const Named<Own, Outer>& named) {
    if constexpr (std::is_same_v<Tag, Own>) return named.step;
    else return find_named<Tag>(named.outer);
}

// Where the next step, leaf and number go.
struct Writer {
    Step* steps;
    int step = 0, leaf = 0, number = 0;
    constexpr short put(const Step& s) {
        steps[step] = s;
        return static_cast<short>(step++);
    }
};

// Emit<F>::count steps; write() appends them and returns the last.
template <class F> struct Emit;
template <class T> struct Emit<In<T>> {
    static constexpr int count = 1;
    static constexpr short write(Writer& w, const auto&, short branch) {
        return w.put({StepKind::leaf, dtype_of<T>, static_cast<short>(w.leaf++), -1, -1, branch});
    }
};
template <class T> struct Emit<Par<T>> {
    static constexpr int count = 1;
    static constexpr short write(Writer& w, const auto&, short branch) {
        return w.put({StepKind::number, dtype_of<T>, static_cast<short>(w.number++), -1, -1, branch});
    }
};
template <class Tag, class T> struct Emit<Ref<Tag, T>> {
    static constexpr int count = 1;
    template <class Names>
    static constexpr short write(Writer& w, const Names& named, short branch) {
        return w.put({StepKind::reference, dtype_of<T>, find_named<Tag>(named), -1, -1, branch});
    }
};
template <class Fn, class... A> struct Emit<Op<Fn, A...>> {
    static constexpr int count = (1 + ... + Emit<A>::count);
    template <class Names>
    static constexpr short write(Writer& w, const Names& named, short branch) {
        Step s{StepKind::operation, dtype_of<typename Facts<Op<Fn, A...>>::Type>, -1, -1, -1, branch, &functor_kernels<Fn>};
        short operands[3] = {-1, -1, -1};
        const short own = static_cast<short>(w.step + count - 1);
        int k = 0;
        ((operands[k] = Emit<A>::write(w, named, std::is_same_v<Fn, fn::where> && k > 0 ? static_cast<short>(2 * own + k - 1) : branch), ++k), ...);
        s.a = operands[0];
        s.b = operands[1];
        s.c = operands[2];
        return w.put(s);
    }
};
template <class Tag, class Value, class Body> struct Emit<Let<Tag, Value, Body>> {
    static constexpr int count = Emit<Value>::count + Emit<Body>::count;
    template <class Names>
    static constexpr short write(Writer& w, const Names& named, short branch) {
        const Named<Tag, Names> value{Emit<Value>::write(w, named, branch), named};
        return Emit<Body>::write(w, value, branch);
    }
};
// The step of a custom: its argument, its value, and its derivative, whose steps follow the value's.
template <class Tag, class DyTag, class YTag, class A, class F, class D> struct Emit<Custom<Tag, DyTag, YTag, A, F, D>> {
    static constexpr int count = 1 + Emit<A>::count + Emit<F>::count;
    template <class Names>
    static constexpr short write(Writer& w, const Names& named, short branch) {
        const Named<Tag, Names> argument{Emit<A>::write(w, named, branch), named};
        const short value = Emit<F>::write(w, argument, branch);
        w.leaf += Facts<D>::leaves;
        w.number += Facts<D>::parameters;
        Step s{StepKind::custom, dtype_of<typename Facts<F>::Type>};
        s.a = argument.step;
        s.b = value;
        s.branch = branch;
        return w.put(s);
    }
};
template <class F>
constexpr int step_count = Emit<F>::count;
template <class... F>
constexpr int step_count<Outputs<F...>> = (0 + ... + Emit<F>::count);

// All steps of a formula; roots: those of its outputs.
struct Program {
    const Step* steps;
    int count;
    short roots[4];
};
template <class F>
struct Steps {
    Step list[step_count<F>];
    short roots[4] = {};
};
template <class F>
constexpr short write_root(Writer& w) { return Emit<F>::write(w, NoNames{}, -1); }
template <class F>
struct Roots {
    static constexpr void write(Writer& w, short* roots) { roots[0] = write_root<F>(w); }
};
template <class... F>
struct Roots<Outputs<F...>> {
    static constexpr void write(Writer& w, short* roots) {
        int k = 0;
        ((roots[k++] = write_root<F>(w)), ...);
    }
};
template <class F>
constexpr Steps<F> make_steps() {
    Steps<F> s{};
    Writer w{s.list};
    Roots<F>::write(w, s.roots);
    return s;
}
template <class F>
inline constexpr Steps<F> steps_of = make_steps<F>();

// --- instruction sets and the table -------------------------------------------------------------------------------------

template <class F>
TENON_LOOP void forward_baseline(const char* const* in, char* const* out, const unsigned char*, const char* p, long n) {
    Loops<F>::template forward<4>(in, out, p, n);
}
template <class F>
TENON_LOOP void backward_baseline(const char* const* in, char* const* out, const unsigned char* modes, const char* p, long n) {
    Loops<F>::template backward<4>(in, out, modes, p, n);
}
template <class F>
TENON_LOOP void from_output_baseline(const char* const* in, char* const* out, const unsigned char* modes, const char* p, long n) {
    OutputLoop<F>::template backward<4>(in, out, modes, p, n);
}
#if TENON_DISPATCH
template <class F>
TENON_TARGET_AVX2 TENON_LOOP void forward_avx2(const char* const* in, char* const* out, const unsigned char*, const char* p, long n) {
    Loops<F>::template forward<8>(in, out, p, n);
}
template <class F>
TENON_TARGET_AVX2 TENON_LOOP void backward_avx2(const char* const* in, char* const* out, const unsigned char* modes, const char* p, long n) {
    Loops<F>::template backward<8>(in, out, modes, p, n);
}
template <class F>
TENON_TARGET_AVX2 TENON_LOOP void from_output_avx2(const char* const* in, char* const* out, const unsigned char* modes, const char* p, long n) {
    OutputLoop<F>::template backward<8>(in, out, modes, p, n);
}
#endif

#if TENON_CUDA
// --- the device's kernels -------------------------------------------------------------------------------------------------

// The operands of one device thread's elements.
template <int Inputs, int Out>
struct DeviceContext {
    const char* in[Inputs > 0 ? Inputs : 1];
    bool splat[Inputs > 0 ? Inputs : 1];
    char* out[Out > 0 ? Out : 1];
    unsigned char modes[Out > 0 ? Out : 1];
    kernels::cuda::SumCells cells;
    const char* parameters;

    template <class T, int L>
    TENON_FUNCTOR lane_t<T, L> read(int k, long) const { return load_elements<T, L & ~on_device>(in[k], splat[k]); }
    template <class T, int L>
    TENON_FUNCTOR lane_t<T, L> read_output(int k, long) const { return load_elements<T, L & ~on_device>(out[k], false); }
    template <class T, int L, class V>
    TENON_FUNCTOR void write(int k, long, const V& value) const {
        if constexpr (kernels::cuda::summable<T>) {
            if (modes[k] >= kernels::cuda::summed_mode) return cells.template add<T>(modes[k] - kernels::cuda::summed_mode, value);
        }
        if constexpr (std::is_same_v<T, bool>) store_pack_mask(reinterpret_cast<bool*>(out[k]), value);
        else store_pack(reinterpret_cast<T*>(out[k]), value);
    }

private:
    template <class T, int N>
    static TENON_FUNCTOR auto load_elements(const char* p, bool same) {
        if constexpr (std::is_same_v<T, bool>) return load_pack_mask<N>(reinterpret_cast<const bool*>(p), same);
        else return load_pack<T, N>(reinterpret_cast<const T*>(p), same);
    }
};

template <class F> struct ForwardStep {
    static constexpr int inputs = Facts<F>::leaves, outputs = Elements<F>::outputs, parameters = Facts<F>::parameters;
    template <int L, class C>
    static TENON_FUNCTOR void run(const C& c) { Elements<F>::template forward<L>(c, 0); }
};
template <class F> struct BackwardStep {
    static constexpr int inputs = Facts<F>::leaves + Elements<F>::outputs, outputs = Facts<F>::leaves, parameters = Facts<F>::parameters;
    template <int L, class C>
    static TENON_FUNCTOR void run(const C& c) { Elements<F>::template backward<L>(c, 0); }
};
template <class F> struct FromOutputStep {
    static constexpr int inputs = Facts<F>::leaves + 2, outputs = Facts<F>::leaves, parameters = Facts<F>::parameters;
    template <int L, class C>
    static TENON_FUNCTOR void run(const C& c) { OutputLoop<F>::template at<L>(c, 0); }
};

template <class Step>
using StepArguments = kernels::cuda::ElementwiseArguments<Step::inputs, Step::outputs, Step::parameters>;

template <class Step, int L>
TENON_FUNCTOR void run_step(const StepArguments<Step>& a, const kernels::cuda::SumCells& cells, unsigned flat) {
    DeviceContext<Step::inputs, Step::outputs> c;
    long offsets[StepArguments<Step>::count > 0 ? StepArguments<Step>::count : 1];
    for (int k = 0; k < Step::inputs + Step::outputs; ++k) offsets[k] = 0;
#if TENON_DEVICE_CODE
    for (int i = a.rank - 1; i > 0; --i) {
        const unsigned rest = a.dims[i].quotient(flat);
        const long at = static_cast<long>(flat - rest * a.dims[i].divisor);
        for (int k = 0; k < Step::inputs + Step::outputs; ++k) offsets[k] += at * a.strides[k][i];
        flat = rest;
    }
#endif
    for (int k = 0; k < Step::inputs + Step::outputs; ++k) {
        offsets[k] = (offsets[k] + static_cast<long>(flat) * a.strides[k][0]) * a.sizes[k];
        if (k < Step::inputs) {
            c.in[k] = a.data[k] + offsets[k];
            c.splat[k] = a.splat[k];
        } else {
            c.out[k - Step::inputs] = a.data[k] + offsets[k];
            c.modes[k - Step::inputs] = a.modes[k - Step::inputs];
        }
    }
    c.cells = cells;
    c.parameters = a.parameters;
    Step::template run<L | on_device>(c);
}

template <class Step>
__global__ void elementwise_kernel(StepArguments<Step> a) {
#if TENON_DEVICE_CODE
    constexpr unsigned lanes = kernels::cuda::vector_elements;
    kernels::cuda::SumCells cells;
    kernels::cuda::for_units(a.sums, cells, a.vectors + a.rest, [&](unsigned i) {
        if (i < a.vectors) run_step<Step, lanes>(a, cells, i * lanes);
        else run_step<Step, 1>(a, cells, a.vectors * lanes + (i - a.vectors));
    });
#endif
}
template <class Step>
void launch_step(const kernels::cuda::ElementwiseLaunch& l) {
    const StepArguments<Step> a = kernels::cuda::elementwise_arguments<Step::inputs, Step::outputs, Step::parameters>(l);
    kernels::cuda::launch("elementwise", elementwise_kernel<Step>, l.grid, dim3(kernels::cuda::block_threads), l.sums.shared_bytes(), a);
}
#endif

using Kernel = kernels::cpu::ElementwiseKernel;

inline int lanes() { return TENON_DISPATCH && isa() >= Isa::avx2 ? 8 : 4; }

// Everything that evaluation and the tape need to know of a formula; from here on nothing is a template.
struct Table {
    const char* name;
    int leaves, outputs, parameters;
    unsigned needed;   // leaves whose values backward reads
    unsigned reached;  // leaves that gradients reach
    bool reorders;     // backward writes their gradients in another order than theirs
    DType leaf_types[max_leaves];
    DType output_types[4];
    Kernel forward_kernels[2];
    Kernel backward_kernels[2];     // null: the formula has no gradient, or is never recorded
    Kernel from_output_kernels[2];  // null where the output alone does not do
    Program program;                // of recorded formulas
#if TENON_CUDA
    kernels::cuda::ElementwiseLauncher device_forward, device_backward, device_from_output;
#endif

    Kernel forward() const { return forward_kernels[lanes() == 8]; }
    Kernel backward() const { return backward_kernels[lanes() == 8]; }
    Kernel from_output() const { return from_output_kernels[lanes() == 8]; }
};

// A let's value gets its gradient after its body's leaves got theirs.
template <class F> inline constexpr bool reorders = false;
template <class Fn, class... A> inline constexpr bool reorders<Op<Fn, A...>> = (reorders<A> || ...);
template <class Tag, class V, class B> inline constexpr bool reorders<Let<Tag, V, B>> = true;
template <class Tag, class DyTag, class YTag, class A, class F, class D>
inline constexpr bool reorders<Custom<Tag, DyTag, YTag, A, F, D>> = reorders<A>;
template <class... F> inline constexpr bool reorders<Outputs<F...>> = (reorders<F> || ...);

template <class F> struct RootName { static constexpr const char* value = "copy"; };
template <class Fn, class... A> struct RootName<Op<Fn, A...>> { static constexpr const char* value = Fn::name; };
template <class... A> struct RootName<Custom<A...>> { static constexpr const char* value = "custom"; };
template <class Tag, class V, class B> struct RootName<Let<Tag, V, B>> : RootName<B> {};
template <class F, class... R> struct RootName<Outputs<F, R...>> : RootName<F> {};

template <class F, bool Recorded, bool Product>
constexpr Table make_table() {
    static_assert(Facts<F>::leaves <= max_leaves, "tenon: an expression has more than 32 tensor operands: eval() a part of it first");
    Table t{RootName<F>::value, Facts<F>::leaves, Loops<F>::outputs, Facts<F>::parameters, Facts<F>::needed(false), Facts<F>::reached(),
            reorders<F>, {}, {}, {}, {}, {}, {}
#if TENON_CUDA
            , &launch_step<ForwardStep<F>>, nullptr, nullptr
#endif
    };
#if TENON_CUDA
    if constexpr (Recorded && Facts<F>::reached() != 0) {
        t.device_backward = &launch_step<BackwardStep<F>>;
        if constexpr (Product && from_output<F>) t.device_from_output = &launch_step<FromOutputStep<F>>;
    }
#endif
    Facts<F>::leaf_types(t.leaf_types);
    Loops<F>::output_types(t.output_types);
#if !defined(__CUDA_ARCH__)
    t.forward_kernels[0] = t.forward_kernels[1] = &forward_baseline<F>;
#if TENON_DISPATCH
    t.forward_kernels[1] = &forward_avx2<F>;
#endif
    if constexpr (Recorded && Facts<F>::reached() != 0) {
        t.program = {steps_of<F>.list, step_count<F>, {steps_of<F>.roots[0], steps_of<F>.roots[1], steps_of<F>.roots[2], steps_of<F>.roots[3]}};
        t.backward_kernels[0] = t.backward_kernels[1] = &backward_baseline<F>;
#if TENON_DISPATCH
        t.backward_kernels[1] = &backward_avx2<F>;
#endif
        if constexpr (Product && from_output<F>) {
            t.from_output_kernels[0] = t.from_output_kernels[1] = &from_output_baseline<F>;
#if TENON_DISPATCH
            t.from_output_kernels[1] = &from_output_avx2<F>;
#endif
        }
    }
#endif
    return t;
}
#if TENON_CUDA
// Lets are told apart by the types of the user's lambdas, which may not occur in a kernel's name: there it is by how deep they
// lie.
template <int N> struct Depth {};
struct NoRenames {};
template <class Tag, class As, class Outer> struct Renames {};
template <class Tag, class Env> struct renamed;
template <class Tag, class As, class Outer> struct renamed<Tag, Renames<Tag, As, Outer>> { using type = As; };
template <class Tag, class Other, class As, class Outer> struct renamed<Tag, Renames<Other, As, Outer>> : renamed<Tag, Outer> {};
template <class F, class Env, int D> struct canonical { using type = F; };
template <class F, class Env, int D> using canonical_t = typename canonical<F, Env, D>::type;
template <class Fn, class... A, class Env, int D>
struct canonical<Op<Fn, A...>, Env, D> { using type = Op<Fn, canonical_t<A, Env, D>...>; };
template <class Tag, class T, class Env, int D>
struct canonical<Ref<Tag, T>, Env, D> { using type = Ref<typename renamed<Tag, Env>::type, T>; };
template <class Tag, class V, class B, class Env, int D>
struct canonical<Let<Tag, V, B>, Env, D> {
    using type = Let<Depth<D>, canonical_t<V, Env, D>, canonical_t<B, Renames<Tag, Depth<D>, Env>, D + 3>>;
};
template <class Tag, class Dy, class Y, class A, class F, class Derivative, class Env, int D>
struct canonical<Custom<Tag, Dy, Y, A, F, Derivative>, Env, D> {
    using Inner = Renames<Tag, Depth<D>, Env>;
    using type = Custom<Depth<D>, Depth<D + 1>, Depth<D + 2>, canonical_t<A, Env, D>, canonical_t<F, Inner, D + 3>,
                        canonical_t<Derivative, Renames<Dy, Depth<D + 1>, Renames<Y, Depth<D + 2>, Inner>>, D + 3>>;
};
template <class... F, class Env, int D>
struct canonical<Outputs<F...>, Env, D> { using type = Outputs<canonical_t<F, Env, D>...>; };

template <class F, bool Recorded, bool Product>
inline constexpr Table table_of = make_table<F, Recorded, Product>();
template <class F, bool Recorded, bool Product = false>
inline constexpr const Table& table = table_of<canonical_t<F, NoRenames, 0>, Recorded, Product>;
#else
template <class F, bool Recorded, bool Product = false>
inline constexpr Table table = make_table<F, Recorded, Product>();
#endif

}  // namespace formula
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

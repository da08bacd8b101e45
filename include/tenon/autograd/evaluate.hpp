// What a user does with expressions: evaluation into tensors, several results in one pass, writes into existing memory,
// and the members of Tensor that evaluate, mark leaves and run backward.
#pragma once

#include <tenon/autograd/fused.hpp>
#include <tenon/autograd/views.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

// An expression that begins with a product: defined in ops/matmul.hpp.
template <class W>
detail::AnyTensor evaluate_with_product(const W& w);

template <class W>
detail::AnyTensor evaluate_wrapped(const W& w) {
    if constexpr (W::has_product) {
        return evaluate_with_product(w);
    } else if constexpr (requires { w.tensor; }) {
        return w.tensor.any();  // a value already, such as a product by name
    } else {
        Collector c;
        w.collect(c);
        detail::AnyTensor result;
        evaluate(formula::table<typename W::Formula, true>, c, W::rank, w.dims(), w.device(), &result);
        return result;
    }
}

template <class T, class W>
constexpr void check_element_type() {
    static_assert(std::is_same_v<T, typename W::Scalar>,
                  "tenon: the expression's element type is not the tensor's, and types do not promote: write cast<T>(expression)");
}

// An operand as a tensor: itself where it is one, else its value.
template <Expression E>
auto as_tensor(E&& e) {
    return Tensor<typename wrap_t<E>::Scalar, wrap_t<E>::rank>(static_cast<E&&>(e));
}
template <class T, int R>
const Tensor<T, R>& as_tensor(const Tensor<T, R>& x) { x.record(); return x; }
template <class T, int R>
const Tensor<T, R>& as_tensor(Tensor<T, R>& x) { x.record(); return x; }

}  // namespace impl

// The value of an expression as a tensor: one loop, one tape node.
template <Expression E>
[[nodiscard]] auto eval(E&& e) {
    auto w = wrap(static_cast<E&&>(e));
    using W = decltype(w);
    return Tensor<typename W::Scalar, W::rank>(impl::evaluate_wrapped(w));
}

namespace impl {
template <class... T>
struct Results;
template <class A, class B>
struct Results<A, B> { A first; B second; };
template <class A, class B, class C>
struct Results<A, B, C> { A first; B second; C third; };
template <class A, class B, class C, class D>
struct Results<A, B, C, D> { A first; B second; C third; D fourth; };

template <class W>
constexpr int rank_of = W::rank;

template <class... W>
void evaluate_several(bool record, detail::AnyTensor* results, detail::Record* const* into, const W&... w) {
    using Formula = formula::Outputs<typename W::Formula...>;
    constexpr int rank = largest(W::rank...);
    static_assert(((W::rank == rank) && ...), "tenon: eval(e1, e2, ...): the expressions must have the same shape");
    const long* all_dims[] = {w.dims()...};
    const Device devices[] = {w.device()...};
    for (std::size_t k = 1; k < sizeof...(W); ++k) {
        for (int i = 0; i < rank; ++i)
            if (all_dims[k][i] != all_dims[0][i])
                fail<ShapeError>("eval: expressions of one pass must have the same shape, came ", detail::Sizes{rank, all_dims[0]}, " and ",
                                 detail::Sizes{rank, all_dims[k]});
        if (!(devices[k] == devices[0])) fail_devices("eval", devices[0], devices[k]);
    }
    Collector c;
    (w.collect(c), ...);
    if (record) {
        evaluate(formula::table<Formula, true>, c, rank, all_dims[0], devices[0], results);
        return;
    }
    check_device("eval_into", devices[0]);
    bool temporary = false;
    for (std::size_t k = 0; k < sizeof...(W); ++k) {
        for (int i = 0; i < rank; ++i)
            if (into[k]->dims()[i] != all_dims[0][i])
                fail<ShapeError>("eval_into: values of shape ", detail::Sizes{rank, all_dims[0]}, " do not fit into ", into[k]->description());
        for (int l = 0; l < c.leaf_count; ++l) temporary = temporary || overlaps(c.leaves[l], into[k], rank);
        check_unrecorded_write("eval_into", into[k]);
        for (std::size_t j = 0; j < k; ++j)
            if (into[j]->storage == into[k]->storage && into[j]->offset == into[k]->offset && into[k]->size > 0)
                fail<ValueError>("eval_into: two outputs are the same memory, ", into[k]->description());
    }
    if (!temporary) {
        run_forward(formula::table<Formula, false>, c, rank, all_dims[0], into);
    } else {
        fail<ValueError>("eval_into: an output overlaps an operand in another arrangement; evaluate with eval() and copy_from");
    }
    for (std::size_t k = 0; k < sizeof...(W); ++k) detail::note_write(into[k]->storage, "eval_into");
}
}  // namespace impl

// auto [a, b] = eval(e1, e2): several results of one shape in one pass, as one tape node.
template <Expression... E>
    requires(sizeof...(E) >= 2 && sizeof...(E) <= 4)
[[nodiscard]] auto eval(E&&... e) {
    detail::AnyTensor results[sizeof...(E)];
    [&]<class... W>(const W&... w) { impl::evaluate_several(true, results, nullptr, w...); }(wrap(static_cast<E&&>(e))...);
    int k = 0;
    return impl::Results<Tensor<typename wrap_t<E>::Scalar, wrap_t<E>::rank>...>{
        Tensor<typename wrap_t<E>::Scalar, wrap_t<E>::rank>(static_cast<detail::AnyTensor&&>(results[k++]))...};
}

// The tensors that eval_into writes.
template <class... T>
struct Tie { detail::Record* records[sizeof...(T)]; };
template <class... T, int... R>
[[nodiscard]] Tie<Tensor<T, R>...> tie(const Tensor<T, R>&... tensors) {
    return {{tensors.record()...}};
}
// eval_into(tie(a, b), e1, e2): writes several results in one pass; never recorded.
template <class... T, Expression... E>
void eval_into(const Tie<T...>& outputs, E&&... e) {
    static_assert(sizeof...(T) == sizeof...(E), "tenon: eval_into(tie(...), e...): one expression for each tensor");
    static_assert((std::is_same_v<typename T::Scalar, typename wrap_t<E>::Scalar> && ...), "tenon: eval_into: element types differ");
    if constexpr (sizeof...(E) == 1) {
        auto w = (wrap(static_cast<E&&>(e)), ...);
        Collector c;
        w.collect(c);
        impl::evaluate_into("eval_into", formula::table<typename decltype(w)::Formula, false>, c, outputs.records[0], w.rank, w.dims(), false);
    } else {
        [&]<class... W>(const W&... w) { impl::evaluate_several(false, nullptr, outputs.records, w...); }(wrap(static_cast<E&&>(e))...);
    }
}

#define TENON_COMPOUND(symbol, functor)                                                                                       \
    template <Element T, int R, Operand E>                                                                                    \
    const Tensor<T, R>& operator symbol(const Tensor<T, R>& x, E && e) {                                                      \
        auto w = impl::binary<fn::functor>(x, static_cast<E&&>(e));                                                           \
        static_assert(decltype(w)::rank == R, "tenon: " #symbol ": the right side has more axes than the tensor");            \
        Collector c;                                                                                                          \
        w.collect(c);                                                                                                         \
        if (x.requires_grad() && detail::grad_enabled() && x.record()->node->leaf)                                            \
            fail<GradError>(#symbol ": a write into a leaf that requires a gradient cannot be recorded\n       hint: wrap it in no_grad"); \
        impl::evaluate_into(#symbol, formula::table<typename decltype(w)::Formula, true>, c, x.record(), R, w.dims(), true); \
        return x;                                                                                                             \
    }
// In place, broadcasting the right side: recorded where gradients are wanted.
TENON_COMPOUND(+=, add)
TENON_COMPOUND(-=, sub)
TENON_COMPOUND(*=, mul)
TENON_COMPOUND(/=, div)
#undef TENON_COMPOUND

}  // namespace TENON_CONFIG_NAMESPACE

// --- members of Tensor ------------------------------------------------------------------------------------------------

namespace detail {
template <class T, int Rank, class E>
AnyTensor evaluate_expression(E&& e) {
    auto w = wrap(static_cast<E&&>(e));
    using W = decltype(w);
    impl::check_element_type<T, W>();
    static_assert(W::rank == Rank, "tenon: Tensor<T, Rank> from an expression: the expression has another number of axes");
    return impl::evaluate_wrapped(w);
}
}  // namespace detail

template <Element T, int Rank>
template <Expression E>
const Tensor<T, Rank>& Tensor<T, Rank>::copy_from(E&& e) const {
    write_through(static_cast<E&&>(e), false);
    return *this;
}
template <Element T, int Rank>
template <class E>
void Tensor<T, Rank>::write_through(E&& e, bool assignment) const {
    auto w = wrap(static_cast<E&&>(e));
    using W = decltype(w);
    impl::check_element_type<T, W>();
    static_assert(W::rank <= Rank, "tenon: a write into a tensor: the right side has more axes than the tensor");
    Collector c;
    w.collect(c);
    const formula::Table& table = formula::table<typename W::Formula, false>;
    if (assignment) impl::refuse_lost_gradient("assignment", table, c);
    impl::evaluate_into(assignment ? "assignment" : "copy_from", table, c, record(), W::rank, w.dims(), false);
}

template <Element T, int Rank>
const Tensor<T, Rank>& Tensor<T, Rank>::fill(T value) const {
    Collector c;
    c.add_number(static_cast<formula::compute_t<T>>(value));
    if constexpr (std::is_same_v<T, bool>) {
        const Tensor<bool, 0> source(detail::AnyTensor(detail::new_record(DType::boolean, 0, nullptr, device())));
        *source.data() = value;
        return copy_from(source);
    } else {
        impl::evaluate_into("fill", formula::table<formula::Par<T>, false>, c, record(), 0, nullptr, false);
        return *this;
    }
}

template <Element T, int Rank>
T Tensor<T, Rank>::item() const {
    const detail::Record* r = record();
    if (r->size != 1) fail<ShapeError>("item: ", r->description(), " has ", r->size, " elements, expected 1");
    if (r->storage->device.is_cpu()) return *data();
    T value;
    runtime::backend(device()).copy(cpu, &value, device(), data(), sizeof value);
    return value;
}

template <Element T, int Rank>
void Tensor<T, Rank>::mark() const {
    static_assert(Floating<T>, "tenon: require_grad: only floating-point tensors have gradients");
    detail::Record* r = record();
    if (r->node != nullptr) {
        if (r->node->leaf) return;
        fail<GradError>("require_grad: this tensor is the result of a recorded operation (\"", r->node->name, "\"), not a leaf",
                        "\n       hint: x.detach().require_grad() starts a new leaf on the same memory");
    }
    if (r->is_view)
        fail<GradError>("require_grad: ", r->description(), " is a view; mark the tensor that it shows, or a clone");
    // Threads mark leaves at the same time, with the same function.
    __atomic_store_n(&detail::record_view, &impl::record_view, __ATOMIC_RELAXED);
    r->node = new detail::LeafNode(r);
    r->recorded_writes = r->storage->recorded_writes;
}

template <Element T, int Rank>
bool Tensor<T, Rank>::has_grad() const {
    const detail::Record* r = record();
    return r->node != nullptr && r->node->leaf && r->node->slots[0].has;
}
template <Element T, int Rank>
const Tensor<T, Rank> Tensor<T, Rank>::grad() const {
    const detail::Record* r = record();
    if (r->node == nullptr) fail<GradError>("grad: ", r->description(), " does not require a gradient: mark it with require_grad()");
    if (!r->node->leaf) fail<GradError>("grad: ", r->description(), " is not a leaf; gradients are kept for leaves only");
    if (!r->node->slots[0].has) fail<GradError>("grad: ", r->description(), " has no gradient yet: call backward() on a loss computed from it");
    return Tensor(r->node->slots[0].gradient);
}
template <Element T, int Rank>
void Tensor<T, Rank>::zero_grad() const {
    const detail::Record* r = record();
    if (r->node != nullptr && r->node->leaf) detail::clear_gradient(r->node->slots[0]);
}

template <Element T, int Rank>
void Tensor<T, Rank>::backward() const {
    const detail::Record* r = record();
    if (r->size != 1)
        fail<ShapeError>("backward: ", r->description(), " has ", r->size, " elements, expected 1",
                         "\n       hint: reduce it with sum or mean, or pass the gradient: x.backward(gradient)");
    if (r->node == nullptr) fail<GradError>("backward: ", r->description(), " does not require a gradient: nothing that it was computed from does");
    Tensor<T, Rank> one{detail::AnyTensor(detail::new_record(r->dtype, r->rank, r->dims(), r->storage->device))};
    one.fill(T(1.f));
    detail::run_backward(r->node, r->slot, one.any());
}
template <Element T, int Rank>
void Tensor<T, Rank>::backward(const Tensor& gradient) const {
    const detail::Record* r = record();
    if (r->node == nullptr) fail<GradError>("backward: ", r->description(), " does not require a gradient: nothing that it was computed from does");
    for (int i = 0; i < Rank; ++i)
        if (gradient.record()->dims()[i] != r->dims()[i])
            fail<ShapeError>("backward: the gradient is ", gradient.record()->description(), ", expected the shape of ", r->description());
    Tensor<T, Rank> copy{detail::AnyTensor(detail::new_record(r->dtype, r->rank, r->dims(), r->storage->device))};
    copy.copy_from(gradient);
    detail::run_backward(r->node, r->slot, copy.any());
}

// Tensor y = expression; deduces element type and rank.
template <Expression E>
Tensor(E&&) -> Tensor<typename wrap_t<E>::Scalar, wrap_t<E>::rank>;

}  // namespace tenon

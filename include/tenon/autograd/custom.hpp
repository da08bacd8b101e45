// Functions with a derivative of one's own:
//
//     struct Cube {
//         static auto forward(FunctionContext& ctx, const Tensor<double, 1>& x) {
//             ctx.save(x);
//             return eval(x * x * x);
//         }
//         static auto backward(const FunctionContext& ctx, const Tensor<double, 1>& dy) {
//             const auto x = ctx.saved<Tensor<double, 1>>(0);
//             return eval(3.0 * x * x * dy);
//         }
//     };
//     Tensor<double, 1> y = apply<Cube>(x);
#pragma once

#include <tenon/autograd/recorded.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {

// What forward keeps for backward. A function may derive a context of its own (with numbers, say) and name it
// Context: `struct Context : FunctionContext { double scale; };`.
class FunctionContext {
public:
    FunctionContext() = default;
    FunctionContext(const FunctionContext&) = delete;
    FunctionContext& operator=(const FunctionContext&) = delete;
    ~FunctionContext() { delete[] entries_; }

    // Keeps tensors for backward: inputs, outputs or others. One that is overwritten before backward is an error there.
    template <class... T, int... R>
    void save(const Tensor<T, R>&... tensors) { (keep(tensors.any()), ...); }
    // The k-th tensor that was saved. Throws IndexError, and GradError where it was overwritten since.
    template <class X>
    [[nodiscard]] X saved(int k) const {
        if (k < 0 || k >= count_) fail<IndexError>("apply: saved tensor ", k, " was asked for, of ", count_);
        const Entry& e = entries_[k];
        const detail::Record* r = e.saved.tensor.get();
        if (r == nullptr) fail<GradError>("apply: the saved tensors are gone: backward has run");
        if (r->dtype != dtype_of<typename X::Scalar> || r->rank != X::rank)
            fail<DtypeError>("apply: saved tensor ", k, " is ", r->description(), ", asked for as ", name(dtype_of<typename X::Scalar>), " of ", X::rank, " axes");
        if (node_ == nullptr) return X(e.saved.tensor);
        if (detail::grad_enabled() && e.input >= 0) return X(impl::saved_input(*node_, e.input, e.saved));
        if (detail::grad_enabled() && e.output >= 0) return X(impl::saved_output(*node_, e.saved, e.output));
        return X(impl::saved_constant(*node_, e.saved));
    }
    // Gradients do not flow through this output.
    template <class T, int R>
    void mark_non_differentiable(const Tensor<T, R>& output) {
        if (fixed_count_ == max_outputs) fail<ValueError>("apply: more than ", max_outputs, " outputs");
        fixed_[fixed_count_++] = output.any();
    }
    // Whether the gradient of input k (counting floating-point tensors) is wanted.
    [[nodiscard]] bool needs_gradient(int k) const { return (wanted_ >> k & 1u) != 0; }

private:
    template <class F, class... X>
    friend auto apply(const X&... inputs);
    template <class F, class Out, int Inputs>
    friend class CustomNode;
    static constexpr int max_outputs = 4;
    struct Entry {
        detail::Saved saved;
        int input = -1, output = -1;
    };

    void keep(const detail::AnyTensor& x) {
        if (count_ == capacity_) {
            const int capacity = capacity_ == 0 ? 4 : 2 * capacity_;
            Entry* fresh = new Entry[static_cast<std::size_t>(capacity)];
            for (int i = 0; i < count_; ++i) fresh[i] = entries_[i];
            delete[] entries_;
            entries_ = fresh;
            capacity_ = capacity;
        }
        entries_[count_++].saved.tensor = x;
    }
    // After forward: which saved tensor is which input or output.
    void finish(const detail::AnyTensor* inputs, int input_count, const detail::AnyTensor* outputs, int output_count) {
        for (int i = 0; i < count_; ++i) {
            Entry& e = entries_[i];
            detail::Record* const r = e.saved.tensor.get();
            for (int k = 0; k < input_count; ++k)
                if (inputs[k].get() == r) e.input = k;
            for (int k = 0; k < output_count; ++k)
                if (outputs[k].get() == r) e.output = k;
            const detail::AnyTensor held = e.saved.tensor;
            e.saved.save(held.get());
            // The record of an output is about to get the node, which must not hold it.
            if (e.output >= 0) e.saved.tensor = detail::AnyTensor(detail::new_view(r, r->rank, r->dims(), r->strides(), r->offset));
        }
    }
    bool is_fixed(const detail::Record* output) const {
        for (int k = 0; k < fixed_count_; ++k)
            if (fixed_[k].get() == output) return true;
        return false;
    }
    void clear() noexcept {
        for (int i = 0; i < count_; ++i) entries_[i].saved.tensor = detail::AnyTensor();
    }

    Entry* entries_ = nullptr;
    int count_ = 0, capacity_ = 0, fixed_count_ = 0;
    detail::AnyTensor fixed_[max_outputs];
    Node* node_ = nullptr;
    unsigned wanted_ = 0;
};

namespace impl {

// A tensor, which may be empty, or the value of an expression.
template <class T, int R>
Tensor<T, R> as_result(const Tensor<T, R>& x) { return x; }
template <Expression E>
auto as_result(E&& e) { return Tensor<typename wrap_t<E>::Scalar, wrap_t<E>::rank>(static_cast<E&&>(e)); }

// What a function returns, as a list of tensors.
template <class Y>
struct Parts {
    using type = Parts;
    static constexpr int count = 1;
    template <class R, class F>
    static void each(R& r, F&& f) { f(r); }
    template <class F, class Take>
    static auto call(F&& f, Take&& take) { return f(take.template operator()<Y>()); }
};
template <class A, class B>
struct Parts<Results<A, B>> {
    static constexpr int count = 2;
    template <class R, class F>
    static void each(R& r, F&& f) { f(r.first), f(r.second); }
    template <class F, class Take>
    static auto call(F&& f, Take&& take) {
        const A a = take.template operator()<A>();
        const B b = take.template operator()<B>();
        return f(a, b);
    }
};
template <class A, class B, class C>
struct Parts<Results<A, B, C>> {
    static constexpr int count = 3;
    template <class R, class F>
    static void each(R& r, F&& f) { f(r.first), f(r.second), f(r.third); }
    template <class F, class Take>
    static auto call(F&& f, Take&& take) {
        const A a = take.template operator()<A>();
        const B b = take.template operator()<B>();
        const C c = take.template operator()<C>();
        return f(a, b, c);
    }
};
template <class A, class B, class C, class D>
struct Parts<Results<A, B, C, D>> {
    static constexpr int count = 4;
    template <class R, class F>
    static void each(R& r, F&& f) { f(r.first), f(r.second), f(r.third), f(r.fourth); }
    template <class F, class Take>
    static auto call(F&& f, Take&& take) {
        const A a = take.template operator()<A>();
        const B b = take.template operator()<B>();
        const C c = take.template operator()<C>();
        const D d = take.template operator()<D>();
        return f(a, b, c, d);
    }
};
template <class Y>
auto as_outputs(Y&& y) {
    if constexpr (Expression<Y>) return as_result(static_cast<Y&&>(y));
    else return static_cast<Y&&>(y);
}

template <class F>
struct ContextOf { using type = FunctionContext; };
template <class F>
    requires requires { typename F::Context; }
struct ContextOf<F> { using type = typename F::Context; };

// A result that leaves a function: memory without the node that it may have brought along.
inline detail::AnyTensor apart(const detail::AnyTensor& x) {
    if (x->node == nullptr) return x;
    detail::AnyTensor same(detail::new_view(x.get(), x->rank, x->dims(), x->strides(), x->offset));
    same->is_view = x->is_view;
    return same;
}
// Adds a gradient to what an edge has got, in a pass that is not recorded.
inline void add_gradient(const char* operation, Edge edge, const detail::AnyTensor& g) {
    const Node::Slot& slot = edge.node->slots[edge.slot];
    bool fits = g->rank == slot.rank && g->dtype == slot.dtype;
    for (int i = 0; fits && i < slot.rank; ++i) fits = g->dims()[i] == slot.dims[i];
    if (!fits)
        fail<ShapeError>("backward: \"", operation, "\" returned the gradient ", g->description(), " for an input that is ",
                         detail::Description{slot.dtype, slot.rank, slot.dims, slot.device});
    const detail::GradientTarget to = detail::gradient_target(edge);
    if (to.mode == 2) add_records(to.record, g.get());
    else copy_records(to.record, g.get());
}

}  // namespace impl

// Several outputs, or several gradients: return outputs(a, b), of tensors and expressions.
template <Expression... E>
    requires(sizeof...(E) >= 2 && sizeof...(E) <= 4)
[[nodiscard]] auto outputs(E&&... e) {
    return impl::Results<decltype(impl::as_result(static_cast<E&&>(e)))...>{impl::as_result(static_cast<E&&>(e))...};
}

class CustomNodeBase : public Node {
public:
    using Node::Node;
    const void* kind() const noexcept override { return &detail::node_kind<CustomNodeBase>; }
    virtual void run(bool record) = 0;
    void backward() override { run(false); }
};
inline detail::RecordedBackward custom_entry{&detail::node_kind<CustomNodeBase>, [](Node& node) { static_cast<CustomNodeBase&>(node).run(true); }};

template <class F, class Out, int Inputs>
class CustomNode final : public CustomNodeBase {
public:
    using Parts = impl::Parts<Out>;
    using Context = typename impl::ContextOf<F>::type;
    CustomNode() : CustomNodeBase(function_name(), slots_, Parts::count, edges_, Inputs) {}
    void release_saved() noexcept override { context.clear(); }

    static constexpr const char* function_name() {
        if constexpr (requires { F::name; }) return F::name;
        else return "custom function";
    }
    void connect(int k, detail::Record* r) {
        edges_[k] = detail::edge_to(r);
        if (edges_[k].node == nullptr) return;
        detail::retain(edges_[k].node);
        if (edges_[k].node->depth >= depth) depth = edges_[k].node->depth + 1;
    }
    void run(bool record) override {
        if constexpr (requires { requires F::once_differentiable; }) {
            if (record)
                fail<GradError>("create_graph: the function \"", name, "\" is once_differentiable: its backward cannot be differentiated");
        }
        int k = 0;
        context.wanted_ = 0;
        for (int i = 0; i < Inputs; ++i) context.wanted_ |= detail::wanted_now(edges_[i]) ? 1u << i : 0u;
        auto gradients = impl::as_outputs(Parts::call(
            [&](const auto&... dy) { return call_backward(dy...); }, [&]<class Y>() { return Y(impl::recorded_gradient(*this, k++)); }));
        using Gradients = impl::Parts<decltype(gradients)>;
        static_assert(Gradients::count == Inputs, "tenon: apply<F>: F::backward must return one gradient for each floating-point tensor that forward takes "
                                                  "(an empty tensor for none): return outputs(da, db)");
        int input = 0;
        Gradients::each(gradients, [&](const auto& g) {
            const int i = input++;
            if (!detail::wanted_now(edges_[i]) || !g.has_value()) return;
            if (record) impl::accumulate_recorded(edges_[i], g.any());
            else impl::add_gradient(name, edges_[i], g.any());
        });
    }

    Context context;

private:
    // Integer outputs have no gradients to pass.
    template <class... Y>
    auto call_backward(const Y&... dy) { return F::backward(context, dy...); }

    Slot slots_[Parts::count];
    Edge edges_[Inputs > 0 ? Inputs : 1];
};

// apply<F>(inputs...): F::forward(context, inputs...), whose derivative is F::backward(context, dy...). Inputs are tensors and
// anything else; forward runs unrecorded and returns a tensor, an expression, or outputs(a, b, ...) of up to four
// floating-point tensors. backward gets the gradient of every output (zeros where none has arrived) and returns one for
// every floating-point tensor among the inputs, in their order (an empty tensor for none). In a recorded pass
// (create_graph) backward is recorded: saved inputs and outputs are the tensors of the tape. A function that says
// `static constexpr bool once_differentiable = true;` refuses that. `static constexpr const char* name` names it in
// errors.
template <class F, class... X>
[[nodiscard]] auto apply(const X&... inputs) {
    using Context = typename impl::ContextOf<F>::type;
    constexpr auto floating = []<class A>(const A*) {
        if constexpr (requires(const A& a) { a.any(); typename A::Scalar; }) return Floating<typename A::Scalar>;
        else return false;
    };
    constexpr int count = (0 + ... + (floating(static_cast<const X*>(nullptr)) ? 1 : 0));
    static_assert(count >= 1 && count <= 4, "tenon: apply<F>: one to four floating-point tensors among the inputs");
    using Out = decltype(impl::as_outputs(F::forward(std::declval<Context&>(), inputs...)));
    using N = CustomNode<F, Out, count>;
    detail::AnyTensor tensors[count];
    int at = 0;
    const auto take = [&](const auto& x) {
        if constexpr (floating(static_cast<const std::remove_cvref_t<decltype(x)>*>(nullptr))) tensors[at++] = x.any();
    };
    (take(inputs), ...);
    bool wanted = false;
    for (int k = 0; k < count; ++k) wanted = wanted || (tensors[k] && detail::wants_gradient(tensors[k].get()));
    N* node = new N;
    struct Held {
        Node* node;
        ~Held() { detail::release_node(node); }
    } const held{node};
    for (int k = 0; k < count; ++k) {
        if (!tensors[k]) detail::fail_empty_handle();
        if (wanted) node->connect(k, tensors[k].get());
        node->context.wanted_ |= wanted && tensors[k]->node != nullptr ? 1u << k : 0u;
    }
    Out results = [&] {
        const no_grad none;
        return impl::as_outputs(F::forward(node->context, inputs...));
    }();
    using Parts = impl::Parts<Out>;
    detail::AnyTensor given[Parts::count], apart[Parts::count];
    bool fixed[Parts::count];
    int k = 0;
    Parts::each(results, [&](auto& y) {
        static_assert(Floating<typename std::remove_cvref_t<decltype(y)>::Scalar>, "tenon: apply<F>: outputs must be floating-point tensors");
        given[k] = y.any();
        fixed[k] = node->context.is_fixed(given[k].get());
        apart[k] = impl::apart(given[k]);
        y = std::remove_cvref_t<decltype(y)>(apart[k]);
        ++k;
    });
    if (!wanted) return results;
    node->context.finish(tensors, count, given, Parts::count);
    node->context.node_ = node;
    for (auto& f : node->context.fixed_) f = detail::AnyTensor();  // or an output would keep its own node alive
    for (int i = 0; i < Parts::count; ++i) {
        detail::set_slot(node->slots[i], apart[i].get());
        if (fixed[i]) continue;
        detail::retain(static_cast<Node*>(node));
        detail::attach(apart[i].get(), node, i);
    }
    return results;
}

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

// Gradients as values: grad(y, x) returns them and leaves every .grad() alone; vjp, jvp and Hessian-vector products on top
// of it; and backward passes that keep the graph or are recorded themselves.
//
// Recorded passes (create_graph, jvp, hessian_vector_product) need <tenon/ops/second_order.hpp>.
#pragma once

#include <tenon/autograd/recorded.hpp>

namespace tenon {
namespace detail {

// Nodes and a number for each: a hash table.
class NodeTable {
public:
    NodeTable() = default;
    NodeTable(const NodeTable&) = delete;
    NodeTable& operator=(const NodeTable&) = delete;
    ~NodeTable() { std::free(items_); }

    // The number of a node, 0 for a fresh one.
    unsigned& operator[](Node* node) {
        if (2 * (count_ + 1) > capacity_) grow();
        Item& item = place(node);
        if (item.node == nullptr) {
            item.node = node;
            item.number = 0;
            ++count_;
        }
        return item.number;
    }
    unsigned find(const Node* node) const { return capacity_ == 0 ? 0 : place(node).number; }

private:
    struct Item {
        const Node* node;
        unsigned number;
    };
    Item& place(const Node* node) const {
        std::size_t at = (reinterpret_cast<std::uintptr_t>(node) >> 4) * 0x9e3779b97f4a7c15ull >> shift_;
        while (items_[at].node != nullptr && items_[at].node != node) at = (at + 1) & (capacity_ - 1);
        return items_[at];
    }
    TENON_COLD void grow() {
        NodeTable larger;
        larger.capacity_ = capacity_ == 0 ? 64 : 2 * capacity_;
        larger.shift_ = 64 - __builtin_ctzll(larger.capacity_);
        larger.items_ = static_cast<Item*>(std::calloc(larger.capacity_, sizeof(Item)));
        if (larger.items_ == nullptr) fail<MemoryError>("grad: out of memory");
        for (std::size_t i = 0; i < capacity_; ++i)
            if (items_[i].node != nullptr) larger.place(items_[i].node) = items_[i];
        larger.count_ = count_;
        std::swap(items_, larger.items_);
        capacity_ = larger.capacity_;
        shift_ = larger.shift_;
    }

    Item* items_ = nullptr;
    std::size_t capacity_ = 0, count_ = 0;
    int shift_ = 64;
};

// What grad() was asked for.
struct GradTarget {
    Node* node;
    int slot;
    AnyTensor gradient;      // empty: none has arrived
    long same_as = -1;       // an earlier target that is the same tensor
    AnyTensor aside;         // the gradient that it has for others
    bool is_aside = false, had = false;
    unsigned long queued_by = 0;
};

}  // namespace detail

inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

// Passes that keep the graph or are recorded.
class KeepingPlan : public detail::BackwardPlan {
public:
    KeepingPlan(bool retain_graph, bool create_graph) {
        retain_ = retain_graph || create_graph;
        record = create_graph;
    }
    bool keeps(const Node&) const override { return retain_; }
    void visit(Node& node) override {
        if (record) detail::run_recorded(node);
        else node.backward();
    }
    void deliver(Edge edge, detail::AnyTensor t) override {
        if (record) return accumulate_recorded(edge, static_cast<detail::AnyTensor&&>(t));
        const detail::GradientTarget to = detail::gradient_target(edge);
        if (to.mode == 2) add_records(to.record, t.get());
        else copy_records(to.record, t.get());
    }

protected:
    ~KeepingPlan() = default;
    bool retain_ = false;
};
class WholePlan final : public KeepingPlan {
public:
    using KeepingPlan::KeepingPlan;
};

// Passes that go where they find what was asked for, and nowhere else.
class GradPlan final : public KeepingPlan {
public:
    // stop: targets are where the pass ends; what is done with their gradients there (hooks too) is the caller's.
    GradPlan(bool retain_graph, bool create_graph, detail::GradTarget* targets, long count, bool stop = false)
        : KeepingPlan(retain_graph, create_graph), targets_(targets), count_(count), stop_(stop) {
        hooks = !stop;
    }
    GradPlan(const GradPlan&) = delete;
    GradPlan& operator=(const GradPlan&) = delete;
    ~GradPlan() {
        for (long i = 0; i < count_; ++i) put_back(targets_[i]);
    }

    // Finds the nodes from which a target can be reached. The gradients that targets have already are set aside.
    void prepare(const detail::BackwardRoot* roots, int root_count) {
        for (long i = 0; i < count_; ++i) {
            detail::GradTarget& t = targets_[i];
            marks_[t.node] |= target;
            for (long j = 0; j < i && t.same_as < 0; ++j)
                if (targets_[j].node == t.node && targets_[j].slot == t.slot) t.same_as = j;
            if (t.same_as >= 0) continue;
            Node::Slot& slot = t.node->slots[t.slot];
            t.aside = static_cast<detail::AnyTensor&&>(slot.gradient);
            t.had = slot.has;
            t.queued_by = t.node->queued_by;
            t.is_aside = true;
            slot.gradient = detail::AnyTensor();
            slot.has = false;
        }
        // All nodes, deepest first.
        struct List {
            Node** nodes = nullptr;
            std::size_t count = 0, capacity = 0;
            ~List() { std::free(nodes); }
            void push(Node* node) {
                if (count == capacity) {
                    capacity = capacity == 0 ? 256 : 2 * capacity;
                    Node** fresh = static_cast<Node**>(std::realloc(nodes, capacity * sizeof(Node*)));
                    if (fresh == nullptr) fail<MemoryError>("grad: out of memory");
                    nodes = fresh;
                }
                nodes[count++] = node;
            }
        } order;
        detail::NodeQueue queue;
        const auto meet = [&](Node* node) {
            unsigned& mark = marks_[node];
            if ((mark & met) != 0) return;
            mark |= met;
            queue.push(node);
        };
        for (int i = 0; i < root_count; ++i) meet(roots[i].node);
        while (!queue.empty()) {
            Node* node = queue.pop();
            order.push(node);
            if (ends_at(node)) continue;
            for (int k = 0; k < node->input_count; ++k)
                if (node->inputs[k].node != nullptr) meet(node->inputs[k].node);
        }
        for (std::size_t i = order.count; i-- > 0;) {
            Node* node = order.nodes[i];
            bool leads = false;
            if (ends_at(node)) continue;
            for (int k = 0; k < node->input_count && !leads; ++k) leads = node->inputs[k].node != nullptr && wanted(node->inputs[k].node);
            if (leads) marks_[node] |= on_the_way;
        }
    }
    bool follows(const Node& node) const override { return wanted(&node); }
    bool keeps(const Node& node) const override { return retain_ || (marks_.find(&node) & on_the_way) == 0; }
    bool hooked(const Node& node) const override { return !ends_at(&node); }
    void visit(Node& node) override {
        const unsigned mark = marks_.find(&node);
        if ((mark & target) != 0)
            for (long i = 0; i < count_; ++i)
                if (targets_[i].node == &node && node.slots[targets_[i].slot].has) targets_[i].gradient = node.slots[targets_[i].slot].gradient;
        if ((mark & on_the_way) == 0) return;
        if (record) return KeepingPlan::visit(node);  // asks wanted_now(): saved inputs keep their nodes
        const Hidden hidden(*this, node);
        KeepingPlan::visit(node);
    }
    void deliver(Edge edge, detail::AnyTensor t) override {
        if (!wanted(edge.node)) return;
        KeepingPlan::deliver(edge, static_cast<detail::AnyTensor&&>(t));
    }
    // After the pass: the gradients of leaves.
    void finish() {
        for (long i = 0; i < count_; ++i) {
            detail::GradTarget& t = targets_[i];
            if (t.same_as >= 0) t.gradient = targets_[t.same_as].gradient;
            else if (t.node->leaf && t.node->slots[0].has) t.gradient = t.node->slots[0].gradient;
        }
    }

private:
    static constexpr unsigned target = 1, met = 2, on_the_way = 4;

    bool wanted(const Node* node) const { return (marks_.find(node) & (target | on_the_way)) != 0; }
    bool ends_at(const Node* node) const { return stop_ && (marks_.find(node) & target) != 0; }
    static void put_back(detail::GradTarget& t) {
        if (!t.is_aside) return;
        Node::Slot& slot = t.node->slots[t.slot];
        if (!t.node->leaf) t.node->queued_by = t.queued_by;
        slot.gradient = static_cast<detail::AnyTensor&&>(t.aside);
        slot.has = t.had;
    }

    // While one lives, a node does not see inputs that lead nowhere.
    class Hidden {
    public:
        Hidden(const GradPlan& plan, Node& node) : node_(node) {
            long count = 0;
            for (int k = 0; k < node.input_count; ++k) count += node.inputs[k].node != nullptr && !plan.wanted(node.inputs[k].node) ? 1 : 0;
            if (count == 0) return;
            if (count > small_count) {
                edges_ = static_cast<Item*>(std::malloc(static_cast<std::size_t>(count) * sizeof(Item)));
                if (edges_ == nullptr) fail<MemoryError>("grad: out of memory");
            }
            for (int k = 0; k < node.input_count; ++k) {
                Edge& edge = node.inputs[k];
                if (edge.node == nullptr || plan.wanted(edge.node)) continue;
                edges_[count_++] = {k, edge.node};
                edge.node = nullptr;
            }
        }
        Hidden(const Hidden&) = delete;
        Hidden& operator=(const Hidden&) = delete;
        ~Hidden() {
            for (long i = 0; i < count_; ++i) node_.inputs[edges_[i].input].node = edges_[i].node;
            if (edges_ != small_) std::free(edges_);
        }

    private:
        struct Item {
            int input;
            Node* node;
        };
        static constexpr long small_count = 8;
        Node& node_;
        long count_ = 0;
        Item small_[small_count];
        Item* edges_ = small_;
    };

    detail::GradTarget* targets_;
    long count_;
    bool stop_;
    detail::NodeTable marks_;
};

[[noreturn]] TENON_COLD inline void fail_no_graph(const char* operation, const detail::Record* r) {
    fail<GradError>(operation, ": ", r->description(), " does not require a gradient: nothing that it was computed from does");
}

// The gradient that a pass begins with: ones, or a copy of what was given; the given one itself where the pass is recorded.
template <class T, int R>
detail::AnyTensor first_gradient(const char* operation, const Tensor<T, R>& y, const Tensor<T, R>* given, bool record) {
    const detail::Record* r = y.record();
    if (given == nullptr || !given->has_value()) {
        if (r->size != 1)
            fail<ShapeError>(operation, ": ", r->description(), " has ", r->size, " elements, expected 1",
                             "\n       hint: reduce it with sum or mean, or pass the gradient of what follows");
        Tensor<T, R> one{detail::AnyTensor(detail::new_record(r->dtype, r->rank, r->dims(), r->storage->device))};
        one.fill(T(1.f));
        return one.any();
    }
    for (int i = 0; i < R; ++i)
        if (given->record()->dims()[i] != r->dims()[i])
            fail<ShapeError>(operation, ": the gradient is ", given->record()->description(), ", expected the shape of ", r->description());
    if (record) return given->any();
    Tensor<T, R> copy{detail::AnyTensor(detail::new_record(r->dtype, r->rank, r->dims(), r->storage->device))};
    const no_grad none;
    copy.copy_from(*given);
    return copy.any();
}

inline void run_grad(detail::BackwardRoot* roots, int root_count, detail::GradTarget* targets, long count, bool retain_graph, bool create_graph,
                     bool stop = false) {
    GradPlan plan(retain_graph, create_graph, targets, count, stop);
    plan.prepare(roots, root_count);
    detail::run_backward(roots, root_count, &plan);
    plan.finish();
}
inline detail::GradTarget grad_target(const detail::Record* x, long number) {
    if (x->node == nullptr)
        fail<GradError>("grad: input ", number, ", ", x->description(), ", does not require a gradient\n       hint: mark it with require_grad() before it is used");
    if (x->recorded_writes != x->storage->recorded_writes)
        fail<GradError>("grad: input ", number, ", ", x->description(), ", was overwritten by the recorded operation \"", x->storage->writer, "\" since");
    detail::GradTarget target{};
    target.node = x->node;
    target.slot = x->slot;
    return target;
}
[[noreturn]] TENON_COLD inline void fail_unused(const detail::Record* x, long number) {
    fail<GradError>("grad: input ", number, ", ", x->description(), ", was not used in computing the result",
                    "\n       hint: {.allow_unused = true} gives an empty tensor for it");
}

}  // namespace impl

// What grad() is told; Y is the tensor type of the result.
template <class Y>
struct GradOptions {
    Y grad_output = {};         // the gradient of what follows; without it the result must have one element, and it is 1
    bool retain_graph = false;  // keeps what the nodes have saved, for another pass
    bool create_graph = false;  // records the pass, so that the gradients can be differentiated; keeps the graph too
    bool allow_unused = false;  // an input that the result does not depend on gives an empty tensor instead of GradError
};

namespace impl {
template <class T>
struct same { using type = T; };
template <class Y>
using options_for = typename same<GradOptions<Y>>::type;

template <class Y>
void grad_into(const Y& y, const GradOptions<Y>& options, const detail::AnyTensor* inputs, detail::AnyTensor* results, detail::GradTarget* targets, long count) {
    detail::Record* r = y.record();
    if (r->node == nullptr) fail_no_graph("grad", r);
    for (long i = 0; i < count; ++i) targets[i] = grad_target(inputs[i].get(), i);
    detail::BackwardRoot root{r->node, r->slot, first_gradient("grad", y, &options.grad_output, options.create_graph)};
    run_grad(&root, 1, targets, count, options.retain_graph, options.create_graph);
    for (long i = 0; i < count; ++i) {
        if (!targets[i].gradient && !options.allow_unused) fail_unused(inputs[i].get(), i);
        results[i] = static_cast<detail::AnyTensor&&>(targets[i].gradient);
    }
}
}  // namespace impl

// grad(y, x): the gradient of y with respect to x, a leaf or any recorded tensor that y was computed from, as a tensor of
// x's shape; no .grad() changes. Options, in braces: {.grad_output, .retain_graph, .create_graph, .allow_unused}. y is a
// tensor or an expression of one element, or of any size with grad_output. With two to four inputs: auto [da, db] =
// grad(y, a, b). Only nodes on the way to the inputs are walked. Throws GradError where y or an input was not recorded, or
// y does not depend on an input, and ShapeError. Recorded gradients need <tenon/ops/second_order.hpp>.
template <class T, int R, class A, int RA>
[[nodiscard]] Tensor<A, RA> grad(const Tensor<T, R>& y, const Tensor<A, RA>& a, impl::options_for<Tensor<T, R>> options = {}) {
    detail::AnyTensor result;
    detail::GradTarget target;
    const detail::AnyTensor input = detail::AnyTensor::share(a.record());
    impl::grad_into(y, options, &input, &result, &target, 1);
    return Tensor<A, RA>(static_cast<detail::AnyTensor&&>(result));
}
template <class T, int R, class A, int RA, class B, int RB>
[[nodiscard]] impl::Results<Tensor<A, RA>, Tensor<B, RB>> grad(const Tensor<T, R>& y, const Tensor<A, RA>& a, const Tensor<B, RB>& b,
                                                               impl::options_for<Tensor<T, R>> options = {}) {
    detail::AnyTensor results[2];
    detail::GradTarget targets[2];
    const detail::AnyTensor inputs[] = {detail::AnyTensor::share(a.record()), detail::AnyTensor::share(b.record())};
    impl::grad_into(y, options, inputs, results, targets, 2);
    return {Tensor<A, RA>(results[0]), Tensor<B, RB>(results[1])};
}
template <class T, int R, class A, int RA, class B, int RB, class C, int RC>
[[nodiscard]] impl::Results<Tensor<A, RA>, Tensor<B, RB>, Tensor<C, RC>> grad(const Tensor<T, R>& y, const Tensor<A, RA>& a, const Tensor<B, RB>& b,
                                                                              const Tensor<C, RC>& c, impl::options_for<Tensor<T, R>> options = {}) {
    detail::AnyTensor results[3];
    detail::GradTarget targets[3];
    const detail::AnyTensor inputs[] = {detail::AnyTensor::share(a.record()), detail::AnyTensor::share(b.record()), detail::AnyTensor::share(c.record())};
    impl::grad_into(y, options, inputs, results, targets, 3);
    return {Tensor<A, RA>(results[0]), Tensor<B, RB>(results[1]), Tensor<C, RC>(results[2])};
}
template <class T, int R, class A, int RA, class B, int RB, class C, int RC, class D, int RD>
[[nodiscard]] impl::Results<Tensor<A, RA>, Tensor<B, RB>, Tensor<C, RC>, Tensor<D, RD>> grad(
    const Tensor<T, R>& y, const Tensor<A, RA>& a, const Tensor<B, RB>& b, const Tensor<C, RC>& c, const Tensor<D, RD>& d,
    impl::options_for<Tensor<T, R>> options = {}) {
    detail::AnyTensor results[4];
    detail::GradTarget targets[4];
    const detail::AnyTensor inputs[] = {detail::AnyTensor::share(a.record()), detail::AnyTensor::share(b.record()),
                                        detail::AnyTensor::share(c.record()), detail::AnyTensor::share(d.record())};
    impl::grad_into(y, options, inputs, results, targets, 4);
    return {Tensor<A, RA>(results[0]), Tensor<B, RB>(results[1]), Tensor<C, RC>(results[2]), Tensor<D, RD>(results[3])};
}
// The same for a container of tensors (with data(), size() and copies, such as a std::vector): the gradients in another.
template <class T, int R, class C>
    requires(!Expression<C> && requires(C& c) {
        c.data()->record();
        static_cast<long>(c.size());
    })
[[nodiscard]] C grad(const Tensor<T, R>& y, const C& inputs, impl::options_for<Tensor<T, R>> options = {}) {
    using X = std::remove_cvref_t<decltype(*inputs.data())>;
    const long count = static_cast<long>(inputs.size());
    struct Arrays {
        detail::AnyTensor *inputs, *results;
        detail::GradTarget* targets;
        ~Arrays() {
            delete[] inputs;
            delete[] results;
            delete[] targets;
        }
    } arrays{nullptr, nullptr, nullptr};
    const std::size_t n = static_cast<std::size_t>(count);
    arrays.inputs = new detail::AnyTensor[n];
    arrays.results = new detail::AnyTensor[n];
    arrays.targets = new detail::GradTarget[n];
    for (long i = 0; i < count; ++i) arrays.inputs[i] = detail::AnyTensor::share(inputs.data()[i].record());
    impl::grad_into(y, options, arrays.inputs, arrays.results, arrays.targets, count);
    C gradients = inputs;
    for (long i = 0; i < count; ++i) gradients.data()[i] = X(static_cast<detail::AnyTensor&&>(arrays.results[i]));
    return gradients;
}
// y as an expression (mean(square(x)) + 1.f).
template <Expression E, class... Rest>
    requires(!requires(const std::remove_cvref_t<E>& e) { e.any(); })
[[nodiscard]] auto grad(E&& y, const Rest&... rest) {
    return grad(impl::as_tensor(static_cast<E&&>(y)), rest...);
}

namespace impl {

// Recording on, whatever the surrounding scopes say.
struct Recording {
    int depth = detail::no_grad_depth;
    Recording() { detail::no_grad_depth = 0; }
    Recording(const Recording&) = delete;
    Recording& operator=(const Recording&) = delete;
    ~Recording() { detail::no_grad_depth = depth; }
};

// A leaf with the values of x, apart from whatever x belongs to.
template <class T, int R>
Tensor<T, R> leaf_of(const Tensor<T, R>& x) {
    if constexpr (Floating<T>) {
        const no_grad none;
        detail::Record* r = x.record();
        return (r->is_view ? Tensor<T, R>(recorded_copy_any(r)) : x.detach()).require_grad();
    } else {
        return x;
    }
}
template <class... X>
struct GradientsOf;
template <class A>
struct GradientsOf<A> { using type = A; };
template <class A, class... R>
    requires(sizeof...(R) >= 1 && sizeof...(R) <= 3)
struct GradientsOf<A, R...> { using type = Results<A, R...>; };

template <class X>
X zeros_of(const X& like) {
    const detail::Record* r = like.record();
    detail::AnyTensor zero(detail::new_record(r->dtype, r->rank, r->dims(), r->storage->device));
    detail::zero_bytes(zero->storage->device, zero->data(), static_cast<std::size_t>(zero->size) * static_cast<std::size_t>(size_of(r->dtype)));
    return X(static_cast<detail::AnyTensor&&>(zero));
}
template <class X>
void check_like(const char* operation, const char* what, const X& given, const X& like) {
    for (int i = 0; i < X::rank; ++i)
        if (given.record()->dims()[i] != like.record()->dims()[i])
            fail<ShapeError>(operation, ": ", what, " is ", given.record()->description(), ", expected the shape of ", like.record()->description());
}

}  // namespace impl

// What vjp gives: the value, and the function from the gradient of the value to those of the inputs, which may be called
// as often as one likes. An input that the value does not depend on gets zeros.
template <class Y, class... X>
class Pullback {
public:
    Pullback(const Y& recorded, const X&... inputs) : y_(recorded), inputs_{inputs.any()...} {}
    [[nodiscard]] auto operator()(const Y& dy) const {
        using Gradients = typename impl::GradientsOf<X...>::type;
        impl::check_like("vjp", "the gradient", dy, y_);
        detail::AnyTensor results[sizeof...(X)];
        if (y_.requires_grad()) {
            detail::GradTarget targets[sizeof...(X)];
            GradOptions<Y> options;
            options.grad_output = dy;
            options.retain_graph = options.allow_unused = true;
            impl::grad_into(y_, options, inputs_, results, targets, static_cast<long>(sizeof...(X)));
        }
        std::size_t k = 0;
        const auto take = [&]<class T>(T*) {
            const std::size_t i = k++;
            return results[i] ? T(static_cast<detail::AnyTensor&&>(results[i])) : impl::zeros_of(T(inputs_[i]));
        };
        return Gradients{take(static_cast<X*>(nullptr))...};
    }

private:
    Y y_;
    detail::AnyTensor inputs_[sizeof...(X)];
};
template <class Y, class P>
struct ValueAndPullback {
    Y value;
    P pullback;
};

// auto [y, pull] = vjp(f, x...): the value f(x...) and the product of its Jacobian's transpose with any vector:
// pull(dy) is the gradient of <dy, f(x...)> with respect to x, or all of them: auto [da, db] = pull(dy). f takes one to
// four floating-point tensors and returns a tensor or an expression. No .grad() of x changes, nor of what f captures.
template <class F, class T, int R, class... X>
    requires(sizeof...(X) <= 3)
[[nodiscard]] auto vjp(F&& f, const Tensor<T, R>& x, const X&... rest) {
    const impl::Recording recording;
    const auto run = [&f](const auto&... leaves) {
        const auto y = impl::as_tensor(f(leaves...));
        using Y = std::remove_cvref_t<decltype(y)>;
        using P = Pullback<Y, std::remove_cvref_t<decltype(leaves)>...>;
        return ValueAndPullback<Y, P>{y.detach(), P(y, leaves...)};
    };
    return run(impl::leaf_of(x), impl::leaf_of(rest)...);
}

template <class Y>
struct ValueAndTangent { Y value, tangent; };

namespace impl {
// The tangent as the derivative of <J'u, v> with respect to u, which J'u is linear in.
template <class Y, std::size_t N>
Y pushed(const Y& y, const detail::AnyTensor (&inputs)[N], const detail::AnyTensor (&tangents)[N]) {
    if (!y.requires_grad()) return zeros_of(y);
    const Y u = zeros_of(y).require_grad();
    detail::AnyTensor gradients[N];
    detail::GradTarget targets[N];
    GradOptions<Y> options;
    options.grad_output = u;
    options.create_graph = options.allow_unused = true;
    grad_into(y, options, inputs, gradients, targets, static_cast<long>(N));
    detail::BackwardRoot roots[N];
    int count = 0;
    for (std::size_t k = 0; k < N; ++k)
        if (gradients[k] && gradients[k]->node != nullptr) {
            const no_grad none;
            roots[count++] = {gradients[k]->node, gradients[k]->slot, recorded_copy_any(tangents[k].get())};
        }
    if (count == 0) return zeros_of(y);
    detail::GradTarget target = grad_target(u.record(), 0);
    run_grad(roots, count, &target, 1, false, false);
    return target.gradient ? Y(static_cast<detail::AnyTensor&&>(target.gradient)) : zeros_of(y);
}
}  // namespace impl

// auto [y, t] = jvp(f, x, v): the value f(x) and its derivative along v (of x's shape), the product of the Jacobian with v.
// Likewise jvp(f, x1, x2, v1, v2). Computed as the derivative of vjp, which is linear in its argument: two passes, exact.
// Needs <tenon/ops/second_order.hpp>. Throws ShapeError.
template <class F, class A>
[[nodiscard]] auto jvp(F&& f, const A& x, const std::type_identity_t<A>& v) {
    const impl::Recording recording;
    impl::check_like("jvp", "the tangent", v, x);
    const A leaf = impl::leaf_of(x);
    const auto y = impl::as_tensor(f(leaf));
    const detail::AnyTensor inputs[] = {leaf.any()}, tangents[] = {v.any()};
    return ValueAndTangent<std::remove_cvref_t<decltype(y)>>{y.detach(), impl::pushed(y, inputs, tangents)};
}
template <class F, class A, class B>
[[nodiscard]] auto jvp(F&& f, const A& x1, const B& x2, const std::type_identity_t<A>& v1, const std::type_identity_t<B>& v2) {
    const impl::Recording recording;
    impl::check_like("jvp", "the first tangent", v1, x1);
    impl::check_like("jvp", "the second tangent", v2, x2);
    const A first = impl::leaf_of(x1);
    const B second = impl::leaf_of(x2);
    const auto y = impl::as_tensor(f(first, second));
    const detail::AnyTensor inputs[] = {first.any(), second.any()}, tangents[] = {v1.any(), v2.any()};
    return ValueAndTangent<std::remove_cvref_t<decltype(y)>>{y.detach(), impl::pushed(y, inputs, tangents)};
}

// hessian_vector_product(f, x, v): the Hessian of f at x times v, for f that gives one number; of x's shape. The derivative
// of <gradient, v>: no Hessian is built. Needs <tenon/ops/second_order.hpp>. Throws ShapeError.
template <class F, class T, int R>
[[nodiscard]] Tensor<T, R> hessian_vector_product(F&& f, const Tensor<T, R>& x, const Tensor<T, R>& v) {
    const impl::Recording recording;
    impl::check_like("hessian_vector_product", "the vector", v, x);
    const Tensor<T, R> leaf = impl::leaf_of(x);
    const auto y = impl::as_tensor(f(leaf));
    if (!y.requires_grad()) return impl::zeros_of(leaf);
    const Tensor<T, R> gradient = grad(y, leaf, {.create_graph = true, .allow_unused = true});
    if (!gradient.has_value() || !gradient.requires_grad()) return impl::zeros_of(leaf);
    const Tensor<T, R> product = grad(gradient, leaf, {.grad_output = v, .allow_unused = true});
    return product.has_value() ? product : impl::zeros_of(leaf);
}

}  // namespace TENON_CONFIG_NAMESPACE

// --- members of Tensor ------------------------------------------------------------------------------------------------

template <Element T, int Rank>
void Tensor<T, Rank>::backward(BackwardOptions options) const {
    detail::Record* r = record();
    if (r->node == nullptr) impl::fail_no_graph("backward", r);
    detail::BackwardRoot root{r->node, r->slot, impl::first_gradient<T, Rank>("backward", *this, nullptr, options.create_graph)};
    impl::WholePlan plan(options.retain_graph, options.create_graph);
    detail::run_backward(&root, 1, &plan);
}
template <Element T, int Rank>
void Tensor<T, Rank>::backward(const Tensor& gradient, BackwardOptions options) const {
    detail::Record* r = record();
    if (r->node == nullptr) impl::fail_no_graph("backward", r);
    detail::BackwardRoot root{r->node, r->slot, impl::first_gradient("backward", *this, &gradient, options.create_graph)};
    impl::WholePlan plan(options.retain_graph, options.create_graph);
    detail::run_backward(&root, 1, &plan);
}

}  // namespace tenon

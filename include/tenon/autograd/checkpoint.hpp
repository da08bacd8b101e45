// Gradient checkpointing (Chen et al. 2016): trades a second forward run for the memory between.
#pragma once

#include <tenon/autograd/custom.hpp>
#include <tenon/autograd/functional.hpp>

namespace tenon {
namespace detail {

// Collects the nodes that are made while it lives.
class NodeCollector final : public Watch {
public:
    NodeCollector() noexcept : outer_(watch) {
        every_result = outer_ != nullptr && outer_->every_result;
        watch = this;
    }
    NodeCollector(const NodeCollector&) = delete;
    NodeCollector& operator=(const NodeCollector&) = delete;
    ~NodeCollector() { watch = outer_; }
    bool made(const Node* node) const { return made_.find(node) != 0; }

private:
    void recorded(Record* result, Node* node) override {
        made_[node] = 1;
        if (outer_ != nullptr) outer_->recorded(result, node);
    }
    void walked(Node& node) override {
        if (outer_ != nullptr) outer_->walked(node);
    }
    NodeTable made_;
    Watch* outer_;
};

// The edges that lead out of what was collected, each once.
class OuterEdges {
public:
    OuterEdges() = default;
    OuterEdges(const OuterEdges&) = delete;
    OuterEdges& operator=(const OuterEdges&) = delete;
    ~OuterEdges() {
        std::free(edges_);
        std::free(stack_);
    }
    void collect(const NodeCollector& nodes, Node* from) {
        visit(nodes, from);
        while (pending_ > 0) {
            Node* node = stack_[--pending_];
            for (int k = 0; k < node->input_count; ++k) {
                const Edge edge = node->inputs[k];
                if (edge.node == nullptr) continue;
                if (nodes.made(edge.node)) visit(nodes, edge.node);
                else add(edge);
            }
        }
    }
    void add(Edge edge) {
        for (int i = 0; i < count_; ++i)
            if (edges_[i].node == edge.node && edges_[i].slot == edge.slot) return;
        edges_ = grown(edges_, count_, capacity_);
        edges_[count_++] = edge;
    }
    int count() const { return count_; }
    Edge operator[](int k) const { return edges_[k]; }

private:
    void visit(const NodeCollector& nodes, Node* node) {
        if (!nodes.made(node) || seen_[node] != 0) return;
        seen_[node] = 1;
        stack_ = grown(stack_, pending_, stack_capacity_);
        stack_[pending_++] = node;
    }
    template <class X>
    static X* grown(X* list, int count, int& capacity) {
        if (count < capacity) return list;
        capacity = capacity == 0 ? 32 : 2 * capacity;
        X* fresh = static_cast<X*>(std::realloc(static_cast<void*>(list), static_cast<std::size_t>(capacity) * sizeof(X)));
        if (fresh == nullptr) fail<MemoryError>("checkpoint: out of memory");
        return fresh;
    }
    NodeTable seen_;
    Node** stack_ = nullptr;
    Edge* edges_ = nullptr;
    int count_ = 0, capacity_ = 0, pending_ = 0, stack_capacity_ = 0;
};

}  // namespace detail

inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

// An argument of a checkpointed function: a tensor is kept with its version and its place on the tape.
template <class X>
struct KeptArgument {
    X value;
    explicit KeptArgument(const X& x) : value(x) {}
    X get(const char*) const { return value; }
    void clear() noexcept {}
};
template <class T, int R>
struct KeptArgument<Tensor<T, R>> {
    detail::Saved saved;
    Edge edge;
    explicit KeptArgument(const Tensor<T, R>& x) {
        saved.save(x.record());
        edge = detail::edge_to(x.record());
        if (edge.node != nullptr) detail::retain(edge.node);
    }
    KeptArgument(const KeptArgument&) = delete;
    KeptArgument& operator=(const KeptArgument&) = delete;
    ~KeptArgument() {
        if (edge.node != nullptr) detail::release_node(edge.node);
    }
    Tensor<T, R> get(const char* name) const {
        const detail::Record* r = saved.check(name);
        detail::AnyTensor again(detail::new_view(r, r->rank, r->dims(), r->strides(), r->offset));
        detail::attach_again(again.get(), edge.node, edge.slot);
        return Tensor<T, R>(static_cast<detail::AnyTensor&&>(again));
    }
    void clear() noexcept { saved.tensor = detail::AnyTensor(); }
};
template <class... X>
struct KeptArguments {
    template <class F>
    auto call(const char*, F&& f) const { return f(); }
    void clear() noexcept {}
};
template <class X, class... R>
struct KeptArguments<X, R...> {
    KeptArgument<X> head;
    KeptArguments<R...> tail;
    explicit KeptArguments(const X& x, const R&... rest) : head(x), tail(rest...) {}
    template <class F>
    auto call(const char* name, F&& f) const {
        return tail.call(name, [&](const auto&... rest) { return f(head.get(name), rest...); });
    }
    void clear() noexcept {
        head.clear();
        tail.clear();
    }
};

template <class F, class Out, class... X>
class CheckpointNode final : public CustomNodeBase {
public:
    using Parts = impl::Parts<Out>;
    CheckpointNode(const F& f, const detail::OuterEdges& edges, const X&... arguments)
        : CustomNodeBase("checkpoint", slots_, Parts::count, nullptr, 0), f_(f), arguments_(arguments...) {
        edges_ = new Edge[static_cast<std::size_t>(edges.count() > 0 ? edges.count() : 1)];
        this->inputs = edges_;
        for (int k = 0; k < edges.count(); ++k) {
            edges_[k] = edges[k];
            detail::retain(edges_[k].node);
            ++input_count;
            if (edges_[k].node->depth >= depth) depth = edges_[k].node->depth + 1;
        }
    }
    ~CheckpointNode() override { delete[] edges_; }
    void release_saved() noexcept override { arguments_.clear(); }

    // Runs f again, and its backward up to what lies outside of it.
    void run(bool record) override {
        struct Targets {
            detail::GradTarget* list;
            ~Targets() { delete[] list; }
        } const targets{new detail::GradTarget[static_cast<std::size_t>(input_count > 0 ? input_count : 1)]};
        struct Flags {
            bool* list;
            ~Flags() { delete[] list; }
            bool& operator[](int i) const { return list[i]; }
        } const wanted{new bool[static_cast<std::size_t>(input_count > 0 ? input_count : 1)]};
        int count = 0;
        for (int k = 0; k < input_count; ++k) {
            wanted[k] = detail::wanted_now(inputs[k]);
            if (!wanted[k]) continue;
            targets.list[count].node = inputs[k].node;
            targets.list[count++].slot = inputs[k].slot;
        }
        Out results = [&] {
            const Recording recording;
            return as_outputs(arguments_.call(name, f_));
        }();
        detail::BackwardRoot roots[Parts::count];
        int root_count = 0, k = 0;
        Parts::each(results, [&](const auto& y) {
            const int slot = k++;
            if (y.record()->node == nullptr || !slots_[slot].has) return;
            roots[root_count++] = {y.record()->node, y.record()->slot, slots_[slot].gradient};
        });
        if (root_count == 0) return;
        run_grad(roots, root_count, targets.list, count, false, record, true);
        count = 0;
        for (int i = 0; i < input_count; ++i) {
            if (!wanted[i]) continue;
            const detail::AnyTensor& g = targets.list[count++].gradient;
            if (!g) continue;
            if (record) accumulate_recorded(inputs[i], g);
            else add_gradient(name, inputs[i], g);
        }
    }

private:
    F f_;
    KeptArguments<X...> arguments_;
    Slot slots_[Parts::count];
    Edge* edges_ = nullptr;
};

}  // namespace impl

// checkpoint(f, inputs...): f(inputs...), of which only the inputs are kept; backward runs f again. f takes tensors (and
// anything else), returns a tensor, an expression or outputs(a, b, ...), and must compute the same whenever it is called:
// random numbers do, since their keys are values. Tensors that f captures get their gradients too; f is copied, and with
// it the handles that it captures by value. Checkpoints nest. In a recorded pass (create_graph) what f has saved is kept.
template <class F, class... X>
[[nodiscard]] auto checkpoint(F f, const X&... inputs) {
    using Out = decltype(impl::as_outputs(f(inputs...)));
    using Parts = impl::Parts<Out>;
    if (!detail::grad_enabled()) return impl::as_outputs(f(inputs...));
    // Recorded once, to see what f reaches for; the records go when this returns.
    detail::NodeCollector nodes;
    Out results = impl::as_outputs(f(inputs...));
    detail::OuterEdges edges;
    bool wanted = false;
    const auto note = [&](detail::Record* r) {
        if (r->node == nullptr) return;
        wanted = true;
        if (nodes.made(r->node)) edges.collect(nodes, r->node);
        else edges.add(detail::edge_to(r));
    };
    Parts::each(results, [&](const auto& y) { note(y.record()); });
    if (!wanted) return results;
    auto* node = new impl::CheckpointNode<F, Out, X...>(f, edges, inputs...);
    struct Held {
        Node* node;
        ~Held() { detail::release_node(node); }
    } const held{node};
    int k = 0;
    Parts::each(results, [&](auto& y) {
        const int slot = k++;
        detail::set_slot(node->slots[slot], y.record());
        if (y.record()->node == nullptr) return;
        const detail::AnyTensor apart = impl::apart(y.any());
        detail::retain(static_cast<Node*>(node));
        detail::attach(apart.get(), node, slot);
        y = std::remove_cvref_t<decltype(y)>(apart);
    });
    return results;
}

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

// The tape: leaves, the backward pass over recorded nodes, and the scopes that switch recording off.
//
// Nodes hang off the tensors that they made; nothing is global. Backward visits nodes from the deepest to the leaves,
// each once, and writes a gradient on first touch and adds afterwards. Distinct threads may run distinct tapes.
#pragma once

#include <tenon/core/tensor.hpp>

namespace tenon {

// While one lives, operations of this thread are not recorded.
class no_grad {
public:
    no_grad() { ++detail::no_grad_depth; }
    ~no_grad() { --detail::no_grad_depth; }
    no_grad(const no_grad&) = delete;
    no_grad& operator=(const no_grad&) = delete;
};

namespace detail {

class LeafNode final : public Node {
public:
    explicit LeafNode(const Record* r) : Node("leaf", &slot_, 1, nullptr, 0) {
        leaf = true;
        slot_.dtype = r->dtype;
        slot_.device = r->storage->device;
        slot_.rank = r->rank;
        for (int i = 0; i < r->rank; ++i) slot_.dims[i] = r->dims()[i];
    }
    void backward() override {}

private:
    Slot slot_;
};

// The gradient that a leaf with hooks had before a pass: hooks see what this pass brings.
struct SetAside {
    Node* leaf;
    AnyTensor gradient;
    bool had;
    SetAside* next;
};
class BackwardPlan;
// A backward pass of this thread, and the leaves that it has claimed for writing.
struct BackwardRun {
    unsigned long id;
    Node** claimed;
    int count, capacity;
    SetAside* aside;
    BackwardRun* outer;  // the pass that this one runs within
    bool hooks;          // whether hooks of leaves are run
    const BackwardPlan* plan;
};
inline constinit thread_local BackwardRun* backward_run = nullptr;
inline unsigned long last_backward_id = 0;

TENON_COLD inline void grow_claimed(BackwardRun& run) {
    const int capacity = run.capacity == 0 ? 64 : 2 * run.capacity;
    Node** fresh = static_cast<Node**>(std::realloc(run.claimed, sizeof(Node*) * static_cast<std::size_t>(capacity)));
    if (fresh == nullptr) fail<MemoryError>("backward: out of memory");
    run.claimed = fresh;
    run.capacity = capacity;
}
inline void claim(Node* leaf) {
    BackwardRun* run = backward_run;
    if (run == nullptr) return;
    unsigned long owner = 0;
    if (!__atomic_compare_exchange_n(&leaf->queued_by, &owner, run->id, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
        for (const BackwardRun* r = run; r != nullptr; r = r->outer)
            if (owner == r->id) return;
        fail<GradError>("backward: two threads run backward into the same leaf ", Sizes{leaf->slots[0].rank, leaf->slots[0].dims},
                        " at once\n       hint: give each thread its own copy of the parameters, or run one after the other");
    }
    if (run->count == run->capacity) grow_claimed(*run);
    run->claimed[run->count++] = leaf;
    if (TENON_UNLIKELY(leaf->extras != nullptr) && run->hooks && leaf->extras->has_hooks()) {
        Node::Slot& slot = leaf->slots[0];
        run->aside = new SetAside{leaf, static_cast<AnyTensor&&>(slot.gradient), slot.has, run->aside};
        slot.has = false;
    }
}

// The gradient of a pass that was recorded is not written in place: who differentiates it reads it.
TENON_COLD inline void forget_graph(Node::Slot& slot) {
    Record* r = slot.gradient.get();
    if (!slot.has && r->storage->data_class != -1) {
        slot.gradient = AnyTensor();
        return;
    }
    if (r->storage->data_class == -1) {  // an optimiser's arena: the memory stays
        Record* plain = new_view(r, r->rank, r->dims(), r->strides(), r->offset);
        plain->is_view = false;
        slot.gradient = AnyTensor(plain);
        return;
    }
    AnyTensor copy(new_record(r->dtype, r->rank, r->dims(), r->storage->device));
    copy_bytes(r->storage->device, copy->data(), r->data(), static_cast<std::size_t>(r->size) * static_cast<std::size_t>(size_of(r->dtype)));
    slot.gradient = static_cast<AnyTensor&&>(copy);
}

struct GradientTarget {
    Record* record;
    unsigned char mode;  // 1: write, 2: add
};

// Where the gradient of a node's output is written, and whether it adds to what has arrived before. The caller writes
// all of it.
inline GradientTarget gradient_target(Edge edge) {
    Node::Slot& slot = edge.node->slots[edge.slot];
    if (edge.node->leaf) claim(edge.node);
    if (TENON_UNLIKELY(slot.gradient && slot.gradient->node != nullptr)) forget_graph(slot);
    if (!slot.gradient) slot.gradient = AnyTensor(new_record(slot.dtype, slot.rank, slot.dims, slot.device));
    const unsigned char mode = slot.has ? 2 : 1;
    slot.has = true;
    note_write(slot.gradient->storage, "backward");
    return {slot.gradient.get(), mode};
}

// Lets go of a leaf's gradient. A gradient that somebody keeps a handle on stays as it is: in an arena it moves out.
inline void clear_gradient(Node::Slot& slot) {
    slot.has = false;
    if (!slot.gradient) return;
    if (TENON_UNLIKELY(slot.gradient->node != nullptr)) {
        forget_graph(slot);
        if (!slot.gradient) return;
    }
    Record* r = slot.gradient.get();
    const bool kept = __atomic_load_n(&r->references, __ATOMIC_ACQUIRE) > 1 || __atomic_load_n(&r->storage->references, __ATOMIC_ACQUIRE) > 1;
    if (!kept) return;
    if (r->storage->data_class != -1) {
        slot.gradient = AnyTensor();
        return;
    }
    Storage* storage = r->storage;
    Storage* copy = new_storage(storage->bytes, storage->device);
    copy_bytes(storage->device, copy->data, storage->data, storage->bytes);
    // The kept storage takes the copy; a fresh one takes its place in the arena.
    Storage* fresh = new_foreign_storage(storage->data, storage->bytes, storage->device, storage->owner, storage->release_owner);
    Record* record = new_record_on(fresh, slot.dtype, slot.rank, slot.dims);
    storage->data = copy->data;
    storage->owner = copy;
    storage->release_owner = [](void* held) { release(static_cast<Storage*>(held)); };
    slot.gradient = AnyTensor(record);
}

// A binary heap of nodes by depth, deepest first; of equal depth the one that came first.
class NodeQueue {
public:
    NodeQueue() = default;
    NodeQueue(const NodeQueue&) = delete;
    NodeQueue& operator=(const NodeQueue&) = delete;
    ~NodeQueue() {
        if (items_ != small_) std::free(items_);
    }
    bool empty() const { return count_ == 0; }
    void push(Node* node) {
        if (count_ == capacity_) grow();
        long at = count_++;
        const Item item{node->depth, order_++, node};
        while (at > 0 && before(item, items_[(at - 1) / 2])) {
            items_[at] = items_[(at - 1) / 2];
            at = (at - 1) / 2;
        }
        items_[at] = item;
    }
    Node* pop() {
        Node* top = items_[0].node;
        const Item last = items_[--count_];
        long at = 0;
        for (;;) {
            long child = 2 * at + 1;
            if (child >= count_) break;
            if (child + 1 < count_ && before(items_[child + 1], items_[child])) ++child;
            if (!before(items_[child], last)) break;
            items_[at] = items_[child];
            at = child;
        }
        items_[at] = last;
        return top;
    }

private:
    struct Item {
        long depth, order;
        Node* node;
    };
    static bool before(const Item& a, const Item& b) { return a.depth != b.depth ? a.depth > b.depth : a.order < b.order; }
    TENON_COLD void grow() {
        Item* fresh = static_cast<Item*>(std::malloc(sizeof(Item) * 2 * static_cast<std::size_t>(capacity_)));
        if (fresh == nullptr) fail<MemoryError>("backward: out of memory");
        std::memcpy(fresh, items_, sizeof(Item) * static_cast<std::size_t>(count_));
        if (items_ != small_) std::free(items_);
        items_ = fresh;
        capacity_ *= 2;
    }
    Item small_[32];
    Item* items_ = small_;
    long count_ = 0, capacity_ = 32, order_ = 0;
};

// Drops gradients of the outputs, on every way out.
inline void drop_gradients(Node* node) noexcept {
    for (int i = 0; i < node->slot_count; ++i) {
        node->slots[i].gradient = AnyTensor();
        node->slots[i].has = false;
    }
}

// The same for everything that a node's backward may have written to on the way to an error: what is left behind would
// be added to by the next pass.
inline void drop_inputs(Node* node) noexcept {
    for (int i = 0; i < node->input_count; ++i)
        if (node->inputs[i].node != nullptr && !node->inputs[i].node->leaf) drop_gradients(node->inputs[i].node);
}

// Where a pass begins: one output, and its gradient (contiguous, not shared with the user).
struct BackwardRoot {
    Node* node;
    int slot;
    AnyTensor gradient;
};

// What a pass does beyond a plain one (autograd/functional.hpp).
class BackwardPlan {
public:
    bool record = false;  // gradients are recorded operations
    bool hooks = true;    // of leaves
    virtual bool keeps(const Node&) const = 0;    // whether a node keeps what it has saved
    virtual bool hooked(const Node&) const { return true; }   // whether a node's hooks are run
    virtual void visit(Node& node) = 0;           // in place of node.backward()
    virtual bool follows(const Node&) const { return true; }  // whether a node lies on the way
    virtual void deliver(Edge edge, AnyTensor gradient) = 0;  // adds a gradient to what an output has got

protected:
    ~BackwardPlan() = default;
};

// Whether the pass that is running wants the gradient of an input.
inline bool wanted_now(const Edge& edge) {
    if (edge.node == nullptr) return false;
    const BackwardPlan* plan = backward_run == nullptr ? nullptr : backward_run->plan;
    return plan == nullptr || plan->follows(*edge.node);
}

// While one lives on this thread, every recorded result and every gradient is looked at (autograd/anomaly.hpp).
class Watch {
public:
    bool every_result = false;  // operations are not fused into each other, so that each has a result
    virtual void recorded(Record* result, Node* node) = 0;
    virtual void walked(Node& node) = 0;

protected:
    ~Watch() = default;
};
inline constinit thread_local Watch* watch = nullptr;

[[noreturn]] TENON_COLD inline void fail_released(const Node* node) {
    fail<GradError>("backward: the operation \"", node->name, "\" was already walked by a backward pass, which let go of what it had saved"
                    "\n       hint: compute the loss again before every backward, or keep the graph: backward({.retain_graph = true})");
}

// Brings back the gradients that leaves with hooks had, after their hooks have seen those of this pass.
TENON_COLD inline void bring_back(BackwardRun& run, bool record, bool succeeded) {
    while (run.aside != nullptr) {
        SetAside* const aside = run.aside;
        struct Freed {
            BackwardRun& run;
            SetAside* aside;
            ~Freed() {
                run.aside = aside->next;
                delete aside;
            }
        } const freed{run, aside};
        Node::Slot& slot = aside->leaf->slots[0];
        AnyTensor fresh;
        const auto restore = [&] {
            fresh = static_cast<AnyTensor&&>(slot.gradient);
            slot.gradient = static_cast<AnyTensor&&>(aside->gradient);
            slot.has = aside->had;
        };
        try {
            if (succeeded && slot.has) aside->leaf->extras->arrived(*aside->leaf);
            else slot.gradient = AnyTensor();
        } catch (...) {
            restore();
            throw;
        }
        restore();
        if (fresh) aside->leaf->extras->merge(*aside->leaf, static_cast<AnyTensor&&>(fresh), record);
    }
}

// Runs backward from outputs.
inline void run_backward(BackwardRoot* roots, int root_count, BackwardPlan* plan = nullptr) {
    for (int i = 0; i < root_count; ++i)
        if (roots[i].node->released) fail_released(roots[i].node);
    BackwardRun* const outer = backward_run;
    BackwardRun run{__atomic_add_fetch(&last_backward_id, 1, __ATOMIC_RELAXED), nullptr, 0, 0, nullptr, outer, plan == nullptr || plan->hooks, plan};
    const int outer_no_grad = no_grad_depth;
    backward_run = &run;
    NodeQueue queue;
    struct Cleanup {
        BackwardRun& run;
        BackwardRun* outer;
        NodeQueue& queue;
        int no_grad;
        ~Cleanup() {
            while (!queue.empty()) drop_gradients(queue.pop());
            if (run.aside != nullptr) bring_back(run, false, false);
            for (int i = 0; i < run.count; ++i) __atomic_store_n(&run.claimed[i]->queued_by, 0ul, __ATOMIC_RELEASE);
            std::free(run.claimed);
            backward_run = outer;
            no_grad_depth = no_grad;
        }
    };
    no_grad_depth = plan != nullptr && plan->record ? 0 : 1;
    Cleanup cleanup{run, outer, queue, outer_no_grad};
    for (int i = 0; i < root_count; ++i) {
        Node* const root = roots[i].node;
        Node::Slot& target = root->slots[roots[i].slot];
        if (plan != nullptr) {
            plan->deliver({root, roots[i].slot}, static_cast<AnyTensor&&>(roots[i].gradient));
        } else if (root->leaf) {
            claim(root);
            if (target.has) fail<GradError>("backward: this leaf already has a gradient: clear it first with zero_grad()");
            clear_gradient(target);
            target.gradient = static_cast<AnyTensor&&>(roots[i].gradient);
            target.has = true;
        } else {
            target.gradient = static_cast<AnyTensor&&>(roots[i].gradient);
            target.has = true;
        }
        if (root->leaf || root->queued_by == run.id) continue;
        root->queued_by = run.id;
        queue.push(root);
    }
    while (!queue.empty()) {
        Node* node = queue.pop();
        bool any = false;
        for (int i = 0; i < node->slot_count; ++i) any = any || node->slots[i].has;
        try {
            if (any) {
                if (TENON_UNLIKELY(node->extras != nullptr) && (plan == nullptr || plan->hooked(*node))) node->extras->arrived(*node);
                if (TENON_LIKELY(plan == nullptr)) node->backward();
                else plan->visit(*node);
                if (TENON_UNLIKELY(watch != nullptr)) watch->walked(*node);
            }
        } catch (...) {
            drop_gradients(node);
            drop_inputs(node);
            throw;
        }
        drop_gradients(node);
        for (int i = 0; i < node->input_count; ++i) {
            Node* input = node->inputs[i].node;
            if (input == nullptr || input->leaf || input->queued_by == run.id) continue;
            if (TENON_UNLIKELY(plan != nullptr) && !plan->follows(*input)) continue;
            if (input->released) {
                drop_inputs(node);
                fail_released(input);
            }
            input->queued_by = run.id;
            queue.push(input);
        }
        // A view saves nothing: a kept expression may lead another pass through it.
        if (node->view || (plan != nullptr && plan->keeps(*node))) continue;
        node->release_saved();
        node->released = true;
    }
    if (TENON_UNLIKELY(run.aside != nullptr)) bring_back(run, plan != nullptr && plan->record, true);
}
inline void run_backward(Node* root, int slot, AnyTensor gradient) {
    BackwardRoot one{root, slot, static_cast<AnyTensor&&>(gradient)};
    run_backward(&one, 1);
}

// Connects a result to the node that made it.
inline void attach(Record* record, Node* adopted, int slot) {
    record->node = adopted;
    record->slot = static_cast<short>(slot);
    record->recorded_writes = record->storage->recorded_writes;
    if (TENON_UNLIKELY(watch != nullptr)) watch->recorded(record, adopted);
}
// Connects another record of the same values to a node that has its result.
inline void attach_again(Record* record, Node* node, int slot) {
    if (node == nullptr) return;
    retain(node);
    record->node = node;
    record->slot = static_cast<short>(slot);
    record->recorded_writes = record->storage->recorded_writes;
}
// The edge to an input; checks that the input's node still describes its memory.
inline Edge edge_to(Record* record) {
    if (record->node == nullptr) return {};
    if (TENON_UNLIKELY(record->recorded_writes != record->storage->recorded_writes))
        fail<GradError>("this view was taken before its memory was overwritten by the recorded operation \"", record->storage->writer,
                        "\": take the view again after the write");
    return {record->node, record->slot};
}
inline void set_slot(Node::Slot& slot, const Record* r) {
    slot.dtype = r->dtype;
    slot.device = r->storage->device;
    slot.rank = r->rank;
    for (int i = 0; i < r->rank; ++i) slot.dims[i] = r->dims()[i];
}

// A saved tensor: its memory and the version that it had.
struct Saved {
    AnyTensor tensor;
    unsigned version = 0;

    // An input, or something that the operation made for itself.
    void save(Record* record) {
        if (record->node != nullptr) return save_output(record);
        tensor = AnyTensor::share(record);
        version = record->storage->version;
    }
    // A result of the node itself, before or after it got its node: without it, or the node would keep itself alive.
    void save_output(Record* record) {
        tensor = AnyTensor(new_view(record, record->rank, record->dims(), record->strides(), record->offset));
        version = record->storage->version;
    }
    Record* check(const char* operation) const {
        Record* r = tensor.get();
        if (TENON_UNLIKELY(r->storage->version != version))
            fail<GradError>("backward: a tensor ", r->description(), " that the operation \"", operation,
                            "\" had saved was overwritten since, last by \"", r->storage->writer,
                            "\"\n       hint: write into a clone, or run backward before the write");
        return r;
    }
};

}  // namespace detail

}  // namespace tenon

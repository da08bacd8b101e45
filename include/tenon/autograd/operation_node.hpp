// The base of tape nodes of operations that are not elementwise: one output, a fixed number of inputs.
#pragma once

#include <tenon/autograd/tape.hpp>

#include <new>

namespace tenon::detail {

template <int Inputs>
class OperationNode : public Node {
public:
    explicit OperationNode(const char* operation) : Node(operation, &slot_, 1, edges_, Inputs) {}

    // Input k; a tensor that wants no gradient leaves the edge empty.
    void set_input(int k, Record* r) {
        edges_[k] = edge_to(r);
        if (edges_[k].node == nullptr) return;
        retain(edges_[k].node);
        if (edges_[k].node->depth >= depth) depth = edges_[k].node->depth + 1;
    }
    // The result is this node's output; its record takes over the reference to the node.
    void set_result(Record* r) {
        set_slot(slot_, r);
        attach(r, this, 0);
    }

protected:
    bool wanted(int k) const { return edges_[k].node != nullptr; }
    const Record* gradient() const { return slot_.gradient.get(); }

    Slot slot_;
    Edge edges_[Inputs];
};

// A node in the library's own memory.
template <class N, class... A>
N* make_node(A&&... arguments) {
    const int block_class = checked_size_class(sizeof(N));
    void* block = allocate_class(block_class);
    N* node;
    try {
        node = new (block) N(static_cast<A&&>(arguments)...);
    } catch (...) {
        release_class(block, block_class);
        throw;
    }
    node->block_class = static_cast<short>(block_class);
    return node;
}

inline bool wants_gradient(const Record* r) { return grad_enabled() && r->node != nullptr; }

}  // namespace tenon::detail

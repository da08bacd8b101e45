// Numbers nodes in the order in which they are met: what a sample calls the nodes of a large graph.
#pragma once

#include <cstdint>
#include <vector>

namespace tenon::graph::impl_sampling {

// A table with open addressing, at most half full; its cost is that of the sample, not of the graph.
class LocalIds {
public:
    explicit LocalIds(long expected = 16) {
        std::size_t slots = 32;
        while (slots < static_cast<std::size_t>(expected) * 2) slots *= 2;
        keys_.assign(slots, -1);
        local_.resize(slots);
        nodes.reserve(static_cast<std::size_t>(expected));
    }
    // The number of a node, or -1 where it has not been met.
    std::int64_t find(std::int64_t node) const {
        const std::size_t at = slot(node);
        return keys_[at] < 0 ? -1 : local_[at];
    }
    // Its number, a new one where it has not been met.
    std::int64_t number(std::int64_t node) {
        std::size_t at = slot(node);
        if (keys_[at] >= 0) return local_[at];
        if (2 * (nodes.size() + 1) > keys_.size()) {
            grow();
            at = slot(node);
        }
        keys_[at] = node;
        local_[at] = static_cast<std::int64_t>(nodes.size());
        nodes.push_back(node);
        return local_[at];
    }
    std::vector<std::int64_t> nodes;  // by number

private:
    std::size_t slot(std::int64_t node) const {
        const std::size_t mask = keys_.size() - 1;
        std::size_t at = static_cast<std::size_t>((static_cast<std::uint64_t>(node) * 0x9e3779b97f4a7c15ull) >> 20) & mask;
        while (keys_[at] >= 0 && keys_[at] != node) at = (at + 1) & mask;
        return at;
    }
    void grow() {
        keys_.assign(keys_.size() * 2, -1);
        local_.resize(keys_.size());
        for (std::size_t i = 0; i < nodes.size(); ++i) {
            const std::size_t at = slot(nodes[i]);
            keys_[at] = nodes[i];
            local_[at] = static_cast<std::int64_t>(i);
        }
    }
    std::vector<std::int64_t> keys_, local_;
};

}  // namespace tenon::graph::impl_sampling

// A graph of a few nodes with very many edges, drawn the same way here and in rmat.py.
#pragma once

#include <tenon/core/factories.hpp>

#include <algorithm>
#include <cstdint>
#include <vector>

namespace rmat {

using namespace tenon;

// The numbers of splitmix64, by position.
inline std::uint64_t mixed(std::uint64_t z) {
    z = (z + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}
// R-MAT (Chakrabarti et al. 2004) with the parameters of Graph 500: edge_index [2, 16 * 2^scale] of 2^scale nodes. Ids are shuffled,
// repeated edges stay.
inline Tensor<std::int64_t, 2> edges(int scale) {
    const long nodes = 1l << scale, count = 16 * nodes;
    std::vector<long> order(static_cast<std::size_t>(nodes)), label(order.size());
    for (long i = 0; i < nodes; ++i) order[static_cast<std::size_t>(i)] = i;
    const auto draw = [](long i) { return mixed((std::uint64_t(1) << 48) + static_cast<std::uint64_t>(i)); };
    std::sort(order.begin(), order.end(), [&](long a, long b) { return draw(a) < draw(b); });
    for (long i = 0; i < nodes; ++i) label[static_cast<std::size_t>(order[static_cast<std::size_t>(i)])] = i;
    const Tensor<std::int64_t, 2> index = empty<std::int64_t>({2, count});
    for (long e = 0; e < count; ++e) {
        std::size_t a = 0, b = 0;
        for (int bit = 0; bit < scale; ++bit) {
            const double u = static_cast<double>(mixed(static_cast<std::uint64_t>(64 * e + bit)) >> 11) * 0x1p-53;
            a = 2 * a + (u >= 0.76 ? 1 : 0);
            b = 2 * b + ((u >= 0.57 && u < 0.76) || u >= 0.95 ? 1 : 0);
        }
        index.data()[e] = label[a];
        index.data()[count + e] = label[b];
    }
    return index;
}

}  // namespace rmat

// A random order of the rows of a data set, as a function of a key alone.
#pragma once

#include <tenon/kernels/cpu/rng.hpp>

#include <cstdint>
#include <type_traits>
#include <vector>

namespace tenon::data {

// The numbers 0 ... count - 1 in the order that the key gives: sorted by their 64-bit draws, equal draws in their own
// order. The same key gives the same order on every machine and for any number of threads; a negative count counts as 0. Throws MemoryError.
inline std::vector<long> permutation(Key key, long count) {
    static_assert(std::is_same_v<long, std::int64_t>);
    std::vector<long> rows(count > 0 ? static_cast<std::size_t>(count) : 0);
    kernels::cpu::permutation(key, count, rows.data());
    return rows;
}

}  // namespace tenon::data

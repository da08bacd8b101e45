// A random order of the rows of a data set, as a function of a key alone.
#pragma once

#include <tenon/base/philox.hpp>

#include <cstdint>
#include <utility>
#include <vector>

namespace tenon::data {

// The numbers 0 ... count - 1 in the order that the key gives: sorted by their 64-bit draws, equal draws in their own
// order. The same key gives the same order on every machine and for any number of threads; a negative count counts as 0.
inline std::vector<long> permutation(Key key, long count) {
    struct Item {
        std::uint64_t draw;
        long row;
    };
    const std::size_t size = count > 0 ? static_cast<std::size_t>(count) : 0;
    std::vector<Item> items(size), sorted(size);
    for (std::size_t i = 0; i < size; ++i) items[i] = {random_word64(key, i), static_cast<long>(i)};
    // By one byte at a time from the lowest, each pass stable.
    for (int shift = 0; shift < 64; shift += 8) {
        std::size_t start[257] = {};
        for (const Item& item : items) ++start[((item.draw >> shift) & 255) + 1];
        for (int digit = 0; digit < 256; ++digit) start[digit + 1] += start[digit];
        for (const Item& item : items) sorted[start[(item.draw >> shift) & 255]++] = item;
        std::swap(items, sorted);
    }
    std::vector<long> rows(size);
    for (std::size_t i = 0; i < size; ++i) rows[i] = items[i].row;
    return rows;
}

}  // namespace tenon::data

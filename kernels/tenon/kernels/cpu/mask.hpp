// Where a mask is true.
#pragma once

#include <tenon/kernels/cpu/each.hpp>
#include <tenon/kernels/cpu/gather.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

namespace impl {
constexpr long mask_piece = 1 << 16;
}

namespace reference {

// The plain version: returns the number of true elements and lists their positions, ascending.
inline long mask_positions(long size, const bool* mask, std::int64_t* positions) {
    long count = 0;
    for (long i = 0; i < size; ++i)
        if (mask[i]) positions[count++] = i;
    return count;
}

}  // namespace reference

// starts[p] = true elements before piece p of 65,536 elements; returns their number in all. starts has room for
// mask_pieces(size).
constexpr long mask_pieces(long size) { return (size + impl::mask_piece - 1) / impl::mask_piece; }
inline long count_mask(long size, const bool* mask, long* starts) {
    const long pieces = mask_pieces(size);
    parallel_for(pieces, [&](long p) {
        const long end = (p + 1) * impl::mask_piece < size ? (p + 1) * impl::mask_piece : size;
        long count = 0;
        for (long i = p * impl::mask_piece; i < end;) {
            // Sums of bytes, 255 at most before they would overflow.
            unsigned char sums[8] = {};
            long rounds = (end - i) / 8;
            if (rounds > 255) rounds = 255;
            for (long q = 0; q < rounds; ++q, i += 8)
                for (int b = 0; b < 8; ++b) sums[b] = static_cast<unsigned char>(sums[b] + static_cast<unsigned char>(mask[i + b]));
            for (unsigned char sum : sums) count += sum;
            if (rounds == 0)
                for (; i < end; ++i) count += mask[i] ? 1 : 0;
        }
        starts[p] = count;
    });
    long total = 0;
    for (long p = 0; p < pieces; ++p) {
        const long here = starts[p];
        starts[p] = total;
        total += here;
    }
    return total;
}
// The positions of the true elements, ascending; starts as count_mask has left it. No branch per element.
inline void mask_positions(long size, const bool* mask, const long* starts, long total, std::int64_t* positions) {
    const long pieces = mask_pieces(size);
    parallel_for(pieces, [&](long p) {
        const long end = (p + 1) * impl::mask_piece < size ? (p + 1) * impl::mask_piece : size;
        const long stop = p + 1 < pieces ? starts[p + 1] : total;
        long at = starts[p];
        for (long i = p * impl::mask_piece; i < end && at < stop; ++i) {
            positions[at] = i;
            at += mask[i] ? 1 : 0;
        }
    });
}

// Flat positions as indices along `rank` axes, [count, rank].
struct CoordinateStep {
    int rank;
    long dims[8];
    const std::int64_t* from;
    std::int64_t* to;
    TENON_FUNCTOR void operator()(long k) const {
        long rest = static_cast<long>(from[k]);
        for (int i = rank - 1; i >= 0; --i) {
            const long before = rest / dims[i];
            to[k * rank + i] = rest - before * dims[i];
            rest = before;
        }
    }
};

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

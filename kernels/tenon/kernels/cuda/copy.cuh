// Copies between strided arrays of one shape.
#pragma once

#include <tenon/kernels/cpu/gather.hpp>
#include <tenon/kernels/cuda/sum.cuh>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cuda {

template <class Word>
__global__ void copy_words(Word* to, Walk to_walk, const Word* from, Walk from_walk, unsigned count) {
#if TENON_DEVICE_CODE
    for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x) to[to_walk.offset(i)] = from[from_walk.offset(i)];
#endif
}

// A square of the plane in which one side is contiguous along one axis and the other along the other: read along the
// source's, written along the destination's, through shared memory whose rows are one word apart in banks.
template <class Word>
inline constexpr unsigned tile_side = sizeof(Word) >= 4 ? 32 : 64;  // whole sectors of 32 bytes on both sides

struct TileWalk {
    Walk to, from;  // the other axes
    Divisor across_tiles, along_tiles;
    unsigned across, along;    // sizes: contiguous in the source, in the destination
    long across_to, along_from;  // their strides on the other side
    unsigned tiles;
};
template <class Word>
__global__ void copy_tiles(Word* to, const Word* from, TileWalk w) {
#if TENON_DEVICE_CODE
    constexpr unsigned side = tile_side<Word>, columns = 32, rows = block_threads / columns;
    TENON_SHARED(Word, tile, side * (side + 1));
    const unsigned x = threadIdx.x % columns, y = threadIdx.x / columns;
    for (unsigned t = blockIdx.x; t < w.tiles; t += gridDim.x) {
        const unsigned rest = w.across_tiles.quotient(t), outer = w.along_tiles.quotient(rest);
        const unsigned across = (t - rest * w.across_tiles.divisor) * side, along = (rest - outer * w.along_tiles.divisor) * side;
        const Word* source = from + w.from.offset(outer);
        Word* target = to + w.to.offset(outer);
        __syncthreads();  // the tile before has been written
        for (unsigned r = y; r < side; r += rows)
            for (unsigned c = x; c < side; c += columns)
                if (along + r < w.along && across + c < w.across)
                    tile[r * (side + 1) + c] = source[static_cast<long>(along + r) * w.along_from + across + c];
        __syncthreads();
        for (unsigned r = y; r < side; r += rows)
            for (unsigned c = x; c < side; c += columns)
                if (across + r < w.across && along + c < w.along)
                    target[static_cast<long>(across + r) * w.across_to + along + c] = tile[c * (side + 1) + r];
    }
#endif
}

namespace copy_impl {

struct Word16 { std::uint64_t halves[2]; };

template <class Word>
void copy_as(int rank, const long* dims, char* to, const long* to_strides, const char* from, const long* from_strides) {
    long row = 1;
    for (int i = 1; i < rank; ++i) row *= dims[i];
    const long whole = rank == 0 ? 1 : dims[0], largest = 1l << 30;
    if (row > largest) fail<ShapeError>("copy: more than 2^30 elements behind the first axis");
    for (long done = 0; done < whole;) {
        const long some = whole - done < largest / row ? whole - done : largest / row;
        Walk to_walk, from_walk;
        for (int i = 0; i < rank; ++i) {
            to_walk.push(i == 0 ? some : dims[i], to_strides[i]);
            from_walk.push(i == 0 ? some : dims[i], from_strides[i]);
        }
        launch("copy", copy_words<Word>, blocks_for(some * row, block_threads), block_threads,
               reinterpret_cast<Word*>(to) + (rank == 0 ? 0 : done * to_strides[0]), to_walk,
               reinterpret_cast<const Word*>(from) + (rank == 0 ? 0 : done * from_strides[0]), from_walk, static_cast<unsigned>(some * row));
        done += some;
    }
}

// The axis along which the source is contiguous where the destination is along another, the last; -1: no such pair.
inline int transposed_axis(const cpu::impl::CopyPlan& p) {
    const int last = p.rank - 1;
    if (last < 1 || p.to[last] != 1 || p.from[last] == 1 || p.shape[last] < 8) return -1;
    for (int d = 0; d < last; ++d)
        if (p.from[d] == 1 && p.shape[d] >= 8) return d;
    return -1;
}
template <class Word>
void copy_transposed(const cpu::impl::CopyPlan& p, int across, char* to, const char* from) {
    const int last = p.rank - 1;
    TileWalk w;
    long outer = 1;
    for (int d = 0; d < last; ++d) {
        if (d == across) continue;
        w.to.push(p.shape[d], p.to[d]);
        w.from.push(p.shape[d], p.from[d]);
        outer *= p.shape[d];
    }
    constexpr long side = tile_side<Word>;
    const long across_tiles = (p.shape[across] + side - 1) / side, along_tiles = (p.shape[last] + side - 1) / side;
    const long tiles = outer * across_tiles * along_tiles;
    if (tiles >= 1l << 31) fail<ShapeError>("copy: more than 2^31 tiles of a transposed copy");
    w.across = static_cast<unsigned>(p.shape[across]);
    w.along = static_cast<unsigned>(p.shape[last]);
    w.across_tiles = Divisor(static_cast<unsigned>(across_tiles));
    w.along_tiles = Divisor(static_cast<unsigned>(along_tiles));
    w.across_to = p.to[across];
    w.along_from = p.from[last];
    w.tiles = static_cast<unsigned>(tiles);
    launch("copy", copy_tiles<Word>, blocks_for(tiles, 1), block_threads, reinterpret_cast<Word*>(to), reinterpret_cast<const Word*>(from), w);
}

}  // namespace copy_impl

// to = from; strides in elements of `size` bytes (1, 2, 4, 8 or 16), of any sign, and zero in `from`. Moves every byte
// once each way.
inline void copy_strided(int rank, const long* dims, void* to, const long* to_strides, const void* from, const long* from_strides, int size) {
    cpu::impl::CopyPlan p;
    if (rank > cpu::elementwise_max_rank) fail<ShapeError>("copy: rank ", rank, " is above ", cpu::elementwise_max_rank);
    if (!cpu::impl::plan_copy(p, rank, dims, to_strides, from_strides)) return;
    char* const out = static_cast<char*>(to);
    const char* const in = static_cast<const char*>(from);
    const int n = p.rank;
    // Contiguous rows are copied in the widest words that fit all addresses.
    int word = size;
    if (n > 0 && p.to[n - 1] == 1 && p.from[n - 1] == 1) {
        std::uintptr_t bits = reinterpret_cast<std::uintptr_t>(to) | reinterpret_cast<std::uintptr_t>(from) |
                              static_cast<std::uintptr_t>(p.shape[n - 1] * size);
        for (int i = 0; i + 1 < n; ++i) bits |= static_cast<std::uintptr_t>(p.to[i] * size) | static_cast<std::uintptr_t>(p.from[i] * size);
        while (word < 16 && bits % static_cast<std::uintptr_t>(2 * word) == 0) word *= 2;
        p.shape[n - 1] = p.shape[n - 1] * size / word;
        for (int i = 0; i + 1 < n; ++i) {
            p.to[i] = p.to[i] * size / word;
            p.from[i] = p.from[i] * size / word;
        }
    }
    const int across = copy_impl::transposed_axis(p);
    const auto run = [&]<class Word>(Word) {
        if (across >= 0) copy_impl::copy_transposed<Word>(p, across, out, in);
        else copy_impl::copy_as<Word>(n, p.shape, out, p.to, in, p.from);
    };
    switch (word) {
        case 1: return run(std::uint8_t());
        case 2: return run(std::uint16_t());
        case 4: return run(std::uint32_t());
        case 8: return run(std::uint64_t());
        default: return run(copy_impl::Word16());
    }
}

}  // namespace kernels::cuda
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

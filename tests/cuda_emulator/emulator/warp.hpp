// Barriers, shuffles, votes and reductions of a warp. Every call carries its place in the source, for the reports.
#pragma once

namespace cuda_emulator {

enum class Warp {
    sync,
    shuffle,
    shuffle_up,
    shuffle_down,
    shuffle_xor,
    ballot,
    any,
    all,
    add,
    min_signed,
    min,
    max_signed,
    max,
    bit_and,
    bit_or,
    bit_xor,
    match_any
};
struct Place {
    const char* file;
    int line;
};
enum class Block { sync, any, all, count };

int block_barrier(Block, int predicate, Place);
unsigned long long warp_operation(Warp, unsigned mask, unsigned long long value, int lane, int width, Place);
unsigned active_mask();

template <class T>
T shuffle(Warp operation, unsigned mask, T value, int lane, int width, Place place) {
    static_assert(sizeof(T) <= 8);
    unsigned long long bits = 0;
    __builtin_memcpy(&bits, &value, sizeof(T));
    bits = warp_operation(operation, mask, bits, lane, width, place);
    __builtin_memcpy(&value, &bits, sizeof(T));
    return value;
}

}  // namespace cuda_emulator

#define TENON_EMULATOR_PLACE const char *file = __builtin_FILE(), int line = __builtin_LINE()
#define TENON_EMULATOR_HERE (cuda_emulator::Place{file, line})

inline void __syncthreads(TENON_EMULATOR_PLACE) { cuda_emulator::block_barrier(cuda_emulator::Block::sync, 0, TENON_EMULATOR_HERE); }
inline int __syncthreads_or(int predicate, TENON_EMULATOR_PLACE) {
    return cuda_emulator::block_barrier(cuda_emulator::Block::any, predicate, TENON_EMULATOR_HERE);
}
inline int __syncthreads_and(int predicate, TENON_EMULATOR_PLACE) {
    return cuda_emulator::block_barrier(cuda_emulator::Block::all, predicate, TENON_EMULATOR_HERE);
}
inline int __syncthreads_count(int predicate, TENON_EMULATOR_PLACE) {
    return cuda_emulator::block_barrier(cuda_emulator::Block::count, predicate, TENON_EMULATOR_HERE);
}
inline void __syncwarp(unsigned mask = 0xffffffffu, TENON_EMULATOR_PLACE) {
    cuda_emulator::warp_operation(cuda_emulator::Warp::sync, mask, 0, 0, 32, TENON_EMULATOR_HERE);
}

template <class T>
T __shfl_sync(unsigned mask, T value, int lane, int width = 32, TENON_EMULATOR_PLACE) {
    return cuda_emulator::shuffle(cuda_emulator::Warp::shuffle, mask, value, lane, width, TENON_EMULATOR_HERE);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, TENON_EMULATOR_PLACE) {
    return cuda_emulator::shuffle(cuda_emulator::Warp::shuffle_up, mask, value, static_cast<int>(delta), width, TENON_EMULATOR_HERE);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, TENON_EMULATOR_PLACE) {
    return cuda_emulator::shuffle(cuda_emulator::Warp::shuffle_down, mask, value, static_cast<int>(delta), width, TENON_EMULATOR_HERE);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = 32, TENON_EMULATOR_PLACE) {
    return cuda_emulator::shuffle(cuda_emulator::Warp::shuffle_xor, mask, value, lane_mask, width, TENON_EMULATOR_HERE);
}

inline unsigned __ballot_sync(unsigned mask, int predicate, TENON_EMULATOR_PLACE) {
    return static_cast<unsigned>(
        cuda_emulator::warp_operation(cuda_emulator::Warp::ballot, mask, predicate != 0, 0, 32, TENON_EMULATOR_HERE));
}
inline int __any_sync(unsigned mask, int predicate, TENON_EMULATOR_PLACE) {
    return static_cast<int>(cuda_emulator::warp_operation(cuda_emulator::Warp::any, mask, predicate != 0, 0, 32, TENON_EMULATOR_HERE));
}
inline int __all_sync(unsigned mask, int predicate, TENON_EMULATOR_PLACE) {
    return static_cast<int>(cuda_emulator::warp_operation(cuda_emulator::Warp::all, mask, predicate != 0, 0, 32, TENON_EMULATOR_HERE));
}
inline unsigned __activemask() { return cuda_emulator::active_mask(); }

#define TENON_EMULATOR_REDUCE(name, T, operation)                                                                    \
    inline T name(unsigned mask, T value, TENON_EMULATOR_PLACE) {                                                    \
        return cuda_emulator::shuffle(cuda_emulator::Warp::operation, mask, value, 0, 32, TENON_EMULATOR_HERE);      \
    }
TENON_EMULATOR_REDUCE(__reduce_add_sync, unsigned, add)
TENON_EMULATOR_REDUCE(__reduce_add_sync, int, add)
TENON_EMULATOR_REDUCE(__reduce_min_sync, unsigned, min)
TENON_EMULATOR_REDUCE(__reduce_min_sync, int, min_signed)
TENON_EMULATOR_REDUCE(__reduce_max_sync, unsigned, max)
TENON_EMULATOR_REDUCE(__reduce_max_sync, int, max_signed)
TENON_EMULATOR_REDUCE(__reduce_and_sync, unsigned, bit_and)
TENON_EMULATOR_REDUCE(__reduce_or_sync, unsigned, bit_or)
TENON_EMULATOR_REDUCE(__reduce_xor_sync, unsigned, bit_xor)
#undef TENON_EMULATOR_REDUCE

template <class T>
unsigned __match_any_sync(unsigned mask, T value, TENON_EMULATOR_PLACE) {
    static_assert(sizeof(T) <= 8);
    unsigned long long bits = 0;
    __builtin_memcpy(&bits, &value, sizeof(T));
    return static_cast<unsigned>(cuda_emulator::warp_operation(cuda_emulator::Warp::match_any, mask, bits, 0, 32, TENON_EMULATOR_HERE));
}
#undef TENON_EMULATOR_PLACE
#undef TENON_EMULATOR_HERE

// Names that CUDA's headers put into everybody's way: what means others has to say so.
int all(int predicate);
int any(int predicate);

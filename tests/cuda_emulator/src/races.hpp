// Races: a record of the last writer and the last readers of every four bytes of device and shared memory.
//
// Two accesses of different threads conflict if one writes, they touch a common byte, they are not both atomic, and nothing orders them: in
// one block a barrier does, and __syncwarp does within a warp (shuffles and votes do not: they order no memory). Blocks run one after
// the other, yet on a device nothing orders them: a block may only read what another wrote after an atomic operation of its own (the
// "last block" pattern, whose fence and counter cannot be told apart from others).
//
// A barrier interval has a number, never used again, so that nothing needs clearing: the numbers of one launch, and in it of one block,
// are a range. A record is [epoch 32][thread 10][warp interval 12][bytes 4][atomic 1][lanes 1][warps 1][blocks 1][..2].
#pragma once

#include <stdint.h>

namespace cuda_emulator {

constexpr uint64_t race_atomic = 1 << 5, race_lanes = 1 << 4, race_warps = 1 << 3, race_blocks = 1 << 2;
constexpr int race_thread_shift = 22, race_warp_shift = 10, race_bytes_shift = 6;

// Reads of whole words, and of each byte by itself: readers of different bytes are different threads.
struct Race {
    uint64_t write, read, byte_read[4];
};

constexpr uint64_t race_stamp(uint32_t epoch, unsigned thread, unsigned warp_interval) {
    return static_cast<uint64_t>(epoch) << 32 | static_cast<uint64_t>(thread) << race_thread_shift |
           static_cast<uint64_t>(warp_interval & 0xfff) << race_warp_shift;
}
constexpr uint32_t race_epoch(uint64_t record) { return static_cast<uint32_t>(record >> 32); }
constexpr unsigned race_thread(uint64_t record) { return record >> race_thread_shift & 0x3ff; }
constexpr unsigned race_warp_interval(uint64_t record) { return record >> race_warp_shift & 0xfff; }

}  // namespace cuda_emulator

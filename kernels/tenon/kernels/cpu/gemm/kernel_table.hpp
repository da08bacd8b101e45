// The micro-kernels of one instruction set, as a table that is chosen once per call.
//
// Tiles, in rows x vectors: AVX-512 12x2 (24 accumulators of 32 registers) and 24x1 for narrow C; AVX2 and the baseline
// 6x2 and 12x1 (12 of 16 registers). Tiles as square as that read the fewest bytes per product; two heights that share a
// divisor leave few rows over. All read A by strides, packed or where it lies, for products too narrow, too flat or too
// small to pay for packing; the two that do most of the work have a twin that knows A and B to be packed.
#pragma once

#include <tenon/kernels/cpu/gemm/pack.hpp>
#include <tenon/kernels/cpu/gemm/tile.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {
namespace gemm_impl {

template <class T>
struct Kernels {
    using TileFunction = void (*)(const Tile<T>*);
    using PackFunction = void (*)(T*, long, long, const T*, long, long, long);
    struct Strided {
        long rows;
        TileFunction run;
    };
    long lanes;               // values in a vector
    long vectors;             // most vectors of a tile
    long packed_rows[2];      // rows of a tile with packed A: large and small
    TileFunction packed[2][3];  // by size, by vectors
    Strided strided[3][7];    // by vectors, rows falling, ends with one row and a tile of none
    PackFunction pack;
};

#define TENON_TILE(RUN, ...) &tenon::impl::RUN<TileBody<T, __VA_ARGS__>, const Tile<T>*>
#define TENON_STRIDED(RUN, MR, NV) {MR, TENON_TILE(RUN, MR, NV)}
#define TENON_PACK(RUN) &tenon::impl::RUN<PackBody<T>, T*, long, long, const T*, long, long, long>

template <class T>
inline constexpr Kernels<T> baseline_kernels = {
    int(16 / sizeof(T)), 2, {6, 6},
    {{nullptr, TENON_TILE(run_baseline, 6, 1), TENON_TILE(run_baseline, 6, 2)},
     {nullptr, TENON_TILE(run_baseline, 6, 1), TENON_TILE(run_baseline, 6, 2)}},
    {{},
     {TENON_STRIDED(run_baseline, 6, 1), TENON_STRIDED(run_baseline, 1, 1)},
     {TENON_STRIDED(run_baseline, 6, 2), TENON_STRIDED(run_baseline, 2, 2), TENON_STRIDED(run_baseline, 1, 2)}},
    TENON_PACK(run_baseline)};

#if TENON_DISPATCH
template <class T>
inline constexpr Kernels<T> avx2_kernels = {
    int(32 / sizeof(T)), 2, {6, 4},
    {{nullptr, TENON_TILE(run_avx2, 6, 1), TENON_TILE(run_avx2, 6, 2, true)},
     {nullptr, TENON_TILE(run_avx2, 4, 1), TENON_TILE(run_avx2, 4, 2, true)}},
    {{},
     {TENON_STRIDED(run_avx2, 12, 1), TENON_STRIDED(run_avx2, 6, 1), TENON_STRIDED(run_avx2, 4, 1), TENON_STRIDED(run_avx2, 1, 1)},
     {TENON_STRIDED(run_avx2, 6, 2), TENON_STRIDED(run_avx2, 4, 2), TENON_STRIDED(run_avx2, 2, 2), TENON_STRIDED(run_avx2, 1, 2)}},
    TENON_PACK(run_avx2)};
template <class T>
inline constexpr Kernels<T> avx512_kernels = {
    int(64 / sizeof(T)), 2, {12, 8},
    {{nullptr, TENON_TILE(run_avx512, 12, 1), TENON_TILE(run_avx512, 12, 2, true)},
     {nullptr, TENON_TILE(run_avx512, 8, 1), TENON_TILE(run_avx512, 8, 2, true)}},
    {{},
     {TENON_STRIDED(run_avx512, 24, 1), TENON_STRIDED(run_avx512, 12, 1), TENON_STRIDED(run_avx512, 10, 1), TENON_STRIDED(run_avx512, 8, 1),
      TENON_STRIDED(run_avx512, 4, 1), TENON_STRIDED(run_avx512, 1, 1)},
     {TENON_STRIDED(run_avx512, 12, 2), TENON_STRIDED(run_avx512, 10, 2), TENON_STRIDED(run_avx512, 8, 2),
      TENON_STRIDED(run_avx512, 4, 2), TENON_STRIDED(run_avx512, 2, 2), TENON_STRIDED(run_avx512, 1, 2)}},
    TENON_PACK(run_avx512)};
#endif
#undef TENON_TILE
#undef TENON_STRIDED
#undef TENON_PACK

// The table for a product with n columns. No more than eight floats need no wider vectors; the narrower ones sum in the
// same order.
template <class T>
inline const Kernels<T>& kernels(long n = 1 << 30) {
#if TENON_DISPATCH
    const Isa use = isa();
    if (use == Isa::avx512 && n > int(32 / sizeof(T))) return avx512_kernels<T>;
    if (use >= Isa::avx2) return avx2_kernels<T>;
#endif
    static_cast<void>(n);
    return baseline_kernels<T>;
}

}  // namespace gemm_impl
}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

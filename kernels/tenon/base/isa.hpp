// Which instruction set the kernels use: the best that the machine has, lowered by TENON_ISA=sse2|avx2|avx512. What some
// AVX-512 machines have besides (products of bf16, of bytes) is used where it is faster than doing without;
// TENON_EXTENSIONS=0 switches it off, TENON_EXTENSIONS=1 on wherever it is there.
#pragma once

#include <tenon/base/config.hpp>
#include <tenon/base/error.hpp>

#include <initializer_list>

namespace tenon {

enum class Isa : int { baseline = 0, avx2 = 1, avx512 = 2 };

constexpr const char* name(Isa isa) {
    return isa == Isa::avx512 ? "avx512" : isa == Isa::avx2 ? "avx2" : "sse2";
}

inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {
TENON_COLD inline Isa choose_isa() {
    Isa best = Isa::baseline;
#if TENON_DISPATCH
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) best = Isa::avx2;
    if (best == Isa::avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"))
        best = Isa::avx512;
#endif
    const char* wish = std::getenv("TENON_ISA");
    if (wish == nullptr || wish[0] == '\0') return best;
    for (Isa isa : {Isa::baseline, Isa::avx2, Isa::avx512})
        if (std::strcmp(wish, name(isa)) == 0) return isa < best ? isa : best;
    fail<ValueError>("TENON_ISA is \"", wish, "\": expected sse2, avx2 or avx512");
}

struct Extensions { bool bf16 = false, vnni = false; };
TENON_COLD inline Extensions choose_extensions(Isa isa) {
    Extensions has;
    const char* wish = std::getenv("TENON_EXTENSIONS");
    if (wish != nullptr && wish[0] != '\0' && std::strcmp(wish, "0") != 0 && std::strcmp(wish, "1") != 0)
        fail<ValueError>("TENON_EXTENSIONS is \"", wish, "\": expected 0 or 1");
    if (isa != Isa::avx512 || (wish != nullptr && wish[0] == '0')) return has;
#if TENON_DISPATCH
    // Intel's vdpbf16ps starts every second cycle (measured: 0.57 of the multiply-adds of floats), AMD's does twice of them.
    has.bf16 = __builtin_cpu_supports("avx512bf16") && (__builtin_cpu_is("amd") || (wish != nullptr && wish[0] == '1'));
    has.vnni = __builtin_cpu_supports("avx512vnni");
#endif
    return has;
}
}  // namespace impl

// The instruction set in use; TENON_ISA is read at the first call.
inline Isa isa() {
    static const Isa chosen = impl::choose_isa();
    return chosen;
}

// Whether the kernels use vdpbf16ps (avx512_bf16) and vpdpbusd (avx512_vnni).
inline bool has_bf16_dot() {
    static const bool has = impl::choose_extensions(isa()).bf16;
    return has;
}
inline bool has_int8_dot() {
    static const bool has = impl::choose_extensions(isa()).vnni;
    return has;
}
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

// dispatch<Body>(arguments...): runs Body::run<lanes>(arguments...) compiled for the instruction set in use.
//
// Body is a struct with `template <int Lanes> static TENON_ALWAYS_INLINE void run(...)`, Lanes counted in floats (4, 8
// or 16). Everything that run calls must be always_inline code or our own templates: a std:: function instantiated in
// here could be the copy that the linker keeps for the whole program. Arguments travel by value: pointers and numbers.
#pragma once

#include <tenon/base/isa.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

template <class Body, class... Arguments>
TENON_LOOP void run_baseline(Arguments... arguments) {
    Body::template run<4>(arguments...);
}
#if TENON_DISPATCH
template <class Body, class... Arguments>
TENON_TARGET_AVX2 TENON_LOOP void run_avx2(Arguments... arguments) {
    Body::template run<8>(arguments...);
}
template <class Body, class... Arguments>
TENON_TARGET_AVX512 TENON_LOOP void run_avx512(Arguments... arguments) {
    Body::template run<16>(arguments...);
}
#endif

}  // namespace impl

// Best: the widest instruction set that this body is compiled for.
template <class Body, Isa Best = Isa::avx512, class... Arguments>
TENON_ALWAYS_INLINE void dispatch([[maybe_unused]] Arguments... arguments) {
#if defined(__CUDA_ARCH__)
    // The device pass compiles no loops of the host: it knows no vectors.
#else
#if TENON_DISPATCH
    const Isa use = isa();
    if constexpr (Best == Isa::avx512)
        if (use == Isa::avx512) return impl::run_avx512<Body>(arguments...);
    if (use >= Isa::avx2) return impl::run_avx2<Body>(arguments...);
#endif
    impl::run_baseline<Body>(arguments...);
#endif
}

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

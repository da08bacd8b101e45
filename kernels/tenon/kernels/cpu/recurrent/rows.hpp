// The passes of cells.hpp in vectors, compiled for each instruction set.
#pragma once

#include <tenon/kernels/cpu/fold.hpp>
#include <tenon/kernels/cpu/recurrent/cells.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {
namespace impl {

template <class T, int N, bool Part>
struct SomeLanes {
    using V = simd<T, N>;
    long width;
    TENON_ALWAYS_INLINE V load(const T* p) const { return load_some<Part, T, N>(p, width); }
    TENON_ALWAYS_INLINE void store(T* p, const V& v) const { store_some<Part, T, N>(p, v, width); }
};

// f(access, row, unit) for all units of all rows: whole vectors, then one of half the lanes where that many are left, then a part.
template <class T, int N, class F>
TENON_ALWAYS_INLINE void each_vector(long rows, long hidden, F&& f) {
    for (long row = 0; row < rows; ++row) {
        long unit = 0;
        for (; unit + N <= hidden; unit += N) f(SomeLanes<T, N, false>{N}, row, unit);
        if constexpr (N >= 8)
            if (unit + N / 2 <= hidden) {
                f(SomeLanes<T, N / 2, false>{N / 2}, row, unit);
                unit += N / 2;
            }
        if (unit < hidden) f(SomeLanes<T, (N >= 8 ? N / 2 : N), true>{hidden - unit}, row, unit);
    }
}

template <RecurrentCell cell>
struct CellForwardBody {
    template <int Lanes, class T>
    static TENON_ALWAYS_INLINE void run(const CellRows<T>* given) {
        const CellRows<T> s = *given;
        each_vector<T, Lanes * 4 / int(sizeof(T))>(s.rows, s.hidden, [&](const auto& access, long row, long unit)
                                                       __attribute__((always_inline)) { cell_forward<cell>(access, s, row, unit); });
    }
};
template <RecurrentCell cell>
struct CellBackwardBody {
    template <int Lanes, class T>
    static TENON_ALWAYS_INLINE void run(const CellGradients<T>* given) {
        const CellGradients<T> s = *given;
        each_vector<T, Lanes * 4 / int(sizeof(T))>(s.rows, s.hidden, [&](const auto& access, long row, long unit)
                                                       __attribute__((always_inline)) { cell_backward<cell>(access, s, row, unit); });
    }
};

}  // namespace impl
}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

// Adding between strided layouts.
#pragma once

#include <tenon/kernels/cpu/remap.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

namespace reference {

// The plain version: one element after the other.
template <class T>
void add_strided(int rank, const long* shape, T* dst, const long* dst_strides, const T* src, const long* src_strides) {
    if (rank == 0) {
        *dst = static_cast<T>(*dst + *src);
        return;
    }
    for (long i = 0; i < shape[0]; ++i)
        reference::add_strided(rank - 1, shape + 1, dst + i * dst_strides[0], dst_strides + 1, src + i * src_strides[0], src_strides + 1);
}

}  // namespace reference

// dst[i, j, ...] += src[i, j, ...] over `shape`, for any strides (in elements). No two points may share an element of dst.
// Axes are merged where both sides walk through them as one; the last one runs in vectors where both are contiguous.
template <class T>
void add_strided(int rank, const long* shape, T* dst, const long* dst_strides, const T* src, const long* src_strides) {
    if (rank > copy_max_rank) fail<ShapeError>("add: rank ", rank, " is above ", copy_max_rank);
    impl::CopyPlan plan;
    if (!impl::plan_copy(plan, rank, shape, dst_strides, src_strides)) return;
    using A = typename impl::sum_type<T>::type;
    if (plan.rank == 0) {
        *dst = static_cast<T>(static_cast<A>(*dst) + static_cast<A>(*src));
        return;
    }
    const int last = plan.rank - 1;
    const long length = plan.shape[last], to_step = plan.to[last], from_step = plan.from[last];
    long outer = 1;
    for (int d = 0; d < last; ++d) outer *= plan.shape[d];
    const long piece = impl::move_bytes / static_cast<long>(sizeof(T)), pieces = (length + piece - 1) / piece;
    const long group = pieces > 1 ? 1 : piece / length;
    parallel_for((outer + group - 1) / group * pieces, [&](long task) {
        const long begin = task % pieces * piece, count = length - begin < piece ? length - begin : piece;
        const long first = task / pieces * group, end = first + group < outer ? first + group : outer;
        impl::walk(plan, last, first, end, [&](long to_offset, long from_offset) {
            T* to = dst + to_offset + begin * to_step;
            const T* from = src + from_offset + begin * from_step;
            if (to_step == 1 && from_step == 1) return dispatch<impl::AddRunBody, Isa::avx2>(to, from, count, false);
            for (long i = 0; i < count; ++i) to[i * to_step] = static_cast<T>(static_cast<A>(to[i * to_step]) + static_cast<A>(from[i * from_step]));
        });
    });
}

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

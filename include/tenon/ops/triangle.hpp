// Triangles of matrices.
#pragma once

#include <tenon/kernels/cpu/triangle.hpp>
#include <tenon/ops/linear_map.hpp>
#if TENON_CUDA
#include <tenon/kernels/cuda/triangle.cuh>
#endif

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

// Its own transpose.
class TriangleMap {
public:
    TriangleMap(const detail::Record* x, bool lower, long offset) : rank_(x->rank), lower_(lower), offset_(offset) {
        for (int i = 0; i < rank_; ++i) dims_[i] = x->dims()[i];
    }
    int rank(bool) const { return rank_; }
    const long* dims(bool) const { return dims_; }
    void release() noexcept {}
    template <class T>
    void run(Device device, bool, const T* from, T* to, bool add) const {
        long batch = 1;
        for (int i = 0; i < rank_ - 2; ++i) batch *= dims_[i];
        TENON_RUN(device, triangle(batch, dims_[rank_ - 2], dims_[rank_ - 1], offset_, lower_, from, to, add));
    }

private:
    int rank_;
    bool lower_;
    long offset_, dims_[max_rank];
};

template <bool Lower, class X>
auto triangle_of(const char* operation, X&& x, long offset) {
    const auto from = contiguous(as_tensor(static_cast<X&&>(x)));
    using From = std::remove_const_t<decltype(from)>;
    using T = typename From::Scalar;
    static_assert(From::rank >= 2, "tenon: tril, triu: the tensor needs two axes");
    static_assert(!std::is_same_v<T, bool>, "tenon: tril, triu: of a bool tensor: write cast<std::uint8_t>(x) first");
    return From(apply_map<T>(operation, from.record(), TriangleMap(from.record(), Lower, offset)));
}

}  // namespace impl

// tril(x, offset): the elements [.., i, j] with j <= i + offset, 0 elsewhere; triu: those with j >= i + offset. Any number of
// leading axes. What is cut off is selected, not multiplied: a NaN there is 0. Derivative: the gradient's triangle.
template <Expression X>
[[nodiscard]] auto tril(X&& x, long offset = 0) { return impl::triangle_of<true>("tril", static_cast<X&&>(x), offset); }
template <Expression X>
[[nodiscard]] auto triu(X&& x, long offset = 0) { return impl::triangle_of<false>("triu", static_cast<X&&>(x), offset); }

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

// Systems with triangular matrices.
#pragma once

#include <tenon/kernels/cpu/linalg/triangular.hpp>
#include <tenon/ops/linalg/batch.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {

// Which triangle of A is read; its transpose in A's place; a diagonal of ones that is not read; X A = B in place of A X = B.
struct TriangularOptions {
    bool upper = false;
    bool transposed = false;
    bool unit = false;
    bool left = true;
};

namespace impl {

template <class T>
Matrices<T> solve_triangular_batch(const Matrices<T>& a, const Matrices<T>& b, bool upper, bool unit, bool left);

template <class T>
struct TriangularRule {
    static constexpr int inputs = 2, outputs = 1;
    bool upper, unit, left;
    // saved: A, X. dB = A'^-1 dX; dA = -dB X', of the triangle that was read.
    void operator()(RuleData<T>& d) const {
        const Matrices<T> db = solve_triangular_batch(turned(d.saved[0]), d.dy[0], !upper, unit, left);
        d.dx[1] = db;
        if (!d.wanted[0]) return;
        const Matrices<T> outer = left ? product(db, turned(d.saved[1])) : product(turned(d.saved[1]), db);
        const Matrices<T> negative = -outer;
        d.dx[0] = upper ? upper_part(negative, unit ? 1 : 0) : lower_part(negative, unit ? -1 : 0);
    }
};

template <class T>
Matrices<T> solve_triangular_batch(const Matrices<T>& a, const Matrices<T>& b, bool upper, bool unit, bool left) {
    Matrices<T> x = copy_matrices(b);
    const long* strides = a.record()->strides();
    const long batch = count_of(x), m = rows_of(x), n = columns_of(x), size = rows_of(a);
    const T* from = a.data();
    T* to = x.data();
    const double flops = static_cast<double>(size) * static_cast<double>(m) * static_cast<double>(n) + 50;
    if (x.size() > 0)
        kernels::cpu::linalg_impl::for_matrices(batch, flops, [&](long first, long last) {
            for (long p = first; p < last; ++p) {
                const kernels::cpu::MatrixView<T> view{from + p * strides[0], strides[1], strides[2]};
                if (left) kernels::cpu::solve_triangular<T>(!upper, unit, m, n, view, to + p * m * n, n);
                else kernels::cpu::solve_triangular_right<T>(!upper, unit, m, n, view, to + p * m * n, n);
            }
        });
    if (detail::wants_gradient(a.record()) || detail::wants_gradient(b.record())) {
        auto* node = make_rule<T>("solve_triangular", TriangularRule<T>{upper, unit, left}, a, b);
        node->finish(x);
        node->save(0, a);
        node->save(RuleNode<T, TriangularRule<T>>::output(0), x);
    }
    return x;
}

// The sizes of A [n, n] against those of the right side.
inline void check_sides(const char* operation, const detail::Record* a, const detail::Record* b, int b_axis) {
    const long n = a->dims()[a->rank - 1], have = b->dims()[b_axis];
    if (n != have)
        fail<ShapeError>(operation, ": sizes differ: the matrix is ", a->description(), ", the right side ", b->description(), " has ", have, " at axis ", b_axis,
                         ", expected ", n);
}

}  // namespace impl

// A X = B for triangular matrices A[..., n, n] and B[..., n, k] (X A = B and B[..., k, n] with left = false); leading axes
// broadcast. Of A only the named triangle is read. float and double. Throws ShapeError. A zero on the diagonal gives
// infinities and NaN, as in PyTorch (torch.linalg.solve_triangular). Derivative: dB = A'^-1 dX, dA = -dB X' of that triangle.
template <class T, int RA, int RB>
[[nodiscard]] auto solve_triangular(const Tensor<T, RA>& a, const Tensor<T, RB>& b, TriangularOptions options = {}) {
    impl::check_square("solve_triangular", a);
    impl::check_matrix("solve_triangular", b);
    impl::check_sides("solve_triangular", a.record(), b.record(), options.left ? RB - 2 : RB - 1);
    const impl::Batch batch = impl::merge_batches("solve_triangular", a.record(), 2, b.record(), 2);
    impl::Matrices<T> left = impl::as_matrices<T>(a.any(), batch);
    if (options.transposed) left = impl::turned(left);
    const bool upper = options.upper != options.transposed;
    return impl::from_matrices<T, (RA > RB ? RA : RB)>(
        impl::solve_triangular_batch<T>(left, impl::as_matrices<T>(b.any(), batch), upper, options.unit, options.left), batch);
}

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

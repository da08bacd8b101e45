// Cholesky factorisation, and what is solved with it.
#pragma once

#include <tenon/kernels/cpu/linalg/cholesky.hpp>
#include <tenon/ops/linalg/triangular.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {

// The upper triangle: A = U' U is read and returned; default: the lower one, A = L L'.
struct CholeskyOptions { bool upper = false; };

namespace impl {

template <class T>
struct CholeskyRule {
    static constexpr int inputs = 1, outputs = 1;
    // saved: L. dA = the symmetric part of L'^-1 P L^-1, P the lower part of L' dL with half of its diagonal.
    void operator()(RuleData<T>& d) const {
        const Matrices<T>& l = d.saved[0];
        const Matrices<T> inner = product(turned(l), d.dy[0]);
        const Matrices<T> p = (lower_part(inner) + lower_part(inner, -1)) * T(0.5);
        const Matrices<T> half = solve_triangular_batch(turned(l), p, true, false, true);
        d.dx[0] = symmetric_part(solve_triangular_batch(l, half, false, false, false));
    }
};

// of: the tensor as the user gave it, for the error.
template <class T>
Matrices<T> cholesky_batch(const Matrices<T>& a, const detail::Record* of) {
    Matrices<T> l = copy_matrices(a);
    const long batch = count_of(l), n = rows_of(l);
    const PerMatrix<long> failed(batch);
    kernels::cpu::cholesky<T>(batch, n, l.data(), n, n * n, failed.data());
    const long bad = failed.first(batch);
    if (bad >= 0)
        fail<LinalgError>("cholesky: ", BatchElement{bad, of}, " is not positive definite: its leading minor of order ", failed.data()[bad],
                          " is not positive\n       hint: add a small multiple of the identity, or use eigh");
    if (detail::wants_gradient(a.record())) {
        auto* node = make_rule<T>("cholesky", CholeskyRule<T>{}, a);
        node->finish(l);
        node->save(RuleNode<T, CholeskyRule<T>>::output(0), l);
    }
    return l;
}

}  // namespace impl

// L[..., n, n] with A = L L' for symmetric positive definite matrices A[..., n, n], zeros above the diagonal; only the lower
// triangle of A is read (with {.upper = true}: U with A = U' U from the upper one). float and double. Throws ShapeError, and
// LinalgError naming the matrix and the leading minor that is not positive (NaN is not). Derivative as in PyTorch: symmetric.
template <class T, int R>
[[nodiscard]] Tensor<T, R> cholesky(const Tensor<T, R>& a, CholeskyOptions options = {}) {
    impl::check_square("cholesky", a);
    const impl::Batch batch = impl::batch_of(a.record(), 2);
    const impl::Matrices<T> x = impl::as_matrices<T>(a.any(), batch);
    const impl::Matrices<T> l = impl::cholesky_batch<T>(options.upper ? impl::turned(x) : x, a.record());
    return impl::from_matrices<T, R>(options.upper ? impl::turned(l) : l, batch);
}

// X with A X = B, A = L L' from its factor: B[..., n, k], L[..., n, n] as cholesky gives it (with {.upper = true}: A = U' U);
// leading axes broadcast. Errors as of solve_triangular, whose derivatives it has.
template <class T, int RB, int RL>
[[nodiscard]] auto cholesky_solve(const Tensor<T, RB>& b, const Tensor<T, RL>& l, CholeskyOptions options = {}) {
    impl::check_square("cholesky_solve", l);
    impl::check_matrix("cholesky_solve", b);
    impl::check_sides("cholesky_solve", l.record(), b.record(), RB - 2);
    const impl::Batch batch = impl::merge_batches("cholesky_solve", l.record(), 2, b.record(), 2);
    impl::Matrices<T> factor = impl::as_matrices<T>(l.any(), batch);
    if (options.upper) factor = impl::turned(factor);
    const impl::Matrices<T> y = impl::solve_triangular_batch<T>(factor, impl::as_matrices<T>(b.any(), batch), false, false, true);
    return impl::from_matrices<T, (RB > RL ? RB : RL)>(impl::solve_triangular_batch<T>(impl::turned(factor), y, true, false, true), batch);
}

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

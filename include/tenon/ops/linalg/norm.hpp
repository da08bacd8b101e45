// Norms and condition numbers of matrices, and powers.
#pragma once

#include <tenon/ops/extreme.hpp>
#include <tenon/ops/linalg/lu.hpp>
#include <tenon/ops/linalg/svd.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {

// frobenius: the root of the sum of squares. nuclear, spectral, least: the sum of the singular values, the largest and the smallest.
// one, infinity: the largest sum of magnitudes of a column, of a row.
enum class MatrixNorm { frobenius, nuclear, spectral, least, one, infinity };

// Norms of A[..., m, n], [...]. float and double. Throws ShapeError where a largest or smallest of nothing is asked for, and what
// svdvals throws. Derivatives of what they are made of; the Frobenius norm's is 0 at a zero matrix.
template <class T, int R>
[[nodiscard]] Tensor<T, R - 2> matrix_norm(const Tensor<T, R>& a, MatrixNorm norm = MatrixNorm::frobenius) {
    impl::check_matrix("matrix_norm", a);
    if (norm == MatrixNorm::frobenius) {
        const Tensor<T, R - 2> squares = sum<-2, -1>(square(a));
        return Tensor<T, R - 2>(where(squares > T(0) || squares != squares, sqrt(where(squares > T(0) || squares != squares, squares, T(1))), T(0)));
    }
    if (norm == MatrixNorm::one || norm == MatrixNorm::infinity) {
        const Tensor<T, R - 1> sums = norm == MatrixNorm::one ? Tensor<T, R - 1>(sum<-2>(abs(a))) : Tensor<T, R - 1>(sum<-1>(abs(a)));
        return max<-1>(sums).values;
    }
    const Tensor<T, R - 1> s = svdvals(a);
    if (norm == MatrixNorm::nuclear) return Tensor<T, R - 2>(sum<-1>(s));
    if (s.shape(-1) == 0) fail<ShapeError>("matrix_norm: ", a.record()->description(), " has no singular values, expected at least one");
    return norm == MatrixNorm::spectral ? max<-1>(s).values : min<-1>(s).values;
}

// Condition numbers in the spectral norm: the largest singular value over the smallest; infinite for a singular matrix.
template <class T, int R>
[[nodiscard]] Tensor<T, R - 2> cond(const Tensor<T, R>& a) {
    impl::check_matrix("cond", a);
    const Tensor<T, R - 1> s = svdvals(a);
    if (s.shape(-1) == 0) fail<ShapeError>("cond: ", a.record()->description(), " has no singular values, expected at least one");
    return Tensor<T, R - 2>(max<-1>(s).values / min<-1>(s).values);
}

// A to a whole power, by repeated squaring; of a negative one the inverse's. The identity (without derivative) for 0.
template <class T, int R>
[[nodiscard]] Tensor<T, R> matrix_power(const Tensor<T, R>& a, long power) {
    impl::check_square("matrix_power", a);
    const impl::Batch batch = impl::batch_of(a.record(), 2);
    impl::Matrices<T> base = impl::as_matrices<T>(a.any(), batch), result;
    if (power < 0) base = impl::inverse_batch<T>(base, a.record(), "matrix_power");
    unsigned long rest = power < 0 ? 0ul - static_cast<unsigned long>(power) : static_cast<unsigned long>(power);
    if (rest == 0) return impl::from_matrices<T, R>(impl::identity_matrices<T>("matrix_power", impl::count_of(base), impl::rows_of(base)), batch);
    for (;;) {
        if ((rest & 1ul) != 0) result = result.has_value() ? impl::product(result, base) : base;
        if ((rest >>= 1) == 0) break;
        base = impl::product(base, base);
    }
    if (result.record() == base.record() && power == 1) return impl::from_matrices<T, R>(impl::Matrices<T>(result * T(1)), batch);
    return impl::from_matrices<T, R>(result, batch);
}

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

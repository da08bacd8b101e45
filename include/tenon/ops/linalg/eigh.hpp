// Eigenvalues and eigenvectors of symmetric matrices.
#pragma once

#include <tenon/kernels/cpu/linalg/eigh.hpp>
#include <tenon/ops/linalg/batch.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {

// The upper triangle is read; default: the lower one.
struct EighOptions { bool upper = false; };
template <class T, int R>
struct Eigen {
    Tensor<T, R - 1> values;  // ascending
    Tensor<T, R> vectors;     // in the columns
};

namespace impl {

[[noreturn]] TENON_COLD inline void fail_decomposition(const char* operation, long index, long failed, const detail::Record* of) {
    if (failed < 0) fail<LinalgError>(operation, ": ", BatchElement{index, of}, " has elements that are not finite (NaN or infinity)");
    fail<LinalgError>(operation, ": ", BatchElement{index, of}, ": the iteration did not converge");
}

template <class T>
struct EighRule {
    static constexpr int inputs = 1, outputs = 2;
    // saved: w, V. dA = V (diag(dw) + (V' dV) / E) V', E[i, j] = w[j] - w[i].
    void operator()(RuleData<T>& d) const {
        const Matrices<T>&w = d.saved[0], &v = d.saved[1];
        Matrices<T> inner;
        if (d.dy[1].has_value()) {
            const Matrices<T> turns = product(turned(v), d.dy[1]);
            // Ones on the diagonal, which does not count: no division by zero there.
            const Matrices<T> ratio = turns / (w - turned(w) + eye<T>(columns_of(w)));
            inner = Matrices<T>(lower_part(ratio, -1) + upper_part(ratio, 1));
            if (d.dy[0].has_value()) inner = Matrices<T>(inner + diagonal_matrices(d.dy[0]));
            inner = product(v, inner);
        } else {
            inner = Matrices<T>(v * d.dy[0]);
        }
        d.dx[0] = product(inner, turned(v));
    }
};
template <class T>
struct EigenBatch { Matrices<T> values, vectors; };

template <class T>
EigenBatch<T> eigh_batch(const char* operation, const Matrices<T>& a, bool upper, bool vectors, const detail::Record* of) {
    const Matrices<T> x = contiguous(a);
    const long batch = count_of(x), n = rows_of(x);
    const bool recorded = detail::wants_gradient(a.record());
    EigenBatch<T> e{new_matrices<T>(operation, batch, 1, n), {}};
    if (vectors || recorded) e.vectors = new_matrices<T>(operation, batch, n, n);
    const PerMatrix<long> failed(batch);
    kernels::cpu::eigh<T>(batch, n, x.data(), !upper, e.values.data(), e.vectors.has_value() ? e.vectors.data() : nullptr, failed.data());
    const long bad = failed.first(batch);
    if (bad >= 0) fail_decomposition(operation, bad, failed.data()[bad], of);
    if (recorded) {
        auto* node = make_rule<T>(operation, EighRule<T>{}, x);
        node->finish(e.values, e.vectors);
        node->save(RuleNode<T, EighRule<T>>::output(0), e.values);
        node->save(RuleNode<T, EighRule<T>>::output(1), e.vectors);
    }
    return e;
}

}  // namespace impl

// {values, vectors} of symmetric matrices A[..., n, n] (of each the lower triangle is read): eigenvalues [..., n] in ascending
// order, orthonormal eigenvectors in the columns of [..., n, n], whose signs are arbitrary. float and double. Throws ShapeError,
// and LinalgError naming the matrix where elements are not finite. Derivative: V (diag(dw) + V' dV / E) V' with E[i, j] =
// w[j] - w[i], as in PyTorch: through the vectors it is not finite where eigenvalues are equal.
template <class T, int R>
[[nodiscard]] Eigen<T, R> eigh(const Tensor<T, R>& a, EighOptions options = {}) {
    impl::check_square("eigh", a);
    const impl::Batch batch = impl::batch_of(a.record(), 2);
    const impl::EigenBatch<T> e = impl::eigh_batch<T>("eigh", impl::as_matrices<T>(a.any(), batch), options.upper, true, a.record());
    return {impl::from_matrices<T, R - 1>(e.values, batch, 1), impl::from_matrices<T, R>(e.vectors, batch)};
}
// The eigenvalues alone, which cost a fraction.
template <class T, int R>
[[nodiscard]] Tensor<T, R - 1> eigvalsh(const Tensor<T, R>& a, EighOptions options = {}) {
    impl::check_square("eigvalsh", a);
    const impl::Batch batch = impl::batch_of(a.record(), 2);
    return impl::from_matrices<T, R - 1>(impl::eigh_batch<T>("eigvalsh", impl::as_matrices<T>(a.any(), batch), options.upper, false, a.record()).values, batch, 1);
}

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

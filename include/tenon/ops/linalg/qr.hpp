// QR factorisation.
#pragma once

#include <tenon/kernels/cpu/linalg/qr.hpp>
#include <tenon/ops/concat.hpp>
#include <tenon/ops/linalg/triangular.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {

// Q[..., m, m] and R[..., m, n] in place of the reduced ones.
struct QrOptions { bool complete = false; };
template <class T, int R>
struct QrFactors { Tensor<T, R> q, r; };

namespace impl {

template <class T>
struct QrRule {
    static constexpr int inputs = 1, outputs = 2;
    bool square;  // Q, R from a matrix with a derivative
    // saved: Q, R. With M = R dR' - dQ' Q mirrored from its upper part: dA = (dQ + Q M) R'^-1.
    void operator()(RuleData<T>& d) const {
        if (!square)
            fail<GradError>("backward: qr: the complete factorisation of a matrix with more rows than columns has no derivative: Q's further columns are "
                            "arbitrary\n       hint: take the reduced one");
        const Matrices<T>&q = d.saved[0], &r = d.saved[1];
        Matrices<T> m;
        if (d.dy[1].has_value()) {
            m = product(d.dy[1], turned(r));
            if (d.dy[0].has_value()) m = Matrices<T>(m - product(turned(q), d.dy[0]));
        } else {
            m = Matrices<T>(-product(turned(q), d.dy[0]));
        }
        const Matrices<T> mirrored = upper_part(m) + turned(upper_part(m, 1));
        Matrices<T> right = product(q, mirrored);
        if (d.dy[0].has_value()) right = Matrices<T>(right + d.dy[0]);
        d.dx[0] = solve_triangular_batch(turned(r), right, false, false, false);
    }
};

template <class T>
QrFactors<T, 3> qr_batch(const Matrices<T>& a, bool complete) {
    const long batch = count_of(a), m = rows_of(a), n = columns_of(a), k = complete || m < n ? m : n;
    if (m < n && m > 0) {
        // The first m columns determine Q; the others follow.
        QrFactors<T, 3> square = qr_batch<T>(a(all, all, slice(0, m)), false);
        const Matrices<T> rest = a(all, all, slice(m));
        return {square.q, concat<2>({square.r, product(turned(square.q), rest)})};
    }
    const Matrices<T> x = contiguous(a);
    QrFactors<T, 3> f{new_matrices<T>("qr", batch, m, k), new_matrices<T>("qr", batch, k, n)};
    if (k > 0 && n > 0) kernels::cpu::qr<T>(batch, m, n, x.data(), complete, f.q.data(), f.r.data());
    else if (f.q.size() > 0) f.q = identity_matrices<T>("qr", batch, m);  // complete, of no columns
    if (detail::wants_gradient(a.record())) {
        auto* node = make_rule<T>("qr", QrRule<T>{!complete || m <= n}, x);
        node->finish(f.q, f.r);
        node->save(RuleNode<T, QrRule<T>>::output(0), f.q);
        node->save(RuleNode<T, QrRule<T>>::output(1), f.r);
    }
    return f;
}

}  // namespace impl

// A[..., m, n] = Q R with orthonormal columns Q[..., m, k] and upper triangular R[..., k, n], k = min(m, n); with {.complete =
// true} k = m. The diagonal of R has the signs that LAPACK and PyTorch give it. float and double; NaN spreads. Derivative of the
// first min(m, n) columns of full rank; a complete Q of more rows than columns has none: backward throws GradError.
template <class T, int R>
[[nodiscard]] QrFactors<T, R> qr(const Tensor<T, R>& a, QrOptions options = {}) {
    impl::check_matrix("qr", a);
    const impl::Batch batch = impl::batch_of(a.record(), 2);
    const QrFactors<T, 3> f = impl::qr_batch<T>(impl::as_matrices<T>(a.any(), batch), options.complete);
    return {impl::from_matrices<T, R>(f.q, batch), impl::from_matrices<T, R>(f.r, batch)};
}

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

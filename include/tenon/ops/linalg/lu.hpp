// LU factorisation with partial pivoting: factors, systems, inverse and determinant.
#pragma once

#include <tenon/kernels/cpu/linalg/lu.hpp>
#include <tenon/kernels/cpu/linalg/svd.hpp>
#include <tenon/ops/concat.hpp>
#include <tenon/ops/linalg/triangular.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {

// L below the diagonal (its ones are not stored), U on and above it; row k was exchanged with row pivots[..., k] - 1, for
// k = 0, 1, ... (LAPACK's and PyTorch's convention).
template <class T, int R>
struct LuFactors {
    Tensor<T, R> lu;
    Tensor<std::int32_t, R - 1> pivots;
};
// A = P L U.
template <class T, int R>
struct PluFactors { Tensor<T, R> p, l, u; };
// det(A) = sign * exp(logabsdet).
template <class T, int R>
struct SignedLogDet { Tensor<T, R> sign, logabsdet; };

namespace impl {

// Rows exchanged as pivots (int32 [batch, steps], contiguous) say, or back again: its derivative is the way back.
template <class T>
Matrices<T> exchange_rows(const Matrices<T>& x, const detail::AnyTensor& pivots, bool back);
template <class T>
struct ExchangeRule {
    static constexpr int inputs = 1, outputs = 1;
    bool back;
    void operator()(RuleData<T>& d) const { d.dx[0] = exchange_rows(d.dy[0], d.extra, !back); }
};
template <class T>
Matrices<T> exchange_rows(const Matrices<T>& x, const detail::AnyTensor& pivots, bool back) {
    Matrices<T> y = copy_matrices(x);
    const long batch = count_of(y), rows = rows_of(y), columns = columns_of(y), steps = pivots->dims()[pivots->rank - 1];
    const std::int32_t* swaps = reinterpret_cast<const std::int32_t*>(pivots->data());
    for (long p = 0; p < batch; ++p)
        kernels::cpu::linalg_impl::apply_pivots<T>(steps, swaps + p * steps, columns, y.data() + p * rows * columns, columns, back);
    if (detail::wants_gradient(x.record())) {
        auto* node = make_rule<T>("exchange_rows", ExchangeRule<T>{back}, x);
        node->save_extra(pivots);
        node->finish(y);
    }
    return y;
}

template <class T>
struct Factored {
    Matrices<T> lu;
    detail::AnyTensor pivots;   // int32 [batch, steps]
    PerMatrix<long> failed;
};
// Unrecorded.
template <class T>
Factored<T> factor_lu(const Matrices<T>& a) {
    const long batch = count_of(a), m = rows_of(a), n = columns_of(a);
    const long dims[2] = {batch, m < n ? m : n};
    Factored<T> f{copy_matrices(a), detail::AnyTensor(detail::new_record(DType::int32, 2, dims, cpu)), PerMatrix<long>(batch)};
    kernels::cpu::lu<T>(batch, m, n, f.lu.data(), n, m * n, reinterpret_cast<std::int32_t*>(f.pivots->data()), f.failed.data());
    return f;
}
template <class T>
Matrices<T> solve_with(const Matrices<T>& lu, const detail::AnyTensor& pivots, const Matrices<T>& b, bool transposed) {
    Matrices<T> x = copy_matrices(b);
    const long n = rows_of(x), k = columns_of(x);
    kernels::cpu::lu_solve<T>(count_of(x), n, k, lu.data(), n, n * n, reinterpret_cast<const std::int32_t*>(pivots->data()), transposed, x.data(), k, n * k);
    return x;
}
[[noreturn]] TENON_COLD inline void fail_singular(const char* operation, long index, long pivot, const detail::Record* of) {
    fail<LinalgError>(operation, ": ", BatchElement{index, of}, " is singular: the diagonal element ", pivot, " of its factor U is zero",
                      "\n       hint: lstsq and pinv take singular matrices");
}

// The derivative of the packed factors. With S = L1^-1 P dA1 U1^-1: dL1 = L1 tril(S, -1), dU1 = triu(S) U1; what lies below
// or to the right of the square part follows it.
template <class T>
struct LuRule {
    static constexpr int inputs = 1, outputs = 1;
    void operator()(RuleData<T>& d) const {
        const Matrices<T>&lu = d.saved[0], &g = d.dy[0];
        const long m = rows_of(lu), n = columns_of(lu), k = m < n ? m : n;
        const Matrices<T> square = lu(all, slice(0, k), slice(0, k)), g_square = g(all, slice(0, k), slice(0, k));
        const Matrices<T> unit = unit_lower(square), u = upper_part(square);
        Matrices<T> below = product(turned(unit), lower_part(g_square, -1)), above = product(upper_part(g_square), turned(u));
        Matrices<T> g_rest;
        if (m > k) {
            const Matrices<T> l2 = lu(all, slice(k), all), g_l2 = g(all, slice(k), all);
            above = Matrices<T>(above - product(turned(l2), g_l2));
            g_rest = solve_triangular_batch(turned(u), g_l2, false, false, false);
        } else if (n > k) {
            const Matrices<T> u2 = lu(all, all, slice(k)), g_u2 = g(all, all, slice(k));
            below = Matrices<T>(below - product(g_u2, turned(u2)));
            g_rest = solve_triangular_batch(turned(unit), g_u2, true, true, true);
        }
        const Matrices<T> inner = lower_part(below, -1) + upper_part(above);
        const Matrices<T> left = solve_triangular_batch(turned(unit), inner, true, true, true);
        Matrices<T> ga = solve_triangular_batch(turned(u), left, false, false, false);
        if (m > k) ga = concat<1>({ga, g_rest});
        else if (n > k) ga = concat<2>({ga, g_rest});
        d.dx[0] = exchange_rows(ga, d.extra, true);
    }
    static Matrices<T> unit_lower(const Matrices<T>& lu) {
        const Matrices<T> strict = lower_part(lu, -1);
        return Matrices<T>(strict + eye<T>(rows_of(lu), columns_of(lu)));
    }
};
template <class T>
Matrices<T> lu_batch(const Matrices<T>& a, detail::AnyTensor* pivots, const detail::Record* of, bool singular_fails) {
    Factored<T> f = factor_lu(a);
    const long bad = f.failed.first(count_of(a));
    if (bad >= 0 && singular_fails) fail_singular("lu_factor", bad, f.failed.data()[bad], of);
    *pivots = f.pivots;
    if (detail::wants_gradient(a.record())) {
        auto* node = make_rule<T>("lu_factor", LuRule<T>{}, a);
        node->save_extra(f.pivots);
        node->finish(f.lu);
        node->save(RuleNode<T, LuRule<T>>::output(0), f.lu);
    }
    return f.lu;
}
// A permuted batch of identities: the P of A = P L U.
template <class T>
Matrices<T> permutation_matrices(const detail::AnyTensor& pivots, long batch, long m) {
    Matrices<T> p = new_matrices<T>("lu", batch, m, m);
    for (long i = 0; i < p.size(); ++i) p.data()[i] = T(0);
    for (long b = 0; b < batch; ++b)
        for (long i = 0; i < m; ++i) p.data()[(b * m + i) * m + i] = T(1);
    return exchange_rows(p, pivots, true);
}

template <class T>
Matrices<T> solve_batch(const Matrices<T>& a, const Matrices<T>& b, const detail::Record* of);
template <class T>
struct SolveRule {
    static constexpr int inputs = 2, outputs = 1;
    // saved: A, X, LU. dB = A'^-1 dX; dA = -dB X'.
    void operator()(RuleData<T>& d) const {
        const Matrices<T> db = d.recording ? solve_batch<T>(turned(d.saved[0]), d.dy[0], d.saved[0].record()) : solve_with(d.saved[2], d.extra, d.dy[0], true);
        d.dx[1] = db;
        if (d.wanted[0]) d.dx[0] = Matrices<T>(-product(db, turned(d.saved[1])));
    }
};
template <class T>
Matrices<T> solve_batch(const Matrices<T>& a, const Matrices<T>& b, const detail::Record* of) {
    const Factored<T> f = factor_lu(a);
    const long bad = f.failed.first(count_of(a));
    if (bad >= 0) fail_singular("solve", bad, f.failed.data()[bad], of);
    Matrices<T> x = solve_with(f.lu, f.pivots, b, false);
    if (detail::wants_gradient(a.record()) || detail::wants_gradient(b.record())) {
        using Node = RuleNode<T, SolveRule<T>>;
        Node* node = make_rule<T>("solve", SolveRule<T>{}, a, b);
        node->save_extra(f.pivots);
        node->finish(x);
        node->save(0, a);
        node->save(Node::output(0), x);
        node->save(Node::constant, f.lu);
    }
    return x;
}

template <class T>
struct InverseRule {
    static constexpr int inputs = 1, outputs = 1;
    // saved: Y. dA = -Y' dY Y'.
    void operator()(RuleData<T>& d) const {
        const Matrices<T> y = turned(d.saved[0]), left = product(y, d.dy[0]);
        d.dx[0] = Matrices<T>(-product(left, y));
    }
};
template <class T>
Matrices<T> inverse_batch(const Matrices<T>& a, const detail::Record* of, const char* operation = "inverse") {
    const Factored<T> f = factor_lu(a);
    const long bad = f.failed.first(count_of(a));
    if (bad >= 0) fail_singular(operation, bad, f.failed.data()[bad], of);
    Matrices<T> y = solve_with(f.lu, f.pivots, identity_matrices<T>(operation, count_of(a), rows_of(a)), false);
    if (detail::wants_gradient(a.record())) {
        auto* node = make_rule<T>("inverse", InverseRule<T>{}, a);
        node->finish(y);
        node->save(RuleNode<T, InverseRule<T>>::output(0), y);
    }
    return y;
}

// The transposed cofactors' transpose, d det / dA, of any matrix: for A = U S V', det(U) det(V) U adj(S) V'.
template <class T>
void cofactors(long n, const T* a, T* out) {
    const Matrices<T> u = new_matrices<T>("det", 1, n, n), vt = new_matrices<T>("det", 1, n, n), s = new_matrices<T>("det", 1, 1, n);
    long failed;
    kernels::cpu::svd<T>(1, n, n, a, u.data(), s.data(), vt.data(), &failed);
    if (failed != 0) {  // not finite: nor is the derivative
        for (long i = 0; i < n * n; ++i) out[i] = static_cast<T>(__builtin_nan(""));
        return;
    }
    T sign = 1;
    for (const Matrices<T>* q : {&u, &vt}) {
        const Factored<T> f = factor_lu(*q);
        const std::int32_t* pivots = reinterpret_cast<const std::int32_t*>(f.pivots->data());
        for (long k = 0; k < n; ++k) {
            if (pivots[k] != k + 1) sign = -sign;
            if (f.lu.data()[k * n + k] < T(0)) sign = -sign;
        }
    }
    for (long k = 0; k < n; ++k) {
        T others = sign;
        for (long j = 0; j < n; ++j)
            if (j != k) others *= s.data()[j];
        for (long j = 0; j < n; ++j) vt.data()[k * n + j] *= others;
    }
    kernels::cpu::gemm<T>(n, n, n, u.data(), n, vt.data(), n, out, n);
}

template <class T>
struct DetRule {
    static constexpr int inputs = 1, outputs = 1;
    // saved: A, det, LU. dA = d det A'^-1; of a singular matrix by its cofactors.
    void operator()(RuleData<T>& d) const {
        const long batch = count_of(d.saved[0]), n = rows_of(d.saved[0]);
        const Matrices<T> factor = d.dy[0] * d.saved[1];
        if (d.recording) {
            d.dx[0] = Matrices<T>(turned(inverse_batch<T>(d.saved[0], d.saved[0].record(), "det")) * factor);
            return;
        }
        Matrices<T> diagonal = identity_matrices<T>("det", batch, n);
        for (long p = 0; p < batch; ++p)
            for (long i = 0; i < n; ++i) diagonal.data()[(p * n + i) * n + i] = factor.data()[p];
        d.dx[0] = solve_with(d.saved[2], d.extra, diagonal, true);
        Matrices<T> whole;
        for (long p = 0; p < batch && n > 0; ++p) {
            bool singular = false;
            for (long i = 0; i < n; ++i) singular = singular || d.saved[2].data()[(p * n + i) * n + i] == T(0);
            if (!singular) continue;
            if (!whole.has_value()) whole = copy_matrices(d.saved[0]);
            T* to = d.dx[0].data() + p * n * n;
            cofactors<T>(n, whole.data() + p * n * n, to);
            const T scale = d.dy[0].data()[p];
            for (long i = 0; i < n * n; ++i) to[i] *= scale;
        }
    }
};
template <class T>
struct SignedLogDetRule {
    static constexpr int inputs = 1, outputs = 2;
    // saved: A, LU. dA = d logabsdet A'^-1; the sign has no derivative.
    void operator()(RuleData<T>& d) const {
        const long batch = count_of(d.saved[0]), n = rows_of(d.saved[0]);
        if (!d.dy[1].has_value()) {
            d.dx[0] = Matrices<T>(zeros_like(d.saved[0].detach()));
        } else if (d.recording) {
            d.dx[0] = Matrices<T>(turned(inverse_batch<T>(d.saved[0], d.saved[0].record(), "slogdet")) * d.dy[1]);
        } else {
            Matrices<T> diagonal = identity_matrices<T>("slogdet", batch, n);
            for (long p = 0; p < batch; ++p)
                for (long i = 0; i < n; ++i) diagonal.data()[(p * n + i) * n + i] = d.dy[1].data()[p];
            d.dx[0] = solve_with(d.saved[1], d.extra, diagonal, true);
        }
    }
};
template <class T>
bool odd_exchanges(const Factored<T>& f, long p, long n) {
    const std::int32_t* pivots = reinterpret_cast<const std::int32_t*>(f.pivots->data()) + p * n;
    bool odd = false;
    for (long k = 0; k < n; ++k) odd = odd != (pivots[k] != k + 1);
    return odd;
}

}  // namespace impl

// A[..., m, n] = P L U with partial pivoting, packed: {lu, pivots}. float and double. Throws LinalgError naming the matrix
// and the element of U's diagonal that is zero, as PyTorch's lu_factor does. Derivative of lu: of the factors, the exchanges
// held fixed.
template <class T, int R>
[[nodiscard]] LuFactors<T, R> lu_factor(const Tensor<T, R>& a) {
    impl::check_matrix("lu_factor", a);
    const impl::Batch batch = impl::batch_of(a.record(), 2);
    detail::AnyTensor pivots;
    const impl::Matrices<T> lu = impl::lu_batch<T>(impl::as_matrices<T>(a.any(), batch), &pivots, a.record(), true);
    long dims[max_rank] = {};
    for (int i = 0; i < batch.rank; ++i) dims[i] = batch.dims[i];
    dims[batch.rank] = pivots->dims()[1];
    return {impl::from_matrices<T, R>(lu, batch), Tensor<std::int32_t, R - 1>(detail::reshape_any(pivots.get(), R - 1, dims)).to(batch.device)};
}
// The same unpacked: permutation P[..., m, m], L[..., m, k] with ones on the diagonal, U[..., k, n], k = min(m, n). Takes
// singular matrices. P has no derivative.
template <class T, int R>
[[nodiscard]] PluFactors<T, R> lu(const Tensor<T, R>& a) {
    impl::check_matrix("lu", a);
    const impl::Batch batch = impl::batch_of(a.record(), 2);
    detail::AnyTensor pivots;
    const impl::Matrices<T> packed = impl::lu_batch<T>(impl::as_matrices<T>(a.any(), batch), &pivots, a.record(), false);
    const long m = a.shape(-2), n = a.shape(-1), k = m < n ? m : n;
    const impl::Matrices<T> left = packed(all, all, slice(0, k)), right = packed(all, slice(0, k), all);
    return {impl::from_matrices<T, R>(impl::permutation_matrices<T>(pivots, batch.count(), m), batch),
            impl::from_matrices<T, R>(impl::LuRule<T>::unit_lower(left), batch), impl::from_matrices<T, R>(impl::upper_part(right), batch)};
}
// X with A X = B from lu_factor's result: B[..., n, k], leading axes broadcast. Errors as of solve_triangular, whose derivatives
// it has.
template <class T, int RA, int RB>
[[nodiscard]] auto lu_solve(const Tensor<T, RA>& lu, const Tensor<std::int32_t, RA - 1>& pivots, const Tensor<T, RB>& b) {
    impl::check_square("lu_solve", lu);
    impl::check_matrix("lu_solve", b);
    impl::check_sides("lu_solve", lu.record(), b.record(), RB - 2);
    const impl::Batch batch = impl::merge_batches("lu_solve", lu.record(), 2, b.record(), 2);
    const impl::Matrices<T> factors = impl::as_matrices<T>(lu.any(), batch);
    const long n = lu.shape(-1);
    for (int i = 0; i < RA - 1; ++i)
        if (pivots.shape(i) != lu.shape(i))
            fail<ShapeError>("lu_solve: pivots are ", pivots.record()->description(), ", the factors ", lu.record()->description(), ": they differ at axis ", i);
    const auto swaps = contiguous(impl::as_matrices<std::int32_t>(pivots.any(), batch, 1));
    for (long i = 0; i < swaps.size(); ++i)
        if (swaps.data()[i] < 1 || swaps.data()[i] > n)
            fail<IndexError>("lu_solve: pivot ", swaps.data()[i], " is outside of [1, ", n, "]");
    long dims[2] = {batch.count(), n};
    const detail::AnyTensor flat = detail::reshape_any(swaps.record(), 2, dims);
    const impl::Matrices<T> exchanged = impl::exchange_rows<T>(impl::as_matrices<T>(b.any(), batch), flat, false);
    const impl::Matrices<T> y = impl::solve_triangular_batch<T>(factors, exchanged, false, true, true);
    return impl::from_matrices<T, (RA > RB ? RA : RB)>(impl::solve_triangular_batch<T>(factors, y, true, false, true), batch);
}

// X with A X = B: A[..., n, n] and B[..., n, k], or B[..., n] (of one axis, or of one axis fewer than A): a vector for every
// matrix. Leading axes broadcast. float and double. Throws ShapeError, and LinalgError naming the matrix where one is singular.
// Derivative: dB = A'^-1 dX, dA = -dB X'.
template <class T, int RA, int RB>
[[nodiscard]] auto solve(const Tensor<T, RA>& a, const Tensor<T, RB>& b) {
    static_assert(RB >= 1, "tenon: solve: the right side needs at least one axis");
    constexpr int own = RB == 1 || RB == RA - 1 ? 1 : 2;
    impl::check_square("solve", a);
    impl::check_sides("solve", a.record(), b.record(), RB - own);
    const impl::Batch batch = impl::merge_batches("solve", a.record(), 2, b.record(), own);
    const impl::Matrices<T> x = impl::solve_batch<T>(impl::as_matrices<T>(a.any(), batch), impl::as_matrices<T>(b.any(), batch, own), a.record());
    return impl::from_matrices<T, ((RA - 2 > RB - own ? RA - 2 : RB - own) + own)>(x, batch, own);
}

// A^-1 of A[..., n, n]. float and double. Throws ShapeError, and LinalgError naming the matrix where one is singular.
// Derivative: -Y' dY Y'.
template <class T, int R>
[[nodiscard]] Tensor<T, R> inverse(const Tensor<T, R>& a) {
    impl::check_square("inverse", a);
    const impl::Batch batch = impl::batch_of(a.record(), 2);
    return impl::from_matrices<T, R>(impl::inverse_batch<T>(impl::as_matrices<T>(a.any(), batch), a.record()), batch);
}

// Determinants of A[..., n, n], [...]; 1 of an empty matrix, 0 of a singular one. Derivative: det A'^-1, or the
// cofactors where A is singular (second derivatives throw LinalgError there).
template <class T, int R>
[[nodiscard]] Tensor<T, R - 2> det(const Tensor<T, R>& a) {
    impl::check_square("det", a);
    const impl::Batch batch = impl::batch_of(a.record(), 2);
    const impl::Matrices<T> x = impl::as_matrices<T>(a.any(), batch);
    const impl::Factored<T> f = impl::factor_lu(x);
    const long count = batch.count(), n = a.shape(-1);
    impl::Matrices<T> y = impl::new_matrices<T>("det", count, 1, 1);
    for (long p = 0; p < count; ++p) {
        T value = impl::odd_exchanges(f, p, n) ? T(-1) : T(1);
        for (long k = 0; k < n; ++k) value *= f.lu.data()[(p * n + k) * n + k];
        y.data()[p] = value;
    }
    if (detail::wants_gradient(x.record())) {
        using Node = impl::RuleNode<T, impl::DetRule<T>>;
        Node* node = impl::make_rule<T>("det", impl::DetRule<T>{}, x);
        node->save_extra(f.pivots);
        node->finish(y);
        node->save(0, x);
        node->save(Node::output(0), y);
        node->save(Node::constant, f.lu);
    }
    return impl::from_matrices<T, R - 2>(y, batch, 0);
}

// {sign, logabsdet} of A[..., n, n], each [...]: determinants that would overflow. A singular matrix has {0, -inf}.
// Derivative of logabsdet: A'^-1, of a singular matrix not finite, as in PyTorch.
template <class T, int R>
[[nodiscard]] SignedLogDet<T, R - 2> slogdet(const Tensor<T, R>& a) {
    impl::check_square("slogdet", a);
    const impl::Batch batch = impl::batch_of(a.record(), 2);
    const impl::Matrices<T> x = impl::as_matrices<T>(a.any(), batch);
    const impl::Factored<T> f = impl::factor_lu(x);
    const long count = batch.count(), n = a.shape(-1);
    impl::Matrices<T> sign = impl::new_matrices<T>("slogdet", count, 1, 1), value = impl::new_matrices<T>("slogdet", count, 1, 1);
    for (long p = 0; p < count; ++p) {
        T s = impl::odd_exchanges(f, p, n) ? T(-1) : T(1);
        double logarithm = 0;
        for (long k = 0; k < n; ++k) {
            const T u = f.lu.data()[(p * n + k) * n + k];
            s = u > T(0) ? s : u < T(0) ? T(0) - s : u == T(0) ? T(0) : u;  // NaN stays, and a zero has no sign
            logarithm += __builtin_log(__builtin_fabs(static_cast<double>(u)));
        }
        sign.data()[p] = s;
        value.data()[p] = static_cast<T>(logarithm);
    }
    if (detail::wants_gradient(x.record())) {
        using Node = impl::RuleNode<T, impl::SignedLogDetRule<T>>;
        Node* node = impl::make_rule<T>("slogdet", impl::SignedLogDetRule<T>{}, x);
        node->save_extra(f.pivots);
        node->finish(sign, value);
        node->save(0, x);
        node->save(Node::constant, f.lu);
    }
    return {impl::from_matrices<T, R - 2>(sign, batch, 0), impl::from_matrices<T, R - 2>(value, batch, 0)};
}

// The same of expressions.
template <impl::Unevaluated A>
[[nodiscard]] auto lu_factor(A&& a) { return lu_factor(impl::as_tensor(static_cast<A&&>(a))); }
template <impl::Unevaluated A>
[[nodiscard]] auto lu(A&& a) { return lu(impl::as_tensor(static_cast<A&&>(a))); }
template <Expression A, Expression B>
    requires(impl::Unevaluated<A> || impl::Unevaluated<B>)
[[nodiscard]] auto solve(A&& a, B&& b) { return solve(impl::as_tensor(static_cast<A&&>(a)), impl::as_tensor(static_cast<B&&>(b))); }
template <impl::Unevaluated A>
[[nodiscard]] auto inverse(A&& a) { return inverse(impl::as_tensor(static_cast<A&&>(a))); }
template <impl::Unevaluated A>
[[nodiscard]] auto det(A&& a) { return det(impl::as_tensor(static_cast<A&&>(a))); }
template <impl::Unevaluated A>
[[nodiscard]] auto slogdet(A&& a) { return slogdet(impl::as_tensor(static_cast<A&&>(a))); }

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

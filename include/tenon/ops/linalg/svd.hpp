// Singular values and vectors, and what follows from them: pseudo-inverse, rank, least squares.
#pragma once

#include <tenon/kernels/cpu/linalg/svd.hpp>
#include <tenon/ops/linalg/eigh.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {

template <class T, int R>
struct SingularVectors {
    Tensor<T, R> u;       // [..., m, k], k = min(m, n)
    Tensor<T, R - 1> s;   // [..., k], descending
    Tensor<T, R> vh;      // [..., k, n]
};
// Singular values up to the larger of absolute and relative * the largest one count as zero. relative < 0: max(m, n) times
// the element type's epsilon, or 0 where an absolute bound is given.
struct RankOptions { double absolute = 0, relative = -1; };
template <class T, int R, int RB>
struct LeastSquares {
    Tensor<T, RB> solution;
    Tensor<T, RB - 1> residuals;                 // of every right side: the sum of squares of B - A X
    Tensor<std::int64_t, R - 2> rank;
    Tensor<T, R - 1> singular_values;
};

namespace impl {

template <class T>
struct SvdRule {
    static constexpr int inputs = 1, outputs = 3;
    // saved: U, s, V'. dA = U [(skew(U' dU) / E) S + S (skew(V' dV) / E) + diag(ds)] V' + (1 - U U') dU S^-1 V'
    // + U S^-1 dV' (1 - V V'), with E[i, j] = s[j]^2 - s[i]^2 and skew(X) = X - X'.
    void operator()(RuleData<T>& d) const {
        const Matrices<T>&u = d.saved[0], &s = d.saved[1], &vh = d.saved[2];
        const long m = rows_of(u), k = columns_of(s), n = columns_of(vh);
        Matrices<T> inner;
        const auto add = [&](const Matrices<T>& more) { inner = inner.has_value() ? Matrices<T>(inner + more) : more; };
        Matrices<T> gaps;
        if (d.dy[0].has_value() || d.dy[2].has_value()) gaps = Matrices<T>((s - turned(s)) * (s + turned(s)) + eye<T>(k));
        if (d.dy[0].has_value()) add(Matrices<T>(turns(product(turned(u), d.dy[0]), gaps) * s));
        if (d.dy[2].has_value()) add(Matrices<T>(turns(product(vh, turned(d.dy[2])), gaps) * turned(s)));
        if (d.dy[1].has_value()) add(diagonal_matrices(d.dy[1]));
        Matrices<T> left = product(u, inner);
        if (d.dy[0].has_value() && m > k) {
            const Matrices<T> scaled = d.dy[0] / s;
            left = Matrices<T>(left + (scaled - product(u, product(turned(u), scaled))));
        }
        Matrices<T> da = product(left, vh);
        if (d.dy[2].has_value() && n > k) {
            const Matrices<T> scaled = d.dy[2] / turned(s);
            const Matrices<T> outside = scaled - product(product(scaled, turned(vh)), vh);
            da = Matrices<T>(da + product(u, outside));
        }
        d.dx[0] = da;
    }
    static Matrices<T> turns(const Matrices<T>& x, const Matrices<T>& gaps) {
        const Matrices<T> ratio = (x - turned(x)) / gaps;
        return Matrices<T>(lower_part(ratio, -1) + upper_part(ratio, 1));
    }
};
template <class T>
struct SingularBatch { Matrices<T> u, s, vh; };

template <class T>
SingularBatch<T> svd_batch(const char* operation, const Matrices<T>& a, bool vectors, const detail::Record* of) {
    const Matrices<T> x = contiguous(a);
    const long batch = count_of(x), m = rows_of(x), n = columns_of(x), k = m < n ? m : n;
    const bool recorded = detail::wants_gradient(a.record());
    SingularBatch<T> f{{}, new_matrices<T>(operation, batch, 1, k), {}};
    if (vectors || recorded) {
        f.u = new_matrices<T>(operation, batch, m, k);
        f.vh = new_matrices<T>(operation, batch, k, n);
    }
    const PerMatrix<long> failed(batch);
    const bool both = f.u.has_value();
    kernels::cpu::svd<T>(batch, m, n, x.data(), both ? f.u.data() : nullptr, f.s.data(), both ? f.vh.data() : nullptr, failed.data());
    const long bad = failed.first(batch);
    if (bad >= 0) fail_decomposition(operation, bad, failed.data()[bad], of);
    if (recorded) {
        using Node = RuleNode<T, SvdRule<T>>;
        Node* node = make_rule<T>(operation, SvdRule<T>{}, x);
        node->finish(f.u, f.s, f.vh);
        node->save(Node::output(0), f.u);
        node->save(Node::output(1), f.s);
        node->save(Node::output(2), f.vh);
    }
    return f;
}

template <class T>
T rank_bound(const RankOptions& options, long m, long n, T largest) {
    double relative = options.relative;
    if (relative < 0) relative = options.absolute > 0 ? 0 : static_cast<double>(m > n ? m : n) * static_cast<double>(kernels::cpu::linalg_impl::epsilon<T>);
    const double bound = relative * static_cast<double>(largest);
    return static_cast<T>(bound > options.absolute ? bound : options.absolute);
}
// 1 / s where s counts, else 0; and how many count. Unrecorded.
template <class T>
Matrices<T> inverse_values(const Matrices<T>& s, const RankOptions& options, long m, long n, std::int64_t* ranks) {
    const long batch = count_of(s), k = columns_of(s);
    Matrices<T> inverse = new_matrices<T>("pinv", batch, 1, k);
    for (long p = 0; p < batch; ++p) {
        const T bound = k > 0 ? rank_bound(options, m, n, s.data()[p * k]) : T(0);
        std::int64_t rank = 0;
        for (long i = 0; i < k; ++i) {
            const T value = s.data()[p * k + i];
            inverse.data()[p * k + i] = value > bound ? T(1) / value : T(0);
            rank += value > bound ? 1 : 0;
        }
        if (ranks != nullptr) ranks[p] = rank;
    }
    return inverse;
}

// dP from dA at constant rank: -P dA P + P P' dA' (1 - A P) + (1 - P A) dA' P' P, and back.
template <class T>
Matrices<T> pinv_backward(const Matrices<T>& a, const Matrices<T>& p, const Matrices<T>& dp) {
    const Matrices<T> pt = turned(p), dpt = turned(dp);
    Matrices<T> da = -product(product(pt, dp), pt);
    const Matrices<T> after = product(product(dpt, p), pt);    // dP' P P'
    da = Matrices<T>(da + (after - product(a, product(p, after))));
    const Matrices<T> before = product(product(pt, p), dpt);   // P' P dP'
    return Matrices<T>(da + (before - product(product(before, p), a)));
}
template <class T>
struct PinvRule {
    static constexpr int inputs = 1, outputs = 1;
    void operator()(RuleData<T>& d) const { d.dx[0] = pinv_backward(d.saved[0], d.saved[1], d.dy[0]); }
};
template <class T>
Matrices<T> pinv_batch(const char* operation, const Matrices<T>& a, const RankOptions& options, const detail::Record* of) {
    SingularBatch<T> f;
    Matrices<T> p;
    {
        const no_grad none;
        f = svd_batch<T>(operation, a, true, of);
        const Matrices<T> inverse = inverse_values(f.s, options, rows_of(a), columns_of(a), nullptr);
        const Matrices<T> scaled = turned(f.vh) * inverse;
        p = product(scaled, turned(f.u));
    }
    if (detail::wants_gradient(a.record())) {
        auto* node = make_rule<T>(operation, PinvRule<T>{}, a);
        node->finish(p);
        node->save(0, a);
        node->save(RuleNode<T, PinvRule<T>>::output(0), p);
    }
    return p;
}
template <class T>
struct LeastSquaresRule {
    static constexpr int inputs = 2, outputs = 1;
    RankOptions options;
    // saved: A, B. X = P B for the pseudo-inverse P of A.
    void operator()(RuleData<T>& d) const {
        const Matrices<T> p = pinv_batch<T>("lstsq", d.saved[0], options, d.saved[0].record());
        d.dx[1] = product(turned(p), d.dy[0]);
        if (d.wanted[0]) d.dx[0] = pinv_backward(d.saved[0], p, product(d.dy[0], turned(d.saved[1])));
    }
};

}  // namespace impl

// {u, s, vh}: A[..., m, n] = U diag(s) Vh, reduced: U[..., m, k], s[..., k] descending, Vh[..., k, n], k = min(m, n). Signs of pairs
// of vectors are arbitrary. float and double. Throws LinalgError naming the matrix where elements are not finite. Derivative as
// in PyTorch: through the vectors it is not finite where singular values are equal (or zero, of matrices that are not square).
template <class T, int R>
[[nodiscard]] SingularVectors<T, R> svd(const Tensor<T, R>& a) {
    impl::check_matrix("svd", a);
    const impl::Batch batch = impl::batch_of(a.record(), 2);
    const impl::SingularBatch<T> f = impl::svd_batch<T>("svd", impl::as_matrices<T>(a.any(), batch), true, a.record());
    return {impl::from_matrices<T, R>(f.u, batch), impl::from_matrices<T, R - 1>(f.s, batch, 1), impl::from_matrices<T, R>(f.vh, batch)};
}
// The singular values alone, which cost a fraction.
template <class T, int R>
[[nodiscard]] Tensor<T, R - 1> svdvals(const Tensor<T, R>& a) {
    impl::check_matrix("svdvals", a);
    const impl::Batch batch = impl::batch_of(a.record(), 2);
    return impl::from_matrices<T, R - 1>(impl::svd_batch<T>("svdvals", impl::as_matrices<T>(a.any(), batch), false, a.record()).s, batch, 1);
}

// The pseudo-inverse (Moore-Penrose) [..., n, m] of A[..., m, n]. Errors as of svd. Derivative at constant rank.
template <class T, int R>
[[nodiscard]] Tensor<T, R> pinv(const Tensor<T, R>& a, RankOptions options = {}) {
    impl::check_matrix("pinv", a);
    const impl::Batch batch = impl::batch_of(a.record(), 2);
    return impl::from_matrices<T, R>(impl::pinv_batch<T>("pinv", impl::as_matrices<T>(a.any(), batch), options, a.record()), batch);
}

// The number of singular values of A[..., m, n] that count, int64 [...]. Errors as of svd.
template <class T, int R>
[[nodiscard]] Tensor<std::int64_t, R - 2> matrix_rank(const Tensor<T, R>& a, RankOptions options = {}) {
    impl::check_matrix("matrix_rank", a);
    const no_grad none;
    const impl::Batch batch = impl::batch_of(a.record(), 2);
    const impl::Matrices<T> s = impl::svd_batch<T>("matrix_rank", impl::as_matrices<T>(a.any(), batch), false, a.record()).s;
    Tensor<std::int64_t, R - 2> ranks(detail::AnyTensor(detail::new_record(DType::int64, R - 2, batch.dims, cpu, "matrix_rank")));
    impl::inverse_values(s, options, a.shape(-2), a.shape(-1), ranks.data());
    return ranks.to(batch.device);
}

// The X of least norm among those that make the columns of B - A X shortest: A[..., m, n], B[..., m, k], leading axes
// broadcast; by singular values, so that A may lack rank. Errors as of svd. Derivative of the solution, at constant rank;
// residuals, rank and singular values have none.
template <class T, int RA, int RB>
[[nodiscard]] auto lstsq(const Tensor<T, RA>& a, const Tensor<T, RB>& b, RankOptions options = {}) {
    impl::check_matrix("lstsq", a);
    impl::check_matrix("lstsq", b);
    if (a.shape(-2) != b.shape(-2))
        fail<ShapeError>("lstsq: numbers of rows differ: the matrix is ", a.record()->description(), ", the right side ", b.record()->description());
    constexpr int R = RA > RB ? RA : RB;
    const impl::Batch batch = impl::merge_batches("lstsq", a.record(), 2, b.record(), 2), own = impl::batch_of(a.record(), 2);
    const impl::Matrices<T> left = impl::as_matrices<T>(a.any(), batch), right = impl::as_matrices<T>(b.any(), batch);
    Tensor<std::int64_t, RA - 2> ranks(detail::AnyTensor(detail::new_record(DType::int64, RA - 2, own.dims, cpu, "lstsq")));
    impl::Matrices<T> x, residuals, values;
    {
        const no_grad none;
        const impl::SingularBatch<T> f = impl::svd_batch<T>("lstsq", impl::as_matrices<T>(a.any(), own), true, a.record());
        const impl::Matrices<T> inverse = impl::inverse_values(f.s, options, a.shape(-2), a.shape(-1), ranks.data());
        values = f.s;
        const auto spread = [&](const impl::Matrices<T>& y) {
            if (own.count() == batch.count()) return y;
            return impl::as_matrices<T>(impl::from_matrices<T, RA>(y, own).any(), batch);
        };
        const impl::Matrices<T> inside = impl::product(impl::turned(spread(f.u)), right);
        const impl::Matrices<T> scaled = inside * impl::turned(spread(inverse));
        x = impl::product(impl::turned(spread(f.vh)), scaled);
        const impl::Matrices<T> rest = right - impl::product(left, x);
        residuals = impl::Matrices<T>(sum<1>(square(rest), keepdim));
    }
    if (detail::wants_gradient(left.record()) || detail::wants_gradient(right.record())) {
        auto* node = impl::make_rule<T>("lstsq", impl::LeastSquaresRule<T>{options}, left, right);
        node->finish(x);
        node->save(0, left);
        node->save(1, right);
    }
    return LeastSquares<T, RA, R>{impl::from_matrices<T, R>(x, batch), impl::from_matrices<T, R - 1>(residuals, batch, 1), ranks.to(batch.device),
                                  impl::from_matrices<T, RA - 1>(values, own, 1)};
}

// The same of expressions.
template <impl::Unevaluated A>
[[nodiscard]] auto svd(A&& a) { return svd(impl::as_tensor(static_cast<A&&>(a))); }
template <impl::Unevaluated A>
[[nodiscard]] auto svdvals(A&& a) { return svdvals(impl::as_tensor(static_cast<A&&>(a))); }
template <impl::Unevaluated A>
[[nodiscard]] auto pinv(A&& a, RankOptions options = {}) { return pinv(impl::as_tensor(static_cast<A&&>(a)), options); }
template <impl::Unevaluated A>
[[nodiscard]] auto matrix_rank(A&& a, RankOptions options = {}) { return matrix_rank(impl::as_tensor(static_cast<A&&>(a)), options); }
template <Expression A, Expression B>
    requires(impl::Unevaluated<A> || impl::Unevaluated<B>)
[[nodiscard]] auto lstsq(A&& a, B&& b, RankOptions options = {}) { return lstsq(impl::as_tensor(static_cast<A&&>(a)), impl::as_tensor(static_cast<B&&>(b)), options); }

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

// Linear algebra.
#include "record.hpp"

#include <cmath>

#include <tenon/autograd/functional.hpp>
#include <tenon/ops/linalg.hpp>

namespace {

using namespace tenon;

template <class X>
auto definite(const X& x) { return X(matmul(x, transpose(x)) + eye<typename X::Scalar>(x.shape(-1), -1, x.device())); }
template <class X>
auto symmetric(const X& x) { return X(x + transpose(x)); }

template <class T, int R>
Tensor<T, R> eigen_tanh(const Tensor<T, R>& x) {
    const auto e = eigh(symmetric(x));
    const Tensor<T, R> scaled = e.vectors * tanh(e.values.template unsqueeze<R - 2>());
    return Tensor<T, R>(matmul(scaled, transpose(e.vectors)));
}
template <class T, int R>
Tensor<T, R> singular_tanh(const Tensor<T, R>& x) {
    const auto f = svd(x);
    const Tensor<T, R> scaled = f.u * tanh(f.s.template unsqueeze<R - 2>());
    return Tensor<T, R>(matmul(scaled, f.vh));
}
Tensor<float, 2> matrix(std::initializer_list<float> values) {
    return from<float>({2, 2}, values);
}

}  // namespace

TENON_OPERATORS(linalg) {
    using namespace operators;
    // Bounds: eps times a modest condition number of the random cases.
    constexpr double tight = 1e-11, loose = 2e-4;
    add({.name = "cholesky", .golden = "cholesky", .in_double = tight, .in_float = loose}, [](const auto& x) { return cholesky(definite(x)); },
        real<3>("x", {20, 64, 64}));
    add({.name = "cholesky, lower triangle only", .golden = "cholesky_raw", .in_double = tight, .in_float = loose}, [](const auto& x) { return cholesky(x); },
        real<2>("x"));
    add({.name = "cholesky, upper", .golden = "cholesky_upper", .in_double = tight, .in_float = loose},
        [](const auto& x) { return cholesky(definite(x), {.upper = true}); }, real<2>("x", {200, 200}));
    add({.name = "cholesky_solve", .golden = "cholesky_solve", .view_bits = false, .in_double = tight, .in_float = loose},
        [](const auto& b, const auto& x) { return cholesky_solve(b, cholesky(definite(x))); }, real<4>("b", {3, 1, 40, 20}), real<3>("x", {5, 40, 40}));
    add({.name = "solve_triangular", .golden = "triangular", .in_double = tight, .in_float = loose},
        [](const auto& a, const auto& b) { return solve_triangular(a, b); }, real<3>("a", {5, 40, 40}, 0.5, 1), real<4>("b", {3, 1, 40, 50}));
    add({.name = "solve_triangular, upper", .golden = "triangular_upper", .in_double = tight, .in_float = loose},
        [](const auto& a, const auto& b) { return solve_triangular(a, b, {.upper = true}); }, real<2>("a", {100, 100}, 0.5, 1), real<2>("b", {100, 70}));
    add({.name = "solve_triangular, unit", .golden = "triangular_unit", .in_double = tight, .in_float = loose},
        [](const auto& a, const auto& b) { return solve_triangular(a, b, {.upper = true, .unit = true}); }, real<2>("a", {60, 60}, -0.1, 0.1), real<2>("b", {60, 70}));
    add({.name = "solve_triangular, right", .golden = "triangular_right", .in_double = tight, .in_float = loose},
        [](const auto& a, const auto& b) { return solve_triangular(a, b, {.left = false}); }, real<3>("a", {2, 60, 60}, 0.5, 1), real<3>("b", {2, 70, 60}));
    add({.name = "solve_triangular, transposed", .golden = "triangular_transposed", .in_double = tight, .in_float = loose},
        [](const auto& a, const auto& b) { return solve_triangular(a, b, {.transposed = true}); }, real<2>("a", {60, 60}, 0.5, 1), real<2>("b", {60, 70}));
    add({.name = "lu_factor", .golden = "lu_factor", .in_double = tight, .in_float = loose}, [](const auto& x) { return lu_factor(x).lu; },
        real<3>("x", {20, 60, 50}));
    add({.name = "lu", .golden = "lu_product", .in_double = tight, .in_float = loose}, [](const auto& x) {
            const auto f = lu(x);
            return eval(matmul(square(f.l), f.u));
        }, real<3>("x", {2, 90, 100}));
    add({.name = "lu, permutation", .golden = "lu_permutation"}, [](const auto& x) { return lu(x).p; }, real<3>("x", {4, 30, 30}));
    add({.name = "lu_solve", .golden = "lu_solve", .in_double = tight, .in_float = loose}, [](const auto& a, const auto& b) {
            const auto f = lu_factor(a);
            return lu_solve(f.lu, f.pivots, b);
        }, real<3>("a", {3, 60, 60}), real<4>("b", {2, 1, 60, 20}));
    add({.name = "solve", .golden = "solve", .in_double = tight, .in_float = loose}, [](const auto& a, const auto& b) { return solve(a, b); },
        real<3>("a", {3, 60, 60}), real<4>("b", {2, 1, 60, 20}));
    add({.name = "solve, vector", .golden = "solve_vector", .in_double = tight, .in_float = loose}, [](const auto& a, const auto& b) { return solve(a, b); },
        real<2>("a", {150, 150}), real<1>("b", {150}));
    add({.name = "solve, vectors", .golden = "solve_vectors", .in_double = tight, .in_float = loose}, [](const auto& a, const auto& b) { return solve(a, b); },
        real<3>("a", {100, 9, 9}), real<2>("b", {100, 9}));
    add({.name = "inverse", .golden = "inverse", .in_double = tight, .in_float = loose}, [](const auto& x) { return inverse(x); }, real<3>("x", {5, 50, 50}));
    add({.name = "det", .golden = "det", .in_double = tight, .in_float = loose}, [](const auto& x) { return det(x); }, real<3>("x", {300, 8, 8}));
    add({.name = "det, singular", .golden = "det_singular", .in_double = tight, .in_float = loose}, [](const auto& x) { return det(x); }, real<2>("x"));
    add({.name = "slogdet", .golden = "logabsdet", .in_double = tight, .in_float = loose}, [](const auto& x) { return slogdet(x).logabsdet; },
        real<3>("x", {10, 60, 60}));
    add({.name = "slogdet, sign", .golden = "det_sign"}, [](const auto& x) { return slogdet(x).sign; }, real<3>("x", {10, 30, 30}));
    add({.name = "qr, q", .golden = "qr_q", .in_double = tight, .in_float = loose}, [](const auto& x) { return qr(x).q; }, real<3>("x", {3, 90, 60}));
    add({.name = "qr, r", .golden = "qr_r", .in_double = tight, .in_float = loose}, [](const auto& x) { return qr(x).r; }, real<3>("x", {3, 60, 90}));
    add({.name = "qr, both", .golden = "qr_both", .in_double = tight, .in_float = loose}, [](const auto& x) {
            const auto f = qr(x);
            return eval(matmul(square(f.q), f.r));
        }, real<3>("x", {100, 8, 4}));
    add({.name = "qr, complete", .golden = "qr_complete", .in_double = tight, .in_float = loose}, [](const auto& x) {
            const no_grad none;
            return qr(x, {.complete = true}).q;
        }, real<2>("x", {90, 60}));
    add({.name = "eigvalsh", .golden = "eigvalsh", .kinks = true, .in_double = tight, .in_float = loose}, [](const auto& x) { return eigvalsh(symmetric(x)); },
        real<3>("x", {2, 90, 90}));
    add({.name = "eigh", .golden = "eigh", .in_double = tight, .in_float = loose, .note = "V tanh(w) V'"}, [](const auto& x) { return eigen_tanh(x); },
        real<3>("x", {3, 70, 70}));
    add({.name = "eigh, upper", .golden = "eigh_upper", .in_double = tight, .in_float = loose}, [](const auto& x) {
            const no_grad none;
            return eigh(x, {.upper = true}).values;
        }, real<2>("x", {100, 100}));
    add({.name = "svdvals", .golden = "svdvals", .in_double = tight, .in_float = loose}, [](const auto& x) { return svdvals(x); }, real<3>("x", {2, 90, 70}));
    add({.name = "svd", .golden = "svd", .in_double = tight, .in_float = loose, .note = "U tanh(s) Vh"}, [](const auto& x) { return singular_tanh(x); },
        real<3>("x", {2, 90, 70}));
    add({.name = "pinv", .golden = "pinv", .in_double = tight, .in_float = loose}, [](const auto& x) { return pinv(x); }, real<3>("x", {4, 40, 30}));
    add({.name = "lstsq", .golden = "lstsq", .in_double = tight, .in_float = loose}, [](const auto& a, const auto& b) { return lstsq(a, b).solution; },
        real<3>("a", {4, 40, 30}), real<3>("b", {4, 40, 5}));
    add({.name = "matrix_rank", .golden = "matrix_rank"}, [](const auto& x) { return matrix_rank(x); }, real<3>("x", {10, 30, 20}));
    add({.name = "matrix_power", .golden = "matrix_power", .in_double = tight, .in_float = loose}, [](const auto& x) { return matrix_power(x, 5); },
        real<3>("x", {4, 40, 40}, -0.1, 0.1));
    add({.name = "matrix_power, negative", .golden = "matrix_power_negative", .in_double = tight, .in_float = loose},
        [](const auto& x) { return matrix_power(x, -2); }, real<3>("x", {4, 10, 10}));
    add({.name = "matrix_norm, frobenius", .golden = "norm_frobenius", .view_bits = false}, [](const auto& x) { return matrix_norm(x); }, real<3>("x", {10, 30, 20}));
    add({.name = "matrix_norm, nuclear", .golden = "norm_nuclear", .in_double = tight, .in_float = loose},
        [](const auto& x) { return matrix_norm(x, MatrixNorm::nuclear); }, real<3>("x", {10, 30, 20}));
    add({.name = "matrix_norm, spectral", .golden = "norm_spectral", .in_double = tight, .in_float = loose},
        [](const auto& x) { return matrix_norm(x, MatrixNorm::spectral); }, real<3>("x", {10, 30, 20}));
    add({.name = "matrix_norm, least", .golden = "norm_least", .in_double = tight, .in_float = loose}, [](const auto& x) { return matrix_norm(x, MatrixNorm::least); },
        real<3>("x", {10, 30, 20}));
    add({.name = "matrix_norm, one", .golden = "norm_one", .kinks = true}, [](const auto& x) { return matrix_norm(x, MatrixNorm::one); }, real<3>("x", {10, 30, 20}));
    add({.name = "matrix_norm, infinity", .golden = "norm_infinity", .kinks = true}, [](const auto& x) { return matrix_norm(x, MatrixNorm::infinity); },
        real<3>("x", {10, 30, 20}));
    add({.name = "cond", .golden = "cond", .in_double = tight, .in_float = loose}, [](const auto& x) { return cond(x); }, real<3>("x", {10, 30, 20}));

    add_error("cholesky", [] { return cholesky(matrix({1, 2, 2, 1})); }, "cholesky: float[2, 2] on cpu is not positive definite: its leading minor of order 2 is not positive");
    add_error("cholesky", [] { return cholesky(stack<0>({matrix({1, 0, 0, 1}), matrix({NAN, 0, 0, 1})})); }, "matrix 1 (in row-major order) of float[2, 2, 2]");
    add_error("cholesky", [] { return cholesky(zeros<float>({2, 3})); }, "cholesky: float[2, 3] on cpu is not square");
    add_error("solve", [] { return solve(matrix({1, 2, 2, 4}), ones<float>({2})); }, "is singular: the diagonal element 2 of its factor U is zero");
    add_error("solve", [] { return solve(ones<float>({3, 3}), ones<float>({2, 1})); }, "solve: sizes differ: the matrix is float[3, 3]");
    add_error("solve", [] { return solve(ones<float>({4, 3, 3}), ones<float>({2, 3, 1})); }, "solve: batch axes cannot be broadcast");
    add_error("inverse", [] { return inverse(zeros<double>({5, 1, 3, 3})); }, "inverse: matrix 0 (in row-major order) of double[5, 1, 3, 3] on cpu is singular");
    add_error("lu_factor", [] { return lu_factor(zeros<float>({2, 2})); }, "lu_factor: float[2, 2] on cpu is singular: the diagonal element 1");
    add_error("lu_solve", [] { return lu_solve(ones<float>({2, 2}), from<std::int32_t>({1, 3}), ones<float>({2, 1})); }, "lu_solve: pivot 3 is outside of [1, 2]");
    add_error("solve_triangular", [] { return solve_triangular(ones<float>({2, 2}), ones<float>({2, 3}), {.left = false}); }, "has 3 at axis 1, expected 2");
    add_error("eigh", [] { return eigh(matrix({1, NAN, NAN, 1})); }, "eigh: float[2, 2] on cpu has elements that are not finite");
    add_error("svd", [] { return svd(matrix({1, INFINITY, 0, 1})); }, "svd: float[2, 2] on cpu has elements that are not finite");
    add_error("qr", [] {
        const auto x = randn<float>({4, 2}, Key{1}).require_grad();
        sum(qr(x, {.complete = true}).q).backward();
    }, "qr: the complete factorisation of a matrix with more rows than columns has no derivative");
    add_error("lstsq", [] { return lstsq(ones<float>({3, 2}), ones<float>({4, 1})); }, "lstsq: numbers of rows differ");
    add_error("det", [] {
        auto x = zeros<double>({2, 2}).require_grad();
        auto y = det(x);
        return grad(y, x, {.create_graph = true});
    }, "det: matrix 0 (in row-major order) of double[1, 2, 2] on cpu is singular");
    add_error("cond", [] { return cond(zeros<float>({0, 2})); }, "cond: float[0, 2] on cpu has no singular values");
}

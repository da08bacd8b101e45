// Linear algebra: what the operator table does not say: several results at once, kinds of errors, special matrices.
#include <catch2/catch.hpp>

#include <tenon/autograd/functional.hpp>
#include <tenon/ops/linalg.hpp>
#include <tenon/ops/second_order.hpp>
#include <tenon/tenon.hpp>
#include <tenon/testing/close.hpp>

#include <cmath>
#include <string>

using namespace tenon;
using testing::close;

namespace {

Tensor<double, 2> hilbert(long n) {
    auto a = empty<double>({n, n});
    for (long i = 0; i < n; ++i)
        for (long j = 0; j < n; ++j) a.data()[i * n + j] = 1.0 / double(i + j + 1);
    return a;
}
// A value that an operation has no rule for must come out as a LinalgError that names it.
template <class F>
std::string linalg_error(F&& f) {
    try {
        f();
    } catch (const LinalgError& error) {
        return error.what();
    }
    return "no LinalgError";
}

}  // namespace

TEST_CASE("factors multiply to the matrix, over two batch axes", "[linalg]") {
    const auto a = randn<double>({2, 3, 5, 4}, Key{1});
    const auto f = lu(a);
    CHECK(f.p.shape() == Shape<4>{{2, 3, 5, 5}});
    CHECK(f.l.shape() == Shape<4>{{2, 3, 5, 4}});
    const Tensor<double, 4> lu_product = matmul(f.l, f.u);
    CHECK(close(matmul(f.p, lu_product), a, {.absolute = 1e-14}));
    const auto packed = lu_factor(a);
    CHECK(packed.pivots.shape() == Shape<3>{{2, 3, 4}});
    const auto q = qr(a, {.complete = true});
    CHECK(close(matmul(q.q, q.r), a, {.absolute = 1e-13}));
    const auto s = svd(a);
    const Tensor<double, 4> us = s.u * s.s.unsqueeze<2>();
    CHECK(close(matmul(us, s.vh), a, {.absolute = 1e-13}));
    CHECK(close(svdvals(a), s.s, {.relative = 0, .absolute = 0}));
    const Tensor<double, 4> sym = matmul(transpose(a), a);
    const auto e = eigh(sym);
    const Tensor<double, 4> ve = e.vectors * e.values.unsqueeze<2>();
    CHECK(close(matmul(ve, transpose(e.vectors)), sym, {.absolute = 1e-13}));
    CHECK(close(eigvalsh(sym), e.values, {.relative = 0, .absolute = 0}));
    const auto values = svdvals(a);
    for (long i = 0; i < e.values.size(); ++i) CHECK(e.values.data()[i] == Approx(std::pow(values.data()[i / 4 * 4 + 3 - i % 4], 2)));
}

TEST_CASE("singular and indefinite matrices are LinalgErrors that name the matrix", "[linalg]") {
    auto a = randn<double>({3, 2, 4, 4}, Key{2});
    for (int j = 0; j < 4; ++j) a(2, 1, 3, j).fill(0.0);
    CHECK_THAT(linalg_error([&] { (void)inverse(a); }), Catch::Contains("inverse: matrix 5") && Catch::Contains("[3, 2, 4, 4]"));
    CHECK_THAT(linalg_error([&] { (void)solve(a, ones<double>({4, 1})); }), Catch::Contains("solve: matrix 5"));
    CHECK_THAT(linalg_error([&] { (void)lu_factor(a); }), Catch::Contains("lu_factor: matrix 5"));
    CHECK_THAT(linalg_error([&] { (void)matrix_power(a, -1); }), Catch::Contains("matrix_power"));
    CHECK_THAT(linalg_error([&] { (void)cholesky(a); }), Catch::Contains("is not positive definite: its leading minor of order"));
    CHECK_NOTHROW(lu(a));
    // The Hilbert matrix of order 10 is positive definite by a hair; of order 20 it is not, to double.
    CHECK_NOTHROW(cholesky(hilbert(10)));
    CHECK_THAT(linalg_error([] { (void)cholesky(hilbert(20)); }), Catch::Contains("hint: add a small multiple of the identity"));
    CHECK_THROWS_AS(solve(ones<double>({2, 3}), ones<double>({2})), ShapeError);
    CHECK_THROWS_AS(eigh(full<double>({2, 2}, NAN)), LinalgError);
    CHECK_THROWS_AS(pinv(full<double>({2, 2}, INFINITY)), LinalgError);
}

TEST_CASE("determinants of special matrices", "[linalg]") {
    CHECK(det(zeros<double>({3, 3})).item() == 0);
    CHECK(det(zeros<double>({0, 0})).item() == 1);
    const auto none = slogdet(zeros<double>({3, 3}));
    CHECK(none.sign.item() == 0);
    CHECK(!std::signbit(none.sign.item()));
    CHECK(none.logabsdet.item() == -INFINITY);
    CHECK(std::isnan(slogdet(full<double>({2, 2}, NAN)).logabsdet.item()));
    CHECK(std::isnan(slogdet(full<double>({2, 2}, NAN)).sign.item()));
    // The determinant overflows, its logarithm does not.
    const Tensor<double, 2> large = eye<double>(200) * -1e10;
    CHECK(std::isinf(det(large).item()));
    CHECK(slogdet(large).sign.item() == 1);
    CHECK(slogdet(large).logabsdet.item() == Approx(200 * std::log(1e10)));
    const Tensor<double, 2> odd = eye<double>(3) * -2.0;
    CHECK(det(odd).item() == -8);
    CHECK(slogdet(odd).sign.item() == -1);
    // Cofactors: a matrix that lacks one rank has a derivative of rank one, one that lacks two has none.
    auto a = from<double>({3, 3}, {1, 2, 3, 2, 4, 6, 1, 0, 1}).require_grad();
    det(a).backward();
    CHECK(close(a.grad(), from<double>({3, 3}, {4, 4, -4, -2, -2, 2, 0, 0, 0}), {.absolute = 1e-13}));
    auto b = ones<double>({3, 3}).require_grad();
    det(b).backward();
    CHECK(close(b.grad(), zeros<double>({3, 3}), {.absolute = 1e-13}));
}

TEST_CASE("least squares of matrices that lack rank", "[linalg]") {
    const auto tall = randn<double>({6, 2}, Key{3});
    const Tensor<double, 2> a = concat<1>(tall, tall);
    const auto b = randn<double>({5, 6, 3}, Key{4});
    const auto x = lstsq(a, b);
    CHECK(x.rank.item() == 2);
    CHECK(x.singular_values.shape(0) == 4);
    CHECK(x.residuals.shape() == Shape<2>{{5, 3}});
    // Of least norm: both halves share the weight. What is left over is orthogonal to the columns.
    CHECK(close(x.solution(all, slice(0, 2), all), x.solution(all, slice(2, 4), all), {.absolute = 1e-13}));
    const Tensor<double, 3> rest = b - matmul(a, x.solution);
    CHECK(close(matmul(transpose(a), rest), zeros<double>({5, 4, 3}), {.absolute = 1e-12}));
    CHECK(close(sum<1>(square(rest)), x.residuals, {.absolute = 1e-13}));
    CHECK(close(matmul(pinv(a), b), x.solution, {.absolute = 1e-13}));
    CHECK(matrix_rank(a).item() == 2);
    CHECK(matrix_rank(a, {.absolute = 1e3}).item() == 0);
    CHECK(matrix_rank(hilbert(12), {.relative = 1e-4}).item() == 5);
    CHECK(matrix_rank(zeros<double>({4, 0, 3})).shape() == Shape<1>{{4}});
    CHECK(std::isinf(cond(from<double>({2, 2}, {1, 0, 0, 0})).item()));
}

TEST_CASE("NaN spreads where PyTorch lets it", "[linalg]") {
    const auto a = from<double>({2, 2}, {1, NAN, 0, 2});
    const auto x = solve(a, from<double>({1, 1}));
    CHECK(std::isnan(x.data()[0]));
    CHECK(std::isnan(x.data()[1]));
    CHECK(std::isnan(inverse(a).data()[1]));
    CHECK(std::isnan(qr(a).r.data()[1]));
    CHECK(std::isnan(matrix_norm(a).item()));
    CHECK(solve_triangular(from<double>({2, 2}, {1, 0, 1, 0}), from<double>({2, 1}, {1, 2})).data()[1] == INFINITY);
}

TEST_CASE("empty matrices and batches", "[linalg]") {
    CHECK(cholesky(zeros<float>({0, 3, 3})).shape() == Shape<3>{{0, 3, 3}});
    CHECK(solve(zeros<float>({2, 0, 0}), zeros<float>({2, 0, 3})).shape() == Shape<3>{{2, 0, 3}});
    CHECK(qr(zeros<float>({3, 0})).q.shape() == Shape<2>{{3, 0}});
    CHECK(close(qr(zeros<float>({3, 0}), {.complete = true}).q, eye<float>(3)));
    CHECK(qr(zeros<float>({0, 3})).r.shape() == Shape<2>{{0, 3}});
    CHECK(svd(zeros<float>({4, 0, 3})).vh.shape() == Shape<3>{{4, 0, 3}});
    CHECK(eigh(zeros<float>({0, 0})).values.shape() == Shape<1>{{0}});
    CHECK(pinv(zeros<float>({0, 3})).shape() == Shape<2>{{3, 0}});
    CHECK(inverse(zeros<float>({0, 2, 2})).size() == 0);
    CHECK(lu_factor(zeros<float>({3, 0, 2})).pivots.shape() == Shape<2>{{3, 0}});
}

TEST_CASE("gradients of several results of one factorisation come together", "[linalg]") {
    const auto x = randn<double>({4, 4}, Key{7});
    auto a = clone(x).require_grad(), b = clone(x).require_grad();
    const auto f = qr(a);
    Tensor<double, 0> loss = sum(square(f.r)) + sum(f.q);
    loss.backward();
    // |R|^2 = |A|^2.
    Tensor<double, 0> other = sum(square(b)) + sum(qr(b).q);
    other.backward();
    CHECK(close(a.grad(), b.grad(), {.absolute = 1e-12}));
    // One result alone, twice.
    auto c = clone(x).require_grad();
    const Tensor<double, 2> c2 = c * 1.0;
    const auto s = svd(c2);
    sum(s.s).backward();
    const auto whole = svd(x);
    CHECK(close(c.grad(), matmul(whole.u, whole.vh), {.absolute = 1e-12}));
}

TEST_CASE("second derivatives by hand", "[linalg]") {
    // d2 log det / dA2 = -A^-1 (x) A^-1.
    auto a = Tensor<double, 2>(eye<double>(3) * 2.0 + uniform<double>({3, 3}, Key{8})).detach().require_grad();
    const auto y = slogdet(a).logabsdet;
    const auto first = grad(y, a, {.create_graph = true});
    const auto second = grad(first(0, 1), a);
    const auto inv = inverse(a.detach());
    auto expected = empty<double>({3, 3});
    for (long k = 0; k < 3; ++k)
        for (long l = 0; l < 3; ++l) expected.data()[k * 3 + l] = -inv.data()[1 * 3 + k] * inv.data()[l * 3 + 0];
    CHECK(close(second, expected, {.absolute = 1e-13}));
}

TEST_CASE("expressions and products are operands", "[linalg]") {
    const auto x = randn<double>({4, 4}, Key{9});
    const Tensor<double, 2> a = matmul(x, transpose(x)) + eye<double>(4);
    CHECK(close(cholesky(matmul(x, transpose(x)) + eye<double>(4)), cholesky(a)));
    CHECK(close(solve(a * 2.0, x + 1.0), solve(Tensor<double, 2>(a * 2.0), Tensor<double, 2>(x + 1.0))));
    CHECK(close(inverse(matmul(x, x)), matrix_power(x, -2), {.relative = 1e-10, .absolute = 1e-10}));
    CHECK(det(a * 1.0).item() == Approx(std::exp(slogdet(a * 1.0).logabsdet.item())));
    CHECK(close(matrix_norm(x * 2.0), Tensor<double, 0>(sqrt(sum(square(x))) * 2.0)));
    CHECK(close(eigh(a * 1.0).values, eigvalsh(a)));
    CHECK(close(svd(a * 1.0).s, svdvals(a)));
    CHECK(matrix_rank(x * 0.0).item() == 0);
    CHECK(close(lstsq(a * 1.0, x).solution, solve(a, x), {.relative = 1e-10, .absolute = 1e-10}));
    CHECK(close(solve_triangular(a * 1.0, x), solve_triangular(a, x)));
}

TEST_CASE("a saved matrix that was overwritten is noticed", "[linalg]") {
    auto a = Tensor<double, 2>(eye<double>(3) * 2.0);
    auto b = ones<double>({3, 1}).require_grad();
    const auto x = solve(a, b);
    Tensor<double, 0> loss = sum(x);
    a.fill(1.0);
    CHECK_THROWS_AS(loss.backward(), GradError);
}

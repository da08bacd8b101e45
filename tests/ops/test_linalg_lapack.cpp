// The optional bridge to LAPACK: large problems go through it, with the answers of tenon's own kernels. Built where LAPACK is found.
#include <catch2/catch.hpp>

#include <cmath>

#include <tenon/ops/linalg_lapack.hpp>
#include <tenon/tenon.hpp>
#include <tenon/testing/close.hpp>

using namespace tenon;
using testing::close;

TEMPLATE_TEST_CASE("LAPACK gives the answers of tenon's own kernels", "[linalg]", float, double) {
    using T = TestType;
    const double bound = std::is_same_v<T, float> ? 1e-4 : 1e-12;
    for (long n : {1l, 2l, 7l, 60l}) {
        const auto x = randn<T>({2, n + 3, n}, Key{1});
        const Tensor<T, 3> square = matmul(transpose(x), x);
        use_lapack(0, 0);
        const auto e = eigh(square);
        const auto s = svd(x), wide = svd(Tensor<T, 3>(transpose(x)));
        const auto p = pinv(x);
        use_lapack(1, 1);
        CHECK(tenon::kernels::cpu::external_routines<T>.eigh != nullptr);
        const auto e2 = eigh(square);
        const auto s2 = svd(x), wide2 = svd(Tensor<T, 3>(transpose(x)));
        CHECK(close(e.values, e2.values, {.relative = bound, .absolute = bound * double(n)}));
        CHECK(close(s.s, s2.s, {.relative = bound, .absolute = bound}));
        CHECK(close(wide.s, wide2.s, {.relative = bound, .absolute = bound}));
        CHECK(close(p, pinv(x), {.relative = 100 * bound, .absolute = 100 * bound}));
        const Tensor<T, 3> ve = e2.vectors * e2.values.template unsqueeze<1>(), us = s2.u * s2.s.template unsqueeze<1>(),
                           wide_us = wide2.u * wide2.s.template unsqueeze<1>();
        CHECK(close(matmul(ve, transpose(e2.vectors)), square, {.absolute = bound * double(n)}));
        CHECK(close(matmul(us, s2.vh), x, {.absolute = bound}));
        CHECK(close(matmul(wide_us, wide2.vh), transpose(x), {.absolute = bound}));
        CHECK(close(eigvalsh(square), e2.values, {.relative = bound, .absolute = bound * double(n)}));
        CHECK(close(svdvals(x), s2.s, {.relative = bound, .absolute = bound}));
        CHECK_THROWS_AS(eigh(full<T>({n, n}, T(NAN))), LinalgError);
        CHECK_THROWS_AS(svd(full<T>({n, n}, T(INFINITY))), LinalgError);
    }
    use_lapack();
}

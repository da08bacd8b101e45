// Linear algebra on tensors of the device: done on the host, with results and gradients where the operands are.
#include <tenon/ops/linalg/cholesky.hpp>
#include <tenon/ops/linalg/eigh.hpp>
#include <tenon/ops/linalg/lu.hpp>
#include <tenon/ops/linalg/norm.hpp>
#include <tenon/ops/linalg/qr.hpp>

#include "device_agreement.hpp"

using namespace tenon;
using device_agreement::agree;
using device_agreement::check_close;
using device_agreement::eighths;

namespace {

// The very same kernels on the very same numbers.
constexpr double same = 0;

// Far from singular; symmetric where asked.
Tensor<double, 3> matrices(long batch, long n, bool symmetric = false) {
    Tensor<double, 3> x = eighths<double>({batch, n, n}, 7);
    if (symmetric) x = Tensor<double, 3>(x + x.transpose<1, 2>());
    return Tensor<double, 3>(x + 20.0 * eye<double>(n));
}

}  // namespace

TEST_CASE("decompositions and solutions on the device") {
    const auto a = matrices(3, 5), s = matrices(2, 4, true);
    const auto b = eighths<double>({3, 5, 2}, 8);
    agree(same, [](const auto& x) { return inverse(x); }, a);
    agree(same, [](const auto& x, const auto& y) { return solve(x, y); }, a, b);
    agree(same, [](const auto& x, const auto& y) { return solve(x, y); }, Tensor<double, 2>(a(0)), b);
    agree(same, [](const auto& x) { return cholesky(x); }, s);
    agree(same, [](const auto& x) { return eigh(x).values; }, s);
    agree(same, [](const auto& x) { return qr(x).r; }, a);
    agree(same, [](const auto& x) { return det(x); }, a);
    agree(same, [](const auto& x) { return slogdet(x).logabsdet; }, a);
    agree(same, [](const auto& x) { return matrix_power(x, -2); }, a);
    agree(1e-14, [](const auto& x) { return matrix_norm(x); }, a);  // sums in another order
}

TEST_CASE("results without derivative come back to the device too") {
    const auto a = matrices(2, 4);
    const auto here = lu_factor(a), there = lu_factor(a.to(cuda()));
    CHECK(there.pivots.device() == cuda());
    check_close(there.pivots, here.pivots, same);
    const auto b = eighths<double>({2, 4, 3}, 8);
    check_close(lu_solve(there.lu, there.pivots, b.to(cuda())), lu_solve(here.lu, here.pivots, b), same);
    const auto ranks = matrix_rank(a.to(cuda()));
    CHECK(ranks.device() == cuda());
    check_close(ranks, matrix_rank(a), same);
    const auto x = lstsq(a, b), y = lstsq(a.to(cuda()), b.to(cuda()));
    check_close(y.solution, x.solution, same);
    check_close(y.rank, x.rank, same);
    CHECK_THROWS_AS(solve(a, b.to(cuda())), DeviceError);
}

TEST_CASE("a matrix on the device that has no inverse is named") {
    const auto zero = zeros<float>({2, 3, 3}, cuda());
    CHECK_THROWS_AS(inverse(zero), LinalgError);
}

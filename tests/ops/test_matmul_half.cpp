// Products of bf16 and half in expressions, against the same in float.
#include <tenon/ops/matmul_half.hpp>
#include <tenon/tenon.hpp>
#include <tenon/ops/einsum.hpp>

#include <catch2/catch.hpp>

#include <cmath>

using namespace tenon;

namespace {

template <class T>
constexpr double unit = std::is_same_v<T, bf16> ? 0x1p-8 : 0x1p-11;

// Whether got is expected, rounded: relative to the largest value, as sums cancel.
template <class T, int R>
void check_close(const Tensor<T, R>& got, const Tensor<float, R>& expected, double roundings) {
    const Tensor<float, R> wide = cast<float>(got);
    REQUIRE(wide.shape() == expected.shape());
    double worst = 0, largest = 0;
    for (long i = 0; i < wide.size(); ++i) {
        worst = std::fmax(worst, std::fabs(double(wide.data()[i]) - double(expected.data()[i])));
        largest = std::fmax(largest, std::fabs(double(expected.data()[i])));
    }
    INFO("worst " << worst << " of " << largest);
    CHECK(worst <= roundings * unit<T> * largest);
}
template <class T, class Shape>
Tensor<T, 2> values(Shape m, Shape n, Key key) { return cast<T>(randn<float>({m, n}, key)); }
template <class T, int R>
Tensor<float, R> wide(const Tensor<T, R>& x) { return cast<float>(x); }

}  // namespace

TEMPLATE_TEST_CASE("products of 16-bit tensors and their gradients", "", bf16, half) {
    const Tensor<TestType, 2> a = values<TestType>(33, 70, Key{1}).require_grad(), b = values<TestType>(70, 21, Key{2}).require_grad();
    const Tensor<float, 2> fa = wide(a.detach()).require_grad(), fb = wide(b.detach()).require_grad();
    const Tensor<TestType, 2> y = matmul(a, b);
    const Tensor<float, 2> fy = matmul(fa, fb);
    check_close(y, fy, 1);
    // The weights of the sum are exact in both types.
    const Tensor<TestType, 2> weights = cast<TestType>(round(randn<float>({33, 21}, Key{3}) * 2.f));
    sum(y * weights).backward();
    sum(fy * wide(weights)).backward();
    check_close(a.grad(), fa.grad(), 1);
    check_close(b.grad(), fb.grad(), 1);
    // A second backward adds to the gradient, rounded again.
    sum(matmul(a, b) * weights).backward();
    check_close(a.grad(), Tensor<float, 2>(fa.grad() * 2.f), 2);
}

TEMPLATE_TEST_CASE("16-bit linear layers: bias and relu in the registers, other formulas on the rounded product", "", bf16, half) {
    const Tensor<TestType, 2> x = values<TestType>(40, 130, Key{4}).require_grad(), w = values<TestType>(50, 130, Key{5}).require_grad();
    const Tensor<TestType, 1> b = eval(cast<TestType>(randn<float>({50}, Key{6}))).require_grad();
    const Tensor<float, 2> fx = wide(x.detach()).require_grad(), fw = wide(w.detach()).require_grad();
    const Tensor<float, 1> fb = wide(b.detach()).require_grad();
    const Tensor<TestType, 2> y = relu(linear(x, w, b));
    const Tensor<float, 2> fy = relu(linear(fx, fw, fb));
    check_close(y, fy, 1);
    sum(y).backward();
    sum(fy).backward();
    // What rounding makes of values next to the kink is not what is checked here.
    check_close(w.grad(), fw.grad(), 4);
    check_close(b.grad(), fb.grad(), 4);
    check_close(x.grad(), fx.grad(), 4);

    const Tensor<TestType, 2> z = tanh(linear(x, w, b) * 0.05f) * 2.f;
    const Tensor<float, 2> fz = tanh(linear(fx, fw, fb) * 0.05f) * 2.f;
    check_close(z, fz, 4);
    const Tensor<TestType, 2> one = linear(x, w);
    const Tensor<TestType, 2> two = tanh((one + b) * 0.05f) * 2.f;
    for (long i = 0; i < z.size(); ++i) REQUIRE(z.data()[i].bits == two.data()[i].bits);
}

TEMPLATE_TEST_CASE("16-bit batches: a shared operand's gradient is rounded once", "", bf16, half) {
    const Tensor<TestType, 3> a = cast<TestType>(uniform<float>({64, 5, 8}, Key{7}, {0.5, 1.0}));
    const Tensor<TestType, 3> left = Tensor<TestType, 3>(a).require_grad();
    const Tensor<TestType, 4> b = cast<TestType>(uniform<float>({3, 64, 8, 6}, Key{8}, {0.5, 1.0}));
    const Tensor<TestType, 4> right = Tensor<TestType, 4>(b).require_grad();
    const Tensor<float, 3> fleft = wide(a.detach()).require_grad();
    const Tensor<float, 4> fright = wide(b.detach()).require_grad();
    const Tensor<TestType, 4> y = matmul(left, right);
    const Tensor<float, 4> fy = matmul(fleft, fright);
    check_close(y, fy, 1);
    sum(y).backward();
    sum(fy).backward();
    check_close(left.grad(), fleft.grad(), 1);
    check_close(right.grad(), fright.grad(), 1);
    // One matrix for 192 others: additions in the narrow type would lose a multiple of this.
    const Tensor<TestType, 2> shared = Tensor<TestType, 2>(cast<TestType>(uniform<float>({5, 8}, Key{9}, {0.5, 1.0}))).require_grad();
    const Tensor<float, 2> fshared = wide(shared.detach()).require_grad();
    sum(matmul(shared, right)).backward();
    sum(matmul(fshared, fright)).backward();
    check_close(shared.grad(), fshared.grad(), 1);
}

TEMPLATE_TEST_CASE("16-bit products with vectors, transposes, einsum, and of nothing", "", bf16, half) {
    const Tensor<TestType, 2> a = values<TestType>(30, 20, Key{10}), b = values<TestType>(30, 25, Key{11});
    check_close(Tensor<TestType, 2>(matmul(transpose(a), b)), Tensor<float, 2>(matmul(transpose(wide(a)), wide(b))), 1);
    const Tensor<TestType, 1> v = a(all, 3);
    check_close(Tensor<TestType, 1>(matmul(v, b)), Tensor<float, 1>(matmul(wide(v), wide(b))), 1);
    check_close(Tensor<TestType, 1>(matmul(transpose(b), v)), Tensor<float, 1>(matmul(transpose(wide(b)), wide(v))), 1);
    check_close(Tensor<TestType, 0>(matmul(v, v)), Tensor<float, 0>(matmul(wide(v), wide(v))), 1);
    check_close(Tensor<TestType, 2>(einsum<"ki,kj->ij">(a, b)), Tensor<float, 2>(matmul(transpose(wide(a)), wide(b))), 1);
    const Tensor<TestType, 2> nothing = matmul(Tensor<TestType, 2>(zeros<TestType>({3, 0})), Tensor<TestType, 2>(zeros<TestType>({0, 2})));
    for (long i = 0; i < 6; ++i) CHECK(float(nothing.data()[i]) == 0);
    CHECK_THROWS_WITH(eval(matmul(a, a)), Catch::Contains("inner sizes differ") && Catch::Contains("did you mean transpose(right)?"));
}

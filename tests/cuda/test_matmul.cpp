// Products, linear layers and einsum on the device against the CPU.
#include <tenon/nn/linear.hpp>
#include <tenon/ops/einsum.hpp>
#include <tenon/ops/matmul_half.hpp>

#include "agreement.hpp"

using namespace tenon;
using agreement::agree;
using agreement::check_close;
using agreement::numbers;

// Inputs whose products add up exactly: everything but the last rounding agrees, and so does that.
constexpr double exact = 0;

const auto product = [](const auto& a, const auto& b) { return matmul(a, b); };

TEMPLATE_TEST_CASE("products of every type agree with the CPU's", "", float, double, bf16, half) {
    using T = TestType;
    agree(exact, product, numbers<T>({1, 1}, 1), numbers<T>({1, 1}, 2));
    agree(exact, product, numbers<T>({33, 31}, 1), numbers<T>({31, 66}, 2));
    agree(exact, product, numbers<T>({70, 80}, 1), numbers<T>({80, 72}, 2));
    agree(exact, product, numbers<T>({0, 4}, 1), numbers<T>({4, 6}, 2));
    agree(exact, product, numbers<T>({4, 0}, 1), numbers<T>({0, 6}, 2));
    agree(exact, product, numbers<T>({4, 6}, 1), numbers<T>({6, 0}, 2));
}

// In bf16 gradients of shared operands are summed in float and rounded once.
TEMPLATE_TEST_CASE("products of vectors and batches agree with the CPU's", "", float, bf16) {
    using T = TestType;
    agree(exact, product, numbers<T>({40}, 1), numbers<T>({40}, 2));
    agree(exact, product, numbers<T>({12, 40}, 1), numbers<T>({40}, 2));
    agree(exact, product, numbers<T>({40}, 1), numbers<T>({40, 12}, 2));
    agree(exact, product, numbers<T>({3, 5, 7}, 1), numbers<T>({3, 7, 4}, 2));
    agree(exact, product, numbers<T>({3, 5, 8}, 1), numbers<T>({8, 4}, 2));
    agree(exact, product, numbers<T>({0, 4, 6}, 1), numbers<T>({6, 2}, 2));
    agree(exact, product, numbers<T>({6, 8}, 1), numbers<T>({3, 8, 4}, 2));
    agree(exact, product, numbers<T>({2, 1, 6, 8}, 1), numbers<T>({3, 8, 4}, 2));
}

TEST_CASE("products read strided operands") {
    agree(exact, product, numbers<float>({2, 3, 6, 4}, 1), numbers<float>({2, 1, 4, 6}, 2));
    agree(
        exact, [](const auto& a, const auto& b) { return matmul(transpose(a), transpose(b)); }, numbers<float>({9, 34}, 1),
        numbers<float>({20, 9}, 2));
    agree(
        exact, [](const auto& a, const auto& b) { return matmul(a(tenon::all, slice(1, 9)), b(slice(0, 16, 2), slice(0, 12, 3))); },
        numbers<float>({6, 10}, 1), numbers<float>({16, 12}, 2));
    agree(
        exact, [](const auto& a, const auto& b) { return matmul(transpose<0, 1>(a), b); }, numbers<double>({6, 3, 8}, 1),
        numbers<double>({3, 8, 4}, 2));
}

TEMPLATE_TEST_CASE("what follows a product", "", float, bf16) {
    using T = TestType;
    const auto a = numbers<T>({34, 20}, 1), b = numbers<T>({20, 68}, 2), other = numbers<T>({34, 68}, 4);
    const auto row = numbers<T>({68}, 3);
    agree(exact, [](const auto& x, const auto& y, const auto& z) { return matmul(x, y) + z; }, a, b, row);
    agree(exact, [](const auto& x, const auto& y, const auto& z) { return relu(matmul(x, y) + z); }, a, b, row);
    agree(exact, [](const auto& x, const auto& y) { return relu(matmul(x, y)); }, a, b);
    agree(exact, [](const auto& x, const auto& y, const auto& z) { return relu(matmul(x, y) + z); }, a, b, other);
    agree(
        exact, [](const auto& x, const auto& y, const auto& z) { return relu(matmul(x, y) + z); }, a(tenon::all, slice(0, 20)), b,
        numbers<T>({34, 1}, 5));
    if constexpr (!std::is_same_v<T, bf16>) {
        // The device's functions of the C library differ by some ulps.
        const double curved = 64 * 0x1p-24;
        agree(curved, [](const auto& x, const auto& y, const auto& z) { return tanh(matmul(x, y) * T(0.125) + z) * z; }, a, b, row);
        agree(curved, [](const auto& x, const auto& y) { return sigmoid(matmul(x, y) + matmul(x * T(2), y)); }, a, b);
        agree(
            curved, [](const auto& x, const auto& y, const auto& z) { return tanh(matmul(x, y) + z); }, numbers<T>({2, 3, 5, 4}, 1),
            numbers<T>({3, 4, 6}, 2), numbers<T>({3, 1, 6}, 3));
        agree(curved, [](const auto& x, const auto& y) { return tanh(matmul(x, y)); }, numbers<T>({9, 8}, 1), numbers<T>({8}, 2));
        agree(curved, [](const auto& x, const auto& y) { return tanh(matmul(x, y)); }, numbers<T>({8}, 1), numbers<T>({8}, 2));
    }
}

TEST_CASE("linear layers") {
    const auto layer = [](const auto& x, const auto& weight, const auto& bias) { return linear(x, weight, bias); };
    agree(exact, layer, numbers<float>({17, 70}, 1), numbers<float>({66, 70}, 2), numbers<float>({66}, 3));
    agree(exact, layer, numbers<float>({2, 5, 12}, 1), numbers<float>({8, 12}, 2), numbers<float>({8}, 3));
    agree(exact, layer, numbers<float>({12}, 1), numbers<float>({8, 12}, 2), numbers<float>({8}, 3));
    agree(exact, layer, numbers<half>({6, 12}, 1), numbers<half>({8, 12}, 2), numbers<half>({8}, 3));
    agree(
        exact, [](const auto& x, const auto& weight) { return linear(x, weight); }, numbers<double>({6, 12}, 1),
        numbers<double>({8, 12}, 2));
}

TEST_CASE("einsum") {
    const auto a = numbers<float>({3, 6, 8}, 1), b = numbers<float>({3, 8, 4}, 2);
    const auto c = numbers<float>({4, 6}, 3);
    agree(exact, [](const auto& x, const auto& y) { return einsum<"bij,bjk->bik">(x, y); }, a, b);
    agree(exact, [](const auto& x, const auto& y) { return einsum<"bij,bjk->kbi">(x, y); }, a, b);
    agree(exact, [](const auto& x, const auto& y) { return einsum<"bij,bjk->ik">(x, y); }, a, b);
    agree(exact, [](const auto& x, const auto& y, const auto& z) { return einsum<"bij,bjk,ki->b">(x, y, z); }, a, b, c);
    agree(exact, [](const auto& x, const auto& y) { return einsum<"i,j->ij">(x, y); }, numbers<float>({5}, 1), numbers<float>({7}, 2));
    agree(exact, [](const auto& x) { return einsum<"ij->i">(x); }, numbers<float>({5, 9}, 1));
}

TEST_CASE("steps of a network agree with the CPU's") {
    struct Mlp {
        nn::Linear<float> hidden, out;
        auto operator()(const Tensor<float, 2>& x) const { return out(relu(hidden(x))); }
    };
    const auto x = randn<float>({19, 33}, Key{1}), target = randn<float>({19, 10}, Key{2});
    const Mlp here{nn::Linear<float>(33, 70, Key{3}), nn::Linear<float>(70, 10, Key{4})};
    Mlp there;
    const auto moved = [](const auto& p) { return p.detach().to(cuda()).require_grad(); };
    there.hidden.weight = moved(here.hidden.weight);
    there.hidden.bias = moved(here.hidden.bias);
    there.out.weight = moved(here.out.weight);
    there.out.bias = moved(here.out.bias);
    float first = 0, last = 0;
    for (int step = 0; step < 3; ++step) {
        const auto take = [](const Mlp& net, const auto& in, const auto& want) {
            const Tensor<float, 0> loss = mean(square(net(in) - want));
            loss.backward();
            const auto update = [](auto p) {
                const no_grad none;
                p -= 0.1f * p.grad();
                p.zero_grad();
            };
            update(net.hidden.weight);
            update(net.hidden.bias);
            update(net.out.weight);
            update(net.out.bias);
            return loss.item();
        };
        last = take(here, x, target);
        if (step == 0) first = last;
        CHECK(take(there, x.to(cuda()), target.to(cuda())) == Approx(last).epsilon(1e-6));
        // Sums of up to 70 terms, then of 19, in another order.
        check_close(here.hidden.weight, there.hidden.weight, 100 * 0x1p-24);
        check_close(here.hidden.bias, there.hidden.bias, 100 * 0x1p-24);
        check_close(here.out.weight, there.out.weight, 100 * 0x1p-24);
        check_close(here.out.bias, there.out.bias, 100 * 0x1p-24);
    }
    CHECK(last < first);
}

TEST_CASE("TF32 is off until it is allowed") {
    CHECK(!is_tf32_allowed());
    const auto a = numbers<float>({70, 80}, 1), b = numbers<float>({80, 72}, 2);
    allow_tf32(true);
    CHECK(is_tf32_allowed());
    agree(exact, [](const auto& x, const auto& y) { return matmul(x, y); }, a, b);  // these operands are not rounded
    allow_tf32(false);
    CHECK(!is_tf32_allowed());
}

TEST_CASE("operands of a product share a device") {
    const auto a = numbers<float>({4, 5}, 1), b = numbers<float>({5, 6}, 2);
    CHECK_THROWS_AS(matmul(a, b.to(cuda())), DeviceError);
    CHECK_THROWS_WITH(matmul(a.to(cuda()), b), Catch::Matchers::Contains("matmul"));
}

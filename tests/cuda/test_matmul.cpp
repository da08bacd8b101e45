// Products, linear layers and einsum on the device against the CPU.
#include <tenon/nn/linear.hpp>
#include <tenon/ops/einsum.hpp>
#include <tenon/ops/matmul_half.hpp>

#include "device_agreement.hpp"

using namespace tenon;
using device_agreement::agree;
using device_agreement::check_close;
using device_agreement::eighths;

// Inputs whose products add up exactly: everything but the last rounding agrees, and so does that.
constexpr double exact = 0;

const auto product = [](const auto& a, const auto& b) { return matmul(a, b); };

TEMPLATE_TEST_CASE("products of every type agree with the CPU's", "", float, double, bf16, half) {
    using T = TestType;
    agree(exact, product, eighths<T>({1, 1}, 1), eighths<T>({1, 1}, 2));
    agree(exact, product, eighths<T>({33, 31}, 1), eighths<T>({31, 66}, 2));
    agree(exact, product, eighths<T>({70, 80}, 1), eighths<T>({80, 72}, 2));
    agree(exact, product, eighths<T>({0, 4}, 1), eighths<T>({4, 6}, 2));
    agree(exact, product, eighths<T>({4, 0}, 1), eighths<T>({0, 6}, 2));
    agree(exact, product, eighths<T>({4, 6}, 1), eighths<T>({6, 0}, 2));
}

// In bf16 gradients of shared operands are summed in float and rounded once.
TEMPLATE_TEST_CASE("products of vectors and batches agree with the CPU's", "", float, bf16) {
    using T = TestType;
    agree(exact, product, eighths<T>({40}, 1), eighths<T>({40}, 2));
    agree(exact, product, eighths<T>({12, 40}, 1), eighths<T>({40}, 2));
    agree(exact, product, eighths<T>({40}, 1), eighths<T>({40, 12}, 2));
    agree(exact, product, eighths<T>({3, 5, 7}, 1), eighths<T>({3, 7, 4}, 2));
    agree(exact, product, eighths<T>({3, 5, 8}, 1), eighths<T>({8, 4}, 2));
    agree(exact, product, eighths<T>({0, 4, 6}, 1), eighths<T>({6, 2}, 2));
    agree(exact, product, eighths<T>({6, 8}, 1), eighths<T>({3, 8, 4}, 2));
    agree(exact, product, eighths<T>({2, 1, 6, 8}, 1), eighths<T>({3, 8, 4}, 2));
}

TEST_CASE("products read strided operands") {
    agree(exact, product, eighths<float>({2, 3, 6, 4}, 1), eighths<float>({2, 1, 4, 6}, 2));
    agree(
        exact, [](const auto& a, const auto& b) { return matmul(transpose(a), transpose(b)); }, eighths<float>({9, 34}, 1),
        eighths<float>({20, 9}, 2));
    agree(
        exact, [](const auto& a, const auto& b) { return matmul(a(tenon::all, slice(1, 9)), b(slice(0, 16, 2), slice(0, 12, 3))); },
        eighths<float>({6, 10}, 1), eighths<float>({16, 12}, 2));
    agree(
        exact, [](const auto& a, const auto& b) { return matmul(transpose<0, 1>(a), b); }, eighths<double>({6, 3, 8}, 1),
        eighths<double>({3, 8, 4}, 2));
}

TEMPLATE_TEST_CASE("what follows a product", "", float, bf16) {
    using T = TestType;
    const auto a = eighths<T>({34, 20}, 1), b = eighths<T>({20, 68}, 2), other = eighths<T>({34, 68}, 4);
    const auto row = eighths<T>({68}, 3);
    agree(exact, [](const auto& x, const auto& y, const auto& z) { return matmul(x, y) + z; }, a, b, row);
    agree(exact, [](const auto& x, const auto& y, const auto& z) { return relu(matmul(x, y) + z); }, a, b, row);
    agree(exact, [](const auto& x, const auto& y) { return relu(matmul(x, y)); }, a, b);
    agree(exact, [](const auto& x, const auto& y, const auto& z) { return relu(matmul(x, y) + z); }, a, b, other);
    agree(
        exact, [](const auto& x, const auto& y, const auto& z) { return relu(matmul(x, y) + z); }, a(tenon::all, slice(0, 20)), b,
        eighths<T>({34, 1}, 5));
    if constexpr (!std::is_same_v<T, bf16>) {
        // The device's functions of the C library differ by some ulps.
        const double curved = 64 * 0x1p-24;
        agree(curved, [](const auto& x, const auto& y, const auto& z) { return tanh(matmul(x, y) * T(0.125) + z) * z; }, a, b, row);
        agree(curved, [](const auto& x, const auto& y) { return sigmoid(matmul(x, y) + matmul(x * T(2), y)); }, a, b);
        agree(
            curved, [](const auto& x, const auto& y, const auto& z) { return tanh(matmul(x, y) + z); }, eighths<T>({2, 3, 5, 4}, 1),
            eighths<T>({3, 4, 6}, 2), eighths<T>({3, 1, 6}, 3));
        agree(curved, [](const auto& x, const auto& y) { return tanh(matmul(x, y)); }, eighths<T>({9, 8}, 1), eighths<T>({8}, 2));
        agree(curved, [](const auto& x, const auto& y) { return tanh(matmul(x, y)); }, eighths<T>({8}, 1), eighths<T>({8}, 2));
    }
}

TEST_CASE("linear layers") {
    const auto layer = [](const auto& x, const auto& weight, const auto& bias) { return linear(x, weight, bias); };
    agree(exact, layer, eighths<float>({17, 70}, 1), eighths<float>({66, 70}, 2), eighths<float>({66}, 3));
    agree(exact, layer, eighths<float>({2, 5, 12}, 1), eighths<float>({8, 12}, 2), eighths<float>({8}, 3));
    agree(exact, layer, eighths<float>({12}, 1), eighths<float>({8, 12}, 2), eighths<float>({8}, 3));
    agree(exact, layer, eighths<half>({6, 12}, 1), eighths<half>({8, 12}, 2), eighths<half>({8}, 3));
    agree(
        exact, [](const auto& x, const auto& weight) { return linear(x, weight); }, eighths<double>({6, 12}, 1),
        eighths<double>({8, 12}, 2));
}

TEST_CASE("einsum") {
    const auto a = eighths<float>({3, 6, 8}, 1), b = eighths<float>({3, 8, 4}, 2);
    const auto c = eighths<float>({4, 6}, 3);
    agree(exact, [](const auto& x, const auto& y) { return einsum<"bij,bjk->bik">(x, y); }, a, b);
    agree(exact, [](const auto& x, const auto& y) { return einsum<"bij,bjk->kbi">(x, y); }, a, b);
    agree(exact, [](const auto& x, const auto& y) { return einsum<"bij,bjk->ik">(x, y); }, a, b);
    agree(exact, [](const auto& x, const auto& y, const auto& z) { return einsum<"bij,bjk,ki->b">(x, y, z); }, a, b, c);
    agree(exact, [](const auto& x, const auto& y) { return einsum<"i,j->ij">(x, y); }, eighths<float>({5}, 1), eighths<float>({7}, 2));
    agree(exact, [](const auto& x) { return einsum<"ij->i">(x); }, eighths<float>({5, 9}, 1));
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
        check_close(there.hidden.weight, here.hidden.weight, 100 * 0x1p-24);
        check_close(there.hidden.bias, here.hidden.bias, 100 * 0x1p-24);
        check_close(there.out.weight, here.out.weight, 100 * 0x1p-24);
        check_close(there.out.bias, here.out.bias, 100 * 0x1p-24);
    }
    CHECK(last < first);
}

TEST_CASE("TF32 is off until it is allowed") {
    CHECK(!is_tf32_allowed());
    const auto a = eighths<float>({70, 80}, 1), b = eighths<float>({80, 72}, 2);
    allow_tf32(true);
    CHECK(is_tf32_allowed());
    agree(exact, [](const auto& x, const auto& y) { return matmul(x, y); }, a, b);  // these operands are not rounded
    allow_tf32(false);
    CHECK(!is_tf32_allowed());
}

TEST_CASE("operands of a product share a device") {
    const auto a = eighths<float>({4, 5}, 1), b = eighths<float>({5, 6}, 2);
    CHECK_THROWS_AS(matmul(a, b.to(cuda())), DeviceError);
    CHECK_THROWS_WITH(matmul(a.to(cuda()), b), Catch::Matchers::Contains("matmul"));
}

// Attention beyond its records: what is not read, which weights dropout keeps, how much memory it takes, gradients that add up.
#include <tenon/ops/attention.hpp>
#include <tenon/ops/dropout.hpp>
#include <tenon/ops/matmul.hpp>
#include <tenon/ops/masked_softmax.hpp>
#include <tenon/ops/random.hpp>
#include <tenon/testing/gradcheck.hpp>

#include <catch2/catch.hpp>

#include <cmath>
#include <cstring>

using namespace tenon;

namespace {

template <class T, int R>
double distance(const Tensor<T, R>& a, const Tensor<T, R>& b) {
    REQUIRE(a.shape() == b.shape());
    const auto x = contiguous(a.detach()), y = contiguous(b.detach());
    double most = 0;
    for (long i = 0; i < x.size(); ++i)
        most = std::max(most, std::isnan(double(x.data()[i] - y.data()[i])) ? 1e9 : std::abs(double(x.data()[i] - y.data()[i])));
    return most;
}
template <int R>
bool all_zero(const Tensor<double, R>& x) {
    for (long i = 0; i < x.size(); ++i)
        if (x.data()[i] != 0) return false;
    return true;
}
bool same(const Tensor<float, 4>& a, const Tensor<float, 4>& b) {
    return a.shape() == b.shape() && std::memcmp(a.data(), b.data(), std::size_t(a.size()) * sizeof(float)) == 0;
}

}  // namespace

TEST_CASE("keys beyond the lengths are not read, and get no gradient") {
    auto q = randn<double>({2, 1, 4, 3}, Key{1}), k = randn<double>({2, 1, 6, 3}, Key{2}), v = randn<double>({2, 1, 6, 2}, Key{3});
    for (long j = 4; j < 6; ++j)
        for (long c = 0; c < 3; ++c) k.data()[6 * 3 + j * 3 + c] = std::nan("");
    for (long j = 4; j < 6; ++j)
        for (long c = 0; c < 2; ++c) v.data()[6 * 2 + j * 2 + c] = std::nan("");
    q.require_grad(), k.require_grad(), v.require_grad();
    const auto lengths = from<std::int64_t>({0, 4});
    const auto y = scaled_dot_product_attention(q, k, v, {.lengths = lengths});
    sum(square(y)).backward();
    CHECK(all_zero(Tensor<double, 3>(y.detach()(0))));
    CHECK(all_zero(Tensor<double, 3>(q.grad()(0))));
    CHECK(all_zero(contiguous(Tensor<double, 3>(k.grad()(1, all, slice(4, 6))))));
    CHECK(all_zero(contiguous(Tensor<double, 3>(v.grad()(1, all, slice(4, 6))))));
    const no_grad guard;
    const Tensor<double, 4> few =
        scaled_dot_product_attention(q(slice(1, 2)), k(slice(1, 2), all, slice(0, 4)), v(slice(1, 2), all, slice(0, 4)));
    CHECK(distance(Tensor<double, 4>(y.detach()(slice(1, 2))), few) < 1e-14);
}

TEST_CASE("the queries of causal attention are the last positions") {
    const auto q = randn<double>({1, 2, 7, 4}, Key{1}), k = randn<double>({1, 2, 7, 4}, Key{2}), v = randn<double>({1, 2, 7, 3}, Key{3});
    const auto whole = scaled_dot_product_attention(q, k, v, {.causal = true});
    const auto last = scaled_dot_product_attention(q(all, all, slice(4, 7)), k, v, {.causal = true});
    CHECK(distance(Tensor<double, 4>(whole(all, all, slice(4, 7))), last) < 1e-14);
    const auto first = scaled_dot_product_attention(q, k(all, all, slice(0, 3)), v(all, all, slice(0, 3)), {.causal = true});
    CHECK(all_zero(contiguous(Tensor<double, 4>(first(all, all, slice(0, 4))))));
}

TEST_CASE("attention drops the weights that dropout drops under its key") {
    const double p = 0.3;
    const auto q = randn<double>({2, 2, 5, 4}, Key{1}).require_grad(), k = randn<double>({2, 2, 7, 4}, Key{2}).require_grad(),
               v = randn<double>({2, 2, 7, 3}, Key{3}).require_grad();
    const auto dy = randn<double>({2, 2, 5, 3}, Key{4});
    const auto y = scaled_dot_product_attention(q, k, v, {.dropout = p, .key = Key{9}});
    y.backward(dy);
    const auto dq = clone(q.grad()), dk = clone(k.grad()), dv = clone(v.grad());
    q.zero_grad(), k.zero_grad(), v.zero_grad();
    const Tensor<double, 4> weights = dropout(softmax<3>(matmul(q, k.transpose<2, 3>()) * 0.5), p, Key{9});
    const Tensor<double, 4> expected = matmul(weights, v);
    expected.backward(dy);
    CHECK(distance(y, expected) < 1e-14);
    CHECK(distance(dq, q.grad()) < 1e-14);
    CHECK(distance(dk, k.grad()) < 1e-14);
    CHECK(distance(dv, v.grad()) < 1e-14);
    const auto other = scaled_dot_product_attention(q, k, v, {.dropout = p, .key = Key{10}});
    CHECK(distance(y, other) > 0.01);
    CHECK(all_zero(scaled_dot_product_attention(q, k, v, {.dropout = 1}).detach()));
}

TEST_CASE("attention with dropout, lengths and shared heads passes the gradient check") {
    const auto lengths = from<std::int64_t>({3, 5});
    const auto run = [&](const Tensor<double, 1>& flat) {
        const auto q = flat(slice(0, 2 * 4 * 3 * 2)).reshape({2, 4, 3, 2}), k = flat(slice(48, 48 + 2 * 2 * 5 * 2)).reshape({2, 2, 5, 2});
        const auto v = flat(slice(88, 88 + 2 * 2 * 5 * 3)).reshape({2, 2, 5, 3});
        return scaled_dot_product_attention(q, k, v, {.causal = true, .lengths = lengths, .dropout = 0.2, .key = Key{4}}).reshape({-1});
    };
    CHECK_NOTHROW(testing::gradcheck(run, randn<double>({148}, Key{1})));
}

TEST_CASE("memory of attention grows linearly with the positions") {
    const auto peak = [](long n) {
        const auto q = randn<float>({1, 2, n, 16}, Key{1}).require_grad(), k = randn<float>({1, 2, n, 16}, Key{2}).require_grad(),
                   v = randn<float>({1, 2, n, 16}, Key{3}).require_grad();
        const auto dy = ones<float>({1, 2, n, 16});
        memory::reset_peak();
        const long before = memory::statistics().live;
        scaled_dot_product_attention(q, k, v, {.causal = true}).backward(dy);
        return memory::statistics().peak - before;
    };
    // The result, the sums' logarithms and three gradients, in size classes a quarter apart, and what threads have not accounted
    // for yet. Scores of 4096 positions would take 128 MiB.
    const long n = 4096, most = (2 * n * 16 * 4 * 4 + 2 * n * 4) * 5 / 4 + (4 << 20);
    CHECK(peak(n) <= most);
    CHECK(peak(2 * n) <= 2 * most);
}

TEST_CASE("gradients of attention add to what is there, under any number of threads") {
    // One head: blocks of keys and of queries are tasks; several: heads are.
    for (const long heads : {1l, 5l}) {
        Tensor<float, 4> first[3];
        for (const int threads : {1, 2, 3}) {
            set_num_threads(threads);
            const auto q = randn<float>({1, heads, 300, 24}, Key{1}).require_grad(),
                       k = randn<float>({1, heads, 400, 24}, Key{2}).require_grad(),
                       v = randn<float>({1, heads, 400, 32}, Key{3}).require_grad();
            const auto dy = randn<float>({1, heads, 300, 32}, Key{4});
            scaled_dot_product_attention(q, k, v).backward(dy);
            const auto once = clone(q.grad());
            scaled_dot_product_attention(q, k, v).backward(dy);
            CHECK(distance(q.grad(), eval(once + once)) == 0);
            const Tensor<float, 4> results[3] = {clone(q.grad()), clone(k.grad()), clone(v.grad())};
            for (int i = 0; i < 3; ++i) {
                if (threads == 1)
                    first[i] = results[i];
                else
                    CHECK(same(first[i], results[i]));
            }
        }
        set_num_threads(2);
    }
}

TEST_CASE("one tensor may be queries, keys and values") {
    const auto x = randn<double>({1, 2, 5, 4}, Key{1}).require_grad();
    const auto q = clone(x.detach()).require_grad(), k = clone(x.detach()).require_grad(), v = clone(x.detach()).require_grad();
    sum(square(scaled_dot_product_attention(x, x, x))).backward();
    sum(square(scaled_dot_product_attention(q, k, v))).backward();
    CHECK(distance(x.grad(), eval(q.grad() + k.grad() + v.grad())) < 1e-14);
}

TEST_CASE("a saved operand that is overwritten is noticed") {
    const auto q = randn<float>({1, 1, 3, 4}, Key{1}).require_grad();
    auto k = randn<float>({1, 1, 3, 4}, Key{2});
    const auto y = scaled_dot_product_attention(q, k, k);
    k += 1.f;
    CHECK_THROWS_WITH(sum(y).backward(), Catch::Contains("scaled_dot_product_attention"));
}

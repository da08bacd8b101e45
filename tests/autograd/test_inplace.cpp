// Writes: recorded ones have the right gradient, those that no tape can follow are refused, none is silent.
#include <tenon/tenon.hpp>
#include <tenon/testing/gradcheck.hpp>

#include <catch2/catch.hpp>

#include <string>

using namespace tenon;

namespace {

template <class E, class F>
std::string error_of(F&& f) {
    try {
        f();
    } catch (const E& e) {
        return e.what();
    }
    return "";
}
bool contains(const std::string& text, const char* piece) { return text.find(piece) != std::string::npos; }
Tensor<double, 2> sample() { return from<double>({2, 3}, {.5, -1.25, 2, .75, -.5, 1.5}); }

}  // namespace

TEST_CASE("recorded compound assignments have the gradient of what they compute") {
    const auto x = sample();
    const auto w = from<double>({3}, {1.5, -.5, 2});
    testing::gradcheck([](auto a, auto b) { Tensor y = sin(a); y += b; return y * a; }, x, w);
    testing::gradcheck([](auto a, auto b) { Tensor y = sin(a); y -= b * a; return square(y); }, x, w);
    testing::gradcheck([](auto a, auto b) { Tensor y = a + b; y *= 3.; y /= 4.; return y * b; }, x, w);
    testing::gradcheck([](auto a, auto b) { Tensor y = zeros_like(a.detach()); y += a; y += a * b; return sin(y); }, x, w);
    testing::gradcheck([](auto a, auto b) { Tensor y = a * 1.; y += y; y += b; return y * y; }, x, w);
}

TEST_CASE("a product that reads what it overwrites is refused at backward, by name") {
    const auto x = sample().require_grad();
    const auto w = sample().require_grad();
    Tensor y = x * 1.;
    y *= w;
    CHECK(contains(error_of<GradError>([&] { sum(y).backward(); }), "the operation \"*=\" had saved was overwritten"));
}

TEST_CASE("a failed backward leaves nothing behind that a later one would add to") {
    const auto x = ones<double>({2, 2}).require_grad();
    const auto v = ones<double>({2, 2}).require_grad();
    Tensor h = x * 2.;
    Tensor g = v * 1.;
    Tensor y = matmul(h, g);
    const auto other = sum(h * 1.);
    {
        no_grad guard;
        h.fill(7);
    }
    CHECK_FALSE(error_of<GradError>([&] { sum(y).backward(); }).empty());
    x.zero_grad();
    other.backward();
    CHECK(x.grad().data()[0] == 2);
}

TEST_CASE("values that want gradients are not written through a view without a word") {
    const auto w = ones<double>({4}).require_grad();
    const auto v = zeros<double>({4});
    CHECK(contains(error_of<GradError>([&] { v(slice(0, 2)) = w(slice(0, 2)) * 2.; }), "writes through a view are not recorded"));
    CHECK(contains(error_of<GradError>([&] { v(slice(0, 4)) = w; }), "writes through a view are not recorded"));
    CHECK(contains(error_of<GradError>([&] { v(slice(0, 2)) += w(slice(0, 2)); }), "writes through a view are not recorded"));
    CHECK(v.data()[0] == 0);
    no_grad guard;
    v(slice(0, 2)) = w(slice(0, 2)) * 2.;
    CHECK(v.data()[1] == 2);
    CHECK(v.data()[2] == 0);
}

TEST_CASE("an unrecorded write into a recorded result is refused; into a leaf it is how parameters are set") {
    const auto w = ones<double>({4}).require_grad();
    w.copy_from(w * 3.);
    w(slice(0, 2)) = 5.;
    w(slice(2, 3)) = full<double>({1}, 6);
    CHECK(w.data()[0] == 5);
    CHECK(w.data()[2] == 6);
    CHECK(w.data()[3] == 3);
    CHECK_FALSE(w.has_grad());
    Tensor y = w * 2.;
    CHECK(contains(error_of<GradError>([&] { y.fill(0); }), "fill: double[4] on cpu is the result of the recorded operation \"mul\""));
    CHECK(contains(error_of<GradError>([&] { y.copy_from(w * 3.); }), "recorded operation \"mul\""));
    CHECK(contains(error_of<GradError>([&] { y(slice(0, 2)) = 0.; }), "recorded operation \"mul\""));
    CHECK(contains(error_of<GradError>([&] { eval_into(tie(y, y), w.detach() + 1., w.detach() + 2.); }), "recorded operation \"mul\""));
    sum(y).backward();
    CHECK(w.grad().data()[0] == 2);
    y.fill(0);  // nothing walks it any more
    CHECK(y.data()[3] == 0);
}

TEST_CASE("eval_into writes every output once") {
    const auto a = ones<float>({4}), p = empty<float>({4}), q = empty<float>({4});
    eval_into(tie(p, q), a + 1.f, a + 2.f);
    CHECK(p.data()[3] == 2);
    CHECK(q.data()[0] == 3);
    eval_into(tie(a, p), a + p, a * 10.f);  // an output may be an operand in the same arrangement
    CHECK(a.data()[0] == 3);
    CHECK(p.data()[0] == 10);
    CHECK(contains(error_of<ValueError>([&] { eval_into(tie(p, p), a + 1.f, a + 2.f); }), "two outputs are the same memory"));
    const auto e = ones<float>({1}).expand({4});
    CHECK(contains(error_of<ShapeError>([&] { eval_into(tie(e, p), a + 1.f, a + 2.f); }), "expanded tensor"));
    CHECK(contains(error_of<ShapeError>([&] { eval_into(tie(zeros<float>({3}), p), a + 1.f, a + 2.f); }), "do not fit"));
}

TEST_CASE("a detached tensor may become a leaf on the same memory") {
    const auto w = ones<double>({3}).require_grad();
    Tensor y = w * 4.;
    const auto d = y.detach().require_grad();
    sum(d * 2.).backward();
    CHECK(d.grad().data()[0] == 2);
    CHECK_FALSE(w.has_grad());
    CHECK(d.data() == y.data());
    CHECK(contains(error_of<GradError>([&] { y(slice(0, 2)).require_grad(); }), "not a leaf"));
    CHECK(contains(error_of<GradError>([&] { y.detach()(slice(0, 2)).require_grad(); }), "is a view"));
}

TEST_CASE("products in a kept expression are computed at every evaluation, under the gradient mode of then") {
    const auto a = sample();
    const auto u = sample().require_grad(), w = sample().require_grad();
    const auto e = matmul(a, u.transpose()) + matmul(a, w.transpose());
    Tensor<double, 2> before;
    {
        no_grad guard;
        before = e;
        CHECK_FALSE(before.requires_grad());
    }
    w.fill(0);
    Tensor after = e;
    CHECK(after.data()[0] != before.data()[0]);
    sum(after).backward();
    CHECK(u.has_grad());
    CHECK(w.has_grad());
    CHECK(testing::close(u.grad(), w.grad()));
    Tensor again = e;
    sum(again).backward();
}

TEST_CASE("expressions of up to 32 tensors, with gradients, beside broadcast ones") {
    const auto x = full<double>({37}, 0.5).require_grad();
    const auto s = full<double>({}, 1.25).require_grad();
    const auto four = [](const auto& t) { return t + t + t + t; };
    Tensor y = (four(x) + four(s)) * (four(x) + four(s)) + (four(x) + four(s)) * (four(x) + four(s));
    sum(y).backward();
    // 2 (4 x + 4 s)^2
    CHECK(y.data()[36] == Approx(2 * 49.));
    CHECK(x.grad().data()[5] == Approx(2 * 2 * 7. * 4));
    CHECK(s.grad().item() == Approx(37 * 2 * 2 * 7. * 4));
}

TEST_CASE("empty tensors in formulas, products and their gradients") {
    const auto b = ones<double>({5}).require_grad();
    Tensor y = zeros<double>({0, 5}) + b;
    CHECK(y.size() == 0);
    sum(y).backward();
    CHECK(b.grad().data()[4] == 0);
    const auto w = ones<double>({1, 3, 2}).require_grad();
    Tensor z = matmul(ones<double>({0, 2, 3}), w);
    CHECK(z.shape() == Shape<3>{{0, 2, 2}});
    sum(z).backward();
    CHECK(w.grad().data()[5] == 0);
    const auto none = zeros<double>({2, 0}).require_grad();
    Tensor p = matmul(none, zeros<double>({0, 3}));
    CHECK(sum(abs(p)).item() == 0);
    sum(p).backward();
    CHECK(none.grad().size() == 0);
}

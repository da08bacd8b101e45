// Functions with a derivative of one's own.
#include <tenon/tenon.hpp>
#include <tenon/autograd/custom.hpp>
#include <tenon/testing/gradgradcheck.hpp>

#include <catch2/catch.hpp>

using namespace tenon;

namespace {

using Vector = Tensor<double, 1>;

struct Cube {
    static constexpr const char* name = "cube";
    static auto forward(FunctionContext& ctx, const Vector& x) {
        ctx.save(x);
        return x * x * x;
    }
    static auto backward(const FunctionContext& ctx, const Vector& dy) {
        const auto x = ctx.saved<Vector>(0);
        return 3.0 * x * x * dy;
    }
};
// From its output alone, with a number of its own.
struct ScaledExp {
    struct Context : FunctionContext { double scale = 0; };
    static auto forward(Context& ctx, const Vector& x, double scale) {
        ctx.scale = scale;
        const Vector y = exp(x * scale);
        ctx.save(y);
        return y;
    }
    static auto backward(const Context& ctx, const Vector& dy) { return ctx.saved<Vector>(0) * ctx.scale * dy; }
};
// Two inputs and two outputs.
struct PolarToPlane {
    static auto forward(FunctionContext& ctx, const Vector& r, const Vector& phi) {
        ctx.save(r, phi);
        return outputs(r * cos(phi), r * sin(phi));
    }
    static auto backward(const FunctionContext& ctx, const Vector& dx, const Vector& dy) {
        const auto r = ctx.saved<Vector>(0), phi = ctx.saved<Vector>(1);
        return outputs(dx * cos(phi) + dy * sin(phi), r * (dy * cos(phi) - dx * sin(phi)));
    }
};
struct Once : Cube {
    static constexpr const char* name = "once";
    static constexpr bool once_differentiable = true;
};
// Picks rows by indices; the second output has no gradient, the index tensor none either.
struct Pick {
    static auto forward(FunctionContext& ctx, const Vector& x, const Tensor<std::int64_t, 1>& i) {
        ctx.save(x, i);
        const Vector total = sum<0>(x, keepdim);
        ctx.mark_non_differentiable(total);
        return outputs(index_select<0>(x, i), total);
    }
    static auto backward(const FunctionContext& ctx, const Vector& dy, const Vector& nothing) {
        CHECK(nothing.data()[0] == 0);
        const auto i = ctx.saved<Tensor<std::int64_t, 1>>(1);
        auto dx = zeros<double>({ctx.saved<Vector>(0).size()});
        for (long k = 0; k < i.size(); ++k) dx.data()[i.data()[k]] += dy.data()[k];
        return dx;
    }
};
struct Identity {
    static Vector forward(FunctionContext&, const Vector& x) { return x; }
    static auto backward(const FunctionContext&, const Vector& dy) { return dy * -1.0; }
};
struct Partial {
    static auto forward(FunctionContext&, const Vector& a, const Vector& b) { return a * b; }
    static auto backward(const FunctionContext& ctx, const Vector& dy) {
        CHECK_FALSE(ctx.needs_gradient(1));
        CHECK(ctx.needs_gradient(0));
        return outputs(dy, Vector());
    }
};
struct WrongShape {
    static Vector forward(FunctionContext&, const Vector& x) { return x + 1.0; }
    static Vector backward(const FunctionContext&, const Vector&) { return ones<double>({7}); }
};

}  // namespace

TEST_CASE("forward, backward, and the derivative of backward") {
    const auto x = randn<double>({5}, Key{1}), y = randn<double>({5}, Key{2});
    testing::gradcheck([](const auto& a) { return apply<Cube>(a) * a; }, x);
    testing::gradgradcheck([](const auto& a) { return apply<Cube>(a) * a; }, x);
    testing::gradcheck([](const auto& a) { return apply<ScaledExp>(a, 0.7); }, x);
    testing::gradgradcheck([](const auto& a) { return square(apply<ScaledExp>(a, 0.7)); }, x);
    const auto plane = [](const auto& r, const auto& phi) {
        const auto [u, v] = apply<PolarToPlane>(r, phi);
        return u * u * v;
    };
    testing::gradcheck(plane, x, y);
    testing::gradgradcheck(plane, x, y);
    // Only one of the outputs is used.
    testing::gradcheck([](const auto& r, const auto& phi) { return apply<PolarToPlane>(r, phi).second * 2.0; }, x, y);
    no_grad guard;
    CHECK_FALSE(apply<Cube>(ones<double>({2}).require_grad()).requires_grad());
}

TEST_CASE("what a function says of its outputs and inputs") {
    const auto x = from<double>({1, 2, 3}).require_grad();
    const auto [picked, total] = apply<Pick>(x, from<std::int64_t>({2, 2, 0}));
    CHECK(picked.requires_grad());
    CHECK_FALSE(total.requires_grad());
    CHECK(total.data()[0] == 6);
    sum(picked).backward();
    CHECK(x.grad().data()[2] == 2);
    CHECK(x.grad().data()[1] == 0);
    x.zero_grad();

    const Vector same = apply<Identity>(x);
    CHECK(same.data() == x.data());
    sum(same).backward();
    CHECK(x.grad().data()[0] == -1);
    x.zero_grad();

    sum(apply<Partial>(x, ones<double>({3}))).backward();
    CHECK(x.grad().data()[0] == 1);
}

TEST_CASE("errors of functions are sentences") {
    auto x = from<double>({1, 2, 3}).require_grad();
    CHECK_THROWS_WITH(grad(sum(apply<Once>(x)), x, {.create_graph = true}), Catch::Contains("once_differentiable") && Catch::Contains("\"once\""));
    CHECK(grad(sum(apply<Once>(x)), x).data()[1] == 12);
    const auto written = eval(x * 1.0);
    const Tensor<double, 0> y = sum(apply<Cube>(written));
    {
        no_grad guard;
        written += 1.0;
    }
    CHECK_THROWS_WITH(y.backward(), Catch::Contains("\"cube\" had saved was overwritten"));
    CHECK_THROWS_WITH(sum(apply<WrongShape>(x)).backward(), Catch::Contains("double[7]") && Catch::Contains("double[3]"));
    const Tensor<double, 0> z = sum(apply<Cube>(x));
    z.backward();
    CHECK_THROWS_WITH(z.backward(), Catch::Contains("already walked"));
    x.zero_grad();
}

TEST_CASE("a function keeps no memory alive once its results are gone") {
    for (int i = 0; i < 3; ++i) sum(apply<ScaledExp>(ones<double>({1000}).require_grad(), 1.0)).backward();
    const auto before = memory::statistics();
    for (int i = 0; i < 50; ++i) {
        const auto x = ones<double>({1000}).require_grad();
        const Vector unused = apply<ScaledExp>(x, 1.0);
        sum(apply<ScaledExp>(x, 1.0)).backward();
    }
    CHECK(memory::statistics().live == before.live);
}

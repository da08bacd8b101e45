// What a step does to gradients on their way in: clipping by norm and by value, rows of tables.
#include "../golden/golden.hpp"

#include <tenon/optim/layerwise.hpp>
#include <tenon/optim/sign.hpp>
#include <tenon/tenon.hpp>

#include <catch2/catch.hpp>

#include <cmath>
#include <cstring>
#include <limits>

using namespace tenon;

namespace {

struct Two {
    Tensor<double, 1> a;
    Tensor<float, 1> b;
    static void visit(auto& self, auto&& f) {
        f("a", self.a);
        f("b", self.b);
    }
};
Two two() { return {zeros<double>({2}).require_grad(), zeros<float>({3}).require_grad()}; }
void backward(const Two& net, double a, float b) {
    sum(net.a * a).backward();
    sum(net.b * b).backward();
}
template <class T, int R>
std::vector<T> values(const Tensor<T, R>& x) { return std::vector<T>(x.detach().data(), x.detach().data() + x.size()); }

struct Table {
    nn::Embedding<double> table;
    Tensor<double, 1> other;
    explicit Table(Key key) : table(9, 3, key), other(ones<double>({4}).require_grad()) {}
    static void visit(auto& self, auto&& f) {
        f("table", self.table);
        f("other", self.other);
    }
};
Tensor<std::int64_t, 1> indices(std::initializer_list<std::int64_t> list) {
    Tensor<std::int64_t, 1> x = empty<std::int64_t>({static_cast<long>(list.size())});
    std::copy(list.begin(), list.end(), x.data());
    return x;
}

}  // namespace

TEST_CASE("norms of gradients of several powers", "[optim][clip]") {
    const double inf = std::numeric_limits<double>::infinity();
    Two net = two();
    auto optimiser = optim::sgd(net, {.lr = 1});
    backward(net, -3, 4);
    CHECK(optimiser.gradient_norm() == Approx(std::sqrt(2 * 9 + 3 * 16)));
    CHECK(optimiser.gradient_norm(1) == Approx(2 * 3 + 3 * 4));
    CHECK(optimiser.gradient_norm(inf) == 4);
    CHECK(optimiser.clip_norm(2, inf) == 4);
    optimiser.step();
    CHECK(values(net.a)[1] == Approx(1.5).epsilon(1e-6));
    CHECK(values(net.b)[2] == Approx(-2).epsilon(1e-6));
    backward(net, -3, 4);
    CHECK(optimiser.clip_norm(9, 1) == 18);
    optimiser.step();
    CHECK(values(net.a)[1] == Approx(3).epsilon(1e-6));
    // A short one is taken as it is, to the bit.
    backward(net, 0.1, 0);
    const double before = values(net.a)[0];
    optimiser.clip_norm(1, 1);
    optimiser.step();
    CHECK(values(net.a)[0] == before - 0.1);
    CHECK_THROWS_WITH(optimiser.clip_norm(1, 3), Catch::Contains("a norm of power 3: expected 1, 2 or infinity"));
    for (double power : {1.0, 2.0, inf}) {
        backward(net, std::nan(""), 1);
        CHECK(std::isnan(optimiser.clip_norm(1, power)));
        const long skipped = optimiser.statistics().skipped;
        optimiser.step();
        CHECK(optimiser.statistics().skipped == skipped + 1);
    }
}

TEST_CASE("gradients are clipped by value in the step, and only in that", "[optim][clip]") {
    Two net = two();
    auto optimiser = optim::sgd(net, {.lr = 1});
    backward(net, -3, 0.25f);
    optimiser.clip_value(0.5);
    optimiser.step();
    CHECK(values(net.a) == std::vector<double>{0.5, 0.5});
    CHECK(values(net.b)[0] == -0.25f);
    backward(net, -3, 0.25f);
    optimiser.step();
    CHECK(values(net.a)[0] == 3.5);
    // After a norm: of what that has left.
    backward(net, -3, 4);
    optimiser.clip_norm(2, std::numeric_limits<double>::infinity());
    optimiser.clip_value(1.75);
    optimiser.step();
    CHECK(values(net.a)[0] == Approx(5).epsilon(1e-6));
    CHECK(values(net.b)[0] == Approx(-0.5 - 1.75).epsilon(1e-6));
    optimiser.clip_value(1);
    CHECK_THROWS_WITH(optimiser.clip_norm(1), Catch::Contains("call clip_norm first"));
    for (double limit : {0.0, -1.0, std::nan("")}) CHECK_THROWS_AS(optimiser.clip_value(limit), ValueError);
    // A NaN shows.
    backward(net, std::nan(""), 0);
    optimiser.clip_value(1);
    optimiser.step();
    CHECK(std::isnan(values(net.a)[0]));
    // Maximising: the clipped gradient upwards.
    Two up = two();
    auto maximiser = optim::sgd(up, {.lr = 1, .maximize = true});
    backward(up, -3, 4);
    maximiser.clip_value(0.5);
    maximiser.step();
    CHECK(values(up.a)[0] == -0.5);
    CHECK(values(up.b)[0] == 0.5f);
}

TEST_CASE("a step confined to rows is torch.optim.SparseAdam's", "[optim][rows]") {
    const golden::File file = golden::read(TENON_TEST_DIR "/golden/optim.safetensors");
    const std::vector<double>&first = file.at("sparse_adam/table").reals, &expected = file.at("sparse_adam/p").reals;
    Tensor<double, 2> table = empty<double>({9, 3});
    std::copy(first.begin(), first.end(), table.data());
    table.require_grad();
    auto optimiser = optim::adam(table, {.lr = 0.01, .eps = 0});
    for (int t = 1; t <= 50; ++t) {
        const auto rows = indices({1, 4, 5 + t % 3});
        Tensor<double, 2> g = empty<double>({3, 3});
        for (long i = 0; i < 9; ++i) g.data()[i] = std::sin(0.3 * t + static_cast<double>(i));
        const auto looked_up = embedding(table, rows);
        sum(looked_up * g).backward();
        optimiser.only_rows(table, touched_rows(looked_up));
        optimiser.step();
    }
    for (long i = 0; i < 27; ++i) CHECK(table.detach().data()[i] == Approx(expected[static_cast<std::size_t>(i)]).epsilon(1e-11).margin(1e-13));
}

TEST_CASE("rows that are not touched stay, with their states", "[optim][rows]") {
    const auto run = [](auto make) {
        Table net(Key{1}), dense(Key{1});
        auto optimiser = make(net), whole = make(dense);
        const auto step = [](Table& n, auto& o, const Tensor<std::int64_t, 1>& rows, bool confine) {
            const auto y = embedding(n.table.weight, rows);
            sum(square(y)).backward();
            sum(n.other).backward();
            if (confine) o.only_rows(n.table.weight, touched_rows(y));
            o.step();
        };
        const auto first = indices({7, 2, 2}), every = indices({0, 1, 2, 3, 4, 5, 6, 7, 8});
        const std::vector<double> before = values(net.table.weight);
        step(net, optimiser, first, true);
        step(dense, whole, first, false);
        for (long r = 0; r < 9; ++r)
            for (long c = 0; c < 3; ++c) {
                const std::size_t i = static_cast<std::size_t>(3 * r + c);
                CHECK(values(net.table.weight)[i] == (r == 2 || r == 7 ? values(dense.table.weight)[i] : before[i]));
            }
        CHECK(values(net.other) == values(dense.other));
        // The next step is on all rows again.
        step(net, optimiser, every, false);
        CHECK(values(net.table.weight)[0] != before[0]);
    };
    run([](Table& n) { return optim::adam(n, {.lr = 0.1, .weight_decay = 0.1}); });
    run([](Table& n) { return optim::adabound(n, {.lr = 0.1}); });
    run([](Table& n) { return optim::sgd(n, {.lr = 0.1, .momentum = 0.9}); });
    run([](Table& n) { return optim::adagrad(n, {.lr = 0.1}); });
    run([](Table& n) { return optim::lion(n, {.lr = 0.1}); });
}

TEST_CASE("rows that cannot be are refused", "[optim][rows]") {
    Table net(Key{1});
    auto optimiser = optim::sgd(net, {.lr = 1});
    CHECK_THROWS_WITH(optimiser.only_rows(net.table.weight, indices({3, 9})), Catch::Contains("only_rows: row 9 of double[9, 3]"));
    CHECK_THROWS_AS(optimiser.only_rows(net.table.weight, indices({-1})), IndexError);
    CHECK_THROWS_WITH(optimiser.only_rows(net.table.weight, indices({3, 3})), Catch::Contains("row 3 follows 3: expected rising rows"));
    CHECK_THROWS_WITH(optimiser.only_rows(ones<double>({3, 3}).require_grad(), indices({1})), Catch::Contains("is not a parameter of this optimiser"));
    Table large(Key{1});
    auto lamb = optim::lamb(large);
    CHECK_THROWS_WITH(lamb.only_rows(large.table.weight, indices({1})), Catch::Contains("lamb needs the norms of the whole parameter"));
    // No rows: nothing moves, not even by momentum.
    sum(embedding(net.table.weight, indices({4}))).backward();
    const std::vector<double> before = values(net.table.weight);
    optimiser.only_rows(net.table.weight, indices({}));
    optimiser.step();
    CHECK(values(net.table.weight) == before);
    // A step that is skipped forgets its rows.
    sum(embedding(net.table.weight, indices({4})) * std::nan("")).backward();
    optimiser.only_rows(net.table.weight, indices({4}));
    optimiser.clip_norm(1);
    optimiser.step();
    sum(net.table.weight).backward();
    optimiser.step();
    CHECK(values(net.table.weight)[0] == before[0] - 1);
}

TEST_CASE("layers of few axes take plain steps under LARS unless they are asked to", "[optim]") {
    struct Run {
        static double move(bool vectors, bool matrix) {
            Tensor<double, 1> v = full<double>({4}, 2.0).require_grad();
            Tensor<double, 2> m = full<double>({2, 2}, 2.0).require_grad();
            const optim::LarsOptions options{.lr = 1, .momentum = 0, .trust = 0.01, .eps = 0, .vectors = vectors};
            if (matrix) {
                auto o = optim::lars(m, options);
                sum(m * 0.5).backward();
                o.step();
                return 2 - m.detach().data()[0];
            }
            auto o = optim::lars(v, options);
            sum(v * 0.5).backward();
            o.step();
            return 2 - v.detach().data()[0];
        }
    };
    CHECK(Run::move(false, true) == Approx(0.01 * 4 / 1 * 0.5));  // trust * |p| / |g| * g
    CHECK(Run::move(false, false) == Approx(0.5));
    CHECK(Run::move(true, false) == Approx(0.01 * 4 / 1 * 0.5));
}

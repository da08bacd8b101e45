// Convolutions that find their neighbours themselves: clouds, order of the points, threads, derivatives, errors.
#include <tenon/graph/conv/dynamic_edge.hpp>
#include <tenon/graph/conv/x_conv.hpp>
#include <tenon/tenon.hpp>
#include <tenon/testing/gradcheck.hpp>

#include <catch2/catch.hpp>

#include <cmath>
#include <cstring>
#include <vector>

using namespace tenon;
using Catch::Matchers::Contains;

namespace {

template <class T>
bool same_bits(const Tensor<T, 2>& a, const Tensor<T, 2>& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), static_cast<std::size_t>(a.size()) * sizeof(T)) == 0;
}
// Row i of the result is row place(i) of x.
Tensor<float, 2> permuted(const Tensor<float, 2>& x) {
    const auto order = empty<std::int64_t>({x.shape(0)});
    for (long i = 0; i < order.size(); ++i) order.data()[i] = (7 * i + 5) % order.size();
    return index_select<0>(x, order);
}
bool near(const Tensor<float, 2>& a, const Tensor<float, 2>& b) {
    for (long i = 0; i < a.size(); ++i)
        if (!(std::abs(a.data()[i] - b.data()[i]) <= 2e-5f * (1 + std::abs(b.data()[i])))) return false;
    return a.size() == b.size();
}

}  // namespace

TEST_CASE("X-convolution and EdgeConv of neighbours: clouds, permuted points, threads", "[graph]") {
    const Tensor<float, 2> pos = randn<float>({300, 3}, Key{1}), x = randn<float>({300, 8}, Key{2});
    const graph::XConv<> conv(8, 12, 3, 6, Key{3}, {.hidden = 5, .dilation = 2});
    const graph::DynamicEdgeConv edge(nn::Linear<>(16, 10, Key{4}), 7);
    const auto clouds = Segments::from_pointers(from<std::int64_t>({0, 100, 112, 300}));
    const Tensor<float, 2> of_clouds = conv(x, pos, clouds), edges_of_clouds = edge(x, clouds);
    for (const auto& [begin, end] : {std::pair{0, 100}, std::pair{100, 112}, std::pair{112, 300}}) {
        const Tensor<float, 2> own_x = clone(x(slice(begin, end))), own_pos = clone(pos(slice(begin, end)));
        CHECK(same_bits(conv(own_x, own_pos), clone(of_clouds(slice(begin, end)))));
        CHECK(same_bits(Tensor<float, 2>(edge(own_x)), clone(edges_of_clouds(slice(begin, end)))));
    }
    CHECK(near(conv(permuted(x), permuted(pos)), permuted(conv(x, pos))));
    CHECK(near(edge(permuted(x)), permuted(edge(x))));

    const int threads = num_threads();
    const nn::Context context{Key{5}};
    const auto run = [&](int t) {
        set_num_threads(t);
        const auto own = clone(x).require_grad(), own_pos = clone(pos).require_grad();
        const graph::XConv<> fresh(8, 12, 3, 6, Key{3}, {.hidden = 5, .dilation = 2});
        tenon::sum(square(fresh(own, own_pos, context, clouds)) + tenon::sum<1>(square(edge(own, clouds)), keepdim)).backward();
        return concat<1>(Tensor<float, 2>(own.grad()), Tensor<float, 2>(own_pos.grad()));
    };
    const Tensor<float, 2> one = run(1), two = run(2);
    set_num_threads(threads);
    CHECK(same_bits(one, two));
}

TEST_CASE("X-convolution and EdgeConv of neighbours pass the gradient check", "[graph]") {
    const Tensor<double, 2> x = randn<double>({9, 3}, Key{1}), pos = randn<double>({9, 2}, Key{2});
    const graph::XConv<double> conv(3, 4, 2, 3, Key{3}, {.hidden = 2});
    const nn::Context context{Key{5}};
    CHECK_NOTHROW(testing::gradcheck(
        [&](const auto& a, const auto& b) { return tenon::sum(square(conv(Tensor<double, 2>(a), Tensor<double, 2>(b)))); }, x, pos));
    CHECK_NOTHROW(testing::gradcheck(
        [&](const auto& a, const auto& b) { return tenon::sum(square(conv(Tensor<double, 2>(a), Tensor<double, 2>(b), context))); }, x,
        pos));
    const graph::DynamicEdgeConv edge(nn::Linear<double>(6, 4, Key{4}), 3);
    CHECK_NOTHROW(testing::gradcheck([&](const auto& a) { return tenon::sum(square(Tensor<double, 2>(edge(Tensor<double, 2>(a))))); }, x));
}

TEST_CASE("EdgeConv of neighbours where there are fewer points than neighbours, or one", "[graph]") {
    const graph::DynamicEdgeConv edge(nn::Linear<>(4, 3, Key{1}), 5);
    const Tensor<float, 2> one = randn<float>({1, 2}, Key{2});
    const Tensor<float, 2> y = edge(one), own = edge.nn(Tensor<float, 2>(concat<1>(one, zeros<float>({1, 2}))));
    CHECK(near(y, own));
    CHECK(Tensor<float, 2>(edge(randn<float>({3, 2}, Key{3}))).shape(0) == 3);
}

TEST_CASE("X-convolution and EdgeConv of neighbours: a module that takes a context is handed it", "[graph]") {
    using Net = nn::Sequential<nn::Linear<>, nn::BatchNorm1d<>>;
    const graph::DynamicEdgeConv<Net> edge(Net(nn::Linear<>(4, 3, Key{1}), nn::BatchNorm1d<>(3)), 4);
    const Tensor<float, 2> x = randn<float>({20, 2}, Key{2});
    const Tensor<float, 2> trained = edge(x, nn::Context{Key{3}});
    CHECK(edge.nn.get<1>().num_batches_tracked.item() == 1);
    CHECK(!near(trained, edge(x)));
    const graph::XConv<> conv(2, 4, 2, 3, Key{4}, {.hidden = 2});
    static_cast<void>(conv(x, x, nn::Context{Key{3}}));
    CHECK(conv.mlp1.first_norm.num_batches_tracked.item() == 1);
    CHECK(conv.mlp2.second_norm.num_batches_tracked.item() == 1);
}

TEST_CASE("X-convolution and EdgeConv of neighbours say what does not fit", "[graph]") {
    const graph::XConv<> conv(8, 12, 3, 6, Key{3}, {.dilation = 2});
    CHECK(conv.hidden == 2);
    const Tensor<float, 2> pos = randn<float>({30, 3}, Key{1}), x = randn<float>({30, 8}, Key{2});
    CHECK_THROWS_WITH(conv(x, pos, Segments::from_pointers(from<std::int64_t>({0, 11, 30}))), Contains("need clouds of 12 points or more"));
    CHECK_THROWS_WITH(conv(x, x), Contains("expected 3 coordinates"));
    CHECK_THROWS_WITH(conv(pos, pos), Contains("expected [30, 8]"));
    CHECK_THROWS_WITH(conv(Tensor<float, 2>(), pos), Contains("no features came, expected [30, 8]"));
    CHECK_THROWS_AS(graph::XConv<>(3, 12, 3, 6, Key{3}), ValueError);  // hidden would be 0
    CHECK_THROWS_AS(graph::DynamicEdgeConv<nn::Linear<>>(nn::Linear<>(4, 3, Key{1}), 0), ValueError);
}

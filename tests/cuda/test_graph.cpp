// Captured graphs against the same work launched step by step.
#include <tenon/runtime/graph.hpp>
#include <tenon/tenon.hpp>

#include <catch2/catch.hpp>

using namespace tenon;

TEST_CASE("a graph repeats what was captured, with the inputs of the moment") {
    auto x = full<float>({50}, 1.f).to(cuda());
    auto total = zeros<float>({50}, cuda());
    runtime::Graph graph(cuda(), [&] {
        Tensor<float, 1> y = x * 2.f + 1.f;
        total += y;
        return y;
    });
    CHECK(sum(total).item() == 0);  // a capture computes nothing
    CHECK(sum(graph.replay()).item() == 150);
    x.copy_from(full<float>({50}, 3.f).to(cuda()));
    const Tensor<float, 1> y = graph.replay();
    CHECK(sum(y).item() == 350);
    CHECK(sum(total).item() == 500);
}

TEST_CASE("a graph's memory is its own, and comes back with it") {
    const long before = runtime::memory_statistics(cuda()).live;
    Tensor<float, 1> kept;
    {
        auto x = full<float>({64}, 1.f).to(cuda());
        runtime::Graph graph(cuda(), [&] {
            Tensor<float, 1> a = exp(x);
            Tensor<float, 1> b = a + 1.f;
            return Tensor<float, 1>(b * 2.f);
        });
        kept = graph.replay();
        const Tensor<float, 1> other = full<float>({64}, 7.f).to(cuda());  // must not lie in the graph's memory
        graph.replay();
        CHECK(sum(other).item() == 448);
    }
    CHECK(std::abs(sum(kept).item() - 64 * 2 * (std::exp(1.f) + 1)) < 1e-3);
    kept = Tensor<float, 1>();
    CHECK(runtime::memory_statistics(cuda()).live == before);
}

TEST_CASE("a graph holds forward and backward") {
    auto w = full<float>({6}, 0.5f).to(cuda()), x = full<float>({6}, 2.f).to(cuda());
    w.require_grad();
    runtime::Graph graph(cuda(), [&] {
        const auto loss = sum(square(w * x));
        loss.backward();
        return loss;
    });
    const auto gradient = w.grad();
    CHECK(graph.replay().item() == 6);
    CHECK(gradient.to(cpu).data()[5] == 4);
}

TEST_CASE("what waits for the device cannot be captured, and says so") {
    auto x = full<float>({6}, 2.f).to(cuda());
    CHECK_THROWS_WITH(runtime::Graph(cuda(), [&] { return sum(x).item(); }), Catch::Matchers::Contains("cannot be captured") && Catch::Matchers::Contains("no item()"));
    CHECK(sum(x).item() == 12);  // and nothing is left behind
    CHECK_THROWS_AS(runtime::Graph(cuda(), [&] { throw 1; }), int);
    CHECK(sum(x).item() == 12);
}

TEST_CASE("a copy from the host cannot be captured: its memory would be gone at the launch") {
    auto x = zeros<float>({6}, cuda());
    const auto here = full<float>({6}, 2.f);
    CHECK_THROWS_WITH(runtime::Graph(cuda(), [&] { x += here.to(cuda()); }), Catch::Matchers::Contains("copy from the host"));
    CHECK(sum(x).item() == 0);
}

TEST_CASE("on the CPU a graph runs the function") {
    long runs = 0;
    runtime::Graph graph(cpu, [&] { return ++runs; });
    CHECK(runs == 0);
    CHECK(graph.replay() == 1);
    CHECK(graph.replay() == 2);
}

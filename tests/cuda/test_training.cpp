// The network of examples/adabound trained on the device: the CPU's losses, step by step and as a captured graph.
#include <tenon/runtime/graph.hpp>
#include <tenon/tenon.hpp>

#include <catch2/catch.hpp>

#include <cmath>
#include <vector>

using namespace tenon;

namespace {

struct Mlp {
    nn::Linear<float> hidden1, hidden2, out;

    explicit Mlp(Key key) : hidden1(784, 256, key.split(0)), hidden2(256, 128, key.split(1)), out(128, 10, key.split(2)) {}
    Tensor<float, 2> operator()(const Tensor<float, 2>& x) const { return out(relu(hidden2(relu(hidden1(x))))); }
    static void visit(auto& self, auto&& f) {
        f("hidden1", self.hidden1);
        f("hidden2", self.hidden2);
        f("out", self.out);
    }
};

constexpr long batch = 16;
Tensor<float, 2> images(int step) { return uniform<float>({batch, 784}, Key(7).split(static_cast<std::uint64_t>(step))); }
Tensor<std::int64_t, 1> labels(int step) {
    auto y = zeros<std::int64_t>({batch});
    for (long i = 0; i < batch; ++i) y.data()[i] = (3 * i + step) % 10;
    return y;
}

template <class Build>
std::vector<float> train(Device device, bool captured, Build build) {
    Mlp net = to(Mlp(Key(1)), device);
    auto optimiser = build(net);
    auto x = images(0).to(device);
    auto y = labels(0).to(device);
    const auto step = [&] {
        const Tensor<float, 0> loss = cross_entropy(net(x), y);
        loss.backward();
        optimiser.step();
        return loss;
    };
    std::vector<float> losses;
    if (captured) {
        runtime::Graph graph(device, step);
        for (int i = 0; i < 5; ++i) {
            x.copy_from(images(i).to(device));
            y.copy_from(labels(i).to(device));
            losses.push_back(graph.replay().item());
        }
    } else {
        for (int i = 0; i < 5; ++i) {
            x.copy_from(images(i).to(device));
            y.copy_from(labels(i).to(device));
            losses.push_back(step().item());
        }
    }
    return losses;
}
template <class Build>
void check(Build build) {
    const auto here = train(cpu, false, build), there = train(cuda(), false, build), graph = train(cuda(), true, build);
    CHECK(here.front() > 2);
    CHECK(here.back() != here.front());
    for (std::size_t i = 0; i < here.size(); ++i) {
        CAPTURE(i);
        CHECK(std::abs(there[i] - here[i]) <= 2e-5f * std::abs(here[i]));
        CHECK(graph[i] == there[i]);  // the same bits
    }
}

}  // namespace

TEST_CASE("the network trains on the device as on the CPU, and in a graph") {
    SECTION("AdaBound") {
        check([](Mlp& net) { return optim::adabound(net, {.lr = 1e-3, .final_lr = 0.1, .weight_decay = 5e-4}); });
    }
    SECTION("SGD with momentum") {
        check([](Mlp& net) { return optim::sgd(net, {.lr = 0.1, .momentum = 0.9}); });
    }
}

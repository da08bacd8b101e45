// Files, anomaly mode and comparisons with tensors on the device.
#include <tenon/autograd/anomaly.hpp>
#include <tenon/io/checkpoint.hpp>
#include <tenon/io/npz.hpp>
#include <tenon/tenon.hpp>
#include <tenon/testing/close.hpp>
#include <tenon/testing/gradcheck.hpp>

#include "../io/files.hpp"

#include <catch2/catch.hpp>

using namespace tenon;

TEST_CASE("a module on the device is written and read as one on the CPU") {
    const files::Folder folder;
    const std::string path = folder / "net.safetensors";
    nn::Linear<float> here(5, 3, Key(1));
    const auto there = to(here, cuda());
    io::save(path, there);
    nn::Linear<float> other(5, 3, Key(2));
    io::load(path, other);
    CHECK(testing::close(other.weight, here.weight).equal);
    auto third = to(nn::Linear<float>(5, 3, Key(3)), cuda());
    io::load(path, third);
    CHECK(third.weight.device() == cuda());
    CHECK(testing::close(third.weight, here.weight).equal);
    CHECK_FALSE(testing::close(third.weight, here.weight + 1.f).equal);
    const auto strided = randn<float>({4, 6}, Key(4));
    io::write_npz(folder / "a.npz", {{"a", strided.to(cuda()).transpose<0, 1>()}});
    CHECK(testing::close(io::Npz(folder / "a.npz").get<float, 2>("a"), strided.transpose<0, 1>()).equal);
}

TEST_CASE("training on the device goes on from its checkpoint to the same bits") {
    const files::Folder folder;
    const auto x = randn<float>({8, 5}, Key(5)).to(cuda());
    const auto step = [&](auto& net, auto& optimiser) {
        mean(square(net(x))).backward();
        optimiser.step();
    };
    auto net = to(nn::Linear<float>(5, 3, Key(1)), cuda());
    auto optimiser = optim::adam(net, {.lr = 0.1});
    step(net, optimiser);
    io::save_checkpoint(folder / "c.safetensors", {}, net, optimiser);
    step(net, optimiser);

    auto resumed = to(nn::Linear<float>(5, 3, Key(2)), cuda());
    auto again = optim::adam(resumed, {.lr = 0.1});
    io::load_checkpoint(folder / "c.safetensors", resumed, again);
    step(resumed, again);
    const auto a = net.weight.detach().to(cpu), b = resumed.weight.detach().to(cpu);
    for (long i = 0; i < a.size(); ++i) CHECK(a.data()[i] == b.data()[i]);
}

TEST_CASE("anomaly mode finds a NaN on the device") {
    auto x = from<float>({3}, {1, -1, 2}).to(cuda());
    x.require_grad();
    const anomaly watch;
    CHECK_THROWS_WITH(eval(sqrt(x) * 2.f), Catch::Matchers::Contains("gave NaN: element [1] of its result float[3] on cuda:0"));
}

TEST_CASE("the gradient check wants tensors on the CPU, and says so") {
    const auto x = full<double>({2}, 1.).to(cuda());
    CHECK_THROWS_WITH(testing::gradcheck([](const auto& v) { return sum(v * v); }, x), Catch::Matchers::Contains("expected tensors on cpu"));
}

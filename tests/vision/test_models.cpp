// The networks against torchvision's: the same names, values in training and inference, gradients and running statistics;
// their sizes; and files both ways where Python has torchvision.
#include <catch2/catch.hpp>

#include <tenon/io/npy.hpp>
#include <tenon/io/safetensors.hpp>
#include <tenon/tenon.hpp>
#include <tenon/vision/densenet.hpp>
#include <tenon/vision/lenet.hpp>
#include <tenon/vision/resnet.hpp>
#include <tenon/vision/vgg.hpp>

#include "../golden/golden.hpp"
#include "../io/files.hpp"
#include "../io/python.hpp"

using namespace tenon;

namespace {

const golden::File& cases() {
    static const golden::File file = golden::read(TENON_TEST_DIR "/golden/vision_models.safetensors");
    return file;
}
void check_near(const golden::Array& expected, const double* found, long size, const std::string& what) {
    INFO(what);
    REQUIRE(expected.size() == size);
    double largest = 1;
    for (double v : expected.reals) largest = std::max(largest, std::abs(v));
    for (long i = 0; i < size; ++i) {
        INFO(i);
        CHECK(std::abs(found[i] - expected.reals[static_cast<std::size_t>(i)]) <= 1e-9 * largest);
    }
}

// Everything that the golden file says of a network, whose weights are loaded by name.
template <class Net>
void check_network(const std::string& name, Net net) {
    const auto report = io::load(TENON_TEST_DIR "/golden/vision_" + name + ".safetensors", net);
    CHECK(report.missing.empty());
    CHECK(report.unexpected.empty());
    const golden::Array& given = cases().at(name + "/x");
    const auto x = from<double>({given.shape[0], given.shape[1], given.shape[2], given.shape[3]}, given.reals.data());
    const nn::Context training{Key(1), true}, inference{Key(1), false};
    {
        const no_grad guard;
        const auto y = net(x, inference);
        check_near(cases().at(name + "/eval"), y.data(), y.size(), "in inference");
    }
    const auto y = net(x, training);
    check_near(cases().at(name + "/train"), y.data(), y.size(), "in training");
    auto weight = empty_like(y.detach());
    for (long i = 0; i < weight.size(); ++i) weight.data()[i] = std::cos(static_cast<double>(i));
    sum(y * weight).backward();
    int gradients = 0, statistics = 0;
    nn::for_each_tensor(net, [&](const char* path, nn::Kind kind, const auto& tensor) {
        if constexpr (std::is_same_v<typename std::remove_cvref_t<decltype(tensor)>::Scalar, double>) {
            const bool parameter = kind == nn::Kind::parameter;
            const auto found = cases().find(name + (parameter ? "/d_" : "/after_") + path);
            REQUIRE(found != cases().end());
            const auto values = contiguous(parameter ? tensor.grad() : tensor.detach());
            check_near(found->second, values.data(), values.size(), path);
            (parameter ? gradients : statistics) += 1;
        } else {
            CHECK(tensor.item() == 1);
        }
    });
    CHECK(gradients > 5);
    CHECK(statistics > 3);
}

}  // namespace

TEST_CASE("a residual network of basic blocks is torchvision's") {
    check_network("resnet_basic", vision::ResNet<double>({.depths = {1, 2, 1, 1}, .widths = {4, 6, 5, 8}, .stem = vision::ResNetStem::small, .classes = 5}, Key(0)));
}
TEST_CASE("a residual network of bottlenecks is torchvision's") {
    check_network("resnet_bottleneck", vision::ResNet<double>({.depths = {1, 2, 1, 1}, .widths = {4, 6, 5, 8}, .bottleneck = true, .classes = 5}, Key(0)));
}
TEST_CASE("a densely connected network is torchvision's, lean or not") {
    for (const bool lean : {false, true})
        check_network("densenet", vision::DenseNet<double>({.layers = {2, 3}, .growth = 4, .first = 6, .classes = 5, .lean = lean}, Key(0)));
}
TEST_CASE("a VGG network is torchvision's") { check_network("vgg", vision::Vgg<double>({.stages = {1, 2}, .widths = {4, 6}, .classes = 5}, Key(0))); }

TEST_CASE("networks have the published numbers of parameters") {
    CHECK(nn::parameter_count(vision::LeNet<>(Key(0))) == 61706);
    CHECK(nn::parameter_count(vision::SmallCnn<>(Key(0))) == 207018);
    CHECK(nn::parameter_count(vision::resnet(18, Key(0))) == 11689512);
    CHECK(nn::parameter_count(vision::resnet(34, Key(0))) == 21797672);
    CHECK(nn::parameter_count(vision::resnet(50, Key(0))) == 25557032);
    CHECK(nn::parameter_count(vision::densenet(121, Key(0))) == 7978856);
    CHECK(nn::parameter_count(vision::densenet_cifar(40, 12, false, Key(0))) == 1019722);
    CHECK(nn::parameter_count(vision::densenet_cifar(100, 12, true, Key(0))) == 769162);
    CHECK(nn::parameter_count(vision::vgg(16, Key(0), {.batch_norm = false, .imagenet_head = true, .classes = 1000})) == 138357544);
    CHECK_THROWS_AS(vision::resnet(19, Key(0)), ValueError);
    CHECK_THROWS_AS(vision::resnet_cifar(21, Key(0)), ValueError);
    CHECK_THROWS_AS(vision::densenet(122, Key(0)), ValueError);
    CHECK_THROWS_AS(vision::densenet_cifar(41, 12, false, Key(0)), ValueError);
    CHECK_THROWS_AS(vision::vgg(12, Key(0)), ValueError);
}

TEST_CASE("dropout in residual blocks acts in training alone, before the second convolution") {
    const no_grad guard;
    const auto x = randn<float>({2, 3, 8, 8}, Key(1));
    const auto plain = vision::resnet_cifar<float>(8, Key(0)), dropped = vision::resnet_cifar<float>(8, Key(0), 10, 3, 0.5);
    CHECK(nn::parameter_count(plain) == nn::parameter_count(dropped));
    const auto logits = [&](const auto& net, std::uint64_t seed, bool training) {
        const Tensor<float, 2> y = net(x, nn::Context{Key(seed), training});
        return std::vector<float>(y.data(), y.data() + y.size());
    };
    CHECK(logits(plain, 5, false) == logits(dropped, 5, false));
    CHECK(logits(plain, 5, true) != logits(dropped, 5, true));
    CHECK(logits(dropped, 5, true) != logits(dropped, 6, true));
    // All inner values dropped but their batch norm's bias of 0: a block is its shortcut.
    const vision::ResNetOptions options{.depths = {1}, .widths = {4}, .stem = vision::ResNetStem::small, .classes = 3};
    auto gone_options = options;
    gone_options.dropout = 1;
    const vision::ResNet<float> gone(gone_options, Key(2));
    const auto& block = gone.layers[0][0];
    const Tensor<float, 4> in = relu(randn<float>({2, 4, 5, 5}, Key(3))), out = block(in, nn::Context{Key(4), true});
    for (long i = 0; i < in.size(); ++i) REQUIRE(out.data()[i] == in.data()[i]);
}

TEST_CASE("files go to torchvision and come back") {
    const std::string interpreter = python::find("torch, torchvision");
    if (interpreter.empty()) return;
    const files::Folder folder;
    auto net = vision::resnet(18, Key(3), 10);
    const auto x = randn<float>({1, 3, 64, 64}, Key(4));
    const no_grad guard;
    io::save(folder / "ours.safetensors", net);
    io::write_npy(folder / "x.npy", x);
    const auto result = python::run(interpreter, std::string(TENON_TEST_DIR) + "/vision/exchange.py " + folder.path);
    INFO(result.output);
    REQUIRE(result.status == 0);
    // Python has checked ours strictly, and written weights of its own with what they make of x.
    const auto compare = [&](const char* file) {
        const auto expected = io::read_npy<float, 2>(folder / file);
        const auto y = net(x, {Key(0), false});
        for (long i = 0; i < 10; ++i) CHECK(y.data()[i] == Approx(expected.data()[i]).margin(2e-4));
    };
    compare("of_ours.npy");
    io::load(folder / "theirs.safetensors", net);
    compare("of_theirs.npy");
}

// The networks that the arms train.
#pragma once

#include <tenon/nn/dropout.hpp>
#include <tenon/tenon.hpp>
#include <tenon/vision/densenet.hpp>
#include <tenon/vision/resnet.hpp>

#include <string>
#include <variant>

namespace sdr_example {

using namespace tenon;

// 784-512-512-10; dropout, for each example anew, behind both hidden layers.
struct Mlp {
    nn::Linear<float> hidden1, hidden2, out;
    nn::Dropout drop1, drop2;

    Mlp() = default;
    Mlp(double dropout, Key key)
        : hidden1(784, 512, key.split(0)), hidden2(512, 512, key.split(1)), out(512, 10, key.split(2)), drop1(dropout, key.split(3)), drop2(dropout, key.split(4)) {}
    Tensor<float, 2> operator()(const Tensor<float, 4>& x, const nn::Context& context) const {
        const auto h = drop1(relu(hidden1(x.reshape({x.shape(0), 784}))), context);
        return out(drop2(relu(hidden2(h)), context));
    }
    static void visit(auto& self, auto&& f) {
        f("hidden1", self.hidden1);
        f("hidden2", self.hidden2);
        f("out", self.out);
    }
};

// One type for all, so that the training loop is compiled once.
struct Network {
    std::variant<Mlp, vision::DenseNet<>, vision::ResNet<>> net;

    Tensor<float, 2> operator()(const Tensor<float, 4>& x, const nn::Context& context) const {
        return std::visit([&](const auto& n) -> Tensor<float, 2> { return n(x, context); }, net);
    }
    static void visit(auto& self, auto&& f) {
        std::visit([&](auto& n) { std::remove_cvref_t<decltype(n)>::visit(n, f); }, self.net);
    }
};

struct Architecture {
    const char *key, *words;
    long train_images;  // 0: all
    int epochs;
    double lr;
};
inline constexpr Architecture architectures[] = {
    {"mlp", "784-512-512-10, ReLU", 5000, 30, 0.05},
    {"mini-densenet", "DenseNet of 2 blocks of 3 layers, growth 8, stem of stride 2", 6000, 10, 0.1},
    {"resnet8", "ResNet-8", 6000, 10, 0.1},
    {"resnet20", "ResNet-20", 10000, 10, 0.1},
    {"densenet22", "DenseNet-22, growth 12", 10000, 10, 0.1},
    {"densenet40", "DenseNet-40, growth 12", 0, 100, 0.1},
};
inline const Architecture& architecture(const std::string& name) {
    for (const Architecture& a : architectures)
        if (name == a.key) return a;
    fail<ValueError>("--arch: \"", name.c_str(), "\": expected mlp, mini-densenet, resnet8, resnet20, densenet22 or densenet40");
}
inline Network make_network(const Architecture& a, bool colour, double dropout, Key key) {
    const std::string is = a.key;
    const long channels = colour ? 3 : 1;
    if (is.starts_with("resnet")) return {vision::resnet_cifar(is == "resnet8" ? 8 : 20, key, 10, channels, dropout)};
    if (is == "densenet22" || is == "densenet40") return {vision::densenet_cifar(is == "densenet22" ? 22 : 40, 12, false, key, 10, channels, dropout)};
    if (is == "mini-densenet")
        return {vision::DenseNet<>({.layers = {3, 3}, .growth = 8, .first = 16, .bottleneck = false, .compression = 1, .dropout = dropout, .imagenet_stem = false,
                                    .stem_stride = 2, .channels = channels, .classes = 10}, key)};
    if (colour) fail<ValueError>("--arch mlp is for Fashion-MNIST's images: expected another one for CIFAR-10");
    return {Mlp(dropout, key)};
}

}  // namespace sdr_example

// The networks of the comparison, and what each arm trains: data, epochs, optimisers, and the figures to set beside ours.
#pragma once

#include <tenon/tenon.hpp>
#include <tenon/vision/densenet.hpp>
#include <tenon/vision/lenet.hpp>
#include <tenon/vision/resnet.hpp>

#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace adabound_example {

using namespace tenon;

struct Mlp {
    nn::Linear<float> hidden1, hidden2, out;

    Mlp() = default;
    explicit Mlp(Key key) : hidden1(784, 256, key.split(0)), hidden2(256, 128, key.split(1)), out(128, 10, key.split(2)) {}
    Tensor<float, 2> operator()(const Tensor<float, 4>& x) const { return out(relu(hidden2(relu(hidden1(x.reshape({x.shape(0), 784})))))); }
    static void visit(auto& self, auto&& f) {
        f("hidden1", self.hidden1);
        f("hidden2", self.hidden2);
        f("out", self.out);
    }
};

// One type for all, so that the training loop is compiled once per optimiser.
struct Network {
    std::variant<Mlp, vision::LeNet<>, vision::SmallCnn<>, vision::ResNet<>, vision::DenseNet<>> net;

    Tensor<float, 2> operator()(const Tensor<float, 4>& x, const nn::Context& context) const {
        return std::visit([&](const auto& n) -> Tensor<float, 2> {
            if constexpr (requires { n(x, context); }) return n(x, context);
            else return n(x);
        }, net);
    }
    static void visit(auto& self, auto&& f) {
        std::visit([&](auto& n) { std::remove_cvref_t<decltype(n)>::visit(n, f); }, self.net);
    }
};

// Test accuracy in per cent at the end.
struct Reference {
    const char* optimiser;
    double accuracy;
};
// Authors' stored curves: CIFAR-10, augmented, weight decay 5e-4, 200 epochs, one run.
inline const std::vector<Reference> paper_resnet34 = {{"sgd", 92.64}, {"adagrad", 92.66}, {"adam", 92.27}, {"amsgrad", 93.18}, {"adabound", 94.86}, {"amsbound", 94.82}};
inline const std::vector<Reference> paper_densenet121 = {{"sgd", 92.99}, {"adagrad", 91.88}, {"adam", 93.01}, {"amsgrad", 93.35}, {"adabound", 94.83}, {"amsbound", 95.10}};
// The same protocol in PyTorch: 20,000 images, 10 epochs, rate x 0.1 after 7; mean of seeds 0 and 1 where both were run.
inline const std::vector<Reference> pytorch_small = {{"sgd", 90.53}, {"sgd_half", 90.43}, {"sgd_tenth", 89.87}, {"csgd", 89.52}, {"adam", 90.17}, {"amsgrad", 89.66},
                                                     {"adabound", 89.81}, {"amsbound", 89.65}, {"adabound_2", 89.71}, {"adabound_1", 89.57}};

struct Arm {
    const char* key;
    std::string network;      // in words
    long train_images;        // the first ones; 0: all
    int epochs;
    double drop_at;           // part of the steps after which the rate drops
    bool colour = false;      // CIFAR-10 rather than Fashion-MNIST
    const char* reference_name = "paper, last";
    std::string reference_note = {};
    std::vector<Reference> reference = {};
    std::vector<std::string> optimisers = {};

    Network make(Key own) const {
        const std::string_view is = key_view();
        const long channels = colour ? 3 : 1;
        if (is == "mlp") return {Mlp(own)};
        if (is == "lenet") return {vision::LeNet<>(own)};
        if (is == "small") return {vision::SmallCnn<>(own)};
        if (is == "resnet20") return {vision::resnet_cifar(20, own, 10, channels)};
        if (is == "resnet34") return {vision::resnet(34, own, 10, channels, vision::ResNetStem::small)};
        if (is == "densenet22") return {vision::densenet_cifar(22, 12, false, own, 10, channels)};
        // The authors' DenseNet-121 for images of 32 pixels: 3x3 first, 24 channels, growth 12.
        return {vision::DenseNet<>({.growth = 12, .first = 24, .imagenet_stem = false, .channels = channels, .classes = 10}, own)};
    }
    std::string_view key_view() const { return key; }
};

inline std::vector<Arm> all_arms(bool full, bool colour) {
    const std::vector<std::string> six = {"sgd", "sgd_tenth", "adam", "amsgrad", "adabound", "amsbound"}, four = {"sgd", "sgd_tenth", "adam", "adabound"};
    const std::vector<std::string> seven = {"sgd", "sgd_tenth", "adagrad", "adam", "amsgrad", "adabound", "amsbound"};
    const std::string resnet = "paper: the authors' stored curves of ResNet-34 on CIFAR-10 (augmented, weight decay 5e-4, epoch 200, one run).\n"
                               "Another task, and a larger network and more epochs than here: its order can be compared, its numbers cannot.\n";
    const std::string densenet = "paper: the authors' stored curves of DenseNet-121 on CIFAR-10 (augmented, weight decay 5e-4, epoch 200, one run).\n"
                                 "Another task, and a larger network and more epochs than here: its order can be compared, its numbers cannot.\n";
    const std::string small = "PyTorch: the same network, images and protocol, the mean of seeds 0 and 1 for SGD 0.05 and 0.01, Adam and AdaBound, else seed 0.\n";
    std::vector<Arm> arms;
    if (full) {
        arms = {{"resnet34", "ResNet-34", 0, 200, 0.75, colour, "paper, last", resnet, paper_resnet34, seven},
                {"densenet121", "DenseNet-121, growth 12", 0, 200, 0.75, colour, "paper, last", densenet, paper_densenet121, seven}};
    } else {
        arms = {{"mlp", "784-256-128-10, ReLU", 0, 10, 0.75, false, "paper, last", resnet, paper_resnet34, six},
                {"lenet", "LeNet-5", 0, 10, 0.75, false, "paper, last", resnet, paper_resnet34, four},
                {"resnet20", "ResNet-20", 10000, 4, 0.75, colour, "paper, last", resnet, paper_resnet34, four},
                {"densenet22", "DenseNet-22, growth 12", 10000, 4, 0.75, colour, "paper, last", densenet, paper_densenet121, four},
                {"small", "2 convolutions with batch norm, 128 hidden units", 20000, 10, 0.7, false, "PyTorch, last", small, pytorch_small,
                 {"sgd", "sgd_half", "sgd_tenth", "csgd", "adam", "amsgrad", "adabound", "amsbound", "adabound_2", "adabound_1"}}};
    }
    if (colour) std::erase_if(arms, [](const Arm& arm) { return !arm.colour; });
    return arms;
}

}  // namespace adabound_example

// Residual networks (He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016), with torchvision's
// names: weights written by PyTorch load by name, and the other way round.
#pragma once

#include <tenon/nn/conv_norm.hpp>
#include <tenon/nn/dropout.hpp>
#include <tenon/nn/linear.hpp>
#include <tenon/ops/pool.hpp>
#include <tenon/ops/reduce.hpp>

#include <vector>

namespace tenon::vision {

enum class ResNetStem {
    imagenet,  // 7x7 convolution of stride 2, batch norm, relu, 3x3 max pooling of stride 2
    small      // 3x3 convolution, batch norm, relu: for images of about 32 x 32 pixels
};

struct ResNetOptions {
    std::vector<int> depths = {2, 2, 2, 2};            // blocks of each stage; every stage but the first halves the image
    std::vector<long> widths = {64, 128, 256, 512};    // channels of each stage (of a bottleneck's inner convolutions)
    bool bottleneck = false;                           // 1x1, 3x3, 1x1 with four times the channels behind, instead of 3x3, 3x3
    ResNetStem stem = ResNetStem::imagenet;
    long channels = 3, classes = 1000;
    double dropout = 0;                                // before the second convolution of every block (Zagoruyko and Komodakis 2016)
    bool zero_init_residual = false;                   // the last batch norm of every block starts at 0: blocks start as identity
};

namespace impl_resnet {

// Convolutions of a residual network: no bias, He's initialisation over the outputs (kaiming_normal, fan out), as torchvision.
template <class T>
nn::Conv2d<T, false> convolution(long in, long out, long kernel, long stride, Key key) {
    nn::Conv2d<T, false> conv(in, out, kernel, key, {.stride = stride, .padding = kernel / 2});
    nn::init::normal(conv.weight, key, 0, __builtin_sqrt(2 / static_cast<double>(out * kernel * kernel)));
    return conv;
}

template <class T>
struct Downsample {
    nn::Conv2d<T, false> conv;
    nn::BatchNorm2d<T> norm;
    static void visit(auto& self, auto&& f) {
        f("0", self.conv);
        f("1", self.norm);
    }
};

template <class T>
struct Block {
    nn::Conv2d<T, false> conv1, conv2, conv3;
    nn::BatchNorm2d<T> bn1, bn2, bn3;
    Downsample<T> downsample;
    nn::Dropout dropout;
    bool bottleneck = false, has_downsample = false;

    Block(long in, long width, long stride, const ResNetOptions& options, Key key) : dropout(options.dropout, key.split(4)), bottleneck(options.bottleneck) {
        const long out = bottleneck ? 4 * width : width;
        // The stride sits in the 3x3 convolution, as in torchvision.
        conv1 = bottleneck ? convolution<T>(in, width, 1, 1, key.split(0)) : convolution<T>(in, width, 3, stride, key.split(0));
        conv2 = convolution<T>(width, width, 3, bottleneck ? stride : 1, key.split(1));
        bn1 = nn::BatchNorm2d<T>(width), bn2 = nn::BatchNorm2d<T>(width);
        if (bottleneck) conv3 = convolution<T>(width, out, 1, 1, key.split(2)), bn3 = nn::BatchNorm2d<T>(out);
        if (options.zero_init_residual) nn::init::constant((bottleneck ? bn3 : bn2).weight, 0);
        has_downsample = stride != 1 || in != out;
        if (has_downsample) downsample = {convolution<T>(in, out, 1, stride, key.split(3)), nn::BatchNorm2d<T>(out)};
    }
    Tensor<T, 4> operator()(const Tensor<T, 4>& x, const nn::Context& context) const {
        const Tensor<T, 4> shortcut = has_downsample ? nn::conv_norm(downsample.conv, downsample.norm, x, context) : x;
        Tensor<T, 4> y = nn::conv_norm_relu(conv1, bn1, x, context);
        if (dropout.p > 0) y = dropout(y, context);
        y = nn::conv_norm(conv2, bn2, y, context, bottleneck);
        if (bottleneck) y = nn::conv_norm(conv3, bn3, y, context);
        return relu(y + shortcut);
    }
    static void visit(auto& self, auto&& f) {
        f("conv1", self.conv1);
        f("bn1", self.bn1);
        f("conv2", self.conv2);
        f("bn2", self.bn2);
        if (self.bottleneck) {
            f("conv3", self.conv3);
            f("bn3", self.bn3);
        }
        if (self.has_downsample) f("downsample", self.downsample);
    }
};

}  // namespace impl_resnet

// net(x, context) maps [n, channels, h, w] to logits [n, classes]; features(x, context) gives the last stage [n, c, h', w'].
// Copies share parameters and running statistics. Throws ValueError where depths and widths do not fit.
template <class T = float>
struct ResNet {
    using Stage = std::vector<impl_resnet::Block<T>>;
    nn::Conv2d<T, false> conv1;
    nn::BatchNorm2d<T> bn1;
    std::vector<Stage> layers;
    nn::Linear<T> fc;
    ResNetStem stem = ResNetStem::imagenet;

    ResNet() = default;
    explicit ResNet(const ResNetOptions& options, Key key) : stem(options.stem) {
        if (options.depths.empty() || options.depths.size() != options.widths.size() || options.depths.size() > 9)
            fail<ValueError>("ResNet: ", options.depths.size(), " depths and ", options.widths.size(), " widths: expected as many, 1 to 9");
        long in = options.widths[0];
        conv1 = stem == ResNetStem::imagenet ? impl_resnet::convolution<T>(options.channels, in, 7, 2, key.split(0)) : impl_resnet::convolution<T>(options.channels, in, 3, 1, key.split(0));
        bn1 = nn::BatchNorm2d<T>(in);
        for (std::size_t stage = 0; stage < options.depths.size(); ++stage) {
            if (options.depths[stage] < 1 || options.widths[stage] < 1)
                fail<ValueError>("ResNet: stage ", stage, " of ", options.depths[stage], " blocks and ", options.widths[stage], " channels: expected at least 1 each");
            const Key own = key.split(2 + stage);
            Stage blocks;
            for (int k = 0; k < options.depths[stage]; ++k) {
                blocks.emplace_back(in, options.widths[stage], k == 0 && stage > 0 ? 2 : 1, options, own.split(static_cast<std::uint64_t>(k)));
                in = options.bottleneck ? 4 * options.widths[stage] : options.widths[stage];
            }
            layers.push_back(static_cast<Stage&&>(blocks));
        }
        fc = nn::Linear<T>(in, options.classes, key.split(1));
    }
    Tensor<T, 4> features(const Tensor<T, 4>& x, const nn::Context& context) const {
        Tensor<T, 4> y = nn::conv_norm_relu(conv1, bn1, x, context);
        if (stem == ResNetStem::imagenet) y = max_pool2d(y, 3, {.stride = 2, .padding = 1});
        for (const Stage& stage : layers)
            for (const auto& block : stage) y = block(y, context);
        return y;
    }
    Tensor<T, 2> operator()(const Tensor<T, 4>& x, const nn::Context& context) const { return fc(mean<2, 3>(features(x, context))); }
    static void visit(auto& self, auto&& f) {
        f("conv1", self.conv1);
        f("bn1", self.bn1);
        char name[] = "layer1";
        for (auto& stage : self.layers) {
            f(name, stage);
            ++name[5];
        }
        f("fc", self.fc);
    }
};

// The forms of the paper for ImageNet: 18 and 34 of basic blocks, 50, 101 and 152 of bottlenecks. Throws ValueError for another depth.
template <class T = float>
ResNet<T> resnet(int depth, Key key, long classes = 1000, long channels = 3, ResNetStem stem = ResNetStem::imagenet) {
    ResNetOptions options{.bottleneck = depth >= 50, .stem = stem, .channels = channels, .classes = classes};
    switch (depth) {
    case 18: options.depths = {2, 2, 2, 2}; break;
    case 34:
    case 50: options.depths = {3, 4, 6, 3}; break;
    case 101: options.depths = {3, 4, 23, 3}; break;
    case 152: options.depths = {3, 8, 36, 3}; break;
    default: fail<ValueError>("resnet: depth ", depth, ": expected 18, 34, 50, 101 or 152");
    }
    return ResNet<T>(options, key);
}

// The forms of the paper's section 4.2 for CIFAR: depth = 6 n + 2 (20, 32, 44, 56, 110), stages of 16, 32 and 64 channels. Where a
// stage widens, a 1x1 convolution joins it to the one before (the paper's option B). Throws ValueError for another depth.
template <class T = float>
ResNet<T> resnet_cifar(int depth, Key key, long classes = 10, long channels = 3, double dropout = 0) {
    const int n = (depth - 2) / 6;
    if (n < 1 || 6 * n + 2 != depth) fail<ValueError>("resnet_cifar: depth ", depth, ": expected 6 n + 2: 20, 32, 44, 56, 110, ...");
    return ResNet<T>({.depths = {n, n, n}, .widths = {16, 32, 64}, .stem = ResNetStem::small, .channels = channels, .classes = classes, .dropout = dropout}, key);
}

}  // namespace tenon::vision

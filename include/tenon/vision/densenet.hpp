// Densely connected networks (Huang, Liu, van der Maaten, Weinberger, CVPR 2017), with torchvision's names.
#pragma once

#include <tenon/autograd/checkpoint.hpp>
#include <tenon/nn/conv_norm.hpp>
#include <tenon/nn/dropout.hpp>
#include <tenon/nn/linear.hpp>
#include <tenon/ops/concat.hpp>
#include <tenon/ops/pool.hpp>
#include <tenon/ops/reduce.hpp>

#include <memory>
#include <vector>

namespace tenon::vision {

struct DenseNetOptions {
    std::vector<int> layers = {6, 12, 24, 16};  // of each dense block
    long growth = 32;                           // channels that a layer adds
    long first = 64;                            // channels of the first convolution
    bool bottleneck = true;                     // a 1x1 convolution to 4 x growth channels before each 3x3 (the B of BC)
    double compression = 0.5;                   // channels that a transition keeps (the C of BC: below 1)
    double dropout = 0;                         // after every 3x3 convolution
    bool imagenet_stem = true;                  // 7x7 of stride 2 and pooling; otherwise 3x3
    long stem_stride = 1;                       // of the 3x3
    long channels = 3, classes = 1000;
    bool lean = false;  // the concatenated and normalised inputs are computed again in the backward pass: memory grows linearly with depth, not as its square
};

namespace impl_densenet {

template <class T>
nn::Conv2d<T, false> convolution(long in, long out, long kernel, long stride, Key key) {
    nn::Conv2d<T, false> conv(in, out, kernel, key, {.stride = stride, .padding = kernel / 2});
    nn::init::kaiming_normal(conv.weight, key);
    return conv;
}

template <class T>
struct DenseLayer {
    nn::BatchNorm2d<T> norm1, norm2;
    nn::Conv2d<T, false> conv1, conv2;
    nn::Dropout dropout;
    bool bottleneck = true, lean = false;

    DenseLayer(long in, const DenseNetOptions& options, Key key) : norm1(in), dropout(options.dropout, key.split(2)), bottleneck(options.bottleneck), lean(options.lean) {
        if (bottleneck) {
            conv1 = convolution<T>(in, 4 * options.growth, 1, 1, key.split(0));
            norm2 = nn::BatchNorm2d<T>(4 * options.growth);
            conv2 = convolution<T>(4 * options.growth, options.growth, 3, 1, key.split(1));
        } else {
            conv1 = convolution<T>(in, options.growth, 3, 1, key.split(0));
        }
    }
    Tensor<T, 4> operator()(const std::vector<Tensor<T, 4>>& before, const nn::Context& context) const {
        Tensor<T, 4> y;
        if (lean && context.training) {
            const auto again = std::make_shared<bool>(false);
            y = checkpoint([layer = *this, before, context, again](const Tensor<T, 4>&) {
                // Running statistics move in the forward pass, not once more in the backward pass.
                nn::BatchNorm2d<T> norm = layer.norm1;
                if (*again) norm.running_mean = norm.running_var = {};
                *again = true;
                return Tensor<T, 4>(layer.conv1(Tensor<T, 4>(norm.relu(concat<1>(before), context))));
            }, before[0]);
        } else {
            const Tensor<T, 4> in = norm1.relu(concat<1>(before), context);
            y = bottleneck ? nn::conv_norm_relu(conv1, norm2, in, context) : conv1(in);
        }
        if (bottleneck) y = conv2(lean && context.training ? Tensor<T, 4>(norm2.relu(y, context)) : y);
        return dropout.p > 0 ? Tensor<T, 4>(dropout(y, context)) : y;
    }
    static void visit(auto& self, auto&& f) {
        f("norm1", self.norm1);
        f("conv1", self.conv1);
        if (self.bottleneck) {
            f("norm2", self.norm2);
            f("conv2", self.conv2);
        }
    }
};
template <class T>
struct DenseBlock {
    std::vector<DenseLayer<T>> layers;
    static void visit(auto& self, auto&& f) {
        int k = 0;
        for (auto& layer : self.layers) {
            Message name;
            name << "denselayer" << ++k;
            f(name.text(), layer);
        }
    }
};
template <class T>
struct Transition {
    nn::BatchNorm2d<T> norm;
    nn::Conv2d<T, false> conv;
    static void visit(auto& self, auto&& f) {
        f("norm", self.norm);
        f("conv", self.conv);
    }
};
template <class T>
struct Features {
    nn::Conv2d<T, false> conv0;
    nn::BatchNorm2d<T> norm0, last;
    std::vector<DenseBlock<T>> blocks;
    std::vector<Transition<T>> transitions;
    bool imagenet_stem = true;
    static void visit(auto& self, auto&& f) {
        f("conv0", self.conv0);
        if (self.imagenet_stem) f("norm0", self.norm0);
        char block[] = "denseblock1", transition[] = "transition1";
        for (std::size_t k = 0; k < self.blocks.size(); ++k, ++block[10], ++transition[10]) {
            f(block, self.blocks[k]);
            if (k < self.transitions.size()) f(transition, self.transitions[k]);
        }
        f("norm5", self.last);  // so called in torchvision for any number of blocks
    }
};

}  // namespace impl_densenet

// net(x, context) maps [n, channels, h, w] to logits [n, classes]. Throws ValueError for options out of range.
template <class T = float>
struct DenseNet {
    impl_densenet::Features<T> features;
    nn::Linear<T> classifier;

    DenseNet() = default;
    explicit DenseNet(const DenseNetOptions& options, Key key) {
        if (options.layers.empty() || options.layers.size() > 8 || options.growth < 1 || options.first < 1 || !(options.compression > 0 && options.compression <= 1))
            fail<ValueError>("DenseNet: ", options.layers.size(), " blocks, growth ", options.growth, ", first ", options.first, ", compression ", options.compression,
                             ": expected 1 to 8 blocks, at least 1 channel, 0 < compression <= 1");
        features.imagenet_stem = options.imagenet_stem;
        features.conv0 = options.imagenet_stem ? impl_densenet::convolution<T>(options.channels, options.first, 7, 2, key.split(0))
                                               : impl_densenet::convolution<T>(options.channels, options.first, 3, options.stem_stride, key.split(0));
        if (options.imagenet_stem) features.norm0 = nn::BatchNorm2d<T>(options.first);
        long in = options.first;
        for (std::size_t b = 0; b < options.layers.size(); ++b) {
            const Key own = key.split(2 + b);
            impl_densenet::DenseBlock<T> block;
            for (int k = 0; k < options.layers[b]; ++k, in += options.growth) block.layers.emplace_back(in, options, own.split(static_cast<std::uint64_t>(k)));
            features.blocks.push_back(static_cast<impl_densenet::DenseBlock<T>&&>(block));
            if (b + 1 == options.layers.size()) break;
            const long out = static_cast<long>(static_cast<double>(in) * options.compression);
            features.transitions.push_back({nn::BatchNorm2d<T>(in), impl_densenet::convolution<T>(in, out, 1, 1, own.split(1000))});
            in = out;
        }
        features.last = nn::BatchNorm2d<T>(in);
        classifier = nn::Linear<T>(in, options.classes, key.split(1));
    }
    Tensor<T, 2> operator()(const Tensor<T, 4>& x, const nn::Context& context) const {
        Tensor<T, 4> y = features.imagenet_stem ? max_pool2d(nn::conv_norm_relu(features.conv0, features.norm0, x, context), 3, {.stride = 2, .padding = 1})
                                                : features.conv0(x);
        std::uint64_t tag = 0;
        for (std::size_t b = 0; b < features.blocks.size(); ++b) {
            std::vector<Tensor<T, 4>> parts{y};
            for (const auto& layer : features.blocks[b].layers) parts.push_back(layer(parts, context.split(tag++)));
            y = concat<1>(parts);
            if (b < features.transitions.size())
                y = avg_pool2d(Tensor<T, 4>(features.transitions[b].conv(Tensor<T, 4>(features.transitions[b].norm.relu(y, context)))), 2);
        }
        return classifier(mean<2, 3>(features.last.relu(y, context)));
    }
    static void visit(auto& self, auto&& f) {
        f("features", self.features);
        f("classifier", self.classifier);
    }
};

// The forms for ImageNet: 121, 169, 201 and 161. Throws ValueError for another depth.
template <class T = float>
DenseNet<T> densenet(int depth, Key key, long classes = 1000, long channels = 3) {
    DenseNetOptions options{.channels = channels, .classes = classes};
    switch (depth) {
    case 121: break;
    case 169: options.layers = {6, 12, 32, 32}; break;
    case 201: options.layers = {6, 12, 48, 32}; break;
    case 161: options.layers = {6, 12, 36, 24}, options.growth = 48, options.first = 96; break;
    default: fail<ValueError>("densenet: depth ", depth, ": expected 121, 161, 169 or 201");
    }
    return DenseNet<T>(options, key);
}

// The paper's forms for CIFAR: three blocks of (depth - 4) / 3 layers, plain (DenseNet-40, growth 12: 16 channels first), or BC
// (layers of two convolutions, compression 0.5, 2 x growth channels first). Throws ValueError where the depth does not fit.
template <class T = float>
DenseNet<T> densenet_cifar(int depth, long growth, bool bc, Key key, long classes = 10, long channels = 3, double dropout = 0, bool lean = false) {
    const int n = (depth - 4) / (bc ? 6 : 3);
    if (n < 1 || n * (bc ? 6 : 3) + 4 != depth) fail<ValueError>("densenet_cifar: depth ", depth, ": expected ", bc ? "6 n + 4" : "3 n + 4", " (40, 100, ...)");
    return DenseNet<T>({.layers = {n, n, n}, .growth = growth, .first = bc ? 2 * growth : 16, .bottleneck = bc, .compression = bc ? 0.5 : 1.0, .dropout = dropout,
                        .imagenet_stem = false, .channels = channels, .classes = classes, .lean = lean}, key);
}

}  // namespace tenon::vision

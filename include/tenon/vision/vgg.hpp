// VGG networks (Simonyan and Zisserman, ICLR 2015), with torchvision's names ("features.0", "classifier.0", ...).
#pragma once

#include <tenon/nn/conv_norm.hpp>
#include <tenon/nn/dropout.hpp>
#include <tenon/nn/linear.hpp>
#include <tenon/ops/pool.hpp>
#include <tenon/ops/reduce.hpp>

#include <vector>

namespace tenon::vision {

struct VggOptions {
    std::vector<int> stages = {2, 2, 3, 3, 3};  // convolutions before each 2x2 max pooling: VGG-16
    std::vector<long> widths = {64, 128, 256, 512, 512};
    bool batch_norm = true;
    bool imagenet_head = false;  // 7x7 average pooling and three linear layers of 4096 with dropout; otherwise one linear layer behind the mean of each channel
    long channels = 3, classes = 10;
};

// net(x, context) maps [n, channels, h, w] to logits [n, classes]. Throws ValueError where stages and widths do not fit.
template <class T = float>
struct Vgg {
    std::vector<nn::Conv2d<T>> convolutions;
    std::vector<nn::BatchNorm2d<T>> norms;
    std::vector<nn::Linear<T>> linears;
    nn::Dropout dropout1, dropout2;
    VggOptions options;

    Vgg() = default;
    explicit Vgg(const VggOptions& given, Key key) : dropout1(0.5, key.split(0)), dropout2(0.5, key.split(1)), options(given) {
        if (options.stages.empty() || options.stages.size() != options.widths.size())
            fail<ValueError>("Vgg: ", options.stages.size(), " stages and ", options.widths.size(), " widths: expected as many, at least 1");
        long in = options.channels;
        std::uint64_t at = 2;
        for (std::size_t s = 0; s < options.stages.size(); ++s)
            for (int k = 0; k < options.stages[s]; ++k, in = options.widths[s]) {
                const Key own = key.split(at++);
                convolutions.emplace_back(in, options.widths[s], 3, own, ConvOptions<2>{.padding = 1});
                nn::init::normal(convolutions.back().weight, own, 0, __builtin_sqrt(2 / static_cast<double>(options.widths[s] * 9)));
                nn::init::constant(convolutions.back().bias, 0);
                if (options.batch_norm) norms.emplace_back(options.widths[s]);
            }
        const std::vector<long> sizes = options.imagenet_head ? std::vector<long>{in * 49, 4096, 4096, options.classes} : std::vector<long>{in, options.classes};
        for (std::size_t k = 1; k < sizes.size(); ++k) linears.emplace_back(sizes[k - 1], sizes[k], key.split(at++));
    }
    Tensor<T, 2> operator()(const Tensor<T, 4>& x, const nn::Context& context) const {
        Tensor<T, 4> y = x;
        std::size_t at = 0;
        for (int count : options.stages) {
            for (int k = 0; k < count; ++k, ++at)
                y = options.batch_norm ? nn::conv_norm_relu(convolutions[at], norms[at], y, context) : Tensor<T, 4>(relu(convolutions[at](y)));
            y = max_pool2d(y, 2);
        }
        if (!options.imagenet_head) return linears[0](mean<2, 3>(y));
        const Tensor<T, 4> pooled = adaptive_avg_pool2d(y, {7, 7});
        Tensor<T, 2> z = relu(linears[0](pooled.reshape({pooled.shape(0), -1})));
        z = relu(linears[1](dropout1(z, context)));
        return linears[2](dropout2(z, context));
    }
    // torchvision's numbers: a convolution, its batch norm and relu count one each, a pooling one.
    static void visit(auto& self, auto&& f) {
        std::size_t at = 0;
        int number = 0;
        for (int count : self.options.stages) {
            for (int k = 0; k < count; ++k, ++at) {
                Message conv;
                conv << "features." << number;
                f(conv.text(), self.convolutions[at]);
                if (self.options.batch_norm) {
                    Message norm;
                    norm << "features." << number + 1;
                    f(norm.text(), self.norms[at]);
                }
                number += self.options.batch_norm ? 3 : 2;
            }
            ++number;
        }
        for (std::size_t k = 0; k < self.linears.size(); ++k) {
            Message name;
            name << "classifier." << 3 * k;
            f(name.text(), self.linears[k]);
        }
    }
};

// VGG-11, 13, 16 and 19. Throws ValueError for another depth.
template <class T = float>
Vgg<T> vgg(int depth, Key key, VggOptions options = {}) {
    switch (depth) {
    case 11: options.stages = {1, 1, 2, 2, 2}; break;
    case 13: options.stages = {2, 2, 2, 2, 2}; break;
    case 16: options.stages = {2, 2, 3, 3, 3}; break;
    case 19: options.stages = {2, 2, 4, 4, 4}; break;
    default: fail<ValueError>("vgg: depth ", depth, ": expected 11, 13, 16 or 19");
    }
    return Vgg<T>(options, key);
}

}  // namespace tenon::vision

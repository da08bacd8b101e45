// LeNet-5 and a small batch-normalised network, for images of 28 x 28 pixels such as MNIST's.
#pragma once

#include <tenon/nn/conv_norm.hpp>
#include <tenon/nn/linear.hpp>
#include <tenon/ops/pool.hpp>

namespace tenon::vision {

// LeNet-5 (LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document recognition", 1998) in the form in
// use since: relu, max pooling, logits at the end. net(x) maps [n, channels, 28, 28] to [n, classes]; 61,706 parameters for 1
// and 10. Throws ShapeError for other images.
template <class T = float>
struct LeNet {
    nn::Conv2d<T> conv1, conv2;
    nn::Linear<T> fc1, fc2, fc3;

    LeNet() = default;
    explicit LeNet(Key key, long channels = 1, long classes = 10)
        : conv1(channels, 6, 5, key.split(0), {.padding = 2}), conv2(6, 16, 5, key.split(1)), fc1(400, 120, key.split(2)), fc2(120, 84, key.split(3)),
          fc3(84, classes, key.split(4)) {}
    Tensor<T, 2> operator()(const Tensor<T, 4>& x) const {
        // relu and the largest element commute, derivatives too: relu has a quarter to do.
        const Tensor<T, 4> a = relu(max_pool2d(conv1(x), 2)), b = relu(max_pool2d(conv2(a), 2));
        return fc3(relu(fc2(relu(fc1(b.reshape({b.shape(0), 400}))))));
    }
    static void visit(auto& self, auto&& f) {
        f("conv1", self.conv1);
        f("conv2", self.conv2);
        f("fc1", self.fc1);
        f("fc2", self.fc2);
        f("fc3", self.fc3);
    }
};

// conv 3x3 (16), batch norm, relu, pool; conv 3x3 (32), batch norm, relu, pool; 128 hidden units: 207,018 parameters for 1
// channel and 10 classes. net(x, context) maps [n, channels, 28, 28] to [n, classes].
template <class T = float>
struct SmallCnn {
    nn::Conv2d<T> conv1, conv2;
    nn::BatchNorm2d<T> bn1, bn2;
    nn::Linear<T> fc1, fc2;

    SmallCnn() = default;
    explicit SmallCnn(Key key, long channels = 1, long classes = 10)
        : conv1(channels, 16, 3, key.split(0), {.padding = 1}), conv2(16, 32, 3, key.split(1), {.padding = 1}), bn1(16), bn2(32), fc1(1568, 128, key.split(2)),
          fc2(128, classes, key.split(3)) {}
    Tensor<T, 2> operator()(const Tensor<T, 4>& x, const nn::Context& context) const {
        const Tensor<T, 4> a = max_pool2d(nn::conv_norm_relu(conv1, bn1, x, context), 2), b = max_pool2d(nn::conv_norm_relu(conv2, bn2, a, context), 2);
        return fc2(relu(fc1(b.reshape({b.shape(0), 1568}))));
    }
    static void visit(auto& self, auto&& f) {
        f("conv1", self.conv1);
        f("bn1", self.bn1);
        f("conv2", self.conv2);
        f("bn2", self.bn2);
        f("fc1", self.fc1);
        f("fc2", self.fc2);
    }
};

}  // namespace tenon::vision

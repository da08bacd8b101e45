// A convolution and its batch norm as one pass.
#include <tenon/tenon.hpp>
#include <tenon/testing/close.hpp>
#include <tenon/vision/densenet.hpp>
#include <tenon/vision/lenet.hpp>
#include <tenon/vision/resnet.hpp>

#include <catch2/catch.hpp>

#include <cmath>

using namespace tenon;

namespace {

template <class T>
nn::BatchNorm<T> trained_norm(long channels, bool affine = true) {
    nn::BatchNorm<T> norm(channels, {.affine = affine});
    norm.running_mean = randn<T>({channels}, Key{11});
    norm.running_var = uniform<T>({channels}, Key{12}, {0.3, 2});
    if (affine) {
        norm.weight = randn<T>({channels}, Key{13});
        norm.bias = randn<T>({channels}, Key{14});
    }
    return norm;
}

// The largest difference between one pass and two, in inference.
template <int D, bool Bias, class T>
double difference(const nn::Conv<T, D, Bias>& conv, const Tensor<T, D + 2>& x, bool affine, bool relu) {
    const no_grad inference;
    const nn::BatchNorm<T> norm = trained_norm<T>(conv.weight.shape(0), affine);
    const nn::Context context{.key = Key{3}, .training = false};
    const auto one = nn::conv_norm(conv, norm, x, context, relu);
    const auto two = relu ? Tensor<T, D + 2>(norm.relu(conv(x), context)) : Tensor<T, D + 2>(norm(conv(x), context));
    REQUIRE(one.shape() == two.shape());
    return static_cast<double>(max(abs(one - two)).item() / max(abs(two)).item());
}

}  // namespace

TEST_CASE("a convolution and its batch norm: one pass in inference gives what two give") {
    for (const bool relu : {false, true})
        for (const bool affine : {false, true}) {
            CAPTURE(relu, affine);
            const auto x = randn<double>({2, 6, 11, 9}, Key{1});
            CHECK(difference<2, true>(nn::Conv2d<double>(6, 8, 3, Key{2}, {.padding = 1}), x, affine, relu) < 1e-13);
            CHECK(difference<2, false>(nn::Conv2d<double, false>(6, 8, 1, Key{2}), x, affine, relu) < 1e-13);
            CHECK(difference<2, true>(nn::Conv2d<double>(6, 8, 3, Key{2}, {.stride = 2, .padding = 1, .groups = 2, .padding_mode = PadMode::reflect}), x, affine, relu) < 1e-13);
            CHECK(difference<2, true>(nn::Conv2d<double>(6, 6, 3, Key{2}, {.groups = 6}), channels_last(x), affine, relu) < 1e-13);
            CHECK(difference<1, true>(nn::Conv1d<double>(3, 5, 3, Key{2}), randn<double>({2, 3, 17}, Key{3}), affine, relu) < 1e-13);
            CHECK(difference<3, true>(nn::Conv3d<double>(3, 5, 2, Key{2}), randn<double>({2, 3, 5, 4, 6}, Key{3}), affine, relu) < 1e-13);
            // Winograd, planes and rows of the product, in float.
            const auto images = randn<float>({2, 64, 14, 14}, Key{4});
            CHECK(difference<2, false>(nn::Conv2d<float, false>(64, 64, 3, Key{5}, {.padding = 1}), images, affine, relu) < 1e-5);
            CHECK(difference<2, false>(nn::Conv2d<float, false>(64, 64, 3, Key{5}, {.padding = 1}), channels_last(images), affine, relu) < 1e-5);
            CHECK(difference<2, true>(nn::Conv2d<float>(64, 32, 1, Key{5}), images, affine, relu) < 1e-5);
            CHECK(difference<2, true>(nn::Conv2d<float>(64, 32, 3, Key{5}, {.stride = 2}), images, affine, relu) < 1e-5);
        }
}

TEST_CASE("a convolution and its batch norm in training: two passes, gradients and running statistics as ever") {
    const nn::Conv2d<double> conv(3, 4, 3, Key{1}, {.padding = 1});
    nn::BatchNorm<double> norm(4), other(4);
    const auto x = randn<double>({2, 3, 5, 5}, Key{2});
    const auto a = nn::conv_norm_relu(conv, norm, x, nn::Context{.key = Key{3}, .training = true});
    const auto b = Tensor<double, 4>(other.relu(conv(x), nn::Context{.key = Key{3}, .training = true}));
    CHECK(max(abs(a - b)).item() == 0);
    CHECK(max(abs(norm.running_mean - other.running_mean)).item() == 0);
    sum(square(a)).backward();
    CHECK(max(abs(conv.weight.grad())).item() > 0);
    // Inference of weights that want gradients is recorded, too.
    CHECK(nn::conv_norm(conv, norm, x, nn::Context{.key = Key{3}, .training = false}).requires_grad());
}

TEST_CASE("networks for inference give the same logits with gradients and without") {
    const nn::Context inference{.key = Key{3}, .training = false};
    const auto both = [&](const auto& net, const Tensor<float, 4>& x) {
        const auto recorded = net(x, inference);
        const no_grad off;
        const auto plain = net(x, inference);
        CHECK(max(abs(recorded - plain)).item() <= 1e-4f * max(abs(recorded)).item());
    };
    both(vision::resnet<float>(50, Key{1}, 10, 3, vision::ResNetStem::small), randn<float>({1, 3, 16, 16}, Key{2}));
    both(vision::densenet_cifar<float>(22, 6, true, Key{1}), randn<float>({2, 3, 16, 16}, Key{2}));
    both(vision::SmallCnn<float>(Key{1}), randn<float>({2, 1, 28, 28}, Key{2}));
}

TEST_CASE("what a scale and a shift for the channels must be") {
    const auto x = randn<float>({1, 2, 4, 4}, Key{1}), w = randn<float>({3, 2, 3, 3}, Key{2});
    CHECK_THROWS_WITH((conv_scale_shift<2>(x, w, ones<float>({2}), ones<float>({3}))), Catch::Contains("the scale is float[2]") && Catch::Contains("expected [3]"));
    CHECK_THROWS_AS((conv_scale_shift<2>(x, w, ones<float>({3}), ones<float>({2}))), ShapeError);
    auto wanted = randn<float>({3, 2, 3, 3}, Key{2}).require_grad();
    CHECK_THROWS_AS((conv_scale_shift<2>(x, wanted, ones<float>({3}), ones<float>({3}))), GradError);
}

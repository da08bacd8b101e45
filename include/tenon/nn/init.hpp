// Initialisers: write fresh values into a tensor, in place and unrecorded. Fans follow PyTorch: of a tensor
// [out, in, rest...] fan_in = in * rest, fan_out = out * rest.
#pragma once

#include <tenon/autograd/evaluate.hpp>
#include <tenon/ops/random.hpp>

namespace tenon::nn::init {

struct Fans { double in, out; };
template <class T, int R>
Fans fans(const Tensor<T, R>& x) {
    static_assert(R >= 2, "tenon: init: fans are defined for tensors of two axes and more");
    double rest = 1;
    for (int i = 2; i < R; ++i) rest *= static_cast<double>(x.shape(i));
    return {static_cast<double>(x.shape(1)) * rest, static_cast<double>(x.shape(0)) * rest};
}

// Uniform in [low, high).
template <class T, int R>
void uniform(const Tensor<T, R>& x, Key key, double low, double high) {
    x.copy_from(tenon::uniform<T>(x.shape(), key, {low, high}, x.device()));
}
template <class T, int R>
void normal(const Tensor<T, R>& x, Key key, double mean = 0, double deviation = 1) {
    x.copy_from(randn<T>(x.shape(), key, x.device()) * static_cast<float>(deviation) + static_cast<float>(mean));
}
template <class T, int R>
void constant(const Tensor<T, R>& x, double value) { x.fill(static_cast<T>(value)); }

// Glorot and Bengio 2010: variance 2 / (fan_in + fan_out).
template <class T, int R>
void xavier_uniform(const Tensor<T, R>& x, Key key, double gain = 1) {
    const Fans f = fans(x);
    const double bound = gain * __builtin_sqrt(6 / (f.in + f.out));
    uniform(x, key, -bound, bound);
}
template <class T, int R>
void xavier_normal(const Tensor<T, R>& x, Key key, double gain = 1) {
    const Fans f = fans(x);
    normal(x, key, 0, gain * __builtin_sqrt(2 / (f.in + f.out)));
}
// He et al. 2015: variance gain^2 / fan_in, gain sqrt(2) for relu.
template <class T, int R>
void kaiming_uniform(const Tensor<T, R>& x, Key key, double gain = 1.4142135623730951) {
    const double bound = gain * __builtin_sqrt(3 / fans(x).in);
    uniform(x, key, -bound, bound);
}
template <class T, int R>
void kaiming_normal(const Tensor<T, R>& x, Key key, double gain = 1.4142135623730951) {
    normal(x, key, 0, gain / __builtin_sqrt(fans(x).in));
}

}  // namespace tenon::nn::init

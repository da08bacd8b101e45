// Winograd's convolutions: forward, backward data and backward weights of 3 x 3 layers, in both layouts.
//   g++ -std=c++20 -O2 -Ikernels bench/bench_winograd.cpp -o bench_winograd -pthread
// Options: --threads 1 (or 2, ...), --rounds 5, --filter text, --lib (prints which library and stops).
// Rates count the operations of the plain sum, those with the zeros of the padding too: what a direct convolution would have to reach.
#include "products.hpp"

#include <tenon/base/parallel.hpp>
#include <tenon/kernels/cpu/conv/winograd.hpp>

#include <functional>

namespace {

namespace cpu = tenon::kernels::cpu;
using cpu::ConvShape, cpu::ImageStrides, cpu::WinogradTile;

const long shapes[][5] = {{1, 64, 200, 334, 64},  {1, 256, 200, 336, 256}, {64, 256, 14, 14, 256},  {32, 96, 32, 32, 96},
                          {1, 64, 120, 160, 128}, {128, 64, 32, 32, 64},   {128, 128, 16, 16, 128}, {128, 256, 8, 8, 256},
                          {128, 512, 4, 4, 512},  {64, 48, 32, 32, 12},    {64, 128, 32, 32, 32},   {64, 32, 32, 32, 32},
                          {64, 16, 32, 32, 16},   {64, 3, 32, 32, 64},     {1, 64, 32, 32, 64},     {1, 128, 16, 16, 128},
                          {1, 256, 14, 14, 256},  {1, 256, 28, 28, 256},   {1, 512, 7, 7, 512},     {8, 512, 7, 7, 512}};

struct Case {
    std::string name;
    double operations;
    std::function<void()> run;
    products::Rates rates = {};
};

}  // namespace

int main(int count, char** arguments) {
    const products::Options options(count, arguments, "ours");
    tenon::set_num_threads(options.threads);
    std::size_t images = 0, kernels = 0;
    for (const auto& x : shapes) {
        images = std::max(images, static_cast<std::size_t>(x[0] * std::max(x[1], x[4]) * x[2] * x[3]));
        kernels = std::max(kernels, static_cast<std::size_t>(x[1] * x[4] * 9));
    }
    // Results have memory of their own: inputs stay what they are.
    auto values = [](std::size_t n) {
        std::vector<float> v(n);
        for (std::size_t i = 0; i < n; ++i) v[i] = float(i % 13) * 0.1f - 0.6f;
        return v;
    };
    std::vector<float> x = values(images), dy = values(images), w = values(kernels), to(images), dw(kernels);
    std::vector<Case> cases;
    for (const auto& sizes : shapes) {
        ConvShape<2> shape;
        shape.n = sizes[0], shape.c_in = sizes[1], shape.c_out = sizes[4];
        for (int i = 0; i < 2; ++i) {
            shape.in[i] = shape.out[i] = sizes[2 + i];
            shape.kernel[i] = 3;
            shape.stride[i] = shape.dilation[i] = shape.padding_begin[i] = shape.padding_end[i] = 1;
        }
        for (const bool last : {false, true}) {
            const auto xs = last ? ImageStrides<2>::channels_last(shape.c_in, shape.in) : ImageStrides<2>::contiguous(shape.c_in, shape.in);
            const auto ys =
                last ? ImageStrides<2>::channels_last(shape.c_out, shape.out) : ImageStrides<2>::contiguous(shape.c_out, shape.out);
            auto add = [&](const char* what, std::function<void()> run) {
                std::string name = "conv " + std::to_string(sizes[0]);
                for (int i = 1; i < 4; ++i) name += "x" + std::to_string(sizes[i]);
                name += "->" + std::to_string(sizes[4]) + " k3 " + what + (last ? " channels last" : "");
                if (options.chosen(name)) cases.push_back({name, shape.flops(), std::move(run)});
            };
            add("forward", [=, &x, &w, &to] { cpu::winograd_forward<float>(shape, x.data(), xs, w.data(), to.data(), ys); });
            add("forward 2x2",
                [=, &x, &w, &to] { cpu::winograd_forward<float>(shape, x.data(), xs, w.data(), to.data(), ys, {}, WinogradTile::f2x2); });
            add("data", [=, &dy, &w, &to] { cpu::winograd_backward_data<float>(shape, dy.data(), ys, w.data(), to.data(), xs); });
            add("weights", [=, &x, &dy, &dw] { cpu::winograd_backward_weights<float>(shape, x.data(), xs, dy.data(), ys, dw.data()); });
        }
    }
    for (int round = -1; round < options.rounds; ++round)
        for (Case& c : cases) c.rates.sample(round, c.operations, c.run);
    for (Case& c : cases) c.rates.print(options, c.name, "GF/s");
}

// Convolution: forward, backward to the data, backward to the weights, in both layouts; GF/s of the definition's products.
//   g++ -std=c++20 -O2 -Ikernels bench/bench_conv.cpp -o bench_conv -pthread
// Options: --threads 1 (or 2, ...), --rounds 5, --filter text. The peer is bench_conv_torch.cpp.
#include "convolutions.hpp"
#include "products.hpp"

#include <tenon/base/parallel.hpp>
#include <tenon/kernels/cpu/conv.hpp>

namespace {

using namespace tenon::kernels::cpu;

ConvShape<2> shape_of(const convolutions::Case& c) {
    ConvShape<2> s;
    s.n = c.n, s.c_in = c.c_in, s.c_out = c.c_out, s.groups = c.groups;
    const long size[2] = {c.height, c.width};
    for (int i = 0; i < 2; ++i) {
        s.in[i] = size[i], s.kernel[i] = c.kernel, s.stride[i] = c.stride, s.dilation[i] = 1;
        s.padding_begin[i] = s.padding_end[i] = c.padding;
        s.out[i] = s.output_size(i);
    }
    return s;
}
ImageStrides<2> strides_of(int layout, long channels, const long* sizes) {
    return layout == 0 ? ImageStrides<2>::contiguous(channels, sizes) : ImageStrides<2>::channels_last(channels, sizes);
}
std::vector<float> numbers(long count, int seed) {
    std::vector<float> v(static_cast<std::size_t>(count));
    for (std::size_t i = 0; i < v.size(); ++i) v[i] = float((i * 7 + std::size_t(seed)) % 13) * 0.1f - 0.6f;
    return v;
}

}  // namespace

int main(int count, char** arguments) {
    const products::Options options(count, arguments, "ours");
    tenon::set_num_threads(options.threads);
    for (const convolutions::Case& c : convolutions::cases) {
        const ConvShape<2> s = shape_of(c);
        bool any = false;
        for (const char* layout : convolutions::layouts)
            for (const char* pass : {"forward", "data", "weights"}) any = any || options.chosen(c.name(pass, layout));
        if (!any) continue;
        const auto x = numbers(s.n * s.c_in * s.in_size(), 1), w = numbers(s.c_out * s.group_in() * s.kernel_size(), 2), dy = numbers(s.n * s.c_out * s.out_size(), 3);
        std::vector<float> y(dy.size()), dx(x.size()), dw(w.size());
        for (int layout = 0; layout < 2; ++layout) {
            const auto xs = strides_of(layout, s.c_in, s.in), ys = strides_of(layout, s.c_out, s.out);
            const auto measure = [&](const char* pass, auto&& f) {
                const std::string name = c.name(pass, convolutions::layouts[layout]);
                if (!options.chosen(name)) return;
                products::Rates rates;
                for (int round = -1; round < options.rounds; ++round) rates.sample(round, c.flops(), f);
                rates.print(options, name, "GF/s", c.from);
            };
            measure("forward", [&] { conv_forward<float, 2>(s, x.data(), xs, w.data(), y.data(), ys); });
            measure("data", [&] { conv_backward_data<float, 2>(s, dy.data(), ys, w.data(), dx.data(), xs); });
            measure("weights", [&] { conv_backward_weights<float, 2>(s, x.data(), xs, dy.data(), ys, dw.data()); });
        }
    }
}

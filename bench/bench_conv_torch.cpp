// PyTorch's side of bench_conv.cpp: the products alone, without autograd around them.
//   bench_conv_torch [--threads n] [--filter text]
#include "convolutions.hpp"

#include <ATen/Parallel.h>
#include <ATen/ATen.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

int threads = 1;
const char* filter = "";

template <class F>
void measure(const std::string& name, double flops, const char* from, F&& f) {
    if (name.find(filter) == std::string::npos) return;
    f();
    std::vector<double> samples;
    for (const double end = now() + 0.4; samples.size() < 5 || (now() < end && samples.size() < 500);) {
        const double start = now();
        f();
        samples.push_back(now() - start);
    }
    std::sort(samples.begin(), samples.end());
    std::printf("{\"case\": \"%s\", \"unit\": \"GF/s\", \"value\": %.6g, \"median\": %.6g, \"lib\": \"PyTorch\", \"threads\": %d, \"note\": \"%s\"}\n", name.c_str(),
                flops / samples[0] * 1e-9, flops / samples[samples.size() / 2] * 1e-9, threads, from);
    std::fflush(stdout);
}

}  // namespace

int main(int count, char** arguments) {
    for (int i = 1; i < count; ++i) {
        if (std::strcmp(arguments[i], "--lib") == 0) return std::puts("PyTorch"), 0;
        if (i + 1 >= count) break;
        if (std::strcmp(arguments[i], "--threads") == 0) threads = std::atoi(arguments[++i]);
        else if (std::strcmp(arguments[i], "--filter") == 0) filter = arguments[++i];
    }
    at::set_num_threads(threads);
    const at::InferenceMode no_autograd;
    for (const convolutions::Case& c : convolutions::cases)
        for (const char* layout : convolutions::layouts) {
            const auto format = layout[1] == 'C' ? at::MemoryFormat::Contiguous : at::MemoryFormat::ChannelsLast;
            const auto images = [&](long channels, long h, long w) { return at::randn({c.n, channels, h, w}).contiguous(format); };
            const at::Tensor x = images(c.c_in, c.height, c.width), dy = images(c.c_out, c.out(c.height), c.out(c.width));
            const at::Tensor w = at::randn({c.c_out, c.c_in / c.groups, c.kernel, c.kernel}).contiguous(format);
            const std::vector<long> stride(2, c.stride), padding(2, c.padding), ones(2, 1), zeros(2, 0);
            const auto backward = [&](bool data) {
                at::convolution_backward(dy, x, w, at::OptionalIntArrayRef(), stride, padding, ones, false, zeros, c.groups, {data, !data, false});
            };
            measure(c.name("forward", layout), c.flops(), c.from, [&] { at::conv2d(x, w, {}, stride, padding, ones, c.groups); });
            measure(c.name("data", layout), c.flops(), c.from, [&] { backward(true); });
            measure(c.name("weights", layout), c.flops(), c.from, [&] { backward(false); });
        }
}

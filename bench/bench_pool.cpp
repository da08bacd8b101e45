// Pooling, interpolation and the norms of images, 64 x 64 x 56 x 56; the cases that PyTorch runs too bear the names of bench_torch.
// Those that wait for memory are also printed against copying as many bytes as they must move, in the same run.
// Usage: bench_pool [repeats] [filter]
#include "copying.hpp"

#include <tenon/nn/norm.hpp>
#include <tenon/ops/grid_sample.hpp>
#include <tenon/ops/pool.hpp>
#include <tenon/ops/random.hpp>
#include <tenon/ops/resample.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>

using namespace tenon;

namespace {

int repeats = 15;
const char* filter = "";

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }
// Seconds of one call, best: a shared machine only ever slows down.
template <class F>
double seconds(F&& f) {
    f();
    double best = 1e9;
    for (int r = 0; r < repeats; ++r) {
        const double start = now();
        f();
        best = std::min(best, now() - start);
    }
    return best;
}
void print(const std::string& name, double time) {
    std::printf("{\"case\":\"%s\",\"unit\":\"ms\",\"value\":%.4g,\"lib\":\"ours\",\"threads\":%d,\"isa\":\"%s\"}\n", name.c_str(), time * 1e3, num_threads(), tenon::name(isa()));
    std::fflush(stdout);
}
// Against a copy of as many bytes.
void print_copy(const std::string& name, double time, double bytes) {
    static copying::Copy copy;
    copying::print(name, bytes, time, seconds([&] { copy(bytes); }));
}

// f(x) without and with its backward pass.
template <class F>
void run(const std::string& name, const Tensor<float, 4>& x, F&& f) {
    if (name.find(filter) == std::string::npos) return;
    Tensor<float, 4> y = f(x);
    const double forward = seconds([&] {
        const no_grad unrecorded;
        y = Tensor<float, 4>();
        y = f(x);
    });
    print(name, forward);
    print_copy(name, forward, 4.0 * static_cast<double>(x.size() + y.size()));
    const auto dy = randn<float>(y.shape(), Key{3});
    Tensor<float, 4> leaf = clone(x);
    leaf.require_grad();
    print(name + " F+B", seconds([&] {
              f(leaf).backward(dy);
              leaf.zero_grad();
          }));
}

}  // namespace

int main(int argc, char** argv) {
    if (argc > 1) repeats = std::atoi(argv[1]);
    if (argc > 2) filter = argv[2];
    const auto x = randn<float>({64, 64, 56, 56}, Key{1}), small = randn<float>({16, 64, 56, 56}, Key{2});
    const auto last = contiguous(x.permute<0, 2, 3, 1>()).permute<0, 3, 1, 2>();
    const auto grid = uniform<float>({16, 56, 56, 2}, Key{4}, {-1, 1});
    nn::GroupNorm<float> group(32, 64);
    nn::BatchNorm2d<float> batch(64);
    const nn::Context context{Key{1}, true};
    const int most = std::min(num_threads(), 2);
    for (int threads = 1; threads <= most; ++threads) {
        set_num_threads(threads);
        run("max_pool 2x2", x, [](const auto& a) { return max_pool2d(a, 2); });
        run("max_pool 3x3/2", x, [](const auto& a) { return max_pool2d(a, 3, {.stride = 2, .padding = 1}); });
        run("max_pool 3x3/2 channels-last", last, [](const auto& a) { return max_pool2d(a, 3, {.stride = 2, .padding = 1}); });
        run("avg_pool 2x2", x, [](const auto& a) { return avg_pool2d(a, 2); });
        run("avg_pool 3x3/2", x, [](const auto& a) { return avg_pool2d(a, 3, {.stride = 2, .padding = 1}); });
        run("avg_pool 3x3/2 channels-last", last, [](const auto& a) { return avg_pool2d(a, 3, {.stride = 2, .padding = 1}); });
        run("adaptive_avg_pool 7x7", x, [](const auto& a) { return adaptive_avg_pool2d(a, 7); });
        run("adaptive_avg_pool 1x1", x, [](const auto& a) { return adaptive_avg_pool2d(a, 1); });
        run("adaptive_max_pool 5x5", x, [](const auto& a) { return adaptive_max_pool2d(a, 5); });
        run("bilinear x2", small, [](const auto& a) { return interpolate_by(a, 2, {.mode = Interpolation::linear}); });
        run("bilinear to 100", small, [](const auto& a) { return interpolate(a, 100, {.mode = Interpolation::linear}); });
        run("nearest x2", small, [](const auto& a) { return interpolate_by(a, 2); });
        run("bicubic to 100", small, [](const auto& a) { return interpolate(a, 100, {.mode = Interpolation::cubic}); });
        run("grid_sample", small, [&](const auto& a) { return grid_sample(a, grid); });
        run("group_norm 32", x, [&](const auto& a) { return group(a); });
        run("batch_norm2d train", x, [&](const auto& a) { return batch(a, context); });
    }
}

// PyTorch's side of bench_train.cpp: the same networks and steps by its C++ library, channels-last where that is faster.
//   bench_train_torch [--threads n] [--filter text]
#include "peak_memory.hpp"

#include <ATen/Parallel.h>
#include <torch/torch.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <tuple>
#include <vector>

namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

int threads = 1;
std::string filter;

torch::Tensor activated(torch::Tensor x) { return x.relu_(); }
torch::nn::Conv2d convolution(long in, long out, long kernel, long stride = 1) {
    return torch::nn::Conv2d(torch::nn::Conv2dOptions(in, out, kernel).stride(stride).padding(kernel / 2).bias(false));
}

struct LeNetImpl : torch::nn::Module {
    torch::nn::Conv2d conv1{torch::nn::Conv2dOptions(1, 6, 5).padding(2)}, conv2{torch::nn::Conv2dOptions(6, 16, 5)};
    torch::nn::Linear fc1{400, 120}, fc2{120, 84}, fc3{84, 10};
    LeNetImpl() {
        register_module("conv1", conv1), register_module("conv2", conv2);
        register_module("fc1", fc1), register_module("fc2", fc2), register_module("fc3", fc3);
    }
    torch::Tensor forward(torch::Tensor x) {
        x = torch::max_pool2d(torch::relu(conv1(x)), 2);
        x = torch::max_pool2d(torch::relu(conv2(x)), 2);
        return fc3(torch::relu(fc2(torch::relu(fc1(x.flatten(1))))));
    }
};
TORCH_MODULE(LeNet);

struct BlockImpl : torch::nn::Module {
    torch::nn::Conv2d conv1{nullptr}, conv2{nullptr}, down{nullptr};
    torch::nn::BatchNorm2d bn1{nullptr}, bn2{nullptr}, down_bn{nullptr};
    BlockImpl(long in, long out, long stride) {
        conv1 = register_module("conv1", convolution(in, out, 3, stride));
        conv2 = register_module("conv2", convolution(out, out, 3));
        bn1 = register_module("bn1", torch::nn::BatchNorm2d(out));
        bn2 = register_module("bn2", torch::nn::BatchNorm2d(out));
        if (stride == 1 && in == out) return;
        down = register_module("down", convolution(in, out, 1, stride));
        down_bn = register_module("down_bn", torch::nn::BatchNorm2d(out));
    }
    torch::Tensor forward(const torch::Tensor& x) {
        const auto y = bn2(conv2(activated(bn1(conv1(x)))));
        return activated(y + (down.is_empty() ? x : down_bn(down(x))));
    }
};
TORCH_MODULE(Block);
struct ResNetImpl : torch::nn::Module {
    torch::nn::Conv2d conv1{nullptr};
    torch::nn::BatchNorm2d bn1{nullptr};
    torch::nn::Sequential blocks;
    torch::nn::Linear fc{nullptr};
    ResNetImpl(const std::vector<int>& depths, const std::vector<long>& widths) {
        conv1 = register_module("conv1", convolution(3, widths[0], 3));
        bn1 = register_module("bn1", torch::nn::BatchNorm2d(widths[0]));
        long in = widths[0];
        for (std::size_t stage = 0; stage < depths.size(); ++stage)
            for (int k = 0; k < depths[stage]; ++k) {
                blocks->push_back(Block(in, widths[stage], stage > 0 && k == 0 ? 2 : 1));
                in = widths[stage];
            }
        register_module("blocks", blocks);
        fc = register_module("fc", torch::nn::Linear(in, 10));
    }
    torch::Tensor forward(torch::Tensor x) { return fc(blocks->forward(activated(bn1(conv1(x)))).mean({2, 3})); }
};
TORCH_MODULE(ResNet);

struct DenseNetImpl : torch::nn::Module {
    torch::nn::Conv2d conv0{nullptr};
    std::vector<torch::nn::BatchNorm2d> norms;
    std::vector<torch::nn::Conv2d> convs;
    torch::nn::Linear fc{nullptr};
    int layers;
    DenseNetImpl(int depth, long growth) : layers((depth - 4) / 3) {
        long channels = 16;
        conv0 = register_module("conv0", convolution(3, channels, 3));
        const auto add = [&](long out, long kernel) {
            norms.push_back(register_module("norm" + std::to_string(norms.size()), torch::nn::BatchNorm2d(channels)));
            convs.push_back(register_module("conv" + std::to_string(norms.size()), convolution(channels, out, kernel)));
        };
        for (int block = 0; block < 3; ++block) {
            for (int k = 0; k < layers; ++k, channels += growth) add(growth, 3);
            if (block < 2) add(channels, 1);
        }
        norms.push_back(register_module("last", torch::nn::BatchNorm2d(channels)));
        fc = register_module("fc", torch::nn::Linear(channels, 10));
    }
    torch::Tensor forward(torch::Tensor x) {
        x = conv0(x);
        std::size_t at = 0;
        for (int block = 0; block < 3; ++block) {
            std::vector<torch::Tensor> features = {x};
            for (int k = 0; k < layers; ++k, ++at) features.push_back(convs[at](activated(norms[at](torch::cat(features, 1)))));
            x = torch::cat(features, 1);
            if (block == 2) break;
            x = torch::avg_pool2d(convs[at](activated(norms[at](x))), 2);
            ++at;
        }
        return fc(activated(norms[at](x)).mean({2, 3}));
    }
};
TORCH_MODULE(DenseNet);

void print(const std::string& line, const char* unit, double value, double median) {
    std::printf("{\"case\": \"%s\", \"unit\": \"%s\", \"value\": %.6g, \"median\": %.6g, \"lib\": \"PyTorch\", \"threads\": %d}\n", line.c_str(), unit, value, median, threads);
    std::fflush(stdout);
}

template <class Net, class F>
void with_step(Net net, torch::MemoryFormat format, long batch, long channels, long size, F&& f) {
    for (auto& p : net->parameters())
        if (p.dim() == 4) p.set_data(p.detach().contiguous(format));
    torch::optim::SGD optimiser(net->parameters(), torch::optim::SGDOptions(0.01).momentum(0.9));
    const auto x = torch::randn({batch, channels, size, size}).contiguous(format);
    const auto labels = torch::randint(0, 10, {batch});
    f([&] {
        optimiser.zero_grad();
        torch::nn::functional::cross_entropy(net->forward(x), labels).backward();
        optimiser.step();
    });
}
const torch::MemoryFormat formats[] = {torch::MemoryFormat::Contiguous, torch::MemoryFormat::ChannelsLast};
template <class Make>
void held(const char* name, Make make, long batch, long channels, long size) {
    if (std::string(name).find(filter) == std::string::npos) return;
    double least = 1e18;
    for (const auto format : formats)
        least = std::min(least, peak_memory::of([&] {
            at::set_num_threads(threads);
            with_step(make(), format, batch, channels, size, [](auto&& step) { step(), step(); });
        }));
    print(std::string("memory ") + name, "MB", least * 1e-6, least * 1e-6);
}
struct Time {
    double best = 1e9, median = 1e9;
};
template <class F>
void sample(Time& time, F&& step) {
    step();
    std::vector<double> samples;
    for (const double end = now() + 3; samples.size() < 5 || (now() < end && samples.size() < 500);) {
        const double start = now();
        step();
        samples.push_back(now() - start);
    }
    std::sort(samples.begin(), samples.end());
    if (samples[0] < time.best) time = {samples[0], samples[samples.size() / 2]};
}
template <class Make>
void measure(const char* name, Make make, long batch, long channels, long size) {
    if (std::string(name).find(filter) == std::string::npos) return;
    Time time;
    for (const auto format : formats) with_step(make(), format, batch, channels, size, [&](auto&& step) { sample(time, step); });
    print(std::string("train ") + name, "ms", 1e3 * time.best, 1e3 * time.median);
}

struct LanguageModelImpl : torch::nn::Module {
    torch::nn::Embedding encoder{nullptr};
    torch::nn::LSTM rnn{nullptr};
    torch::nn::Linear decoder{nullptr};
    LanguageModelImpl(long symbols, long hidden) {
        encoder = register_module("encoder", torch::nn::Embedding(symbols, hidden));
        rnn = register_module("rnn", torch::nn::LSTM(hidden, hidden));
        decoder = register_module("decoder", torch::nn::Linear(hidden, symbols));
    }
};
TORCH_MODULE(LanguageModel);
void measure_text(const char* name, long steps, long batch, long hidden) {
    if (std::string(name).find(filter) == std::string::npos) return;
    constexpr long symbols = 100;
    LanguageModel model(symbols, hidden);
    torch::optim::SGD optimiser(model->parameters(), torch::optim::SGDOptions(0.01).momentum(0.9));
    const auto tokens = torch::randint(0, symbols, {steps, batch}), labels = torch::randint(0, symbols, {steps * batch});
    std::tuple<torch::Tensor, torch::Tensor> state{torch::zeros({1, batch, hidden}), torch::zeros({1, batch, hidden})};
    Time time;
    sample(time, [&] {
        optimiser.zero_grad();
        const auto [y, after] = model->rnn(model->encoder(tokens), state);
        state = {std::get<0>(after).detach(), std::get<1>(after).detach()};
        torch::nn::functional::cross_entropy(model->decoder(y).view({steps * batch, symbols}), labels).backward();
        optimiser.step();
    });
    print(std::string("train ") + name, "ms", 1e3 * time.best, 1e3 * time.median);
}

}  // namespace

int main(int count, char** arguments) {
    for (int i = 1; i < count; ++i) {
        if (std::strcmp(arguments[i], "--lib") == 0) return std::puts("PyTorch"), 0;
        if (i + 1 >= count) break;
        if (std::strcmp(arguments[i], "--threads") == 0) threads = std::atoi(arguments[++i]);
        else if (std::strcmp(arguments[i], "--filter") == 0) filter = arguments[++i];
    }
    if (const char* wish = std::getenv("TENON_BENCH_FILTER")) filter = wish;
    const auto densenet = [] { return DenseNet(40, 12); };
    held("densenet40 b64", densenet, 64, 3, 32);
    held("densenet40 lean b64", densenet, 64, 3, 32);
    at::set_num_threads(threads);
    measure("densenet40 b64", densenet, 64, 3, 32);
    measure("densenet40 lean b64", densenet, 64, 3, 32);
    measure("resnet18 b64", [] { return ResNet(std::vector<int>{2, 2, 2, 2}, std::vector<long>{64, 128, 256, 512}); }, 64, 3, 32);
    measure("resnet20 b128", [] { return ResNet(std::vector<int>{3, 3, 3}, std::vector<long>{16, 32, 64}); }, 128, 3, 32);
    measure("lenet b64", [] { return LeNet(); }, 64, 1, 28);
    measure_text("char-lstm T35 b20 h128", 35, 20, 128);
    measure_text("char-lstm T64 b32 h128", 64, 32, 128);
}

// Whole training steps of image classifiers and of a character model: forward, cross-entropy, backward, SGD with momentum.
// Milliseconds a step, and for DenseNet-40 the memory that training takes.
//   bench_train [--threads n] [--filter text]
#include "peak_memory.hpp"

#include <tenon/seq/language_model.hpp>
#include <tenon/tenon.hpp>
#include <tenon/vision/densenet.hpp>
#include <tenon/vision/lenet.hpp>
#include <tenon/vision/resnet.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

using namespace tenon;

namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

std::string filter;

void print(const std::string& line, const char* unit, double value, double median) {
    std::printf("{\"case\": \"%s\", \"unit\": \"%s\", \"value\": %.6g, \"median\": %.6g, \"lib\": \"ours\", \"threads\": %d, \"isa\": \"%s\"}\n", line.c_str(), unit, value, median,
                num_threads(), tenon::name(isa()));
    std::fflush(stdout);
}

// Calls f(step) with what makes a step.
template <class Net, class F>
void with_step(Net net, long batch, long channels, long size, F&& f) {
    const auto x = randn<float>({batch, channels, size, size}, Key{1});
    const auto labels = integers({batch}, Key{2}, 0, 10);
    auto optimiser = optim::sgd(net, {.lr = 0.01, .momentum = 0.9});
    std::uint64_t count = 0;
    f([&] {
        const nn::Context context{Key{3}.split(count++)};
        Tensor<float, 2> logits;
        if constexpr (requires { net(x, context); }) logits = net(x, context);
        else logits = net(x);
        cross_entropy(logits, labels).backward();
        optimiser.step();
    });
}
template <class Make>
void held(const char* name, Make make, long batch, long channels, long size) {
    if (std::string(name).find(filter) == std::string::npos) return;
    const double taken = peak_memory::of([&] {
        with_step(make(), batch, channels, size, [](auto&& step) { step(), step(); });
    });
    print(std::string("memory ") + name, "MB", taken * 1e-6, taken * 1e-6);
}
template <class F>
void sampled(const char* name, F&& step) {
    step();
    std::vector<double> samples;
    for (const double end = now() + 3; samples.size() < 5 || (now() < end && samples.size() < 500);) {
        const double start = now();
        step();
        samples.push_back(now() - start);
    }
    std::sort(samples.begin(), samples.end());
    print(std::string("train ") + name, "ms", 1e3 * samples[0], 1e3 * samples[samples.size() / 2]);
}
template <class Make>
void measure(const char* name, Make make, long batch, long channels, long size) {
    if (std::string(name).find(filter) == std::string::npos) return;
    with_step(make(), batch, channels, size, [&](auto&& step) { sampled(name, step); });
}
// Truncated backpropagation over chunks of a text, the state carried on without its graph.
void measure_text(const char* name, long steps, long batch, long hidden) {
    if (std::string(name).find(filter) == std::string::npos) return;
    constexpr long symbols = 100;
    const seq::LanguageModel<float> model({.vocabulary = symbols, .hidden = hidden, .layers = 1}, Key{4});
    const auto tokens = integers({steps, batch}, Key{1}, 0, symbols);
    const auto labels = integers({steps * batch}, Key{2}, 0, symbols);
    auto optimiser = optim::sgd(model, {.lr = 0.01, .momentum = 0.9});
    LstmState<float> state;
    sampled(name, [&] {
        const auto [logits, after] = model(tokens, state);
        state = after.detach();
        cross_entropy(Tensor<float, 2>(logits.reshape({steps * batch, symbols})), labels).backward();
        optimiser.step();
    });
}

}  // namespace

int main(int count, char** arguments) {
    for (int i = 1; i + 1 < count; i += 2) {
        if (std::strcmp(arguments[i], "--threads") == 0) set_num_threads(std::atoi(arguments[i + 1]));
        else if (std::strcmp(arguments[i], "--filter") == 0) filter = arguments[i + 1];
    }
    if (const char* wish = std::getenv("TENON_BENCH_FILTER")) filter = wish;
    const auto densenet = [] { return vision::densenet_cifar(40, 12, false, Key{4}); };
    const auto lean = [] { return vision::densenet_cifar(40, 12, false, Key{4}, 10, 3, 0, true); };
    held("densenet40 b64", densenet, 64, 3, 32);
    held("densenet40 lean b64", lean, 64, 3, 32);
    measure("densenet40 b64", densenet, 64, 3, 32);
    measure("densenet40 lean b64", lean, 64, 3, 32);
    measure("resnet18 b64", [] { return vision::resnet(18, Key{4}, 10, 3, vision::ResNetStem::small); }, 64, 3, 32);
    measure("resnet20 b128", [] { return vision::resnet_cifar(20, Key{4}); }, 128, 3, 32);
    measure("lenet b64", [] { return vision::LeNet<>(Key{4}); }, 64, 1, 28);
    measure_text("char-lstm T35 b20 h128", 35, 20, 128);
    measure_text("char-lstm T64 b32 h128", 64, 32, 128);
}

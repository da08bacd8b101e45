// Recurrent layers, forward and backward, as a training step runs them: the sum of y is the loss. The cases bear the names of
// bench_torch. Usage: bench_recurrent [filter]
#include "timing.hpp"

#include <tenon/nn/recurrent.hpp>
#include <tenon/ops/random.hpp>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>

using namespace tenon;

namespace {

using timing::seconds;

const char* filter = "";

struct Case {
    const char* cell;
    long steps, batch, width;
};

template <class M>
void measure(const Case& c, const M& module) {
    const std::string name = std::string(c.cell) + " T" + std::to_string(c.steps) + " b" + std::to_string(c.batch) + " h" + std::to_string(c.width) + " F+B";
    if (name.find(filter) == std::string::npos) return;
    const auto x = randn<float>({c.steps, c.batch, c.width}, Key{1}).require_grad();
    const auto dy = randn<float>({c.steps, c.batch, c.width}, Key{2});
    const double time = seconds([&] {
        module(x).y.backward(dy);
        x.zero_grad();
        nn::for_each_tensor(module, [](const char*, nn::Kind, const auto& w) { w.zero_grad(); });
    });
    std::printf("{\"case\":\"%s\",\"unit\":\"us\",\"value\":%.5g,\"lib\":\"ours\",\"threads\":%d,\"isa\":\"%s\"}\n", name.c_str(), 1e6 * time, num_threads(), tenon::name(isa()));
    std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
    if (const char* wish = std::getenv("TENON_BENCH_FILTER")) filter = wish;
    if (argc > 1) filter = argv[1];
    const int most = std::min(num_threads(), 2);
    for (int threads = 1; threads <= most; ++threads) {
        set_num_threads(threads);
        for (const Case& c : {Case{"LSTM", 35, 20, 200}, Case{"LSTM", 20, 128, 1024}, Case{"LSTM", 20, 32, 64}, Case{"GRU", 60, 160, 64}, Case{"GRU", 20, 96, 64}}) {
            if (c.cell[0] == 'L') measure(c, nn::LSTM<float>(c.width, c.width, Key{3}));
            else measure(c, nn::GRU<float>(c.width, c.width, Key{3}));
        }
    }
}

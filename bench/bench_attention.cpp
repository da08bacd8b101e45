// Scaled dot-product attention, forward and with its backward pass; the cases bear the names of bench_torch.
// Usage: bench_attention [filter]
#include "timing.hpp"

#include <tenon/ops/attention.hpp>
#include <tenon/ops/random.hpp>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>

using namespace tenon;

namespace {

using timing::seconds;

const char* filter = "";

template <class F>
void measure(const std::string& name, F&& f) {
    if (name.find(filter) == std::string::npos) return;
    std::printf("{\"case\":\"%s\",\"unit\":\"us\",\"value\":%.5g,\"lib\":\"ours\",\"threads\":%d,\"isa\":\"%s\"}\n", name.c_str(),
                1e6 * seconds(f), num_threads(), tenon::name(isa()));
    std::fflush(stdout);
}

void attention(long batch, long heads, long positions, long width, bool causal) {
    const std::string name = "attention " + std::to_string(batch) + "x" + std::to_string(heads) + "x" + std::to_string(positions) + "x" +
                             std::to_string(width) + (causal ? " causal" : "");
    const auto q = randn<float>({batch, heads, positions, width}, Key{1}).require_grad(),
               k = randn<float>({batch, heads, positions, width}, Key{2}).require_grad(),
               v = randn<float>({batch, heads, positions, width}, Key{3}).require_grad(),
               dy = randn<float>({batch, heads, positions, width}, Key{4});
    measure(name, [&] {
        const no_grad guard;
        const auto y = scaled_dot_product_attention(q, k, v, {.causal = causal});
    });
    measure(name + " F+B", [&] {
        scaled_dot_product_attention(q, k, v, {.causal = causal}).backward(dy);
        q.zero_grad();
        k.zero_grad();
        v.zero_grad();
    });
}

}  // namespace

int main(int argc, char** argv) {
    if (const char* wish = std::getenv("TENON_BENCH_FILTER")) filter = wish;
    if (argc > 1) filter = argv[1];
    const int most = std::min(num_threads(), 2);
    for (int threads = 1; threads <= most; ++threads) {
        set_num_threads(threads);
        for (const bool causal : {false, true}) {
            attention(8, 8, 512, 64, causal);
            attention(8, 8, 128, 64, causal);
            attention(1, 8, 2048, 64, causal);
        }
        attention(1, 1, 2048, 64, false);
        attention(32, 4, 34, 32, false);
    }
}

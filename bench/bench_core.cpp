// The engine end to end: overhead of small operations, fused expressions against memcpy in the same run, train steps of
// small networks. Prints one JSON line per case; the cases that PyTorch runs too bear the names of bench_torch.
// Usage: bench_core [repeats]
#include <tenon/tenon.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <vector>

using namespace tenon;

namespace {

double seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

void print(const char* name, const char* unit, double value) {
    std::printf("{\"case\":\"%s\",\"unit\":\"%s\",\"value\":%.4g,\"lib\":\"ours\",\"threads\":%d,\"isa\":\"%s\"}\n", name, unit, value, num_threads(), tenon::name(isa()));
    std::fflush(stdout);
}
void print_ratio(const char* name, double ours, double peer) {
    std::printf("{\"case\":\"%s\",\"unit\":\"GB/s\",\"ours\":%.2f,\"peer\":\"memcpy\",\"peer_value\":%.2f,\"ratio\":%.3f,\"threads\":%d,\"isa\":\"%s\"}\n", name, ours,
                peer, ours / peer, num_threads(), tenon::name(isa()));
    std::fflush(stdout);
}

double median(std::vector<double> times) {
    std::sort(times.begin(), times.end());
    return times[times.size() / 2];
}
// Median seconds of one call, each sample long enough for the clock.
template <class F>
double time_of(int repeats, F&& f) {
    f();
    double once = seconds();
    f();
    once = seconds() - once;
    const int calls = once > 1e-4 ? 1 : static_cast<int>(1e-4 / (once > 1e-9 ? once : 1e-9)) + 1;
    std::vector<double> times;
    for (int r = 0; r < repeats; ++r) {
        const double start = seconds();
        for (int i = 0; i < calls; ++i) f();
        times.push_back((seconds() - start) / calls);
    }
    return median(times);
}

// memcpy of n floats, split over the threads as the library splits its loops: bytes read and written per second.
double memcpy_seconds(const Tensor<float, 1>& to, const Tensor<float, 1>& from) {
    constexpr long chunk = 32768;
    const long n = from.size();
    const double start = seconds();
    parallel_for((n + chunk - 1) / chunk, [&](long i) {
        std::memcpy(to.data() + i * chunk, from.data() + i * chunk, static_cast<std::size_t>(std::min(chunk, n - i * chunk)) * sizeof(float));
    });
    return seconds() - start;
}

void expressions(long n, int repeats) {
    const Tensor<float, 1> x = randn<float>({n}, Key{1}).require_grad(), w = randn<float>({n}, Key{2}).require_grad(), b = randn<float>({n}, Key{3}).require_grad();
    const Tensor<float, 1> dy = randn<float>({n}, Key{4}), out = zeros<float>({n}), from = ones<float>({n}), to = zeros<float>({n});
    std::vector<double> forward, backward, copy;
    for (int r = 0; r < repeats; ++r) {
        copy.push_back(memcpy_seconds(to, from));
        {
            no_grad guard;
            const double start = seconds();
            out.copy_from(silu(x * w + b));
            forward.push_back(seconds() - start);
        }
        const Tensor<float, 1> y = silu(x * w + b);
        const double start = seconds();
        y.backward(dy);
        backward.push_back(seconds() - start);
        x.zero_grad();
        w.zero_grad();
        b.zero_grad();
    }
    const double bytes = 4 * static_cast<double>(n), peer = 2 * bytes / median(copy) * 1e-9;
    char name[96];
    std::snprintf(name, sizeof name, "silu(x*w+b) %ldM forward, 16 B", n / 1000000);
    print_ratio(name, 4 * bytes / median(forward) * 1e-9, peer);
    // Reads x, w, b and the gradient, writes three gradients; backward(dy) first copies dy, 8 B more.
    std::snprintf(name, sizeof name, "silu(x*w+b) %ldM backward, 36 B", n / 1000000);
    print_ratio(name, 9 * bytes / median(backward) * 1e-9, peer);
}

struct Mlp {
    nn::Linear<float> first, second, third;
    Mlp(long in, long a, long b, Key key) : first(in, a, key.split(0)), second(a, b, key.split(1)), third(b, 10, key.split(2)) {}
    Tensor<float, 2> operator()(const Tensor<float, 2>& x) const { return third(relu(second(relu(first(x))))); }
    static void visit(auto& self, auto&& f) {
        f("first", self.first);
        f("second", self.second);
        f("third", self.third);
    }
};

void mlp(const char* name, long batch, long in, long a, long b, int repeats) {
    Mlp net(in, a, b, Key{42});
    auto optimizer = optim::adam(net, {.lr = 1e-3});
    const auto x = randn<float>({batch, in}, Key{1});
    const auto y = integers({batch}, Key{2}, 0, 10);
    print(name, "us", 1e6 * time_of(repeats, [&] {
              auto loss = cross_entropy(net(x), y);
              loss.backward();
              optimizer.step();
          }));
}

}  // namespace

int main(int argc, char** argv) {
    const int repeats = argc > 1 ? std::atoi(argv[1]) : 31;
    set_num_threads(1);
    {
        const auto a = randn<float>({8}, Key{1}), b = randn<float>({8}, Key{2});
        print("add 8 elements", "ns", 1e9 * time_of(repeats, [&] {
                  no_grad guard;
                  const Tensor<float, 1> c = a + b;
              }));
        const auto g = randn<float>({8}, Key{1}).require_grad();
        print("add 8 elements recorded", "ns", 1e9 * time_of(repeats, [&] { const Tensor<float, 1> c = g + b; }));
    }
    for (int threads : {1, 2}) {
        set_num_threads(threads);
        const long n = 1000000;
        const auto x = randn<float>({n}, Key{1});
        print("tanh 1M", "ns/element", 1e9 / static_cast<double>(n) * time_of(repeats, [&] { const Tensor<float, 1> y = tanh(x); }));
        const auto a = randn<float>({n}, Key{1}).require_grad(), w = randn<float>({n}, Key{2}).require_grad(), b = randn<float>({n}, Key{3}).require_grad();
        print("silu(x*w+b) 1M forward", "us", 1e6 * time_of(repeats, [&] {
                  no_grad guard;
                  const Tensor<float, 1> y = silu(a * w + b);
              }));
        print("silu(x*w+b) 1M forward+backward", "us", 1e6 * time_of(repeats, [&] {
                  sum(silu(a * w + b)).backward();
                  a.zero_grad();
                  w.zero_grad();
                  b.zero_grad();
              }));
        expressions(1000000, repeats);
        expressions(16000000, std::max(repeats / 3, 3));
        {
            const auto logits = randn<float>({128, 10}, Key{1}).require_grad();
            const auto labels = integers({128}, Key{2}, 0, 10);
            print("softmax+cross_entropy 128x10 F+B", "us", 1e6 * time_of(repeats, [&] {
                      cross_entropy(logits, labels).backward();
                      logits.zero_grad();
                  }));
        }
        mlp("mlp 64-64-64-10 b32 adam step", 32, 64, 64, 64, repeats);
        mlp("mlp 784-256-128-10 b128 adam step", 128, 784, 256, 128, repeats);
        {
            const auto p = randn<float>({4000000}, Key{1}).require_grad();
            auto optimizer = optim::adam(p);
            p.backward(ones<float>({4000000}));
            print("adam 4M parameters", "us", 1e6 * time_of(repeats, [&] { optimizer.step({.keep_gradients = true}); }));
        }
    }
}

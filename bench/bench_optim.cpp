// The fused optimiser step against memcpy of the same machine in the same run: bytes moved per second.
// Prints one JSON line per case. Usage: bench_optim [repeats]
#include <tenon/kernels/cpu/multi_tensor.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace kernels = tenon::kernels::cpu;

namespace {

double seconds() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Memory as the library hands it out: 64-byte aligned, touched once.
class Buffer {
public:
    Buffer(long n, float value) : data_(static_cast<float*>(std::aligned_alloc(64, std::size_t(n) * sizeof(float)))) {
        std::fill(data_, data_ + n, value);
    }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    ~Buffer() { std::free(data_); }
    float* data() const { return data_; }

private:
    float* data_;
};

struct Arena {
    Buffer p, g, m, v, w;
    explicit Arena(long n) : p(n, 0.1f), g(n, 0.01f), m(n, 0.f), v(n, 0.f), w(n, 0.f) {}
};

// Best rate of the step and of memcpy, measured in turns so that both see the same load.
template <class Step>
void compare(const char* name, long n, double bytes, int repeats, Step&& step, const Buffer& from, const Buffer& to) {
    double ours = 1e9, peer = 1e9;
    const std::size_t size = std::size_t(n) * sizeof(float);
    const long chunk = 1 << 18;
    for (int r = 0; r < repeats; ++r) {
        double start = seconds();
        step();
        ours = std::min(ours, seconds() - start);
        start = seconds();
        if (tenon::num_threads() == 1) std::memcpy(to.data(), from.data(), size);
        else
            tenon::parallel_for((n + chunk - 1) / chunk, [&](long i) {
                std::memcpy(to.data() + i * chunk, from.data() + i * chunk, std::size_t(std::min(chunk, n - i * chunk)) * sizeof(float));
            });
        peer = std::min(peer, seconds() - start);
    }
    const double a = bytes * double(n) / ours * 1e-9, b = 2 * double(size) / peer * 1e-9;
    std::printf("{\"case\":\"%s/%ld\",\"unit\":\"GB/s\",\"ours\":%.2f,\"peer\":\"memcpy\",\"peer_value\":%.2f,\"ratio\":%.3f,\"threads\":%d,\"isa\":\"%s\"}\n",
                name, n, a, b, a / b, tenon::num_threads(), tenon::name(tenon::isa()));
    std::fflush(stdout);
}

}  // namespace

int main(int count, char** arguments) {
    const int repeats = count > 1 ? std::atoi(arguments[1]) : 15;
    const int most = tenon::num_threads();
    for (int threads = 1; threads <= most; ++threads) {
        tenon::set_num_threads(threads);
        for (long n : {1l << 20, 1l << 24}) {
            Arena x(n);
            const Buffer from(n, 1.f), to(n, 2.f);
            const kernels::Sgd<float, false> sgd(kernels::sgd_scalars(2, {.lr = 1e-4}));
            const kernels::Sgd<float, true> momentum(kernels::sgd_scalars(2, {.lr = 1e-4, .momentum = 0.9}));
            const kernels::Adam<float> adam(kernels::adam_scalars(100, {}));
            const kernels::Adam<float, true> amsgrad(kernels::adam_scalars(100, {}));
            const kernels::AdaBound<float> adabound(kernels::adabound_scalars(100, {}));
            auto run = [&](const char* name, double bytes, const auto& rule, bool clear) {
                compare(name, n, bytes, repeats, [&] {
                    kernels::fused_step(rule, n, x.p.data(), x.g.data(), x.m.data(), x.v.data(), x.w.data(), clear);
                }, from, to);
            };
            run("sgd", 12, sgd, false);
            run("sgd_momentum", 20, momentum, false);
            run("adam", 28, adam, false);
            run("adam_clear", 32, adam, true);
            run("amsgrad", 36, amsgrad, false);
            run("adabound", 28, adabound, false);
            run("adabound_clear", 32, adabound, true);
            compare("sum_of_squares", n, 4, repeats, [&] {
                const double sum = kernels::sum_of_squares(n, x.p.data());
                if (sum < 0) std::abort();
            }, from, to);
        }
    }
}

// The fused optimiser step against memcpy of the same machine in the same run: bytes moved per second.
// Prints one JSON line per case. Usage: bench_optim [repeats] [threads]
#include "copying.hpp"

#include <tenon/kernels/cpu/layerwise.hpp>
#include <tenon/kernels/cpu/multi_tensor.hpp>
#include <tenon/kernels/cpu/perturb.hpp>
#include <tenon/kernels/cpu/rules/adam_moments.hpp>
#include <tenon/kernels/cpu/rules/adam_variants.hpp>
#include <tenon/kernels/cpu/rules/average.hpp>
#include <tenon/kernels/cpu/rules/noise.hpp>
#include <tenon/kernels/cpu/rules/rmsprop.hpp>
#include <tenon/kernels/cpu/rules/sign.hpp>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <string>
#include <type_traits>
#include <utility>

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

// Best rate of the step and of a copy of as many numbers, measured in turns so that both see the same load. bytes: of one.
template <class Step>
void compare(const char* name, long n, double bytes, int repeats, copying::Copy& copy, Step&& step) {
    double ours = 1e9, peer = 1e9;
    const double count = static_cast<double>(n), copied = 2 * sizeof(float) * count;
    for (int r = 0; r < repeats; ++r) {
        double start = seconds();
        step();
        ours = std::min(ours, seconds() - start);
        start = seconds();
        copy(copied);
        peer = std::min(peer, seconds() - start);
    }
    copying::print(name + ("/" + std::to_string(n)), bytes * count, ours, peer * bytes * count / copied);
}

}  // namespace

int main(int count, char** arguments) {
    const int repeats = count > 1 ? std::atoi(arguments[1]) : 15;
    const int most = count > 2 ? std::atoi(arguments[2]) : tenon::num_threads();
    using T = float;
    for (int threads = 1; threads <= most; ++threads) {
        tenon::set_num_threads(threads);
        for (long n : {1l << 20, 1l << 24}) {
            Arena x(n);
            copying::Copy copy(std::size_t(n) * sizeof(float));
            // Parameter and states are read and written, the gradient is read.
            auto run = [&](const char* name, const auto& rule, bool clear = false) {
                constexpr int states = std::remove_cvref_t<decltype(rule)>::states;
                compare(name, n, 12 + 8 * states + 4 * clear, repeats, copy, [&] {
                    kernels::fused_step(rule, n, x.p.data(), x.g.data(), x.m.data(), x.v.data(), x.w.data(), clear);
                });
            };
            run("sgd", kernels::Sgd<T, false>(kernels::sgd_scalars(2, {.lr = 1e-4})));
            run("sgd_momentum", kernels::Sgd<T, true>(kernels::sgd_scalars(2, {.lr = 1e-4, .momentum = 0.9})));
            run("sgd_nesterov", kernels::Sgd<T, true, true>(kernels::sgd_scalars(2, {.lr = 1e-4, .momentum = 0.9, .nesterov = true})));
            run("asgd", kernels::Asgd<T>({.lr = 1e-4, .t0 = 1}, 100));
            run("adam", kernels::Adam<T>(kernels::adam_scalars(100, {})));
            run("adam_clear", kernels::Adam<T>(kernels::adam_scalars(100, {})), true);
            run("adamw", kernels::Adam<T>(kernels::adamw_scalars(100, {})));
            run("amsgrad", kernels::Adam<T, true>(kernels::adam_scalars(100, {})));
            run("adabound", kernels::AdaBound<T>(kernels::adabound_scalars(100, {})));
            run("adabound_clear", kernels::AdaBound<T>(kernels::adabound_scalars(100, {})), true);
            run("amsbound", kernels::AdaBound<T, true>(kernels::adabound_scalars(100, {})));
            run("rmsprop", kernels::Rmsprop<T, false, false>({.lr = 1e-4}, 100));
            run("rmsprop_momentum", kernels::Rmsprop<T, true, false>({.lr = 1e-4, .momentum = 0.9}, 100));
            run("rmsprop_centered", kernels::Rmsprop<T, true, true>({.lr = 1e-4, .momentum = 0.9, .centered = true}, 100));
            run("adagrad", kernels::Adagrad<T>({.lr = 1e-4}, 100));
            run("adadelta", kernels::Adadelta<T>({.lr = 1e-4}, 100));
            run("nadam", kernels::Nadam<T>({}, 100, 0.1));
            run("radam", kernels::Radam<T>({}, 100));
            run("adamax", kernels::Adamax<T>({}, 100));
            run("adabelief", kernels::AdaBelief<T>({}, 100));
            run("yogi", kernels::Yogi<T>({}, 100));
            run("adamod", kernels::AdaMod<T>({}, 100));
            run("lion", kernels::Lion<T>({}, 100));
            run("rprop", kernels::Rprop<T>({}, 100));
            run("lookahead", kernels::Lookahead<T>(0.5));
            run("average", kernels::MoveTowards<T>(0.01));
            run("sdr_deviation", kernels::SdrDeviation<T, true>(0.1, 0.7, 0, 1));
            // Drawing weights: mean and deviation are read, weights are written; the draw takes longer than that.
            for (const auto& [name, family] : {std::pair{"perturb_gaussian", kernels::NoiseFamily::gaussian}, {"perturb_uniform", kernels::NoiseFamily::uniform}})
                compare(name, n, 12, repeats, copy, [&] { kernels::perturb({family}, tenon::Key{1}, n, x.p.data(), static_cast<const T*>(x.m.data()), T(0), x.w.data()); });
            // Two passes: the gradient and the state of the first are read again.
            const T* none = nullptr;
            compare("lars", n, 28, repeats, copy, [&] {
                kernels::layerwise_step(kernels::Lars<T>({.lr = 1e-4}, 2), n, x.p.data(), x.g.data(), x.m.data(), x.v.data(), true, false, none);
            });
            compare("lamb", n, 40, repeats, copy, [&] {
                kernels::layerwise_step(kernels::Lamb<T>({.lr = 1e-4}, 100), n, x.p.data(), x.g.data(), x.m.data(), x.v.data(), true, false, none);
            });
            compare("sum_of_squares", n, 4, repeats, copy, [&] {
                const double sum = kernels::sum_of_squares(n, x.p.data());
                if (sum < 0) std::abort();
            });
        }
    }
}

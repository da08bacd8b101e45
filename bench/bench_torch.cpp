// PyTorch's side of the comparisons, all cases in one program because one file that includes it takes a minute to
// compile. Where PyTorch has several ways to do a thing, the fastest counts.
//
//   bench_torch [filter]      prints one JSON object per line: case, unit, value, lib, threads
#include <ATen/Parallel.h>
#include <torch/torch.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>
#include <thread>
#include <vector>

namespace {

const char* filter = "";
int threads = 1;

bool wanted(const std::string& name) { return name.find(filter) != std::string::npos; }

// Of one thread, the time it had a core: a shared machine counts for nothing then.
double now() {
    if (threads > 1) return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
    timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

// Seconds of one call, best (a shared machine only ever slows down) and median: warmed up, samples of at least a
// millisecond, half a second of them.
struct Seconds {
    double best, median;
    bool operator<(const Seconds& other) const { return best < other.best; }
};
template <class F>
Seconds seconds(F&& f) {
    f();
    const double first = now();
    f();
    const double once = now() - first;
    const long batch = once > 1e-3 ? 1 : static_cast<long>(1e-3 / std::max(once, 1e-8)) + 1;
    for (const double end = now() + 0.05; now() < end;) f();
    std::vector<double> samples;
    for (const double end = now() + 0.5; samples.size() < 5 || (now() < end && samples.size() < 200);) {
        const double start = now();
        for (long i = 0; i < batch; ++i) f();
        samples.push_back((now() - start) / static_cast<double>(batch));
    }
    std::sort(samples.begin(), samples.end());
    return {samples[0], samples[samples.size() / 2]};
}

void print(const std::string& name, const char* unit, double value, double median) {
    std::printf("{\"case\": \"%s\", \"unit\": \"%s\", \"value\": %.6g, \"median\": %.6g, \"lib\": \"PyTorch\", \"threads\": %d}\n",
                name.c_str(), unit, value, median, threads);
    std::fflush(stdout);
}
void report(const std::string& name, const char* unit, double units_per_second, Seconds time) {
    print(name, unit, units_per_second * time.best, units_per_second * time.median);
}

void small_tensors() {
    if (wanted("add 8 elements")) {
        const c10::InferenceMode guard;
        const auto a = torch::randn({8}), b = torch::randn({8});
        report("add 8 elements", "ns", 1e9, seconds([&] { auto c = a + b; }));
    }
    if (wanted("add 8 elements recorded")) {
        const auto a = torch::randn({8}, torch::requires_grad()), b = torch::randn({8});
        report("add 8 elements recorded", "ns", 1e9, seconds([&] { auto c = a + b; }));
    }
}

void elementwise() {
    const long n = 1000000;
    if (wanted("tanh 1M")) {
        const c10::InferenceMode guard;
        const auto x = torch::randn({n});
        auto y = torch::empty({n});
        report("tanh 1M", "ns/element", 1e9 / static_cast<double>(n), seconds([&] { torch::tanh_out(y, x); }));
    }
    if (wanted("silu(x*w+b) 1M forward")) {
        const c10::InferenceMode guard;
        const auto x = torch::randn({n}), w = torch::randn({n}), b = torch::randn({n});
        report("silu(x*w+b) 1M forward", "us", 1e6, seconds([&] { auto y = torch::addcmul(b, x, w); torch::silu_(y); }));
    }
    if (wanted("silu(x*w+b) 1M forward+backward")) {
        auto x = torch::randn({n}, torch::requires_grad()), w = torch::randn({n}, torch::requires_grad());
        auto b = torch::randn({n}, torch::requires_grad());
        const auto dy = torch::randn({n});
        report("silu(x*w+b) 1M forward+backward", "us", 1e6, seconds([&] {
                   torch::silu(torch::addcmul(b, x, w)).backward(dy);
                   for (auto* leaf : {&x, &w, &b}) leaf->mutable_grad().reset();
               }));
    }
    if (wanted("dropout 2708x1433")) {
        {
            const torch::NoGradGuard guard;
            const auto x = torch::randn({2708, 1433});
            report("dropout 2708x1433", "us", 1e6, seconds([&] { auto y = torch::dropout(x, 0.5, true); }));
        }
        auto x = torch::randn({2708, 1433}, torch::requires_grad());
        const auto dy = torch::randn({2708, 1433});
        report("dropout 2708x1433 F+B", "us", 1e6, seconds([&] {
                   torch::dropout(x, 0.5, true).backward(dy);
                   x.mutable_grad().reset();
               }));
    }
    if (wanted("softmax+cross_entropy 128x10 F+B")) {
        auto x = torch::randn({128, 10}, torch::requires_grad());
        const auto labels = torch::randint(10, {128}, torch::kInt64);
        report("softmax+cross_entropy 128x10 F+B", "us", 1e6, seconds([&] {
                   torch::cross_entropy_loss(x, labels).backward();
                   x.mutable_grad().reset();
               }));
    }
}

// What torch.optim.Adam(fused=True) calls; the C++ optimiser class has no such option.
struct FusedAdam {
    std::vector<torch::Tensor> parameters, m, v, steps;
    explicit FusedAdam(std::vector<torch::Tensor> own) : parameters(std::move(own)) {
        for (const auto& p : parameters) {
            m.push_back(torch::zeros_like(p));
            v.push_back(torch::zeros_like(p));
            steps.push_back(torch::zeros({}));
        }
    }
    void step() {
        const torch::NoGradGuard guard;
        std::vector<torch::Tensor> gradients;
        for (const auto& p : parameters) gradients.push_back(p.grad());
        for (auto& s : steps) s += 1;
        at::_fused_adam_(parameters, gradients, m, v, {}, steps, 1e-3, 0.9, 0.999, 0.0, 1e-8, false, false);
    }
    void zero_grad() {
        for (auto& p : parameters) p.mutable_grad().reset();
    }
};

void adam() {
    if (!wanted("adam 4M parameters")) return;
    // 160 tensors, as of a network; gradients stay.
    std::vector<torch::Tensor> parameters;
    for (int i = 0; i < 160; ++i) {
        auto p = torch::randn({25000}, torch::requires_grad());
        p.mutable_grad() = torch::randn({25000});
        parameters.push_back(p);
    }
    FusedAdam fused(parameters);
    torch::optim::Adam plain(parameters, torch::optim::AdamOptions(1e-3));
    const Seconds a = seconds([&] { fused.step(); }), b = seconds([&] { plain.step(); });
    report("adam 4M parameters", "us", 1e6, std::min(a, b));
}

void mlp(const char* name, std::vector<long> widths, long batch) {
    if (!wanted(name)) return;
    std::vector<torch::Tensor> parameters;
    for (std::size_t i = 0; i + 1 < widths.size(); ++i) {
        parameters.push_back((torch::randn({widths[i + 1], widths[i]}) * 0.05).set_requires_grad(true));
        parameters.push_back(torch::zeros({widths[i + 1]}, torch::requires_grad()));
    }
    const auto x = torch::randn({batch, widths[0]});
    const auto labels = torch::randint(widths.back(), {batch}, torch::kInt64);
    auto run = [&](auto& optimizer) {
        return seconds([&] {
            optimizer.zero_grad();
            auto h = x;
            for (std::size_t i = 0; i < parameters.size(); i += 2) {
                h = torch::linear(h, parameters[i], parameters[i + 1]);
                if (i + 2 < parameters.size()) h = torch::relu(h);
            }
            torch::cross_entropy_loss(h, labels).backward();
            optimizer.step();
        });
    };
    FusedAdam fused(parameters);
    torch::optim::Adam plain(parameters, torch::optim::AdamOptions(1e-3));
    const Seconds a = run(fused), b = run(plain);
    report(name, "us", 1e6, std::min(a, b));
}

void sorting() {
    const c10::InferenceMode guard;
    const long million = 1 << 20;
    const auto flat = torch::randn({million}), rows = torch::randn({4096, 1000}), near_one = rows * 0.01 + 1;
    const auto whole = torch::randint(1 << 30, {million}, torch::kInt64);
    auto run = [](const char* name, auto&& f) {
        if (wanted(name)) report(name, "us", 1e6, seconds(f));
    };
    run("sort 1M float", [&] { auto y = flat.sort(); });
    run("sort 1M int64", [&] { auto y = whole.sort(); });
    run("sort 4096 rows of 1000", [&] { auto y = rows.sort(); });
    run("top 10 of 4096 rows of 1000", [&] { auto y = rows.topk(10); });
    run("top 1000 of 1M", [&] { auto y = flat.topk(1000); });
    run("kthvalue 4096 rows of 1000", [&] { auto y = rows.kthvalue(500); });
    run("cumsum 4096x1000 axis 1", [&] { auto y = rows.cumsum(1); });
    run("cumsum 4096x1000 axis 0", [&] { auto y = rows.cumsum(0); });
    run("cumsum 4M", [&] { auto y = rows.view(-1).cumsum(0); });
    run("cummax 4096x1000 axis 1", [&] { auto y = rows.cummax(1); });
    run("cummax 4096x1000 axis 0", [&] { auto y = rows.cummax(0); });
    run("sum 4096x1000 axis 1", [&] { auto y = rows.sum(1); });
    run("sum 4096x1000 axis 0", [&] { auto y = rows.sum(0); });
    run("prod 4096x1000 axis 1", [&] { auto y = near_one.prod(1); });
    run("prod 4096x1000 axis 0", [&] { auto y = near_one.prod(0); });
    run("amax 4096x1000 axis 1", [&] { auto y = rows.amax(1); });
    run("amax 4096x1000 axis 0", [&] { auto y = rows.amax(0); });
    run("max 4096x1000 axis 1", [&] { auto y = rows.max(1); });
    run("max 4096x1000 axis 0", [&] { auto y = rows.max(0); });
    run("var 4096x1000 axis 1", [&] { auto y = rows.var(1); });
    run("var 4096x1000 axis 0", [&] { auto y = rows.var(0); });
    run("logsumexp 4096x1000 axis 1", [&] { auto y = rows.logsumexp(1); });
    run("logsumexp 4096x1000 axis 0", [&] { auto y = rows.logsumexp(0); });
}

// The cases of bench_layers.cpp.
void layers() {
    auto run = [](const char* name, auto&& f) {
        if (wanted(name)) report(name, "us", 1e6, seconds(f));
    };
    {
        auto x = torch::randn({512, 81}, torch::requires_grad());
        const auto labels = torch::randint(81, {512}, torch::kInt64);
        run("cross_entropy 512x81 F+B", [&] {
            torch::cross_entropy_loss(x, labels).backward();
            x.mutable_grad().reset();
        });
    }
    {
        auto x = torch::randn({128, 64, 32, 32}, torch::requires_grad()), w = torch::ones({64}, torch::requires_grad()), b = torch::zeros({64}, torch::requires_grad());
        const auto mean = torch::zeros({64}), variance = torch::ones({64}), dy = torch::randn({128, 64, 32, 32});
        run("batch_norm 128x64x32x32 F+B", [&] {
            torch::batch_norm(x, w, b, mean, variance, true, 0.1, 1e-5, false).backward(dy);
            for (auto* leaf : {&x, &w, &b}) leaf->mutable_grad().reset();
        });
    }
    {
        auto x = torch::randn({4096, 1024}, torch::requires_grad()), w = torch::ones({1024}, torch::requires_grad()), b = torch::zeros({1024}, torch::requires_grad());
        const auto dy = torch::randn({4096, 1024});
        run("layer_norm 4096x1024 F+B", [&] {
            torch::layer_norm(x, {1024}, w, b).backward(dy);
            for (auto* leaf : {&x, &w, &b}) leaf->mutable_grad().reset();
        });
    }
    if (wanted("index_add 65536x64 1M F+B") || wanted("gather+index_add 65536x64 1M F+B")) {
        const long rows = 65536, count = 1000000, width = 64;
        auto x = torch::randn({rows, width}, torch::requires_grad());
        const auto index = torch::randint(rows, {count}, torch::kInt64), other = torch::randint(rows, {count}, torch::kInt64);
        const auto dy = torch::randn({rows, width}), base = torch::zeros({rows, width});
        {
            auto src = torch::randn({count, width}, torch::requires_grad());
            run("index_add 65536x64 1M F+B", [&] {
                x.index_add(0, index, src).backward(dy);
                for (auto* leaf : {&x, &src}) leaf->mutable_grad().reset();
            });
            const torch::NoGradGuard guard;
            run("index_add 65536x64 1M", [&] { auto y = x.index_add(0, index, src); });
        }
        run("gather+index_add 65536x64 1M F+B", [&] {
            base.index_add(0, index, x.index_select(0, other)).backward(dy);
            x.mutable_grad().reset();
        });
    }
}

void gemm() {
    const long shapes[][3] = {{64, 64, 64},      {256, 256, 256},    {512, 512, 512},   {1024, 1024, 1024},
                              {2048, 2048, 2048}, {2708, 16, 1433},   {2708, 7, 16},     {2708, 64, 1433},
                              {160, 192, 64},    {9600, 64, 96},     {128, 4096, 2048}, {20, 4096, 2048},
                              {512, 1024, 12544}, {1, 4096, 1024},    {128, 256, 784},   {784, 256, 128}};
    const c10::InferenceMode guard;
    for (const auto& [m, n, k] : shapes) {
        const std::string name = "gemm " + std::to_string(m) + "x" + std::to_string(n) + "x" + std::to_string(k);
        if (!wanted(name)) continue;
        const auto a = torch::randn({m, k}), b = torch::randn({k, n});
        auto c = torch::empty({m, n});
        const double flops = 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
        const Seconds time = seconds([&] { at::mm_out(c, a, b); });
        print(name, "GF/s", 1e-9 * flops / time.best, 1e-9 * flops / time.median);
    }
}

// The cases of bench_gemm_types.cpp. Products of bytes are a private operator there.
void gemm_types() {
    const long shapes[][3] = {{256, 256, 256},   {1024, 1024, 1024}, {2048, 2048, 2048}, {128, 4096, 2048}, {20, 4096, 2048},
                              {1, 4096, 2048},   {160, 192, 64},     {128, 256, 784},    {2708, 16, 1433},  {64, 64, 64}};
    const c10::InferenceMode guard;
    for (const auto& [m, n, k] : shapes)
        for (const auto& [type, dtype] : {std::pair{"bf16", torch::kBFloat16}, std::pair{"half", torch::kHalf}})
            for (const bool transposed : {false, true}) {
                if (transposed && dtype == torch::kHalf) continue;
                const std::string name = std::string("gemm ") + type + " " + std::to_string(m) + "x" + std::to_string(n) + "x" + std::to_string(k) + (transposed ? " NT" : "");
                if (!wanted(name)) continue;
                const auto a = torch::randn({m, k}).to(dtype);
                const auto b = transposed ? torch::randn({n, k}).to(dtype).t() : torch::randn({k, n}).to(dtype);
                auto c = torch::empty({m, n}, dtype);
                const double operations = 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
                const Seconds time = seconds([&] { at::mm_out(c, a, b); });
                print(name, "Gop/s", 1e-9 * operations / time.best, 1e-9 * operations / time.median);
            }
}

// The cases of bench_pool.cpp.
void images() {
    const auto x = torch::randn({64, 64, 56, 56}), small = torch::randn({16, 64, 56, 56});
    const auto last = x.contiguous(torch::MemoryFormat::ChannelsLast), grid = torch::rand({16, 56, 56, 2}) * 2 - 1;
    const auto weight = torch::ones({64}), bias = torch::zeros({64});
    auto mean = torch::zeros({64}), variance = torch::ones({64});
    const auto run = [](const std::string& name, const torch::Tensor& input, auto&& f) {
        if (!wanted(name)) return;
        torch::Tensor y;
        {
            const torch::NoGradGuard guard;
            report(name, "ms", 1e3, seconds([&] { y = f(input); }));
        }
        const auto dy = torch::randn_like(y);
        auto leaf = input.clone().set_requires_grad(true);
        report(name + " F+B", "ms", 1e3, seconds([&] {
                   f(leaf).backward(dy);
                   leaf.mutable_grad().reset();
               }));
    };
    run("max_pool 2x2", x, [](const auto& a) { return torch::max_pool2d(a, 2); });
    run("max_pool 3x3/2", x, [](const auto& a) { return torch::max_pool2d(a, 3, 2, 1); });
    run("max_pool 3x3/2 channels-last", last, [](const auto& a) { return torch::max_pool2d(a, 3, 2, 1); });
    run("avg_pool 2x2", x, [](const auto& a) { return torch::avg_pool2d(a, 2); });
    run("avg_pool 3x3/2", x, [](const auto& a) { return torch::avg_pool2d(a, 3, 2, 1); });
    run("avg_pool 3x3/2 channels-last", last, [](const auto& a) { return torch::avg_pool2d(a, 3, 2, 1); });
    run("adaptive_avg_pool 7x7", x, [](const auto& a) { return torch::adaptive_avg_pool2d(a, {7, 7}); });
    run("adaptive_avg_pool 1x1", x, [](const auto& a) { return torch::adaptive_avg_pool2d(a, {1, 1}); });
    run("adaptive_max_pool 5x5", x, [](const auto& a) { return std::get<0>(torch::adaptive_max_pool2d(a, {5, 5})); });
    run("bilinear x2", small, [](const auto& a) { return torch::upsample_bilinear2d(a, {112, 112}, false); });
    run("bilinear to 100", small, [](const auto& a) { return torch::upsample_bilinear2d(a, {100, 100}, false); });
    run("nearest x2", small, [](const auto& a) { return torch::upsample_nearest2d(a, {112, 112}); });
    run("bicubic to 100", small, [](const auto& a) { return torch::upsample_bicubic2d(a, {100, 100}, false); });
    run("grid_sample", small, [&](const auto& a) { return torch::grid_sampler(a, grid, 0, 0, false); });
    run("group_norm 32", x, [&](const auto& a) { return torch::group_norm(a, 32, weight, bias); });
    run("batch_norm2d train", x, [&](const auto& a) { return torch::batch_norm(a, weight, bias, mean, variance, true, 0.1, 1e-5, false); });
}

// The cases of bench_recurrent.cpp.
template <class M>
void recurrent(const char* cell, long steps, long batch, long width) {
    const std::string name = std::string(cell) + " T" + std::to_string(steps) + " b" + std::to_string(batch) + " h" + std::to_string(width) + " F+B";
    if (!wanted(name)) return;
    M module(width, width);
    auto x = torch::randn({steps, batch, width}, torch::requires_grad());
    const auto dy = torch::randn({steps, batch, width});
    report(name, "us", 1e6, seconds([&] {
               std::get<0>(module(x)).backward(dy);
               x.mutable_grad().reset();
               module->zero_grad();
           }));
}

}  // namespace

// The cases of bench_attention.cpp.
void attention() {
    const auto run = [](long batch, long heads, long positions, long width, bool causal) {
        const std::string name =
            "attention " + std::to_string(batch) + "x" + std::to_string(heads) + "x" + std::to_string(positions) + "x" + std::to_string(width) + (causal ? " causal" : "");
        if (!wanted(name + " F+B")) return;
        auto q = torch::randn({batch, heads, positions, width}, torch::requires_grad()), k = torch::randn_like(q).requires_grad_(), v = torch::randn_like(q).requires_grad_();
        const auto dy = torch::randn({batch, heads, positions, width});
        {
            const torch::NoGradGuard guard;
            report(name, "us", 1e6, seconds([&] { auto y = at::scaled_dot_product_attention(q, k, v, {}, 0, causal); }));
        }
        report(name + " F+B", "us", 1e6, seconds([&] {
                   at::scaled_dot_product_attention(q, k, v, {}, 0, causal).backward(dy);
                   for (auto* leaf : {&q, &k, &v}) leaf->mutable_grad().reset();
               }));
    };
    for (const bool causal : {false, true}) {
        run(8, 8, 512, 64, causal);
        run(8, 8, 128, 64, causal);
        run(1, 8, 2048, 64, causal);
    }
    run(1, 1, 2048, 64, false);
    run(32, 4, 34, 32, false);
}

int main(int argc, char** argv) {
    if (const char* wish = std::getenv("TENON_BENCH_FILTER")) filter = wish;
    if (argc > 1) filter = argv[1];
    at::set_num_interop_threads(1);
    const int most = std::thread::hardware_concurrency() >= 2 ? 2 : 1;
    for (threads = 1; threads <= most; ++threads) {
        at::set_num_threads(threads);
        small_tensors();
        elementwise();
        adam();
        mlp("mlp 64-64-64-10 b32 adam step", {64, 64, 64, 10}, 32);
        mlp("mlp 784-256-128-10 b128 adam step", {784, 256, 128, 10}, 128);
        sorting();
        layers();
        attention();
        gemm();
        gemm_types();
        images();
        recurrent<torch::nn::LSTM>("LSTM", 35, 20, 200);
        recurrent<torch::nn::LSTM>("LSTM", 20, 128, 1024);
        recurrent<torch::nn::LSTM>("LSTM", 20, 32, 64);
        recurrent<torch::nn::GRU>("GRU", 60, 160, 64);
        recurrent<torch::nn::GRU>("GRU", 20, 96, 64);
    }
}

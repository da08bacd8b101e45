// Sorting, top-k, running sums and reductions; the cases that PyTorch runs too bear the names of bench_torch. Those that
// wait for memory are also printed against reading or copying the same bytes, in the same run.
// Usage: bench_sort [repeats]
#include <tenon/kernels/cpu/scan.hpp>
#include <tenon/kernels/cpu/sort.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

using namespace tenon;
namespace k = tenon::kernels::cpu;

namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// Seconds of one call, best: a shared machine only ever slows down.
template <class F>
double seconds(int repeats, F&& f) {
    f();
    double best = 1e9;
    for (int r = 0; r < repeats; ++r) {
        const double start = now();
        f();
        best = std::min(best, now() - start);
    }
    return best;
}
void print(const char* name, double time) {
    std::printf("{\"case\":\"%s\",\"unit\":\"us\",\"value\":%.5g,\"lib\":\"ours\",\"threads\":%d,\"isa\":\"%s\"}\n", name, time * 1e6, num_threads(), tenon::name(isa()));
    std::fflush(stdout);
}
void print_ratio(const char* name, const char* peer, double bytes, double ours, double theirs) {
    std::printf("{\"case\":\"%s\",\"unit\":\"GB/s\",\"ours\":%.2f,\"peer\":\"%s\",\"peer_value\":%.2f,\"ratio\":%.3f,\"threads\":%d,\"isa\":\"%s\"}\n", name, 1e-9 * bytes / ours,
                peer, 1e-9 * bytes / theirs, theirs / ours, num_threads(), tenon::name(isa()));
    std::fflush(stdout);
}

// What reading costs: every byte goes through a register.
struct ReadBody {
    template <int Lanes>
    static TENON_ALWAYS_INLINE void run(const float* x, long n, float* out) {
        using V = simd<std::uint32_t, Lanes>;
        const std::uint32_t* p = reinterpret_cast<const std::uint32_t*>(x);
        V a(0), b(0), c(0), d(0);
        for (long i = 0; i + 4 * Lanes <= n; i += 4 * Lanes) {
            a = V(typename V::Raw(a.v ^ V::load(p + i).v));
            b = V(typename V::Raw(b.v ^ V::load(p + i + Lanes).v));
            c = V(typename V::Raw(c.v ^ V::load(p + i + 2 * Lanes).v));
            d = V(typename V::Raw(d.v ^ V::load(p + i + 3 * Lanes).v));
        }
        const V all(typename V::Raw((a.v ^ b.v) ^ (c.v ^ d.v)));
        *out = static_cast<float>(all[0] ^ all[Lanes - 1]);
    }
};

}  // namespace

int main(int argc, char** argv) {
    const int repeats = argc > 1 ? std::atoi(argv[1]) : 15;
    constexpr long million = 1 << 20, rows = 4096, columns = 1000, n = rows * columns;
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    std::vector<float> x(n), near_one(n), y(n), out(rows);
    std::vector<std::int64_t> whole(million), sorted(million), index(n);
    for (float& v : x) v = normal(random);
    for (long i = 0; i < n; ++i) near_one[static_cast<std::size_t>(i)] = 1 + 0.01f * x[static_cast<std::size_t>(i)];  // products that stay normal numbers
    for (std::int64_t& v : whole) v = static_cast<std::int64_t>(random() >> 2);

    const int most = std::min(num_threads(), 2);
    for (int threads = 1; threads <= most; ++threads) {
        set_num_threads(threads);
        print("sort 1M float", seconds(repeats, [&] { k::sort(1, million, 1, x.data(), y.data(), index.data(), false); }));
        print("sort 1M int64", seconds(repeats, [&] { k::sort(1, million, 1, whole.data(), sorted.data(), index.data(), false); }));
        print("sort 4096 rows of 1000", seconds(repeats / 3 + 1, [&] { k::sort(rows, columns, 1, x.data(), y.data(), index.data(), false); }));
        print("top 10 of 4096 rows of 1000", seconds(repeats, [&] { k::topk(rows, columns, 1, 10, x.data(), y.data(), index.data(), true, true); }));
        print("top 1000 of 1M", seconds(repeats, [&] { k::topk(1, million, 1, 1000, x.data(), y.data(), index.data(), true, true); }));
        print("kthvalue 4096 rows of 1000", seconds(repeats, [&] { k::kth_value(rows, columns, 1, 499, x.data(), y.data(), index.data(), false); }));

        std::vector<float> parts(64);
        const double read = seconds(repeats, [&] {
            parallel_for(64, [&](long p) { dispatch<ReadBody>(static_cast<const float*>(x.data()) + p * (n / 64), n / 64, parts.data() + p); });
        });
        const double copy = seconds(repeats, [&] { parallel_for(64, [&](long p) { std::memcpy(y.data() + p * (n / 64), x.data() + p * (n / 64), n / 64 * sizeof(float)); }); });
        auto scan = [&](const char* name, auto&& f) {
            const double time = seconds(repeats, f);
            print(name, time);
            print_ratio(name, "memcpy", 8. * n, time, copy);
        };
        scan("cumsum 4096x1000 axis 1", [&] { k::cumsum(rows, columns, 1, x.data(), y.data()); });
        scan("cumsum 4096x1000 axis 0", [&] { k::cumsum(1, rows, columns, x.data(), y.data()); });
        scan("cumsum 4M", [&] { k::cumsum(1, n, 1, x.data(), y.data()); });
        print("cummax 4096x1000 axis 1", seconds(repeats, [&] { k::cummax(rows, columns, 1, x.data(), y.data(), index.data()); }));
        print("cummax 4096x1000 axis 0", seconds(repeats, [&] { k::cummax(1, rows, columns, x.data(), y.data(), index.data()); }));
        auto reduce = [&](const char* name, auto&& f) {
            const double time = seconds(repeats, f);
            print(name, time);
            print_ratio(name, "read", 4. * n, time, read);
        };
        std::int64_t* const none = nullptr;
        reduce("sum 4096x1000 axis 1", [&] { k::reduce_sum(rows, columns, 1, x.data(), out.data()); });
        reduce("sum 4096x1000 axis 0", [&] { k::reduce_sum(1, rows, columns, x.data(), out.data()); });
        reduce("prod 4096x1000 axis 1", [&] { k::reduce_prod(rows, columns, 1, near_one.data(), out.data()); });
        reduce("prod 4096x1000 axis 0", [&] { k::reduce_prod(1, rows, columns, near_one.data(), out.data()); });
        reduce("amax 4096x1000 axis 1", [&] { k::reduce_max(rows, columns, 1, x.data(), out.data(), none); });
        reduce("amax 4096x1000 axis 0", [&] { k::reduce_max(1, rows, columns, x.data(), out.data(), none); });
        reduce("max 4096x1000 axis 1", [&] { k::reduce_max(rows, columns, 1, x.data(), out.data(), index.data()); });
        reduce("max 4096x1000 axis 0", [&] { k::reduce_max(1, rows, columns, x.data(), out.data(), index.data()); });
        reduce("var 4096x1000 axis 1", [&] { k::reduce_var(rows, columns, 1, x.data(), 1, out.data(), static_cast<float*>(nullptr)); });
        reduce("var 4096x1000 axis 0", [&] { k::reduce_var(1, rows, columns, x.data(), 1, out.data(), static_cast<float*>(nullptr)); });
        reduce("logsumexp 4096x1000 axis 1", [&] { k::reduce_logsumexp(rows, columns, 1, x.data(), out.data()); });
        reduce("logsumexp 4096x1000 axis 0", [&] { k::reduce_logsumexp(1, rows, columns, x.data(), out.data()); });
    }
}

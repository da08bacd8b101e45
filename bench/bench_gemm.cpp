// The matrix product against OpenBLAS and oneDNN. One executable per library (their symbols collide), from this file:
//   g++ -std=c++20 -O2 -Ikernels bench/bench_gemm.cpp -o bench_gemm -pthread
//   g++ -std=c++20 -O2 -Ikernels -DTENON_BENCH_OPENBLAS bench/bench_gemm.cpp -o bench_gemm_openblas -pthread -lopenblas
//   g++ -std=c++20 -O2 -Ikernels -DTENON_BENCH_DNNL -fopenmp bench/bench_gemm.cpp -o bench_gemm_dnnl -pthread -ldnnl
// Options: --threads 1 (or 2, ...), --rounds 5, --filter text, --lib (prints which library and stops).
// Every round measures all cases in turn for some milliseconds each; a line of JSON per case gives the best round (a
// shared machine only ever slows down) and the median. The peak of fused multiply-adds is measured in the same rounds.
#include "products.hpp"

#include <tenon/base/dispatch.hpp>
#include <tenon/base/parallel.hpp>
#include <tenon/base/simd.hpp>

#if defined(TENON_BENCH_OPENBLAS)
#include <cblas.h>
extern "C" void openblas_set_num_threads(int);
static const char* const library = "openblas";
#elif defined(TENON_BENCH_DNNL)
#include <dnnl.h>
#include <omp.h>
static const char* const library = "dnnl";
#else
#include <tenon/kernels/cpu/gemm.hpp>
static const char* const library = "ours";
#endif

namespace {

using products::now;

struct Case {
    long m, n, k;
    char a = 'N', b = 'N';
    const char* from = "";
    std::string name() const {
        std::string text = "gemm " + std::to_string(m) + "x" + std::to_string(n) + "x" + std::to_string(k);
        if (a == 'T' || b == 'T') text += std::string(" ") + a + b;
        return text;
    }
};

const Case cases[] = {
    {64, 64, 64},
    {256, 256, 256},
    {512, 512, 512},
    {1024, 1024, 1024},
    {2048, 2048, 2048},
    {2708, 16, 1433, 'N', 'N', "GCN on Cora, layer 1"},
    {2708, 7, 16, 'N', 'N', "GCN on Cora, layer 2"},
    {2708, 64, 1433, 'N', 'N', "GAT on Cora"},
    {160, 192, 64, 'N', 'N', "QMIX, GRU step"},
    {9600, 64, 96, 'N', 'N', "QMIX, first layer"},
    {128, 4096, 2048, 'N', 'N', "LSTM gates"},
    {20, 4096, 2048, 'N', 'N', "decoder step"},
    {512, 1024, 12544, 'N', 'N', "Mask R-CNN box head"},
    {1, 4096, 1024, 'N', 'N', "inference"},
    {128, 256, 784, 'N', 'N', "MLP, first layer"},
    {784, 256, 128, 'N', 'N', "MLP, first layer's weights, NN"},
    {128, 256, 784, 'N', 'T', "MLP, first layer, weight [out, in]"},
    {256, 784, 128, 'T', 'N', "MLP, first layer's weight gradient"},
    {128, 784, 256, 'N', 'N', "MLP, first layer's input gradient"},
    {128, 128, 256, 'N', 'T', "MLP, second layer"},
    {128, 10, 128, 'N', 'T', "MLP, last layer"},
    {10, 128, 128, 'T', 'N', "MLP, last layer's weight gradient"},
    {32, 64, 64, 'N', 'T', "small MLP"},
    {64, 64, 32, 'T', 'N', "small MLP, weight gradient"},
    {32, 10, 64, 'N', 'T', "small MLP, last layer"},
    {4096, 1, 1024, 'N', 'N', "matrix times vector"},
    {8, 8, 8, 'N', 'N', "overhead"},
};

void product(const Case& x, const float* a, const float* b, float* c) {
    const long lda = x.a == 'N' ? x.k : x.m, ldb = x.b == 'N' ? x.n : x.k;
#if defined(TENON_BENCH_OPENBLAS)
    cblas_sgemm(CblasRowMajor, x.a == 'N' ? CblasNoTrans : CblasTrans, x.b == 'N' ? CblasNoTrans : CblasTrans, int(x.m),
                int(x.n), int(x.k), 1, a, int(lda), b, int(ldb), 0, c, int(x.n));
#elif defined(TENON_BENCH_DNNL)
    dnnl_sgemm(x.a, x.b, x.m, x.n, x.k, 1, a, lda, b, ldb, 0, c, x.n);
#else
    using View = tenon::kernels::cpu::MatrixView<float>;
    tenon::kernels::cpu::gemm<float>(x.m, x.n, x.k, x.a == 'N' ? View{a, lda, 1} : View{a, 1, lda},
                                     x.b == 'N' ? View{b, ldb, 1} : View{b, 1, ldb}, c, x.n);
#endif
}

void use_threads(int threads) {
#if defined(TENON_BENCH_OPENBLAS)
    openblas_set_num_threads(threads);
#elif defined(TENON_BENCH_DNNL)
    omp_set_num_threads(threads);
#endif
    tenon::set_num_threads(threads);
}

// Independent chains of multiply-adds in registers.
struct Peak {
    template <int Lanes>
    static TENON_ALWAYS_INLINE void run(float* out, long steps) {
        using V = typename tenon::impl::vector_of<float, Lanes>::type;
        using U = typename tenon::impl::vector_of<float, Lanes>::unaligned;
        V sum[12];
        const V x = *reinterpret_cast<U*>(out), y = *reinterpret_cast<U*>(out + Lanes);
        TENON_UNROLL(12)
        for (int i = 0; i < 12; ++i) sum[i] = y * float(i);
        for (long l = 0; l < steps; ++l) {
            TENON_CONTRACT
            TENON_UNROLL(12)
            for (int i = 0; i < 12; ++i) sum[i] = sum[i] * x + y;
        }
        V all = sum[0];
        TENON_UNROLL(12)
        for (int i = 1; i < 12; ++i) all = all + sum[i];
        *reinterpret_cast<U*>(out) = all;
    }
};

double peak_once() {
    alignas(64) static float memory[16][32];
    const long steps = 20000;
    const int lanes = tenon::isa() == tenon::Isa::avx512 ? 16 : tenon::isa() == tenon::Isa::avx2 ? 8 : 4, threads = tenon::num_threads();
    for (auto& row : memory) std::fill(row, row + 32, 0.5f);
    const double start = now();
    tenon::parallel_for(threads, [&](long t) { tenon::dispatch<Peak>(&memory[t % 16][0], steps); });
    return 2.0 * 12 * lanes * double(steps) * threads / (now() - start) * 1e-9;
}

}  // namespace

int main(int count, char** arguments) {
    const products::Options options(count, arguments, library);
    use_threads(options.threads);
    struct Measured {
        const Case* of;
        std::vector<float> a, b, c;
        products::Rates rates = {};
    };
    std::vector<Measured> all;
    for (const Case& x : cases) {
        if (!options.chosen(x.name())) continue;
        Measured mine{&x, std::vector<float>(std::size_t(x.m * x.k)), std::vector<float>(std::size_t(x.k * x.n)), std::vector<float>(std::size_t(x.m * x.n))};
        for (std::size_t i = 0; i < mine.a.size(); ++i) mine.a[i] = float(i % 13) * 0.1f - 0.6f;
        for (std::size_t i = 0; i < mine.b.size(); ++i) mine.b[i] = float(i % 11) * 0.1f - 0.5f;
        all.push_back(std::move(mine));
    }
    products::Rates peaks;
    for (int round = -1; round < options.rounds; ++round) {
        for (int i = 0; i < 5; ++i) peaks.all.push_back(peak_once());
        for (Measured& x : all)
            x.rates.sample(round, 2.0 * double(x.of->m) * double(x.of->n) * double(x.of->k), [&] { product(*x.of, x.a.data(), x.b.data(), x.c.data()); });
    }
    peaks.print(options, "fma peak", "GF/s");
    for (Measured& x : all) x.rates.print(options, x.of->name(), "GF/s", x.of->from);
}

// Products of bf16, half and bytes against our own float product and oneDNN. One executable per library, from this file:
//   g++ -std=c++20 -O2 -Ikernels bench/bench_gemm_types.cpp -o bench_gemm_types -pthread
//   g++ -std=c++20 -O2 -Ikernels -DTENON_BENCH_DNNL -fopenmp bench/bench_gemm_types.cpp -o bench_gemm_types_dnnl -pthread -ldnnl
// Options: --threads 1 (or 2, ...), --rounds 5, --filter text, --lib (prints which library and stops).
// Every round measures all cases in turn for some milliseconds each; a line of JSON per case gives the best round (a
// shared machine only ever slows down) and the median. "gemm float" is in every program, as the common measure; oneDNN's
// primitives are made once per case and pack B at each call, as ours do.
#include "products.hpp"

#include <tenon/base/parallel.hpp>
#include <tenon/kernels/cpu/gemm.hpp>
#include <tenon/kernels/cpu/gemm_half.hpp>
#include <tenon/kernels/cpu/gemm_int8.hpp>

#if defined(TENON_BENCH_DNNL)
#include <dnnl.hpp>
#include <omp.h>
static const char* const library = "dnnl";
#else
static const char* const library = "ours";
#endif

#include <functional>
#include <memory>

namespace {

namespace cpu = tenon::kernels::cpu;
using tenon::bf16;
using tenon::half;
using std::int8_t;
using std::int32_t;
using std::uint8_t;

const long shapes[][3] = {{256, 256, 256},   {1024, 1024, 1024}, {2048, 2048, 2048}, {128, 4096, 2048}, {20, 4096, 2048},
                          {1, 4096, 2048},   {160, 192, 64},     {128, 256, 784},    {2708, 16, 1433},  {64, 64, 64}};

struct Case {
    std::string name;
    double operations;
    std::function<void()> run;
    products::Rates rates = {};
};

template <class T>
std::shared_ptr<std::vector<T>> values(long n) {
    auto v = std::make_shared<std::vector<T>>(static_cast<std::size_t>(n));
    long i = 0;
    for (T& x : *v) {
        if constexpr (std::is_integral_v<T>) x = static_cast<T>(i % 251);
        else x = T(static_cast<float>(i % 13) * 0.125f - 0.625f);
        ++i;
    }
    return v;
}

#if defined(TENON_BENCH_DNNL)
template <class T>
constexpr auto dnnl_type = std::is_same_v<T, float>     ? dnnl::memory::data_type::f32
                           : std::is_same_v<T, bf16>    ? dnnl::memory::data_type::bf16
                           : std::is_same_v<T, half>    ? dnnl::memory::data_type::f16
                           : std::is_same_v<T, int8_t>  ? dnnl::memory::data_type::s8
                           : std::is_same_v<T, uint8_t> ? dnnl::memory::data_type::u8
                                                        : dnnl::memory::data_type::s32;
#endif

// The product of one shape and type; transposed: B is stored [n, k].
template <class A, class B, class C>
void add(std::vector<Case>& cases, const char* type, long m, long n, long k, bool transposed) {
    const std::string name = std::string("gemm ") + type + " " + std::to_string(m) + "x" + std::to_string(n) + "x" + std::to_string(k) + (transposed ? " NT" : "");
    const auto a = values<A>(m * k);
    const auto b = values<B>(k * n);
    const auto c = values<C>(m * n);
    std::function<void()> run;
#if defined(TENON_BENCH_DNNL)
    if constexpr (!std::is_same_v<A, float>) {
        try {
            using dnnl::memory;
            static dnnl::engine engine(dnnl::engine::kind::cpu, 0);
            static dnnl::stream stream(engine);
            const memory::desc ad({m, k}, dnnl_type<A>, memory::format_tag::ab);
            const memory::desc bd({k, n}, dnnl_type<B>, transposed ? memory::format_tag::ba : memory::format_tag::ab);
            const memory::desc cd({m, n}, dnnl_type<C>, memory::format_tag::ab);
            dnnl::matmul::primitive_desc description(dnnl::matmul::desc(ad, bd, cd), engine);
            const dnnl::matmul primitive(description);
            const memory am(ad, engine, a->data()), bm(bd, engine, b->data()), cm(cd, engine, c->data());
            run = [=] {
                primitive.execute(stream, {{DNNL_ARG_SRC, am}, {DNNL_ARG_WEIGHTS, bm}, {DNNL_ARG_DST, cm}});
                stream.wait();
            };
        } catch (const dnnl::error&) {
            return;  // it has none for this type on this machine
        }
    }
#endif
    if (!run) {
        const cpu::MatrixView<A> av{a->data(), k, 1};
        const cpu::MatrixView<B> bv = transposed ? cpu::MatrixView<B>{b->data(), 1, k} : cpu::MatrixView<B>{b->data(), n, 1};
        run = [=] {
            if constexpr (std::is_same_v<A, float>) cpu::gemm<float>(m, n, k, av, bv, c->data(), n);
            else if constexpr (std::is_integral_v<A>) cpu::gemm_int8<A, C>(m, n, k, av, bv, c->data(), n);
            else cpu::gemm_half<A, C>(m, n, k, av, bv, c->data(), n);
        };
    }
    // The lambdas hold the memory.
    cases.push_back({name, 2.0 * double(m) * double(n) * double(k), [=] { run(), static_cast<void>(a), static_cast<void>(b), static_cast<void>(c); }});
}

}  // namespace

int main(int count, char** arguments) {
    const products::Options options(count, arguments, library);
#if defined(TENON_BENCH_DNNL)
    omp_set_num_threads(options.threads);
#endif
    tenon::set_num_threads(options.threads);
    std::vector<Case> cases;
    for (const auto& s : shapes) {
        add<float, float, float>(cases, "float", s[0], s[1], s[2], false);
        add<bf16, bf16, bf16>(cases, "bf16", s[0], s[1], s[2], false);
        add<bf16, bf16, bf16>(cases, "bf16", s[0], s[1], s[2], true);
        add<bf16, bf16, float>(cases, "bf16 to float", s[0], s[1], s[2], false);
        add<half, half, half>(cases, "half", s[0], s[1], s[2], false);
        add<int8_t, int8_t, int32_t>(cases, "int8", s[0], s[1], s[2], false);
        add<uint8_t, int8_t, int32_t>(cases, "uint8", s[0], s[1], s[2], false);
        add<uint8_t, int8_t, int32_t>(cases, "uint8", s[0], s[1], s[2], true);
    }
    for (int round = -1; round < options.rounds; ++round)
        for (Case& x : cases)
            if (options.chosen(x.name)) x.rates.sample(round, x.operations, x.run);
    for (Case& x : cases) x.rates.print(options, x.name, "Gop/s");
}

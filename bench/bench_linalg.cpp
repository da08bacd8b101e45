// Factorisations against LAPACK as OpenBLAS brings it along, double precision. One executable per library, from this file:
//   g++ -std=c++20 -O2 -Ikernels bench/bench_linalg.cpp -o bench_linalg
//   g++ -std=c++20 -O2 -Ikernels -DTENON_BENCH_OPENBLAS bench/bench_linalg.cpp -o bench_linalg_openblas -lopenblas
// Options: --threads 1 (or 2, ...), --rounds 5, --filter text. Microseconds for all matrices of a case, the copy of its input
// included; every round measures all cases in turn, the best round counts.
#include <tenon/base/isa.hpp>

#if defined(TENON_BENCH_OPENBLAS)
static const char* const library = "openblas";
extern "C" {
void openblas_set_num_threads(int);
void dpotrf_(const char*, const int*, double*, const int*, int*);
void dgetrf_(const int*, const int*, double*, const int*, int*, int*);
void dgetrs_(const char*, const int*, const int*, const double*, const int*, const int*, double*, const int*, int*);
void dgeqrf_(const int*, const int*, double*, const int*, double*, double*, const int*, int*);
void dorgqr_(const int*, const int*, const int*, double*, const int*, const double*, double*, const int*, int*);
void dsyevd_(const char*, const char*, const int*, double*, const int*, double*, double*, const int*, int*, const int*, int*);
void dgesdd_(const char*, const int*, const int*, double*, const int*, double*, double*, const int*, double*, const int*, double*, const int*, int*, int*);
}
#else
#include <tenon/kernels/cpu/linalg/cholesky.hpp>
#include <tenon/kernels/cpu/linalg/eigh.hpp>
#include <tenon/kernels/cpu/linalg/lu.hpp>
#include <tenon/kernels/cpu/linalg/qr.hpp>
#include <tenon/kernels/cpu/linalg/svd.hpp>
static const char* const library = "ours";
#endif

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>
#include <vector>

namespace {

bool wall_clock = true;
double now() {
    timespec time;
    clock_gettime(wall_clock ? CLOCK_MONOTONIC : CLOCK_PROCESS_CPUTIME_ID, &time);
    return double(time.tv_sec) + 1e-9 * double(time.tv_nsec);
}

enum class Kind { cholesky, lu, solve, qr, eigh, eigvalsh, svd };
const char* const names[] = {"cholesky", "lu", "solve", "qr", "eigh", "eigvalsh", "svd"};

struct Case {
    Kind kind;
    long n, batch;
    double best = 1e30;
    std::string name() const {
        std::string text = std::string(names[int(kind)]) + " " + std::to_string(n) + "x" + std::to_string(n);
        if (batch > 1) text += ", batch " + std::to_string(batch);
        return text;
    }
};

// Symmetric, positive definite, of a random spectrum: serves every case.
std::vector<double> input(long n, long batch) {
    unsigned long long state = 88172645463325252ull;
    const auto next = [&] {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        return double(state >> 11) * 0x1p-53 - 0.5;
    };
    std::vector<double> a(std::size_t(n * n * batch));
    for (long p = 0; p < batch; ++p)
        for (long i = 0; i < n; ++i)
            for (long j = 0; j <= i; ++j) {
                const double x = i == j ? double(n) + next() : next();
                a[std::size_t((p * n + i) * n + j)] = a[std::size_t((p * n + j) * n + i)] = x;
            }
    return a;
}

struct Memory {
    std::vector<double> source, a, b, c, values, work;
    std::vector<std::int32_t> pivots, iwork;
    std::vector<long> failed;
    Memory(long n, long batch)
        : source(input(n, batch)), a(source), b(source), c(source), values(std::size_t(n * batch)), work(std::size_t(8 * n * n + 200 * n + 200)),
          pivots(std::size_t(n * batch)), iwork(std::size_t(10 * n + 10)), failed(std::size_t(batch)) {}
};

void run(Kind kind, long n, long batch, Memory& m) {
    const std::size_t bytes = m.source.size() * sizeof(double);
#if defined(TENON_BENCH_OPENBLAS)
    std::memcpy(m.a.data(), m.source.data(), bytes);
    const int size = int(n), one = 1, work_size = int(m.work.size()), iwork_size = int(m.iwork.size());
    int info = 0;
    for (long p = 0; p < batch; ++p) {
        double *a = m.a.data() + p * n * n, *b = m.b.data() + p * n * n, *c = m.c.data() + p * n * n, *values = m.values.data() + p * n;
        int* pivots = m.pivots.data() + p * n;
        switch (kind) {
            case Kind::cholesky: dpotrf_("L", &size, a, &size, &info); break;
            case Kind::lu: dgetrf_(&size, &size, a, &size, pivots, &info); break;
            case Kind::solve:
                dgetrf_(&size, &size, a, &size, pivots, &info);
                std::fill(values, values + n, 1.0);
                dgetrs_("N", &size, &one, a, &size, pivots, values, &size, &info);
                break;
            case Kind::qr:
                dgeqrf_(&size, &size, a, &size, values, m.work.data(), &work_size, &info);
                std::memcpy(b, a, std::size_t(n * n) * sizeof(double));
                dorgqr_(&size, &size, &size, b, &size, values, m.work.data(), &work_size, &info);
                break;
            case Kind::eigh: dsyevd_("V", "L", &size, a, &size, values, m.work.data(), &work_size, m.iwork.data(), &iwork_size, &info); break;
            case Kind::eigvalsh: dsyevd_("N", "L", &size, a, &size, values, m.work.data(), &work_size, m.iwork.data(), &iwork_size, &info); break;
            case Kind::svd:
                dgesdd_("S", &size, &size, a, &size, values, b, &size, c, &size, m.work.data(), &work_size, m.iwork.data(), &info);
                break;
        }
        if (info != 0) std::abort();
    }
#else
    namespace k = tenon::kernels::cpu;
    switch (kind) {
        case Kind::cholesky:
            std::memcpy(m.a.data(), m.source.data(), bytes);
            k::cholesky<double>(batch, n, m.a.data(), n, n * n, m.failed.data());
            break;
        case Kind::lu:
            std::memcpy(m.a.data(), m.source.data(), bytes);
            k::lu<double>(batch, n, n, m.a.data(), n, n * n, m.pivots.data(), m.failed.data());
            break;
        case Kind::solve:
            std::memcpy(m.a.data(), m.source.data(), bytes);
            k::lu<double>(batch, n, n, m.a.data(), n, n * n, m.pivots.data(), m.failed.data());
            std::fill(m.values.begin(), m.values.end(), 1.0);
            k::lu_solve<double>(batch, n, 1, m.a.data(), n, n * n, m.pivots.data(), false, m.values.data(), 1, n);
            break;
        case Kind::qr: k::qr<double>(batch, n, n, m.source.data(), false, m.a.data(), m.b.data()); break;
        case Kind::eigh: k::eigh<double>(batch, n, m.source.data(), true, m.values.data(), m.a.data(), m.failed.data()); break;
        case Kind::eigvalsh: k::eigh<double>(batch, n, m.source.data(), true, m.values.data(), static_cast<double*>(nullptr), m.failed.data()); break;
        case Kind::svd: k::svd<double>(batch, n, n, m.source.data(), m.a.data(), m.values.data(), m.b.data(), m.failed.data()); break;
    }
    for (long f : m.failed)
        if (f != 0) std::abort();
#endif
}

}  // namespace

int main(int count, char** arguments) {
    int threads = 1, rounds = 5;
    const char* filter = std::getenv("TENON_BENCH_FILTER");
    for (int i = 1; i + 1 < count; i += 2) {
        if (std::strcmp(arguments[i], "--threads") == 0) threads = std::atoi(arguments[i + 1]);
        else if (std::strcmp(arguments[i], "--rounds") == 0) rounds = std::atoi(arguments[i + 1]);
        else if (std::strcmp(arguments[i], "--filter") == 0) filter = arguments[i + 1];
    }
    wall_clock = threads > 1;
#if defined(TENON_BENCH_OPENBLAS)
    openblas_set_num_threads(threads);
#else
    tenon::set_num_threads(threads);
#endif
    std::vector<Case> cases;
    for (int kind = 0; kind < 7; ++kind) {
        for (long n : {4l, 8l, 32l, 128l, 512l}) cases.push_back({Kind(kind), n, 1});
        for (long n : {4l, 8l}) cases.push_back({Kind(kind), n, 1000});
    }
    if (filter != nullptr)
        std::erase_if(cases, [&](const Case& c) { return c.name().find(filter) == std::string::npos; });
    for (int round = 0; round < rounds; ++round)
        for (Case& c : cases) {
            Memory memory(c.n, c.batch);
            run(c.kind, c.n, c.batch, memory);
            // As often as fits into some milliseconds.
            const double begin = now();
            run(c.kind, c.n, c.batch, memory);
            const double once = now() - begin;
            const long times = once > 5e-3 ? 1 : long(5e-3 / (once + 1e-7)) + 1;
            const double start = now();
            for (long t = 0; t < times; ++t) run(c.kind, c.n, c.batch, memory);
            c.best = std::min(c.best, (now() - start) / double(times));
        }
    for (const Case& c : cases)
        std::printf("{\"case\":\"%s\",\"unit\":\"us\",\"value\":%.3f,\"lib\":\"%s\",\"threads\":%d,\"isa\":\"%s\"}\n", c.name().c_str(), c.best * 1e6, library,
                    threads, tenon::name(tenon::isa()));
}

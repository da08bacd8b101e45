// What the tests of matrix products share: random matrices in every layout, and a number of threads for a while.
#pragma once

#include <tenon/base/parallel.hpp>
#include <tenon/kernels/cpu/gemm.hpp>

#include <type_traits>
#include <vector>

namespace matrices {

struct Random {
    unsigned long long state;
    explicit Random(unsigned long long seed) : state(seed * 2862933555777941757ull + 3037000493ull) {}
    unsigned next() {
        state = state * 6364136223846793005ull + 1442695040888963407ull;
        return static_cast<unsigned>(state >> 33);
    }
    double uniform() { return next() / 1073741824.0 - 1.0; }
    long below(long n) { return static_cast<long>(next()) % n; }
    // In [-1, 1); integers of all their bits.
    template <class T>
    std::vector<T> values(long n) {
        std::vector<T> v(static_cast<std::size_t>(n));
        for (T& x : v) {
            if constexpr (std::is_integral_v<T>) x = static_cast<T>(next() >> 7);
            else if constexpr (std::is_floating_point_v<T>) x = static_cast<T>(uniform());
            else x = T(static_cast<float>(uniform()));
        }
        return v;
    }
};

struct Threads {
    int before = tenon::num_threads();
    explicit Threads(int n) { tenon::set_num_threads(n); }
    ~Threads() { tenon::set_num_threads(before); }
};

// A matrix with its memory: rows x columns, transposed or not, with gaps.
template <class T>
struct Operand {
    std::vector<T> memory;
    tenon::kernels::cpu::MatrixView<T> view;
    Operand(Random& random, long rows, long columns, bool transposed, long gap, long inner = 1) {
        using View = tenon::kernels::cpu::MatrixView<T>;
        const long lead = (transposed ? rows : columns) * inner + gap;
        memory = random.values<T>((transposed ? columns : rows) * lead + 1);
        view = transposed ? View{memory.data(), inner, lead} : View{memory.data(), lead, inner};
    }
};

// Bit k of `number` switches part k of the options on.
template <class T>
tenon::kernels::cpu::GemmOptions<T> mode(int number, const T* bias, double alpha) {
    tenon::kernels::cpu::GemmOptions<T> options;
    options.accumulate = (number & 1) != 0;
    options.bias = (number & 2) != 0 ? bias : nullptr;
    options.relu = (number & 4) != 0;
    options.alpha = static_cast<decltype(options.alpha)>((number & 8) != 0 ? alpha : 1.0);
    return options;
}

}  // namespace matrices

#include <tenon/base/dispatch.hpp>
#include <tenon/base/simd.hpp>

#include <cstdio>

namespace {
// y = 2 x, compiled for every instruction set.
struct Twice {
    template <int Lanes>
    static TENON_ALWAYS_INLINE void run(const float* x, float* y, long n) {
        using V = tenon::simd<float, Lanes>;
        long i = 0;
        for (; i + Lanes <= n; i += Lanes) (V::load(x + i) * V(2)).store(y + i);
        for (; i < n; ++i) y[i] = 2 * x[i];
    }
};
}  // namespace

int main() {
    const float x[5] = {1, 2, 3, 4, 5};
    float y[5];
    tenon::dispatch<Twice>(&x[0], &y[0], 5L);
    std::printf("%g %g\n", double(y[0]), double(y[4]));
    return y[4] == 10 ? 0 : 1;
}

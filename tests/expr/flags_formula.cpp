// Formulas and their gradients against plain loops in double; built by flags.sh with many sets of flags.
#include <tenon/autograd/evaluate.hpp>
#include <tenon/ops/random.hpp>
#include <tenon/ops/reduce.hpp>

#include <cmath>
#include <cstdio>

using namespace tenon;

static int failures = 0;
static void expect(const char* what, long i, double got, double wanted) {
    if (std::fabs(got - wanted) <= 2e-5 * (1 + std::fabs(wanted))) return;
    if (++failures < 10) std::printf("%s[%ld]: got %.9g, expected %.9g\n", what, i, got, wanted);
}
static double sig(double v) { return 1 / (1 + std::exp(-v)); }

int main() {
    for (long n : {1l, 5l, 8l, 29l, 5000l}) {
        const auto x = randn<float>({n}, Key{1}).require_grad(), w = randn<float>({n}, Key{2}).require_grad();
        const auto b = full<float>({}, 0.25f).require_grad();
        const Tensor<float, 1> y = silu(x * w + b);
        sum(y).backward();
        double db = 0;
        for (long i = 0; i < n; ++i) {
            const double v = double(x.data()[i]) * w.data()[i] + 0.25, s = sig(v), d = s * (1 + v * (1 - s));
            expect("silu", i, y.data()[i], v * s);
            expect("d silu", i, x.grad().data()[i], d * w.data()[i]);
            db += d;
        }
        expect("d bias", 0, b.grad().item(), db);
        x.zero_grad();
        w.zero_grad();
        const Tensor<float, 1> z = where(x > 0.f, tanh(x), exp(x) - 1.f) + erf(w) * cos(x);
        z.backward(ones<float>({n}));
        for (long i = 0; i < n; ++i) {
            const double p = x.data()[i], q = w.data()[i], t = std::tanh(p);
            expect("mix", i, z.data()[i], (p > 0 ? t : std::exp(p) - 1) + std::erf(q) * std::cos(p));
            expect("d mix", i, x.grad().data()[i], (p > 0 ? 1 - t * t : std::exp(p)) - std::erf(q) * std::sin(p));
        }
        x.zero_grad();
        sum(let(sigmoid(x), [](auto v) { return let(v * 2.f, [=](auto twice) { return v * twice; }); })).backward();
        const auto clipped = custom([](auto v) { return clamp(v, -1.f, 1.f); }, [](auto v, auto, auto dy) { return dy * v; });
        const Tensor<float, 1> c = clipped(w);
        auto [first, second] = eval(x + w, x * w);
        const Tensor<double, 1> wide = cast<double>(x) / 3.0;
        for (long i = 0; i < n; ++i) {
            const double s = sig(x.data()[i]), q = w.data()[i];
            expect("d let", i, x.grad().data()[i], 4 * s * s * (1 - s));
            expect("custom", i, c.data()[i], q < -1 ? -1 : q > 1 ? 1 : q);
            expect("first", i, first.data()[i], double(x.data()[i]) + q);
            expect("second", i, second.data()[i], double(x.data()[i]) * q);
            expect("cast", i, wide.data()[i], double(x.data()[i]) / 3);
        }
        expect("mean", 0, mean(square(x - w)).item(), [&] {
            double total = 0;
            for (long i = 0; i < n; ++i) total += (double(x.data()[i]) - w.data()[i]) * (double(x.data()[i]) - w.data()[i]);
            return total / double(n);
        }());
    }
    std::printf("%s under %s: %d wrong\n", failures == 0 ? "right" : "WRONG", name(isa()), failures);
    return failures != 0;
}

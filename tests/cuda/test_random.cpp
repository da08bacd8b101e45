// Random numbers and dropout on the device: the CPU's bits, normals to 8 ulp.
#include "device_agreement.hpp"

#include <tenon/tenon.hpp>
#include <tenon/ops/dropout_variants.hpp>
#include <tenon/ops/perturb.hpp>
#include <tenon/nn/linear.hpp>

#include <tuple>

using namespace tenon;
using namespace device_agreement;

TEMPLATE_TEST_CASE("fills on the device", "[cuda][random]", float, double, bf16, half) {
    using T = TestType;
    for (long n : {1l, 2l, 31l, 33l, 1000l, 3001l}) {
        check_close(uniform<T>({n}, Key(n), {-0.3, 1.7}, gpu), uniform<T>({n}, Key(n), {-0.3, 1.7}), 0);
        // 8 ulp of a float near 1; a 16-bit number may be rounded to its other neighbour.
        check_close(randn<T>({n}, Key(n), gpu), randn<T>({n}, Key(n)),
             std::is_same_v<T, double>  ? 1e-15
             : std::is_same_v<T, float> ? 1e-6
                                        : 0.01);
    }
    check_close(dropout(numbers<T>({33, 7}).to(gpu), 0.4, Key(3)), dropout(numbers<T>({33, 7}), 0.4, Key(3)), 0);
}

TEST_CASE("integers, flags and permutations on the device", "[cuda][random]") {
    for (long n : {1l, 5l, 33l, 1000l}) {
        check_close(integers({n}, Key(n), -5, 1000, gpu), integers({n}, Key(n), -5, 1000), 0);
        check_close(bernoulli({n}, Key(n), 0.3, gpu), bernoulli({n}, Key(n), 0.3), 0);
        check_close(permutation(n, Key(n), gpu), permutation(n, Key(n)), 0);
    }
    for (double p : {0., 1.}) check_close(bernoulli({9}, Key(1), p, gpu), bernoulli({9}, Key(1), p), 0);
    CHECK(uniform<float>({0}, Key(1), {}, gpu).size() == 0);
    CHECK_THROWS_AS(integers({3}, Key(1), 4, 4, gpu), ValueError);
    CHECK_THROWS_AS(bernoulli({3}, Key(1), 1.5, gpu), ValueError);
}

TEST_CASE("fills from the middle of a key's sequence on the device", "[cuda][random]") {
    for (std::uint64_t first : {1ul, 2ul, 3ul, 5ul, (1ul << 34) + 3}) {
        const long n = 77;
        Tensor<float, 1> a = empty<float>({n}), b = empty<float>({n}, gpu);
        kernels::cpu::uniform(Key(9), n, a.data(), 0.f, 1.f, first);
        kernels::cuda::uniform(Key(9), n, b.data(), 0.f, 1.f, first);
        check_close(b, a, 0);
        kernels::cpu::normal(Key(9), n, a.data(), 1.f, 2.f, first);
        kernels::cuda::normal(Key(9), n, b.data(), 1.f, 2.f, first);
        check_close(b, a, 2e-6);
        const Tensor<float, 1> x = numbers<float>({n}), y = x.to(gpu);
        kernels::cpu::dropout(Key(9), n, x.data(), a.data(), 0.3, first);
        kernels::cuda::dropout(Key(9), n, y.data(), b.data(), 0.3, first);
        check_close(b, a, 0);
        Tensor<double, 1> c = empty<double>({n}), d = empty<double>({n}, gpu);
        kernels::cpu::uniform(Key(9), n, c.data(), -1., 1., first);
        kernels::cuda::uniform(Key(9), n, d.data(), -1., 1., first);
        check_close(d, c, 0);
        Tensor<std::int32_t, 1> v = empty<std::int32_t>({n}), w = empty<std::int32_t>({n}, gpu);
        kernels::cpu::random_words(Key(9), first, n, reinterpret_cast<std::uint32_t*>(v.data()));
        kernels::cuda::random_words(Key(9), first, n, reinterpret_cast<std::uint32_t*>(w.data()));
        check_close(w, v, 0);
    }
}

TEST_CASE("dropout and its variants on the device", "[cuda][random]") {
    agree(0, [](Device, const auto& x) { return dropout(x, 0.25, Key(5)); }, numbers<float>({33, 31}));
    agree(0, [](Device, const auto& x) { return dropout(x, 1, Key(5)); }, numbers<float>({33}));
    agree(1e-6, [](Device, const auto& x) { return feature_dropout(x, 0.25, Key(5)); }, numbers<float>({5, 7, 9}));
    agree(1e-6, [](Device, const auto& x) { return alpha_dropout(x, 0.25, Key(5)); }, numbers<float>({33, 7}));
    const Tensor<float, 2> w = zeros<float>({9, 11}, gpu), v = zeros<float>({9, 11});
    nn::init::kaiming_uniform(w, Key(2));
    nn::init::kaiming_uniform(v, Key(2));
    check_close(w, v, 0);
    nn::init::xavier_normal(w, Key(2));
    nn::init::xavier_normal(v, Key(2));
    check_close(w, v, 1e-6);
}

TEST_CASE("noise on weights from the middle of a key's sequence on the device", "[cuda][random]") {
    const long n = 77;
    for (const NoiseFamily family : {NoiseFamily::gaussian, NoiseFamily::uniform, NoiseFamily::bernoulli})
        for (const bool multiplicative : {false, true})
            for (std::uint64_t first : {1ul, 6ul, (1ul << 34) + 3}) {
                const NoiseKind kind{family, multiplicative, 0.3};
                const auto check = [&]<class T>(T, double bound) {
                    const Tensor<T, 1> x = numbers<T>({n}), s = numbers<T>({n}, 3), g = numbers<T>({n}, 5), x_there = x.to(gpu), s_there = s.to(gpu), g_there = g.to(gpu);
                    Tensor<T, 1> a = empty<T>({n}), b = empty<T>({n}, gpu), c = empty<T>({n}), d = empty<T>({n}, gpu);
                    const T* none = nullptr;
                    kernels::cpu::perturb(kind, Key(9), n, x.data(), s.data(), T(0), a.data(), first);
                    kernels::cuda::perturb(kind, Key(9), n, x_there.data(), s_there.data(), T(0), b.data(), first);
                    check_close(b, a, bound);
                    kernels::cpu::perturb(kind, Key(9), n, x.data(), none, T(0.5f), a.data(), first);
                    kernels::cuda::perturb(kind, Key(9), n, x_there.data(), none, T(0.5f), b.data(), first);
                    check_close(b, a, bound);
                    kernels::cpu::perturb_backward(kind, Key(9), n, x.data(), s.data(), T(0), g.data(), a.data(), c.data(), first);
                    kernels::cuda::perturb_backward(kind, Key(9), n, x_there.data(), s_there.data(), T(0), g_there.data(), b.data(), d.data(), first);
                    check_close(b, a, bound);
                    check_close(d, c, bound);
                };
                check(float(), 4e-6);
                check(double(), 1e-14);
            }
}

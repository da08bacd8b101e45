// The fused optimiser step: reference trajectories, limits, bounds, and bits that depend on nothing but the element.
#include <catch2/catch.hpp>

#include <tenon/kernels/cpu/layerwise.hpp>
#include <tenon/kernels/cpu/multi_tensor.hpp>
#include <tenon/kernels/cpu/row_step.hpp>
#include <tenon/kernels/cpu/rules/adam_moments.hpp>
#include <tenon/kernels/cpu/rules/adam_variants.hpp>
#include <tenon/kernels/cpu/rules/average.hpp>
#include <tenon/kernels/cpu/rules/rmsprop.hpp>
#include <tenon/kernels/cpu/rules/sign.hpp>

#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <type_traits>
#include <vector>

using namespace tenon;
namespace k = tenon::kernels::cpu;

namespace {

constexpr int size = 6;

// Parameters after 1, 10 and 100 steps on a quadratic with a moving linear term (gradient_at below), in double, from
// PyTorch's optimisers where it has them and from the definition elsewhere.
struct Golden {
    const char* name;
    double after1[size], after10[size], after100[size];
};
const Golden golden[] = {
    {"SGD lr.1",
     {0.263531877486776, -0.1699038017459683, -0.23060392174346953, -0.3214236679608816, 0.06592865028114321, 0.4573965091119163},
     {0.26297171027940874, 0.09564914251328314, 0.030529996644051486, -0.3204630028956409, -0.23206889740354097, 0.2627613464392006},
     {0.25854927190336285, 0.261800744420477, 0.03268314491495656, -0.3110971066588639, -0.2763654030406723, -0.06562827655964704}},
    {"SGD lr.1 m.9",
     {0.263531877486776, -0.1699038017459683, -0.23060392174346953, -0.3214236679608816, 0.06592865028114321, 0.4573965091119163},
     {0.2084893970857633, 0.5864977006270594, -0.056509634298091624, -0.2485700644510364, -0.3117145008060225, -0.2793017598391103},
     {0.27436215924083956, 0.2812130060558243, -0.009611248128280134, -0.22739541161042223, -0.3057837075189015, -0.07547714777767078}},
    {"SGD lr.1 m.9 damp.5",
     {0.263531877486776, -0.1699038017459683, -0.23060392174346953, -0.3214236679608816, 0.06592865028114321, 0.4573965091119163},
     {0.21504024920226253, 0.47362995301919775, -0.3212419722706523, -0.2697956946301114, -0.5523011545864726, -0.04945209933946824},
     {0.2644474853318926, 0.2798620104223783, 0.0271550582200685, -0.2358489839953931, -0.29342583103015146, -0.08140084223021278}},
    {"SGD lr.1 m.9 nesterov wd.01",
     {0.2570612423936367, -0.13515580737640592, 0.008289665029378673, -0.31594437829722927, -0.00265302700046979, 0.43606457654765846},
     {0.20631813370465737, 0.4387820052012929, 0.03649569145859377, -0.23851571466329585, -0.2434984944568775, -0.22810186791893194},
     {0.2541907862831826, 0.26042428383839633, 0.03348287369663133, -0.14348859921571144, -0.2636502943901586, -0.05409497390902049}},
    {"Adam lr.01",
     {0.260151154444809, -0.19807341853555968, -0.4849962483380453, -0.31682181228429473, 0.1318310928633612, 0.4700851437659323},
     {0.22854956691082973, -0.10842770515322483, -0.3957825415142191, -0.28163318692546263, 0.04215311029837247, 0.382842599282939},
     {0.2462724721061638, 0.2771902914464476, 0.04255099710065609, -0.2674097738893858, -0.29192073787406725, -0.0702309181554372}},
    {"Adam lr.01 wd.01",
     {0.2601511543855693, -0.19807341853413926, -0.4849962483379746, -0.31682181217854144, 0.13183109286311545, 0.4700851437567994},
     {0.22675176929824567, -0.10842981469862002, -0.3957824693400932, -0.27942193820243494, 0.042156602927426706, 0.38278406524066727},
     {0.2288492702471584, 0.2746019287243669, 0.042478050859219685, -0.2352424666867873, -0.29042513929895963, -0.06929793329271851}},
    {"AMSGrad lr.01",
     {0.260151154444809, -0.19807341853555968, -0.4849962483380453, -0.31682181228429473, 0.1318310928633612, 0.4700851437659323},
     {0.22854855321517067, -0.10842770515322483, -0.3957825415142191, -0.28163318692546263, 0.04215311029837247, 0.382842599282939},
     {0.24626876605210835, 0.27718201240799023, 0.042351550858343745, -0.2674027299080378, -0.2919364781100728, -0.07021395872383647}},
    {"AdamW lr.01 wd.1",
     {0.25988100329187497, -0.19786534511728612, -0.48450125208974504, -0.3164949904738629, 0.1316892617706296, 0.4696050586226071},
     {0.22625579149760258, -0.10681878539327751, -0.39134097574384064, -0.2787246115158321, 0.041200323751711794, 0.37855284178315407},
     {0.23334158307402297, 0.27112631856931957, 0.042843941319049526, -0.24317087396002846, -0.2865242908323905, -0.0710079695776525}},
    {"AdaBound def",
     {0.2691511577114244, -0.20707341910205085, -0.4939962484198282, -0.3258218162898565, 0.1408310931482369, 0.47908514471895275},
     {0.26577170439487124, -0.1980546381991164, -0.4836334580438024, -0.32228059760096706, 0.13179630986754678, 0.47028315091652023},
     {0.26345115505690714, -0.013289458158192304, 0.03497657879508337, -0.32021394123504704, -0.14070343807924554, 0.345308154761857}},
    {"AdaBound lr.01 flr.5 gamma.1 wd.01",
     {0.260151198834307, -0.19807342651344978, -0.4829559154454476, -0.31682186566813647, 0.13183109689008055, 0.4700851569740744},
     {0.22685057745780762, 0.1320222966897064, 0.47963416734275727, -0.27946896724288683, -0.3704727955684031, 0.2500399967903345},
     {0.23996172465004448, 0.27121323233825706, 0.025666458623770157, -0.18999584788823987, -0.2955225070035258, -0.0740228471760849}},
    {"AMSBound lr.01 flr.5 gamma.1",
     {0.26015120070761516, -0.19807342655836768, -0.48297841527491575, -0.31682186901231124, 0.13183109689785105, 0.4700851572628807},
     {0.22870973913041945, 0.13115245322298197, 0.4795465827696223, -0.2817393905572082, -0.3704305263664087, 0.25300317492487223},
     {0.2630868943396878, 0.27374383103469146, 0.025643132455854457, -0.26024919492755344, -0.29685450078069264, -0.07536551290377515}},
    {"AdaBoundW(lr-scaled) lr.01 flr.5 gamma.1 wd.1",
     {0.2598810495546811, -0.19786535314009412, -0.4824834190266155, -0.31649504720187943, 0.13168926580511944, 0.4696050721195555},
     {0.22642101899361908, 0.1317392778933208, 0.4774795899672975, -0.27883129270655943, -0.36982464053953323, 0.24959136019474293},
     {0.25755381662451776, 0.2733241050325952, 0.02579358964928289, -0.2394919200439211, -0.29640208414617303, -0.07521907106042847}},
    {"CSGD lr.1 m.9",
     {0.263531877486776, -0.1699038017459683, -0.23060392174346955, -0.3214236679608816, 0.06592865028114321, 0.4573965091119163},
     {0.23773562666889506, 0.15457346834620828, 0.1506784006379916, -0.2942598382645188, -0.3600010110721779, 0.2246003915600822},
     {0.24538991106998378, 0.2752364589694651, 0.0396973720914842, -0.28263194725394036, -0.2892813518055545, -0.08301710672000712}},
};

const Golden& find(const std::string& name) {
    for (const Golden& row : golden)
        if (name == row.name) return row;
    throw std::runtime_error("no such row: " + name);
}

template <class T>
void gradient_at(int t, const T* p, T* g) {
    const double a[size] = {.1, 1, 5, .01, 2, .5};
    for (int i = 0; i < size; ++i)
        g[i] = T(a[i]) * (p[i] - T(.3 * std::sin(i + 1.))) + T(.1 * std::sin(.7 * t + i));
}

// rule_at(t) makes the rule of step t.
template <class T, class RuleAt>
void check_trajectory(const Golden& row, RuleAt rule_at) {
    const double tolerance = std::is_same_v<T, double> ? 1e-9 : 1e-6;
    T p[size], g[size], s[3][size] = {};
    for (int i = 0; i < size; ++i) p[i] = T(.5 * std::cos(i + 1.));
    for (int t = 1; t <= 100; ++t) {
        gradient_at(t, p, g);
        k::fused_step(rule_at(t), size, p, g, s[0], s[1], s[2], true);
        for (T left : g) REQUIRE(left == 0);
        const double* expected = t == 1 ? row.after1 : t == 10 ? row.after10 : t == 100 ? row.after100 : nullptr;
        if (expected == nullptr) continue;
        for (int i = 0; i < size; ++i) {
            INFO(row.name << " step " << t << " element " << i);
            CHECK(std::abs(double(p[i]) - expected[i]) <= tolerance);
        }
    }
}

struct Random {
    unsigned long long state = 88172645463325252ull;
    double operator()() {  // (-1, 1)
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        return double(state >> 11) * 0x1p-52 - 1;
    }
};

template <class T>
std::vector<T> random(long n, unsigned long long seed, double low = -1, double high = 1) {
    Random r;
    r.state ^= seed * 0x9e3779b97f4a7c15ull;
    std::vector<T> v(static_cast<std::size_t>(n));
    for (T& x : v) x = T(low + (r() + 1) / 2 * (high - low));
    return v;
}

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
    return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

// Mean squares in a are well above the squares of means in b or c: no variance close to 0, where a root magnifies rounding.
template <class T>
struct Arena {
    std::vector<T> p, g, a, b, c;
    explicit Arena(long n)
        : p(random<T>(n, 1)), g(random<T>(n, 2)), a(random<T>(n, 3, 0.2, 1)), b(random<T>(n, 4, 0.1, 0.3)), c(random<T>(n, 5, 0.1, 0.3)) {}
    template <class Rule>
    void step(const Rule& rule, long begin, long count, bool clear, const T* coefficient = nullptr) {
        k::fused_step(rule, count, p.data() + begin, g.data() + begin, a.data() + begin, b.data() + begin,
                            c.data() + begin, clear, coefficient);
    }
    bool operator==(const Arena& o) const {
        return same_bits(p, o.p) && same_bits(g, o.g) && same_bits(a, o.a) && same_bits(b, o.b) && same_bits(c, o.c);
    }
};

// AdaBound without bounds, in the same arithmetic: what gamma = 0 must reproduce to the last bit.
template <class T>
struct FreeRate {
    static constexpr int states = 2;
    k::AdaBound<T> inner;
    T gradient_scale;
    explicit FreeRate(const k::AdaBoundScalars& s) : inner(s), gradient_scale(T(s.gradient_scale)) {}
    template <class V>
    TENON_ALWAYS_INLINE void operator()(V& p, const V& gradient, V& m, V& v, V&) const {
        // As in AdaBound, so that the compiler fuses the same products and sums.
        V g = gradient;
        if (inner.l2 != T(0)) g = g + V(inner.l2) * p;
        if (inner.keep != T(1)) p = p * V(inner.keep);
        m = V(inner.beta1) * m + V(inner.gain1) * g;
        v = V(inner.beta2) * v + V(inner.gain2) * (g * g);
        p = p - inner.free_rate(v) * m;
    }
};

// The rules under test, with scalars of a late step.
template <class T, class F>
void for_each_rule(F&& f) {
    using namespace k;
    f("sgd", Sgd<T, false>(sgd_scalars(3, {.lr = .1})));
    f("sgd decay", Sgd<T, false>(sgd_scalars(3, {.lr = .1, .weight_decay = .01, .decay = WeightDecay::decoupled_torch})));
    f("momentum", Sgd<T, true>(sgd_scalars(3, {.lr = .1, .momentum = .9, .dampening = .3})));
    f("nesterov", Sgd<T, true, true>(sgd_scalars(3, {.lr = .1, .momentum = .9, .nesterov = true, .weight_decay = .01})));
    f("adam", Adam<T>(adam_scalars(3, {.lr = .01, .weight_decay = .01})));
    f("adamw", Adam<T>(adam_scalars(3, {.lr = .01, .weight_decay = .1, .decay = WeightDecay::decoupled_torch})));
    f("amsgrad", Adam<T, true>(adam_scalars(3, {.lr = .01, .maximize = true, .gradient_scale = .5})));
    f("adabound", AdaBound<T>(adabound_scalars(3, {.lr = .01, .gamma = .1})));
    f("amsbound", AdaBound<T, true>(adabound_scalars(3, {.weight_decay = .1, .decay = WeightDecay::decoupled_final})));
    f("asgd", Asgd<T>({.lr = .1, .t0 = 0}, 4));
    f("rmsprop", Rmsprop<T, false, false>({.weight_decay = .1}, 3));
    f("rmsprop momentum", Rmsprop<T, true, false>({.momentum = .9}, 3));
    f("rmsprop centred", Rmsprop<T, false, true>({.eps = .1, .centered = true}, 3));
    f("rmsprop both", Rmsprop<T, true, true>({.eps = .1, .momentum = .9, .centered = true}, 3));
    f("adagrad", Adagrad<T>({.lr = .1, .lr_decay = .1}, 3));
    f("adadelta", Adadelta<T>({.weight_decay = .1}, 3));
    f("nadam", Nadam<T>({.weight_decay = .1, .decay = WeightDecay::decoupled_torch}, 3, .1));
    f("radam", Radam<T>({}, 100));
    f("radam early", Radam<T>({}, 3));
    f("adamax", Adamax<T>({}, 3));
    f("adabelief", AdaBelief<T>({.eps = 1e-4}, 3));
    f("yogi", Yogi<T>({}, 3));
    f("adamod", AdaMod<T>({}, 3));
}
// Those whose step does not grow with the gradient.
template <class T, class F>
void for_each_sign_rule(F&& f) {
    f("lion", k::Lion<T>({.weight_decay = .1}, 3));
    f("rprop", k::Rprop<T>({}, 3));
}

}  // namespace

TEMPLATE_TEST_CASE("optimiser steps follow the reference trajectories", "[multi_tensor]", float, double) {
    using T = TestType;
    using namespace k;
    check_trajectory<T>(find("SGD lr.1"), [](long t) { return Sgd<T, false>(sgd_scalars(t, {.lr = .1})); });
    check_trajectory<T>(find("SGD lr.1 m.9"), [](long t) { return Sgd<T, true>(sgd_scalars(t, {.lr = .1, .momentum = .9})); });
    check_trajectory<T>(find("SGD lr.1 m.9 damp.5"), [](long t) {
        return Sgd<T, true>(sgd_scalars(t, {.lr = .1, .momentum = .9, .dampening = .5}));
    });
    check_trajectory<T>(find("SGD lr.1 m.9 nesterov wd.01"), [](long t) {
        return Sgd<T, true, true>(sgd_scalars(t, {.lr = .1, .momentum = .9, .nesterov = true, .weight_decay = .01}));
    });
    check_trajectory<T>(find("CSGD lr.1 m.9"), [](long t) {
        return Sgd<T, true>(sgd_scalars(t, {.lr = .1, .momentum = .9, .bias_corrected = true}));
    });
    check_trajectory<T>(find("Adam lr.01"), [](long t) { return Adam<T>(adam_scalars(t, {.lr = .01})); });
    check_trajectory<T>(find("Adam lr.01 wd.01"), [](long t) {
        return Adam<T>(adam_scalars(t, {.lr = .01, .weight_decay = .01}));
    });
    check_trajectory<T>(find("AMSGrad lr.01"), [](long t) { return Adam<T, true>(adam_scalars(t, {.lr = .01})); });
    check_trajectory<T>(find("AdamW lr.01 wd.1"), [](long t) {
        return Adam<T>(adam_scalars(t, {.lr = .01, .weight_decay = .1, .decay = WeightDecay::decoupled_torch}));
    });
    check_trajectory<T>(find("AdaBound def"), [](long t) { return AdaBound<T>(adabound_scalars(t, {})); });
    check_trajectory<T>(find("AdaBound lr.01 flr.5 gamma.1 wd.01"), [](long t) {
        return AdaBound<T>(adabound_scalars(t, {.lr = .01, .final_lr = .5, .gamma = .1, .weight_decay = .01}));
    });
    check_trajectory<T>(find("AMSBound lr.01 flr.5 gamma.1"), [](long t) {
        return AdaBound<T, true>(adabound_scalars(t, {.lr = .01, .final_lr = .5, .gamma = .1}));
    });
    check_trajectory<T>(find("AdaBoundW(lr-scaled) lr.01 flr.5 gamma.1 wd.1"), [](long t) {
        return AdaBound<T>(adabound_scalars(t, {.lr = .01, .final_lr = .5, .gamma = .1, .weight_decay = .1,
                                                .decay = WeightDecay::decoupled_torch}));
    });
}

TEST_CASE("decay modes differ as documented", "[multi_tensor]") {
    using namespace k;
    // A zero gradient leaves nothing but the decay.
    auto decayed = [](WeightDecay mode) {
        double p = 2, g = 0, m = 0, v = 0;
        fused_step(AdaBound<double>(adabound_scalars(1, {.lr = .01, .lr_scale = .5, .final_lr = .1, .weight_decay = .25, .decay = mode})),
                   1, &p, &g, &m, &v, static_cast<double*>(nullptr), false);
        return p;
    };
    CHECK(decayed(WeightDecay::decoupled_torch) == Approx(2 * (1 - .01 * .5 * .25)).epsilon(1e-14));
    CHECK(decayed(WeightDecay::decoupled_final) == Approx(2 * (1 - .1 * .5 * .25)).epsilon(1e-14));
    CHECK(decayed(WeightDecay::decoupled_ref) == Approx(2 * (1 - .25)).epsilon(1e-14));
    CHECK(decayed(WeightDecay::l2) < 2);
    CHECK_THROWS_AS(adam_scalars(1, {.weight_decay = .1, .decay = WeightDecay::decoupled_final}), ValueError);
    CHECK_THROWS_AS(sgd_scalars(1, {.nesterov = true}), ValueError);
    CHECK_THROWS_AS(sgd_scalars(1, {.momentum = .9, .dampening = .1, .nesterov = true}), ValueError);
    CHECK_THROWS_AS(adam_scalars(0, {}), ValueError);
    CHECK_THROWS_AS(adam_scalars(1, {.beta1 = 1}), ValueError);
    CHECK_THROWS_AS(adabound_scalars(1, {.gamma = -1}), ValueError);
}

TEST_CASE("the first Adam step is the rate times the sign", "[multi_tensor]") {
    using namespace k;
    for (double g0 : {1e-6, -3e-2, 5., -1e10}) {
        double p = 0, g = g0, m = 0, v = 0;
        fused_step(Adam<double>(adam_scalars(1, {.lr = .01})), 1, &p, &g, &m, &v, static_cast<double*>(nullptr), false);
        CHECK(std::abs(p) == Approx(.01 * std::abs(g0) / (std::abs(g0) + 1e-8)).epsilon(1e-12));
        CHECK(std::signbit(p) != std::signbit(g0));
        CHECK(g == g0);
    }
}

TEST_CASE("AdaBound's limits are Adam and averaged SGD", "[multi_tensor]") {
    using namespace k;
    const long n = 37;
    auto p = random<double>(n, 1);
    auto run = [&](auto rule_at) {
        std::vector<double> x = p, m(n, 0.), v(n, 0.), g(n);
        Random r;
        for (long t = 1; t <= 100; ++t) {
            for (long i = 0; i < n; ++i) g[size_t(i)] = x[size_t(i)] - .2 + .3 * r();
            fused_step(rule_at(t), n, x.data(), g.data(), m.data(), v.data(), static_cast<double*>(nullptr), true);
        }
        return x;
    };
    const AdaBoundOptions open{.lr = .01, .gamma = 1e-12};
    const auto bound = run([&](long t) { return AdaBound<double>(adabound_scalars(t, open)); });
    SECTION("open bounds: the unclamped step, bit for bit") {
        CHECK(same_bits(bound, run([&](long t) { return FreeRate<double>(adabound_scalars(t, open)); })));
        CHECK(same_bits(bound, run([&](long t) { return AdaBound<double>(adabound_scalars(t, {.lr = .01, .gamma = 0})); })));
    }
    SECTION("open bounds: Adam, with eps moved to where AdaBound has it") {
        const auto adam = run([&](long t) {
            return Adam<double>(adam_scalars(t, {.lr = .01, .eps = 1e-8 / std::sqrt(1 - std::pow(.999, double(t)))}));
        });
        for (long i = 0; i < n; ++i) CHECK(std::abs(bound[size_t(i)] - adam[size_t(i)]) < 1e-12);
    }
    SECTION("closed bounds: p -= final_lr * m") {
        const auto closed = run([&](long t) { return AdaBound<double>(adabound_scalars(t, {.gamma = 1e9})); });
        std::vector<double> x = p, m(n, 0.);
        Random r;
        for (long t = 1; t <= 100; ++t)
            for (long i = 0; i < n; ++i) {
                const double g = x[size_t(i)] - .2 + .3 * r();
                m[size_t(i)] = .9 * m[size_t(i)] + .1 * g;
                x[size_t(i)] -= .1 * m[size_t(i)];
            }
        for (long i = 0; i < n; ++i) CHECK(std::abs(closed[size_t(i)] - x[size_t(i)]) < 1e-10);
    }
}

TEST_CASE("bounds follow the schedule's factor and the cap", "[multi_tensor]") {
    using namespace k;
    for (long t : {1l, 10l, 1000l, 100000l}) {
        const AdaBoundScalars full = adabound_scalars(t, {}), half = adabound_scalars(t, {.lr_scale = .5});
        CHECK(half.lo == full.lo / 2);
        CHECK(half.hi == full.hi / 2);
        CHECK(half.step == full.step / 2);
        const AdaBoundScalars tenth = adabound_scalars(t, {.lr_scale = .1});
        CHECK(tenth.lo == Approx(full.lo / 10).epsilon(1e-15));
        CHECK(tenth.hi == Approx(full.hi / 10).epsilon(1e-15));
        const AdaBoundScalars capped = adabound_scalars(t, {.hi_cap = 1});
        CHECK(capped.hi == std::min(full.hi, 1.));
        CHECK(capped.lo <= capped.hi);
        const AdaBoundScalars tight = adabound_scalars(t, {.hi_cap = 1e-6});
        CHECK(tight.hi == 1e-6);
        CHECK(tight.lo == 1e-6);
        const AdaBoundScalars still = adabound_scalars(t, {.lr_scale = 0});
        CHECK((still.lo == 0 && still.hi == 0 && still.step == 0));
    }
    const AdaBoundScalars first = adabound_scalars(1, {});
    CHECK(first.lo == Approx(9.99e-5).epsilon(1e-5));
    CHECK(first.hi == Approx(100.1).epsilon(1e-12));
}

TEMPLATE_TEST_CASE("every rate lies within the bounds", "[multi_tensor]", float, double) {
    using T = TestType;
    using namespace k;
    const T special[] = {0, std::numeric_limits<T>::denorm_min(), T(1e20), T(-1e20), T(1e-30), 1, T(-1e-3)};
    const T slack = 4 * std::numeric_limits<T>::epsilon();
    std::vector<T> g(203), m(203, 0), v(203, 0), largest(203, 0);
    Random r;
    for (long t = 1; t <= 40; ++t) {
        std::vector<T> p(203, 0);
        for (size_t i = 0; i < g.size(); ++i) g[i] = i < 140 ? special[(i + size_t(t)) % 7] : T(r());
        const AdaBound<T, true> rule(adabound_scalars(t, {.lr = .01, .gamma = .05}));
        fused_step(rule, long(g.size()), p.data(), g.data(), m.data(), v.data(), largest.data(), true);
        long low = 0, high = 0;
        for (size_t i = 0; i < g.size(); ++i) {
            INFO("step " << t << " element " << i);
            const T moved = std::abs(p[i]), momentum = std::abs(m[i]);
            const T tiny = std::numeric_limits<T>::min();
            CHECK(moved <= rule.hi * momentum * (1 + slack) + tiny);
            CHECK(moved >= rule.lo * momentum * (1 - slack) - tiny);
            const T rate = rule.step / (std::sqrt(largest[i]) + rule.eps);
            low += rate <= rule.lo;
            high += rate > rule.lo && rate >= rule.hi;
        }
        const BoundCounts counts = bound_histogram(rule, long(g.size()), largest.data());
        CHECK(counts.at_lower == low);
        CHECK(counts.at_upper == high);
        CHECK(counts.inside == long(g.size()) - low - high);
        CHECK(low > 0);
    }
}

TEMPLATE_TEST_CASE("a gradient that is not a number shows in the parameter", "[multi_tensor]", float, double) {
    using T = TestType;
    for_each_rule<T>([](const char* name, const auto& rule) {
        for (long at : {0l, 5l, 16l, 34l}) {
            Arena<T> x(35);
            x.g[size_t(at)] = std::numeric_limits<T>::quiet_NaN();
            x.step(rule, 0, 35, false);
            INFO(name << " at " << at);
            for (long i = 0; i < 35; ++i) CHECK(std::isnan(x.p[size_t(i)]) == (i == at));
            Arena<T> y(35);
            y.g[size_t(at)] = std::numeric_limits<T>::infinity();
            y.step(rule, 0, 35, false);
            for (long i = 0; i < 35; ++i) CHECK(std::isfinite(y.p[size_t(i)]) == (i != at));
        }
    });
}

TEMPLATE_TEST_CASE("fused steps agree with the plain loop", "[multi_tensor]", float, double) {
    using T = TestType;
    // Fused multiply-add changes last bits; without it (sse2) the two agree exactly.
    const T tolerance = isa() == Isa::baseline ? T(0) : 8 * std::numeric_limits<T>::epsilon();
    const auto check = [&](const char* name, const auto& rule) {
        for (long n : {0l, 1l, 3l, 7l, 8l, 9l, 15l, 16l, 17l, 33l, 1000l, 16383l, 16384l, 16385l, 65535l, 65536l, 65537l}) {
            for (bool clear : {false, true}) {
                INFO(name << " n " << n);
                Arena<T> fast(n), plain(n);
                const T coefficient = T(.75);
                fast.step(rule, 0, n, clear, &coefficient);
                k::reference::fused_step(rule, n, plain.p.data(), plain.g.data(), plain.a.data(), plain.b.data(),
                                               plain.c.data(), clear, &coefficient);
                CHECK(same_bits(fast.g, plain.g));
                bool close = true;
                auto compare = [&](const std::vector<T>& x, const std::vector<T>& y) {
                    for (size_t i = 0; i < x.size(); ++i) close = close && std::abs(x[i] - y[i]) <= tolerance;
                };
                compare(fast.p, plain.p);
                compare(fast.a, plain.a);
                compare(fast.b, plain.b);
                compare(fast.c, plain.c);
                CHECK(close);
            }
        }
    };
    for_each_rule<T>(check);
    for_each_sign_rule<T>(check);
}

TEMPLATE_TEST_CASE("an element's bits depend on nothing around it", "[multi_tensor]", float, double) {
    using T = TestType;
    const auto check = [&](const char* name, const auto& rule) {
        INFO(name);
        const long n = 65537;
        Arena<T> whole(n), pieces(n), threaded(n);
        set_num_threads(1);
        whole.step(rule, 0, n, true);
        set_num_threads(2);
        threaded.step(rule, 0, n, true);
        CHECK(whole == threaded);
        // Unaligned pieces of odd sizes; the first hundred elements one by one.
        for (long i = 0; i < 100; ++i) pieces.step(rule, i, 1, true);
        for (long begin = 100, length = 1; begin < n; begin += length, length = length * 3 + 1)
            pieces.step(rule, begin, std::min(length, n - begin), true);
        CHECK(whole == pieces);
    };
    for_each_rule<T>(check);
    for_each_sign_rule<T>(check);
}

TEST_CASE("sum of squares", "[multi_tensor]") {
    for (long n : {0l, 1l, 3l, 31l, 32l, 33l, 32767l, 32768l, 32769l, 100001l, 1000007l}) {
        const auto g = random<float>(n, 7);
        const auto d = random<double>(n, 7);
        INFO(n);
        set_num_threads(1);
        const double one = k::sum_of_squares(n, g.data()), one_double = k::sum_of_squares(n, d.data());
        set_num_threads(2);
        CHECK(one == k::sum_of_squares(n, g.data()));
        CHECK(one_double == k::sum_of_squares(n, d.data()));
        CHECK(one == Approx(k::reference::sum_of_squares(n, g.data())).epsilon(1e-12));
        CHECK(one_double == Approx(k::reference::sum_of_squares(n, d.data())).epsilon(1e-12));
    }
    std::vector<float> g(50, 1.f);
    g[49] = std::numeric_limits<float>::quiet_NaN();
    CHECK(std::isnan(k::sum_of_squares(50, g.data())));
    CHECK(k::clip_coefficient(.25, 1.) == 1.);
    CHECK(k::clip_coefficient(16., 1.) == Approx(.25).epsilon(1e-6));
    CHECK(std::isnan(k::clip_coefficient(std::nan(""), 1.)));
    // Large enough that the number of chunks reaches its limit.
    const auto big = random<float>(1024 * 32768 + 5, 9);
    set_num_threads(1);
    const double one = k::sum_of_squares(long(big.size()), big.data());
    set_num_threads(2);
    CHECK(one == k::sum_of_squares(long(big.size()), big.data()));
    CHECK(one == Approx(k::reference::sum_of_squares(long(big.size()), big.data())).epsilon(1e-12));
}

TEMPLATE_TEST_CASE("signs of gradients that are not numbers are not numbers", "[multi_tensor]", float, double) {
    using T = TestType;
    for_each_sign_rule<T>([](const char* name, const auto& rule) {
        for (long at : {0l, 5l, 16l, 34l}) {
            Arena<T> x(35);
            x.g[size_t(at)] = std::numeric_limits<T>::quiet_NaN();
            x.step(rule, 0, 35, false);
            INFO(name << " at " << at);
            for (long i = 0; i < 35; ++i) CHECK(std::isnan(x.p[size_t(i)]) == (i == at));
        }
    });
}

TEMPLATE_TEST_CASE("gradients are held to a limit, NaN apart", "[multi_tensor]", float, double) {
    using T = TestType;
    const k::Sgd<T, false> rule(k::sgd_scalars(1, {.lr = 1, .maximize = true}));
    const T inf = std::numeric_limits<T>::infinity(), nan = std::numeric_limits<T>::quiet_NaN();
    for (long n : {7l, 8l, 40l}) {
        std::vector<T> p(size_t(n), 0), g(size_t(n), 0);
        const T some[] = {T(-3), T(0.25), inf, -inf, nan, T(-0.25), T(1)};
        const T held[] = {T(-0.5), T(0.125), T(0.5), T(-0.5), nan, T(-0.125), T(0.5)};
        for (long i = 0; i < n; ++i) g[size_t(i)] = some[i % 7];
        const T coefficient = T(.5);
        k::fused_step(rule, n, p.data(), g.data(), static_cast<T*>(nullptr), static_cast<T*>(nullptr), static_cast<T*>(nullptr), true, &coefficient, T(.5));
        for (long i = 0; i < n; ++i) CHECK((p[size_t(i)] == held[i % 7] || (std::isnan(p[size_t(i)]) && std::isnan(held[i % 7]))));
    }
}

TEST_CASE("a variance that rounds below zero is zero", "[multi_tensor]") {
    // Gradients all alike: their variance is nothing, and its rounded value falls on either side.
    for (float g0 : {0.1f, 0.3f, 1.7f, 123.456f}) {
        float p = 0, v = 0, mean = 0, none = 0;
        for (long t = 1; t <= 3000; ++t) {
            float g = g0;
            k::fused_step(k::Rmsprop<float, false, true>({.lr = 1e-6, .alpha = .9, .eps = 1e-3, .centered = true}, t), 1, &p, &g, &v, &mean, &none, true);
        }
        CHECK(std::isfinite(p));
    }
}

TEMPLATE_TEST_CASE("steps by layer agree with the plain loop", "[multi_tensor]", float, double) {
    using T = TestType;
    const auto check = [](const char* name, const auto& rule) {
        for (long n : {0l, 1l, 3l, 4l, 5l, 15l, 16l, 17l, 33l, 1000l, 16383l, 16384l, 16385l, 100001l})
            for (bool adapt : {false, true}) {
                Arena<T> fast(n), plain(n), one(n);
                const T coefficient = T(.75), limit = T(.6);
                set_num_threads(2);
                k::layerwise_step(rule, n, fast.p.data(), fast.g.data(), fast.a.data(), fast.b.data(), adapt, true, &coefficient, limit);
                set_num_threads(1);
                k::layerwise_step(rule, n, one.p.data(), one.g.data(), one.a.data(), one.b.data(), adapt, true, &coefficient, limit);
                set_num_threads(2);
                k::reference::layerwise_step(rule, n, plain.p.data(), plain.g.data(), plain.a.data(), plain.b.data(), adapt, true, &coefficient, limit);
                INFO(name << " n " << n << " adapt " << adapt);
                CHECK(fast == one);
                CHECK(same_bits(fast.g, plain.g));
                // In double the sums have rounding errors of their own: one for each addition into the two lanes that there are at least.
                const T tolerance = T(std::is_same_v<T, double> ? 16 + n / 2 : 16) * std::numeric_limits<T>::epsilon();
                bool close = true;
                for (size_t i = 0; i < size_t(n); ++i)
                    for (const auto& [x, y] : {std::pair(fast.p[i], plain.p[i]), std::pair(fast.a[i], plain.a[i]), std::pair(fast.b[i], plain.b[i])})
                        close = close && std::abs(x - y) <= tolerance;
                CHECK(close);
            }
    };
    check("lars", k::Lars<T>({.trust = .5, .weight_decay = .1}, 3));
    check("lars nesterov", k::Lars<T>({.nesterov = true, .trust = .5, .maximize = true}, 3));
    check("lamb", k::Lamb<T>({.lr = .01, .weight_decay = .1}, 3));
}

TEST_CASE("a layer of zeros has a ratio of one", "[multi_tensor]") {
    const k::Lars<double> lars({.trust = .01}, 1);
    CHECK(lars.ratio(0, 4) == 1);
    CHECK(lars.ratio(4, 0) == 1);
    CHECK(lars.ratio(4, 16) == Approx(.01 * 2 / (4 + 1e-8)).epsilon(1e-14));
    CHECK(std::isnan(lars.ratio(std::nan(""), 1)));
    const k::Lamb<double> lamb({}, 1);
    CHECK(lamb.ratio(0, 4) == 1);
    CHECK(lamb.ratio(4, 0) == 1);
    CHECK(lamb.ratio(4, 16) == .5);
    CHECK(std::isnan(lamb.ratio(1, std::nan(""))));
}

TEMPLATE_TEST_CASE("a step on some rows is the step on all, there", "[multi_tensor]", float, double) {
    using T = TestType;
    const k::Adam<T, true> rule(k::adam_scalars(3, {.lr = .01, .weight_decay = .1}));
    for (long width : {1l, 3l, 8l, 17l, 20000l}) {
        const long height = 9, n = width * height;
        const std::int64_t rows[] = {0, 3, 4, 8};
        Arena<T> whole(n), some(n);
        const Arena<T> before(n);
        const T coefficient = T(.5);
        whole.step(rule, 0, n, true, &coefficient);
        k::row_step(rule, rows, 4, width, some.p.data(), some.g.data(), some.a.data(), some.b.data(), some.c.data(), true, &coefficient);
        for (long r = 0; r < height; ++r) {
            const Arena<T>& expected = r == 0 || r == 3 || r == 4 || r == 8 ? whole : before;
            const size_t at = size_t(r * width), bytes = size_t(width) * sizeof(T);
            INFO("width " << width << " row " << r);
            CHECK(std::memcmp(&some.p[at], &expected.p[at], bytes) == 0);
            CHECK(std::memcmp(&some.g[at], &expected.g[at], bytes) == 0);
            CHECK(std::memcmp(&some.a[at], &expected.a[at], bytes) == 0);
            CHECK(std::memcmp(&some.b[at], &expected.b[at], bytes) == 0);
            CHECK(std::memcmp(&some.c[at], &expected.c[at], bytes) == 0);
        }
    }
}

TEMPLATE_TEST_CASE("other sums over gradients", "[multi_tensor]", float, double) {
    using T = TestType;
    for (long n : {0l, 1l, 7l, 33l, 32769l, 100001l}) {
        const auto a = random<T>(n, 7), b = random<T>(n, 8);
        double dot = 0, magnitudes = 0, squares = 0, most = 0;
        for (size_t i = 0; i < size_t(n); ++i) {
            const double x = double(a[i]), y = double(b[i]);
            dot += x * y;
            magnitudes += std::abs(x);
            squares += x * y * (x * y);
            most = std::max(most, std::abs(x));
        }
        INFO(n);
        CHECK(k::dot(n, a.data(), b.data()) == Approx(dot).epsilon(1e-10).margin(1e-10));
        CHECK(k::sum_of_magnitudes(n, a.data()) == Approx(magnitudes).epsilon(1e-12));
        CHECK(k::sum_of_squared_products(n, a.data(), b.data()) == Approx(squares).epsilon(1e-12));
        CHECK(k::largest_magnitude(n, a.data()) == most);
    }
    for (size_t at : {size_t(0), size_t(31), size_t(49)}) {
        std::vector<T> g(50, T(-1));
        g[at] = std::numeric_limits<T>::quiet_NaN();
        CHECK(std::isnan(k::largest_magnitude(50, g.data())));
        CHECK(std::isnan(k::sum_of_magnitudes(50, g.data())));
        g[at] = -std::numeric_limits<T>::infinity();
        CHECK(k::largest_magnitude(50, g.data()) == std::numeric_limits<double>::infinity());
    }
}

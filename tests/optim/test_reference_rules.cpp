// Trajectories that every rule was held against when it was specified, and the traps that came with them.
#include <tenon/optim/layerwise.hpp>
#include <tenon/optim/lookahead.hpp>
#include <tenon/optim/sign.hpp>
#include <tenon/tenon.hpp>

#include <catch2/catch.hpp>

#include <cmath>
#include <cstring>
#include <limits>

using namespace tenon;

namespace {

// Parameters after 1, 10 and 100 steps of the problem of tests/kernels/test_multi_tensor.cpp, in double.
struct Row {
    const char* name;
    double after1[6], after10[6], after100[6];
};
const Row rows[] = {
    {"RMSprop lr.01",
     {0.1701513040077784, -0.10807344447241288, -0.3949962520824806, -0.22682199568037123, 0.04183110590641803, 0.38008518740009517},
     {0.1860891594543945, 0.1707997177855915, -0.10692142479653251, -0.1761306234364117, -0.21706677066866614, 0.10505659448608695},
     {0.248501128501086, 0.2578278418881358, 0.03799377033894395, -0.16552182205641316, -0.2768775510327778, -0.06176184638957346}},
    {"RMSprop lr.01 m.9 centered",
     {0.16964752400785307, -0.10756966321112639, -0.39449247059476406, -0.2263182160256459, 0.04132732451357565, 0.379581406319375},
     {-0.1739102165838075, 0.5176266182699049, 0.34101616319717687, 0.8035662047951979, -0.4223129516827373, -0.5408078424723046},
     {0.28345106425460326, 0.2792714858172431, 0.03581674979097965, -0.11658134260392494, -0.2992197229034419, -0.06605794793394985}},
    {"Adagrad lr.1 lr_decay.01",
     {0.1701511530851438, -0.10807341829977003, -0.394996248304005, -0.22682181061705486, 0.041831092744787926, 0.3800851433692579},
     {0.18049070739334683, 0.1641452893054385, -0.11739640425269318, -0.17168647356002986, -0.21063524814957052, 0.11173664266365371},
     {0.22894556849093528, 0.2681583853648183, 0.040446349378401796, -0.1517906608994422, -0.28496647808060227, -0.0726907234912184}},
    {"Adadelta lr1",
     {0.266992477794476, -0.2049112491339699, -0.49183397290194625, -0.323664944865153, 0.13866884251578837, 0.4769231727722359},
     {0.266858604804354, -0.17212665942318509, -0.4619174351828927, -0.3236072680375034, 0.10708549065502435, 0.4471471384320609},
     {0.26254367573442366, 0.09254305787152675, -0.1894324228568533, -0.31944263126186717, -0.14755191066347786, 0.18939306767672015}},
    {"Adamax lr.01",
     {0.260151154444809, -0.19807341853555968, -0.4849962483380453, -0.31682181228429473, 0.1318310928633612, 0.4700851437659323},
     {0.23435080163745084, -0.11975663380233145, -0.3982883244608003, -0.2884337966098591, 0.04808896882862419, 0.39816925086045823},
     {0.24436613879934227, 0.2301296751885719, -0.0034758210829810786, -0.2771741972511331, -0.27156182231068027, 0.02321721233966337}},
    {"RAdam lr.01",
     {0.2694892253893405, -0.2042564566208109, -0.4685570156445474, -0.32628199618471354, 0.13424084848656614, 0.47781627990385633},
     {0.26673383495569, -0.1848206901707578, -0.36517204591210956, -0.3235661073867795, 0.10061220277663006, 0.4639696760814843},
     {0.2642161404472678, -0.060244632869205096, -0.24253706352457508, -0.32159985474440145, -0.022866304510898394, 0.3411549330040182}},
    {"NAdam lr.01",
     {0.2595866367, -0.1975089008, -0.4844317306, -0.3162572946, 0.1312665751, 0.469520626},
     {},
     {0.2554383605, 0.2611934531, 0.0213175484, -0.2972967245, -0.2846744939, -0.0401224366}},
    {"Lion lr.01 wd.1",
     {0.2598810017811358, -0.19786534485529764, -0.48450125205192246, -0.31649498862137415, 0.1316892616388815, 0.46960505818185777},
     {0.24763096764273862, -0.1064508245669727, -0.39051730345015073, -0.30381726215639243, 0.040867949310969716, 0.37575464031134265},
     {0.24651906401284462, 0.3284046797606852, 0.1865986468629206, -0.317440629325296, -0.2323702152045047, -0.3188964742117187}},
    {"LARS lr1 m.9 wd.01 tc.02",
     {0.2697333856191601, -0.20574623701285513, -0.47893376995140785, -0.32647465484186217, 0.13721985092357092, 0.47868021745295125},
     {0.2656537997182958, -0.073022920741596, 0.06196352770960914, -0.3226108584224244, -0.08299221089178435, 0.3960248493256893},
     {0.20621637596607617, 0.2708030014115177, 0.03111823909354642, -0.10918924042364295, -0.28768735203349843, -0.07330111398358367}},
    {"LAMB lr.01 wd.01",
     {0.2666919230683179, -0.20461628698533108, -0.4915292105501263, -0.32336063723981545, 0.13837624228512097, 0.4766186339032753},
     {0.2552761355579054, -0.17066546965533141, -0.4576108992598384, -0.3111014566170431, 0.10439133440748585, 0.44346599083018573},
     {0.25171025458310997, 0.09586537430932478, -0.18031498340892027, -0.3033011877227383, -0.15579511616834948, 0.17451383558329306}},
    {"Lookahead(SGD lr.1 m.9) k5 a.5",
     {0.263531877486776, -0.1699038017459683, -0.23060392174346953, -0.3214236679608816, 0.06592865028114321, 0.4573965091119163},
     {0.23654580550349424, 0.31060405854818074, 0.0478947388645945, -0.287409807275279, -0.34770598249729523, 0.04809042057247531},
     {0.2638475139715367, 0.2778014674949998, 0.024205805825816162, -0.2541464574557404, -0.2935636959466765, -0.07885480548981597}},
};

template <class T, class Make>
void check(const char* name, Make make) {
    const Row* row = nullptr;
    for (const Row& r : rows)
        if (std::strcmp(r.name, name) == 0) row = &r;
    REQUIRE(row != nullptr);
    const double a[] = {.1, 1, 5, .01, 2, .5}, tolerance = std::is_same_v<T, double> ? 1e-9 : 1e-6;
    Tensor<T, 1> p = empty<T>({6});
    for (int i = 0; i < 6; ++i) p.data()[i] = static_cast<T>(.5 * std::cos(i + 1.));
    p.require_grad();
    auto optimiser = make(p);
    for (int t = 1; t <= 100; ++t) {
        Tensor<T, 1> g = empty<T>({6});
        for (int i = 0; i < 6; ++i)
            g.data()[i] = static_cast<T>(a[i]) * (p.detach().data()[i] - static_cast<T>(.3 * std::sin(i + 1.))) + static_cast<T>(.1 * std::sin(.7 * t + i));
        sum(p * g).backward();
        optimiser.step();
        const double* expected = t == 1 ? row->after1 : t == 10 ? row->after10 : t == 100 ? row->after100 : nullptr;
        if (expected == nullptr || expected[0] == 0) continue;
        for (int i = 0; i < 6; ++i) {
            INFO(name << " step " << t << " element " << i);
            CHECK(std::abs(static_cast<double>(p.detach().data()[i]) - expected[i]) <= tolerance);
        }
    }
}

// The steps of an optimiser on single numbers against a formula: gradients f(t, i), parameters from 1 + i / 8 on.
template <class Make, class Formula>
void check_formula(Make make, Formula formula) {
    const long n = 11;
    const auto gradient = [](int t, long i) { return std::sin(0.9 * t + static_cast<double>(i)) * (0.2 + 0.1 * static_cast<double>(i)) + (i == 3 ? 0.5 : 0); };
    Tensor<double, 1> p = empty<double>({n});
    for (long i = 0; i < n; ++i) p.data()[i] = 1 + static_cast<double>(i) / 8;
    p.require_grad();
    auto optimiser = make(p);
    std::vector<decltype(formula())> expected;
    for (long i = 0; i < n; ++i) expected.push_back(formula());
    for (long i = 0; i < n; ++i) expected[static_cast<std::size_t>(i)].p = p.detach().data()[i];
    for (int t = 1; t <= 40; ++t) {
        Tensor<double, 1> g = empty<double>({n});
        for (long i = 0; i < n; ++i) g.data()[i] = gradient(t, i);
        sum(p * g).backward();
        optimiser.step();
        for (long i = 0; i < n; ++i) {
            auto& e = expected[static_cast<std::size_t>(i)];
            e.step(t, gradient(t, i));
            INFO("step " << t << " element " << i);
            CHECK(p.detach().data()[i] == Approx(e.p).epsilon(1e-12).margin(1e-14));
        }
    }
}
struct Belief {
    double p = 0, m = 0, s = 0;
    void step(int t, double g) {
        m = 0.9 * m + 0.1 * g;
        s = 0.99 * s + 0.01 * (g - m) * (g - m) + 1e-4;
        p -= 0.02 * m / (1 - std::pow(0.9, t)) / (std::sqrt(s / (1 - std::pow(0.99, t))) + 1e-4);
    }
};
struct YogiStep {
    double p = 0, m = 0, v = 0.01;
    bool corrected = false;
    void step(int t, double g) {
        m = 0.9 * m + 0.1 * g;
        const double d = v - g * g;
        v -= 0.01 * (d > 0 ? 1 : d < 0 ? -1 : 0) * g * g;
        const double c1 = corrected ? 1 - std::pow(0.9, t) : 1, c2 = corrected ? 1 - std::pow(0.99, t) : 1;
        p -= 0.02 * (m / c1) / (std::sqrt(v / c2) + 1e-3);
    }
};
struct AdaModStep {
    double p = 0, m = 0, v = 0, s = 0;
    void step(int t, double g) {
        m = 0.9 * m + 0.1 * g;
        v = 0.99 * v + 0.01 * g * g;
        const double eta = 0.02 / (std::sqrt(v / (1 - std::pow(0.99, t))) + 1e-8);
        s = 0.95 * s + 0.05 * eta;
        p -= std::min(eta, s) * m / (1 - std::pow(0.9, t));
    }
};
struct Signum {
    double p = 0, m = 0;
    void step(int, double g) {
        m = 0.8 * m + 0.2 * g;
        p -= 0.01 * (m > 0 ? 1 : m < 0 ? -1 : 0);
    }
};

template <class T>
Tensor<T, 1> numbers(std::initializer_list<T> values) {
    Tensor<T, 1> x = empty<T>({static_cast<long>(values.size())});
    std::copy(values.begin(), values.end(), x.data());
    return x.require_grad();
}
// One step with this gradient.
template <class Optimiser, class T>
T after_step(Optimiser& optimiser, const Tensor<T, 1>& p, T gradient) {
    sum(p * gradient).backward();
    optimiser.step();
    return p.detach().data()[0];
}

}  // namespace

TEMPLATE_TEST_CASE("rules follow their reference trajectories", "[optim]", float, double) {
    using T = TestType;
    check<T>("RMSprop lr.01", [](auto& p) { return optim::rmsprop(p, {.lr = .01}); });
    check<T>("RMSprop lr.01 m.9 centered", [](auto& p) { return optim::rmsprop(p, {.lr = .01, .momentum = .9, .centered = true}); });
    check<T>("Adagrad lr.1 lr_decay.01", [](auto& p) { return optim::adagrad(p, {.lr = .1, .lr_decay = .01}); });
    check<T>("Adadelta lr1", [](auto& p) { return optim::adadelta(p); });
    check<T>("Adamax lr.01", [](auto& p) { return optim::adamax(p, {.lr = .01}); });
    check<T>("RAdam lr.01", [](auto& p) { return optim::radam(p, {.lr = .01}); });
    check<T>("NAdam lr.01", [](auto& p) { return optim::nadam(p, {.lr = .01}); });
    check<T>("Lion lr.01 wd.1", [](auto& p) { return optim::lion(p, {.lr = .01, .weight_decay = .1}); });
    check<T>("LARS lr1 m.9 wd.01 tc.02", [](auto& p) { return optim::lars(p, {.lr = 1, .trust = .02, .vectors = true, .weight_decay = .01}); });
    check<T>("LAMB lr.01 wd.01", [](auto& p) { return optim::lamb(p, {.lr = .01, .weight_decay = .01}); });
    check<T>("Lookahead(SGD lr.1 m.9) k5 a.5", [](auto& p) { return optim::lookahead(optim::sgd(p, {.lr = .1, .momentum = .9})); });
}

TEST_CASE("rules that PyTorch does not have follow their formulas", "[optim]") {
    check_formula([](auto& p) { return optim::adabelief(p, {.lr = 0.02, .beta2 = 0.99, .eps = 1e-4}); }, [] { return Belief(); });
    check_formula([](auto& p) { return optim::yogi(p, {.lr = 0.02, .beta2 = 0.99, .initial_accumulator = 0.01, .bias_correction = false}); }, [] { return YogiStep(); });
    check_formula([](auto& p) { return optim::yogi(p, {.lr = 0.02, .beta2 = 0.99, .initial_accumulator = 0.01}); }, [] {
        YogiStep s;
        s.corrected = true;
        return s;
    });
    check_formula([](auto& p) { return optim::adamod(p, {.lr = 0.02, .beta2 = 0.99, .beta3 = 0.95}); }, [] { return AdaModStep(); });
    check_formula([](auto& p) { return optim::lion(p, {.lr = 0.01, .beta1 = 0.8, .beta2 = 0.8}); }, [] { return Signum(); });
}

TEST_CASE("first steps are what the formulas say", "[optim]") {
    // RAdam: five steps of plain momentum, whatever the gradient's size.
    auto p = numbers({0.0});
    auto radam = optim::radam(p, {.lr = 0.1});
    double m = 0, expected = 0;
    for (int t = 1; t <= 5; ++t) {
        m = 0.9 * m + 0.1 * 30;
        expected -= 0.1 * m / (1 - std::pow(0.9, t));
        CHECK(after_step(radam, p, 30.0) == Approx(expected).epsilon(1e-12));
    }
    CHECK(after_step(radam, p, 30.0) > expected - 0.1);  // then the variance rectifies it
    // Lion: the sign of nothing is nothing, weight decay or not.
    auto q = numbers({2.0});
    auto lion = optim::lion(q, {.lr = 0.1, .weight_decay = 0.5});
    CHECK(after_step(lion, q, 0.0) == 2.0 * (1 - 0.1 * 0.5));
    CHECK(after_step(lion, q, 1e-300) == Approx(2.0 * 0.95 * 0.95 - 0.1));
    // Adagrad's decay starts at the second step.
    auto r = numbers({0.0});
    auto adagrad = optim::adagrad(r, {.lr = 1, .lr_decay = 1, .eps = 0});
    CHECK(after_step(adagrad, r, 4.0) == -1);
    CHECK(after_step(adagrad, r, 4.0) == Approx(-1 - 0.5 / std::sqrt(2.0)));
    // Rprop: gradients whose product underflows still agree in sign.
    auto s = numbers({0.0f});
    auto rprop = optim::rprop(s, {.lr = 1});
    CHECK(after_step(rprop, s, 1e-30f) == -1);
    CHECK(after_step(rprop, s, 1e-30f) == Approx(-2.2f));
    CHECK(after_step(rprop, s, -1e-30f) == Approx(-2.2f));  // turned: no move
    CHECK(after_step(rprop, s, -1e-30f) == Approx(-1.6f));  // half the step
}

TEST_CASE("eps stands where each rule has it", "[optim]") {
    // One step with g = 1 from 0 and a large eps: where it stands shows.
    const double eps = 0.5, b2 = 1 - 0.999, root = std::sqrt(b2);
    auto move = [&](auto make) {
        auto p = numbers({0.0});
        auto optimiser = make(p);
        return -after_step(optimiser, p, 1.0);
    };
    CHECK(move([&](auto& p) { return optim::adam(p, {.lr = 1, .eps = eps}); }) == Approx(1 / (1 + eps)));              // after the correction
    CHECK(move([&](auto& p) { return optim::adabound(p, {.lr = 1, .gamma = 0, .eps = eps}); }) == Approx(0.1 * (root / 0.1) / (root + eps)));  // before it
    CHECK(move([&](auto& p) { return optim::adamax(p, {.lr = 1, .eps = eps}); }) == Approx(1 / (1 + eps)));            // beside |g|
    CHECK(move([&](auto& p) { return optim::rmsprop(p, {.lr = 1, .alpha = 0, .eps = eps}); }) == Approx(1 / (1 + eps)));  // outside of the root
    CHECK(move([&](auto& p) { return optim::adagrad(p, {.lr = 1, .eps = eps}); }) == Approx(1 / (1 + eps)));
    CHECK(move([&](auto& p) { return optim::adadelta(p, {.lr = 1, .rho = 0, .eps = eps}); }) == Approx(std::sqrt(eps) / std::sqrt(1 + eps)));  // inside both
    CHECK(move([&](auto& p) { return optim::nadam(p, {.lr = 1, .eps = eps, .momentum_decay = 0}); }) ==
          Approx((1 - 0.45) / (1 - 0.45) / (1 + eps) + 0.45 / (1 - 0.45 * 0.45) * 0.1 / (1 + eps)));
    CHECK(move([&](auto& p) { return optim::lamb(p, {.lr = 1, .eps = eps}); }) == Approx(1 / (1 + eps)));  // from 0: no ratio
    CHECK(move([&](auto& p) { return optim::adabelief(p, {.lr = 1, .eps = eps}); }) ==
          Approx(1 / (std::sqrt((b2 * 0.81 + eps) / b2) + eps)));  // in the moment at every step, and beside its root
}

TEST_CASE("a schedule that starts from a rate of 0 spoils no bound", "[optim]") {
    // The reference divides by the rate that an optimiser was built with.
    auto p = numbers({1.0}), q = numbers({1.0});
    auto late = optim::adabound(p, {.lr = 1e-3, .lr_scale = 0}), plain = optim::adabound(q, {.lr = 1e-3});
    CHECK(after_step(late, p, 2.0) == 1.0);
    late.set_lr_scale(0.5);
    plain.set_lr_scale(0.5);
    CHECK(std::isfinite(after_step(late, p, 2.0)));
    CHECK(after_step(late, p, 2.0) < 1.0);
    auto r = numbers({1.0});
    auto none = optim::adabound(r, {.lr = 0});
    for (int t = 0; t < 5; ++t) CHECK(std::isfinite(after_step(none, r, 2.0)));
}

TEST_CASE("the bounds of a group that is added later follow the schedule as the first one's do", "[optim]") {
    auto p = numbers({1.0}), q = numbers({1.0}), alone = numbers({1.0});
    auto grouped = optim::adabound(p, {.lr = 1e-2, .gamma = 1});
    for (int t = 0; t < 3; ++t) after_step(grouped, p, 1.0);
    grouped.add_group(q, {.lr = 1e-2, .gamma = 1});
    auto single = optim::adabound(alone, {.lr = 1e-2, .gamma = 1});
    for (int t = 0; t < 6; ++t) {
        const double scale = t < 3 ? 1 : 0.1;
        grouped.set_lr_scale(scale);
        single.set_lr_scale(scale);
        CHECK(after_step(grouped, q, 1.5) == after_step(single, alone, 1.5));
    }
}

TEST_CASE("groups have rates and schedules of their own", "[optim]") {
    auto p = numbers({0.0}), q = numbers({0.0});
    auto optimiser = optim::sgd(p, {.lr = 1});
    optimiser.add_group(q, {.lr = 10, .maximize = true});
    CHECK(optimiser.group_count() == 2);
    sum(p + q).backward();
    optimiser.step();
    CHECK(p.detach().data()[0] == -1);
    CHECK(q.detach().data()[0] == 10);
    optimiser.set_lr_scale(1, 0.5);
    sum(p + q).backward();
    optimiser.step();
    CHECK(p.detach().data()[0] == -2);
    CHECK(q.detach().data()[0] == 15);
    optimiser.set_momentum(0.0);
    auto r = numbers({0.0});
    CHECK_THROWS_WITH(optimiser.add_group(r, {.momentum = 0.9}), Catch::Contains("sgd: groups differ in what they keep"));
    optimiser.options(1).momentum = 0.9;
    sum(p).backward();
    CHECK_THROWS_WITH(optimiser.step(), Catch::Contains("an option that decides what the optimiser keeps"));
    auto adam = optim::adam(r);
    adam.set_momentum(0.5);
    CHECK(adam.options().beta1 == 0.5);
    auto s = numbers({0.0});
    auto rms = optim::rmsprop(s, {.momentum = 0.5});
    rms.options().momentum = 0;
    rms.options().centered = true;  // as many states, other ones
    sum(s).backward();
    CHECK_THROWS_AS(rms.step(), ValueError);
}

TEST_CASE("AdamW decays unless it is told not to", "[optim]") {
    auto p = numbers({1.0}), q = numbers({1.0});
    auto plain = optim::adamw(p, {.lr = 0.1}), none = optim::adamw(q, {.lr = 0.1, .weight_decay = 0});
    CHECK(after_step(plain, p, 0.0) == Approx(1 - 0.1 * 0.01));
    CHECK(after_step(none, q, 0.0) == 1);
}

TEST_CASE("decay modes are those of every rule", "[optim]") {
    auto moved = [&](auto make) {
        auto p = numbers({2.0});
        auto optimiser = make(p);
        return after_step(optimiser, p, 0.0);
    };
    using optim::WeightDecay;
    const auto check_rule = [&](auto make) {
        CHECK(moved([&](auto& p) { return make(p, WeightDecay::decoupled_torch); }) == Approx(2 * (1 - 0.5 * 0.25)).epsilon(1e-14));
        CHECK(moved([&](auto& p) { return make(p, WeightDecay::decoupled_ref); }) == Approx(2 * (1 - 0.25)).epsilon(1e-14));
        CHECK(moved([&](auto& p) { return make(p, WeightDecay::l2); }) < 2);
        auto p = numbers({2.0});
        CHECK_THROWS_WITH(make(p, WeightDecay::decoupled_final), Catch::Contains("decoupled_final needs a final_lr"));
        CHECK_THROWS_WITH(make(p, static_cast<WeightDecay>(9)), Catch::Contains("the weight decay's mode is 9"));
    };
    check_rule([](auto& p, WeightDecay d) { return optim::sgd(p, {.lr = 0.5, .weight_decay = 0.25, .decay = d}); });
    check_rule([](auto& p, WeightDecay d) { return optim::adam(p, {.lr = 0.5, .weight_decay = 0.25, .decay = d}); });
    check_rule([](auto& p, WeightDecay d) { return optim::rmsprop(p, {.lr = 0.5, .weight_decay = 0.25, .decay = d}); });
    check_rule([](auto& p, WeightDecay d) { return optim::adagrad(p, {.lr = 0.5, .weight_decay = 0.25, .decay = d}); });
    check_rule([](auto& p, WeightDecay d) { return optim::adamax(p, {.lr = 0.5, .weight_decay = 0.25, .decay = d}); });
    check_rule([](auto& p, WeightDecay d) { return optim::nadam(p, {.lr = 0.5, .weight_decay = 0.25, .decay = d}); });
    check_rule([](auto& p, WeightDecay d) { return optim::radam(p, {.lr = 0.5, .weight_decay = 0.25, .decay = d}); });
    check_rule([](auto& p, WeightDecay d) { return optim::lion(p, {.lr = 0.5, .weight_decay = 0.25, .decay = d}); });
    check_rule([](auto& p, WeightDecay d) { return optim::adabelief(p, {.lr = 0.5, .weight_decay = 0.25, .decay = d}); });
    check_rule([](auto& p, WeightDecay d) { return optim::yogi(p, {.lr = 0.5, .weight_decay = 0.25, .decay = d}); });
    check_rule([](auto& p, WeightDecay d) { return optim::adamod(p, {.lr = 0.5, .weight_decay = 0.25, .decay = d}); });
    check_rule([](auto& p, WeightDecay d) { return optim::asgd(p, {.lr = 0.5, .lambd = 0, .weight_decay = 0.25, .decay = d}); });
}

TEST_CASE("rates that are negative or no numbers are refused, by name", "[optim]") {
    const double nan = std::nan(""), inf = std::numeric_limits<double>::infinity();
    auto p = numbers({1.0});
    const auto refuses = [&](const char* name, auto make) {
        for (double lr : {-1.0, nan, inf}) {
            auto build = [&] { static_cast<void>(make(lr)); };
            CHECK_THROWS_AS(build(), ValueError);
            CHECK_THROWS_WITH(build(), Catch::Contains(std::string(name) + ": lr is "));
        }
    };
    refuses("sgd", [&](double lr) { return optim::sgd(p, {.lr = lr}); });
    refuses("adam", [&](double lr) { return optim::adam(p, {.lr = lr}); });
    refuses("adamw", [&](double lr) { return optim::adamw(p, {.lr = lr}); });
    refuses("adabound", [&](double lr) { return optim::adabound(p, {.lr = lr}); });
    refuses("rmsprop", [&](double lr) { return optim::rmsprop(p, {.lr = lr}); });
    refuses("adagrad", [&](double lr) { return optim::adagrad(p, {.lr = lr}); });
    refuses("adadelta", [&](double lr) { return optim::adadelta(p, {.lr = lr}); });
    refuses("nadam", [&](double lr) { return optim::nadam(p, {.lr = lr}); });
    refuses("radam", [&](double lr) { return optim::radam(p, {.lr = lr}); });
    refuses("adamax", [&](double lr) { return optim::adamax(p, {.lr = lr}); });
    refuses("adabelief", [&](double lr) { return optim::adabelief(p, {.lr = lr}); });
    refuses("yogi", [&](double lr) { return optim::yogi(p, {.lr = lr}); });
    refuses("adamod", [&](double lr) { return optim::adamod(p, {.lr = lr}); });
    refuses("asgd", [&](double lr) { return optim::asgd(p, {.lr = lr}); });
    refuses("lion", [&](double lr) { return optim::lion(p, {.lr = lr}); });
    refuses("rprop", [&](double lr) { return optim::rprop(p, {.lr = lr}); });
    refuses("lars", [&](double lr) { return optim::lars(p, {.lr = lr}); });
    refuses("lamb", [&](double lr) { return optim::lamb(p, {.lr = lr}); });
    CHECK_THROWS_WITH(optim::adam(p, {.eps = -1}), Catch::Contains("adam: eps is -1"));
    CHECK_THROWS_WITH(optim::adam(p, {.weight_decay = nan}), Catch::Contains("adam: weight_decay is nan"));
    CHECK_THROWS_WITH(optim::adam(p, {.gradient_scale = inf}), Catch::Contains("adam: gradient_scale is inf"));
    CHECK_THROWS_WITH(optim::adam(p, {.lr_scale = -0.5}), Catch::Contains("adam: lr_scale is -0.5"));
    CHECK_THROWS_AS(optim::adam(p, {.beta2 = nan}), ValueError);
    CHECK_THROWS_AS(optim::sgd(p, {.momentum = -0.1}), ValueError);
    CHECK_THROWS_WITH(optim::sgd(p, {.nesterov = true}), Catch::Contains("nesterov needs momentum > 0"));
    CHECK_THROWS_WITH(optim::rmsprop(p, {.alpha = 1}), Catch::Contains("rmsprop: alpha is 1: expected a number in [0, 1)"));
    CHECK_THROWS_AS(optim::adadelta(p, {.rho = -0.1}), ValueError);
    CHECK_THROWS_WITH(optim::rprop(p, {.shrink = 1.5}), Catch::Contains("rprop: shrink is 1.5: expected a number in [0, 1]"));
    CHECK_THROWS_AS(optim::rprop(p, {.least = 2, .most = 1}), ValueError);
    CHECK_THROWS_AS(optim::lars(p, {.momentum = 0, .nesterov = true}), ValueError);
    CHECK_THROWS_AS(optim::lamb(p, {.beta1 = 1}), ValueError);
    CHECK_THROWS_AS(optim::adamod(p, {.beta3 = 1}), ValueError);
    // Nothing of all this has taken the parameter.
    CHECK_NOTHROW(optim::sgd(p));
    // A rate that goes bad on the way is refused at the step, which then has done nothing.
    auto optimiser = optim::adam(p);
    optimiser.set_lr_scale(nan);
    sum(p).backward();
    CHECK_THROWS_WITH(optimiser.step(), Catch::Contains("adam: lr_scale is nan"));
    CHECK(p.detach().data()[0] == 1);
}

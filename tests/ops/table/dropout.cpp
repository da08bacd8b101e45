// Dropout. PyTorch draws other random numbers; tests/nn/test_dropout_variants.cpp and tests/kernels/test_rng.cpp look at what
// is kept.
#include "record.hpp"

#include <tenon/ops/dropout_variants.hpp>
#include <tenon/ops/perturb.hpp>

TENON_OPERATORS(dropout) {
    using namespace tenon;
    using namespace operators;
    const Key key{7};
    add<halves>({.name = "dropout"}, [=](const auto& x) { return dropout(x, 0.3, key); }, real<2>("x", {300, 1000}));
    add<halves>({.name = "feature_dropout"}, [=](const auto& x) { return feature_dropout(x, 0.3, key); }, real<3>("x", {300, 40, 30}));
    add<halves>({.name = "alpha_dropout"}, [=](const auto& x) { return alpha_dropout(x, 0.3, key); }, real<2>("x", {300, 1000}));
    // What is exact is held to the rounding of the gradient that comes in.
    for (const double p : {0.0, 1.0}) {
        add<halves>({.name = p > 0 ? "dropout, p = 1" : "dropout, p = 0", .golden = p > 0 ? "all" : "none", .in_double = 0, .in_float = 1e-7},
                    [=](const auto& x) { return dropout(x, p, key); }, real<3>("x", {30, 100, 100}));
        add<halves>({.name = p > 0 ? "feature_dropout, p = 1" : "feature_dropout, p = 0", .golden = p > 0 ? "all" : "none", .in_double = 0, .in_float = 1e-7},
                    [=](const auto& x) { return feature_dropout(x, p, key); }, real<3>("x", {30, 100, 100}));
        add<halves>({.name = p > 0 ? "alpha_dropout, p = 1" : "alpha_dropout, p = 0", .golden = p > 0 ? "all" : "none", .in_double = 0, .in_float = 1e-7},
                    [=](const auto& x) { return alpha_dropout(x, p, key); }, real<3>("x", {30, 100, 100}));
    }

    for (const NoiseFamily what : {NoiseFamily::gaussian, NoiseFamily::uniform, NoiseFamily::bernoulli}) {
        const char* const names[] = {"perturb, Gaussian", "perturb, uniform", "perturb, Bernoulli"};
        const char* const multiplicative[] = {"perturb, Gaussian, multiplicative", "perturb, uniform, multiplicative", "perturb, Bernoulli, multiplicative"};
        const NoiseKind plain{what, false, 0.3}, relative{what, true, 0.3};
        add({.name = names[static_cast<int>(what)]}, [=](const auto& x, const auto& s) { return perturb(x, s, plain, key); },
            real<2>("mean", {300, 1000}), real<2>("deviation", {300, 1000}, 0, 1));
        add({.name = multiplicative[static_cast<int>(what)]}, [=](const auto& x, const auto& s) { return perturb(x, s, relative, key); },
            real<2>("mean", {300, 1000}), real<2>("deviation", {300, 1000}, 0, 1));
    }
    add({.name = "perturb, one deviation"}, [=](const auto& x) { return perturb(x, 0.25, NoiseKind{NoiseFamily::gaussian, true}, key); }, real<2>("mean", {300, 1000}));
    add_error("perturb", [=] { return perturb(zeros<float>({3}), zeros<float>({4}), NoiseKind{}, key); },
              "perturb: deviation float[4] on cpu: expected the shape of the mean, float[3] on cpu");
    add_error("perturb", [=] { return perturb(zeros<float>({3}), 1, NoiseKind{NoiseFamily::bernoulli, false, 1}, key); },
              "perturb: Bernoulli noise of probability 1, expected a number between 0 and 1");

    add_error("dropout", [=] { return dropout(zeros<float>({3}), 1.5, key); }, "dropout: probability 1.5, expected 0 to 1");
    add_error("feature_dropout", [=] { return feature_dropout(zeros<float>({3, 2}), -0.5, key); }, "feature_dropout: probability -0.5, expected 0 to 1");
    add_error("alpha_dropout", [=] { return alpha_dropout(zeros<float>({3}), 2, key); }, "alpha_dropout: probability 2, expected 0 to 1");
}

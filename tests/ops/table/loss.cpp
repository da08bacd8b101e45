// Losses.
#include "record.hpp"

#include <tenon/ops/ctc_loss.hpp>
#include <tenon/ops/margin_loss.hpp>

TENON_OPERATORS(loss) {
    using namespace tenon;
    using namespace operators;
    const auto weights = []<class T>(const Tensor<T, 2>& like) { return from<T>({T(0.5f), T(1.f), T(2.f), T(0.25f), T(1.5f), T(3.f)}).to(like.device()); };
    const Reduction how_sum = Reduction::sum;

    const auto x = real<2>("x", {512, 1000}), t = real<2>("t", {512, 1000}), p = real<2>("x", {512, 1000}, 0.05, 0.95), q = real<2>("t", {512, 1000}, 0.05, 0.95);
    add<halves>({.name = "mse_loss", .golden = "mse_loss/mean"}, [](const auto& a, const auto& b) { return mse_loss(a, b); }, x, t);
    add({.name = "mse_loss, sum", .golden = "mse_loss/sum"}, [=](const auto& a, const auto& b) { return mse_loss(a, b, how_sum); }, x, t);
    add({.name = "mse_loss, no_reduction", .golden = "mse_loss/none"}, [](const auto& a, const auto& b) { return mse_loss(a, b, no_reduction); }, x, t);
    add<halves>({.name = "l1_loss", .golden = "l1_loss/mean", .kinks = true}, [](const auto& a, const auto& b) { return l1_loss(a, b); }, x, t);
    add({.name = "l1_loss, no_reduction", .golden = "l1_loss/none", .kinks = true}, [](const auto& a, const auto& b) { return l1_loss(a, b, no_reduction); }, x, t);
    add<halves>({.name = "smooth_l1_loss", .golden = "smooth_l1_loss/mean"}, [](const auto& a, const auto& b) { return smooth_l1_loss(a, b, 0.7); }, x, t);
    add({.name = "smooth_l1_loss, no_reduction", .golden = "smooth_l1_loss/none"}, [](const auto& a, const auto& b) { return smooth_l1_loss(a, b, 0.7, no_reduction); }, x, t);
    add({.name = "smooth_l1_loss, beta 0", .golden = "smooth_l1_loss_zero", .kinks = true}, [](const auto& a, const auto& b) { return smooth_l1_loss(a, b, 0); }, x, t);
    add<halves>({.name = "huber_loss", .golden = "huber_loss/mean"}, [](const auto& a, const auto& b) { return huber_loss(a, b, 0.7); }, x, t);
    add({.name = "huber_loss, no_reduction", .golden = "huber_loss/none"}, [](const auto& a, const auto& b) { return huber_loss(a, b, 0.7, no_reduction); }, x, t);
    add({.name = "binary_cross_entropy", .golden = "binary_cross_entropy/mean"}, [](const auto& a, const auto& b) { return binary_cross_entropy(a, b); }, p, q);
    add({.name = "binary_cross_entropy, no_reduction", .golden = "binary_cross_entropy/none"}, [](const auto& a, const auto& b) { return binary_cross_entropy(a, b, no_reduction); }, p, q);
    add({.name = "binary_cross_entropy, weight", .golden = "binary_cross_entropy_weight"}, [](const auto& a, const auto& b, const auto& w) { return binary_cross_entropy(a, b, w); },
        p, q, real<1>("w", {1000}));
    add<halves>({.name = "binary_cross_entropy_with_logits", .golden = "binary_cross_entropy_with_logits/mean"},
                [](const auto& a, const auto& b) { return binary_cross_entropy_with_logits(a, b); }, x, q);
    add({.name = "binary_cross_entropy_with_logits, no_reduction", .golden = "binary_cross_entropy_with_logits/none"},
        [](const auto& a, const auto& b) { return binary_cross_entropy_with_logits(a, b, no_reduction); }, x, q);
    add({.name = "binary_cross_entropy_with_logits, weight and pos_weight", .golden = "binary_cross_entropy_with_logits_weight"},
        [](const auto& a, const auto& b, const auto& w, const auto& u) { return binary_cross_entropy_with_logits(a, b, w, u); }, x, q, real<1>("w", {1000}), real<2>("p", {512, 1}, 0.5, 2));
    add({.name = "kl_div", .golden = "kl_div/mean"}, [](const auto& a, const auto& b) { return kl_div(a, b); }, x, q);
    add({.name = "kl_div, batch_mean", .golden = "kl_div_batch"}, [](const auto& a, const auto& b) { return kl_div(a, b, Reduction::batch_mean); }, x, q);
    add({.name = "kl_div, no_reduction", .golden = "kl_div_zero", .kinks = true}, [](const auto& a, const auto& b) { return kl_div(a, b, no_reduction); }, real<1>("x", {1000}), real<1>("t", {1000}, 0.05, 1));
    add({.name = "kl_div, log_target", .golden = "kl_div_log"}, [](const auto& a, const auto& b) { return kl_div(a, b, log_target); }, x, t);
    const auto y = real<2>("s");
    add({.name = "hinge_embedding_loss", .golden = "hinge_embedding_loss", .kinks = true}, [](const auto& a, const auto& b) { return hinge_embedding_loss(a, b, b.size() > 2 ? 1.3 : 1.0); }, x, y);
    add({.name = "margin_ranking_loss", .golden = "margin_ranking_loss", .kinks = true}, [](const auto& a, const auto& b, const auto& s) { return margin_ranking_loss(a, b, s, 0.4); },
        real<2>("a"), real<2>("b"), y);
    add({.name = "soft_margin_loss", .golden = "soft_margin_loss"}, [](const auto& a, const auto& s) { return soft_margin_loss(a, s); }, x, y);
    add({.name = "gaussian_nll_loss", .golden = "gaussian_nll_loss", .kinks = true},
        [](const auto& a, const auto& b, const auto& v) { return gaussian_nll_loss(a, b, v, {.full = true, .eps = v.size() > 2 ? 1e-6 : 1e-3}); }, x, t, real<2>("v", {512, 1000}, 0.1, 2));
    add({.name = "poisson_nll_loss", .golden = "poisson_nll_loss"}, [](const auto& a, const auto& b) { return poisson_nll_loss(a, b, {.full = true}); }, x, t);
    add({.name = "poisson_nll_loss_of_rate", .golden = "poisson_nll_loss_of_rate"}, [](const auto& a, const auto& b) { return poisson_nll_loss_of_rate(a, b); }, p, t);

    add({.name = "cosine_similarity", .golden = "cosine_similarity"}, [](const auto& a, const auto& b) { return cosine_similarity(a, b); }, real<3>("a", {50, 100, 64}), real<3>("b", {50, 100, 64}));
    add({.name = "cosine_embedding_loss", .golden = "cosine_embedding_loss", .kinks = true}, [](const auto& a, const auto& b, const auto& s) { return cosine_embedding_loss(a, b, s, 0.1); },
        real<2>("a"), real<2>("b"), real<1>("s"));
    add({.name = "pairwise_distance", .golden = "pairwise_distance"}, [](const auto& a, const auto& b) { return pairwise_distance(a, b); }, real<2>("a", {1000, 256}), real<2>("b", {1000, 256}));
    add({.name = "pairwise_distance, p 3", .golden = "pairwise_distance_3"}, [](const auto& a, const auto& b) { return pairwise_distance(a, b, 3); }, real<2>("a"), real<2>("b"));
    add({.name = "triplet_margin_loss", .golden = "triplet_margin_loss", .kinks = true}, [](const auto& a, const auto& b, const auto& c) { return triplet_margin_loss(a, b, c); },
        real<2>("a", {1000, 256}), real<2>("p", {1000, 256}), real<2>("n", {1000, 256}));
    add({.name = "triplet_margin_loss, swap", .golden = "triplet_margin_loss_swap", .kinks = true},
        [](const auto& a, const auto& b, const auto& c) { return triplet_margin_loss(a, b, c, {.margin = 0.5, .swap = true}); }, real<2>("a"), real<2>("p"), real<2>("n"));

    const auto logits = real<2>("x", {512, 81}, -4, 4);
    const auto labels = integer<1>("labels", {512}, 0, 81);
    add<halves>({.name = "cross_entropy, labels", .golden = "cross_entropy/mean"}, [](const auto& a, const auto& l) { return cross_entropy(a, l); }, logits, labels);
    add({.name = "cross_entropy, labels, sum", .golden = "cross_entropy/sum"}, [](const auto& a, const auto& l) { return cross_entropy(a, l, Reduction::sum); }, logits, labels);
    add({.name = "cross_entropy, labels, no_reduction", .golden = "cross_entropy/none"}, [](const auto& a, const auto& l) { return cross_entropy(a, l, no_reduction); }, logits, labels);
    add({.name = "cross_entropy, class weights", .golden = "cross_entropy_weight"}, [=](const auto& a, const auto& l) { return cross_entropy(a, l, {.weight = weights(a)}); },
        real<2>("x", {4096, 6}), integer<1>("labels", {4096}, 0, 6));
    add({.name = "cross_entropy, label smoothing", .golden = "cross_entropy_smooth"},
        [=](const auto& a, const auto& l) { return cross_entropy(a, l, {.weight = weights(a), .label_smoothing = 0.15}); }, real<2>("x", {4096, 6}), integer<1>("labels", {4096}, 0, 6));
    const auto six = []<class T, int R>(const Tensor<T, R>& like) { return from<T>({T(0.5f), T(1.f), T(2.f), T(0.25f), T(1.5f), T(3.f)}).to(like.device()); };
    add({.name = "cross_entropy, positions", .golden = "cross_entropy_image_mean"},
        [=](const auto& a, const auto& l) { return cross_entropy(a, l, {.weight = six(a), .label_smoothing = 0.1}); }, real<4>("x", {8, 6, 50, 60}), integer<3>("labels", {8, 50, 60}, 0, 6));
    add({.name = "cross_entropy, positions, no_reduction", .golden = "cross_entropy_image_none"},
        [=](const auto& a, const auto& l) { return cross_entropy(a, l, {.weight = six(a), .label_smoothing = 0.1}, no_reduction); }, real<4>("x", {8, 6, 50, 60}), integer<3>("labels", {8, 50, 60}, 0, 6));
    add({.name = "cross_entropy, targets", .golden = "cross_entropy_soft_mean"},
        [=](const auto& a, const auto& b) { return cross_entropy(a, b, {.weight = weights(a), .label_smoothing = 0.1}); }, real<2>("x", {4096, 6}), real<2>("targets", {4096, 6}, 0, 1));
    add({.name = "cross_entropy, targets, no_reduction", .golden = "cross_entropy_soft_none"},
        [=](const auto& a, const auto& b) { return cross_entropy(a, b, {.weight = weights(a), .label_smoothing = 0.1}, no_reduction); }, real<2>("x", {4096, 6}), real<2>("targets", {4096, 6}, 0, 1));
    add<halves>({.name = "cross_entropy, plain targets", .golden = "cross_entropy_soft_plain"}, [](const auto& a, const auto& b) { return cross_entropy(a, b); }, real<2>("x", {512, 81}), real<2>("targets", {512, 81}, 0, 1));
    add({.name = "cross_entropy, targets at positions", .golden = "cross_entropy_soft_image"}, [](const auto& a, const auto& b) { return cross_entropy(a, b, Reduction::sum); },
        real<3>("x", {100, 6, 300}), real<3>("targets", {100, 6, 300}, 0, 1));
    add<halves>({.name = "nll_loss", .golden = "nll_loss_mean"}, [=](const auto& a, const auto& l) { return nll_loss(a, l, {.weight = weights(a)}); }, real<2>("x", {4096, 6}), integer<1>("labels", {4096}, 0, 6));
    add({.name = "nll_loss, no_reduction", .golden = "nll_loss_none"}, [=](const auto& a, const auto& l) { return nll_loss(a, l, {.weight = weights(a)}, no_reduction); }, real<2>("x", {4096, 6}), integer<1>("labels", {4096}, 0, 6));
    add({.name = "nll_loss, positions", .golden = "nll_loss_image"}, [](const auto& a, const auto& l) { return nll_loss(a, l); }, real<3>("x", {40, 6, 300}), integer<2>("labels", {40, 300}, 0, 6));
    add({.name = "multi_margin_loss", .golden = "multi_margin_loss", .kinks = true}, [](const auto& a, const auto& l) { return multi_margin_loss(a, l, {.margin = 0.8}); }, logits, labels);
    add({.name = "multi_margin_loss, p 2", .golden = "multi_margin_loss_2", .kinks = true}, [](const auto& a, const auto& l) {
        using T = typename std::remove_cvref_t<decltype(a)>::Scalar;
        return multi_margin_loss(a, l, {.p = 2, .weight = from<T>({T(0.5), T(1), T(2), T(0.25)}).to(a.device())}); }, real<2>("x"), integer<1>("labels"));

    const auto sequences = real<3>("x", {100, 16, 40});
    const auto targets = integer<2>("targets", {16, 30}, 1, 40);
    const auto inputs = integer<1>("inputs", {16}, 70, 101), lengths = integer<1>("lengths", {16}, 1, 31);
    add({.name = "ctc_loss", .golden = "ctc_loss/mean"}, [](const auto& a, const auto& l, const auto& m, const auto& n) { return ctc_loss(log_softmax(a), l, m, n); }, sequences, targets, inputs, lengths);
    add({.name = "ctc_loss, sum", .golden = "ctc_loss/sum"}, [=](const auto& a, const auto& l, const auto& m, const auto& n) { return ctc_loss(log_softmax(a), l, m, n, {}, how_sum); }, sequences, targets,
        inputs, lengths);
    add({.name = "ctc_loss, no_reduction", .golden = "ctc_loss/none"}, [](const auto& a, const auto& l, const auto& m, const auto& n) { return ctc_loss(log_softmax(a), l, m, n, {}, no_reduction); },
        sequences, targets, inputs, lengths);
    add({.name = "ctc_loss, zero_infinity", .golden = "ctc_loss_zero"}, [](const auto& a, const auto& l, const auto& m, const auto& n) { return ctc_loss(log_softmax(a), l, m, n, {.zero_infinity = true}); },
        sequences, targets, inputs, lengths);
    add({.name = "ctc_loss, joined targets", .golden = "ctc_loss_joined"}, [](const auto& a, const auto& l, const auto& m, const auto& n) { return ctc_loss(log_softmax(a), l, m, n, {.blank = 3}); },
        real<3>("x"), integer<1>("targets"), integer<1>("inputs"), integer<1>("lengths"));

    const auto zeros23 = [] { return zeros<float>({2, 3}); };
    add_error("cross_entropy", [=] { return cross_entropy(zeros23(), from<std::int64_t>({0, 3})); }, "cross_entropy: label 3 of row 1 is outside of [0, 3)");
    add_error("cross_entropy", [=] { return cross_entropy(zeros23(), from<std::int64_t>({0})); }, "expected one label for each row");
    add_error("cross_entropy", [=] { return cross_entropy(zeros<float>({2, 3, 4}), zeros<std::int64_t>({2, 3})); }, "expected the sizes of the logits without their axis 1");
    add_error("cross_entropy", [=] { return cross_entropy(zeros<float>({2, 3, 4}), full<std::int64_t>({2, 4}, 3)); }, "label 3 at position [0, 0] is outside of [0, 3)");
    add_error("cross_entropy", [=] { return cross_entropy(zeros23(), from<std::int64_t>({0, 1}), {.weight = ones<float>({2})}); }, "expected one element for each of the 3 classes");
    add_error("cross_entropy", [=] { return cross_entropy(zeros23(), from<std::int64_t>({0, 1}), {.label_smoothing = 1.5}); }, "label_smoothing is 1.5");
    add_error("cross_entropy", [=] { return cross_entropy(zeros23(), zeros<float>({2, 4})); }, "expected one target for each logit");
    add_error("nll_loss", [=] { return nll_loss(zeros23(), from<std::int64_t>({0, -1})); }, "nll_loss: label -1 of row 1");
    add_error("multi_margin_loss", [=] { return multi_margin_loss(zeros23(), from<std::int64_t>({0, 1}), {.p = 3}); }, "p is 3, expected 1 or 2");
    const auto one = [](std::int64_t v) { return from<std::int64_t>({v}); };
    add_error("ctc_loss", [=] { return ctc_loss(zeros<float>({4, 1, 3}), full<std::int64_t>({1, 2}, 3), one(4), one(2)); }, "label 3 at 0 of sequence 0 is outside of [0, 3)");
    add_error("ctc_loss", [=] { return ctc_loss(zeros<float>({4, 1, 3}), full<std::int64_t>({1, 2}, 1), one(5), one(2)); }, "input length 5 of sequence 0, expected 0 to 4");
    add_error("ctc_loss", [=] { return ctc_loss(zeros<float>({4, 1, 3}), full<std::int64_t>({1, 2}, 1), one(4), one(3)); }, "target length 3 of sequence 0, expected 0 to 2");
    add_error("ctc_loss", [=] { return ctc_loss(zeros<float>({4, 1, 3}), full<std::int64_t>({1, 2}, 1), one(4), one(2), {.blank = 3}); }, "blank is 3");
    add_error("ctc_loss", [=] { return ctc_loss(zeros<float>({4, 2, 3}), full<std::int64_t>({2, 2}, 1), one(4), one(2)); }, "expected one length for each of the 2 sequences");
    add_error("huber_loss", [=] { return huber_loss(zeros23(), zeros23(), 0); }, "huber_loss: delta is 0");
    add_error("smooth_l1_loss", [=] { return smooth_l1_loss(zeros23(), zeros23(), -1); }, "smooth_l1_loss: beta is -1");
    add_error("mse_loss", [=] { return mse_loss(zeros23(), zeros<float>({2, 4})); }, "shapes cannot be broadcast");
    add_error("pairwise_distance", [=] { return pairwise_distance(zeros23(), zeros23(), 0); }, "p is 0, expected more than 0");
    add_error("gaussian_nll_loss", [=] { return gaussian_nll_loss(zeros23(), zeros23(), zeros23(), {.eps = 0}); }, "eps is 0");
}

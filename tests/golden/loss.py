"""Golden values of losses."""
import torch
import torch.nn.functional as F

from golden import Family, integers, r

inf, nan = float("inf"), float("nan")


def t(*values):
    return torch.tensor(values)


def u(*shape):
    """Numbers inside of (0, 1)."""
    return torch.rand(*shape, dtype=torch.float32).double() * 0.9 + 0.05


def signs(*shape):
    return torch.randint(0, 2, shape).double() * 2 - 1


with Family("loss") as f:
    def pair(key, function, x, y, names=("x", "t")):
        """All reductions of a loss of two tensors."""
        for reduction in ("mean", "sum", "none"):
            f.case(f"{key}/{reduction}", dict(zip(names, (x, y))), lambda **a: function(*a.values(), reduction))

    x, y = r(3, 4) * 2, r(3, 4)
    pair("mse_loss", lambda a, b, how: F.mse_loss(a, b, reduction=how), x, y)
    f.case("mse_loss/mean/one", {"x": r(1, 1), "t": r(1, 1)}, lambda x, t: F.mse_loss(x, t))
    f.case("mse_loss/mean/empty", {"x": r(0, 3), "t": r(0, 3)}, lambda x, t: F.mse_loss(x, t))
    f.case("mse_loss/mean/nan", {"x": t([1.0, nan]), "t": t([2.0, 3.0])}, lambda x, t: F.mse_loss(x, t))
    pair("l1_loss", lambda a, b, how: F.l1_loss(a, b, reduction=how), x, y)
    f.case("l1_loss/none/tie", {"x": t([1.0, 2.0]), "t": t([1.0, 3.0])}, lambda x, t: F.l1_loss(x, t, reduction="none"))
    pair("smooth_l1_loss", lambda a, b, how: F.smooth_l1_loss(a, b, beta=0.7, reduction=how), x, y)
    f.case("smooth_l1_loss/none/tie", {"x": t([1.0, 1.0]), "t": t([1.0, 0.3])}, lambda x, t: F.smooth_l1_loss(x, t, beta=0.7, reduction="none"))
    f.case("smooth_l1_loss/none/inf", {"x": t([inf, -3.0]), "t": t([1.0, -inf])}, lambda x, t: F.smooth_l1_loss(x, t, beta=0.7, reduction="none"))
    f.case("smooth_l1_loss_zero", {"x": x, "t": y}, lambda x, t: F.smooth_l1_loss(x, t, beta=0.0))
    pair("huber_loss", lambda a, b, how: F.huber_loss(a, b, delta=0.7, reduction=how), x, y)
    f.case("huber_loss/none/tie", {"x": t([1.0, 1.0]), "t": t([1.0, 0.25])}, lambda x, t: F.huber_loss(x, t, delta=0.7, reduction="none"))

    p, q = u(3, 4), u(3, 4)
    pair("binary_cross_entropy", lambda a, b, how: F.binary_cross_entropy(a, b, reduction=how), p, q)
    f.case("binary_cross_entropy/none/inf", {"x": t([0.0, 1.0, 0.0, 1.0]), "t": t([0.0, 1.0, 1.0, 0.0])}, lambda x, t: F.binary_cross_entropy(x, t.detach(), reduction="none"))
    f.case("binary_cross_entropy_weight", {"x": p, "t": q, "w": u(4)}, lambda x, t, w: F.binary_cross_entropy(x, t, w.detach()))
    pair("binary_cross_entropy_with_logits", lambda a, b, how: F.binary_cross_entropy_with_logits(a, b, reduction=how), x, q)
    f.case("binary_cross_entropy_with_logits/none/inf", {"x": t([200.0, -200.0, 800.0, nan]), "t": t([0.0, 1.0, 1.0, 1.0])},
           lambda x, t: F.binary_cross_entropy_with_logits(x, t.detach(), reduction="none"))
    f.case("binary_cross_entropy_with_logits_weight", {"x": x, "t": q, "w": u(4), "p": u(3, 1) * 3},
           lambda x, t, w, p: F.binary_cross_entropy_with_logits(x, t, w.detach(), pos_weight=p.detach()))

    lp, lq = torch.log_softmax(r(3, 4), 1), torch.softmax(r(3, 4), 1)
    pair("kl_div", lambda a, b, how: F.kl_div(a, b, reduction=how), lp, lq)
    f.case("kl_div_batch", {"x": lp, "t": lq}, lambda x, t: F.kl_div(x, t, reduction="batchmean"))
    f.case("kl_div_zero/kink", {"x": t(-1.0, -2.0), "t": t(0.0, 1.0)}, lambda x, t: F.kl_div(x, t.detach(), reduction="none"))
    f.case("kl_div_log", {"x": lp, "t": lq.log()}, lambda x, t: F.kl_div(x, t, log_target=True))

    s = signs(3, 4)
    f.case("hinge_embedding_loss", {"x": x.abs(), "s": s}, lambda x, s: F.hinge_embedding_loss(x, s.detach(), margin=1.3))
    f.case("hinge_embedding_loss/tie", {"x": t([1.0, 1.5]), "s": t([-1.0, -1.0])}, lambda x, s: F.hinge_embedding_loss(x, s.detach(), margin=1.0))
    f.case("margin_ranking_loss", {"a": x, "b": y, "s": s}, lambda a, b, s: F.margin_ranking_loss(a, b, s, margin=0.4))
    f.case("soft_margin_loss", {"x": x, "s": s}, lambda x, s: F.soft_margin_loss(x, s.detach()))
    f.case("gaussian_nll_loss", {"x": x, "t": y, "v": u(3, 4)}, lambda x, t, v: F.gaussian_nll_loss(x, t, v, full=True))
    f.case("gaussian_nll_loss/kink_eps", {"x": t([1.0, 2.0]), "t": t([1.5, 1.0]), "v": t([0.0, 1e-8])}, lambda x, t, v: F.gaussian_nll_loss(x, t, v, full=True, eps=1e-3))
    counts = torch.tensor([[0.0, 2.0, 5.0, 3.0], [4.0, 0.0, 2.0, 6.0], [3.0, 2.0, 0.0, 4.0]])  # none at 1, where full sets in
    f.case("poisson_nll_loss", {"x": x, "t": counts}, lambda x, t: F.poisson_nll_loss(x, t.detach(), full=True))
    f.case("poisson_nll_loss_of_rate", {"x": u(3, 4) * 3, "t": counts}, lambda x, t: F.poisson_nll_loss(x, t.detach(), log_input=False))

    f.case("cosine_similarity", {"a": r(3, 4, 2), "b": r(3, 4, 2)}, lambda a, b: F.cosine_similarity(a, b))
    f.case("cosine_similarity/broadcast", {"a": r(3, 4, 2), "b": r(1, 4, 2)}, lambda a, b: F.cosine_similarity(a, b))
    f.case("cosine_embedding_loss", {"a": r(5, 4), "b": r(5, 4), "s": t(1.0, -1.0, 1.0, -1.0, -1.0)}, lambda a, b, s: F.cosine_embedding_loss(a, b, s.detach(), margin=0.1))
    f.case("pairwise_distance", {"a": r(3, 4), "b": r(3, 4)}, lambda a, b: F.pairwise_distance(a, b))
    f.case("pairwise_distance_3", {"a": r(3, 4), "b": r(3, 4)}, lambda a, b: F.pairwise_distance(a, b, p=3.0))
    triple = {"a": r(5, 4), "p": r(5, 4), "n": r(5, 4)}
    f.case("triplet_margin_loss", triple, lambda a, p, n: F.triplet_margin_loss(a, p, n))
    f.case("triplet_margin_loss_swap", triple, lambda a, p, n: F.triplet_margin_loss(a, p, n, margin=0.5, swap=True))

    # Cross-entropy: labels.
    logits, labels, weight = r(5, 6) * 2, t(1, 0, 4, -100, 2), u(6) * 3
    for reduction in ("mean", "sum", "none"):
        f.case(f"cross_entropy/{reduction}", {"x": logits, "labels": labels}, lambda x, labels: F.cross_entropy(x, labels, reduction=reduction))
    f.case("cross_entropy/mean/wide", {"x": r(3, 70) * 2, "labels": t(69, 0, 33)}, lambda x, labels: F.cross_entropy(x, labels))
    f.case("cross_entropy/mean/inf", {"x": t([-inf, 0.0, 1.0], [2.0, -inf, 3.0]), "labels": t(1, 0)}, lambda x, labels: F.cross_entropy(x, labels))
    f.case("cross_entropy/mean/nan", {"x": t([2.0, 1.0, 3.0], [nan, 0.0, 1.0]), "labels": t(0, 1)}, lambda x, labels: F.cross_entropy(x, labels))
    f.case("cross_entropy/mean/kink_large", {"x": t([1e4, -1e4, 1e4], [0.0, 50.0, 0.0]), "labels": t(0, 1)}, lambda x, labels: F.cross_entropy(x, labels))
    for key, smoothing in (("weight", 0.0), ("smooth", 0.15)):
        f.case(f"cross_entropy_{key}", {"x": logits, "labels": labels}, lambda x, labels: F.cross_entropy(x, labels, t(0.5, 1.0, 2.0, 0.25, 1.5, 3.0), label_smoothing=smoothing))
    f.case("cross_entropy_smooth/wide", {"x": r(3, 6) * 2, "labels": t(5, 0, 3)}, lambda x, labels: F.cross_entropy(x, labels, t(0.5, 1.0, 2.0, 0.25, 1.5, 3.0), label_smoothing=0.15))
    images = {"x": r(2, 6, 3, 5), "labels": integers(0, 6, (2, 3, 5))}
    images["labels"][0, 1, 2] = -100
    for reduction in ("mean", "none"):
        f.case(f"cross_entropy_image_{reduction}", images, lambda x, labels: F.cross_entropy(x, labels, t(0.5, 1.0, 2.0, 0.25, 1.5, 3.0), label_smoothing=0.1, reduction=reduction))
    # Targets for all classes.
    soft = {"x": r(5, 6) * 2, "targets": torch.softmax(r(5, 6), 1)}
    for reduction in ("mean", "none"):
        f.case(f"cross_entropy_soft_{reduction}", soft, lambda x, targets: F.cross_entropy(x, targets, t(0.5, 1.0, 2.0, 0.25, 1.5, 3.0), label_smoothing=0.1, reduction=reduction))
    f.case("cross_entropy_soft_mean/wide", {"x": r(4, 6), "targets": torch.softmax(r(4, 6), 1)},
           lambda x, targets: F.cross_entropy(x, targets, t(0.5, 1.0, 2.0, 0.25, 1.5, 3.0), label_smoothing=0.1))
    f.case("cross_entropy_soft_plain", {"x": r(3, 40), "targets": torch.softmax(r(3, 40), 1)}, lambda x, targets: F.cross_entropy(x, targets))
    f.case("cross_entropy_soft_image", {"x": r(2, 3, 5), "targets": torch.softmax(r(2, 3, 5), 1)}, lambda x, targets: F.cross_entropy(x, targets, reduction="sum"))

    logs = torch.log_softmax(r(5, 6), 1)
    for reduction in ("mean", "none"):
        f.case(f"nll_loss_{reduction}", {"x": logs, "labels": labels}, lambda x, labels: F.nll_loss(x, labels, t(0.5, 1.0, 2.0, 0.25, 1.5, 3.0), reduction=reduction))
    f.case("nll_loss_image", {"x": r(2, 3, 5), "labels": integers(0, 3, (2, 5))}, lambda x, labels: F.nll_loss(x, labels))
    scores = {"x": r(5, 4), "labels": t(1, 0, 3, 2, 2)}
    f.case("multi_margin_loss", scores, lambda x, labels: F.multi_margin_loss(x, labels, margin=0.8))
    f.case("multi_margin_loss_2", scores, lambda x, labels: F.multi_margin_loss(x, labels, p=2, weight=t(0.5, 1.0, 2.0, 0.25)))

    # CTC, of logits: the derivative in logarithms of probabilities alone is not the one that PyTorch gives.
    ctc = {"x": r(9, 4, 5), "targets": t([1, 2, 2, 3], [4, 4, 0, 0], [3, 0, 0, 0], [0, 0, 0, 0]), "inputs": t(9, 7, 1, 4), "lengths": t(4, 2, 1, 0)}
    for reduction in ("mean", "sum", "none"):
        f.case(f"ctc_loss/{reduction}", ctc, lambda x, targets, inputs, lengths: F.ctc_loss(torch.log_softmax(x, 2), targets, inputs, lengths, reduction=reduction))
    f.case("ctc_loss/mean/long", {"x": r(60, 2, 7), "targets": integers(1, 7, (2, 21)), "inputs": t(60, 50), "lengths": t(21, 17)},
           lambda x, targets, inputs, lengths: F.ctc_loss(torch.log_softmax(x, 2), targets, inputs, lengths))
    f.case("ctc_loss/none/inf", {"x": r(3, 2, 4), "targets": t([1, 1], [2, 3]), "inputs": t(2, 3), "lengths": t(2, 2)},
           lambda x, targets, inputs, lengths: F.ctc_loss(torch.log_softmax(x, 2), targets, inputs, lengths, reduction="none").detach())
    f.case("ctc_loss_zero/inf", {"x": r(3, 2, 4), "targets": t([1, 1], [2, 3]), "inputs": t(2, 3), "lengths": t(2, 2)},
           lambda x, targets, inputs, lengths: F.ctc_loss(torch.log_softmax(x, 2), targets, inputs, lengths, zero_infinity=True))
    f.case("ctc_loss_joined", {"x": r(8, 2, 5), "targets": t(0, 1, 1, 4, 0), "inputs": t(8, 6), "lengths": t(3, 2)},
           lambda x, targets, inputs, lengths: F.ctc_loss(torch.log_softmax(x, 2), targets, inputs, lengths, blank=3))

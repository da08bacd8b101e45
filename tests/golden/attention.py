"""Golden values of scaled dot-product attention."""
import math

import torch

from golden import Family, r

inf = float("inf")


def attention(q, k, v, mask=None, causal=False, scale=None, lengths=None):
    """In plain steps, because PyTorch's own gives NaN where a mask hides everything, and aligns causality at the first key."""
    if k.dim() == 4 and k.shape[1] != q.shape[1]:
        k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (k, v))
    s = q @ k.transpose(-1, -2) * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)
    tq, tk = s.shape[-2:]
    if mask is not None:
        s = s + mask if mask.dtype.is_floating_point else s.masked_fill(~mask.bool(), -inf)
    if causal:
        s = s.masked_fill(~torch.ones(tq, tk, dtype=torch.bool).tril(tk - tq), -inf)
    if lengths is not None:
        hidden = torch.arange(tk) >= lengths.reshape(-1, *[1] * (s.dim() - 1))
        s = s.masked_fill(hidden, -inf)
    seen = (s > -inf).any(-1, keepdim=True)
    return torch.where(seen, torch.softmax(torch.where(seen, s, torch.zeros(())), -1), torch.zeros(())) @ v


def check(q, k, v, **more):
    """Where PyTorch's own is defined, it is that."""
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v, **{"attn_mask" if n == "mask" else n: m.bool() if n == "mask" and not m.dtype.is_floating_point else m
                                                                            for n, m in more.items()})
    assert torch.allclose(attention(q, k, v, **more), expected)


def qkv(b, h, hk, tq, tk, d, dv):
    return {"q": r(b, h, tq, d), "k": r(b, hk, tk, d), "v": r(b, hk, tk, dv)}


with Family("attention") as f:
    for key, sizes in (("", (2, 3, 3, 4, 5, 6, 3)), ("/one", (1, 1, 1, 1, 1, 1, 1)), ("/strips", (1, 1, 1, 35, 99, 2, 3)), ("/no_keys", (1, 2, 2, 3, 0, 4, 2)),
                       ("/no_queries", (1, 2, 2, 0, 3, 4, 2))):
        x = qkv(*sizes)
        if sizes[3] * sizes[4] > 0:
            check(**x)
        f.case("plain" + key, x, attention)
    x = qkv(2, 4, 2, 3, 5, 4, 4)
    check(x["q"], x["k"].repeat_interleave(2, 1), x["v"].repeat_interleave(2, 1))
    f.case("grouped", x, attention)
    f.case("grouped/one", qkv(1, 3, 1, 5, 4, 2, 3), attention)
    f.case("three", {"q": r(3, 4, 5), "k": r(3, 6, 5), "v": r(3, 6, 2)}, attention)
    for key, sizes in (("", (1, 2, 2, 5, 5, 4, 3)), ("/more_keys", (2, 1, 1, 3, 7, 4, 3)), ("/more_queries", (1, 2, 1, 6, 4, 3, 2))):
        f.case("causal" + key, qkv(*sizes), lambda q, k, v: attention(q, k, v, causal=True))
    f.case("scale", qkv(1, 2, 2, 3, 4, 5, 2), lambda q, k, v: attention(q, k, v, scale=0.3))
    f.case("lengths", {**qkv(3, 2, 2, 3, 5, 4, 2), "lengths": torch.tensor([2, 0, 5])}, lambda q, k, v, lengths: attention(q, k, v, lengths=lengths))
    f.case("lengths/causal", {**qkv(3, 2, 2, 5, 5, 4, 2), "lengths": torch.tensor([2, 0, 5])}, lambda q, k, v, lengths: attention(q, k, v, lengths=lengths))
    for key, shape in (("", (2, 2, 3, 5)), ("/queries_keys", (1, 1, 3, 5)), ("/keys", (2, 1, 1, 5)), ("/queries", (1, 2, 3, 1))):
        mask = torch.randint(0, 2, shape)
        mask[..., -1, :] = 0  # sees nothing (where the axis of queries is 1: none does)
        if key == "/keys":
            mask[1] = torch.tensor([1, 0, 1, 1, 0])
        f.case("mask" + key, {**qkv(2, 2, 1, 3, 5, 4, 2), "mask": mask}, attention)
    for key, shape in (("", (2, 2, 3, 5)), ("/heads", (1, 2, 3, 5)), ("/keys", (2, 1, 1, 5)), ("/batch", (1, 1, 3, 5))):
        x = {**qkv(2, 2, 1, 3, 5, 4, 2), "mask": r(*shape)}
        f.case("bias" + key, x, attention)
    hidden = r(2, 3, 5)
    hidden[0, :, 2] = -inf
    hidden[1, 1] = -inf
    f.case("bias_three", {"q": r(2, 3, 4), "k": r(2, 5, 4), "v": r(2, 5, 2), "mask": r(2, 3, 5)}, attention)
    f.case("bias_three/rows", {"q": r(2, 3, 4), "k": r(2, 5, 4), "v": r(2, 5, 2), "mask": r(2, 1, 5)}, attention)
    f.case("bias_three/inf", {"q": r(2, 3, 4), "k": r(2, 5, 4), "v": r(2, 5, 2), "mask": hidden}, attention)

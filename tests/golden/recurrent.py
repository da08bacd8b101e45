"""Golden values of recurrent layers: y, h_n and c_n in a row."""
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from golden import Family, r

VF = torch._VF


def weights(gates, F, H, P=None, biases=True):
    out = {"w_ih": r(gates * H, F) * 0.5, "w_hh": r(gates * H, P or H) * 0.5}
    if biases:
        out.update(b_ih=r(gates * H) * 0.5, b_hh=r(gates * H) * 0.5)
    return out


def flat(*tensors):
    return torch.cat([t.reshape(-1) for t in tensors])


def reversed_in(x, lengths):
    """Each sequence from its end, what lies beyond it as it is."""
    t = torch.arange(x.shape[0])[:, None]
    index = torch.where(t < lengths, lengths - 1 - t, t)
    return x.gather(0, index[:, :, None].expand_as(x))


def layer(kind, x, states, params, lengths=None, reverse=False):
    """One layer in one direction by PyTorch's own kernels."""
    T, B = x.shape[:2]
    ends = torch.full((B,), T) if lengths is None else lengths
    if reverse:
        x = reversed_in(x, ends)
    function = getattr(VF, kind)
    biases = len(params) >= 4
    states = tuple(s[None] for s in states)
    hx = states if kind == "lstm" else states[0]
    if lengths is None:
        out = function(x, hx, params, biases, 1, 0.0, False, False, False)
    else:
        packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
        order, back = packed.sorted_indices, packed.unsorted_indices
        hx = tuple(s[:, order] for s in hx) if kind == "lstm" else hx[:, order]
        y, *rest = function(packed.data, packed.batch_sizes, hx, params, biases, 1, 0.0, False, False)
        y = pad_packed_sequence(torch.nn.utils.rnn.PackedSequence(y, packed.batch_sizes, order, back), total_length=T)[0]
        out = (y, *(s[:, back] for s in rest))
    y, *rest = out
    if reverse:
        y = reversed_in(y, ends)
    return flat(y, *rest)


def peephole_lstm(x, h, c, w_ih, w_hh, b_ih, b_hh, p):
    """Gers and Schmidhuber 2000; PyTorch has none."""
    ys = []
    for step in x:
        i, f, g, o = (step @ w_ih.T + b_ih + h @ w_hh.T + b_hh).chunk(4, 1)
        i, f = torch.sigmoid(i + p[0] * c), torch.sigmoid(f + p[1] * c)
        c = f * c + i * torch.tanh(g)
        h = torch.sigmoid(o + p[2] * c) * torch.tanh(c)
        ys.append(h)
    return flat(torch.stack(ys), h, c)


with Family("recurrent") as f:
    T, B, F, H = 4, 3, 5, 6
    lengths = torch.tensor([2, 4, 3])
    for kind, gates in (("lstm", 4), ("gru", 3), ("rnn_tanh", 1), ("rnn_relu", 1)):
        cells = {"c0": r(B, H)} if kind == "lstm" else {}

        def run(x, h0, w_ih, w_hh, b_ih, b_hh, c0=None, lengths=None, reverse=False, kind=kind):
            return layer(kind, x, (h0,) if c0 is None else (h0, c0), [w_ih, w_hh, b_ih, b_hh], lengths, reverse)

        given = {"x": r(T, B, F), "h0": r(B, H), **cells, **weights(gates, F, H)}
        f.case(kind, given, run)
        f.case(kind + "_lengths", {**given, "lengths": lengths}, run)
        f.case(kind + "_reverse", {**given, "lengths": lengths}, lambda **a: run(**a, reverse=True))
        # One step, one sequence, widths that fill no vector.
        f.case(kind + "/one", {"x": r(1, 1, 1), "h0": r(1, 1), **({"c0": r(1, 1)} if cells else {}), **weights(gates, 1, 1)}, run)
        f.case(kind + "/wide", {"x": r(3, 2, 7), "h0": r(2, 19), **({"c0": r(2, 19)} if cells else {}), **weights(gates, 7, 19)}, run)
    f.case("lstm_plain", {"x": r(T, B, F), **weights(4, F, H, biases=False)},
           lambda x, w_ih, w_hh: flat(*VF.lstm(x, (torch.zeros(1, B, H), torch.zeros(1, B, H)), [w_ih, w_hh], False, 1, 0.0, False, False, False)))
    f.case("gru_plain", {"x": r(T, B, F), **weights(3, F, H, biases=False)},
           lambda x, w_ih, w_hh: flat(*VF.gru(x, torch.zeros(1, B, H), [w_ih, w_hh], False, 1, 0.0, False, False, False)))
    f.case("lstm_projection", {"x": r(T, B, F), "h0": r(B, 4), "c0": r(B, H), **weights(4, F, H, 4), "w_hr": r(4, H) * 0.5, "lengths": lengths},
           lambda x, h0, c0, w_ih, w_hh, b_ih, b_hh, w_hr, lengths: layer("lstm", x, (h0, c0), [w_ih, w_hh, b_ih, b_hh, w_hr], lengths))
    f.case("lstm_peephole", {"x": r(T, B, F), "h0": r(B, H), "c0": r(B, H), **weights(4, F, H), "p": r(3, H)},
           lambda x, h0, c0, w_ih, w_hh, b_ih, b_hh, p: peephole_lstm(x, h0, c0, w_ih, w_hh, b_ih, b_hh, p))

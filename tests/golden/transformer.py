"""Writes tests/golden/transformer_<module>.safetensors, state dicts of PyTorch's attention modules, and
tests/golden/transformer.safetensors: what they make of x in inference, and the gradients."""
import math

import torch
from golden import Family, r
from torch import nn

torch.set_default_dtype(torch.float64)
E, H, FF = 8, 2, 12
lengths = torch.tensor([5, 3])
padding = torch.arange(5) >= lengths[:, None]
causal = torch.ones(5, 5).triu(1).bool()


def rounded(module):
    """Weights that float holds exactly, biases and norms away from their first values."""
    with torch.no_grad():
        for p in module.parameters():
            p.copy_((p + 0.1 * torch.randn(p.shape)).float().double())
    return module.eval()


MODULES = {
    "multihead": lambda: nn.MultiheadAttention(E, H, batch_first=True),
    "encoder_layer": lambda: nn.TransformerEncoderLayer(E, H, FF, batch_first=True),
    "encoder": lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(E, H, FF, activation="gelu", norm_first=True, batch_first=True), 2, nn.LayerNorm(E),
                                             enable_nested_tensor=False),
    "decoder_layer": lambda: nn.TransformerDecoderLayer(E, H, FF, norm_first=True, batch_first=True),
    "decoder": lambda: nn.TransformerDecoder(nn.TransformerDecoderLayer(E, H, FF, batch_first=True), 2),
}


def run(name, net, x, memory):
    if name == "multihead":
        return net(x, x, x, key_padding_mask=padding, need_weights=False)[0]
    if name == "encoder_layer":
        return net(x, src_mask=causal, is_causal=True)
    if name == "encoder":
        return net(x, src_key_padding_mask=padding)
    return net(x, memory, tgt_mask=causal, tgt_is_causal=True)


with Family("transformer") as family:
    for name, make in MODULES.items():
        torch.manual_seed(3)
        net = rounded(make())
        with Family(f"transformer_{name}") as weights:
            for key, value in net.state_dict().items():
                weights.put(key, value)
        torch.manual_seed(4)
        x, memory = r(2, 5, E).requires_grad_(), r(2, 4, E).requires_grad_()
        y = run(name, net, x, memory)
        family.put(f"{name}/x", x)
        family.put(f"{name}/memory", memory)
        family.put(f"{name}/y", y)
        (y * torch.cos(torch.arange(y.numel(), dtype=torch.float64)).reshape(y.shape)).sum().backward()
        family.put(f"{name}/d_x", x.grad)
        if memory.grad is not None:
            family.put(f"{name}/d_memory", memory.grad)
        for key, value in net.named_parameters():
            family.put(f"{name}/d_{key}", value.grad)
    if True:  # attention to another sequence
        torch.manual_seed(3)
        net = rounded(MODULES["multihead"]())
        torch.manual_seed(5)
        x, memory = r(2, 3, E), r(2, 4, E)
        family.put("cross/x", x)
        family.put("cross/memory", memory)
        family.put("cross/y", net(x, memory, memory, need_weights=False)[0])

    # T5's buckets, as its published code has them.
    def bucket(relative, bidirectional, buckets, most):
        at = torch.zeros_like(relative)
        if bidirectional:
            buckets //= 2
            at = at + (relative > 0).long() * buckets
            relative = relative.abs()
        else:
            relative = -torch.min(relative, torch.zeros_like(relative))
        exact = buckets // 2
        large = exact + (torch.log(relative.float() / exact) / math.log(most / exact) * (buckets - exact)).long()
        return at + torch.where(relative < exact, relative, torch.min(large, torch.full_like(large, buckets - 1)))

    distance = torch.arange(-200, 201)
    family.put("buckets/both", bucket(distance, True, 32, 128))
    family.put("buckets/behind", bucket(distance, False, 16, 100))

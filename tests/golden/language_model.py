"""PyTorch's numbers for the recurrent language model: weights, scores, gradients (language_model.safetensors)."""
import torch
from torch import nn
from torch.nn import functional as F

from golden import Family

with Family("language_model") as family:
    for name, width in (("free", 4), ("tied", 6)):
        torch.manual_seed(2)
        model = nn.ModuleDict({"encoder": nn.Embedding(11, width), "rnn": nn.LSTM(width, 6, 2), "decoder": nn.Linear(6, 11)}).double()
        if name == "tied":
            model["decoder"].weight = model["encoder"].weight
        tokens, targets = torch.randint(0, 11, (5, 3)), torch.randint(0, 11, (5, 3))
        y, (h, _) = model["rnn"](model["encoder"](tokens))
        logits = model["decoder"](y)
        F.cross_entropy(logits.flatten(0, 1), targets.flatten()).backward()
        for key, value in {"tokens": tokens, "targets": targets, "logits": logits, "h": h}.items():
            family.put(f"{name}/{key}", value)
        for key, parameter in model.named_parameters(remove_duplicate=False):
            family.put(f"{name}/{key}", parameter)
            family.put(f"{name}/d_{key}", parameter.grad)

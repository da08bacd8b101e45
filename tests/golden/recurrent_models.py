"""State dicts of PyTorch's recurrent modules (recurrent_<name>.safetensors), and what they compute (recurrent_models.safetensors)."""
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from golden import Family, r

MODELS = {
    "lstm": lambda: nn.LSTM(3, 6, num_layers=2, bidirectional=True, proj_size=4),
    "gru": lambda: nn.GRU(3, 5, num_layers=2, bidirectional=True),
    "rnn": lambda: nn.RNN(3, 5, nonlinearity="relu", bias=False),
}

with Family("recurrent_models") as family:
    for name, make in MODELS.items():
        torch.manual_seed(1)
        net = make().double()
        with torch.no_grad():
            for value in net.state_dict().values():
                value.copy_(value.float().double())
        with Family(f"recurrent_{name}") as weights:
            for key, value in net.state_dict().items():
                weights.put(key, value)
        x, lengths = r(5, 4, 3), torch.tensor([3, 5, 1, 4])
        directions = 2 if net.bidirectional else 1
        h = r(net.num_layers * directions, 4, getattr(net, "proj_size", 0) or net.hidden_size)
        state = (h, r(net.num_layers * directions, 4, net.hidden_size)) if name == "lstm" else h
        packed, after = net(pack_padded_sequence(x, lengths, enforce_sorted=False), state)
        y = pad_packed_sequence(packed)[0]
        found = {"x": x, "lengths": lengths, "h0": h, "y": y, "h": after[0] if name == "lstm" else after}
        if name == "lstm":
            found.update(c0=state[1], c=after[1])
        for key, value in found.items():
            family.put(f"{name}/{key}", value)
        (y * torch.cos(torch.arange(y.numel(), dtype=torch.float64)).reshape(y.shape)).sum().backward()
        for key, parameter in net.named_parameters():
            family.put(f"{name}/d_{key}", parameter.grad)

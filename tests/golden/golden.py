"""Writes tests/golden/<family>.safetensors: inputs, values and gradients of PyTorch in double precision.

A family's script, tests/golden/<family>.py, is run with a Python that has PyTorch:

    from golden import Family, r
    with Family("scan") as family:
        family.case("cumsum/axis1", {"x": r(2, 3, 4)}, lambda x: x.cumsum(1))

A case stores its inputs, the value y, and d_<input>, the gradients of sum(y[i] * cos(i)), i in row-major order, over the
floating-point inputs that y depends on. Floating-point inputs are rounded to float first, so that float and double see the
same ones. A record of the operator table with .golden = "cumsum/axis1" is held against this case and against every case
below it ("cumsum/axis1/empty"). Below a last part that begins with kink, tie, nan or inf no gradient check is made.
"""
import json
import pathlib
import struct

import torch

folder = pathlib.Path(__file__).parent
torch.manual_seed(0)
torch.set_default_dtype(torch.float64)


def r(*shape):
    """Normal numbers that float holds exactly."""
    return torch.randn(*shape, dtype=torch.float32).double()


def integers(low, high, shape):
    return torch.randint(low, high, shape)


class Family:
    def __init__(self, name):
        self.path = folder / f"{name}.safetensors"
        self.tensors = {}

    def __enter__(self):
        torch.manual_seed(0)
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self.write()

    def put(self, key, tensor):
        assert key not in self.tensors, key
        tensor = tensor.detach()
        self.tensors[key] = (tensor.double() if tensor.dtype.is_floating_point else tensor.long()).contiguous()

    def case(self, key, inputs, f):
        leaves = {}
        for name, value in inputs.items():
            floating = value.dtype.is_floating_point
            leaves[name] = (value.float().double() if floating else value).detach().clone().requires_grad_(floating)
        y = f(**leaves)
        for name, value in leaves.items():
            self.put(f"{key}/{name}", value)
        self.put(f"{key}/y", y)
        if y.dtype.is_floating_point and y.requires_grad:
            wanted = [name for name, value in leaves.items() if value.requires_grad]
            weight = torch.cos(torch.arange(y.numel(), dtype=torch.float64)).reshape(y.shape)
            gradients = torch.autograd.grad((y * weight).sum(), [leaves[name] for name in wanted], allow_unused=True)
            for name, gradient in zip(wanted, gradients):
                if gradient is not None:
                    self.put(f"{key}/d_{name}", gradient)

    def write(self):
        header, blocks, at = {"__metadata__": {"torch": torch.__version__.split("+")[0]}}, [], 0
        for key, tensor in self.tensors.items():
            data = tensor.numpy().tobytes() if tensor.numel() else b""
            header[key] = {"dtype": "F64" if tensor.dtype == torch.float64 else "I64", "shape": list(tensor.shape), "data_offsets": [at, at + len(data)]}
            blocks.append(data)
            at += len(data)
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        self.path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blocks))

#!/usr/bin/env python3
"""Writes tests/golden/elementwise.hpp: values and gradients of PyTorch in double precision.

Run with a Python that has PyTorch.
"""
import math
import pathlib

import torch
import torch.nn.functional as F

here = pathlib.Path(__file__).parent
torch.manual_seed(0)
torch.set_default_dtype(torch.float64)


def number(v):
    if math.isnan(v):
        return "nan"
    if math.isinf(v):
        return "inf" if v > 0 else "-inf"
    return v.hex()


def array(name, tensor):
    flat = tensor.detach().reshape(-1).tolist()
    lines = []
    for i in range(0, len(flat), 6):
        lines.append("    " + ", ".join(number(float(v)) for v in flat[i:i + 6]) + ",")
    return f"inline constexpr double {name}[] = {{\n" + "\n".join(lines) + "\n};\n"


def f32(values):
    """Points that float holds exactly, so that float and double see the same inputs."""
    return torch.tensor(values, dtype=torch.float32).double()


inf, nan = math.inf, math.nan
every = f32([0.0, -0.0, 1e-30, -1e-30, 1e-4, -1e-4, 0.01, -0.01, 0.1, -0.1, 0.3, -0.3, 0.5, -0.5, 0.75, -0.75, 1.0, -1.0, 1.25, -1.25,
             2.0, -2.0, 2.5, -2.5, 3.0, -3.0, 3.5, -3.5, 4.0, -4.0, 5.5, -5.5, 7.0, -7.0, 8.75, -8.75, 12.0, -12.0, 20.0, -20.0,
             30.0, -30.0, 60.0, -60.0, 85.0, -85.0, inf, -inf, nan])
positive = f32([1e-30, 1e-10, 1e-4, 0.01, 0.1, 0.25, 0.5, 0.9, 0.999, 1.0, 1.001, 1.1, 1.5, 2.0, 3.0, 4.0, 7.5, 10.0, 33.0, 100.0,
                1234.5, 1e5, 1e10, 1e20, 1e30, inf, nan])
above_minus_one = f32([-0.999, -0.9, -0.5, -0.1, -1e-3, -1e-10, 0.0, 1e-10, 1e-3, 0.1, 0.5, 1.0, 2.0, 10.0, 1e5, 1e20, nan])
a2 = f32([0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5, 3.25, -3.25, 1e-3, 100.0, -100.0, 2.0, nan, 1.0, 7.0, -7.0, 1e10, inf, 4.0])
b2 = f32([1.0, 1.0, 1.0, -3.0, -2.0, 0.25, 4.0, -1.5, 2.5, 1e3, 0.01, 3.0, 2.0, 1.0, nan, 1.0, 0.125, 1e-10, 2.0, -4.0])
pow_a = f32([2.0, 0.5, 3.0, 1.5, 10.0, 4.0, 0.0, 0.0, 1.0, -2.0, -2.0, -3.0, 7.0, 0.25])
pow_b = f32([3.0, 2.0, -1.0, 0.5, -2.0, 0.0, 2.0, 0.0, 5.0, 2.0, 3.0, -1.0, 1.0, 1.5])

unary = {
    "neg": (every, lambda x: -x), "abs": (every, torch.abs), "sign": (every, lambda x: torch.where(x.isnan(), x, torch.sign(x))),
    "square": (every, torch.square), "reciprocal": (positive, torch.reciprocal), "exp": (every, torch.exp), "expm1": (every, torch.expm1),
    "log": (positive, torch.log), "log1p": (above_minus_one, torch.log1p), "sqrt": (positive, torch.sqrt), "rsqrt": (positive, torch.rsqrt),
    "tanh": (every, torch.tanh), "sigmoid": (every, torch.sigmoid), "relu": (every, torch.relu),
    "leaky_relu": (every, lambda x: F.leaky_relu(x, 0.01)), "elu": (every, F.elu), "selu": (every, F.selu), "silu": (every, F.silu),
    # PyTorch's own loses its left tail to 1 + erf; erfc keeps it.
    "gelu": (every, lambda x: 0.5 * x * torch.erfc(x * -math.sqrt(0.5))), "gelu_tanh": (every, lambda x: F.gelu(x, approximate="tanh")), "softplus": (every, F.softplus),
    "mish": (every, F.mish), "hardswish": (every, F.hardswish), "sin": (every, torch.sin), "cos": (every, torch.cos), "erf": (every, torch.erf),
    "floor": (every, torch.floor), "round": (every, torch.round), "clamp": (every, lambda x: torch.clamp(x, -1.0, 2.0)),
}
binary = {
    "add": (a2, b2, torch.add), "sub": (a2, b2, torch.sub), "mul": (a2, b2, torch.mul), "div": (a2, b2, torch.div),
    "minimum": (a2, b2, torch.minimum), "maximum": (a2, b2, torch.maximum), "pow": (pow_a, pow_b, torch.pow),
}

out = ["// Written by make.py from PyTorch " + torch.__version__.split("+")[0] + ": inputs, values and gradients (of the sum) in double precision.\n#pragma once\n\n",
       "#include <limits>\n\nnamespace golden {\n\n",
       "inline constexpr double inf = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();\n\n"]
for name, (x, f) in unary.items():
    x = x.clone().requires_grad_(True)
    y = f(x)
    g, = torch.autograd.grad(y.sum(), x, allow_unused=True) if y.requires_grad else (torch.zeros_like(x),)
    out += [f"namespace {name} {{\n", array("x", x), array("y", y), array("dx", g), f"}}  // namespace {name}\n\n"]
for name, (a, b, f) in binary.items():
    a, b = a.clone().requires_grad_(True), b.clone().requires_grad_(True)
    y = f(a, b)
    ga, gb = torch.autograd.grad(y.sum(), (a, b))
    out += [f"namespace {name} {{\n", array("a", a), array("b", b), array("y", y), array("da", ga), array("db", gb), f"}}  // namespace {name}\n\n"]
out.append("}  // namespace golden\n")
(here / "elementwise.hpp").write_text("".join(out))

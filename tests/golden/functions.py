"""Golden values of elementary functions that came after those of make.py."""
import torch

from golden import Family, r

inf, nan = float("inf"), float("nan")


def t(*values):
    return torch.tensor(values)


unary = {
    "erfc": torch.erfc, "exp2": torch.exp2, "log2": torch.log2, "log10": torch.log10, "tan": torch.tan, "asin": torch.asin, "acos": torch.acos,
    "atan": torch.atan, "sinh": torch.sinh, "cosh": torch.cosh, "ceil": torch.ceil, "trunc": torch.trunc,
}
pairs = [(a, b) for a in (0.0, -0.0, 1.0, -2.5, inf, -inf, nan) for b in (0.0, -0.0, 1.0, -2.5, inf, -inf, nan)]
left, right = t(*[a for a, _ in pairs]), t(*[b for _, b in pairs])

with Family("functions") as f:
    for name, op in unary.items():
        positive = name.startswith("log")
        inside = name in ("asin", "acos")
        x = (r(4, 9).abs() * 3 + 0.1) if positive else torch.rand(4, 9) * 1.8 - 0.9 if inside else r(4, 9)
        if name == "tan":
            x = torch.rand(4, 9) * 2.4 - 1.2  # away from the poles
        f.case(f"{name}/plain", {"x": x}, lambda x: op(x))
        f.case(f"{name}/empty", {"x": r(0, 3)}, lambda x: op(x))
        f.case(f"{name}/nan", {"x": t([0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -3.0, inf, -inf, nan, 1e-30, -1e-10])}, lambda x: op(x))
    x = t([0.0, -1.5, inf, -inf, nan, 1e30])
    f.case("isinf", {"x": x}, lambda x: x.detach().isinf().long())
    f.case("isfinite", {"x": x}, lambda x: x.detach().isfinite().long())
    for name, op in {"atan2": torch.atan2, "hypot": torch.hypot, "logaddexp": torch.logaddexp}.items():
        f.case(f"{name}/plain", {"a": r(4, 9), "b": r(9)}, lambda a, b: op(a, b))
        if name != "hypot":
            f.case(f"{name}/nan", {"a": left, "b": right}, lambda a, b: op(a.detach(), b.detach()))
    for name, op in {"fmod": torch.fmod, "remainder": torch.remainder}.items():
        a, b = r(4, 9) * 5, r(9) + 2.5
        f.case(f"{name}/kink_plain", {"a": a, "b": b}, lambda a, b: op(a, b))
        f.case(f"{name}/nan", {"a": left, "b": right}, lambda a, b: op(a.detach(), b.detach()))
        f.case(f"{name}/tie_signs", {"a": t(5.5, -5.5, 5.5, -5.5, 6.0, -6.0), "b": t(2.0, 2.0, -2.0, -2.0, 2.0, -2.0)}, lambda a, b: op(a, b))
    f.case("hypot/kink_large", {"a": t(3e30, 1e-30, 0.0, 3e-38), "b": t(4e30, 1e-30, 2.0, -4e-38)}, lambda a, b: torch.hypot(a, b))
    f.case("lerp/plain", {"a": r(4, 9), "b": r(9), "w": r(4, 1)}, lambda a, b, w: torch.lerp(a, b, w))

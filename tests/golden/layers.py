"""Golden values of layers with state: what they hold after training steps, and what they compute from it."""
import torch
from torch import nn

from golden import Family, r


def step(f, key, layer, x, watched):
    """One forward and backward pass; the gradients of sum(y[i] * cos(i))."""
    y = layer(x)
    f.put(f"{key}/y", y)
    if y.requires_grad:
        layer.zero_grad()
        (y * torch.cos(torch.arange(y.numel(), dtype=torch.float64)).reshape(y.shape)).sum().backward()
        for name, p in layer.named_parameters():
            f.put(f"{key}/d_{name}", p.grad.clone())
    for name in watched:
        f.put(f"{key}/{name}", layer.state_dict()[name].clone())


with Family("layers") as f:
    for name, layer, shape in (("batch_norm2d", nn.BatchNorm2d(3), (2, 3, 4, 5)), ("batch_norm3d", nn.BatchNorm3d(3), (2, 3, 2, 3, 2)),
                               ("instance_norm2d", nn.InstanceNorm2d(3, affine=True, track_running_stats=True), (2, 3, 4, 5))):
        for k in range(2):
            x = r(*shape) * 2 + 1
            f.put(f"{name}/{k}/x", x)
            step(f, f"{name}/{k}", layer, x, ("running_mean", "running_var", "num_batches_tracked"))
        layer.eval()
        x = r(*shape)
        f.put(f"{name}/inference/x", x)
        f.put(f"{name}/inference/y", layer(x))

    layer = nn.utils.parametrizations.spectral_norm(nn.Linear(5, 3), n_power_iterations=2)
    watched = ("parametrizations.weight.0._u", "parametrizations.weight.0._v")
    for name, value in layer.state_dict().items():
        f.put(f"spectral_norm/start/{name}", value.clone())
    x = r(4, 5)
    f.put("spectral_norm/x", x)
    for k in range(2):
        step(f, f"spectral_norm/{k}", layer, x, watched)
    layer.eval()
    step(f, "spectral_norm/inference", layer, x, watched)

    layer = nn.utils.parametrizations.weight_norm(nn.Linear(5, 3))
    with torch.no_grad():
        layer.parametrizations.weight.original0.mul_(1.5)
    for name, value in layer.state_dict().items():
        f.put(f"weight_norm/start/{name}", value.clone())
    f.put("weight_norm/x", x)
    step(f, "weight_norm/0", layer, x, ())

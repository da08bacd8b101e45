"""Golden trajectories of torch.optim and values of torch.optim.lr_scheduler.

A rule's case holds the parameters p after 1, 5, 6, 20 and 50 steps on a quadratic with a moving linear term: the gradient at
step t is a * (p - c) + 0.1 sin(0.7 t + i), with i the place of the element. A schedule's case holds the rates of the first steps
as factors of the base rate.
"""
import math

import torch
from torch import optim
from torch.optim import lr_scheduler as schedules

from golden import Family, r

n = 37
i = torch.arange(n, dtype=torch.float64)
a = (0.05 + (i * 0.37 % 1) * 3).float().double()
c = (0.3 * torch.sin(i + 1)).float().double()
p0 = (0.5 * torch.cos(i + 1)).float().double()
wanted = (1, 5, 6, 20, 50)


def trajectory(make, gradient=lambda p, t: a * (p - c) + 0.1 * torch.sin(0.7 * t + i)):
    p = p0.clone().requires_grad_(True)
    optimiser = make([p])
    found = []
    for t in range(1, 51):
        with torch.no_grad():
            p.grad = gradient(p, t)
        optimiser.step()
        if t in wanted:
            found.append(p.detach().clone())
    return torch.stack(found)


rules = {
    "sgd/plain": lambda p: optim.SGD(p, lr=0.1),
    "sgd/momentum": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.5, weight_decay=0.02),
    "sgd/nesterov": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "sgd/maximize": lambda p: optim.SGD(p, lr=0.01, momentum=0.5, maximize=True, weight_decay=0.1),
    "adam/plain": lambda p: optim.Adam(p, lr=0.01),
    "adam/decay": lambda p: optim.Adam(p, lr=0.01, betas=(0.8, 0.99), eps=1e-3, weight_decay=0.1),
    "adam/amsgrad": lambda p: optim.Adam(p, lr=0.01, betas=(0.9, 0.9), amsgrad=True),
    "adamw/plain": lambda p: optim.AdamW(p, lr=0.01),
    "adamw/decay": lambda p: optim.AdamW(p, lr=0.01, weight_decay=0.3),
    "rmsprop/plain": lambda p: optim.RMSprop(p, lr=0.01),
    "rmsprop/momentum": lambda p: optim.RMSprop(p, lr=0.01, alpha=0.9, momentum=0.8, weight_decay=0.05),
    "rmsprop/centered": lambda p: optim.RMSprop(p, lr=0.01, eps=1e-2, centered=True),
    "rmsprop/both": lambda p: optim.RMSprop(p, lr=0.01, eps=1e-2, momentum=0.8, centered=True),
    "adagrad/plain": lambda p: optim.Adagrad(p, lr=0.1),
    "adagrad/decay": lambda p: optim.Adagrad(p, lr=0.1, lr_decay=0.05, weight_decay=0.1, initial_accumulator_value=0.2, eps=1e-3),
    "adadelta/plain": lambda p: optim.Adadelta(p),
    "adadelta/decay": lambda p: optim.Adadelta(p, lr=0.5, rho=0.8, eps=1e-3, weight_decay=0.1),
    "adamax/plain": lambda p: optim.Adamax(p, lr=0.01),
    "adamax/decay": lambda p: optim.Adamax(p, lr=0.01, betas=(0.8, 0.9), eps=1e-2, weight_decay=0.1),
    "nadam/plain": lambda p: optim.NAdam(p, lr=0.01),
    "nadam/decay": lambda p: optim.NAdam(p, lr=0.01, momentum_decay=0.02, weight_decay=0.1),
    "nadam/decoupled": lambda p: optim.NAdam(p, lr=0.01, weight_decay=0.1, decoupled_weight_decay=True),
    "radam/plain": lambda p: optim.RAdam(p, lr=0.01),
    "radam/decay": lambda p: optim.RAdam(p, lr=0.01, betas=(0.9, 0.9), weight_decay=0.1),
    "radam/decoupled": lambda p: optim.RAdam(p, lr=0.01, weight_decay=0.1, decoupled_weight_decay=True),
    "asgd/plain": lambda p: optim.ASGD(p, lr=0.05, t0=1e6),
    "asgd/averaged": lambda p: optim.ASGD(p, lr=0.05, lambd=0.02, alpha=0.6, t0=10, weight_decay=0.05),
    "rprop/plain": lambda p: optim.Rprop(p, lr=0.01),
    "rprop/bounds": lambda p: optim.Rprop(p, lr=0.02, etas=(0.4, 1.5), step_sizes=(0.005, 0.1)),
}


# L-BFGS on Rosenbrock's function in ten dimensions: parameters and number of evaluations after each step.
def lbfgs(start, **options):
    p = torch.tensor(start, dtype=torch.float64).requires_grad_(True)
    optimiser = optim.LBFGS([p], **options)
    found, evaluations = [], []

    def closure():
        optimiser.zero_grad()
        loss = (100 * (p[1:] - p[:-1] ** 2) ** 2 + (1 - p[:-1]) ** 2).sum()
        loss.backward()
        return loss

    for _ in range(6):
        optimiser.step(closure)
        found.append(p.detach().clone())
        evaluations.append(optimiser.state[p]["func_evals"])
    return torch.stack(found), torch.tensor(evaluations)


def factors(make, steps=45, value="lr", lr=1.0, **options):
    p = torch.zeros(1, requires_grad=True)
    optimiser = optim.SGD([p], lr=lr, momentum=0.9)
    schedule = make(optimiser)
    found = []
    for _ in range(steps):
        found.append(optimiser.param_groups[0][value] / (lr if value == "lr" else 1))
        optimiser.step()
        schedule.step()
    return torch.tensor(found, dtype=torch.float64)


losses = [1.0, 0.9, 0.91, 0.9, 0.8999999, 0.8, 0.8, 0.8, 0.8, float("nan"), 0.79, 0.79, 0.79, 0.79, 0.79, 0.79, 0.79, 0.79, 0.79, 0.79, 0.7, 0.7, 0.7, 0.7, 0.7, 0.7]


def plateau(values, **options):
    p = torch.zeros(1, requires_grad=True)
    optimiser = optim.SGD([p], lr=1.0)
    schedule = schedules.ReduceLROnPlateau(optimiser, **options)
    found = []
    for value in values:
        schedule.step(value)
        found.append(optimiser.param_groups[0]["lr"])
    return torch.tensor(found, dtype=torch.float64)


with Family("optim") as f:
    f.put("problem/a", a)
    f.put("problem/c", c)
    f.put("problem/p0", p0)
    for name, make in rules.items():
        f.put(f"{name}/p", trajectory(make))
    p = p0.clone().requires_grad_(True)
    asgd = optim.ASGD([p], lr=0.05, lambd=0.02, alpha=0.6, t0=10, weight_decay=0.05)
    for t in range(1, 51):
        with torch.no_grad():
            p.grad = a * (p - c) + 0.1 * torch.sin(0.7 * t + i)
        asgd.step()
    f.put("asgd/averaged/average", asgd.state[p]["ax"])

    # Rows 1, 4 and 5 + t % 3 of a table of nine. PyTorch's eps stands elsewhere; one that vanishes shows the rest.
    table = (0.5 * torch.cos(torch.arange(27, dtype=torch.float64) + 1)).float().double().reshape(9, 3).clone().requires_grad_(True)
    f.put("sparse_adam/table", table.clone())
    sparse = optim.SparseAdam([table], lr=0.01, eps=1e-30)
    for t in range(1, 51):
        rows = torch.tensor([1, 4, 5 + t % 3])
        values = torch.sin(0.3 * t + torch.arange(9, dtype=torch.float64)).reshape(3, 3)
        table.grad = torch.sparse_coo_tensor(rows[None], values, (9, 3))
        sparse.step()
    f.put("sparse_adam/p", table)

    start = [-1.2, 1.0, -0.5, 0.7, 1.3, -0.9, 0.2, 0.4, -1.1, 0.8]
    for name, options in {
        "wolfe": dict(lr=1, max_iter=8, history_size=5, line_search_fn="strong_wolfe"),
        "wolfe_short": dict(lr=0.5, max_iter=20, history_size=3, line_search_fn="strong_wolfe"),
        "plain": dict(lr=0.002, max_iter=10, history_size=4),
    }.items():
        found, evaluations = lbfgs(start, **options)
        f.put(f"lbfgs/{name}/p", found)
        f.put(f"lbfgs/{name}/evaluations", evaluations)
    f.put("lbfgs/start", torch.tensor(start, dtype=torch.float64))

    for name, make in {
        "step": lambda o: schedules.StepLR(o, 7, 0.5),
        "multi_step": lambda o: schedules.MultiStepLR(o, [3, 8, 9, 30], 0.3),
        "exponential": lambda o: schedules.ExponentialLR(o, 0.93),
        "constant": lambda o: schedules.ConstantLR(o, 0.25, 6),
        "linear": lambda o: schedules.LinearLR(o, 0.1, 0.7, 12),
        "cosine": lambda o: schedules.CosineAnnealingLR(o, 44, 0.05),
        "polynomial": lambda o: schedules.PolynomialLR(o, 20, 2.5),
        "warm_restarts": lambda o: schedules.CosineAnnealingWarmRestarts(o, 5, 2, 0.1),
        "warm_restarts_same": lambda o: schedules.CosineAnnealingWarmRestarts(o, 6),
        "cyclic": lambda o: schedules.CyclicLR(o, 0.25, 1.0, 4, 6, cycle_momentum=False),
        "cyclic_triangular2": lambda o: schedules.CyclicLR(o, 0.25, 1.0, 5, mode="triangular2", cycle_momentum=False),
        "cyclic_exp_range": lambda o: schedules.CyclicLR(o, 0.25, 1.0, 5, mode="exp_range", gamma=0.98, cycle_momentum=False),
        "one_cycle": lambda o: schedules.OneCycleLR(o, 1.0, total_steps=46),
        "one_cycle_linear": lambda o: schedules.OneCycleLR(o, 1.0, total_steps=46, pct_start=0.4, anneal_strategy="linear", div_factor=10, final_div_factor=100),
        "one_cycle_three": lambda o: schedules.OneCycleLR(o, 1.0, total_steps=46, pct_start=0.25, three_phase=True),
        "lambda": lambda o: schedules.LambdaLR(o, lambda e: 1 / (1 + 0.1 * e)),
        "multiplicative": lambda o: schedules.MultiplicativeLR(o, lambda e: 1 - 1 / (e + 1) ** 2),
        "sequential": lambda o: schedules.SequentialLR(o, [schedules.LinearLR(o, 0.1, 1.0, 5), schedules.ConstantLR(o, 1.0, 1), schedules.ExponentialLR(o, 0.9)], [5, 12]),
        "chained": lambda o: schedules.ChainedScheduler([schedules.LinearLR(o, 0.2, 1.0, 6), schedules.StepLR(o, 10, 0.5)]),
    }.items():
        f.put(f"schedule/{name}", factors(make))
    f.put("schedule/one_cycle_momentum", factors(lambda o: schedules.OneCycleLR(o, 1.0, total_steps=46), value="momentum"))
    f.put("schedule/one_cycle_three_momentum", factors(lambda o: schedules.OneCycleLR(o, 1.0, total_steps=46, pct_start=0.25, three_phase=True), value="momentum"))
    f.put("schedule/plateau/losses", torch.tensor(losses, dtype=torch.float64))
    f.put("schedule/plateau/default", plateau(losses, patience=2))
    f.put("schedule/plateau/cooldown", plateau(losses, factor=0.5, patience=1, cooldown=3, threshold=1e-3, min_lr=0.05))
    f.put("schedule/plateau/absolute", plateau(losses, factor=0.5, patience=2, threshold=0.05, threshold_mode="abs"))
    f.put("schedule/plateau/max", plateau([-x for x in losses], mode="max", factor=0.5, patience=2))
    f.put("schedule/plateau/eps", plateau(losses, factor=0.5, patience=0, eps=0.01))

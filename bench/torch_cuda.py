"""PyTorch's side of bench_device, on a GPU: the same cases under the same names, one JSON line each. Called by bench/run.sh --cuda.

    torch_cuda.py [--tiny]      with --tiny also on a machine without a GPU, to see that everything runs

Attention over a graph needs torch_geometric; without it those cases are left out.
"""

import json
import sys
import time

import torch
import torch.nn.functional as F

import rmat

tiny = "--tiny" in sys.argv
device = "cuda" if torch.cuda.is_available() else "cpu"
if device == "cpu" and not tiny:
    sys.exit("PyTorch sees no GPU")


def once(f, calls):
    if device == "cpu":
        start = time.perf_counter()
        for _ in range(calls):
            f()
        return (time.perf_counter() - start) / calls
    start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    for _ in range(calls):
        f()
    stop.record()
    stop.synchronize()
    return 1e-3 * start.elapsed_time(stop) / calls


def best(f):
    """As bench::Clock."""
    f()
    seconds = once(f, 1)
    if tiny:
        return max(seconds, 1e-9)
    calls = 1 if seconds > 2e-3 else int(2e-3 / max(seconds, 1e-8)) + 1
    return min(once(f, calls) for _ in range(int(min(50, 0.2 / (seconds * calls))) + 3))


def show(name, unit, value):
    print(json.dumps({"case": name, "unit": unit, "value": value, "lib": "PyTorch", "threads": 1}), flush=True)


def takes(name, f):
    show(name, "us", 1e6 * best(f))


def formulas():
    rows, columns = (16, 64) if tiny else (16384, 4096)
    x, w, b = (torch.randn(rows, columns, device=device, requires_grad=True) for _ in range(3))
    dy = torch.randn(rows, columns, device=device)
    row, scale = (torch.randn(columns, device=device, requires_grad=True) for _ in range(2))
    labels = torch.randint(columns, (rows,), device=device)
    indices = torch.randint(rows, (rows,), device=device)

    def backward(f, *gradient):
        def run():
            f().backward(*gradient)
            for leaf in (x, w, b, row, scale):
                leaf.grad = None
        return run

    def quietly(f):
        def run():
            with torch.no_grad():
                f()
        return run

    takes("silu(x*w+b) forward", quietly(lambda: F.silu(torch.addcmul(b, x, w))))
    takes("silu(x*w+b) forward+backward", backward(lambda: F.silu(torch.addcmul(b, x, w)), dy))
    takes("x*scale+row forward+backward, rows broadcast", backward(lambda: torch.addcmul(row, x, scale), dy))
    takes("sum", quietly(lambda: x.sum()))
    takes("sum over axis 0", quietly(lambda: x.sum(0)))
    takes("sum over axis 1", quietly(lambda: x.sum(1)))
    takes("mean(square(x-w)) forward+backward", backward(lambda: F.mse_loss(x, w)))
    takes("softmax over axis 1", quietly(lambda: x.softmax(1)))
    takes("softmax over axis 1 forward+backward", backward(lambda: x.softmax(1), dy))
    takes("layer_norm over axis 1", quietly(lambda: F.layer_norm(x, (columns,))))
    takes("transposed copy", quietly(lambda: x.t().contiguous()))
    takes("cumsum over axis 1", quietly(lambda: x.cumsum(1)))
    takes("cross_entropy forward+backward", backward(lambda: F.cross_entropy(x, labels)))
    takes("embedding", quietly(lambda: F.embedding(indices, x)))


def sorting():
    x = torch.randn(3000 if tiny else 1 << 24, device=device)
    takes("sort 16M float", lambda: x.sort(stable=True))
    takes("top 1000 of 16M", lambda: x.topk(10 if tiny else 1000))


def products():
    for size in [16] if tiny else [512, 2048, 8192]:
        for name, dtype, tf32 in (("float", torch.float32, False), ("tf32", torch.float32, True), ("bf16", torch.bfloat16, False)):
            torch.backends.cuda.matmul.allow_tf32 = tf32
            a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
            show(f"gemm {name} {size}x{size}x{size}", "GF/s", 2e-9 * size**3 / best(lambda: a @ b))


def network():
    batch, inputs = (8, 24) if tiny else (128, 784)
    net = torch.nn.Sequential(torch.nn.Linear(inputs, 256), torch.nn.ReLU(), torch.nn.Linear(256, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10)).to(device)
    x, y = torch.randn(batch, inputs, device=device), torch.randint(10, (batch,), device=device)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)

    def step():
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(net(x), y).backward()
        optimizer.step()

    eager = 1e6 * best(step)
    show("mlp 784-256-128-10 b128 adam step", "us", eager)
    show("mlp 784-256-128-10 b128 adam step in a graph", "us", eager)  # what it is compared with: PyTorch's eager step

    p = torch.randn(4096 if tiny else 1 << 26, device=device, requires_grad=True)
    p.grad = torch.ones_like(p)
    takes("adam 64M parameters", torch.optim.Adam([p], fused=True).step)


def graphs():
    scale = 6 if tiny else 20
    nodes, on = 1 << scale, f"rmat{scale} "
    source, target = edges = torch.from_numpy(rmat.edges(scale)).to(device)
    w = torch.rand(edges.shape[1], device=device)

    def csr(rows, columns):
        """With every edge: coalesce() would make one of those between the same nodes."""
        order = torch.argsort(rows * nodes + columns, stable=True)
        pointers = torch.cat([torch.zeros(1, dtype=torch.long, device=device), torch.bincount(rows, minlength=nodes).cumsum(0)])
        return torch.sparse_csr_tensor(pointers.int(), columns[order].int(), w[order], (nodes, nodes))

    matrix, transposed = csr(target, source), csr(source, target)
    try:
        from torch_geometric.nn import GATConv
    except ImportError:
        GATConv = None
    for f in (16, 64, 128):
        x, dy = torch.randn(nodes, f, device=device), torch.randn(nodes, f, device=device)
        leaf = x.clone().requires_grad_()
        takes(f"{on}spmm F{f}", lambda: matrix @ x)
        takes(f"{on}spmm forward+backward F{f}", lambda: (matrix @ x, transposed @ dy))
        if f == 128:
            continue

        def backward(result):
            result.backward(dy)
            leaf.grad = None

        takes(f"{on}gather, scatter forward+backward F{f}",
              lambda: backward(torch.zeros(nodes, f, device=device).index_add(0, target, leaf.index_select(0, source) * w[:, None])))
        if GATConv is None:
            continue
        layer = GATConv(f, f // 8, heads=8, add_self_loops=False).to(device)

        def forward():
            with torch.no_grad():
                layer(leaf, edges)

        takes(f"{on}gat of 8 heads forward F{f}", forward)
        takes(f"{on}gat of 8 heads forward+backward F{f}", lambda: backward(layer(leaf, edges)))


formulas()
sorting()
products()
network()
graphs()

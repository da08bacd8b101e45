"""The Python half of the tests that exchange files with NumPy and PyTorch:  exchange.py <what> <folder or file>"""

import io
import itertools
import os
import sys
import zipfile

import numpy as np

SHAPES = [(), (0,), (1,), (5,), (2, 3), (2, 0, 3), (2, 3, 4), (1, 2, 1, 2, 1, 2, 1, 2)]
TYPES = ["float32", "float64", "float16", "int8", "int32", "int64", "uint8", "bool"]


def text_of(shape):
    return "x".join(str(size) for size in shape) or "scalar"


def make(dtype, shape):
    """The values that tests/io/files.hpp computes."""
    v = np.arange(int(np.prod(shape)), dtype=np.int64) * 7 % 50
    if dtype == "bool":
        v = v % 3 == 0
    elif dtype.startswith("float"):
        v = (v - 20) / 4
    elif dtype != "uint8":
        v = v - 20
    return v.astype(dtype).reshape(shape)


def bfloat16_bits(shape):
    return (make("float32", shape).view(np.uint32) >> 16).astype(np.uint16)


def same(found, expected):
    assert found.dtype == expected.dtype, (found.dtype, expected.dtype)
    assert found.shape == expected.shape, (found.shape, expected.shape)
    assert found.tobytes() == expected.tobytes(), (found, expected)


def npy_write(folder):
    """Every type, shape, byte order, memory order and version."""
    count = 0
    for dtype, shape, order, memory, version in itertools.product(TYPES, SHAPES, "<>", "CF", [(1, 0), (2, 0), (3, 0)]):
        x = make(dtype, shape).astype(np.dtype(dtype).newbyteorder(order))
        x = np.asfortranarray(x) if memory == "F" and x.ndim > 0 else x
        name = f"{dtype}-{text_of(shape)}-{'le' if order == '<' else 'be'}-{memory}-{version[0]}.npy"
        with open(os.path.join(folder, name), "wb") as stream:
            np.lib.format.write_array(stream, x, version=version)
        count += 1
    print(count)


def npy_check(folder):
    for dtype, shape in itertools.product(TYPES, SHAPES):
        with open(os.path.join(folder, f"{dtype}-{text_of(shape)}.npy"), "rb") as stream:
            x = np.load(stream)
            assert stream.read() == b""
        same(x, make(dtype, shape))
        assert x.flags.c_contiguous
    for shape in SHAPES:
        x = np.load(os.path.join(folder, f"bfloat16-{text_of(shape)}.npy"))
        assert x.dtype == np.dtype("V2"), x.dtype
        assert x.shape == shape and x.tobytes() == bfloat16_bits(shape).tobytes()
    print("ok")


def npz_arrays():
    arrays = {f"{dtype}-{text_of(shape)}": make(dtype, shape) for dtype in TYPES for shape in SHAPES}
    arrays["repeated"] = np.zeros((300, 1000), dtype=np.float32)
    arrays["größe/und mehr"] = make("int32", (2, 3))
    return arrays


def npz_write(folder):
    arrays = npz_arrays()
    np.savez(os.path.join(folder, "stored.npz"), **arrays)
    np.savez_compressed(os.path.join(folder, "deflated.npz"), **arrays)
    # 64-bit records everywhere, as a huge archive would have them.
    limits = zipfile.ZIP64_LIMIT, zipfile.ZIP_FILECOUNT_LIMIT
    zipfile.ZIP64_LIMIT, zipfile.ZIP_FILECOUNT_LIMIT = 10, 1
    try:
        with zipfile.ZipFile(os.path.join(folder, "zip64.npz"), "w", zipfile.ZIP_DEFLATED, allowZip64=True) as archive:
            for name, x in arrays.items():
                stream = io.BytesIO()
                np.save(stream, x)
                archive.writestr(name + ".npy", stream.getvalue())
    finally:
        zipfile.ZIP64_LIMIT, zipfile.ZIP_FILECOUNT_LIMIT = limits
    # Sizes behind the data, as a writer to a pipe leaves them, and something in front and behind.
    class Pipe(io.RawIOBase):
        def __init__(self, stream):
            self.stream = stream

        def writable(self):
            return True

        def write(self, data):
            return self.stream.write(data)

    with open(os.path.join(folder, "piped.npz"), "wb") as stream:
        with zipfile.ZipFile(Pipe(stream), "w", zipfile.ZIP_DEFLATED) as archive:
            for name, x in arrays.items():
                with archive.open(name + ".npy", "w") as member:
                    np.lib.format.write_array(member, x)
            archive.comment = b"a comment at the end"
    print(len(arrays))


def npz_check(folder):
    for kind in ("stored", "deflated", "stored64", "deflated64"):
        path = os.path.join(folder, kind + ".npz")
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None
            for member in archive.infolist():
                assert member.compress_type == (zipfile.ZIP_DEFLATED if kind.startswith("deflated") else zipfile.ZIP_STORED)
        with np.load(path) as archive:
            arrays = npz_arrays()
            assert sorted(archive.files) == sorted(arrays), archive.files
            for name, x in arrays.items():
                same(archive[name], x)
    with np.load(os.path.join(folder, "none.npz")) as archive:
        assert archive.files == []
    print("ok")


def safetensors_write(folder):
    import safetensors.numpy
    arrays = {f"{dtype}-{text_of(shape)}": make(dtype, shape) for dtype in TYPES for shape in SHAPES}
    safetensors.numpy.save_file(arrays, os.path.join(folder, "package.safetensors"), {"note": "größe"})
    print(len(arrays))


def safetensors_check(folder):
    import safetensors
    import safetensors.numpy
    path = os.path.join(folder, "ours.safetensors")
    with safetensors.safe_open(path, "numpy") as file:
        assert file.metadata() == {"note": "größe \"quoted\"\n"}, file.metadata()
    arrays = safetensors.numpy.load_file(path)
    assert len(arrays) == len(TYPES) * len(SHAPES), len(arrays)
    for dtype, shape in itertools.product(TYPES, SHAPES):
        same(arrays[f"{dtype}-{text_of(shape)}"], make(dtype, shape))
    print("ok")


def torch_model(tied=False):
    import torch

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden = torch.nn.Linear(3, 4)
            self.layers = torch.nn.ModuleList([torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)])
            self.out = torch.nn.Linear(4, 2)
            self.register_buffer("count", torch.tensor(0, dtype=torch.int64))
            if tied:
                self.layers[1].weight = self.layers[0].weight

        def forward(self, x):
            x = torch.relu(self.hidden(x))
            for layer in self.layers:
                x = torch.tanh(layer(x))
            return self.out(x)

    return Net()


def torch_write(folder):
    """Models and what they compute, for the C++ side to load and compute again."""
    import safetensors.torch
    import torch
    torch.manual_seed(3)
    x = torch.linspace(-1, 1, 15).reshape(5, 3)
    for tied in (False, True):
        net = torch_model(tied)
        net.count += 7
        path = os.path.join(folder, f"torch-{'tied' if tied else 'free'}.safetensors")
        safetensors.torch.save_model(net, path)
        np.save(path + ".npy", net(x).detach().numpy())
    types = {name: torch.arange(6).sub(3).to(getattr(torch, name)).reshape(2, 3)
             for name in TYPES + ["bfloat16"]}
    safetensors.torch.save_file(types, os.path.join(folder, "torch-types.safetensors"))
    print("ok")


def torch_check(folder):
    """Loads the C++ side's models by name and compares what they compute."""
    import safetensors.torch
    import torch
    x = torch.linspace(-1, 1, 15).reshape(5, 3)
    for tied in (False, True):
        net = torch_model(tied)
        path = os.path.join(folder, f"ours-{'tied' if tied else 'free'}.safetensors")
        if tied:
            missing, unexpected = safetensors.torch.load_model(net, path)
            assert not missing and not unexpected, (missing, unexpected)
            with safetensors.safe_open(path, "pt") as file:
                assert file.metadata() == {"format": "pt", "layers.1.weight": "layers.0.weight"}, file.metadata()
        else:
            net.load_state_dict(safetensors.torch.load_file(path), strict=True)
        assert net.count.item() == 11
        found, expected = net(x).detach().numpy(), np.load(path + ".npy")
        assert np.abs(found - expected).max() <= 1e-6, np.abs(found - expected).max()
    print("ok")


if __name__ == "__main__":
    globals()[sys.argv[1].replace("-", "_")](*sys.argv[2:])

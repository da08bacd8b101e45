"""The Python half of the exchange of a ResNet-18 with torchvision:  exchange.py <folder>

Loads ours.safetensors strictly and writes what it makes of x.npy; writes theirs.safetensors and what that makes of x.
"""
import json
import pathlib
import struct
import sys

import numpy as np
import torch
import torchvision

folder = pathlib.Path(sys.argv[1])
TYPES = {"F32": torch.float32, "I64": torch.int64}


def read(path):
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    body = data[8 + length :]
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        tensors[name] = torch.frombuffer(bytearray(body[begin:end]), dtype=TYPES[entry["dtype"]]).reshape(entry["shape"])
    return tensors


def write(path, tensors):
    header, blocks, at = {}, [], 0
    names = {dtype: name for name, dtype in TYPES.items()}
    for name, tensor in tensors.items():
        data = tensor.contiguous().numpy().tobytes()
        header[name] = {"dtype": names[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [at, at + len(data)]}
        blocks.append(data)
        at += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blocks))


x = torch.from_numpy(np.load(folder / "x.npy"))
with torch.no_grad():
    net = torchvision.models.resnet18(num_classes=10)
    net.load_state_dict(read(folder / "ours.safetensors"), strict=True)
    np.save(folder / "of_ours.npy", net.eval()(x).numpy())
    torch.manual_seed(0)
    net = torchvision.models.resnet18(num_classes=10)
    for name, value in net.state_dict().items():
        if "running_var" in name:
            value.add_(0.5)
    write(folder / "theirs.safetensors", net.state_dict())
    np.save(folder / "of_theirs.npy", net.eval()(x).numpy())

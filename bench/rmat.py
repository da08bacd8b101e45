"""The graph of rmat.hpp: R-MAT with the parameters of Graph 500, the same edges."""

import numpy as np


def mixed(z):
    """The numbers of splitmix64, by position."""
    z = (z + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def edges(scale):
    """int64 [2, 16 * 2^scale]: sources, targets."""
    nodes, count = 1 << scale, 16 << scale
    order = np.argsort(mixed(np.uint64(1 << 48) + np.arange(nodes, dtype=np.uint64)))
    label = np.empty(nodes, np.int64)
    label[order] = np.arange(nodes)
    e, a, b = np.arange(count, dtype=np.uint64) * np.uint64(64), np.zeros(count, np.int64), np.zeros(count, np.int64)
    for bit in range(scale):
        u = (mixed(e + np.uint64(bit)) >> np.uint64(11)).astype(np.float64) * 2.0**-53
        a = 2 * a + (u >= 0.76)
        b = 2 * b + (((u >= 0.57) & (u < 0.76)) | (u >= 0.95))
    return np.stack([label[a], label[b]])

"""The Python half of the DLPack test:  dlpack.py <library> [torch]

Calls the library by ctypes and hands tensors over as capsules, as extension modules do.
"""

import ctypes
import gc
import itertools
import sys
import weakref

import numpy as np

api = ctypes.pythonapi
api.PyCapsule_New.restype = ctypes.py_object
api.PyCapsule_New.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
api.PyCapsule_GetPointer.restype = ctypes.c_void_p
api.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
api.PyCapsule_SetName.argtypes = [ctypes.py_object, ctypes.c_char_p]
api.PyCapsule_IsValid.argtypes = [ctypes.py_object, ctypes.c_char_p]

library = ctypes.CDLL(sys.argv[1])
library.library_make.restype = ctypes.c_void_p
library.library_take.argtypes = [ctypes.c_void_p, ctypes.c_int]
library.library_error.restype = ctypes.c_char_p
library.library_data.restype = ctypes.c_void_p
library.library_live.restype = ctypes.c_long

TYPES = ["float32", "float64", "float16", "bfloat16", "int8", "int32", "int64", "uint8", "bool"]
NAMES = {0: b"dltensor", 1: b"dltensor_versioned"}
USED = {0: b"used_dltensor", 1: b"used_dltensor_versioned"}  # capsules keep the pointer to their name


def make(dtype, shape=(2, 3, 4)):
    v = np.arange(int(np.prod(shape)), dtype=np.int64) * 7 % 50
    if dtype == "bool":
        v = v % 3 == 0
    elif dtype.startswith("float"):
        v = (v - 20) / 4
    elif dtype != "uint8":
        v = v - 20
    return v.astype(dtype).reshape(shape)


class Tensor:
    """An object with the protocol's two methods, over a tensor of the library."""

    def __init__(self, dtype, versioned, transposed=False, keep=False):
        self.pointer = library.library_make(TYPES.index(dtype), versioned, transposed, keep)
        self.versioned = versioned

    def __dlpack__(self, **_):
        return api.PyCapsule_New(self.pointer, NAMES[self.versioned], None)

    def __dlpack_device__(self):
        return (1, 0)


def take(source, versioned):
    """Hands an array or tensor of Python to the library; True where it took it."""
    capsule = source.__dlpack__(max_version=(1, 0)) if versioned else source.__dlpack__()
    assert api.PyCapsule_IsValid(capsule, NAMES[versioned]) == 1
    pointer = api.PyCapsule_GetPointer(capsule, NAMES[versioned])
    api.PyCapsule_SetName(capsule, USED[versioned])  # the capsule no longer frees it
    return library.library_take(pointer, versioned) == 1


def numpy_versioned():
    return int(np.__version__.split(".")[0]) >= 2 and int(np.__version__.split(".")[1]) >= 1


def from_library(convert, to_numpy, types, versions):
    for dtype, versioned in itertools.product(types, versions):
        x = convert(Tensor(dtype, versioned))
        expected = make(dtype)
        assert to_numpy(x).dtype == expected.dtype and (to_numpy(x) == expected).all(), dtype
        y = convert(Tensor(dtype, versioned, transposed=True))
        assert (to_numpy(y) == expected.transpose(2, 0, 1)).all(), dtype
    # The memory is shared, and lives until both sides have let go of it.
    for versioned in versions:
        x = convert(Tensor("float32", versioned, keep=True))
        assert library.library_exported() == 1
        ctypes.cast(library.library_data(), ctypes.POINTER(ctypes.c_float))[5] = 123.5
        assert to_numpy(x)[0, 1, 1] == 123.5
        library.library_drop()
        gc.collect()
        assert to_numpy(x)[0, 1, 1] == 123.5
        again = convert(Tensor("float32", versioned, keep=True))
        del x, again
        gc.collect()
        assert library.library_exported() == 0, "the tensor is still marked as lent out"
        library.library_drop()
    # Nothing stays behind: a thousand exchanges take no more memory than one.
    gc.collect()
    live = library.library_live()
    for _ in range(1000):
        convert(Tensor("float64", versions[0]))
    gc.collect()
    assert library.library_live() == live, (library.library_live(), live)


def to_library(wrap, types, versions):
    for dtype, versioned in itertools.product(types, versions):
        x = wrap(make(dtype))
        assert take(x, versioned), library.library_error()
        assert library.library_is_made() == 1, dtype
        library.library_drop()
    for versioned in versions:
        x = wrap(make("float32"))
        watch = weakref.ref(x)
        pointer = x.ctypes.data if isinstance(x, np.ndarray) else x.data_ptr()
        assert take(x, versioned)
        assert library.library_data() == pointer, "a copy was made"
        del x
        gc.collect()
        if isinstance(watch(), np.ndarray):
            assert watch() is not None, "the array is gone while the library uses it"
        assert library.library_is_made() == 1
        library.library_drop()
        gc.collect()
        assert watch() is None, "the array outlives the library's tensor"
        x = wrap(np.zeros((2, 3), dtype=np.int32))
        before = sys.getrefcount(x)
        assert take(x, versioned)
        library.library_drop()
        assert sys.getrefcount(x) == before
        # Views keep their strides; empty and 0-d arrays pass.
        for view in (wrap(make("int64", (4, 6)))[:, ::2], wrap(make("float32", ())), wrap(make("float32", (0, 3)))):
            assert take(view, versioned), library.library_error()
            library.library_drop()
        x = wrap(np.asfortranarray(make("float32", (3, 4))))
        assert take(x, versioned) and library.library_is_made() == 1
        library.library_drop()


def refused(source, versioned, text):
    assert not take(source, versioned)
    assert text in library.library_error().decode(), library.library_error()


if sys.argv[2:] == ["torch"]:
    import torch
    from_library(torch.from_dlpack, lambda x: x.numpy(), [t for t in TYPES if t != "bfloat16"], [0, 1])
    x = torch.from_dlpack(Tensor("bfloat16", 0))
    assert x.dtype == torch.bfloat16 and (x.float().numpy() == make("float32")).all()
    to_library(lambda x: torch.from_numpy(x) if x.ndim else torch.tensor(float(x)), [t for t in TYPES if t != "bfloat16"], [0, 1])
    assert take(torch.from_numpy(make("float32")).to(torch.bfloat16), 1) and library.library_is_made() == 1
    refused(torch.zeros(3, dtype=torch.complex64), 0, "type code 5, 64 bits")
    library.library_drop()
else:
    versions = [0, 1] if numpy_versioned() else [0]
    # NumPy has no bfloat16, and passes bool from version 2 on.
    types = [t for t in TYPES if t != "bfloat16" and (t != "bool" or 1 in versions)]
    from_library(np.from_dlpack, lambda x: x, types, versions)
    to_library(lambda x: x, types, versions)
    refused(np.zeros(3, dtype=np.int16), versions[-1], "type code 0, 16 bits")
    refused(np.arange(6)[::-1], versions[-1], "runs backwards")
    if 1 in versions:
        x = make("float32")
        x.flags.writeable = False
        assert take(x, 1), library.library_error()
        assert library.library_data() != x.ctypes.data and library.library_is_made() == 1  # a copy
        library.library_drop()
print("ok", np.__version__)

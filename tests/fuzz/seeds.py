"""Writes the seed corpora of the fuzz targets, a folder for each:  seeds.py <folder>

Small sound files of every kind, made without the library, from the descriptions of the formats.
"""

import base64
import gzip
import io
import json
import os
import struct
import sys
import zipfile
import zlib

OUT = sys.argv[1]


def put(target, name, content):
    folder = os.path.join(OUT, target)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name), "wb") as stream:
        stream.write(content)


def npy(descr, shape, content, fortran=False, version=1):
    header = str({"descr": descr, "fortran_order": fortran, "shape": shape}).encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(header)) + header + content


ARRAYS = {
    "f4": npy("<f4", (2, 3), bytes(range(24))),
    "big": npy(">f8", (2,), bytes(range(16))),
    "fortran": npy("<i4", (2, 2), bytes(range(16)), True, 2),
    "scalar": npy("|b1", (), b"\1", False, 3),
    "half": npy("<f2", (3,), bytes(range(6))),
    "bf16": npy("<V2", (1, 1, 1), bytes(2)),
    "empty": npy("<i8", (0, 5), b""),
}


def npz(method, zip64=False):
    stream = io.BytesIO()
    limit = zipfile.ZIP64_LIMIT
    zipfile.ZIP64_LIMIT = 10 if zip64 else limit
    with zipfile.ZipFile(stream, "w", method, allowZip64=True) as archive:
        for name in ("f4", "scalar", "empty"):
            archive.writestr(name + ".npy", ARRAYS[name])
    zipfile.ZIP64_LIMIT = limit
    return stream.getvalue()


def safetensors(tensors, metadata=None):
    """tensors: name -> (dtype, shape, bytes)"""
    header, data = ({"__metadata__": metadata} if metadata else {}), b""
    for name, (dtype, shape, content) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(len(text) + 8) % 64)
    return struct.pack("<Q", len(text)) + text + data


def checkpoint(tensors, metadata):
    metadata = dict(metadata, **{"tenon.checkpoint": "1", "tenon.checksum": "0" * 8})
    content = safetensors(tensors, metadata)
    head = 8 + struct.unpack("<Q", content[:8])[0]
    checksum = "%08x" % zlib.crc32(content[:head], zlib.crc32(content[head:]))
    return content[:head].replace(b'"tenon.checksum":"00000000"', b'"tenon.checksum":"' + checksum.encode() + b'"') + content[head:]


def png(width, height, colour, depth, rows, interlace=0, extra=b""):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)) + extra
            + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")), chunk


# 8 x 8 grey pixels, baseline; 17 x 9 in colour with halved chroma, baseline and progressive.
JPEG = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAMCAgICAgMCAgIDAwMDBAYEBAQEBAgGBgUGCQgKCgkICQkKDA8MCgsOCwkJDRENDg8QEBEQCgwSExIQEw8QEBD/"
    "wAALCAAIAAgBAREA/8QAHwAAAQUBAQEBAQEAAAAAAAAAAAECAwQFBgcICQoL/8QAtRAAAgEDAwIEAwUFBAQAAAF9AQIDAAQRBRIhMUEGE1FhByJxFDKB"
    "kaEII0KxwRVS0fAkM2JyggkKFhcYGRolJicoKSo0NTY3ODk6Q0RFRkdISUpTVFVWV1hZWmNkZWZnaGlqc3R1dnd4eXqDhIWGh4iJipKTlJWWl5iZmqKjpKWm"
    "p6ipqrKztLW2t7i5usLDxMXGx8jJytLT1NXW19jZ2uHi4+Tl5ufo6erx8vP09fb3+Pn6/9oACAEBAAA/APn+v//Z")
COLOUR_JPEG = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDACgcHiMeGSgjISMtKygwPGRBPDc3PHtYXUlkkYCZlo+AjIqgtObDoKrarYqMyP/L2u71////m8H////6/+b9//"
    "j/2wBDASstLTw1PHZBQXb4pYyl+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj/wAARCAAJABEDASIAAhEBAxEB"
    "/8QAFgABAQEAAAAAAAAAAAAAAAAAAwQA/8QAHxAAAgEDBQEAAAAAAAAAAAAAAAECAxESBDFBU5Lh/8QAFQEBAQAAAAAAAAAAAAAAAAAAAgH/xAAZEQACAw"
    "EAAAAAAAAAAAAAAAAAAQIREgP/2gAMAwEAAhEDEQA/ABUNOpNKndX3xFjGh1S8/Sh8CwBLpUsiSJcaHXPwYuMTbFR//9k=")
PROGRESSIVE_JPEG = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDACgcHiMeGSgjISMtKygwPGRBPDc3PHtYXUlkkYCZlo+AjIqgtObDoKrarYqMyP/L2u71////m8H////6/+b9//"
    "j/2wBDASstLTw1PHZBQXb4pYyl+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj/wgARCAAJABEDASIAAhEBAxEB"
    "/8QAFgABAQEAAAAAAAAAAAAAAAAAAgMA/8QAFgEBAQEAAAAAAAAAAAAAAAAAAQAC/9oADAMBAAIQAxAAAAEKjyy19P8A/8QAFxAAAwEAAAAAAAAAAAAAAA"
    "AAACAhIv/aAAgBAQABBQLJCJ//xAAUEQEAAAAAAAAAAAAAAAAAAAAQ/9oACAEDAQE/AT//xAAYEQACAwAAAAAAAAAAAAAAAAAAEQECIf/aAAgBAgEBPwGb"
    "ahn/xAAWEAEBAQAAAAAAAAAAAAAAAAAxACD/2gAIAQEABj8CIjH/xAAaEAABBQEAAAAAAAAAAAAAAAABABARUZHR/9oACAEBAAE/IYlwgLsUXYwb/9oADA"
    "MBAAIAAwAAABBoD//EABYRAQEBAAAAAAAAAAAAAAAAAAABEf/aAAgBAwEBPxCRj//EABURAQEAAAAAAAAAAAAAAAAAAAAR/9oACAECAQE/EIC3/8QAGxAB"
    "AAICAwAAAAAAAAAAAAAAARARADFBwfD/2gAIAQEAAT8QCQWL3jxncLeJ/wD/2Q==")

for kind, content in ARRAYS.items():
    put("npy", kind, content)
put("npz", "stored", npz(zipfile.ZIP_STORED))
put("npz", "deflated", npz(zipfile.ZIP_DEFLATED))
put("npz", "zip64", npz(zipfile.ZIP_DEFLATED, True))
put("safetensors", "layer", safetensors({"weight": ("F32", [2, 3], bytes(24)), "bias": ("F32", [2], bytes(8))}, {"format": "pt"}))
put("safetensors", "types", safetensors({"a": ("I64", [], bytes(8)), "b": ("BF16", [2], bytes(4)), "c": ("I16", [1], bytes(2)), "d": ("BOOL", [3], b"\0\1\7"),
                                         "e": ("F64", [0, 3], b"")}))
put("safetensors", "tied", safetensors({"weight": ("F32", [2, 3], bytes(24))}, {"bias": "weight"}))
put("safetensors", "none", safetensors({}))
put("checkpoint", "layer", checkpoint(
    {"model.weight": ("F32", [1, 2], bytes(8)), "model.bias": ("F32", [1], bytes(4)), "optimizer.weight.momentum": ("F32", [1, 2], bytes(8)),
     "optimizer.bias.momentum": ("F32", [1], bytes(4)), "optimizer.weight.steps": ("I64", [], bytes(8)), "optimizer.bias.steps": ("I64", [], bytes(8)),
     "optimizer.statistics.steps": ("I64", [], bytes(8)), "optimizer.statistics.skipped": ("I64", [], bytes(8)),
     "optimizer.options": ("F64", [10], struct.pack("<10d", 1e-3, 1, 0.5, 0, 0, 0, 0, 0, 1, 0)), "state.numbers.x": ("F64", [2], bytes(16))},
    {"optimizer.rule": "sgd", "optimizer.options": "\n".join("group0." + name for name in "lr lr_scale momentum dampening nesterov weight_decay decay maximize "
                                                              "gradient_scale bias_corrected".split()), "state.step": "3", "state.epoch": "0", "state.batch": "1", "state.key": "18446744073709551615", "state.counters.seen": "-4",
     "state.texts.note": "text"}))
images = struct.pack(">BBBBIII", 0, 0, 8, 3, 2, 3, 4) + bytes(range(24))
put("idx", "images", images)
put("idx", "packed", gzip.compress(images))
put("idx", "ints", struct.pack(">BBBBIii", 0, 0, 12, 1, 2, -1, 7))
put("idx", "doubles", struct.pack(">BBBBIIdd", 0, 0, 14, 2, 1, 2, 0.5, -2.0))
put("cifar", "ten", bytes([3]) + bytes(3072))
put("cifar", "hundred", bytes([3, 99]) + bytes(3072))
put("cifar", "packed", gzip.compress((bytes([9]) + bytes(range(256)) * 12) * 2))
put("image", "rgb.png", png(3, 2, 2, 8, (b"\0" + bytes(range(9))) * 2)[0])
put("image", "grey.png", png(9, 2, 0, 1, b"\1\x55\x80\2\xaa\0")[0])
put("image", "alpha16.png", png(2, 1, 6, 16, b"\4" + bytes(16))[0])
palette = png(1, 1, 3, 8, b"")[1]
put("image", "palette.png", png(4, 2, 3, 2, b"\3\x1b\4\xe4", 0, palette(b"PLTE", bytes(12)) + palette(b"tRNS", b"\0\x80"))[0])
put("image", "interlaced.png", png(2, 2, 0, 8, b"\0\1\0\2\0\3\4", 1)[0])
put("image", "grey.jpg", JPEG)
put("image", "colour.jpg", COLOUR_JPEG)
put("image", "progressive.jpg", PROGRESSIVE_JPEG)
put("csv", "log", b'epoch,"a,b"\n1,0.5\n2,0.25\n')
put("csv", "cut", b'epoch,"a,b"\n1,0')
put("csv", "header", b'epoch,"a')
put("csv", "other", b"step,loss\n1,2\n")
put("text", "plain", "gr\u00fc\u00df \u20ac \U0001f600\r\nline\n".encode())
put("text", "marked", b"\xef\xbb\xbfa\\n\nb\\\\\n")
put("text", "packed", gzip.compress(b"text\n" * 9))

# Graphs. Pickles as Python 2 wrote them, byte by byte: today's pickle names other modules.
def integer(value):
    return b"K" + struct.pack("<B", value) if 0 <= value < 256 else b"M" + struct.pack("<H", value)


def string(content):
    return b"U" + struct.pack("<B", len(content)) + content


def array(kind, shape, content):
    dtype = b"cnumpy\ndtype\n" + string(kind) + b"K\0K\1\x87R(K\3" + string(b"<") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"
    sizes = b"".join(map(integer, shape)) + (b"\x85" if len(shape) == 1 else b"\x86")
    return (b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85" + string(b"b") + b"\x87R(K\1" + sizes + dtype + b"\x89" + string(content) + b"tb")


def ints(*values):
    return struct.pack("<%di" % len(values), *values)


def csr(columns, pointers, indices, values):
    entries = string(b"_shape") + integer(len(pointers) - 1) + integer(columns) + b"\x86"
    for key, kind, content in (b"indices", b"i4", ints(*indices)), (b"indptr", b"i4", ints(*pointers)), (b"data", b"f4", struct.pack("<%df" % len(values), *values)):
        entries += string(key) + array(kind, [len(content) // 4], content)
    return b"\x80\2cscipy.sparse.csr\ncsr_matrix\nq\1)\x81}(" + entries + b"ub."


def one_hot(*rows):
    return b"\x80\2" + array(b"i4", [len(rows), len(rows[0])], ints(*[v for row in rows for v in row])) + b"."


def adjacency(*lists):
    entries = b""
    for node, neighbours in enumerate(lists):
        entries += integer(node) + b"]q" + bytes([node + 2]) + b"(" + b"".join(map(integer, neighbours)) + b"e"
    return b"\x80\2ccollections\ndefaultdict\nc__builtin__\nlist\n\x85Rq\1(" + entries + b"u."


planetoid = [csr(3, [0, 1], [0], [1.0]), csr(3, [0, 1, 2], [0, 2], [1.0, 0.5]), csr(3, [0, 1, 1], [0], [1.0]), one_hot((1, 0)), one_hot((0, 1), (1, 0)),
             one_hot((1, 0), (0, 1)), adjacency([1, 0], [0, 3], [3], [1, 2]), b"3\n2\n"]
for number, content in enumerate(planetoid[:7]):
    put("pickle", str(number), content)
put("pickle", "memo", b"\x80\2}q\0(K\0]q\1(K\1K\2eK\1h\1u.")
put("pickle", "long", b"\x80\2T\3\0\0\0abcr\1\0\0\0.")
put("planetoid", "all", b"---\n".join(planetoid))
put("linqs", "plain", b"a\t1\t0\tX\nb\t0\t1\tY\n---\na\tb\nc\ta\n")
put("linqs", "tab", b"NODE\tpaper\ncat=1:label\tnumeric:w-a:0.0\tsummary:summary\n1\tlabel=2\tw-a=0.5\tsummary=w-a\n2\tlabel=1\n---\nDIRECTED\ncites\n3\tpaper:1\t|\tpaper:2\n")
put("gin_text", "two", b"2\n3 5\n0 2 1 2\n7 1 0\n0 1 0\n1 -1\n3 0\n")
put("gin_text", "numbers", b"1\n2 0\n0 1 1 0.5 -1e3\n1 1 0 2 3\n")
put("off", "square", b"OFF\n# x\n4 2 0\n0 0 0\n1 0 0\n1 1 0\n0 1 -2.5e-1\n4 0 1 2 3\n3 0 1 2 255 0 0\n")
put("off", "glued", b"OFF1 0 0\n1 2 3\n")
put("tu", "all", b"---\n".join([b"1\n1\n2\n", b"1, 2\n2, 1\n3, 3\n", b"1\n-1\n", b"0\n2\n1\n", b"0.5, 1\n1, 2\n3, 4\n", b"0\n1\n2\n", b"0.5\n1\n2\n", b"0.25\n1\n"]))
put("tu", "few", b"1\n1\n---\n1, 2\n---\n5\n")
put("ogb_csv", "all", b"---\n".join([b"2\n1\n", b"2\n0\n", b"0,1\n1,1\n", b"1,2\n3,4\n5,6\n", b"0.5\n1\n", b"1\nnan\n2\n", b"0\n1\n"]))
put("ogb_csv", "few", b"2\n---\n1\n---\n0,1\n")
put("ogb_csv", "split", b"---\n".join([b"1\n", b"0\n"] + [b""] * 5 + [b"0\n3\n", b"1\n", b"-2\n4\n"]))
stream = io.BytesIO()
with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
    for name, content in {"adj_data": npy("<f4", (2,), struct.pack("<2f", 1, 1)), "adj_indices": npy("<i4", (2,), ints(1, 0)), "adj_indptr": npy("<i4", (3,), ints(0, 1, 2)),
                          "adj_shape": npy("<i8", (2,), struct.pack("<2q", 2, 2)), "attr_data": npy("<f4", (1,), struct.pack("<f", 2)), "attr_indices": npy("<i4", (1,), ints(0)),
                          "attr_indptr": npy("<i4", (3,), ints(0, 0, 1)), "attr_shape": npy("<i8", (2,), struct.pack("<2q", 2, 3)), "labels": npy("<i8", (2,), struct.pack("<2q", 1, 0))}.items():
        archive.writestr(name + ".npy", content)
put("npz_graph", "two", stream.getvalue())

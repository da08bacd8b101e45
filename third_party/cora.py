"""Turns the Cora citation network inside the wheel of graphdatascience into one .npz:  cora.py <wheel> <ids> <to.npz>

Nodes come in the order of <ids> (LINQS' number of each paper, a line each), which is that of the Planetoid release, so its public
split applies: nodes 0 to 139 for training, 140 to 639 for validation, 1708 to 2707 for testing. The archive is what
read_npz_graph reads. Needs pyarrow for the wheel's tables.
"""

import array
import io
import os
import sys
import zipfile

import pyarrow.parquet

# The wheel's number of each class, as Planetoid numbers them.
CLASS = [3, 6, 1, 4, 0, 2, 5]


def table(wheel, name):
    members = [member for member in wheel.namelist() if member.endswith("/" + name)]
    if len(members) != 1:
        sys.exit("cora.py: the wheel has no %s: another version of graphdatascience than 2.2?" % name)
    return pyarrow.parquet.read_table(io.BytesIO(wheel.read(members[0])))


def npy(values, kind, descr):
    content = array.array(kind, values)
    if sys.byteorder == "big":
        content.byteswap()
    header = str({"descr": descr, "fortran_order": False, "shape": (len(values),)}).encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header + content.tobytes()


def main(wheel_path, ids_path, to):
    with zipfile.ZipFile(wheel_path) as wheel:
        nodes, cites = table(wheel, "cora_nodes.parquet.gzip"), table(wheel, "cora_rels.parquet.gzip")
    with open(ids_path) as stream:
        order = {int(line): number for number, line in enumerate(stream.read().split())}
    papers = dict(zip(nodes["nodeId"].to_pylist(), zip(nodes["subject"].to_pylist(), nodes["features"].to_pylist())))
    if set(papers) != set(order):
        sys.exit("cora.py: the wheel's papers are not those of %s" % ids_path)
    labels, indptr, indices, words = [], [0], [], None
    for paper in order:
        subject, features = papers[paper]
        words = len(features)
        labels.append(CLASS[subject])
        indices += [word for word, there in enumerate(features) if there]
        indptr.append(len(indices))
    neighbours = [set() for _ in order]
    for a, b in zip(cites["sourceNodeId"].to_pylist(), cites["targetNodeId"].to_pylist()):
        if a != b:
            neighbours[order[a]].add(order[b])
            neighbours[order[b]].add(order[a])
    adj_indices = [target for targets in neighbours for target in sorted(targets)]
    adj_indptr = [0]
    for targets in neighbours:
        adj_indptr.append(adj_indptr[-1] + len(targets))
    members = {
        "adj_data": npy([1.0] * len(adj_indices), "f", "<f4"), "adj_indices": npy(adj_indices, "i", "<i4"), "adj_indptr": npy(adj_indptr, "i", "<i4"),
        "adj_shape": npy([len(order)] * 2, "q", "<i8"), "attr_data": npy([1.0] * len(indices), "f", "<f4"), "attr_indices": npy(indices, "i", "<i4"),
        "attr_indptr": npy(indptr, "i", "<i4"), "attr_shape": npy([len(order), words], "q", "<i8"), "labels": npy(labels, "q", "<i8"),
    }
    # Appears whole or not at all, and with the same bytes every time.
    part = to + ".part"
    with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name + ".npy"), content, zipfile.ZIP_DEFLATED)
    os.replace(part, to)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])

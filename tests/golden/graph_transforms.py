"""PyTorch Geometric's numbers for transforms of positions and edges (graph_transforms.safetensors)."""
import torch
from torch_geometric.data import Data
from torch_geometric import transforms

from golden import Family

torch.set_default_dtype(torch.float64)
torch.manual_seed(3)
POS = torch.randn(7, 3)
EDGES = torch.tensor([[0, 1, 2, 3, 3, 4, 5, 6, 2, 0, 0, 1, 5], [1, 0, 3, 2, 4, 3, 6, 5, 2, 4, 1, 3, 0]])
SYMMETRIC = torch.cat([EDGES, EDGES.flip(0)], 1)
FACES = torch.tensor([[0, 1, 4, 0], [1, 2, 5, 1], [2, 3, 6, 3]])

with Family("graph_transforms") as family:
    family.put("pos", POS)
    family.put("edges", EDGES)
    family.put("symmetric", SYMMETRIC)
    family.put("faces", FACES)
    for name, make, dims in (("cartesian", transforms.Cartesian, 3), ("distance", transforms.Distance, 3), ("polar", transforms.Polar, 2), ("spherical", transforms.Spherical, 3)):
        index = EDGES[:, EDGES[0] != EDGES[1]]  # an edge without length has no angle there
        for case, options in (("plain", dict(norm=False)), ("normalised", {}), ("max", dict(max_value=5.0))):
            data = make(cat=False, **options)(Data(pos=POS[:, :dims], edge_index=index))
            family.put(f"{name}/{case}", data.edge_attr)
    family.put("profile", transforms.LocalDegreeProfile()(Data(edge_index=EDGES, num_nodes=7)).x)
    data = transforms.LineGraph(force_directed=True)(Data(edge_index=EDGES, num_nodes=7))
    family.put("line_directed", data.edge_index)
    data = transforms.LineGraph()(Data(edge_index=SYMMETRIC, num_nodes=7))
    family.put("line_undirected", data.edge_index)
    family.put("face_to_edge", transforms.FaceToEdge()(Data(face=FACES, num_nodes=7)).edge_index)
    family.put("normalize_scale", transforms.NormalizeScale()(Data(pos=POS)).pos)
    family.put("extent", transforms.NormalizeRotation(sort=True)(Data(pos=POS)).pos.abs())

"""Golden values of dropout where nothing is random: p = 0 and p = 1."""
import torch.nn.functional as F

from golden import Family, r

with Family("dropout") as f:
    for name, p in (("none", 0.0), ("all", 1.0)):
        x = r(2, 3, 4)
        assert all(F.dropout(x, p).equal(other(x, p, True)) for other in (F.alpha_dropout, F.dropout1d))
        f.case(name, {"x": x}, lambda x: F.dropout(x, p))

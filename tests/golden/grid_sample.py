"""Golden values of grid_sample and affine_grid."""
import torch
import torch.nn.functional as F

from golden import Family, r

with Family("grid_sample") as f:
    def points(*shape):
        """Inside and outside of the image."""
        return torch.randn(*shape, dtype=torch.float32).double() * 0.9

    for mode in ("bilinear", "nearest", "bicubic"):
        for padding in ("zeros", "border", "reflection"):
            for align in (False, True):
                key = f"{mode}_{padding}" + ("_align" if align else "")
                f.case(key, {"x": r(2, 3, 4, 5), "grid": points(2, 3, 4, 2)},
                       lambda x, grid: F.grid_sample(x, grid, mode, padding, align))
    f.case("bilinear_zeros/one", {"x": r(1, 1, 1, 1), "grid": points(1, 3, 5, 2)}, lambda x, grid: F.grid_sample(x, grid, "bilinear", "zeros", False))
    f.case("bilinear_zeros/far", {"x": r(1, 2, 3, 4), "grid": torch.tensor([[[[1e20, 0.2], [0.3, -0.2]]]])},
           lambda x, grid: F.grid_sample(x, grid, "bilinear", "zeros", False))
    f.case("bilinear_3", {"x": r(2, 2, 3, 4, 5), "grid": points(2, 2, 3, 2, 3)}, lambda x, grid: F.grid_sample(x, grid, "bilinear", "zeros", False))
    f.case("nearest_3", {"x": r(2, 2, 3, 4, 5), "grid": points(2, 2, 3, 2, 3)}, lambda x, grid: F.grid_sample(x, grid, "nearest", "border", True))
    f.case("bilinear_3_reflection", {"x": r(2, 2, 3, 4, 5), "grid": points(2, 2, 3, 2, 3)}, lambda x, grid: F.grid_sample(x, grid, "bilinear", "reflection", True))
    f.case("affine_grid", {"theta": r(2, 2, 3)}, lambda theta: F.affine_grid(theta, (2, 1, 3, 4), False))
    f.case("affine_grid_align", {"theta": r(2, 2, 3)}, lambda theta: F.affine_grid(theta, (2, 1, 3, 4), True))
    f.case("affine_grid_3", {"theta": r(2, 3, 4)}, lambda theta: F.affine_grid(theta, (2, 1, 2, 3, 1), False))

// Images read at the points of a grid.
#include "record.hpp"

#include <tenon/ops/grid_sample.hpp>

TENON_OPERATORS(grid_sample) {
    using namespace tenon;
    using namespace operators;
    const auto x = real<4>("x", {8, 16, 28, 28}), grid = real<4>("grid", {8, 28, 28, 2}, -1.1, 1.1);
    using enum GridMode;
    const auto sample = [&](const char* name, const char* golden, GridSampleOptions options) {
        add({.name = name, .golden = golden}, [=](const auto& a, const auto& g) { return tenon::grid_sample(a, g, options); }, x, grid);
    };
    add<halves>({.name = "grid_sample", .golden = "bilinear_zeros"}, [](const auto& a, const auto& g) { return tenon::grid_sample(a, g); }, x, grid);
    sample("grid_sample, align_corners", "bilinear_zeros_align", {.align_corners = true});
    sample("grid_sample, border", "bilinear_border", {.padding = GridPadding::border});
    sample("grid_sample, border, align_corners", "bilinear_border_align", {.padding = GridPadding::border, .align_corners = true});
    sample("grid_sample, reflection", "bilinear_reflection", {.padding = GridPadding::reflection});
    sample("grid_sample, reflection, align_corners", "bilinear_reflection_align", {.padding = GridPadding::reflection, .align_corners = true});
    sample("grid_sample, nearest", "nearest_zeros", {.mode = nearest});
    sample("grid_sample, nearest, align_corners", "nearest_zeros_align", {.mode = nearest, .align_corners = true});
    sample("grid_sample, nearest, border", "nearest_border", {.mode = nearest, .padding = GridPadding::border});
    sample("grid_sample, nearest, border, align_corners", "nearest_border_align", {.mode = nearest, .padding = GridPadding::border, .align_corners = true});
    sample("grid_sample, nearest, reflection", "nearest_reflection", {.mode = nearest, .padding = GridPadding::reflection});
    sample("grid_sample, nearest, reflection, align_corners", "nearest_reflection_align", {.mode = nearest, .padding = GridPadding::reflection, .align_corners = true});
    sample("grid_sample, bicubic", "bicubic_zeros", {.mode = bicubic});
    sample("grid_sample, bicubic, align_corners", "bicubic_zeros_align", {.mode = bicubic, .align_corners = true});
    sample("grid_sample, bicubic, border", "bicubic_border", {.mode = bicubic, .padding = GridPadding::border});
    sample("grid_sample, bicubic, border, align_corners", "bicubic_border_align", {.mode = bicubic, .padding = GridPadding::border, .align_corners = true});
    sample("grid_sample, bicubic, reflection", "bicubic_reflection", {.mode = bicubic, .padding = GridPadding::reflection});
    sample("grid_sample, bicubic, reflection, align_corners", "bicubic_reflection_align", {.mode = bicubic, .padding = GridPadding::reflection, .align_corners = true});
    const auto volume = real<5>("x", {2, 4, 6, 10, 10}), at = real<5>("grid", {2, 5, 8, 8, 3}, -1.1, 1.1);
    add({.name = "grid_sample, three axes", .golden = "bilinear_3"}, [](const auto& a, const auto& g) { return tenon::grid_sample(a, g); }, volume, at);
    add({.name = "grid_sample, three axes, nearest", .golden = "nearest_3"},
        [](const auto& a, const auto& g) { return tenon::grid_sample(a, g, {.mode = nearest, .padding = GridPadding::border, .align_corners = true}); }, volume, at);
    add({.name = "grid_sample, three axes, reflection", .golden = "bilinear_3_reflection"},
        [](const auto& a, const auto& g) { return tenon::grid_sample(a, g, {.padding = GridPadding::reflection, .align_corners = true}); }, volume, at);
    add({.name = "affine_grid<2>", .golden = "affine_grid"}, [](const auto& t) { return affine_grid<2>(t, {3, 4}); }, real<3>("theta", {8, 2, 3}));
    add({.name = "affine_grid<2>, align_corners", .golden = "affine_grid_align"}, [](const auto& t) { return affine_grid<2>(t, {3, 4}, true); }, real<3>("theta", {8, 2, 3}));
    add({.name = "affine_grid<3>", .golden = "affine_grid_3"}, [](const auto& t) { return affine_grid<3>(t, {2, 3, 1}); }, real<3>("theta", {8, 3, 4}));
    add_error("grid_sample", [] { return tenon::grid_sample(zeros<float>({2, 1, 4, 4}), zeros<float>({1, 3, 3, 2})); }, "expected as many images and 2 coordinates");
    add_error("grid_sample", [] { return tenon::grid_sample(zeros<float>({1, 1, 2, 4, 4}), zeros<float>({1, 3, 3, 3, 3}), {.mode = bicubic}); }, "bicubic is for images of two axes");
    add_error("affine_grid", [] { return affine_grid<2>(zeros<float>({1, 3, 3}), {3, 3}); }, "theta is float[1, 3, 3] on cpu, expected [N, 2, 3]");
}

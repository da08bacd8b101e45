// Synthetic point clouds of ten kinds of shapes, to try classifiers of clouds on. Made up, not measured: results on them say nothing of
// ModelNet or other real data.
#pragma once

#include <tenon/graph/transforms/mesh.hpp>
#include <tenon/graph/transforms/position.hpp>
#include <tenon/ops/segment.hpp>

#include <cmath>

namespace tenon::graph {

struct SyntheticShapesOptions {
    long per_class = 40, points = 256;  // clouds of each shape, points of each cloud
    double noise = 0.01;                // standard deviation of every coordinate, in sizes of about 1
    bool rotate = true;                 // around the third axis, by any angle
};
struct SyntheticShapes {
    Tensor<float, 2> pos, normal;        // [clouds points, 3], cloud after cloud; classes take turns
    Segments clouds;
    Tensor<std::int64_t, 1> label;       // [clouds]
};

inline constexpr const char* synthetic_shape_names[] = {"sphere",  "cube",        "cylinder", "cone",  "torus",
                                                        "pyramid", "tetrahedron", "helix",    "cross", "saddle"};
inline constexpr long synthetic_shape_count = 10;

namespace impl_shapes {

struct Mesh {
    std::vector<float> pos;
    std::vector<std::int64_t> faces;  // three of each after the other

    std::int64_t vertex(double x, double y, double z) {
        for (const double c : {x, y, z}) pos.push_back(static_cast<float>(c));
        return static_cast<std::int64_t>(pos.size() / 3) - 1;
    }
    void triangle(std::int64_t a, std::int64_t b, std::int64_t c) {
        for (const std::int64_t v : {a, b, c}) faces.push_back(v);
    }
    // A surface (u, v) -> point over the unit square, in rows x columns pairs of triangles.
    template <class F>
    void surface(long rows, long columns, F&& f) {
        const std::int64_t first = static_cast<std::int64_t>(pos.size() / 3);
        for (long i = 0; i <= rows; ++i)
            for (long j = 0; j <= columns; ++j) {
                double p[3];
                f(static_cast<double>(i) / static_cast<double>(rows), static_cast<double>(j) / static_cast<double>(columns), p);
                vertex(p[0], p[1], p[2]);
            }
        for (long i = 0; i < rows; ++i)
            for (long j = 0; j < columns; ++j) {
                const std::int64_t a = first + i * (columns + 1) + j, b = a + columns + 1;
                triangle(a, b, a + 1);
                triangle(a + 1, b, b + 1);
            }
    }
    void disc(double radius, double z) {
        surface(1, 32, [&](double u, double v, double* p) {
            p[0] = radius * u * std::cos(turn * v), p[1] = radius * u * std::sin(turn * v), p[2] = z;
        });
    }
    void box(double x, double y, double z) {
        for (int axis = 0; axis < 3; ++axis)
            for (const double side : {-1.0, 1.0})
                surface(1, 1, [&](double u, double v, double* p) {
                    const double half[3] = {x, y, z};
                    p[axis] = side * half[axis];
                    p[(axis + 1) % 3] = half[(axis + 1) % 3] * (2 * u - 1);
                    p[(axis + 2) % 3] = half[(axis + 2) % 3] * (2 * v - 1);
                });
    }
    static constexpr double turn = 6.283185307179586;
};

// One shape with proportions of its own; draw() gives numbers in [0, 1).
template <class F>
Mesh shape(long kind, F&& draw) {
    Mesh m;
    const auto between = [&](double low, double high) { return low + (high - low) * draw(); };
    constexpr double turn = Mesh::turn;
    switch (kind) {
        case 0: {
            const double z = between(0.8, 1.2);
            m.surface(24, 32, [&](double u, double v, double* p) {
                p[0] = std::sin(turn / 2 * u) * std::cos(turn * v), p[1] = std::sin(turn / 2 * u) * std::sin(turn * v),
                p[2] = z * std::cos(turn / 2 * u);
            });
            break;
        }
        case 1: {
            const double x = between(0.7, 1.2), y = between(0.7, 1.2);
            m.box(x, y, 1);
            break;
        }
        case 2: {
            const double r = between(0.4, 0.8);
            m.surface(1, 32, [&](double u, double v, double* p) {
                p[0] = r * std::cos(turn * v), p[1] = r * std::sin(turn * v), p[2] = 2 * u - 1;
            });
            m.disc(r, -1);
            m.disc(r, 1);
            break;
        }
        case 3: {
            const double r = between(0.6, 1);
            m.surface(1, 32, [&](double u, double v, double* p) {
                p[0] = r * (1 - u) * std::cos(turn * v), p[1] = r * (1 - u) * std::sin(turn * v), p[2] = 2 * u - 1;
            });
            m.disc(r, -1);
            break;
        }
        case 4: {
            const double r = between(0.2, 0.4);
            m.surface(32, 16, [&](double u, double v, double* p) {
                const double away = 1 + r * std::cos(turn * v);
                p[0] = away * std::cos(turn * u), p[1] = away * std::sin(turn * u), p[2] = r * std::sin(turn * v);
            });
            break;
        }
        case 5: {
            const double side = between(0.7, 1);
            const std::int64_t top = m.vertex(0, 0, 1), a = m.vertex(-side, -side, -1), b = m.vertex(side, -side, -1),
                               c = m.vertex(side, side, -1), d = m.vertex(-side, side, -1);
            m.triangle(a, b, top), m.triangle(b, c, top), m.triangle(c, d, top), m.triangle(d, a, top), m.triangle(a, c, b),
                m.triangle(a, d, c);
            break;
        }
        case 6: {
            const double s = between(0.8, 1.1);
            const std::int64_t a = m.vertex(s, s, s), b = m.vertex(-s, -s, s), c = m.vertex(-s, s, -s), d = m.vertex(s, -s, -s);
            m.triangle(a, c, b), m.triangle(a, b, d), m.triangle(a, d, c), m.triangle(b, c, d);
            break;
        }
        case 7: {
            const double r = between(0.12, 0.2), turns = between(1.8, 2.6);
            m.surface(96, 8, [&](double u, double v, double* p) {
                const double at = turn * turns * u, away = 0.8 + r * std::cos(turn * v);
                p[0] = away * std::cos(at), p[1] = away * std::sin(at), p[2] = 2 * u - 1 + r * std::sin(turn * v);
            });
            break;
        }
        case 8: {
            const double thick = between(0.15, 0.25);
            m.box(1, thick, thick);
            m.box(thick, 1, thick);
            m.box(thick, thick, 1);
            break;
        }
        default: {
            const double bend = between(0.5, 0.9);
            m.surface(16, 16, [&](double u, double v, double* p) {
                p[0] = 2 * u - 1, p[1] = 2 * v - 1, p[2] = bend * (p[0] * p[0] - p[1] * p[1]);
            });
            break;
        }
    }
    return m;
}

}  // namespace impl_shapes

// synthetic_shapes(key, {.per_class = 40, .points = 256}): for each of the ten shapes so many clouds of points on a surface of random
// proportions, turned, with noise, scaled by normalize_scale. Cloud i has shape i % 10 and depends on (key, i) alone. Throws ValueError.
[[nodiscard]] inline SyntheticShapes synthetic_shapes(Key key, SyntheticShapesOptions options = {}) {
    if (options.per_class < 0 || options.points < 1)
        fail<ValueError>("synthetic_shapes: ", options.per_class, " clouds of ", options.points,
                         " points per class, expected 0 or more and 1 or more");
    const long clouds = synthetic_shape_count * options.per_class;
    SyntheticShapes s{
        empty<float>({clouds * options.points, 3}), empty<float>({clouds * options.points, 3}), {}, empty<std::int64_t>({clouds})};
    Tensor<std::int64_t, 1> pointers = empty<std::int64_t>({clouds + 1});
    for (long i = 0; i < clouds; ++i) {
        const Key own = key.split(static_cast<std::uint64_t>(i));
        std::uint64_t drawn = 0;
        const impl_shapes::Mesh mesh =
            impl_shapes::shape(i % synthetic_shape_count, [&] { return unit_double(random_word64(own.split(0), drawn++)); });
        const Tensor<float, 2> vertices = from<float>({mesh.pos.size() / 3, 3}, mesh.pos.data());
        const Tensor<std::int64_t, 2> faces = contiguous(from<std::int64_t>({mesh.faces.size() / 3, 3}, mesh.faces.data()).transpose());
        const auto points = sample_points(vertices, faces, options.points, own.split(1));
        Tensor<float, 2> pos = points.pos + randn<float>({options.points, 3}, own.split(2)) * static_cast<float>(options.noise),
                         normal = points.normal;
        if (options.rotate) {
            pos = random_rotate(pos, {0, 360}, 2, own.split(3));
            normal = random_rotate(normal, {0, 360}, 2, own.split(3));
        }
        s.pos(slice(i * options.points, (i + 1) * options.points), all) = normalize_scale(pos);
        s.normal(slice(i * options.points, (i + 1) * options.points), all) = normal;
        s.label.data()[i] = i % synthetic_shape_count;
        pointers.data()[i] = i * options.points;
    }
    pointers.data()[clouds] = clouds * options.points;
    s.clouds = Segments::from_pointers(pointers);
    return s;
}

}  // namespace tenon::graph

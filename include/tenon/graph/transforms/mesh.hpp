// Triangle meshes: vertices pos [n, 3] and faces int64 [3, M], one triangle per column, as PyTorch Geometric has them.
#pragma once

#include <tenon/base/philox.hpp>
#include <tenon/graph/transforms/structure.hpp>
#include <tenon/ops/copy.hpp>

#include <algorithm>
#include <vector>

namespace tenon::graph {

namespace impl_mesh {

inline Tensor<std::int64_t, 2> host_faces(const char* operation, const Tensor<std::int64_t, 2>& given, long vertices) {
    if (given.shape(0) != 3) fail<ShapeError>(operation, ": the faces are ", given.record()->description(), ", expected [3, faces]");
    const Tensor<std::int64_t, 2> faces = contiguous(given.to(cpu));
    for (long k = 0; k < faces.size(); ++k)
        if (faces.data()[k] < 0 || faces.data()[k] >= vertices)
            fail<IndexError>(operation, ": face ", k % faces.shape(1), " names vertex ", static_cast<long>(faces.data()[k]),
                             ", but there are ", vertices, ", counted from 0");
    return faces;
}

}  // namespace impl_mesh

// face_to_edge(faces, nodes): the sides of the triangles as a graph: both directions, every pair once, sorted by (source, target). On
// the host. Throws ShapeError, IndexError.
[[nodiscard]] inline Graph face_to_edge(const Tensor<std::int64_t, 2>& given, long nodes) {
    const Tensor<std::int64_t, 2> faces = impl_mesh::host_faces("face_to_edge", given, nodes);
    const long count = faces.shape(1);
    std::vector<std::int64_t> pairs;
    for (long f = 0; f < count; ++f)
        for (long k = 0; k < 3; ++k) {
            const std::int64_t a = faces.data()[k * count + f], b = faces.data()[(k + 1) % 3 * count + f];
            pairs.push_back(a * nodes + b);
            pairs.push_back(b * nodes + a);
        }
    return impl_structure::graph_of(pairs, nodes, given.device());
}

template <class T>
struct SurfacePoints {
    Tensor<T, 2> pos, normal;         // [count, 3]; normals of length 1, by the right-hand rule (0 on a triangle without area)
    Tensor<std::int64_t, 1> face;     // [count]: the triangle that each is on
};

// sample_points(pos, faces, count, key): points on the surface, uniform by area: a triangle in proportion to its area, then a place in
// it. Point i depends on (key, i) alone. On the host. Throws ShapeError, IndexError, and ValueError where the surface has no (finite) area.
template <class T>
[[nodiscard]] SurfacePoints<T> sample_points(const Tensor<T, 2>& given, const Tensor<std::int64_t, 2>& given_faces, long count, Key key) {
    if (given.shape(1) != 3)
        fail<ShapeError>("sample_points: the vertices are ", given.record()->description(), ", expected [vertices, 3]");
    if (count < 0) fail<ValueError>("sample_points: ", count, " points, expected 0 or more");
    const Tensor<T, 2> pos = contiguous(given.detach().to(cpu));
    const Tensor<std::int64_t, 2> faces = impl_mesh::host_faces("sample_points", given_faces, pos.shape(0));
    const long many = faces.shape(1);
    struct Side { double v[3]; };
    const auto corner = [&](long face, long k) { return static_cast<const T*>(pos.data()) + 3 * faces.data()[k * many + face]; };
    const auto side = [&](long face, long k) {
        Side s;
        for (int d = 0; d < 3; ++d) s.v[d] = static_cast<double>(corner(face, k)[d]) - static_cast<double>(corner(face, 0)[d]);
        return s;
    };
    const auto cross = [](const Side& a, const Side& b) {
        return Side{{a.v[1] * b.v[2] - a.v[2] * b.v[1], a.v[2] * b.v[0] - a.v[0] * b.v[2], a.v[0] * b.v[1] - a.v[1] * b.v[0]}};
    };
    const auto length = [](const Side& s) { return __builtin_sqrt(s.v[0] * s.v[0] + s.v[1] * s.v[1] + s.v[2] * s.v[2]); };
    std::vector<double> until(static_cast<std::size_t>(many));
    double total = 0;
    for (long f = 0; f < many; ++f) until[static_cast<std::size_t>(f)] = total += length(cross(side(f, 1), side(f, 2)));
    if (count > 0 && !(total > 0 && total < __builtin_inf()))
        fail<ValueError>("sample_points: the surface's area is ", total / 2, ", expected a positive, finite one");
    SurfacePoints<T> result{empty<T>({count, 3}), empty<T>({count, 3}), empty<std::int64_t>({count})};
    for (long i = 0; i < count; ++i) {
        const std::uint64_t draw = 3 * static_cast<std::uint64_t>(i);
        const double at = unit_double(random_word64(key, draw)) * total;
        const long face = std::min(many - 1, static_cast<long>(std::upper_bound(until.begin(), until.end(), at) - until.begin()));
        double u = unit_double(random_word64(key, draw + 1)), v = unit_double(random_word64(key, draw + 2));
        if (u + v > 1) u = 1 - u, v = 1 - v;  // the other half of the parallelogram, turned in
        const Side a = side(face, 1), b = side(face, 2), n = cross(a, b);
        const double size = length(n);
        for (int d = 0; d < 3; ++d) {
            result.pos.data()[3 * i + d] = static_cast<T>(static_cast<double>(corner(face, 0)[d]) + u * a.v[d] + v * b.v[d]);
            result.normal.data()[3 * i + d] = static_cast<T>(size > 0 ? n.v[d] / size : 0);
        }
        result.face.data()[i] = face;
    }
    const Device device = given.device();
    return {result.pos.to(device), result.normal.to(device), result.face.to(device)};
}

}  // namespace tenon::graph

// Meshes in the Object File Format, as ModelNet has them (Wu et al., "3D ShapeNets", CVPR 2015). Needs zlib (-lz).
#pragma once

#include <tenon/graph/data.hpp>
#include <tenon/graph/io/line_reader.hpp>

namespace tenon::graph {

// "OFF" (in some of ModelNet's files glued to what follows), the numbers of vertices, faces and edges, a line per vertex, a line per
// face: how many corners, and which vertices. pos [V, 3], face [3, M]; a face with more corners becomes a fan of triangles; colours
// behind them are left out, and so are comments (#). No edges: face_to_edge makes them. Throws FileError with the line.
inline GraphData<> read_off(const std::string& path) {
    constexpr const char* operation = "read_off";
    graph_detail::LineReader lines(operation, path, ' ');
    const auto next = [&](const char* what) {
        do {
            if (!lines.next_filled()) lines.truncated(what);
        } while (lines.comment());
    };
    next("OFF");
    lines.drop_prefix("OFF");
    if (lines.at_end()) next("the numbers of vertices and faces");
    const long vertices = lines.integer("a number of vertices"), faces = lines.integer("a number of faces");
    if (!lines.at_end()) static_cast<void>(lines.integer("a number of edges"));
    lines.end();
    if (vertices < 0 || faces < 0) lines.broken("a negative number of vertices or faces");
    std::vector<float> pos;
    std::vector<std::int64_t> a, b, c;
    for (long i = 0; i < vertices; ++i) {
        next("another vertex");
        for (int axis = 0; axis < 3; ++axis) pos.push_back(lines.real("a coordinate"));
    }
    std::vector<std::int64_t> corners;
    for (long i = 0; i < faces; ++i) {
        next("another face");
        const long count = lines.integer("a number of corners");
        if (count < 3) lines.broken("a face with fewer than three corners");
        corners.clear();
        for (long k = 0; k < count; ++k) {
            corners.push_back(lines.integer("a vertex"));
            if (corners.back() < 0 || corners.back() >= vertices) lines.broken("a face with a vertex that is not there");
        }
        for (std::size_t k = 2; k < corners.size(); ++k) a.push_back(corners[0]), b.push_back(corners[k - 1]), c.push_back(corners[k]);
    }
    if (lines.next_filled()) lines.broken("the file goes on behind its last face");
    GraphData<> data;
    data.nodes = vertices;
    data.edge_index = empty<std::int64_t>({2, 0});
    data.pos = graph_detail::matrix_of(pos, 3);
    const long count = static_cast<long>(a.size());
    data.face = empty<std::int64_t>({3, count});
    for (long k = 0; k < count; ++k) {
        const std::size_t i = static_cast<std::size_t>(k);
        data.face.data()[k] = a[i], data.face.data()[count + k] = b[i], data.face.data()[2 * count + k] = c[i];
    }
    return data;
}

}  // namespace tenon::graph

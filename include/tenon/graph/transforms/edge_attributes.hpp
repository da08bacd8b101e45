// What edges say of where their ends lie: relative coordinates, Cartesian, polar or spherical, and the distance. For layers that weight
// messages by them (GMMConv, SplineConv, NNConv). Differentiable in pos; the scale counts as a constant.
#pragma once

#include <tenon/graph/graph.hpp>
#include <tenon/ops/concat.hpp>
#include <tenon/ops/index.hpp>
#include <tenon/ops/norm.hpp>
#include <tenon/ops/reduce.hpp>

namespace tenon::graph {

struct EdgeAttributeOptions {
    bool normalize = true;  // into [low, high]
    double max = 0;         // the largest value that is expected; 0: the largest there is
    double low = 0, high = 1;  // of cartesian and edge_distance
};

namespace impl_edges {

template <class T>
Tensor<T, 2> ends(const char* operation, const Tensor<T, 2>& pos, const Graph& g, int row, long dims = -1) {
    if (g.nodes() != pos.shape(0)) fail<ShapeError>(operation, ": ", pos.record()->description(), " for a graph of ", g.nodes(), " nodes");
    if (dims >= 0 && pos.shape(1) != dims)
        fail<ShapeError>(operation, ": ", pos.record()->description(), ", expected points in ", dims, " dimensions");
    return index_select<0>(pos, contiguous(g.edge_index()(row, all)));
}
// 1 / the largest magnitude (1 where all is 0), or that of the options. The host does not wait for it.
template <class T>
Tensor<T, 0> scale_of(const Tensor<T, 2>& x, const EdgeAttributeOptions& o) {
    if (o.max > 0 || x.size() == 0) return full<T>({}, o.max > 0 ? static_cast<T>(1 / o.max) : T(1), x.device());
    const no_grad guard;
    const Tensor<T, 0> most = amax(abs(x.detach()));
    return where(most > T(0), T(1) / most, T(1));
}
template <class T>
Tensor<T, 2> angle(const Tensor<T, 2>& away) {
    const Tensor<T, 2> theta = atan2(away(all, slice(1, 2)), away(all, slice(0, 1)));
    return where(theta < T(0), theta + T(6.283185307179586), theta);
}

}  // namespace impl_edges

// cartesian(pos, g): source less target, [edges, dims]; normalised: from -max .. max to low .. high.
template <class T>
[[nodiscard]] Tensor<T, 2> cartesian(const Tensor<T, 2>& pos, const Graph& g, EdgeAttributeOptions o = {}) {
    const Tensor<T, 2> away = impl_edges::ends("cartesian", pos, g, 0) - impl_edges::ends("cartesian", pos, g, 1);
    if (!o.normalize) return away;
    return away * (impl_edges::scale_of(away, o) * static_cast<T>((o.high - o.low) / 2)) + static_cast<T>((o.low + o.high) / 2);
}
// edge_distance(pos, g): the length of each edge, [edges, 1]; normalised: from 0 .. max to low .. high. Derivative 0 at length 0.
template <class T>
[[nodiscard]] Tensor<T, 2> edge_distance(const Tensor<T, 2>& pos, const Graph& g, EdgeAttributeOptions o = {}) {
    const Tensor<T, 2> length =
        norm<1>(impl_edges::ends("edge_distance", pos, g, 1) - impl_edges::ends("edge_distance", pos, g, 0), keepdim);
    if (!o.normalize) return length;
    return length * (impl_edges::scale_of(length, o) * static_cast<T>(o.high - o.low)) + static_cast<T>(o.low);
}
// polar(pos, g): of target less source, in the plane: length and angle in [0, 2 pi), [edges, 2]; normalised: length / max, angle / 2 pi.
template <class T>
[[nodiscard]] Tensor<T, 2> polar(const Tensor<T, 2>& pos, const Graph& g, EdgeAttributeOptions o = {}) {
    const Tensor<T, 2> away = impl_edges::ends("polar", pos, g, 1, 2) - impl_edges::ends("polar", pos, g, 0);
    const Tensor<T, 2> length = norm<1>(away, keepdim), theta = impl_edges::angle(away);
    if (!o.normalize) return concat<1>(length, theta);
    return concat<1>(length * impl_edges::scale_of(length, o), theta * T(0.15915494309189535));
}
// spherical(pos, g): of target less source, in space: length, azimuth in [0, 2 pi), angle to the third axis in [0, pi], [edges, 3];
// normalised: length / max, angles / 2 pi and / pi. The angles of an edge without length are 0 and pi / 2.
template <class T>
[[nodiscard]] Tensor<T, 2> spherical(const Tensor<T, 2>& pos, const Graph& g, EdgeAttributeOptions o = {}) {
    const Tensor<T, 2> away = impl_edges::ends("spherical", pos, g, 1, 3) - impl_edges::ends("spherical", pos, g, 0);
    const Tensor<T, 2> length = norm<1>(away, keepdim), theta = impl_edges::angle(away);
    const Tensor<T, 2> phi = acos(away(all, slice(2, 3)) / where(length > T(0), length, T(1)));
    if (!o.normalize) return concat<1>(length, theta, phi);
    return concat<1>(length * impl_edges::scale_of(length, o), theta * T(0.15915494309189535), phi * T(0.3183098861837907));
}

}  // namespace tenon::graph

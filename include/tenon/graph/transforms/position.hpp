// Moving points: scale, rotation, reflection, noise. One cloud at a time, pos [n, dims]; differentiable in pos.
#pragma once

#include <tenon/ops/copy.hpp>
#include <tenon/ops/extreme.hpp>
#include <tenon/ops/linalg/eigh.hpp>
#include <tenon/ops/linalg/lu.hpp>
#include <tenon/ops/matmul.hpp>
#include <tenon/ops/norm.hpp>
#include <tenon/ops/random.hpp>
#include <tenon/ops/reduce.hpp>

namespace tenon::graph {

// centered(pos): less the mean.
template <class T>
[[nodiscard]] Tensor<T, 2> centered(const Tensor<T, 2>& pos) {
    return pos - mean<0>(pos, keepdim);
}
// normalize_scale(pos): centred, then scaled so that all coordinates are within (-1, 1): the largest is 0.999999 (points that are all
// one stay at 0).
template <class T>
[[nodiscard]] Tensor<T, 2> normalize_scale(const Tensor<T, 2>& pos) {
    if (pos.shape(0) == 0) return pos;
    const Tensor<T, 2> away = centered(pos);
    const Tensor<T, 0> largest = amax(abs(away));
    return away * (T(0.999999) / where(largest > T(0), largest, T(1)));
}
// linear_transformation(pos, matrix): every point p becomes matrix p. Throws ShapeError.
template <class T>
[[nodiscard]] Tensor<T, 2> linear_transformation(const Tensor<T, 2>& pos, const Tensor<T, 2>& matrix) {
    return matmul(pos, matrix.transpose());
}
namespace impl_position {

inline void check_axis(const char* operation, long axis, long dims) {
    if (axis < 0 || axis >= dims) fail<IndexError>(operation, ": axis ", axis, " of points in ", dims, " dimensions");
}

// Rows: the directions of largest, second largest, .. extent of points on the host, as a rotation.
inline Tensor<double, 2> main_axes(const Tensor<double, 2>& pos) {
    const no_grad guard;
    const long dims = pos.shape(1);
    const Tensor<double, 2> away = centered(pos);
    const Tensor<double, 2> vectors = contiguous(eigh(Tensor<double, 2>(matmul(away.transpose(), away))).vectors);
    Tensor<double, 2> axes = empty<double>({dims, dims});
    for (long r = 0; r < dims; ++r) {
        double* const own = axes.data() + r * dims;
        long at = 0;
        for (long d = 0; d < dims; ++d) {
            own[d] = vectors.data()[d * dims + dims - 1 - r];
            if (__builtin_fabs(own[d]) > __builtin_fabs(own[at])) at = d;
        }
        if (own[at] < 0)
            for (long d = 0; d < dims; ++d) own[d] = -own[d];
    }
    if (det(axes).item() < 0)
        for (long d = 0; d < dims; ++d) axes.data()[(dims - 1) * dims + d] = -axes.data()[(dims - 1) * dims + d];
    return axes;
}

}  // namespace impl_position

// normalize_rotation(pos): turned (never mirrored) so that the directions of largest, second largest, .. extent are the axes: the
// eigenvectors of the centred points' covariance, each with its largest entry positive, the last one chosen for a rotation. The turn is
// about the origin, and counts as a constant.
template <class T>
[[nodiscard]] Tensor<T, 2> normalize_rotation(const Tensor<T, 2>& pos) {
    if (pos.size() == 0) return pos;
    const Tensor<double, 2> axes = impl_position::main_axes(Tensor<double, 2>(cast<double>(pos.detach().to(cpu))));
    return linear_transformation(pos, Tensor<T, 2>(cast<T>(axes)).to(pos.device()));
}

// random_flip(pos, axis, key, p): the coordinate changes its sign with probability p. Throws IndexError, ValueError.
template <class T>
[[nodiscard]] Tensor<T, 2> random_flip(const Tensor<T, 2>& pos, long axis, Key key, double p = 0.5) {
    impl_position::check_axis("random_flip", axis, pos.shape(1));
    if (!(p >= 0 && p <= 1)) fail<ValueError>("random_flip: probability ", p, ", expected 0 to 1");
    if (random_word(key, 0) >= bernoulli_threshold(p)) return pos;
    Tensor<T, 1> signs = ones<T>({pos.shape(1)});
    signs.data()[axis] = T(-1);
    return pos * signs.to(pos.device());
}
// random_rotate(pos, {low, high}, axis, key): turned by an angle in degrees, uniform in the range: in the plane, or in space around an
// axis. Throws ShapeError for other dimensions, IndexError.
template <class T>
[[nodiscard]] Tensor<T, 2> random_rotate(const Tensor<T, 2>& pos, Range degrees, long axis, Key key) {
    const long dims = pos.shape(1);
    if (dims != 2 && dims != 3) fail<ShapeError>("random_rotate: ", pos.record()->description(), ", expected points in 2 or 3 dimensions");
    if (dims == 3) impl_position::check_axis("random_rotate", axis, 3);
    const double angle = 0.017453292519943295 * (degrees.low + (degrees.high - degrees.low) * unit_double(random_word64(key, 0)));
    const double s = __builtin_sin(angle), c = __builtin_cos(angle);
    Tensor<T, 2> matrix = eye<T>(dims);
    // The two axes that turn, from the first to the second as PyTorch Geometric turns.
    const long a = dims == 2 ? 0 : axis == 0 ? 1 : 0, b = dims == 2 ? 1 : axis == 2 ? 1 : 2;
    const double sign = dims == 3 && axis == 1 ? -1 : 1;
    matrix.data()[a * dims + a] = matrix.data()[b * dims + b] = static_cast<T>(c);
    matrix.data()[a * dims + b] = static_cast<T>(sign * s);
    matrix.data()[b * dims + a] = static_cast<T>(-sign * s);
    return linear_transformation(pos, matrix.to(pos.device()));
}
// random_scale(pos, {low, high}, key): all coordinates times one factor.
template <class T>
[[nodiscard]] Tensor<T, 2> random_scale(const Tensor<T, 2>& pos, Range factors, Key key) {
    return pos * static_cast<T>(factors.low + (factors.high - factors.low) * unit_double(random_word64(key, 0)));
}
// random_shear(pos, shear, key): times a matrix with ones on the diagonal and uniform numbers in +-shear beside it.
template <class T>
[[nodiscard]] Tensor<T, 2> random_shear(const Tensor<T, 2>& pos, double shear, Key key) {
    const long dims = pos.shape(1);
    if (!(shear >= 0)) fail<ValueError>("random_shear: shear is ", shear, ", expected 0 or more");
    const Tensor<T, 2> matrix = uniform<T>({dims, dims}, key, {-shear, shear});
    for (long d = 0; d < dims; ++d) matrix.data()[d * dims + d] = T(1);
    return linear_transformation(pos, matrix.to(pos.device()));
}
// random_translate(pos, width, key): every coordinate moves by its own uniform number in +-width.
template <class T>
[[nodiscard]] Tensor<T, 2> random_translate(const Tensor<T, 2>& pos, double width, Key key) {
    if (!(width >= 0)) fail<ValueError>("random_translate: the width is ", width, ", expected 0 or more");
    return pos + uniform<T>(pos.shape(), key, {-width, width}, pos.device());
}

}  // namespace tenon::graph

// Spatial transformers: images read at the points of a grid, and grids from affine maps.
#pragma once

#include <tenon/core/factories.hpp>
#include <tenon/kernels/cpu/grid_sample.hpp>
#include <tenon/ops/layer_norm.hpp>
#include <tenon/ops/matmul.hpp>
#include <tenon/ops/spatial.hpp>
#if TENON_CUDA
#include <tenon/kernels/cuda/grid_sample.cuh>
#endif

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {

struct GridSampleOptions {
    GridMode mode = GridMode::bilinear;
    GridPadding padding = GridPadding::zeros;
    bool align_corners = false;
};

namespace impl {

template <class T>
class GridSampleNode final : public detail::OperationNode<2> {
public:
    GridSampleNode(detail::Record* x, detail::Record* grid, const kernels::cpu::GridShape& shape) : OperationNode("grid_sample"), shape_(shape) {
        set_input(0, x);
        set_input(1, grid);
        if (wanted(1)) x_.save(x);
        grid_.save(grid);
    }
    const void* kind() const noexcept override { return &detail::node_kind<GridSampleNode>; }
    void release_saved() noexcept override { x_.tensor = grid_.tensor = detail::AnyTensor(); }
    void backward() override {
        const detail::Record* grid = grid_.check(name);
        const Device device = grid->storage->device;
        const T *at = reinterpret_cast<const T*>(grid->data()), *dy = reinterpret_cast<const T*>(gradient()->data());
        const OptionalTarget<T> dx(edges_[0]);
        if (dx.data != nullptr) TENON_RUN(device, grid_sample_backward_input(shape_, at, dy, dx.data, dx.add));
        if (!wanted(1)) return;
        const T* x = reinterpret_cast<const T*>(x_.check(name)->data());
        const OptionalTarget<T> dgrid(edges_[1]);
        TENON_RUN(device, grid_sample_backward_grid(shape_, x, at, dy, dgrid.data, dgrid.add));
    }

private:
    detail::Saved x_, grid_;
    kernels::cpu::GridShape shape_;
};

}  // namespace impl

// grid_sample(x, grid): x [N, C, H, W] at the points of grid [N, H2, W2, 2]: [N, C, H2, W2]; or x [N, C, D, H, W] and grid [N, D2,
// H2, W2, 3]. A point is (x, y) or (x, y, z), from -1 to 1 across the image. As PyTorch; bicubic for two axes. A point that is not
// finite lies outside of the image. Throws ShapeError,
// ValueError. Derivatives of x and of grid (0 for nearest), sums in a fixed order.
template <Expression X, Expression G>
[[nodiscard]] auto grid_sample(X&& e, G&& g, GridSampleOptions options = {}) {
    const auto x = contiguous(impl::as_tensor(static_cast<X&&>(e)));
    const auto grid = contiguous(impl::as_tensor(static_cast<G&&>(g)));
    using In = std::remove_const_t<decltype(x)>;
    using T = typename In::Scalar;
    static_assert(Floating<T>, "tenon: grid_sample: the input must be floating-point: write cast<float>(x) first");
    static_assert(In::rank == 4 || In::rank == 5, "tenon: grid_sample: the input must be [N, C, H, W] or [N, C, D, H, W]");
    static_assert(std::is_same_v<std::remove_const_t<decltype(grid)>, In>, "tenon: grid_sample: the grid must have the input's element type and rank");
    impl::check_device("grid_sample", x.device());
    constexpr int axes = In::rank - 2;
    if (!(grid.device() == x.device())) impl::fail_devices("grid_sample", x.device(), grid.device());
    if (grid.shape(0) != x.shape(0) || grid.shape(In::rank - 1) != axes)
        fail<ShapeError>("grid_sample: the grid is ", grid.record()->description(), ", the input is ", x.record()->description(), ": expected as many images and ", axes,
                         " coordinates (last axis)");
    if (axes == 3 && options.mode == GridMode::bicubic) fail<ValueError>("grid_sample: bicubic is for images of two axes, the input is ", x.record()->description());
    kernels::cpu::GridShape shape;
    shape.n = x.shape(0);
    shape.c = x.shape(1);
    shape.axes = axes;
    shape.points = 1;
    long dims[In::rank] = {x.shape(0), x.shape(1)};
    for (int i = 0; i < axes; ++i) {
        shape.size[3 - axes + i] = x.shape(2 + i);
        shape.points *= dims[2 + i] = grid.shape(1 + i);
        if (x.shape(2 + i) < 1) fail<ShapeError>("grid_sample: axis ", 2 + i, " of ", x.record()->description(), " has no elements");
    }
    if (shape.plane() > 0x7fffffffl) fail<ShapeError>("grid_sample: more than 2^31 elements in a channel of ", x.record()->description());
    shape.mode = options.mode;
    shape.padding = options.padding;
    shape.align_corners = options.align_corners;
    In y(detail::AnyTensor(detail::new_record(dtype_of<T>, In::rank, dims, x.device(), "grid_sample")));
    TENON_RUN(x.device(), grid_sample(shape, static_cast<const T*>(x.data()), static_cast<const T*>(grid.data()), y.data()));
    if (detail::wants_gradient(x.record()) || detail::wants_gradient(grid.record()))
        detail::make_node<impl::GridSampleNode<T>>(x.record(), grid.record(), shape)->set_result(y.record());
    return y;
}

// affine_grid<2>(theta, {H, W}): the grid [N, H, W, 2] of theta [N, 2, 3] times (x, y, 1) over the points of an image; or [N, D, H, W, 3]
// of affine_grid<3>, theta [N, 3, 4] and {D, H, W}. Throws ShapeError. Derivative of theta.
template <int D, class T>
[[nodiscard]] Tensor<T, D + 2> affine_grid(const Tensor<T, 3>& theta, PerAxis<D> size, bool align_corners = false) {
    static_assert(D == 2 || D == 3, "tenon: affine_grid<D>: grids have two or three axes");
    if (theta.shape(1) != D || theta.shape(2) != D + 1)
        fail<ShapeError>("affine_grid: theta is ", theta.record()->description(), ", expected [N, ", D, ", ", D + 1, "]");
    long points = 1, dims[max_rank] = {theta.shape(0)};
    for (int i = 0; i < D; ++i) {
        if (size[i] < 1) fail<ShapeError>("affine_grid: size ", size[i], ", expected at least 1");
        points *= dims[1 + i] = size[i];
    }
    dims[D + 1] = D;
    Tensor<T, 2> base = empty<T>({points, D + 1});
    for (long p = 0; p < points; ++p) {
        long rest = p;
        for (int i = D - 1; i >= 0; --i) {
            const double n = static_cast<double>(size[i]), at = static_cast<double>(rest % size[i]);
            rest /= size[i];
            const double v = size[i] == 1 ? 0 : align_corners ? 2 * at / (n - 1) - 1 : (2 * at + 1) / n - 1;
            base.data()[p * (D + 1) + D - 1 - i] = static_cast<T>(static_cast<kernels::cpu::accumulator<T>>(v));
        }
        base.data()[p * (D + 1) + D] = static_cast<T>(1.f);
    }
    const Tensor<T, 3> grid = eval(matmul(base.to(theta.device()), theta.template transpose<1, 2>()));
    return Tensor<T, D + 2>(detail::reshape_any(grid.record(), D + 2, dims));
}

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

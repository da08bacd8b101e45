// Convolution of points after a learned transformation of their neighbourhoods (Li et al., "PointCNN", NeurIPS 2018).
#pragma once

#include <tenon/graph/conv/common.hpp>
#include <tenon/graph/points/knn.hpp>
#include <tenon/nn/context.hpp>
#include <tenon/nn/conv.hpp>
#include <tenon/nn/norm.hpp>
#include <tenon/ops/concat.hpp>
#include <tenon/ops/einsum.hpp>

namespace tenon::graph {

struct XConvOptions {
    long hidden = 0;    // features that a neighbour's position is lifted to; 0: in / 4
    long dilation = 1;  // of the kernel * dilation nearest points every dilation-th is taken
};

// Of every point the K nearest of its cloud, itself included, with positions P relative to it: y = conv(F' T), F = [mlp1(P), x_j]
// [K, hidden + in], T = mlp2(all of P) a K x K matrix. mlp1: twice linear, ELU, batch norm; mlp2: linear, ELU, batch norm, convolution
// of each row with K filters, ELU, batch norm, the same convolution again, batch norm; conv: each feature's K values to
// ceil(out / (hidden + in)) numbers, then linear. All begin with PyTorch's defaults and have PyTorch Geometric's names.
// layer(x, pos, clouds) is inference, layer(x, pos, context, clouds) normalises by the batch while context.training. x [points, in], or
// with in = 0 an empty handle; pos [points, dim]; every cloud needs K * dilation points. Throws ShapeError, ValueError. Derivatives of x,
// pos and the weights; none of the choice of the neighbours.
template <class T = float>
struct XConv {
    struct Lift {
        nn::Linear<T> first, second;
        nn::BatchNorm1d<T> first_norm, second_norm;
        static void visit(auto& self, auto&& f) {
            f("0", self.first);
            f("2", self.first_norm);
            f("3", self.second);
            f("5", self.second_norm);
        }
    };
    struct Transform {
        nn::Linear<T> lin;
        nn::Conv1d<T> first, second;
        nn::BatchNorm1d<T> norm, first_norm, second_norm;
        static void visit(auto& self, auto&& f) {
            f("0", self.lin);
            f("2", self.norm);
            f("4", self.first);
            f("6", self.first_norm);
            f("8", self.second);
            f("9", self.second_norm);
        }
    };
    struct Filter {
        nn::Conv1d<T> depthwise;
        nn::Linear<T> lin;
        static void visit(auto& self, auto&& f) {
            f("0", self.depthwise);
            f("2", self.lin);
        }
    };
    Lift mlp1;
    Transform mlp2;
    Filter conv;
    long in = 0, dim = 0, kernel = 0, hidden = 0, dilation = 1;

    XConv() = default;
    XConv(long inputs, long outputs, long dimensions, long points, Key key, const XConvOptions& o = {})
        : in(inputs), dim(dimensions), kernel(points), hidden(o.hidden > 0 ? o.hidden : inputs / 4), dilation(o.dilation) {
        if (in < 0 || dim < 1 || kernel < 1 || dilation < 1 || hidden < 1)
            fail<ValueError>("XConv: ", in, " features, ", dim, " dimensions, ", kernel, " points, dilation ", dilation, ", ", hidden,
                             " hidden features: expected at least 1 each (features: 0)");
        const long square = kernel * kernel, features = in + hidden, multiplier = (outputs + features - 1) / features;
        mlp1 = {nn::Linear<T>(dim, hidden, key.split(0)), nn::Linear<T>(hidden, hidden, key.split(1)), nn::BatchNorm1d<T>(hidden),
                nn::BatchNorm1d<T>(hidden)};
        const auto rows = [&](std::uint64_t tag) { return nn::Conv1d<T>(kernel, square, kernel, key.split(tag), {.groups = kernel}); };
        mlp2 = {nn::Linear<T>(dim * kernel, square, key.split(2)), rows(3), rows(4), nn::BatchNorm1d<T>(square), nn::BatchNorm1d<T>(square),
                nn::BatchNorm1d<T>(square)};
        conv = {nn::Conv1d<T>(features, features * multiplier, kernel, key.split(5), {.groups = features}),
                nn::Linear<T>(features * multiplier, outputs, key.split(6))};
    }
    Tensor<T, 2> operator()(const Tensor<T, 2>& x, const Tensor<T, 2>& pos, const Segments& clouds = {}) const {
        return run(x, pos, clouds, [](const auto& norm, const Tensor<T, 2>& z) { return Tensor<T, 2>(norm(z)); });
    }
    Tensor<T, 2> operator()(const Tensor<T, 2>& x, const Tensor<T, 2>& pos, const nn::Context& context, const Segments& clouds = {}) const {
        return run(x, pos, clouds, [&](const auto& norm, const Tensor<T, 2>& z) { return Tensor<T, 2>(norm(z, context)); });
    }
    static void visit(auto& self, auto&& f) {
        f("mlp1", self.mlp1);
        f("mlp2", self.mlp2);
        f("conv", self.conv);
    }

private:
    template <class Norm>
    Tensor<T, 2> run(const Tensor<T, 2>& x, const Tensor<T, 2>& pos, const Segments& clouds, Norm norm) const {
        const long points = pos.shape(0), square = kernel * kernel;
        if (pos.shape(1) != dim) fail<ShapeError>("XConv: positions ", pos.record()->description(), ", expected ", dim, " coordinates");
        if (x.has_value() != (in > 0))
            fail<ShapeError>("XConv: ", x.has_value() ? "" : "no ", "features came, expected [", points, ", ", in, "]");
        if (in > 0 && (x.shape(0) != points || x.shape(1) != in))
            fail<ShapeError>("XConv: the features are ", x.record()->description(), ", expected [", points, ", ", in, "]");
        const Tensor<std::int64_t, 2> pairs = knn(pos, pos, kernel * dilation, clouds, clouds);
        if (pairs.shape(1) != points * kernel * dilation)
            fail<ShapeError>("XConv: ", kernel, " points of dilation ", dilation, " need clouds of ", kernel * dilation, " points or more");
        const Tensor<std::int64_t, 2> table = Tensor<std::int64_t, 1>(pairs(1, all)).reshape({points * kernel, dilation});
        const Tensor<std::int64_t, 1> near = contiguous(table(all, 0));

        // Positions relative to the point in the middle.
        const Tensor<T, 3> offset = index_select<0>(pos, near).reshape({points, kernel, dim}) - pos.reshape({points, 1, dim});
        Tensor<T, 2> lifted = norm(mlp1.first_norm, Tensor<T, 2>(elu(mlp1.first(offset.reshape({points * kernel, dim})))));
        lifted = norm(mlp1.second_norm, Tensor<T, 2>(elu(mlp1.second(lifted))));
        Tensor<T, 3> star = lifted.reshape({points, kernel, hidden});
        if (in > 0) star = concat<2>(star, index_select<0>(x, near).reshape({points, kernel, in}));

        // Each row of a matrix meets K filters of its own: K batched products.
        const auto rows = [&](const nn::Conv1d<T>& layer, const Tensor<T, 2>& z) {
            const Tensor<T, 3> filters = layer.weight.reshape({kernel, kernel, kernel});
            const Tensor<T, 3> y = einsum<"ncl,cql->ncq">(z.reshape({points, kernel, kernel}), filters);
            return Tensor<T, 2>(y.reshape({points, square}) + layer.bias);
        };
        Tensor<T, 2> matrix = norm(mlp2.norm, Tensor<T, 2>(elu(mlp2.lin(offset.reshape({points, kernel * dim})))));
        matrix = norm(mlp2.first_norm, Tensor<T, 2>(elu(rows(mlp2.first, matrix))));
        matrix = norm(mlp2.second_norm, rows(mlp2.second, matrix));

        const long features = in + hidden, multiplier = conv.depthwise.weight.shape(0) / features;
        const Tensor<T, 3> turned = einsum<"nkc,nkl->ncl">(star, matrix.reshape({points, kernel, kernel}));
        const Tensor<T, 3> filtered = einsum<"ncl,cml->ncm">(turned, conv.depthwise.weight.reshape({features, multiplier, kernel}));
        return conv.lin(Tensor<T, 2>(filtered.reshape({points, features * multiplier}) + conv.depthwise.bias));
    }
};

}  // namespace tenon::graph

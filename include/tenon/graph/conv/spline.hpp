// Convolution by continuous B-spline kernels (Fey et al., "SplineCNN", CVPR 2018).
#pragma once

#include <tenon/graph/conv/kinds.hpp>

namespace tenon::graph {
inline namespace TENON_CONFIG_NAMESPACE {

// The (degree + 1)^dim basis functions that are not zero at each edge's pseudo-coordinates, and which of the kernel's matrices they weigh.
template <class T>
struct SplineBasis {
    Tensor<T, 2> weight;             // [edges, (degree + 1)^dim]
    Tensor<std::int64_t, 2> index;   // the same sizes, on the host
};

namespace impl {

// A kernel's sizes and which of its axes are open, on the host, checked.
struct SplineKernel {
    Tensor<std::int64_t, 1> sizes;
    Tensor<std::uint8_t, 1> open;
    long degree = 1, dim = 0, functions = 1;

    SplineKernel() = default;
    SplineKernel(const Tensor<std::int64_t, 1>& kernel_size, const Tensor<std::uint8_t, 1>& is_open, long of_degree)
        : sizes(contiguous(kernel_size).to(cpu)), open(contiguous(is_open).to(cpu)), degree(of_degree), dim(kernel_size.size()) {
        if (degree < 1 || degree > 3) fail<ValueError>("spline_basis: degree ", degree, ", expected 1, 2 or 3");
        if (dim < 1 || open.size() != dim)
            fail<ShapeError>("spline_basis: ", dim, " sizes and ", open.size(), " marks of open axes, expected as many, one or more");
        for (long d = 0; d < dim; ++d) {
            if (size(d) < 1 || steps(d) < 1)
                fail<ValueError>("spline_basis: ", size(d), " matrices along axis ", d, " are too few for degree ", degree);
            functions *= degree + 1;
        }
    }
    long size(long d) const { return static_cast<long>(sizes.data()[d]); }
    // Between knots, from coordinate 0 to 1.
    long steps(long d) const { return open.data()[d] != 0 ? size(d) - degree : size(d); }

    // What makes coordinates units of knots, [dim].
    template <class T>
    Tensor<T, 1> scale(Device device) const {
        const Tensor<T, 1> result = empty<T>({dim});
        for (long d = 0; d < dim; ++d) result.data()[d] = static_cast<T>(steps(d));
        return result.to(device);
    }
    template <class T>
    Tensor<T, 2> stretched(const Tensor<T, 2>& pseudo, const Tensor<T, 1>& by) const {
        if (pseudo.shape(1) != dim)
            fail<ShapeError>("spline_basis: pseudo-coordinates ", pseudo.record()->description(), " for a kernel of ", dim, " axes");
        return pseudo * by;
    }
    template <class T>
    Tensor<std::int64_t, 2> index(const Tensor<T, 2>& pseudo, const Tensor<T, 1>& by) const {
        const long edges = pseudo.shape(0);
        const Tensor<T, 2> given = contiguous(pseudo.detach()).to(cpu), below = Tensor<T, 2>(floor(stretched(pseudo.detach(), by))).to(cpu);
        const Tensor<std::int64_t, 2> result = empty<std::int64_t>({edges, functions});
        for (long e = 0; e < edges; ++e) {
            for (long d = 0; d < dim; ++d)
                if (!(given.data()[e * dim + d] >= T(0) && given.data()[e * dim + d] <= T(1)))
                    fail<ValueError>("spline_basis: pseudo-coordinate ", d, " of edge ", e, " is ",
                                     static_cast<double>(given.data()[e * dim + d]), ", expected 0 to 1");
            for (long s = 0; s < functions; ++s) {
                long at = 0, step = 1, rest = s;
                for (long d = 0; d < dim; ++d) {
                    at += (static_cast<long>(below.data()[e * dim + d]) + rest % (degree + 1)) % size(d) * step;
                    rest /= degree + 1;
                    step *= size(d);
                }
                result.data()[e * functions + s] = at;
            }
        }
        return result;
    }
    template <class T>
    Tensor<T, 2> weights(const Tensor<T, 2>& pseudo, const Tensor<T, 1>& by) const {
        const long edges = pseudo.shape(0);
        const Tensor<T, 2> v = stretched(pseudo, by), f = v - floor(v.detach());
        const T sixth = static_cast<T>(1.0 / 6), two_thirds = static_cast<T>(2.0 / 3);
        std::vector<Tensor<T, 2>> pieces;
        if (degree == 1) {
            pieces = {Tensor<T, 2>(T(1) - f), f};
        } else if (degree == 2) {
            pieces = {Tensor<T, 2>((T(0.5) * f - T(1)) * f + T(0.5)), Tensor<T, 2>((T(1) - f) * f + T(0.5)),
                      Tensor<T, 2>(T(0.5) * f * f)};
        } else {
            pieces = {Tensor<T, 2>(sixth * (T(1) - f) * square(T(1) - f)), Tensor<T, 2>((T(0.5) * f - T(1)) * f * f + two_thirds),
                      Tensor<T, 2>(((T(0.5) - T(0.5) * f) * f + T(0.5)) * f + sixth), Tensor<T, 2>(sixth * f * f * f)};
        }
        const Tensor<T, 3> along = stack<1>(pieces);  // [edges, degree + 1, dim]
        Tensor<T, 2> weight = along(all, all, 0);
        for (long d = 1; d < dim; ++d) {
            const Tensor<T, 2> next = along(all, all, d);
            const Tensor<T, 3> outer = next.reshape({edges, degree + 1, 1}) * weight.reshape({edges, 1, weight.shape(1)});
            weight = outer.reshape({edges, (degree + 1) * weight.shape(1)});
        }
        return weight;
    }
};

}  // namespace impl

// spline_basis(pseudo, kernel_size, open, degree): pseudo [edges, dim] within 0 to 1, kernel_size and open [dim]; degree 1, 2 or 3.
// Along an axis of K matrices v = u (K - degree) if it is open and u K if it is closed; the functions are those at floor(v), .. + degree,
// modulo K, and the matrices of the first axis are neighbours. Throws ShapeError, and ValueError for coordinates outside of 0 to 1 (clamp
// them), for other degrees and for a kernel that is too small. Derivative: to pseudo, with the pieces that its value lies in.
template <class T>
[[nodiscard]] SplineBasis<T> spline_basis(const Tensor<T, 2>& pseudo, const Tensor<std::int64_t, 1>& kernel_size,
                                          const Tensor<std::uint8_t, 1>& open, long degree) {
    const impl::SplineKernel kernel(kernel_size, open, degree);
    const Tensor<T, 1> scale = kernel.template scale<T>(pseudo.device());
    const Tensor<std::int64_t, 2> index = kernel.index(pseudo, scale);
    return {kernel.weights(pseudo, scale), index};
}

}  // namespace TENON_CONFIG_NAMESPACE

struct SplineConvOptions {
    bool open = true;  // splines that end at the kernel's sides, else closed ones; of all axes
    long degree = 1;   // 1, 2 or 3
    Aggregation aggregation = Aggregation::mean;  // or sum
    bool root_weight = true;
};

// y_i = mean over the edges j -> i of x_j times the sum over s of B_s(e_ji) weight[s], + x_i W_root' + b; B as in spline_basis at the
// edge's pseudo-coordinates e [edges, dim], between 0 and 1; which matrices they choose is found on the host once and kept with the
// graph, until other coordinates come or these are written to. weight [product of
// kernel_size, in, out] uniform in +-1 / sqrt(product * in), lin: PyTorch's default, bias zeros. Stored are the rows that come together
// at one matrix and target, never edges x features. Throws ShapeError, ValueError. Derivatives of x, e and the weights.
template <class T = float>
struct SplineConv {
    Tensor<T, 3> weight;
    nn::Linear<T, false> lin;
    Tensor<T, 1> bias;
    Tensor<std::int64_t, 1> kernel_size;      // [dim]
    Tensor<std::uint8_t, 1> is_open_spline;  // [dim]; may be written to, for axes that differ
    SplineConvOptions options;

    SplineConv() = default;
    // kernel: how many matrices along each axis.
    SplineConv(long in, long out, const std::vector<long>& kernel, Key key, const SplineConvOptions& o = {})
        : bias(zeros<T>({out}).require_grad()), options(o) {
        if (kernel.empty()) fail<ShapeError>("SplineConv: a kernel without axes");
        check(o);
        const long dim = static_cast<long>(kernel.size());
        long matrices = 1;
        kernel_size = empty<std::int64_t>({dim});
        is_open_spline = full<std::uint8_t>({dim}, o.open ? 1 : 0);
        for (long d = 0; d < dim; ++d) {
            const long k = kernel[static_cast<std::size_t>(d)];
            if (k < 1) fail<ShapeError>("SplineConv: ", k, " matrices along axis ", d, ", expected at least 1");
            kernel_size.data()[d] = k;
            matrices *= k;
        }
        const double bound = 1 / __builtin_sqrt(static_cast<double>(matrices * in));
        weight = uniform<T>({matrices, in, out}, key.split(0), {-bound, bound}).require_grad();
        if (o.root_weight) lin = nn::Linear<T, false>(in, out, key.split(1));
    }
    template <Expression X>
    Tensor<T, 2> operator()(X&& given, const Graph& g, const Tensor<T, 2>& edge_attr) const {
        const Tensor<T, 2> x = features(static_cast<X&&>(given));
        return run(x, x, g, edge_attr);
    }
    // Of a bipartite graph.
    template <Expression X, Expression Y>
    Tensor<T, 2> operator()(X&& sources, Y&& targets, const Graph& g, const Tensor<T, 2>& edge_attr) const {
        return run(features(static_cast<X&&>(sources)), features(static_cast<Y&&>(targets)), g, edge_attr);
    }
    static void visit(auto& self, auto&& f) {
        f("weight", self.weight);
        f("bias", self.bias);
        f("kernel_size", nn::buffer(self.kernel_size));
        f("is_open_spline", nn::buffer(self.is_open_spline));
        if (self.options.root_weight) f("lin", self.lin);
    }

private:
    static void check(const SplineConvOptions& o) {
        if (o.aggregation != Aggregation::sum && o.aggregation != Aggregation::mean)
            fail<ValueError>("SplineConv: the aggregation is neither the sum nor the mean");
    }
    // (Of sizes on a device nothing is read in every call; those on the host may have been written to behind the tensor's back.)
    impl::SplineKernel sizes_on_host(const Graph& g) const {
        const auto read = [&] { return impl::SplineKernel(kernel_size, is_open_spline, options.degree); };
        if (kernel_size.device().is_cpu() && is_open_spline.device().is_cpu()) return read();
        return impl::kept<impl::SplineKernel, 16>(g, {kernel_size.detach().any(), is_open_spline.detach().any()}, {options.degree}, read);
    }
    Tensor<T, 2> run(const Tensor<T, 2>& x, const Tensor<T, 2>& own, const Graph& g, const Tensor<T, 2>& edge_attr) const {
        const long in = weight.shape(1), out = weight.shape(2), matrices = weight.shape(0), edges = g.edges();
        if (x.shape(1) != in) fail<ShapeError>("SplineConv: x is ", x.record()->description(), ", expected ", in, " features");
        impl::check_nodes("SplineConv", g, own.record(), g.targets(), "targets");
        if (edge_attr.shape(0) != edges)
            fail<ShapeError>("SplineConv: pseudo-coordinates ", edge_attr.record()->description(), " came for ", edges, " edges");
        const impl::SplineKernel kernel = sizes_on_host(g);
        const long functions = kernel.functions;
        // All three are open to whoever loads a checkpoint or writes to them.
        long sizes = 1;
        for (long d = 0; d < kernel.dim; ++d) sizes *= kernel.size(d);
        if (sizes != matrices) fail<ShapeError>("SplineConv: kernel_size makes ", sizes, " matrices, weight has ", matrices);
        check(options);
        std::vector<long> key{-options.degree};
        for (long d = 0; d < kernel.dim; ++d) key.push_back(2 * kernel.size(d) + (kernel.open.data()[d] != 0 ? 1 : 0));
        const Tensor<T, 1> scale = impl::kept<Tensor<T, 1>>(g, {}, key, [&] { return kernel.template scale<T>(g.device()); });
        const impl::KindPlaces places = impl::kept_places(g, edge_attr, key, [&] {
            const Tensor<std::int64_t, 2> ends = g.edge_index().to(cpu), matrix = kernel.index(edge_attr, scale);
            std::vector<std::int64_t> source(static_cast<std::size_t>(edges * functions)), target(source.size());
            for (long e = 0; e < edges; ++e)
                for (long s = 0; s < functions; ++s) {
                    const std::size_t at = static_cast<std::size_t>(e * functions + s);
                    source[at] = ends.data()[e];
                    target[at] = ends.data()[edges + e];
                }
            return impl::kind_places(edges * functions, source.data(), target.data(), matrix.data(), g.sources(), g.targets(), matrices,
                                     g.device());
        });
        const Tensor<T, 2> near = aggregate<sum>(places.near, x, kernel.weights(edge_attr, scale).reshape({edges * functions}));
        Tensor<T, 2> y = impl::sum_of_kinds(places, near, out, [&](const Tensor<T, 2>& rows, long k) {
            return Tensor<T, 2>(matmul(rows, Tensor<T, 2>(weight(k))));
        });
        if (options.aggregation == Aggregation::mean) y = eval(y * impl::mean_shares<T>(g));
        if (options.root_weight) return y + lin(own) + bias;
        return y + bias;
    }
};

}  // namespace tenon::graph

// Convolution and transposed convolution over one, two or three spatial axes.
#pragma once

#include <tenon/autograd/operation_node.hpp>
#include <tenon/kernels/cpu/add_strided.hpp>
#include <tenon/kernels/cpu/conv.hpp>
#include <tenon/ops/copy.hpp>
#include <tenon/ops/pad.hpp>
#include <tenon/ops/spatial.hpp>
#if TENON_CUDA
#include <tenon/kernels/cuda/conv.cuh>
#endif

namespace tenon {

// As much padding as gives the output the input's sizes (stride 1); an odd total puts one more at the end.
struct SamePadding {};
inline constexpr SamePadding same_padding;

template <int D>
struct ConvPadding : PerAxis<D> {
    bool same = false;
    using PerAxis<D>::PerAxis;
    constexpr ConvPadding(SamePadding) : PerAxis<D>(0), same(true) {}
};

inline namespace TENON_CONFIG_NAMESPACE {

// padding: elements at each end of an axis; groups: channels are cut into so many groups, each convolved on its own;
// padding_mode: what stands in the padding (constant: zeros).
template <int D>
struct ConvOptions {
    PerAxis<D> stride = 1;
    ConvPadding<D> padding = 0;
    PerAxis<D> dilation = 1;
    long groups = 1;
    PadMode padding_mode = PadMode::constant;
};

// output_padding: elements added to the output's end, which of several sizes with the same convolution is meant.
template <int D>
struct ConvTransposeOptions {
    PerAxis<D> stride = 1;
    PerAxis<D> padding = 0;
    PerAxis<D> output_padding = 0;
    PerAxis<D> dilation = 1;
    long groups = 1;
};

namespace impl {

using kernels::cpu::ConvEpilogue;
using kernels::cpu::ConvShape;
using kernels::cpu::ImageStrides;

// The three products of a convolution y = x * w, each linear in both operands and each with derivatives that are the other two:
// (x, w) -> y, (y, w) -> x (what a transposed convolution computes), (x, y) -> w.
enum class ConvKind { forward, data, weights };

template <int D>
constexpr const char* conv_name(ConvKind kind) {
    constexpr const char* names[3][3] = {{"conv1d", "conv2d", "conv3d"},
                                         {"conv_transpose1d", "conv_transpose2d", "conv_transpose3d"},
                                         {"conv1d (weight gradient)", "conv2d (weight gradient)", "conv3d (weight gradient)"}};
    return names[static_cast<int>(kind)][D - 1];
}

// A tensor as a kernel takes it; a weight is contiguous.
template <int D>
struct ConvOperand {
    const char* data;
    ImageStrides<D> strides;
    explicit ConvOperand(const detail::Record* r) : data(r->data()) {
        strides.n = r->strides()[0];
        strides.channel = r->strides()[1];
        for (int i = 0; i < D; ++i) strides.axis[i] = r->strides()[2 + i];
    }
};

template <class T, int D>
void run_conv(ConvKind kind, const ConvShape<D>& s, Device device, const ConvOperand<D>& a, const ConvOperand<D>& b, T* to,
              const ImageStrides<D>& to_strides, const ConvEpilogue<T>& epilogue) {
    const T *x = reinterpret_cast<const T*>(a.data), *y = reinterpret_cast<const T*>(b.data);
    if constexpr (sizeof(T) == 2) {
        // On the CPU 16-bit operands come as floats (conv_of).
#if TENON_CUDA
        static_cast<void>(device);
        if (kind == ConvKind::forward) kernels::cuda::conv_forward<T, D>(s, x, a.strides, y, to, to_strides, epilogue);
        else if (kind == ConvKind::data) kernels::cuda::conv_backward_data<T, D>(s, x, a.strides, y, to, to_strides, epilogue);
        else kernels::cuda::conv_backward_weights<T, D>(s, x, a.strides, y, b.strides, to, epilogue.accumulate);
#endif
    } else if (kind == ConvKind::forward) TENON_RUN(device, conv_forward<T, D>(s, x, a.strides, y, to, to_strides, epilogue));
    else if (kind == ConvKind::data) TENON_RUN(device, conv_backward_data<T, D>(s, x, a.strides, y, to, to_strides, epilogue));
    else TENON_RUN(device, conv_backward_weights<T, D>(s, x, a.strides, y, b.strides, to, epilogue.accumulate));
}

// The gradient of a bias: the sum over everything but the channels of a contiguous dy [n, channels, pixels...].
template <class T>
void add_bias_gradient(Edge edge, const detail::Record* dy) {
    const detail::GradientTarget to = detail::gradient_target(edge);
    const formula::Table& table = formula::table<formula::In<T>, true>;
    const long channels = dy->dims()[1], pixels = dy->dims()[0] * channels == 0 ? 0 : dy->size / (dy->dims()[0] * channels);
    const long dims[] = {dy->dims()[0], channels, pixels}, strides[] = {channels * pixels, pixels, 1}, kept[] = {1, channels, 1};
    const detail::AnyTensor flat(detail::new_view(dy, 3, dims, strides, dy->offset));
    detail::AnyTensor sum = to.mode == 2 ? detail::AnyTensor(detail::new_record(dtype_of<T>, 1, &channels, to.record->storage->device)) : detail::AnyTensor::share(to.record);
    Collector c;
    c.add(flat.get());
    run_reduction(table, c, 3, dims, sum.get(), kept, 1);
    if (to.mode != 2) return;
    const long step = 1;
    TENON_RUN(to.record->storage->device,
              add_strided(1, &channels, reinterpret_cast<T*>(to.record->data()), &step, reinterpret_cast<const T*>(sum->data()), &step));
}

template <class T, int D>
class ConvNode final : public detail::OperationNode<3> {
public:
    ConvNode(ConvKind kind, const ConvShape<D>& shape, detail::Record* a, detail::Record* b, detail::Record* bias)
        : OperationNode(conv_name<D>(kind)), kind_(kind), shape_(shape) {
        set_input(0, a);
        set_input(1, b);
        if (bias != nullptr) set_input(2, bias);
        if (wanted(0)) b_.save(b);
        if (wanted(1)) a_.save(a);
    }
    const void* kind() const noexcept override { return &detail::node_kind<ConvNode>; }
    ConvKind product() const { return kind_; }
    const ConvShape<D>& shape() const { return shape_; }
    const detail::Saved& a() const { return a_; }  // kept for the other's gradient
    const detail::Saved& b() const { return b_; }
    void release_saved() noexcept override { a_.tensor = b_.tensor = detail::AnyTensor(); }
    void backward() override {
        const ConvOperand<D> d(gradient());
        if (wanted(0)) {
            const ConvOperand<D> b(b_.check(name));
            if (kind_ == ConvKind::forward) collect(edges_[0], ConvKind::data, d, b);
            else if (kind_ == ConvKind::data) collect(edges_[0], ConvKind::forward, d, b);
            else collect(edges_[0], ConvKind::data, b, d);
        }
        if (wanted(1)) {
            const ConvOperand<D> a(a_.check(name));
            if (kind_ == ConvKind::forward) collect(edges_[1], ConvKind::weights, a, d);
            else if (kind_ == ConvKind::data) collect(edges_[1], ConvKind::weights, d, a);
            else collect(edges_[1], ConvKind::forward, a, d);
        }
        if (wanted(2)) add_bias_gradient<T>(edges_[2], gradient());
    }

private:
    void collect(const Edge& edge, ConvKind kind, const ConvOperand<D>& a, const ConvOperand<D>& b) const {
        const detail::GradientTarget to = detail::gradient_target(edge);
        check_device(name, to.record->storage->device);
        run_conv<T, D>(kind, shape_, to.record->storage->device, a, b, reinterpret_cast<T*>(to.record->data()), ConvOperand<D>(to.record).strides, {.accumulate = to.mode == 2});
    }

    ConvKind kind_;
    ConvShape<D> shape_;
    detail::Saved a_, b_;
};

// Whether images are stored with their channels side by side, as [n, sizes..., channels].
inline bool is_channels_last(const detail::Record* r) {
    if (r->contiguous || r->dims()[1] < 2 || r->strides()[1] != 1) return false;
    long expected = r->dims()[1];
    for (int i = r->rank - 1; i >= 2; --i) {
        if (r->dims()[i] > 1 && r->strides()[i] < expected) return false;
        expected = r->strides()[i] * r->dims()[i];
    }
    return true;
}
// Fresh images of these sizes, stored as the example is.
inline detail::AnyTensor new_images(const detail::Record* example, DType dtype, int rank, const long* dims, const char* operation) {
    if (!is_channels_last(example)) return detail::AnyTensor(detail::new_record(dtype, rank, dims, example->storage->device, operation));
    long stored[max_rank], strides[max_rank];
    stored[0] = dims[0];
    stored[rank - 1] = dims[1];
    for (int i = 2; i < rank; ++i) stored[i - 1] = dims[i];
    const detail::AnyTensor memory(detail::new_record(dtype, rank, stored, example->storage->device, operation));
    strides[0] = memory->strides()[0];
    strides[1] = 1;
    for (int i = 2; i < rank; ++i) strides[i] = memory->strides()[i - 1];
    detail::AnyTensor images(detail::new_view(memory.get(), rank, dims, strides, memory->offset));
    images->is_view = false;
    return images;
}

// One product of a convolution, recorded. The sizes have been checked; what is a weight is contiguous. bias may be null. What a
// scale or a relu is for is not recorded.
template <class T, int D>
detail::AnyTensor apply_conv(ConvKind kind, const ConvShape<D>& s, detail::Record* a, detail::Record* b, detail::Record* bias = nullptr,
                             const T* scale = nullptr, bool relu = false) {
    const char* name = conv_name<D>(kind);
    const Device device = a->storage->device;
    check_device(name, device);
    long dims[D + 2];
    if (kind == ConvKind::weights) {
        dims[0] = s.c_out, dims[1] = s.group_in();
        for (int i = 0; i < D; ++i) dims[2 + i] = s.kernel[i];
    } else {
        dims[0] = s.n, dims[1] = kind == ConvKind::forward ? s.c_out : s.c_in;
        for (int i = 0; i < D; ++i) dims[2 + i] = kind == ConvKind::forward ? s.out[i] : s.in[i];
    }
    const detail::AnyTensor y = kind == ConvKind::weights ? detail::AnyTensor(detail::new_record(dtype_of<T>, D + 2, dims, device, name))
                                                          : new_images(a, dtype_of<T>, D + 2, dims, name);
    run_conv<T, D>(kind, s, device, ConvOperand<D>(a), ConvOperand<D>(b), reinterpret_cast<T*>(y->data()), ConvOperand<D>(y.get()).strides,
                   {.scale = scale, .bias = bias != nullptr ? reinterpret_cast<const T*>(bias->data()) : nullptr, .relu = relu});
    if (detail::wants_gradient(a) || detail::wants_gradient(b) || (bias != nullptr && detail::wants_gradient(bias)))
        detail::make_node<ConvNode<T, D>>(kind, s, a, b, bias)->set_result(y.get());
    return y;
}

// What both directions check: devices, groups, numbers, the bias. `in` is the input's channels, `weight_in` what the weight says.
template <int D>
void check_conv(const char* name, const detail::Record* x, const detail::Record* w, const detail::Record* bias, const PerAxis<D>& stride,
                const PerAxis<D>& padding, const PerAxis<D>& dilation, long groups, long outputs) {
    if (!(x->storage->device == w->storage->device)) fail_devices(name, x->storage->device, w->storage->device);
    if (groups < 1) fail<ValueError>(name, ": ", groups, " groups, expected at least 1");
    for (int i = 0; i < D; ++i) {
        if (stride[i] < 1 || dilation[i] < 1)
            fail<ValueError>(name, ": stride ", stride[i], " and dilation ", dilation[i], " along axis ", i + 2, ", expected at least 1 each");
        if (padding[i] < 0) fail<ValueError>(name, ": padding ", padding[i], " along axis ", i + 2, ", expected 0 or more");
        if (w->dims()[2 + i] < 1) fail<ShapeError>(name, ": the weight ", w->description(), " has no elements along axis ", i + 2);
    }
    if (bias == nullptr) return;
    if (!(bias->storage->device == x->storage->device)) fail_devices(name, x->storage->device, bias->storage->device);
    if (bias->dims()[0] != outputs)
        fail<ShapeError>(name, ": the bias is ", bias->description(), ", expected one element for each of the ", outputs, " output channels of the weight ",
                         w->description());
}

// The sizes of conv1d, conv2d, conv3d, checked. bias may be null.
template <int D>
ConvShape<D> conv_shape(const detail::Record* x, const detail::Record* w, const detail::Record* bias, const ConvOptions<D>& o) {
    const char* name = conv_name<D>(ConvKind::forward);
    ConvShape<D> s;
    s.n = x->dims()[0], s.c_in = x->dims()[1], s.c_out = w->dims()[0], s.groups = o.groups;
    check_conv<D>(name, x, w, bias, o.stride, o.padding, o.dilation, o.groups, s.c_out);
    if (s.c_in != w->dims()[1] * o.groups || s.c_in < 1)
        fail<ShapeError>(name, ": channels differ: input is ", x->description(), " (axis 1: ", s.c_in, " channels), weight is ", w->description(), " (axis 1: ", w->dims()[1],
                         " for each of ", o.groups, o.groups == 1 ? " group" : " groups",
                         ").\n       hint: images are [batch, channels, sizes...], a weight is [out, in / groups, kernel...]");
    if (s.c_out % o.groups != 0 || s.c_out < 1)
        fail<ShapeError>(name, ": the ", s.c_out, " output channels of the weight ", w->description(), " cannot be cut into ", o.groups, " groups");
    for (int i = 0; i < D; ++i) {
        s.in[i] = x->dims()[2 + i];
        s.kernel[i] = w->dims()[2 + i];
        s.stride[i] = o.stride[i];
        s.dilation[i] = o.dilation[i];
        s.padding_begin[i] = s.padding_end[i] = o.padding[i];
        if (o.padding.same) {
            if (s.stride[i] != 1) fail<ValueError>(name, ": same padding with stride ", s.stride[i], " along axis ", i + 2, ", expected stride 1");
            const long total = s.dilation[i] * (s.kernel[i] - 1);
            s.padding_begin[i] = total / 2;
            s.padding_end[i] = total - total / 2;
        }
        s.out[i] = s.output_size(i);
        if (s.out[i] < 1)
            fail<ShapeError>(name, ": the kernel does not fit: input is ", x->description(), ", weight is ", w->description(), ": along axis ", i + 2, " the kernel spans ",
                             s.dilation[i] * (s.kernel[i] - 1) + 1, " of ", s.in[i] + s.padding_begin[i] + s.padding_end[i], " elements (padding included)");
    }
    return s;
}

template <class T, int D>
detail::AnyTensor conv_transpose(detail::Record* x, detail::Record* w, detail::Record* bias, const ConvTransposeOptions<D>& o) {
    const char* name = conv_name<D>(ConvKind::data);
    // The convolution whose output x would be.
    ConvShape<D> s;
    s.n = x->dims()[0], s.c_out = x->dims()[1], s.c_in = w->dims()[1] * o.groups, s.groups = o.groups;
    check_conv<D>(name, x, w, bias, o.stride, o.padding, o.dilation, o.groups, s.c_in);
    if (s.c_out != w->dims()[0] || s.c_out < 1)
        fail<ShapeError>(name, ": channels differ: input is ", x->description(), " (axis 1: ", s.c_out, " channels), weight is ", w->description(), " (axis 0: ", w->dims()[0],
                         ").\n       hint: images are [batch, channels, sizes...], the weight of a transposed convolution is [in, out / groups, kernel...]");
    if (s.c_out % o.groups != 0 || s.c_in < 1)
        fail<ShapeError>(name, ": the ", s.c_out, " channels of the input ", x->description(), " cannot be cut into ", o.groups, " groups for the weight ", w->description());
    for (int i = 0; i < D; ++i) {
        s.out[i] = x->dims()[2 + i];
        s.kernel[i] = w->dims()[2 + i];
        s.stride[i] = o.stride[i];
        s.dilation[i] = o.dilation[i];
        s.padding_begin[i] = s.padding_end[i] = o.padding[i];
        const long most = s.stride[i] > s.dilation[i] ? s.stride[i] : s.dilation[i];
        if (o.output_padding[i] < 0 || o.output_padding[i] >= most)
            fail<ValueError>(name, ": output_padding ", o.output_padding[i], " along axis ", i + 2, ", expected 0 or more and less than the larger of stride ", s.stride[i],
                             " and dilation ", s.dilation[i]);
        s.in[i] = (s.out[i] - 1) * s.stride[i] - 2 * s.padding_begin[i] + s.dilation[i] * (s.kernel[i] - 1) + o.output_padding[i] + 1;
        if (s.in[i] < 1 || s.out[i] < 1)
            fail<ShapeError>(name, ": input is ", x->description(), ", weight is ", w->description(), ": the output would have ", s.in[i], " elements along axis ", i + 2);
    }
    return apply_conv<T, D>(ConvKind::data, s, x, w, bias);
}

template <class T, int D>
Tensor<T, D + 2> pad_images(const Tensor<T, D + 2>& x, const ConvOptions<D>& o, const detail::Record* w) {
    Margin m[D];
    for (int i = 0; i < D; ++i) {
        const long total = o.dilation[i] * (w->dims()[2 + i] - 1);
        m[i] = o.padding.same ? Margin{total / 2, total - total / 2} : Margin{o.padding[i], o.padding[i]};
    }
    const PadOptions mode{o.padding_mode};
    if constexpr (D == 1) return pad<2>(x, {m[0]}, mode);
    else if constexpr (D == 2) return pad<2, 3>(x, {m[0], m[1]}, mode);
    else return pad<2, 3, 4>(x, {m[0], m[1], m[2]}, mode);
}

// In the operands' own type.
template <int D, bool Transposed, class T, class Options>
Tensor<T, D + 2> conv_as_is(Tensor<T, D + 2> x, const Tensor<T, D + 2>& weight, const Tensor<T, 1>& bias, Options options) {
    const Tensor<T, D + 2> w = contiguous(weight);
    const Tensor<T, 1> b = bias.has_value() ? contiguous(bias) : bias;
    detail::Record* const bias_record = b.has_value() ? b.record() : nullptr;
    if constexpr (Transposed) {
        return Tensor<T, D + 2>(conv_transpose<T, D>(x.record(), w.record(), bias_record, options));
    } else {
        if (options.padding_mode != PadMode::constant) {
            x = pad_images<T, D>(x, options, w.record());
            options.padding = 0;
        }
        return Tensor<T, D + 2>(apply_conv<T, D>(ConvKind::forward, conv_shape<D>(x.record(), w.record(), bias_record, options), x.record(), w.record(), bias_record));
    }
}

template <int D, bool Transposed, class X, class T, class Options>
Tensor<T, D + 2> conv_of(X&& given, const Tensor<T, D + 2>& weight, const Tensor<T, 1>& bias, Options options) {
    static_assert(std::is_same_v<T, common_scalar_t<X>>, "tenon: conv: input and weight have different element types: write cast<T>(x) on one of them");
    static_assert(Floating<T>, "tenon: conv: convolutions are defined for floating-point types: write cast<float>(x) first");
    auto x = as_tensor(static_cast<X&&>(given));
    static_assert(decltype(x)::rank == D + 2, "tenon: conv1d, conv2d, conv3d: the input is [batch, channels, sizes...], of rank 3, 4 or 5");
    if constexpr (sizeof(T) == 2) {
        // Products of 16-bit numbers, summed in float: a device's kernels do that themselves.
#if TENON_CUDA
        if (!x.device().is_cpu()) return conv_as_is<D, Transposed>(x, weight, bias, options);
#endif
        const Tensor<float, 1> wide_bias = bias.has_value() ? Tensor<float, 1>(cast<float>(bias)) : Tensor<float, 1>();
        return cast<T>(conv_of<D, Transposed>(cast<float>(x), Tensor<float, D + 2>(cast<float>(weight)), wide_bias, options));
    } else {
        return conv_as_is<D, Transposed>(x, weight, bias, options);
    }
}

}  // namespace impl

// conv2d(x, weight, bias, {.stride = 2, .padding = {1, 1}}): cross-correlation, as PyTorch's. x is [batch, in, height, width],
// weight [out, in / groups, kernel height, kernel width], bias [out] or an empty handle; the result is [batch, out, ...] with
// (size + 2 padding - dilation (kernel - 1) - 1) / stride + 1 elements along an axis, stored channels-last where x is (see
// channels_last). conv1d and conv3d: one and three sizes. Floating types, 16-bit ones with sums in float. Throws ShapeError
// where channels, groups or bias do not fit or the kernel is larger than the padded input, ValueError on numbers out of
// range. Derivative: dx is the transposed convolution of dy with the weight, the weight's gradient a product of the patches of
// x with dy, the bias' the sum of dy.
template <Expression X, class T>
[[nodiscard]] auto conv1d(X&& x, const Tensor<T, 3>& weight, const Tensor<T, 1>& bias, ConvOptions<1> options = {}) {
    return impl::conv_of<1, false>(static_cast<X&&>(x), weight, bias, options);
}
template <Expression X, class T>
[[nodiscard]] auto conv1d(X&& x, const Tensor<T, 3>& weight, ConvOptions<1> options = {}) {
    return impl::conv_of<1, false>(static_cast<X&&>(x), weight, Tensor<T, 1>(), options);
}
template <Expression X, class T>
[[nodiscard]] auto conv2d(X&& x, const Tensor<T, 4>& weight, const Tensor<T, 1>& bias, ConvOptions<2> options = {}) {
    return impl::conv_of<2, false>(static_cast<X&&>(x), weight, bias, options);
}
template <Expression X, class T>
[[nodiscard]] auto conv2d(X&& x, const Tensor<T, 4>& weight, ConvOptions<2> options = {}) {
    return impl::conv_of<2, false>(static_cast<X&&>(x), weight, Tensor<T, 1>(), options);
}
template <Expression X, class T>
[[nodiscard]] auto conv3d(X&& x, const Tensor<T, 5>& weight, const Tensor<T, 1>& bias, ConvOptions<3> options = {}) {
    return impl::conv_of<3, false>(static_cast<X&&>(x), weight, bias, options);
}
template <Expression X, class T>
[[nodiscard]] auto conv3d(X&& x, const Tensor<T, 5>& weight, ConvOptions<3> options = {}) {
    return impl::conv_of<3, false>(static_cast<X&&>(x), weight, Tensor<T, 1>(), options);
}

// conv_transpose2d(x, weight, bias, {.stride = 2, .padding = 1, .output_padding = 1}): the transpose of a convolution (its
// backward pass to the data; "deconvolution"). x is [batch, in, sizes...], weight [in, out / groups, kernel...], bias [out]; the
// result has (size - 1) stride - 2 padding + dilation (kernel - 1) + output_padding + 1 elements along an axis. Errors as
// conv2d's. Derivative: dx is the convolution of dy with the weight, the weight's gradient as there with x and dy swapped.
template <Expression X, class T>
[[nodiscard]] auto conv_transpose1d(X&& x, const Tensor<T, 3>& weight, const Tensor<T, 1>& bias, ConvTransposeOptions<1> options = {}) {
    return impl::conv_of<1, true>(static_cast<X&&>(x), weight, bias, options);
}
template <Expression X, class T>
[[nodiscard]] auto conv_transpose1d(X&& x, const Tensor<T, 3>& weight, ConvTransposeOptions<1> options = {}) {
    return impl::conv_of<1, true>(static_cast<X&&>(x), weight, Tensor<T, 1>(), options);
}
template <Expression X, class T>
[[nodiscard]] auto conv_transpose2d(X&& x, const Tensor<T, 4>& weight, const Tensor<T, 1>& bias, ConvTransposeOptions<2> options = {}) {
    return impl::conv_of<2, true>(static_cast<X&&>(x), weight, bias, options);
}
template <Expression X, class T>
[[nodiscard]] auto conv_transpose2d(X&& x, const Tensor<T, 4>& weight, ConvTransposeOptions<2> options = {}) {
    return impl::conv_of<2, true>(static_cast<X&&>(x), weight, Tensor<T, 1>(), options);
}
template <Expression X, class T>
[[nodiscard]] auto conv_transpose3d(X&& x, const Tensor<T, 5>& weight, const Tensor<T, 1>& bias, ConvTransposeOptions<3> options = {}) {
    return impl::conv_of<3, true>(static_cast<X&&>(x), weight, bias, options);
}
template <Expression X, class T>
[[nodiscard]] auto conv_transpose3d(X&& x, const Tensor<T, 5>& weight, ConvTransposeOptions<3> options = {}) {
    return impl::conv_of<3, true>(static_cast<X&&>(x), weight, Tensor<T, 1>(), options);
}

// The same images, stored as [batch, sizes..., channels]: the form in which convolutions are fastest and which they keep.
// Recorded; x itself where it is stored so.
template <Expression X>
[[nodiscard]] auto channels_last(X&& given) {
    auto x = impl::as_tensor(static_cast<X&&>(given));
    constexpr int rank = decltype(x)::rank;
    static_assert(rank >= 3 && rank <= 5, "tenon: channels_last: images are [batch, channels, sizes...], of rank 3, 4 or 5");
    if (impl::is_channels_last(x.record())) return x;
    if constexpr (rank == 3) return contiguous(x.template permute<0, 2, 1>()).template permute<0, 2, 1>();
    else if constexpr (rank == 4) return contiguous(x.template permute<0, 2, 3, 1>()).template permute<0, 3, 1, 2>();
    else return contiguous(x.template permute<0, 2, 3, 4, 1>()).template permute<0, 4, 1, 2, 3>();
}

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

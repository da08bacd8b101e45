// Convolutions through cuDNN. Images are described by their strides and read where they lie; weights too, unless both images are
// channels-last: cuDNN's kernels for those want the weight so as well, and it is copied.
//
// The algorithm of a shape is the first deterministic one that the library's heuristic names, asked once per thread: nothing is timed,
// so that the same program takes the same algorithms, and makes the same bits, on every run. Float keeps float's precision unless
// allow_tf32(true); 16-bit types are multiplied by tensor cores and summed in float. set_conv_precision(exact) leaves out the
// algorithms that transform (Winograd's, Fourier's).
#pragma once

#include <tenon/base/precision.hpp>
#include <tenon/kernels/cuda/add_strided.cuh>
#include <tenon/kernels/cuda/conv/cudnn_handle.cuh>
#include <tenon/kernels/cuda/conv/geometry.cuh>
#include <tenon/kernels/cuda/copy.cuh>
#include <tenon/kernels/cuda/memory.cuh>

namespace tenon {
namespace cuda_detail {

enum class ConvDirection : int { forward, data, weights };

// A convolution as cuDNN is told of it. Without padding: compared and hashed whole.
struct CudnnShape {
    int sizes_x[5], sizes_y[5], sizes_w[5], strides_x[5], strides_y[5];
    int padding[3], stride[3], dilation[3];
    int rank, groups, direction, type, compute, format, math, exact, device;
};

// What is kept of a shape: descriptors, and the algorithms that may be used in the order of the library's preference.
struct CudnnPlan {
    static constexpr int most = 8;  // as many as a direction has
    CudnnShape shape{};
    CudnnPlan* next = nullptr;
    cudnn::Tensor x = nullptr, y = nullptr;
    cudnn::Filter w = nullptr;
    cudnn::Convolution convolution = nullptr;
    int count = 0;
    int algorithm[most] = {};
    std::size_t workspace[most] = {};

    CudnnPlan() = default;
    CudnnPlan(const CudnnPlan&) = delete;
    CudnnPlan& operator=(const CudnnPlan&) = delete;
    ~CudnnPlan() {
        const CudnnLibrary& library = cudnn_library();
        if (x != nullptr) library.cudnnDestroyTensorDescriptor(x);
        if (y != nullptr) library.cudnnDestroyTensorDescriptor(y);
        if (w != nullptr) library.cudnnDestroyFilterDescriptor(w);
        if (convolution != nullptr) library.cudnnDestroyConvolutionDescriptor(convolution);
    }

    // Leaves no algorithm where the library supports none.
    void prepare(cudnn::Handle handle) {
        const CudnnLibrary& library = cudnn_library();
        const CudnnShape& s = shape;
        const auto must = [&](int status, const char* call) { check(library, status, call); };
        must(library.cudnnCreateTensorDescriptor(&x), "cudnnCreateTensorDescriptor");
        must(library.cudnnCreateTensorDescriptor(&y), "cudnnCreateTensorDescriptor");
        must(library.cudnnCreateFilterDescriptor(&w), "cudnnCreateFilterDescriptor");
        must(library.cudnnCreateConvolutionDescriptor(&convolution), "cudnnCreateConvolutionDescriptor");
        // A layout that it does not know is like an algorithm that it does not have.
        const auto knows = [&](int status, const char* call) {
            if (!unsupported(status)) must(status, call);
            return status == cudnn::success;
        };
        if (!knows(library.cudnnSetTensorNdDescriptor(x, s.type, s.rank, s.sizes_x, s.strides_x), "cudnnSetTensorNdDescriptor")) return;
        if (!knows(library.cudnnSetTensorNdDescriptor(y, s.type, s.rank, s.sizes_y, s.strides_y), "cudnnSetTensorNdDescriptor")) return;
        if (!knows(library.cudnnSetFilterNdDescriptor(w, s.type, s.format, s.rank, s.sizes_w), "cudnnSetFilterNdDescriptor")) return;
        if (!knows(library.cudnnSetConvolutionNdDescriptor(convolution, s.rank - 2, s.padding, s.stride, s.dilation,
                                                           cudnn::cross_correlation, s.compute),
                   "cudnnSetConvolutionNdDescriptor"))
            return;
        must(library.cudnnSetConvolutionGroupCount(convolution, s.groups), "cudnnSetConvolutionGroupCount");
        must(library.cudnnSetConvolutionMathType(convolution, s.math), "cudnnSetConvolutionMathType");
        cudnn::Performance found[most] = {};
        int some = 0;
        switch (static_cast<ConvDirection>(s.direction)) {
            case ConvDirection::forward:
                if (!knows(library.cudnnGetConvolutionForwardAlgorithm_v7(handle, x, w, convolution, y, most, &some, found),
                           "cudnnGetConvolutionForwardAlgorithm_v7"))
                    return;
                break;
            case ConvDirection::data:
                if (!knows(library.cudnnGetConvolutionBackwardDataAlgorithm_v7(handle, w, y, convolution, x, most, &some, found),
                           "cudnnGetConvolutionBackwardDataAlgorithm_v7"))
                    return;
                break;
            case ConvDirection::weights:
                if (!knows(library.cudnnGetConvolutionBackwardFilterAlgorithm_v7(handle, x, y, convolution, w, most, &some, found),
                           "cudnnGetConvolutionBackwardFilterAlgorithm_v7"))
                    return;
        }
        for (int i = 0; i < some; ++i)
            if (takes(found[i])) {
                algorithm[count] = found[i].algorithm;
                workspace[count++] = found[i].memory;
            }
    }
    // This algorithm turned out not to be supported.
    void drop(int i) {
        for (--count; i < count; ++i) algorithm[i] = algorithm[i + 1], workspace[i] = workspace[i + 1];
    }

private:
    bool takes(const cudnn::Performance& p) const {
        constexpr std::size_t largest = std::size_t(1) << 30;
        if (p.status != cudnn::success || p.determinism != cudnn::deterministic || p.memory > largest) return false;
        if (shape.math == cudnn::fma_math && p.math != cudnn::fma_math) return false;
        // The numbers of the algorithms by Fourier's and Winograd's transforms: 4 to 7 forward, 2 to 5 backward to the data, 2 and 4
        // to 6 backward to the weights.
        const int a = p.algorithm;
        const bool transforms = shape.direction == static_cast<int>(ConvDirection::forward) ? a >= 4 : a == 2 || a >= 4 ||
                                (a == 3 && shape.direction == static_cast<int>(ConvDirection::data));
        return shape.exact == 0 || !transforms;
    }
};

// A thread's plans.
class CudnnPlans {
public:
    CudnnPlans() = default;
    CudnnPlans(const CudnnPlans&) = delete;
    CudnnPlans& operator=(const CudnnPlans&) = delete;
    ~CudnnPlans() {
        for (CudnnPlan* plan : buckets_)
            while (plan != nullptr) {
                CudnnPlan* const next = plan->next;
                delete plan;
                plan = next;
            }
    }
    CudnnPlan& find(const CudnnShape& shape) {
        constexpr int words = sizeof(CudnnShape) / 4;
        std::uint32_t bits[words];
        std::memcpy(bits, &shape, sizeof shape);
        std::uint64_t hash = 0;
        for (std::uint32_t word : bits) hash = (hash ^ word) * 0x9e3779b97f4a7c15u ^ hash >> 29;
        CudnnPlan*& bucket = buckets_[hash >> 56];
        for (CudnnPlan* plan = bucket; plan != nullptr; plan = plan->next)
            if (std::memcmp(&plan->shape, &shape, sizeof shape) == 0) return *plan;
        CudnnPlan* const fresh = new CudnnPlan;
        fresh->shape = shape;
        try {
            fresh->prepare(cudnn_handle(shape.device));
        } catch (...) {
            delete fresh;
            throw;
        }
        fresh->next = bucket;
        return *(bucket = fresh);
    }

private:
    CudnnPlan* buckets_[256] = {};
};
inline CudnnPlans& cudnn_plans() {
    static thread_local CudnnPlans plans;
    return plans;
}

}  // namespace cuda_detail

inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cuda {
namespace cudnn {

namespace api = cuda_detail::cudnn;
using cuda_detail::ConvDirection;
using cuda_detail::cudnn_type;

// Whether images lie as [n, sizes..., channels].
inline bool channels_last(const ImageStrides<3>& s, long channels, const long* sizes) {
    if (s.channel != 1 && channels != 1) return false;
    long step = channels;
    for (int i = 2; i >= 0; --i) {
        if (sizes[i] != 1 && s.axis[i] != step) return false;
        step *= sizes[i];
    }
    return true;
}

// False where cuDNN cannot be told of it: paddings that differ, offsets beyond 32 bits, elements that share memory.
inline bool describe(const ConvShape<3>& s, const ImageStrides<3>& xs, const ImageStrides<3>& ys, cuda_detail::CudnnShape& r) {
    const bool flat = s.in[0] == 1 && s.out[0] == 1 && s.kernel[0] == 1 && s.padding_begin[0] == 0;
    const int first = flat ? 1 : 0, axes = 3 - first;
    r.rank = axes + 2;
    const bool last = channels_last(xs, s.c_in, s.in) && channels_last(ys, s.c_out, s.out) && (s.c_in > 1 || s.c_out > 1);
    r.format = last ? api::nhwc : api::nchw;
    if (!conv_impl::offsets_fit(xs, s.n, s.c_in, s.in) || !conv_impl::offsets_fit(ys, s.n, s.c_out, s.out)) return false;
    const auto images = [&](int* sizes, int* strides, const ImageStrides<3>& given, long channels, const long* spatial) {
        const ImageStrides<3> packed =
            last ? ImageStrides<3>::channels_last(channels, spatial) : ImageStrides<3>::contiguous(channels, spatial);
        bool possible = true;
        const auto axis = [&](int at, long size, long stride, long otherwise) {
            if (size == 1) stride = otherwise;  // says nothing, and may be what cuDNN would refuse
            possible = possible && stride > 0 && conv_impl::fits_int(size) && conv_impl::fits_int(stride);
            sizes[at] = static_cast<int>(size);
            strides[at] = static_cast<int>(stride);
        };
        axis(0, s.n, given.n, packed.n);
        axis(1, channels, given.channel, packed.channel);
        for (int i = 0; i < axes; ++i) axis(2 + i, spatial[first + i], given.axis[first + i], packed.axis[first + i]);
        return possible;
    };
    if (!images(r.sizes_x, r.strides_x, xs, s.c_in, s.in) || !images(r.sizes_y, r.strides_y, ys, s.c_out, s.out)) return false;
    r.sizes_w[0] = static_cast<int>(s.c_out);
    r.sizes_w[1] = static_cast<int>(s.group_in());
    for (int i = 0; i < axes; ++i) {
        const int a = first + i;
        r.sizes_w[2 + i] = static_cast<int>(s.kernel[a]);
        r.padding[i] = static_cast<int>(s.padding_begin[a]);
        r.stride[i] = static_cast<int>(s.stride[a]);
        r.dilation[i] = static_cast<int>(s.dilation[a]);
        // cuDNN pads both ends alike: as long as it comes to the same size, what the far end has more or less is not read.
        const long room = s.in[a] + 2 * s.padding_begin[a] - s.dilation[a] * (s.kernel[a] - 1) - 1;
        if (room < 0 || room / s.stride[a] + 1 != s.out[a]) return false;
        if (!conv_impl::fits_int(s.kernel[a] * s.dilation[a]) || !conv_impl::fits_int(s.padding_begin[a]) ||
            !conv_impl::fits_int(s.stride[a]))
            return false;
    }
    r.groups = static_cast<int>(s.groups);
    return conv_impl::fits_int(s.c_out * s.group_in() * s.kernel_size());
}

// The weight with its channels last: copied there and back.
struct WeightLayout {
    long dims[5], contiguous[5], last[5];
    explicit WeightLayout(const ConvShape<3>& s)
        : dims{s.c_out, s.group_in(), s.kernel[0], s.kernel[1], s.kernel[2]}, contiguous{}, last{} {
        long step = 1;
        for (int i = 4; i >= 0; --i) contiguous[i] = step, step *= dims[i];
        step = dims[1];
        last[1] = 1;
        for (int i = 4; i >= 2; --i) last[i] = step, step *= dims[i];
        last[0] = step;
    }
};

// result = result * accumulate + the product of a described convolution; false where the library has nothing for it. The weight, if
// it is read, is `b` forward and backward to the data; backward to the weights a is x and b dy.
template <class T>
bool multiply_described(const cuda_detail::CudnnShape& shape, const ConvShape<3>& s, const T* a, const T* b, T* result, bool accumulate) {
    const cuda_detail::CudnnLibrary& library = cuda_detail::cudnn_library();
    const ConvDirection direction = static_cast<ConvDirection>(shape.direction);
    cuda_detail::CudnnPlan& plan = cuda_detail::cudnn_plans().find(shape);
    if (plan.count == 0) return false;

    const bool turned = shape.format == api::nhwc && s.group_in() > 1 && s.kernel_size() > 1;
    const WeightLayout layout(s);
    const Scratch<T> copy(turned ? s.c_out * s.group_in() * s.kernel_size() : 0);
    const bool gradient = direction == ConvDirection::weights;
    if (turned && !gradient) copy_strided(5, layout.dims, copy.get(), layout.last, b, layout.contiguous, static_cast<int>(sizeof(T)));
    const T* const w = turned ? copy.get() : b;
    T* const to = gradient && turned ? copy.get() : result;
    // Factors are of the type that sums are.
    const accumulator<T> one = 1, beta = accumulate && to == result ? 1 : 0;
    const api::Handle handle = cuda_detail::cudnn_handle(shape.device);
    while (plan.count > 0) {
        const int algorithm = plan.algorithm[0];
        const std::size_t bytes = plan.workspace[0];
        const Scratch<char> workspace(static_cast<long>(bytes));
        int status = 0;
        const char* call = nullptr;
        switch (direction) {
            case ConvDirection::forward:
                call = "cudnnConvolutionForward";
                status = library.cudnnConvolutionForward(handle, &one, plan.x, a, plan.w, w, plan.convolution, algorithm, workspace.get(),
                                                         bytes, &beta, plan.y, to);
                break;
            case ConvDirection::data:
                call = "cudnnConvolutionBackwardData";
                status = library.cudnnConvolutionBackwardData(handle, &one, plan.w, w, plan.y, a, plan.convolution, algorithm,
                                                              workspace.get(), bytes, &beta, plan.x, to);
                break;
            case ConvDirection::weights:
                call = "cudnnConvolutionBackwardFilter";
                status = library.cudnnConvolutionBackwardFilter(handle, &one, plan.x, a, plan.y, b, plan.convolution, algorithm,
                                                                workspace.get(), bytes, &beta, plan.w, to);
        }
        if (status == api::success) break;
        // What the heuristic promised and the call refuses: the next one, and none in the end.
        if (!cuda_detail::unsupported(status)) cuda_detail::fail_cudnn(library, status, call);
        plan.drop(0);
    }
    if (plan.count == 0) return false;
    if (gradient && turned) {
        if (accumulate) add_strided(5, layout.dims, result, layout.contiguous, copy.get(), layout.last);
        else copy_strided(5, layout.dims, result, layout.contiguous, copy.get(), layout.last, static_cast<int>(sizeof(T)));
    }
    return true;
}
template <class T>
bool multiply(ConvDirection direction, const ConvShape<3>& s, const T* a, const ImageStrides<3>& xs, const T* b, const ImageStrides<3>& ys,
              T* result, bool accumulate) {
    if (!cuda_detail::cudnn_library().usable || s.n * s.out_size() * s.in_size() == 0) return false;
    cuda_detail::CudnnShape shape{};
    if (!describe(s, xs, ys, shape)) return false;
    shape.direction = static_cast<int>(direction);
    shape.type = cudnn_type<T>;
    shape.compute = cudnn_type<accumulator<T>>;
    const bool tf32 = std::is_same_v<T, double> || __atomic_load_n(&tenon::detail::tf32_allowed, __ATOMIC_RELAXED);
    shape.math = sizeof(T) == 2 ? api::tensor_op_math : tf32 ? api::default_math : api::fma_math;
    shape.exact = __atomic_load_n(&tenon::detail::winograd_outputs, __ATOMIC_RELAXED) == 0;
    shape.device = cuda_detail::current_device();
    if (multiply_described(shape, s, a, b, result, accumulate)) return true;
    if (shape.format == api::nchw) return false;
    shape.format = api::nchw;  // the weight as it is: what there are no algorithms for with channels last may have one so
    return multiply_described(shape, s, a, b, result, accumulate);
}

// Bias and relu of images that have been made: reads and writes them once (16-bit ones are rounded before and after).
template <class T>
__global__ void finish_images(T* images, conv_impl::IntStrides s, Divisor channels, Divisor pixels, Divisor d1, Divisor d2, unsigned count,
                              bool channels_first, ConvEpilogue<T> epilogue) {
#if TENON_DEVICE_CODE
    for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x) {
        unsigned image, channel, pixel;
        if (channels_first) {
            const unsigned rest = channels.quotient(i);
            channel = i - rest * channels.divisor;
            image = pixels.quotient(rest);
            pixel = rest - image * pixels.divisor;
        } else {
            const unsigned rest = pixels.quotient(i);
            pixel = i - rest * pixels.divisor;
            image = channels.quotient(rest);
            channel = rest - image * channels.divisor;
        }
        const conv_impl::Digits p(pixel, d1, d2);
        T* const to = images + static_cast<int>(image) * s.n + static_cast<int>(channel) * s.channel + p.at[0] * s.axis[0] +
                      p.at[1] * s.axis[1] + p.at[2] * s.axis[2];
        conv_impl::finish_result(epilogue, to, static_cast<int>(channel), *to);
    }
#endif
}
template <class T>
void finish(const char* name, T* images, const ImageStrides<3>& s, long n, long channels, const long* sizes,
            const ConvEpilogue<T>& epilogue) {
    if (epilogue.bias == nullptr && !epilogue.relu) return;
    const auto divisor = [](long d) { return Divisor(static_cast<unsigned>(d)); };
    const long pixels = sizes[0] * sizes[1] * sizes[2], count = n * channels * pixels;
    launch(name, finish_images<T>, blocks_for(count, block_threads), block_threads, images, conv_impl::IntStrides(s), divisor(channels),
           divisor(pixels), divisor(sizes[1]), divisor(sizes[2]), static_cast<unsigned>(count), s.channel == 1 && channels > 1,
           ConvEpilogue<T>{nullptr, epilogue.bias, epilogue.relu, false});
}

// Each says whether it has made its result.
template <class T>
bool conv_forward(const ConvShape<3>& s, const T* x, const ImageStrides<3>& xs, const T* w, T* y, const ImageStrides<3>& ys,
                  const ConvEpilogue<T>& epilogue) {
    if (epilogue.scale != nullptr || !multiply<T>(ConvDirection::forward, s, x, xs, w, ys, y, epilogue.accumulate)) return false;
    finish("conv_forward", y, ys, s.n, s.c_out, s.out, epilogue);
    return true;
}
template <class T>
bool conv_backward_data(const ConvShape<3>& s, const T* dy, const ImageStrides<3>& dys, const T* w, T* dx, const ImageStrides<3>& dxs,
                        const ConvEpilogue<T>& epilogue) {
    if (epilogue.scale != nullptr || !multiply<T>(ConvDirection::data, s, dy, dxs, w, dys, dx, epilogue.accumulate)) return false;
    finish("conv_backward_data", dx, dxs, s.n, s.c_in, s.in, epilogue);
    return true;
}
template <class T>
bool conv_backward_weights(const ConvShape<3>& s, const T* x, const ImageStrides<3>& xs, const T* dy, const ImageStrides<3>& dys, T* dw,
                           bool accumulate) {
    return multiply<T>(ConvDirection::weights, s, x, xs, dy, dys, dw, accumulate);
}

}  // namespace cudnn
}  // namespace kernels::cuda
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

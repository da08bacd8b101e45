// cuDNN's legacy convolutions: what it would reject, then the sums by their definition.
#include "cudnn.hpp"

#include <algorithm>
#include <memory>

using namespace cuda_emulator;
using namespace cuda_emulator::cudnn;

namespace {

// Copies of the descriptors: what is enqueued may outlive them.
struct Convolution {
    cudnnTensorStruct x, y;
    cudnnFilterStruct w;
    cudnnConvolutionStruct c;
};

bool packed_channels_last(const cudnnTensorStruct& t) {
    int64_t step = 1;
    const auto axis = [&](size_t i) {
        const bool right = t.strides[i] == step;
        step *= t.sizes[i];
        return right;
    };
    bool r = axis(1);
    for (size_t i = t.sizes.size(); i-- > 2;) r = axis(i) && r;
    return axis(0) && r;
}

cudnnStatus_t convolution_of(cudnnHandle_t handle, cudnnTensorDescriptor_t x, cudnnFilterDescriptor_t w, cudnnConvolutionDescriptor_t c,
                             cudnnTensorDescriptor_t y, Convolution& r) {
    if (!exists(handle)) return reject(CUDNN_STATUS_NOT_INITIALIZED, "cuDNN: a handle that does not exist");
    if (!exists(x) || !exists(w) || !exists(c) || !exists(y))
        return reject(CUDNN_STATUS_BAD_PARAM, "cuDNN: a descriptor that does not exist");
    if (x->rank == 0 || y->rank == 0 || w->rank == 0 || c->axes == 0)
        return reject(CUDNN_STATUS_BAD_PARAM, "cuDNN: a descriptor that was not set");
    r = {*x, *y, *w, *c};
    if (x->rank != y->rank || x->rank != w->rank || x->rank != c->axes + 2)
        return reject(CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH, "cuDNN: ranks %d, %d, %d with %d spatial axes", x->rank, w->rank, y->rank,
                      c->axes);
    if (x->type != y->type || x->type != w->type || c->compute != sum_type(x->type))
        return reject(CUDNN_STATUS_BAD_PARAM, "cuDNN: types %d, %d, %d, computed in %d", x->type, w->type, y->type, c->compute);
    const int groups = c->groups;
    if (x->sizes[1] % groups != 0 || w->sizes[0] % groups != 0 || w->sizes[1] * groups != x->sizes[1])
        return reject(CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH, "cuDNN: %d channels in %d groups, a weight of %d x %d", x->sizes[1], groups,
                      w->sizes[0], w->sizes[1]);
    if (y->sizes[1] != w->sizes[0] || y->sizes[0] != x->sizes[0])
        return reject(CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH, "cuDNN: results [%d, %d], expected [%d, %d]", y->sizes[0], y->sizes[1],
                      x->sizes[0], w->sizes[0]);
    for (int i = 0; i < c->axes; ++i) {
        const auto a = static_cast<size_t>(i), s = a + 2;
        const int room = x->sizes[s] + 2 * c->padding[a] - c->dilations[a] * (w->sizes[s] - 1) - 1,
                  size = room < 0 ? 0 : room / c->strides[a] + 1;
        if (y->sizes[s] != size)
            return reject(CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH, "cuDNN: results of size %d along spatial axis %d, expected %d",
                          y->sizes[s], i, size);
    }
    if (w->format == CUDNN_TENSOR_NHWC && !(packed_channels_last(*x) && packed_channels_last(*y)))
        return unsupported(CUDNN_STATUS_NOT_SUPPORTED_LAYOUT, "a weight with its channels last needs packed images with theirs last");
    return CUDNN_STATUS_SUCCESS;
}

enum class Direction { forward, data, weights };
// Algorithms that add in no fixed order, and those that transform.
bool fixed_order(Direction d, int algorithm) {
    return d == Direction::forward || (algorithm != 0 && !(d == Direction::weights && algorithm == 3));
}
// So that a forgotten workspace is found.
size_t workspace_of(int algorithm) { return algorithm == 0 ? 0 : static_cast<size_t>(algorithm) * 4096 + 512; }

// What the heuristic says: an algorithm that is not there, one that is not deterministic, and the others; none for what is marked by a
// dilation of 7, which stands for shapes that the library has nothing for.
template <class Performance>
cudnnStatus_t recommend(Direction d, const Convolution& c, int requested, int* returned, Performance* results) {
    if (requested < 1 || returned == nullptr || results == nullptr)
        return reject(CUDNN_STATUS_BAD_PARAM, "cuDNN: %d results requested", requested);
    const int orders[3][4] = {{5, 0, 6, 1}, {3, 0, 4, 1}, {6, 0, 5, 1}};
    *returned = 0;
    const bool none = std::count(c.c.dilations.begin(), c.c.dilations.end(), 7) > 0;
    // Winograd's transforms are for small dense kernels of two axes.
    bool transforms = c.c.axes == 2 && c.c.groups == 1;
    for (size_t i = 0; i < static_cast<size_t>(c.c.axes); ++i)
        transforms = transforms && c.w.sizes[2 + i] == 3 && c.c.strides[i] == 1 && c.c.dilations[i] == 1;
    for (int i = 0; i < 4 && *returned < requested; ++i) {
        const int algorithm = orders[static_cast<int>(d)][i];
        Performance p = {};
        p.algo = static_cast<decltype(p.algo)>(algorithm);
        p.status = i == 0 || none || (i == 2 && !transforms) ? CUDNN_STATUS_NOT_SUPPORTED : CUDNN_STATUS_SUCCESS;
        p.time = -1.0f;
        p.memory = workspace_of(algorithm);
        p.determinism =
            fixed_order(d, algorithm) && !(d == Direction::forward && algorithm == 0) ? CUDNN_DETERMINISTIC : CUDNN_NON_DETERMINISTIC;
        p.mathType = c.c.math;
        results[(*returned)++] = p;
    }
    return CUDNN_STATUS_SUCCESS;
}

// The product itself: what results is summed in double by the definition.
cudaError_t run(Direction d, const Convolution& c, double alpha, double beta, const void* x, const void* w, const void* y, void* result) {
    const auto failed = [] { return set_sticky(cudaErrorIllegalAddress), cudaErrorIllegalAddress; };
    const auto w_strides = c.w.strides();
    const cudnnDataType_t type = c.x.type;
    if (d != Direction::data && !readable(c.x.sizes, c.x.strides, type, x, "cuDNN: x")) return failed();
    if (d != Direction::weights && !readable(c.w.sizes, w_strides, type, w, "cuDNN: w")) return failed();
    if (d != Direction::forward && !readable(c.y.sizes, c.y.strides, type, y, "cuDNN: dy")) return failed();
    const auto with_result = [&](auto f) {
        return d == Direction::forward ? f(c.y.sizes, c.y.strides)
               : d == Direction::data  ? f(c.x.sizes, c.x.strides)
                                       : f(c.w.sizes, w_strides);
    };
    if (beta != 0 && !with_result([&](const auto& sizes, const auto& strides) {
            return readable(sizes, strides, type, result, "cuDNN: the result, which beta adds to");
        }))
        return failed();
    if (!with_result([&](const auto& sizes, const auto& strides) { return writable(sizes, strides, type, result, "cuDNN: the result"); }))
        return failed();

    const bool rounds = type == CUDNN_DATA_FLOAT && c.c.math != CUDNN_FMA_MATH;  // to TF32
    const auto factor = [&](const void* from, int64_t at) {
        const double value = load(type, from, at);
        return rounds ? static_cast<double>(round_to_tf32(static_cast<float>(value))) : value;
    };
    const size_t axes = static_cast<size_t>(c.c.axes);
    const int ins = c.w.sizes[1], outs = c.w.sizes[0] / c.c.groups;
    std::vector<double> sums(
        static_cast<size_t>(with_result([](const auto& sizes, const auto& strides) { return extent(sizes, strides); })));
    std::vector<int> kernel(c.w.sizes.begin() + 2, c.w.sizes.end()), none(axes, 0);
    for_elements(c.y.sizes, c.y.strides, [&](int64_t y_at, int64_t index) {
        std::vector<int> at(axes);
        int64_t rest = index;
        for (size_t a = axes; a-- > 0; rest /= c.y.sizes[2 + a]) at[a] = static_cast<int>(rest % c.y.sizes[2 + a]);
        const int out = static_cast<int>(rest % c.y.sizes[1]);
        const int64_t image = rest / c.y.sizes[1];
        return for_elements(kernel, none, [&](int64_t, int64_t tap) {
            int64_t x_at = image * c.x.strides[0] + static_cast<int64_t>(out / outs) * ins * c.x.strides[1], w_at = out * w_strides[0],
                    left = tap;
            for (size_t a = axes; a-- > 0; left /= kernel[a]) {
                const int64_t t = left % kernel[a],
                              in = static_cast<int64_t>(at[a]) * c.c.strides[a] - c.c.padding[a] + t * c.c.dilations[a];
                if (in < 0 || in >= c.x.sizes[2 + a]) return true;
                x_at += in * c.x.strides[2 + a];
                w_at += t * w_strides[2 + a];
            }
            for (int k = 0; k < ins; ++k, x_at += c.x.strides[1], w_at += w_strides[1]) {
                if (d == Direction::forward)
                    sums[static_cast<size_t>(y_at)] += factor(x, x_at) * factor(w, w_at);
                else if (d == Direction::data)
                    sums[static_cast<size_t>(x_at)] += factor(y, y_at) * factor(w, w_at);
                else
                    sums[static_cast<size_t>(w_at)] += factor(x, x_at) * factor(y, y_at);
            }
            return true;
        });
    });
    with_result([&](const auto& sizes, const auto& strides) {
        return for_elements(sizes, strides, [&](int64_t offset, int64_t) {
            store(type, result, offset, alpha * sums[static_cast<size_t>(offset)] + (beta != 0 ? beta * load(type, result, offset) : 0));
            return true;
        });
    });
    return cudaSuccess;
}

cudnnStatus_t convolve(const char* name, Direction d, cudnnHandle_t handle, const void* alpha, cudnnTensorDescriptor_t xd, const void* x,
                       cudnnFilterDescriptor_t wd, const void* w, cudnnConvolutionDescriptor_t cd, cudnnTensorDescriptor_t yd,
                       const void* y, void* result, int algorithm, void* workspace, size_t bytes, const void* beta) {
    std::lock_guard lock(mutex());
    if (cudnnStatus_t status; told_to_fail(name, status)) return status;
    Convolution c;
    if (cudnnStatus_t s = convolution_of(handle, xd, wd, cd, yd, c)) return s;
    if (!known_stream(handle->stream)) return reject(CUDNN_STATUS_BAD_PARAM, "%s: a stream that does not exist", name);
    if (alpha == nullptr || beta == nullptr || result == nullptr) return reject(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "%s: null", name);
    if (in_arena(alpha) || in_arena(beta)) return reject(CUDNN_STATUS_BAD_PARAM, "%s: alpha or beta in device memory", name);
    const size_t size = size_of_type(c.x.type);
    struct Operand { const void* data; int64_t elements; };
    const Operand all[] = {{x, extent(c.x.sizes, c.x.strides)}, {w, extent(c.w.sizes, c.w.strides())}, {y, extent(c.y.sizes, c.y.strides)}};
    const int target = d == Direction::forward ? 2 : d == Direction::data ? 0 : 1;
    for (int i = 0; i < 3; ++i) {
        const uintptr_t at = reinterpret_cast<uintptr_t>(i == target ? result : all[i].data), to = reinterpret_cast<uintptr_t>(result);
        if (at == 0) return reject(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "%s: an operand is null", name);
        if (at % size != 0) return reject(CUDNN_STATUS_BAD_PARAM_MISALIGNED_POINTER, "%s: an operand is not aligned to its type", name);
        if (i != target && at < to + static_cast<size_t>(all[target].elements) * size &&
            to < at + static_cast<size_t>(all[i].elements) * size)
            return reject(CUDNN_STATUS_BAD_PARAM, "%s: the result overlaps an operand", name);
    }
    if (!fixed_order(d, algorithm)) return reject(CUDNN_STATUS_NOT_SUPPORTED, "%s: algorithm %d adds in no fixed order", name, algorithm);
    if (bytes < workspace_of(algorithm))
        return reject(CUDNN_STATUS_BAD_PARAM_SIZE_INSUFFICIENT, "%s: algorithm %d needs %zu bytes of workspace, got %zu", name, algorithm,
                      workspace_of(algorithm), bytes);
    if (bytes != 0) {
        if (workspace == nullptr || reinterpret_cast<uintptr_t>(workspace) % 16 != 0)
            return reject(CUDNN_STATUS_BAD_PARAM_MISALIGNED_POINTER, "%s: the workspace is null or not aligned to 16 bytes", name);
        if (uintptr_t bad = first_inaccessible(reinterpret_cast<uintptr_t>(workspace), bytes); bad != 0)
            return reject(CUDNN_STATUS_BAD_PARAM, "%s: workspace of %zu bytes reaches %s", name, bytes, describe(bad).c_str());
    }
    const double a = load(sum_type(c.x.type), alpha, 0), b = load(sum_type(c.x.type), beta, 0);
    count_convolution(algorithm);
    auto what = std::make_shared<Convolution>(c);
    const cudaError_t error = enqueue(handle->stream, cudaGraphNodeTypeKernel, [=] { return run(d, *what, a, b, x, w, y, result); });
    return error == cudaSuccess ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_EXECUTION_FAILED;
}

}  // namespace

extern "C" {

cudnnStatus_t cudnnCreateConvolutionDescriptor(cudnnConvolutionDescriptor_t* c) { return create(c, "cudnnCreateConvolutionDescriptor"); }
cudnnStatus_t cudnnDestroyConvolutionDescriptor(cudnnConvolutionDescriptor_t c) { return destroy(c, "cudnnDestroyConvolutionDescriptor"); }
cudnnStatus_t cudnnSetConvolutionNdDescriptor(cudnnConvolutionDescriptor_t c, int axes, const int padding[], const int strides[],
                                              const int dilations[], cudnnConvolutionMode_t mode, cudnnDataType_t compute) {
    std::lock_guard lock(mutex());
    if (!exists(c)) return reject(CUDNN_STATUS_BAD_PARAM, "cudnnSetConvolutionNdDescriptor: a descriptor that does not exist");
    if (axes < 2 || axes > 6) return reject(CUDNN_STATUS_NOT_SUPPORTED, "cudnnSetConvolutionNdDescriptor: %d spatial axes", axes);
    for (int i = 0; i < axes; ++i)
        if (padding[i] < 0 || strides[i] < 1 || dilations[i] < 1)
            return reject(CUDNN_STATUS_BAD_PARAM, "cudnnSetConvolutionNdDescriptor: padding %d, stride %d, dilation %d", padding[i],
                          strides[i], dilations[i]);
    if (mode != CUDNN_CROSS_CORRELATION)
        return reject(CUDNN_STATUS_BAD_PARAM, "cudnnSetConvolutionNdDescriptor: mode %d is not emulated", mode);
    c->axes = axes;
    c->padding.assign(padding, padding + axes);
    c->strides.assign(strides, strides + axes);
    c->dilations.assign(dilations, dilations + axes);
    c->compute = compute;
    return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnSetConvolutionGroupCount(cudnnConvolutionDescriptor_t c, int groups) {
    std::lock_guard lock(mutex());
    if (!exists(c) || groups < 1) return reject(CUDNN_STATUS_BAD_PARAM, "cudnnSetConvolutionGroupCount: %d groups", groups);
    c->groups = groups;
    return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnSetConvolutionMathType(cudnnConvolutionDescriptor_t c, cudnnMathType_t math) {
    std::lock_guard lock(mutex());
    if (!exists(c) || math < CUDNN_DEFAULT_MATH || math > CUDNN_FMA_MATH)
        return reject(CUDNN_STATUS_BAD_PARAM, "cudnnSetConvolutionMathType: %d", math);
    c->math = math;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnGetConvolutionForwardAlgorithm_v7(cudnnHandle_t handle, cudnnTensorDescriptor_t x, cudnnFilterDescriptor_t w,
                                                     cudnnConvolutionDescriptor_t cd, cudnnTensorDescriptor_t y, int requested,
                                                     int* returned, cudnnConvolutionFwdAlgoPerf_t* results) {
    std::lock_guard lock(mutex());
    Convolution c;
    if (cudnnStatus_t status; told_to_fail("cudnnGetConvolutionForwardAlgorithm_v7", status)) return status;
    if (cudnnStatus_t s = convolution_of(handle, x, w, cd, y, c)) return s;
    return recommend(Direction::forward, c, requested, returned, results);
}
cudnnStatus_t cudnnGetConvolutionBackwardDataAlgorithm_v7(cudnnHandle_t handle, cudnnFilterDescriptor_t w, cudnnTensorDescriptor_t dy,
                                                          cudnnConvolutionDescriptor_t cd, cudnnTensorDescriptor_t dx, int requested,
                                                          int* returned, cudnnConvolutionBwdDataAlgoPerf_t* results) {
    std::lock_guard lock(mutex());
    Convolution c;
    if (cudnnStatus_t status; told_to_fail("cudnnGetConvolutionBackwardDataAlgorithm_v7", status)) return status;
    if (cudnnStatus_t s = convolution_of(handle, dx, w, cd, dy, c)) return s;
    return recommend(Direction::data, c, requested, returned, results);
}
cudnnStatus_t cudnnGetConvolutionBackwardFilterAlgorithm_v7(cudnnHandle_t handle, cudnnTensorDescriptor_t x, cudnnTensorDescriptor_t dy,
                                                            cudnnConvolutionDescriptor_t cd, cudnnFilterDescriptor_t dw, int requested,
                                                            int* returned, cudnnConvolutionBwdFilterAlgoPerf_t* results) {
    std::lock_guard lock(mutex());
    Convolution c;
    if (cudnnStatus_t status; told_to_fail("cudnnGetConvolutionBackwardFilterAlgorithm_v7", status)) return status;
    if (cudnnStatus_t s = convolution_of(handle, x, dw, cd, dy, c)) return s;
    return recommend(Direction::weights, c, requested, returned, results);
}

cudnnStatus_t cudnnConvolutionForward(cudnnHandle_t handle, const void* alpha, cudnnTensorDescriptor_t xd, const void* x,
                                      cudnnFilterDescriptor_t wd, const void* w, cudnnConvolutionDescriptor_t cd,
                                      cudnnConvolutionFwdAlgo_t algorithm, void* workspace, size_t bytes, const void* beta,
                                      cudnnTensorDescriptor_t yd, void* y) {
    return convolve("cudnnConvolutionForward", Direction::forward, handle, alpha, xd, x, wd, w, cd, yd, nullptr, y, algorithm, workspace,
                    bytes, beta);
}
cudnnStatus_t cudnnConvolutionBackwardData(cudnnHandle_t handle, const void* alpha, cudnnFilterDescriptor_t wd, const void* w,
                                           cudnnTensorDescriptor_t yd, const void* dy, cudnnConvolutionDescriptor_t cd,
                                           cudnnConvolutionBwdDataAlgo_t algorithm, void* workspace, size_t bytes, const void* beta,
                                           cudnnTensorDescriptor_t xd, void* dx) {
    return convolve("cudnnConvolutionBackwardData", Direction::data, handle, alpha, xd, nullptr, wd, w, cd, yd, dy, dx, algorithm,
                    workspace, bytes, beta);
}
cudnnStatus_t cudnnConvolutionBackwardFilter(cudnnHandle_t handle, const void* alpha, cudnnTensorDescriptor_t xd, const void* x,
                                             cudnnTensorDescriptor_t yd, const void* dy, cudnnConvolutionDescriptor_t cd,
                                             cudnnConvolutionBwdFilterAlgo_t algorithm, void* workspace, size_t bytes, const void* beta,
                                             cudnnFilterDescriptor_t wd, void* dw) {
    return convolve("cudnnConvolutionBackwardFilter", Direction::weights, handle, alpha, xd, x, wd, nullptr, cd, yd, dy, dw, algorithm,
                    workspace, bytes, beta);
}
}

// cuDNN's pooling: what it would reject, then windows by their definition.
#include "cudnn.hpp"

#include <math.h>

#include <memory>

using namespace cuda_emulator;
using namespace cuda_emulator::cudnn;

namespace {

struct Pooling {
    cudnnPoolingStruct p;
    cudnnTensorStruct x, y;
};
cudnnStatus_t pooling_of(const char* name, cudnnHandle_t handle, cudnnPoolingDescriptor_t p, cudnnTensorDescriptor_t x,
                         cudnnTensorDescriptor_t y, Pooling& r) {
    if (!exists(handle)) return reject(CUDNN_STATUS_NOT_INITIALIZED, "%s: a handle that does not exist", name);
    if (!exists(p) || !exists(x) || !exists(y)) return reject(CUDNN_STATUS_BAD_PARAM, "%s: a descriptor that does not exist", name);
    if (x->rank == 0 || y->rank == 0 || p->axes == 0) return reject(CUDNN_STATUS_BAD_PARAM, "%s: a descriptor that was not set", name);
    if (x->rank != y->rank || x->rank != p->axes + 2)
        return reject(CUDNN_STATUS_BAD_PARAM, "%s: ranks %d and %d with %d spatial axes", name, x->rank, y->rank, p->axes);
    if (x->type != y->type) return reject(CUDNN_STATUS_BAD_PARAM, "%s: types %d and %d", name, x->type, y->type);
    if (x->sizes[0] != y->sizes[0] || x->sizes[1] != y->sizes[1])
        return reject(CUDNN_STATUS_BAD_PARAM, "%s: images [%d, %d], results [%d, %d]", name, x->sizes[0], x->sizes[1], y->sizes[0],
                      y->sizes[1]);
    for (size_t i = 0; i < static_cast<size_t>(p->axes); ++i) {
        const int room = x->sizes[2 + i] + 2 * p->padding[i] - p->window[i], size = room < 0 ? 0 : room / p->strides[i] + 1;
        if (y->sizes[2 + i] != size)
            return reject(CUDNN_STATUS_BAD_PARAM, "%s: results of size %d along spatial axis %zu, expected %d", name, y->sizes[2 + i], i,
                          size);
    }
    r = {*p, *x, *y};
    return CUDNN_STATUS_SUCCESS;
}
// f(offset in x) for the elements of the window of a result.
template <class F>
void for_window(const Pooling& c, int64_t index, F f) {
    const size_t axes = static_cast<size_t>(c.p.axes);
    std::vector<int> at(axes), none(axes, 0);
    int64_t rest = index;
    for (size_t a = axes; a-- > 0; rest /= c.y.sizes[2 + a]) at[a] = static_cast<int>(rest % c.y.sizes[2 + a]);
    const int64_t plane = rest / c.y.sizes[1] * c.x.strides[0] + rest % c.y.sizes[1] * c.x.strides[1];
    for_elements(c.p.window, none, [&](int64_t, int64_t tap) {
        int64_t offset = plane;
        for (size_t a = axes; a-- > 0; tap /= c.p.window[a]) {
            const int64_t in = static_cast<int64_t>(at[a]) * c.p.strides[a] - c.p.padding[a] + tap % c.p.window[a];
            if (in < 0 || in >= c.x.sizes[2 + a]) return true;
            offset += in * c.x.strides[2 + a];
        }
        f(offset);
        return true;
    });
}
int64_t divisor_of(const Pooling& c, int64_t index) {
    int64_t count = 0;
    if (c.p.mode == CUDNN_POOLING_AVERAGE_COUNT_INCLUDE_PADDING) {
        count = 1;
        for (int n : c.p.window) count *= n;
    } else {
        for_window(c, index, [&](int64_t) { ++count; });
    }
    return count;
}
// from, to: x and y, or dy and dx.
cudaError_t run_pooling(const Pooling& c, bool backward, double alpha, double beta, const void* from, void* to) {
    const cudnnTensorStruct &source = backward ? c.y : c.x, &target = backward ? c.x : c.y;
    const cudnnDataType_t type = c.x.type;
    if (!readable(source.sizes, source.strides, type, from, backward ? "cuDNN: dy" : "cuDNN: x") ||
        (beta != 0 && !readable(target.sizes, target.strides, type, to, "cuDNN: the result, which beta adds to")) ||
        !writable(target.sizes, target.strides, type, to, "cuDNN: the result"))
        return set_sticky(cudaErrorIllegalAddress), cudaErrorIllegalAddress;
    std::vector<double> results(static_cast<size_t>(extent(target.sizes, target.strides)));
    for_elements(c.y.sizes, c.y.strides, [&](int64_t y_at, int64_t index) {
        if (backward) {
            const double share = load(type, from, y_at) / static_cast<double>(divisor_of(c, index));
            for_window(c, index, [&](int64_t x_at) { results[static_cast<size_t>(x_at)] += share; });
            return true;
        }
        const bool average =
            c.p.mode == CUDNN_POOLING_AVERAGE_COUNT_INCLUDE_PADDING || c.p.mode == CUDNN_POOLING_AVERAGE_COUNT_EXCLUDE_PADDING;
        double result = average ? 0 : -HUGE_VAL;
        bool odd = false;
        for_window(c, index, [&](int64_t x_at) {
            const double value = load(type, from, x_at);
            odd = odd || value != value;
            result = average ? result + value : value > result ? value : result;
        });
        if (average) result /= static_cast<double>(divisor_of(c, index));
        else if (odd && c.p.nan == CUDNN_PROPAGATE_NAN) result = NAN;
        results[static_cast<size_t>(y_at)] = result;
        return true;
    });
    for_elements(target.sizes, target.strides, [&](int64_t at, int64_t) {
        store(type, to, at, alpha * results[static_cast<size_t>(at)] + (beta != 0 ? beta * load(type, to, at) : 0));
        return true;
    });
    return cudaSuccess;
}
// others: what is described, and must be there, but is not read.
cudnnStatus_t pool(const char* name, bool backward, cudnnHandle_t handle, cudnnPoolingDescriptor_t pd, const void* alpha,
                   cudnnTensorDescriptor_t xd, cudnnTensorDescriptor_t yd, const void* from, std::vector<const void*> others,
                   const void* beta, void* to) {
    Pooling c;
    if (cudnnStatus_t s = pooling_of(name, handle, pd, xd, yd, c)) return s;
    if (!known_stream(handle->stream)) return reject(CUDNN_STATUS_BAD_PARAM, "%s: a stream that does not exist", name);
    if (alpha == nullptr || beta == nullptr) return reject(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "%s: null", name);
    if (in_arena(alpha) || in_arena(beta)) return reject(CUDNN_STATUS_BAD_PARAM, "%s: alpha or beta in device memory", name);
    const size_t size = size_of_type(c.x.type);
    others.push_back(from);
    others.push_back(to);
    for (const void* operand : others) {
        if (operand == nullptr) return reject(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "%s: an operand is null", name);
        if (reinterpret_cast<uintptr_t>(operand) % size != 0)
            return reject(CUDNN_STATUS_BAD_PARAM_MISALIGNED_POINTER, "%s: an operand is not aligned to its type", name);
    }
    const auto bytes = [&](const cudnnTensorStruct& t) { return static_cast<size_t>(extent(t.sizes, t.strides)) * size; };
    const char *read = static_cast<const char*>(from), *written = static_cast<const char*>(to);
    if (read < written + bytes(backward ? c.x : c.y) && written < read + bytes(backward ? c.y : c.x))
        return reject(CUDNN_STATUS_BAD_PARAM, "%s: the result overlaps an operand", name);
    if (backward && c.p.mode != CUDNN_POOLING_AVERAGE_COUNT_INCLUDE_PADDING && c.p.mode != CUDNN_POOLING_AVERAGE_COUNT_EXCLUDE_PADDING)
        return reject(CUDNN_STATUS_NOT_SUPPORTED, "%s: the derivative of mode %d is not emulated", name, c.p.mode);
    const double a = load(sum_type(c.x.type), alpha, 0), b = load(sum_type(c.x.type), beta, 0);
    count_pooling();
    auto what = std::make_shared<Pooling>(c);
    const cudaError_t error =
        enqueue(handle->stream, cudaGraphNodeTypeKernel, [=] { return run_pooling(*what, backward, a, b, from, to); });
    return error == cudaSuccess ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_EXECUTION_FAILED;
}

}  // namespace

extern "C" {

cudnnStatus_t cudnnCreatePoolingDescriptor(cudnnPoolingDescriptor_t* p) { return create(p, "cudnnCreatePoolingDescriptor"); }
cudnnStatus_t cudnnDestroyPoolingDescriptor(cudnnPoolingDescriptor_t p) { return destroy(p, "cudnnDestroyPoolingDescriptor"); }
cudnnStatus_t cudnnSetPoolingNdDescriptor(cudnnPoolingDescriptor_t p, cudnnPoolingMode_t mode, cudnnNanPropagation_t nan, int axes,
                                          const int window[], const int padding[], const int strides[]) {
    std::lock_guard lock(mutex());
    if (!exists(p)) return reject(CUDNN_STATUS_BAD_PARAM, "cudnnSetPoolingNdDescriptor: a descriptor that does not exist");
    if (mode < CUDNN_POOLING_MAX || mode > CUDNN_POOLING_MAX_DETERMINISTIC || nan < CUDNN_NOT_PROPAGATE_NAN || nan > CUDNN_PROPAGATE_NAN)
        return reject(CUDNN_STATUS_BAD_PARAM, "cudnnSetPoolingNdDescriptor: mode %d, propagation of NaN %d", mode, nan);
    if (axes < 2 || axes > 3) return reject(CUDNN_STATUS_NOT_SUPPORTED, "cudnnSetPoolingNdDescriptor: %d spatial axes", axes);
    for (int i = 0; i < axes; ++i)
        if (window[i] < 1 || padding[i] < 0 || strides[i] < 1 || padding[i] >= window[i])
            return reject(CUDNN_STATUS_BAD_PARAM, "cudnnSetPoolingNdDescriptor: window %d, padding %d, stride %d", window[i], padding[i],
                          strides[i]);
    p->axes = axes;
    p->mode = mode;
    p->nan = nan;
    p->window.assign(window, window + axes);
    p->padding.assign(padding, padding + axes);
    p->strides.assign(strides, strides + axes);
    return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnPoolingForward(cudnnHandle_t handle, cudnnPoolingDescriptor_t pd, const void* alpha, cudnnTensorDescriptor_t xd,
                                  const void* x, const void* beta, cudnnTensorDescriptor_t yd, void* y) {
    std::lock_guard lock(mutex());
    if (cudnnStatus_t status; told_to_fail("cudnnPoolingForward", status)) return status;
    return pool("cudnnPoolingForward", false, handle, pd, alpha, xd, yd, x, {}, beta, y);
}
cudnnStatus_t cudnnPoolingBackward(cudnnHandle_t handle, cudnnPoolingDescriptor_t pd, const void* alpha, cudnnTensorDescriptor_t yd,
                                   const void* y, cudnnTensorDescriptor_t dyd, const void* dy, cudnnTensorDescriptor_t xd, const void* x,
                                   const void* beta, cudnnTensorDescriptor_t dxd, void* dx) {
    std::lock_guard lock(mutex());
    if (cudnnStatus_t status; told_to_fail("cudnnPoolingBackward", status)) return status;
    Pooling other;
    if (cudnnStatus_t s = pooling_of("cudnnPoolingBackward", handle, pd, xd, yd, other)) return s;
    return pool("cudnnPoolingBackward", true, handle, pd, alpha, dxd, dyd, dy, {x, y}, beta, dx);
}
}

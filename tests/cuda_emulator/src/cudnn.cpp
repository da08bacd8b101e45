#include "../cudnn.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "../emulator/control.hpp"
#include "../emulator/libraries.hpp"
#include "gemm.hpp"
#include "host.hpp"
#include "memory.hpp"
#include "stream.hpp"

struct cudnnContext {
    cudaStream_t stream = nullptr;
};
struct cudnnTensorStruct {
    int rank = 0;
    cudnnDataType_t type = CUDNN_DATA_FLOAT;
    std::vector<int> sizes, strides;
};
struct cudnnFilterStruct {
    int rank = 0;
    cudnnDataType_t type = CUDNN_DATA_FLOAT;
    cudnnTensorFormat_t format = CUDNN_TENSOR_NCHW;
    std::vector<int> sizes;
    std::vector<int64_t> strides() const {
        std::vector<int64_t> r(sizes.size());
        int64_t step = 1;
        if (format == CUDNN_TENSOR_NHWC) r[1] = 1, step = sizes[1];
        for (size_t i = sizes.size(); i-- > 2;) r[i] = step, step *= sizes[i];
        if (format == CUDNN_TENSOR_NCHW) r[1] = step, step *= sizes[1];
        r[0] = step;
        return r;
    }
};
struct cudnnConvolutionStruct {
    int axes = 0, groups = 1;
    std::vector<int> padding, strides, dilations;
    cudnnMathType_t math = CUDNN_DEFAULT_MATH;
    cudnnDataType_t compute = CUDNN_DATA_FLOAT;
};

struct cudnnPoolingStruct {
    int axes = 0;
    cudnnPoolingMode_t mode = CUDNN_POOLING_MAX;
    cudnnNanPropagation_t nan = CUDNN_NOT_PROPAGATE_NAN;
    std::vector<int> window, padding, strides;
};

using namespace cuda_emulator;

namespace {

std::set<void*>& objects = *new std::set<void*>;  // handles and descriptors that exist
bool installed = [] {
    const char* text = getenv("TENON_EMULATOR_CUDNN");
    return text != nullptr && strcmp(text, "1") == 0;
}();
size_t version = 91900;
std::string &hidden = *new std::string, &failing = *new std::string, &last_message = *new std::string;
int failing_status = 0, last_algorithm = -1;
long convolutions = 0, poolings = 0;

cudnnStatus_t reject(cudnnStatus_t status, const char* format, ...) __attribute__((format(printf, 2, 3)));
// A mistake of the caller: kept as the fault.
cudnnStatus_t reject(cudnnStatus_t status, const char* format, ...) {
    char buffer[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(buffer, sizeof buffer, format, arguments);
    va_end(arguments);
    last_message = buffer;
    keep_fault(buffer);
    return status;
}
// What the library does not have: no mistake.
cudnnStatus_t unsupported(cudnnStatus_t status, const char* why) {
    last_message = why;
    return status;
}
bool told_to_fail(const char* name, cudnnStatus_t& status) {
    if (failing != name) return false;
    failing.clear();
    last_message = std::string(name) + " was told to fail";
    status = static_cast<cudnnStatus_t>(failing_status);
    return true;
}

template <class T>
cudnnStatus_t create(T** object, const char* name) {
    std::lock_guard lock(mutex());
    if (cudnnStatus_t status; told_to_fail(name, status)) return status;
    if (object == nullptr) return reject(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "%s: null", name);
    *object = new T;
    objects.insert(*object);
    return CUDNN_STATUS_SUCCESS;
}
template <class T>
cudnnStatus_t destroy(T* object, const char* name) {
    std::lock_guard lock(mutex());
    if (objects.erase(object) == 0) return reject(CUDNN_STATUS_BAD_PARAM, "%s: an object that does not exist", name);
    delete object;
    return CUDNN_STATUS_SUCCESS;
}
bool exists(void* object) { return objects.count(object) != 0; }

cudaDataType cuda_type(cudnnDataType_t type) {
    switch (type) {
        case CUDNN_DATA_DOUBLE: return CUDA_R_64F;
        case CUDNN_DATA_HALF: return CUDA_R_16F;
        case CUDNN_DATA_BFLOAT16: return CUDA_R_16BF;
        default: return CUDA_R_32F;
    }
}
size_t size_of_type(cudnnDataType_t type) { return size_of(cuda_type(type)); }
bool emulated(cudnnDataType_t type) {
    return type == CUDNN_DATA_FLOAT || type == CUDNN_DATA_DOUBLE || type == CUDNN_DATA_HALF || type == CUDNN_DATA_BFLOAT16;
}
double load(cudnnDataType_t type, const void* base, int64_t i) { return cuda_emulator::load(cuda_type(type), base, i); }
void store(cudnnDataType_t type, void* base, int64_t i, double value) {
    cuda_emulator::store(cuda_type(type), base, i, value);
}
// What sums are kept in, and alpha and beta are of.
cudnnDataType_t sum_type(cudnnDataType_t type) { return type == CUDNN_DATA_DOUBLE ? CUDNN_DATA_DOUBLE : CUDNN_DATA_FLOAT; }

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

// f(offset, index) for every element; index counts in row-major order.
template <class Strides, class F>
bool for_elements(const std::vector<int>& sizes, const Strides& strides, F f) {
    int64_t count = 1;
    for (int n : sizes) count *= n;
    for (int64_t i = 0; i < count; ++i) {
        int64_t rest = i, offset = 0;
        for (size_t a = sizes.size(); a-- > 0; rest /= sizes[a]) offset += rest % sizes[a] * strides[a];
        if (!f(offset, i)) return false;
    }
    return true;
}
template <class Strides>
bool readable(const std::vector<int>& sizes, const Strides& strides, cudnnDataType_t type, const void* data, const char* what) {
    const size_t size = size_of_type(type);
    return for_elements(sizes, strides, [&](int64_t at, int64_t) {
        return check_read(static_cast<const char*>(data) + at * static_cast<int64_t>(size), size, what);
    });
}
template <class Strides>
bool writable(const std::vector<int>& sizes, const Strides& strides, cudnnDataType_t type, void* data, const char* what) {
    const size_t size = size_of_type(type);
    return for_elements(sizes, strides, [&](int64_t at, int64_t) {
        return check_write(static_cast<char*>(data) + at * static_cast<int64_t>(size), size, what);
    });
}
template <class Strides>
int64_t extent(const std::vector<int>& sizes, const Strides& strides) {
    int64_t last = 0;
    for (size_t i = 0; i < sizes.size(); ++i) last += static_cast<int64_t>(sizes[i] - 1) * strides[i];
    return last + 1;
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
    last_algorithm = algorithm;
    ++convolutions;
    auto what = std::make_shared<Convolution>(c);
    const cudaError_t error = enqueue(handle->stream, cudaGraphNodeTypeKernel, [=] { return run(d, *what, a, b, x, w, y, result); });
    return error == cudaSuccess ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_EXECUTION_FAILED;
}

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
    ++poolings;
    auto what = std::make_shared<Pooling>(c);
    const cudaError_t error = enqueue(handle->stream, cudaGraphNodeTypeKernel, [=] { return run_pooling(*what, backward, a, b, from, to); });
    return error == cudaSuccess ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_EXECUTION_FAILED;
}

// For the tests of the dynamic linker.
char the_library;

}  // namespace

extern "C" {

size_t cudnnGetVersion() { return version; }
const char* cudnnGetErrorString(cudnnStatus_t status) {
    switch (status) {
#define X(name) \
    case name: return #name
        X(CUDNN_STATUS_SUCCESS);
        X(CUDNN_STATUS_NOT_INITIALIZED);
        X(CUDNN_STATUS_BAD_PARAM);
        X(CUDNN_STATUS_BAD_PARAM_NULL_POINTER);
        X(CUDNN_STATUS_BAD_PARAM_MISALIGNED_POINTER);
        X(CUDNN_STATUS_BAD_PARAM_SIZE_INSUFFICIENT);
        X(CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH);
        X(CUDNN_STATUS_NOT_SUPPORTED);
        X(CUDNN_STATUS_NOT_SUPPORTED_SHAPE);
        X(CUDNN_STATUS_NOT_SUPPORTED_LAYOUT);
        X(CUDNN_STATUS_INTERNAL_ERROR);
        X(CUDNN_STATUS_EXECUTION_FAILED);
#undef X
    }
    return "CUDNN_UNKNOWN_STATUS";
}
void cudnnGetLastErrorString(char* message, size_t most) {
    std::lock_guard lock(mutex());
    snprintf(message, most, "%s", last_message.c_str());
}

cudnnStatus_t cudnnCreate(cudnnHandle_t* handle) {
    return sticky() != cudaSuccess ? CUDNN_STATUS_NOT_INITIALIZED : create(handle, "cudnnCreate");
}
cudnnStatus_t cudnnDestroy(cudnnHandle_t handle) { return destroy(handle, "cudnnDestroy"); }
cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream) {
    std::lock_guard lock(mutex());
    if (!exists(handle)) return reject(CUDNN_STATUS_NOT_INITIALIZED, "cudnnSetStream: a handle that does not exist");
    if (!known_stream(stream)) return reject(CUDNN_STATUS_BAD_PARAM, "cudnnSetStream: a stream that does not exist");
    handle->stream = stream;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnCreateTensorDescriptor(cudnnTensorDescriptor_t* t) { return create(t, "cudnnCreateTensorDescriptor"); }
cudnnStatus_t cudnnDestroyTensorDescriptor(cudnnTensorDescriptor_t t) { return destroy(t, "cudnnDestroyTensorDescriptor"); }
cudnnStatus_t cudnnSetTensorNdDescriptor(cudnnTensorDescriptor_t t, cudnnDataType_t type, int rank, const int sizes[],
                                         const int strides[]) {
    std::lock_guard lock(mutex());
    if (!exists(t)) return reject(CUDNN_STATUS_BAD_PARAM, "cudnnSetTensorNdDescriptor: a descriptor that does not exist");
    if (rank < 4 || rank > 8) return reject(CUDNN_STATUS_NOT_SUPPORTED, "cudnnSetTensorNdDescriptor: rank %d, expected 4 to 8", rank);
    if (!emulated(type))
        return reject(CUDNN_STATUS_BAD_PARAM, "cudnnSetTensorNdDescriptor: type %d is not emulated", type);
    int64_t last = 0;
    for (int i = 0; i < rank; ++i) {
        if (sizes[i] < 1 || strides[i] < 1)
            return reject(CUDNN_STATUS_BAD_PARAM, "cudnnSetTensorNdDescriptor: size %d and stride %d of axis %d, expected 1 or more",
                          sizes[i], strides[i], i);
        last += static_cast<int64_t>(sizes[i] - 1) * strides[i];
    }
    if (last >= int64_t(1) << 31) return reject(CUDNN_STATUS_NOT_SUPPORTED, "cudnnSetTensorNdDescriptor: more than 2^31 elements");
    t->rank = rank;
    t->type = type;
    t->sizes.assign(sizes, sizes + rank);
    t->strides.assign(strides, strides + rank);
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnCreateFilterDescriptor(cudnnFilterDescriptor_t* f) { return create(f, "cudnnCreateFilterDescriptor"); }
cudnnStatus_t cudnnDestroyFilterDescriptor(cudnnFilterDescriptor_t f) { return destroy(f, "cudnnDestroyFilterDescriptor"); }
cudnnStatus_t cudnnSetFilterNdDescriptor(cudnnFilterDescriptor_t f, cudnnDataType_t type, cudnnTensorFormat_t format, int rank,
                                         const int sizes[]) {
    std::lock_guard lock(mutex());
    if (!exists(f)) return reject(CUDNN_STATUS_BAD_PARAM, "cudnnSetFilterNdDescriptor: a descriptor that does not exist");
    if (rank < 4 || rank > 8) return reject(CUDNN_STATUS_NOT_SUPPORTED, "cudnnSetFilterNdDescriptor: rank %d, expected 4 to 8", rank);
    if (!emulated(type)) return reject(CUDNN_STATUS_BAD_PARAM, "cudnnSetFilterNdDescriptor: type %d is not emulated", type);
    if (format != CUDNN_TENSOR_NCHW && format != CUDNN_TENSOR_NHWC)
        return reject(CUDNN_STATUS_BAD_PARAM, "cudnnSetFilterNdDescriptor: format %d", format);
    for (int i = 0; i < rank; ++i)
        if (sizes[i] < 1) return reject(CUDNN_STATUS_BAD_PARAM, "cudnnSetFilterNdDescriptor: size %d of axis %d", sizes[i], i);
    f->rank = rank;
    f->type = type;
    f->format = format;
    f->sizes.assign(sizes, sizes + rank);
    return CUDNN_STATUS_SUCCESS;
}

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

namespace cuda_emulator {

void* open_library(const char* path) {
    const char* const slash = strrchr(path, '/');
    return installed && strcmp(slash == nullptr ? path : slash + 1, "libcudnn.so.9") == 0 ? &the_library : nullptr;
}
const char* library_error() { return "no such library is emulated"; }
void* library_symbol(void* library, const char* name) {
    if (library != &the_library || hidden == name) return nullptr;
#define X(entry) \
    if (strcmp(name, #entry) == 0) return reinterpret_cast<void*>(entry)
    X(cudnnGetVersion);
    X(cudnnGetErrorString);
    X(cudnnGetLastErrorString);
    X(cudnnCreate);
    X(cudnnDestroy);
    X(cudnnSetStream);
    X(cudnnCreateTensorDescriptor);
    X(cudnnSetTensorNdDescriptor);
    X(cudnnDestroyTensorDescriptor);
    X(cudnnCreateFilterDescriptor);
    X(cudnnSetFilterNdDescriptor);
    X(cudnnDestroyFilterDescriptor);
    X(cudnnCreateConvolutionDescriptor);
    X(cudnnSetConvolutionNdDescriptor);
    X(cudnnSetConvolutionGroupCount);
    X(cudnnSetConvolutionMathType);
    X(cudnnDestroyConvolutionDescriptor);
    X(cudnnGetConvolutionForwardAlgorithm_v7);
    X(cudnnGetConvolutionBackwardDataAlgorithm_v7);
    X(cudnnGetConvolutionBackwardFilterAlgorithm_v7);
    X(cudnnConvolutionForward);
    X(cudnnConvolutionBackwardData);
    X(cudnnConvolutionBackwardFilter);
    X(cudnnCreatePoolingDescriptor);
    X(cudnnSetPoolingNdDescriptor);
    X(cudnnDestroyPoolingDescriptor);
    X(cudnnPoolingForward);
    X(cudnnPoolingBackward);
#undef X
    return nullptr;
}
void install_cudnn(bool is) { installed = is; }
void set_cudnn_version(size_t is) { version = is; }
void hide_symbol(const char* name) { hidden = name == nullptr ? "" : name; }
void fail_next(const char* name, int status) {
    failing = name == nullptr ? "" : name;
    failing_status = status;
}
int cudnn_algorithm() { return last_algorithm; }
long cudnn_convolutions() { return convolutions; }
long cudnn_poolings() { return poolings; }

}  // namespace cuda_emulator

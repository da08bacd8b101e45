// What the parts of cuDNN's stand-in share: descriptors, faults, access to elements.
#pragma once

#include "../cudnn.h"

#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "../emulator/control.hpp"
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

namespace cuda_emulator::cudnn {

extern std::set<void*>& objects;  // handles and descriptors that exist
extern std::string& last_message;

// A mistake of the caller: kept as the fault.
cudnnStatus_t reject(cudnnStatus_t status, const char* format, ...) __attribute__((format(printf, 2, 3)));
// What the library does not have: no mistake.
cudnnStatus_t unsupported(cudnnStatus_t status, const char* why);
bool told_to_fail(const char* name, cudnnStatus_t& status);
void count_convolution(int algorithm);
void count_pooling();

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
inline bool exists(void* object) { return objects.count(object) != 0; }

inline cudaDataType cuda_type(cudnnDataType_t type) {
    switch (type) {
        case CUDNN_DATA_DOUBLE: return CUDA_R_64F;
        case CUDNN_DATA_HALF: return CUDA_R_16F;
        case CUDNN_DATA_BFLOAT16: return CUDA_R_16BF;
        default: return CUDA_R_32F;
    }
}
inline size_t size_of_type(cudnnDataType_t type) { return size_of(cuda_type(type)); }
inline bool emulated(cudnnDataType_t type) {
    return type == CUDNN_DATA_FLOAT || type == CUDNN_DATA_DOUBLE || type == CUDNN_DATA_HALF || type == CUDNN_DATA_BFLOAT16;
}
inline double load(cudnnDataType_t type, const void* base, int64_t i) { return cuda_emulator::load(cuda_type(type), base, i); }
inline void store(cudnnDataType_t type, void* base, int64_t i, double value) { cuda_emulator::store(cuda_type(type), base, i, value); }
// What sums are kept in, and alpha and beta are of.
inline cudnnDataType_t sum_type(cudnnDataType_t type) { return type == CUDNN_DATA_DOUBLE ? CUDNN_DATA_DOUBLE : CUDNN_DATA_FLOAT; }

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

}  // namespace cuda_emulator::cudnn

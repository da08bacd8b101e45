// cuDNN's stand-in: handles, descriptors, errors, and what the dynamic linker finds of it.
#include "cudnn.hpp"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../emulator/libraries.hpp"

using namespace cuda_emulator;
using namespace cuda_emulator::cudnn;

namespace {

bool installed = [] {
    const char* text = getenv("TENON_EMULATOR_CUDNN");
    return text != nullptr && strcmp(text, "1") == 0;
}();
size_t version = 91900;
std::string &hidden = *new std::string, &failing = *new std::string;
int failing_status = 0, last_algorithm = -1;
long convolutions = 0, poolings = 0;
char the_library;  // for the tests of the dynamic linker

}  // namespace

namespace cuda_emulator::cudnn {

std::set<void*>& objects = *new std::set<void*>;
std::string& last_message = *new std::string;

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
void count_convolution(int algorithm) {
    last_algorithm = algorithm;
    ++convolutions;
}
void count_pooling() { ++poolings; }

}  // namespace cuda_emulator::cudnn

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

// cuDNN 9, found and loaded when the first convolution or pooling runs: programs neither include its headers nor link it.
//
// Declared here is what is called of its legacy interface, after NVIDIA's cuDNN backend API reference (docs.nvidia.com/deeplearning/
// cudnn/backend: the libraries cudnn_graph, cudnn_ops and cudnn_cnn). Where the toolkit's cudnn.h is at hand a test compares the two.
#pragma once

#include <tenon/kernels/cuda/launch.cuh>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#if !defined(TENON_CUDA_EMULATOR)
#include <dlfcn.h>
#endif
#include <glob.h>

namespace tenon {
namespace cuda_detail {

// Values of its enumerations.
namespace cudnn {
enum Status : int { success = 0, not_supported = 3000, internal_error = 4000 };  // by the thousand: categories
enum DataType : int { data_float = 0, data_double = 1, data_half = 2, data_bfloat16 = 9 };
enum Format : int { nchw = 0, nhwc = 1 };
enum Math : int { default_math = 0, tensor_op_math = 1, fma_math = 3 };  // the default may round floats to TF32
enum Mode : int { cross_correlation = 1 };
enum Determinism : int { non_deterministic = 0, deterministic = 1 };
enum PoolingMode : int { largest = 0, average_with_padding = 1, average_without_padding = 2 };
enum NanPropagation : int { propagate_nan = 1 };

using Handle = struct Context*;
using Tensor = struct TensorDescriptor*;
using Filter = struct FilterDescriptor*;
using Convolution = struct ConvolutionDescriptor*;
using Pooling = struct PoolingDescriptor*;

// What it knows of an algorithm for a convolution; one layout for all three products.
struct Performance {
    int algorithm;
    int status;
    float time;
    std::size_t memory;  // bytes of workspace
    int determinism;
    int math;
    int reserved[3];
};
}  // namespace cudnn

// The library, or why there is none.
struct CudnnLibrary {
    std::size_t (*cudnnGetVersion)();
    const char* (*cudnnGetErrorString)(int);
    void (*cudnnGetLastErrorString)(char*, std::size_t);
    int (*cudnnCreate)(cudnn::Handle*);
    int (*cudnnSetStream)(cudnn::Handle, cudaStream_t);
    int (*cudnnCreateTensorDescriptor)(cudnn::Tensor*);
    int (*cudnnSetTensorNdDescriptor)(cudnn::Tensor, int type, int rank, const int* sizes, const int* strides);
    int (*cudnnDestroyTensorDescriptor)(cudnn::Tensor);
    int (*cudnnCreateFilterDescriptor)(cudnn::Filter*);
    int (*cudnnSetFilterNdDescriptor)(cudnn::Filter, int type, int format, int rank, const int* sizes);
    int (*cudnnDestroyFilterDescriptor)(cudnn::Filter);
    int (*cudnnCreateConvolutionDescriptor)(cudnn::Convolution*);
    int (*cudnnSetConvolutionNdDescriptor)(cudnn::Convolution, int axes, const int* padding, const int* strides, const int* dilations,
                                           int mode, int type);
    int (*cudnnSetConvolutionGroupCount)(cudnn::Convolution, int);
    int (*cudnnSetConvolutionMathType)(cudnn::Convolution, int);
    int (*cudnnDestroyConvolutionDescriptor)(cudnn::Convolution);
    int (*cudnnGetConvolutionForwardAlgorithm_v7)(cudnn::Handle, cudnn::Tensor x, cudnn::Filter w, cudnn::Convolution, cudnn::Tensor y,
                                                  int wanted, int* found, cudnn::Performance*);
    int (*cudnnGetConvolutionBackwardDataAlgorithm_v7)(cudnn::Handle, cudnn::Filter w, cudnn::Tensor dy, cudnn::Convolution,
                                                       cudnn::Tensor dx, int wanted, int* found, cudnn::Performance*);
    int (*cudnnGetConvolutionBackwardFilterAlgorithm_v7)(cudnn::Handle, cudnn::Tensor x, cudnn::Tensor dy, cudnn::Convolution,
                                                         cudnn::Filter dw, int wanted, int* found, cudnn::Performance*);
    int (*cudnnConvolutionForward)(cudnn::Handle, const void* alpha, cudnn::Tensor, const void* x, cudnn::Filter, const void* w,
                                   cudnn::Convolution, int algorithm, void* workspace, std::size_t bytes, const void* beta, cudnn::Tensor,
                                   void* y);
    int (*cudnnConvolutionBackwardData)(cudnn::Handle, const void* alpha, cudnn::Filter, const void* w, cudnn::Tensor, const void* dy,
                                        cudnn::Convolution, int algorithm, void* workspace, std::size_t bytes, const void* beta,
                                        cudnn::Tensor, void* dx);
    int (*cudnnConvolutionBackwardFilter)(cudnn::Handle, const void* alpha, cudnn::Tensor, const void* x, cudnn::Tensor, const void* dy,
                                          cudnn::Convolution, int algorithm, void* workspace, std::size_t bytes, const void* beta,
                                          cudnn::Filter, void* dw);
    int (*cudnnCreatePoolingDescriptor)(cudnn::Pooling*);
    int (*cudnnSetPoolingNdDescriptor)(cudnn::Pooling, int mode, int nan, int axes, const int* window, const int* padding,
                                       const int* strides);
    int (*cudnnDestroyPoolingDescriptor)(cudnn::Pooling);
    int (*cudnnPoolingForward)(cudnn::Handle, cudnn::Pooling, const void* alpha, cudnn::Tensor, const void* x, const void* beta,
                               cudnn::Tensor, void* y);
    int (*cudnnPoolingBackward)(cudnn::Handle, cudnn::Pooling, const void* alpha, cudnn::Tensor, const void* y, cudnn::Tensor,
                                const void* dy, cudnn::Tensor, const void* x, const void* beta, cudnn::Tensor, void* dx);

    bool usable = false;
    bool wanted = true;  // not forbidden by TENON_CUDNN=0
    char reason[512] = "libcudnn.so.9 was not found";
};

// The dynamic linker, of which the emulator has its own.
#if defined(TENON_CUDA_EMULATOR)
inline void* open_library(const char* path) { return ::cuda_emulator::open_library(path); }
inline void* library_symbol(void* library, const char* name) { return ::cuda_emulator::library_symbol(library, name); }
inline const char* library_error() { return ::cuda_emulator::library_error(); }
#else
inline void* open_library(const char* path) { return dlopen(path, RTLD_NOW | RTLD_LOCAL); }
inline void* library_symbol(void* library, const char* name) { return dlsym(library, name); }
inline const char* library_error() {
    const char* text = dlerror();
    return text == nullptr ? "no reason given" : text;
}
#endif

inline constexpr const char* cudnn_file = "libcudnn.so.9";

// Opens <folder>/<rest>/libcudnn.so.9, `rest` with wildcards, the last match; null where there is none.
inline void* open_cudnn_below(const char* folder, const char* rest) {
    if (folder == nullptr || *folder == '\0') return nullptr;
    char pattern[1024];
    if (std::snprintf(pattern, sizeof pattern, "%s/%s/%s", folder, rest, cudnn_file) >= static_cast<int>(sizeof pattern)) return nullptr;
    glob_t matches{};
    void* library = nullptr;
    if (glob(pattern, 0, nullptr, &matches) == 0 && matches.gl_pathc > 0) library = open_library(matches.gl_pathv[matches.gl_pathc - 1]);
    globfree(&matches);
    return library;
}

// What TENON_CUDNN names: a file, or a folder with one.
inline void* open_cudnn_at(const char* wish) {
    void* library = open_cudnn_below(wish, ".");
    return library != nullptr ? library : open_library(wish);
}
// The linker's own search (LD_LIBRARY_PATH, its cache, what is loaded already), the toolkit's folder, and pip's in the environment in use.
inline void* open_cudnn_anywhere() {
    void* library = open_library(cudnn_file);
    for (const char* variable : {"CUDA_HOME", "CUDA_PATH"})
        for (const char* rest : {"lib64", "lib"})
            if (library == nullptr) library = open_cudnn_below(std::getenv(variable), rest);
    if (library == nullptr) library = open_cudnn_below("/usr/local/cuda", "lib64");
    for (const char* variable : {"VIRTUAL_ENV", "CONDA_PREFIX"})
        if (library == nullptr) library = open_cudnn_below(std::getenv(variable), "lib/python3*/site-packages/nvidia/cudnn/lib");
    return library;
}

// Finds and checks the library. wish: TENON_CUDNN's value or null; "0" asks for none.
inline CudnnLibrary load_cudnn(const char* wish) {
    CudnnLibrary r{};
    const bool named = wish != nullptr && *wish != '\0';
    if (named && std::strcmp(wish, "0") == 0) {
        r.wanted = false;
        std::snprintf(r.reason, sizeof r.reason, "TENON_CUDNN=0 asks for none");
        return r;
    }
    void* const library = named ? open_cudnn_at(wish) : open_cudnn_anywhere();
    if (library == nullptr) {
        if (named) std::snprintf(r.reason, sizeof r.reason, "TENON_CUDNN=%.200s cannot be loaded: %.250s", wish, library_error());
        return r;
    }
    const char* missing = nullptr;
    const auto find = [&](auto& entry, const char* name) {
        void* const address = library_symbol(library, name);
        if (address == nullptr && missing == nullptr) missing = name;
        std::memcpy(&entry, &address, sizeof entry);
    };
#define TENON_CUDNN_ENTRY(name) find(r.name, #name)
    TENON_CUDNN_ENTRY(cudnnGetVersion);
    TENON_CUDNN_ENTRY(cudnnGetErrorString);
    TENON_CUDNN_ENTRY(cudnnGetLastErrorString);
    TENON_CUDNN_ENTRY(cudnnCreate);
    TENON_CUDNN_ENTRY(cudnnSetStream);
    TENON_CUDNN_ENTRY(cudnnCreateTensorDescriptor);
    TENON_CUDNN_ENTRY(cudnnSetTensorNdDescriptor);
    TENON_CUDNN_ENTRY(cudnnDestroyTensorDescriptor);
    TENON_CUDNN_ENTRY(cudnnCreateFilterDescriptor);
    TENON_CUDNN_ENTRY(cudnnSetFilterNdDescriptor);
    TENON_CUDNN_ENTRY(cudnnDestroyFilterDescriptor);
    TENON_CUDNN_ENTRY(cudnnCreateConvolutionDescriptor);
    TENON_CUDNN_ENTRY(cudnnSetConvolutionNdDescriptor);
    TENON_CUDNN_ENTRY(cudnnSetConvolutionGroupCount);
    TENON_CUDNN_ENTRY(cudnnSetConvolutionMathType);
    TENON_CUDNN_ENTRY(cudnnDestroyConvolutionDescriptor);
    TENON_CUDNN_ENTRY(cudnnGetConvolutionForwardAlgorithm_v7);
    TENON_CUDNN_ENTRY(cudnnGetConvolutionBackwardDataAlgorithm_v7);
    TENON_CUDNN_ENTRY(cudnnGetConvolutionBackwardFilterAlgorithm_v7);
    TENON_CUDNN_ENTRY(cudnnConvolutionForward);
    TENON_CUDNN_ENTRY(cudnnConvolutionBackwardData);
    TENON_CUDNN_ENTRY(cudnnConvolutionBackwardFilter);
    TENON_CUDNN_ENTRY(cudnnCreatePoolingDescriptor);
    TENON_CUDNN_ENTRY(cudnnSetPoolingNdDescriptor);
    TENON_CUDNN_ENTRY(cudnnDestroyPoolingDescriptor);
    TENON_CUDNN_ENTRY(cudnnPoolingForward);
    TENON_CUDNN_ENTRY(cudnnPoolingBackward);
#undef TENON_CUDNN_ENTRY
    if (missing != nullptr) {
        std::snprintf(r.reason, sizeof r.reason, "the library found has no entry point %s", missing);
    } else if (const std::size_t version = r.cudnnGetVersion(); version / 10000 != 9) {
        std::snprintf(r.reason, sizeof r.reason, "the library found is version %zu, wanted is 9.x (9xxxx)", version);
    } else {
        r.usable = true;
        r.reason[0] = '\0';
    }
    return r;
}

// The one library of the program. Named and unusable: an error; not found: a notice, once.
inline const CudnnLibrary& cudnn_library() {
    static const CudnnLibrary library = [] {
        const char* const wish = std::getenv("TENON_CUDNN");
        const CudnnLibrary found = load_cudnn(wish);
        if (!found.usable && found.wanted) {
            if (wish != nullptr && *wish != '\0') fail<DeviceError>("convolution and pooling: ", static_cast<const char*>(found.reason));
            std::fprintf(stderr,
                         "tenon: convolution and pooling on CUDA devices run on the library's own kernels, without cuDNN: %s\n"
                         "       (TENON_CUDNN=<path> names a libcudnn.so.9; TENON_CUDNN=0 does without and ends this notice)\n",
                         found.reason);
        }
        return found;
    }();
    return library;
}

[[noreturn]] TENON_COLD inline void fail_cudnn(const CudnnLibrary& library, int status, const char* call) {
    char detail[512] = {};
    library.cudnnGetLastErrorString(detail, sizeof detail);
    const char* const name = library.cudnnGetErrorString(status);
    fail<DeviceError>(call, ": cuDNN reports ", name == nullptr ? "an unknown status" : name, " (", status, ")",
                      detail[0] == '\0' ? "" : ": ", static_cast<const char*>(detail));
}
inline void check(const CudnnLibrary& library, int status, const char* call) {
    if (TENON_UNLIKELY(status != cudnn::success)) fail_cudnn(library, status, call);
}
inline bool unsupported(int status) { return status >= cudnn::not_supported && status < cudnn::internal_error; }

}  // namespace cuda_detail
}  // namespace tenon

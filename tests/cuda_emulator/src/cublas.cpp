#include "../cublas_v2.h"

#include <mutex>
#include <set>

#include "gemm.hpp"
#include "host.hpp"
#include "memory.hpp"
#include "stream.hpp"

struct cublasContext {
    cudaStream_t stream = nullptr;
    cublasPointerMode_t pointer_mode = CUBLAS_POINTER_MODE_HOST;
    cublasMath_t math = CUBLAS_DEFAULT_MATH;
};

using namespace cuda_emulator;

namespace {

std::set<cublasHandle_t>& handles = *new std::set<cublasHandle_t>;

cublasStatus_t known(cublasHandle_t handle) {
    return handles.count(handle) != 0 ? CUBLAS_STATUS_SUCCESS : reject(CUBLAS_STATUS_NOT_INITIALIZED, "cuBLAS: a handle that does not exist");
}

}  // namespace

extern "C" {

cublasStatus_t cublasCreate_v2(cublasHandle_t* handle) {
    std::lock_guard lock(mutex());
    if (handle == nullptr) return reject(CUBLAS_STATUS_INVALID_VALUE, "cublasCreate: null");
    if (sticky() != cudaSuccess) return CUBLAS_STATUS_NOT_INITIALIZED;
    *handle = new cublasContext;
    handles.insert(*handle);
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasDestroy_v2(cublasHandle_t handle) {
    std::lock_guard lock(mutex());
    if (cublasStatus_t s = known(handle)) return s;
    handles.erase(handle);
    delete handle;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasGetVersion_v2(cublasHandle_t, int* version) {
    *version = CUBLAS_VERSION;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasSetStream_v2(cublasHandle_t handle, cudaStream_t stream) {
    std::lock_guard lock(mutex());
    if (cublasStatus_t s = known(handle)) return s;
    handle->stream = stream;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasGetStream_v2(cublasHandle_t handle, cudaStream_t* stream) {
    std::lock_guard lock(mutex());
    if (cublasStatus_t s = known(handle)) return s;
    *stream = handle->stream;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasSetPointerMode_v2(cublasHandle_t handle, cublasPointerMode_t mode) {
    std::lock_guard lock(mutex());
    if (cublasStatus_t s = known(handle)) return s;
    handle->pointer_mode = mode;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasGetPointerMode_v2(cublasHandle_t handle, cublasPointerMode_t* mode) {
    std::lock_guard lock(mutex());
    if (cublasStatus_t s = known(handle)) return s;
    *mode = handle->pointer_mode;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasSetMathMode(cublasHandle_t handle, cublasMath_t math) {
    std::lock_guard lock(mutex());
    if (cublasStatus_t s = known(handle)) return s;
    handle->math = math;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasGetMathMode(cublasHandle_t handle, cublasMath_t* math) {
    std::lock_guard lock(mutex());
    if (cublasStatus_t s = known(handle)) return s;
    *math = handle->math;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasSetWorkspace_v2(cublasHandle_t handle, void* workspace, size_t bytes) {
    std::lock_guard lock(mutex());
    if (cublasStatus_t s = known(handle)) return s;
    if (bytes != 0 && (reinterpret_cast<uintptr_t>(workspace) % 256 != 0 || first_inaccessible(reinterpret_cast<uintptr_t>(workspace), bytes)))
        return reject(CUBLAS_STATUS_INVALID_VALUE, "cublasSetWorkspace: %zu bytes at %s", bytes,
                      describe(reinterpret_cast<uintptr_t>(workspace)).c_str());
    return CUBLAS_STATUS_SUCCESS;
}

const char* cublasGetStatusName(cublasStatus_t status) {
    switch (status) {
        case CUBLAS_STATUS_SUCCESS: return "CUBLAS_STATUS_SUCCESS";
        case CUBLAS_STATUS_NOT_INITIALIZED: return "CUBLAS_STATUS_NOT_INITIALIZED";
        case CUBLAS_STATUS_ALLOC_FAILED: return "CUBLAS_STATUS_ALLOC_FAILED";
        case CUBLAS_STATUS_INVALID_VALUE: return "CUBLAS_STATUS_INVALID_VALUE";
        case CUBLAS_STATUS_ARCH_MISMATCH: return "CUBLAS_STATUS_ARCH_MISMATCH";
        case CUBLAS_STATUS_MAPPING_ERROR: return "CUBLAS_STATUS_MAPPING_ERROR";
        case CUBLAS_STATUS_EXECUTION_FAILED: return "CUBLAS_STATUS_EXECUTION_FAILED";
        case CUBLAS_STATUS_INTERNAL_ERROR: return "CUBLAS_STATUS_INTERNAL_ERROR";
        case CUBLAS_STATUS_NOT_SUPPORTED: return "CUBLAS_STATUS_NOT_SUPPORTED";
        case CUBLAS_STATUS_LICENSE_ERROR: return "CUBLAS_STATUS_LICENSE_ERROR";
    }
    return "unknown";
}
const char* cublasGetStatusString(cublasStatus_t status) { return cublasGetStatusName(status); }

cublasStatus_t cublasGemmStridedBatchedEx(cublasHandle_t handle, cublasOperation_t ta, cublasOperation_t tb, int m, int n, int k,
                                          const void* alpha, const void* a, cudaDataType at, int lda, long long stride_a, const void* b,
                                          cudaDataType bt, int ldb, long long stride_b, const void* beta, void* c, cudaDataType ct, int ldc,
                                          long long stride_c, int batches, cublasComputeType_t compute, cublasGemmAlgo_t) {
    std::lock_guard lock(mutex());
    if (cublasStatus_t s = known(handle)) return s;
    if (m < 0 || n < 0 || k < 0 || batches < 0) return reject(CUBLAS_STATUS_INVALID_VALUE, "cuBLAS: a negative size: %d x %d x %d", m, n, k);
    if (m == 0 || n == 0 || batches == 0) return CUBLAS_STATUS_SUCCESS;
    Product p = {};
    p.compute = compute;
    const bool wide = compute == CUBLAS_COMPUTE_64F || compute == CUBLAS_COMPUTE_64F_PEDANTIC;
    const bool half = compute == CUBLAS_COMPUTE_16F || compute == CUBLAS_COMPUTE_16F_PEDANTIC;
    const bool integer = compute == CUBLAS_COMPUTE_32I || compute == CUBLAS_COMPUTE_32I_PEDANTIC;
    p.scale = wide ? CUDA_R_64F : half ? CUDA_R_16F : integer ? CUDA_R_32I : CUDA_R_32F;
    if (compute == CUBLAS_COMPUTE_32F && at == CUDA_R_32F && handle->math == CUBLAS_TF32_TENSOR_OP_MATH) p.compute = CUBLAS_COMPUTE_32F_FAST_TF32;
    p.transpose_a = ta != CUBLAS_OP_N;
    p.transpose_b = tb != CUBLAS_OP_N;
    p.device_scalars = handle->pointer_mode == CUBLAS_POINTER_MODE_DEVICE;
    p.epilogue = CUBLASLT_EPILOGUE_DEFAULT;
    p.a = {at, false, p.transpose_a ? k : m, p.transpose_a ? m : k, lda, batches, stride_a};
    p.b = {bt, false, p.transpose_b ? n : k, p.transpose_b ? k : n, ldb, batches, stride_b};
    p.c = p.d = {ct, false, m, n, ldc, batches, stride_c};
    if (cublasStatus_t s = check_product(p)) return s;
    return enqueue_product(p, alpha, a, b, beta, c, c, handle->stream);
}
cublasStatus_t cublasGemmEx(cublasHandle_t handle, cublasOperation_t ta, cublasOperation_t tb, int m, int n, int k, const void* alpha,
                            const void* a, cudaDataType at, int lda, const void* b, cudaDataType bt, int ldb, const void* beta, void* c,
                            cudaDataType ct, int ldc, cublasComputeType_t compute, cublasGemmAlgo_t algo) {
    return cublasGemmStridedBatchedEx(handle, ta, tb, m, n, k, alpha, a, at, lda, 0, b, bt, ldb, 0, beta, c, ct, ldc, 0, 1, compute, algo);
}
cublasStatus_t cublasSgemm_v2(cublasHandle_t handle, cublasOperation_t ta, cublasOperation_t tb, int m, int n, int k, const float* alpha,
                              const float* a, int lda, const float* b, int ldb, const float* beta, float* c, int ldc) {
    return cublasGemmEx(handle, ta, tb, m, n, k, alpha, a, CUDA_R_32F, lda, b, CUDA_R_32F, ldb, beta, c, CUDA_R_32F, ldc, CUBLAS_COMPUTE_32F,
                        CUBLAS_GEMM_DEFAULT);
}
cublasStatus_t cublasDgemm_v2(cublasHandle_t handle, cublasOperation_t ta, cublasOperation_t tb, int m, int n, int k, const double* alpha,
                              const double* a, int lda, const double* b, int ldb, const double* beta, double* c, int ldc) {
    return cublasGemmEx(handle, ta, tb, m, n, k, alpha, a, CUDA_R_64F, lda, b, CUDA_R_64F, ldb, beta, c, CUDA_R_64F, ldc, CUBLAS_COMPUTE_64F,
                        CUBLAS_GEMM_DEFAULT);
}
}

// Products through cuBLASLt. Its matrices are column-major: C = A B of rows is asked for as C' = B' A' of columns, where the bias
// runs along the columns' direction as its epilogue wants it.
//
// The algorithm of a shape is what the library's heuristic names first, asked once per thread: nothing is timed, so that the same
// program takes the same algorithms, and so makes the same bits, on every run. Sums that are split are added in the sum's own type.
#pragma once

#include <tenon/base/precision.hpp>
#include <tenon/kernels/cuda/copy.cuh>
#include <tenon/kernels/cuda/gemm/tiled.cuh>

#if TENON_CUBLAS
// Its headers would declare ::half, which programs that use namespace tenon could not tell from tenon::half.
#if defined(CUDA_NO_HALF)
#include <cublasLt.h>
#else
#define CUDA_NO_HALF
#include <cublasLt.h>
#undef CUDA_NO_HALF
#endif

namespace tenon {
namespace cuda_detail {

inline void check(cublasStatus_t status, const char* call) {
    if (TENON_UNLIKELY(status != CUBLAS_STATUS_SUCCESS)) fail<DeviceError>(call, ": cuBLASLt reports status ", static_cast<int>(status));
}

// The handle of the current device, which any thread may use. Never destroyed: static objects may multiply.
inline cublasLtHandle_t cublas_handle(int device) {
    constexpr int most = 128;
    static cublasLtHandle_t handles[most];
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    if (device < 0 || device >= most) fail<DeviceError>("cublasLtCreate: device ", device);
    cublasLtHandle_t handle = __atomic_load_n(&handles[device], __ATOMIC_ACQUIRE);
    if (TENON_LIKELY(handle != nullptr)) return handle;
    pthread_mutex_lock(&mutex);
    cublasStatus_t status = CUBLAS_STATUS_SUCCESS;
    if (handles[device] == nullptr) {
        status = cublasLtCreate(&handle);
        if (status == CUBLAS_STATUS_SUCCESS) __atomic_store_n(&handles[device], handle, __ATOMIC_RELEASE);
    }
    handle = handles[device];
    pthread_mutex_unlock(&mutex);
    check(status, "cublasLtCreate");
    return handle;
}

// A product as cuBLASLt sees it: C[m, n] of columns from op(A)[m, k] and op(B)[k, n]. Without padding: compared and hashed whole.
struct CublasShape {
    long m, n, k, lda, ldb, ldc, batch, a_stride, b_stride, c_stride;
    int in, out, compute, scale, epilogue, a_turned, b_turned, device;
    int a_alignment, b_alignment, c_alignment, unused;
};

// What is kept of a shape: descriptors and the algorithm.
struct CublasPlan {
    CublasShape shape{};
    CublasPlan* next = nullptr;
    cublasLtMatmulDesc_t operation = nullptr;
    cublasLtMatrixLayout_t a = nullptr, b = nullptr, c = nullptr;
    cublasLtMatmulAlgo_t algorithm{};
    std::size_t workspace = 0;
    bool possible = false;

    CublasPlan() = default;
    CublasPlan(const CublasPlan&) = delete;
    CublasPlan& operator=(const CublasPlan&) = delete;
    ~CublasPlan() {
        if (operation != nullptr) cublasLtMatmulDescDestroy(operation);
        for (cublasLtMatrixLayout_t layout : {a, b, c})
            if (layout != nullptr) cublasLtMatrixLayoutDestroy(layout);
    }

    void set_epilogue(const void* bias) {
        check(cublasLtMatmulDescSetAttribute(operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias),
              "cublasLtMatmulDescSetAttribute");
    }
    // Sizes that the library has no algorithm for leave `possible` false.
    void prepare(const void* bias) {
        const CublasShape& s = shape;
        const cudaDataType_t in = static_cast<cudaDataType_t>(s.in), out = static_cast<cudaDataType_t>(s.out);
        check(cublasLtMatmulDescCreate(&operation, static_cast<cublasComputeType_t>(s.compute), static_cast<cudaDataType_t>(s.scale)),
              "cublasLtMatmulDescCreate");
        const auto set = [&](cublasLtMatmulDescAttributes_t attribute, const auto& value) {
            check(cublasLtMatmulDescSetAttribute(operation, attribute, &value, sizeof value), "cublasLtMatmulDescSetAttribute");
        };
        set(CUBLASLT_MATMUL_DESC_TRANSA, s.a_turned != 0 ? CUBLAS_OP_T : CUBLAS_OP_N);
        set(CUBLASLT_MATMUL_DESC_TRANSB, s.b_turned != 0 ? CUBLAS_OP_T : CUBLAS_OP_N);
        if (s.epilogue != CUBLASLT_EPILOGUE_DEFAULT) set(CUBLASLT_MATMUL_DESC_EPILOGUE, static_cast<cublasLtEpilogue_t>(s.epilogue));
        if (bias != nullptr) set_epilogue(bias);
        const auto layout = [&](cublasLtMatrixLayout_t& to, cudaDataType_t type, long rows, long columns, long leading, long stride) {
            check(cublasLtMatrixLayoutCreate(&to, type, static_cast<std::uint64_t>(rows), static_cast<std::uint64_t>(columns), leading),
                  "cublasLtMatrixLayoutCreate");
            if (s.batch == 1) return;
            const std::int32_t count = static_cast<std::int32_t>(s.batch);
            const std::int64_t offset = stride;
            check(cublasLtMatrixLayoutSetAttribute(to, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, sizeof count),
                  "cublasLtMatrixLayoutSetAttribute");
            check(cublasLtMatrixLayoutSetAttribute(to, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &offset, sizeof offset),
                  "cublasLtMatrixLayoutSetAttribute");
        };
        layout(a, in, s.a_turned != 0 ? s.k : s.m, s.a_turned != 0 ? s.m : s.k, s.lda, s.a_stride);
        layout(b, in, s.b_turned != 0 ? s.n : s.k, s.b_turned != 0 ? s.k : s.n, s.ldb, s.b_stride);
        layout(c, out, s.m, s.n, s.ldc, s.c_stride);

        struct Preference {
            cublasLtMatmulPreference_t handle = nullptr;
            ~Preference() {
                if (handle != nullptr) cublasLtMatmulPreferenceDestroy(handle);
            }
        } preference;
        check(cublasLtMatmulPreferenceCreate(&preference.handle), "cublasLtMatmulPreferenceCreate");
        const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
            check(cublasLtMatmulPreferenceSetAttribute(preference.handle, attribute, &value, sizeof value),
                  "cublasLtMatmulPreferenceSetAttribute");
        };
        prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, std::size_t(32) << 20);
        prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, std::uint32_t(2));  // CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE
        prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, static_cast<std::uint32_t>(s.a_alignment));
        prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, static_cast<std::uint32_t>(s.b_alignment));
        prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, static_cast<std::uint32_t>(s.c_alignment));
        prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, static_cast<std::uint32_t>(s.c_alignment));
        cublasLtMatmulHeuristicResult_t found{};
        int count = 0;
        const cublasStatus_t status =
            cublasLtMatmulAlgoGetHeuristic(cublas_handle(s.device), operation, a, b, c, c, preference.handle, 1, &found, &count);
        possible = status == CUBLAS_STATUS_SUCCESS && count > 0 && found.state == CUBLAS_STATUS_SUCCESS;
        algorithm = found.algo;
        workspace = found.workspaceSize;
    }
};

// Plans of a thread, which no other may use: the bias is set anew in every call.
class CublasPlans {
public:
    CublasPlans() = default;
    CublasPlans(const CublasPlans&) = delete;
    CublasPlans& operator=(const CublasPlans&) = delete;
    ~CublasPlans() {
        for (CublasPlan* plan : buckets_)
            while (plan != nullptr) {
                CublasPlan* const next = plan->next;
                delete plan;
                plan = next;
            }
    }
    CublasPlan& find(const CublasShape& shape, const void* bias) {
        std::uint64_t words[sizeof(CublasShape) / 8], hash = 0;
        std::memcpy(words, &shape, sizeof shape);
        for (std::uint64_t word : words) hash = (hash ^ word) * 0x9e3779b97f4a7c15u ^ hash >> 29;
        CublasPlan*& bucket = buckets_[hash >> 56];
        for (CublasPlan* plan = bucket; plan != nullptr; plan = plan->next)
            if (std::memcmp(&plan->shape, &shape, sizeof shape) == 0) {
                if (bias != nullptr && plan->possible) plan->set_epilogue(bias);
                return *plan;
            }
        CublasPlan* const fresh = new CublasPlan;
        fresh->shape = shape;
        try {
            fresh->prepare(bias);
        } catch (...) {
            delete fresh;
            throw;
        }
        fresh->next = bucket;
        return *(bucket = fresh);
    }

private:
    CublasPlan* buckets_[256] = {};
};
inline CublasPlans& cublas_plans() {
    static thread_local CublasPlans plans;
    return plans;
}

}  // namespace cuda_detail

inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cuda {
namespace gemm_impl {

template <class T> struct cublas_type;
template <> struct cublas_type<float> { static constexpr cudaDataType_t value = CUDA_R_32F; };
template <> struct cublas_type<double> { static constexpr cudaDataType_t value = CUDA_R_64F; };
template <> struct cublas_type<bf16> { static constexpr cudaDataType_t value = CUDA_R_16BF; };
template <> struct cublas_type<half> { static constexpr cudaDataType_t value = CUDA_R_16F; };
template <> struct cublas_type<std::int8_t> { static constexpr cudaDataType_t value = CUDA_R_8I; };
template <> struct cublas_type<std::int32_t> { static constexpr cudaDataType_t value = CUDA_R_32I; };

template <class T> struct cublas_sum { using type = typename sum_of<T>::type; };
template <> struct cublas_sum<std::int8_t> { using type = std::int32_t; };

inline int alignment_of(const void* data) {
    const std::uintptr_t bits = reinterpret_cast<std::uintptr_t>(data) | 16;
    return static_cast<int>(bits & (~bits + 1));
}

// A matrix as cuBLASLt can read it: rows that lie `leading` apart, or, turned, columns.
template <class T>
struct CublasOperand {
    const T* data;
    long leading;
    bool turned;
    long batch_stride;
};
// What lies in memory as neither is copied, into rows. The copy lives as long as this.
template <class T>
class CublasMatrix {
public:
    CublasMatrix(long batch, long rows, long columns, MatrixView<T> view, long stride)
        : CublasMatrix(batch, rows, columns, view, stride, layout_of(view, rows, columns)) {}
    CublasOperand<T> operand;

private:
    enum class Layout : unsigned char { rows, columns, neither };
    static Layout layout_of(MatrixView<T> view, long rows, long columns) {
        if ((view.column_stride == 1 || columns == 1) && (view.row_stride >= columns || rows == 1)) return Layout::rows;
        return (view.row_stride == 1 || rows == 1) && (view.column_stride >= rows || columns == 1) ? Layout::columns : Layout::neither;
    }
    CublasMatrix(long batch, long rows, long columns, MatrixView<T> view, long stride, Layout layout)
        : operand{view.data, columns, false, stride}, copy_(layout == Layout::neither ? (stride == 0 ? 1 : batch) * rows * columns : 0) {
        if (layout == Layout::rows) {
            if (rows > 1) operand.leading = view.row_stride;
        } else if (layout == Layout::columns) {
            operand.leading = columns > 1 ? view.column_stride : rows;
            operand.turned = true;
        } else {
            const long dims[3] = {stride == 0 ? 1 : batch, rows, columns}, to[3] = {rows * columns, columns, 1},
                       from[3] = {stride, view.row_stride, view.column_stride};
            copy_strided(3, dims, copy_.get(), to, view.data, from, static_cast<int>(sizeof(T)));
            operand = {copy_.get(), columns, false, stride == 0 ? 0 : rows * columns};
        }
    }
    Scratch<T> copy_;
};

enum class CublasEpilogue : unsigned char { none = 1, relu = 2, bias = 4, relu_bias = 6 };  // as cublasLtEpilogue_t

// C = epilogue(alpha A B + beta C): false where the library has no algorithm for it. No size is 0, and batch is below 2^16.
template <class T, class Out>
bool multiply_cublas(long batch, long m, long n, long k, const CublasOperand<T>& a, const CublasOperand<T>& b, Out* c, long ldc,
                     long c_batch, typename cublas_sum<T>::type alpha, bool accumulate, CublasEpilogue epilogue, const Out* bias) {
    using Sum = typename cublas_sum<T>::type;
    cuda_detail::CublasShape s{};
    // The other way around: columns for rows.
    s.m = n;
    s.n = m;
    s.k = k;
    s.lda = b.leading;
    s.ldb = a.leading;
    s.ldc = m == 1 && ldc < n ? n : ldc;
    s.batch = batch;
    if (batch > 1) {
        s.a_stride = b.batch_stride;
        s.b_stride = a.batch_stride;
        s.c_stride = c_batch;
    }
    s.in = cublas_type<T>::value;
    s.out = cublas_type<Out>::value;
    s.scale = cublas_type<Sum>::value;
    s.compute = std::is_same_v<Sum, std::int32_t> ? CUBLAS_COMPUTE_32I
                : std::is_same_v<Sum, double>     ? CUBLAS_COMPUTE_64F
                                                  : CUBLAS_COMPUTE_32F;
    if (std::is_same_v<T, float> && __atomic_load_n(&tenon::detail::tf32_allowed, __ATOMIC_RELAXED))
        s.compute = CUBLAS_COMPUTE_32F_FAST_TF32;
    s.epilogue = static_cast<int>(epilogue);
    s.a_turned = b.turned;
    s.b_turned = a.turned;
    s.device = cuda_detail::current_device();
    s.a_alignment = alignment_of(b.data);
    s.b_alignment = alignment_of(a.data);
    s.c_alignment = alignment_of(c);
    cuda_detail::CublasPlan& plan = cuda_detail::cublas_plans().find(s, bias);
    if (!plan.possible) return false;
    const Scratch<char> workspace(static_cast<long>(plan.workspace));  // in the order of the stream: calls share it
    const Sum beta = accumulate ? Sum(1) : Sum(0);
    cuda_detail::check(cublasLtMatmul(cuda_detail::cublas_handle(s.device), plan.operation, &alpha, b.data, plan.a, a.data, plan.b, &beta,
                                      c, plan.c, c, plan.c, &plan.algorithm, workspace.get(), plan.workspace, cuda_detail::current_stream),
                       "cublasLtMatmul");
    return true;
}

}  // namespace gemm_impl
}  // namespace kernels::cuda
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
#endif

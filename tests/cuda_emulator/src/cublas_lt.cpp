#include "../cublasLt.h"

#include <string.h>

#include <mutex>
#include <set>

#include "../emulator/control.hpp"
#include "gemm.hpp"
#include "host.hpp"
#include "memory.hpp"

struct cublasLtContext {
    int unused = 0;
};

using namespace cuda_emulator;

namespace {

// What the opaque objects hold. The first word tells an initialised object from garbage, and one kind from another.
constexpr uint64_t desc_magic = 0x7465736364, layout_magic = 0x6c61796f7574, preference_magic = 0x70726566, algo_magic = 0x616c676f;

struct Desc {
    uint64_t magic;
    int32_t compute, scale, pointer_mode, transpose_a, transpose_b, transpose_c, epilogue, bias_type, aux_type, sm_count;
    void *bias, *aux;
    int64_t bias_batch_stride, aux_ld, aux_batch_stride;
};
struct MatrixLayout {
    uint64_t magic;
    int32_t type, order;
    uint64_t rows, columns;
    int64_t ld;
    int64_t batch_stride;
    int32_t batches;
};
struct Preference {
    uint64_t magic;
    uint64_t workspace;
    uint32_t search_mode, alignment[4], reduction_mask;
    float waves;
};
struct Algo {
    uint64_t magic;
    uint64_t workspace;
    uint64_t problem;
    uint32_t alignment[4];
};
static_assert(sizeof(Desc) <= sizeof(cublasLtMatmulDescOpaque_t) && sizeof(MatrixLayout) <= sizeof(cublasLtMatrixLayoutOpaque_t));
static_assert(sizeof(Preference) <= sizeof(cublasLtMatmulPreferenceOpaque_t) && sizeof(Algo) <= sizeof(cublasLtMatmulAlgo_t));

std::set<cublasLtHandle_t>& handles = *new std::set<cublasLtHandle_t>;

template <class T, class Opaque>
T view(const Opaque* opaque) {
    T value = {};
    if (opaque != nullptr) __real_memcpy(&value, opaque, sizeof value);
    return value;
}
template <class Opaque, class T>
void put(Opaque* opaque, const T& value) {
    __real_memcpy(opaque, &value, sizeof value);
}

// Copies an attribute whose size must be exact.
template <class T>
cublasStatus_t take(T& to, const void* from, size_t bytes, const char* what) {
    if (from == nullptr || bytes != sizeof(T))
        return reject(CUBLAS_STATUS_INVALID_VALUE, "cuBLASLt: %s takes %zu bytes, got %zu", what, sizeof(T), bytes);
    __real_memcpy(&to, from, sizeof(T));
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t layout_of(const char* name, cublasLtMatrixLayout_t opaque, Layout& layout) {
    const auto l = view<MatrixLayout>(opaque);
    if (l.magic != layout_magic) return reject(CUBLAS_STATUS_INVALID_VALUE, "cuBLASLt: the layout of %s does not exist", name);
    if (l.order != CUBLASLT_ORDER_COL && l.order != CUBLASLT_ORDER_ROW)
        return reject(CUBLAS_STATUS_NOT_SUPPORTED, "cuBLASLt: order %d of %s is not emulated", l.order, name);
    layout = {static_cast<cudaDataType>(l.type),
              l.order == CUBLASLT_ORDER_ROW,
              static_cast<int64_t>(l.rows),
              static_cast<int64_t>(l.columns),
              l.ld,
              l.batches,
              l.batch_stride};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t product_of(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                          cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d, Product& p) {
    if (handles.count(handle) == 0) return reject(CUBLAS_STATUS_NOT_INITIALIZED, "cuBLASLt: a handle that does not exist");
    const auto x = view<Desc>(desc);
    if (x.magic != desc_magic) return reject(CUBLAS_STATUS_INVALID_VALUE, "cuBLASLt: a descriptor that does not exist");
    if (cublasStatus_t s = layout_of("A", a, p.a)) return s;
    if (cublasStatus_t s = layout_of("B", b, p.b)) return s;
    if (cublasStatus_t s = layout_of("C", c, p.c)) return s;
    if (cublasStatus_t s = layout_of("D", d, p.d)) return s;
    if (x.pointer_mode > CUBLASLT_POINTER_MODE_DEVICE || x.transpose_c != CUBLAS_OP_N)
        return reject(CUBLAS_STATUS_NOT_SUPPORTED, "cuBLASLt: pointer mode %d, TRANSC %d", x.pointer_mode, x.transpose_c);
    p.compute = static_cast<cublasComputeType_t>(x.compute);
    p.scale = static_cast<cudaDataType>(x.scale);
    p.transpose_a = x.transpose_a != CUBLAS_OP_N;
    p.transpose_b = x.transpose_b != CUBLAS_OP_N;
    p.device_scalars = x.pointer_mode == CUBLASLT_POINTER_MODE_DEVICE;
    p.epilogue = x.epilogue;
    // Without a type of its own the bias has the result's, and float where that is int8.
    p.bias_type = x.bias_type >= 0 ? static_cast<cudaDataType>(x.bias_type) : p.d.type == CUDA_R_8I ? CUDA_R_32F : p.d.type;
    p.bias = x.bias;
    p.bias_batch_stride = x.bias_batch_stride;
    p.aux = x.aux;
    p.aux_ld = x.aux_ld;
    p.aux_batch_stride = x.aux_batch_stride;
    if (x.aux_type >= 0 && x.aux_type != p.d.type)
        return reject(CUBLAS_STATUS_NOT_SUPPORTED, "cuBLASLt: type of the epilogue's auxiliary matrix");
    return check_product(p);
}

// What an algorithm was found for: sizes may change within limits in the library, but nothing promises that they do.
uint64_t fingerprint(const Product& p) {
    uint64_t hash = 0xcbf29ce484222325;
    const auto mix = [&](uint64_t x) { hash = (hash ^ x) * 0x100000001b3; };
    for (const Layout* l : {&p.a, &p.b, &p.c, &p.d})
        for (int64_t x : {int64_t(l->type), int64_t(l->row_major), l->rows, l->columns, l->ld, l->batches, l->batch_stride})
            mix(static_cast<uint64_t>(x));
    for (int x :
         {int(p.compute), int(p.scale), int(p.transpose_a), int(p.transpose_b), p.epilogue, int(p.bias_type), int(p.device_scalars)})
        mix(static_cast<uint64_t>(x));
    return hash;
}

}  // namespace

extern "C" {

size_t cublasLtGetVersion() { return CUBLAS_VERSION; }

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
    std::lock_guard lock(mutex());
    if (handle == nullptr) return reject(CUBLAS_STATUS_INVALID_VALUE, "cublasLtCreate: null");
    if (sticky() != cudaSuccess) return CUBLAS_STATUS_NOT_INITIALIZED;
    *handle = new cublasLtContext;
    handles.insert(*handle);
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
    std::lock_guard lock(mutex());
    if (handles.erase(handle) == 0) return reject(CUBLAS_STATUS_NOT_INITIALIZED, "cuBLASLt: a handle that does not exist");
    delete handle;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescInit(cublasLtMatmulDesc_t desc, cublasComputeType_t compute, cudaDataType_t scale) {
    if (desc == nullptr) return reject(CUBLAS_STATUS_INVALID_VALUE, "cublasLtMatmulDescInit: null");
    Desc d = {};
    d.magic = desc_magic;
    d.compute = compute;
    d.scale = scale;
    d.epilogue = CUBLASLT_EPILOGUE_DEFAULT;
    d.bias_type = d.aux_type = -1;
    put(desc, d);
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* desc, cublasComputeType_t compute, cudaDataType_t scale) {
    if (desc == nullptr) return reject(CUBLAS_STATUS_INVALID_VALUE, "cublasLtMatmulDescCreate: null");
    *desc = new cublasLtMatmulDescOpaque_t;
    return cublasLtMatmulDescInit(*desc, compute, scale);
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t desc) {
    if (view<Desc>(desc).magic != desc_magic) return reject(CUBLAS_STATUS_INVALID_VALUE, "cuBLASLt: a descriptor that does not exist");
    put(desc, uint64_t(0));
    delete desc;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t desc, cublasLtMatmulDescAttributes_t attribute, const void* from,
                                              size_t bytes) {
    auto d = view<Desc>(desc);
    if (d.magic != desc_magic) return reject(CUBLAS_STATUS_INVALID_VALUE, "cuBLASLt: a descriptor that does not exist");
    cublasStatus_t s = CUBLAS_STATUS_SUCCESS;
    switch (attribute) {
        case CUBLASLT_MATMUL_DESC_COMPUTE_TYPE: s = take(d.compute, from, bytes, "COMPUTE_TYPE"); break;
        case CUBLASLT_MATMUL_DESC_SCALE_TYPE: s = take(d.scale, from, bytes, "SCALE_TYPE"); break;
        case CUBLASLT_MATMUL_DESC_POINTER_MODE: s = take(d.pointer_mode, from, bytes, "POINTER_MODE"); break;
        case CUBLASLT_MATMUL_DESC_TRANSA: s = take(d.transpose_a, from, bytes, "TRANSA"); break;
        case CUBLASLT_MATMUL_DESC_TRANSB: s = take(d.transpose_b, from, bytes, "TRANSB"); break;
        case CUBLASLT_MATMUL_DESC_TRANSC: s = take(d.transpose_c, from, bytes, "TRANSC"); break;
        case CUBLASLT_MATMUL_DESC_EPILOGUE: s = take(d.epilogue, from, bytes, "EPILOGUE"); break;
        case CUBLASLT_MATMUL_DESC_BIAS_POINTER: s = take(d.bias, from, bytes, "BIAS_POINTER"); break;
        case CUBLASLT_MATMUL_DESC_BIAS_BATCH_STRIDE: s = take(d.bias_batch_stride, from, bytes, "BIAS_BATCH_STRIDE"); break;
        case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER: s = take(d.aux, from, bytes, "EPILOGUE_AUX_POINTER"); break;
        case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD: s = take(d.aux_ld, from, bytes, "EPILOGUE_AUX_LD"); break;
        case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_BATCH_STRIDE: s = take(d.aux_batch_stride, from, bytes, "EPILOGUE_AUX_BATCH_STRIDE"); break;
        case CUBLASLT_MATMUL_DESC_SM_COUNT_TARGET: s = take(d.sm_count, from, bytes, "SM_COUNT_TARGET"); break;
        case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_DATA_TYPE: s = take(d.aux_type, from, bytes, "EPILOGUE_AUX_DATA_TYPE"); break;
        case CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE: s = take(d.bias_type, from, bytes, "BIAS_DATA_TYPE"); break;
        default: return reject(CUBLAS_STATUS_INVALID_VALUE, "cuBLASLt: attribute %d of a descriptor is not emulated", attribute);
    }
    if (s == CUBLAS_STATUS_SUCCESS) put(desc, d);
    return s;
}

cublasStatus_t cublasLtMatrixLayoutInit(cublasLtMatrixLayout_t layout, cudaDataType type, uint64_t rows, uint64_t cols, int64_t ld) {
    if (layout == nullptr) return reject(CUBLAS_STATUS_INVALID_VALUE, "cublasLtMatrixLayoutInit: null");
    put(layout, MatrixLayout{layout_magic, type, CUBLASLT_ORDER_COL, rows, cols, ld, 0, 1});
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* layout, cudaDataType type, uint64_t rows, uint64_t cols, int64_t ld) {
    if (layout == nullptr) return reject(CUBLAS_STATUS_INVALID_VALUE, "cublasLtMatrixLayoutCreate: null");
    *layout = new cublasLtMatrixLayoutOpaque_t;
    return cublasLtMatrixLayoutInit(*layout, type, rows, cols, ld);
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
    if (view<MatrixLayout>(layout).magic != layout_magic)
        return reject(CUBLAS_STATUS_INVALID_VALUE, "cuBLASLt: a layout that does not exist");
    put(layout, uint64_t(0));
    delete layout;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t layout, cublasLtMatrixLayoutAttribute_t attribute, const void* from,
                                                size_t bytes) {
    auto l = view<MatrixLayout>(layout);
    if (l.magic != layout_magic) return reject(CUBLAS_STATUS_INVALID_VALUE, "cuBLASLt: a layout that does not exist");
    cublasStatus_t s = CUBLAS_STATUS_SUCCESS;
    switch (attribute) {
        case CUBLASLT_MATRIX_LAYOUT_TYPE: s = take(l.type, from, bytes, "TYPE"); break;
        case CUBLASLT_MATRIX_LAYOUT_ORDER: s = take(l.order, from, bytes, "ORDER"); break;
        case CUBLASLT_MATRIX_LAYOUT_ROWS: s = take(l.rows, from, bytes, "ROWS"); break;
        case CUBLASLT_MATRIX_LAYOUT_COLS: s = take(l.columns, from, bytes, "COLS"); break;
        case CUBLASLT_MATRIX_LAYOUT_LD: s = take(l.ld, from, bytes, "LD"); break;
        case CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT: s = take(l.batches, from, bytes, "BATCH_COUNT"); break;
        case CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET: s = take(l.batch_stride, from, bytes, "STRIDED_BATCH_OFFSET"); break;
        default: return reject(CUBLAS_STATUS_INVALID_VALUE, "cuBLASLt: attribute %d of a layout is not emulated", attribute);
    }
    if (s == CUBLAS_STATUS_SUCCESS) put(layout, l);
    return s;
}

cublasStatus_t cublasLtMatmulPreferenceInit(cublasLtMatmulPreference_t preference) {
    if (preference == nullptr) return reject(CUBLAS_STATUS_INVALID_VALUE, "cublasLtMatmulPreferenceInit: null");
    put(preference, Preference{preference_magic, 0, 0, {256, 256, 256, 256}, ~0u, 0.0f});
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* preference) {
    if (preference == nullptr) return reject(CUBLAS_STATUS_INVALID_VALUE, "cublasLtMatmulPreferenceCreate: null");
    *preference = new cublasLtMatmulPreferenceOpaque_t;
    return cublasLtMatmulPreferenceInit(*preference);
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
    if (view<Preference>(preference).magic != preference_magic)
        return reject(CUBLAS_STATUS_INVALID_VALUE, "cuBLASLt: a preference that does not exist");
    put(preference, uint64_t(0));
    delete preference;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference, cublasLtMatmulPreferenceAttributes_t attribute,
                                                    const void* from, size_t bytes) {
    auto p = view<Preference>(preference);
    if (p.magic != preference_magic) return reject(CUBLAS_STATUS_INVALID_VALUE, "cuBLASLt: a preference that does not exist");
    cublasStatus_t s = CUBLAS_STATUS_SUCCESS;
    switch (attribute) {
        case CUBLASLT_MATMUL_PREF_SEARCH_MODE: s = take(p.search_mode, from, bytes, "SEARCH_MODE"); break;
        case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES: s = take(p.workspace, from, bytes, "MAX_WORKSPACE_BYTES"); break;
        case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK: s = take(p.reduction_mask, from, bytes, "REDUCTION_SCHEME_MASK"); break;
        case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES:
        case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES:
        case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES:
        case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES:
            s = take(p.alignment[attribute - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES], from, bytes, "MIN_ALIGNMENT");
            break;
        case CUBLASLT_MATMUL_PREF_MAX_WAVES_COUNT: s = take(p.waves, from, bytes, "MAX_WAVES_COUNT"); break;
        default: return reject(CUBLAS_STATUS_INVALID_VALUE, "cuBLASLt: attribute %d of a preference is not emulated", attribute);
    }
    if (s == CUBLAS_STATUS_SUCCESS) put(preference, p);
    return s;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, cublasLtMatrixLayout_t a,
                                              cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int requested,
                                              cublasLtMatmulHeuristicResult_t results[], int* returned) {
    std::lock_guard lock(mutex());
    if (requested < 1 || results == nullptr || returned == nullptr)
        return reject(CUBLAS_STATUS_INVALID_VALUE, "cublasLtMatmulAlgoGetHeuristic: %d results requested", requested);
    *returned = 0;
    const auto wishes = view<Preference>(preference);
    if (wishes.magic != preference_magic) return reject(CUBLAS_STATUS_INVALID_VALUE, "cuBLASLt: a preference that does not exist");
    Product p = {};
    if (cublasStatus_t s = product_of(handle, desc, a, b, c, d, p)) return s;
    Algo algo = {algo_magic, 0, fingerprint(p), {}};
    // Uses the workspace that it is allowed, so that a forgotten one is found.
    algo.workspace = wishes.workspace < 65536 ? wishes.workspace / 256 * 256 : 65536;
    for (int i = 0; i < 4; ++i) algo.alignment[i] = wishes.alignment[i] < 16 ? wishes.alignment[i] : 16;
    results[0] = {};
    put(&results[0].algo, algo);
    results[0].workspaceSize = algo.workspace;
    results[0].state = CUBLAS_STATUS_SUCCESS;
    results[0].wavesCount = 1.0f;
    *returned = 1;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, const void* alpha, const void* a,
                              cublasLtMatrixLayout_t la, const void* b, cublasLtMatrixLayout_t lb, const void* beta, const void* c,
                              cublasLtMatrixLayout_t lc, void* d, cublasLtMatrixLayout_t ld, const cublasLtMatmulAlgo_t* algorithm,
                              void* workspace, size_t workspace_bytes, cudaStream_t stream) {
    std::lock_guard lock(mutex());
    Product p = {};
    if (cublasStatus_t s = product_of(handle, desc, la, lb, lc, ld, p)) return s;
    if (algorithm != nullptr) {
        const auto algo = view<Algo>(algorithm);
        if (algo.magic != algo_magic) return reject(CUBLAS_STATUS_INVALID_VALUE, "cuBLASLt: an algorithm that no heuristic gave");
        if (algo.problem != fingerprint(p))
            return reject(CUBLAS_STATUS_INVALID_VALUE, "cuBLASLt: the algorithm was found for other types, shapes or epilogue");
        const void* pointers[] = {a, b, c, d};
        for (int i = 0; i < 4; ++i)
            if (algo.alignment[i] > 1 && reinterpret_cast<uintptr_t>(pointers[i]) % algo.alignment[i] != 0)
                return reject(CUBLAS_STATUS_NOT_SUPPORTED,
                              "cuBLASLt: %c is not aligned to %u bytes, which the algorithm was promised (MIN_ALIGNMENT_%c_BYTES)",
                              "ABCD"[i], algo.alignment[i], "ABCD"[i]);
        if (workspace_bytes < algo.workspace)
            return reject(CUBLAS_STATUS_INVALID_VALUE, "cuBLASLt: the algorithm needs %zu bytes of workspace, got %zu",
                          size_t(algo.workspace), workspace_bytes);
    }
    if (workspace_bytes != 0) {
        if (workspace == nullptr || reinterpret_cast<uintptr_t>(workspace) % 16 != 0)
            return reject(CUBLAS_STATUS_INVALID_VALUE, "cuBLASLt: the workspace is null or not aligned to 16 bytes");
        if (uintptr_t bad = first_inaccessible(reinterpret_cast<uintptr_t>(workspace), workspace_bytes); bad != 0)
            return reject(CUBLAS_STATUS_INVALID_VALUE, "cuBLASLt: workspace of %zu bytes reaches %s", workspace_bytes,
                          describe(bad).c_str());
    }
    return enqueue_product(p, alpha, a, b, beta, c, d, stream);
}
}

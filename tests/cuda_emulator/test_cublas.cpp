// The stand-ins for cuBLAS and cuBLASLt: right results, and a refusal with its reason for every wrong descriptor.
#include <catch2/catch.hpp>

#include <cmath>
#include <cublasLt.h>

#include <string>

#include "device_array.hpp"

namespace {

using Catch::Contains;

std::string fault() { return cuda_emulator::last_fault(); }

struct Fresh {
    Fresh() { cuda_emulator::clear(); }
    ~Fresh() { cuda_emulator::clear(); }
};

std::vector<float> numbers(int64_t count, int seed) {
    std::vector<float> values(static_cast<size_t>(count));
    for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>((static_cast<int>(i) * 37 + seed) % 17 - 8) / 4;
    return values;
}

// A product D = epilogue(alpha op(A) op(B) + beta C) of floats, every part of which a test can spoil.
struct Matmul {
    int64_t m = 5, n = 4, k = 3;
    bool ta = false, tb = false;
    cublasComputeType_t compute = CUBLAS_COMPUTE_32F;
    cudaDataType type = CUDA_R_32F, scale = CUDA_R_32F;
    cublasLtHandle_t handle = nullptr;
    cublasLtMatmulDesc_t desc = nullptr;
    cublasLtMatrixLayout_t a = nullptr, b = nullptr, c = nullptr;
    cublasLtMatmulPreference_t preference = nullptr;
    cublasLtMatmulHeuristicResult_t result = {};
    float alpha = 1.0f, beta = 0.0f;

    Matmul() {
        REQUIRE(cublasLtCreate(&handle) == CUBLAS_STATUS_SUCCESS);
        REQUIRE(cublasLtMatmulPreferenceCreate(&preference) == CUBLAS_STATUS_SUCCESS);
        set_preference(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t(0));
    }
    Matmul(const Matmul&) = delete;
    ~Matmul() {
        destroy();
        cublasLtMatmulPreferenceDestroy(preference);
        cublasLtDestroy(handle);
    }
    void destroy() {
        if (desc == nullptr) return;
        cublasLtMatmulDescDestroy(desc);
        for (auto layout : {a, b, c}) cublasLtMatrixLayoutDestroy(layout);
        desc = nullptr;
    }
    int64_t lda() const { return ta ? k : m; }
    int64_t ldb() const { return tb ? n : k; }
    void describe() {
        destroy();
        REQUIRE(cublasLtMatmulDescCreate(&desc, compute, scale) == CUBLAS_STATUS_SUCCESS);
        set(CUBLASLT_MATMUL_DESC_TRANSA, ta ? CUBLAS_OP_T : CUBLAS_OP_N);
        set(CUBLASLT_MATMUL_DESC_TRANSB, tb ? CUBLAS_OP_T : CUBLAS_OP_N);
        const auto u = [](int64_t x) { return static_cast<uint64_t>(x); };
        REQUIRE(cublasLtMatrixLayoutCreate(&a, type, u(ta ? k : m), u(ta ? m : k), lda()) == CUBLAS_STATUS_SUCCESS);
        REQUIRE(cublasLtMatrixLayoutCreate(&b, type, u(tb ? n : k), u(tb ? k : n), ldb()) == CUBLAS_STATUS_SUCCESS);
        REQUIRE(cublasLtMatrixLayoutCreate(&c, type, u(m), u(n), m) == CUBLAS_STATUS_SUCCESS);
    }
    template <class T>
    void set(cublasLtMatmulDescAttributes_t attribute, T value) {
        REQUIRE(cublasLtMatmulDescSetAttribute(desc, attribute, &value, sizeof value) == CUBLAS_STATUS_SUCCESS);
    }
    template <class T>
    void set(cublasLtMatrixLayout_t layout, cublasLtMatrixLayoutAttribute_t attribute, T value) {
        REQUIRE(cublasLtMatrixLayoutSetAttribute(layout, attribute, &value, sizeof value) == CUBLAS_STATUS_SUCCESS);
    }
    template <class T>
    void set_preference(cublasLtMatmulPreferenceAttributes_t attribute, T value) {
        REQUIRE(cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof value) == CUBLAS_STATUS_SUCCESS);
    }
    cublasStatus_t find() {
        int found = 0;
        return cublasLtMatmulAlgoGetHeuristic(handle, desc, a, b, c, c, preference, 1, &result, &found);
    }
    cublasStatus_t run(const void* pa, const void* pb, void* pc, void* workspace = nullptr, size_t bytes = 0) {
        const auto status = find();
        if (status != CUBLAS_STATUS_SUCCESS) return status;
        return cublasLtMatmul(handle, desc, &alpha, pa, a, pb, b, &beta, pc, c, pc, c, &result.algo, workspace, bytes, nullptr);
    }
};

float element(const std::vector<float>& values, int64_t i) { return values[static_cast<size_t>(i)]; }

float product(const Matmul& p, const std::vector<float>& a, const std::vector<float>& b, int64_t i, int64_t j) {
    float sum = 0;
    for (int64_t l = 0; l < p.k; ++l)
        sum += element(a, p.ta ? l + i * p.k : i + l * p.m) * element(b, p.tb ? j + l * p.n : l + j * p.k);
    return sum;
}

}  // namespace

TEST_CASE("products of floats in every orientation") {
    Fresh fresh;
    for (bool ta : {false, true}) {
        for (bool tb : {false, true}) {
            Matmul p;
            p.ta = ta;
            p.tb = tb;
            p.alpha = 2.0f;
            p.beta = 0.5f;
            p.describe();
            const auto a = numbers(p.m * p.k, 1), b = numbers(p.k * p.n, 2), c = numbers(p.m * p.n, 3);
            DeviceArray<float> da(a), db(b), dc(c);
            REQUIRE(p.run(da.data, db.data, dc.data) == CUBLAS_STATUS_SUCCESS);
            const auto got = dc.get();
            for (int64_t i = 0; i < p.m; ++i)
                for (int64_t j = 0; j < p.n; ++j)
                    CHECK(element(got, i + j * p.m) == 2.0f * product(p, a, b, i, j) + 0.5f * element(c, i + j * p.m));
        }
    }
    CHECK(fault() == "");
}

TEST_CASE("epilogues") {
    Fresh fresh;
    Matmul p;
    const auto a = numbers(p.m * p.k, 1), b = numbers(p.k * p.n, 2), bias = numbers(p.m, 5);
    DeviceArray<float> da(a), db(b), dbias(bias), dc(static_cast<size_t>(p.m * p.n));
    const auto gelu = [](float x) { return 0.5f * x * (1 + std::tanh(0.7978845608f * (x + 0.044715f * x * x * x))); };
    for (auto epilogue : {CUBLASLT_EPILOGUE_BIAS, CUBLASLT_EPILOGUE_RELU, CUBLASLT_EPILOGUE_RELU_BIAS, CUBLASLT_EPILOGUE_GELU,
                          CUBLASLT_EPILOGUE_GELU_BIAS}) {
        p.describe();
        p.set(CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue);
        p.set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, static_cast<void*>(dbias.data));
        REQUIRE(p.run(da.data, db.data, dc.data) == CUBLAS_STATUS_SUCCESS);
        const auto got = dc.get();
        for (int64_t i = 0; i < p.m; ++i)
            for (int64_t j = 0; j < p.n; ++j) {
                float x = product(p, a, b, i, j);
                if (epilogue & CUBLASLT_EPILOGUE_BIAS) x += element(bias, i);
                if (epilogue & CUBLASLT_EPILOGUE_RELU) x = x > 0 ? x : 0;
                if (epilogue & CUBLASLT_EPILOGUE_GELU) x = gelu(x);
                CHECK(element(got, i + j * p.m) == Approx(x).margin(1e-6));
            }
    }
    // The mask of a ReLU, and the derivative that reads it with the bias gradient.
    DeviceArray<unsigned char> mask(static_cast<size_t>(128 / 8 * p.n));
    REQUIRE(cudaMemset(mask.data, 0, mask.size) == cudaSuccess);
    p.describe();
    p.set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_RELU_AUX);
    p.set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, static_cast<void*>(mask.data));
    p.set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, int64_t(128));
    REQUIRE(p.run(da.data, db.data, dc.data) == CUBLAS_STATUS_SUCCESS);
    p.set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_DRELU_BGRAD);
    p.set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, static_cast<void*>(dbias.data));
    REQUIRE(p.run(da.data, db.data, dc.data) == CUBLAS_STATUS_SUCCESS);
    const auto got = dc.get(), gradient = dbias.get();
    for (int64_t i = 0; i < p.m; ++i) {
        float sum = 0;
        for (int64_t j = 0; j < p.n; ++j) {
            const float x = product(p, a, b, i, j);
            CHECK(element(got, i + j * p.m) == (x > 0 ? x : 0));
            sum += x > 0 ? x : 0;
        }
        CHECK(element(gradient, i) == Approx(sum));
    }
    CHECK(fault() == "");
}

TEST_CASE("row-major, batched, and other types") {
    Fresh fresh;
    SECTION("row-major") {
        Matmul p;
        p.describe();
        p.set(p.a, CUBLASLT_MATRIX_LAYOUT_ORDER, CUBLASLT_ORDER_ROW);
        p.set(p.b, CUBLASLT_MATRIX_LAYOUT_ORDER, CUBLASLT_ORDER_ROW);
        p.set(p.c, CUBLASLT_MATRIX_LAYOUT_ORDER, CUBLASLT_ORDER_ROW);
        p.set(p.a, CUBLASLT_MATRIX_LAYOUT_LD, p.k);
        p.set(p.b, CUBLASLT_MATRIX_LAYOUT_LD, p.n);
        p.set(p.c, CUBLASLT_MATRIX_LAYOUT_LD, p.n);
        const auto a = numbers(p.m * p.k, 1), b = numbers(p.k * p.n, 2);
        DeviceArray<float> da(a), db(b), dc(static_cast<size_t>(p.m * p.n));
        REQUIRE(p.run(da.data, db.data, dc.data) == CUBLAS_STATUS_SUCCESS);
        const auto got = dc.get();
        for (int64_t i = 0; i < p.m; ++i)
            for (int64_t j = 0; j < p.n; ++j) {
                float sum = 0;
                for (int64_t l = 0; l < p.k; ++l) sum += element(a, i * p.k + l) * element(b, l * p.n + j);
                CHECK(element(got, i * p.n + j) == sum);
            }
        p.set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_RELU);
        CHECK(p.run(da.data, db.data, dc.data) == CUBLAS_STATUS_NOT_SUPPORTED);
        cuda_emulator::clear();
    }
    SECTION("batched, B shared") {
        Matmul p;
        p.describe();
        const int batches = 3;
        for (auto layout : {p.a, p.b, p.c}) p.set(layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, batches);
        p.set(p.a, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, p.m * p.k);
        p.set(p.c, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, p.m * p.n);
        const auto a = numbers(batches * p.m * p.k, 1), b = numbers(p.k * p.n, 2);
        DeviceArray<float> da(a), db(b), dc(static_cast<size_t>(batches * p.m * p.n));
        REQUIRE(p.run(da.data, db.data, dc.data) == CUBLAS_STATUS_SUCCESS);
        const auto got = dc.get();
        for (int batch = 0; batch < batches; ++batch) {
            const std::vector<float> part(a.begin() + batch * p.m * p.k, a.begin() + (batch + 1) * p.m * p.k);
            for (int64_t i = 0; i < p.m; ++i)
                for (int64_t j = 0; j < p.n; ++j) CHECK(element(got, batch * p.m * p.n + i + j * p.m) == product(p, part, b, i, j));
        }
        p.set(p.c, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, int64_t(3));
        CHECK(p.run(da.data, db.data, dc.data) == CUBLAS_STATUS_INVALID_VALUE);
        CHECK_THAT(fault(), Contains("batches of D overlap"));
        cuda_emulator::clear();
        p.set(p.c, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, 2);
        CHECK(p.run(da.data, db.data, dc.data) == CUBLAS_STATUS_INVALID_VALUE);
        cuda_emulator::clear();
    }
    SECTION("int8") {
        Matmul p;
        p.m = p.k = 4;
        p.ta = true;
        p.compute = CUBLAS_COMPUTE_32I;
        p.scale = CUDA_R_32I;
        p.type = CUDA_R_8I;
        p.describe();
        p.set(p.c, CUBLASLT_MATRIX_LAYOUT_TYPE, CUDA_R_32I);
        std::vector<signed char> a(16), b(16);
        for (int i = 0; i < 16; ++i)
            a[static_cast<size_t>(i)] = static_cast<signed char>(i * 9 - 60),
            b[static_cast<size_t>(i)] = static_cast<signed char>(90 - i * 7);
        DeviceArray<signed char> da(a), db(b);
        DeviceArray<int> dc(16);
        const int one = 1, zero = 0;
        REQUIRE(p.find() == CUBLAS_STATUS_SUCCESS);
        REQUIRE(cublasLtMatmul(p.handle, p.desc, &one, da.data, p.a, db.data, p.b, &zero, dc.data, p.c, dc.data, p.c, nullptr, nullptr, 0,
                               nullptr) == CUBLAS_STATUS_SUCCESS);
        const auto got = dc.get();
        for (size_t i = 0; i < 4; ++i)
            for (size_t j = 0; j < 4; ++j) {
                int sum = 0;
                for (size_t l = 0; l < 4; ++l) sum += a[l + 4 * i] * b[l + 4 * j];
                CHECK(got[i + 4 * j] == sum);
            }
        p.ta = false;
        p.describe();
        p.set(p.c, CUBLASLT_MATRIX_LAYOUT_TYPE, CUDA_R_32I);
        CHECK(p.find() == CUBLAS_STATUS_NOT_SUPPORTED);
        CHECK_THAT(fault(), Contains("A transposed"));
        cuda_emulator::clear();
    }
    SECTION("bf16 and half, accumulated in float") {
        for (auto type : {CUDA_R_16BF, CUDA_R_16F}) {
            Matmul p;
            p.type = type;
            p.describe();
            // 1.5 in both formats; the product of three is 6.75.
            const unsigned short one_and_a_half = type == CUDA_R_16BF ? 0x3fc0 : 0x3e00, result = type == CUDA_R_16BF ? 0x40d8 : 0x46c0;
            DeviceArray<unsigned short> da(std::vector<unsigned short>(15, one_and_a_half)),
                db(std::vector<unsigned short>(12, one_and_a_half)), dc(20);
            REQUIRE(p.run(da.data, db.data, dc.data) == CUBLAS_STATUS_SUCCESS);
            CHECK(dc.get() == std::vector<unsigned short>(20, result));
        }
    }
    SECTION("TF32 keeps ten bits") {
        Matmul p;
        p.m = p.n = p.k = 1;
        p.compute = CUBLAS_COMPUTE_32F_FAST_TF32;
        p.describe();
        DeviceArray<float> da(std::vector<float>{1.0f + 0x1p-12f}), db(std::vector<float>{1.0f + 0x1p-10f}), dc(1);
        REQUIRE(p.run(da.data, db.data, dc.data) == CUBLAS_STATUS_SUCCESS);
        CHECK(dc.get()[0] == 1.0f + 0x1p-10f);
    }
    CHECK(fault() == "");
}

TEST_CASE("a swapped leading dimension") {
    Fresh fresh;
    Matmul p;
    const auto a = numbers(p.m * p.k, 1), b = numbers(p.k * p.n, 2);
    DeviceArray<float> da(a), db(b), dc(20);
    p.describe();
    p.set(p.a, CUBLASLT_MATRIX_LAYOUT_LD, p.k);
    CHECK(p.run(da.data, db.data, dc.data) == CUBLAS_STATUS_INVALID_VALUE);
    CHECK_THAT(fault(), Contains("A is 5 x 3, column-major, with leading dimension 3: it must be at least 5"));
    cuda_emulator::clear();
    // B is 3 x 4; a leading dimension of 4 is allowed, and runs off its end.
    p.describe();
    p.set(p.b, CUBLASLT_MATRIX_LAYOUT_LD, p.n);
    CHECK(p.run(da.data, db.data, dc.data) == CUBLAS_STATUS_EXECUTION_FAILED);
    CHECK_THAT(fault(), Contains("cuBLAS: B (3 x 4, leading dimension 4)") && Contains("past the end of the 48 bytes"));
    cuda_emulator::clear();
    // So does a result that is taken for a larger one.
    p.describe();
    p.set(p.c, CUBLASLT_MATRIX_LAYOUT_LD, p.m + 1);
    CHECK(p.run(da.data, db.data, dc.data) == CUBLAS_STATUS_EXECUTION_FAILED);
    CHECK_THAT(fault(), Contains("cuBLAS: D"));
}

TEST_CASE("shapes, types and attributes that do not fit") {
    Fresh fresh;
    Matmul p;
    p.describe();
    p.set(p.b, CUBLASLT_MATRIX_LAYOUT_ROWS, uint64_t(4));
    p.set(p.b, CUBLASLT_MATRIX_LAYOUT_LD, int64_t(4));
    CHECK(p.find() == CUBLAS_STATUS_INVALID_VALUE);
    CHECK_THAT(fault(), Contains("B is 4 x 4, and the product needs 3 x 4"));
    cuda_emulator::clear();
    p.describe();
    p.set(p.a, CUBLASLT_MATRIX_LAYOUT_TYPE, CUDA_R_16BF);
    CHECK(p.find() == CUBLAS_STATUS_NOT_SUPPORTED);
    CHECK_THAT(fault(), Contains("A is bf16, B float"));
    cuda_emulator::clear();
    p.scale = CUDA_R_64F;
    p.describe();
    CHECK(p.find() == CUBLAS_STATUS_NOT_SUPPORTED);
    cuda_emulator::clear();
    const short narrow = 0;
    CHECK(cublasLtMatmulDescSetAttribute(p.desc, CUBLASLT_MATMUL_DESC_TRANSA, &narrow, sizeof narrow) == CUBLAS_STATUS_INVALID_VALUE);
    CHECK_THAT(fault(), Contains("TRANSA takes 4 bytes, got 2"));
    cuda_emulator::clear();
    p.scale = CUDA_R_32F;
    p.describe();
    p.set(p.a, CUBLASLT_MATRIX_LAYOUT_ORDER, CUBLASLT_ORDER_COL32);
    CHECK(p.find() == CUBLAS_STATUS_NOT_SUPPORTED);
    cuda_emulator::clear();
    p.describe();
    p.set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_RELU_AUX);
    p.set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, int64_t(8));
    CHECK(p.find() == CUBLAS_STATUS_INVALID_VALUE);
    CHECK_THAT(fault(), Contains("multiple of 128"));
}

TEST_CASE("pointers, alignment and workspace") {
    Fresh fresh;
    Matmul p;
    const auto a = numbers(p.m * p.k + 1, 1), b = numbers(p.k * p.n, 2);
    DeviceArray<float> da(a), db(b), dc(20), dbias(4);
    p.describe();
    CHECK(p.run(da.data + 1, db.data, dc.data) == CUBLAS_STATUS_NOT_SUPPORTED);
    CHECK_THAT(fault(), Contains("A is not aligned to 16 bytes") && Contains("MIN_ALIGNMENT_A_BYTES"));
    cuda_emulator::clear();
    p.set_preference(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, uint32_t(4));
    CHECK(p.run(da.data + 1, db.data, dc.data) == CUBLAS_STATUS_SUCCESS);
    p.set_preference(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t(1 << 20));
    CHECK(p.run(da.data, db.data, dc.data) == CUBLAS_STATUS_INVALID_VALUE);
    CHECK_THAT(fault(), Contains("needs 65536 bytes of workspace, got 0"));
    cuda_emulator::clear();
    DeviceArray<char> small(100), workspace(65536);
    CHECK(p.run(da.data, db.data, dc.data, small.data, 65536) == CUBLAS_STATUS_INVALID_VALUE);
    cuda_emulator::clear();
    CHECK(p.run(da.data, db.data, dc.data, workspace.data, 65536) == CUBLAS_STATUS_SUCCESS);
    CHECK(p.run(a.data(), db.data, dc.data, workspace.data, 65536) != CUBLAS_STATUS_SUCCESS);
    cuda_emulator::clear();
    CHECK(p.run(da.data, db.data, da.data, workspace.data, 65536) == CUBLAS_STATUS_INVALID_VALUE);
    CHECK_THAT(fault(), Contains("D overlaps A or B"));
    cuda_emulator::clear();
    // C is read only if beta says so.
    DeviceArray<float> fresh_c(20);
    p.beta = 1.0f;
    CHECK(p.run(da.data, db.data, fresh_c.data, workspace.data, 65536) == CUBLAS_STATUS_EXECUTION_FAILED);
    CHECK_THAT(fault(), Contains("cuBLAS: C") && Contains("uninitialised"));
    cuda_emulator::clear();
    p.beta = 0.0f;
    // A bias of the wrong length: 4 instead of 5.
    REQUIRE(cudaMemset(dbias.data, 0, 16) == cudaSuccess);
    p.set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
    CHECK(p.run(da.data, db.data, dc.data, workspace.data, 65536) == CUBLAS_STATUS_INVALID_VALUE);
    CHECK_THAT(fault(), Contains("bias is null"));
    cuda_emulator::clear();
    p.set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, static_cast<void*>(dbias.data));
    CHECK(p.run(da.data, db.data, dc.data, workspace.data, 65536) == CUBLAS_STATUS_EXECUTION_FAILED);
    CHECK_THAT(fault(), Contains("cuBLAS: bias"));
    cuda_emulator::clear();
    // An algorithm for another problem.
    REQUIRE(p.find() == CUBLAS_STATUS_SUCCESS);
    p.set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_DEFAULT);
    CHECK(cublasLtMatmul(p.handle, p.desc, &p.alpha, da.data, p.a, db.data, p.b, &p.beta, dc.data, p.c, dc.data, p.c, &p.result.algo,
                         workspace.data, 65536, nullptr) == CUBLAS_STATUS_INVALID_VALUE);
    CHECK_THAT(fault(), Contains("was found for other types, shapes or epilogue"));
    cuda_emulator::clear();
    // Scalars on the wrong side.
    CHECK(cublasLtMatmul(p.handle, p.desc, da.data, da.data, p.a, db.data, p.b, &p.beta, dc.data, p.c, dc.data, p.c, nullptr, nullptr, 0,
                         nullptr) == CUBLAS_STATUS_INVALID_VALUE);
    p.set(CUBLASLT_MATMUL_DESC_POINTER_MODE, CUBLASLT_POINTER_MODE_DEVICE);
    CHECK(cublasLtMatmul(p.handle, p.desc, &p.alpha, da.data, p.a, db.data, p.b, &p.beta, dc.data, p.c, dc.data, p.c, nullptr, nullptr, 0,
                         nullptr) == CUBLAS_STATUS_INVALID_VALUE);
    cuda_emulator::clear();
    DeviceArray<float> scalars(std::vector<float>{1.0f, 0.0f});
    CHECK(cublasLtMatmul(p.handle, p.desc, scalars.data, da.data, p.a, db.data, p.b, scalars.data + 1, dc.data, p.c, dc.data, p.c, nullptr,
                         nullptr, 0, nullptr) == CUBLAS_STATUS_SUCCESS);
    CHECK(fault() == "");
}

TEST_CASE("a captured product") {
    Fresh fresh;
    Matmul p;
    p.describe();
    const auto a = numbers(p.m * p.k, 1), b = numbers(p.k * p.n, 2);
    DeviceArray<float> da(a), db(b), dc(20);
    cudaStream_t stream = nullptr;
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t executable = nullptr;
    REQUIRE(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) == cudaSuccess);
    REQUIRE(p.find() == CUBLAS_STATUS_SUCCESS);
    REQUIRE(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal) == cudaSuccess);
    REQUIRE(cublasLtMatmul(p.handle, p.desc, &p.alpha, da.data, p.a, db.data, p.b, &p.beta, dc.data, p.c, dc.data, p.c, &p.result.algo,
                           nullptr, 0, stream) == CUBLAS_STATUS_SUCCESS);
    REQUIRE(cudaStreamEndCapture(stream, &graph) == cudaSuccess);
    REQUIRE(cudaGraphInstantiate(&executable, graph, 0) == cudaSuccess);
    p.alpha = 7.0f;  // was read when it was captured
    REQUIRE(cudaGraphLaunch(executable, stream) == cudaSuccess);
    REQUIRE(cudaStreamSynchronize(stream) == cudaSuccess);
    CHECK(dc.get()[0] == product(p, a, b, 0, 0));
    REQUIRE(cudaGraphExecDestroy(executable) == cudaSuccess);
    REQUIRE(cudaGraphDestroy(graph) == cudaSuccess);
    REQUIRE(cudaStreamDestroy(stream) == cudaSuccess);
}

// The stand-in for cuDNN: right results, and a refusal with its reason for every wrong descriptor, pointer and workspace.
#include <catch2/catch.hpp>

#include <cuda_runtime.h>
#include <cudnn.h>

#include <string>
#include <vector>

#include "device_array.hpp"

namespace {

using Catch::Contains;

std::string fault() { return cuda_emulator::last_fault(); }

// y [2, 3, 2, 2] = conv(x [2, 2, 4, 3], w [3, 2, 3, 2]), every part of which a test can spoil.
struct Convolution {
    int x_sizes[4] = {2, 2, 4, 3}, x_strides[4] = {24, 12, 3, 1}, w_sizes[4] = {3, 2, 3, 2}, y_sizes[4] = {2, 3, 2, 2},
        y_strides[4] = {12, 4, 2, 1};
    int padding[2] = {0, 0}, stride[2] = {1, 1}, dilation[2] = {1, 1}, groups = 1;
    cudnnTensorFormat_t format = CUDNN_TENSOR_NCHW;
    cudnnMathType_t math = CUDNN_FMA_MATH;
    float alpha = 1, beta = 0;
    cudnnHandle_t handle = nullptr;
    cudnnTensorDescriptor_t x = nullptr, y = nullptr;
    cudnnFilterDescriptor_t w = nullptr;
    cudnnConvolutionDescriptor_t c = nullptr;
    DeviceArray<float> x_data{numbers(48, 1)}, w_data{numbers(36, 2)}, y_data{numbers(24, 3)};
    DeviceArray<char> workspace{size_t(1) << 16};

    Convolution() {
        cuda_emulator::clear();
        REQUIRE(cudnnCreate(&handle) == CUDNN_STATUS_SUCCESS);
        REQUIRE(cudnnCreateTensorDescriptor(&x) == CUDNN_STATUS_SUCCESS);
        REQUIRE(cudnnCreateTensorDescriptor(&y) == CUDNN_STATUS_SUCCESS);
        REQUIRE(cudnnCreateFilterDescriptor(&w) == CUDNN_STATUS_SUCCESS);
        REQUIRE(cudnnCreateConvolutionDescriptor(&c) == CUDNN_STATUS_SUCCESS);
    }
    Convolution(const Convolution&) = delete;
    ~Convolution() {
        cuda_emulator::clear();
        cudnnDestroyTensorDescriptor(x);
        cudnnDestroyTensorDescriptor(y);
        cudnnDestroyFilterDescriptor(w);
        cudnnDestroyConvolutionDescriptor(c);
        cudnnDestroy(handle);
    }
    static std::vector<float> numbers(int count, int seed) {
        std::vector<float> v;
        for (int i = 0; i < count; ++i) v.push_back(static_cast<float>((i * 37 + seed) % 17 - 8) / 4);
        return v;
    }
    void describe() {
        REQUIRE(cudnnSetTensorNdDescriptor(x, CUDNN_DATA_FLOAT, 4, x_sizes, x_strides) == CUDNN_STATUS_SUCCESS);
        REQUIRE(cudnnSetTensorNdDescriptor(y, CUDNN_DATA_FLOAT, 4, y_sizes, y_strides) == CUDNN_STATUS_SUCCESS);
        REQUIRE(cudnnSetFilterNdDescriptor(w, CUDNN_DATA_FLOAT, format, 4, w_sizes) == CUDNN_STATUS_SUCCESS);
        REQUIRE(cudnnSetConvolutionNdDescriptor(c, 2, padding, stride, dilation, CUDNN_CROSS_CORRELATION, CUDNN_DATA_FLOAT) ==
                CUDNN_STATUS_SUCCESS);
        REQUIRE(cudnnSetConvolutionGroupCount(c, groups) == CUDNN_STATUS_SUCCESS);
        REQUIRE(cudnnSetConvolutionMathType(c, math) == CUDNN_STATUS_SUCCESS);
    }
    cudnnStatus_t forward(int algorithm = 1, const void* from = nullptr, size_t bytes = size_t(1) << 16) {
        describe();
        return cudnnConvolutionForward(handle, &alpha, x, from == nullptr ? x_data.data : from, w, w_data.data, c,
                                       static_cast<cudnnConvolutionFwdAlgo_t>(algorithm), workspace.data, bytes, &beta, y, y_data.data);
    }
    // The definition.
    std::vector<float> expected() const {
        const auto xv = x_data.get(), wv = w_data.get();
        std::vector<float> r;
        for (int b = 0; b < 2; ++b)
            for (int o = 0; o < 3; ++o)
                for (int p = 0; p < 2; ++p)
                    for (int q = 0; q < 2; ++q) {
                        float sum = 0;
                        for (int k = 0; k < 2; ++k)
                            for (int i = 0; i < 3; ++i)
                                for (int j = 0; j < 2; ++j)
                                    sum += xv[static_cast<size_t>(b * 24 + k * 12 + (p + i) * 3 + q + j)] *
                                           wv[static_cast<size_t>(o * 12 + k * 6 + i * 2 + j)];
                        r.push_back(sum);
                    }
        return r;
    }
};

}  // namespace

TEST_CASE("a convolution by its definition") {
    Convolution t;
    CHECK(t.forward() == CUDNN_STATUS_SUCCESS);
    CHECK(t.y_data.get() == t.expected());
    // Added to what was there, and scaled.
    t.alpha = 2;
    t.beta = -1;
    CHECK(t.forward() == CUDNN_STATUS_SUCCESS);
    CHECK(t.y_data.get() == t.expected());
    CHECK(fault() == "");
}

TEST_CASE("wrong descriptors") {
    Convolution t;
    int* const places[] = {t.x_sizes, t.x_strides};
    for (int* place : places) {
        const int kept = place[1];
        place[1] = 0;
        CHECK(cudnnSetTensorNdDescriptor(t.x, CUDNN_DATA_FLOAT, 4, t.x_sizes, t.x_strides) == CUDNN_STATUS_BAD_PARAM);
        CHECK_THAT(fault(), Contains("expected 1 or more"));
        place[1] = kept;
        cuda_emulator::clear();
    }
    CHECK(cudnnSetTensorNdDescriptor(t.x, CUDNN_DATA_FLOAT, 3, t.x_sizes, t.x_strides) == CUDNN_STATUS_NOT_SUPPORTED);
    CHECK_THAT(fault(), Contains("rank 3"));
    cuda_emulator::clear();
    CHECK(t.forward(1, nullptr, 0) != CUDNN_STATUS_SUCCESS);
    cuda_emulator::clear();

    t.y_sizes[3] = 3;
    CHECK(t.forward() == CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH);
    CHECK_THAT(fault(), Contains("results of size 3 along spatial axis 1, expected 2"));
    t.y_sizes[3] = 2;
    cuda_emulator::clear();
    t.y_sizes[1] = 2;
    CHECK(t.forward() == CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH);
    CHECK_THAT(fault(), Contains("results [2, 2], expected [2, 3]"));
    t.y_sizes[1] = 3;
    cuda_emulator::clear();
    t.groups = 2;
    CHECK(t.forward() == CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH);
    CHECK_THAT(fault(), Contains("2 channels in 2 groups, a weight of 3 x 2"));
    t.groups = 1;
    cuda_emulator::clear();
    // Not a mistake: the library has nothing for it.
    t.format = CUDNN_TENSOR_NHWC;
    CHECK(t.forward() == CUDNN_STATUS_NOT_SUPPORTED_LAYOUT);
    CHECK(fault() == "");
    t.format = CUDNN_TENSOR_NCHW;
    t.padding[0] = -1;
    CHECK(cudnnSetConvolutionNdDescriptor(t.c, 2, t.padding, t.stride, t.dilation, CUDNN_CROSS_CORRELATION, CUDNN_DATA_FLOAT) ==
          CUDNN_STATUS_BAD_PARAM);
    cuda_emulator::clear();
}

TEST_CASE("wrong memory") {
    Convolution t;
    CHECK(t.forward(1, nullptr, 16) == CUDNN_STATUS_BAD_PARAM_SIZE_INSUFFICIENT);
    CHECK_THAT(fault(), Contains("needs 4608 bytes of workspace, got 16"));
    cuda_emulator::clear();
    CHECK(t.forward(1, nullptr, size_t(1) << 17) == CUDNN_STATUS_BAD_PARAM);
    CHECK_THAT(fault(), Contains("workspace of 131072 bytes reaches"));
    cuda_emulator::clear();
    CHECK(t.forward(1, reinterpret_cast<const char*>(t.x_data.data) + 2) == CUDNN_STATUS_BAD_PARAM_MISALIGNED_POINTER);
    cuda_emulator::clear();
    CHECK(t.forward(1, t.y_data.data) == CUDNN_STATUS_BAD_PARAM);
    CHECK_THAT(fault(), Contains("the result overlaps an operand"));
    cuda_emulator::clear();
    const std::vector<float> host(48);
    CHECK(t.forward(1, host.data()) == CUDNN_STATUS_EXECUTION_FAILED);
    CHECK_THAT(fault(), Contains("cuDNN: x"));
    cuda_emulator::clear();
    // A longer stride than there is memory for.
    t.x_strides[0] = 400;
    CHECK(t.forward() == CUDNN_STATUS_EXECUTION_FAILED);
    CHECK_THAT(fault(), Contains("cuDNN: x"));
    cuda_emulator::clear();
}

TEST_CASE("16-bit operands are summed in float, by tensor cores") {
    Convolution t;
    t.describe();
    // All three of one type.
    REQUIRE(cudnnSetTensorNdDescriptor(t.x, CUDNN_DATA_BFLOAT16, 4, t.x_sizes, t.x_strides) == CUDNN_STATUS_SUCCESS);
    int count = 0;
    cudnnConvolutionFwdAlgoPerf_t found[8];
    const auto ask = [&] { return cudnnGetConvolutionForwardAlgorithm_v7(t.handle, t.x, t.w, t.c, t.y, 8, &count, found); };
    CHECK(ask() == CUDNN_STATUS_BAD_PARAM);
    CHECK_THAT(fault(), Contains("types 9, 0, 0, computed in 0"));
    cuda_emulator::clear();
    REQUIRE(cudnnSetTensorNdDescriptor(t.y, CUDNN_DATA_BFLOAT16, 4, t.y_sizes, t.y_strides) == CUDNN_STATUS_SUCCESS);
    REQUIRE(cudnnSetFilterNdDescriptor(t.w, CUDNN_DATA_BFLOAT16, t.format, 4, t.w_sizes) == CUDNN_STATUS_SUCCESS);
    REQUIRE(cudnnSetConvolutionMathType(t.c, CUDNN_TENSOR_OP_MATH) == CUDNN_STATUS_SUCCESS);
    CHECK(ask() == CUDNN_STATUS_SUCCESS);
    CHECK(found[3].mathType == CUDNN_TENSOR_OP_MATH);
    // Not computed in their own type.
    REQUIRE(cudnnSetConvolutionNdDescriptor(t.c, 2, t.padding, t.stride, t.dilation, CUDNN_CROSS_CORRELATION, CUDNN_DATA_BFLOAT16) ==
            CUDNN_STATUS_SUCCESS);
    CHECK(ask() == CUDNN_STATUS_BAD_PARAM);
    CHECK_THAT(fault(), Contains("computed in 9"));
    cuda_emulator::clear();
    CHECK(cudnnSetFilterNdDescriptor(t.w, static_cast<cudnnDataType_t>(3), t.format, 4, t.w_sizes) == CUDNN_STATUS_BAD_PARAM);
    cuda_emulator::clear();
}

TEST_CASE("pooling by its definition, and wrong descriptors") {
    Convolution t;  // its images [2, 2, 4, 3] and results [2, 3, 2, 2]
    cudnnPoolingDescriptor_t p = nullptr;
    REQUIRE(cudnnCreatePoolingDescriptor(&p) == CUDNN_STATUS_SUCCESS);
    const int window[2] = {3, 2}, padding[2] = {0, 0}, stride[2] = {1, 1}, too_much[2] = {3, 0};
    const auto set = [&](cudnnPoolingMode_t mode, int axes, const int* pad) {
        return cudnnSetPoolingNdDescriptor(p, mode, CUDNN_PROPAGATE_NAN, axes, window, pad, stride);
    };
    CHECK(set(CUDNN_POOLING_MAX, 1, padding) == CUDNN_STATUS_NOT_SUPPORTED);
    CHECK_THAT(fault(), Contains("1 spatial axes"));
    cuda_emulator::clear();
    CHECK(set(CUDNN_POOLING_MAX, 2, too_much) == CUDNN_STATUS_BAD_PARAM);
    CHECK_THAT(fault(), Contains("window 3, padding 3, stride 1"));
    cuda_emulator::clear();
    REQUIRE(set(CUDNN_POOLING_MAX, 2, padding) == CUDNN_STATUS_SUCCESS);
    t.describe();
    const auto forward = [&] {
        return cudnnPoolingForward(t.handle, p, &t.alpha, t.x, t.x_data.data, &t.beta, t.y, t.y_data.data);
    };
    CHECK(forward() == CUDNN_STATUS_BAD_PARAM);
    CHECK_THAT(fault(), Contains("images [2, 2], results [2, 3]"));
    cuda_emulator::clear();
    t.y_sizes[1] = 2;
    t.y_strides[0] = 8;
    t.y_sizes[2] = 3;
    t.describe();
    CHECK(forward() == CUDNN_STATUS_BAD_PARAM);
    CHECK_THAT(fault(), Contains("results of size 3 along spatial axis 0, expected 2"));
    cuda_emulator::clear();
    t.y_sizes[2] = 2;
    t.describe();
    REQUIRE(forward() == CUDNN_STATUS_SUCCESS);
    const auto x = t.x_data.get();
    std::vector<float> largest, average, share(48, 0);
    for (std::size_t plane = 0; plane < 4; ++plane)
        for (std::size_t i = 0; i < 2; ++i)
            for (std::size_t j = 0; j < 2; ++j) {
                float most = -100, sum = 0;
                for (std::size_t a = 0; a < 3; ++a)
                    for (std::size_t b = 0; b < 2; ++b) {
                        const std::size_t at = plane * 12 + (i + a) * 3 + j + b;
                        most = x[at] > most ? x[at] : most;
                        sum += x[at];
                        share[at] += 6;
                    }
                largest.push_back(most);
                average.push_back(sum);
            }
    auto y = t.y_data.get();
    y.resize(16);
    CHECK(y == largest);
    t.alpha = 6;
    REQUIRE(set(CUDNN_POOLING_AVERAGE_COUNT_EXCLUDE_PADDING, 2, padding) == CUDNN_STATUS_SUCCESS);
    REQUIRE(forward() == CUDNN_STATUS_SUCCESS);
    y = t.y_data.get();
    y.resize(16);
    for (std::size_t i = 0; i < 16; ++i) CHECK(y[i] == Approx(average[i]).margin(1e-5));
    // dy of sixes: every window gives 1 to each of its elements, times alpha.
    const DeviceArray<float> dy{std::vector<float>(16, 6.f)};
    REQUIRE(cudnnPoolingBackward(t.handle, p, &t.alpha, t.y, dy.data, t.y, dy.data, t.x, t.x_data.data, &t.beta, t.x, t.x_data.data) ==
            CUDNN_STATUS_SUCCESS);
    const auto dx = t.x_data.get();
    for (std::size_t i = 0; i < 48; ++i) CHECK(dx[i] == Approx(share[i]));
    // The derivative of the largest needs what x and y were: not emulated.
    REQUIRE(set(CUDNN_POOLING_MAX, 2, padding) == CUDNN_STATUS_SUCCESS);
    CHECK(cudnnPoolingBackward(t.handle, p, &t.alpha, t.y, dy.data, t.y, dy.data, t.x, t.x_data.data, &t.beta, t.x, t.x_data.data) ==
          CUDNN_STATUS_NOT_SUPPORTED);
    cuda_emulator::clear();
    CHECK(cudnnPoolingForward(t.handle, p, &t.alpha, t.x, t.x_data.data, &t.beta, t.y, nullptr) == CUDNN_STATUS_BAD_PARAM_NULL_POINTER);
    cuda_emulator::clear();
    CHECK(cudnnDestroyPoolingDescriptor(p) == CUDNN_STATUS_SUCCESS);
}

TEST_CASE("algorithms: those in no fixed order are named as such, and refused") {
    Convolution t;
    t.describe();
    cudnnConvolutionBwdFilterAlgoPerf_t found[8];
    int count = 0;
    REQUIRE(cudnnGetConvolutionBackwardFilterAlgorithm_v7(t.handle, t.x, t.y, t.c, t.w, 8, &count, found) == CUDNN_STATUS_SUCCESS);
    REQUIRE(count == 4);
    CHECK(found[0].status == CUDNN_STATUS_NOT_SUPPORTED);
    CHECK(found[1].algo == CUDNN_CONVOLUTION_BWD_FILTER_ALGO_0);
    CHECK(found[1].determinism == CUDNN_NON_DETERMINISTIC);
    CHECK(found[3].determinism == CUDNN_DETERMINISTIC);
    CHECK(found[3].mathType == CUDNN_FMA_MATH);
    CHECK(cudnnConvolutionBackwardFilter(t.handle, &t.alpha, t.x, t.x_data.data, t.y, t.y_data.data, t.c,
                                         CUDNN_CONVOLUTION_BWD_FILTER_ALGO_0, nullptr, 0, &t.beta, t.w,
                                         t.w_data.data) == CUDNN_STATUS_NOT_SUPPORTED);
    CHECK_THAT(fault(), Contains("adds in no fixed order"));
    cuda_emulator::clear();
    CHECK(cudnnConvolutionBackwardFilter(t.handle, &t.alpha, t.x, t.x_data.data, t.y, t.y_data.data, t.c,
                                         CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1, t.workspace.data, 1 << 16, &t.beta, t.w,
                                         t.w_data.data) == CUDNN_STATUS_SUCCESS);
    cuda_emulator::clear();
}

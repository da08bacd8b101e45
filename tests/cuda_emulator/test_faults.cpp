// Planted mistakes: each is found, named, and placed in its kernel, block and thread.
#include <catch2/catch.hpp>

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <stdexcept>
#include <string>

#include "device_array.hpp"
#include "kernels.hpp"

namespace {

using Catch::Contains;

std::string fault() { return cuda_emulator::last_fault(); }

// Ends a case: the next one starts on a working device.
struct Fresh {
    Fresh() { cuda_emulator::clear(); }
    ~Fresh() { cuda_emulator::clear(); }
};

__global__ void write_at(int* p, int index, unsigned block, unsigned thread) {
    if (blockIdx.x == block && threadIdx.x == thread) p[index] = 1;
}
__global__ void read_at(const int* p, int* out, int index) { out[0] = p[index]; }

__global__ void shared_at(int* out, int index) {
    TEST_SHARED(int, first, 8);
    TEST_SHARED(int, second, 8);
    first[threadIdx.x % 8] = 1;
    second[threadIdx.x % 8] = 2;
    __syncthreads();
    out[0] = first[index];
}
__global__ void dynamic_at(int* out, int index) {
    TEST_SHARED_DYNAMIC(int, buffer);
    buffer[index] = 3;
    out[0] = buffer[index];
}

template <bool barrier>
__global__ void neighbour(int* out) {
    TEST_SHARED(int, buffer, 64);
    buffer[threadIdx.x] = static_cast<int>(threadIdx.x);
    if (barrier) __syncthreads();
    out[threadIdx.x] = buffer[(threadIdx.x + 32) % 64];
}
// The barrier at the end of the loop is missing: the next round overwrites what others still read.
template <bool barrier>
__global__ void rounds(int* out) {
    TEST_SHARED(int, buffer, 64);
    int sum = 0;
    for (int round = 0; round < 3; ++round) {
        buffer[threadIdx.x] = round;
        __syncthreads();
        sum += buffer[63 - threadIdx.x];
        if (barrier) __syncthreads();
    }
    out[threadIdx.x] = sum;
}
template <bool barrier>
__global__ void within_warp(int* out) {
    TEST_SHARED(int, buffer, 32);
    buffer[threadIdx.x] = static_cast<int>(threadIdx.x);
    if (barrier) __syncwarp();
    out[threadIdx.x] = buffer[31 - threadIdx.x];
}
// Shuffles order no memory.
__global__ void shuffle_is_no_barrier(int* out) {
    TEST_SHARED(int, buffer, 32);
    buffer[threadIdx.x] = static_cast<int>(threadIdx.x);
    int value = __shfl_xor_sync(0xffffffffu, 1, 1);
    out[threadIdx.x] = buffer[31 - threadIdx.x] + value;
}
__global__ void blocks_write_one_place(int* out) {
    if (threadIdx.x == 0) out[0] = static_cast<int>(blockIdx.x);
}
__global__ void blocks_read_each_other(int* data) {
    if (threadIdx.x == 0) data[blockIdx.x] = data[(blockIdx.x + 1) % gridDim.x] + 1;
}
__global__ void threads_write_one_place(int* out) { out[0] = static_cast<int>(threadIdx.x); }
__global__ void plain_and_atomic(unsigned* out) {
    if (threadIdx.x == 0) out[0] = 5;
    else atomicAdd(out, 1u);
}
__global__ void bytes_of_a_word(unsigned char* out) { out[threadIdx.x] = static_cast<unsigned char>(threadIdx.x); }

__global__ void barrier_in_branch(int* out) {
    if (threadIdx.x < 40) __syncthreads();
    out[threadIdx.x] = 1;
}
__global__ void two_barriers(int* out) {
    if (threadIdx.x < 32) {
        __syncthreads();
    } else {
        out[threadIdx.x] = 1;
        __syncthreads();
    }
}
__global__ void early_return(int* out, unsigned n) {
    if (threadIdx.x >= n) return;
    __syncthreads();
    out[threadIdx.x] = 1;
}
__global__ void warp_in_branch(int* out) {
    int value = 1;
    if (threadIdx.x < 20) value = __shfl_xor_sync(0xffffffffu, value, 1);
    __syncthreads();
    out[threadIdx.x] = value;
}
__global__ void mask_without_self(int* out) { out[threadIdx.x] = __shfl_sync(0x0000ffffu, 1, 0); }
__global__ void half_mask(int* out) {
    if (threadIdx.x < 16) out[threadIdx.x] = __shfl_sync(0x0000ffffu, static_cast<int>(threadIdx.x), 15);
}
__global__ void reads_absent_lane(int* out) {
    if (threadIdx.x < 16) out[threadIdx.x] = __shfl_sync(0x0000ffffu, 1, 20);
}

template <class T>
__global__ void copy_one(const T* from, T* to) {
    *to = *from;
}
__global__ void uninitialised_shared(int* out) {
    TEST_SHARED(int, buffer, 64);
    if (threadIdx.x < 32) buffer[threadIdx.x] = 1;
    __syncthreads();
    out[threadIdx.x] = buffer[threadIdx.x];
}
// Block 0 must not see what an earlier block left.
__global__ void shared_of_the_last_block(int* out) {
    TEST_SHARED(int, buffer, 1);
    if (blockIdx.x == 1) buffer[0] = 1;
    out[blockIdx.x] = buffer[0];
}
__global__ void too_much_shared(int* out) {
    TEST_SHARED(int, buffer, 13000);
    out[0] = buffer[0];
}
int variable_of_the_host = 0;
__global__ void writes_a_variable() { variable_of_the_host = 1; }
__constant__ int table[4] = {1, 2, 3, 4};
__global__ void reads_a_table(int* out) { out[threadIdx.x] = table[threadIdx.x]; }
__global__ void throws() {
    if (threadIdx.x == 3) throw std::runtime_error("no floor");
}
__global__ void asserts(int limit) { assert(static_cast<int>(threadIdx.x) < limit); }
__global__ void waits_for_another_block(const volatile int* flag, int* out) {
    if (blockIdx.x == 0)
        while (*flag == 0) {}
    out[blockIdx.x] = 1;
}
__global__ void atomic_at(unsigned* p) { atomicAdd(p, 1u); }

}  // namespace

TEST_CASE("an index past the end of device memory") {
    Fresh fresh;
    DeviceArray<int> a(10);
    CHECK(launch(3, 64, 0, nullptr, &write_at, a.data, 10, 2u, 37u) == cudaErrorIllegalAddress);
    CHECK_THAT(fault(), Contains("out of bounds: write of 4 bytes") && Contains("0 bytes past the end of the 40 bytes") &&
                            Contains("write_at") && Contains("block (2, 0, 0), thread (37, 0, 0)"));
}

TEST_CASE("an index before the start, and far away") {
    for (int index : {-1, 500, 1 << 28}) {
        Fresh fresh;
        DeviceArray<int> a(10), out(1);
        CHECK(launch(1, 1, 0, nullptr, &read_at, a.data, out.data, index) == cudaErrorIllegalAddress);
        CHECK_THAT(fault(), Contains("out of bounds: read of 4 bytes"));
    }
}

TEST_CASE("a fault sticks to the device") {
    Fresh fresh;
    DeviceArray<int> a(10);
    launch(1, 1, 0, nullptr, &write_at, a.data, 10, 0u, 0u);
    CHECK(cudaDeviceSynchronize() == cudaErrorIllegalAddress);
    int value = 0;
    CHECK(cudaMemcpy(&value, a.data, sizeof value, cudaMemcpyDeviceToHost) == cudaErrorIllegalAddress);
    CHECK(cudaGetLastError() == cudaErrorIllegalAddress);
    cuda_emulator::clear();
    CHECK(launch(1, 1, 0, nullptr, &write_at, a.data, 9, 0u, 0u) == cudaSuccess);
    CHECK(cudaGetLastError() == cudaSuccess);
    CHECK(fault() == "");
}

TEST_CASE("an index outside of shared memory") {
    Fresh fresh;
    DeviceArray<int> out(1);
    CHECK(launch(1, 1, 0, nullptr, &shared_at, out.data, 8) == cudaErrorIllegalAddress);
    CHECK_THAT(fault(), Contains("0 bytes past the end of the 32 bytes of a shared array"));
    cuda_emulator::clear();
    CHECK(launch(1, 1, 64, nullptr, &dynamic_at, out.data, 16) == cudaErrorIllegalAddress);
    CHECK_THAT(fault(), Contains("past the end of the 64 bytes of dynamic shared memory"));
    cuda_emulator::clear();
    CHECK(launch(1, 1, 64, nullptr, &dynamic_at, out.data, 15) == cudaSuccess);
}

TEST_CASE("a missing barrier") {
    Fresh fresh;
    DeviceArray<int> out(64);
    CHECK(launch(2, 64, 0, nullptr, &neighbour<false>, out.data) == cudaErrorLaunchFailure);
    // Which of the two accesses comes second depends on the order of threads; where nothing is written yet, that is the finding.
    CHECK_THAT(fault(), Contains("without a barrier") || Contains("uninitialised"));
    cuda_emulator::clear();
    CHECK(launch(1, 64, 0, nullptr, &neighbour<true>, out.data) == cudaSuccess);
    CHECK(launch(1, 64, 0, nullptr, &rounds<true>, out.data) == cudaSuccess);
    CHECK(launch(1, 64, 0, nullptr, &rounds<false>, out.data) == cudaErrorLaunchFailure);
    CHECK_THAT(fault(), Contains("race: ") && Contains("without a barrier between"));
}

TEST_CASE("a missing warp barrier") {
    Fresh fresh;
    DeviceArray<int> out(32);
    CHECK(launch(1, 32, 0, nullptr, &within_warp<true>, out.data) == cudaSuccess);
    CHECK(launch(1, 32, 0, nullptr, &within_warp<false>, out.data) == cudaErrorLaunchFailure);
    cuda_emulator::clear();
    CHECK(launch(1, 32, 0, nullptr, &shuffle_is_no_barrier, out.data) == cudaErrorLaunchFailure);
    CHECK_THAT(fault(), Contains("race: read after write"));
}

TEST_CASE("races in device memory") {
    Fresh fresh;
    DeviceArray<int> out(8);
    CHECK(launch(2, 32, 0, nullptr, &blocks_write_one_place, out.data) == cudaErrorLaunchFailure);
    CHECK_THAT(fault(), Contains("race between blocks: write after write"));
    cuda_emulator::clear();
    CHECK(launch(1, 32, 0, nullptr, &threads_write_one_place, out.data) == cudaErrorLaunchFailure);
    CHECK_THAT(fault(), Contains("race: write after write"));
    cuda_emulator::clear();
    REQUIRE(cudaMemset(out.data, 0, 32) == cudaSuccess);
    CHECK(launch(8, 1, 0, nullptr, &blocks_read_each_other, out.data) == cudaErrorLaunchFailure);
    CHECK_THAT(fault(), Contains("race between blocks"));
    cuda_emulator::clear();
    CHECK(launch(1, 32, 0, nullptr, &plain_and_atomic, reinterpret_cast<unsigned*>(out.data)) == cudaErrorLaunchFailure);
    CHECK_THAT(fault(), Contains("race"));
    cuda_emulator::clear();
    // Neighbours in one word are no race, and neither are two launches.
    CHECK(launch(1, 32, 0, nullptr, &bytes_of_a_word, reinterpret_cast<unsigned char*>(out.data)) == cudaSuccess);
    CHECK(launch(1, 1, 0, nullptr, &threads_write_one_place, out.data) == cudaSuccess);
    CHECK(launch(1, 1, 0, nullptr, &threads_write_one_place, out.data) == cudaSuccess);
}

TEST_CASE("barriers that some threads never reach") {
    Fresh fresh;
    DeviceArray<int> out(64);
    CHECK(launch(1, 64, 0, nullptr, &barrier_in_branch, out.data) == cudaErrorLaunchTimeout);
    CHECK_THAT(fault(), Contains("divergent barrier: 40 of 64 threads") && Contains("test_faults.cpp:") && Contains("barrier_in_branch"));
    cuda_emulator::clear();
    CHECK(launch(1, 64, 0, nullptr, &early_return, out.data, 63u) == cudaErrorLaunchTimeout);
    CHECK_THAT(fault(), Contains("63 of 64 threads") && Contains("thread (63, 0, 0) has left the kernel"));
    cuda_emulator::clear();
    CHECK(launch(1, 64, 0, nullptr, &early_return, out.data, 64u) == cudaSuccess);
    CHECK(launch(1, 64, 0, nullptr, &two_barriers, out.data) == cudaErrorLaunchFailure);
    CHECK_THAT(fault(), Contains("divergent barriers"));
}

TEST_CASE("warp operations with a wrong mask") {
    Fresh fresh;
    DeviceArray<int> out(32);
    CHECK(launch(1, 32, 0, nullptr, &warp_in_branch, out.data) == cudaErrorLaunchTimeout);
    CHECK_THAT(fault(),
               Contains("divergent warp operation: __shfl_xor_sync with mask 0xffffffff") && Contains("lane 20 waits at the barrier"));
    cuda_emulator::clear();
    CHECK(launch(1, 32, 0, nullptr, &mask_without_self, out.data) == cudaErrorLaunchFailure);
    CHECK_THAT(fault(), Contains("wrong mask: __shfl_sync"));
    cuda_emulator::clear();
    CHECK(launch(1, 32, 0, nullptr, &half_mask, out.data) == cudaSuccess);
    CHECK(launch(1, 32, 0, nullptr, &reads_absent_lane, out.data) == cudaErrorLaunchFailure);
    CHECK_THAT(fault(), Contains("reads lane 20, which takes no part"));
}

TEST_CASE("host memory given to a kernel") {
    Fresh fresh;
    std::vector<int> host(4, 1);
    int on_stack = 1;
    DeviceArray<int> out(1);
    CHECK(launch(1, 1, 0, nullptr, &read_at, host.data(), out.data, 0) == cudaErrorIllegalAddress);
    CHECK_THAT(fault(), Contains("host memory: read of 4 bytes") && Contains("read_at"));
    cuda_emulator::clear();
    CHECK(launch(1, 1, 0, nullptr, &write_at, &on_stack, 0, 0u, 0u) == cudaErrorIllegalAddress);
    CHECK_THAT(fault(), Contains("host memory: write of 4 bytes"));
    CHECK(on_stack == 1);
    cuda_emulator::clear();
    CHECK(launch(1, 1, 0, nullptr, &write_at, nullptr, 0, 0u, 0u) == cudaErrorIllegalAddress);
    CHECK_THAT(fault(), Contains("null pointer: write of 4 bytes"));
    cuda_emulator::clear();
    CHECK(launch(1, 1, 0, nullptr, &writes_a_variable) == cudaErrorIllegalAddress);
    CHECK_THAT(fault(), Contains("variable of the program"));
    CHECK(variable_of_the_host == 0);
    cuda_emulator::clear();
    int* pinned = nullptr;
    REQUIRE(cudaMallocHost(&pinned, sizeof(int)) == cudaSuccess);
    *pinned = 7;
    CHECK(launch(1, 1, 0, nullptr, &read_at, pinned, out.data, 0) == cudaSuccess);
    CHECK(out.get()[0] == 7);
    CHECK(launch(1, 1, 0, nullptr, &read_at, pinned, out.data, 1) == cudaErrorIllegalAddress);
    cuda_emulator::clear();
    CHECK(cudaFreeHost(pinned) == cudaSuccess);
    DeviceArray<int> four(4);
    CHECK(launch(1, 4, 0, nullptr, &reads_a_table, four.data) == cudaSuccess);
    CHECK(four.get() == std::vector<int>{1, 2, 3, 4});
    CHECK(fault() == "");
}

TEST_CASE("device memory touched by host code") {
    Fresh fresh;
    DeviceArray<int> a(std::vector<int>{1, 2, 3});
    volatile int* p = a.data;
    int value = p[1];
    CHECK_THAT(fault(), Contains("host code reads 4 bytes of device memory") && Contains("byte 4 of the 12 bytes"));
    cuda_emulator::clear();
    p[2] = value;
    CHECK_THAT(fault(), Contains("host code writes 4 bytes of device memory"));
    cuda_emulator::clear();
    // A copy of a size that the compiler does not know is a call of the C library.
    std::vector<int> host(3);
    volatile size_t bytes = 12;
    memcpy(host.data(), a.data, bytes);
    CHECK_THAT(fault(), Contains("host code reads 12 bytes of device memory"));
    cuda_emulator::clear();
    memset(a.data, 0, bytes);
    CHECK_THAT(fault(), Contains("host code writes 12 bytes of device memory"));
}

TEST_CASE("use after free") {
    Fresh fresh;
    int *a = nullptr, *b = nullptr;
    REQUIRE(cudaMalloc(&a, 40) == cudaSuccess);
    REQUIRE(cudaFree(a) == cudaSuccess);
    REQUIRE(cudaMalloc(&b, 40) == cudaSuccess);
    CHECK(launch(1, 1, 0, nullptr, &write_at, a, 3, 0u, 0u) == cudaErrorIllegalAddress);
    CHECK_THAT(fault(), Contains("use after free: write of 4 bytes") && Contains("byte 12 of the 40 bytes") && Contains("that were freed"));
    cuda_emulator::clear();
    cudaStream_t stream = nullptr;
    REQUIRE(cudaStreamCreate(&stream) == cudaSuccess);
    REQUIRE(cudaMallocAsync(&a, 40, stream) == cudaSuccess);
    REQUIRE(cudaFreeAsync(a, stream) == cudaSuccess);
    CHECK(launch(1, 1, 0, stream, &write_at, a, 3, 0u, 0u) == cudaErrorIllegalAddress);
    CHECK_THAT(fault(), Contains("use after free"));
    cuda_emulator::clear();
    CHECK(cudaFree(a) == cudaErrorInvalidValue);
    CHECK_THAT(fault(), Contains("cudaFree of") && Contains("that were freed"));
    cuda_emulator::clear();
    CHECK(cudaFree(b + 1) == cudaErrorInvalidValue);
    CHECK(cudaFree(b) == cudaSuccess);
    CHECK(cudaStreamDestroy(stream) == cudaSuccess);
}

TEST_CASE("reads of what nobody wrote") {
    Fresh fresh;
    DeviceArray<int> a(64), out(64);
    CHECK(launch(1, 1, 0, nullptr, &read_at, a.data, out.data, 5) == cudaErrorLaunchFailure);
    CHECK_THAT(fault(), Contains("uninitialised: read of 4 bytes") && Contains("byte 20 of the 256 bytes"));
    cuda_emulator::clear();
    CHECK(launch(1, 64, 0, nullptr, &uninitialised_shared, out.data) == cudaErrorLaunchFailure);
    CHECK_THAT(fault(), Contains("uninitialised") && Contains("of the 256 bytes of a shared array"));
    cuda_emulator::clear();
    CHECK(launch(2, 1, 0, nullptr, &shared_of_the_last_block, out.data) == cudaErrorLaunchFailure);
    CHECK_THAT(fault(), Contains("uninitialised"));
    cuda_emulator::clear();
    CHECK(launch(1, 1, 0, nullptr, &atomic_at, reinterpret_cast<unsigned*>(a.data)) == cudaErrorLaunchFailure);
    CHECK_THAT(fault(), Contains("uninitialised"));
    cuda_emulator::clear();
    // A copy between devices hands the state on; the host must not get it.
    REQUIRE(cudaMemset(a.data, 0, 16) == cudaSuccess);
    REQUIRE(cudaMemcpy(out.data, a.data, 256, cudaMemcpyDeviceToDevice) == cudaSuccess);
    CHECK(fault() == "");
    int host[5];
    cudaMemcpy(host, out.data, 16, cudaMemcpyDeviceToHost);
    CHECK(fault() == "");
    cudaMemcpy(host, out.data, 20, cudaMemcpyDeviceToHost);
    CHECK_THAT(fault(), Contains("nobody wrote"));
}

TEST_CASE("misaligned accesses") {
    Fresh fresh;
    DeviceArray<float> a(std::vector<float>(32, 1.0f)), b(std::vector<float>(32, 1.0f));
#if !defined(__clang__)  // which splits the vector and checks its parts
    CHECK(launch(1, 1, 0, nullptr, &axpy4<float4>, 1.0f, reinterpret_cast<const float4*>(a.data + 1), reinterpret_cast<float4*>(b.data),
                 1) == cudaErrorMisalignedAddress);
    CHECK_THAT(fault(), Contains("misaligned") && Contains("byte 4 of the 128 bytes") && Contains("axpy4"));
    cuda_emulator::clear();
#endif
    CHECK(launch(1, 1, 0, nullptr, &copy_one<double>, reinterpret_cast<const double*>(a.data + 1), reinterpret_cast<double*>(b.data)) ==
          cudaErrorMisalignedAddress);
    cuda_emulator::clear();
    CHECK(launch(1, 1, 0, nullptr, &copy_one<int2>, reinterpret_cast<const int2*>(a.data + 2), reinterpret_cast<int2*>(b.data + 3)) ==
          cudaErrorMisalignedAddress);
    cuda_emulator::clear();
    CHECK(launch(1, 1, 0, nullptr, &copy_one<int2>, reinterpret_cast<const int2*>(a.data + 2), reinterpret_cast<int2*>(b.data + 4)) ==
          cudaSuccess);
}

TEST_CASE("an exception in a kernel") {
    Fresh fresh;
    CHECK(launch(1, 8, 0, nullptr, &throws) == cudaErrorLaunchFailure);
    CHECK_THAT(fault(), Contains("an exception left the kernel: no floor") && Contains("thread (3, 0, 0)"));
}

TEST_CASE("an assertion in a kernel") {
    Fresh fresh;
    CHECK(launch(1, 8, 0, nullptr, &asserts, 8) == cudaSuccess);
    CHECK(launch(1, 8, 0, nullptr, &asserts, 5) == cudaErrorAssert);
    CHECK_THAT(fault(), Contains("assertion failed: static_cast<int>(threadIdx.x) < limit") && Contains("test_faults.cpp:"));
}

TEST_CASE("a thread that waits for ever") {
    Fresh fresh;
    DeviceArray<int> flag(std::vector<int>{0}), out(2);
    CHECK(launch(2, 1, 0, nullptr, &waits_for_another_block, flag.data, out.data) == cudaErrorLaunchTimeout);
    CHECK_THAT(fault(), Contains("endless"));
}

namespace {

// The exit status of a child process that does this and ends well.
template <class F>
int status_after(F f) {
    fflush(nullptr);
    const pid_t child = fork();
    if (child == 0) {
        f();
        exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

}  // namespace

TEST_CASE("a program does not end well with a fault, or with a leak") {
    Fresh fresh;
    setenv("TENON_EMULATOR_LEAKS", "1", 1);
    CHECK(status_after([] {}) == 0);
    CHECK(status_after([] { launch(1, 1, 0, nullptr, &write_at, nullptr, 0, 0u, 0u); }) == 99);
    CHECK(status_after([] {
              launch(1, 1, 0, nullptr, &write_at, nullptr, 0, 0u, 0u);
              cuda_emulator::clear();
          }) == 0);
    const auto leak = [] {
        int* p = nullptr;
        cudaMalloc(&p, 4);
    };
    CHECK(status_after(leak) == 99);
    setenv("TENON_EMULATOR_LEAKS", "0", 1);
    CHECK(status_after(leak) == 0);
    setenv("TENON_EMULATOR_LEAKS", "1", 1);
}

TEST_CASE("launches that the runtime refuses") {
    Fresh fresh;
    DeviceArray<int> out(1);
    CHECK(launch(1, 1025, 0, nullptr, &dynamic_at, out.data, 0) == cudaErrorInvalidConfiguration);
    CHECK(launch(1, dim3(1, 1, 65), 0, nullptr, &dynamic_at, out.data, 0) == cudaErrorInvalidConfiguration);
    CHECK(launch(0, 1, 0, nullptr, &dynamic_at, out.data, 0) == cudaErrorInvalidConfiguration);
    CHECK(launch(dim3(1, 65536), 1, 0, nullptr, &dynamic_at, out.data, 0) == cudaErrorInvalidConfiguration);
    cuda_emulator::clear();
    CHECK(launch(1, 1, 100 << 10, nullptr, &dynamic_at, out.data, 0) == cudaErrorInvalidValue);
    CHECK_THAT(fault(), Contains("cudaFuncSetAttribute"));
    cuda_emulator::clear();
    CHECK(cudaFuncSetAttribute(dynamic_at, cudaFuncAttributeMaxDynamicSharedMemorySize, 228 << 10) == cudaErrorInvalidValue);
    CHECK(cudaFuncSetAttribute(dynamic_at, cudaFuncAttributeMaxDynamicSharedMemorySize, 227 << 10) == cudaSuccess);
    CHECK(launch(1, 1, 100 << 10, nullptr, &dynamic_at, out.data, 0) == cudaSuccess);
    CHECK(launch(1, 1, 0, nullptr, &too_much_shared, out.data) == cudaErrorLaunchOutOfResources);
}

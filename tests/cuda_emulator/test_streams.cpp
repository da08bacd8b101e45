// Streams, events, graphs and memory, as the runtime behaves and as it refuses.
#include <catch2/catch.hpp>

#include <string>

#include "device_array.hpp"
#include "kernels.hpp"

namespace {

using Catch::Contains;

std::string fault() { return cuda_emulator::last_fault(); }

__global__ void add(int* data, int value, int n) {
    const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    if (i < n) data[i] += value;
}
__global__ void copy(const int* from, int* to, int n) {
    const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    if (i < n) to[i] = from[i];
}

struct Stream {
    cudaStream_t handle = nullptr;
    explicit Stream(unsigned flags = cudaStreamDefault) { REQUIRE(cudaStreamCreateWithFlags(&handle, flags) == cudaSuccess); }
    Stream(const Stream&) = delete;
    ~Stream() { cudaStreamDestroy(handle); }
    operator cudaStream_t() const { return handle; }
};
struct Event {
    cudaEvent_t handle = nullptr;
    explicit Event(unsigned flags = cudaEventDefault) { REQUIRE(cudaEventCreateWithFlags(&handle, flags) == cudaSuccess); }
    Event(const Event&) = delete;
    ~Event() { cudaEventDestroy(handle); }
    operator cudaEvent_t() const { return handle; }
};

// One case in a mode of its own.
struct Mode {
    explicit Mode(cuda_emulator::Streams streams) {
        cuda_emulator::clear();
        cuda_emulator::set_streams(streams);
    }
    ~Mode() {
        cuda_emulator::clear();
        cuda_emulator::set_streams(cuda_emulator::Streams::eager);
    }
};

}  // namespace

TEST_CASE("copies check their kind and their bounds") {
    Mode mode(cuda_emulator::Streams::eager);
    DeviceArray<int> a(std::vector<int>{1, 2, 3, 4}), b(4);
    int host[4] = {};
    CHECK(cudaMemcpy(host, a.data, 16, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
    CHECK_THAT(fault(), Contains("cudaMemcpyHostToDevice: the destination is") && Contains("host memory"));
    cuda_emulator::clear();
    CHECK(cudaMemcpy(host, a.data, 16, cudaMemcpyHostToHost) == cudaErrorInvalidValue);
    cuda_emulator::clear();
    CHECK(cudaMemcpy(b.data, host, 16, cudaMemcpyDeviceToDevice) == cudaErrorInvalidValue);
    cuda_emulator::clear();
    CHECK(cudaMemcpy(host, a.data, 20, cudaMemcpyDeviceToHost) == cudaErrorInvalidValue);
    CHECK_THAT(fault(), Contains("past the end of the 16 bytes"));
    cuda_emulator::clear();
    CHECK(cudaMemset(a.data + 1, 0, 16) == cudaErrorInvalidValue);
    cuda_emulator::clear();
    CHECK(cudaMemset(host, 0, 16) == cudaErrorInvalidValue);
    cuda_emulator::clear();
    CHECK(cudaMemcpy(host, a.data, 16, cudaMemcpyDefault) == cudaSuccess);
    CHECK(host[3] == 4);
    CHECK(cudaMemcpy(b.data, a.data, 16, cudaMemcpyDeviceToDevice) == cudaSuccess);
    CHECK(b.get() == a.get());
    // The left column of a 2 x 2 matrix.
    int column[2] = {};
    CHECK(cudaMemcpy2D(column, 4, a.data, 8, 4, 2, cudaMemcpyDeviceToHost) == cudaSuccess);
    CHECK(column[0] == 1);
    CHECK(column[1] == 3);
    CHECK(cudaMemcpy2D(column, 4, a.data, 2, 4, 2, cudaMemcpyDeviceToHost) == cudaErrorInvalidPitchValue);
    cuda_emulator::clear();
    CHECK(cudaMemcpy2D(column, 4, a.data + 2, 8, 4, 2, cudaMemcpyDeviceToHost) == cudaErrorInvalidValue);
}

TEST_CASE("what a pointer is") {
    DeviceArray<int> a(4);
    cudaPointerAttributes attributes = {};
    REQUIRE(cudaPointerGetAttributes(&attributes, a.data + 1) == cudaSuccess);
    CHECK(attributes.type == cudaMemoryTypeDevice);
    int host = 0;
    REQUIRE(cudaPointerGetAttributes(&attributes, &host) == cudaSuccess);
    CHECK(attributes.type == cudaMemoryTypeUnregistered);
    int* pinned = nullptr;
    REQUIRE(cudaHostAlloc(&pinned, 8, cudaHostAllocDefault) == cudaSuccess);
    REQUIRE(cudaPointerGetAttributes(&attributes, pinned) == cudaSuccess);
    CHECK(attributes.type == cudaMemoryTypeHost);
    CHECK(cudaFreeHost(pinned) == cudaSuccess);
}

TEST_CASE("memory runs out") {
    Mode mode(cuda_emulator::Streams::eager);
    cuda_emulator::set_memory_capacity(1 << 20);
    size_t free = 0, total = 0;
    const auto before = cuda_emulator::live_memory();
    {
        DeviceArray<char> a(600 << 10);
        REQUIRE(cudaMemGetInfo(&free, &total) == cudaSuccess);
        CHECK(total == 1 << 20);
        CHECK(free == total - before.bytes - (600 << 10));
        char* b = nullptr;
        CHECK(cudaMalloc(&b, 600 << 10) == cudaErrorMemoryAllocation);
        CHECK(b == nullptr);
        CHECK(cudaGetLastError() == cudaErrorMemoryAllocation);
        CHECK(cudaGetLastError() == cudaSuccess);
        CHECK(cuda_emulator::live_memory().allocations == before.allocations + 1);
        CHECK_THAT(cuda_emulator::describe_live_memory(), Contains("614400 bytes at"));
    }
    char* c = nullptr;
    CHECK(cudaMalloc(&c, 600 << 10) == cudaSuccess);
    CHECK(cudaFree(c) == cudaSuccess);
    cuda_emulator::set_memory_capacity(size_t(4) << 30);
    CHECK(fault() == "");
}

TEST_CASE("large and many allocations") {
    Mode mode(cuda_emulator::Streams::eager);
    for (int i = 0; i < 100; ++i) {
        char* p = nullptr;
        REQUIRE(cudaMalloc(&p, size_t(1) << 30) == cudaSuccess);
        REQUIRE(cudaMemset(p + (size_t(1) << 29), 1, 100) == cudaSuccess);
        REQUIRE(cudaFree(p) == cudaSuccess);
    }
    CHECK(fault() == "");
}

TEST_CASE("without a device") {
    cuda_emulator::set_device_count(0);
    int count = 7;
    CHECK(cudaGetDeviceCount(&count) == cudaErrorNoDevice);
    CHECK(count == 0);
    int* p = nullptr;
    CHECK(cudaMalloc(&p, 4) == cudaErrorNoDevice);
    cuda_emulator::set_device_count(1);
    cuda_emulator::clear();
    CHECK(cudaSetDevice(1) == cudaErrorInvalidDevice);
    CHECK(std::string(cudaGetErrorName(cudaGetLastError())) == "cudaErrorInvalidDevice");
    CHECK(std::string(cudaGetErrorString(cudaErrorMemoryAllocation)) == "out of memory");
}

TEST_CASE("the device's properties") {
    cudaDeviceProp properties = {};
    REQUIRE(cudaGetDeviceProperties(&properties, 0) == cudaSuccess);
    CHECK(properties.major == 9);
    CHECK(properties.multiProcessorCount == 132);
    int value = 0;
    REQUIRE(cudaDeviceGetAttribute(&value, cudaDevAttrMaxSharedMemoryPerBlockOptin, 0) == cudaSuccess);
    CHECK(value == 227 << 10);
    int blocks = 0;
    REQUIRE(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, &add, 256, 100 << 10) == cudaSuccess);
    CHECK(blocks == 2);
    REQUIRE(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, &add, 1024, 0) == cudaSuccess);
    CHECK(blocks == 2);
}

TEST_CASE("work in a stream runs in order, and waits where it must") {
    for (auto streams : {cuda_emulator::Streams::eager, cuda_emulator::Streams::lazy}) {
        Mode mode(streams);
        Stream a(cudaStreamNonBlocking), b(cudaStreamNonBlocking);
        Event ready;
        DeviceArray<int> x(std::vector<int>(100, 1)), y(std::vector<int>(100, 0));
        REQUIRE(launch(1, 128, 0, a, &add, x.data, 41, 100) == cudaSuccess);
        REQUIRE(cudaEventRecord(ready, a) == cudaSuccess);
        REQUIRE(cudaStreamWaitEvent(b, ready) == cudaSuccess);
        REQUIRE(launch(1, 128, 0, b, &copy, x.data, y.data, 100) == cudaSuccess);
        REQUIRE(cudaStreamSynchronize(b) == cudaSuccess);
        CHECK(y.get() == std::vector<int>(100, 42));
        CHECK(cudaEventQuery(ready) == cudaSuccess);
        CHECK(fault() == "");
    }
}

TEST_CASE("lazy streams show a missing dependency") {
    Mode mode(cuda_emulator::Streams::lazy);
    Stream a(cudaStreamNonBlocking), b(cudaStreamNonBlocking);
    DeviceArray<int> x(std::vector<int>(100, 1)), y(std::vector<int>(100, 0));
    REQUIRE(launch(1, 128, 0, a, &add, x.data, 41, 100) == cudaSuccess);
    REQUIRE(launch(1, 128, 0, b, &copy, x.data, y.data, 100) == cudaSuccess);
    CHECK(cudaStreamQuery(b) == cudaErrorNotReady);
    REQUIRE(cudaStreamSynchronize(b) == cudaSuccess);
    CHECK(y.get() == std::vector<int>(100, 1));
    REQUIRE(cudaDeviceSynchronize() == cudaSuccess);
    CHECK(x.get() == std::vector<int>(100, 42));
    // Pinned memory is filled when the copy runs, not when it is asked for.
    int* pinned = nullptr;
    REQUIRE(cudaMallocHost(&pinned, 4) == cudaSuccess);
    *pinned = -1;
    REQUIRE(cudaMemcpyAsync(pinned, x.data, 4, cudaMemcpyDeviceToHost, a) == cudaSuccess);
    CHECK(*pinned == -1);
    REQUIRE(cudaStreamSynchronize(a) == cudaSuccess);
    CHECK(*pinned == 42);
    // A source in pageable memory has been taken when the call returns.
    int source = 5;
    REQUIRE(cudaMemcpyAsync(x.data, &source, 4, cudaMemcpyHostToDevice, a) == cudaSuccess);
    source = 6;
    CHECK(x.get()[0] == 42);
    REQUIRE(cudaStreamSynchronize(a) == cudaSuccess);
    CHECK(x.get()[0] == 5);
    CHECK(cudaFreeHost(pinned) == cudaSuccess);
    // A fault comes out where something waits.
    REQUIRE(launch(1, 128, 0, a, &add, x.data, 1, 101) == cudaSuccess);
    CHECK(cudaStreamSynchronize(a) == cudaErrorIllegalAddress);
    cuda_emulator::clear();
}

TEST_CASE("the default stream waits for the others, and they for it") {
    Mode mode(cuda_emulator::Streams::lazy);
    Stream a;
    DeviceArray<int> x(std::vector<int>(10, 0));
    REQUIRE(launch(1, 32, 0, a, &add, x.data, 1, 10) == cudaSuccess);
    REQUIRE(cudaMemsetAsync(x.data, 0, 40) == cudaSuccess);
    REQUIRE(launch(1, 32, 0, a, &add, x.data, 2, 10) == cudaSuccess);
    REQUIRE(cudaStreamSynchronize(a) == cudaSuccess);
    CHECK(x.get() == std::vector<int>(10, 2));
}

TEST_CASE("the stream-ordered free waits for its stream") {
    Mode mode(cuda_emulator::Streams::lazy);
    Stream a(cudaStreamNonBlocking), b(cudaStreamNonBlocking);
    int* p = nullptr;
    REQUIRE(cudaMallocAsync(&p, 40, a) == cudaSuccess);
    REQUIRE(cudaMemsetAsync(p, 0, 40, a) == cudaSuccess);
    REQUIRE(cudaFreeAsync(p, a) == cudaSuccess);
    REQUIRE(launch(1, 32, 0, b, &add, p, 1, 10) == cudaSuccess);
    REQUIRE(cudaStreamSynchronize(a) == cudaSuccess);
    CHECK(cudaStreamSynchronize(b) == cudaErrorIllegalAddress);
    CHECK_THAT(fault(), Contains("use after free"));
}

TEST_CASE("host functions and times") {
    Mode mode(cuda_emulator::Streams::lazy);
    Stream a;
    Event start, end;
    int calls = 0;
    REQUIRE(cudaEventRecord(start, a) == cudaSuccess);
    REQUIRE(cudaLaunchHostFunc(a, [](void* p) { ++*static_cast<int*>(p); }, &calls) == cudaSuccess);
    REQUIRE(cudaEventRecord(end, a) == cudaSuccess);
    float milliseconds = -1.0f;
    CHECK(cudaEventElapsedTime(&milliseconds, start, end) == cudaErrorNotReady);
    CHECK(calls == 0);
    REQUIRE(cudaEventSynchronize(end) == cudaSuccess);
    CHECK(calls == 1);
    REQUIRE(cudaEventElapsedTime(&milliseconds, start, end) == cudaSuccess);
    CHECK(milliseconds >= 0.0f);
}

TEST_CASE("a graph records and replays") {
    for (auto streams : {cuda_emulator::Streams::eager, cuda_emulator::Streams::lazy}) {
        Mode mode(streams);
        Stream a(cudaStreamNonBlocking), b(cudaStreamNonBlocking);
        Event fork, join;
        DeviceArray<int> x(std::vector<int>(10, 0)), y(std::vector<int>(10, 0));
        REQUIRE(cudaStreamBeginCapture(a, cudaStreamCaptureModeGlobal) == cudaSuccess);
        int value = 3;
        REQUIRE(launch(1, 32, 0, a, &add, x.data, value, 10) == cudaSuccess);
        value = 100;  // the launch has copied its arguments
        REQUIRE(cudaEventRecord(fork, a) == cudaSuccess);
        REQUIRE(cudaStreamWaitEvent(b, fork) == cudaSuccess);
        cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
        REQUIRE(cudaStreamIsCapturing(b, &status) == cudaSuccess);
        CHECK(status == cudaStreamCaptureStatusActive);
        REQUIRE(launch(1, 32, 0, b, &copy, x.data, y.data, 10) == cudaSuccess);
        REQUIRE(cudaEventRecord(join, b) == cudaSuccess);
        REQUIRE(cudaStreamWaitEvent(a, join) == cudaSuccess);
        REQUIRE(launch(1, 32, 0, a, &add, y.data, 1, 10) == cudaSuccess);
        cudaGraph_t graph = nullptr;
        REQUIRE(cudaStreamEndCapture(a, &graph) == cudaSuccess);
        CHECK(x.get() == std::vector<int>(10, 0));
        size_t nodes = 0;
        REQUIRE(cudaGraphGetNodes(graph, nullptr, &nodes) == cudaSuccess);
        CHECK(nodes == 3);
        cudaGraphExec_t executable = nullptr;
        REQUIRE(cudaGraphInstantiate(&executable, graph, 0) == cudaSuccess);
        REQUIRE(cudaGraphDestroy(graph) == cudaSuccess);
        for (int i = 1; i <= 3; ++i) {
            REQUIRE(cudaGraphLaunch(executable, a) == cudaSuccess);
            REQUIRE(cudaStreamSynchronize(a) == cudaSuccess);
            CHECK(x.get() == std::vector<int>(10, 3 * i));
            CHECK(y.get() == std::vector<int>(10, 3 * i + 1));
        }
        REQUIRE(cudaGraphExecDestroy(executable) == cudaSuccess);
        CHECK(fault() == "");
    }
}

TEST_CASE("memory of a graph comes back with every launch, unwritten") {
    Mode mode(cuda_emulator::Streams::eager);
    Stream a(cudaStreamNonBlocking);
    const auto before = cuda_emulator::live_memory();
    int* p = nullptr;
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t executable = nullptr;
    REQUIRE(cudaStreamBeginCapture(a, cudaStreamCaptureModeGlobal) == cudaSuccess);
    REQUIRE(cudaMallocAsync(&p, 40, a) == cudaSuccess);
    REQUIRE(cudaMemsetAsync(p, 0, 40, a) == cudaSuccess);
    REQUIRE(launch(1, 32, 0, a, &add, p, 1, 10) == cudaSuccess);
    REQUIRE(cudaFreeAsync(p, a) == cudaSuccess);
    REQUIRE(cudaStreamEndCapture(a, &graph) == cudaSuccess);
    REQUIRE(cudaGraphInstantiate(&executable, graph, 0) == cudaSuccess);
    CHECK(cudaGraphLaunch(executable, a) == cudaSuccess);
    CHECK(cudaGraphLaunch(executable, a) == cudaSuccess);
    CHECK(launch(1, 32, 0, a, &add, p, 1, 10) == cudaErrorIllegalAddress);
    cuda_emulator::clear();
    REQUIRE(cudaGraphDestroy(graph) == cudaSuccess);
    REQUIRE(cudaGraphExecDestroy(executable) == cudaSuccess);
    CHECK(cuda_emulator::live_memory().allocations == before.allocations);
}

TEST_CASE("what a capture refuses") {
    Mode mode(cuda_emulator::Streams::eager);
    Stream a(cudaStreamNonBlocking), b(cudaStreamNonBlocking), blocking;
    Event event;
    DeviceArray<int> x(std::vector<int>(10, 0));
    cudaGraph_t graph = nullptr;
    int host = 0;
    int* p = nullptr;
    const auto ends_invalid = [&](cudaStream_t stream) {
        CHECK(launch(1, 32, 0, stream, &add, x.data, 1, 10) == cudaErrorStreamCaptureInvalidated);
        CHECK(cudaStreamEndCapture(stream, &graph) == cudaErrorStreamCaptureInvalidated);
        CHECK(graph == nullptr);
        cudaStreamCaptureStatus status = cudaStreamCaptureStatusActive;
        REQUIRE(cudaStreamIsCapturing(stream, &status) == cudaSuccess);
        CHECK(status == cudaStreamCaptureStatusNone);
    };
    SECTION("synchronising") {
        REQUIRE(cudaStreamBeginCapture(a, cudaStreamCaptureModeGlobal) == cudaSuccess);
        CHECK(cudaStreamSynchronize(a) == cudaErrorStreamCaptureUnsupported);
        ends_invalid(a);
        REQUIRE(cudaStreamBeginCapture(a, cudaStreamCaptureModeGlobal) == cudaSuccess);
        CHECK(cudaStreamQuery(a) == cudaErrorStreamCaptureUnsupported);
        ends_invalid(a);
        REQUIRE(cudaStreamBeginCapture(a, cudaStreamCaptureModeGlobal) == cudaSuccess);
        CHECK(cudaDeviceSynchronize() == cudaErrorStreamCaptureUnsupported);
        ends_invalid(a);
        REQUIRE(cudaStreamBeginCapture(a, cudaStreamCaptureModeGlobal) == cudaSuccess);
        REQUIRE(cudaEventRecord(event, a) == cudaSuccess);
        CHECK(cudaEventSynchronize(event) == cudaErrorCapturedEvent);
        ends_invalid(a);
    }
    SECTION("allocating and copying at once") {
        REQUIRE(cudaStreamBeginCapture(a, cudaStreamCaptureModeGlobal) == cudaSuccess);
        CHECK(cudaMalloc(&p, 4) == cudaErrorStreamCaptureUnsupported);
        ends_invalid(a);
        REQUIRE(cudaStreamBeginCapture(a, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
        CHECK(cudaMemcpy(&host, x.data, 4, cudaMemcpyDeviceToHost) == cudaErrorStreamCaptureImplicit);
        ends_invalid(a);
        REQUIRE(cudaStreamBeginCapture(a, cudaStreamCaptureModeRelaxed) == cudaSuccess);
        CHECK(cudaMalloc(&p, 4) == cudaSuccess);
        CHECK(cudaFree(p) == cudaSuccess);
        CHECK(cudaStreamEndCapture(a, &graph) == cudaSuccess);
        CHECK(cudaGraphDestroy(graph) == cudaSuccess);
    }
    SECTION("the default stream") {
        CHECK(cudaStreamBeginCapture(nullptr, cudaStreamCaptureModeGlobal) == cudaErrorStreamCaptureUnsupported);
        REQUIRE(cudaStreamBeginCapture(blocking, cudaStreamCaptureModeGlobal) == cudaSuccess);
        CHECK(launch(1, 32, 0, nullptr, &add, x.data, 1, 10) == cudaErrorStreamCaptureImplicit);
        ends_invalid(blocking);
        REQUIRE(cudaStreamBeginCapture(a, cudaStreamCaptureModeGlobal) == cudaSuccess);
        CHECK(launch(1, 32, 0, nullptr, &add, x.data, 1, 10) == cudaSuccess);
        CHECK(cudaStreamEndCapture(a, &graph) == cudaSuccess);
        CHECK(cudaGraphDestroy(graph) == cudaSuccess);
    }
    SECTION("streams that do not fit together") {
        CHECK(cudaStreamEndCapture(a, &graph) == cudaErrorIllegalState);
        REQUIRE(cudaStreamBeginCapture(a, cudaStreamCaptureModeGlobal) == cudaSuccess);
        CHECK(cudaStreamBeginCapture(a, cudaStreamCaptureModeGlobal) == cudaErrorIllegalState);
        REQUIRE(cudaEventRecord(event, a) == cudaSuccess);
        REQUIRE(cudaStreamWaitEvent(b, event) == cudaSuccess);
        REQUIRE(launch(1, 32, 0, b, &add, x.data, 1, 10) == cudaSuccess);
        CHECK(cudaStreamEndCapture(a, &graph) == cudaErrorStreamCaptureUnjoined);
        // An event from before the capture.
        Event outside;
        REQUIRE(cudaEventRecord(outside, b) == cudaSuccess);
        REQUIRE(cudaStreamBeginCapture(a, cudaStreamCaptureModeGlobal) == cudaSuccess);
        CHECK(cudaStreamWaitEvent(a, outside) == cudaErrorStreamCaptureIsolation);
        ends_invalid(a);
    }
    CHECK(x.get().size() == 10);
    CHECK(fault() == "");
}

TEST_CASE("a graph that uses freed memory") {
    Mode mode(cuda_emulator::Streams::eager);
    Stream a(cudaStreamNonBlocking);
    int* p = nullptr;
    REQUIRE(cudaMalloc(&p, 40) == cudaSuccess);
    REQUIRE(cudaStreamBeginCapture(a, cudaStreamCaptureModeGlobal) == cudaSuccess);
    REQUIRE(launch(1, 32, 0, a, &add, p, 1, 10) == cudaSuccess);
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t executable = nullptr;
    REQUIRE(cudaStreamEndCapture(a, &graph) == cudaSuccess);
    REQUIRE(cudaGraphInstantiate(&executable, graph, 0) == cudaSuccess);
    REQUIRE(cudaFree(p) == cudaSuccess);
    CHECK(cudaGraphLaunch(executable, a) == cudaErrorIllegalAddress);
    CHECK_THAT(fault(), Contains("use after free"));
    cuda_emulator::clear();
    REQUIRE(cudaGraphDestroy(graph) == cudaSuccess);
    REQUIRE(cudaGraphExecDestroy(executable) == cudaSuccess);
}

TEST_CASE("handles that do not exist") {
    cuda_emulator::clear();
    cudaStream_t stream = nullptr;
    REQUIRE(cudaStreamCreate(&stream) == cudaSuccess);
    REQUIRE(cudaStreamDestroy(stream) == cudaSuccess);
    CHECK(cudaStreamSynchronize(stream) == cudaErrorInvalidResourceHandle);
    CHECK(cudaStreamDestroy(stream) == cudaErrorInvalidResourceHandle);
    cudaEvent_t event = nullptr;
    CHECK(cudaEventRecord(event) == cudaErrorInvalidResourceHandle);
    cuda_emulator::clear();
}

#include "stream.hpp"

#include <stdlib.h>
#include <string.h>

#include <chrono>
#include <deque>
#include <memory>
#include <set>
#include <thread>
#include <vector>

#include "../emulator/control.hpp"
#include "host.hpp"
#include "memory.hpp"

using cuda_emulator::Streams;

struct CUgraphNode_st {
    cudaGraphNodeType type;
    std::function<cudaError_t()> work;
};
struct CUgraph_st {
    std::vector<std::shared_ptr<CUgraphNode_st>> nodes;
};
struct CUgraphExec_st {
    std::vector<std::shared_ptr<CUgraphNode_st>> nodes;
};

namespace {

struct Capture {
    std::unique_ptr<CUgraph_st> graph{new CUgraph_st};
    cudaStreamCaptureMode mode;
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusActive;
    unsigned long long id;
    std::thread::id thread = std::this_thread::get_id();
    CUstream_st* origin;
};

struct Operation {
    unsigned long long number;
    std::function<cudaError_t()> work;
};

}  // namespace

struct CUstream_st {
    unsigned flags = 0;
    int priority = 0;
    std::deque<Operation> waiting;
    std::shared_ptr<Capture> capture;
    // Work captured from this stream, and how much of it another stream of the capture waits for (-1: not even the start).
    long captured = 0, joined = -1;
};

struct CUevent_st {
    unsigned flags = 0;
    bool recorded = false, done = false;
    CUstream_st* stream = nullptr;
    unsigned long long number = 0;
    std::chrono::steady_clock::time_point time;
    std::weak_ptr<Capture> capture;
    CUstream_st* captured_stream = nullptr;
    long captured_at = 0;
    unsigned long long generation = 0;
};

namespace cuda_emulator {

namespace {

// Never destroyed: static objects of the program may still free and synchronise.
CUstream_st& null_stream = *new CUstream_st;
CUstream_st& thread_stream = *new CUstream_st;
std::set<CUstream_st*>& streams = *new std::set<CUstream_st*>{&thread_stream};
std::set<CUevent_st*>& events = *new std::set<CUevent_st*>;
std::set<CUgraph_st*>& graphs = *new std::set<CUgraph_st*>;
std::set<CUgraphExec_st*>& executables = *new std::set<CUgraphExec_st*>;
std::set<std::shared_ptr<Capture>>& captures = *new std::set<std::shared_ptr<Capture>>;
unsigned long long enqueued = 0, capture_count = 0;
Streams mode = Streams::eager;
thread_local cudaStreamCaptureMode thread_capture_mode = cudaStreamCaptureModeGlobal;

__attribute__((constructor)) void read_environment() {
    const char* wanted = getenv("TENON_EMULATOR_STREAMS");
    if (wanted != nullptr && strcmp(wanted, "lazy") == 0) mode = Streams::lazy;
}

CUstream_st& stream_of(cudaStream_t stream) {
    return stream == nullptr || stream == cudaStreamLegacy ? null_stream : stream == cudaStreamPerThread ? thread_stream : *stream;
}
bool blocking(const CUstream_st& stream) { return (stream.flags & cudaStreamNonBlocking) == 0; }

// Runs the stream's work up to the given number, with what comes before it in the streams that it synchronises with.
cudaError_t run_until(CUstream_st& stream, unsigned long long number) {
    while (!stream.waiting.empty() && stream.waiting.front().number <= number) {
        Operation operation = std::move(stream.waiting.front());
        stream.waiting.pop_front();
        if (&stream == &null_stream) {
            for (CUstream_st* other : streams)
                if (blocking(*other)) run_until(*other, operation.number);
        } else if (blocking(stream)) {
            run_until(null_stream, operation.number);
        }
        if (sticky() == cudaSuccess) operation.work();
    }
    return sticky();
}

void invalidate(Capture& capture) {
    capture.status = cudaStreamCaptureStatusInvalidated;
}

}  // namespace

void set_streams(Streams wanted) {
    std::lock_guard lock(mutex());
    drain_all();
    mode = wanted;
}

bool known_stream(cudaStream_t stream) {
    return stream == nullptr || stream == cudaStreamLegacy || stream == cudaStreamPerThread || streams.count(stream) != 0;
}
bool is_capturing(cudaStream_t stream) { return stream_of(stream).capture != nullptr; }

cudaError_t refuse_in_capture(cudaError_t error) {
    bool any = false;
    for (auto& capture : captures) {
        if (capture->status != cudaStreamCaptureStatusActive) continue;
        const bool own = capture->thread == std::this_thread::get_id();
        // A thread may declare its calls safe; then only relaxed captures of its own let it.
        if (capture->mode == cudaStreamCaptureModeRelaxed || thread_capture_mode == cudaStreamCaptureModeRelaxed) continue;
        if (capture->mode == cudaStreamCaptureModeThreadLocal && !own) continue;
        invalidate(*capture);
        any = true;
    }
    return any ? finish(error) : cudaSuccess;
}

cudaError_t enqueue(cudaStream_t handle, cudaGraphNodeType type, std::function<cudaError_t()> work) {
    if (sticky() != cudaSuccess) return finish(sticky());
    if (!known_stream(handle)) return finish(cudaErrorInvalidResourceHandle);
    CUstream_st& stream = stream_of(handle);
    if (stream.capture != nullptr) {
        if (stream.capture->status != cudaStreamCaptureStatusActive) return finish(cudaErrorStreamCaptureInvalidated);
        ++stream.captured;
        stream.capture->graph->nodes.push_back(std::make_shared<CUgraphNode_st>(CUgraphNode_st{type, std::move(work)}));
        return cudaSuccess;
    }
    if (&stream == &null_stream)
        // The legacy stream would wait for the capturing ones.
        for (auto& capture : captures)
            if (blocking(*capture->origin) && capture->status == cudaStreamCaptureStatusActive) {
                invalidate(*capture);
                return finish(cudaErrorStreamCaptureImplicit);
            }
    stream.waiting.push_back({++enqueued, std::move(work)});
    if (mode == Streams::lazy) return cudaSuccess;
    return finish(run_until(stream, enqueued));
}

cudaError_t drain(cudaStream_t handle) { return run_until(stream_of(handle), ~0ull); }

cudaError_t drain_all() {
    run_until(null_stream, ~0ull);
    for (CUstream_st* stream : streams) run_until(*stream, ~0ull);
    return sticky();
}

void drop_work() {
    null_stream.waiting.clear();
    for (CUstream_st* stream : streams) stream->waiting.clear();
}

cudaError_t capture_info(cudaStream_t handle, cudaStreamCaptureStatus* status, unsigned long long* id, cudaGraph_t* graph) {
    std::lock_guard lock(mutex());
    if (!known_stream(handle)) return finish(cudaErrorInvalidResourceHandle);
    Capture* capture = stream_of(handle).capture.get();
    *status = capture == nullptr ? cudaStreamCaptureStatusNone : capture->status;
    if (id != nullptr && capture != nullptr) *id = capture->id;
    if (graph != nullptr && capture != nullptr) *graph = capture->graph.get();
    return cudaSuccess;
}

cudaError_t launch(const cudaLaunchConfig_t& config, void (*kernel)(), void (*call)(void (*)(), void*), void* arguments, size_t size) {
    std::lock_guard lock(mutex());
    if (sticky() != cudaSuccess) return finish(sticky());
    if (kernel == nullptr) return finish(cudaErrorInvalidDeviceFunction);
    const uint3 grid = config.gridDim, block = config.blockDim;
    const auto name = [kernel] { return function_name(reinterpret_cast<const void*>(kernel)); };
    if (block.x == 0 || block.y == 0 || block.z == 0 || block.x > 1024 || block.y > 1024 || block.z > 64 ||
        static_cast<unsigned long long>(block.x) * block.y * block.z > 1024)
        return refuse(cudaErrorInvalidConfiguration, "launch of %s: a block of (%u, %u, %u) threads", name().c_str(), block.x, block.y,
                      block.z);
    if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.x > 2147483647u || grid.y > 65535 || grid.z > 65535)
        return refuse(cudaErrorInvalidConfiguration, "launch of %s: a grid of (%u, %u, %u) blocks", name().c_str(), grid.x, grid.y, grid.z);
    const size_t limit = static_cast<size_t>(function(reinterpret_cast<const void*>(kernel)).dynamic_limit);
    if (config.dynamicSmemBytes > limit)
        return refuse(cudaErrorInvalidValue,
                      "launch of %s: %zu bytes of dynamic shared memory, its limit is %zu (cudaFuncSetAttribute raises it)", name().c_str(),
                      config.dynamicSmemBytes, limit);
    for (unsigned i = 0; i < config.numAttrs; ++i) {
        const cudaLaunchAttribute& attribute = config.attrs[i];
        if (attribute.id == cudaLaunchAttributeCooperative && attribute.val.cooperative != 0)
            return refuse(cudaErrorNotSupported, "launch of %s: cooperative launches are not emulated", name().c_str());
        if (attribute.id == cudaLaunchAttributeClusterDimension &&
            attribute.val.clusterDim.x * attribute.val.clusterDim.y * attribute.val.clusterDim.z > 1)
            return refuse(cudaErrorNotSupported, "launch of %s: clusters are not emulated", name().c_str());
    }
    if (size > 4096) return refuse(cudaErrorInvalidValue, "launch of %s: %zu bytes of arguments, the limit is 4096", name().c_str(), size);
    auto what = std::make_shared<Launch>(Launch{kernel, call, grid, block, config.dynamicSmemBytes, {}});
    what->arguments.assign(static_cast<const char*>(arguments), size);
    return enqueue(config.stream, cudaGraphNodeTypeKernel, [what] { return run_launch(*what); });
}

}  // namespace cuda_emulator

using namespace cuda_emulator;

#define API_CALL                                    \
    std::lock_guard lock(mutex());                  \
    if (sticky() != cudaSuccess) return finish(sticky())

extern "C" {

cudaError_t cudaDeviceSynchronize() {
    API_CALL;
    if (cudaError_t error = refuse_in_capture(cudaErrorStreamCaptureUnsupported)) return error;
    return finish(drain_all());
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned flags, int priority) {
    API_CALL;
    if (stream == nullptr || flags > 1) return finish(cudaErrorInvalidValue);
    *stream = new CUstream_st;
    (*stream)->flags = flags;
    (*stream)->priority = priority > 0 ? 0 : priority < -5 ? -5 : priority;
    streams.insert(*stream);
    return cudaSuccess;
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) { return cudaStreamCreateWithPriority(stream, flags, 0); }
cudaError_t cudaStreamCreate(cudaStream_t* stream) { return cudaStreamCreateWithPriority(stream, cudaStreamDefault, 0); }

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    std::lock_guard lock(mutex());
    if (stream == nullptr || stream == cudaStreamPerThread || streams.count(stream) == 0) return finish(cudaErrorInvalidResourceHandle);
    drain(stream);
    if (stream->capture != nullptr) {
        invalidate(*stream->capture);
        if (stream->capture->origin == stream) captures.erase(stream->capture);
    }
    for (CUevent_st* event : events) {
        if (event->stream == stream) event->stream = nullptr;
        if (event->captured_stream == stream) event->captured_stream = nullptr;
    }
    streams.erase(stream);
    delete stream;
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    API_CALL;
    if (!known_stream(stream)) return finish(cudaErrorInvalidResourceHandle);
    if (is_capturing(stream)) {
        invalidate(*stream_of(stream).capture);
        return finish(cudaErrorStreamCaptureUnsupported);
    }
    return finish(drain(stream));
}

cudaError_t cudaStreamQuery(cudaStream_t stream) {
    API_CALL;
    if (!known_stream(stream)) return finish(cudaErrorInvalidResourceHandle);
    if (is_capturing(stream)) {
        invalidate(*stream_of(stream).capture);
        return finish(cudaErrorStreamCaptureUnsupported);
    }
    if (stream_of(stream).waiting.empty()) return cudaSuccess;
    // Polling makes progress, or a loop of queries would never end.
    run_until(stream_of(stream), stream_of(stream).waiting.front().number);
    return cudaErrorNotReady;
}

cudaError_t cudaStreamGetPriority(cudaStream_t stream, int* priority) {
    API_CALL;
    if (!known_stream(stream)) return finish(cudaErrorInvalidResourceHandle);
    *priority = stream_of(stream).priority;
    return cudaSuccess;
}
cudaError_t cudaStreamGetFlags(cudaStream_t stream, unsigned* flags) {
    API_CALL;
    if (!known_stream(stream)) return finish(cudaErrorInvalidResourceHandle);
    *flags = stream_of(stream).flags;
    return cudaSuccess;
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t call, void* data) {
    API_CALL;
    if (call == nullptr) return finish(cudaErrorInvalidValue);
    return enqueue(stream, cudaGraphNodeTypeHost, [call, data] {
        call(data);
        return cudaSuccess;
    });
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
    API_CALL;
    if (event == nullptr || flags > 7) return finish(cudaErrorInvalidValue);
    *event = new CUevent_st;
    (*event)->flags = flags;
    events.insert(*event);
    return cudaSuccess;
}
cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, cudaEventDefault); }

cudaError_t cudaEventDestroy(cudaEvent_t event) {
    std::lock_guard lock(mutex());
    if (events.erase(event) == 0) return finish(cudaErrorInvalidResourceHandle);
    delete event;
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t handle) {
    API_CALL;
    if (events.count(event) == 0) return finish(cudaErrorInvalidResourceHandle);
    if (!known_stream(handle)) return finish(cudaErrorInvalidResourceHandle);
    CUstream_st& stream = stream_of(handle);
    if (stream.capture != nullptr) {
        if (stream.capture->status != cudaStreamCaptureStatusActive) return finish(cudaErrorStreamCaptureInvalidated);
        event->capture = stream.capture;
        event->captured_stream = &stream;
        event->captured_at = stream.captured;
        return cudaSuccess;
    }
    event->capture.reset();
    event->recorded = true;
    event->done = false;
    event->stream = &stream;
    const unsigned long long generation = ++event->generation;
    event->number = enqueued + 1;
    return enqueue(handle, cudaGraphNodeTypeEventRecord, [event, generation] {
        if (events.count(event) != 0 && event->generation == generation) {
            event->time = std::chrono::steady_clock::now();
            event->done = true;
        }
        return cudaSuccess;
    });
}

cudaError_t cudaStreamWaitEvent(cudaStream_t handle, cudaEvent_t event, unsigned flags) {
    API_CALL;
    if (events.count(event) == 0 || !known_stream(handle)) return finish(cudaErrorInvalidResourceHandle);
    if (flags != 0) return finish(cudaErrorInvalidValue);
    CUstream_st& stream = stream_of(handle);
    if (auto capture = event->capture.lock()) {
        if (capture->status != cudaStreamCaptureStatusActive) return finish(cudaErrorStreamCaptureInvalidated);
        if (stream.capture != nullptr && stream.capture != capture) {
            invalidate(*capture);
            invalidate(*stream.capture);
            return finish(cudaErrorStreamCaptureMerge);
        }
        if (&stream == &null_stream) {
            invalidate(*capture);
            return finish(cudaErrorStreamCaptureImplicit);
        }
        if (stream.capture == nullptr) {
            stream.capture = capture;
            stream.captured = 0;
            stream.joined = -1;
        }
        // What the waiting stream has seen of the event's.
        if (event->captured_stream != nullptr && event->captured_stream != &stream && event->captured_stream->joined < event->captured_at)
            event->captured_stream->joined = event->captured_at;
        return cudaSuccess;
    }
    if (stream.capture != nullptr) {
        if (!event->recorded) return cudaSuccess;
        invalidate(*stream.capture);
        return finish(cudaErrorStreamCaptureIsolation);
    }
    if (!event->recorded || event->done) return cudaSuccess;
    CUstream_st* target = event->stream;
    const unsigned long long number = event->number;
    return enqueue(handle, cudaGraphNodeTypeWaitEvent, [target, number] {
        if (target != nullptr && (target == &null_stream || streams.count(target) != 0)) run_until(*target, number);
        return cudaSuccess;
    });
}

static cudaError_t captured(cudaEvent_t event) {
    auto capture = event->capture.lock();
    if (capture == nullptr) return cudaSuccess;
    invalidate(*capture);
    return cudaErrorCapturedEvent;
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
    API_CALL;
    if (events.count(event) == 0) return finish(cudaErrorInvalidResourceHandle);
    if (cudaError_t error = captured(event)) return finish(error);
    if (!event->recorded || event->done) return cudaSuccess;
    if (event->stream != nullptr && !event->stream->waiting.empty()) run_until(*event->stream, event->stream->waiting.front().number);
    return cudaErrorNotReady;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
    API_CALL;
    if (events.count(event) == 0) return finish(cudaErrorInvalidResourceHandle);
    if (cudaError_t error = captured(event)) return finish(error);
    if (event->recorded && !event->done && event->stream != nullptr) run_until(*event->stream, event->number);
    return finish(sticky());
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
    API_CALL;
    if (events.count(start) == 0 || events.count(end) == 0) return finish(cudaErrorInvalidResourceHandle);
    if (!start->recorded || !end->recorded || ((start->flags | end->flags) & cudaEventDisableTiming) != 0)
        return finish(cudaErrorInvalidResourceHandle);
    if (!start->done || !end->done) return finish(cudaErrorNotReady);
    *milliseconds = std::chrono::duration<float, std::milli>(end->time - start->time).count();
    return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t handle, cudaStreamCaptureMode wanted) {
    API_CALL;
    if (!known_stream(handle)) return finish(cudaErrorInvalidResourceHandle);
    CUstream_st& stream = stream_of(handle);
    if (&stream == &null_stream) return finish(cudaErrorStreamCaptureUnsupported);
    if (stream.capture != nullptr) return finish(cudaErrorIllegalState);
    stream.capture = std::make_shared<Capture>();
    stream.capture->mode = wanted;
    stream.capture->id = ++capture_count;
    stream.capture->origin = &stream;
    captures.insert(stream.capture);
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t handle, cudaGraph_t* graph) {
    API_CALL;
    if (graph == nullptr) return finish(cudaErrorInvalidValue);
    *graph = nullptr;
    if (!known_stream(handle)) return finish(cudaErrorInvalidResourceHandle);
    std::shared_ptr<Capture> capture = stream_of(handle).capture;
    if (capture == nullptr) return finish(cudaErrorIllegalState);
    if (capture->origin != &stream_of(handle)) {
        invalidate(*capture);
        return finish(cudaErrorStreamCaptureUnmatched);
    }
    if (capture->mode != cudaStreamCaptureModeRelaxed && capture->thread != std::this_thread::get_id())
        return finish(cudaErrorStreamCaptureWrongThread);
    bool unjoined = false;
    for (CUstream_st* stream : streams) {
        if (stream->capture != capture) continue;
        if (stream != capture->origin && stream->joined < stream->captured) unjoined = true;
        stream->capture.reset();
        stream->captured = 0;
        stream->joined = -1;
    }
    captures.erase(capture);
    if (capture->status != cudaStreamCaptureStatusActive) return finish(cudaErrorStreamCaptureInvalidated);
    if (unjoined) return finish(cudaErrorStreamCaptureUnjoined);
    *graph = capture->graph.release();
    graphs.insert(*graph);
    return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
    return capture_info(stream, status, nullptr, nullptr);
}

cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode* wanted) {
    std::swap(*wanted, thread_capture_mode);
    return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
    API_CALL;
    if (executable == nullptr || graphs.count(graph) == 0) return finish(cudaErrorInvalidValue);
    *executable = new CUgraphExec_st{graph->nodes};
    executables.insert(*executable);
    return cudaSuccess;
}
cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long flags) {
    return cudaGraphInstantiate(executable, graph, flags);
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
    API_CALL;
    if (executables.count(executable) == 0) return finish(cudaErrorInvalidValue);
    return enqueue(stream, cudaGraphNodeTypeGraph, [nodes = executable->nodes] {
        for (auto& node : nodes)
            if (sticky() == cudaSuccess) node->work();
        return sticky();
    });
}
cudaError_t cudaGraphUpload(cudaGraphExec_t executable, cudaStream_t stream) {
    API_CALL;
    return finish(executables.count(executable) == 0 ? cudaErrorInvalidValue
                                                     : known_stream(stream) ? cudaSuccess : cudaErrorInvalidResourceHandle);
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
    std::lock_guard lock(mutex());
    if (graphs.erase(graph) == 0) return finish(cudaErrorInvalidValue);
    delete graph;
    return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
    std::lock_guard lock(mutex());
    if (executables.erase(executable) == 0) return finish(cudaErrorInvalidValue);
    delete executable;
    return cudaSuccess;
}

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t* nodes, size_t* count) {
    API_CALL;
    if (graphs.count(graph) == 0 || count == nullptr) return finish(cudaErrorInvalidValue);
    if (nodes != nullptr)
        for (size_t i = 0; i < *count; ++i) nodes[i] = i < graph->nodes.size() ? graph->nodes[i].get() : nullptr;
    if (nodes == nullptr || *count > graph->nodes.size()) *count = graph->nodes.size();
    return cudaSuccess;
}
cudaError_t cudaGraphNodeGetType(cudaGraphNode_t node, cudaGraphNodeType* type) {
    API_CALL;
    if (node == nullptr || type == nullptr) return finish(cudaErrorInvalidValue);
    *type = node->type;
    return cudaSuccess;
}
}

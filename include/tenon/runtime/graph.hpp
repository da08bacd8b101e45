// A whole train step as one CUDA graph: the work of a function is recorded once and launched again and again, without the
// host's share of it.
#pragma once

#include <tenon/autograd/tape.hpp>
#include <tenon/runtime/backend.hpp>
#if TENON_CUDA
#include <tenon/kernels/cuda/capture.cuh>
#include <tenon/runtime/cuda.hpp>
#endif

#include <type_traits>
#include <utility>

namespace tenon {
namespace runtime {
inline namespace TENON_CONFIG_NAMESPACE {

// auto graph = runtime::Graph(device, [&] {
//     const auto loss = cross_entropy(net(images), labels);
//     loss.backward();
//     optimiser.step();
//     return loss;
// });
// for (...) { images.copy_from(batch); const auto loss = graph.replay(); }
//
// The function runs once, in the constructor, while its launches are recorded: nothing is computed then, but what it does on
// the host (rebinding handles, counting) happens once. replay() launches the record and returns what the function returned:
// the same tensors with new values. Every launch makes the optimisers' next step, with the rates that they have then, and
// draws new random numbers: a key k in the function is k.split(n) in launch n.
//
// Tensors that the function reads must outlive the graph, and keep their memory: give new inputs with copy_from. Optimisers
// that it steps must outlive it, too. Throws DeviceError where something in it needs the device's answer (item(), printing,
// clip_norm, indices to be checked). On the CPU, replay() runs the function.
template <class F>
class Graph {
public:
    using Result = std::decay_t<std::invoke_result_t<F&>>;

    Graph(Device device, F function) : device_(device), function_(static_cast<F&&>(function)) {
        if (device.is_cpu()) return;
#if TENON_CUDA
        try {
            record();
        } catch (...) {
            let_go();
            throw;
        }
#else
        fail<DeviceError>("graph: ", device, " was asked for, and this translation unit was compiled without CUDA");
#endif
    }
    Graph(const Graph&) = delete;
    Graph& operator=(const Graph&) = delete;
    ~Graph() {
#if TENON_CUDA
        let_go();
#endif
    }

    // Runs the function once more.
    Result replay() {
#if TENON_CUDA
        if (executable_ != nullptr) {
            cuda_detail::select_device(device_);
            capture_->bring(launches_++);
            cuda_detail::check(cudaGraphLaunch(executable_, cuda_detail::current_stream), "cudaGraphLaunch");
            if constexpr (std::is_void_v<Result>) return;
            else return result_.value;
        }
#endif
        return function_();
    }

private:
    struct Nothing {};
    struct Held { [[no_unique_address]] std::conditional_t<std::is_void_v<Result>, Nothing, Result> value{}; };

#if TENON_CUDA
    void let_go() noexcept {
        if (memory_ == nullptr) return;
        cudaDeviceSynchronize();
        result_ = Held{};
        if (executable_ != nullptr) cudaGraphExecDestroy(executable_);
        cuda_detail::device_memory().drop_graph(memory_);
        delete capture_;
    }
    void record() {
        cuda_detail::select_device(device_);
        capture_ = new cuda_detail::Capture;
        memory_ = cuda_detail::device_memory().new_graph();
        cudaStream_t stream = nullptr;
        cuda_detail::check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreate");
        const cudaStream_t before = cuda_detail::current_stream;
        cudaGraph_t graph = nullptr;
        struct Restore {
            cudaStream_t stream, before;
            cudaGraph_t& graph;
            ~Restore() {
                cuda_detail::current_stream = before;
                cuda_detail::graph_memory = nullptr;
                cuda_detail::capture = nullptr;
                if (graph != nullptr) cudaGraphDestroy(graph);
                cudaStreamDestroy(stream);
            }
        };
        const Restore restore{stream, before, graph};
        // What has been given to the current stream comes before the first launch, which goes there, too.
        cuda_detail::check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed), "cudaStreamBeginCapture");
        cuda_detail::current_stream = stream;
        cuda_detail::graph_memory = memory_;
        cuda_detail::capture = capture_;
        try {
            if constexpr (std::is_void_v<Result>) function_();
            else result_.value = function_();
        } catch (const Error& error) {
            cudaStreamEndCapture(stream, &graph);
            cudaGetLastError();
            fail<DeviceError>("graph: the function cannot be captured: ", error.what(),
                              "\n       hint: nothing in it may wait for the device: no item(), no printing, no copies to the host");
        } catch (...) {
            cudaStreamEndCapture(stream, &graph);
            cudaGetLastError();
            throw;
        }
        const cudaError_t ended = cudaStreamEndCapture(stream, &graph);
        if (ended != cudaSuccess) {
            cudaGetLastError();
            fail<DeviceError>("graph: the function cannot be captured: CUDA reports \"", cudaGetErrorString(ended), "\"");
        }
        cuda_detail::check(cudaGraphInstantiate(&executable_, graph, 0), "cudaGraphInstantiate");
    }

    cuda_detail::Capture* capture_ = nullptr;
    cuda_detail::GraphMemory* memory_ = nullptr;
    cudaGraphExec_t executable_ = nullptr;
    long launches_ = 0;
#endif
    Device device_;
    F function_;
    Held result_{};
};

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace runtime
}  // namespace tenon

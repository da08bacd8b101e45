// Streams: what is enqueued runs at once (eager) or when something waits for it (lazy), or becomes a node of the graph being captured.
#pragma once

#include <functional>

#include "../emulator/runtime_api.hpp"

namespace cuda_emulator {

// The error is that of the refusal, or of the work when it ran at once.
cudaError_t enqueue(cudaStream_t, cudaGraphNodeType, std::function<cudaError_t()> work);
// Everything enqueued in the stream, and what it depends on, is done.
cudaError_t drain(cudaStream_t);
cudaError_t drain_all();
void drop_work();

bool known_stream(cudaStream_t);
bool is_capturing(cudaStream_t);
// Calls that are not allowed while any stream captures: the error, after invalidating the captures.
cudaError_t refuse_in_capture(cudaError_t);

}  // namespace cuda_emulator

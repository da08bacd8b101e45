// Convolution with few results in a group, depthwise above all: a thread for each result. A tile of a matrix product would be
// mostly empty, and what is read more than once lies in the caches.
//
// A result costs taps * channels products, each with a read of the source, which neighbouring threads share in part, and one of a
// weight, which a warp shares whole: bound by memory, 2 FLOP per 4 bytes of the source at worst.
#pragma once

#include <tenon/kernels/cuda/conv/geometry.cuh>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cuda {
namespace conv_impl {

template <class T>
struct DirectJob {
    PassOperands<T> pass;
    const T* w;
    WeightStrides weights;
    Divisor results, all_channels, pixels;  // of a group; of an image; of a channel
    bool channels_first;                    // neighbouring threads make neighbouring channels, rather than pixels
};

template <class T>
__global__ void conv_direct(DirectJob<T> job, Part part, unsigned count) {
#if TENON_DEVICE_CODE
    const PassOperands<T>& pass = job.pass;
    const IntStrides& s = pass.source_strides;
    for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x) {
        unsigned pixel, channel;
        if (job.channels_first) {
            pixel = job.all_channels.quotient(i);
            channel = i - pixel * job.all_channels.divisor;
        } else {
            channel = job.pixels.quotient(i);
            pixel = i - channel * job.pixels.divisor;
        }
        const unsigned group = job.results.quotient(channel), result = channel - group * job.results.divisor;
        const Pixel p(static_cast<int>(pixel), part);
        const Origin origin(p, part, s);
        const T* const source = pass.source + static_cast<int>(group) * pass.channels * s.channel + origin.offset;
        const T* const w = job.w + group * job.weights.group + result * job.weights.result;
        accumulator<T> sum = 0;
        for (unsigned a = 0; a < part.axis[0].taps.divisor; ++a) {
            const int d0 = static_cast<int>(a) * part.axis[0].offset_step,
                      t0 = part.axis[0].tap + static_cast<int>(a) * part.axis[0].tap_step;
            if (!inside(origin.at[0] + d0, part.axis[0].in)) continue;
            for (unsigned b = 0; b < part.axis[1].taps.divisor; ++b) {
                const int d1 = static_cast<int>(b) * part.axis[1].offset_step,
                          t1 = part.axis[1].tap + static_cast<int>(b) * part.axis[1].tap_step;
                if (!inside(origin.at[1] + d1, part.axis[1].in)) continue;
                for (unsigned c = 0; c < part.axis[2].taps.divisor; ++c) {
                    const int d2 = static_cast<int>(c) * part.axis[2].offset_step,
                              t2 = part.axis[2].tap + static_cast<int>(c) * part.axis[2].tap_step;
                    if (!inside(origin.at[2] + d2, part.axis[2].in)) continue;
                    const T* const x = source + d0 * s.axis[0] + d1 * s.axis[1] + d2 * s.axis[2];
                    const T* const tap = w + (t0 * part.axis[1].kernel + t1) * part.axis[2].kernel + t2;
                    for (int k = 0; k < pass.channels; ++k) sum += product(x[k * s.channel], tap[k * job.weights.channel]);
                }
            }
        }
        finish_result(pass.epilogue,
                      pass.result + result_offset(p, part, pass.result_strides) + static_cast<int>(channel) * pass.result_strides.channel,
                      static_cast<int>(channel), sum);
    }
#endif
}

template <class T>
void run_direct(const char* name, const PassOperands<T>& pass, const T* w, const WeightStrides& weights, long groups, const Part& part) {
    const long channels = groups * pass.results, count = channels * part.pixels;
    if (count == 0) return;
    const DirectJob<T> job{pass, w, weights, Divisor(static_cast<unsigned>(pass.results)), Divisor(static_cast<unsigned>(channels)),
                           Divisor(static_cast<unsigned>(part.pixels)), pass.result_strides.channel == 1 && channels > 1};
    launch(name, conv_direct<T>, blocks_for(count, block_threads), block_threads, job, part, static_cast<unsigned>(count));
}

}  // namespace conv_impl
}  // namespace kernels::cuda
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

// Convolution as its definition has it: a thread for each result, which adds up its products in order of kernel position and
// channel (the weight's gradient: a warp for each, over image and pixel). What the fast kernels are compared with, and what
// serves images whose offsets do not fit 32 bits.
#pragma once

#include <tenon/kernels/cuda/conv/geometry.cuh>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cuda {

namespace reference {

// Operands of a convolution; `from` is x, or dy where x is what results.
template <class T>
struct ConvJob {
    ConvShape<3> s;
    const T* from;
    ImageStrides<3> from_strides;
    const T* w;
    T* to;
    ImageStrides<3> to_strides;
    ConvEpilogue<T> epilogue;
};

#if TENON_DEVICE_CODE
// Result i of `channels` channels on a grid: which image, channel and position.
struct ConvPlace {
    long image, channel, at[3];
    TENON_HD ConvPlace(long i, long channels, const long* grid) {
        at[2] = i % grid[2], i /= grid[2];
        at[1] = i % grid[1], i /= grid[1];
        at[0] = i % grid[0], i /= grid[0];
        channel = i % channels;
        image = i / channels;
    }
};
TENON_HD inline long conv_offset(const ImageStrides<3>& s, long image, long channel, const long* at) {
    return image * s.n + channel * s.channel + at[0] * s.axis[0] + at[1] * s.axis[1] + at[2] * s.axis[2];
}
template <class T>
TENON_HD void conv_finish(const ConvJob<T>& job, const ConvPlace& p, accumulator<T> sum) {
    conv_impl::finish_result(job.epilogue, job.to + conv_offset(job.to_strides, p.image, p.channel, p.at), p.channel, sum);
}
#endif

template <class T>
__global__ void conv_forward_kernel(ConvJob<T> job) {
#if TENON_DEVICE_CODE
    const ConvShape<3>& s = job.s;
    const long ins = s.c_in / s.groups, outs = s.c_out / s.groups, kernel = s.kernel[0] * s.kernel[1] * s.kernel[2];
    const long total = s.n * s.c_out * s.out[0] * s.out[1] * s.out[2];
    for (long i = blockIdx.x * long(blockDim.x) + threadIdx.x; i < total; i += long(gridDim.x) * blockDim.x) {
        const ConvPlace p(i, s.c_out, s.out);
        const long first = p.channel / outs * ins;
        accumulator<T> sum = 0;
        long t = 0, in[3];
        for (long a = 0; a < s.kernel[0]; ++a)
            for (long b = 0; b < s.kernel[1]; ++b)
                for (long c = 0; c < s.kernel[2]; ++c, ++t) {
                    in[0] = p.at[0] * s.stride[0] - s.padding_begin[0] + a * s.dilation[0];
                    in[1] = p.at[1] * s.stride[1] - s.padding_begin[1] + b * s.dilation[1];
                    in[2] = p.at[2] * s.stride[2] - s.padding_begin[2] + c * s.dilation[2];
                    if (in[0] < 0 || in[0] >= s.in[0] || in[1] < 0 || in[1] >= s.in[1] || in[2] < 0 || in[2] >= s.in[2]) continue;
                    const T* x = job.from + conv_offset(job.from_strides, p.image, first, in);
                    const T* w = job.w + p.channel * ins * kernel + t;
                    for (long k = 0; k < ins; ++k) sum += conv_impl::product(x[k * job.from_strides.channel], w[k * kernel]);
                }
        conv_finish(job, p, sum);
    }
#endif
}

template <class T>
__global__ void conv_backward_data_kernel(ConvJob<T> job) {
#if TENON_DEVICE_CODE
    const ConvShape<3>& s = job.s;
    const long ins = s.c_in / s.groups, outs = s.c_out / s.groups, kernel = s.kernel[0] * s.kernel[1] * s.kernel[2];
    const long total = s.n * s.c_in * s.in[0] * s.in[1] * s.in[2];
    for (long i = blockIdx.x * long(blockDim.x) + threadIdx.x; i < total; i += long(gridDim.x) * blockDim.x) {
        const ConvPlace p(i, s.c_in, s.in);
        const long first = p.channel / ins * outs;
        accumulator<T> sum = 0;
        long t = 0, out[3];
        for (long a = 0; a < s.kernel[0]; ++a)
            for (long b = 0; b < s.kernel[1]; ++b)
                for (long c = 0; c < s.kernel[2]; ++c, ++t) {
                    out[0] = p.at[0] + s.padding_begin[0] - a * s.dilation[0];
                    out[1] = p.at[1] + s.padding_begin[1] - b * s.dilation[1];
                    out[2] = p.at[2] + s.padding_begin[2] - c * s.dilation[2];
                    bool inside = true;
                    for (int d = 0; d < 3; ++d) {
                        inside = inside && out[d] >= 0 && out[d] % s.stride[d] == 0 && out[d] / s.stride[d] < s.out[d];
                        out[d] /= s.stride[d];
                    }
                    if (!inside) continue;
                    const T* dy = job.from + conv_offset(job.from_strides, p.image, first, out);
                    const T* w = job.w + (first * ins + p.channel % ins) * kernel + t;
                    for (long k = 0; k < outs; ++k) sum += conv_impl::product(dy[k * job.from_strides.channel], w[k * ins * kernel]);
                }
        conv_finish(job, p, sum);
    }
#endif
}

template <class T>
__global__ void conv_backward_weights_kernel(ConvShape<3> s, const T* x, ImageStrides<3> xs, const T* dy, ImageStrides<3> dys, T* dw,
                                             bool accumulate) {
#if TENON_DEVICE_CODE
    const long ins = s.c_in / s.groups, outs = s.c_out / s.groups, total = s.c_out * ins * s.kernel[0] * s.kernel[1] * s.kernel[2];
    // Threads of a warp share a sum: each takes every 32nd pixel, and the sums are added pairwise.
    const long lane = threadIdx.x % 32, warps = long(gridDim.x) * blockDim.x / 32;
    const long pixels = s.out[0] * s.out[1] * s.out[2];
    for (long i = (blockIdx.x * long(blockDim.x) + threadIdx.x) / 32; i < total; i += warps) {
        const ConvPlace p(i, ins, s.kernel);
        const long channel = p.image / outs * ins + p.channel;  // p.image is the output channel
        accumulator<T> sum = 0;
        for (long b = 0; b < s.n; ++b)
            for (long q = lane; q < pixels; q += 32) {
                const long out[3] = {q / (s.out[1] * s.out[2]), q / s.out[2] % s.out[1], q % s.out[2]};
                long in[3];
                bool inside = true;
                for (int d = 0; d < 3; ++d) {
                    in[d] = out[d] * s.stride[d] - s.padding_begin[d] + p.at[d] * s.dilation[d];
                    inside = inside && in[d] >= 0 && in[d] < s.in[d];
                }
                if (inside) sum += conv_impl::product(x[conv_offset(xs, b, channel, in)], dy[conv_offset(dys, b, p.image, out)]);
            }
        for (int offset = 16; offset > 0; offset /= 2) sum += __shfl_down_sync(0xffffffffu, sum, static_cast<unsigned>(offset));
        if (lane == 0) dw[i] = static_cast<T>(accumulate ? static_cast<accumulator<T>>(dw[i]) + sum : sum);
    }
#endif
}

template <class T, int D>
void conv_forward(const ConvShape<D>& shape, const T* x, const ImageStrides<D>& x_strides, const T* w, T* y,
                  const ImageStrides<D>& y_strides, const ConvEpilogue<T>& epilogue = {}) {
    const long total = shape.n * shape.c_out * shape.out_size();
    if (total == 0) return;
    const ConvJob<T> job{cpu::conv_impl::lift(shape), x, cpu::conv_impl::lift(x_strides), w, y, cpu::conv_impl::lift(y_strides), epilogue};
    launch("conv_forward", conv_forward_kernel<T>, blocks_for(total, block_threads), block_threads, job);
}

template <class T, int D>
void conv_backward_data(const ConvShape<D>& shape, const T* dy, const ImageStrides<D>& dy_strides, const T* w, T* dx,
                        const ImageStrides<D>& dx_strides, const ConvEpilogue<T>& epilogue = {}) {
    const long total = shape.n * shape.c_in * shape.in_size();
    if (total == 0) return;
    const ConvJob<T> job{cpu::conv_impl::lift(shape),      dy,      cpu::conv_impl::lift(dy_strides), w, dx,
                         cpu::conv_impl::lift(dx_strides), epilogue};
    launch("conv_backward_data", conv_backward_data_kernel<T>, blocks_for(total, block_threads), block_threads, job);
}

template <class T, int D>
void conv_backward_weights(const ConvShape<D>& shape, const T* x, const ImageStrides<D>& x_strides, const T* dy,
                           const ImageStrides<D>& dy_strides, T* dw, bool accumulate = false) {
    const long total = shape.c_out * shape.group_in() * shape.kernel_size();
    if (total == 0) return;
    launch("conv_backward_weights", conv_backward_weights_kernel<T>, blocks_for(total, block_threads / 32), block_threads,
           cpu::conv_impl::lift(shape), x, cpu::conv_impl::lift(x_strides), dy, cpu::conv_impl::lift(dy_strides), dw, accumulate);
}

}  // namespace reference
}  // namespace kernels::cuda
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

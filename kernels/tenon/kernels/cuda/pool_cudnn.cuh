// Pooling through cuDNN, of packed images, contiguous or channels-last: the largest elements where nobody asks where they were, and
// averages with their derivative.
//
// The derivative of the largest elements stays with the library's own kernels: a byte per window is less to read than cuDNN's x, y
// and dy, and which of equal elements was taken, as well as second derivatives, are defined by those positions.
#pragma once

#include <tenon/kernels/cpu/fold.hpp>
#include <tenon/kernels/cpu/volume.hpp>
#include <tenon/kernels/cuda/conv/cudnn_handle.cuh>
#include <tenon/kernels/cuda/memory.cuh>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cuda {
namespace cudnn {

// Windows along an axis of an image.
struct PoolWindow {
    long in, out, kernel, stride, padding;
    // All lie within the padding that both ends have; cuDNN makes as many as fit.
    bool fits() const { return in + 2 * padding >= kernel && (in + 2 * padding - kernel) / stride + 1 == out && padding < kernel; }
};

// What a call of cuDNN's is told.
class PoolDescriptors {
public:
    PoolDescriptors() = default;
    PoolDescriptors(const PoolDescriptors&) = delete;
    PoolDescriptors& operator=(const PoolDescriptors&) = delete;
    ~PoolDescriptors() {
        const cuda_detail::CudnnLibrary& library = cuda_detail::cudnn_library();
        if (x != nullptr) library.cudnnDestroyTensorDescriptor(x);
        if (y != nullptr) library.cudnnDestroyTensorDescriptor(y);
        if (pooling != nullptr) library.cudnnDestroyPoolingDescriptor(pooling);
    }
    // x: the images, y: the windows. False where cuDNN does not know the layout.
    bool set(int mode, int type, const cpu::Volume& x_volume, const cpu::Volume& y_volume, const PoolWindow* windows) {
        const cuda_detail::CudnnLibrary& library = cuda_detail::cudnn_library();
        cuda_detail::check(library, library.cudnnCreateTensorDescriptor(&x), "cudnnCreateTensorDescriptor");
        cuda_detail::check(library, library.cudnnCreateTensorDescriptor(&y), "cudnnCreateTensorDescriptor");
        cuda_detail::check(library, library.cudnnCreatePoolingDescriptor(&pooling), "cudnnCreatePoolingDescriptor");
        const int first = x_volume.size[0] == 1 && y_volume.size[0] == 1 && windows[0].kernel == 1 ? 1 : 0, axes = 3 - first;
        int kernel[3], padding[3], stride[3];
        for (int i = 0; i < axes; ++i) {
            kernel[i] = static_cast<int>(windows[first + i].kernel);
            padding[i] = static_cast<int>(windows[first + i].padding);
            stride[i] = static_cast<int>(windows[first + i].stride);
        }
        const auto image = [&](cuda_detail::cudnn::Tensor to, const cpu::Volume& v) {
            int sizes[5] = {static_cast<int>(v.n), static_cast<int>(v.c)},
                strides[5] = {static_cast<int>(v.stride_n), static_cast<int>(v.stride_c)};
            for (int i = 0; i < axes; ++i) {
                sizes[2 + i] = static_cast<int>(v.size[first + i]);
                strides[2 + i] = static_cast<int>(v.stride[first + i]);
            }
            return known(library.cudnnSetTensorNdDescriptor(to, type, axes + 2, sizes, strides), "cudnnSetTensorNdDescriptor");
        };
        return known(library.cudnnSetPoolingNdDescriptor(pooling, mode, cuda_detail::cudnn::propagate_nan, axes, kernel, padding, stride),
                     "cudnnSetPoolingNdDescriptor") &&
               image(x, x_volume) && image(y, y_volume);
    }
    // Whether the library did it, or has nothing for it.
    static bool known(int status, const char* call) {
        const cuda_detail::CudnnLibrary& library = cuda_detail::cudnn_library();
        if (!cuda_detail::unsupported(status)) cuda_detail::check(library, status, call);
        return status == cuda_detail::cudnn::success;
    }

    cuda_detail::cudnn::Tensor x = nullptr, y = nullptr;
    cuda_detail::cudnn::Pooling pooling = nullptr;
};

// The same images packed, in the layout that they have; false where they lie otherwise or offsets do not fit 31 bits.
inline bool packed(const cpu::Volume& v, bool channels_last, cpu::Volume& r) {
    r = v;
    if (channels_last) r.pack_channels_last();
    else r.pack();
    bool same = (v.n == 1 || v.stride_n == r.stride_n) && (v.c == 1 || v.stride_c == r.stride_c);
    for (int i = 0; i < 3; ++i) same = same && (v.size[i] == 1 || v.stride[i] == r.stride[i]);
    return same && v.elements() > 0 && v.elements() < 1l << 31;
}

// y (+)= the pooling of x, or x's gradient from y's (`backward`: from is dy, to is dx). False where cuDNN cannot be told of it or has
// nothing for it: nothing was written then.
template <class T>
bool pool(int mode, const cpu::Volume& x, const cpu::Volume& y, const PoolWindow* windows, bool backward, const T* from, T* to, bool add) {
    for (int i = 0; i < 3; ++i)
        if (!windows[i].fits() || windows[i].kernel >= 1l << 30 || windows[i].stride >= 1l << 30) return false;
    cpu::Volume xs, ys;
    bool lies = false;
    for (const bool last : {false, true}) lies = lies || (packed(x, last, xs) && packed(y, last, ys));
    if (!lies || !cuda_detail::cudnn_library().usable) return false;
    const cuda_detail::CudnnLibrary& library = cuda_detail::cudnn_library();
    PoolDescriptors d;
    if (!d.set(mode, cuda_detail::cudnn_type<T>, xs, ys, windows)) return false;
    const cpu::accumulator<T> one = 1, beta = add ? 1 : 0;
    const cuda_detail::cudnn::Handle handle = cuda_detail::cudnn_handle(cuda_detail::current_device());
    // An average's derivative needs neither x nor y, which must still be named: dx and dy stand in.
    return backward ? d.known(library.cudnnPoolingBackward(handle, d.pooling, &one, d.y, from, d.y, from, d.x, to, &beta, d.x, to),
                              "cudnnPoolingBackward")
                    : d.known(library.cudnnPoolingForward(handle, d.pooling, &one, d.x, from, &beta, d.y, to), "cudnnPoolingForward");
}

}  // namespace cudnn
}  // namespace kernels::cuda
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

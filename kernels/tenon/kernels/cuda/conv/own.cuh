// The library's own convolutions, chosen by the shape.
#pragma once

#include <tenon/kernels/cuda/conv/direct.cuh>
#include <tenon/kernels/cuda/conv/reference.cuh>
#include <tenon/kernels/cuda/conv/weights.cuh>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cuda {
namespace own {

using conv_impl::Part;
using conv_impl::Parts;
using conv_impl::PassOperands;
using conv_impl::WeightStrides;

// A tile of 64 results is filled to an eighth by so many.
inline constexpr long few_results = 8;

// Whether all that the kernels number and address fits 32 bits.
inline bool fits(const ConvShape<3>& s, const ImageStrides<3>& x, const ImageStrides<3>& y) {
    return conv_impl::offsets_fit(x, s.n, s.c_in, s.in) && conv_impl::offsets_fit(y, s.n, s.c_out, s.out) &&
           conv_impl::fits_int(s.n * s.c_in * s.in_size()) && conv_impl::fits_int(s.n * s.c_out * s.out_size()) &&
           conv_impl::fits_int(s.c_out * s.group_in() * s.kernel_size());
}

template <class T>
void run_passes(const char* name, const PassOperands<T>& operands, const T* w, const WeightStrides& weights, long groups, Parts& parts) {
    if (operands.results <= few_results)
        for (int i = 0; i < parts.count; ++i) conv_impl::run_direct(name, operands, w, weights, groups, parts.part[i]);
    else conv_impl::run_tiles(name, operands, w, weights, groups, parts);
    parts.count = 0;
}

template <class T>
void conv_forward(const ConvShape<3>& s, const T* x, const ImageStrides<3>& xs, const T* w, T* y, const ImageStrides<3>& ys,
                  const ConvEpilogue<T>& epilogue) {
    if (!fits(s, xs, ys)) return reference::conv_forward<T, 3>(s, x, xs, w, y, ys, epilogue);
    const int ins = static_cast<int>(s.group_in()), outs = static_cast<int>(s.group_out());
    const long kernel = s.kernel_size();
    const PassOperands<T> operands{x, conv_impl::IntStrides(xs), y, conv_impl::IntStrides(ys), epilogue, ins, outs};
    Parts parts;
    parts.part[parts.count++] = Part(cpu::conv_impl::forward_pass(s));
    run_passes("conv_forward", operands, w, {outs * ins * kernel, ins * kernel, kernel}, s.groups, parts);
}

template <class T>
void conv_backward_data(const ConvShape<3>& s, const T* dy, const ImageStrides<3>& dys, const T* w, T* dx, const ImageStrides<3>& dxs,
                        const ConvEpilogue<T>& epilogue) {
    if (!fits(s, dxs, dys)) return reference::conv_backward_data<T, 3>(s, dy, dys, w, dx, dxs, epilogue);
    const int ins = static_cast<int>(s.group_in()), outs = static_cast<int>(s.group_out());
    const long kernel = s.kernel_size();
    const PassOperands<T> operands{dy, conv_impl::IntStrides(dys), dx, conv_impl::IntStrides(dxs), epilogue, outs, ins};
    const WeightStrides weights{outs * ins * kernel, kernel, ins * kernel};
    Parts parts;
    cpu::conv_impl::for_phases(s, [&](const cpu::conv_impl::Pass& pass) {
        parts.part[parts.count++] = Part(pass);
        if (parts.count == conv_impl::most_parts) run_passes("conv_backward_data", operands, w, weights, s.groups, parts);
    });
    if (parts.count > 0) run_passes("conv_backward_data", operands, w, weights, s.groups, parts);
}

template <class T>
void conv_backward_weights(const ConvShape<3>& s, const T* x, const ImageStrides<3>& xs, const T* dy, const ImageStrides<3>& dys, T* dw,
                           bool accumulate) {
    if (!fits(s, xs, dys) || s.groups > 65535) return reference::conv_backward_weights<T, 3>(s, x, xs, dy, dys, dw, accumulate);
    const long columns = s.group_in() * s.kernel_size();
    conv_impl::run_gradient(s, x, xs, dy, dys, dw, accumulate, s.group_out() <= few_results || columns <= few_results);
}

}  // namespace own
}  // namespace kernels::cuda
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

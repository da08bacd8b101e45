// Matrix product of bytes, summed exactly in 32 bits: the functions of cpu/gemm_int8.hpp.
//
// cuBLASLt has kernels for signed bytes whose k and n are multiples of 4, both operands with k innermost: others are brought into
// that order by a copy, and what has zero points or other sizes goes through tiles.
#pragma once

#include <tenon/kernels/cpu/gemm_types/int8_options.hpp>
#include <tenon/kernels/cuda/gemm.cuh>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cuda {

using cpu::Int8Options;
using cpu::PerLane;

namespace gemm_impl {

template <class V>
TENON_HD inline V value_of(const PerLane<V>& lane, long i, V absent) { return lane.data != nullptr ? lane.data[i * lane.step] : absent; }

// What becomes of a sum; see Int8Options.
template <class Out>
struct Int8Finish {
    Out* c;
    long ldc;
    PerLane<float> a_scale, b_scale;
    const Out* bias;
    bool accumulate, relu;

    TENON_HD void write(long i, long j, std::uint32_t sum) const {
        Out* const to = c + i * ldc + j;
        if constexpr (std::is_same_v<Out, float>) {
            // Rounded apart, as on the CPU: no product may melt into the sum.
            const float scale = value_of(a_scale, i, 1.0f) * value_of(b_scale, j, 1.0f);
            const float product = scale * static_cast<float>(static_cast<std::int32_t>(sum));
            float r = product;
#if defined(__CUDA_ARCH__)
            if (accumulate) r = __fadd_rn(*to, r);
            if (bias != nullptr) r = __fadd_rn(r, bias[j]);
#else
            if (accumulate) r = *to + r;
            if (bias != nullptr) r += bias[j];
#endif
            *to = relu && r < 0 ? 0.0f : r;
        } else {
            if (accumulate) sum += static_cast<std::uint32_t>(*to);
            if (bias != nullptr) sum += static_cast<std::uint32_t>(bias[j]);
            const std::int32_t r = static_cast<std::int32_t>(sum);
            *to = relu && r < 0 ? 0 : r;
        }
    }
};

template <class T, class Out>
struct Int8Product {
    using Sum = std::uint32_t;  // in unsigned arithmetic, where sums of integers wrap
    long batch, m, n, k;
    bool a_rows, b_rows;
    MatrixView<T> a;
    MatrixView<std::int8_t> b;
    PerLane<std::int32_t> a_zero, b_zero;
    Int8Finish<Out> finish;

#if TENON_DEVICE_CODE
    __device__ Sum left(long, long i, long l) const {
        return static_cast<Sum>(a.data[i * a.row_stride + l * a.column_stride]) - static_cast<Sum>(value_of(a_zero, i, 0));
    }
    __device__ Sum right(long, long l, long j) const {
        return static_cast<Sum>(b.data[l * b.row_stride + j * b.column_stride]) - static_cast<Sum>(value_of(b_zero, j, 0));
    }
    __device__ void write(long, long i, long j, Sum sum) const { finish.write(i, j, sum); }
#endif
};

// Reads 4 bytes per element, writes one of C, and reads it where it adds.
template <class Out>
__global__ void finish_int8(const std::int32_t* sums, long m, long n, Int8Finish<Out> finish) {
#if TENON_DEVICE_CODE
    for (long i = blockIdx.y; i < m; i += gridDim.y)
        for (long j = blockIdx.x * static_cast<long>(blockDim.x) + threadIdx.x; j < n; j += static_cast<long>(gridDim.x) * blockDim.x)
            finish.write(i, j, static_cast<std::uint32_t>(sums[i * n + j]));
#endif
}

#if TENON_CUBLAS
// k innermost, four to a word; copied where it is not. Null data: cannot be had.
class Int8Rows {
public:
    Int8Rows(long rows, long k, MatrixView<std::int8_t> view)
        : fits_((view.column_stride == 1 || k == 1) && view.row_stride % 4 == 0 && view.row_stride >= k &&
                reinterpret_cast<std::uintptr_t>(view.data) % 4 == 0),
          copy_(fits_ ? 0 : rows * k),
          operand{view.data, view.row_stride, false, 0} {
        if (fits_) return;
        const long dims[2] = {rows, k}, to[2] = {k, 1}, from[2] = {view.row_stride, view.column_stride};
        copy_strided(2, dims, copy_.get(), to, view.data, from, 1);
        operand = {copy_.get(), k, false, 0};
    }

private:
    bool fits_;
    Scratch<std::int8_t> copy_;

public:
    CublasOperand<std::int8_t> operand;
};

template <class Out>
bool multiply_int8(const Int8Product<std::int8_t, Out>& x) {
    if (x.k % 4 != 0 || x.n % 4 != 0 || x.k == 0 || x.a_zero.data != nullptr || x.b_zero.data != nullptr) return false;
    const Int8Rows a(x.m, x.k, x.a), b(x.n, x.k, MatrixView<std::int8_t>{x.b.data, x.b.column_stride, x.b.row_stride});
    CublasOperand<std::int8_t> right = b.operand;
    right.turned = true;
    constexpr bool direct = std::is_same_v<Out, std::int32_t>;
    const Int8Finish<Out>& f = x.finish;
    if constexpr (direct)
        if (!f.accumulate && f.bias == nullptr && !f.relu && f.ldc % 4 == 0 && reinterpret_cast<std::uintptr_t>(f.c) % 16 == 0)
            return multiply_cublas<std::int8_t, std::int32_t>(1, x.m, x.n, x.k, a.operand, right, f.c, f.ldc, 0, 1, false,
                                                              CublasEpilogue::none, nullptr);
    const Scratch<std::int32_t> sums(x.m * x.n);
    if (!multiply_cublas<std::int8_t, std::int32_t>(1, x.m, x.n, x.k, a.operand, right, sums.get(), x.n, 0, 1, false, CublasEpilogue::none,
                                                    nullptr))
        return false;
    launch("gemm_int8", finish_int8<Out>, grid_of_rows(x.m, x.n), dim3(block_threads), std::size_t(0), sums.get(), x.m, x.n, f);
    return true;
}
#endif

}  // namespace gemm_impl

// See cpu/gemm_int8.hpp: the same bits.
template <class T, class Out>
void gemm_int8(long m, long n, long k, MatrixView<T> a, MatrixView<std::int8_t> b, Out* c, long ldc, const Int8Options<Out>& options = {}) {
    if (m <= 0 || n <= 0) return;
    const gemm_impl::Int8Product<T, Out> product{
        1, m, n, k < 0 ? 0 : k, a.column_stride == 1, b.column_stride == 1, a, b, options.a_zero, options.b_zero,
        {c, ldc, options.a_scale, options.b_scale, options.bias, options.accumulate, options.relu}};
    bool done = false;
#if TENON_CUBLAS
    if constexpr (std::is_same_v<T, std::int8_t>) done = gemm_impl::multiply_int8(product);
#endif
    if (!done) gemm_impl::run_tiles("gemm_int8", product);
    if (options.epilogue.run != nullptr) options.epilogue.run(options.epilogue.context, 0, m, 0, n);
}

}  // namespace kernels::cuda
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

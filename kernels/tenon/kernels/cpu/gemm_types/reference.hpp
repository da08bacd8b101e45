// The products of narrow types as plain loops, in exactly the arithmetic and the order of the fast ones.
#pragma once

#include <tenon/kernels/cpu/gemm/types.hpp>
#include <tenon/kernels/cpu/gemm_types/dots.hpp>
#include <tenon/kernels/cpu/gemm_types/int8_options.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu::reference {

// gemm_half. Flush: bf16 by the rules of vdpbf16ps, else by fused multiply-adds in the same order.
template <class T, class Out, class Options>
void gemm_half(long m, long n, long k, MatrixView<T> a, MatrixView<T> b, Out* c, long ldc, const Options& options, bool flush) {
    const long chunk = chunk_length(k, half_chunk);
    auto bits = [](const MatrixView<T>& of, long i, long j) -> std::uint32_t { return of.data[i * of.row_stride + j * of.column_stride].bits; };
    auto value = [](const MatrixView<T>& of, long i, long j) { return static_cast<float>(of.data[i * of.row_stride + j * of.column_stride]); };
    for (long i = 0; i < m; ++i)
        for (long j = 0; j < n; ++j) {
            float r = options.accumulate ? static_cast<float>(c[i * ldc + j]) : 0.0f;
            for (long from = 0; from < k; from += chunk) {
                const long end = from + chunk < k ? from + chunk : k;
                float sum = 0;
                for (long l = from; l < end; l += 2) {
                    const bool pair = l + 1 < end;
                    if (flush) {
                        sum = dot_bf16(sum, bits(a, i, l) | (pair ? bits(a, i, l + 1) << 16 : 0u), bits(b, l, j) | (pair ? bits(b, l + 1, j) << 16 : 0u));
                        continue;
                    }
                    const long first = pair && std::is_same_v<T, bf16> ? l + 1 : l, second = first == l ? l + 1 : l;
                    sum = __builtin_fmaf(value(a, i, first), value(b, first, j), sum);
                    if (pair) sum = __builtin_fmaf(value(a, i, second), value(b, second, j), sum);
                }
                float scaled = sum * static_cast<float>(options.alpha);
                asm("" : "+m"(scaled));
                // The first sum is taken as it is: a negative zero stays one.
                r = from > 0 || options.accumulate ? r + scaled : scaled;
            }
            if (options.bias != nullptr) r += static_cast<float>(options.bias[j]);
            if (options.relu && r < 0) r = 0;
            c[i * ldc + j] = Out(r);
        }
}

// gemm_int8.
template <class T, class Out>
void gemm_int8(long m, long n, long k, MatrixView<T> a, MatrixView<std::int8_t> b, Out* c, long ldc, const Int8Options<Out>& options) {
    for (long i = 0; i < m; ++i)
        for (long j = 0; j < n; ++j) {
            const long long za = options.a_zero.data != nullptr ? options.a_zero.data[i * options.a_zero.step] : 0;
            const long long zb = options.b_zero.data != nullptr ? options.b_zero.data[j * options.b_zero.step] : 0;
            unsigned long long sum = 0;
            for (long l = 0; l < k; ++l)
                sum += static_cast<unsigned long long>((a.data[i * a.row_stride + l * a.column_stride] - za) * (b.data[l * b.row_stride + j * b.column_stride] - zb));
            Out& to = c[i * ldc + j];
            std::uint32_t r = static_cast<std::uint32_t>(sum);
            if constexpr (std::is_same_v<Out, float>) {
                float scale = options.a_scale.data != nullptr ? options.a_scale.data[i * options.a_scale.step] : 1.0f;
                if (options.b_scale.data != nullptr) scale *= options.b_scale.data[j * options.b_scale.step];
                float y = static_cast<float>(static_cast<std::int32_t>(r)) * scale;
                asm("" : "+m"(y));
                if (options.accumulate) y += to;
                if (options.bias != nullptr) y += options.bias[j];
                to = options.relu && y < 0 ? 0.0f : y;
            } else {
                if (options.accumulate) r += static_cast<std::uint32_t>(to);
                if (options.bias != nullptr) r += static_cast<std::uint32_t>(options.bias[j]);
                to = static_cast<std::int32_t>(r);
                if (options.relu && to < 0) to = 0;
            }
        }
}

}  // namespace kernels::cpu::reference
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

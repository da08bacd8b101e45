// The matrix product as the textbook has it: what the fast one is compared with.
#pragma once

#include <tenon/kernels/cpu/gemm/types.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu::reference {

// C[m, n] (row stride ldc) from A[m, k] and B[k, n], summed in double whatever T is.
template <class T>
void gemm(long m, long n, long k, MatrixView<T> a, MatrixView<T> b, T* c, long ldc, const GemmOptions<T>& options = {}) {
    for (long i = 0; i < m; ++i)
        for (long j = 0; j < n; ++j) {
            double sum = 0;
            for (long l = 0; l < k; ++l)
                sum += static_cast<double>(a.data[i * a.row_stride + l * a.column_stride]) *
                       static_cast<double>(b.data[l * b.row_stride + j * b.column_stride]);
            sum *= static_cast<double>(options.alpha);
            if (options.accumulate) sum += static_cast<double>(c[i * ldc + j]);
            if (options.bias != nullptr) sum += static_cast<double>(options.bias[j]);
            if (options.relu && sum < 0) sum = 0;
            c[i * ldc + j] = static_cast<T>(sum);
        }
    if (options.epilogue.run != nullptr && m > 0 && n > 0) options.epilogue.run(options.epilogue.context, 0, m, 0, n);
}

}  // namespace kernels::cpu::reference
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

// The product behind cuBLASLt: checked, then computed element by element.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "../cublasLt.h"

namespace cuda_emulator {

struct Layout {
    cudaDataType type;
    bool row_major;
    int64_t rows, columns, ld, batches, batch_stride;
    // In elements.
    int64_t at(int64_t row, int64_t column, int64_t batch) const {
        return (row_major ? row * ld + column : row + column * ld) + batch * batch_stride;
    }
};

struct Product {
    cublasComputeType_t compute;
    cudaDataType scale;
    bool transpose_a, transpose_b, device_scalars;
    int epilogue;
    cudaDataType bias_type;
    void* bias;
    int64_t bias_batch_stride;
    void* aux;
    int64_t aux_ld, aux_batch_stride;
    Layout a, b, c, d;
};

// What is wrong with the descriptors, or SUCCESS; the reason is kept as the fault.
cublasStatus_t check_product(const Product&);
// Reads the scalars (host ones at once), checks the memory and computes when the stream gets there.
cublasStatus_t enqueue_product(const Product&, const void* alpha, const void* a, const void* b, const void* beta, const void* c, void* d,
                               cudaStream_t);
size_t size_of(cudaDataType);
// Element i, as a number; 16-bit types are rounded to nearest even.
double load(cudaDataType, const void* base, int64_t i);
void store(cudaDataType, void* base, int64_t i, double);
float round_to_tf32(float);
cublasStatus_t reject(cublasStatus_t, const char* format, ...) __attribute__((format(printf, 2, 3)));

}  // namespace cuda_emulator

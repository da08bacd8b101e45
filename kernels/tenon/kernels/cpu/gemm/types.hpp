// What a matrix product is told: views of its operands, and what happens to the result.
#pragma once

#include <tenon/base/config.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

// A matrix that is read: element (i, j) lies at data[i * row_stride + j * column_stride]. Any strides, 0 too; a
// transpose is a swap of the two.
template <class T>
struct MatrixView {
    const T* data = nullptr;
    long row_stride = 0, column_stride = 0;
};

// Called once for each finished block of C while it is still in cache: rows [row, row + rows) and columns
// [column, column + columns). The blocks are disjoint, cover C and depend on the shape alone; calls may come from
// several threads at once. In a batched product rows are counted through the whole batch: problem p has rows from p * m.
struct BlockEpilogue {
    void (*run)(void* context, long row, long rows, long column, long columns) = nullptr;
    void* context = nullptr;
};

// C = relu(alpha * A B + bias), or C = relu(C + alpha * A B + bias) with accumulate; then the block epilogue.
template <class T>
struct GemmOptions {
    bool accumulate = false;
    T alpha = 1;
    const T* bias = nullptr;  // n values added to every row; may be null
    bool relu = false;        // a NaN passes
    BlockEpilogue epilogue = {};
};

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

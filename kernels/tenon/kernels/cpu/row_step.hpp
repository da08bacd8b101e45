// Optimiser steps on some rows of a table: what an embedding's gradient touches. Rows and states that are not listed stay as
// they are.
#pragma once

#include <tenon/kernels/cpu/multi_tensor.hpp>

#include <cstdint>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

// fused_step on rows[0, count) of arrays of rows of `width` elements. rows rise; gradients of other rows are neither read nor
// cleared. An element's bits are those of a step on the whole table.
template <class Rule, class T>
void row_step(const Rule& rule, const std::int64_t* rows, long count, long width, T* p, T* g, T* state0, T* state1, T* state2,
              bool clear_gradients, const T* coefficient = nullptr, std::type_identity_t<T> limit = unlimited<T>) {
    if (count <= 0 || width <= 0) return;
#if !defined(__CUDA_ARCH__)
    const T scale = coefficient != nullptr ? rule.gradient_scale * *coefficient : rule.gradient_scale;
    const long per_task = width >= impl::optim_chunk ? 1 : impl::optim_chunk / width;
    parallel_for((count + per_task - 1) / per_task, [&](long task) {
        const long last = (task + 1) * per_task < count ? (task + 1) * per_task : count;
        for (long i = task * per_task; i < last; ++i) {
            const long begin = static_cast<long>(rows[i]) * width;
            dispatch<impl::FusedStepBody, Isa::avx2>(rule, scale, limit, width, p + begin, g + begin, Rule::states > 0 ? state0 + begin : nullptr,
                                                     Rule::states > 1 ? state1 + begin : nullptr, Rule::states > 2 ? state2 + begin : nullptr,
                                                     clear_gradients);
        }
    });
#endif
}

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

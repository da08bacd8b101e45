// A step that is the same on every device, for every index of a range: struct S { void operator()(long i) const; }, marked
// TENON_FUNCTOR. For what is too small to deserve a kernel of its own.
#pragma once

#include <tenon/base/parallel.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

template <class Step>
void each(long count, const Step& step) {
    const long piece = 16384;
    parallel_for((count + piece - 1) / piece, [&](long task) {
        const long end = (task + 1) * piece < count ? (task + 1) * piece : count;
        for (long i = task * piece; i < end; ++i) step(i);
    });
}

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

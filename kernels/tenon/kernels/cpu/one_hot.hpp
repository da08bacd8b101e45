// Classes as rows of zeros with a one.
#pragma once

#include <tenon/kernels/cpu/gather.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

// to[k, index[k]] = 1, 0 elsewhere: [count, classes].
template <class T, class I>
void one_hot(long count, long classes, const I* index, T* to) {
    const long group = 65536 / (classes + 1) + 1;
    parallel_for((count + group - 1) / group, [&](long task) {
        const long first = task * group, last = first + group < count ? first + group : count;
        if (classes > 0) std::memset(static_cast<void*>(to + first * classes), 0, static_cast<std::size_t>((last - first) * classes) * sizeof(T));
        for (long k = first; k < last; ++k) to[k * classes + static_cast<long>(index[k])] = static_cast<T>(1.f);
    });
}

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

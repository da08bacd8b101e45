// The CUDA driver of elementwise loops: the same jobs as on the CPU (cpu/elementwise.hpp), for kernels that a formula
// brings (expr/formula.hpp).
//
// A thread computes four neighbouring elements where every operand is contiguous, or constant, along the innermost axis and
// aligned, in accesses of 16 bytes; else one. An output that is smaller than the space is written whole and summed after.
#pragma once

#include <tenon/kernels/cpu/elementwise.hpp>
#include <tenon/kernels/cuda/sum.cuh>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cuda {

inline constexpr int vector_elements = 4;

// What a launch tells its threads: where the operands lie, by axis. Inputs and Outputs as the formula has them.
template <int Inputs, int Outputs, int Parameters>
struct ElementwiseArguments {
    static constexpr int count = Inputs + Outputs;
    char* data[count > 0 ? count : 1];
    long strides[count > 0 ? count : 1][cpu::elementwise_max_rank];
    unsigned char sizes[count > 0 ? count : 1];
    bool splat[count > 0 ? count : 1];  // the same element for all of a thread's
    unsigned char modes[Outputs > 0 ? Outputs : 1];
    int rank;
    Divisor dims[cpu::elementwise_max_rank];
    unsigned vectors, rest;  // threads' work: so many vectors, then so many single elements
    alignas(8) char parameters[8 * (Parameters > 0 ? Parameters : 1)];
};

// A launch of a formula's kernel over a job whose total is below 2^31, by lanes per thread (1 or vector_elements).
struct ElementwiseLaunch {
    const cpu::ElementwiseJob* job;
    int parameters;
    bool vectors;
};
using ElementwiseLauncher = void (*)(const ElementwiseLaunch&);

template <int Inputs, int Outputs, int Parameters>
ElementwiseArguments<Inputs, Outputs, Parameters> elementwise_arguments(const ElementwiseLaunch& l) {
    const cpu::ElementwiseJob& job = *l.job;
    ElementwiseArguments<Inputs, Outputs, Parameters> a{};
    a.rank = job.rank;
    unsigned total = 1;
    for (int i = 0; i < job.rank; ++i) {
        a.dims[i] = Divisor(static_cast<unsigned>(job.dims[i]));
        total *= static_cast<unsigned>(job.dims[i]);
    }
    for (int k = 0; k < Inputs + Outputs; ++k) {
        const cpu::ElementwiseOperand& o = job.operands[k];
        a.data[k] = o.data;
        a.sizes[k] = static_cast<unsigned char>(o.element_size);
        a.splat[k] = o.strides[job.rank - 1] == 0;
        for (int i = 0; i < job.rank; ++i) a.strides[k][i] = o.strides[i];
        if (k >= Inputs) a.modes[k - Inputs] = o.mode;
    }
    a.vectors = l.vectors ? total / vector_elements : 0;
    a.rest = total - a.vectors * vector_elements;
    std::memcpy(a.parameters, job.parameters, 8 * static_cast<std::size_t>(Parameters));
    return a;
}

namespace elementwise_impl {

inline bool vectors_fit(const cpu::ElementwiseJob& job) {
    const int inner = job.rank - 1;
    if (job.rank > 1 && job.dims[inner] % vector_elements != 0) return false;
    for (int k = 0; k < job.inputs + job.outputs; ++k) {
        const cpu::ElementwiseOperand& o = job.operands[k];
        if (k >= job.inputs && o.mode == 0) continue;
        if (o.strides[inner] == 0 && k < job.inputs) continue;
        if (o.strides[inner] != 1) return false;
        const long bytes = vector_elements * o.element_size, alignment = bytes < 16 ? bytes : 16;
        if (reinterpret_cast<std::uintptr_t>(o.data) % static_cast<std::uintptr_t>(alignment) != 0) return false;
        for (int i = 0; i < inner; ++i)
            if (o.strides[i] * o.element_size % alignment != 0) return false;
    }
    return true;
}

// Zeros for operands whose values nobody reads, which kernels may still load.
inline char* unread_zeros() {
    static char* const zeros = [] {
        void* data = nullptr;
        cuda_detail::check(cudaMalloc(&data, 64), "cudaMalloc");
        cuda_detail::check(cudaMemset(data, 0, 64), "cudaMemset");
        return static_cast<char*>(data);
    }();
    return zeros;
}

// Launches pieces of at most 2^30 elements.
inline void launch_pieces(cpu::ElementwiseJob& job, ElementwiseLauncher launcher, int parameters) {
    long row = 1;
    for (int i = 1; i < job.rank; ++i) row *= job.dims[i];
    const long largest = 1l << 30, whole = job.dims[0];
    if (row > largest) fail<ShapeError>("elementwise: more than 2^30 elements behind the first axis");
    const long step = largest / row;
    for (long done = 0; done < whole; done += step) {
        job.dims[0] = whole - done < step ? whole - done : step;
        launcher({&job, parameters, vectors_fit(job)});
        for (int k = 0; k < job.inputs + job.outputs; ++k)
            if (job.operands[k].data != nullptr) job.operands[k].data += job.dims[0] * job.operands[k].strides[0] * job.operands[k].element_size;
    }
    job.dims[0] = whole;
}

}  // namespace elementwise_impl

// Runs a job; changes its operands.
TENON_NOINLINE inline void run_elementwise(cpu::ElementwiseJob& job, ElementwiseLauncher launcher, int parameters) {
    const int operands = job.inputs + job.outputs;
    cpu::elementwise_impl::collapse(job);
    long total = 1;
    for (int i = 0; i < job.rank; ++i) total *= job.dims[i];
    char* unread = nullptr;
    long bytes = 0;
    long at[cpu::elementwise_max_operands];
    struct Sum {
        char* out;
        long strides[cpu::elementwise_max_rank];
        int mode;
        double scale;
        ElementKind kind;
    } sums[cpu::elementwise_max_operands];
    for (int k = 0; k < operands; ++k) {
        cpu::ElementwiseOperand& o = job.operands[k];
        if (k < job.inputs) {
            if (!o.unread) continue;
            if (unread == nullptr) unread = elementwise_impl::unread_zeros();
            o.data = unread;
        } else if (o.mode != 0 && o.reduced) {
            sums[k].out = o.data;
            sums[k].mode = o.mode;
            sums[k].scale = o.scale;
            sums[k].kind = o.kind;
            long stride = 1;
            for (int i = job.rank - 1; i >= 0; --i) {
                sums[k].strides[i] = o.strides[i];
                o.strides[i] = stride;
                stride *= job.dims[i];
            }
            o.mode = 1;
            at[k] = bytes;
            bytes += (total * o.element_size + 255) / 256 * 256;
        }
    }
    const Scratch<char> whole(bytes);
    for (int k = job.inputs; k < operands; ++k)
        if (job.operands[k].mode != 0 && job.operands[k].reduced) job.operands[k].data = whole.get() + at[k];
    if (total > 0) elementwise_impl::launch_pieces(job, launcher, parameters);
    long strides[cpu::elementwise_max_rank], stride = 1;
    for (int i = job.rank - 1; i >= 0; --i) {
        strides[i] = stride;
        stride *= job.dims[i];
    }
    for (int k = job.inputs; k < operands; ++k)
        if (job.operands[k].mode != 0 && job.operands[k].reduced)
            sum_space(sums[k].kind, whole.get() + at[k], job.rank, job.dims, strides, sums[k].strides, sums[k].out, sums[k].mode, sums[k].scale);
}

}  // namespace kernels::cuda
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

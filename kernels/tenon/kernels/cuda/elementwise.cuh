// The CUDA driver of elementwise loops: the same jobs as on the CPU (cpu/elementwise.hpp), for kernels that a formula
// brings (expr/formula.hpp).
//
// A thread computes four neighbouring elements where every operand is contiguous, or constant, along the innermost axis and
// aligned, in accesses of 16 bytes; else one. Outputs that are smaller than the space are added up in the same pass (sum.cuh);
// those that are summed over other axes than the first take a pass of their own, which computes again and stores nothing.
#pragma once

#include <tenon/kernels/cpu/elementwise.hpp>
#include <tenon/kernels/cuda/sum.cuh>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cuda {

inline constexpr unsigned char summed_mode = 3;

// What a launch tells its threads: where the operands lie, by axis. Inputs and Outputs as the formula has them.
template <int Inputs, int Outputs, int Parameters>
struct ElementwiseArguments {
    static constexpr int count = Inputs + Outputs;
    char* data[count > 0 ? count : 1];
    long strides[count > 0 ? count : 1][cpu::elementwise_max_rank];
    unsigned char sizes[count > 0 ? count : 1];
    bool splat[count > 0 ? count : 1];  // the same element for all of a thread's
    unsigned char modes[Outputs > 0 ? Outputs : 1];  // 0 off, 1 write, 2 add, summed_mode + k: add to sum k
    int rank;
    Divisor dims[cpu::elementwise_max_rank];
    unsigned vectors, rest;  // threads' work: so many vectors, then so many single elements
    Sums sums;
    alignas(8) char parameters[8 * (Parameters > 0 ? Parameters : 1)];
};

// A launch of a formula's kernel over a job whose total is below 2^31, by lanes per thread (1 or vector_elements).
struct ElementwiseLaunch {
    const cpu::ElementwiseJob* job;
    int parameters;
    unsigned vectors, rest;
    int order[cpu::elementwise_max_rank];  // of the job's axes
    Sums sums;
    dim3 grid;
};
using ElementwiseLauncher = void (*)(const ElementwiseLaunch&);

template <int Inputs, int Outputs, int Parameters>
ElementwiseArguments<Inputs, Outputs, Parameters> elementwise_arguments(const ElementwiseLaunch& l) {
    const cpu::ElementwiseJob& job = *l.job;
    ElementwiseArguments<Inputs, Outputs, Parameters> a{};
    a.rank = job.rank;
    for (int i = 0; i < job.rank; ++i) a.dims[i] = Divisor(static_cast<unsigned>(job.dims[l.order[i]]));
    for (int k = 0; k < Inputs + Outputs; ++k) {
        const cpu::ElementwiseOperand& o = job.operands[k];
        a.data[k] = o.data;
        a.sizes[k] = static_cast<unsigned char>(o.element_size);
        a.splat[k] = o.strides[job.rank - 1] == 0;
        for (int i = 0; i < job.rank; ++i) a.strides[k][i] = o.strides[l.order[i]];
        if (k >= Inputs) a.modes[k - Inputs] = o.mode;
    }
    a.vectors = l.vectors;
    a.rest = l.rest;
    a.sums = l.sums;
    std::memcpy(a.parameters, job.parameters, 8 * static_cast<std::size_t>(Parameters));
    return a;
}

namespace elementwise_impl {

inline bool vectors_fit(const cpu::ElementwiseJob& job) {
    const int inner = job.rank - 1;
    if (job.rank > 1 && job.dims[inner] % vector_elements != 0) return false;
    for (int k = 0; k < job.inputs + job.outputs; ++k) {
        const cpu::ElementwiseOperand& o = job.operands[k];
        if (k >= job.inputs && (o.mode == 0 || o.mode >= summed_mode)) continue;
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

// Launches a loop over at most 2^30 elements, whose sums are over the axes of the bits.
inline void launch_piece(cpu::ElementwiseJob& job, ElementwiseLauncher launcher, int parameters, Sums sums, unsigned summed_axes) {
    ElementwiseLaunch l{&job, parameters, 0, 0, {}, {}, {}};
    unsigned kept = 1, summed = 1;
    for (int i = 0; i < job.rank; ++i) ((summed_axes >> i & 1u) != 0 ? summed : kept) *= static_cast<unsigned>(job.dims[i]);
    const unsigned total = kept * summed;
    l.vectors = vectors_fit(job) ? total / vector_elements : 0;
    l.rest = total - l.vectors * vector_elements;
    if (sums.count == 0) {
        for (int i = 0; i < job.rank; ++i) l.order[i] = i;
        l.grid = dim3(static_cast<unsigned>(blocks_for(static_cast<long>(l.vectors) + l.rest, block_threads)));
        return launcher(l);
    }
    // The innermost axis stays where it is; the others of its kind go next to it.
    sums.apart = (summed_axes >> (job.rank - 1) & 1u) == 0;
    int at = 0;
    for (const bool last : {false, true})
        for (int i = 0; i < job.rank; ++i)
            if (((summed_axes >> i & 1u) == 0) == (sums.apart == last)) l.order[at++] = i;
    sums.elements = kept;
    sums.kept = kept;
    sums.summed = summed;
    const unsigned units = l.vectors + l.rest;
    if (sums.apart) {
        sums.kept = units / summed;
        sums.vectors = l.vectors / summed;
    } else {
        sums.summed = units / kept;
    }
    l.grid = plan_sums(sums);
    const Scratch<char> partial(l.grid.y > 1 ? 8l * sums.count * l.grid.y * sums.elements : 0);
    sums.partial = partial.get();
    l.sums = sums;
    launcher(l);
    if (l.grid.y > 1) launch_sum_chunks(sums, l.grid.y);
}
inline void launch_pieces(cpu::ElementwiseJob& job, ElementwiseLauncher launcher, int parameters, Sums sums, unsigned summed_axes) {
    long row = 1;
    for (int i = 1; i < job.rank; ++i) row *= job.dims[i];
    const long largest = 1l << 30, whole = job.dims[0];
    if (row > largest) fail<ShapeError>("elementwise: more than 2^30 elements behind the first axis");
    const long step = largest / row;
    char* starts[cpu::elementwise_max_operands];
    for (int k = 0; k < job.inputs + job.outputs; ++k) starts[k] = job.operands[k].data;
    for (long done = 0; done < whole; done += step) {
        job.dims[0] = whole - done < step ? whole - done : step;
        launch_piece(job, launcher, parameters, sums, summed_axes);
        for (int k = 0; k < job.inputs + job.outputs; ++k) {
            const cpu::ElementwiseOperand& o = job.operands[k];
            const long bytes = job.dims[0] * o.strides[0] * o.element_size;
            if (o.data != nullptr) job.operands[k].data += bytes;
            if (k >= job.inputs && o.mode >= summed_mode) {
                SumTarget& target = sums.targets[o.mode - summed_mode];
                target.out += bytes;
                if (o.strides[0] == 0) target.mode = 2;
            }
        }
    }
    job.dims[0] = whole;
    for (int k = 0; k < job.inputs + job.outputs; ++k) job.operands[k].data = starts[k];
}

}  // namespace elementwise_impl

// Runs a job; changes its operands.
TENON_NOINLINE inline void run_elementwise(cpu::ElementwiseJob& job, ElementwiseLauncher launcher, int parameters) {
    const int operands = job.inputs + job.outputs;
    cpu::elementwise_impl::collapse(job);
    long total = 1;
    for (int i = 0; i < job.rank; ++i) total *= job.dims[i];
    unsigned char modes[cpu::elementwise_max_operands];
    unsigned axes[cpu::elementwise_max_operands];  // that an output is summed over
    for (int k = 0; k < operands; ++k) {
        cpu::ElementwiseOperand& o = job.operands[k];
        if (k < job.inputs) {
            if (o.unread) o.data = elementwise_impl::unread_zeros();
            continue;
        }
        modes[k] = o.mode;
        if (o.mode == 0 || !o.reduced) continue;
        if (o.kind == ElementKind::other) fail<ValueError>("sum: a sum on a GPU is of floating-point numbers or int64");
        axes[k] = 0;
        for (int i = 0; i < job.rank; ++i) axes[k] |= o.strides[i] == 0 ? 1u << i : 0u;
        if (total > 0) continue;
        Sums nothing;
        nothing.count = 1;
        nothing.elements = static_cast<unsigned>(o.elements);
        nothing.targets[0] = {o.data, o.scale, o.kind, o.mode};
        if (o.elements > 0) launch_sum_chunks(nothing, 0);  // the sum of nothing is 0, its mean NaN
    }
    if (total == 0) return;
    for (bool first = true, more = true; more; first = false) {
        Sums sums;
        unsigned summed_axes = 0;
        more = false;
        for (int k = job.inputs; k < operands; ++k) {
            cpu::ElementwiseOperand& o = job.operands[k];
            o.mode = 0;
            if (modes[k] == 0) continue;
            if (!o.reduced) {
                if (first) o.mode = modes[k];
            } else if (sums.count < Sums::most && (sums.count == 0 || axes[k] == summed_axes)) {
                summed_axes = axes[k];
                o.mode = static_cast<unsigned char>(summed_mode + sums.count);
                sums.targets[sums.count++] = {o.data, o.scale, o.kind, modes[k]};
                modes[k] = 0;
            } else {
                more = true;
            }
        }
        elementwise_impl::launch_pieces(job, launcher, parameters, sums, summed_axes);
    }
}

}  // namespace kernels::cuda
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

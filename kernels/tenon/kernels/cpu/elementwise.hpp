// The driver of elementwise loops: broadcasting, strides, reductions of outputs, tails and threads, once for all
// formulas. A formula brings only kernels that run over contiguous memory.
//
// The iteration space is cut into blocks by shape alone. An operand that is contiguous over a block is read and written
// in place; any other is gathered into (or scattered from) a block-sized buffer in L1. An output that is smaller than
// the iteration space (a sum, the gradient of a broadcast operand) goes to a buffer and is added up from there, per
// group of blocks, the groups in a fixed order.
#pragma once

#include <tenon/base/dispatch.hpp>
#include <tenon/base/parallel.hpp>
#include <tenon/base/simd.hpp>

#include <cstring>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

inline constexpr int elementwise_max_rank = 8;
inline constexpr int elementwise_max_operands = 72;  // the adjoint of 32 leaves: leaves, 4 outputs, gradients

// Runs over n elements, n a multiple of the lanes it was compiled for. modes[j] says what to do with output j:
// 0 nothing, 1 write, 2 add to what is there. Outputs may be the same memory; they are handled in order.
using ElementwiseKernel = void (*)(const char* const* in, char* const* out, const unsigned char* modes, const char* parameters, long n);

enum class ElementKind : unsigned char { float32, float64, bfloat16, float16, int64, other };

struct ElementwiseOperand {
    char* data;
    long strides[elementwise_max_rank];  // in elements, of the iteration space; 0 where broadcast or reduced
    int element_size;
    ElementKind kind;       // outputs that are reduced
    unsigned char mode;     // outputs: 0, 1 or 2
    bool unread;            // inputs: the loop does not use the values; data points to direct_elements of anything
    bool reduced;           // outputs: several points of the space fall on one element; contiguous over `elements`
    long elements;          // reduced outputs: their size
    double scale;           // reduced outputs: a factor for the sum
};

struct ElementwiseJob {
    int rank;
    long dims[elementwise_max_rank];
    int inputs, outputs;
    ElementwiseOperand* operands;  // inputs, then outputs
    const char* parameters;
    ElementwiseKernel kernel;
    int lanes;
};

namespace elementwise_impl {

inline constexpr long buffer_elements = 2048;   // of a gathered operand
inline constexpr long direct_elements = 32768;  // of a block that needs no buffer
inline constexpr long short_row = 1024;         // rows below this are handled many at a time
inline constexpr int max_groups = 16;           // partial sums of a reduced output

// Merges neighbouring axes that every operand walks through as one, and drops axes of size 1.
inline void collapse(ElementwiseJob& job) {
    const int count = job.inputs + job.outputs;
    int rank = 0;
    for (int axis = 0; axis < job.rank; ++axis) {
        if (job.dims[axis] == 1) continue;
        bool merge = rank > 0;
        for (int k = 0; merge && k < count; ++k)
            merge = job.operands[k].strides[rank - 1] == job.operands[k].strides[axis] * job.dims[axis];
        if (merge) {
            job.dims[rank - 1] *= job.dims[axis];
            for (int k = 0; k < count; ++k) job.operands[k].strides[rank - 1] = job.operands[k].strides[axis];
        } else {
            job.dims[rank] = job.dims[axis];
            for (int k = 0; k < count; ++k) job.operands[k].strides[rank] = job.operands[k].strides[axis];
            ++rank;
        }
    }
    if (rank == 0) {
        job.dims[0] = 1;
        for (int k = 0; k < count; ++k) job.operands[k].strides[0] = 0;
        rank = 1;
    }
    job.rank = rank;
}

template <class T>
inline void fill_lanes(char* buffer, const char* value, long n) {
    T v;
    std::memcpy(&v, value, sizeof v);
    T* out = reinterpret_cast<T*>(buffer);
    for (long i = 0; i < n; ++i) out[i] = v;
}
inline void fill(char* buffer, const char* value, int size, long n) {
    switch (size) {
        case 1: return fill_lanes<std::uint8_t>(buffer, value, n);
        case 2: return fill_lanes<std::uint16_t>(buffer, value, n);
        case 4: return fill_lanes<std::uint32_t>(buffer, value, n);
        default: return fill_lanes<std::uint64_t>(buffer, value, n);
    }
}
template <class T>
inline void gather_lanes(char* to, const char* from, long stride, long n) {
    const T* in = reinterpret_cast<const T*>(from);
    T* out = reinterpret_cast<T*>(to);
    for (long i = 0; i < n; ++i) out[i] = in[i * stride];
}
template <class T>
inline void scatter_lanes(char* to, const char* from, long stride, long n) {
    const T* in = reinterpret_cast<const T*>(from);
    T* out = reinterpret_cast<T*>(to);
    for (long i = 0; i < n; ++i) out[i * stride] = in[i];
}
inline void gather_row(char* to, const char* from, long stride, int size, long n) {
    if (stride == 1) {
        std::memcpy(to, from, static_cast<std::size_t>(n) * static_cast<std::size_t>(size));
        return;
    }
    if (stride == 0) return fill(to, from, size, n);
    switch (size) {
        case 1: return gather_lanes<std::uint8_t>(to, from, stride, n);
        case 2: return gather_lanes<std::uint16_t>(to, from, stride, n);
        case 4: return gather_lanes<std::uint32_t>(to, from, stride, n);
        default: return gather_lanes<std::uint64_t>(to, from, stride, n);
    }
}
inline void scatter_row(char* to, const char* from, long stride, int size, long n) {
    if (stride == 1) {
        std::memcpy(to, from, static_cast<std::size_t>(n) * static_cast<std::size_t>(size));
        return;
    }
    switch (size) {
        case 1: return scatter_lanes<std::uint8_t>(to, from, stride, n);
        case 2: return scatter_lanes<std::uint16_t>(to, from, stride, n);
        case 4: return scatter_lanes<std::uint32_t>(to, from, stride, n);
        default: return scatter_lanes<std::uint64_t>(to, from, stride, n);
    }
}

// Walks the flat range [start, start + count) of the iteration space row by row: f(offset of the row piece in elements,
// position in the range, length).
template <class F>
TENON_ALWAYS_INLINE void for_rows(const ElementwiseJob& job, const long* strides, long start, long count, F f) {
    const int inner = job.rank - 1;
    long index[elementwise_max_rank], rest = start, offset = 0;
    for (int i = inner; i >= 0; --i) {
        index[i] = rest % job.dims[i];
        rest /= job.dims[i];
        offset += index[i] * strides[i];
    }
    for (long done = 0;;) {
        long length = job.dims[inner] - index[inner];
        if (length > count - done) length = count - done;
        f(offset, done, length);
        done += length;
        if (done >= count) return;
        offset -= index[inner] * strides[inner];
        index[inner] = 0;
        for (int i = inner - 1; i >= 0; --i) {
            ++index[i];
            offset += strides[i];
            if (index[i] < job.dims[i]) break;
            offset -= index[i] * strides[i];
            index[i] = 0;
        }
    }
}

// Sums of a block, in float lanes for float and in double beyond.
struct SumBlock {
    template <int L>
    static TENON_ALWAYS_INLINE void run(const float* x, long n, double* out) {
        using V = simd<float, L>;
        V s0(0), s1(0), s2(0), s3(0);
        long i = 0;
        for (; i + 4 * L <= n; i += 4 * L) {
            s0 += V::load(x + i);
            s1 += V::load(x + i + L);
            s2 += V::load(x + i + 2 * L);
            s3 += V::load(x + i + 3 * L);
        }
        float tail = 0;
        for (; i < n; ++i) tail += x[i];
        *out += static_cast<double>(reduce_add((s0 + s1) + (s2 + s3))) + static_cast<double>(tail);
    }
};
struct AddBlock {
    template <int L>
    static TENON_ALWAYS_INLINE void run(float* to, const float* x, long n) {
        using V = simd<float, L>;
        long i = 0;
        for (; i + L <= n; i += L) (V::load(to + i) + V::load(x + i)).store(to + i);
        for (; i < n; ++i) to[i] += x[i];
    }
};

inline double sum_row(const char* data, ElementKind kind, long n) {
    double total = 0;
    switch (kind) {
        case ElementKind::float32: dispatch<SumBlock, Isa::avx2>(reinterpret_cast<const float*>(data), n, &total); break;
        case ElementKind::float64:
            for (long i = 0; i < n; ++i) total += reinterpret_cast<const double*>(data)[i];
            break;
        case ElementKind::bfloat16:
            for (long i = 0; i < n; ++i) total += static_cast<double>(static_cast<float>(reinterpret_cast<const bf16*>(data)[i]));
            break;
        case ElementKind::float16:
            for (long i = 0; i < n; ++i) total += static_cast<double>(static_cast<float>(reinterpret_cast<const half*>(data)[i]));
            break;
        default: break;
    }
    return total;
}
// Adds n values to accumulators `stride` apart. Accumulators are double for double, int64 for int64, else float.
inline void add_row(char* accumulators, long stride, const char* data, ElementKind kind, long n) {
    float* acc = reinterpret_cast<float*>(accumulators);
    switch (kind) {
        case ElementKind::float32:
            if (stride == 1) dispatch<AddBlock, Isa::avx2>(acc, reinterpret_cast<const float*>(data), n);
            else
                for (long i = 0; i < n; ++i) acc[i * stride] += reinterpret_cast<const float*>(data)[i];
            break;
        case ElementKind::float64:
            for (long i = 0; i < n; ++i) reinterpret_cast<double*>(accumulators)[i * stride] += reinterpret_cast<const double*>(data)[i];
            break;
        case ElementKind::bfloat16:
            for (long i = 0; i < n; ++i) acc[i * stride] += static_cast<float>(reinterpret_cast<const bf16*>(data)[i]);
            break;
        case ElementKind::float16:
            for (long i = 0; i < n; ++i) acc[i * stride] += static_cast<float>(reinterpret_cast<const half*>(data)[i]);
            break;
        case ElementKind::int64:
            for (long i = 0; i < n; ++i)
                reinterpret_cast<std::int64_t*>(accumulators)[i * stride] += reinterpret_cast<const std::int64_t*>(data)[i];
            break;
        case ElementKind::other: break;
    }
}
inline void sum_into(char* accumulator, const char* data, ElementKind kind, long n) {
    if (kind == ElementKind::int64) {
        for (long i = 0; i < n; ++i) *reinterpret_cast<std::int64_t*>(accumulator) += reinterpret_cast<const std::int64_t*>(data)[i];
    } else if (kind == ElementKind::float64) {
        *reinterpret_cast<double*>(accumulator) += sum_row(data, kind, n);
    } else {
        *reinterpret_cast<float*>(accumulator) += static_cast<float>(sum_row(data, kind, n));
    }
}

// The position of an output's partial sums. A full sum keeps them in double.
struct Accumulators {
    char* data = nullptr;  // of one group
    int size = 4;
    bool full = false;     // one element in all
};

inline void finish_reduced(const ElementwiseOperand& o, const char* partial, long group_bytes, int groups, bool full) {
    for (long m = 0; m < o.elements; ++m) {
        if (o.kind == ElementKind::int64) {
            std::int64_t total = 0;
            for (int g = 0; g < groups; ++g) total += reinterpret_cast<const std::int64_t*>(partial + g * group_bytes)[m];
            std::int64_t* out = reinterpret_cast<std::int64_t*>(o.data) + m;
            *out = o.mode == 2 ? *out + total : total;
            continue;
        }
        double total = 0;
        for (int g = 0; g < groups; ++g) {
            const char* base = partial + g * group_bytes;
            total += full || o.kind == ElementKind::float64 ? reinterpret_cast<const double*>(base)[m]
                                                            : static_cast<double>(reinterpret_cast<const float*>(base)[m]);
        }
        total *= o.scale;
        switch (o.kind) {
            case ElementKind::float32: {
                float* out = reinterpret_cast<float*>(o.data) + m;
                *out = o.mode == 2 ? *out + static_cast<float>(total) : static_cast<float>(total);
                break;
            }
            case ElementKind::float64: {
                double* out = reinterpret_cast<double*>(o.data) + m;
                *out = o.mode == 2 ? *out + total : total;
                break;
            }
            case ElementKind::bfloat16: {
                bf16* out = reinterpret_cast<bf16*>(o.data) + m;
                *out = bf16(o.mode == 2 ? static_cast<float>(*out) + static_cast<float>(total) : static_cast<float>(total));
                break;
            }
            case ElementKind::float16: {
                half* out = reinterpret_cast<half*>(o.data) + m;
                *out = half(o.mode == 2 ? static_cast<float>(*out) + static_cast<float>(total) : static_cast<float>(total));
                break;
            }
            default: break;
        }
    }
}

enum class Access : unsigned char {
    direct,    // contiguous over the whole space
    row,       // contiguous within a row (blocks stay within rows)
    constant,  // one value everywhere: the buffer is filled once
    periodic,  // repeats with a period that divides every block: the buffer is filled once
    gathered,  // through a buffer, block by block
    reduced,   // an output that is added up
    unread,    // an input whose values the loop does not use
    off        // an output that nobody wants
};

struct Plan {
    Access access[elementwise_max_operands];
    long block, blocks, blocks_per_row, row, total;
    bool by_row;
    int buffers, groups;
    long blocks_per_task;
};

inline Plan make_plan(const ElementwiseJob& job) {
    Plan plan;
    const int count = job.inputs + job.outputs;
    plan.total = 1;
    for (int i = 0; i < job.rank; ++i) plan.total *= job.dims[i];
    plan.row = job.dims[job.rank - 1];
    plan.by_row = job.rank == 1 || plan.row >= short_row;
    plan.buffers = 0;
    long period = 1;
    int groups = 0;
    for (int k = 0; k < count; ++k) {
        const ElementwiseOperand& o = job.operands[k];
        Access& access = plan.access[k];
        if (k >= job.inputs && o.mode == 0) {
            access = Access::off;
            continue;
        }
        if (k >= job.inputs && o.reduced) {
            access = Access::reduced;
            ++plan.buffers;
            const long wanted = plan.total / (4 * (o.elements > 0 ? o.elements : 1));
            const int fit = wanted < 1 ? 1 : wanted > max_groups ? max_groups : static_cast<int>(wanted);
            groups = groups == 0 || fit < groups ? fit : groups;
            continue;
        }
        if (k < job.inputs && o.unread) {
            access = Access::unread;
            continue;
        }
        bool direct = true, constant = true;
        long expected = 1;
        for (int i = job.rank - 1; i >= 0; --i) {
            direct = direct && o.strides[i] == expected;
            constant = constant && o.strides[i] == 0;
            expected *= job.dims[i];
        }
        if (plan.total == 1) direct = true;
        if (direct) {
            access = Access::direct;
        } else if (k < job.inputs && constant) {
            access = Access::constant;
            ++plan.buffers;
        } else if (plan.by_row && o.strides[job.rank - 1] == 1) {
            access = Access::row;
        } else {
            access = Access::gathered;
            ++plan.buffers;
            if (k < job.inputs && !plan.by_row) {
                // Does it repeat? Strides that vanish on the leading axes and are contiguous on the trailing ones.
                long p = 1;
                int i = job.rank - 1;
                for (; i >= 0 && o.strides[i] == p; --i) p *= job.dims[i];
                bool repeats = p > 1;
                for (; i >= 0; --i) repeats = repeats && o.strides[i] == 0;
                if (repeats && p <= buffer_elements) {
                    access = Access::periodic;
                    if (p > period) period = p;
                }
            }
        }
    }
    plan.groups = groups;
    plan.block = plan.buffers > 0 ? buffer_elements : direct_elements;
    if (plan.by_row) {
        plan.blocks_per_row = (plan.row + plan.block - 1) / plan.block;
        plan.blocks = plan.total / plan.row * plan.blocks_per_row;
    } else {
        // Whole periods, and whole vectors where that fits.
        const long unit = period * job.lanes <= plan.block ? period * job.lanes : period;
        plan.block = plan.block / unit * unit;
        plan.blocks_per_row = 1;
        plan.blocks = (plan.total + plan.block - 1) / plan.block;
    }
    const long average = plan.total / plan.blocks > 0 ? plan.total / plan.blocks : 1;
    plan.blocks_per_task = direct_elements / average > 0 ? direct_elements / average : 1;
    return plan;
}

// One block's work, with the buffers of the thread that does it.
class BlockRunner {
public:
    BlockRunner(const ElementwiseJob& job, const Plan& plan, char* buffers) : job_(job), plan_(plan) {
        const int count = job.inputs + job.outputs;
        char* at = buffers;
        for (int k = 0; k < count; ++k) {
            modes_[k] = k < job.inputs ? 0 : job.operands[k].mode;
            buffer_[k] = nullptr;
            const Access access = plan.access[k];
            if (access == Access::off || access == Access::unread || access == Access::direct || access == Access::row) continue;
            buffer_[k] = at;
            at += buffer_bytes;
            if (access == Access::reduced) modes_[k] = 1;
            if (access == Access::constant) fill(buffer_[k], job.operands[k].data, job.operands[k].element_size, plan.block + 16);
            if (access == Access::periodic) gather(k, 0, plan.block < plan.total ? plan.block : plan.total);
        }
    }
    static constexpr long buffer_bytes = (buffer_elements + 16) * 8;

    void run(long block, Accumulators* accumulators) {
        long start, count;
        if (plan_.by_row) {
            const long row = block / plan_.blocks_per_row, within = (block % plan_.blocks_per_row) * plan_.block;
            start = row * plan_.row + within;
            count = plan_.row - within < plan_.block ? plan_.row - within : plan_.block;
        } else {
            start = block * plan_.block;
            count = plan_.total - start < plan_.block ? plan_.total - start : plan_.block;
        }
        const int operands = job_.inputs + job_.outputs;
        char* pointers[elementwise_max_operands];
        for (int k = 0; k < operands; ++k) {
            const ElementwiseOperand& o = job_.operands[k];
            switch (plan_.access[k]) {
                case Access::direct: pointers[k] = o.data + start * o.element_size; break;
                case Access::row: pointers[k] = o.data + offset_of(o.strides, start) * o.element_size; break;
                case Access::gathered:
                    pointers[k] = buffer_[k];
                    if (k < job_.inputs || o.mode == 2) gather(k, start, count);
                    break;
                case Access::off: pointers[k] = nullptr; break;
                case Access::unread: pointers[k] = o.data; break;
                default: pointers[k] = buffer_[k];
            }
        }
        const long whole = count - count % job_.lanes;
        if (whole > 0) job_.kernel(pointers, pointers + job_.inputs, modes_ + job_.inputs, job_.parameters, whole);
        if (whole < count) tail(pointers, whole, count - whole);
        for (int k = job_.inputs; k < operands; ++k) {
            if (plan_.access[k] == Access::gathered) scatter(k, start, count);
            else if (plan_.access[k] == Access::reduced) accumulate(k, start, count, accumulators[k - job_.inputs]);
        }
    }

private:
    long offset_of(const long* strides, long flat) const {
        long offset = 0;
        for (int i = job_.rank - 1; i >= 0; --i) {
            offset += flat % job_.dims[i] * strides[i];
            flat /= job_.dims[i];
        }
        return offset;
    }
    void gather(int k, long start, long count) {
        const ElementwiseOperand& o = job_.operands[k];
        const int size = o.element_size, inner = job_.rank - 1;
        char* to = buffer_[k];
        for_rows(job_, o.strides, start, count, [&](long offset, long position, long length) {
            gather_row(to + position * size, o.data + offset * size, o.strides[inner], size, length);
        });
    }
    void scatter(int k, long start, long count) {
        const ElementwiseOperand& o = job_.operands[k];
        const int size = o.element_size, inner = job_.rank - 1;
        const char* from = buffer_[k];
        for_rows(job_, o.strides, start, count, [&](long offset, long position, long length) {
            scatter_row(o.data + offset * size, from + position * size, o.strides[inner], size, length);
        });
    }
    void accumulate(int k, long start, long count, const Accumulators& to) {
        const ElementwiseOperand& o = job_.operands[k];
        const int size = o.element_size, inner = job_.rank - 1;
        const char* from = buffer_[k];
        if (to.full) {
            if (o.kind == ElementKind::int64) sum_into(to.data, from, o.kind, count);
            else *reinterpret_cast<double*>(to.data) += sum_row(from, o.kind, count);
            return;
        }
        for_rows(job_, o.strides, start, count, [&](long offset, long position, long length) {
            char* target = to.data + offset * to.size;
            if (o.strides[inner] == 0) sum_into(target, from + position * size, o.kind, length);
            else add_row(target, o.strides[inner], from + position * size, o.kind, length);
        });
    }
    // The last, incomplete vector: through small padded copies. Outputs that are the same memory share one.
    void tail(char* const* pointers, long whole, long count) {
        alignas(64) char small[elementwise_max_operands][128];
        const int operands = job_.inputs + job_.outputs;
        char* tails[elementwise_max_operands];
        for (int k = 0; k < operands; ++k) {
            tails[k] = nullptr;
            if (pointers[k] == nullptr) continue;
            const int size = job_.operands[k].element_size;
            char* source = pointers[k] + whole * size;
            if (buffer_[k] != nullptr) {  // padded already
                tails[k] = source;
                continue;
            }
            for (int j = job_.inputs; j < k && k >= job_.inputs; ++j)
                if (pointers[j] == pointers[k]) tails[k] = tails[j];
            if (tails[k] != nullptr) continue;
            tails[k] = small[k];
            std::memset(small[k], 0, sizeof small[k]);
            if (k < job_.inputs || modes_[k] == 2)
                std::memcpy(tails[k], source, static_cast<std::size_t>(count) * static_cast<std::size_t>(size));
        }
        job_.kernel(tails, tails + job_.inputs, modes_ + job_.inputs, job_.parameters, job_.lanes);
        for (int k = job_.inputs; k < operands; ++k) {
            if (pointers[k] == nullptr || buffer_[k] != nullptr) continue;
            const int size = job_.operands[k].element_size;
            std::memcpy(pointers[k] + whole * size, tails[k], static_cast<std::size_t>(count) * static_cast<std::size_t>(size));
        }
    }

    const ElementwiseJob& job_;
    const Plan& plan_;
    unsigned char modes_[elementwise_max_operands];
    char* buffer_[elementwise_max_operands];
};

// Buffers of a thread, kept for the next job.
struct Scratch {
    char* data;
    std::size_t bytes;
};
inline constinit thread_local Scratch elementwise_scratch{};
inline char* scratch(std::size_t bytes) {
    Scratch& s = elementwise_scratch;
    if (s.bytes < bytes) {
        static const pthread_key_t key = [] {
            pthread_key_t fresh;
            pthread_key_create(&fresh, [](void* data) { std::free(data); });  // at the end of a thread
            return fresh;
        }();
        std::free(s.data);
        s.data = static_cast<char*>(std::aligned_alloc(64, (bytes + 4095) / 4096 * 4096));
        s.bytes = s.data == nullptr ? 0 : bytes;
        pthread_setspecific(key, s.data);
        if (s.data == nullptr) fail<MemoryError>("out of memory: asked for ", bytes, " bytes of scratch space");
    }
    return s.data;
}

}  // namespace elementwise_impl

// A space of n elements over which all operands are contiguous (or modes 0), in the calling thread.
inline void run_elementwise_small(ElementwiseKernel kernel, int lanes, const char* const* in, int inputs, char* const* out, int outputs,
                                  const int* sizes, const unsigned char* modes, const char* parameters, long n) {
    const long whole = n - n % lanes;
    if (whole > 0) kernel(in, out, modes, parameters, whole);
    if (whole == n) return;
    const std::size_t rest = static_cast<std::size_t>(n - whole);
    alignas(64) char small[elementwise_max_operands][128];
    const char* tail_in[elementwise_max_operands];
    char* tail_out[elementwise_max_operands];
    for (int k = 0; k < inputs; ++k) {
        tail_in[k] = small[k];
        std::memset(small[k], 0, sizeof small[k]);
        if (in[k] != nullptr) std::memcpy(small[k], in[k] + whole * sizes[k], rest * static_cast<std::size_t>(sizes[k]));
    }
    for (int k = 0; k < outputs; ++k) {
        tail_out[k] = nullptr;
        if (modes[k] == 0) continue;
        for (int j = 0; j < k; ++j)
            if (out[j] == out[k] && modes[j] != 0) tail_out[k] = tail_out[j];
        if (tail_out[k] != nullptr) continue;
        tail_out[k] = small[inputs + k];
        if (modes[k] == 2)
            std::memcpy(tail_out[k], out[k] + whole * sizes[inputs + k], rest * static_cast<std::size_t>(sizes[inputs + k]));
    }
    kernel(tail_in, tail_out, modes, parameters, lanes);
    for (int k = 0; k < outputs; ++k)
        if (modes[k] != 0) std::memcpy(out[k] + whole * sizes[inputs + k], tail_out[k], rest * static_cast<std::size_t>(sizes[inputs + k]));
}

// Runs a job; changes its operands' strides (axes are merged).
TENON_NOINLINE inline void run_elementwise(ElementwiseJob& job) {
    const int operands = job.inputs + job.outputs;
    elementwise_impl::collapse(job);
    bool empty = false;
    for (int i = 0; i < job.rank; ++i) empty = empty || job.dims[i] == 0;
    if (empty) {
        for (int k = job.inputs; k < operands; ++k)
            if (job.operands[k].reduced && job.operands[k].mode != 0) {
                alignas(8) char zero[8] = {};
                for (long m = 0; m < job.operands[k].elements; ++m) {
                    ElementwiseOperand one = job.operands[k];
                    one.data += m * one.element_size;
                    one.elements = 1;
                    elementwise_impl::finish_reduced(one, zero, 0, 1, one.kind != ElementKind::int64);
                }
            }
        return;
    }
    const elementwise_impl::Plan plan = elementwise_impl::make_plan(job);
    const std::size_t block_bytes = static_cast<std::size_t>(plan.buffers) * elementwise_impl::BlockRunner::buffer_bytes;
    if (plan.groups == 0) {
        const long tasks = (plan.blocks + plan.blocks_per_task - 1) / plan.blocks_per_task;
        parallel_for(tasks, [&](long task) {
            elementwise_impl::BlockRunner runner(job, plan, plan.buffers > 0 ? elementwise_impl::scratch(block_bytes) : nullptr);
            const long first = task * plan.blocks_per_task;
            const long last = first + plan.blocks_per_task < plan.blocks ? first + plan.blocks_per_task : plan.blocks;
            for (long block = first; block < last; ++block) runner.run(block, nullptr);
        });
        return;
    }
    // Outputs that are added up: each group of blocks has accumulators of its own.
    long offsets[elementwise_max_operands], group_bytes = 0;
    for (int k = job.inputs; k < operands; ++k) {
        offsets[k] = group_bytes;
        if (plan.access[k] == elementwise_impl::Access::reduced) group_bytes += (job.operands[k].elements * 8 + 63) / 64 * 64;
    }
    const int groups = plan.groups < plan.blocks ? plan.groups : static_cast<int>(plan.blocks);
    // The accumulators may not come from the scratch buffer: the blocks that the caller runs use it.
    const std::size_t bytes = static_cast<std::size_t>(group_bytes) * static_cast<std::size_t>(groups);
    alignas(64) char small[4096];
    char* partial = bytes <= sizeof small ? small : static_cast<char*>(std::aligned_alloc(64, bytes));
    if (partial == nullptr) fail<MemoryError>("out of memory: asked for ", bytes, " bytes of partial sums");
    std::memset(partial, 0, bytes);
    auto run_group = [&](long group) {
        elementwise_impl::BlockRunner runner(job, plan, plan.buffers > 0 ? elementwise_impl::scratch(block_bytes) : nullptr);
        elementwise_impl::Accumulators accumulators[elementwise_max_operands];
        for (int k = job.inputs; k < operands; ++k) {
            elementwise_impl::Accumulators& a = accumulators[k - job.inputs];
            const ElementKind kind = job.operands[k].kind;
            a.data = partial + group * group_bytes + offsets[k];
            a.full = job.operands[k].elements == 1 && kind != ElementKind::int64;
            a.size = kind == ElementKind::float64 || kind == ElementKind::int64 ? 8 : 4;
        }
        const long first = plan.blocks * group / groups, last = plan.blocks * (group + 1) / groups;
        for (long block = first; block < last; ++block) runner.run(block, accumulators);
    };
    // The groups come from the shape alone; who runs them does not matter.
    if (plan.total <= elementwise_impl::direct_elements)
        for (long group = 0; group < groups; ++group) run_group(group);
    else parallel_for(groups, run_group);
    for (int k = job.inputs; k < operands; ++k)
        if (plan.access[k] == elementwise_impl::Access::reduced)
            elementwise_impl::finish_reduced(job.operands[k], partial + offsets[k], group_bytes, groups,
                                 job.operands[k].elements == 1 && job.operands[k].kind != ElementKind::int64);
    if (partial != small) std::free(partial);
}

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

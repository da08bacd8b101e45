// Evaluation of formulas over records, and the one kind of node that records them.
//
// Nothing here depends on a formula's type but its table (expr/formula.hpp): one function evaluates every expression, one
// node class walks it backwards.
#pragma once

#include <tenon/autograd/tape.hpp>
#include <tenon/expr/operators.hpp>
#include <tenon/kernels/cpu/gather.hpp>
#if TENON_CUDA
#include <tenon/kernels/cuda/copy.cuh>
#include <tenon/runtime/cuda.hpp>
#endif

#include <new>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

using kernels::cpu::ElementKind;
using kernels::cpu::ElementwiseJob;
using kernels::cpu::ElementwiseOperand;

// What stands in for an operand whose values a loop does not use.
inline char unread_operand[(kernels::cpu::elementwise_impl::direct_elements + 64) * 8];

inline ElementKind element_kind(DType dtype) {
    switch (dtype) {
        case DType::float32: return ElementKind::float32;
        case DType::float64: return ElementKind::float64;
        case DType::bfloat16: return ElementKind::bfloat16;
        case DType::float16: return ElementKind::float16;
        case DType::int64: return ElementKind::int64;
        default: return ElementKind::other;
    }
}

// Strides of a tensor under the iteration space: 0 along axes that it is broadcast over.
inline void broadcast_strides(long* out, int rank, int own_rank, const long* own_dims, const long* own_strides) {
    const int extra = rank - own_rank;
    for (int i = 0; i < extra; ++i) out[i] = 0;
    for (int i = 0; i < own_rank; ++i) out[extra + i] = own_dims[i] == 1 ? 0 : own_strides[i];
}
inline void contiguous_strides(long* out, int rank, const long* dims) {
    long stride = 1;
    for (int i = rank - 1; i >= 0; --i) {
        out[i] = stride;
        stride *= dims[i];
    }
}
inline void set_operand(ElementwiseOperand& o, const detail::Record* r, int rank) {
    o.data = r->data();
    o.element_size = size_of(r->dtype);
    o.unread = false;
    broadcast_strides(o.strides, rank, r->rank, r->dims(), r->strides());
}
inline void set_unread(ElementwiseOperand& o, DType dtype, int rank) {
    o.data = unread_operand;
    o.element_size = size_of(dtype);
    for (int i = 0; i < rank; ++i) o.strides[i] = 0;
    o.unread = true;
}
// A contiguous tensor that several points of the space may fall on: reduced where it is smaller than the space.
inline void set_target(ElementwiseOperand& o, char* data, DType dtype, int rank, const long* dims, int own_rank, const long* own_dims,
                       unsigned char mode) {
    long strides[max_rank];
    contiguous_strides(strides, own_rank, own_dims);
    broadcast_strides(o.strides, rank, own_rank, own_dims, strides);
    long own = 1, space = 1;
    for (int i = 0; i < own_rank; ++i) own *= own_dims[i];
    for (int i = 0; i < rank; ++i) space *= dims[i];
    o.data = data;
    o.element_size = size_of(dtype);
    o.kind = element_kind(dtype);
    o.mode = mode;
    o.elements = own;
    o.reduced = own != space;
    o.scale = 1;
}

// For operations that have kernels for the CPU only.
inline void check_cpu(const char* operation, Device device) {
    if (TENON_LIKELY(device.is_cpu())) return;
#if TENON_CUDA
    fail<DeviceError>(operation, ": operands are on ", device, ", for which this operation has no kernel", "\n       hint: move them with x.to(cpu)");
#else
    fail<DeviceError>(operation, ": operands are on ", device, ", and this translation unit was compiled without CUDA",
                      "\n       hint: compile it with nvcc (as a .cu file), or move the operands with x.to(cpu)");
#endif
}
// For operations that have kernels for every device.
inline void check_device(const char* operation, Device device) {
#if TENON_CUDA
    static_cast<void>(operation);
    if (!device.is_cpu()) cuda_detail::select_device(device);
#else
    check_cpu(operation, device);
#endif
}

// TENON_RUN(device, softmax(x, y, rows)): the kernel of that name for the device. Both have one signature; the operation has
// called check_device.
#if TENON_CUDA
#define TENON_RUN(device, ...) ((device).is_cpu() ? kernels::cpu::__VA_ARGS__ : kernels::cuda::__VA_ARGS__)
#else
#define TENON_RUN(device, ...) (static_cast<void>(device), kernels::cpu::__VA_ARGS__)
#endif

// Which of a formula's loops a job runs.
enum class Loop : unsigned char { forward, backward, from_output };

inline ElementwiseJob make_job(const formula::Table& t, Loop loop, int rank, const long* dims, int inputs, int outputs, ElementwiseOperand* operands,
                               const char* parameters) {
    ElementwiseJob job{rank, {}, inputs, outputs, operands, parameters,
                       loop == Loop::forward ? t.forward() : loop == Loop::backward ? t.backward() : t.from_output(), formula::lanes()};
    for (int i = 0; i < rank; ++i) job.dims[i] = dims[i];
    return job;
}
// Changes the job's operands.
inline void run_job(ElementwiseJob& job, [[maybe_unused]] const formula::Table& t, [[maybe_unused]] Loop loop, [[maybe_unused]] Device device) {
#if TENON_CUDA
    if (!device.is_cpu()) {
        kernels::cuda::run_elementwise(
            job, loop == Loop::forward ? t.device_forward : loop == Loop::backward ? t.device_backward : t.device_from_output, t.parameters);
        return;
    }
#endif
    kernels::cpu::run_elementwise(job);
}

// True where the loop can run over all operands at once: the same sizes, contiguous, and small.
inline bool is_small_job(const Collector& c, int rank, const long* dims, const detail::Record* output) {
    const long size = output->size;
    if (!output->storage->device.is_cpu()) return false;
    if (size > kernels::cpu::elementwise_impl::direct_elements) return false;
    for (int k = 0; k < c.leaf_count; ++k) {
        const detail::Record* r = c.leaves[k];
        if (!r->contiguous || r->rank != rank || r->size != size) return false;
        for (int i = 0; i < rank; ++i)
            if (r->dims()[i] != dims[i]) return false;
    }
    return true;
}

// Runs the forward loop into `outputs` (of the size of the space, any strides).
inline void run_forward(const formula::Table& table, const Collector& c, int rank, const long* dims, detail::Record* const* outputs) {
    const int lanes = formula::lanes();
    bool small = is_small_job(c, rank, dims, outputs[0]);
    for (int k = 0; k < table.outputs; ++k) small = small && outputs[k]->contiguous;
    if (small) {
        const char* in[formula::max_leaves];
        char* out[4];
        int sizes[formula::max_leaves + 4];
        const unsigned char modes[4] = {1, 1, 1, 1};
        for (int k = 0; k < c.leaf_count; ++k) {
            in[k] = c.leaves[k]->data();
            sizes[k] = size_of(table.leaf_types[k]);
        }
        for (int k = 0; k < table.outputs; ++k) {
            out[k] = outputs[k]->data();
            sizes[c.leaf_count + k] = size_of(table.output_types[k]);
        }
        kernels::cpu::run_elementwise_small(table.forward(), lanes, in, c.leaf_count, out, table.outputs, sizes, modes, c.parameters, outputs[0]->size);
        return;
    }
    ElementwiseOperand operands[kernels::cpu::elementwise_max_operands];
    ElementwiseJob job = make_job(table, Loop::forward, rank, dims, c.leaf_count, table.outputs, operands, c.parameters);
    for (int k = 0; k < c.leaf_count; ++k) set_operand(operands[k], c.leaves[k], rank);
    for (int k = 0; k < table.outputs; ++k) {
        ElementwiseOperand& o = operands[c.leaf_count + k];
        o.data = outputs[k]->data();
        o.element_size = size_of(outputs[k]->dtype);
        for (int i = 0; i < rank; ++i) o.strides[i] = outputs[k]->strides()[i];
        o.mode = 1;
        o.reduced = false;
    }
    run_job(job, table, Loop::forward, outputs[0]->storage->device);
}

// to = from, or to += from, of the same sizes and any strides.
inline void copy_records(detail::Record* to, const detail::Record* from) {
    TENON_RUN(to->storage->device,
              copy_strided(to->rank, to->dims(), to->data(), to->strides(), from->data(), from->strides(), size_of(to->dtype)));
}
inline void add_records(detail::Record* to, detail::Record* from) {
    Collector c;
    c.add(to);
    c.add(from);
    switch (to->dtype) {
        case DType::float32: return run_forward(formula::table<formula::Op<fn::add, formula::In<float>, formula::In<float>>, false>, c, to->rank, to->dims(), &to);
        case DType::float64: return run_forward(formula::table<formula::Op<fn::add, formula::In<double>, formula::In<double>>, false>, c, to->rank, to->dims(), &to);
        case DType::bfloat16: return run_forward(formula::table<formula::Op<fn::add, formula::In<bf16>, formula::In<bf16>>, false>, c, to->rank, to->dims(), &to);
        default: return run_forward(formula::table<formula::Op<fn::add, formula::In<half>, formula::In<half>>, false>, c, to->rank, to->dims(), &to);
    }
}

// Runs the forward loop and adds its values up into `output`, whose sizes are 1 along the reduced axes.
inline void run_reduction(const formula::Table& table, const Collector& c, int rank, const long* dims, detail::Record* output,
                          const long* output_dims, double scale) {
    ElementwiseOperand operands[kernels::cpu::elementwise_max_operands];
    ElementwiseJob job = make_job(table, Loop::forward, rank, dims, c.leaf_count, 1, operands, c.parameters);
    for (int k = 0; k < c.leaf_count; ++k) set_operand(operands[k], c.leaves[k], rank);
    ElementwiseOperand& o = operands[c.leaf_count];
    set_target(o, output->data(), output->dtype, rank, dims, rank, output_dims, 1);
    if (!o.reduced && scale != 1) o.reduced = true;
    o.scale = scale;
    run_job(job, table, Loop::forward, output->storage->device);
}

// One recorded expression: elementwise, possibly summed over axes.
class FusedNode final : public Node {
public:
    struct Extra {
        const formula::Table* table;
        int rank;
        long dims[max_rank];
        long reduced_dims[max_rank];  // of the result, with size 1 along summed axes
        double scale;                 // of the result (1 / n for a mean)
        bool from_output;
        detail::Saved output;
    };

    static FusedNode* make(const formula::Table& table, const Collector& c, int rank, const long* dims) {
        const std::size_t leaves = static_cast<std::size_t>(c.leaf_count), slots_bytes = sizeof(Slot) * static_cast<std::size_t>(table.outputs);
        const std::size_t bytes = sizeof(FusedNode) + slots_bytes + leaves * (sizeof(Edge) + sizeof(detail::Saved)) +
                                  8 * static_cast<std::size_t>(c.parameter_count);
        const int block_class = detail::checked_size_class(bytes);
        char* block = static_cast<char*>(detail::allocate_class(block_class));
        Slot* slots = reinterpret_cast<Slot*>(block + sizeof(FusedNode));
        for (int i = 0; i < table.outputs; ++i) new (slots + i) Slot;
        Edge* edges = reinterpret_cast<Edge*>(slots + table.outputs);
        FusedNode* node = new (block) FusedNode(table.name, slots, table.outputs, edges, c.leaf_count);
        node->block_class = static_cast<short>(block_class);
        node->saved_ = reinterpret_cast<detail::Saved*>(edges + leaves);
        node->parameters_ = reinterpret_cast<char*>(node->saved_ + leaves);
        for (std::size_t k = 0; k < leaves; ++k) {
            new (edges + k) Edge;
            new (node->saved_ + k) detail::Saved;
        }
        std::memcpy(node->parameters_, c.parameters, 8 * static_cast<std::size_t>(c.parameter_count));
        node->x.table = &table;
        node->x.rank = rank;
        for (int i = 0; i < rank; ++i) node->x.dims[i] = node->x.reduced_dims[i] = dims[i];
        node->x.scale = 1;
        node->x.from_output = false;
        return node;
    }
    // Takes the edges and what backward reads of the leaves. Leaves that are null are products that are not kept.
    void connect(const Collector& c, const bool* keep = nullptr) {
        long deepest = 0;
        for (int k = 0; k < c.leaf_count; ++k) {
            detail::Record* r = c.leaves[k];
            if ((x.table->reached >> k & 1u) != 0) {
                inputs[k] = detail::edge_to(r);
                if (inputs[k].node != nullptr) {
                    detail::retain(inputs[k].node);
                    if (inputs[k].node->depth > deepest) deepest = inputs[k].node->depth;
                }
            }
            if ((x.table->needed >> k & 1u) != 0 && !x.from_output && (keep == nullptr || keep[k])) saved_[k].save(r);
            // Sizes are needed of a broadcast leaf whose values are not.
        }
        depth = deepest + 1;
    }
    ~FusedNode() override {
        for (int i = 0; i < slot_count; ++i) slots[i].~Slot();
        for (int k = 0; k < input_count; ++k) saved_[k].~Saved();
    }
    void release_saved() noexcept override {
        for (int k = 0; k < input_count; ++k) saved_[k].tensor = detail::AnyTensor();
        x.output.tensor = detail::AnyTensor();
    }

    const void* kind() const noexcept override { return &detail::node_kind<FusedNode>; }
    void backward() override {
        adjoint(x.scale, [&](int k) { return inputs[k].node != nullptr; }, [&](int k) { return detail::gradient_target(inputs[k]); });
    }
    // What a recorded backward reads (autograd/fused_gradient.hpp).
    const detail::Saved& saved(int k) const { return saved_[k]; }
    const char* parameters() const { return parameters_; }

    // Writes the gradients of wanted leaves to where target_of(k) says, from those of the outputs times a factor.
    template <class Wanted, class Target>
    TENON_ALWAYS_INLINE void adjoint(double scale, Wanted wanted, Target target_of) {
        const formula::Table& t = *x.table;
        ElementwiseOperand operands[kernels::cpu::elementwise_max_operands];
        const int extra_inputs = t.outputs + (x.from_output ? 1 : 0);
        const Loop loop = x.from_output ? Loop::from_output : Loop::backward;
        ElementwiseJob job = make_job(t, loop, x.rank, x.dims, t.leaves + extra_inputs, t.leaves, operands, parameters_);
        const Device device = slots[0].device;
        long space = 1;
        for (int i = 0; i < x.rank; ++i) space *= x.dims[i];
        bool small = device.is_cpu() && space <= kernels::cpu::elementwise_impl::direct_elements;
        for (int k = 0; k < t.leaves; ++k) {
            if (saved_[k].tensor) {
                const detail::Record* r = saved_[k].check(name);
                set_operand(operands[k], r, x.rank);
                small = small && r->contiguous && r->size == space;
            } else {
                set_unread(operands[k], t.leaf_types[k], x.rank);
            }
        }
        // The gradients of the outputs; a scaled copy for a mean, zeros where none has arrived.
        detail::AnyTensor held[4];
        for (int k = 0; k < t.outputs; ++k) {
            ElementwiseOperand& o = operands[t.leaves + k];
            Slot& slot = slots[k];
            if (!slot.has) {
                held[k] = detail::AnyTensor(detail::new_record(slot.dtype, slot.rank, slot.dims, slot.device));
                detail::zero_bytes(slot.device, held[k]->data(), static_cast<std::size_t>(held[k]->size) * static_cast<std::size_t>(size_of(slot.dtype)));
            } else if (scale != 1) {
                held[k] = scaled(slot.gradient.get(), scale);
            } else {
                held[k] = slot.gradient;
            }
            o.data = held[k]->data();
            o.element_size = size_of(slot.dtype);
            o.unread = false;
            long strides[max_rank];
            contiguous_strides(strides, x.rank, x.reduced_dims);
            broadcast_strides(o.strides, x.rank, x.rank, x.reduced_dims, strides);
            small = small && held[k]->size == space;
        }
        if (x.from_output) set_operand(operands[t.leaves + t.outputs], x.output.check(name), x.rank);
        for (int k = 0; k < t.leaves; ++k) {
            ElementwiseOperand& o = operands[job.inputs + k];
            if (!wanted(k)) {
                set_unread(o, t.leaf_types[k], x.rank);
                o.data = nullptr;
                o.mode = 0;
                o.reduced = false;
                continue;
            }
            const detail::GradientTarget target = target_of(k);
            const detail::Record* r = target.record;
            set_target(o, r->data(), r->dtype, x.rank, x.dims, r->rank, r->dims(), target.mode);
            small = small && !o.reduced;
        }
        if (t.reorders) start_from_zeros(operands + job.inputs, t.leaves, device);
        if (!small) {
            run_job(job, t, loop, device);
            return;
        }
        const char* in[kernels::cpu::elementwise_max_operands];
        char* out[formula::max_leaves];
        unsigned char modes[formula::max_leaves];
        int sizes[2 * kernels::cpu::elementwise_max_operands];
        for (int k = 0; k < job.inputs; ++k) {
            in[k] = operands[k].data;
            sizes[k] = operands[k].element_size;
        }
        for (int k = 0; k < t.leaves; ++k) {
            out[k] = operands[job.inputs + k].data;
            modes[k] = operands[job.inputs + k].mode;
            sizes[job.inputs + k] = operands[job.inputs + k].element_size;
        }
        kernels::cpu::run_elementwise_small(job.kernel, job.lanes, in, job.inputs, out, t.leaves, sizes, modes, parameters_, space);
    }

    Extra x;

private:
    FusedNode(const char* operation, Slot* outputs, int output_count, Edge* edges, int edge_count)
        : Node(operation, outputs, output_count, edges, edge_count) {}

    // Leaves that are one tensor: the first writes and the others add, which is right in the order of the leaves alone. In any other
    // all of them add.
    static void start_from_zeros(ElementwiseOperand* gradients, int leaves, Device device) {
        for (int k = 0; k < leaves; ++k)
            for (int j = k + 1; j < leaves && gradients[k].mode == 1; ++j)
                if (gradients[j].mode == 2 && gradients[j].data == gradients[k].data) {
                    const ElementwiseOperand& o = gradients[k];
                    detail::zero_bytes(device, o.data, static_cast<std::size_t>(o.elements) * static_cast<std::size_t>(o.element_size));
                    gradients[k].mode = 2;
                }
    }
    template <class T>
    static void scale_into(detail::Record* to, detail::Record* from, double factor) {
        Collector c;
        c.add(from);
        c.add_number(static_cast<formula::compute_t<T>>(factor));
        run_forward(formula::table<formula::Op<fn::mul, formula::In<T>, formula::Par<T>>, false>, c, from->rank, from->dims(), &to);
    }
    static detail::AnyTensor scaled(detail::Record* r, double factor) {
        detail::AnyTensor result(detail::new_record(r->dtype, r->rank, r->dims(), r->storage->device));
        switch (r->dtype) {
            case DType::float32: scale_into<float>(result.get(), r, factor); break;
            case DType::float64: scale_into<double>(result.get(), r, factor); break;
            case DType::bfloat16: scale_into<bf16>(result.get(), r, factor); break;
            default: scale_into<half>(result.get(), r, factor);
        }
        return result;
    }

    detail::Saved* saved_ = nullptr;
    char* parameters_ = nullptr;
};

inline bool wants_gradient(const formula::Table& table, const Collector& c) {
    if (!detail::grad_enabled() || table.backward_kernels[0] == nullptr) return false;
    for (int k = 0; k < c.leaf_count; ++k)
        if (c.leaves[k]->node != nullptr && (table.reached >> k & 1u) != 0) return true;
    return false;
}

// Makes values that are there already the results of a formula, where gradients are wanted.
inline void record_evaluation(const formula::Table& table, const Collector& c, int rank, const long* dims, detail::Record* const* outputs) {
    if (!wants_gradient(table, c)) return;
    FusedNode* node = FusedNode::make(table, c, rank, dims);
    try {
        node->connect(c);
    } catch (...) {
        detail::release_node(node);
        throw;
    }
    for (int k = 0; k < table.outputs; ++k) {
        if (k > 0) detail::retain(static_cast<Node*>(node));
        detail::set_slot(node->slots[k], outputs[k]);
        detail::attach(outputs[k], node, k);
    }
}

// Evaluates a formula over its leaves into fresh tensors, and records it where gradients are wanted.
inline void evaluate(const formula::Table& table, const Collector& c, int rank, const long* dims, Device device, detail::AnyTensor* results) {
    check_device(table.name, device);
    detail::Record* outputs[4];
    for (int k = 0; k < table.outputs; ++k) {
        results[k] = detail::AnyTensor(detail::new_record(table.output_types[k], rank, dims, device, table.name));
        outputs[k] = results[k].get();
    }
    run_forward(table, c, rank, dims, outputs);
    record_evaluation(table, c, rank, dims, outputs);
}

// A contiguous copy, recorded where a gradient is wanted.
template <class T>
detail::AnyTensor recorded_copy(detail::Record* source) {
    check_device("contiguous", source->storage->device);
    detail::AnyTensor result(detail::new_record(source->dtype, source->rank, source->dims(), source->storage->device, "contiguous"));
    copy_records(result.get(), source);
    Collector c;
    c.add(source);
    detail::Record* output = result.get();
    record_evaluation(formula::table<formula::In<T>, true>, c, source->rank, source->dims(), &output);
    return result;
}
inline detail::AnyTensor recorded_copy_any(detail::Record* source) {
    switch (source->dtype) {
        case DType::float32: return recorded_copy<float>(source);
        case DType::float64: return recorded_copy<double>(source);
        case DType::bfloat16: return recorded_copy<bf16>(source);
        case DType::float16: return recorded_copy<half>(source);
        default: {
            detail::AnyTensor result(detail::new_record(source->dtype, source->rank, source->dims(), source->storage->device));
            copy_records(result.get(), source);
            return result;
        }
    }
}

// The same, summed over axes: output_dims has size 1 along them, result_rank and result_dims are what the caller sees.
inline detail::AnyTensor evaluate_sum(const formula::Table& table, const Collector& c, int rank, const long* dims, const long* output_dims,
                                      int result_rank, const long* result_dims, Device device, double scale, const char* name) {
    check_device(name, device);
    detail::AnyTensor result(detail::new_record(table.output_types[0], result_rank, result_dims, device, name));
    run_reduction(table, c, rank, dims, result.get(), output_dims, scale);
    if (!wants_gradient(table, c)) return result;
    FusedNode* node = FusedNode::make(table, c, rank, dims);
    node->name = name;
    for (int i = 0; i < rank; ++i) node->x.reduced_dims[i] = output_dims[i];
    node->x.scale = scale;
    try {
        node->connect(c);
    } catch (...) {
        detail::release_node(node);
        throw;
    }
    detail::set_slot(node->slots[0], result.get());
    detail::attach(result.get(), node, 0);
    return result;
}

// Whether a source shares memory with the destination in another arrangement, so that writing in place would read
// what was just written.
inline bool overlaps(const detail::Record* source, const detail::Record* destination, int rank) {
    if (source->storage != destination->storage) return false;
    if (source->offset != destination->offset || source->rank != rank || source->dtype != destination->dtype) return true;
    for (int i = 0; i < rank; ++i)
        if (source->dims()[i] != destination->dims()[i] || (source->dims()[i] != 1 && source->strides()[i] != destination->strides()[i])) return true;
    return false;
}

// An unrecorded write into the result of recorded operations would leave it with the gradient of what it was before. Into a
// leaf it is how parameters are set.
inline void check_unrecorded_write(const char* name, const detail::Record* destination) {
    for (int i = 0; i < destination->rank; ++i)
        if (destination->strides()[i] == 0 && destination->dims()[i] > 1 && destination->size > 0)
            fail<ShapeError>(name, ": cannot write into an expanded tensor ", destination->description(), ": its elements share memory");
    const Node* made_by = destination->node;
    while (made_by != nullptr && made_by->view) made_by = made_by->inputs[0].node;
    if (TENON_LIKELY(made_by == nullptr) || made_by->leaf || made_by->released || !detail::grad_enabled()) return;
    fail<GradError>(name, ": ", destination->description(), " is the result of the recorded operation \"", made_by->name,
                    "\", whose gradient would no longer match what is written\n       hint: write into a clone, or wrap the write in no_grad");
}
// Values that want gradients, about to be written where no tape follows.
inline void refuse_lost_gradient(const char* name, const formula::Table& table, const Collector& c) {
    if (!detail::grad_enabled()) return;
    for (int k = 0; k < c.leaf_count; ++k)
        if (c.leaves[k]->node != nullptr && (table.reached >> k & 1u) != 0)
            fail<GradError>(name, ": the right side wants gradients, but writes through a view are not recorded",
                            "\n       hint: build the result with concat or where, or wrap the write in no_grad");
}

// Writes the values into existing memory. record: a node is made (a recorded in-place operation).
inline void evaluate_into(const char* name, const formula::Table& table, const Collector& c, detail::Record* destination, int source_rank,
                          const long* source_dims, bool record) {
    check_device(name, destination->storage->device);
    const int rank = destination->rank;
    for (int i = 0; i < source_rank; ++i) {
        const int at = rank - source_rank + i;
        if (at < 0 || (source_dims[i] != destination->dims()[at] && source_dims[i] != 1))
            fail<ShapeError>(name, ": values of shape ", detail::Sizes{source_rank, source_dims}, " do not fit into ", destination->description());
    }
    const bool wanted = record && wants_gradient(table, c);
    if (wanted && destination->node != nullptr && destination->node->leaf)
        fail<GradError>(name, ": a write into a leaf that requires a gradient cannot be recorded",
                        "\n       hint: wrap it in no_grad, or use x.copy_from(e)");
    if (wanted && destination->is_view)
        fail<GradError>(name, ": the right side wants gradients, but writes through a view are not recorded",
                        "\n       hint: build the result with concat or where, or wrap the write in no_grad");
    if (!wanted) check_unrecorded_write(name, destination);
    bool temporary = false;
    for (int k = 0; k < c.leaf_count; ++k) temporary = temporary || overlaps(c.leaves[k], destination, rank);
    FusedNode* node = nullptr;
    if (wanted) {
        node = FusedNode::make(table, c, rank, destination->dims());
        node->name = name;
        try {
            node->connect(c);
        } catch (...) {
            detail::release_node(node);
            throw;
        }
    }
    if (temporary) {
        detail::AnyTensor copy(detail::new_record(destination->dtype, rank, destination->dims(), destination->storage->device));
        detail::Record* target = copy.get();
        run_forward(table, c, rank, destination->dims(), &target);
        copy_records(destination, target);
    } else {
        run_forward(table, c, rank, destination->dims(), &destination);
    }
    detail::note_write(destination->storage, name);
    if (node != nullptr) {
        ++destination->storage->recorded_writes;
        Node* before = destination->node;
        detail::set_slot(node->slots[0], destination);
        destination->node = nullptr;
        if (before != nullptr) detail::release_node(before);
        detail::attach(destination, node, 0);
    }
}

}  // namespace impl
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

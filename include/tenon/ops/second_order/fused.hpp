// Second derivatives of expressions, and of sums and means of them.
//
// The first derivative of an expression is recorded as one node, which the expression's own adjoint loop computes. Its
// derivative walks the formula's steps (expr/formula.hpp), block by block in L1: forwards with tangents, the gradients that
// have arrived for the leaves' gradients being the leaves' tangents, and backwards on dual numbers. The Hessian is
// symmetric: the tangent of a leaf's gradient is what that leaf gets, and the tangent of the value is what dy gets. The steps run
// on the CPU: a device's operands travel there and what comes of them back.
#pragma once

#include <tenon/autograd/recorded.hpp>
#include <tenon/ops/copy.hpp>
#include <tenon/ops/second_order/functors.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

// --- one block of elements -----------------------------------------------------------------------------------------------

struct SecondOrderJob {
    const formula::Table* table;
    const char* numbers;
    unsigned tangents;  // leaves (bits) for whose gradient a gradient has arrived
    unsigned wanted;    // leaves whose gradient is wanted
    bool given;         // the value is an input, and the inner steps read nothing
};

class SecondOrderBlock {
public:
    static constexpr int max_steps = 4 * max_nodes;
    static constexpr long largest = 256, smallest = 8;  // elements; whole vectors of every width

    SecondOrderBlock(const SecondOrderJob& job, const char* const* in, char* const* out, const unsigned char* modes)
        : job_(job), t_(*job.table), steps_(t_.program.steps), count_(t_.program.count), in_(in), out_(out), modes_(modes) {
        for (int s = 0; s < count_; ++s) {
            const formula::Step& step = steps_[s];
            moves_[s] = wants_[s] = false;
            if (step.kind == formula::StepKind::leaf) {
                moves_[s] = (job_.tangents >> step.a & 1u) != 0;
                wants_[s] = (job_.wanted >> step.a & 1u) != 0;
            } else if (step.kind == formula::StepKind::reference) {
                moves_[s] = moves_[step.a];
                wants_[s] = wants_[step.a];
            } else if (step.kind == formula::StepKind::operation && step.functor->differentiable && class_of(step.type) <= 1) {
                for (const short o : {step.a, step.b, step.c})
                    if (o >= 0 && class_of(steps_[o].type) <= 1) {
                        moves_[s] = moves_[s] || moves_[o];
                        wants_[s] = wants_[s] || wants_[o];
                    }
            }
        }
        chunk_ = 32768 / (count_ * 4 * 8) / smallest * smallest;  // all of it in L1, where that is possible
        chunk_ = chunk_ > largest ? largest : chunk_ < smallest ? smallest : chunk_;
        std::memset(zeros_, 0, sizeof zeros_);
        for (int s = 0; s < count_; ++s)
            if (steps_[s].kind == formula::StepKind::number) fill_number(s);
    }
    void run(long n) {
        for (long i = 0; i < n; i += chunk_) {
            start_ = i;
            length_ = n - i < chunk_ ? n - i : chunk_;
            forward();
            if (job_.wanted != 0) backward();
            write();
        }
    }

private:
    // How a step's value lies in memory: float (also 16-bit types), double, int64 (integers), int32 (masks).
    static int class_of(DType type) {
        switch (type) {
            case DType::float32:
            case DType::bfloat16:
            case DType::float16: return 0;
            case DType::float64: return 1;
            case DType::boolean: return 3;
            default: return 2;
        }
    }
    char* room(int s, int which) { return memory_ + (s * 4 + which) * chunk_ * 8; }
    char* value(int s) const { return value_[s]; }
    char* tangent(int s) const { return moves_[s] ? tangent_[s] : nullptr; }

    void fill_number(int s) {
        value_[s] = room(s, 0);
        const char* from = job_.numbers + 8 * steps_[s].a;
        switch (steps_[s].type) {
            case DType::float64: return fill<double, double>(value_[s], from);
            case DType::boolean: return fill<bool, std::int32_t>(value_[s], from);
            case DType::int64: return fill<std::int64_t, std::int64_t>(value_[s], from);
            case DType::int32: return fill<std::int32_t, std::int64_t>(value_[s], from);
            case DType::int8: return fill<std::int8_t, std::int64_t>(value_[s], from);
            case DType::uint8: return fill<std::uint8_t, std::int64_t>(value_[s], from);
            default: return fill<float, float>(value_[s], from);
        }
    }
    template <class From, class To>
    void fill(char* to, const char* from) const {
        From number;
        std::memcpy(&number, from, sizeof number);
        To v;
        if constexpr (std::is_same_v<From, bool>) v = static_cast<To>(number ? -1 : 0);
        else v = static_cast<To>(number);
        for (long i = 0; i < chunk_; ++i) reinterpret_cast<To*>(to)[i] = v;
    }
    template <class From, class To>
    void widen(char* to, const char* from) const {
        const From* f = reinterpret_cast<const From*>(from) + start_;
        for (long i = 0; i < length_; ++i) {
            if constexpr (std::is_same_v<From, bool>) reinterpret_cast<To*>(to)[i] = f[i] ? To(-1) : To(0);
            else reinterpret_cast<To*>(to)[i] = static_cast<To>(f[i]);
        }
    }
    // Elements of a tensor of a type, as a step's value.
    char* load(DType type, const char* from, char* to) const {
        switch (type) {
            case DType::float32: return const_cast<char*>(from) + start_ * 4;
            case DType::float64:
            case DType::int64: return const_cast<char*>(from) + start_ * 8;
            case DType::bfloat16: widen<bf16, float>(to, from); break;
            case DType::float16: widen<half, float>(to, from); break;
            case DType::boolean: widen<bool, std::int32_t>(to, from); break;
            case DType::int32: widen<std::int32_t, std::int64_t>(to, from); break;
            case DType::int8: widen<std::int8_t, std::int64_t>(to, from); break;
            default: widen<std::uint8_t, std::int64_t>(to, from);
        }
        return to;
    }
    template <class From, class To>
    void narrow(const char* from, char* to, bool add) const {
        const From* f = reinterpret_cast<const From*>(from);
        To* t = reinterpret_cast<To*>(to) + start_;
        for (long i = 0; i < length_; ++i) {
            const From v = f == nullptr ? From(0) : f[i];
            t[i] = static_cast<To>(add ? static_cast<From>(t[i]) + v : v);
        }
    }
    void store(DType type, const char* from, char* to, bool add) const {
        switch (type) {
            case DType::float32: return narrow<float, float>(from, to, add);
            case DType::float64: return narrow<double, double>(from, to, add);
            case DType::bfloat16: return narrow<float, bf16>(from, to, add);
            default: return narrow<float, half>(from, to, add);
        }
    }
    static std::int64_t to_integer(double v) {
        return v >= -0x1p63 && v < 0x1p63 ? static_cast<std::int64_t>(v) : -0x7fffffffffffffffl - 1;
    }
    // Integers of fewer bits wrap.
    void wrap(DType type, char* data) const {
        std::int64_t* v = reinterpret_cast<std::int64_t*>(data);
        for (long i = 0; i < length_; ++i) {
            if (type == DType::int32) v[i] = static_cast<std::int32_t>(v[i]);
            else if (type == DType::int8) v[i] = static_cast<std::int8_t>(v[i]);
            else if (type == DType::uint8) v[i] = static_cast<std::uint8_t>(v[i]);
        }
    }
    // to = or += from under another type.
    void convert_values(DType from_type, const char* from, DType to_type, char* to, bool add) const {
        const int cf = class_of(from_type), ct = class_of(to_type);
        for (long i = 0; i < length_; ++i) {
            double v = 0;
            std::int64_t n = 0;
            switch (cf) {
                case 0: v = static_cast<double>(reinterpret_cast<const float*>(from)[i]); break;
                case 1: v = reinterpret_cast<const double*>(from)[i]; break;
                case 2: n = reinterpret_cast<const std::int64_t*>(from)[i]; break;
                default: n = reinterpret_cast<const std::int32_t*>(from)[i] != 0 ? 1 : 0;
            }
            if (ct == 0) {
                float& t = reinterpret_cast<float*>(to)[i];
                const float x = cf <= 1 ? static_cast<float>(v) : static_cast<float>(n);
                t = add ? t + x : x;
            } else if (ct == 1) {
                double& t = reinterpret_cast<double*>(to)[i];
                const double x = cf <= 1 ? v : static_cast<double>(n);
                t = add ? t + x : x;
            } else if (ct == 2) {
                reinterpret_cast<std::int64_t*>(to)[i] = cf <= 1 ? to_integer(v) : n;
            } else {
                reinterpret_cast<std::int32_t*>(to)[i] = (cf <= 1 ? v != 0 : n != 0) ? -1 : 0;
            }
        }
        if (ct == 2) wrap(to_type, to);
    }

    // The type that an operation's loop runs on.
    static int loop_class(const formula::Step& step, const formula::Step* steps) {
        const int c = class_of(steps[step.functor->is_where ? step.b : step.a].type);
        return c == 3 ? 2 : c;
    }

    void forward() {
        const int isa_index = formula::lanes() == 8;
        const int root = t_.program.roots[0];
        for (int s = 0; s < count_; ++s) {
            const formula::Step& step = steps_[s];
            switch (step.kind) {
                case formula::StepKind::leaf:
                    value_[s] = load(step.type, in_[step.a], room(s, 0));
                    if (moves_[s]) tangent_[s] = load(step.type, in_[first_tangent() + step.a], room(s, 1));
                    break;
                case formula::StepKind::number: break;
                case formula::StepKind::reference:
                    value_[s] = value_[step.a];
                    tangent_[s] = tangent_[step.a];
                    break;
                default: {
                    value_[s] = room(s, 0);
                    tangent_[s] = room(s, 1);
                    const bool given = job_.given && s == root;
                    if (step.functor->is_cast) {
                        convert_values(steps_[step.a].type, value(step.a), step.type, value_[s], false);
                        if (moves_[s]) convert_values(steps_[step.a].type, tangent(step.a), step.type, tangent_[s], false);
                        break;
                    }
                    if (given) value_[s] = load(step.type, in_[t_.leaves + t_.outputs], value_[s]);
                    char* p[StepOperand::count] = {};
                    const short operands[3] = {step.a, step.b, step.c};
                    for (int k = 0; k < 3; ++k)
                        if (operands[k] >= 0) {
                            p[StepOperand::x + k] = value(operands[k]);
                            if (moves_[s]) p[StepOperand::tangent + k] = tangent(operands[k]);
                        }
                    p[StepOperand::y] = value_[s];
                    p[StepOperand::y_tangent] = moves_[s] ? tangent_[s] : nullptr;
                    step.functor->tangent[loop_class(step, steps_)][isa_index](p, length_, given);
                    if (class_of(step.type) == 2) wrap(step.type, value_[s]);
                }
            }
        }
    }
    int first_tangent() const { return t_.leaves + t_.outputs + (job_.given ? 1 : 0); }

    // Elements that a branch of where does not take keep out of gradients.
    template <class T>
    void add_masked(const formula::Step& step, char* to, const char* from) const {
        T* out = reinterpret_cast<T*>(to);
        const T* in = reinterpret_cast<const T*>(from);
        for (long i = 0; i < length_; ++i) {
            bool taken = true;
            for (short b = step.branch; b >= 0; b = steps_[b >> 1].branch)
                taken = taken && (reinterpret_cast<const std::int32_t*>(value(steps_[b >> 1].a))[i] != 0) == ((b & 1) == 0);
            if (to == from) out[i] = taken ? in[i] : T(0);
            else if (taken) out[i] += in[i];
        }
    }
    void add_taken(const formula::Step& step, char* to, const char* from) const {
        if (class_of(step.type) == 0) add_masked<float>(step, to, from);
        else add_masked<double>(step, to, from);
    }

    void backward() {
        const int isa_index = formula::lanes() == 8;
        const std::size_t bytes = static_cast<std::size_t>(length_) * 8;
        for (int s = 0; s < count_; ++s)
            if (wants_[s]) {
                std::memset(room(s, 2), 0, bytes);
                std::memset(room(s, 3), 0, bytes);
            }
        for (int k = 0; k < t_.outputs; ++k) {
            const int s = t_.program.roots[k];
            if (!wants_[s]) continue;
            char* const to = room(s, 2);
            const char* from = load(t_.output_types[k], in_[t_.leaves + k], to);
            if (from != to) std::memcpy(to, from, static_cast<std::size_t>(length_) * static_cast<std::size_t>(size_of(t_.output_types[k])));
        }
        for (int s = count_ - 1; s >= 0; --s) {
            if (!wants_[s]) continue;
            const formula::Step& step = steps_[s];
            char *const dy = room(s, 2), *const dy_tangent = room(s, 3);
            if (step.kind == formula::StepKind::leaf) {
                if (step.branch >= 0) add_taken(step, dy_tangent, dy_tangent);
            } else if (step.kind == formula::StepKind::reference) {
                add_taken(step, room(step.a, 2), dy);
                add_taken(step, room(step.a, 3), dy_tangent);
            } else if (step.functor->is_cast) {
                convert_values(step.type, dy, steps_[step.a].type, room(step.a, 2), true);
                convert_values(step.type, dy_tangent, steps_[step.a].type, room(step.a, 3), true);
            } else {
                char* p[StepOperand::count] = {};
                const short operands[3] = {step.a, step.b, step.c};
                for (int k = 0; k < 3; ++k)
                    if (operands[k] >= 0) {
                        p[StepOperand::x + k] = value(operands[k]);
                        p[StepOperand::tangent + k] = moves_[operands[k]] ? tangent(operands[k]) : zeros_;
                        if (!wants_[operands[k]]) continue;
                        p[StepOperand::dx + k] = room(operands[k], 2);
                        p[StepOperand::dx_tangent + k] = room(operands[k], 3);
                    }
                p[StepOperand::y] = value(s);
                p[StepOperand::y_tangent] = moves_[s] ? tangent(s) : zeros_;
                p[StepOperand::dy] = dy;
                p[StepOperand::dy_tangent] = dy_tangent;
                step.functor->adjoint[loop_class(step, steps_)][isa_index](p, length_, false);
            }
        }
    }
    // Outputs may be the same memory: they are handled in order.
    void write() {
        for (int s = 0; s < count_; ++s)
            if (steps_[s].kind == formula::StepKind::leaf && wants_[s] && modes_[steps_[s].a] != 0)
                store(steps_[s].type, room(s, 3), out_[steps_[s].a], modes_[steps_[s].a] == 2);
        for (int k = 0; k < t_.outputs; ++k)
            if (modes_[t_.leaves + k] != 0)
                store(t_.output_types[k], tangent(t_.program.roots[k]), out_[t_.leaves + k], modes_[t_.leaves + k] == 2);
    }

    const SecondOrderJob& job_;
    const formula::Table& t_;
    const formula::Step* steps_;
    int count_;
    const char* const* in_;
    char* const* out_;
    const unsigned char* modes_;
    long chunk_ = 0, start_ = 0, length_ = 0;
    bool moves_[max_steps], wants_[max_steps];
    char *value_[max_steps], *tangent_[max_steps] = {};
    alignas(64) char zeros_[largest * 8];
    alignas(64) char memory_[max_steps * 4 * smallest * 8];
};

inline void second_order_kernel(const char* const* in, char* const* out, const unsigned char* modes, const char* parameters, long n) {
    SecondOrderBlock block(*reinterpret_cast<const SecondOrderJob*>(parameters), in, out, modes);
    block.run(n);
}

// What a loop on the CPU takes of a device, and writes for it.
class HostOperands {
public:
    explicit HostOperands(Device device) : device_(device) {}
    // To be read: itself, or a copy.
    const detail::Record* read(detail::Record* r) {
        if (device_.is_cpu()) return r;
        copies_[count_].host = transferred(r, cpu);
        return copies_[count_++].host.get();
    }
    // To be written, or added to: the same for the same target.
    const detail::Record* write(const detail::GradientTarget& target) {
        if (device_.is_cpu()) return target.record;
        for (int i = 0; i < count_; ++i)
            if (copies_[i].target && copies_[i].target.get() == target.record) return copies_[i].host.get();
        Copy& c = copies_[count_++];
        c.target = detail::AnyTensor::share(target.record);
        if (target.mode == 2) c.host = transferred(target.record, cpu);
        else c.host = detail::AnyTensor(detail::new_record(target.record->dtype, target.record->rank, target.record->dims(), cpu));
        return c.host.get();
    }
    void bring_back() const {
        for (int i = 0; i < count_; ++i) {
            const Copy& c = copies_[i];
            if (!c.target) continue;
            const std::size_t bytes = static_cast<std::size_t>(c.host->size) * static_cast<std::size_t>(size_of(c.host->dtype));
            runtime::backend(device_).copy(device_, c.target->data(), cpu, c.host->data(), bytes);
        }
    }

private:
    struct Copy { detail::AnyTensor host, target; };
    Device device_;
    int count_ = 0;
    Copy copies_[kernels::cpu::elementwise_max_operands];
};

// --- the node ---------------------------------------------------------------------------------------------------------------

// The recorded derivative of an expression: from leaves and the gradients of the outputs to the leaves' gradients.
class FusedGradientNode final : public Node {
public:
    // of: the expression's node; dy: its outputs' gradients, without the factor of a mean.
    FusedGradientNode(const FusedNode& of, const detail::AnyTensor* dy)
        : Node(of.name, nullptr, 0, nullptr, of.x.table->leaves + of.x.table->outputs), x_(of.x) {
        const formula::Table& t = *x_.table;
        const std::size_t leaves = static_cast<std::size_t>(t.leaves), outputs = static_cast<std::size_t>(t.outputs);
        try {
            edges_ = new Edge[leaves + outputs];
            slots_ = new Slot[leaves];
            saved_ = new detail::Saved[leaves + outputs];
            numbers_ = static_cast<char*>(std::malloc(8 * static_cast<std::size_t>(t.parameters) + 8));
            if (numbers_ == nullptr) fail<MemoryError>("create_graph: out of memory");
        } catch (...) {
            clear();
            throw;
        }
        inputs = edges_;
        slots = slots_;
        std::memcpy(numbers_, of.parameters(), 8 * static_cast<std::size_t>(t.parameters));
        const unsigned read = x_.from_output ? t.reached : t.needed & t.reached;  // what the derivative depends on
        for (int k = 0; k < t.leaves; ++k) {
            saved_[k] = of.saved(k);
            output_of_[k] = -1;
            if (detail::wanted_now(of.inputs[k])) output_of_[k] = static_cast<short>(slot_count++);
            if (of.inputs[k].node != nullptr && (read >> k & 1u) != 0) connect(k, of.inputs[k]);
        }
        for (int k = 0; k < t.outputs; ++k) {
            saved_[t.leaves + k].save(dy[k].get());
            if (dy[k]->node != nullptr) connect(t.leaves + k, detail::edge_to(dy[k].get()));
        }
    }
    ~FusedGradientNode() override { clear(); }
    const void* kind() const noexcept override { return &detail::third_order_kind; }
    void release_saved() noexcept override {
        for (int k = 0; k < input_count; ++k) saved_[k].tensor = detail::AnyTensor();
        x_.output.tensor = detail::AnyTensor();
    }
    bool depends_on_anything() const {
        for (int k = 0; k < input_count; ++k)
            if (inputs[k].node != nullptr) return true;
        return false;
    }
    int output_of(int k) const { return output_of_[k]; }  // the output that is leaf k's gradient

    void backward() override {
        const formula::Table& t = *x_.table;
        ElementwiseOperand operands[kernels::cpu::elementwise_max_operands];
        const int given = x_.from_output ? 1 : 0;
        SecondOrderJob mine{&t, numbers_, 0, 0, x_.from_output};
        ElementwiseJob job{x_.rank, {}, 2 * t.leaves + t.outputs + given, t.leaves + t.outputs, operands, reinterpret_cast<const char*>(&mine),
                           &second_order_kernel, formula::lanes()};
        for (int i = 0; i < x_.rank; ++i) job.dims[i] = x_.dims[i];
        const Device device = slots[0].device;
        check_device("create_graph", device);
        HostOperands here(device);
        for (int k = 0; k < t.leaves; ++k) {
            if (saved_[k].tensor) set_operand(operands[k], here.read(saved_[k].check(name)), x_.rank);
            else set_unread(operands[k], t.leaf_types[k], x_.rank);
            ElementwiseOperand& u = operands[t.leaves + t.outputs + given + k];
            set_unread(u, t.leaf_types[k], x_.rank);
            if (output_of_[k] < 0 || !slots[output_of_[k]].has) continue;
            set_operand(u, here.read(slots[output_of_[k]].gradient.get()), x_.rank);
            mine.tangents |= 1u << k;
        }
        for (int k = 0; k < t.outputs; ++k) {
            const detail::Record* dy = here.read(saved_[t.leaves + k].check(name));
            ElementwiseOperand& o = operands[t.leaves + k];
            o.data = dy->data();
            o.element_size = size_of(dy->dtype);
            o.unread = false;
            reduced_strides(o.strides);
        }
        if (x_.from_output) set_operand(operands[t.leaves + t.outputs], here.read(x_.output.check(name)), x_.rank);
        for (int k = 0; k < t.leaves + t.outputs; ++k) {
            ElementwiseOperand& o = operands[job.inputs + k];
            const DType type = k < t.leaves ? t.leaf_types[k] : t.output_types[k - t.leaves];
            if (inputs[k].node == nullptr) {
                set_unread(o, type, x_.rank);
                o.data = nullptr;
                o.mode = 0;
                o.reduced = false;
                continue;
            }
            const detail::GradientTarget target = detail::gradient_target(inputs[k]);
            const detail::Record* r = here.write(target);
            if (k < t.leaves) {
                mine.wanted |= 1u << k;
                set_target(o, r->data(), r->dtype, x_.rank, x_.dims, r->rank, r->dims(), target.mode);
            } else {
                set_target(o, r->data(), r->dtype, x_.rank, x_.dims, x_.rank, x_.reduced_dims, target.mode);
            }
        }
        kernels::cpu::run_elementwise(job);
        here.bring_back();
    }

private:
    void connect(int k, Edge edge) {
        inputs[k] = edge;
        if (edge.node == nullptr) return;
        detail::retain(edge.node);
        if (edge.node->depth >= depth) depth = edge.node->depth + 1;
    }
    void reduced_strides(long* out) const {
        long strides[max_rank];
        contiguous_strides(strides, x_.rank, x_.reduced_dims);
        broadcast_strides(out, x_.rank, x_.rank, x_.reduced_dims, strides);
    }
    void clear() noexcept {
        delete[] slots_;
        delete[] saved_;
        std::free(numbers_);
        delete[] edges_;
    }

    FusedNode::Extra x_;
    Edge* edges_ = nullptr;
    Slot* slots_ = nullptr;
    detail::Saved* saved_ = nullptr;  // leaves, then the outputs' gradients
    char* numbers_ = nullptr;
    short output_of_[formula::max_leaves];
};

template <class T>
detail::AnyTensor recorded_scaled(detail::Record* r, double factor) {
    Collector c;
    c.add(r);
    c.add_number(static_cast<formula::compute_t<T>>(factor));
    detail::AnyTensor result;
    evaluate(formula::table<formula::Op<fn::mul, formula::In<T>, formula::Par<T>>, true>, c, r->rank, r->dims(), r->storage->device, &result);
    return result;
}
inline detail::AnyTensor recorded_scaled_any(detail::Record* r, double factor) {
    switch (r->dtype) {
        case DType::float32: return recorded_scaled<float>(r, factor);
        case DType::float64: return recorded_scaled<double>(r, factor);
        case DType::bfloat16: return recorded_scaled<bf16>(r, factor);
        default: return recorded_scaled<half>(r, factor);
    }
}

inline void check_second_order(const FusedNode& node) {
    const formula::Table& t = *node.x.table;
    for (int s = 0; s < t.program.count; ++s) {
        const formula::Step& step = t.program.steps[s];
        if (step.kind == formula::StepKind::custom)
            fail<GradError>("create_graph: the expression \"", node.name, "\" contains a custom(f, df), whose second derivative is not known",
                            "\n       hint: write df's formula as a function of its own (autograd/custom.hpp), whose backward is recorded");
        if (step.kind == formula::StepKind::operation && step.functor->differentiable && !step.functor->is_cast && step.functor->adjoint[0][0] == nullptr)
            fail<GradError>("create_graph: the operation \"", step.functor->name, "\" has no second derivative");
    }
    if (3 * t.leaves + 2 * t.outputs + 1 > kernels::cpu::elementwise_max_operands)
        fail<GradError>("create_graph: the expression \"", node.name, "\" has ", t.leaves, " tensor operands, of which second derivatives take ",
                        (kernels::cpu::elementwise_max_operands - 1 - 2 * t.outputs) / 3, "\n       hint: eval() a part of it first");
}

inline void fused_recorded(Node& any) {
    FusedNode& node = static_cast<FusedNode&>(any);
    const formula::Table& t = *node.x.table;
    check_device("create_graph", node.slots[0].device);
    check_second_order(node);
    detail::AnyTensor dy[4], results[formula::max_leaves];
    bool had[4];
    for (int k = 0; k < t.outputs; ++k) {
        dy[k] = recorded_gradient(node, k);
        if (node.x.scale != 1) dy[k] = recorded_scaled_any(dy[k].get(), node.x.scale);
        Node::Slot& slot = node.slots[k];  // for the adjoint to read
        had[k] = slot.has;
        slot.gradient = dy[k];
        slot.has = true;
    }
    node.adjoint(1.0, [&](int k) { return detail::wanted_now(node.inputs[k]); }, [&](int k) {
        const Node::Slot& to = node.inputs[k].node->slots[node.inputs[k].slot];
        results[k] = detail::AnyTensor(detail::new_record(to.dtype, to.rank, to.dims, to.device));
        return detail::GradientTarget{results[k].get(), 1};
    });
    for (int k = 0; k < t.outputs; ++k) node.slots[k].has = had[k];
    if (detail::grad_enabled()) {
        FusedGradientNode* gradient = new FusedGradientNode(node, dy);
        struct Held {
            Node* node;
            ~Held() { detail::release_node(node); }
        } const held{gradient};
        if (gradient->depends_on_anything())
            for (int k = 0; k < t.leaves; ++k) {
                if (!results[k]) continue;
                detail::set_slot(gradient->slots[gradient->output_of(k)], results[k].get());
                detail::retain(static_cast<Node*>(gradient));
                detail::attach(results[k].get(), gradient, gradient->output_of(k));
            }
    }
    for (int k = 0; k < t.leaves; ++k)
        if (results[k]) accumulate_recorded(node.inputs[k], static_cast<detail::AnyTensor&&>(results[k]));
}
inline detail::RecordedBackward fused_entry{&detail::node_kind<FusedNode>, &fused_recorded};

}  // namespace impl
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

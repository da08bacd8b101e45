// Anomaly mode: finds the first operation that made a NaN, forwards or backwards.
#pragma once

#include <tenon/autograd/hooks.hpp>

#if __has_include(<execinfo.h>)
#include <execinfo.h>
#define TENON_HAS_BACKTRACE 1
#else
#define TENON_HAS_BACKTRACE 0
#endif

namespace tenon {

// A NaN that anomaly mode has found.
struct AnomalyError : Error { using Error::Error; };

// named_scope s("decoder layer 3"): a name for what this thread records while it lives, for the texts of anomaly mode.
// Scopes nest. The text is not copied.
class named_scope {
public:
    explicit named_scope(const char* name) noexcept : name_(name), outer_(innermost) { innermost = this; }
    named_scope(const named_scope&) = delete;
    named_scope& operator=(const named_scope&) = delete;
    ~named_scope() { innermost = outer_; }

    // "encoder / layer 3"; nothing outside of scopes.
    static void describe(Message& message) { describe(message, innermost); }

private:
    static void describe(Message& message, const named_scope* scope) {
        if (scope == nullptr) return;
        describe(message, scope->outer_);
        if (scope->outer_ != nullptr) message << " / ";
        message << scope->name_;
    }
    static inline constinit thread_local named_scope* innermost = nullptr;

    const char* name_;
    named_scope* outer_;
};

namespace detail {

template <class Bits, Bits Exponent>
inline long find_nan_bits(const Record* r) {
    // By the bits, so that -ffast-math does not reason it away. Rows of the last axis; a tensor without axes is one row.
    const Bits* data = reinterpret_cast<const Bits*>(r->data());
    long index[max_rank] = {}, offset = 0;
    for (long at = 0; at < r->size; ++at) {
        const Bits magnitude = static_cast<Bits>(data[offset] & static_cast<Bits>(static_cast<Bits>(~Bits(0)) >> 1));
        if (magnitude > Exponent) return at;
        for (int i = r->rank - 1; i >= 0; --i) {
            offset += r->strides()[i];
            if (++index[i] < r->dims()[i]) break;
            offset -= r->strides()[i] * index[i];
            index[i] = 0;
        }
    }
    return -1;
}
// A tensor on a device, in the host's memory under the same strides.
inline AnyTensor brought_here(const Record* r) {
    const long bytes = static_cast<long>(r->storage->bytes);
    const AnyTensor memory(new_record(DType::uint8, 1, &bytes, cpu));
    runtime::backend(r->storage->device).copy(cpu, memory->data(), r->storage->device, r->storage->data, r->storage->bytes);
    AnyTensor here(new_view(memory.get(), r->rank, r->dims(), r->strides(), r->offset));
    here->dtype = r->dtype;
    return here;
}
// The first NaN in row-major order, -1: none. Of a device's tensor: waits for it.
inline long find_nan(const Record* r) {
    if (!r->storage->device.is_cpu()) return find_nan(brought_here(r).get());
    switch (r->dtype) {
        case DType::float32: return find_nan_bits<std::uint32_t, 0x7f800000u>(r);
        case DType::float64: return find_nan_bits<std::uint64_t, 0x7ff0000000000000ull>(r);
        case DType::bfloat16: return find_nan_bits<std::uint16_t, 0x7f80>(r);
        case DType::float16: return find_nan_bits<std::uint16_t, 0x7c00>(r);
        default: return -1;
    }
}

}  // namespace detail

// While one lives, every recorded result of this thread and every gradient of its backward passes is searched for NaN; the
// first one throws AnomalyError, which names the operation, its sizes, the element, and where it was recorded: the
// named_scopes around it and, where the platform has them, the frames of the call (link with -rdynamic to see names).
// Products are not fused with what follows, so that each has a result to look at. Results that are not recorded (under
// no_grad, or where nothing wants a gradient) are not looked at. Slow: for finding, not for training.
class anomaly final : detail::Watch {
public:
    anomaly() noexcept : outer_(detail::watch) {
        every_result = true;
        detail::watch = this;
    }
    anomaly(const anomaly&) = delete;
    anomaly& operator=(const anomaly&) = delete;
    ~anomaly() { detail::watch = outer_; }

private:
    void recorded(detail::Record* result, Node* node) override {
        Message note;
        take_note(note);
        detail::TapeExtras::of(*node).set_note(note.text());
        if (node->view) return;  // shows what has been looked at
        const long at = detail::find_nan(result);
        if (at >= 0) {
            Message text;
            text << "tenon: anomaly: the operation \"" << node->name << "\" gave NaN: element ";
            add_position(text, result->rank, result->dims(), at) << " of its result " << result->description();
            add_inputs(text, *node);
            text << note.text();
            throw AnomalyError(text.text());
        }
    }
    void walked(Node& node) override {
        for (int i = 0; i < node.slot_count; ++i)
            if (node.slots[i].has) check(node, node.slots[i].gradient.get(), "the gradient that a backward pass began with, or that a hook returned, for the result of", -1);
        for (int k = 0; k < node.input_count; ++k) {
            if (node.inputs[k].node == nullptr) continue;
            const Node::Slot& slot = node.inputs[k].node->slots[node.inputs[k].slot];
            if (slot.has) check(node, slot.gradient.get(), "the backward of", k);
        }
    }
    static void check(const Node& node, const detail::Record* gradient, const char* what, int input) {
        const long at = detail::find_nan(gradient);
        if (at < 0) return;
        Message text;
        text << "tenon: anomaly: " << what << " \"" << node.name << "\"" << (input < 0 ? " is" : " gave") << " NaN: element ";
        add_position(text, gradient->rank, gradient->dims(), at);
        if (input >= 0) text << " of the gradient of its input " << input << ", " << gradient->description();
        else text << " of " << gradient->description();
        text << "\n  results:";
        for (int i = 0; i < node.slot_count; ++i) {
            const Node::Slot& s = node.slots[i];
            text << (i > 0 ? ", " : " ") << detail::Description{s.dtype, s.rank, s.dims, s.device};
        }
        add_inputs(text, node);
        if (node.extras != nullptr && node.extras->note() != nullptr) text << node.extras->note();
        else text << "\n  recorded before anomaly mode was on: nothing is known of where";
        throw AnomalyError(text.text());
    }
    static Message& add_position(Message& text, int rank, const long* dims, long at) {
        long index[max_rank];
        for (int i = rank - 1; i >= 0; --i) {
            index[i] = at % dims[i];
            at /= dims[i];
        }
        return detail::add_dims(text, index, rank);
    }
    static void add_inputs(Message& text, const Node& node) {
        text << "\n  inputs that want gradients:";
        bool any = false;
        for (int k = 0; k < node.input_count; ++k) {
            const Node* from = node.inputs[k].node;
            if (from == nullptr) continue;
            const Node::Slot& s = from->slots[node.inputs[k].slot];
            text << (any ? ", " : " ") << detail::Description{s.dtype, s.rank, s.dims, s.device} << " (of \"" << from->name << "\")";
            any = true;
        }
        if (!any) text << " none";
    }
    static void take_note(Message& note) {
        Message scopes;
        named_scope::describe(scopes);
        if (scopes.size() > 0) note << "\n  recorded in: " << scopes.text();
#if TENON_HAS_BACKTRACE
        void* frames[48];
        const int count = backtrace(frames, 48);
        char** names = backtrace_symbols(frames, count);
        if (names == nullptr) return;
        note << "\n  recorded at:";
        for (int i = 2; i < count && i < 34; ++i) note << "\n    " << names[i];
        std::free(names);
#endif
    }

    detail::Watch* outer_;
};

}  // namespace tenon

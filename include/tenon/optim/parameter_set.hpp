// The parameters of an optimiser: their memory in flat arenas (handles and views follow), gradients and state in blocks of the
// same layout.
#pragma once

#include <tenon/autograd/evaluate.hpp>
#include <tenon/kernels/cpu/multi_tensor.hpp>
#include <tenon/kernels/cpu/rules/average.hpp>
#include <tenon/nn/module.hpp>
#if TENON_CUDA
#include <tenon/kernels/cuda/capture.cuh>
#include <tenon/kernels/cuda/multi_tensor.cuh>
#endif

#include <cstring>
#include <utility>
#include <vector>

namespace tenon::optim {
inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

using tenon::detail::AnyTensor;
using tenon::detail::Record;
using tenon::detail::Storage;

inline Storage* new_block(long elements, DType dtype, Device device) {
    Storage* block = tenon::detail::new_storage(static_cast<std::size_t>(elements) * static_cast<std::size_t>(size_of(dtype)), device);
    tenon::detail::zero_bytes(device, block->data, block->bytes);
    return block;
}
// A tensor over a part of a block, which it keeps alive.
inline Record* record_in(Storage* block, long first, const Record* like) {
    tenon::detail::retain(block);
    const std::size_t size = static_cast<std::size_t>(size_of(like->dtype));
    Storage* part = tenon::detail::new_foreign_storage(block->data + static_cast<std::size_t>(first) * size, static_cast<std::size_t>(like->size) * size, block->device,
                                                       block, [](void* held) { tenon::detail::release(static_cast<Storage*>(held)); });
    return tenon::detail::new_record_on(part, like->dtype, like->rank, like->dims());
}

// The name of a parameter: text of its own, since the visit that gave it is over.
class Name {
public:
    Name() = default;
    Name(const char* prefix, const char* text) {
        const std::size_t first = std::strlen(prefix), second = std::strlen(text);
        text_ = new char[first + second + 1];
        std::memcpy(text_, prefix, first);
        std::memcpy(text_ + first, text, second + 1);
    }
    Name(Name&& other) noexcept : text_(std::exchange(other.text_, nullptr)) {}
    Name& operator=(Name&& other) noexcept {
        std::swap(text_, other.text_);
        return *this;
    }
    ~Name() { delete[] text_; }
    const char* text() const { return text_ != nullptr ? text_ : ""; }

private:
    char* text_ = nullptr;
};

struct Parameter {
    AnyTensor tensor;
    Name name;
    std::size_t arena = 0, group = 0;
    long first = 0, padded = 0;     // elements, within the arena
    long steps = 0;
    double memory = 0, before = 0;  // a number that the rule keeps from step to step; the one before the last step
    AnyTensor rows;                 // what the next step is confined to, if anything
    tenon::Node::Slot& slot() const { return tensor->node->slots[0]; }
};

struct Arena {
    DType dtype;
    Device device;
    long elements;
    Storage *values, *gradients, *states[3];
    void release() {
        tenon::detail::release(values);
        tenon::detail::release(gradients);
        for (Storage* s : states)
            if (s != nullptr) tenon::detail::release(s);
    }
};

// Calls f(base pointers as T*...) with the arena's element type.
template <class F>
void with_type(DType dtype, F&& f) {
    if (dtype == DType::float32) f(static_cast<float*>(nullptr));
    else f(static_cast<double*>(nullptr));
}

class ParameterSet {
public:
    std::vector<Parameter> parameters;
    std::vector<Arena> arenas;

    ParameterSet() = default;
    ParameterSet(ParameterSet&& other) noexcept
        : parameters(static_cast<std::vector<Parameter>&&>(other.parameters)), arenas(static_cast<std::vector<Arena>&&>(other.arenas)) {
        other.parameters.clear();
        other.arenas.clear();
    }
    ParameterSet(const ParameterSet&) = delete;
    ParameterSet& operator=(const ParameterSet&) = delete;
    ~ParameterSet() {
        for (Parameter& p : parameters) p.tensor->node->owned = false;
        for (Arena& a : arenas) a.release();
    }

    // Takes the parameters of a module, or one tensor, into arenas of their own, with `states` blocks of state that start from
    // the numbers in `initial`. Throws GradError, DtypeError, ValueError, Error (see Optimizer); nothing is taken then.
    template <class M>
    void take(const char* who, M& module, std::size_t group, int states, const double* initial) {
        std::vector<Parameter> fresh;
        auto collect_one = [&](const char* name, nn::Kind kind, auto& x) {
            if (kind != nn::Kind::parameter || !x.has_value()) return;
            using T = typename std::remove_cvref_t<decltype(x)>::Scalar;
            if constexpr (std::is_same_v<T, float> || std::is_same_v<T, double>) {
                collect(who, fresh, name, group, x.record());
            } else {
                fail<DtypeError>(who, ": parameter \"", name, "\" is ", x.record()->description(), ": expected float or double");
            }
        };
        if constexpr (nn::detail::is_tensor<std::remove_cvref_t<M>>) collect_one("parameter", nn::Kind::parameter, module);
        else nn::for_each_tensor(module, collect_one);
        if (fresh.empty()) fail<ValueError>(who, ": the module has no parameters");
        for (std::size_t i = 0; i < fresh.size(); ++i) {
            bool seated = false;
            for (std::size_t k = 0; k < i; ++k) seated = seated || together(fresh[i].tensor.get(), fresh[k].tensor.get());
            if (!seated) seat(who, fresh, fresh[i].tensor.get(), states, initial);
        }
        for (Parameter& p : fresh) parameters.push_back(static_cast<Parameter&&>(p));
    }

    void zero_grad() {
        for (Parameter& p : parameters)
            if (p.slot().has) tenon::detail::clear_gradient(p.slot());
    }

    // Calls f(arena, first element, one past the last) for ranges that hold every gradient there is. On a device, whose results
    // have to be waited for, neighbours in an arena are one range, padding (zeros) and all.
    template <class F>
    void for_each_gradient(F&& f) const {
        const Arena* arena = nullptr;
        long first = 0, end = 0;
        const auto flush = [&] {
            if (arena != nullptr) f(*arena, first, end);
            arena = nullptr;
        };
        for (const Parameter& p : parameters) {
            const tenon::Node::Slot& slot = p.slot();
            if (!slot.has) continue;
            const Arena& own = arenas[p.arena];
            if (arena != &own || own.device.is_cpu() || p.first != end) {
                flush();
                arena = &own;
                first = p.first;
            }
            end = p.first + (own.device.is_cpu() ? slot.gradient->size : p.padded);
        }
        flush();
    }
    // combine(total, term(n, gradients)) over them.
    template <class Term, class Combine>
    double fold_gradients(const char* who, Term&& term, Combine&& combine) const {
        double total = 0;
        for_each_gradient([&](const Arena& arena, long first, long end) {
            tenon::impl::check_device(who, arena.device);
            const char* data = arena.gradients->data + first * size_of(arena.dtype);
            total = combine(total, arena.dtype == DType::float32 ? term(arena.device, end - first, reinterpret_cast<const float*>(data))
                                                                 : term(arena.device, end - first, reinterpret_cast<const double*>(data)));
        });
        return total;
    }
    double gradient_squares(const char* who) const {
        return fold_gradients(who, [](Device device, long n, const auto* g) { return TENON_RUN(device, sum_of_squares(n, g)); },
                              [](double a, double b) { return a + b; });
    }

    // Notes that every parameter has been written.
    void note_writes(const char* who) {
        for (Parameter& p : parameters) tenon::detail::note_write(p.tensor->storage, who);
    }

private:
    void collect(const char* who, std::vector<Parameter>& fresh, const char* name, std::size_t group, Record* r) {
        if (r->node == nullptr)
            fail<GradError>(who, ": parameter \"", name, "\" wants no gradient", "\n       hint: mark it with require_grad(), or visit it with nn::frozen or nn::buffer");
        if (!r->node->leaf) fail<GradError>(who, ": \"", name, "\" is the result of a recorded operation, not a parameter");
        tenon::impl::check_device(who, r->storage->device);
        if (!r->contiguous || r->is_view || r->offset != 0 || r->storage->bytes != static_cast<std::size_t>(r->size) * static_cast<std::size_t>(size_of(r->dtype)))
            fail<ValueError>(who, ": parameter \"", name, "\" is a view or not contiguous");
        if (r->storage->exported > 0)
            fail<Error>(who, ": the memory of parameter \"", name, "\" is lent out through DLPack and may not move into the optimiser's arena",
                        "\n       hint: let the other library go of it first, or train a copy: clone(x)");
        for (const std::vector<Parameter>* list : {&parameters, &fresh})
            for (const Parameter& p : *list)
                if (p.tensor->node == r->node) return;  // tied
        if (r->node->owned) fail<GradError>(who, ": parameter \"", name, "\" belongs to another optimiser already", "\n       hint: destroy that one first");
        Parameter p;
        p.tensor = AnyTensor::share(r);
        p.group = group;
        Message prefix;
        if (group > 0) prefix << "group" << static_cast<unsigned long>(group) << '.';
        p.name = Name(prefix.text(), name);
        fresh.push_back(static_cast<Parameter&&>(p));
    }

    static bool together(const Record* a, const Record* b) { return a->dtype == b->dtype && a->storage->device == b->storage->device; }

    // Moves the fresh parameters of one type and device into an arena of their own.
    void seat(const char* who, std::vector<Parameter>& fresh, const Record* like, int states, const double* initial) {
        const DType dtype = like->dtype;
        const Device device = like->storage->device;
        long total = 0;
        for (Parameter& p : fresh) {
            if (!together(p.tensor.get(), like)) continue;
            p.first = total;
            p.padded = (p.tensor->size + 15) / 16 * 16;
            p.arena = arenas.size();
            total += p.padded;
        }
        if (total == 0) return;
        Arena arena{dtype, device, total, new_block(total, dtype, device), new_block(total, dtype, device), {}};
        for (int i = 0; i < states; ++i) {
            arena.states[i] = new_block(total, dtype, device);
            if (initial[i] != 0) fill(who, arena, arena.states[i], initial[i]);
        }
        arenas.push_back(arena);
        for (Parameter& p : fresh) {
            if (!together(p.tensor.get(), like)) continue;
            Record* r = p.tensor.get();
            tenon::detail::reseat(r->storage, arena.values->data + p.first * size_of(dtype), arena.values);
            tenon::Node::Slot& slot = p.slot();
            AnyTensor gradient(record_in(arena.gradients, p.first, r));
            if (slot.has) tenon::detail::copy_bytes(device, gradient->data(), slot.gradient->data(), static_cast<std::size_t>(r->size) * static_cast<std::size_t>(size_of(dtype)));
            slot.gradient = gradient;
            r->node->owned = true;
        }
    }
    static void fill(const char* who, const Arena& arena, Storage* block, double value) {
        tenon::impl::check_device(who, arena.device);
        with_type(arena.dtype, [&]<class T>(T*) {
            T *data = reinterpret_cast<T*>(block->data), *none = nullptr;
            TENON_RUN(arena.device, fused_step(kernels::cpu::Fill<T>(value), arena.elements, data, data, none, none, none, false));
        });
    }
};

}  // namespace impl
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon::optim

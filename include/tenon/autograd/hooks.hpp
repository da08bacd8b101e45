// Hooks: functions that see, and may replace, the gradient of one tensor in every backward pass.
#pragma once

#include <tenon/autograd/recorded.hpp>

namespace tenon {
namespace detail {

struct Hook {
    int references = 1;
    bool removed = false;
    int slot = 0;
    Hook* next = nullptr;

    virtual ~Hook() = default;
    virtual void call(AnyTensor& gradient) = 0;
};
inline void release(Hook* hook) noexcept {
    if (__atomic_sub_fetch(&hook->references, 1, __ATOMIC_ACQ_REL) == 0) delete hook;
}

// Hooks, and the note that anomaly mode takes of where a node was recorded.
class TapeExtras final : public NodeExtras {
public:
    ~TapeExtras() override {
        for (Hook* hook = first_; hook != nullptr;) {
            Hook* const next = hook->next;
            release(hook);
            hook = next;
        }
        std::free(note_);
    }
    static TapeExtras& of(Node& node) {
        if (node.extras == nullptr) node.extras = new TapeExtras;
        return static_cast<TapeExtras&>(*node.extras);
    }
    void add(Hook* adopted) {
        Hook** at = &first_;
        while (*at != nullptr) at = &(*at)->next;
        *at = adopted;
    }
    bool has_hooks() const override {
        for (const Hook* hook = first_; hook != nullptr; hook = hook->next)
            if (!hook->removed) return true;
        return false;
    }
    void arrived(Node& node) override {
        for (Hook* hook = first_; hook != nullptr; hook = hook->next)
            if (!hook->removed && node.slots[hook->slot].has) hook->call(node.slots[hook->slot].gradient);
    }
    void merge(Node& leaf, AnyTensor&& fresh, bool record) override {
        Node::Slot& slot = leaf.slots[0];
        if (record) return impl::accumulate_recorded({&leaf, 0}, static_cast<AnyTensor&&>(fresh));
        if (!slot.has && !slot.gradient) return impl::set_leaf_gradient(slot, static_cast<AnyTensor&&>(fresh));
        const GradientTarget to = gradient_target({&leaf, 0});
        if (to.mode == 2) impl::add_records(to.record, fresh.get());
        else impl::copy_records(to.record, fresh.get());
    }
    const char* note() const override { return note_; }
    void set_note(const char* text) {
        std::free(note_);
        const std::size_t size = std::strlen(text) + 1;
        note_ = static_cast<char*>(std::malloc(size));
        if (note_ != nullptr) std::memcpy(note_, text, size);
    }

private:
    Hook* first_ = nullptr;
    char* note_ = nullptr;
};

template <class T, int R, class F>
class TypedHook final : public Hook {
public:
    explicit TypedHook(F&& f) : f_(static_cast<F&&>(f)) {}
    void call(AnyTensor& gradient) override {
        const Tensor<T, R> seen(gradient);
        if constexpr (std::is_void_v<decltype(f_(seen))>) {
            f_(seen);
        } else {
            Tensor<T, R> replaced = impl::as_tensor(f_(seen));
            const Record *r = replaced.record(), *old = gradient.get();
            for (int i = 0; i < R; ++i)
                if (r->dims()[i] != old->dims()[i])
                    fail<ShapeError>("register_hook: the hook returned ", r->description(), " for a gradient that is ", old->description());
            // A pass that is not recorded keeps no graph in its gradients.
            if (!grad_enabled() && r->node != nullptr) replaced = replaced.detach();
            gradient = r->contiguous ? replaced.any() : impl::recorded_copy_any(replaced.record());
        }
    }

private:
    F f_;
};

}  // namespace detail

// Removes a hook; letting go of the handle does not.
class HookHandle {
public:
    explicit HookHandle(detail::Hook* hook) noexcept : hook_(hook) { __atomic_add_fetch(&hook->references, 1, __ATOMIC_RELAXED); }
    HookHandle(const HookHandle& other) noexcept : HookHandle(other.hook_) {}
    HookHandle& operator=(const HookHandle& other) noexcept {
        HookHandle copy(other);
        std::swap(hook_, copy.hook_);
        return *this;
    }
    ~HookHandle() { detail::release(hook_); }
    void remove() noexcept { hook_->removed = true; }

private:
    detail::Hook* hook_;
};

template <Element T, int Rank>
template <class F>
HookHandle Tensor<T, Rank>::register_hook(F f) const {
    detail::Record* r = record();
    if (r->node == nullptr)
        fail<GradError>("register_hook: ", r->description(), " does not require a gradient: no backward pass will come by",
                        "\n       hint: mark it with require_grad(), or register on a recorded result");
    auto* hook = new detail::TypedHook<T, Rank, F>(static_cast<F&&>(f));
    hook->slot = r->slot;
    HookHandle handle(hook);
    try {
        detail::TapeExtras::of(*r->node).add(hook);
    } catch (...) {
        detail::release(hook);
        throw;
    }
    return handle;
}

}  // namespace tenon

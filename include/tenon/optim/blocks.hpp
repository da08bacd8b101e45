// Vectors over all parameters of an optimiser: a block of memory for each of its arenas. What wrappers of optimisers and L-BFGS
// compute with.
#pragma once

#include <tenon/optim/parameter_set.hpp>

namespace tenon::optim {
inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

// What a captured graph cannot hold: decisions that the host makes from step to step.
inline void check_not_captured(const char* who) {
#if TENON_CUDA
    if (cuda_detail::capture != nullptr) fail<DeviceError>(who, ": cannot be part of a captured graph: the host decides from step to step");
#else
    static_cast<void>(who);
#endif
}

class Blocks {
public:
    Blocks() = default;
    Blocks(Blocks&& other) noexcept : blocks_(static_cast<std::vector<Storage*>&&>(other.blocks_)) { other.blocks_.clear(); }
    Blocks& operator=(Blocks&& other) noexcept {
        blocks_.swap(other.blocks_);
        return *this;
    }
    ~Blocks() {
        for (Storage* s : blocks_) tenon::detail::release(s);
    }
    // Blocks for the arenas that have none yet: zeros, or what the parameters are now.
    void cover(const ParameterSet& set, bool copy = false) {
        while (blocks_.size() < set.arenas.size()) {
            const Arena& arena = set.arenas[blocks_.size()];
            Storage* block = new_block(arena.elements, arena.dtype, arena.device);
            blocks_.push_back(block);
            if (copy) tenon::detail::copy_bytes(arena.device, block->data, arena.values->data, block->bytes);
        }
    }
    Storage* operator[](std::size_t arena) const { return blocks_[arena]; }
    std::size_t size() const { return blocks_.size(); }
    // The part that belongs to a parameter.
    AnyTensor part(const Parameter& p) const { return AnyTensor(record_in(blocks_[p.arena], p.first, p.tensor.get())); }

private:
    std::vector<Storage*> blocks_;
};

// Parameters and gradients as such vectors.
struct Values {
    const ParameterSet& set;
    Storage* operator[](std::size_t arena) const { return set.arenas[arena].values; }
};
struct Gradients {
    const ParameterSet& set;
    Storage* operator[](std::size_t arena) const { return set.arenas[arena].gradients; }
};

// f(arena, data of each vector as T*...) for every arena.
template <class F, class... V>
void for_each_arena(const char* who, const ParameterSet& set, F&& f, const V&... vectors) {
    for (std::size_t i = 0; i < set.arenas.size(); ++i) {
        const Arena& arena = set.arenas[i];
        tenon::impl::check_device(who, arena.device);
        if (arena.dtype == DType::float32) f(arena, reinterpret_cast<float*>(vectors[i]->data)...);
        else f(arena, reinterpret_cast<double*>(vectors[i]->data)...);
    }
}
template <class A, class B>
double dot(const char* who, const ParameterSet& set, const A& a, const B& b) {
    double sum = 0;
    for_each_arena(who, set, [&](const Arena& arena, auto* x, auto* y) {
        using T = std::remove_pointer_t<decltype(x)>;
        sum += TENON_RUN(arena.device, dot(arena.elements, static_cast<const T*>(x), static_cast<const T*>(y)));
    }, a, b);
    return sum;
}
template <class A>
double largest(const char* who, const ParameterSet& set, const A& a) {
    double most = 0;
    for_each_arena(who, set, [&](const Arena& arena, auto* x) {
        using T = std::remove_pointer_t<decltype(x)>;
        most = kernels::cpu::impl::optim_max(most, TENON_RUN(arena.device, largest_magnitude(arena.elements, static_cast<const T*>(x))));
    }, a);
    return most;
}
template <class A>
double magnitudes(const char* who, const ParameterSet& set, const A& a) {
    double sum = 0;
    for_each_arena(who, set, [&](const Arena& arena, auto* x) {
        using T = std::remove_pointer_t<decltype(x)>;
        sum += TENON_RUN(arena.device, sum_of_magnitudes(arena.elements, static_cast<const T*>(x)));
    }, a);
    return sum;
}
// y = keep * y + gain * x.
template <class Y, class X>
void combine(const char* who, const ParameterSet& set, const Y& y, double keep, double gain, const X& x) {
    for_each_arena(who, set, [&](const Arena& arena, auto* to, auto* from) {
        using T = std::remove_pointer_t<decltype(to)>;
        T* none = nullptr;
        TENON_RUN(arena.device, fused_step(kernels::cpu::Combine<T>(keep, gain), arena.elements, to, from, none, none, none, false));
    }, y, x);
}
template <class Y, class X>
void copy(const ParameterSet& set, const Y& y, const X& x) {
    for (std::size_t i = 0; i < set.arenas.size(); ++i) tenon::detail::copy_bytes(set.arenas[i].device, y[i]->data, x[i]->data, x[i]->bytes);
}

// "first+second", made at compile time.
struct JoinedText {
    char text[48] = {};
    constexpr JoinedText(const char* first, const char* second) {
        int n = 0;
        for (; *first != '\0'; ++first) text[n++] = *first;
        text[n++] = '+';
        for (; *second != '\0'; ++second) text[n++] = *second;
    }
};

}  // namespace impl
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon::optim

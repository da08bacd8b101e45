// Optimisers over flat arenas. Building one moves the parameters' memory into one block (handles and views follow), with
// gradients and state in blocks of the same layout; a step is one pass over them.
#pragma once

#include <tenon/autograd/evaluate.hpp>
#include <tenon/kernels/cpu/multi_tensor.hpp>
#include <tenon/nn/module.hpp>
#if TENON_CUDA
#include <tenon/kernels/cuda/capture.cuh>
#include <tenon/kernels/cuda/multi_tensor.cuh>
#endif

#include <vector>

namespace tenon::optim {

// What clip_norm found.
struct StepStatistics { long steps = 0, skipped = 0; };

inline namespace TENON_CONFIG_NAMESPACE {

using kernels::cpu::AdaBoundOptions;
using kernels::cpu::AdamOptions;
using kernels::cpu::SgdOptions;
using kernels::cpu::WeightDecay;

namespace impl {

using tenon::detail::AnyTensor;
using tenon::detail::Record;
using tenon::detail::Storage;

// The rules: `states` blocks of the arena's size each; with_kernel calls f(make) where make(options, t) is the kernel of step t.
struct SgdRule {
    using Options = SgdOptions;
    static constexpr const char* name = "sgd";
    static constexpr const char* state_names[] = {"momentum"};
    static int states(const Options& o) { return o.momentum != 0 ? 1 : 0; }
    static void check(const Options& o) { kernels::cpu::sgd_scalars(1, o); }
    template <class T, class F>
    static void with_kernel(const Options& o, F&& f) {
        const auto of = [&]<class Kernel>(std::type_identity<Kernel>) { f([](const Options& now, long t) { return Kernel(kernels::cpu::sgd_scalars(t, now)); }); };
        if (o.momentum == 0) of(std::type_identity<kernels::cpu::Sgd<T, false>>());
        else if (o.nesterov) of(std::type_identity<kernels::cpu::Sgd<T, true, true>>());
        else of(std::type_identity<kernels::cpu::Sgd<T, true, false>>());
    }
};
template <bool Amsgrad>
struct AdamRule {
    using Options = AdamOptions;
    static constexpr const char* name = Amsgrad ? "amsgrad" : "adam";
    static constexpr const char* state_names[] = {"m", "v", "v_max"};
    static int states(const Options&) { return Amsgrad ? 3 : 2; }
    static void check(const Options& o) { kernels::cpu::adam_scalars(1, o); }
    template <class T, class F>
    static void with_kernel(const Options&, F&& f) {
        f([](const Options& now, long t) { return kernels::cpu::Adam<T, Amsgrad>(kernels::cpu::adam_scalars(t, now)); });
    }
};
template <bool Amsbound>
struct AdaBoundRule {
    using Options = AdaBoundOptions;
    static constexpr const char* name = Amsbound ? "amsbound" : "adabound";
    static constexpr const char* state_names[] = {"m", "v", "v_max"};
    static int states(const Options&) { return Amsbound ? 3 : 2; }
    static void check(const Options& o) { kernels::cpu::adabound_scalars(1, o); }
    template <class T, class F>
    static void with_kernel(const Options&, F&& f) {
        f([](const Options& now, long t) { return kernels::cpu::AdaBound<T, Amsbound>(kernels::cpu::adabound_scalars(t, now)); });
    }
};

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

}  // namespace impl

template <class Rule>
class Optimizer {
public:
    using Options = typename Rule::Options;

    // Takes the parameters of a module (tied ones once); Throws GradError for a parameter that wants no gradient or has
    // an optimiser already, ValueError for options out of range.
    template <class M>
    Optimizer(M& module, const Options& options) {
        add_group(module, options);
    }
    Optimizer(Optimizer&& other) noexcept : parameters_(static_cast<std::vector<Parameter>&&>(other.parameters_)),
        groups_(static_cast<std::vector<Options>&&>(other.groups_)), arenas_(static_cast<std::vector<Arena>&&>(other.arenas_)),
        statistics_(other.statistics_), coefficient_(other.coefficient_) {
        other.parameters_.clear();
        other.arenas_.clear();
    }
    Optimizer(const Optimizer&) = delete;
    Optimizer& operator=(const Optimizer&) = delete;
    ~Optimizer() {
        for (Parameter& p : parameters_) p.tensor->node->owned = false;
        for (Arena& a : arenas_) a.release();
    }

    // More parameters, with options of their own.
    template <class M>
    void add_group(M& module, const Options& options) {
        Rule::check(options);
        const int states = Rule::states(options);
        for (const Options& o : groups_)
            if (Rule::states(o) != states) fail<ValueError>(Rule::name, ": groups differ in whether they keep a momentum");
        std::vector<Parameter> fresh;
        auto take = [&](const char* name, nn::Kind kind, auto& x) {
            if (kind != nn::Kind::parameter || !x.has_value()) return;
            using T = typename std::remove_cvref_t<decltype(x)>::Scalar;
            if constexpr (std::is_same_v<T, float> || std::is_same_v<T, double>) {
                collect(fresh, name, x.record());
            } else {
                fail<DtypeError>(Rule::name, ": parameter \"", name, "\" is ", x.record()->description(), ": expected float or double");
            }
        };
        if constexpr (nn::detail::is_tensor<std::remove_cvref_t<M>>) take("parameter", nn::Kind::parameter, module);
        else nn::for_each_tensor(module, take);
        if (fresh.empty()) fail<ValueError>(Rule::name, ": the module has no parameters");
        groups_.push_back(options);
        for (std::size_t i = 0; i < fresh.size(); ++i) {
            bool seated = false;
            for (std::size_t k = 0; k < i; ++k) seated = seated || together(fresh[i].tensor.get(), fresh[k].tensor.get());
            if (!seated) seat(fresh, fresh[i].tensor.get(), states);
        }
        for (Parameter& p : fresh) parameters_.push_back(static_cast<Parameter&&>(p));
    }

    // Updates every parameter that has a gradient, in one pass, and clears the gradients (keep_gradients: leaves them).
    // A parameter without a gradient since the last clear is skipped. After clip_norm the gradients are scaled on the
    // way; a norm that is not finite skips the step. In a captured graph (runtime/graph.hpp) every launch makes the next
    // step, with the options of that moment; the optimiser must outlive the graph where it is.
    struct StepOptions { bool keep_gradients = false; };
    void step(StepOptions options = {}) {
        const double coefficient = coefficient_;
        coefficient_ = 1;
        const bool skip = !(coefficient - coefficient == 0);
        if (!skip) {
            for (Arena& arena : arenas_) {
                if (arena.dtype == DType::float32) step_arena<float>(arena, static_cast<float>(coefficient));
                else step_arena<double>(arena, coefficient);
            }
#if TENON_CUDA
            if (cuda_detail::capture != nullptr) cuda_detail::capture->value<long>([this](long) { return ++statistics_.steps; });
            else ++statistics_.steps;
#else
            ++statistics_.steps;
#endif
        } else {
            ++statistics_.skipped;
        }
        if (!options.keep_gradients) zero_grad();
    }
    void zero_grad() {
        for (Parameter& p : parameters_) {
            tenon::Node::Slot& slot = p.tensor->node->slots[0];
            if (slot.has) tenon::detail::clear_gradient(slot);
        }
    }

    // The norm of all gradients together, after unscale if that came before; the next step takes them times min(1, max_norm / norm).
    double clip_norm(double max_norm) {
        if (!(max_norm > 0)) fail<ValueError>("clip_norm: a maximum of ", max_norm, ", expected above 0");
        const double squares = gradient_squares() * coefficient_ * coefficient_;
        coefficient_ = squares - squares == 0 ? coefficient_ * kernels::cpu::clip_coefficient(squares, max_norm) : __builtin_nan("");
        return __builtin_sqrt(squares);
    }
    // The next step takes the gradients times a factor (1 / the scale of the loss), and is skipped if one of them is not finite:
    // false then.
    bool unscale(double factor) {
        const double squares = gradient_squares();
        coefficient_ = squares - squares == 0 ? factor : __builtin_nan("");
        return coefficient_ == factor;
    }

    // The factor of a schedule on every group's rate (and on AdaBound's bounds).
    void set_lr_scale(double scale) {
        for (Options& o : groups_) o.lr_scale = scale;
    }
    Options& options(std::size_t group = 0) { return groups_.at(group); }
    const StepStatistics& statistics() const { return statistics_; }

    // What a checkpoint keeps. Calls tensor(parameter, state, values) for every block of state ("m", "v", "v_max",
    // "momentum") of every parameter, values being a impl::AnyTensor over the state itself, and
    // steps(parameter, count) with a reference to its number of steps; parameters have the names of their visit, tied
    // ones the first, those of later groups with "group1." in front. Options, schedules and gradients are no state.
    static constexpr const char* rule_name = Rule::name;
    template <class Tensor, class Steps>
    void visit_state(Tensor&& tensor, Steps&& steps) {
        for (Parameter& p : parameters_) {
            const Arena& arena = arenas_[p.arena];
            for (int i = 0; i < Rule::states(groups_[p.group]); ++i)
                tensor(p.name.text(), Rule::state_names[i], impl::AnyTensor(impl::record_in(arena.states[i], p.first, p.tensor.get())));
            steps(p.name.text(), p.steps);
        }
    }
    void restore(const StepStatistics& statistics) { statistics_ = statistics; }

    // How many coordinates had their rate at the lower bound, between, and at the upper bound in the last step.
    kernels::cpu::BoundCounts bound_histogram() const
        requires requires(const Options& o) { o.final_lr; }
    {
        kernels::cpu::BoundCounts total{0, 0, 0};
        for (const Parameter& p : parameters_) {
            if (p.steps == 0) continue;
            const Arena& arena = arenas_[p.arena];
            const int state = Rule::states(groups_[p.group]) - 1;
            const kernels::cpu::AdaBoundScalars scalars = kernels::cpu::adabound_scalars(p.steps, groups_[p.group]);
            kernels::cpu::BoundCounts c{0, 0, 0};
            tenon::impl::check_device("bound_histogram", arena.device);
            const char* second = arena.states[state]->data + p.first * size_of(arena.dtype);
            if (arena.dtype == DType::float32) {
                const kernels::cpu::AdaBound<float, false> rule(scalars);
                c = TENON_RUN(arena.device, bound_histogram(rule, p.tensor->size, reinterpret_cast<const float*>(second)));
            } else {
                const kernels::cpu::AdaBound<double, false> rule(scalars);
                c = TENON_RUN(arena.device, bound_histogram(rule, p.tensor->size, reinterpret_cast<const double*>(second)));
            }
            total.at_lower += c.at_lower;
            total.inside += c.inside;
            total.at_upper += c.at_upper;
        }
        return total;
    }

private:
    struct Parameter {
        impl::AnyTensor tensor;
        impl::Name name;
        std::size_t arena = 0, group = 0;
        long first = 0, padded = 0, steps = 0;
    };
    struct Arena {
        DType dtype;
        Device device;
        impl::Storage *values, *gradients, *states[3];
        void release() {
            tenon::detail::release(values);
            tenon::detail::release(gradients);
            for (impl::Storage* s : states)
                if (s != nullptr) tenon::detail::release(s);
        }
    };

    void collect(std::vector<Parameter>& fresh, const char* name, impl::Record* r) {
        if (r->node == nullptr)
            fail<GradError>(Rule::name, ": parameter \"", name, "\" wants no gradient", "\n       hint: mark it with require_grad(), or visit it with nn::frozen or nn::buffer");
        if (!r->node->leaf) fail<GradError>(Rule::name, ": \"", name, "\" is the result of a recorded operation, not a parameter");
        tenon::impl::check_device(Rule::name, r->storage->device);
        if (!r->contiguous || r->is_view || r->offset != 0 || r->storage->bytes != static_cast<std::size_t>(r->size) * static_cast<std::size_t>(size_of(r->dtype)))
            fail<ValueError>(Rule::name, ": parameter \"", name, "\" is a view or not contiguous");
        if (r->storage->exported > 0)
            fail<Error>(Rule::name, ": the memory of parameter \"", name, "\" is lent out through DLPack and may not move into the optimiser's arena",
                        "\n       hint: let the other library go of it first, or train a copy: clone(x)");
        for (const std::vector<Parameter>* list : {&parameters_, &fresh})
            for (const Parameter& p : *list)
                if (p.tensor->node == r->node) return;  // tied
        if (r->node->owned)
            fail<GradError>(Rule::name, ": parameter \"", name, "\" belongs to another optimiser already", "\n       hint: destroy that one first");
        Parameter p;
        p.tensor = impl::AnyTensor::share(r);
        p.group = groups_.size();
        Message prefix;
        if (p.group > 0) prefix << "group" << static_cast<unsigned long>(p.group) << '.';
        p.name = impl::Name(prefix.text(), name);
        fresh.push_back(static_cast<Parameter&&>(p));
    }

    double gradient_squares() const {
        double squares = 0;
        // On a device, whose result has to be waited for, neighbours in an arena are one range.
        const char *data = nullptr, *end = nullptr;
        const Arena* arena = nullptr;
        const auto flush = [&] {
            if (arena == nullptr) return;
            tenon::impl::check_device(Rule::name, arena->device);
            const long n = (end - data) / size_of(arena->dtype);
            squares += arena->dtype == DType::float32 ? TENON_RUN(arena->device, sum_of_squares(n, reinterpret_cast<const float*>(data)))
                                                      : TENON_RUN(arena->device, sum_of_squares(n, reinterpret_cast<const double*>(data)));
            arena = nullptr;
        };
        for (const Parameter& p : parameters_) {
            const tenon::Node::Slot& slot = p.tensor->node->slots[0];
            if (!slot.has) continue;
            const char* g = slot.gradient->data();
            const Arena& own = arenas_[p.arena];
            if (arena != &own || own.device.is_cpu() || g != end) {
                flush();
                arena = &own;
                data = g;
            }
            // Padding holds zeros.
            end = g + (own.device.is_cpu() ? slot.gradient->size : p.padded) * size_of(own.dtype);
        }
        flush();
        return squares;
    }

    static bool together(const impl::Record* a, const impl::Record* b) { return a->dtype == b->dtype && a->storage->device == b->storage->device; }

    // Moves the fresh parameters of one type and device into an arena of their own.
    void seat(std::vector<Parameter>& fresh, const impl::Record* like, int states) {
        const DType dtype = like->dtype;
        const Device device = like->storage->device;
        long total = 0;
        for (Parameter& p : fresh) {
            if (!together(p.tensor.get(), like)) continue;
            p.first = total;
            p.padded = (p.tensor->size + 15) / 16 * 16;
            p.arena = arenas_.size();
            total += p.padded;
        }
        if (total == 0) return;
        Arena arena{dtype, device, impl::new_block(total, dtype, device), impl::new_block(total, dtype, device), {}};
        for (int i = 0; i < states; ++i) arena.states[i] = impl::new_block(total, dtype, device);
        arenas_.push_back(arena);
        for (Parameter& p : fresh) {
            if (!together(p.tensor.get(), like)) continue;
            impl::Record* r = p.tensor.get();
            tenon::detail::reseat(r->storage, arena.values->data + p.first * size_of(dtype), arena.values);
            tenon::Node::Slot& slot = r->node->slots[0];
            impl::AnyTensor gradient(impl::record_in(arena.gradients, p.first, r));
            if (slot.has) tenon::detail::copy_bytes(device, gradient->data(), slot.gradient->data(), static_cast<std::size_t>(r->size) * static_cast<std::size_t>(size_of(dtype)));
            slot.gradient = gradient;
            r->node->owned = true;
        }
    }

    template <class T>
    void step_arena(Arena& arena, T coefficient) {
        T* p = reinterpret_cast<T*>(arena.values->data);
        T* g = reinterpret_cast<T*>(arena.gradients->data);
        T* s[3];
        for (int i = 0; i < 3; ++i) s[i] = arena.states[i] != nullptr ? reinterpret_cast<T*>(arena.states[i]->data) : nullptr;
        const std::size_t index = static_cast<std::size_t>(&arena - arenas_.data());
        tenon::impl::check_device(Rule::name, arena.device);
        // Runs of neighbours with the same options and step count are one range.
        long first = 0, end = -1, steps = 0;
        std::size_t group = 0;
        auto flush = [&] {
            if (end < 0) return;
            T* at[3];
            for (int i = 0; i < 3; ++i) at[i] = s[i] != nullptr ? s[i] + first : nullptr;
            Rule::template with_kernel<T>(groups_[group], [&](auto make) {
                const auto kernel = make(groups_[group], steps);
                const long n = end - first;
#if TENON_CUDA
                if (!arena.device.is_cpu() && cuda_detail::capture != nullptr)
                    return captured_step(make, kernel, coefficient, group, index, first, end, p + first, g + first, at);
#endif
                TENON_RUN(arena.device, fused_step(kernel, n, p + first, g + first, at[0], at[1], at[2], false, coefficient != T(1) ? &coefficient : nullptr));
            });
            end = -1;
        };
        for (Parameter& q : parameters_) {
            if (q.arena != index) continue;
            tenon::Node::Slot& slot = q.tensor->node->slots[0];
            if (!slot.has) {
                flush();
                continue;
            }
            ++q.steps;
            if (end < 0 || q.steps != steps || q.group != group || q.first != end) {
                flush();
                first = q.first;
                steps = q.steps;
                group = q.group;
            }
            end = q.first + q.padded;
            tenon::detail::note_write(q.tensor->storage, Rule::name);
        }
        flush();
    }

#if TENON_CUDA
    // Records the step of a range. Its launches count the steps, the recording does not.
    template <class T, class Make, class Kernel>
    void captured_step(Make make, const Kernel& kernel, T coefficient, std::size_t group, std::size_t arena, long first, long end, T* p, T* g, T* const* states) {
        using Numbers = kernels::cuda::StepNumbers<Kernel, T>;
        const auto count = [=, this](long by) {
            long steps = 0;
            for (Parameter& q : parameters_)
                if (q.arena == arena && q.first >= first && q.first < end) steps = q.steps += by;
            return steps;
        };
        count(-1);
        const Numbers* fresh = cuda_detail::capture->value<Numbers>([=, this](long) {
            const Kernel now = make(groups_[group], count(1));
            return Numbers{now, static_cast<T>(now.gradient_scale * coefficient)};
        });
        kernels::cuda::fused_step(Numbers{kernel, static_cast<T>(kernel.gradient_scale * coefficient)}, fresh, end - first, p, g, states[0], states[1], states[2]);
    }
#endif

    std::vector<Parameter> parameters_;
    std::vector<Options> groups_;
    std::vector<Arena> arenas_;
    StepStatistics statistics_;
    double coefficient_ = 1;
};

// SGD, with momentum, dampening, Nesterov.
template <class M>
[[nodiscard]] Optimizer<impl::SgdRule> sgd(M& module, SgdOptions options = {}) { return {module, options}; }
// Adam (Kingma and Ba 2015), weight decay as L2.
template <class M>
[[nodiscard]] Optimizer<impl::AdamRule<false>> adam(M& module, AdamOptions options = {}) { return {module, options}; }
// AdamW (Loshchilov and Hutter 2019): decoupled weight decay, 0.01 unless given.
template <class M>
[[nodiscard]] Optimizer<impl::AdamRule<false>> adamw(M& module, AdamOptions options = {.weight_decay = 0.01}) {
    options.decay = WeightDecay::decoupled_torch;
    return {module, options};
}
// AMSGrad (Reddi et al. 2018).
template <class M>
[[nodiscard]] Optimizer<impl::AdamRule<true>> amsgrad(M& module, AdamOptions options = {}) { return {module, options}; }
// AdaBound and AMSBound (Luo et al. 2019).
template <class M>
[[nodiscard]] Optimizer<impl::AdaBoundRule<false>> adabound(M& module, AdaBoundOptions options = {}) { return {module, options}; }
template <class M>
[[nodiscard]] Optimizer<impl::AdaBoundRule<true>> amsbound(M& module, AdaBoundOptions options = {}) { return {module, options}; }

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon::optim

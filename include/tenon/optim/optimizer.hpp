// Optimisers over flat arenas. Building one moves the parameters' memory into one block (handles and views follow), with
// gradients and state in blocks of the same layout; a step is one pass over them. Here: SGD, Adam, AdaBound and their
// relatives; other rules are in optim/adaptive.hpp, sign.hpp, layerwise.hpp and lbfgs.hpp.
#pragma once

#include <tenon/kernels/cpu/layerwise.hpp>
#include <tenon/kernels/cpu/row_step.hpp>
#include <tenon/optim/parameter_set.hpp>
#if TENON_CUDA
#include <tenon/kernels/cuda/layerwise.cuh>
#include <tenon/kernels/cuda/row_step.cuh>
#endif

namespace tenon::optim {

// Steps made, and those that a gradient which was not finite has skipped.
struct StepStatistics { long steps = 0, skipped = 0; };

inline namespace TENON_CONFIG_NAMESPACE {

using kernels::cpu::AdaBoundOptions;
using kernels::cpu::AdamOptions;
using kernels::cpu::AdamWOptions;
using kernels::cpu::SgdOptions;
using kernels::cpu::WeightDecay;

namespace impl {

// What most rules are: no passes over whole parameters (optim/layerwise.hpp has them), states that start from 0, and no number
// to keep from step to step.
struct RuleDefaults {
    static constexpr bool layerwise = false, remembers = false;
    template <class Options>
    static double initial(const Options&, int) { return 0; }
    template <class Options>
    static double advance(const Options&, long, double) { return 0; }
};
// The rules: `states` blocks of the arena's size each; with_kernel calls f(make) where make(options, t, memory) is the kernel of
// step t.
struct SgdRule : RuleDefaults {
    using Options = SgdOptions;
    static constexpr const char* name = "sgd";
    static constexpr const char* state_name(const Options&, int) { return "momentum"; }
    static int states(const Options& o) { return o.momentum != 0 ? 1 : 0; }
    static void check(const Options& o) { kernels::cpu::sgd_scalars(1, o); }
    template <class T, class F>
    static void with_kernel(const Options& o, F&& f) {
        const auto of = [&]<class Kernel>(std::type_identity<Kernel>) {
            f([](const Options& now, long t, double) { return Kernel(kernels::cpu::sgd_scalars(t, now)); });
        };
        if (o.momentum == 0) of(std::type_identity<kernels::cpu::Sgd<T, false>>());
        else if (o.nesterov) of(std::type_identity<kernels::cpu::Sgd<T, true, true>>());
        else of(std::type_identity<kernels::cpu::Sgd<T, true, false>>());
    }
};
constexpr const char* moment_name(int i) { return i == 0 ? "m" : i == 1 ? "v" : "v_max"; }
template <bool Amsgrad>
struct AdamRule : RuleDefaults {
    using Options = AdamOptions;
    static constexpr const char* name = Amsgrad ? "amsgrad" : "adam";
    static constexpr const char* state_name(const Options&, int i) { return moment_name(i); }
    static int states(const Options&) { return Amsgrad ? 3 : 2; }
    static void check(const Options& o) { kernels::cpu::adam_scalars(1, o); }
    template <class T, class F>
    static void with_kernel(const Options&, F&& f) {
        f([](const Options& now, long t, double) { return kernels::cpu::Adam<T, Amsgrad>(kernels::cpu::adam_scalars(t, now)); });
    }
};
struct AdamWRule : RuleDefaults {
    using Options = AdamWOptions;
    static constexpr const char* name = "adamw";
    static constexpr const char* state_name(const Options&, int i) { return moment_name(i); }
    static int states(const Options&) { return 2; }
    static void check(const Options& o) { kernels::cpu::adamw_scalars(1, o); }
    template <class T, class F>
    static void with_kernel(const Options&, F&& f) {
        f([](const Options& now, long t, double) { return kernels::cpu::Adam<T>(kernels::cpu::adamw_scalars(t, now)); });
    }
};
template <bool Amsbound>
struct AdaBoundRule : RuleDefaults {
    using Options = AdaBoundOptions;
    static constexpr const char* name = Amsbound ? "amsbound" : "adabound";
    static constexpr const char* state_name(const Options&, int i) { return moment_name(i); }
    static int states(const Options&) { return Amsbound ? 3 : 2; }
    static void check(const Options& o) { kernels::cpu::adabound_scalars(1, o); }
    template <class T, class F>
    static void with_kernel(const Options&, F&& f) {
        f([](const Options& now, long t, double) { return kernels::cpu::AdaBound<T, Amsbound>(kernels::cpu::adabound_scalars(t, now)); });
    }
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
    Optimizer(Optimizer&&) noexcept = default;
    Optimizer& operator=(Optimizer&&) = delete;

    // More parameters, with options of their own.
    template <class M>
    void add_group(M& module, const Options& options) {
        Rule::check(options);
        const int states = Rule::states(options);
        if (!groups_.empty() && !same_states(options))
            fail<ValueError>(Rule::name, ": groups differ in what they keep", "\n       hint: options that decide whether there is a momentum, say, are the same in all groups");
        double initial[3] = {};
        for (int i = 0; i < states; ++i) initial[i] = Rule::initial(options, i);
        set_.take(Rule::name, module, groups_.size(), states, initial);
        groups_.push_back(options);
        state_count_ = states;
        for (int i = 0; i < states; ++i) state_names_[i] = Rule::state_name(options, i);
    }

    // Updates every parameter that has a gradient, in one pass, and clears the gradients (keep_gradients: leaves them).
    // A parameter without a gradient since the last clear is skipped. After clip_norm and clip_value the gradients are scaled and
    // clipped on the way; a norm that is not finite skips the step. In a captured graph (runtime/graph.hpp) every launch makes
    // the next step, with the options of that moment; the optimiser must outlive the graph where it is. Throws ValueError for
    // options that have gone out of range, before anything has changed.
    struct StepOptions { bool keep_gradients = false; };
    void step(StepOptions options = {}) {
        for (const Options& o : groups_) {
            Rule::check(o);
            if (!same_states(o))
                fail<ValueError>(Rule::name, ": an option that decides what the optimiser keeps (its momentum, say) has changed since it was built",
                                 "\n       hint: build another optimiser");
        }
        const double coefficient = coefficient_, limit = limit_;
        coefficient_ = 1;
        limit_ = __builtin_inf();
        const bool skip = !(coefficient - coefficient == 0);
        if (!skip) {
            for (impl::Arena& arena : set_.arenas) {
                if (arena.dtype == DType::float32) step_arena<float>(arena, static_cast<float>(coefficient), static_cast<float>(limit));
                else step_arena<double>(arena, coefficient, limit);
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
        for (impl::Parameter& p : set_.parameters) p.rows = impl::AnyTensor();
        if (!options.keep_gradients) zero_grad();
    }
    void zero_grad() { set_.zero_grad(); }

    // The norm (sum |g|^power)^(1 / power) of all gradients together, after unscale if that came before; the next step takes them
    // times min(1, max_norm / norm). power: 1, 2, or infinity for the largest magnitude. Throws ValueError for another one, a
    // max_norm that is not above 0, and after clip_value.
    double clip_norm(double max_norm, double power = 2) {
        if (!(max_norm > 0)) fail<ValueError>("clip_norm: a maximum of ", max_norm, ", expected above 0");
        if (limit_ < __builtin_inf()) fail<ValueError>("clip_norm: clip_value has been called for this step", "\n       hint: call clip_norm first");
        const double norm = gradient_norm(power) * coefficient_;
        coefficient_ = norm - norm == 0 ? coefficient_ * kernels::cpu::clip_coefficient(norm * norm, max_norm) : __builtin_nan("");
        return norm;
    }
    // The next step takes each gradient held to [-limit, limit], after unscale and clip_norm if those came before. A NaN stays.
    // Throws ValueError for a limit that is not above 0.
    void clip_value(double limit) {
        if (!(limit > 0)) fail<ValueError>("clip_value: a limit of ", limit, ", expected above 0");
        limit_ = limit;
    }
    // The next step takes the gradients times a factor (1 / the scale of the loss), and is skipped if one of them is not finite:
    // false then.
    bool unscale(double factor) {
        const double squares = set_.gradient_squares(Rule::name);
        coefficient_ = squares - squares == 0 ? factor : __builtin_nan("");
        return coefficient_ == factor;
    }
    // The norm of all gradients as they are; power as in clip_norm.
    double gradient_norm(double power = 2) const {
        const auto add = [](double a, double b) { return a + b; };
        if (power == 2) return __builtin_sqrt(set_.gradient_squares(Rule::name));
        if (power == 1)
            return set_.fold_gradients(Rule::name, [](Device device, long n, const auto* g) { return TENON_RUN(device, sum_of_magnitudes(n, g)); }, add);
        if (power == __builtin_inf())
            return set_.fold_gradients(Rule::name, [](Device device, long n, const auto* g) { return TENON_RUN(device, largest_magnitude(n, g)); },
                                       [](double a, double b) { return kernels::cpu::impl::optim_max(a, b); });
        fail<ValueError>("clip_norm: a norm of power ", power, ": expected 1, 2 or infinity");
    }

    // The next step updates these rows (along the first axis) of a parameter alone, with their states: what an embedding has
    // looked up, only_rows(table, touched_rows(y)). rows: int64, rising. The count of steps is the parameter's, so a row that
    // was not touched for some steps does not catch up (lazy updates); weight decay, too, meets only the rows that are touched.
    // Throws ValueError for a tensor that is none of the parameters, rows that do not rise, rules with a norm over the whole
    // parameter, IndexError for rows outside of it.
    template <class T, int R>
        requires(R >= 1)
    void only_rows(const Tensor<T, R>& parameter, const Tensor<std::int64_t, 1>& rows) {
        if constexpr (Rule::layerwise) {
            fail<ValueError>("only_rows: ", Rule::name, " needs the norms of the whole parameter");
        } else {
            for (impl::Parameter& p : set_.parameters) {
                if (p.tensor->node != parameter.record()->node) continue;
                const long most = parameter.shape(0);
                const Tensor<std::int64_t, 1> here = rows.to(cpu), list = here.is_contiguous() ? here : clone(here);
                const std::int64_t* r = list.data();
                for (long i = 0; i < list.size(); ++i) {
                    if (r[i] < 0 || r[i] >= most) fail<IndexError>("only_rows: row ", static_cast<long>(r[i]), " of ", parameter.record()->description());
                    if (i > 0 && r[i] <= r[i - 1])
                        fail<ValueError>("only_rows: row ", static_cast<long>(r[i]), " follows ", static_cast<long>(r[i - 1]), ": expected rising rows");
                }
                p.rows = (parameter.device().is_cpu() ? list : list.to(parameter.device())).any();
                return;
            }
            fail<ValueError>("only_rows: ", parameter.record()->description(), " is not a parameter of this optimiser");
        }
    }

    // The factor of a schedule on the rate (and on AdaBound's bounds): of every group, or of one.
    void set_lr_scale(double scale) {
        for (Options& o : groups_) o.lr_scale = scale;
    }
    void set_lr_scale(std::size_t group, double scale) { groups_.at(group).lr_scale = scale; }
    // The momentum of every group that has one, or beta1 where the rule has that (OneCycle).
    void set_momentum(double momentum)
        requires(requires(Options o) { o.momentum; } || requires(Options o) { o.beta1; })
    {
        for (Options& o : groups_) {
            if constexpr (requires { o.momentum; }) o.momentum = o.momentum != 0 ? momentum : 0;
            else o.beta1 = momentum;
        }
    }
    Options& options(std::size_t group = 0) { return groups_.at(group); }
    std::size_t group_count() const { return groups_.size(); }
    const StepStatistics& statistics() const { return statistics_; }

    // What a checkpoint keeps. visit_state calls tensor(parameter, state, values) for every block of state ("m", "v", "v_max",
    // "momentum") of every parameter, values being a impl::AnyTensor over the state itself, and
    // steps(parameter, count) with a reference to its number of steps; parameters have the names of their visit, tied
    // ones the first, those of later groups with "group1." in front. visit_numbers calls f(name, number) with references to the
    // options of the groups ("group0.lr") and what the rule remembers. Schedules and gradients are no state.
    static constexpr const char* rule_name = Rule::name;
    template <class Tensor, class Steps>
    void visit_state(Tensor&& tensor, Steps&& steps) {
        for (impl::Parameter& p : set_.parameters) {
            const impl::Arena& arena = set_.arenas[p.arena];
            for (int i = 0; i < state_count_; ++i) tensor(p.name.text(), state_names_[i], impl::AnyTensor(impl::record_in(arena.states[i], p.first, p.tensor.get())));
            steps(p.name.text(), p.steps);
        }
    }
    template <class F>
    void visit_numbers(F&& f) {
        for (std::size_t group = 0; group < groups_.size(); ++group) {
            Options::visit(groups_[group], [&](const char* option, auto& value) {
                Message name;
                name << "group" << static_cast<unsigned long>(group) << '.' << option;
                f(name.text(), value);
            });
        }
        if constexpr (Rule::remembers) {
            for (impl::Parameter& p : set_.parameters) {
                Message name;
                name << p.name.text() << ".memory";
                f(name.text(), p.memory);
            }
        }
    }
    // Throws ValueError for options that a rule does not take.
    void check_numbers() const {
        for (const Options& o : groups_) {
            Rule::check(o);
            if (!same_states(o)) fail<ValueError>(Rule::name, ": these options keep other states than the optimiser was built with");
        }
    }
    void restore(const StepStatistics& statistics) { statistics_ = statistics; }

    // Writes a state into the parameters of another module by name, copy_state("average", copy): the weights that ASGD averages.
    // Throws ValueError where a parameter has no such state, ShapeError for another size.
    template <class M>
    void copy_state(const char* state, M& module) const {
        const auto one = [&](const char* name, nn::Kind kind, auto& x) {
            using X = std::remove_cvref_t<decltype(x)>;
            if (kind != nn::Kind::parameter || !x.has_value()) return;
            for (const impl::Parameter& p : set_.parameters) {
                if (std::strcmp(p.name.text(), name) != 0 || p.tensor->dtype != x.record()->dtype) continue;
                for (int i = 0; i < state_count_; ++i) {
                    if (std::strcmp(state_names_[i], state) != 0) continue;
                    const no_grad guard;
                    x.copy_from(X(impl::AnyTensor(impl::record_in(set_.arenas[p.arena].states[i], p.first, p.tensor.get()))));
                    return;
                }
            }
            fail<ValueError>("copy_state: ", Rule::name, " keeps no \"", state, "\" of \"", name, "\"");
        };
        if constexpr (nn::detail::is_tensor<std::remove_cvref_t<M>>) one("parameter", nn::Kind::parameter, module);
        else nn::for_each_tensor(module, one);
    }

    // For optimisers that wrap this one.
    impl::ParameterSet& parameter_set() { return set_; }

    // How many coordinates had their rate at the lower bound, between, and at the upper bound in the last step.
    kernels::cpu::BoundCounts bound_histogram() const
        requires requires(const Options& o) { o.final_lr; }
    {
        kernels::cpu::BoundCounts total{0, 0, 0};
        for (const impl::Parameter& p : set_.parameters) {
            if (p.steps == 0) continue;
            const impl::Arena& arena = set_.arenas[p.arena];
            const kernels::cpu::AdaBoundScalars scalars = kernels::cpu::adabound_scalars(p.steps, groups_[p.group]);
            kernels::cpu::BoundCounts c{0, 0, 0};
            tenon::impl::check_device("bound_histogram", arena.device);
            const char* second = arena.states[state_count_ - 1]->data + p.first * size_of(arena.dtype);
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
    bool same_states(const Options& o) const {
        if (Rule::states(o) != state_count_) return false;
        for (int i = 0; i < state_count_; ++i)
            if (std::strcmp(Rule::state_name(o, i), state_names_[i]) != 0) return false;
        return true;
    }
    

    template <class T>
    void step_arena(impl::Arena& arena, T coefficient, T limit) {
        T* p = reinterpret_cast<T*>(arena.values->data);
        T* g = reinterpret_cast<T*>(arena.gradients->data);
        T* s[3];
        for (int i = 0; i < 3; ++i) s[i] = arena.states[i] != nullptr ? reinterpret_cast<T*>(arena.states[i]->data) : nullptr;
        const std::size_t index = static_cast<std::size_t>(&arena - set_.arenas.data());
        const T* scale = coefficient != T(1) ? &coefficient : nullptr;
        tenon::impl::check_device(Rule::name, arena.device);
        // Runs of neighbours with the same options and step count are one range.
        long first = 0, end = -1, steps = 0;
        double memory = 0;
        std::size_t group = 0;
        T* at[3];
        const auto stand_at = [&](long place) {
            for (int i = 0; i < 3; ++i) at[i] = s[i] != nullptr ? s[i] + place : nullptr;
        };
        auto flush = [&] {
            if (end < 0) return;
            stand_at(first);
            Rule::template with_kernel<T>(groups_[group], [&](auto make) {
                const auto kernel = make(groups_[group], steps, memory);
#if TENON_CUDA
                if (!arena.device.is_cpu() && cuda_detail::capture != nullptr)
                    return captured_step(make, kernel, coefficient, limit, group, index, first, end, p + first, g + first, at);
#endif
                if constexpr (Rule::layerwise) {
                    TENON_RUN(arena.device, layerwise_steps(kernel, static_cast<long>(layers_.size()), layers_.data(), p + first, g + first, at[0], at[1], false, scale, limit));
                } else {
                    TENON_RUN(arena.device, fused_step(kernel, end - first, p + first, g + first, at[0], at[1], at[2], false, scale, limit));
                }
            });
            end = -1;
        };
        for (impl::Parameter& q : set_.parameters) {
            if (q.arena != index) continue;
            if (!q.slot().has) {
                flush();
                continue;
            }
            count_step(q);
            tenon::detail::note_write(q.tensor->storage, Rule::name);
            if constexpr (!Rule::layerwise) {
                if (q.rows) {
                    flush();
                    step_rows(arena, q, coefficient, limit, p, g, s);
                    continue;
                }
            }
            if (end < 0 || q.steps != steps || q.memory != memory || q.group != group || q.first != end) {
                flush();
                first = q.first;
                steps = q.steps;
                memory = q.memory;
                group = q.group;
                layers_.clear();
            }
            if constexpr (Rule::layerwise) layers_.push_back({q.first - first, q.tensor->size, groups_[group].vectors || q.tensor->rank >= 2});
            end = q.first + q.padded;
        }
        flush();
    }
    void count_step(impl::Parameter& q) {
        q.before = q.memory;
        ++q.steps;
        q.memory = Rule::advance(groups_[q.group], q.steps, q.memory);
    }

    template <class T>
    void step_rows(impl::Arena& arena, impl::Parameter& q, T coefficient, T limit, T* p, T* g, T* const* s) {
#if TENON_CUDA
        if (cuda_detail::capture != nullptr) fail<DeviceError>("only_rows: the rows of a step cannot be part of a captured graph");
#endif
        const long width = q.tensor->dims()[0] > 0 ? q.tensor->size / q.tensor->dims()[0] : 0;
        T* at[3];
        for (int i = 0; i < 3; ++i) at[i] = s[i] != nullptr ? s[i] + q.first : nullptr;
        const std::int64_t* rows = reinterpret_cast<const std::int64_t*>(q.rows->data());
        const T* scale = coefficient != T(1) ? &coefficient : nullptr;
        Rule::template with_kernel<T>(groups_[q.group], [&](auto make) {
            TENON_RUN(arena.device, row_step(make(groups_[q.group], q.steps, q.memory), rows, q.rows->size, width, p + q.first, g + q.first, at[0], at[1], at[2],
                                             false, scale, limit));
        });
    }

#if TENON_CUDA
    // Records the step of a range. Its launches count the steps, the recording does not.
    template <class T, class Make, class Kernel>
    void captured_step(Make make, const Kernel& kernel, T coefficient, T limit, std::size_t group, std::size_t arena, long first, long end, T* p, T* g, T* const* states) {
        using Numbers = kernels::cuda::StepNumbers<Kernel, T>;
        for (impl::Parameter& q : set_.parameters)
            if (q.arena == arena && q.first >= first && q.first < end) {
                --q.steps;
                q.memory = q.before;
            }
        const Numbers* fresh = cuda_detail::capture->value<Numbers>([=, this](long) {
            long steps = 0;
            double memory = 0;
            for (impl::Parameter& q : set_.parameters)
                if (q.arena == arena && q.first >= first && q.first < end) {
                    count_step(q);
                    steps = q.steps;
                    memory = q.memory;
                }
            const Kernel now = make(groups_[group], steps, memory);
            return Numbers{now, static_cast<T>(now.gradient_scale * coefficient), limit};
        });
        const Numbers numbers{kernel, static_cast<T>(kernel.gradient_scale * coefficient), limit};
        if constexpr (Rule::layerwise) {
            kernels::cuda::layerwise_steps(numbers, fresh, static_cast<long>(layers_.size()), layers_.data(), p, g, states[0], states[1]);
        } else {
            kernels::cuda::fused_step(numbers, fresh, end - first, p, g, states[0], states[1], states[2]);
        }
    }
#endif

    impl::ParameterSet set_;
    std::vector<Options> groups_;
    StepStatistics statistics_;
    int state_count_ = 0;
    const char* state_names_[3] = {};
    std::vector<kernels::cpu::Layer> layers_;  // the parameters of a range, for a layerwise rule
    double coefficient_ = 1, limit_ = __builtin_inf();
};

// SGD, with momentum, dampening, Nesterov.
template <class M>
[[nodiscard]] Optimizer<impl::SgdRule> sgd(M& module, SgdOptions options = {}) { return {module, options}; }
// Adam (Kingma and Ba 2015), weight decay as L2.
template <class M>
[[nodiscard]] Optimizer<impl::AdamRule<false>> adam(M& module, AdamOptions options = {}) { return {module, options}; }
// AdamW (Loshchilov and Hutter 2019): decoupled weight decay, 0.01 unless given.
template <class M>
[[nodiscard]] Optimizer<impl::AdamWRule> adamw(M& module, AdamWOptions options = {}) { return {module, options}; }
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

// The stochastic delta rule (Hanson 1990; Frazier-Logue and Hanson 2018): every weight is drawn anew for each step, and the spread
// of the draw follows the gradient.
#pragma once

#include <tenon/kernels/cpu/rules/noise.hpp>
#include <tenon/optim/blocks.hpp>
#include <tenon/optim/optimizer.hpp>
#include <tenon/ops/perturb.hpp>

namespace tenon::optim {

// decay: s = zeta * (s + beta * |g|), as published. dynamic: s = zeta * s + beta * |g|, held between min_ratio and max_ratio: this
// library's reading of the "SDR-Dynamic" of 2020, whose formula is not public.
enum class SdrRule { decay, dynamic };
// Which parameters get noise: those with two or more axes, or all, biases and scales of norms too, as in the authors' code.
enum class SdrScope { weights, all };

struct SdrOptions {
    double beta = 0.1;           // growth: deviation for each unit of |gradient|
    double zeta = 0.7;           // decay
    double first_half = 1;       // a factor on zeta for the first half of the parameters (the authors' code: 0.9)
    long every = 1;              // steps between two updates of the deviations
    double max_ratio = 0.5;      // deviations are at most this share of their tensor's root mean square; infinity: no bound
    double min_ratio = 0;        // and at least this
    bool scale_free = false;     // |g| in units of its root mean square in the tensor
    double initial = 1;          // factor on the first deviations; 0: none
    SdrRule rule = SdrRule::decay;
    SdrScope scope = SdrScope::weights;
    Key key = Key{0};            // of the first deviations
};

// zeta in an epoch (from 0) of the published geometric schedule: zeta0, zeta0, zeta0^2, zeta0^3, ..., a power more every `drop` epochs.
inline double sdr_geometric(double zeta0, long epoch, long drop = 1) {
    const long power = drop > 0 ? epoch / drop : 0;
    return __builtin_pow(zeta0, static_cast<double>(power > 1 ? power : 1));
}
// The schedule that the authors' code has for networks of 200 and more layers: zeta0, zeta0, zeta0 e^-0.1, zeta0 e^-0.2, ...
inline double sdr_exponential(double zeta0, long epoch) {
    return zeta0 * __builtin_exp(-0.1 * static_cast<double>(epoch > 1 ? epoch - 1 : 0));
}

inline namespace TENON_CONFIG_NAMESPACE {

// Around another optimiser. The net holds the means and is what is evaluated; sample(net, key) is what is trained:
//
//     auto opt = optim::sdr(optim::sgd(net, {.lr = 0.1, .momentum = 0.9}), {.beta = 0.1, .zeta = 0.999});
//     auto noisy = opt.sample(net, key.split(step));
//     cross_entropy(noisy(x), y).backward();       // gradients at the drawn weights, into the net's
//     opt.step();                                  // means by the inner optimiser, then deviations by the rule
//
// The deviations start as in the authors' code: for a tensor of n elements, normal draws scaled so that they span [0, sqrt(2 / n) / 2].
template <class Inner>
class Sdr {
public:
    // Throws ValueError for options out of range.
    explicit Sdr(Inner inner, SdrOptions options = {}) : inner_(static_cast<Inner&&>(inner)), options_(options) {
        check_numbers();
        cover();
    }
    template <class M, class Options>
    void add_group(M& module, const Options& options) {
        inner_.add_group(module, options);
        cover();
    }

    // A copy of the handles of a module whose parameters in scope are drawn: mean + deviation * normal. Gradients go to the
    // means, whose place in the graph the draws take. The same key and deviations give the same draw; a draw stays as it is
    // when others are made. Throws ValueError for a module none of whose parameters belongs to the optimiser.
    template <class M>
    [[nodiscard]] M sample(const M& module, Key key) {
        impl::check_not_captured("sdr");
        impl::ParameterSet& set = inner_.parameter_set();
        std::vector<impl::AnyTensor> drawn(set.arenas.size());
        for (std::size_t a = 0; a < set.arenas.size(); ++a) drawn[a] = draw(a, key.split(a));
        M noisy = module;
        bool found = false;
        nn::for_each_tensor(noisy, [&](const char*, nn::Kind kind, auto& x) {
            using X = std::remove_cvref_t<decltype(x)>;
            if (kind != nn::Kind::parameter || !x.has_value()) return;
            for (const impl::Parameter& p : set.parameters) {
                if (p.tensor->node != x.record()->node) continue;
                found = true;
                if (!in_scope(p)) return;
                impl::AnyTensor own(impl::record_in(drawn[p.arena]->storage, p.first, p.tensor.get()));
                own->node = p.tensor->node;
                tenon::detail::retain(own->node);
                own->recorded_writes = own->storage->recorded_writes;
                X noise(static_cast<impl::AnyTensor&&>(own));
                x = noise;
                return;
            }
        });
        if (!found) fail<ValueError>("sdr: none of the parameters of this module belongs to the optimiser");
        return noisy;
    }

    // A step of the inner optimiser; every `every`-th one then moves the deviations of the parameters that have a gradient, as
    // it came (before unscale and clipping). A step that the inner optimiser skips moves none. Throws ValueError for a
    // gradient that is not finite, naming its parameter, before anything has changed.
    void step(typename Inner::StepOptions options = {}) {
        impl::check_not_captured("sdr");
        check_numbers();
        const bool moves = (count_ + 1) % options_.every == 0;
        std::vector<double> squares;
        if (moves && !skips_) squares = gradient_squares();
        skips_ = false;
        const long before = inner_.statistics().steps;
        const bool keep = options.keep_gradients;
        options.keep_gradients = true;
        inner_.step(options);
        if (inner_.statistics().steps != before) {
            ++count_;
            if (!squares.empty()) move(squares);
        }
        if (!keep) inner_.zero_grad();
    }
    void zero_grad() { inner_.zero_grad(); }
    double clip_norm(double max_norm, double power = 2) {
        const double norm = inner_.clip_norm(max_norm, power);
        skips_ = skips_ || !(norm - norm == 0);
        return norm;
    }
    void clip_value(double limit) { inner_.clip_value(limit); }
    bool unscale(double factor) {
        const bool finite = inner_.unscale(factor);
        skips_ = !finite;
        return finite;
    }
    void set_lr_scale(double scale) { inner_.set_lr_scale(scale); }
    // For schedules: throws ValueError unless it is a finite number of at least 0.
    void set_zeta(double zeta) {
        kernels::cpu::impl::check_option("sdr", "zeta", zeta, 0);
        options_.zeta = zeta;
    }
    const SdrOptions& options() const { return options_; }
    Inner& inner() { return inner_; }

    // The deviations of a parameter, a handle on the state itself. Throws ValueError for a tensor that is no parameter in scope.
    template <class T, int R>
    [[nodiscard]] Tensor<T, R> deviation(const Tensor<T, R>& parameter) {
        for (const impl::Parameter& p : inner_.parameter_set().parameters)
            if (p.tensor->node == parameter.record()->node && in_scope(p)) return Tensor<T, R>(sigma_.part(p));
        fail<ValueError>("sdr: ", parameter.record()->description(), " is not a parameter with noise");
    }
    // Calls f(name, |deviation| / |mean|) for every parameter with noise.
    template <class F>
    void noise_ratios(F&& f) {
        for (const impl::Parameter& p : inner_.parameter_set().parameters)
            if (in_scope(p)) f(p.name.text(), __builtin_sqrt(squares_of(p, sigma_) / squares_of(p, impl::Values{inner_.parameter_set()})));
    }
    // The same over all of them together: how much noise there is.
    double noise_ratio() {
        double noise = 0, mean = 0;
        for (const impl::Parameter& p : inner_.parameter_set().parameters) {
            if (!in_scope(p)) continue;
            noise += squares_of(p, sigma_);
            mean += squares_of(p, impl::Values{inner_.parameter_set()});
        }
        return mean > 0 ? __builtin_sqrt(noise / mean) : 0;
    }

    static constexpr impl::JoinedText name_{"sdr", Inner::rule_name};
    static constexpr const char* rule_name = name_.text;
    const StepStatistics& statistics() const { return inner_.statistics(); }
    void restore(const StepStatistics& statistics) { inner_.restore(statistics); }
    template <class Tensor, class Steps>
    void visit_state(Tensor&& tensor, Steps&& steps) {
        inner_.visit_state(tensor, steps);
        for (const impl::Parameter& p : inner_.parameter_set().parameters)
            if (in_scope(p)) tensor(p.name.text(), "sigma", sigma_.part(p));
    }
    template <class F>
    void visit_numbers(F&& f) {
        inner_.visit_numbers(f);
        f("sdr.beta", options_.beta);
        f("sdr.zeta", options_.zeta);
        f("sdr.every", options_.every);
        f("sdr.count", count_);
    }
    void check_numbers() const {
        using kernels::cpu::impl::check_option;
        inner_.check_numbers();
        check_option("sdr", "beta", options_.beta, 0);
        check_option("sdr", "zeta", options_.zeta, 0);
        check_option("sdr", "first_half", options_.first_half, 0);
        check_option("sdr", "initial", options_.initial, 0);
        if (options_.every < 1 || count_ < 0) fail<ValueError>("sdr: every is ", options_.every, ": expected at least 1");
        if (!(options_.min_ratio >= 0 && options_.min_ratio <= options_.max_ratio && options_.min_ratio < __builtin_inf()))
            fail<ValueError>("sdr: ratios from ", options_.min_ratio, " to ", options_.max_ratio, ": expected 0 <= min_ratio <= max_ratio");
    }

private:
    bool in_scope(const impl::Parameter& p) const { return options_.scope == SdrScope::all || p.tensor->rank >= 2; }

    // Deviations for the arenas that have none yet.
    void cover() {
        impl::ParameterSet& set = inner_.parameter_set();
        const std::size_t old = sigma_.size();
        sigma_.cover(set);
        if (options_.initial == 0) return;
        for (std::size_t i = 0; i < set.parameters.size(); ++i) {
            const impl::Parameter& p = set.parameters[i];
            if (p.arena >= old && in_scope(p)) start(p, options_.key.split(i));
        }
    }
    // Drawn on the host: it is done once.
    void start(const impl::Parameter& p, Key key) const {
        const long n = p.tensor->size;
        if (n == 0) return;
        const Device device = set_device(p);
        impl::with_type(p.tensor->dtype, [&]<class T>(T*) {
            std::vector<T> z(static_cast<std::size_t>(n));
            kernels::cpu::normal(key, n, z.data());
            T low = z[0], high = z[0];
            for (const T x : z) {
                low = x < low ? x : low;
                high = x > high ? x : high;
            }
            const double span = static_cast<double>(high) - static_cast<double>(low);
            const double factor = span > 0 ? options_.initial * 0.5 * __builtin_sqrt(2 / static_cast<double>(n)) / span : 0;
            for (T& x : z) x = static_cast<T>((static_cast<double>(x) - static_cast<double>(low)) * factor);
            char* to = sigma_[p.arena]->data + static_cast<std::size_t>(p.first) * sizeof(T);
            if (device.is_cpu()) std::memcpy(to, z.data(), z.size() * sizeof(T));
            else runtime::backend(device).copy(device, to, cpu, z.data(), z.size() * sizeof(T));
        });
    }
    static Device set_device(const impl::Parameter& p) { return p.tensor->storage->device; }

    // Drawn weights for an arena: neighbours with noise are one range, padding (deviation 0) and all.
    impl::AnyTensor draw(std::size_t index, Key key) {
        impl::ParameterSet& set = inner_.parameter_set();
        const impl::Arena& arena = set.arenas[index];
        impl::AnyTensor drawn(tenon::detail::new_record(arena.dtype, 1, &arena.elements, arena.device, "sdr"));
        tenon::impl::check_device("sdr", arena.device);
        long first = 0, end = -1;
        const auto flush = [&] {
            if (end < 0) return;
            impl::with_type(arena.dtype, [&]<class T>(T*) {
                const T* mean = reinterpret_cast<const T*>(arena.values->data) + first;
                const T* deviation = reinterpret_cast<const T*>(sigma_[index]->data) + first;
                T* out = reinterpret_cast<T*>(drawn->data()) + first;
                TENON_RUN(arena.device, perturb(NoiseKind{}, key, end - first, mean, deviation, T(0), out, static_cast<std::uint64_t>(first)));
            });
            end = -1;
        };
        for (const impl::Parameter& p : set.parameters) {
            if (p.arena != index) continue;
            if (!in_scope(p)) {
                flush();
                continue;
            }
            if (end != p.first) {
                flush();
                first = p.first;
            }
            end = p.first + p.padded;
        }
        flush();
        return drawn;
    }

    template <class V>
    double squares_of(const impl::Parameter& p, const V& vector) const {
        double sum = 0;
        impl::with_type(p.tensor->dtype, [&]<class T>(T*) {
            const T* data = reinterpret_cast<const T*>(vector[p.arena]->data) + p.first;
            sum = TENON_RUN(set_device(p), sum_of_squares(p.tensor->size, data));
        });
        return sum;
    }
    // Of every parameter; -1 for those without noise or gradient.
    std::vector<double> gradient_squares() {
        impl::ParameterSet& set = inner_.parameter_set();
        std::vector<double> squares(set.parameters.size(), -1);
        for (std::size_t i = 0; i < squares.size(); ++i) {
            const impl::Parameter& p = set.parameters[i];
            if (!in_scope(p) || !p.slot().has || p.tensor->size == 0) continue;
            squares[i] = squares_of(p, impl::Gradients{set});
            if (!(squares[i] - squares[i] == 0))
                fail<ValueError>("sdr: the gradient of \"", p.name.text(), "\" is not finite: its noise may have grown beyond what the network bears",
                                 "\n       hint: a smaller beta, zeta or max_ratio, or clip_norm");
        }
        return squares;
    }
    void move(const std::vector<double>& squares) {
        impl::ParameterSet& set = inner_.parameter_set();
        for (std::size_t i = 0; i < squares.size(); ++i) {
            if (squares[i] < 0) continue;
            const impl::Parameter& p = set.parameters[i];
            const double n = static_cast<double>(p.tensor->size);
            const bool bounded = options_.max_ratio < __builtin_inf() || options_.min_ratio > 0;
            const double rms = bounded ? __builtin_sqrt(squares_of(p, impl::Values{set}) / n) : 1, size = __builtin_sqrt(squares[i] / n);
            const double beta = options_.scale_free ? (size > 0 ? options_.beta / size : 0) : options_.beta;
            const double zeta = 2 * i < squares.size() ? options_.zeta * options_.first_half : options_.zeta;
            const double most = options_.max_ratio < __builtin_inf() ? options_.max_ratio * rms : __builtin_inf();
            impl::with_type(p.tensor->dtype, [&]<class T>(T*) {
                T *sigma = reinterpret_cast<T*>(sigma_[p.arena]->data) + p.first, *none = nullptr;
                T* gradient = reinterpret_cast<T*>(set.arenas[p.arena].gradients->data) + p.first;
                const double least = options_.min_ratio * rms;
                if (options_.rule == SdrRule::decay)
                    TENON_RUN(set_device(p), fused_step(kernels::cpu::SdrDeviation<T, true>(beta, zeta, least, most), p.tensor->size, sigma, gradient, none, none, none, false));
                else
                    TENON_RUN(set_device(p), fused_step(kernels::cpu::SdrDeviation<T, false>(beta, zeta, least, most), p.tensor->size, sigma, gradient, none, none, none, false));
            });
        }
    }

    Inner inner_;
    SdrOptions options_;
    impl::Blocks sigma_;
    long count_ = 0;
    bool skips_ = false;
};
template <class Inner>
[[nodiscard]] Sdr<Inner> sdr(Inner inner, SdrOptions options = {}) { return Sdr<Inner>(static_cast<Inner&&>(inner), options); }

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon::optim

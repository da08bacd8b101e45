// The parity problem, on which the rule of 1990 was said to find a solution from nearly every start where plain backpropagation
// often finds none. All starts are trained at once: a batch of small networks.
#pragma once

#include "../common/example.hpp"

#include <tenon/optim/sdr.hpp>
#include <tenon/tenon.hpp>

#include <string>
#include <vector>

namespace sdr_example {

using namespace tenon;

// `starts` networks n-n-1 of sigmoids, each with weights and thresholds uniform in [-0.5, 0.5].
struct ParityNet {
    Tensor<double, 3> hidden, hidden_bias, out, out_bias;  // [starts, n, n], [starts, 1, n], [starts, n, 1], [starts, 1, 1]
    ParityNet(long starts, long n, Key key)
        : hidden(uniform<double>({starts, n, n}, key.split(0), {-0.5, 0.5}).require_grad()), hidden_bias(uniform<double>({starts, 1, n}, key.split(1), {-0.5, 0.5}).require_grad()),
          out(uniform<double>({starts, n, 1}, key.split(2), {-0.5, 0.5}).require_grad()), out_bias(uniform<double>({starts, 1, 1}, key.split(3), {-0.5, 0.5}).require_grad()) {}
    // x: [2^n, n]; gives [starts, 2^n, 1].
    Tensor<double, 3> operator()(const Tensor<double, 3>& x) const {
        const Tensor<double, 3> h = sigmoid(matmul(x, hidden) + hidden_bias);
        return sigmoid(matmul(h, out) + out_bias);
    }
    static void visit(auto& self, auto&& f) {
        f("hidden", self.hidden);
        f("hidden_bias", self.hidden_bias);
        f("out", self.out);
        f("out_bias", self.out_bias);
    }
};

struct ParityRule {
    std::string name;
    double beta, zeta, sigma;  // beta < 0: plain backpropagation
};

// The share of starts that end with every pattern within 0.4 of its target, by the means. NaN: interrupted.
inline double parity_rate(long n, long starts, long epochs, const ParityRule& rule, std::uint64_t seed) {
    const long patterns = 1L << n;
    Tensor<double, 3> x = empty<double>({1, patterns, n}), y = empty<double>({1, patterns, 1});
    for (long p = 0; p < patterns; ++p) {
        for (long i = 0; i < n; ++i) x.data()[p * n + i] = (p >> i & 1) != 0 ? 1 : -1;
        y.data()[p] = __builtin_popcountl(static_cast<unsigned long>(p)) % 2;
    }
    ParityNet net(starts, n, Key(seed).split(static_cast<std::uint64_t>(n)));
    optim::SdrOptions o;
    o.beta = std::max(0.0, rule.beta), o.zeta = rule.zeta, o.scope = optim::SdrScope::all, o.max_ratio = __builtin_inf(), o.initial = 0;
    auto optimiser = optim::sdr(optim::sgd(net, {.lr = 0.5}), o);
    if (rule.beta >= 0) nn::for_each_tensor(net, [&](const char*, nn::Kind, const auto& w) { optimiser.deviation(w).fill(rule.sigma); });
    example::Progress bar("parity " + std::to_string(n) + ", " + rule.name, epochs / 50);
    for (long e = 0; e < epochs; ++e) {
        const ParityNet drawn = rule.beta >= 0 ? optimiser.sample(net, Key(seed).split(1000 + static_cast<std::uint64_t>(e))) : net;
        const Tensor<double, 3> off = drawn(x) - y;
        Tensor<double, 0> loss = sum(square(off)) * 0.5;
        loss.backward();
        optimiser.step();
        if (e % 50 == 49) bar.advance("");
        if (example::interrupted()) return std::nan("");
    }
    const no_grad guard;
    const Tensor<double, 3> off = abs(net(x) - y);
    long solved = 0;
    for (long s = 0; s < starts; ++s) {
        bool all = true;
        for (long p = 0; p < patterns; ++p) all = all && off.data()[s * patterns + p] < 0.4;
        solved += all;
    }
    return static_cast<double>(solved) / static_cast<double>(starts);
}

inline void parity(bool quick, std::uint64_t seed, example::Result& result) {
    const long starts = quick ? 20 : 200;
    std::printf("\nparity: %ld starts of n-n-1 networks of sigmoids, all patterns at once, squared error, rate 0.5; solved: every output within 0.4 by the means\n", starts);
    std::printf("1990's claim: the rule solves more than 99 %%, backpropagation less than 50 %%\n");
    const std::vector<ParityRule> rules = {{"backpropagation", -1, 0, 0}, {"SDR beta 0.05, zeta 0.9", 0.05, 0.9, 0.1}, {"SDR beta 0.2, zeta 0.98", 0.2, 0.98, 0.1}, {"SDR beta 1, zeta 0.9", 1, 0.9, 0.1}};
    example::Table table({"rule", "2 inputs, 2000 epochs", "3 inputs, 2000 epochs", "4 inputs, 4000 epochs"});
    for (const ParityRule& rule : rules) {
        std::vector<std::string> row = {rule.name};
        for (const auto& [n, epochs] : {std::pair{2L, 2000L}, {3L, 2000L}, {4L, 4000L}}) {
            const double rate = parity_rate(n, starts, quick ? epochs / 10 : epochs, rule, seed);
            if (rate != rate) return;
            row.push_back(example::number(100 * rate, 1) + " %");
            if (rule.beta < 0) result.add("parity" + std::to_string(n), 100 * rate, 1);
            else if (rule.beta < 0.1) result.add("parity" + std::to_string(n) + "_sdr", 100 * rate, 1);
        }
        table.row(row);
    }
    table.print();
}

}  // namespace sdr_example

// Attention against its plain version: odd sizes, strides, masks, lengths, causality, shared heads, dropout, threads.
#include <catch2/catch.hpp>

#include <tenon/kernels/cpu/attention.hpp>

#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

using namespace tenon;
namespace k = tenon::kernels::cpu;

namespace {

struct Setting {
    long batch, heads, key_heads, queries, keys, width, value_width;
    bool causal = false, lengths = false;
    enum { none, per_query, per_key, biased } mask = none;
    double dropout = 0;
};

// Values of [batch, heads, positions, features]: packed, axes in reverse order, or positions before heads.
template <class T>
struct Operand {
    std::vector<T> memory;
    long strides[4] = {};
    Operand(long b, long h, long n, long d, int layout, unsigned long long seed) : memory(std::size_t(b * h * n * d) + 1) {
        const long packed[4] = {h * n * d, n * d, d, 1}, reversed[4] = {1, b, b * h, b * h * n}, between[4] = {n * h * d, d, h * d, 1};
        for (int i = 0; i < 4; ++i) strides[i] = layout == 0 ? packed[i] : layout == 1 ? reversed[i] : between[i];
        std::vector<double> values(std::size_t(b * h * n * d));
        for (double& v : values) v = double((seed = seed * 6364136223846793005ull + 1442695040888963407ull) >> 40) * 0x1p-23 - 1;
        std::size_t at = 0;
        for (long i = 0; i < b; ++i)
            for (long j = 0; j < h; ++j)
                for (long m = 0; m < n; ++m)
                    for (long c = 0; c < d; ++c)
                        memory[std::size_t(i * strides[0] + j * strides[1] + m * strides[2] + c * strides[3])] =
                            T(k::accumulator<T>(values[at++]));
    }
};

template <class T>
struct Results {
    std::vector<T> y, dq, dk, dv, scores;
    std::vector<k::accumulator<T>> lse;
};
template <class V>
bool same(const V& a, const V& b) {
    return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(a[0])) == 0);
}

template <class T>
void check(const Setting& s) {
    using A = k::accumulator<T>;
    INFO("[" << s.batch << ", " << s.heads << " of " << s.key_heads << ", " << s.queries << " on " << s.keys << ", " << s.width << " and "
             << s.value_width << "], causal " << s.causal << ", lengths " << s.lengths << ", mask " << s.mask << ", dropout " << s.dropout);
    std::vector<std::int64_t> lengths;
    for (long b = 0; b < s.batch; ++b) lengths.push_back(b == 0 ? s.keys / 2 + 1 : b == 1 ? 0 : s.keys);
    const auto mask = std::make_unique<bool[]>(std::size_t(s.heads * s.queries * s.keys) + 1);
    std::vector<T> bias(std::size_t(s.heads * s.queries * s.keys) + 1, T(A(0)));
    for (long i = 0; i < s.heads * s.queries * s.keys; ++i) {
        mask[std::size_t(i)] = (i * 7919 % 101) % 3 != 0 && i / s.keys != 1;  // the second query sees nothing
        bias[std::size_t(i)] = T(A(mask[std::size_t(i)] ? double(i % 17) / 8 - 1 : -__builtin_inf()));
    }
    const std::size_t rows = std::size_t(s.batch * s.heads * s.queries), key_rows = std::size_t(s.batch * s.key_heads * s.keys);
    std::vector<Results<T>> all;
    std::vector<double> dq, dk, dv, ds;
    std::vector<T> y(rows * std::size_t(s.value_width) + 1);
    std::vector<A> lse(rows);
    for (int layout = 0; layout < 3; ++layout)
        for (const int threads : {1, 2, 7}) {
            const Operand<T> q(s.batch, s.heads, s.queries, s.width, layout, 1), key(s.batch, s.key_heads, s.keys, s.width, layout, 2),
                v(s.batch, s.key_heads, s.keys, s.value_width, layout, 3), dy(s.batch, s.heads, s.queries, s.value_width, 0, 4);
            k::AttentionProblem<T> p;
            p.batch = s.batch, p.heads = s.heads, p.key_heads = s.key_heads, p.queries = s.queries, p.keys = s.keys, p.width = s.width,
            p.value_width = s.value_width;
            p.q = q.memory.data(), p.k = key.memory.data(), p.v = v.memory.data();
            std::memcpy(p.q_strides, q.strides, sizeof p.q_strides);
            std::memcpy(p.k_strides, key.strides, sizeof p.k_strides);
            std::memcpy(p.v_strides, v.strides, sizeof p.v_strides);
            std::memcpy(p.y_strides, dy.strides, sizeof p.y_strides);
            if (s.mask == Setting::biased)
                p.bias = bias.data();
            else if (s.mask != Setting::none)
                p.mask = mask.get();
            p.mask_strides[1] = s.mask == Setting::per_key ? 0 : s.queries * s.keys;
            p.mask_strides[2] = s.mask == Setting::per_key ? 0 : s.keys;
            p.mask_strides[3] = 1;
            p.lengths = s.lengths ? lengths.data() : nullptr;
            p.causal = s.causal;
            p.scale = 1 / std::sqrt(double(s.width));
            p.dropout = s.dropout;
            p.key = Key{5};
            set_num_threads(threads);
            Results<T> r{std::vector<T>(y.size()),
                         std::vector<T>(rows * std::size_t(s.width), T(A(0.5))),
                         std::vector<T>(key_rows * std::size_t(s.width)),
                         std::vector<T>(key_rows * std::size_t(s.value_width)),
                         std::vector<T>(rows * std::size_t(s.keys)),
                         std::vector<A>(rows)};
            k::attention(p, r.y.data(), r.lse.data());
            k::attention_backward(p, r.y.data(), r.lse.data(), dy.memory.data(), r.dq.data(), true, r.dk.data(), false, r.dv.data(), false,
                                  r.scores.data());
            if (all.empty()) {
                k::reference::attention(p, y.data(), lse.data());
                dq.assign(r.dq.size(), 0.5), dk.assign(r.dk.size(), 0), dv.assign(r.dv.size(), 0), ds.assign(r.scores.size(), 0);
                k::reference::attention_backward(p, dy.memory.data(), dq.data(), dk.data(), dv.data(), ds.data());
            }
            all.push_back(std::move(r));
        }
    set_num_threads(2);
    for (const Results<T>& r : all) {
        CHECK(same(r.y, all[0].y));
        CHECK(same(r.lse, all[0].lse));
        CHECK(same(r.dq, all[0].dq));
        CHECK(same(r.dk, all[0].dk));
        CHECK(same(r.dv, all[0].dv));
        CHECK(same(r.scores, all[0].scores));
    }
    // Each result sums at most `keys` (queries) products of numbers below one, and shares the softmax's rounding.
    const double unit = std::is_same_v<T, double> ? 0x1p-52 : 0x1p-23, out = std::is_same_v<T, half>   ? 0x1p-10
                                                                             : std::is_same_v<T, bf16> ? 0x1p-7
                                                                                                       : 0;
    const double terms = double(s.keys + s.queries * s.heads / s.key_heads) / 8 + 24;
    const auto close = [&](const auto& got, const auto& want, double factor) {
        double worst = 0;
        for (std::size_t i = 0; i < want.size(); ++i) {
            const double g = double(A(got[i])), w = double(A(want[i]));
            // A result in 16 bits has lost that much before backward reads it.
            const double bound = factor * unit * terms * (1 + std::abs(w)) + out * (std::abs(w) + 1);
            if (!(std::abs(g - w) <= bound)) worst = std::max(worst, std::isnan(g) ? 1e9 : std::abs(g - w) / bound);
        }
        CHECK(worst == 0);
    };
    close(all[0].y, y, 1);
    for (std::size_t i = 0; i < rows; ++i)
        CHECK((lse[i] == all[0].lse[i] || std::abs(lse[i] - all[0].lse[i]) <= 32 * A(unit) * (1 + std::abs(lse[i]))));
    const double factor = s.dropout > 0 ? 4 : 2;
    close(all[0].dq, dq, factor);
    close(all[0].dk, dk, factor);
    close(all[0].dv, dv, factor);
    close(all[0].scores, ds, factor);
}

}  // namespace

TEMPLATE_TEST_CASE("attention is that of its plain version, in any layout and on any number of threads", "[attention]", float, double, bf16,
                   half) {
    using T = TestType;
    for (const bool causal : {false, true}) {
        check<T>({1, 1, 1, 1, 1, 1, 1, causal});
        check<T>({2, 3, 3, 5, 9, 7, 3, causal});
        check<T>({1, 2, 1, 33, 97, 16, 20, causal});
        check<T>({1, 4, 2, 100, 40, 33, 40, causal});
        check<T>({3, 1, 1, 97, 193, 8, 80, causal, true});
        check<T>({1, 1, 1, 300, 310, 64, 64, causal});
        check<T>({2, 2, 1, 50, 100, 24, 16, causal, false, Setting::per_query});
        check<T>({2, 2, 1, 50, 100, 24, 16, causal, true, Setting::biased, 0.25});
        check<T>({2, 2, 2, 20, 120, 24, 16, causal, false, Setting::per_key});
        check<T>({2, 2, 2, 130, 120, 10, 16, causal, false, Setting::none, 0.5});
    }
    check<T>({2, 2, 2, 7, 0, 3, 4});
    check<T>({1, 1, 1, 2, 3, 600, 4});
    check<T>({1, 2, 2, 5, 6, 4, 4, false, false, Setting::none, 1});
}

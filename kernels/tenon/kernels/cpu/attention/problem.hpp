// What scaled dot-product attention is told, and its plain version.
#pragma once

#include <tenon/base/half.hpp>
#include <tenon/base/philox.hpp>
#include <tenon/kernels/cpu/fold.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

// Axes are batch, head, position, feature; strides are in elements, any. Query head h reads the key/value head
// h / (heads / key_heads).
template <class T>
struct AttentionProblem {
    long batch = 0, heads = 0, key_heads = 0, queries = 0, keys = 0, width = 0, value_width = 0;
    const T *q = nullptr, *k = nullptr, *v = nullptr;
    long q_strides[4] = {}, k_strides[4] = {}, v_strides[4] = {};
    long y_strides[4] = {};  // of the result and its gradient; the last is 1
    // At most one of the two, over [batch, head, query, key]; stride 0 where it is broadcast.
    const bool* mask = nullptr;  // true: takes part
    const T* bias = nullptr;     // added to the scaled scores
    long mask_strides[4] = {};
    const std::int64_t* lengths = nullptr;  // for each of the batch: keys from there on take no part and are not read; null: all
    bool causal = false;                    // query i sees the keys up to i + keys - queries
    double scale = 1, dropout = 0;
    Key key;

    TENON_HD long group() const { return heads / key_heads; }
    TENON_HD long length(long b) const {
        if (lengths == nullptr) return keys;
        const long n = static_cast<long>(lengths[b]);
        return n < 0 ? 0 : n < keys ? n : keys;
    }
    // How many keys query i of batch b may see, by length and causality.
    TENON_HD long visible(long b, long i) const {
        const long n = length(b), seen = i + 1 + keys - queries;
        return !causal || seen > n ? n : seen < 0 ? 0 : seen;
    }
    TENON_HD long score(long b, long h, long i, long j) const { return ((b * heads + h) * queries + i) * keys + j; }
};

namespace reference {

// In double. lse is the logarithm of each row's sum of exponentials, +inf where nothing is seen.
template <class T>
struct AttentionRow {
    using A = accumulator<T>;
    const AttentionProblem<T>& p;
    long b, h, i;

    const T* query() const { return p.q + b * p.q_strides[0] + h * p.q_strides[1] + i * p.q_strides[2]; }
    const T* key(long j) const { return p.k + b * p.k_strides[0] + h / p.group() * p.k_strides[1] + j * p.k_strides[2]; }
    const T* value(long j) const { return p.v + b * p.v_strides[0] + h / p.group() * p.v_strides[1] + j * p.v_strides[2]; }
    long result() const { return b * p.y_strides[0] + h * p.y_strides[1] + i * p.y_strides[2]; }
    double score(long j) const {
        const long at = b * p.mask_strides[0] + h * p.mask_strides[1] + i * p.mask_strides[2] + j * p.mask_strides[3];
        if (p.mask != nullptr && !p.mask[at]) return -__builtin_inf();
        double s = 0;
        for (long c = 0; c < p.width; ++c) s += double(A(query()[c * p.q_strides[3]])) * double(A(key(j)[c * p.k_strides[3]]));
        s *= p.scale;
        if (p.bias == nullptr) return s;
        const double bias = double(A(p.bias[at]));
        return bias == -__builtin_inf() ? bias : s + bias;
    }
    double kept(long j) const {
        if (p.dropout == 0) return 1;
        const std::uint64_t at = static_cast<std::uint64_t>(p.score(b, h, i, j));
        return random_word(p.key, at) < bernoulli_threshold(1 - p.dropout) ? 1 / (1 - p.dropout) : 0;
    }
};
template <class T, class F>
void each_attention_row(const AttentionProblem<T>& p, F&& f) {
    for (long b = 0; b < p.batch; ++b)
        for (long h = 0; h < p.heads; ++h)
            for (long i = 0; i < p.queries; ++i) f(AttentionRow<T>{p, b, h, i}, (b * p.heads + h) * p.queries + i);
}

template <class T>
void attention(const AttentionProblem<T>& p, T* y, accumulator<T>* lse) {
    using A = accumulator<T>;
    each_attention_row(p, [&](const AttentionRow<T>& row, long r) {
        const long n = p.visible(row.b, row.i);
        double largest = -__builtin_inf(), sum = 0;
        for (long j = 0; j < n; ++j)
            if (row.score(j) > largest) largest = row.score(j);
        for (long j = 0; j < n; ++j) sum += largest == -__builtin_inf() ? 0 : __builtin_exp(row.score(j) - largest);
        lse[r] = A(sum == 0 ? __builtin_inf() : largest + __builtin_log(sum));
        for (long c = 0; c < p.value_width; ++c) {
            double total = 0;
            for (long j = 0; j < n && sum != 0; ++j)
                total += __builtin_exp(row.score(j) - largest) / sum * row.kept(j) * double(A(row.value(j)[c * p.v_strides[3]]));
            y[row.result() + c] = T(A(total));
        }
    });
}

// Adds to gradients in double, packed as [batch, heads, positions, features]; dscores [batch, heads, queries, keys] may be null.
template <class T>
void attention_backward(const AttentionProblem<T>& p, const T* dy, double* dq, double* dk, double* dv, double* dscores) {
    using A = accumulator<T>;
    each_attention_row(p, [&](const AttentionRow<T>& row, long r) {
        const long n = p.visible(row.b, row.i);
        double largest = -__builtin_inf(), sum = 0, delta = 0;
        for (long j = 0; j < n; ++j)
            if (row.score(j) > largest) largest = row.score(j);
        if (largest == -__builtin_inf()) return;
        for (long j = 0; j < n; ++j) sum += __builtin_exp(row.score(j) - largest);
        const auto along = [&](long j) {
            double total = 0;
            for (long c = 0; c < p.value_width; ++c) total += double(A(dy[row.result() + c])) * double(A(row.value(j)[c * p.v_strides[3]]));
            return total * row.kept(j);
        };
        const auto weight = [&](long j) { return __builtin_exp(row.score(j) - largest) / sum; };
        for (long j = 0; j < n; ++j) delta += weight(j) == 0 ? 0 : weight(j) * along(j);
        for (long j = 0; j < n; ++j) {
            const double w = weight(j);
            if (w == 0) continue;
            const double ds = w * (along(j) - delta);
            const long at = ((row.b * p.key_heads + row.h / p.group()) * p.keys + j);
            for (long c = 0; c < p.value_width; ++c) dv[at * p.value_width + c] += w * row.kept(j) * double(A(dy[row.result() + c]));
            for (long c = 0; c < p.width; ++c) {
                dk[at * p.width + c] += ds * p.scale * double(A(row.query()[c * p.q_strides[3]]));
                dq[r * p.width + c] += ds * p.scale * double(A(row.key(j)[c * p.k_strides[3]]));
            }
            if (dscores != nullptr) dscores[r * p.keys + j] += ds;
        }
    });
}

}  // namespace reference

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

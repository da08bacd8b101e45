// Attention layers: multi-head, additive, location-sensitive.
#pragma once

#include <tenon/nn/context.hpp>
#include <tenon/nn/linear.hpp>
#include <tenon/nn/positional.hpp>
#include <tenon/ops/attention.hpp>
#include <tenon/ops/conv.hpp>
#include <tenon/ops/masked_softmax.hpp>

namespace tenon::nn {

// What may be attended to; what is left out hides nothing.
template <class T = float>
struct AttentionMask {
    bool causal = false;                   // the queries are the last positions of the keys
    Tensor<std::int64_t, 1> lengths = {};  // [B]
    Tensor<bool, 4> mask = {};             // broadcasts to [B, heads, Tq, Tk]; true: takes part
    Tensor<T, 4> bias = {};                // broadcasts likewise; added to the scores
};

// Keys and values of the positions so far, [B, heads, length, D], for decoding step by step. Grows by doubling.
template <class T = float>
struct KeyValueCache {
    Tensor<T, 4> keys, values;  // with room for more
    long length = 0;

    // Takes up [B, heads, n, D] behind what there is. Nothing is recorded.
    void append(const Tensor<T, 4>& k, const Tensor<T, 4>& v) {
        const no_grad unrecorded;
        const long more = length + k.shape(2);
        if (!keys.has_value() || more > keys.shape(2)) {
            const long room = more > 2 * length ? more + 15 : 2 * length;
            KeyValueCache larger;
            larger.keys = zeros<T>({k.shape(0), k.shape(1), room, k.shape(3)}, k.device());
            larger.values = zeros<T>({v.shape(0), v.shape(1), room, v.shape(3)}, v.device());
            if (length > 0) {
                larger.keys(all, all, slice(0, length)) = keys(all, all, slice(0, length));
                larger.values(all, all, slice(0, length)) = values(all, all, slice(0, length));
            }
            keys = larger.keys;
            values = larger.values;
        }
        keys(all, all, slice(length, more)) = k;
        values(all, all, slice(length, more)) = v;
        length = more;
    }
    Tensor<T, 4> seen_keys() const { return keys(all, all, slice(0, length)); }
    Tensor<T, 4> seen_values() const { return values(all, all, slice(0, length)); }
};

struct MultiheadAttentionSettings {
    double dropout = 0;
    bool rotary = false;  // turn queries and keys by their positions
};

// Multi-head attention (Vaswani et al. 2017, section 3.2.2): PyTorch's nn.MultiheadAttention with batch_first, under its names.
// in_proj_weight [3 E, E] (queries, keys, values; Glorot's uniform) and in_proj_bias (zeros), out_proj. layer(x, mask, context) is
// self-attention of [B, T, E]; layer(query, memory, mask, context) attends from [B, Tq, E] to [B, Tk, E]. Without a context:
// inference. Throws ShapeError where the heads do not divide the width.
template <class T = float>
struct MultiheadAttention {
    Tensor<T, 2> in_proj_weight;
    Tensor<T, 1> in_proj_bias;
    Linear<T> out_proj;
    long heads = 1;
    MultiheadAttentionSettings settings;
    Key key;

    MultiheadAttention() = default;
    MultiheadAttention(long width, long number, Key own, MultiheadAttentionSettings given = {}) : heads(number), settings(given), key(own) {
        if (width < 1 || number < 1 || width % number != 0)
            fail<ShapeError>("MultiheadAttention: width ", width, ", ", number,
                             " heads: expected a number of heads that divides the width");
        if (!(settings.dropout >= 0 && settings.dropout <= 1))
            fail<ValueError>("MultiheadAttention: dropout ", settings.dropout, ", expected 0 to 1");
        in_proj_weight = zeros<T>({3 * width, width});
        init::xavier_uniform(in_proj_weight, own.split(0));
        in_proj_weight.require_grad();
        in_proj_bias = zeros<T>({3 * width}).require_grad();
        out_proj = Linear<T>(width, width, own.split(1));
        init::constant(out_proj.bias, 0);
    }

    Tensor<T, 3> operator()(const Tensor<T, 3>& x, const AttentionMask<T>& mask = {}) const { return self(x, mask, nullptr); }
    Tensor<T, 3> operator()(const Tensor<T, 3>& x, const AttentionMask<T>& mask, const Context& context) const {
        return self(x, mask, &context);
    }
    Tensor<T, 3> operator()(const Tensor<T, 3>& query, const Tensor<T, 3>& memory, const AttentionMask<T>& mask = {}) const {
        return cross(query, memory, mask, nullptr);
    }
    Tensor<T, 3> operator()(const Tensor<T, 3>& query, const Tensor<T, 3>& memory, const AttentionMask<T>& mask,
                            const Context& context) const {
        return cross(query, memory, mask, &context);
    }

    // Self-attention of the next positions [B, n, E], causal, over the cache, which takes them up. Inference.
    Tensor<T, 3> step(const Tensor<T, 3>& x, KeyValueCache<T>& cache, AttentionMask<T> mask = {}) const {
        const no_grad unrecorded;
        check(x, "MultiheadAttention");
        const Tensor<T, 3> all_three = linear(x, in_proj_weight, in_proj_bias);
        Tensor<T, 4> q = part(all_three, 0, 3), k = part(all_three, 1, 3);
        turn(q, k, cache.length, cache.length);
        cache.append(k, part(all_three, 2, 3));
        mask.causal = true;
        return attend(q, cache.seen_keys(), cache.seen_values(), mask, nullptr);
    }
    // What a memory [B, Tk, E] is to later queries: project(memory, cache) once, then step_over(query, cache) for each.
    void project(const Tensor<T, 3>& memory, KeyValueCache<T>& cache) const {
        const no_grad unrecorded;
        check(memory, "MultiheadAttention");
        const long width = memory.shape(2);
        const Tensor<T, 3> both = linear(memory, in_proj_weight(slice(width, 3 * width)), in_proj_bias(slice(width, 3 * width)));
        cache = KeyValueCache<T>{};
        cache.append(part(both, 0, 2), part(both, 1, 2));
    }
    Tensor<T, 3> step_over(const Tensor<T, 3>& query, const KeyValueCache<T>& cache, const AttentionMask<T>& mask = {}) const {
        const no_grad unrecorded;
        check(query, "MultiheadAttention");
        const long width = query.shape(2);
        const Tensor<T, 3> q = linear(query, in_proj_weight(slice(0, width)), in_proj_bias(slice(0, width)));
        return attend(part(q, 0, 1), cache.seen_keys(), cache.seen_values(), mask, nullptr);
    }

    static void visit(auto& self, auto&& f) {
        f("in_proj_weight", self.in_proj_weight);
        f("in_proj_bias", self.in_proj_bias);
        f("out_proj", self.out_proj);
    }

private:
    void check(const Tensor<T, 3>& x, const char* name) const {
        if (x.shape(2) != in_proj_weight.shape(1))
            fail<ShapeError>(name, ": the input is ", x.record()->description(), ", expected [B, T, ", in_proj_weight.shape(1), "]");
    }
    // Part `index` of `count` equal parts of the last axis, as [B, heads, T, D]: a view.
    Tensor<T, 4> part(const Tensor<T, 3>& x, long index, long count) const {
        const long width = x.shape(2) / count;
        return x.reshape({x.shape(0), x.shape(1), count, heads, width / heads})(all, all, index).template permute<0, 2, 1, 3>();
    }
    void turn(Tensor<T, 4>& q, Tensor<T, 4>& k, long first_query, long first_key) const {
        if (!settings.rotary) return;
        const Tensor<T, 4> turned_q = rotary(q, first_query), turned_k = rotary(k, first_key);
        q = turned_q;
        k = turned_k;
    }
    Tensor<T, 3> self(const Tensor<T, 3>& x, const AttentionMask<T>& mask, const Context* context) const {
        check(x, "MultiheadAttention");
        const Tensor<T, 3> all_three = linear(x, in_proj_weight, in_proj_bias);
        Tensor<T, 4> q = part(all_three, 0, 3), k = part(all_three, 1, 3);
        turn(q, k, 0, 0);
        return attend(q, k, part(all_three, 2, 3), mask, context);
    }
    Tensor<T, 3> cross(const Tensor<T, 3>& query, const Tensor<T, 3>& memory, const AttentionMask<T>& mask, const Context* context) const {
        check(query, "MultiheadAttention");
        check(memory, "MultiheadAttention");
        const long width = query.shape(2);
        const Tensor<T, 3> one = linear(query, in_proj_weight(slice(0, width)), in_proj_bias(slice(0, width)));
        const Tensor<T, 3> both = linear(memory, in_proj_weight(slice(width, 3 * width)), in_proj_bias(slice(width, 3 * width)));
        Tensor<T, 4> q = part(one, 0, 1), k = part(both, 0, 2);
        turn(q, k, memory.shape(1) - query.shape(1), 0);
        return attend(q, k, part(both, 1, 2), mask, context);
    }
    Tensor<T, 3> attend(const Tensor<T, 4>& q, const Tensor<T, 4>& k, const Tensor<T, 4>& v, const AttentionMask<T>& mask,
                        const Context* context) const {
        AttentionOptions options{.causal = mask.causal, .scale = 0, .lengths = mask.lengths, .dropout = 0, .key = {}};
        if (context != nullptr && context->training && settings.dropout > 0) {
            options.dropout = settings.dropout;
            options.key = context->key.split(key.bits);
        }
        Tensor<T, 4> bias = mask.bias;
        if (mask.bias.has_value() && mask.mask.has_value()) {
            const Tensor<T, 4> both = where(mask.mask, mask.bias, -static_cast<formula::compute_t<T>>(__builtin_inf()));
            bias = both;
        }
        const Tensor<T, 4> y = bias.has_value()        ? impl::masked_attention_any<true>(q, k, v, bias, options)
                               : mask.mask.has_value() ? impl::masked_attention_any<true>(q, k, v, mask.mask, options)
                                                       : impl::attention_any<true>(q, k, v, nullptr, options);
        return out_proj(y.reshape({y.shape(0), y.shape(1), y.shape(2) * y.shape(3)}));
    }
};

namespace detail {
// [B, Tk]: which keys lie within the lengths.
inline Tensor<bool, 2> within(const char* name, long keys, const Tensor<std::int64_t, 1>& lengths, long batch) {
    if (lengths.size() != batch)
        fail<ShapeError>(name, ": lengths are ", lengths.record()->description(), ", expected one for each of the ", batch, " sequences");
    return arange<std::int64_t>(0, keys, 1, lengths.device()).reshape({1, keys}) < lengths.reshape({batch, 1});
}
}  // namespace detail

template <class T, int R>
struct Attended {
    Tensor<T, R> context;  // the sums of values
    Tensor<T, R> weights;  // what they were weighted by
};

// Additive attention (Bahdanau et al. 2015, section A.1.2): score(q, k) = v' tanh(W q + U k). query_proj [A, Dq], key_proj [A, Dk],
// v [A]. Keys are projected once, `auto projected = layer.project(keys)`, [B, Tk, A]; then layer(queries [B, Tq, Dq], projected, values
// [B, Tk, Dv]) gives the context [B, Tq, Dv] and the weights [B, Tq, Tk]. Keys beyond the lengths [B] have weight 0; where there is
// none left the context is 0. The scores are one fused reduction, backward too: nothing of size Tq x Tk x A is stored.
template <class T = float>
struct AdditiveAttention {
    Linear<T, false> query_proj, key_proj;
    Tensor<T, 1> v;

    AdditiveAttention() = default;
    // Throws ShapeError on sizes below 1.
    AdditiveAttention(long query_width, long key_width, long hidden, Key own)
        : query_proj(query_width, hidden, own.split(0)), key_proj(key_width, hidden, own.split(1)) {
        const double bound = 1 / __builtin_sqrt(static_cast<double>(hidden));
        v = uniform<T>({hidden}, own.split(2), {-bound, bound}).require_grad();
    }

    Tensor<T, 3> project(const Tensor<T, 3>& keys) const { return key_proj(keys); }
    Attended<T, 3> operator()(const Tensor<T, 3>& queries, const Tensor<T, 3>& projected, const Tensor<T, 3>& values,
                              const Tensor<std::int64_t, 1>& lengths = {}) const {
        const Tensor<T, 3> q = query_proj(queries);
        const long batch = q.shape(0), n = q.shape(1), keys = projected.shape(1), hidden = v.size();
        if (projected.shape(0) != batch || projected.shape(2) != hidden || values.shape(0) != batch || values.shape(1) != keys)
            fail<ShapeError>("AdditiveAttention: queries are ", queries.record()->description(), ", projected keys ",
                             projected.record()->description(), ", values ", values.record()->description(), ": expected [", batch,
                             ", Tk, ", hidden, "] and [", batch, ", Tk, Dv]");
        const Tensor<T, 4> left = q.reshape({batch, n, 1, hidden}), right = projected.reshape({batch, 1, keys, hidden});
        const Tensor<T, 3> scores = sum<3>(v * tanh(left + right));
        Attended<T, 3> r;
        if (lengths.has_value())
            r.weights = softmax<2>(scores, detail::within("AdditiveAttention", keys, lengths, batch).reshape({batch, 1, keys}));
        else
            r.weights = softmax<2>(scores);
        r.context = matmul(r.weights, values);
        return r;
    }
    static void visit(auto& self, auto&& f) {
        f("query_proj", self.query_proj);
        f("key_proj", self.key_proj);
        f("v", self.v);
    }
};

struct LocationSettings {
    long filters = 32, kernel = 31;  // of the convolution over the weights of the steps before
};

// Location-sensitive attention (Chorowski et al. 2015, equations 8 and 9, over the last step's weights and their sum so far): score(q,
// k_j) = v' tanh(W q + U k_j + V f_j + b), f the convolution of both. One step at a time: `auto state = layer.start(projected)`, then
// layer(query [B, Dq], projected [B, Tk, A], values [B, Tk, Dv], state, lengths) gives the context [B, Dv] and moves the state.
template <class T = float>
struct LocationSensitiveAttention {
    struct State {
        Tensor<T, 2> weights, cumulative;  // [B, Tk]
    };
    Linear<T, false> query_proj, key_proj, location_proj;
    Tensor<T, 3> location_conv;  // [filters, 2, kernel]
    Tensor<T, 1> v, bias;

    LocationSensitiveAttention() = default;
    // Throws ShapeError on sizes below 1, ValueError where the kernel is even.
    LocationSensitiveAttention(long query_width, long key_width, long hidden, Key own, LocationSettings settings = {})
        : query_proj(query_width, hidden, own.split(0)),
          key_proj(key_width, hidden, own.split(1)),
          location_proj(settings.filters, hidden, own.split(2)) {
        if (settings.kernel < 1 || settings.kernel % 2 == 0)
            fail<ValueError>("LocationSensitiveAttention: kernel ", settings.kernel, ", expected an odd number");
        const double bound = 1 / __builtin_sqrt(static_cast<double>(hidden)),
                     reach = 1 / __builtin_sqrt(static_cast<double>(2 * settings.kernel));
        location_conv = uniform<T>({settings.filters, 2, settings.kernel}, own.split(3), {-reach, reach}).require_grad();
        v = uniform<T>({hidden}, own.split(4), {-bound, bound}).require_grad();
        bias = zeros<T>({hidden}).require_grad();
    }

    Tensor<T, 3> project(const Tensor<T, 3>& keys) const { return key_proj(keys); }
    // Nothing has been attended to yet.
    State start(const Tensor<T, 3>& projected) const {
        State s;
        s.weights = zeros<T>({projected.shape(0), projected.shape(1)}, projected.device());
        s.cumulative = zeros<T>({projected.shape(0), projected.shape(1)}, projected.device());
        return s;
    }
    Tensor<T, 2> operator()(const Tensor<T, 2>& query, const Tensor<T, 3>& projected, const Tensor<T, 3>& values, State& state,
                            const Tensor<std::int64_t, 1>& lengths = {}) const {
        const long batch = query.shape(0), keys = projected.shape(1), hidden = v.size();
        if (projected.shape(0) != batch || projected.shape(2) != hidden || values.shape(0) != batch || values.shape(1) != keys)
            fail<ShapeError>("LocationSensitiveAttention: the query is ", query.record()->description(), ", projected keys ",
                             projected.record()->description(), ", values ", values.record()->description(), ": expected [", batch,
                             ", Tk, ", hidden, "] and [", batch, ", Tk, Dv]");
        const Tensor<T, 2> q = query_proj(query);
        const Tensor<T, 3> seen = conv1d(stack<1>(state.weights, state.cumulative), location_conv, {.padding = location_conv.shape(2) / 2});
        const Tensor<T, 3> location = location_proj(seen.template permute<0, 2, 1>());
        const Tensor<T, 2> scores = sum<2>(v * tanh(q.reshape({batch, 1, hidden}) + projected + location + bias));
        if (lengths.has_value())
            state.weights = softmax<1>(scores, detail::within("LocationSensitiveAttention", keys, lengths, batch));
        else
            state.weights = softmax<1>(scores);
        const Tensor<T, 2> total = state.cumulative + state.weights;
        state.cumulative = total;
        const Tensor<T, 3> sums = matmul(state.weights.reshape({batch, 1, keys}), values);
        return sums.reshape({batch, values.shape(2)});
    }
    static void visit(auto& self, auto&& f) {
        f("query_proj", self.query_proj);
        f("key_proj", self.key_proj);
        f("location_proj", self.location_proj);
        f("location_conv", self.location_conv);
        f("v", self.v);
        f("bias", self.bias);
    }
};

}  // namespace tenon::nn

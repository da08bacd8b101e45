// The Transformer's layers (Vaswani et al. 2017), under PyTorch's names, with the residual connection before or after the norm.
#pragma once

#include <tenon/nn/attention.hpp>
#include <tenon/nn/dropout.hpp>
#include <tenon/nn/norm.hpp>

#include <vector>

namespace tenon::nn {

enum class FeedForward { relu, gelu };

struct TransformerSettings {
    long feedforward = 2048;  // width of the inner layer
    double dropout = 0.1;     // of sublayers' results, of the inner layer and of attention's weights
    FeedForward activation = FeedForward::relu;
    bool norm_first = false;  // x + f(norm(x)) instead of norm(x + f(x))
    bool rotary = false;      // self-attention turns queries and keys by their positions
    double eps = 1e-5;
};

namespace detail {

// What both kinds of layers do behind attention.
template <class T>
struct FeedForwardBlock {
    template <class L>
    static Tensor<T, 3> run(const L& layer, const Tensor<T, 3>& x, const Context* context) {
        const bool gelus = layer.settings.activation == FeedForward::gelu;
        if (context == nullptr) {
            if (gelus) return layer.linear2(gelu(layer.linear1(x)));
            return layer.linear2(relu(layer.linear1(x)));
        }
        const Tensor<T, 3> inner = gelus ? eval(gelu(layer.linear1(x))) : eval(relu(layer.linear1(x)));
        return layer.linear2(layer.dropout(inner, *context));
    }
};
// Sublayer f around x: the residual connection, dropout and norm, in the order of the settings.
template <class T, class F>
Tensor<T, 3> residual(const Tensor<T, 3>& x, const LayerNorm<T>& norm, const Dropout& dropout, bool norm_first, const Context* context,
                      F&& f) {
    const Tensor<T, 3> y = norm_first ? f(norm(x)) : f(x);
    const Tensor<T, 3> all = context == nullptr ? eval(x + y) : eval(x + dropout(y, *context));
    return norm_first ? all : norm(all);
}

}  // namespace detail

// One layer of an encoder (nn.TransformerEncoderLayer with batch_first): layer(x [B, T, E], mask, context). Without a context:
// inference. Throws as MultiheadAttention.
template <class T = float>
struct TransformerEncoderLayer {
    MultiheadAttention<T> self_attn;
    Linear<T> linear1, linear2;
    LayerNorm<T> norm1, norm2;
    Dropout dropout, dropout1, dropout2;
    TransformerSettings settings;

    TransformerEncoderLayer() = default;
    TransformerEncoderLayer(long width, long heads, Key key, TransformerSettings given = {})
        : self_attn(width, heads, key.split(0), {given.dropout, given.rotary}),
          linear1(width, given.feedforward, key.split(1)),
          linear2(given.feedforward, width, key.split(2)),
          norm1(width, given.eps),
          norm2(width, given.eps),
          dropout(given.dropout, key.split(3)),
          dropout1(given.dropout, key.split(4)),
          dropout2(given.dropout, key.split(5)),
          settings(given) {}

    Tensor<T, 3> operator()(const Tensor<T, 3>& x, const AttentionMask<T>& mask = {}) const { return run(x, mask, nullptr); }
    Tensor<T, 3> operator()(const Tensor<T, 3>& x, const AttentionMask<T>& mask, const Context& context) const {
        return run(x, mask, &context);
    }

    // The next positions [B, n, E] of a causal stack. Inference.
    Tensor<T, 3> step(const Tensor<T, 3>& x, KeyValueCache<T>& cache, const AttentionMask<T>& mask = {}) const {
        const no_grad unrecorded;
        const Tensor<T, 3> a = detail::residual(x, norm1, dropout1, settings.norm_first, nullptr,
                                                [&](const Tensor<T, 3>& y) { return self_attn.step(y, cache, mask); });
        return detail::residual(a, norm2, dropout2, settings.norm_first, nullptr,
                                [&](const Tensor<T, 3>& y) { return detail::FeedForwardBlock<T>::run(*this, y, nullptr); });
    }

    static void visit(auto& self, auto&& f) {
        f("self_attn", self.self_attn);
        f("linear1", self.linear1);
        f("linear2", self.linear2);
        f("norm1", self.norm1);
        f("norm2", self.norm2);
    }

private:
    Tensor<T, 3> run(const Tensor<T, 3>& x, const AttentionMask<T>& mask, const Context* context) const {
        const Tensor<T, 3> a = detail::residual(x, norm1, dropout1, settings.norm_first, context, [&](const Tensor<T, 3>& y) {
            return context == nullptr ? self_attn(y, mask) : self_attn(y, mask, *context);
        });
        return detail::residual(a, norm2, dropout2, settings.norm_first, context,
                                [&](const Tensor<T, 3>& y) { return detail::FeedForwardBlock<T>::run(*this, y, context); });
    }
};

// One layer of a decoder (nn.TransformerDecoderLayer with batch_first): layer(x [B, Tq, E], memory [B, Tk, E], mask of x, mask of the
// memory, context); say .causal in the former.
template <class T = float>
struct TransformerDecoderLayer {
    MultiheadAttention<T> self_attn, multihead_attn;
    Linear<T> linear1, linear2;
    LayerNorm<T> norm1, norm2, norm3;
    Dropout dropout, dropout1, dropout2, dropout3;
    TransformerSettings settings;

    // What step needs: the positions so far, and the projected memory.
    struct Cache {
        KeyValueCache<T> own, memory;
    };

    TransformerDecoderLayer() = default;
    TransformerDecoderLayer(long width, long heads, Key key, TransformerSettings given = {})
        : self_attn(width, heads, key.split(0), {given.dropout, given.rotary}),
          multihead_attn(width, heads, key.split(1), {given.dropout, false}),
          linear1(width, given.feedforward, key.split(2)),
          linear2(given.feedforward, width, key.split(3)),
          norm1(width, given.eps),
          norm2(width, given.eps),
          norm3(width, given.eps),
          dropout(given.dropout, key.split(4)),
          dropout1(given.dropout, key.split(5)),
          dropout2(given.dropout, key.split(6)),
          dropout3(given.dropout, key.split(7)),
          settings(given) {}

    Tensor<T, 3> operator()(const Tensor<T, 3>& x, const Tensor<T, 3>& memory, const AttentionMask<T>& own = {},
                            const AttentionMask<T>& others = {}) const {
        return run(x, memory, own, others, nullptr);
    }
    Tensor<T, 3> operator()(const Tensor<T, 3>& x, const Tensor<T, 3>& memory, const AttentionMask<T>& own, const AttentionMask<T>& others,
                            const Context& context) const {
        return run(x, memory, own, others, &context);
    }

    Cache start(const Tensor<T, 3>& memory) const {
        Cache cache;
        multihead_attn.project(memory, cache.memory);
        return cache;
    }
    // The next positions [B, n, E]. Inference.
    Tensor<T, 3> step(const Tensor<T, 3>& x, Cache& cache, const AttentionMask<T>& others = {}) const {
        const no_grad unrecorded;
        const bool first = settings.norm_first;
        const Tensor<T, 3> a =
            detail::residual(x, norm1, dropout1, first, nullptr, [&](const Tensor<T, 3>& y) { return self_attn.step(y, cache.own); });
        const Tensor<T, 3> b = detail::residual(a, norm2, dropout2, first, nullptr,
                                                [&](const Tensor<T, 3>& y) { return multihead_attn.step_over(y, cache.memory, others); });
        return detail::residual(b, norm3, dropout3, first, nullptr,
                                [&](const Tensor<T, 3>& y) { return detail::FeedForwardBlock<T>::run(*this, y, nullptr); });
    }

    static void visit(auto& self, auto&& f) {
        f("self_attn", self.self_attn);
        f("multihead_attn", self.multihead_attn);
        f("linear1", self.linear1);
        f("linear2", self.linear2);
        f("norm1", self.norm1);
        f("norm2", self.norm2);
        f("norm3", self.norm3);
    }

private:
    Tensor<T, 3> run(const Tensor<T, 3>& x, const Tensor<T, 3>& memory, const AttentionMask<T>& own, const AttentionMask<T>& others,
                     const Context* context) const {
        const bool first = settings.norm_first;
        const Tensor<T, 3> a = detail::residual(x, norm1, dropout1, first, context, [&](const Tensor<T, 3>& y) {
            return context == nullptr ? self_attn(y, own) : self_attn(y, own, *context);
        });
        const Tensor<T, 3> b = detail::residual(a, norm2, dropout2, first, context, [&](const Tensor<T, 3>& y) {
            return context == nullptr ? multihead_attn(y, memory, others) : multihead_attn(y, memory, others, *context);
        });
        return detail::residual(b, norm3, dropout3, first, context,
                                [&](const Tensor<T, 3>& y) { return detail::FeedForwardBlock<T>::run(*this, y, context); });
    }
};

namespace detail {

// A stack of layers, under PyTorch's names: layers.0 ..., and norm behind the last where the layers norm first.
template <class Layer, class T>
struct TransformerStack {
    std::vector<Layer> layers;
    LayerNorm<T> norm;

    TransformerStack() = default;
    TransformerStack(long count, long width, long heads, Key key, TransformerSettings settings = {}) {
        for (long i = 0; i < count; ++i) layers.emplace_back(width, heads, key.split(static_cast<std::uint64_t>(i)), settings);
        if (settings.norm_first) norm = LayerNorm<T>(width, settings.eps);
    }

    static void visit(auto& self, auto&& f) {
        f("layers", self.layers);
        if (self.norm.weight.has_value()) f("norm", self.norm);
    }

protected:
    // f(i, x): layer i.
    template <class F>
    Tensor<T, 3> stacked(const Tensor<T, 3>& input, F&& f) const {
        Tensor<T, 3> x = input;
        for (std::size_t i = 0; i < layers.size(); ++i) {
            const Tensor<T, 3> y = f(i, x);
            x = y;
        }
        return norm.weight.has_value() ? norm(x) : x;
    }
};

}  // namespace detail

template <class T = float>
struct TransformerEncoder : detail::TransformerStack<TransformerEncoderLayer<T>, T> {
    using detail::TransformerStack<TransformerEncoderLayer<T>, T>::TransformerStack;
    using detail::TransformerStack<TransformerEncoderLayer<T>, T>::layers;

    Tensor<T, 3> operator()(const Tensor<T, 3>& input, const AttentionMask<T>& mask = {}) const {
        return this->stacked(input, [&](std::size_t i, const Tensor<T, 3>& x) { return layers[i](x, mask); });
    }
    Tensor<T, 3> operator()(const Tensor<T, 3>& input, const AttentionMask<T>& mask, const Context& context) const {
        return this->stacked(input, [&](std::size_t i, const Tensor<T, 3>& x) { return layers[i](x, mask, context); });
    }
    // The next positions [B, n, E] of a causal model; caches (empty at first) has one for each layer. Inference.
    Tensor<T, 3> step(const Tensor<T, 3>& input, std::vector<KeyValueCache<T>>& caches, const AttentionMask<T>& mask = {}) const {
        caches.resize(layers.size());
        return this->stacked(input, [&](std::size_t i, const Tensor<T, 3>& x) { return layers[i].step(x, caches[i], mask); });
    }
};
template <class T = float>
struct TransformerDecoder : detail::TransformerStack<TransformerDecoderLayer<T>, T> {
    using Cache = std::vector<typename TransformerDecoderLayer<T>::Cache>;
    using detail::TransformerStack<TransformerDecoderLayer<T>, T>::TransformerStack;
    using detail::TransformerStack<TransformerDecoderLayer<T>, T>::layers;

    Tensor<T, 3> operator()(const Tensor<T, 3>& input, const Tensor<T, 3>& memory, const AttentionMask<T>& own = {},
                            const AttentionMask<T>& others = {}) const {
        return this->stacked(input, [&](std::size_t i, const Tensor<T, 3>& x) { return layers[i](x, memory, own, others); });
    }
    Tensor<T, 3> operator()(const Tensor<T, 3>& input, const Tensor<T, 3>& memory, const AttentionMask<T>& own,
                            const AttentionMask<T>& others, const Context& context) const {
        return this->stacked(input, [&](std::size_t i, const Tensor<T, 3>& x) { return layers[i](x, memory, own, others, context); });
    }
    Cache start(const Tensor<T, 3>& memory) const {
        Cache cache;
        for (const auto& layer : layers) cache.push_back(layer.start(memory));
        return cache;
    }
    Tensor<T, 3> step(const Tensor<T, 3>& input, Cache& cache, const AttentionMask<T>& others = {}) const {
        if (cache.size() != layers.size())
            fail<ValueError>("TransformerDecoder: a cache of ", cache.size(), " layers, expected ", layers.size(),
                             ": it comes from start(memory)");
        return this->stacked(input, [&](std::size_t i, const Tensor<T, 3>& x) { return layers[i].step(x, cache[i], others); });
    }
};

}  // namespace tenon::nn

// Where in a sequence something stands: sinusoids, learned vectors, rotations, biases of attention.
#pragma once

#include <tenon/core/factories.hpp>
#include <tenon/nn/embedding.hpp>
#include <tenon/ops/concat.hpp>

namespace tenon::nn {

// Sinusoids [length, width] of the positions first, first + 1, ... (Vaswani et al. 2017, section 3.5): column 2 i is sin(position /
// 10000^(2 i / width)), column 2 i + 1 its cosine. Add them to the input. Throws ShapeError where the width is odd or below 2.
template <class T = float>
[[nodiscard]] Tensor<T, 2> sinusoidal_positions(long length, long width, long first = 0, Device device = cpu) {
    if (width < 2 || width % 2 != 0) fail<ShapeError>("sinusoidal_positions: width ", width, ", expected an even number of at least 2");
    if (length < 0) fail<ShapeError>("sinusoidal_positions: ", length, " positions, expected 0 or more");
    const no_grad constant;
    // In double: the angles of late positions lose their fractions in float.
    const Tensor<double, 2> position =
        arange<double>(static_cast<double>(first), static_cast<double>(first + length), 1, device).reshape({length, 1});
    const Tensor<double, 2> pair = arange<double>(0, static_cast<double>(width / 2), 1, device).reshape({1, width / 2});
    const Tensor<double, 2> angle = position * exp(pair * (-2 * __builtin_log(10000.0) / static_cast<double>(width)));
    return cast<T>(stack<2>(eval(sin(angle)), eval(cos(angle))).reshape({length, width}));
}

// A learned vector for each position: weight [most, width], standard normal at first. layer(length, first) gives those of the
// positions first, first + 1, ... [length, width]. Throws IndexError beyond the last.
template <class T = float>
struct LearnedPositions {
    Tensor<T, 2> weight;

    LearnedPositions() = default;
    LearnedPositions(long most, long width, Key key) : weight(Embedding<T>(most, width, key).weight) {}

    Tensor<T, 2> operator()(long length, long first = 0) const {
        if (length < 0 || first < 0 || first + length > weight.shape(0))
            fail<IndexError>("LearnedPositions: positions ", first, " to ", first + length, ", expected 0 to ", weight.shape(0));
        return weight(slice(first, first + length));
    }
    static void visit(auto& self, auto&& f) { f("weight", self.weight); }
};

// rotary(x, first): x [..., T, D] with each pair of columns (i, i + D / 2) turned by the angle position * base^(-2 i / D), positions
// first, first + 1, ... (Su et al. 2021, in the arrangement by halves of GPT-NeoX and LLaMA): products of queries and keys then
// depend on the difference of their positions. Throws ShapeError where D is odd. Derivative: turned back.
template <Expression X>
[[nodiscard]] auto rotary(X&& given, long first = 0, double base = 10000) {
    const auto x = impl::as_tensor(static_cast<X&&>(given));
    using Y = std::remove_const_t<decltype(x)>;
    using T = typename Y::Scalar;
    static_assert(Floating<T> && Y::rank >= 2, "tenon: rotary: the input must be floating-point [..., T, D]");
    const long length = x.shape(Y::rank - 2), width = x.shape(Y::rank - 1), half_of = width / 2;
    if (width < 2 || width % 2 != 0)
        fail<ShapeError>("rotary: the last axis of ", x.record()->description(), " is ", width, ", expected an even number of at least 2");
    Tensor<T, 2> cosine, sine;
    {
        const no_grad constant;
        const Tensor<double, 2> position =
            arange<double>(static_cast<double>(first), static_cast<double>(first + length), 1, x.device()).reshape({length, 1});
        const Tensor<double, 2> pair = arange<double>(0, static_cast<double>(half_of), 1, x.device()).reshape({1, half_of});
        const Tensor<double, 2> angle = position * exp(pair * (-2 * __builtin_log(base) / static_cast<double>(width)));
        cosine = cast<T>(cos(angle));
        sine = cast<T>(sin(angle));
    }
    // The two halves of the last axis.
    const auto halves = [&](long from) {
        tenon::detail::ViewMap map;
        map.rank = Y::rank;
        for (int i = 0; i < Y::rank; ++i) {
            map.start[i] = i == Y::rank - 1 ? from : 0;
            map.axis[i] = i;
            map.step[i] = 1;
            map.dims[i] = i == Y::rank - 1 ? half_of : x.shape(i);
        }
        return Y(tenon::detail::make_view(x.record(), map));
    };
    const Y low = halves(0), high = halves(half_of);
    return concat<Y::rank - 1>(eval(low * cosine - high * sine), eval(high * cosine + low * sine));
}

struct RelativeBiasSettings {
    long buckets = 32;
    long most = 128;            // distances from here on share the last bucket
    bool bidirectional = true;  // half of the buckets for keys behind the query
};

// T5's bias of attention (Raffel et al. 2020, section 2.1): a learned number for each head and bucket of distances between key and
// query, exact for near ones, logarithmic beyond. weight [buckets, heads], normal with deviation 0.02 at first. layer(Tq, Tk) gives
// [1, heads, Tq, Tk], to be added to the scores; the queries are the last Tq positions. Throws ValueError on settings that name no
// buckets.
template <class T = float>
struct RelativeBias {
    Tensor<T, 2> weight;
    RelativeBiasSettings settings;

    RelativeBias() = default;
    RelativeBias(long heads, Key key, RelativeBiasSettings given = {}) : settings(given) {
        const long side = settings.buckets / (settings.bidirectional ? 2 : 1);
        if (heads < 1 || side < 2 || settings.most <= side / 2)
            fail<ValueError>("RelativeBias: ", heads, " heads, ", settings.buckets, " buckets up to a distance of ", settings.most,
                             ", expected at least 1 head, ", settings.bidirectional ? 4 : 2,
                             " buckets and a distance beyond those that have one each (", side / 2, ")");
        weight = randn<T>({settings.buckets, heads}, key);
        weight *= static_cast<T>(0.02);
        weight.require_grad();
    }

    // Of a key `distance` positions behind the query.
    long bucket(long distance) const {
        long side = settings.buckets, at = 0;
        if (settings.bidirectional) {
            side /= 2;
            if (distance > 0) at = side;
        }
        const long far = settings.bidirectional ? (distance < 0 ? -distance : distance) : (distance < 0 ? -distance : 0), exact = side / 2;
        if (far < exact) return at + far;
        // In float, as T5's own: the edges of buckets lie where its rounding puts them.
        const float ratio = __builtin_logf(static_cast<float>(far) / static_cast<float>(exact)) /
                            static_cast<float>(__builtin_log(static_cast<double>(settings.most) / static_cast<double>(exact)));
        const long large = exact + static_cast<long>(ratio * static_cast<float>(side - exact));
        return at + (large < side - 1 ? large : side - 1);
    }

    Tensor<T, 4> operator()(long queries, long keys) const {
        if (queries < 0 || keys < 0) fail<ShapeError>("RelativeBias: ", queries, " queries and ", keys, " keys, expected 0 or more");
        Tensor<std::int64_t, 2> buckets = zeros<std::int64_t>({queries, keys});
        for (long i = 0; i < queries; ++i)
            for (long j = 0; j < keys; ++j) buckets.data()[i * keys + j] = bucket(j - (i + keys - queries));
        return embedding(weight, buckets.to(weight.device())).template permute<2, 0, 1>().reshape({1, weight.shape(1), queries, keys});
    }
    static void visit(auto& self, auto&& f) { f("weight", self.weight); }
};

}  // namespace tenon::nn

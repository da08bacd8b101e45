// Dropout as a module.
#pragma once

#include <tenon/nn/context.hpp>
#include <tenon/nn/module.hpp>
#include <tenon/ops/dropout.hpp>

namespace tenon::nn {

// layer(x, context) drops elements with probability p while context.training, and passes x on otherwise; layer(x) is
// inference. The key tells this module's masks from those of any other: give each its own, as layers get theirs.
// Throws ValueError where p is not in [0, 1].
struct Dropout {
    double p = 0;
    Key key;

    Dropout() = default;
    Dropout(double probability, Key own) : p(probability), key(own) {
        if (!(p >= 0 && p <= 1)) fail<ValueError>("Dropout: probability ", p, ", expected 0 to 1");
    }

    template <Expression X>
    auto operator()(X&& x, const Context& context) const {
        auto given = impl::as_tensor(static_cast<X&&>(x));
        if (!context.training || p == 0) return given;
        return dropout(given, p, context.key.split(key.bits));
    }
    template <Expression X>
    auto operator()(X&& x) const { return impl::as_tensor(static_cast<X&&>(x)); }

    static void visit(auto&, auto&&) {}
};

}  // namespace tenon::nn

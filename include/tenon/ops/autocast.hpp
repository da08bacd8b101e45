// Mixed precision: products of float tensors in 16 bits.
#pragma once

#include <tenon/ops/matmul_half.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

template <class To, class From>
detail::AnyTensor recorded_cast(detail::Record* x) {
    Collector c;
    c.add(x);
    detail::AnyTensor result;
    evaluate(formula::table<formula::Op<fn::cast<To>, formula::In<From>>, true>, c, x->rank, x->dims(), x->storage->device, &result);
    return result;
}
// The operands rounded to H, multiplied with sums in float, the result rounded to H once.
template <class H>
detail::AnyTensor product_in(const ProductSpec& s, int rank, const long* dims) {
    ProductSpec narrow = s;
    narrow.a = recorded_cast<H, float>(s.a.get());
    narrow.b = recorded_cast<H, float>(s.b.get());
    long same[max_rank];
    for (int i = 0; i < rank; ++i) same[i] = dims[i];
    set_product("autocast", narrow, same);
    return recorded_cast<float, H>(evaluate_product<H>(narrow, rank, dims).get());
}

}  // namespace impl

// While one lives, this thread's products of float tensors (matmul, linear, einsum and what is built on them) are computed in H,
// bf16 or half: operands and result are rounded to H, sums are made in float. Everything else stays in float, parameters and
// their gradients too, as PyTorch's autocast does it; backward of such a product runs in H wherever it is called. With half, scale
// the loss (optim/gradient_scaler.hpp): small gradients vanish below 6e-8.
//
//     {
//         const autocast<bf16> scope;
//         loss = cross_entropy(net(x), labels);
//     }
//     loss.backward();
template <class H>
class autocast {
    static_assert(std::is_same_v<H, bf16> || std::is_same_v<H, half>, "tenon: autocast<T>: T is bf16 or half");

public:
    explicit autocast(bool enabled = true) : before_(impl::product_replacement) { impl::product_replacement = enabled ? &impl::product_in<H> : nullptr; }
    ~autocast() { impl::product_replacement = before_; }
    autocast(const autocast&) = delete;
    autocast& operator=(const autocast&) = delete;

private:
    impl::ProductReplacement before_;
};

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

// expect: the result names an axis that no operand has
#include <tenon/tenon.hpp>
#include <tenon/ops/einsum.hpp>
using namespace tenon;
auto wrong(const Tensor<float, 2>& x) { return einsum<"ij,jk->il">(x, x); }

// expect: an operand has another number of axes than its part of the string names
#include <tenon/tenon.hpp>
#include <tenon/ops/einsum.hpp>
using namespace tenon;
auto wrong(const Tensor<float, 2>& x) { return einsum<"ijk,jk->ik">(x, x); }

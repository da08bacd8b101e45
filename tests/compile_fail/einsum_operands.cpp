// expect: the string names another number of operands than are given
#include <tenon/tenon.hpp>
#include <tenon/ops/einsum.hpp>
using namespace tenon;
auto wrong(const Tensor<float, 2>& x) { return einsum<"ij,jk->ik">(x); }

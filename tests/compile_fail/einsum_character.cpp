// expect: axes are named by letters
#include <tenon/tenon.hpp>
#include <tenon/ops/einsum.hpp>
using namespace tenon;
auto wrong(const Tensor<float, 2>& x) { return einsum<"ij,j_->ik">(x, x); }

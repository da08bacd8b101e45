// expect: matmul: a scalar has no axis to multiply over: write a * b
#include <tenon/tenon.hpp>
using namespace tenon;
auto wrong(const Tensor<float, 2>& x, const Tensor<float, 0>& s) { return matmul(x, s); }

// expect: Tensor<T, Rank> from an expression: the expression has another number of axes
#include <tenon/tenon.hpp>
using namespace tenon;
Tensor<float, 1> wrong(const Tensor<float, 2>& x, const Tensor<float, 1>& b) { return x + b; }

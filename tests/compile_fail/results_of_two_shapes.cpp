// expect: eval(e1, e2, ...): the expressions must have the same shape
#include <tenon/tenon.hpp>
using namespace tenon;
auto wrong(const Tensor<float, 2>& x, const Tensor<float, 1>& b) { return eval(x * 2.f, b * 2.f); }

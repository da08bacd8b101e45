// expect: where(condition, a, b): the condition must be bool, such as x > 0
#include <tenon/tenon.hpp>
using namespace tenon;
auto wrong(const Tensor<float, 1>& x) { return where(x, x, 0.f); }

// expect: roll<Axes...>(x, shifts...): one shift for each axis
#include <tenon/tenon.hpp>
#include <tenon/ops/pad.hpp>
using namespace tenon;
auto wrong(const Tensor<float, 2>& x) { return roll<0, 1>(x, 2); }

// expect: softmax<Axis>: the axis is outside of the tensor's rank
#include <tenon/tenon.hpp>
using namespace tenon;
auto wrong(const Tensor<float, 2>& x) { return softmax<3>(x); }

// expect: x(...): more indices than the tensor has axes
#include <tenon/tenon.hpp>
using namespace tenon;
auto wrong(const Tensor<float, 2>& x) { return x(0, all, 3); }

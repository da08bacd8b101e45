// expect: a reduction names an axis twice
#include <tenon/tenon.hpp>
using namespace tenon;
auto wrong(const Tensor<float, 2>& x) { return mean<1, -1>(x); }

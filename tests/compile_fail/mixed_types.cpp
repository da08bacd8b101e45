// expect: the operands have different element types, and types do not promote: write cast<T>(x) on one of them
#include <tenon/tenon.hpp>
using namespace tenon;
auto wrong(const Tensor<float, 1>& x, const Tensor<double, 1>& y) { return x + y; }

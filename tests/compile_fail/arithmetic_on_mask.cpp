// expect: arithmetic on a bool tensor: write cast<float>(mask) first
#include <tenon/tenon.hpp>
using namespace tenon;
auto wrong(const Tensor<float, 1>& x) { return (x > 0.f) + (x < 1.f); }

// expect: where(x > 0, a, b) instead of
#include <tenon/tenon.hpp>
using namespace tenon;
Tensor<float, 1> wrong(const Tensor<float, 1>& x) { return x > 0.f ? x : x * 0.1f; }

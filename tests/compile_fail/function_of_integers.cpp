// expect: this operation is defined for floating-point tensors only: write cast<float>(x) first
#include <tenon/tenon.hpp>
using namespace tenon;
auto wrong(const Tensor<std::int32_t, 1>& x) { return exp(x); }

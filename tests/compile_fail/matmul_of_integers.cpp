// expect: write cast<float>(x) first
#include <tenon/tenon.hpp>
using namespace tenon;
auto wrong(const Tensor<std::int64_t, 2>& x) { return matmul(x, x); }

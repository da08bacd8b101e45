// expect: mean: the mean of an integer tensor is not an integer: write mean(cast<float>(x))
#include <tenon/tenon.hpp>
using namespace tenon;
auto wrong(const Tensor<std::int64_t, 1>& x) { return mean(x); }

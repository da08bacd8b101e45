// expect: a fractional number beside an integer tensor would be cut: write cast<float>(x) first
#include <tenon/tenon.hpp>
using namespace tenon;
auto wrong(const Tensor<std::int64_t, 1>& x) { return x * 0.5; }

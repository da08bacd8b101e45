// expect: write tenon::sin(x) and friends instead of std::
#include <cmath>
#include <tenon/tenon.hpp>
using namespace tenon;
auto wrong(const Tensor<float, 1>& x) { return std::sin(x); }

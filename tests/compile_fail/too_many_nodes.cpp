// expect: this expression has more than 64 nodes: compute a part that is used several times once with let(part, [](auto v) { ... })
#include <tenon/tenon.hpp>
using namespace tenon;
auto twice(const auto& x) { return x * x + x; }
auto wrong(const Tensor<float, 1>& x) { return twice(twice(twice(twice(twice(x))))); }

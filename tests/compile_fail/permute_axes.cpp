// expect: permute<Axes...>: every axis must come once
#include <tenon/tenon.hpp>
using namespace tenon;
auto wrong(const Tensor<float, 3>& x) { return x.permute<0, 2, 2>(); }

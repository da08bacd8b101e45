// expect: the expression's element type is not the tensor's, and types do not promote: write cast<T>(expression)
#include <tenon/tenon.hpp>
using namespace tenon;
Tensor<double, 1> wrong(const Tensor<float, 1>& x) { return x * 2.f; }

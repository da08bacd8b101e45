// expect: labels must be int
#include <tenon/tenon.hpp>
using namespace tenon;
auto wrong(const Tensor<float, 2>& logits, const Tensor<float, 1>& labels) { return cross_entropy(logits, labels); }

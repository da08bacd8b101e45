// expect: cross_entropy: labels must be int64 or int32
#include <tenon/tenon.hpp>
using namespace tenon;
auto wrong(const Tensor<float, 2>& logits, const Tensor<float, 1>& labels) { return cross_entropy(logits, labels); }

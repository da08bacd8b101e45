// expect: require_grad: only floating-point tensors have gradients
#include <tenon/tenon.hpp>
using namespace tenon;
auto wrong() { return zeros<std::int64_t>({3}).require_grad(); }

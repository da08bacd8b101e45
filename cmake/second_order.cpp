// The translation unit that holds the second derivatives of a program built with TENON_EXTERN_KERNELS. A file of its own,
// so that programs without them need not wait for it.
#define TENON_INSTANTIATE_SECOND_ORDER
#include <tenon/ops/second_order.hpp>

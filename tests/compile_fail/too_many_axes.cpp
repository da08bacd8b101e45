// expect: Tensor<T, Rank>: a tensor has 0 to 8 axes
#include <tenon/tenon.hpp>
tenon::Tensor<float, 9> wrong;

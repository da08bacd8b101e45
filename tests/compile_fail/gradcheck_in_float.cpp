// expect: gradcheck: floating-point inputs must be double
#include <tenon/tenon.hpp>
#include <tenon/testing/gradcheck.hpp>
using namespace tenon;
void wrong() { testing::gradcheck([](auto x) { return x * 2.f; }, ones<float>({3})); }

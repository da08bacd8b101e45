// Uses second derivatives: of x^3, by a recorded pass, through a product.
#include "use.hpp"

#include <tenon/ops/second_order.hpp>
#include <tenon/tenon.hpp>

float second_derivative_of_cube(float at) {
    const auto x = tenon::from<float>({at}).require_grad();
    const tenon::Tensor<float, 0> y = tenon::matmul(x * x, x);
    const auto dy = tenon::grad(y, x, {.create_graph = true});
    return tenon::grad(tenon::sum(dy), x).data()[0];
}

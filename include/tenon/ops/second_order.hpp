// Second derivatives: include this where a backward pass is to be recorded ({.create_graph = true}), for jvp and for
// hessian_vector_product. Expressions of every element type, everything else for float and double.
#pragma once

#include <tenon/autograd/functional.hpp>
#include <tenon/ops/second_order/count.hpp>
#include <tenon/ops/second_order/fused.hpp>
#include <tenon/ops/second_order/index.hpp>
#include <tenon/ops/second_order/matmul.hpp>
#include <tenon/ops/second_order/norm.hpp>
#include <tenon/ops/second_order/norm_layers.hpp>
#include <tenon/ops/second_order/reduce.hpp>
#include <tenon/ops/second_order/scan.hpp>
#include <tenon/ops/second_order/shape.hpp>
#include <tenon/ops/second_order/softmax.hpp>
#include <tenon/ops/second_order/views.hpp>

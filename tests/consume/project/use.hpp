// A user's own header: functions in one translation unit, called from another.
#pragma once

#include <tenon/core/tensor.hpp>

int threads_elsewhere();
// Throws tenon::ShapeError, through the border between two objects.
void fail_elsewhere();
// x * w + 1, recorded on the tape by code compiled elsewhere.
tenon::Tensor<float, 1> scale_elsewhere(const tenon::Tensor<float, 1>& x, const tenon::Tensor<float, 1>& w);
// 6 * at, from a pass that is recorded: in a file of the program that uses second derivatives.
float second_derivative_of_cube(float at);

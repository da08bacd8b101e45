// Losses: numbers to call backward() on.
#pragma once

#include <tenon/ops/cross_entropy.hpp>
#include <tenon/ops/distance_loss.hpp>
#include <tenon/ops/elementwise_loss.hpp>
#include <tenon/ops/softmax.hpp>

// What a training program needs.
#pragma once

#include <tenon/base/parallel.hpp>
#include <tenon/core/factories.hpp>
#include <tenon/autograd/evaluate.hpp>
#include <tenon/ops/concat.hpp>
#include <tenon/ops/copy.hpp>
#include <tenon/ops/count.hpp>
#include <tenon/ops/dropout.hpp>
#include <tenon/ops/extreme.hpp>
#include <tenon/ops/index.hpp>
#include <tenon/ops/loss.hpp>
#include <tenon/ops/matmul.hpp>
#include <tenon/ops/norm.hpp>
#include <tenon/ops/random.hpp>
#include <tenon/ops/reduce.hpp>
#include <tenon/ops/scan.hpp>
#include <tenon/ops/softmax.hpp>
#include <tenon/ops/sort.hpp>
#include <tenon/nn/dropout.hpp>
#include <tenon/nn/embedding.hpp>
#include <tenon/nn/linear.hpp>
#include <tenon/optim/optimizer.hpp>
#include <tenon/optim/schedule.hpp>

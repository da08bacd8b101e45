// What a training program needs: tensors, gradients, operations, layers, optimisers. Not in here, for what they cost or
// need: second derivatives (ops/second_order.hpp), linear algebra (ops/linalg.hpp), 16-bit and integer products
// (ops/matmul_half.hpp, ops/quantize.hpp), anomaly mode (autograd/anomaly.hpp), files (io/), data sets (data/).
#pragma once

#include <tenon/base/parallel.hpp>
#include <tenon/core/factories.hpp>
#include <tenon/autograd/checkpoint.hpp>
#include <tenon/autograd/custom.hpp>
#include <tenon/autograd/evaluate.hpp>
#include <tenon/autograd/functional.hpp>
#include <tenon/autograd/hooks.hpp>
#include <tenon/ops/batch_norm.hpp>
#include <tenon/ops/concat.hpp>
#include <tenon/ops/conv.hpp>
#include <tenon/ops/copy.hpp>
#include <tenon/ops/count.hpp>
#include <tenon/ops/ctc_loss.hpp>
#include <tenon/ops/dropout.hpp>
#include <tenon/ops/dropout_variants.hpp>
#include <tenon/ops/einsum.hpp>
#include <tenon/ops/embedding_bag.hpp>
#include <tenon/ops/extreme.hpp>
#include <tenon/ops/grid.hpp>
#include <tenon/ops/index.hpp>
#include <tenon/ops/layer_norm.hpp>
#include <tenon/ops/linear_view.hpp>
#include <tenon/ops/loss.hpp>
#include <tenon/ops/mask.hpp>
#include <tenon/ops/masked_softmax.hpp>
#include <tenon/ops/matmul.hpp>
#include <tenon/ops/norm.hpp>
#include <tenon/ops/pad.hpp>
#include <tenon/ops/random.hpp>
#include <tenon/ops/reduce.hpp>
#include <tenon/ops/scan.hpp>
#include <tenon/ops/scatter.hpp>
#include <tenon/ops/segment.hpp>
#include <tenon/ops/softmax.hpp>
#include <tenon/ops/sort.hpp>
#include <tenon/ops/split.hpp>
#include <tenon/ops/triangle.hpp>
#include <tenon/nn/dropout.hpp>
#include <tenon/nn/embedding.hpp>
#include <tenon/nn/linear.hpp>
#include <tenon/nn/norm.hpp>
#include <tenon/optim/optimizer.hpp>
#include <tenon/optim/schedule.hpp>

// Linear algebra: factorisations, systems, eigenvalues, singular values, least squares. Not part of tenon.hpp, which most
// programs include without it.
#pragma once

#include <tenon/ops/linalg/cholesky.hpp>
#include <tenon/ops/linalg/eigh.hpp>
#include <tenon/ops/linalg/lu.hpp>
#include <tenon/ops/linalg/norm.hpp>
#include <tenon/ops/linalg/qr.hpp>
#include <tenon/ops/linalg/svd.hpp>
#include <tenon/ops/linalg/triangular.hpp>

#include "use.hpp"

#include <tenon/tenon.hpp>

int threads_elsewhere() { return tenon::num_threads(); }

void fail_elsewhere() {
    const auto a = tenon::zeros<float>({3}), b = tenon::zeros<float>({4});
    const tenon::Tensor<float, 1> c = a + b;
}

tenon::Tensor<float, 1> scale_elsewhere(const tenon::Tensor<float, 1>& x, const tenon::Tensor<float, 1>& w) { return x * w + 1.f; }

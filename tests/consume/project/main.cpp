#include "use.hpp"

#include <tenon/tenon.hpp>

#include <cstdio>
#include <cstring>

namespace {
int check(bool right, const char* what) {
    if (!right) std::printf("wrong: %s\n", what);
    return right ? 0 : 1;
}
}  // namespace

int main() {
    int failures = 0;

    // One pool for all translation units, whatever compiled them.
    tenon::set_num_threads(3);
    failures += check(threads_elsewhere() == 3, "the thread pool is not shared between translation units");

    // One tape, too: a part of it recorded in each object.
    auto w = tenon::from<float>({1.f, 2.f, 3.f}).require_grad();
    const tenon::Tensor<float, 1> y = scale_elsewhere(tenon::from<float>({4.f, 5.f, 6.f}), w);
    const tenon::Tensor<float, 0> loss = tenon::sum(y * y);
    loss.backward();
    failures += check(loss.item() == 25.f + 121.f + 361.f, "the value");
    failures += check(w.grad().data()[2] == 2.f * 19.f * 6.f, "the gradient");

    bool caught = false;
    try {
        fail_elsewhere();
    } catch (const tenon::ShapeError& error) {
        caught = std::strncmp(error.what(), "tenon: ", 7) == 0;
    }
    failures += check(caught, "an exception was lost between two objects");

    if (failures == 0) std::printf("ok, %s\n", tenon::name(tenon::isa()));
    return failures;
}

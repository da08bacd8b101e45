#include "use.hpp"

#include <tenon/base/isa.hpp>
#include <tenon/base/parallel.hpp>
#include <tenon/base/simd.hpp>

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
    long sum = 0;
    tenon::parallel_for(100, [&](long i) { __atomic_add_fetch(&sum, i, __ATOMIC_RELAXED); });
    failures += check(sum == 4950, "parallel_for");

    const tenon::simd<float, 4> x(1.5f);
    failures += check((x * x)[3] == 2.25f, "simd");

    bool caught = false;
    try {
        fail_elsewhere();
    } catch (const tenon::ValueError& error) {
        caught = std::strncmp(error.what(), "tenon: elsewhere", 16) == 0;
    }
    failures += check(caught, "an exception was lost between two objects");

    if (failures == 0) std::printf("ok, %s\n", tenon::name(tenon::isa()));
    return failures;
}

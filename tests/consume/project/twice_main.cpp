#include "use.hpp"

#include <cstdio>

int main() {
    const float value = second_derivative_of_cube(2.f);
    std::printf("%g\n", double(value));
    return value == 12.f ? 0 : 1;
}

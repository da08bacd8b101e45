// What the tests of kernels over rows share: random numbers, the rounding of a type, the same bits whatever the threads.
#pragma once

#include <tenon/base/parallel.hpp>
#include <tenon/kernels/cpu/reduce.hpp>

#include <catch2/catch.hpp>

#include <cstring>
#include <type_traits>
#include <vector>

namespace numbers {

using tenon::kernels::cpu::accumulator;

// In [low, high), integers cut off.
template <class T>
std::vector<T> random(long count, unsigned seed, double low, double high) {
    std::vector<T> v(static_cast<std::size_t>(count));
    unsigned long long state = 88172645463325252ull + seed * 0x9e3779b97f4a7c15ull;
    for (T& x : v) {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        const double u = low + double(state >> 11) * 0x1p-53 * (high - low);
        if constexpr (std::is_integral_v<T>) x = static_cast<T>(static_cast<long>(u));
        else x = T(static_cast<accumulator<T>>(u));
    }
    return v;
}
template <class T>
double value(T x) {
    return static_cast<double>(static_cast<accumulator<T>>(x));
}
// The distance of 1 to the next number.
template <class T>
constexpr double epsilon() {
    using namespace tenon;
    return std::is_integral_v<T> ? 0 : std::is_same_v<T, double> ? 0x1p-52 : std::is_same_v<T, float> ? 0x1p-23 : std::is_same_v<T, half> ? 0x1p-10 : 0x1p-7;
}
// The same of the type that is computed in.
template <class T>
constexpr double arithmetic() {
    return std::is_same_v<T, double> ? 0x1p-52 : 0x1p-23;
}
template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
    return a.size() == b.size() && (a.empty() || std::memcmp(static_cast<const void*>(a.data()), static_cast<const void*>(b.data()), a.size() * sizeof(T)) == 0);
}
// f(memory that holds `start`), with one thread and with two: the bits agree. Returns them.
template <class T, class F>
std::vector<T> on_threads(const std::vector<T>& start, F&& f) {
    std::vector<T> one = start, two = start;
    tenon::set_num_threads(1);
    f(one.data());
    tenon::set_num_threads(2);
    f(two.data());
    CHECK(same_bits(one, two));
    return one;
}
template <class T, class F>
std::vector<T> on_threads(long count, F&& f) {
    return on_threads(std::vector<T>(static_cast<std::size_t>(count), T(1)), f);
}

}  // namespace numbers

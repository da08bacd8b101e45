// What tests compare with stored results.
#pragma once

#include "../golden/golden.hpp"

#include <tenon/tenon.hpp>

#include <catch2/catch.hpp>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

inline const golden::Array& stored_in(const golden::File& file, const std::string& key) {
    const auto found = file.find(key);
    INFO(key);
    REQUIRE(found != file.end());
    return found->second;
}
// The largest difference of a tensor of double from them.
template <class X>
double off_by(const X& given, const golden::Array& expected) {
    const X x = tenon::contiguous(given.detach());
    REQUIRE(x.size() == expected.size());
    double most = 0;
    for (long i = 0; i < x.size(); ++i) most = std::max(most, std::abs(x.data()[i] - expected.reals[static_cast<std::size_t>(i)]));
    return most;
}
template <int R>
std::vector<std::int64_t> list(const tenon::Tensor<std::int64_t, R>& given) {
    const auto x = tenon::contiguous(given);
    return {x.data(), x.data() + x.size()};
}

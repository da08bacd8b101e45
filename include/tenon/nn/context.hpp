// What a forward pass is told beside its input: where its randomness comes from, and whether it trains.
#pragma once

#include <tenon/base/philox.hpp>

#include <cstdint>

namespace tenon::nn {

struct Context {
    Key key;
    bool training = true;

    // The context of a part, whose random numbers are independent of those of the parts with other tags.
    constexpr Context split(std::uint64_t tag) const { return {key.split(tag), training}; }
};

}  // namespace tenon::nn

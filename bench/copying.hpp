// What memory alone takes: copying as many bytes as a piece of work must move, in the same run.
#pragma once

#include <tenon/base/isa.hpp>
#include <tenon/base/parallel.hpp>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

namespace copying {

// copy(bytes) reads half of them and writes the other half, split over the threads as loops are. room: of each of the two buffers,
// which more bytes go through several times.
class Copy {
public:
    explicit Copy(std::size_t room = 1 << 28) : from_(room, 1), to_(room, 2) {}
    void operator()(double bytes) {
        const long chunk = 1 << 18;
        for (long left = static_cast<long>(bytes / 2); left > 0;) {
            const long n = std::min(left, static_cast<long>(from_.size()));
            tenon::parallel_for((n + chunk - 1) / chunk, [&](long task) {
                std::memcpy(to_.data() + task * chunk, from_.data() + task * chunk, static_cast<std::size_t>(std::min(chunk, n - task * chunk)));
            });
            left -= n;
        }
    }

private:
    std::vector<char> from_, to_;
};

// The rates of work that must move so many bytes and of copying them, from the seconds that both took.
inline void print(const std::string& name, double bytes, double ours, double copy) {
    std::printf("{\"case\":\"%s\",\"unit\":\"GB/s\",\"ours\":%.2f,\"peer\":\"memcpy\",\"peer_value\":%.2f,\"ratio\":%.3f,\"threads\":%d,\"isa\":\"%s\"}\n", name.c_str(),
                1e-9 * bytes / ours, 1e-9 * bytes / copy, copy / ours, tenon::num_threads(), tenon::name(tenon::isa()));
    std::fflush(stdout);
}

}  // namespace copying

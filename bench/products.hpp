// What the benchmarks of matrix products share: options, the clock, rounds of samples, lines of JSON.
#pragma once

#include <tenon/base/isa.hpp>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>
#include <vector>

namespace products {

// With one thread, the processor time of this process, which neighbours on a shared machine do not lengthen as much.
inline bool wall_clock = true;
inline double now() {
    timespec time;
    clock_gettime(wall_clock ? CLOCK_MONOTONIC : CLOCK_PROCESS_CPUTIME_ID, &time);
    return double(time.tv_sec) + 1e-9 * double(time.tv_nsec);
}

struct Options {
    int threads = 1, rounds = 7;
    const char* filter = "";
    const char* library;

    // --threads n, --rounds n, --filter text; --lib prints the library's name and ends the program.
    Options(int count, char** arguments, const char* name) : library(name) {
        for (int i = 1; i < count; ++i) {
            const bool more = i + 1 < count;
            if (std::strcmp(arguments[i], "--lib") == 0) {
                std::puts(library);
                std::exit(0);
            }
            if (std::strcmp(arguments[i], "--threads") == 0 && more) {
                threads = std::atoi(arguments[++i]);
            } else if (std::strcmp(arguments[i], "--rounds") == 0 && more) {
                rounds = std::atoi(arguments[++i]);
            } else if (std::strcmp(arguments[i], "--filter") == 0 && more) {
                filter = arguments[++i];
            } else {
                std::fprintf(stderr, "usage: %s [--threads n] [--rounds n] [--filter text] [--lib]\n", arguments[0]);
                std::exit(1);
            }
        }
        wall_clock = threads > 1;
    }
    bool chosen(const std::string& text) const { return text.find(filter) != std::string::npos; }
};

// The rates that a case has reached, in 10^9 operations a second.
struct Rates {
    std::vector<double> all = {};
    long repeats = 1;

    // Four samples of a few milliseconds: short enough to fall between the neighbours' time slices. Round -1 finds out how
    // many repeats that is.
    template <class Run>
    void sample(int round, double operations, Run&& run) {
        run();
        for (int i = 0; i < 4; ++i) {
            const double start = now();
            for (long r = 0; r < repeats; ++r) run();
            const double seconds = (now() - start) / double(repeats);
            if (round < 0) repeats = std::max(1L, std::min(200000L, long(2e-3 / seconds)));
            else all.push_back(operations / seconds * 1e-9);
        }
    }
    void print(const Options& options, const std::string& name, const char* unit, const char* from = "") {
        if (all.empty()) return;
        std::sort(all.begin(), all.end());
        std::printf("{\"case\":\"%s\",\"unit\":\"%s\",\"value\":%.2f,\"median\":%.2f,\"threads\":%d,\"isa\":\"%s\",\"lib\":\"%s\"", name.c_str(), unit, all.back(),
                    all[all.size() / 2], options.threads, tenon::name(tenon::isa()), options.library);
        if (*from != 0) std::printf(",\"from\":\"%s\"", from);
        std::puts("}");
    }
};

}  // namespace products

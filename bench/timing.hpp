// The clock of benchmarks of whole operations, and the best time of one call.
#pragma once

#include <tenon/base/parallel.hpp>

#include <algorithm>
#include <chrono>
#include <ctime>

namespace timing {

// Of one thread, the time it had a core: a shared machine counts for nothing then.
inline double now() {
    if (tenon::num_threads() > 1) return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
    timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

// Seconds of one call, best: a shared machine only ever slows down. Samples of a fifth of a millisecond at least, for so many seconds,
// and five at least: two of a call that takes longer than all of them should.
template <class F>
double seconds(F&& f, double enough = 0.5) {
    f();
    const double first = now();
    f();
    const double once = now() - first;
    const long batch = once > 2e-4 ? 1 : static_cast<long>(2e-4 / std::max(once, 1e-8)) + 1;
    double best = 1e9;
    int samples = 0;
    for (const double end = now() + enough; samples < (once > enough ? 2 : 5) || now() < end; ++samples) {
        const double start = now();
        for (long i = 0; i < batch; ++i) f();
        best = std::min(best, (now() - start) / static_cast<double>(batch));
    }
    return best;
}

}  // namespace timing

// The most memory that a piece of work holds, as Linux counts it: the same for every library.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>

namespace peak_memory {

// In bytes; 0 where /proc does not say.
inline double field(const char* name) {
    double kilobytes = 0;
    if (std::FILE* file = std::fopen("/proc/self/status", "r")) {
        char line[256];
        while (std::fgets(line, sizeof line, file) != nullptr)
            if (std::strncmp(line, name, std::strlen(name)) == 0) std::sscanf(line + std::strlen(name), "%lf", &kilobytes);
        std::fclose(file);
    }
    return kilobytes * 1024;
}
// What work() holds at most beyond what the process holds before: in a child of its own, since allocators keep what was freed. To
// be called before threads are started.
template <class F>
double of(F&& work) {
    int ends[2];
    if (::pipe(ends) != 0) return 0;
    const pid_t child = ::fork();
    if (child == 0) {
        const double before = field("VmRSS:");
        work();
        const double taken = field("VmHWM:") - before;
        const bool told = ::write(ends[1], &taken, sizeof taken) == static_cast<ssize_t>(sizeof taken);
        ::_exit(told ? 0 : 1);
    }
    ::close(ends[1]);
    double taken = 0;
    if (::read(ends[0], &taken, sizeof taken) != static_cast<ssize_t>(sizeof taken)) taken = 0;
    ::close(ends[0]);
    if (child > 0) ::waitpid(child, nullptr, 0);
    return taken;
}

}  // namespace peak_memory

// A progress bar for the terminal.
#pragma once

#include <unistd.h>

#include <cstdio>
#include <ctime>
#include <string>
#include <utility>

namespace tenon::train {

// A progress bar that redraws its line on a terminal, and otherwise prints a line per finished stretch.
class Progress {
public:
    Progress(std::string name, long total)
        : name_(std::move(name)), total_(total < 1 ? 1 : total), terminal_(isatty(STDOUT_FILENO) == 1), start_(now()) {}
    Progress(const Progress&) = delete;
    Progress& operator=(const Progress&) = delete;
    ~Progress() { clear(); }

    // So much was done by an earlier run.
    void skip(long units) { done_ += units; }
    // One more unit of work done.
    void advance(const char* note) {
        ++done_;
        if (first_ < 0) first_ = done_ - 1;
        if (!terminal_ || (now() - drawn_ < 0.1 && done_ < total_)) return;
        drawn_ = now();
        constexpr int cells = 28;
        const double part = static_cast<double>(done_) / static_cast<double>(total_);
        char bar[cells + 1];
        for (int i = 0; i < cells; ++i) bar[i] = i < static_cast<int>(part * cells + 0.5) ? '#' : '.';
        bar[cells] = '\0';
        const double spent = now() - start_, left = spent * static_cast<double>(total_ - done_) / static_cast<double>(done_ - first_);
        std::printf("\r%-12s [%s] %3.0f %%  %s  %.0f s left \033[K", name_.c_str(), bar, 100 * part, note, left);
        std::fflush(stdout);
    }
    // A line that stays, above the bar.
    void line(const std::string& text) {
        clear();
        std::printf("%s\n", text.c_str());
        std::fflush(stdout);
    }
    double seconds() const { return now() - start_; }

    // Seconds of a clock that never goes back.
    static double now() {
        timespec t;
        ::clock_gettime(CLOCK_MONOTONIC, &t);
        return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
    }

private:
    void clear() const {
        if (terminal_) std::printf("\r\033[K");
    }
    std::string name_;
    long total_, done_ = 0, first_ = -1;
    bool terminal_;
    double start_, drawn_ = 0.0;
};

}  // namespace tenon::train

// Runs the Python half of a test that exchanges files with NumPy or PyTorch.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

namespace python {

// A Python that has all of these modules ("numpy", "numpy,torch"): $TENON_PYTHON, the one that bench/peers.sh set up, or
// the system's. Empty where there is none; tests then say so and check what they can without it.
inline std::string find(const std::string& modules) {
    const char* own = std::getenv("TENON_PYTHON");
    const std::string candidates[] = {own != nullptr ? own : "", TENON_TEST_DIR "/../build/peers/bin/python", "python3", "/usr/bin/python3"};
    for (const std::string& candidate : candidates) {
        if (candidate.empty()) continue;
        if (std::system(("'" + candidate + "' -c 'import " + modules + "' > /dev/null 2>&1").c_str()) == 0) return candidate;
    }
    std::printf("no Python with %s: this part of the test is left out (third_party/install.sh tests brings numpy, bench/peers.sh torch)\n", modules.c_str());
    return "";
}

// What a script printed, and whether it ended well.
struct Result {
    int status;
    std::string output;
};
inline Result run(const std::string& interpreter, const std::string& arguments) {
    // A sanitizer in this process is none of Python's business.
    std::FILE* pipe = ::popen(("env -u LD_PRELOAD '" + interpreter + "' " + arguments + " 2>&1").c_str(), "r");
    if (pipe == nullptr) return {-1, "popen failed"};
    Result result{0, ""};
    char piece[4096];
    for (std::size_t got; (got = std::fread(piece, 1, sizeof piece, pipe)) > 0;) result.output.append(piece, got);
    const int status = ::pclose(pipe);
    result.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    return result;
}

}  // namespace python

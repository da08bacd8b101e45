// Real data sets for checks, where the machine has them: a folder named by TENON_SHARED_DATA, or shared/data beside the
// repository.
#pragma once

#include <sys/stat.h>

#include <cstdio>
#include <cstdlib>
#include <string>

// The path of something in that folder; empty where it is not there, which is said aloud.
inline std::string shared_data(const std::string& inner) {
    const char* const named = std::getenv("TENON_SHARED_DATA");
    const std::string path = (named != nullptr ? std::string(named) : std::string(TENON_TEST_DIR) + "/../../shared/data") + "/" + inner;
    struct stat status;
    if (::stat(path.c_str(), &status) == 0) return path;
    std::fprintf(stderr, "SKIPPED: no \"%s\": the checks with this data set are left out (TENON_SHARED_DATA names the folder)\n",
                 path.c_str());
    return "";
}

// The log reads a file that it is to go on with.
#include "reader.hpp"

#include <tenon/io/csv.hpp>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
    return fuzz::run(bytes, size, [&](const std::string& path) {
        const long keep = size > 0 && bytes[0] % 2 == 0 ? static_cast<long>(bytes[size - 1]) : -1;
        tenon::io::CsvLog log(path, {"epoch", "a,b"}, tenon::io::CsvMode::append, keep);
        log.row(1, 0.5);
        if (log.size() < 6) __builtin_trap();
    });
}

#include "reader.hpp"

#include <tenon/data/idx.hpp>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
    return fuzz::run(bytes, size, [](const std::string& path) {
        try {
            fuzz::touch(tenon::data::read_idx<std::uint8_t, 3>(path));
        } catch (const tenon::FileError&) {
            try {
                fuzz::touch(tenon::data::read_idx<std::int32_t, 1>(path));
            } catch (const tenon::FileError&) {
                fuzz::touch(tenon::data::read_idx<double, 2>(path));
            }
        }
    });
}

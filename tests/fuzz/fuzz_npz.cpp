#include "reader.hpp"

#include <tenon/io/npz.hpp>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
    return fuzz::run(bytes, size, [](const std::string& path) {
        const tenon::io::Npz file(path);
        long count = 0;
        for (const std::string& name : file.names()) {
            if (++count > 8) break;
            try {
                fuzz::touch(file.get(name));
            } catch (const tenon::Error&) {  // the other members may be sound
            }
        }
    });
}

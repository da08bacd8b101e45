#include "reader.hpp"

#include <tenon/data/cifar.hpp>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
    return fuzz::run(bytes, size, [](const std::string& path) {
        try {
            fuzz::touch(tenon::data::read_cifar10(path).images());
        } catch (const tenon::FileError&) {
            fuzz::touch(tenon::data::read_cifar100(path).images());
        }
    });
}

#include "reader.hpp"

#include <tenon/io/safetensors.hpp>
#include <tenon/nn/linear.hpp>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
    return fuzz::run(bytes, size, [](const std::string& path) {
        static tenon::nn::Linear<float> layer = fuzz::layer(2, 3);
        try {
            tenon::io::load(path, layer, {.strict = false});
        } catch (const tenon::ShapeError&) {  // of this layer only
        }
        const tenon::io::Safetensors file(path);
        for (const std::string& name : file.names()) {
            try {
                fuzz::touch(file.get(name));
            } catch (const tenon::DtypeError&) {  // a type that tenon lacks: the others are there
            } catch (const tenon::ShapeError&) {
            }
        }
    });
}

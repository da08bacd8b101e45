// Writing PNG files. Needs the stb headers (stb_image_write.h); defines its functions as static ones of this file, so
// include this header in the sources that write pictures only. Tensors as pictures, and reading them: io/image.hpp.
#pragma once

#include <tenon/io/file.hpp>

#include <cstdint>
#include <exception>
#include <string>
#include <vector>

#define STB_IMAGE_WRITE_STATIC
#define STB_IMAGE_WRITE_IMPLEMENTATION
#if __has_include(<stb/stb_image_write.h>)
#include <stb/stb_image_write.h>
#else
#include <stb_image_write.h>
#endif
#undef STB_IMAGE_WRITE_IMPLEMENTATION

namespace tenon::io {

// Rows from the top, three bytes (red, green, blue) per pixel.
struct Image {
    int width = 0, height = 0;
    std::vector<std::uint8_t> rgb;
};

namespace detail {

// Rows from the top, `channels` bytes per pixel (1: grey, 2: grey and alpha, 3: RGB, 4: RGB and alpha).
inline void write_png_bytes(const std::string& path, int width, int height, int channels, const std::uint8_t* bytes) {
    AtomicFile file("write_png", path);
    struct Sink {
        AtomicFile& file;
        std::exception_ptr error;
    } sink{file, nullptr};
    // No exception may pass through the encoder, which is written in C.
    const auto write = [](void* context, void* piece, int size) {
        Sink& to = *static_cast<Sink*>(context);
        if (to.error) return;
        try {
            to.file.write(piece, static_cast<std::size_t>(size));
        } catch (...) {
            to.error = std::current_exception();
        }
    };
    const int encoded = stbi_write_png_to_func(write, &sink, width, height, channels, bytes, channels * width);
    if (sink.error) std::rethrow_exception(sink.error);
    if (encoded == 0) fail<MemoryError>("write_png: no memory to encode ", width, " x ", height, " pixels for \"", path.c_str(), "\"");
    file.commit(false);
}

}  // namespace detail

// Writes image as a PNG file: under another name first, then renamed, so that a reader never sees half a file. Throws
// ValueError when the image is empty or its size does not match, FileError when the file cannot be written.
inline void write_png(const std::string& path, const Image& image) {
    if (image.width < 1 || image.height < 1 ||
        image.rgb.size() != static_cast<std::size_t>(image.width) * static_cast<std::size_t>(image.height) * 3)
        fail<ValueError>("write_png: ", image.width, " x ", image.height, " pixels with ",
                         static_cast<unsigned long>(image.rgb.size()), " bytes: expected a non-empty image with 3 bytes per pixel");
    detail::write_png_bytes(path, image.width, image.height, 3, image.rgb.data());
}

}  // namespace tenon::io

// Writing PNG files. Needs the stb headers (stb_image_write.h); defines its functions as static ones of this file, so
// include this header in the sources that write pictures only.
#pragma once

#include <tenon/base/error.hpp>

#include <cerrno>
#include <cstdint>
#include <cstdio>
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

// Writes image as a PNG file: under another name first, then renamed, so that a reader never sees half a file. Throws
// ValueError when the image is empty or its size does not match, FileError when the file cannot be written.
inline void write_png(const std::string& path, const Image& image) {
    if (image.width < 1 || image.height < 1 ||
        image.rgb.size() != static_cast<std::size_t>(image.width) * static_cast<std::size_t>(image.height) * 3)
        fail<ValueError>("write_png: ", image.width, " x ", image.height, " pixels with ",
                         static_cast<unsigned long>(image.rgb.size()), " bytes: expected a non-empty image with 3 bytes per pixel");
    const std::string unfinished = path + ".part";
    std::FILE* file = std::fopen(unfinished.c_str(), "wb");
    if (file == nullptr)
        fail<FileError>("write_png: cannot create \"", unfinished.c_str(), "\": ", std::strerror(errno),
                        "\nhint: does the folder exist, and may this user write into it?");
    struct Sink {
        std::FILE* file;
        bool good;
    } sink{file, true};
    const auto write = [](void* context, void* bytes, int size) {
        Sink& to = *static_cast<Sink*>(context);
        const std::size_t count = static_cast<std::size_t>(size);
        to.good = to.good && std::fwrite(bytes, 1, count, to.file) == count;
    };
    const int encoded = stbi_write_png_to_func(write, &sink, image.width, image.height, 3, image.rgb.data(), 3 * image.width);
    const bool closed = std::fclose(file) == 0;
    if (encoded == 0 || !sink.good || !closed || std::rename(unfinished.c_str(), path.c_str()) != 0) {
        const int why = errno;
        std::remove(unfinished.c_str());
        fail<FileError>("write_png: cannot write \"", path.c_str(), "\": ", std::strerror(why), "\nhint: is the disk full?");
    }
}

}  // namespace tenon::io

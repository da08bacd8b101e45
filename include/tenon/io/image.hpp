// Pictures as tensors: reading PNG and JPEG files, writing PNG files. Needs the stb headers (stb_image.h and
// stb_image_write.h); defines their functions as static ones of this file, so include this header in the sources that
// read or write pictures only.
#pragma once

#include <tenon/io/array.hpp>
#include <tenon/io/file.hpp>
#include <tenon/io/png.hpp>

#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

namespace tenon::io::detail {

// What decoding may still take of memory: a file of a few bytes that claims a huge picture is refused, not served.
inline thread_local std::size_t image_budget = 0;
struct ImageBlock {
    alignas(16) std::size_t size;
};
inline void* image_allocate(std::size_t size) {
    if (size > image_budget) return nullptr;
    // The decoder's own state is small, and not all of it is set before it is read: a damaged JPEG file may leave out a table.
    constexpr std::size_t state = std::size_t(1) << 16;
    ImageBlock* block = static_cast<ImageBlock*>(size <= state ? std::calloc(1, sizeof(ImageBlock) + size) : std::malloc(sizeof(ImageBlock) + size));
    if (block == nullptr) return nullptr;
    image_budget -= size;
    block->size = size;
    return block + 1;
}
inline void image_release(void* memory) {
    if (memory == nullptr) return;
    ImageBlock* block = static_cast<ImageBlock*>(memory) - 1;
    image_budget += block->size;
    std::free(block);
}
inline void* image_resize(void* memory, std::size_t size) {
    void* fresh = image_allocate(size);
    if (fresh == nullptr || memory == nullptr) return fresh;
    const std::size_t before = (static_cast<ImageBlock*>(memory) - 1)->size;
    std::memcpy(fresh, memory, before < size ? before : size);
    image_release(memory);
    return fresh;
}

// The checksum of PNG's chunks (CRC-32), which the decoder does not look at.
inline std::uint32_t png_checksum(const unsigned char* bytes, std::size_t count) {
    static const struct Table {
        std::uint32_t of[256];
        Table() {
            for (std::uint32_t i = 0; i < 256; ++i) {
                of[i] = i;
                for (int bit = 0; bit < 8; ++bit) of[i] = of[i] >> 1 ^ (0xedb88320u & (0u - (of[i] & 1u)));
            }
        }
    } table;
    std::uint32_t checksum = ~std::uint32_t(0);
    for (std::size_t i = 0; i < count; ++i) checksum = checksum >> 8 ^ table.of[(checksum ^ bytes[i]) & 0xff];
    return ~checksum;
}
inline std::uint32_t png_number(const unsigned char* at) {
    return std::uint32_t(at[0]) << 24 | std::uint32_t(at[1]) << 16 | std::uint32_t(at[2]) << 8 | at[3];
}
// What is wrong with the chunks of a PNG file; null: nothing. `kept` gets the file without chunks of no pixels, which are
// allowed, but make the decoder copy from nowhere to nowhere.
inline const char* check_png(const unsigned char* bytes, std::size_t size, std::vector<unsigned char>& kept) {
    std::size_t at = 8;
    bool ended = false;
    kept.assign(bytes, bytes + 8);
    while (!ended) {
        if (size - at < 12) return "it ends inside of a chunk (truncated)";
        const std::size_t length = png_number(bytes + at);
        if (length > size - at - 12) return "a chunk reaches over the end of the file";
        if (png_checksum(bytes + at + 4, 4 + length) != png_number(bytes + at + 8 + length)) return "the checksum of a chunk is wrong";
        ended = std::memcmp(bytes + at + 4, "IEND", 4) == 0;
        if (length != 0 || std::memcmp(bytes + at + 4, "IDAT", 4) != 0) kept.insert(kept.end(), bytes + at, bytes + at + 12 + length);
        at += 12 + length;
    }
    return nullptr;
}

// What is wrong with the segments of a JPEG file; null: nothing. The decoder trusts a Huffman table's count of symbols (and
// takes symbol 255 for none), and that a scan's tables are there.
inline const char* check_jpeg(const unsigned char* bytes, std::size_t size) {
    std::size_t at = 2;
    bool progressive = false, defined[2][16] = {};
    while (at + 1 < size) {
        if (bytes[at] != 0xff) {
            ++at;  // packed pixels, or padding
            continue;
        }
        const unsigned char marker = bytes[at + 1];
        if (marker == 0xff) {
            ++at;
            continue;
        }
        at += 2;
        if (marker == 0 || marker == 0x01 || (marker >= 0xd0 && marker <= 0xd8)) continue;  // without contents
        if (marker == 0xd9) return nullptr;
        if (size - at < 2) return "it ends inside of a segment (truncated)";
        const std::size_t length = std::size_t(bytes[at]) << 8 | bytes[at + 1];
        if (length < 2 || length > size - at) return "a segment reaches over the end of the file";
        if (marker == 0xc2) progressive = true;
        if (marker == 0xda) {
            const std::size_t components = length > 2 ? bytes[at + 2] : 0;
            if (length != 6 + 2 * components) return "the header of a scan has another length";
            const unsigned char* scan = bytes + at + 3 + 2 * components;  // first and last coefficient, bits before and after
            // The first coefficient's later bits are not coded; others are in scans of their own in progressive files.
            const bool first = !progressive || (scan[0] == 0 && scan[2] >> 4 == 0), others = !progressive || scan[0] != 0;
            for (std::size_t c = 0; c < components; ++c) {
                const unsigned char tables = bytes[at + 4 + 2 * c];
                if ((first && !defined[0][tables >> 4]) || (others && !defined[1][tables & 15])) return "a scan needs a Huffman table that is not there";
            }
        }
        if (marker == 0xc4) {
            for (std::size_t table = at + 2, end = at + length; table < end;) {
                if (end - table < 17) return "a Huffman table is cut off";
                std::size_t symbols = 0;
                for (std::size_t i = 1; i <= 16; ++i) symbols += bytes[table + i];
                if (symbols > 255 || symbols > end - table - 17) return "a Huffman table has too many symbols";
                defined[bytes[table] >> 4 & 1][bytes[table] & 15] = true;
                table += 17 + symbols;
            }
        }
        at += length;
    }
    return nullptr;
}

}  // namespace tenon::io::detail

#define STB_IMAGE_STATIC
#define STB_IMAGE_IMPLEMENTATION
#define STBI_ONLY_PNG
#define STBI_ONLY_JPEG
#define STBI_NO_STDIO
#define STBI_MALLOC(size) ::tenon::io::detail::image_allocate(size)
#define STBI_REALLOC(memory, size) ::tenon::io::detail::image_resize(memory, size)
#define STBI_FREE(memory) ::tenon::io::detail::image_release(memory)
#if __has_include(<stb/stb_image.h>)
#include <stb/stb_image.h>
#else
#include <stb_image.h>
#endif
#undef STB_IMAGE_IMPLEMENTATION
#undef STBI_MALLOC
#undef STBI_REALLOC
#undef STBI_FREE

namespace tenon::io {

struct ImageOptions {
    int channels = 0;                 // 1: grey, 2: grey and alpha, 3: RGB, 4: RGB and alpha, 0: what the file has
    long max_pixels = long(1) << 27;  // larger pictures are refused
};

// The picture in a PNG or JPEG file, as [height, width, channels], 8 bits per channel (16-bit files are reduced), rows from
// the top. The checksums of PNG files are checked. Memory is bounded by max_pixels and by what a file of that size can honestly hold. Throws FileError for a
// missing or damaged file, one of another format, or a picture that is too large; ValueError for other channels.
inline Tensor<std::uint8_t, 3> read_image(const std::string& path, const ImageOptions& options = {}) {
    constexpr const char* operation = "read_image";
    if (options.channels < 0 || options.channels > 4) fail<ValueError>(operation, ": channels is ", options.channels, ": expected 0 to 4");
    const detail::FileBytes bytes(operation, path);
    const bool png = bytes.size() >= 8 && std::memcmp(bytes.data(), "\x89PNG\r\n\x1a\n", 8) == 0;
    const bool jpeg = bytes.size() >= 3 && std::memcmp(bytes.data(), "\xff\xd8\xff", 3) == 0;
    if (!png && !jpeg) fail<FileError>(operation, ": \"", path.c_str(), "\" is no picture: expected a PNG or JPEG file, its first bytes are others\nhint: is this the right file?");
    if (bytes.size() > 0x7fffffff) fail<FileError>(operation, ": \"", path.c_str(), "\" has ", static_cast<unsigned long>(bytes.size()), " bytes: expected a picture below 2 GiB");
    const unsigned char* content = bytes.data();
    int length = static_cast<int>(bytes.size());
    const auto broken = [&](const char* why) {
        fail<FileError>(operation, ": \"", path.c_str(), "\" is a damaged ", png ? "PNG" : "JPEG", " file: expected a whole picture, got \"", why != nullptr ? why : "unknown",
                        "\"\nhint: fetch the file again, or open it in a viewer");
    };
    std::vector<unsigned char> kept;
    if (png) {
        const char* problem = detail::check_png(bytes.data(), bytes.size(), kept);
        if (problem != nullptr) broken(problem);
        content = kept.data();
        length = static_cast<int>(kept.size());
    } else if (const char* problem = detail::check_jpeg(bytes.data(), bytes.size())) {
        broken(problem);
    }
    int width = 0, height = 0, own = 0;
    detail::image_budget = std::size_t(1) << 24;
    if (stbi_info_from_memory(content, length, &width, &height, &own) == 0) broken(stbi_failure_reason());
    if (width < 1 || height < 1 || static_cast<long>(width) * height > options.max_pixels)
        fail<FileError>(operation, ": \"", path.c_str(), "\" is of ", width, " x ", height, " pixels: expected at most ", options.max_pixels,
                        " in all\nhint: pass {.max_pixels = ...} if the picture is meant to be that large");
    // A deflated byte stands for at most 1032 bytes, each of 8 pixels of up to 4 channels; JPEG packs less densely.
    const std::size_t claimed = static_cast<std::size_t>(width) * static_cast<std::size_t>(height), possible = bytes.size() * 1032 * 8;
    if (claimed > possible)
        fail<FileError>(operation, ": \"", path.c_str(), "\" claims ", width, " x ", height, " pixels: expected at most ", static_cast<unsigned long>(possible), " of ",
                        static_cast<unsigned long>(bytes.size()), " bytes\nhint: the file is damaged: fetch it again");
    // Decoding holds the packed and the unpacked picture, in up to 4 channels of 16 bits, and JPEG's coefficients.
    detail::image_budget = (std::size_t(1) << 24) + 32 * claimed + 4 * bytes.size();
    std::uint8_t* pixels = stbi_load_from_memory(content, length, &width, &height, &own, options.channels);
    if (pixels == nullptr) broken(stbi_failure_reason());
    struct Guard {
        std::uint8_t* pixels;
        ~Guard() { stbi_image_free(pixels); }
    } guard{pixels};
    const long dims[3] = {height, width, options.channels != 0 ? options.channels : own};
    Tensor<std::uint8_t, 3> result(detail::AnyTensor(tenon::detail::new_record(DType::uint8, 3, dims, cpu, operation)));
    std::memcpy(result.data(), pixels, static_cast<std::size_t>(result.size()));
    return result;
}

// Writes [height, width, channels] with 1 to 4 channels (grey, grey and alpha, RGB, RGB and alpha) as a PNG file, which
// appears whole or not at all. Throws ShapeError for another number of channels or an empty picture, FileError,
// DeviceError.
inline void write_png(const std::string& path, const Tensor<std::uint8_t, 3>& image) {
    const detail::Record* r = image.record();
    if (image.shape(2) < 1 || image.shape(2) > 4 || image.size() == 0 || image.shape(0) > 0xffffff || image.shape(1) > 0xffffff)
        fail<ShapeError>("write_png: ", r->description(), ": expected [height, width, channels] with 1 to 4 channels and 1 to 16777215 rows and columns",
                         "\n       hint: channels come last: x.permute<1, 2, 0>() turns [channels, height, width]");
    const detail::AnyTensor rows = detail::row_major(image.any());
    detail::write_png_bytes(path, static_cast<int>(image.shape(1)), static_cast<int>(image.shape(0)), static_cast<int>(image.shape(2)),
                            reinterpret_cast<const std::uint8_t*>(rows->data()));
}

}  // namespace tenon::io

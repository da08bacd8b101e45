// Pictures: what write_png writes, read_image reads; JPEG; damaged and hostile files.
#include "files.hpp"

#include <tenon/io/image.hpp>

using namespace tenon;
using files::Bytes, files::error_of, files::has;

namespace {
Tensor<std::uint8_t, 3> picture(long height, long width, long channels) {
    auto x = empty<std::uint8_t>({height, width, channels});
    for (long i = 0; i < x.size(); ++i) x.data()[i] = static_cast<std::uint8_t>(i * 37 + i / 7);
    return x;
}
// A JPEG file of the colours' slow course, which it keeps to within a few steps.
Bytes jpeg(long height, long width) {
    auto x = empty<std::uint8_t>({height, width, 3});
    for (long i = 0; i < height; ++i)
        for (long k = 0; k < width; ++k)
            for (long c = 0; c < 3; ++c) x.data()[(i * width + k) * 3 + c] = static_cast<std::uint8_t>(c == 0 ? 4 * i : c == 1 ? 4 * k : 100);
    Bytes bytes;
    const auto add = [](void* to, void* piece, int size) {
        const unsigned char* from = static_cast<unsigned char*>(piece);
        static_cast<Bytes*>(to)->insert(static_cast<Bytes*>(to)->end(), from, from + size);
    };
    REQUIRE(stbi_write_jpg_to_func(add, &bytes, static_cast<int>(width), static_cast<int>(height), 3, x.data(), 90) != 0);
    return bytes;
}
void decode(const std::string& path) { io::read_image(path, {.max_pixels = 1 << 20}); }
}  // namespace

TEST_CASE("what write_png writes, read_image reads", "[image]") {
    const files::Folder folder;
    for (const long channels : {1, 2, 3, 4})
        for (const auto& [height, width] : {std::pair{1l, 1l}, {3l, 5l}, {17l, 33l}, {64l, 2l}}) {
            const auto x = picture(height, width, channels);
            io::write_png(folder / "x.png", x);
            CHECK(files::equal(io::read_image(folder / "x.png"), x));
            CHECK(io::read_image(folder / "x.png", {.channels = 3}).shape(2) == 3);
        }
    const auto x = picture(3, 4, 5);
    io::write_png(folder / "x.png", picture(3, 6, 4).permute<1, 0, 2>());
    CHECK(io::read_image(folder / "x.png").shape(0) == 6);
    CHECK(has(error_of<ShapeError>([&] { io::write_png(folder / "x.png", x); }), "expected [height, width, channels] with 1 to 4 channels"));
    CHECK(has(error_of<ShapeError>([&] { io::write_png(folder / "x.png", zeros<std::uint8_t>({0, 4, 3})); }), "uint8[0, 4, 3]"));
    CHECK(folder.list().size() == 1);
}

TEST_CASE("JPEG files are read", "[image]") {
    const files::MemoryFile file(jpeg(40, 50));
    const auto x = io::read_image(file.path());
    REQUIRE(x.shape(0) == 40);
    REQUIRE(x.shape(1) == 50);
    REQUIRE(x.shape(2) == 3);
    for (const long i : {0, 20, 39})
        for (const long k : {0, 25, 49}) {
            CHECK(std::abs(int(x.data()[(i * 50 + k) * 3]) - int(4 * i)) <= 12);
            CHECK(std::abs(int(x.data()[(i * 50 + k) * 3 + 1]) - int(4 * k)) <= 12);
        }
    CHECK(io::read_image(file.path(), {.channels = 1}).shape(2) == 1);
}

TEST_CASE("each way to be bad has its error", "[image]") {
    const files::MemoryFile other(files::bytes_of("GIF89a and more"));
    CHECK(has(error_of<FileError>([&] { io::read_image(other.path()); }), "is no picture: expected a PNG or JPEG file"));
    CHECK(has(error_of<FileError>([&] { io::read_image("/nowhere.png"); }), "cannot open"));
    const files::Folder folder;
    io::write_png(folder / "x.png", picture(8, 8, 3));
    auto bytes = files::read(folder / "x.png");
    CHECK(has(error_of<FileError>([&] { io::read_image(folder / "x.png", {.max_pixels = 63}); }), "is of 8 x 8 pixels: expected at most 63"));
    CHECK(has(error_of<ValueError>([&] { io::read_image(folder / "x.png", {.channels = 5}); }), "channels is 5: expected 0 to 4"));
    const auto error_for = [&](const Bytes& content) {
        files::write(folder / "x.png", content);
        return error_of<FileError>([&] { io::read_image(folder / "x.png"); });
    };
    Bytes damaged = bytes;
    damaged[60] ^= 1;
    CHECK(has(error_for(damaged), "is a damaged PNG file: expected a whole picture, got \"the checksum of a chunk is wrong\""));
    CHECK(has(error_for(Bytes(bytes.begin(), bytes.end() - 1)), "truncated"));
    CHECK(has(error_for(Bytes(bytes.begin(), bytes.begin() + 60)), "a chunk reaches over the end of the file"));
    // A height of 2^24 - 256 + 8 in the header, with its checksum: more than so few bytes can hold.
    const auto with_checksum = [](Bytes content, std::size_t chunk, std::size_t length) {
        const std::uint32_t checksum = io::detail::png_checksum(content.data() + chunk + 4, 4 + length);
        for (std::size_t i = 0; i < 4; ++i) content[chunk + 8 + length + i] = static_cast<unsigned char>(checksum >> (24 - 8 * i));
        return content;
    };
    damaged = bytes;
    damaged[16 + 4 + 1] = damaged[16 + 4 + 2] = 0xff;
    CHECK(has(error_for(with_checksum(damaged, 8, 13)), "pixels: expected at most"));
    // A chunk of no pixels in front of the others is allowed.
    damaged = bytes;
    const Bytes empty_chunk = with_checksum({0, 0, 0, 0, 'I', 'D', 'A', 'T', 0, 0, 0, 0}, 0, 0);
    damaged.insert(damaged.begin() + 33, empty_chunk.begin(), empty_chunk.end());
    CHECK(error_for(damaged).empty());
    CHECK(files::equal(io::read_image(folder / "x.png"), picture(8, 8, 3)));
}

TEST_CASE("a JPEG file without a Huffman table that a scan needs, or with one of 256 symbols, is refused", "[image]") {
    const Bytes whole = jpeg(9, 17);
    const auto error_for = [](const Bytes& content) {
        const files::MemoryFile file(content);
        return error_of<FileError>([&] { io::read_image(file.path()); });
    };
    CHECK(error_for(whole).empty());
    // The writer puts its four tables into one segment: the kind and number, the counts of 16 lengths, the symbols.
    std::size_t segment = 2;
    while (whole[segment + 1] != 0xc4) segment += 2 + (std::size_t(whole[segment + 2]) << 8 | whole[segment + 3]);
    const std::size_t end = segment + 2 + (std::size_t(whole[segment + 2]) << 8 | whole[segment + 3]);
    int tables = 0;
    for (std::size_t table = segment + 4; table < end; ++tables) {
        Bytes renumbered = whole;
        renumbered[table] = static_cast<unsigned char>((whole[table] & 0xf0) | 3);  // a number that no scan asks for
        CHECK(has(error_for(renumbered), "a scan needs a Huffman table that is not there"));
        std::size_t symbols = 0;
        for (std::size_t i = 1; i <= 16; ++i) symbols += whole[table + i];
        table += 17 + symbols;
    }
    CHECK(tables == 4);
    Bytes full = {0xff, 0xc4, 0x01, 0x13, 0x13, 0, 0, 0, 0, 0, 0, 0, 255, 1, 0, 0, 0, 0, 0, 0, 0};  // 255 codes of 8 bits, one of 9
    for (int symbol = 0; symbol < 256; ++symbol) full.push_back(static_cast<unsigned char>(symbol));
    Bytes with_full = whole;
    with_full.insert(with_full.begin() + static_cast<std::ptrdiff_t>(segment), full.begin(), full.end());
    CHECK(has(error_for(with_full), "a Huffman table has too many symbols"));
}

TEST_CASE("damaged pictures are read or refused, never more", "[image][damage]") {
    const files::Folder folder;
    io::write_png(folder / "x.png", picture(3, 2, 3));
    CHECK(files::damage(files::read(folder / "x.png"), decode).refused > 100);
    CHECK(files::damage(jpeg(9, 17), decode, 16 << 20, 800).refused > 100);
}

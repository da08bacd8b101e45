// Plots: the files are valid PNGs, and what was asked for is where it should be, read back with another decoder.
#include <tenon/io/image.hpp>
#include <tenon/io/plot.hpp>

#include <catch2/catch.hpp>

#include <unistd.h>

#include <fstream>

using namespace tenon;
using namespace tenon::io;

namespace {
struct Scratch {
    std::string folder, path;
    Scratch() {
        char name[] = "/tmp/tenon-plot-XXXXXX";
        folder = ::mkdtemp(name);
        path = folder + "/plot.png";
    }
    ~Scratch() {
        std::remove(path.c_str());
        ::rmdir(folder.c_str());
    }
};
Image read_png(const std::string& path) {
    const auto x = read_image(path);
    CHECK(x.shape(2) == 3);
    Image image{static_cast<int>(x.shape(1)), static_cast<int>(x.shape(0)), {}};
    image.rgb.assign(x.data(), x.data() + x.size());
    return image;
}
Colour pixel(const Image& image, int x, int y) {
    const std::size_t at = 3 * (static_cast<std::size_t>(y) * static_cast<std::size_t>(image.width) + static_cast<std::size_t>(x));
    return {image.rgb[at], image.rgb[at + 1], image.rgb[at + 2]};
}
struct Box {
    int count = 0, left = 1 << 20, right = -1, top = 1 << 20, bottom = -1;
};
Box find(const Image& image, Colour colour) {
    Box box;
    for (int y = 0; y < image.height; ++y)
        for (int x = 0; x < image.width; ++x) {
            if (!(pixel(image, x, y) == colour)) continue;
            ++box.count;
            box.left = std::min(box.left, x), box.right = std::max(box.right, x);
            box.top = std::min(box.top, y), box.bottom = std::max(box.bottom, y);
        }
    return box;
}
Series line(std::string name, double y0, double y1, int points = 5) {
    Series s;
    s.name = std::move(name);
    for (int i = 0; i < points; ++i) {
        s.x.push_back(i);
        s.y.push_back(y0 + (y1 - y0) * i / (points - 1));
    }
    return s;
}
}  // namespace

TEST_CASE("an image survives the way through a PNG file", "[plot]") {
    Scratch scratch;
    Image image{37, 11, {}};
    for (int i = 0; i < 37 * 11 * 3; ++i) image.rgb.push_back(static_cast<std::uint8_t>(i * 7 + i / 50));
    write_png(scratch.path, image);
    const Image back = read_png(scratch.path);
    CHECK(back.width == 37);
    CHECK(back.height == 11);
    CHECK(back.rgb == image.rgb);
    CHECK(::access((scratch.path + ".part").c_str(), F_OK) != 0);
}

TEST_CASE("pictures that cannot be written are errors", "[plot]") {
    Scratch scratch;
    CHECK_THROWS_AS(write_png(scratch.path, Image{}), ValueError);
    CHECK_THROWS_AS(write_png(scratch.path, Image{2, 2, {1, 2, 3}}), ValueError);
    CHECK_THROWS_AS(write_png(scratch.folder + "/none/x.png", Image{1, 1, {1, 2, 3}}), FileError);
    CHECK_THROWS_AS(Plot({.width = 10, .height = 10}), ValueError);
    Series uneven;
    uneven.x = {1, 2};
    uneven.y = {1};
    CHECK_THROWS_AS(Plot().add(uneven), ValueError);
}

TEST_CASE("lines are drawn in their colours, at their places", "[plot]") {
    Scratch scratch;
    Plot plot({.title = "two lines", .x_label = "step", .y_label = "value"});
    plot.add(line("rises", 0, 1)).add(line("falls", 1, 0));
    plot.save(scratch.path);
    const Image image = read_png(scratch.path);
    REQUIRE(image.width == 1200);
    REQUIRE(image.height == 760);
    const Box rises = find(image, plot.colour(0)), falls = find(image, plot.colour(1));
    CHECK_FALSE(plot.colour(0) == plot.colour(1));
    CHECK(rises.count > 1000);
    CHECK(falls.count > 1000);
    // Both cross most of the axes; the legend's samples lie to the right of them.
    CHECK(rises.left < 120);
    CHECK(rises.top < 120);
    CHECK(rises.bottom > 600);
    CHECK(rises.right > 1000);
    // Low left, high right for the first, the other way round for the second.
    const auto half = [&](Colour colour, bool left, bool top) {
        int count = 0;
        for (int y = top ? 0 : 380; y < (top ? 340 : 700); ++y)
            for (int x = left ? 100 : 650; x < (left ? 450 : 1000); ++x) count += pixel(image, x, y) == colour;
        return count;
    };
    CHECK(half(plot.colour(0), true, false) > 200);
    CHECK(half(plot.colour(0), true, true) == 0);
    CHECK(half(plot.colour(0), false, true) > 200);
    CHECK(half(plot.colour(1), true, true) > 200);
    CHECK(half(plot.colour(1), true, false) == 0);
    // Corners are paper.
    CHECK(pixel(image, 0, 0) == Colour{255, 255, 255});
    CHECK(pixel(image, 1199, 759) == Colour{255, 255, 255});
}

TEST_CASE("a band is a paler area around its line", "[plot]") {
    Series s = line("mean \u00b1 std", 1, 1);
    s.spread.assign(5, 0.5);
    Plot plot;
    plot.add(s);
    const Image image = plot.draw();
    const Colour c = plot.colour(0);
    const auto mix = [](std::uint8_t v) { return static_cast<std::uint8_t>((1.0f + 0.2f * (float(v) / 255.0f - 1.0f)) * 255.0f + 0.5f); };
    const Colour pale{mix(c.r), mix(c.g), mix(c.b)};
    CHECK(find(image, pale).count > 100000);
    // The line lies in the middle of the axes, the band above and below it.
    CHECK(pixel(image, 610, 370) == c);
    CHECK(pixel(image, 610, 150) == pale);
    CHECK(pixel(image, 610, 600) == pale);
}

TEST_CASE("plots take odd data", "[plot]") {
    const double nan = std::nan(""), inf = INFINITY;
    Scratch scratch;
    SECTION("nothing at all") { Plot().save(scratch.path); }
    SECTION("one point") { Plot().add({.name = "p", .x = {3}, .y = {7}}).save(scratch.path); }
    SECTION("not numbers") {
        Plot().add({.name = "n", .x = {1, 2, 3, nan, 5, inf}, .y = {nan, 1, inf, 2, -inf, 3}, .spread = {nan, inf, 1, 1, 1, 1}}).save(scratch.path);
    }
    SECTION("a constant") { Plot().add({.name = "c", .x = {1, 2}, .y = {1e300, 1e300}}).save(scratch.path); }
    SECTION("huge range") { Plot().add({.name = "h", .x = {-1e308, 1e308}, .y = {-1e308, 1e308}}).save(scratch.path); }
    SECTION("tiny range") { Plot().add({.name = "t", .x = {1, 1 + 1e-15}, .y = {1e-300, 2e-300}}).save(scratch.path); }
    SECTION("logarithms of what has none") { Plot({.x_log = true}).add({.name = "l", .x = {-1, 0, 1, 10}, .y = {1, 2, 3, 4}}).save(scratch.path); }
    SECTION("less than a decade") { Plot({.x_log = true}).add({.name = "l", .x = {2, 3}, .y = {1, 2}}).save(scratch.path); }
    SECTION("any bytes as text") {
        std::string bytes;
        for (int c = 1; c < 256; ++c) bytes += static_cast<char>(c);
        Plot({.title = bytes, .x_label = bytes, .y_label = bytes}).add({.name = bytes, .x = {1, 2}, .y = {1, 2}}).save(scratch.path);
    }
    SECTION("very many points, dashed") {
        Series s;
        for (int i = 0; i < 200000; ++i) {
            s.x.push_back(i);
            s.y.push_back(i % 10);
        }
        s.dashed = true;
        Plot().add(s).save(scratch.path);
    }
    SECTION("a range of the caller's, the line far outside") {
        Plot({.y_low = 0, .y_high = 1}).add({.name = "far", .x = {0, 1, 2}, .y = {-1e12, 0.5, 1e12}}).save(scratch.path);
    }
    CHECK(read_png(scratch.path).width == 1200);
}

TEST_CASE("ticks are round numbers inside of the range", "[plot]") {
    const io::detail::Ticks ticks = io::detail::linear_ticks(0.03, 0.97, 8);
    CHECK(ticks.labels == std::vector<std::string>{"0.2", "0.4", "0.6", "0.8"});
    CHECK(io::detail::linear_ticks(-1, 1, 4).labels == std::vector<std::string>{"-1.0", "-0.5", "0.0", "0.5", "1.0"});
    CHECK(io::detail::linear_ticks(0, 20000, 8).labels.size() == 5);
    CHECK(io::detail::decade_ticks(0, 3.5).labels == std::vector<std::string>{"1", "10", "100", "1000"});
}

TEST_CASE("every printable character has a glyph that fits its line", "[plot]") {
    for (int c = 33; c < 127; ++c) {
        INFO("character " << static_cast<char>(c));
        double width = 0;
        const auto strokes = text_strokes(std::string(1, static_cast<char>(c)), 7, &width);
        CHECK_FALSE(strokes.empty());
        CHECK(width >= 0);
        CHECK(width <= 6);
        for (const auto& stroke : strokes)
            for (const Point& p : stroke) {
                CHECK(p.x >= -1e-9);
                CHECK(p.x <= width + 1e-9);
                CHECK(p.y >= -2 - 1e-9);
                CHECK(p.y <= 7 + 1e-9);
            }
    }
}

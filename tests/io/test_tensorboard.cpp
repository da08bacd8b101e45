// Event files: every record's length and checksums, the fields that TensorBoard reads, and TensorBoard itself where Python has it.
#include <catch2/catch.hpp>

#include <tenon/io/tensorboard.hpp>

#include "files.hpp"
#include "python.hpp"

#include <bit>
#include <cstring>
#include <limits>

using namespace tenon;

namespace {

struct Field {
    int number;
    std::uint64_t integer;
    std::string bytes;
    double real() const { return std::bit_cast<double>(integer); }
    float small_real() const { return std::bit_cast<float>(static_cast<std::uint32_t>(integer)); }
};
std::vector<Field> fields_of(const std::string& text) {
    std::vector<Field> fields;
    std::size_t at = 0;
    const auto varint = [&] {
        std::uint64_t v = 0;
        for (int shift = 0;; shift += 7) {
            const auto byte = static_cast<unsigned char>(text.at(at++));
            v |= static_cast<std::uint64_t>(byte & 127) << shift;
            if (byte < 128) return v;
        }
    };
    while (at < text.size()) {
        const std::uint64_t key = varint();
        Field f{static_cast<int>(key >> 3), 0, {}};
        if ((key & 7) == 0) f.integer = varint();
        else if ((key & 7) == 2) {
            const std::size_t count = varint();
            f.bytes = text.substr(at, count);
            REQUIRE(f.bytes.size() == count);
            at += count;
        } else {
            const std::size_t count = (key & 7) == 1 ? 8 : 4;
            REQUIRE(at + count <= text.size());
            std::memcpy(&f.integer, text.data() + at, count);
            at += count;
        }
        fields.push_back(f);
    }
    return fields;
}
const Field& field(const std::vector<Field>& fields, int number) {
    for (const Field& f : fields)
        if (f.number == number) return f;
    FAIL("no field " << number);
    return fields[0];
}
std::vector<std::string> records_of(const std::string& path) {
    const files::Bytes bytes = files::read(path);
    const std::string text(bytes.begin(), bytes.end());
    std::vector<std::string> records;
    for (std::size_t at = 0; at < text.size();) {
        std::uint64_t length;
        std::uint32_t head, tail;
        REQUIRE(at + 12 <= text.size());
        std::memcpy(&length, text.data() + at, 8), std::memcpy(&head, text.data() + at + 8, 4);
        CHECK(head == io::detail::masked_crc32c(&length, 8));
        REQUIRE(at + 16 + length <= text.size());
        records.push_back(text.substr(at + 12, length));
        std::memcpy(&tail, text.data() + at + 12 + length, 4);
        CHECK(tail == io::detail::masked_crc32c(records.back().data(), length));
        at += 16 + length;
    }
    return records;
}

}  // namespace

TEST_CASE("CRC-32C has its published check value") { CHECK(io::detail::crc32c("123456789", 9) == 0xe3069283u); }

TEST_CASE("an event file holds what was written") {
    const files::Folder folder;
    io::EventFile events(folder.path);
    events.scalar("loss/train", 300, 0.25);
    const float values[] = {0, 1, 2, 3, 4, std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()};
    events.histogram("weights", 301, values, 7, 4);
    events.histogram("constant", 302, values + 2, 1);
    events.image("curve", 303, 2, 3, 4, "not a png");
    const auto records = records_of(events.path());
    REQUIRE(records.size() == 5);
    CHECK(field(fields_of(records[0]), 3).bytes == "brain.Event:2");
    CHECK(field(fields_of(records[0]), 1).real() > 1.6e9);

    const auto value = [&](std::size_t k, std::uint64_t step) {
        const auto event = fields_of(records[k]);
        CHECK(field(event, 2).integer == step);
        return fields_of(field(fields_of(field(event, 5).bytes), 1).bytes);
    };
    const auto scalar = value(1, 300);
    CHECK(field(scalar, 1).bytes == "loss/train");
    CHECK(field(scalar, 2).small_real() == 0.25f);
    const auto histogram = fields_of(field(value(2, 301), 5).bytes);
    CHECK(field(histogram, 1).real() == 0);
    CHECK(field(histogram, 2).real() == 4);
    CHECK(field(histogram, 3).real() == 5);
    CHECK(field(histogram, 4).real() == 10);
    CHECK(field(histogram, 5).real() == 30);
    const auto doubles = [](const std::string& bytes) {
        std::vector<double> numbers(bytes.size() / 8);
        std::memcpy(numbers.data(), bytes.data(), bytes.size());
        return numbers;
    };
    CHECK(doubles(field(histogram, 6).bytes) == std::vector<double>{1, 2, 3, 4});
    CHECK(doubles(field(histogram, 7).bytes) == std::vector<double>{1, 1, 1, 2});
    CHECK(doubles(field(fields_of(field(value(3, 302), 5).bytes), 7).bytes) == std::vector<double>{1});
    const auto picture = fields_of(field(value(4, 303), 4).bytes);
    CHECK(field(picture, 1).integer == 2);
    CHECK(field(picture, 2).integer == 3);
    CHECK(field(picture, 3).integer == 4);
    CHECK(field(picture, 4).bytes == "not a png");
}

TEST_CASE("event files of one folder do not overwrite each other; a missing folder is an error") {
    const files::Folder folder;
    const io::EventFile a(folder.path), b(folder.path);
    CHECK(a.path() != b.path());
    CHECK_THROWS_AS(io::EventFile(folder.path + "/none"), FileError);
}

TEST_CASE("TensorBoard reads the file") {
    const std::string interpreter = python::find("tensorboard.backend.event_processing.event_accumulator");
    if (interpreter.empty()) return;
    const files::Folder folder;
    io::EventFile events(folder.path);
    for (long step = 0; step < 3; ++step) events.scalar("loss", step, 1.0 / static_cast<double>(1 + step));
    const float values[] = {1, 2, 4};
    events.histogram("weights", 7, values, 3, 3);
    const auto result = python::run(interpreter, "-c \"from tensorboard.backend.event_processing.event_accumulator import EventAccumulator as A\na = A('" + folder.path +
                                                     "')\na.Reload()\nprint([(e.step, round(e.value, 6)) for e in a.Scalars('loss')])\nh = a.Histograms('weights')[0]\nprint(h.step, h.histogram_value.sum)\"");
    INFO(result.output);
    CHECK(result.output.find("[(0, 1.0), (1, 0.5), (2, 0.333333)]\n7 7.0") != std::string::npos);
}

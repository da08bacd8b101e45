// IDX files: what is read from good ones, and the error for each way to be bad.
#include "gzip.hpp"

#include <tenon/base/philox.hpp>
#include <tenon/data/fashion_mnist.hpp>
#include <tenon/data/idx.hpp>

#include <string>
#include <vector>

using namespace tenon;
using data::read_idx;
using files::Bytes, files::gzip, files::has;

namespace {
// A folder of files that goes away.
struct Scratch : files::Folder {
    std::string put(const Bytes& bytes, const std::string& name = "file") const {
        files::write(*this / name, bytes);
        return *this / name;
    }
};

Bytes idx(int type, const std::vector<std::uint32_t>& shape, const Bytes& content) {
    Bytes bytes = {0, 0, static_cast<unsigned char>(type), static_cast<unsigned char>(shape.size())};
    for (std::uint32_t size : shape)
        for (int shift = 24; shift >= 0; shift -= 8) bytes.push_back(static_cast<unsigned char>(size >> shift));
    bytes.insert(bytes.end(), content.begin(), content.end());
    return bytes;
}
Bytes counting(std::size_t count) {
    Bytes bytes(count);
    for (std::size_t i = 0; i < count; ++i) bytes[i] = static_cast<unsigned char>(i * 31 + i / 256);
    return bytes;
}
template <class T, int Rank>
std::string error_of(const std::string& path) {
    try {
        read_idx<T, Rank>(path);
    } catch (const FileError& error) {
        CHECK(std::string(error.what()).find(path) != std::string::npos);
        CHECK(std::string(error.what()).find("hint: ") != std::string::npos);
        return error.what();
    }
    return "";
}
}  // namespace

TEST_CASE("bytes are read in row-major order", "[idx]") {
    Scratch scratch;
    const Bytes content = counting(2 * 3 * 4);
    const auto x = read_idx<std::uint8_t, 3>(scratch.put(idx(8, {2, 3, 4}, content)));
    CHECK(x.shape(0) == 2);
    CHECK(x.shape(1) == 3);
    CHECK(x.shape(2) == 4);
    CHECK(std::memcmp(x.data(), content.data(), content.size()) == 0);
}

TEST_CASE("wider elements are turned from big-endian", "[idx]") {
    Scratch scratch;
    const auto ints = read_idx<std::int32_t, 1>(scratch.put(idx(0x0c, {2}, {0, 0, 1, 2, 0xff, 0xff, 0xff, 0xfe})));
    CHECK(ints.data()[0] == 258);
    CHECK(ints.data()[1] == -2);
    CHECK(read_idx<float, 1>(scratch.put(idx(0x0d, {1}, {0x3f, 0xc0, 0, 0}))).data()[0] == 1.5f);
    CHECK(read_idx<double, 2>(scratch.put(idx(0x0e, {1, 1}, {0xc0, 0x04, 0, 0, 0, 0, 0, 0}))).data()[0] == -2.5);
    CHECK(read_idx<std::int8_t, 1>(scratch.put(idx(0x09, {1}, {0x80}))).data()[0] == -128);
}

TEST_CASE("large and empty arrays", "[idx]") {
    Scratch scratch;
    const Bytes content = counting(300001);
    const auto x = read_idx<std::uint8_t, 1>(scratch.put(idx(8, {300001}, content)));
    CHECK(std::memcmp(x.data(), content.data(), content.size()) == 0);
    const auto none = read_idx<std::uint8_t, 2>(scratch.put(idx(8, {0, 28}, {})));
    CHECK(none.size() == 0);
    CHECK(none.shape(1) == 28);
}

TEST_CASE("gzip files are unpacked, whatever their name", "[idx]") {
    Scratch scratch;
    const Bytes content = counting(300001);
    const Bytes packed = gzip(idx(8, {300001}, content));
    const auto x = read_idx<std::uint8_t, 1>(scratch.put(packed));
    REQUIRE(x.size() == 300001);
    CHECK(std::memcmp(x.data(), content.data(), content.size()) == 0);
    SECTION("also of several members") {
        const Bytes whole = idx(8, {300001}, content);
        const std::ptrdiff_t cut = 100000;
        Bytes members = gzip(Bytes(whole.begin(), whole.begin() + cut));
        const Bytes second = gzip(Bytes(whole.begin() + cut, whole.end()));
        members.insert(members.end(), second.begin(), second.end());
        const auto y = read_idx<std::uint8_t, 1>(scratch.put(members));
        CHECK(std::memcmp(y.data(), content.data(), content.size()) == 0);
    }
    SECTION("cut short") {
        CHECK(has(error_of<std::uint8_t, 1>(scratch.put(Bytes(packed.begin(), packed.end() - 100))), "truncated"));
        CHECK(has(error_of<std::uint8_t, 1>(scratch.put(Bytes(packed.begin(), packed.begin() + 5))), "truncated"));
        CHECK(has(error_of<std::uint8_t, 1>(scratch.put(Bytes(packed.begin(), packed.end() - 3))), "truncated"));
    }
    SECTION("damaged") {
        Bytes damaged = packed;
        damaged[damaged.size() - 6] ^= 1;  // the checksum
        CHECK(has(error_of<std::uint8_t, 1>(scratch.put(damaged)), "damaged gzip"));
    }
    SECTION("with something else behind it") {
        Bytes longer = packed;
        longer.insert(longer.end(), {'j', 'u', 'n', 'k'});
        CHECK(has(error_of<std::uint8_t, 1>(scratch.put(longer)), "damaged gzip"));
    }
    SECTION("good packing, short contents") {
        CHECK(has(error_of<std::uint8_t, 1>(scratch.put(gzip(idx(8, {300001}, counting(300000))))),
                  "expected 300001 bytes of elements, the file holds 300000"));
    }
}

TEST_CASE("each way to be wrong has its message", "[idx]") {
    Scratch scratch;
    CHECK(has(error_of<std::uint8_t, 1>(scratch.path + "/none"), "No such file"));
    CHECK(has(error_of<std::uint8_t, 1>(scratch.path), "Is a directory"));
    CHECK(has(error_of<std::uint8_t, 1>(scratch.put({})), "expected 4 bytes of IDX magic, the file ends after 0"));
    CHECK(has(error_of<std::uint8_t, 1>(scratch.put({0, 0, 8})), "the file ends after 3"));
    CHECK(has(error_of<std::uint8_t, 1>(scratch.put({'P', 'K', 3, 4, 5, 6, 7, 8})), "found 50 4b 03 04"));
    CHECK(has(error_of<std::uint8_t, 1>(scratch.put({0, 0, 0x0a, 1, 0, 0, 0, 0})), "not an IDX file"));
    CHECK(has(error_of<std::uint8_t, 1>(scratch.put(idx(0x0d, {1}, counting(4)))), "holds float: expected uint8"));
    CHECK(has(error_of<float, 1>(scratch.put(idx(0x0b, {1}, counting(2)))), "holds int16: expected float"));
    CHECK(has(error_of<std::uint8_t, 1>(scratch.put(idx(8, {2, 2}, counting(4)))), "has rank 2: expected rank 1"));
    CHECK(has(error_of<std::uint8_t, 1>(scratch.put({0, 0, 8, 0})), "has rank 0: expected rank 1"));
    CHECK(has(error_of<std::uint8_t, 3>(scratch.put({0, 0, 8, 3, 0, 0, 0, 1, 0})), "the file ends after 9 bytes"));
    CHECK(has(error_of<std::uint8_t, 1>(scratch.put(idx(8, {10}, counting(9)))), "expected 10 bytes of elements, the file holds 9"));
    CHECK(has(error_of<std::uint8_t, 1>(scratch.put(idx(8, {10}, counting(11)))), "goes on behind its elements"));
    CHECK(has(error_of<std::uint8_t, 3>(scratch.put(idx(8, {0xffffffff, 0xffffffff, 0xffffffff}, counting(9)))), "claims the shape"));
    CHECK(has(error_of<std::uint8_t, 3>(scratch.put(idx(8, {0, 0xffffffff, 0xffffffff}, {}))), "claims the shape"));
    CHECK(has(error_of<std::uint8_t, 2>(scratch.put(idx(8, {1u << 31, 17}, counting(9)))), "expected at most 32 GiB"));
}

TEST_CASE("a header that lies does not cost memory", "[idx]") {
    Scratch scratch;
    const std::string path = scratch.put(idx(8, {0xffffffff, 8}, counting(100)));
    const auto before = memory::statistics();
    CHECK(has(error_of<std::uint8_t, 2>(path), "expected 34359738360 bytes of elements, the file holds 100"));
    CHECK(memory::statistics().live == before.live);
    CHECK(memory::statistics().peak - before.peak < (1 << 20));
}

TEST_CASE("mutated files are read or refused, never more", "[idx]") {
    Scratch scratch;
    const Bytes plain = idx(8, {7, 5, 3}, counting(105)), packed = gzip(plain);
    const Key key{2019};
    int read = 0, refused = 0;
    for (std::uint64_t round = 0; round < 3000; ++round) {
        const Key mine = key.split(round);
        Bytes bytes = random_word(mine, 0) % 2 == 0 ? plain : packed;
        const std::uint32_t changes = 1 + random_word(mine, 1) % 4;
        for (std::uint32_t change = 0; change < changes; ++change) {
            const std::uint32_t what = random_word(mine, 2 + 3 * change) % 4, value = random_word(mine, 4 + 3 * change);
            // Half of the changes hit the header.
            const std::size_t span = value % 2 == 0 && bytes.size() > 20 ? 20 : bytes.size();
            const std::size_t at = span == 0 ? 0 : random_word(mine, 3 + 3 * change) % span;
            const std::ptrdiff_t place = static_cast<std::ptrdiff_t>(at);
            if (what == 0 && !bytes.empty()) bytes[at] = static_cast<unsigned char>(value >> 8);
            else if (what == 1 && !bytes.empty()) bytes[at] ^= static_cast<unsigned char>(1u << ((value >> 8) % 8));
            else if (what == 2) bytes.resize(at);
            else bytes.insert(bytes.begin() + place, static_cast<unsigned char>(value >> 8));
        }
        const std::string path = scratch.put(bytes);
        try {
            const auto x = read_idx<std::uint8_t, 3>(path);
            ++read;
            CHECK(x.size() == x.shape(0) * x.shape(1) * x.shape(2));
        } catch (const FileError& error) {
            ++refused;
            if (std::string(error.what()).find(path) == std::string::npos) FAIL(error.what());
        }
    }
    CHECK(read + refused == 3000);
    CHECK(read > 100);
    CHECK(refused > 1000);
}

TEST_CASE("Fashion-MNIST is checked as a whole", "[fashion_mnist]") {
    Scratch scratch;
    const auto load = [&] { return data::fashion_mnist(data::Split::train, scratch.path); };
    const auto error = [&]() -> std::string {
        try {
            load();
        } catch (const FileError& e) {
            return e.what();
        }
        return "";
    };
    CHECK(has(error(), "apt-get install dataset-fashion-mnist"));
    CHECK(has(error(), "--data DIR"));
    scratch.put(idx(8, {3, 28, 28}, counting(3 * 784)), "train-images-idx3-ubyte");
    CHECK(has(error(), "train-labels-idx1-ubyte"));
    SECTION("good") {
        scratch.put(gzip(idx(8, {3}, {9, 0, 4})), "train-labels-idx1-ubyte.gz");
        const data::ImageDataset train = load();
        CHECK(train.size() == 3);
        const long rows[] = {2, 0};
        const auto [images, labels] = train.batch(rows, 2);
        CHECK(images.shape(0) == 2);
        CHECK(images.shape(1) == 784);
        CHECK(labels.data()[0] == 4);
        CHECK(labels.data()[1] == 9);
        const Bytes content = counting(3 * 784);
        for (std::size_t p = 0; p < 784; ++p) {
            CHECK(images.data()[p] == Approx((content[2 * 784 + p] / 255.0 - 0.2860) / 0.3530).margin(1e-6));
            CHECK(images.data()[784 + p] == Approx((content[p] / 255.0 - 0.2860) / 0.3530).margin(1e-6));
        }
        const long outside[] = {3};
        CHECK_THROWS_AS(train.batch(outside, 1), IndexError);
        CHECK(train.first(2).size() == 2);
        CHECK_THROWS_AS(train.first(2).batch(rows, 1), IndexError);
    }
    SECTION("labels of another set") {
        scratch.put(idx(8, {2}, {9, 0}), "train-labels-idx1-ubyte");
        CHECK(has(error(), "2 labels for 3 images"));
    }
    SECTION("a label that is none") {
        scratch.put(idx(8, {3}, {9, 10, 0}), "train-labels-idx1-ubyte");
        CHECK(has(error(), "label 10 at 1"));
    }
    SECTION("images of another size") {
        scratch.put(idx(8, {3, 28, 27}, counting(3 * 28 * 27)), "train-images-idx3-ubyte");
        scratch.put(idx(8, {3}, {9, 1, 0}), "train-labels-idx1-ubyte");
        CHECK(has(error(), "28 x 27"));
    }
}

TEST_CASE("the installed Fashion-MNIST has its published sizes", "[fashion_mnist]") {
    if (::access(data::fashion_mnist_folder, F_OK) != 0) {
        WARN("dataset-fashion-mnist is not installed: its files are not checked");
        return;
    }
    const auto train = data::fashion_mnist(data::Split::train), test = data::fashion_mnist(data::Split::test);
    CHECK(train.size() == 60000);
    CHECK(test.size() == 10000);
    long count[10] = {};
    double sum = 0, squares = 0;
    for (long i = 0; i < train.size(); ++i) ++count[train.labels().data()[i]];
    for (long c : count) CHECK(c == 6000);
    for (long i = 0; i < train.images().size(); ++i) {
        const double v = train.images().data()[i] / 255.0;
        sum += v;
        squares += v * v;
    }
    const double mean = sum / double(train.images().size());
    CHECK(mean == Approx(0.2860).margin(5e-5));
    CHECK(squares / double(train.images().size()) - mean * mean == Approx(0.3530 * 0.3530).margin(5e-5));
}

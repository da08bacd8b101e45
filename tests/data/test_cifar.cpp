// CIFAR files: records of either kind, packed or not, batches of them, and the error for each way to be bad.
#include "gzip.hpp"

#include <tenon/data/cifar.hpp>
#include <tenon/data/loader.hpp>

using namespace tenon;
using files::Bytes, files::error_of, files::gzip, files::has;

namespace {
Bytes records(long count, std::vector<unsigned char> labels, unsigned seed = 0) {
    Bytes bytes;
    for (long i = 0; i < count; ++i) {
        for (unsigned char label : labels) bytes.push_back(static_cast<unsigned char>(label + i));
        for (unsigned p = 0; p < 3072; ++p) bytes.push_back(static_cast<unsigned char>(p * 7 + p / 1024 * 50 + static_cast<unsigned>(i) * 13 + seed));
    }
    return bytes;
}
}  // namespace

TEST_CASE("records become images by plane and labels", "[cifar]") {
    const files::Folder folder;
    const Bytes bytes = records(3, {4});
    files::write(folder / "x.bin", bytes);
    const data::ColourDataset set = data::read_cifar10(folder / "x.bin");
    REQUIRE(set.size() == 3);
    CHECK(set.labels().data()[2] == 6);
    CHECK(set.images().shape(1) == 3);
    CHECK(std::memcmp(set.images().data() + 3072, bytes.data() + 3073 + 1, 3072) == 0);
    const long rows[] = {2, 0};
    const auto [images, labels] = set.batch(rows, 2);
    CHECK(labels.data()[0] == 6);
    CHECK(labels.data()[1] == 4);
    for (const long c : {0, 1, 2})
        for (const long p : {0, 500, 1023})
            CHECK(images.data()[c * 1024 + p] == (static_cast<float>(set.images().data()[2 * 3072 + c * 1024 + p]) / 255.0f - data::cifar10_statistics.mean[c]) / data::cifar10_statistics.deviation[c]);
    CHECK(has(error_of<IndexError>([&] {
                  const long beyond[] = {3};
                  set.batch(beyond, 1);
              }), "row 3 of 3 images"));
    long seen = 0;
    for (auto [x, y] : data::batches(set, {.size = 2, .shuffle = Key{1}})) seen += y.size() * (x.shape(3) == 32 ? 1 : 100);
    CHECK(seen == 3);
    CHECK(set.first(2).size() == 2);
}

TEST_CASE("CIFAR-100 has two labels", "[cifar]") {
    const files::Folder folder;
    files::write(folder / "x.bin", records(2, {3, 98}));
    CHECK(data::read_cifar100(folder / "x.bin").labels().data()[1] == 99);
    CHECK(data::read_cifar100(folder / "x.bin", data::CifarLabels::coarse).labels().data()[1] == 4);
}

TEST_CASE("the folders of the published archives", "[cifar]") {
    const files::Folder folder;
    for (int i = 1; i <= 5; ++i) {
        const Bytes bytes = records(i, {0}, static_cast<unsigned>(i));
        const std::string path = folder / ("data_batch_" + std::to_string(i) + ".bin");
        if (i % 2 == 0) files::write(path + ".gz", gzip(bytes));
        else files::write(path, bytes);
    }
    const auto train = data::cifar10(data::Split::train, folder.path);
    CHECK(train.size() == 15);
    CHECK(train.labels().data()[14] == 4);
    CHECK(train.images().data()[3 * 3072] == static_cast<unsigned char>(3));  // the first of batch 3
    CHECK(has(error_of<FileError>([&] { data::cifar10(data::Split::test, folder.path); }), "test_batch.bin\" (or .gz, or in cifar-10-batches-bin/)"));
    files::write(folder / "test.bin", records(1, {3, 9}));
    CHECK(data::cifar100(data::Split::test, folder.path).labels().data()[0] == 9);
}

TEST_CASE("each way to be bad has its error", "[cifar]") {
    const auto error_for = [](const Bytes& bytes) {
        const files::MemoryFile file(bytes);
        const std::string text = error_of<FileError>([&] { data::read_cifar10(file.path()); });
        CHECK(has(text, "read_cifar10: \"" + file.path()));
        CHECK(has(text, "expected"));
        return text;
    };
    CHECK(has(error_for({}), "holds 0 bytes: expected records of 3073 bytes each, the last one is missing"));
    Bytes bytes = records(2, {8});
    bytes.pop_back();
    CHECK(has(error_for(bytes), "holds 6145 bytes: expected records of 3073 bytes each, the last one is cut off"));
    CHECK(has(error_for(records(3, {8})), "has label 10 at image 2: expected 0 to 9"));
    const std::vector<std::int64_t> none;
    CHECK(has(error_of<ShapeError>([] { data::ColourDataset(zeros<std::uint8_t>({2, 3, 4, 4}), zeros<std::int64_t>({3})); }), "2 images and 3 labels"));
    CHECK(has(error_of<ShapeError>([] { data::ColourDataset(zeros<std::uint8_t>({2, 5, 4, 4}), zeros<std::int64_t>({2})); }), "expected 1 to 4 channels"));
    CHECK(has(error_of<ValueError>([] { data::ColourDataset(zeros<std::uint8_t>({2, 3, 4, 4}), zeros<std::int64_t>({2}), {{0, 0, 0, 0}, {1, 0, 1, 1}}); }), "deviation of channel 1 is 0"));
}

TEST_CASE("damaged CIFAR files are read or refused, never more", "[cifar][damage]") {
    const auto result = files::damage(records(1, {8}), [](const std::string& path) { data::read_cifar10(path); }, 16 << 20, 3073);
    CHECK(result.refused > 3000);
    files::damage(gzip(records(1, {8})), [](const std::string& path) { data::read_cifar10(path); });
}

// CIFAR-10 and CIFAR-100 (Krizhevsky 2009): 50,000 + 10,000 colour images of 32 x 32, in the binary version of the files,
// plain or packed with gzip. Needs zlib (-lz).
//
// The format: one record after the other, of one label byte (CIFAR-100: two, coarse and fine) and 3072 bytes of pixels:
// the red plane, the green, the blue, rows from the top. There is no header: a file holds as many records as fit.
#pragma once

#include <tenon/data/byte_source.hpp>
#include <tenon/data/colour_dataset.hpp>
#include <tenon/data/split.hpp>

#include <cstdint>
#include <string>
#include <vector>

#include <sys/stat.h>

namespace tenon::data {

inline constexpr const char* cifar10_classes[] = {"airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"};

// Mean and deviation of the training images' pixels.
inline constexpr ChannelStatistics cifar10_statistics{{0.4914f, 0.4822f, 0.4465f, 0}, {0.2470f, 0.2435f, 0.2616f, 1}};
inline constexpr ChannelStatistics cifar100_statistics{{0.5071f, 0.4865f, 0.4409f, 0}, {0.2673f, 0.2564f, 0.2762f, 1}};

// Which labels of CIFAR-100: 100 fine classes or their 20 coarse ones.
enum class CifarLabels { fine, coarse };

namespace detail {

inline constexpr long cifar_pixels = 3 * 32 * 32;

// The records of some files, label bytes included. Throws FileError for a missing file or one that ends inside of a record.
inline void read_cifar_records(const char* operation, const std::vector<std::string>& paths, long label_bytes, GrowingBytes& records, std::size_t& have) {
    const std::size_t record = static_cast<std::size_t>(label_bytes + cifar_pixels);
    have = 0;
    for (const std::string& path : paths) {
        ByteSource source(operation, path);
        const std::size_t begin = have;
        for (;;) {
            if (have == records.size()) records.resize(have == 0 ? 64 * record : 2 * have);
            const std::size_t got = source.read(records.data() + have, records.size() - have);
            have += got;
            if (have < records.size()) break;
        }
        const std::size_t bytes = have - begin;
        if (bytes == 0 || bytes % record != 0)
            fail<FileError>(operation, ": \"", path.c_str(), "\" holds ", static_cast<unsigned long>(bytes), " bytes: expected records of ", static_cast<unsigned long>(record),
                            " bytes each, the last one is ", bytes == 0 ? "missing" : "cut off", "\nhint: it must be the binary version of the data set, whole: fetch it again");
    }
}

inline ColourDataset cifar_from_records(const char* operation, const std::vector<std::string>& paths, long label_bytes, long label_at, int classes,
                                        const ChannelStatistics& statistics) {
    using tenon::detail::AnyTensor, tenon::detail::new_record;
    GrowingBytes records;
    std::size_t have = 0;
    read_cifar_records(operation, paths, label_bytes, records, have);
    const long record = label_bytes + cifar_pixels, count = static_cast<long>(have) / record, shape[4] = {count, 3, 32, 32};
    const Tensor<std::uint8_t, 4> images(AnyTensor(new_record(DType::uint8, 4, shape, cpu, operation)));
    const Tensor<std::int64_t, 1> labels(AnyTensor(new_record(DType::int64, 1, shape, cpu, operation)));
    for (long i = 0; i < count; ++i) {
        const unsigned char* at = records.data() + i * record;
        if (at[label_at] >= classes)
            fail<FileError>(operation, ": \"", paths[0].c_str(), paths.size() > 1 ? "\" (or a file behind it)" : "\"", " has label ", int(at[label_at]), " at image ", i,
                            ": expected 0 to ", classes - 1, "\nhint: the file is damaged, or of the other of CIFAR-10 and CIFAR-100");
        labels.data()[i] = at[label_at];
        std::memcpy(images.data() + i * cifar_pixels, at + label_bytes, static_cast<std::size_t>(cifar_pixels));
    }
    return ColourDataset(images, labels, statistics);
}

inline std::string find_cifar_file(const char* operation, const std::string& folder, const std::string& subfolder, const std::string& file) {
    struct stat status;
    for (const std::string& inner : {folder + "/", folder + "/" + subfolder + "/"})
        for (const char* ending : {"", ".gz"})
            if (::stat((inner + file + ending).c_str(), &status) == 0) return inner + file + ending;
    fail<FileError>(operation, ": no file \"", folder.c_str(), "/", file.c_str(), "\" (or .gz, or in ", subfolder.c_str(), "/): expected the binary version of the data set",
                    "\nhint: fetch it from https://www.cs.toronto.edu/~kriz/cifar.html, unpack it, and name the folder (--data DIR in the examples)");
}

}  // namespace detail

// One binary file of CIFAR-10 or CIFAR-100 records: images [n, 3, 32, 32] and labels [n]. Throws FileError for a missing
// or empty file, one that ends inside of a record, or a label outside of the classes.
inline ColourDataset read_cifar10(const std::string& path) { return detail::cifar_from_records("read_cifar10", {path}, 1, 0, 10, cifar10_statistics); }
inline ColourDataset read_cifar100(const std::string& path, CifarLabels labels = CifarLabels::fine) {
    return detail::cifar_from_records("read_cifar100", {path}, 2, labels == CifarLabels::fine ? 1 : 0, labels == CifarLabels::fine ? 100 : 20, cifar100_statistics);
}

// CIFAR-10's training (data_batch_1.bin to data_batch_5.bin) or test images (test_batch.bin) in a folder, or in its
// subfolder cifar-10-batches-bin; each file may be packed with gzip. Throws as read_cifar10 does.
inline ColourDataset cifar10(Split split, const std::string& folder) {
    std::vector<std::string> paths;
    for (int i = 1; i <= (split == Split::train ? 5 : 1); ++i) {
        const std::string file = split == Split::train ? "data_batch_" + std::to_string(i) + ".bin" : std::string("test_batch.bin");
        paths.push_back(detail::find_cifar_file("cifar10", folder, "cifar-10-batches-bin", file));
    }
    return detail::cifar_from_records("cifar10", paths, 1, 0, 10, cifar10_statistics);
}

// CIFAR-100's training (train.bin) or test images (test.bin) in a folder, or in its subfolder cifar-100-binary.
inline ColourDataset cifar100(Split split, const std::string& folder, CifarLabels labels = CifarLabels::fine) {
    const std::string path = detail::find_cifar_file("cifar100", folder, "cifar-100-binary", split == Split::train ? "train.bin" : "test.bin");
    return detail::cifar_from_records("cifar100", {path}, 2, labels == CifarLabels::fine ? 1 : 0, labels == CifarLabels::fine ? 100 : 20, cifar100_statistics);
}

}  // namespace tenon::data

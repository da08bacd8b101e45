// Fashion-MNIST (Xiao, Rasul, Vollgraf 2017): 60,000 + 10,000 grey images of 28 x 28, ten classes of clothing.
#pragma once

#include <tenon/data/idx.hpp>
#include <tenon/data/image_dataset.hpp>
#include <tenon/data/split.hpp>

#include <string>

#include <sys/stat.h>

namespace tenon::data {

// Where Debian's package dataset-fashion-mnist puts the files.
inline constexpr const char* fashion_mnist_folder = "/usr/share/datasets/fashion-mnist";
inline constexpr const char* fashion_mnist_classes[] = {"T-shirt", "trouser", "pullover", "dress", "coat",
                                                        "sandal",  "shirt",   "sneaker",  "bag",   "ankle boot"};

namespace detail {
inline std::string find_fashion_mnist_file(const std::string& folder, const std::string& file) {
    struct stat status;
    for (const char* ending : {"", ".gz"}) {
        const std::string path = folder + "/" + file + ending;
        if (::stat(path.c_str(), &status) == 0) return path;
    }
    const bool folder_there = ::stat(folder.c_str(), &status) == 0;
    fail<FileError>("fashion_mnist: ", folder_there ? "no file \"" : "no folder \"", folder.c_str(),
                    folder_there ? ("/" + file + "\" (or .gz)").c_str() : "\"",
                    ": expected the four files of Fashion-MNIST\nhint: apt-get install dataset-fashion-mnist, or name the "
                    "folder that holds them (--data DIR in the examples)");
}
}  // namespace detail

// The training or the test images, pixels normalised by the training set's mean 0.2860 and deviation 0.3530. Reads
// <folder>/{train,t10k}-{images-idx3,labels-idx1}-ubyte, plain or .gz. Throws FileError when a file is missing, damaged
// or not of the expected shape.
inline ImageDataset fashion_mnist(Split split, const std::string& folder = fashion_mnist_folder) {
    const std::string prefix = split == Split::train ? "train" : "t10k";
    const std::string image_path = detail::find_fashion_mnist_file(folder, prefix + "-images-idx3-ubyte");
    const std::string label_path = detail::find_fashion_mnist_file(folder, prefix + "-labels-idx1-ubyte");
    const Tensor<std::uint8_t, 3> images = read_idx<std::uint8_t, 3>(image_path);
    const Tensor<std::uint8_t, 1> bytes = read_idx<std::uint8_t, 1>(label_path);
    if (images.shape(1) != 28 || images.shape(2) != 28)
        fail<FileError>("fashion_mnist: \"", image_path.c_str(), "\" holds images of ", images.shape(1), " x ", images.shape(2),
                        ": expected 28 x 28\nhint: is this the right folder?");
    if (bytes.shape(0) != images.shape(0))
        fail<FileError>("fashion_mnist: \"", label_path.c_str(), "\" holds ", bytes.shape(0), " labels for ", images.shape(0),
                        " images: expected as many\nhint: the files do not belong together");
    const long shape[1] = {bytes.shape(0)};
    Tensor<std::int64_t, 1> labels(tenon::detail::AnyTensor(tenon::detail::new_record(DType::int64, 1, shape, cpu)));
    for (long i = 0; i < shape[0]; ++i) {
        if (bytes.data()[i] > 9)
            fail<FileError>("fashion_mnist: \"", label_path.c_str(), "\" has label ", int(bytes.data()[i]), " at ", i,
                            ": expected 0 to 9\nhint: the file is damaged: fetch it again");
        labels.data()[i] = bytes.data()[i];
    }
    return ImageDataset(images, labels, 0.2860f, 0.3530f);
}

}  // namespace tenon::data

// The images that the classifiers of the examples learn: Fashion-MNIST, or CIFAR-10 where a folder holds its binary files.
#pragma once

#include <tenon/data/cifar.hpp>
#include <tenon/data/fashion_mnist.hpp>

#include <filesystem>
#include <string>

namespace example {

struct ImageSets {
    tenon::data::ColourDataset train, test;
};

// CIFAR-10's binary files, rather than Fashion-MNIST's.
inline bool is_cifar(const std::string& folder) {
    for (const char* file : {"/data_batch_1.bin", "/data_batch_1.bin.gz", "/cifar-10-batches-bin/data_batch_1.bin"})
        if (std::filesystem::exists(folder + file)) return true;
    return false;
}

// Normalised. Throws FileError.
inline ImageSets read_images(const std::string& folder, bool colour) {
    using namespace tenon;
    if (colour) return {data::cifar10(data::Split::train, folder), data::cifar10(data::Split::test, folder)};
    const auto one_channel = [](const data::ImageDataset& grey) {
        const auto& images = grey.images();
        return data::ColourDataset(images.reshape({images.shape(0), 1, images.shape(1), images.shape(2)}), grey.labels(), {.mean = {0.2860f}, .deviation = {0.3530f, 1, 1, 1}});
    };
    return {one_channel(data::fashion_mnist(data::Split::train, folder)), one_channel(data::fashion_mnist(data::Split::test, folder))};
}

}  // namespace example

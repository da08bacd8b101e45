// Labelled grey images in memory, as bytes; batches of them as normalised floats.
#pragma once

#include <tenon/expr/expression.hpp>

#include <cstdint>
#include <cstring>

namespace tenon::data {

// One row per image.
struct ImageBatch {
    Tensor<float, 2> images;         // [n, pixels]
    Tensor<std::int64_t, 1> labels;  // [n]
};

class ImageDataset {
public:
    // images [n, height, width] and labels [n], one per image; a pixel p becomes (p / 255 - mean) / deviation. Throws
    // ShapeError when the numbers differ, ValueError unless deviation > 0.
    ImageDataset(Tensor<std::uint8_t, 3> images, Tensor<std::int64_t, 1> labels, float mean = 0.0f, float deviation = 1.0f)
        : images_(images), labels_(labels), count_(images.shape(0)) {
        if (labels.shape(0) != count_)
            fail<ShapeError>("ImageDataset: ", count_, " images and ", labels.shape(0), " labels: expected as many");
        if (!(deviation > 0.0f)) fail<ValueError>("ImageDataset: deviation is ", double(deviation), ": expected a positive number");
        // A table rather than arithmetic: the same bits under every instruction set.
        for (int p = 0; p < 256; ++p) table_[p] = (static_cast<float>(p) / 255.0f - mean) / deviation;
    }

    // The number of images.
    long size() const { return count_; }
    // Pixels per image.
    long pixels() const { return images_.shape(1) * images_.shape(2); }
    const Tensor<std::uint8_t, 3>& images() const { return images_; }
    const Tensor<std::int64_t, 1>& labels() const { return labels_; }

    // The first images only (all, where there are not as many), over the same memory.
    ImageDataset first(long count) const {
        ImageDataset part = *this;
        part.count_ = count < 0 ? 0 : count < count_ ? count : count_;
        return part;
    }

    // The images of these rows, in this order. Throws IndexError for a row that is not there.
    ImageBatch batch(const long* rows, long count) const {
        const long width = pixels(), shape[2] = {count, width};
        using tenon::detail::AnyTensor, tenon::detail::new_record;
        ImageBatch result{Tensor<float, 2>(AnyTensor(new_record(DType::float32, 2, shape, cpu, "ImageDataset::batch"))),
                          Tensor<std::int64_t, 1>(AnyTensor(new_record(DType::int64, 1, shape, cpu, "ImageDataset::batch")))};
        float* to = result.images.data();
        std::int64_t* label = result.labels.data();
        for (long i = 0; i < count; ++i) {
            if (rows[i] < 0 || rows[i] >= count_)
                fail<IndexError>("ImageDataset::batch: row ", rows[i], " of ", count_, " images");
            const std::uint8_t* from = images_.data() + rows[i] * width;
            for (long p = 0; p < width; ++p) to[i * width + p] = table_[from[p]];
            label[i] = labels_.data()[rows[i]];
        }
        return result;
    }

private:
    Tensor<std::uint8_t, 3> images_;
    Tensor<std::int64_t, 1> labels_;
    long count_;
    float table_[256];
};

}  // namespace tenon::data

// Labelled colour images in memory, as bytes; batches of them as normalised floats.
#pragma once

#include <tenon/expr/expression.hpp>

#include <cstdint>

namespace tenon::data {

// One image per row of the first axis.
struct ColourBatch {
    Tensor<float, 4> images;         // [n, channels, height, width]
    Tensor<std::int64_t, 1> labels;  // [n]
};

// Mean and standard deviation of each channel, of pixels in [0, 1].
struct ChannelStatistics {
    float mean[4] = {0, 0, 0, 0}, deviation[4] = {1, 1, 1, 1};
};

class ColourDataset {
public:
    // images [n, channels, height, width] with 1 to 4 channels, and labels [n], one per image; a pixel p of channel c
    // becomes (p / 255 - mean[c]) / deviation[c]. Throws ShapeError when the numbers differ, ValueError unless every
    // deviation > 0.
    ColourDataset(Tensor<std::uint8_t, 4> images, Tensor<std::int64_t, 1> labels, const ChannelStatistics& statistics = {})
        : images_(images), labels_(labels), count_(images.shape(0)) {
        if (labels.shape(0) != count_) fail<ShapeError>("ColourDataset: ", count_, " images and ", labels.shape(0), " labels: expected as many");
        if (images.shape(1) < 1 || images.shape(1) > 4) fail<ShapeError>("ColourDataset: ", images.record()->description(), ": expected 1 to 4 channels on axis 1");
        // A table rather than arithmetic: the same bits under every instruction set.
        for (int c = 0; c < 4; ++c) {
            if (!(statistics.deviation[c] > 0.0f)) fail<ValueError>("ColourDataset: deviation of channel ", c, " is ", double(statistics.deviation[c]), ": expected a positive number");
            for (int p = 0; p < 256; ++p) table_[c][p] = (static_cast<float>(p) / 255.0f - statistics.mean[c]) / statistics.deviation[c];
        }
    }

    // The number of images.
    long size() const { return count_; }
    const Tensor<std::uint8_t, 4>& images() const { return images_; }
    const Tensor<std::int64_t, 1>& labels() const { return labels_; }

    // The first images only (all, where there are not as many), over the same memory.
    ColourDataset first(long count) const {
        ColourDataset part = *this;
        part.count_ = count < 0 ? 0 : count < count_ ? count : count_;
        return part;
    }

    // The images of these rows, in this order. Throws IndexError for a row that is not there.
    ColourBatch batch(const long* rows, long count) const {
        using tenon::detail::AnyTensor, tenon::detail::new_record;
        const long channels = images_.shape(1), pixels = images_.shape(2) * images_.shape(3);
        const long shape[4] = {count, channels, images_.shape(2), images_.shape(3)};
        ColourBatch result{Tensor<float, 4>(AnyTensor(new_record(DType::float32, 4, shape, cpu, "ColourDataset::batch"))),
                           Tensor<std::int64_t, 1>(AnyTensor(new_record(DType::int64, 1, shape, cpu, "ColourDataset::batch")))};
        float* to = result.images.data();
        for (long i = 0; i < count; ++i) {
            if (rows[i] < 0 || rows[i] >= count_) fail<IndexError>("ColourDataset::batch: row ", rows[i], " of ", count_, " images");
            const std::uint8_t* from = images_.data() + rows[i] * channels * pixels;
            for (long c = 0; c < channels; ++c)
                for (long p = 0; p < pixels; ++p) *to++ = table_[c][*from++];
            result.labels.data()[i] = labels_.data()[rows[i]];
        }
        return result;
    }

private:
    Tensor<std::uint8_t, 4> images_;
    Tensor<std::int64_t, 1> labels_;
    long count_;
    float table_[4][256];
};

}  // namespace tenon::data

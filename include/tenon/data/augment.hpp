// Augmentation of batches of images [n, channels, height, width] on the CPU. Every function is a function of a key alone:
// image i draws from key.split(i), so neither the threads nor the machine change the result. Nothing here is recorded.
#pragma once

#include <tenon/base/parallel.hpp>
#include <tenon/core/factories.hpp>
#include <tenon/data/colour_dataset.hpp>
#include <tenon/data/loader.hpp>
#include <tenon/data/permutation.hpp>
#include <tenon/ops/copy.hpp>

#include <cmath>
#include <cstring>
#include <utility>

namespace tenon::data {

namespace impl_augment {

// The random numbers of one image.
class Draws {
public:
    explicit Draws(Key key) : key_(key) {}
    double unit() { return unit_double(random_word64(key_, next_++)); }
    double between(double low, double high) { return low + (high - low) * unit(); }
    // A whole number in [0, count).
    long below(long count) { return static_cast<long>(scale_to_range(random_word64(key_, next_++), static_cast<std::uint64_t>(count))); }
    // Box and Muller.
    double normal() {
        const double radius = std::sqrt(-2 * std::log(1 - unit()));
        return radius * std::cos(6.283185307179586 * unit());
    }
    // Gamma(shape, 1), Marsaglia and Tsang 2000; below 1 by Gamma(shape + 1) U^(1 / shape).
    double gamma(double shape) {
        if (shape < 1) {
            const double power = std::pow(1 - unit(), 1 / shape);
            return gamma(shape + 1) * power;
        }
        const double d = shape - 1.0 / 3, c = 1 / std::sqrt(9 * d);
        for (;;) {
            const double x = normal(), t = 1 + c * x;
            if (t <= 0) continue;
            const double v = t * t * t;
            if (std::log(1 - unit()) < 0.5 * x * x + d - d * v + d * std::log(v)) return d * v;
        }
    }

private:
    Key key_;
    std::uint64_t next_ = 0;
};

struct Images {
    long n, channels, height, width;
    const float* from;
    float* to;
    long pixels() const { return height * width; }
};

// One image after the other, dealt to the threads: body(draws, from, to).
template <class Body>
Tensor<float, 4> each_image(const char* operation, const Tensor<float, 4>& given, long height, long width, Key key, Body body) {
    if (!given.device().is_cpu()) fail<DeviceError>(operation, ": images ", given.record()->description(), ": expected images on the cpu: augment before moving them");
    const Tensor<float, 4> x = contiguous(given.detach());
    const long n = x.shape(0), channels = x.shape(1);
    const Tensor<float, 4> y = empty<float>({n, channels, height, width});
    const long from_size = channels * x.shape(2) * x.shape(3), to_size = channels * height * width;
    const float* const from = x.data();
    float* const to = y.data();
    parallel_for(n, [&](long i) {
        Draws draws(key.split(static_cast<std::uint64_t>(i)));
        body(draws, from + i * from_size, to + i * to_size);
    });
    return y;
}
inline void check_part(const char* operation, const char* name, double p) {
    if (!(p >= 0 && p <= 1)) fail<ValueError>(operation, ": ", name, " is ", p, ": expected 0 to 1");
}
// [1 - amount, 1 + amount], not below 0.
inline double around_one(Draws& draws, double amount) { return draws.between(amount > 1 ? 0 : 1 - amount, 1 + amount); }

inline float grey(float r, float g, float b) { return 0.299f * r + 0.587f * g + 0.114f * b; }
inline float kept_in_unit(float v) { return v < 0 ? 0 : v > 1 ? 1 : v; }

// Turns the hue of one pixel by a part of the circle; r, g, b in [0, 1].
inline void turn_hue(float& r, float& g, float& b, float turn) {
    const float high = r > g ? (r > b ? r : b) : (g > b ? g : b), low = r < g ? (r < b ? r : b) : (g < b ? g : b), chroma = high - low;
    if (chroma <= 0) return;
    float sixth = high == r ? (g - b) / chroma : high == g ? 2 + (b - r) / chroma : 4 + (r - g) / chroma;
    sixth += 6 * turn;
    sixth -= 6 * std::floor(sixth / 6);
    const auto part = [&](float offset) {
        float k = offset + sixth;
        if (k >= 6) k -= 6;
        const float t = k < 4 - k ? k : 4 - k;
        return high - chroma * (t < 0 ? 0 : t > 1 ? 1 : t);
    };
    r = part(5), g = part(3), b = part(1);
}

}  // namespace impl_augment

struct CropOptions {
    long height = 0, width = 0;  // of the part; 0: as the image
    long padding = 0;            // zeros (fill) around the image first
    float fill = 0.0f;
};

// A part of every image at a random place, after padding: [n, c, height, width]. Throws ValueError where the part is larger
// than the padded image or the padding negative, DeviceError for images on another device.
inline Tensor<float, 4> random_crop(const Tensor<float, 4>& images, const CropOptions& options, Key key) {
    const long h = images.shape(2), w = images.shape(3), pad = options.padding;
    const long height = options.height == 0 ? h : options.height, width = options.width == 0 ? w : options.width;
    if (pad < 0 || height < 1 || width < 1 || height > h + 2 * pad || width > w + 2 * pad)
        fail<ValueError>("random_crop: a part of ", height, " x ", width, " of images ", images.record()->description(), " with a padding of ", pad,
                         ": expected 1 to ", h + 2 * pad, " x ", w + 2 * pad);
    const long channels = images.shape(1);
    const float fill = options.fill;
    return impl_augment::each_image("random_crop", images, height, width, key, [=](impl_augment::Draws& draws, const float* from, float* to) {
        const long top = draws.below(h + 2 * pad - height + 1) - pad, left = draws.below(w + 2 * pad - width + 1) - pad;
        for (long c = 0; c < channels; ++c, from += h * w)
            for (long y = 0; y < height; ++y, to += width) {
                const long row = top + y;
                if (row < 0 || row >= h) {
                    for (long x = 0; x < width; ++x) to[x] = fill;
                    continue;
                }
                for (long x = 0; x < width; ++x) to[x] = left + x < 0 || left + x >= w ? fill : from[row * w + left + x];
            }
    });
}

struct FlipOptions {
    double horizontal = 0.5, vertical = 0.0;  // probabilities of being mirrored left to right, and top to bottom
};

// Throws ValueError where a probability is not in [0, 1], DeviceError.
inline Tensor<float, 4> random_flip(const Tensor<float, 4>& images, const FlipOptions& options, Key key) {
    impl_augment::check_part("random_flip", "horizontal", options.horizontal);
    impl_augment::check_part("random_flip", "vertical", options.vertical);
    const long channels = images.shape(1), h = images.shape(2), w = images.shape(3);
    return impl_augment::each_image("random_flip", images, h, w, key, [=](impl_augment::Draws& draws, const float* from, float* to) {
        const bool mirror = draws.unit() < options.horizontal, upset = draws.unit() < options.vertical;
        for (long row = 0; row < channels * h; ++row) {
            const long y = row % h;
            const float* line = from + (upset ? row - y + h - 1 - y : row) * w;
            for (long x = 0; x < w; ++x) to[row * w + x] = line[mirror ? w - 1 - x : x];
        }
    });
}
inline Tensor<float, 4> random_flip(const Tensor<float, 4>& images, Key key) { return random_flip(images, FlipOptions{}, key); }

// Every image turned about its centre by an angle that is uniform in [-degrees, degrees]; bilinear, fill outside. Throws
// ValueError unless degrees is finite and not negative, DeviceError.
inline Tensor<float, 4> random_rotation(const Tensor<float, 4>& images, double degrees, Key key, float fill = 0.0f) {
    if (!(degrees >= 0 && degrees < 1e6)) fail<ValueError>("random_rotation: ", degrees, " degrees: expected a number from 0 on");
    const long channels = images.shape(1), h = images.shape(2), w = images.shape(3);
    return impl_augment::each_image("random_rotation", images, h, w, key, [=](impl_augment::Draws& draws, const float* from, float* to) {
        const double angle = draws.between(-degrees, degrees) * 0.017453292519943295;
        const double cosine = std::cos(angle), sine = std::sin(angle), middle_y = 0.5 * static_cast<double>(h - 1), middle_x = 0.5 * static_cast<double>(w - 1);
        for (long y = 0; y < h; ++y)
            for (long x = 0; x < w; ++x) {
                const double dx = static_cast<double>(x) - middle_x, dy = static_cast<double>(y) - middle_y;
                const double at_x = middle_x + cosine * dx + sine * dy, at_y = middle_y - sine * dx + cosine * dy;
                const long x0 = static_cast<long>(std::floor(at_x)), y0 = static_cast<long>(std::floor(at_y));
                const float fx = static_cast<float>(at_x - static_cast<double>(x0)), fy = static_cast<float>(at_y - static_cast<double>(y0));
                for (long c = 0; c < channels; ++c) {
                    const float* image = from + c * h * w;
                    const auto pixel = [&](long py, long px) { return px < 0 || px >= w || py < 0 || py >= h ? fill : image[py * w + px]; };
                    const float top = pixel(y0, x0) * (1 - fx) + pixel(y0, x0 + 1) * fx, bottom = pixel(y0 + 1, x0) * (1 - fx) + pixel(y0 + 1, x0 + 1) * fx;
                    to[(c * h + y) * w + x] = top * (1 - fy) + bottom * fy;
                }
            }
    });
}

// Each factor is uniform in [1 - x, 1 + x] (hue: a turn of the circle in [-x, x]), one draw per image.
struct ColourJitterOptions {
    double brightness = 0, contrast = 0, saturation = 0, hue = 0;
};

// Brightness, contrast (about the mean grey), saturation (about each pixel's grey) and hue, in this order, of images with
// values in [0, 1], clamped to it after each: before normalisation. 1 channel (brightness and contrast alone) or 3. Throws ShapeError for
// other channels, ValueError for negative amounts or hue above 0.5, DeviceError.
inline Tensor<float, 4> colour_jitter(const Tensor<float, 4>& images, const ColourJitterOptions& options, Key key) {
    const long channels = images.shape(1), h = images.shape(2), w = images.shape(3), pixels = h * w;
    if (channels != 1 && channels != 3) fail<ShapeError>("colour_jitter: images ", images.record()->description(), ": expected 1 or 3 channels on axis 1");
    if (!(options.brightness >= 0 && options.contrast >= 0 && options.saturation >= 0 && options.hue >= 0 && options.hue <= 0.5))
        fail<ValueError>("colour_jitter: brightness ", options.brightness, ", contrast ", options.contrast, ", saturation ", options.saturation, ", hue ", options.hue,
                         ": expected amounts from 0 on, hue up to 0.5");
    return impl_augment::each_image("colour_jitter", images, h, w, key, [=](impl_augment::Draws& draws, const float* from, float* to) {
        using impl_augment::grey, impl_augment::kept_in_unit;
        const float bright = static_cast<float>(impl_augment::around_one(draws, options.brightness)), contrast = static_cast<float>(impl_augment::around_one(draws, options.contrast));
        const float colour = static_cast<float>(impl_augment::around_one(draws, options.saturation)), turn = static_cast<float>(draws.between(-options.hue, options.hue));
        for (long i = 0; i < channels * pixels; ++i) to[i] = kept_in_unit(from[i] * bright);
        float *r = to, *g = channels == 3 ? to + pixels : to, *b = channels == 3 ? to + 2 * pixels : to;
        double sum = 0;
        for (long i = 0; i < pixels; ++i) sum += static_cast<double>(grey(r[i], g[i], b[i]));
        const float mean = pixels > 0 ? static_cast<float>(sum / static_cast<double>(pixels)) : 0.0f;
        if (contrast != 1)
            for (long i = 0; i < channels * pixels; ++i) to[i] = kept_in_unit(mean + (to[i] - mean) * contrast);
        if (channels == 1) return;
        for (long i = 0; i < pixels; ++i) {
            const float level = grey(r[i], g[i], b[i]);
            if (colour != 1)
                for (float* v : {r + i, g + i, b + i}) *v = kept_in_unit(level + (*v - level) * colour);
            if (turn != 0) impl_augment::turn_hue(r[i], g[i], b[i], turn);
        }
    });
}

// Squares of size x size pixels, centred anywhere in the image and cut at its edges, are filled (DeVries and Taylor, "Improved
// Regularization of Convolutional Neural Networks with Cutout", 2017). Throws ValueError for a size below 1 or holes below 0, DeviceError.
inline Tensor<float, 4> cutout(const Tensor<float, 4>& images, long size, Key key, int holes = 1, float fill = 0.0f) {
    if (size < 1 || holes < 0) fail<ValueError>("cutout: ", holes, " holes of size ", size, ": expected 0 holes or more of at least 1 pixel");
    const long channels = images.shape(1), h = images.shape(2), w = images.shape(3);
    return impl_augment::each_image("cutout", images, h, w, key, [=](impl_augment::Draws& draws, const float* from, float* to) {
        std::memcpy(to, from, static_cast<std::size_t>(channels * h * w) * sizeof(float));
        if (h * w == 0) return;
        for (int k = 0; k < holes; ++k) {
            const long top = draws.below(h) - size / 2, left = draws.below(w) - size / 2;
            for (long c = 0; c < channels; ++c)
                for (long y = top < 0 ? 0 : top; y < top + size && y < h; ++y)
                    for (long x = left < 0 ? 0 : left; x < left + size && x < w; ++x) to[(c * h + y) * w + x] = fill;
        }
    });
}

// (x - mean[c]) / deviation[c] of each channel. Throws ShapeError for more than 4 channels, ValueError unless the deviations are positive, DeviceError.
inline Tensor<float, 4> normalise(const Tensor<float, 4>& images, const ChannelStatistics& statistics) {
    const long channels = images.shape(1), h = images.shape(2), w = images.shape(3);
    if (channels > 4) fail<ShapeError>("normalise: images ", images.record()->description(), ": expected at most 4 channels on axis 1");
    for (long c = 0; c < channels; ++c)
        if (!(statistics.deviation[c] > 0)) fail<ValueError>("normalise: deviation of channel ", c, " is ", double(statistics.deviation[c]), ": expected a positive number");
    return impl_augment::each_image("normalise", images, h, w, Key(), [=](impl_augment::Draws&, const float* from, float* to) {
        for (long c = 0; c < channels; ++c)
            for (long i = 0; i < h * w; ++i, ++from, ++to) *to = (*from - statistics.mean[c]) / statistics.deviation[c];
    });
}

// A batch for cross_entropy with probabilities.
struct MixedBatch {
    Tensor<float, 4> images;
    Tensor<float, 2> targets;  // [n, classes], rows sum to 1
    double share;              // of the image's own label
};

// Every image blended with another one of the batch, and so its label: share ~ Beta(alpha, alpha), one draw per batch (Zhang et al.,
// "mixup: Beyond Empirical Risk Minimization", ICLR 2018). Throws ShapeError where the numbers differ, IndexError for a label
// outside of [0, classes), ValueError unless alpha > 0, DeviceError.
inline MixedBatch mixup(const Tensor<float, 4>& images, const Tensor<std::int64_t, 1>& labels, long classes, double alpha, Key key) {
    const long n = images.shape(0), size = n == 0 ? 0 : images.size() / n;
    if (labels.shape(0) != n) fail<ShapeError>("mixup: ", n, " images and ", labels.shape(0), " labels: expected as many");
    if (!(alpha > 0 && alpha < 1e6)) fail<ValueError>("mixup: alpha is ", alpha, ": expected a positive number");
    impl_augment::Draws draws(key.split(0));
    const double a = draws.gamma(alpha), b = draws.gamma(alpha), share = a + b > 0 ? a / (a + b) : 0.5;
    const std::vector<long> partner = permutation(key.split(1), n);
    const Tensor<std::int64_t, 1> own = contiguous(labels);
    MixedBatch mixed{{}, zeros<float>({n, classes}), share};
    for (long i = 0; i < n; ++i)
        if (own.data()[i] < 0 || own.data()[i] >= classes) fail<IndexError>("mixup: label ", own.data()[i], " of image ", i, ": expected 0 to ", classes - 1);
    for (long i = 0; i < n; ++i) {
        mixed.targets.data()[i * classes + own.data()[i]] += static_cast<float>(share);
        mixed.targets.data()[i * classes + own.data()[partner[static_cast<std::size_t>(i)]]] += static_cast<float>(1 - share);
    }
    const Tensor<float, 4> x = contiguous(images.detach());
    const float *const all = x.data(), mine = static_cast<float>(share);
    const long* const other = partner.data();
    mixed.images = impl_augment::each_image("mixup", x, x.shape(2), x.shape(3), key, [=](impl_augment::Draws&, const float* from, float* to) {
        const float* with = size == 0 ? all : all + other[(from - all) / size] * size;
        for (long i = 0; i < size; ++i) to[i] = mine * from[i] + (1 - mine) * with[i];
    });
    return mixed;
}

// A data set whose batches go through f(batch, key) on the loader's thread; the key is that of the batch, by its first row:
// a run that is resumed within an epoch sees the same images. Give each epoch a key of its own.
//     for (auto [x, t] : data::batches(data::augmented(set, key.split(epoch), f), {.size = 128, .shuffle = order}))
template <Dataset D, class F>
class Augmented {
public:
    Augmented(const D& dataset, Key key, F f) : dataset_(dataset), key_(key), f_(std::move(f)) {}
    long size() const { return dataset_.size(); }
    auto batch(const long* rows, long count) const { return f_(dataset_.batch(rows, count), key_.split(count > 0 ? static_cast<std::uint64_t>(rows[0]) : 0)); }

private:
    D dataset_;
    Key key_;
    F f_;
};
template <Dataset D, class F>
Augmented<D, F> augmented(const D& dataset, Key key, F f) { return Augmented<D, F>(dataset, key, std::move(f)); }

}  // namespace tenon::data

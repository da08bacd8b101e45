// TensorBoard's event files: scalars, histograms and pictures by tag and step. `tensorboard --logdir <folder>` shows them.
//
// A file is a row of records {length, checksum of the length, Event, checksum of the Event}; an Event is a protocol buffer
// (tensorflow/core/util/event.proto), of which the few fields that are needed are written here.
#pragma once

#include <tenon/base/error.hpp>

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <ctime>
#include <string>
#include <utility>
#include <vector>

namespace tenon::io {

namespace detail {

// CRC-32C (Castagnoli), bit-reflected.
inline std::uint32_t crc32c(const void* data, std::size_t count) {
    struct Table {
        std::uint32_t entry[256];
        Table() {
            for (std::uint32_t i = 0; i < 256; ++i) {
                std::uint32_t v = i;
                for (int k = 0; k < 8; ++k) v = v >> 1 ^ (v & 1 ? 0x82f63b78u : 0u);
                entry[i] = v;
            }
        }
    };
    static const Table table;
    std::uint32_t crc = ~0u;
    const auto* bytes = static_cast<const unsigned char*>(data);
    for (std::size_t i = 0; i < count; ++i) crc = crc >> 8 ^ table.entry[(crc ^ bytes[i]) & 255];
    return ~crc;
}
// As records carry it: a checksum of data that holds its own checksum is weak.
inline std::uint32_t masked_crc32c(const void* data, std::size_t count) {
    const std::uint32_t crc = crc32c(data, count);
    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

// A protocol buffer, written field by field.
class ProtoWriter {
public:
    void number(int field, std::uint64_t value) {
        varint(static_cast<std::uint64_t>(field) << 3);
        varint(value);
    }
    void real(int field, double value) {
        varint(static_cast<std::uint64_t>(field) << 3 | 1);
        raw(value);
    }
    void small_real(int field, float value) {
        varint(static_cast<std::uint64_t>(field) << 3 | 5);
        raw(value);
    }
    void bytes(int field, const std::string& value) {
        varint(static_cast<std::uint64_t>(field) << 3 | 2);
        varint(value.size());
        text_ += value;
    }
    void reals(int field, const std::vector<double>& values) {
        varint(static_cast<std::uint64_t>(field) << 3 | 2);
        varint(values.size() * sizeof(double));
        for (double v : values) raw(v);
    }
    const std::string& text() const { return text_; }

private:
    void varint(std::uint64_t v) {
        for (; v >= 128; v >>= 7) text_ += static_cast<char>(v | 128);
        text_ += static_cast<char>(v);
    }
    template <class T>
    void raw(T value) {
        char bytes[sizeof(T)];
        std::memcpy(bytes, &value, sizeof(T));
        text_.append(bytes, sizeof(T));
    }
    std::string text_;
};

}  // namespace detail

// io::EventFile events("out/run1"); events.scalar("loss", step, 0.25); Each call hands its record to the system at once.
class EventFile {
public:
    // A new file "events.out.tfevents.<seconds>.<host>.<process>.<number>" in the folder, which must exist. A run that goes on opens one
    // more in the same folder; TensorBoard lets later files replace the steps that they write again. Throws FileError.
    explicit EventFile(const std::string& folder) {
        char host[128] = "";
        if (::gethostname(host, sizeof host - 1) != 0) host[0] = '\0';
        for (int number = 0;; ++number) {
            path_ = folder + "/events.out.tfevents." + std::to_string(static_cast<long>(std::time(nullptr))) + "." + host + "." + std::to_string(::getpid()) + "." +
                    std::to_string(number);
            file_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0666);
            if (file_ >= 0) break;
            if (errno != EEXIST) failed("create");
        }
        detail::ProtoWriter event;
        event.real(1, now());
        event.bytes(3, "brain.Event:2");
        write(event.text());
    }
    EventFile(EventFile&& other) noexcept : path_(std::move(other.path_)), file_(std::exchange(other.file_, -1)) {}
    EventFile& operator=(EventFile&&) = delete;
    ~EventFile() {
        if (file_ >= 0) ::close(file_);
    }
    const std::string& path() const { return path_; }

    // Throws FileError when the disk is full, as the others.
    void scalar(const std::string& tag, long step, double value) {
        detail::ProtoWriter entry;
        entry.bytes(1, tag);
        entry.small_real(2, static_cast<float>(value));
        summary(step, entry);
    }

    // values in `buckets` equal parts of their range; values that are not finite are left out. Throws ValueError for less than one bucket.
    void histogram(const std::string& tag, long step, const float* values, long count, int buckets = 30) {
        if (buckets < 1) fail<ValueError>("EventFile::histogram: ", buckets, " buckets: expected at least 1");
        double low = 0, high = 0, sum = 0, squares = 0, all = 0;
        for (long i = 0; i < count; ++i) {
            const double v = static_cast<double>(values[i]);
            if (!std::isfinite(v)) continue;
            low = all == 0 || v < low ? v : low;
            high = all == 0 || v > high ? v : high;
            sum += v, squares += v * v, all += 1;
        }
        const double width = (high - low) / buckets;
        std::vector<double> limits, counts(static_cast<std::size_t>(width > 0 ? buckets : 1), 0.0);
        for (std::size_t k = 0; k < counts.size(); ++k) limits.push_back(k + 1 == counts.size() ? high : low + width * static_cast<double>(k + 1));
        for (long i = 0; i < count; ++i) {
            const double v = static_cast<double>(values[i]);
            if (!std::isfinite(v)) continue;
            auto k = static_cast<std::size_t>(width > 0 ? (v - low) / width : 0);
            ++counts[k < counts.size() ? k : counts.size() - 1];
        }
        detail::ProtoWriter parts;
        parts.real(1, low), parts.real(2, high), parts.real(3, all), parts.real(4, sum), parts.real(5, squares);
        parts.reals(6, limits), parts.reals(7, counts);
        detail::ProtoWriter entry;
        entry.bytes(1, tag);
        entry.bytes(5, parts.text());
        summary(step, entry);
    }

    // A picture as the bytes of a PNG file (io/png.hpp makes them).
    void image(const std::string& tag, long step, long height, long width, int channels, const std::string& png) {
        detail::ProtoWriter picture;
        picture.number(1, static_cast<std::uint64_t>(height)), picture.number(2, static_cast<std::uint64_t>(width)), picture.number(3, static_cast<std::uint64_t>(channels));
        picture.bytes(4, png);
        detail::ProtoWriter entry;
        entry.bytes(1, tag);
        entry.bytes(4, picture.text());
        summary(step, entry);
    }

private:
    static double now() {
        timespec t;
        ::clock_gettime(CLOCK_REALTIME, &t);
        return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
    }
    void summary(long step, const detail::ProtoWriter& entry) {
        detail::ProtoWriter values;
        values.bytes(1, entry.text());
        detail::ProtoWriter event;
        event.real(1, now());
        event.number(2, static_cast<std::uint64_t>(step));
        event.bytes(5, values.text());
        write(event.text());
    }
    void write(const std::string& event) {
        std::string record;
        const std::uint64_t length = event.size();
        const std::uint32_t head = detail::masked_crc32c(&length, sizeof length), tail = detail::masked_crc32c(event.data(), event.size());
        record.append(reinterpret_cast<const char*>(&length), sizeof length).append(reinterpret_cast<const char*>(&head), sizeof head);
        record.append(event).append(reinterpret_cast<const char*>(&tail), sizeof tail);
        for (std::size_t done = 0; done < record.size();) {
            const ssize_t wrote = ::write(file_, record.data() + done, record.size() - done);
            if (wrote < 0 && errno == EINTR) continue;
            if (wrote <= 0) failed("write");
            done += static_cast<std::size_t>(wrote);
        }
    }
    [[noreturn]] void failed(const char* what) const {
        fail<FileError>("EventFile: cannot ", what, " \"", path_.c_str(), "\": ", std::strerror(errno), "\nhint: does the folder exist, and may this user write into it?");
    }

    std::string path_;
    int file_ = -1;
};

}  // namespace tenon::io

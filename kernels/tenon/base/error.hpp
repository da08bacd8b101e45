// The exceptions of the library and the builder of their texts. Costs almost nothing to include.
#pragma once

#include <tenon/base/config.hpp>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>

namespace tenon {

// What every function of the library throws. The text reads "tenon: <operation>: <what was wrong>", with the shapes,
// dtypes and devices that came, and where it helps a line "hint: ...".
class Error : public std::exception {
public:
    explicit Error(const char* text) noexcept {
        const std::size_t length = std::strlen(text);
        text_ = static_cast<Text*>(std::malloc(sizeof(Text) + length + 1));
        if (text_ == nullptr) return;
        text_->references = 1;
        std::memcpy(text_->characters(), text, length + 1);
    }
    Error(const Error& other) noexcept : std::exception(other), text_(other.text_) {
        if (text_ != nullptr) __atomic_add_fetch(&text_->references, 1, __ATOMIC_RELAXED);
    }
    Error& operator=(const Error& other) noexcept {
        Error copy(other);
        Text* mine = text_;
        text_ = copy.text_;
        copy.text_ = mine;
        return *this;
    }
    ~Error() override {
        if (text_ != nullptr && __atomic_sub_fetch(&text_->references, 1, __ATOMIC_ACQ_REL) == 0) std::free(text_);
    }
    const char* what() const noexcept override {
        return text_ != nullptr ? text_->characters() : "tenon: error (out of memory while writing its text)";
    }

private:
    struct Text {
        int references;
        char* characters() { return reinterpret_cast<char*>(this + 1); }
    };
    Text* text_ = nullptr;
};

// Sizes, ranks or axes that do not fit.
struct ShapeError : Error { using Error::Error; };
// An index or label outside of its range.
struct IndexError : Error { using Error::Error; };
// Element types that do not fit (run-time cases; most are compile errors).
struct DtypeError : Error { using Error::Error; };
// A device that is absent, or operands on different devices.
struct DeviceError : Error { using Error::Error; };
// Misuse of the tape: no gradient, a saved tensor overwritten, backward twice.
struct GradError : Error { using Error::Error; };
// A value outside of what an argument allows.
struct ValueError : Error { using Error::Error; };
// A file that is missing, truncated or not what it claims to be.
struct FileError : Error { using Error::Error; };
// A matrix that is singular or not positive definite where it must not be, or a decomposition that does not converge.
struct LinalgError : Error { using Error::Error; };
// Memory could not be had.
struct MemoryError : Error { using Error::Error; };

// Builds a text piece by piece; grows as needed. Only ever used on the way to an exception or to a printed line.
class Message {
public:
    Message() noexcept { small_[0] = '\0'; }
    Message(const Message&) = delete;
    Message& operator=(const Message&) = delete;
    ~Message() {
        if (text_ != small_) std::free(text_);
    }
    Message& add(const char* piece, std::size_t length) noexcept {
        if (size_ + length + 1 > capacity_ && !grow(size_ + length + 1)) return *this;
        std::memcpy(text_ + size_, piece, length);
        size_ += length;
        text_[size_] = '\0';
        return *this;
    }
    Message& operator<<(const char* piece) noexcept { return add(piece, std::strlen(piece)); }
    Message& operator<<(char piece) noexcept { return add(&piece, 1); }
    Message& operator<<(long long value) noexcept {
        char digits[24];
        int at = 24;
        unsigned long long rest = value < 0 ? 0ull - static_cast<unsigned long long>(value) : static_cast<unsigned long long>(value);
        do digits[--at] = static_cast<char>('0' + rest % 10);
        while ((rest /= 10) != 0);
        if (value < 0) digits[--at] = '-';
        return add(digits + at, static_cast<std::size_t>(24 - at));
    }
    Message& operator<<(int value) noexcept { return *this << static_cast<long long>(value); }
    Message& operator<<(long value) noexcept { return *this << static_cast<long long>(value); }
    Message& operator<<(unsigned value) noexcept { return *this << static_cast<long long>(value); }
    Message& operator<<(unsigned long value) noexcept { return *this << static_cast<long long>(value); }
    Message& operator<<(double value) noexcept {
        char digits[40];
        const int length = __builtin_snprintf(digits, sizeof digits, "%.6g", value);
        return add(digits, length > 0 ? static_cast<std::size_t>(length) : 0);
    }
    const char* text() const noexcept { return text_; }
    std::size_t size() const noexcept { return size_; }

private:
    bool grow(std::size_t least) noexcept {
        std::size_t capacity = capacity_ * 2 > least ? capacity_ * 2 : least;
        char* fresh = static_cast<char*>(std::malloc(capacity));
        if (fresh == nullptr) return false;
        std::memcpy(fresh, text_, size_ + 1);
        if (text_ != small_) std::free(text_);
        text_ = fresh;
        capacity_ = capacity;
        return true;
    }
    std::size_t size_ = 0, capacity_ = sizeof small_;
    char small_[512];
    char* text_ = small_;
};

// Throws E with the text "tenon: " + pieces. Out of line and cold, so that a check costs one compare and one branch.
template <class E = Error, class... Pieces>
[[noreturn]] TENON_COLD void fail(const Pieces&... pieces) {
    Message message;
    message << "tenon: ";
    (message << ... << pieces);
    throw E(message.text());
}

}  // namespace tenon

// Tensors as text, in NumPy's arrangement: nested brackets, aligned columns, an ellipsis in place of the middle of large
// ones, and a last line with element type, shape and device.
//
//   std::puts(to_string(x).c_str());      std::cout << x << '\n';       (with <ostream> included by the user)
#pragma once

#include <tenon/core/tensor.hpp>

namespace tenon {

struct PrintOptions {
    int digits = 4;         // significant digits of fractional numbers, 1 to 17
    long threshold = 1000;  // more elements than this are summarised
    long edge = 3;          // elements shown at either end of a summarised axis
    int width = 80;         // characters per line
};

// A piece of text that owns its memory.
class Text {
public:
    explicit Text(const Message& message) : size_(message.size()), characters_(static_cast<char*>(std::malloc(size_ + 1))) {
        if (characters_ == nullptr) fail<MemoryError>("to_string: out of memory");
        std::memcpy(characters_, message.text(), size_ + 1);
    }
    Text(Text&& other) noexcept : size_(other.size_), characters_(other.characters_) {
        other.size_ = 0;
        other.characters_ = nullptr;
    }
    Text& operator=(Text&& other) noexcept {
        std::swap(size_, other.size_);
        std::swap(characters_, other.characters_);
        return *this;
    }
    ~Text() { std::free(characters_); }
    const char* c_str() const noexcept { return characters_ != nullptr ? characters_ : ""; }
    std::size_t size() const noexcept { return size_; }

private:
    std::size_t size_;
    char* characters_;
};

namespace detail {

class Printer {
public:
    // data: the first element, on the CPU.
    Printer(const Record* r, const char* data, const PrintOptions& options, Message& out)
        : r_(r), data_(data), options_(options), out_(out), summarised_(r->size > options.threshold) {
        if (options.digits < 1 || options.digits > 17) fail<ValueError>("to_string: ", options.digits, " digits, expected 1 to 17");
        if (options.edge < 1) fail<ValueError>("to_string: edge is ", options.edge, ", expected 1 or more");
    }

    void print() {
        if (is_floating(r_->dtype)) choose_notation();
        int odd = 0;  // width of what has no point
        walk(0, 0, [&](const char* element) {
            Cell cell;
            write(element, cell);
            if (cell.odd > odd) odd = cell.odd;
            if (cell.odd != 0) return;
            if (cell.whole > whole_) whole_ = cell.whole;
            if (cell.size - cell.whole > fraction_) fraction_ = cell.size - cell.whole;
        });
        if (odd > whole_ + fraction_) whole_ = odd - fraction_;
        if (r_->size == 0) out_ << "[]";
        else brackets(0, data_);
        out_ << '\n' << r_->description();
    }

private:
    struct Cell {
        char text[64];
        int size = 0, whole = 0, odd = 0;  // characters, of them before the point; of "nan" and "inf", which have none
    };

    double number(const char* element) const {
        switch (r_->dtype) {
            case DType::float32: return static_cast<double>(*reinterpret_cast<const float*>(element));
            case DType::float64: return *reinterpret_cast<const double*>(element);
            case DType::bfloat16: return static_cast<double>(static_cast<float>(*reinterpret_cast<const bf16*>(element)));
            default: return static_cast<double>(static_cast<float>(*reinterpret_cast<const half*>(element)));
        }
    }
    long long integer(const char* element) const {
        switch (r_->dtype) {
            case DType::int8: return *reinterpret_cast<const std::int8_t*>(element);
            case DType::int32: return *reinterpret_cast<const std::int32_t*>(element);
            case DType::int64: return *reinterpret_cast<const std::int64_t*>(element);
            default: return *reinterpret_cast<const std::uint8_t*>(element);
        }
    }

    bool skips(int axis) const { return summarised_ && r_->dims()[axis] > 2 * options_.edge; }

    // The elements that are shown.
    template <class F>
    void walk(int axis, long offset, F&& f) const {
        if (axis == r_->rank) {
            f(data_ + offset * size_of(r_->dtype));
            return;
        }
        for (long i = 0; i < r_->dims()[axis]; ++i) {
            if (skips(axis) && i == options_.edge) i = r_->dims()[axis] - options_.edge;
            walk(axis + 1, offset + i * r_->strides()[axis], f);
        }
    }

    // Exponents for all where plain digits would become long.
    void choose_notation() {
        double largest = 0, smallest = 0;
        walk(0, 0, [&](const char* element) {
            const double v = __builtin_fabs(number(element));
            if (!(v < __builtin_inf()) || v == 0) return;
            if (v > largest) largest = v;
            if (smallest == 0 || v < smallest) smallest = v;
        });
        exponents_ = largest >= 1e8 || (smallest != 0 && smallest < 1e-4);
    }

    void write(const char* element, Cell& cell) const {
        if (r_->dtype == DType::boolean) {
            cell.size = cell.whole = __builtin_snprintf(cell.text, sizeof cell.text, "%s", *element != 0 ? "true" : "false");
            return;
        }
        if (!is_floating(r_->dtype)) {
            cell.size = cell.whole = __builtin_snprintf(cell.text, sizeof cell.text, "%lld", integer(element));
            return;
        }
        const double v = number(element);
        if (!(__builtin_fabs(v) < __builtin_inf())) {
            cell.odd = cell.size = __builtin_snprintf(cell.text, sizeof cell.text, "%s", v != v ? "nan" : v > 0 ? "inf" : "-inf");
            return;
        }
        if (exponents_) {
            cell.size = __builtin_snprintf(cell.text, sizeof cell.text, "%.*e", options_.digits - 1, v);
            cell.whole = cell.text[0] == '-' ? 2 : 1;
            return;
        }
        // As many decimals as make up the significant digits; zeros at their end say nothing.
        int decimals = options_.digits - 1;
        for (double power = 10, a = __builtin_fabs(v); power <= a && decimals > 0; power *= 10) --decimals;
        for (double power = 1, a = __builtin_fabs(v); a != 0 && a < power && decimals < options_.digits + 3; power /= 10) ++decimals;
        cell.size = __builtin_snprintf(cell.text, sizeof cell.text, "%.*f", decimals, v);
        int point = 0;
        while (point < cell.size && cell.text[point] != '.') ++point;
        if (point == cell.size) cell.text[cell.size++] = '.';
        while (cell.text[cell.size - 1] == '0') --cell.size;
        cell.whole = point;
    }

    void spaces(int count) {
        for (int i = 0; i < count; ++i) out_ << ' ';
    }

    void element(const char* data) {
        Cell cell;
        write(data, cell);
        // Points stand under each other; what has none ends at the right.
        const bool odd = cell.odd != 0;
        spaces(odd ? whole_ + fraction_ - cell.size : whole_ - cell.whole);
        out_.add(cell.text, static_cast<std::size_t>(cell.size));
        if (!odd) spaces(fraction_ - (cell.size - cell.whole));
    }

    void brackets(int axis, const char* data) {
        if (axis == r_->rank) {
            element(data);
            return;
        }
        const bool innermost = axis == r_->rank - 1;
        const long n = r_->dims()[axis], step = r_->strides()[axis] * size_of(r_->dtype);
        const int item = whole_ + fraction_ + 2, indent = axis + 1;
        out_ << '[';
        int column = indent;
        for (long i = 0; i < n; ++i) {
            const bool gap = skips(axis) && i == options_.edge;
            if (i > 0) {
                out_ << ',';
                if (innermost && column + item + (gap ? 5 : 0) <= options_.width) {
                    out_ << ' ';
                } else {
                    // A line apart, and a blank one between matrices.
                    for (int k = axis; k < r_->rank - 1; ++k) out_ << '\n';
                    if (innermost) out_ << '\n';
                    spaces(indent);
                    column = indent;
                }
            }
            if (gap) {
                out_ << "...,";
                i = n - options_.edge;
                if (innermost) {
                    out_ << ' ';
                    column += 5;
                } else {
                    for (int k = axis; k < r_->rank - 1; ++k) out_ << '\n';
                    spaces(indent);
                }
            }
            brackets(axis + 1, data + i * step);
            column += item;
        }
        out_ << ']';
    }

    const Record* r_;
    const char* data_;
    PrintOptions options_;
    Message& out_;
    bool summarised_, exponents_ = false;
    int whole_ = 0, fraction_ = 0;  // widths before the point, and from it on
};

inline void print_record(const Record* r, const PrintOptions& options, Message& out) {
    const Device device = r->storage->device;
    if (device.is_cpu() || r->size == 0) {
        Printer(r, r->data(), options, out).print();
        return;
    }
    // What lies between the first and the last element of a view.
    long last = 0;
    for (int i = 0; i < r->rank; ++i) last += (r->dims()[i] - 1) * r->strides()[i];
    Storage* copy = new_storage(static_cast<std::size_t>((last + 1) * size_of(r->dtype)), cpu);
    struct Guard {
        Storage* storage;
        ~Guard() { release(storage); }
    } guard{copy};
    runtime::backend(device).copy(cpu, copy->data, device, r->data(), copy->bytes);
    Printer(r, copy->data, options, out).print();
}

}  // namespace detail

// The text of a tensor (views and tensors on other devices too) or of the value of an expression. Numbers are rounded to
// `digits` significant digits, for all in exponent notation where one of them is 1e8 or larger, or smaller than 1e-4.
template <Expression E>
[[nodiscard]] Text to_string(const E& x, const PrintOptions& options = {}) {
    Message message;
    detail::print_record(Tensor<typename E::Scalar, E::rank>(x).record(), options, message);
    return Text(message);
}

// Into anything that has write(characters, count), such as a std::ostream, and into error texts.
template <class Stream, Expression E>
    requires requires(Stream& stream, const char* text) { stream.write(text, 1l); }
Stream& operator<<(Stream& stream, const E& x) {
    const Text text = to_string(x);
    stream.write(text.c_str(), static_cast<long>(text.size()));
    return stream;
}
template <Expression E>
Message& operator<<(Message& message, const E& x) {
    detail::print_record(Tensor<typename E::Scalar, E::rank>(x).record(), {}, message);
    return message;
}

}  // namespace tenon

// NumPy's .npy files: one array each.
//
// The format: "\x93NUMPY", two bytes of version, the length of the header (16 bits in version 1, 32 in 2 and 3), the
// header (a Python dict of descr, fortran_order and shape), the elements. Readers trust nothing: what the header claims
// is checked against what the file holds before memory is taken for it.
#pragma once

#include <tenon/io/array.hpp>
#include <tenon/io/file.hpp>

#include <cstdint>
#include <cstring>
#include <string>

namespace tenon::io {

namespace detail {

// bf16 is NumPy's two bytes of no type, as the package ml_dtypes has it.
inline const char* npy_descr(DType dtype) {
    constexpr const char* descr[] = {"<f4", "<f8", "<V2", "<f2", "|i1", "<i4", "<i8", "|u1", "|b1"};
    return descr[static_cast<int>(dtype)];
}

struct NpyHeader {
    DType dtype = DType::float32;
    bool big_endian = false, fortran = false;
    int rank = 0;
    long dims[max_rank] = {};
};

// The header of a .npy file: a Python dict literal of three known keys.
class NpyHeaderParser {
public:
    NpyHeaderParser(const Origin& origin, const char* text, std::size_t size) : origin_(origin), at_(text), begin_(text), end_(text + size) {}

    NpyHeader parse() {
        NpyHeader header;
        bool seen[3] = {};
        expect('{');
        while (!take('}')) {
            char key[16];
            string(key, sizeof key, "a key");
            expect(':');
            const int which = std::strcmp(key, "descr") == 0 ? 0 : std::strcmp(key, "fortran_order") == 0 ? 1 : std::strcmp(key, "shape") == 0 ? 2 : -1;
            if (which < 0) broken("a key descr, fortran_order or shape", key);
            if (seen[which]) broken("every key once", key);
            seen[which] = true;
            if (which == 0) descr(header);
            else if (which == 1) header.fortran = boolean();
            else shape(header);
            if (!take(',')) {
                expect('}');
                break;
            }
        }
        for (int i = 0; i < 3; ++i)
            if (!seen[i]) broken("the keys descr, fortran_order and shape", "fewer");
        skip_space();
        if (at_ != end_) broken("nothing but blanks behind the dict");
        return header;
    }

private:
    void skip_space() {
        while (at_ != end_ && (*at_ == ' ' || *at_ == '\n' || *at_ == '\t' || *at_ == '\r')) ++at_;
    }
    bool take(char c) {
        skip_space();
        if (at_ == end_ || *at_ != c) return false;
        ++at_;
        return true;
    }
    void expect(char c) {
        const char wanted[] = {'\'', c, '\'', '\0'};
        if (!take(c)) broken(wanted);
    }
    void string(char* to, std::size_t capacity, const char* what) {
        skip_space();
        if (at_ == end_ || (*at_ != '\'' && *at_ != '"')) broken(what);
        const char quote = *at_++;
        std::size_t length = 0;
        while (at_ != end_ && *at_ != quote) {
            if (*at_ == '\\' || static_cast<unsigned char>(*at_) < ' ' || length + 1 == capacity) broken(what);
            to[length++] = *at_++;
        }
        if (at_ == end_) broken("the quote that ends a text");
        ++at_;
        to[length] = '\0';
    }
    bool word(const char* text) {
        const std::size_t length = std::strlen(text);
        if (static_cast<std::size_t>(end_ - at_) < length || std::memcmp(at_, text, length) != 0) return false;
        at_ += length;
        return true;
    }
    bool boolean() {
        skip_space();
        if (word("True")) return true;
        if (word("False")) return false;
        broken("True or False");
    }
    void shape(NpyHeader& header) {
        expect('(');
        while (!take(')')) {
            skip_space();
            long size = 0;
            const char* first = at_;
            while (at_ != end_ && *at_ >= '0' && *at_ <= '9')
                if (__builtin_mul_overflow(size, 10l, &size) || __builtin_add_overflow(size, static_cast<long>(*at_++ - '0'), &size)) broken("a size below 2^63");
            if (at_ == first) broken("a size");
            if (at_ != end_ && *at_ == 'L') ++at_;  // Python 2
            if (header.rank == max_rank)
                fail<FileError>(origin_, " has more than ", int(max_rank), " axes: expected at most ", int(max_rank), "\nhint: reshape it in NumPy before saving");
            header.dims[header.rank++] = size;
            if (!take(',')) {
                expect(')');
                break;
            }
        }
    }
    void descr(NpyHeader& header) {
        skip_space();
        if (at_ != end_ && *at_ == '[')
            fail<FileError>(origin_, " holds a structured array: expected plain numbers\nhint: save its fields as arrays of their own");
        char text[32];
        string(text, sizeof text, "a type such as '<f4'");
        const char order = text[0];
        if (order == '<' || order == '>' || order == '=' || order == '|') {
            static constexpr struct { const char* code; DType dtype; } types[] = {
                {"f4", DType::float32}, {"f8", DType::float64}, {"f2", DType::float16}, {"V2", DType::bfloat16}, {"i1", DType::int8},
                {"i4", DType::int32},   {"i8", DType::int64},   {"u1", DType::uint8},   {"b1", DType::boolean},
            };
            for (const auto& type : types) {
                if (std::strcmp(text + 1, type.code) != 0) continue;
                header.dtype = type.dtype;
                header.big_endian = order == '>' && size_of(type.dtype) > 1;
                return;
            }
        }
        fail<FileError>(origin_, " holds elements of type '", static_cast<const char*>(text),
                        "': expected f4, f8, f2, V2 (bf16), i1, i4, i8, u1 or b1\nhint: convert it in NumPy before saving: x.astype(\"int64\")");
    }
    [[noreturn]] void broken(const char* expected, const char* found = nullptr) {
        char rest[24];
        if (found == nullptr) {
            std::size_t n = 0;
            for (const char* c = at_; c != end_ && n + 1 < sizeof rest; ++c) rest[n++] = *c >= ' ' && *c <= '~' ? *c : '?';
            rest[n] = '\0';
            found = n == 0 ? "the end" : rest;
        }
        fail<FileError>(origin_, " has a header that makes no sense: expected ", expected, " at character ", static_cast<long>(at_ - begin_), ", found ", found,
                        "\nhint: the file is damaged, or no .npy file");
    }

    Origin origin_;
    const char *at_, *begin_, *end_;
};

// An array from the bytes of a .npy file; the elements are copied.
inline Array parse_npy(const Origin& origin, const unsigned char* bytes, std::size_t size) {
    if (size < 10 || std::memcmp(bytes, "\x93NUMPY", 6) != 0) {
        if (size >= 10 || (size > 0 && std::memcmp(bytes, "\x93NUMPY", size < 6 ? size : 6) != 0))
            fail<FileError>(origin, " is not a .npy file: expected it to begin with 93 'NUMPY'\nhint: is this the right file? .npz archives are read by io::Npz");
        fail<FileError>(origin, " is too short: expected a .npy file of at least 10 bytes, the file ends after ", static_cast<unsigned long>(size),
                        "\nhint: the file is empty or cut off: fetch it again");
    }
    const int major = bytes[6];
    if (major < 1 || major > 3 || bytes[7] != 0)
        fail<FileError>(origin, " is a .npy file of version ", major, ".", int(bytes[7]), ": expected 1.0, 2.0 or 3.0\nhint: the file is damaged, or from the future");
    const std::size_t begin = major == 1 ? 10 : 12;
    if (size < begin) fail<FileError>(origin, " is too short: expected the length of its header, the file ends\nhint: the file is cut off: fetch it again");
    std::size_t length = static_cast<std::size_t>(bytes[8]) | static_cast<std::size_t>(bytes[9]) << 8;
    if (major > 1) length |= static_cast<std::size_t>(bytes[10]) << 16 | static_cast<std::size_t>(bytes[11]) << 24;
    if (length > size - begin)
        fail<FileError>(origin, " is truncated: expected a header of ", static_cast<unsigned long>(length), " bytes, the file holds ",
                        static_cast<unsigned long>(size - begin), "\nhint: the file was cut off: fetch it again");
    const NpyHeader header = NpyHeaderParser(origin, reinterpret_cast<const char*>(bytes) + begin, length).parse();
    const unsigned char* data = bytes + begin + length;
    const std::size_t have = size - begin - length;
    long count = 1, reach = 1;  // the reach of an empty one: its strides must fit, too
    bool fits = true;
    for (int i = 0; i < header.rank; ++i) {
        fits = fits && !__builtin_mul_overflow(reach, header.dims[i] > 0 ? header.dims[i] : 1, &reach) && reach <= (1l << 56);
        if (fits) count *= header.dims[i];
    }
    const std::size_t width = static_cast<std::size_t>(size_of(header.dtype));
    if (!fits || static_cast<std::size_t>(count) > have / width)
        fail<FileError>(origin, " is truncated: expected ", name(header.dtype), tenon::detail::Sizes{header.rank, header.dims}, ", the file holds ",
                        static_cast<unsigned long>(have), " bytes of elements\nhint: the file was cut off, or its header is damaged: fetch it again");
    if (static_cast<std::size_t>(count) * width != have)
        fail<FileError>(origin, " goes on behind its elements: expected ", name(header.dtype), tenon::detail::Sizes{header.rank, header.dims}, ", ",
                        static_cast<unsigned long>(static_cast<std::size_t>(count) * width), " bytes, found ", static_cast<unsigned long>(have),
                        "\nhint: is it several arrays in one file? Save them as .npz");

    AnyTensor result(tenon::detail::new_record(header.dtype, header.rank, header.dims, cpu, origin.operation));
    char* to = result->data();
    if (header.fortran) {
        long strides[max_rank], stride = 1;
        for (int i = 0; i < header.rank; ++i) {
            strides[i] = stride;
            stride *= header.dims[i];
        }
        copy_elements(width, header.rank, header.dims, to, result->strides(), reinterpret_cast<const char*>(data), strides);
    } else if (have > 0) {
        std::memcpy(to, data, have);
    }
    if (header.big_endian)
        for (std::size_t i = 0; i < have; i += width)
            for (std::size_t k = 0; k < width / 2; ++k) std::swap(to[i + k], to[i + width - 1 - k]);
    if (header.dtype == DType::boolean)
        for (std::size_t i = 0; i < have; ++i) to[i] = to[i] != 0;  // a bool of any other value is none
    return Array(result);
}

// Everything in front of the elements: version 1, padded so that they begin at a multiple of 64 bytes.
inline std::string npy_header(const Record* r) {
    std::string dict = std::string("{'descr': '") + npy_descr(r->dtype) + "', 'fortran_order': False, 'shape': (";
    for (int i = 0; i < r->rank; ++i) dict += std::to_string(r->dims()[i]) + (i + 1 < r->rank ? ", " : r->rank == 1 ? "," : "");
    dict += "), }";
    while ((10 + dict.size() + 1) % 64 != 0) dict += ' ';
    dict += '\n';
    std::string header("\x93NUMPY\x01\x00", 8);
    header += static_cast<char>(dict.size() & 0xff);
    header += static_cast<char>(dict.size() >> 8);
    return header + dict;
}

}  // namespace detail

// The array in a .npy file: versions 1 to 3, either byte order, C or Fortran order (the result is row-major in memory),
// of any of tenon's element types (V2 is bf16), with 0 to 8 axes, empty ones included. Throws FileError, with the path,
// what was expected and what came, for a missing, foreign, damaged, truncated or overlong file or another type.
inline Array read_npy(const std::string& path) {
    const detail::FileBytes bytes("read_npy", path);
    return detail::parse_npy({"read_npy", path.c_str()}, bytes.data(), bytes.size());
}
// The same, typed: DtypeError or ShapeError where the file holds another type or rank.
template <Element T, int Rank>
Tensor<T, Rank> read_npy(const std::string& path) {
    return detail::typed<T, Rank>({"read_npy", path.c_str()}, read_npy(path));
}

// Writes x as a .npy file (version 1, little-endian, C order): np.load reads it. bf16 becomes V2, which NumPy reads as
// ml_dtypes' bfloat16 after x.view(). The file appears whole or not at all. Throws FileError, DeviceError.
inline void write_npy(const std::string& path, const Array& x) {
    const detail::AnyTensor rows = detail::row_major(x.any());
    detail::AtomicFile file("write_npy", path);
    file.write(detail::npy_header(rows.get()));
    file.write(rows->data(), detail::byte_count(rows.get()));
    file.commit(false);
}

}  // namespace tenon::io

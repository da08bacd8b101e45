// IDX files (the format of MNIST and its successors), plain or packed with gzip. Needs zlib (-lz).
//
// The format: two zero bytes, one byte of element type, one of rank, the sizes as big-endian 32-bit numbers, the
// elements in row-major order, big-endian. A reader of files from anywhere: everything the header claims is checked
// against what the file holds, and memory grows with what was read, never with what was claimed.
#pragma once

#include <tenon/expr/expression.hpp>
#include <tenon/data/byte_source.hpp>

#include <cstdint>
#include <cstdio>
#include <string>

namespace tenon::data {

namespace detail {

template <class T>
inline constexpr int idx_code = 0;
template <> inline constexpr int idx_code<std::uint8_t> = 0x08;
template <> inline constexpr int idx_code<std::int8_t> = 0x09;
template <> inline constexpr int idx_code<std::int32_t> = 0x0c;
template <> inline constexpr int idx_code<float> = 0x0d;
template <> inline constexpr int idx_code<double> = 0x0e;

inline const char* idx_type_name(int code) {
    switch (code) {
        case 0x08: return "uint8";
        case 0x09: return "int8";
        case 0x0b: return "int16";
        case 0x0c: return "int32";
        case 0x0d: return "float";
        case 0x0e: return "double";
        default: return nullptr;
    }
}

inline constexpr int idx_max_rank = 8;
inline constexpr std::uint64_t idx_max_bytes = std::uint64_t(1) << 35;  // 32 GiB

// Sizes and raw elements (big-endian, as in the file) of an IDX file of this type and rank.
inline void read_idx_bytes(const std::string& path, int code, int rank, long* shape, GrowingBytes& content) {
    constexpr const char* operation = "read_idx";
    const char* name = path.c_str();
    ByteSource source(operation, path);
    unsigned char head[4 + 4 * idx_max_rank];
    const std::size_t got = source.read(head, 4);
    if (got < 4)
        fail<FileError>(operation, ": \"", name, "\" is too short: expected 4 bytes of IDX magic, the file ends after ",
                        static_cast<unsigned long>(got), "\nhint: the file is empty or cut off: fetch it again");
    if (head[0] != 0 || head[1] != 0 || idx_type_name(head[2]) == nullptr) {
        char found[16];
        std::snprintf(found, sizeof found, "%02x %02x %02x %02x", head[0], head[1], head[2], head[3]);
        fail<FileError>(operation, ": \"", name,
                        "\" is not an IDX file: expected it to begin with 00 00 and a type of 08, 09 or 0b to 0e, found ",
                        static_cast<const char*>(found), "\nhint: is this the right file?");
    }
    if (head[2] != code)
        fail<FileError>(operation, ": \"", name, "\" holds ", idx_type_name(head[2]), ": expected ", idx_type_name(code),
                        "\nhint: read it as read_idx<", idx_type_name(head[2]), ", ", int(head[3]), ">");
    if (head[3] != rank)
        fail<FileError>(operation, ": \"", name, "\" has rank ", int(head[3]), ": expected rank ", rank,
                        "\nhint: read it as read_idx<", idx_type_name(head[2]), ", ", int(head[3]),
                        ">; images have rank 3, labels rank 1");
    const std::size_t sizes = 4 * static_cast<std::size_t>(rank), sizes_got = source.read(head + 4, sizes);
    if (sizes_got < sizes)
        fail<FileError>(operation, ": \"", name, "\" is too short: expected ", rank, " sizes behind the magic, the file ends after ",
                        static_cast<unsigned long>(4 + sizes_got), " bytes\nhint: the file is cut off: fetch it again");
    const std::uint64_t element = code <= 0x09 ? 1 : code == 0x0b ? 2 : code == 0x0e ? 8 : 4;
    std::uint64_t expected = element, reach = element;  // the reach of an empty one: its strides must fit, too
    bool fits = true;
    for (int axis = 0; axis < rank; ++axis) {
        const unsigned char* at = head + 4 + 4 * axis;
        const std::uint32_t size = std::uint32_t(at[0]) << 24 | std::uint32_t(at[1]) << 16 | std::uint32_t(at[2]) << 8 | at[3];
        shape[axis] = static_cast<long>(size);
        fits = fits && !__builtin_mul_overflow(reach, std::uint64_t(size > 0 ? size : 1), &reach);
        expected *= size;
    }
    if (!fits || reach > (std::uint64_t(1) << 56) || expected > idx_max_bytes) {
        Message list;
        for (int axis = 0; axis < rank; ++axis) list << (axis == 0 ? "" : ", ") << shape[axis];
        fail<FileError>(operation, ": \"", name, "\" claims the shape [", list.text(), "]: expected at most ",
                        static_cast<unsigned long>(idx_max_bytes >> 30), " GiB\nhint: the header is damaged: fetch the file again");
    }
    // Doubling from a small piece: a header that lies costs no more than twice what the file really holds.
    std::size_t have = 0;
    while (have < expected) {
        const std::size_t wish = have == 0 ? std::size_t(1) << 16 : 2 * have;
        content.resize(wish < expected ? wish : static_cast<std::size_t>(expected));
        const std::size_t more = source.read(content.data() + have, content.size() - have);
        have += more;
        if (have < content.size())
            fail<FileError>(operation, ": \"", name, "\" is truncated: expected ", static_cast<unsigned long>(expected),
                            " bytes of elements, the file holds ", static_cast<unsigned long>(have),
                            "\nhint: the file was cut off, perhaps by an interrupted download: fetch it again");
    }
    unsigned char beyond;
    if (source.read(&beyond, 1) != 0)
        fail<FileError>(operation, ": \"", name, "\" goes on behind its elements: expected the end after ",
                        static_cast<unsigned long>(expected), " bytes of them, found more",
                        "\nhint: the header or the file is damaged: fetch it again");
}

template <class T>
T from_big_endian(const unsigned char* bytes) {
    unsigned char turned[sizeof(T)];
    for (std::size_t i = 0; i < sizeof(T); ++i) turned[i] = bytes[sizeof(T) - 1 - i];
    T value;
    std::memcpy(&value, turned, sizeof(T));
    return value;
}

}  // namespace detail

// The array in an IDX file, plain or gzip (told apart by content, not by name). T (uint8, int8, int32, float or double)
// and Rank (1 to 8) must be the file's own. Throws FileError, with the path, what was expected and what came, for a
// missing file, another format, type or rank, a damaged, truncated or overlong file.
template <class T, int Rank>
Tensor<T, Rank> read_idx(const std::string& path) {
    static_assert(detail::idx_code<T> != 0, "read_idx: IDX files hold uint8, int8, int32, float or double");
    static_assert(Rank >= 1 && Rank <= detail::idx_max_rank, "read_idx: the rank must be 1 to 8");
    long shape[Rank];
    detail::GrowingBytes content;
    detail::read_idx_bytes(path, detail::idx_code<T>, Rank, shape, content);
    Tensor<T, Rank> result(tenon::detail::AnyTensor(tenon::detail::new_record(dtype_of<T>, Rank, shape, cpu, "read_idx")));
    T* to = result.data();
    const std::size_t count = content.size() / sizeof(T);
    if constexpr (sizeof(T) == 1) {
        if (count != 0) std::memcpy(to, content.data(), count);
    } else {
        for (std::size_t i = 0; i < count; ++i) to[i] = detail::from_big_endian<T>(content.data() + i * sizeof(T));
    }
    return result;
}

}  // namespace tenon::data

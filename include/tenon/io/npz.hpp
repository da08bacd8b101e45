// NumPy's .npz archives: a zip file of .npy members, stored or deflated. Needs zlib (-lz).
//
// A zip file is read from its end: a record there gives the place of the central directory, which gives place, sizes and
// checksum of every member; sizes and places above 32 bits are in zip64's records.
#pragma once

#include <tenon/io/npy.hpp>

#include <zlib.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

namespace tenon::io {

namespace detail {

struct ZipMember {
    std::string name;
    std::uint64_t packed = 0, size = 0, at = 0;
    std::uint32_t checksum = 0;
    unsigned method = 0;
};

inline std::uint64_t little_endian(const unsigned char* bytes, int count) {
    std::uint64_t value = 0;
    for (int i = count; i-- > 0;) value = value << 8 | bytes[i];
    return value;
}
inline void put_little_endian(std::string& to, std::uint64_t value, int count) {
    for (int i = 0; i < count; ++i) to += static_cast<char>(value >> (8 * i) & 0xff);
}

inline std::uint32_t checksum_of(std::uint32_t checksum, const void* bytes, std::size_t count) {
    return static_cast<std::uint32_t>(::crc32_z(checksum, static_cast<const unsigned char*>(bytes), count));
}

inline constexpr std::uint32_t zip_local = 0x04034b50, zip_central = 0x02014b50, zip_end = 0x06054b50, zip_end64 = 0x06064b50, zip_locator64 = 0x07064b50;

[[noreturn]] inline void zip_broken(const Origin& origin, const char* why) {
    fail<FileError>(origin, " is a damaged archive: ", why, "\nhint: fetch the file again, or check it with unzip -t");
}

// The members that the central directory of an archive lists.
inline std::vector<ZipMember> zip_directory(const Origin& origin, const unsigned char* bytes, std::size_t size) {
    if (size < 22) {
        fail<FileError>(origin, " is too short: expected a zip archive of at least 22 bytes, the file ends after ", static_cast<unsigned long>(size),
                        "\nhint: the file is empty or cut off: fetch it again");
    }
    // The record at the end has a comment of up to 64 KiB behind it.
    std::size_t end = size - 22;
    const std::size_t first = end > 0xffff ? end - 0xffff : 0;
    for (;; --end) {
        if (little_endian(bytes + end, 4) == zip_end && end + 22 + little_endian(bytes + end + 20, 2) == size) break;
        if (end == first)
            fail<FileError>(origin, " is no zip archive: expected the record that ends one, found none",
                            "\nhint: the file was cut off, or is none; single arrays (.npy) are read by io::read_npy");
    }
    std::uint64_t disk = little_endian(bytes + end + 4, 2), directory_disk = little_endian(bytes + end + 6, 2);
    std::uint64_t count = little_endian(bytes + end + 10, 2), length = little_endian(bytes + end + 12, 4), at = little_endian(bytes + end + 16, 4);
    std::uint64_t limit = end;
    if (end >= 20 && little_endian(bytes + end - 20, 4) == zip_locator64) {
        const std::uint64_t at64 = little_endian(bytes + end - 12, 8);
        if (end < 76 || at64 > end - 76 || little_endian(bytes + at64, 4) != zip_end64) zip_broken(origin, "its zip64 locator points to no zip64 record");
        const unsigned char* record = bytes + at64;
        disk = little_endian(record + 16, 4);
        directory_disk = little_endian(record + 20, 4);
        count = little_endian(record + 32, 8);
        length = little_endian(record + 40, 8);
        at = little_endian(record + 48, 8);
        limit = at64;
    }
    if (disk != 0 || directory_disk != 0) zip_broken(origin, "it is one of several parts");
    if (at > limit || length > limit - at) zip_broken(origin, "its directory lies outside of the file");
    if (count > length / 46) zip_broken(origin, "its directory is too short for its members");

    std::vector<ZipMember> members;
    const unsigned char *entry = bytes + at, *stop = entry + length;
    for (std::uint64_t i = 0; i < count; ++i) {
        if (static_cast<std::size_t>(stop - entry) < 46 || little_endian(entry, 4) != zip_central) zip_broken(origin, "an entry of its directory makes no sense");
        const std::size_t name_length = little_endian(entry + 28, 2), extra_length = little_endian(entry + 30, 2), comment_length = little_endian(entry + 32, 2);
        if (static_cast<std::size_t>(stop - entry) - 46 < name_length + extra_length + comment_length) zip_broken(origin, "an entry of its directory is cut off");
        ZipMember member;
        member.name.assign(reinterpret_cast<const char*>(entry) + 46, name_length);
        member.method = static_cast<unsigned>(little_endian(entry + 10, 2));
        member.checksum = static_cast<std::uint32_t>(little_endian(entry + 16, 4));
        member.packed = little_endian(entry + 20, 4);
        member.size = little_endian(entry + 24, 4);
        member.at = little_endian(entry + 42, 4);
        if ((little_endian(entry + 8, 2) & 1) != 0) zip_broken(origin, "a member is encrypted");
        // Of the 64-bit numbers, zip64's field has those that do not fit, in this order.
        std::uint64_t* const numbers[] = {&member.size, &member.packed, &member.at};
        const unsigned char *field = entry + 46 + name_length, *fields_end = field + extra_length;
        while (fields_end - field >= 4) {
            const std::uint64_t id = little_endian(field, 2), field_length = little_endian(field + 2, 2);
            field += 4;
            if (field_length > static_cast<std::uint64_t>(fields_end - field)) zip_broken(origin, "an extra field is cut off");
            if (id == 1) {
                const unsigned char *value = field, *value_end = field + field_length;
                for (std::uint64_t* number : numbers) {
                    if (*number != 0xffffffffu) continue;
                    if (value_end - value < 8) zip_broken(origin, "a zip64 field is too short");
                    *number = little_endian(value, 8);
                    value += 8;
                }
            }
            field += field_length;
        }
        members.push_back(std::move(member));
        entry += 46 + name_length + extra_length + comment_length;
    }
    return members;
}

// Memory for what is unpacked.
struct Unpacked {
    unsigned char* bytes = nullptr;
    std::size_t capacity = 0;
    Unpacked() = default;
    Unpacked(const Unpacked&) = delete;
    Unpacked& operator=(const Unpacked&) = delete;
    ~Unpacked() { std::free(bytes); }
    void grow(const Origin& origin, std::size_t wanted) {
        void* fresh = std::realloc(bytes, wanted == 0 ? 1 : wanted);
        if (fresh == nullptr) fail<MemoryError>(origin, ": no memory to unpack ", static_cast<unsigned long>(wanted), " bytes");
        bytes = static_cast<unsigned char*>(fresh);
        capacity = wanted;
    }
};

// The contents of a member: a piece of the archive, or unpacked into `memory`. Memory grows with what comes out.
inline const unsigned char* zip_contents(const Origin& origin, const ZipMember& member, const unsigned char* bytes, std::size_t size, Unpacked& memory) {
    if (member.at > size || size - member.at < 30 || little_endian(bytes + member.at, 4) != zip_local) zip_broken(origin, "it does not begin where the directory says");
    const unsigned char* header = bytes + member.at;
    const std::uint64_t skip = 30 + little_endian(header + 26, 2) + little_endian(header + 28, 2), room = size - member.at;
    if (skip > room || member.packed > room - skip) zip_broken(origin, "it reaches over the end of the file");
    const unsigned char* packed = header + skip;
    const unsigned char* contents = packed;
    if (member.method == 0) {
        if (member.packed != member.size) zip_broken(origin, "a stored member has two sizes");
    } else if (member.method == 8) {
        // A deflated byte stands for at most 1032.
        if (member.size / 1032 > member.packed) zip_broken(origin, "it claims to unpack to more than it can");
        struct Stream {
            z_stream z{};
            bool open = false;
            ~Stream() {
                if (open) ::inflateEnd(&z);
            }
        } stream;
        if (::inflateInit2(&stream.z, -15) != Z_OK) fail<MemoryError>(origin, ": zlib could not be started");
        stream.open = true;
        std::size_t have = 0, given = 0;
        int status = Z_OK;
        while (status != Z_STREAM_END) {
            if (have == memory.capacity) {
                // One byte more than claimed, so that a member that goes on is noticed.
                const std::size_t most = static_cast<std::size_t>(member.size) + 1, wish = have == 0 ? std::size_t(1) << 16 : 2 * have;
                if (have == most) zip_broken(origin, "it unpacks to more than the directory says");
                memory.grow(origin, wish < most ? wish : most);
            }
            const std::size_t input = static_cast<std::size_t>(member.packed) - given, output = memory.capacity - have;
            stream.z.next_in = const_cast<unsigned char*>(packed + given);
            stream.z.avail_in = static_cast<uInt>(std::min<std::size_t>(input, 1u << 30));
            stream.z.next_out = memory.bytes + have;
            stream.z.avail_out = static_cast<uInt>(std::min<std::size_t>(output, 1u << 30));
            const uInt in = stream.z.avail_in, out = stream.z.avail_out;
            status = ::inflate(&stream.z, Z_NO_FLUSH);
            given += in - stream.z.avail_in;
            have += out - stream.z.avail_out;
            if (status == Z_MEM_ERROR) fail<MemoryError>(origin, ": no memory to unpack it");
            if (status != Z_OK && status != Z_STREAM_END && status != Z_BUF_ERROR) zip_broken(origin, stream.z.msg != nullptr ? stream.z.msg : "the packed data makes no sense");
            if (status == Z_BUF_ERROR && out != 0 && in == 0) zip_broken(origin, "the packed data ends too early");
        }
        if (have != member.size) zip_broken(origin, "it unpacks to another size than the directory says");
        contents = memory.bytes;
    } else {
        fail<FileError>(origin, " is packed by method ", member.method, ": expected 0 (stored) or 8 (deflated)\nhint: write it by np.savez or np.savez_compressed");
    }
    if (checksum_of(0, contents, static_cast<std::size_t>(member.size)) != member.checksum) zip_broken(origin, "its checksum is wrong");
    return contents;
}

}  // namespace detail

// A .npz archive, opened for reading: np.savez's and np.savez_compressed's, also zip64. Members are read when asked for.
class Npz {
public:
    // Throws FileError for a missing file, one that is no zip archive, or a damaged directory.
    explicit Npz(std::string path) : path_(std::move(path)), bytes_("Npz", path_) {
        members_ = detail::zip_directory({"Npz", path_.c_str()}, bytes_.data(), bytes_.size());
        for (detail::ZipMember& member : members_) {
            if (member.name.size() > 4 && member.name.compare(member.name.size() - 4, 4, ".npy") == 0) member.name.resize(member.name.size() - 4);
            names_.push_back(member.name);
        }
        std::vector<std::string> sorted = names_;
        std::sort(sorted.begin(), sorted.end());
        const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
        if (twice != sorted.end()) fail<FileError>("Npz: \"", path_.c_str(), "\" has two members \"", twice->c_str(), "\": expected names to differ");
    }

    // The names of the arrays, in the order of the archive, without ".npy".
    const std::vector<std::string>& names() const { return names_; }
    bool contains(const std::string& name) const { return std::find(names_.begin(), names_.end(), name) != names_.end(); }

    // An array by name. Throws FileError where there is none of that name, or where it is damaged (its checksum is
    // checked) or nothing that read_npy would read.
    Array get(const std::string& name) const {
        const auto found = std::find(names_.begin(), names_.end(), name);
        if (found == names_.end()) {
            Message list;
            for (std::size_t i = 0; i < names_.size() && i < 20; ++i) list << (i == 0 ? "" : ", ") << names_[i].c_str();
            fail<FileError>("Npz: \"", path_.c_str(), "\" has no array \"", name.c_str(), "\": expected one of ", list.text(), names_.size() > 20 ? ", ..." : "");
        }
        const detail::ZipMember& member = members_[static_cast<std::size_t>(found - names_.begin())];
        const detail::Origin origin{"Npz", path_.c_str(), name.c_str()};
        detail::Unpacked memory;
        const unsigned char* contents = detail::zip_contents(origin, member, bytes_.data(), bytes_.size(), memory);
        return detail::parse_npy(origin, contents, static_cast<std::size_t>(member.size));
    }
    // The same, typed: DtypeError or ShapeError where it has another type or rank.
    template <Element T, int Rank>
    Tensor<T, Rank> get(const std::string& name) const {
        return detail::typed<T, Rank>({"Npz", path_.c_str(), name.c_str()}, get(name));
    }

private:
    std::string path_;
    detail::FileBytes bytes_;
    std::vector<detail::ZipMember> members_;
    std::vector<std::string> names_;
};

struct NpzOptions {
    bool deflate = false;      // pack the members, as np.savez_compressed does
    bool always_zip64 = false; // 64-bit records in the directory also where 32 bits would do
};

// Writes arrays as a .npz archive that np.load reads: write_npz("run.npz", {{"x", x}, {"y", y}}). Members above 4 GiB and
// more than 65535 of them are fine (zip64). The same arrays give the same bytes. The file appears whole or not at all.
// Throws ValueError for names that repeat or are empty, FileError, DeviceError.
inline void write_npz(const std::string& path, const std::vector<NamedArray>& arrays, const NpzOptions& options = {}) {
    constexpr const char* operation = "write_npz";
    std::vector<std::string> sorted;
    for (const NamedArray& x : arrays) {
        if (x.name.empty() || x.name.size() > 60000) fail<ValueError>(operation, ": \"", path.c_str(), "\": a name is empty or far too long");
        sorted.push_back(x.name);
    }
    std::sort(sorted.begin(), sorted.end());
    const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
    if (twice != sorted.end()) fail<ValueError>(operation, ": \"", path.c_str(), "\": the name \"", twice->c_str(), "\" came twice");

    detail::AtomicFile file(operation, path);
    std::string directory;
    const unsigned method = options.deflate ? 8 : 0;
    for (const NamedArray& x : arrays) {
        const detail::AnyTensor rows = detail::row_major(x.array.any());
        const std::string head = detail::npy_header(rows.get()), name = x.name + ".npy";
        const std::size_t count = detail::byte_count(rows.get());
        const std::uint64_t at = file.position(), size = head.size() + count;
        const std::uint32_t checksum = detail::checksum_of(detail::checksum_of(0, head.data(), head.size()), rows->data(), count);
        // What both kinds of headers share: flags (names are UTF-8), method, the first day of 1980, checksum.
        std::string common;
        detail::put_little_endian(common, 1u << 11, 2);
        detail::put_little_endian(common, method, 2);
        detail::put_little_endian(common, 0, 2);
        detail::put_little_endian(common, 1 << 5 | 1, 2);
        detail::put_little_endian(common, checksum, 4);

        // The local header always has 64-bit sizes: the packed one is known afterwards only.
        std::string local;
        detail::put_little_endian(local, detail::zip_local, 4);
        detail::put_little_endian(local, 45, 2);
        local += common;
        detail::put_little_endian(local, 0xffffffffu, 4);
        detail::put_little_endian(local, 0xffffffffu, 4);
        detail::put_little_endian(local, name.size(), 2);
        detail::put_little_endian(local, 20, 2);
        local += name;
        detail::put_little_endian(local, 1, 2);
        detail::put_little_endian(local, 16, 2);
        detail::put_little_endian(local, size, 8);
        detail::put_little_endian(local, size, 8);
        file.write(local);
        const std::size_t begin = file.position();
        if (!options.deflate) {
            file.write(head);
            file.write(rows->data(), count);
        } else {
            struct Stream {
                z_stream z{};
                bool open = false;
                ~Stream() {
                    if (open) ::deflateEnd(&z);
                }
            } stream;
            if (::deflateInit2(&stream.z, 6, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY) != Z_OK) fail<MemoryError>(operation, ": zlib could not be started");
            stream.open = true;
            const std::unique_ptr<unsigned char[]> out(new unsigned char[1 << 16]);
            const auto pack = [&](const char* from, std::size_t left, bool last) {
                int status = Z_OK;
                do {
                    const uInt piece = static_cast<uInt>(std::min<std::size_t>(left, 1u << 30));
                    stream.z.next_in = reinterpret_cast<unsigned char*>(const_cast<char*>(from));
                    stream.z.avail_in = piece;
                    do {
                        stream.z.next_out = out.get();
                        stream.z.avail_out = 1 << 16;
                        status = ::deflate(&stream.z, last && piece == left ? Z_FINISH : Z_NO_FLUSH);
                        file.write(out.get(), (1 << 16) - stream.z.avail_out);
                    } while (stream.z.avail_out == 0);
                    from += piece;
                    left -= piece;
                } while (left > 0);
                if (last && status != Z_STREAM_END) fail<Error>(operation, ": zlib did not come to an end");
            };
            pack(head.data(), head.size(), count == 0);
            if (count != 0) pack(rows->data(), count, true);
            std::string packed;
            detail::put_little_endian(packed, file.position() - begin, 8);
            file.overwrite(begin - 8, packed.data(), packed.size());
        }
        const std::uint64_t packed = file.position() - begin;

        std::string wide;
        const auto narrow = [&](std::uint64_t value) {
            if (value < 0xffffffffu && !options.always_zip64) return value;
            detail::put_little_endian(wide, value, 8);
            return std::uint64_t(0xffffffffu);
        };
        const std::uint64_t size32 = narrow(size), packed32 = narrow(packed), at32 = narrow(at);
        detail::put_little_endian(directory, detail::zip_central, 4);
        detail::put_little_endian(directory, 3 << 8 | 45, 2);  // made on Unix
        detail::put_little_endian(directory, 45, 2);
        directory += common;
        detail::put_little_endian(directory, packed32, 4);
        detail::put_little_endian(directory, size32, 4);
        detail::put_little_endian(directory, name.size(), 2);
        detail::put_little_endian(directory, wide.empty() ? 0 : wide.size() + 4, 2);
        detail::put_little_endian(directory, 0, 2);  // no comment
        detail::put_little_endian(directory, 0, 2);  // the only disk
        detail::put_little_endian(directory, 0, 2);
        detail::put_little_endian(directory, 0100644u << 16, 4);
        detail::put_little_endian(directory, at32, 4);
        directory += name;
        if (!wide.empty()) {
            detail::put_little_endian(directory, 1, 2);
            detail::put_little_endian(directory, wide.size(), 2);
            directory += wide;
        }
    }
    const std::uint64_t at = file.position(), length = directory.size(), count = arrays.size();
    file.write(directory);
    std::string end;
    const bool wide = options.always_zip64 || at >= 0xffffffffu || length >= 0xffffffffu || count >= 0xffff;
    if (wide) {
        detail::put_little_endian(end, detail::zip_end64, 4);
        detail::put_little_endian(end, 44, 8);
        detail::put_little_endian(end, 3 << 8 | 45, 2);
        detail::put_little_endian(end, 45, 2);
        detail::put_little_endian(end, 0, 8);  // the only disk, twice
        detail::put_little_endian(end, count, 8);
        detail::put_little_endian(end, count, 8);
        detail::put_little_endian(end, length, 8);
        detail::put_little_endian(end, at, 8);
        detail::put_little_endian(end, detail::zip_locator64, 4);
        detail::put_little_endian(end, 0, 4);
        detail::put_little_endian(end, at + length, 8);
        detail::put_little_endian(end, 1, 4);
    }
    const std::uint64_t count16 = wide ? 0xffff : count;
    detail::put_little_endian(end, detail::zip_end, 4);
    detail::put_little_endian(end, 0, 4);
    detail::put_little_endian(end, count16, 2);
    detail::put_little_endian(end, count16, 2);
    detail::put_little_endian(end, wide ? 0xffffffffu : length, 4);
    detail::put_little_endian(end, wide ? 0xffffffffu : at, 4);
    detail::put_little_endian(end, 0, 2);
    file.write(end);
    file.commit(false);
}

}  // namespace tenon::io

// Safetensors files: named tensors and a few texts, as PyTorch's world exchanges them. Needs nlohmann/json.
//
// The format: 8 bytes of length, a JSON object of that length (name -> dtype, shape, place; "__metadata__" -> texts), the
// elements, one tensor behind the other. Readers trust nothing: every place is checked against the file, and the places
// must cover it exactly.
#pragma once

#include <tenon/io/array.hpp>
#include <tenon/io/file.hpp>
#include <tenon/nn/module.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace tenon::io {

// Texts by name that a file carries beside its tensors.
using Metadata = std::map<std::string, std::string>;

namespace detail {

struct SafetensorsType {
    const char* name;
    unsigned width;
    int dtype;  // -1: none of ours
};
inline const SafetensorsType* find_safetensors_type(const std::string& name) {
    static constexpr SafetensorsType types[] = {
        {"F32", 4, int(DType::float32)}, {"F64", 8, int(DType::float64)}, {"BF16", 2, int(DType::bfloat16)}, {"F16", 2, int(DType::float16)},
        {"I8", 1, int(DType::int8)},     {"I32", 4, int(DType::int32)},   {"I64", 8, int(DType::int64)},     {"U8", 1, int(DType::uint8)},
        {"BOOL", 1, int(DType::boolean)}, {"I16", 2, -1}, {"U16", 2, -1}, {"U32", 4, -1}, {"U64", 8, -1}, {"C64", 8, -1},
        {"F8_E4M3", 1, -1}, {"F8_E5M2", 1, -1}, {"F8_E8M0", 1, -1},
    };
    for (const SafetensorsType& type : types)
        if (name == type.name) return &type;
    return nullptr;
}
inline const char* safetensors_name(DType dtype) {
    constexpr const char* names[] = {"F32", "F64", "BF16", "F16", "I8", "I32", "I64", "U8", "BOOL"};
    return names[static_cast<int>(dtype)];
}

struct SafetensorsEntry {
    std::string dtype;
    std::vector<std::uint64_t> shape;
    std::uint64_t begin = 0, end = 0;
};

// Takes the header apart while it is parsed: nothing but what the format allows is ever stored, whatever is nested.
class SafetensorsHeader {
public:
    using Json = nlohmann::json;
    std::map<std::string, SafetensorsEntry> entries;
    Metadata metadata;
    std::string problem;

    bool null() { return wrong("null"); }
    bool boolean(bool) { return wrong("true or false"); }
    bool number_integer(Json::number_integer_t) { return wrong("a negative number"); }
    bool number_unsigned(Json::number_unsigned_t value) {
        if (state_ == State::shape) {
            if (entry_->shape.size() == 64) return problem_is("a tensor has more than 64 axes: expected fewer");
            entry_->shape.push_back(value);
            return true;
        }
        if (state_ == State::offsets && offsets_ < 2) {
            (offsets_++ == 0 ? entry_->begin : entry_->end) = value;
            return true;
        }
        return wrong("a number");
    }
    bool number_float(Json::number_float_t, const Json::string_t&) { return wrong("a number with a fraction"); }
    bool string(Json::string_t& text) {
        if (state_ == State::dtype) {
            entry_->dtype = text;
            state_ = State::entry;
            return true;
        }
        if (state_ == State::text) {
            metadata.emplace(key_, text);
            state_ = State::metadata;
            return true;
        }
        return wrong("a text");
    }
    bool binary(Json::binary_t&) { return wrong("binary data"); }
    bool start_object(std::size_t) {
        if (state_ == State::begin) state_ = State::names;
        else if (state_ == State::tensor) state_ = State::entry;
        else if (state_ == State::metadata_value) state_ = State::metadata;
        else return wrong("an object");
        return true;
    }
    bool key(Json::string_t& text) {
        if (state_ == State::names) {
            key_ = text;
            if (text == "__metadata__") {
                if (has_metadata_) return problem_is("\"__metadata__\" comes twice: expected it once");
                has_metadata_ = true;
                state_ = State::metadata_value;
                return true;
            }
            const auto [at, fresh] = entries.emplace(text, SafetensorsEntry{});
            if (!fresh) return problem_is("the name \"" + shortened(text) + "\" comes twice: expected names to differ");
            entry_ = &at->second;
            has_ = 0;
            state_ = State::tensor;
            return true;
        }
        if (state_ == State::metadata) {
            if (metadata.count(text) != 0) return problem_is("the metadata \"" + shortened(text) + "\" come twice: expected names to differ");
            key_ = text;
            state_ = State::text;
            return true;
        }
        const unsigned bit = text == "dtype" ? 1 : text == "shape" ? 2 : text == "data_offsets" ? 4 : 0;
        if (bit == 0 || (has_ & bit) != 0) return problem_is("\"" + shortened(key_) + "\" has \"" + shortened(text) + "\": expected dtype, shape and data_offsets once each");
        has_ |= bit;
        offsets_ = 0;
        state_ = bit == 1 ? State::dtype : bit == 2 ? State::shape_begin : State::offsets_begin;
        return true;
    }
    bool end_object() {
        if (state_ == State::entry) {
            if (has_ != 7) return problem_is("\"" + shortened(key_) + "\" lacks one of dtype, shape and data_offsets: expected all three");
            state_ = State::names;
        } else if (state_ == State::metadata) {
            state_ = State::names;
        } else {
            state_ = State::done;
        }
        return true;
    }
    bool start_array(std::size_t) {
        if (state_ == State::shape_begin) state_ = State::shape;
        else if (state_ == State::offsets_begin) state_ = State::offsets;
        else return wrong("a list");
        return true;
    }
    bool end_array() {
        if (state_ == State::offsets && offsets_ != 2) return problem_is("\"" + shortened(key_) + "\" has data_offsets of other than two numbers: expected begin and end");
        state_ = State::entry;
        return true;
    }
    template <class Exception>
    bool parse_error(std::size_t position, const std::string&, const Exception&) {
        return problem_is("no JSON at character " + std::to_string(position) + ": expected one JSON object");
    }

    static std::string shortened(const std::string& text) { return text.size() <= 80 ? text : text.substr(0, 77) + "..."; }

private:
    enum class State { begin, names, tensor, entry, dtype, shape_begin, shape, offsets_begin, offsets, metadata_value, metadata, text, done };
    bool wrong(const char* found) {
        static constexpr const char* expected[] = {"an object", "a name", "an object of dtype, shape and data_offsets", "a key", "a dtype such as \"F32\"", "a list of sizes",
                                                   "a size", "a list of two places", "one of two places", "an object of texts", "a key", "a text", "the end"};
        return problem_is((key_.empty() ? std::string() : "in \"" + shortened(key_) + "\": ") + "expected " + expected[static_cast<int>(state_)] + ", found " + found);
    }
    bool problem_is(std::string what) {
        if (problem.empty()) problem = std::move(what);
        return false;
    }
    State state_ = State::begin;
    SafetensorsEntry* entry_ = nullptr;
    std::string key_;
    unsigned has_ = 0;
    int offsets_ = 0;
    bool has_metadata_ = false;
};

}  // namespace detail

// A safetensors file, mapped into memory: get() gives tensors whose elements are the file's, without a copy, and stays
// valid after this object is gone. The mapping is copy-on-write: writing into such a tensor changes this process's view
// of that memory only, never the file; pages not looked at are never read. Do not shorten the file in place meanwhile
// (replacing it, as io::save does, is fine).
class Safetensors {
public:
    // Throws FileError, with the path, what was expected and what came, for a missing, foreign, damaged or truncated
    // file: duplicate names, places outside of the file, overlapping ones, holes, sizes that do not match.
    explicit Safetensors(const std::string& path, const char* operation = "Safetensors") : path_(path), operation_(operation) {
        bytes_ = std::make_shared<detail::FileBytes>(operation, path);
        const unsigned char* bytes = bytes_->data();
        const std::size_t size = bytes_->size();
        if (size < 8)
            fail<FileError>(operation, ": \"", path.c_str(), "\" is too short: expected 8 bytes of header length, the file ends after ", static_cast<unsigned long>(size),
                            "\nhint: the file is empty or cut off: fetch it again");
        std::uint64_t length = 0;
        std::memcpy(&length, bytes, 8);
        if (length > size - 8 || length > max_header)
            fail<FileError>(operation, ": \"", path.c_str(), "\" claims a header of ", as_text(length).c_str(), " bytes: expected at most ",
                            static_cast<unsigned long>(size - 8 < max_header ? size - 8 : max_header),
                            "\nhint: the file is cut off, or no safetensors file; PyTorch's own .pt files are converted by safetensors.torch.save_file");
        detail::SafetensorsHeader header;
        const char* json = reinterpret_cast<const char*>(bytes) + 8;
        if (!nlohmann::json::sax_parse(json, json + length, &header) || !header.problem.empty())
            fail<FileError>(operation, ": \"", path.c_str(), "\" has a header that makes no sense: ",
                            header.problem.empty() ? "expected one JSON object" : header.problem.c_str(), "\nhint: the file is damaged, or no safetensors file");
        data_ = 8 + static_cast<std::size_t>(length);
        entries_ = std::move(header.entries);
        metadata_ = std::move(header.metadata);
        check_places(size - data_);
    }

    // Names in alphabetical order, and the texts of __metadata__.
    std::vector<std::string> names() const {
        std::vector<std::string> result;
        for (const auto& [name, entry] : entries_) result.push_back(name);
        return result;
    }
    const Metadata& metadata() const { return metadata_; }
    bool contains(const std::string& name) const { return entries_.count(name) != 0; }

    // A tensor by name, over the mapping (a copy where the file has it at an odd address, or a bool that is neither 0
    // nor 1). Throws FileError where there is none of that name, DtypeError or ShapeError where tenon has no such type
    // or rank.
    Array get(const std::string& name) const {
        const auto found = entries_.find(name);
        if (found == entries_.end()) {
            Message list;
            int shown = 0;
            for (const auto& [other, entry] : entries_)
                if (shown++ < 20) list << (shown == 1 ? "" : ", ") << other.c_str();
            fail<FileError>(operation_, ": \"", path_.c_str(), "\" has no tensor \"", name.c_str(), "\": expected one of ", list.text(), shown > 20 ? ", ..." : "");
        }
        const detail::SafetensorsEntry& entry = found->second;
        const int type = detail::find_safetensors_type(entry.dtype)->dtype;
        if (type < 0)
            fail<DtypeError>(operation_, ": \"", path_.c_str(), "\": \"", name.c_str(), "\" is ", entry.dtype.c_str(),
                             ": expected F32, F64, F16, BF16, I8, I32, I64, U8 or BOOL\n       hint: convert it before saving");
        if (entry.shape.size() > static_cast<std::size_t>(max_rank))
            fail<ShapeError>(operation_, ": \"", path_.c_str(), "\": \"", name.c_str(), "\" has ", static_cast<unsigned long>(entry.shape.size()), " axes: expected at most ",
                             int(max_rank));
        const DType dtype = static_cast<DType>(type);
        const int rank = static_cast<int>(entry.shape.size());
        long dims[max_rank];
        for (int i = 0; i < rank; ++i) dims[i] = static_cast<long>(entry.shape[static_cast<std::size_t>(i)]);
        char* at = reinterpret_cast<char*>(bytes_->data()) + data_ + entry.begin;
        const std::size_t count = static_cast<std::size_t>(entry.end - entry.begin);
        bool copy = reinterpret_cast<std::uintptr_t>(at) % static_cast<std::size_t>(size_of(dtype)) != 0 || count == 0;
        if (dtype == DType::boolean)
            for (std::size_t i = 0; i < count; ++i) copy = copy || static_cast<unsigned char>(at[i]) > 1;
        if (copy) {
            detail::AnyTensor own(tenon::detail::new_record(dtype, rank, dims, cpu, operation_));
            if (count > 0) std::memcpy(own->data(), at, count);
            if (dtype == DType::boolean)
                for (std::size_t i = 0; i < count; ++i) own->data()[i] = own->data()[i] != 0;
            return Array(own);
        }
        using Owner = std::shared_ptr<detail::FileBytes>;
        std::unique_ptr<Owner> owner(new Owner(bytes_));
        tenon::detail::Storage* storage =
            tenon::detail::new_foreign_storage(at, count, cpu, owner.get(), [](void* held) { delete static_cast<Owner*>(held); });
        owner.release();
        return Array(detail::AnyTensor(tenon::detail::new_record_on(storage, dtype, rank, dims)));
    }
    // The same, typed: DtypeError or ShapeError where it has another type or rank.
    template <Element T, int Rank>
    Tensor<T, Rank> get(const std::string& name) const {
        return detail::typed<T, Rank>({operation_, path_.c_str(), name.c_str()}, get(name));
    }

    // The bytes of the file, for checksums.
    const unsigned char* bytes() const { return bytes_->data(); }
    std::size_t size() const { return bytes_->size(); }
    std::size_t header_size() const { return data_; }

private:
    static constexpr std::uint64_t max_header = 100'000'000;
    static std::string as_text(std::uint64_t value) { return std::to_string(value); }

    void check_places(std::uint64_t data_size) const {
        const auto broken = [&](const std::string& name, const std::string& why) {
            fail<FileError>(operation_, ": \"", path_.c_str(), "\": \"", detail::SafetensorsHeader::shortened(name).c_str(), "\" ", why.c_str(),
                            "\nhint: the file was cut off or is damaged: fetch it again");
        };
        std::vector<std::pair<const std::string*, const detail::SafetensorsEntry*>> order;
        for (const auto& [name, entry] : entries_) {
            const detail::SafetensorsType* type = detail::find_safetensors_type(entry.dtype);
            if (type == nullptr) broken(name, "has the type \"" + detail::SafetensorsHeader::shortened(entry.dtype) + "\": expected F32, F64, F16, BF16, I64, ...");
            std::uint64_t count = type->width, reach = type->width;  // the reach of an empty one: its strides must fit, too
            for (std::uint64_t size : entry.shape) {
                if (size > (std::uint64_t(1) << 56) || __builtin_mul_overflow(reach, size > 0 ? size : 1, &reach) || reach > (std::uint64_t(1) << 58))
                    broken(name, "has a shape of too many elements: expected at most 2^56");
                count *= size;
            }
            if (entry.end < entry.begin || entry.end > data_size)
                broken(name, "lies at " + as_text(entry.begin) + " to " + as_text(entry.end) + ": expected a place within the " + as_text(data_size) + " bytes behind the header");
            if (entry.end - entry.begin != count)
                broken(name, "takes " + as_text(entry.end - entry.begin) + " bytes: expected " + as_text(count) + " for its shape and type " + entry.dtype);
            order.emplace_back(&name, &entry);
        }
        std::sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
            return a.second->begin != b.second->begin ? a.second->begin < b.second->begin : a.second->end < b.second->end;
        });
        std::uint64_t at = 0;
        for (const auto& [name, entry] : order) {
            if (entry->begin != at) broken(*name, "begins at " + as_text(entry->begin) + ": expected " + as_text(at) + ", where what is before it ends");
            at = entry->end;
        }
        if (at != data_size)
            fail<FileError>(operation_, ": \"", path_.c_str(), "\" holds ", as_text(data_size).c_str(), " bytes behind its header: expected ", as_text(at).c_str(),
                            ", where its last tensor ends\nhint: the file is damaged: fetch it again");
    }

    std::string path_;
    const char* operation_;
    std::shared_ptr<detail::FileBytes> bytes_;
    std::size_t data_ = 0;
    std::map<std::string, detail::SafetensorsEntry> entries_;
    Metadata metadata_;
};

namespace detail {

inline std::string json_text(const char* operation, const std::string& text) {
    try {
        return nlohmann::json(text).dump();
    } catch (const nlohmann::json::exception&) {
        fail<ValueError>(operation, ": the text \"", text.c_str(), "\" is not UTF-8");
    }
}

// checksum: where a text of metadata of 8 zeros stands that gets the checksum of the file (as it is with the zeros).
template <class Checksum>
void write_safetensors_file(const char* operation, const std::string& path, std::vector<NamedArray> arrays, const Metadata& metadata, Checksum&& finish) {
    for (const NamedArray& x : arrays)
        if (x.name == "__metadata__") fail<ValueError>(operation, ": \"", path.c_str(), "\": a tensor cannot be named \"__metadata__\"");
    // The widest elements first: each tensor begins at a multiple of its elements' size, whatever the others' shapes.
    std::sort(arrays.begin(), arrays.end(), [](const NamedArray& a, const NamedArray& b) {
        const int x = size_of(a.array.dtype()), y = size_of(b.array.dtype());
        return x != y ? x > y : a.name < b.name;
    });
    std::string header = "{";
    if (!metadata.empty()) {
        header += "\"__metadata__\":{";
        for (const auto& [key, text] : metadata) header += json_text(operation, key) + ":" + json_text(operation, text) + ",";
        header.back() = '}';
        header += ',';
    }
    std::uint64_t at = 0;
    std::vector<std::string> names;
    for (const NamedArray& x : arrays) {
        const Record* r = x.array.record();
        header += json_text(operation, x.name) + ":{\"dtype\":\"" + safetensors_name(r->dtype) + "\",\"shape\":[";
        for (int i = 0; i < r->rank; ++i) header += (i == 0 ? "" : ",") + std::to_string(r->dims()[i]);
        header += "],\"data_offsets\":[" + std::to_string(at) + ",";
        at += byte_count(r);
        header += std::to_string(at) + "]},";
        names.push_back(x.name);
    }
    std::sort(names.begin(), names.end());
    const auto twice = std::adjacent_find(names.begin(), names.end());
    if (twice != names.end()) fail<ValueError>(operation, ": \"", path.c_str(), "\": the name \"", twice->c_str(), "\" came twice");
    if (header.size() > 1) header.pop_back();
    header += '}';
    while ((8 + header.size()) % 64 != 0) header += ' ';
    const std::uint64_t length = header.size();

    AtomicFile file(operation, path);
    file.write(&length, 8);
    file.write(header);
    for (const NamedArray& x : arrays) {
        const AnyTensor rows = row_major(x.array.any());
        finish.add(rows->data(), byte_count(rows.get()));
        file.write(rows->data(), byte_count(rows.get()));
    }
    finish(file, header);
    file.commit(true);
}
struct NoChecksum {
    void add(const char*, std::size_t) {}
    void operator()(AtomicFile&, const std::string&) {}
};

}  // namespace detail

// Writes named tensors and texts as a safetensors file: write_safetensors("x.safetensors", {{"weight", w}}). Elements begin
// at a multiple of 64 bytes, each tensor at one of its element size. The file appears whole or not at all, and what it
// replaces stays readable for those who have it mapped. Throws ValueError for names that repeat or are not UTF-8,
// FileError, DeviceError.
inline void write_safetensors(const std::string& path, const std::vector<NamedArray>& arrays, const Metadata& metadata = {}) {
    detail::write_safetensors_file("write_safetensors", path, arrays, metadata, detail::NoChecksum{});
}

// What a file and a module do not have in common.
struct LoadReport {
    std::vector<std::string> missing;     // the module's, not in the file: these keep their values
    std::vector<std::string> unexpected;  // the file's, not in the module
};

namespace detail {

// The same elements of the same memory: tied.
inline bool same_tensor(const Record* a, const Record* b) {
    if (a == b) return true;
    if (a->size == 0 || a->data() != b->data() || a->dtype != b->dtype || a->rank != b->rank) return false;
    for (int i = 0; i < a->rank; ++i)
        if (a->dims()[i] != b->dims()[i] || a->strides()[i] != b->strides()[i]) return false;
    return true;
}

// Every tensor of a module that is there, by name.
template <class M>
std::vector<NamedArray> tensors_of(M& module) {
    std::vector<NamedArray> result;
    nn::for_each_tensor(module, [&](const char* name, nn::Kind, auto& x) {
        if (x.has_value()) result.push_back({name, Array(AnyTensor(x.any()))});
    });
    return result;
}

// Of tensors under several names, the first stays; the metadata get the other names.
inline std::vector<NamedArray> without_tied(const std::vector<NamedArray>& all, const std::string& prefix, Metadata& metadata) {
    std::map<const void*, std::vector<std::size_t>> by_address;
    std::vector<NamedArray> kept;
    for (const NamedArray& x : all) {
        const Record* r = x.array.record();
        bool tied = false;
        std::vector<std::size_t>& candidates = by_address[r->data()];
        for (std::size_t other : candidates) {
            if (!same_tensor(kept[other].array.record(), r)) continue;
            metadata[prefix + x.name] = kept[other].name;
            tied = true;
            break;
        }
        if (tied) continue;
        candidates.push_back(kept.size());
        kept.push_back({prefix + x.name, x.array});
    }
    return kept;
}

inline void add_list(Message& message, const char* title, const std::vector<std::string>& lines) {
    if (lines.empty()) return;
    message << "\n       " << title;
    for (std::size_t i = 0; i < lines.size() && i < 20; ++i) message << (i == 0 ? " " : ", ") << lines[i].c_str();
    if (lines.size() > 20) message << ", ... (" << static_cast<unsigned long>(lines.size()) << " in all)";
}

// Checks that the tensors (named without the prefix) can be filled from the file, then, when asked, fills them: all or
// none. taken: what of the file belongs to them.
class ModuleLoader {
public:
    ModuleLoader(const char* operation, const Safetensors& file, const std::string& path, std::string prefix, std::vector<NamedArray> targets)
        : operation_(operation), path_(path), prefix_(std::move(prefix)), targets_(std::move(targets)) {
        std::vector<std::string> wrong;
        std::map<const void*, std::vector<std::size_t>> by_address;  // the targets that have a source
        std::vector<std::size_t> open;
        for (std::size_t i = 0; i < targets_.size(); ++i) {
            sources_.emplace_back();
            const std::string name = prefix_ + targets_[i].name;
            const Record* to = targets_[i].array.record();
            std::string from = name;
            if (!file.contains(from)) {
                const auto alias = file.metadata().find(name);
                if (alias == file.metadata().end() || !file.contains(alias->second)) {
                    open.push_back(i);
                    continue;
                }
                from = alias->second;
            }
            taken.push_back(from);
            const Array source = file.get(from);
            const Record* r = source.record();
            bool same = r->dtype == to->dtype && r->rank == to->rank;
            for (int axis = 0; same && axis < r->rank; ++axis) same = r->dims()[axis] == to->dims()[axis];
            if (!same) {
                Message text;
                text << name.c_str() << ": expected " << to->description() << ", the file has " << tenon::name(r->dtype) << tenon::detail::Sizes{r->rank, r->dims()};
                wrong.push_back(text.text());
                continue;
            }
            sources_[i] = source;
            std::vector<std::size_t>& candidates = by_address[to->data()];
            for (std::size_t other : candidates) {
                if (!same_tensor(targets_[other].array.record(), to)) continue;
                if (std::memcmp(sources_[other].record()->data(), r->data(), byte_count(r)) != 0)
                    wrong.push_back(prefix_ + targets_[other].name + " and " + name + " are one tensor here: expected equal values, the file's differ");
            }
            candidates.push_back(i);
        }
        for (std::size_t i : open) {
            bool tied = false;
            for (std::size_t other : by_address[targets_[i].array.record()->data()]) tied = tied || same_tensor(targets_[other].array.record(), targets_[i].array.record());
            if (!tied) missing.push_back(prefix_ + targets_[i].name);
        }
        if (wrong.empty()) return;
        Message text;
        for (std::size_t i = 0; i < wrong.size() && i < 20; ++i) text << "\n       " << wrong[i].c_str();
        if (wrong.size() > 20) text << "\n       ... (" << static_cast<unsigned long>(wrong.size()) << " in all)";
        fail<ShapeError>(operation_, ": \"", path_.c_str(), "\" does not fit:", text.text(), "\n       hint: was the file made by a model of other sizes or element types?");
    }

    void fill() const {
        for (std::size_t i = 0; i < targets_.size(); ++i)
            if (sources_[i].has_value()) write_elements(targets_[i].array.record(), sources_[i].record()->data(), operation_);
    }

    std::vector<std::string> missing, taken;

private:
    const char* operation_;
    std::string path_, prefix_;
    std::vector<NamedArray> targets_;
    std::vector<Array> sources_;
};

}  // namespace detail

// Saves every parameter, buffer and frozen tensor of a module by its dotted name: a safetensors file that PyTorch loads
// into a module with the same names (model.load_state_dict(safetensors.torch.load_file(path)), or load_model where
// tensors are tied). A tensor under several names is stored once; the metadata map the other names to the one stored,
// as safetensors.torch.save_model does. The file appears whole or not at all. Throws FileError, DeviceError, and
// ValueError where two tensors of the module have one name.
template <class M>
    requires nn::detail::HasVisit<M>
void save(const std::string& path, const M& module, Metadata metadata = {}) {
    metadata.emplace("format", "pt");
    const std::vector<NamedArray> kept = detail::without_tied(detail::tensors_of(module), "", metadata);
    detail::write_safetensors_file("io::save", path, kept, metadata, detail::NoChecksum{});
}

struct LoadOptions {
    bool strict = true;  // missing and unexpected names are errors; false: they are only reported
};

// Fills a module from a safetensors file by name, PyTorch's included, writing through its tensors (an optimiser built on
// them goes on with the loaded values). A name that is missing is taken from what the metadata or the module itself
// ties it to. Nothing is written unless everything fits. Throws FileError where names are missing or unexpected (listed;
// not with {.strict = false}, which returns them) and for files that Safetensors refuses, ShapeError where a tensor has
// another element type or shape (listed), DeviceError.
template <class M>
    requires nn::detail::HasVisit<M>
LoadReport load(const std::string& path, M& module, LoadOptions options = {}) {
    constexpr const char* operation = "io::load";
    const Safetensors file(path, operation);
    std::vector<NamedArray> targets = detail::tensors_of(module);
    const detail::ModuleLoader loader(operation, file, path, "", std::move(targets));
    LoadReport report{loader.missing, {}};
    std::vector<std::string> taken = loader.taken;
    std::sort(taken.begin(), taken.end());
    for (const std::string& name : file.names())
        if (!std::binary_search(taken.begin(), taken.end(), name)) report.unexpected.push_back(name);
    if (options.strict && (!report.missing.empty() || !report.unexpected.empty())) {
        Message text;
        detail::add_list(text, "missing:", report.missing);
        detail::add_list(text, "unexpected:", report.unexpected);
        fail<FileError>(operation, ": \"", path.c_str(), "\" does not have the names of the module", text.text(),
                        "\n       hint: pass {.strict = false} to load what both have");
    }
    loader.fill();
    return report;
}

}  // namespace tenon::io

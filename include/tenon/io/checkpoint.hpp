// Checkpoints: everything a training run needs to go on, in one file that is there whole or not at all.
//
// A checkpoint is a safetensors file, so that other programs can look into it: the tensors of the parts ("model.<name>",
// "optimizer.<parameter>.m"), and in the metadata the counters, the key and a checksum over the whole file. Needs zlib
// (-lz) and nlohmann/json.
#pragma once

#include <tenon/base/philox.hpp>
#include <tenon/io/safetensors.hpp>

#include <zlib.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace tenon::io {

// Where a run is, apart from its modules and optimisers. step names the file; the others mean what the program says:
// resuming is calling schedules with step, splitting key, and data::batches with {.first = batch}.
struct CheckpointState {
    long step = 0;   // steps done
    long epoch = 0;  // epochs begun or done
    long batch = 0;  // batches of the epoch done
    Key key;
    std::map<std::string, long> counters;               // whatever else the program counts
    std::map<std::string, std::vector<double>> numbers;  // and remembers, to the bit
    std::map<std::string, std::string> texts;            // UTF-8
};

// A module or an optimiser under a name of its own, where a checkpoint holds several: named("generator", g).
template <class P>
struct NamedPart {
    const char* name;
    P& part;
};
template <class P>
NamedPart<P> named(const char* name, P& part) {
    return {name, part};
}

namespace detail {

// Stands in for the visitors of an optimiser's state: nvcc takes no lambdas there.
struct AnyStateVisitor {
    void operator()(const char*, const char*, const tenon::detail::AnyTensor&) const {}
    void operator()(const char*, long&) const {}
};
struct AnyNumberVisitor {
    template <class X>
    void operator()(const char*, X&) const {}
};
// Numbers that a part keeps apart from tensors: the options of an optimiser, the best value of a schedule.
template <class P>
concept HasNumbers = requires(P& p) { p.visit_numbers(AnyNumberVisitor{}); };
template <class P>
concept OptimizerPart = HasNumbers<P> && requires(P& p) {
    p.visit_state(AnyStateVisitor{}, AnyStateVisitor{});
    p.statistics();
};
template <class P>
concept NumbersPart = HasNumbers<P> && !OptimizerPart<P> && !nn::detail::HasVisit<P>;

// Their names, one a line, and their values; all of the types that there are fit into a double.
template <class P>
std::string number_names(P& part) {
    std::string names;
    part.visit_numbers([&](const char* name, auto&) { names += (names.empty() ? "" : "\n") + std::string(name); });
    return names;
}
template <class P>
std::vector<double> numbers_of(P& part) {
    std::vector<double> values;
    part.visit_numbers([&](const char*, auto& x) { values.push_back(static_cast<double>(x)); });
    return values;
}
template <class P>
void set_numbers(P& part, const std::vector<double>& values) {
    std::size_t at = 0;
    part.visit_numbers([&]<class X>(const char*, X& x) {
        const double value = values[at++];
        if constexpr (std::is_same_v<X, bool>) x = value != 0;
        else x = static_cast<X>(value);
    });
}
// Throws FileError where a number is none of its type, ValueError where the part does not take it; the part stays as it is.
template <class P>
void check_numbers(const Origin& origin, const std::string& prefix, P& part, const std::vector<double>& values) {
    std::size_t at = 0;
    part.visit_numbers([&]<class X>(const char* name, X&) {
        const double value = values[at++];
        if constexpr (!std::is_floating_point_v<X>)
            if (!(value >= -0x1p53 && value <= 0x1p53) || (std::is_enum_v<X> && !(value >= 0 && value <= 255)))
                fail<FileError>(origin, " has ", value, " as \"", (prefix + name).c_str(), "\": expected a whole number");
    });
    if constexpr (requires { part.check_numbers(); }) {
        const std::vector<double> before = numbers_of(part);
        set_numbers(part, values);
        try {
            part.check_numbers();
        } catch (...) {
            set_numbers(part, before);
            throw;
        }
        set_numbers(part, before);
    }
}

inline constexpr const char *checkpoint_format = "tenon.checkpoint", *checkpoint_checksum = "tenon.checksum", *checkpoint_zeros = "00000000";

inline std::string hexadecimal(std::uint32_t value) {
    char text[9];
    std::snprintf(text, sizeof text, "%08x", static_cast<unsigned>(value));
    return text;
}
inline std::uint32_t crc(std::uint32_t checksum, const void* bytes, std::size_t count) {
    return static_cast<std::uint32_t>(::crc32_z(checksum, static_cast<const unsigned char*>(bytes), count));
}

// Where in a header the 8 digits of the checksum stand.
inline std::size_t checksum_place(const char* header, std::size_t size) {
    static constexpr char key[] = "\"tenon.checksum\":\"";
    const char* end = header + size;
    const char* at = std::search(header, end, key, key + sizeof key - 1);
    if (at == end || end - at < static_cast<long>(sizeof key - 1 + 8)) return size;
    return static_cast<std::size_t>(at - header) + sizeof key - 1;
}

// The checksum of a file is that of its elements, then of its length and header with zeros in the checksum's place.
struct CheckpointChecksum {
    std::uint32_t value = 0;
    void add(const char* bytes, std::size_t count) { value = crc(value, bytes, count); }
    void operator()(AtomicFile& file, const std::string& header) {
        const std::uint64_t length = header.size();
        value = crc(crc(value, &length, 8), header.data(), header.size());
        const std::size_t place = checksum_place(header.data(), header.size());
        file.overwrite(8 + place, hexadecimal(value).data(), 8);
    }
};

// What a checkpoint of some parts holds, or should.
struct CheckpointContents {
    std::vector<NamedArray> arrays;
    Metadata metadata;

    template <class P>
    void add(const std::string& prefix, P& part) {
        if constexpr (OptimizerPart<P>) {
            part.visit_state([&](const char* parameter, const char* state, const AnyTensor& values) { arrays.push_back({prefix + parameter + "." + state, Array(values)}); },
                             [&](const char* parameter, long& steps) { arrays.push_back({prefix + parameter + ".steps", number(steps)}); });
            metadata[prefix + "rule"] = P::rule_name;
            arrays.push_back({prefix + "statistics.steps", number(part.statistics().steps)});
            arrays.push_back({prefix + "statistics.skipped", number(part.statistics().skipped)});
            add_numbers(prefix + "options", part);
        } else if constexpr (NumbersPart<P>) {
            add_numbers(prefix + "numbers", part);
        } else {
            static_assert(nn::detail::HasVisit<P>, "tenon: a part of a checkpoint is neither a module (a struct with a static visit(self, f)), nor an optimiser or schedule");
            for (NamedArray& x : without_tied(tensors_of(part), prefix, metadata)) arrays.push_back(std::move(x));
        }
    }
    void add(const CheckpointState& state) {
        metadata["state.step"] = std::to_string(state.step);
        metadata["state.epoch"] = std::to_string(state.epoch);
        metadata["state.batch"] = std::to_string(state.batch);
        metadata["state.key"] = std::to_string(state.key.bits);
        for (const auto& [name, value] : state.counters) metadata["state.counters." + name] = std::to_string(value);
        for (const auto& [name, value] : state.texts) metadata["state.texts." + name] = value;
        for (const auto& [name, values] : state.numbers) arrays.push_back({"state.numbers." + name, vector(values)});
    }
    template <class P>
    void add_numbers(const std::string& name, P& part) {
        metadata[name] = number_names(part);
        arrays.push_back({name, vector(numbers_of(part))});
    }
    static Array vector(const std::vector<double>& values) {
        const long count = static_cast<long>(values.size());
        AnyTensor x(tenon::detail::new_record(DType::float64, 1, &count, cpu));
        if (count > 0) std::memcpy(x->data(), values.data(), sizeof(double) * values.size());
        return Array(x);
    }
    static Array number(long value) {
        AnyTensor x(tenon::detail::new_record(DType::int64, 0, nullptr, cpu));
        std::memcpy(x->data(), &value, sizeof value);
        return Array(x);
    }
};

template <class P>
inline constexpr bool is_named_part = false;
template <class P>
inline constexpr bool is_named_part<NamedPart<P>> = true;
template <class P>
auto with_name(P& part) {
    if constexpr (is_named_part<std::remove_cv_t<P>>) return part;
    else return NamedPart<P>{OptimizerPart<P> ? "optimizer" : NumbersPart<P> ? "schedule" : "model", part};
}

inline std::uint64_t parse_number(const Origin& origin, const Metadata& metadata, const std::string& key, bool is_signed) {
    const auto found = metadata.find(key);
    const std::string text = found == metadata.end() ? "" : found->second;
    char* end = nullptr;
    errno = 0;
    const std::uint64_t value = is_signed ? static_cast<std::uint64_t>(std::strtoll(text.c_str(), &end, 10)) : std::strtoull(text.c_str(), &end, 10);
    if (text.empty() || *end != '\0' || errno != 0) fail<FileError>(origin, ": expected a number in its \"", key.c_str(), "\", found \"", text.c_str(), "\"");
    return value;
}

// Opens a checkpoint and makes sure that every byte is as it was written.
inline Safetensors open_checkpoint(const std::string& path) {
    constexpr const char* operation = "checkpoint";
    Safetensors file(path, operation);
    const auto format = file.metadata().find(checkpoint_format), checksum = file.metadata().find(checkpoint_checksum);
    if (format == file.metadata().end() || format->second != "1" || checksum == file.metadata().end())
        fail<FileError>(operation, ": \"", path.c_str(), "\" is no checkpoint of this version: expected the metadata \"tenon.checkpoint\": \"1\" and a checksum",
                        "\nhint: weights alone (io::save) are loaded by io::load");
    const char* header = reinterpret_cast<const char*>(file.bytes()) + 8;
    const std::size_t length = file.header_size() - 8, place = checksum_place(header, length);
    std::string zeroed(header, length);
    if (place < length) zeroed.replace(place, 8, checkpoint_zeros);
    const std::uint64_t length_written = length;
    std::uint32_t found = crc(0, file.bytes() + file.header_size(), file.size() - file.header_size());
    found = crc(crc(found, &length_written, 8), zeroed.data(), zeroed.size());
    if (place == length || hexadecimal(found) != checksum->second)
        fail<FileError>(operation, ": \"", path.c_str(), "\" is damaged: expected the checksum ", checksum->second.c_str(), ", its bytes have ", hexadecimal(found).c_str(),
                        "\nhint: use an earlier checkpoint");
    return file;
}

}  // namespace detail

// Writes one checkpoint: the state, and modules, optimisers (with the options of their groups) and schedules with a state of
// their own, which are stored under "model", "optimizer" and "schedule" unless named otherwise: save_checkpoint(path, state, net, optimiser), save_checkpoint(path, state, named("g", g), named("d",
// d)). Tied tensors are stored once. The file appears whole or not at all, also when the program or the machine dies on
// the way: it is written under another name, flushed to disk, renamed, and its folder flushed. Gradients are not part of
// it: save after a step. Throws FileError, DeviceError, ValueError where two tensors have one name.
template <class... Parts>
void save_checkpoint(const std::string& path, const CheckpointState& state, Parts&&... parts) {
    detail::CheckpointContents contents;
    contents.add(state);
    const auto add = [&](const auto& part) { contents.add(std::string(part.name) + ".", part.part); };
    (add(detail::with_name(parts)), ...);
    contents.metadata[detail::checkpoint_format] = "1";
    contents.metadata[detail::checkpoint_checksum] = detail::checkpoint_zeros;
    detail::write_safetensors_file("checkpoint", path, contents.arrays, contents.metadata, detail::CheckpointChecksum{});
}

namespace detail {

inline std::vector<double> vector_of(const Safetensors& file, const std::string& name) {
    const auto values = file.get<double, 1>(name);
    return std::vector<double>(values.data(), values.data() + values.size());
}

inline CheckpointState state_of(const Origin& origin, const Safetensors& file, std::vector<std::string>& taken) {
    const Metadata& metadata = file.metadata();
    CheckpointState state;
    state.step = static_cast<long>(parse_number(origin, metadata, "state.step", true));
    state.epoch = static_cast<long>(parse_number(origin, metadata, "state.epoch", true));
    state.batch = static_cast<long>(parse_number(origin, metadata, "state.batch", true));
    state.key.bits = parse_number(origin, metadata, "state.key", false);
    const auto after = [](const std::string& text, const char* prefix) {
        const std::size_t length = std::strlen(prefix);
        return text.compare(0, length, prefix) == 0 ? text.substr(length) : std::string();
    };
    for (const auto& [key, text] : metadata) {
        if (const std::string name = after(key, "state.counters."); !name.empty()) state.counters[name] = static_cast<long>(parse_number(origin, metadata, key, true));
        if (const std::string name = after(key, "state.texts."); !name.empty()) state.texts[name] = text;
    }
    for (const std::string& key : file.names()) {
        const std::string name = after(key, "state.numbers.");
        if (name.empty()) continue;
        state.numbers[name] = vector_of(file, key);
        taken.push_back(key);
    }
    return state;
}

inline long count_of(const Origin& origin, const Safetensors& file, const std::string& name) {
    const long count = file.get<std::int64_t, 0>(name).data()[0];
    if (count < 0) fail<FileError>(origin, " has ", count, " under \"", name.c_str(), "\": expected 0 or more");
    return count;
}

template <class... Parts>
CheckpointState load_from(const Safetensors& file, const std::string& path, const Parts&... parts) {
    constexpr const char* operation = "checkpoint";
    const Origin origin{operation, path.c_str()};
    std::vector<std::string> taken, missing, unexpected;
    const CheckpointState state = state_of(origin, file, taken);
    const auto want_count = [&](const std::string& name) {
        if (file.contains(name)) count_of(origin, file, name), taken.push_back(name);
        else missing.push_back(name);
    };
    // The options of an optimiser, and the numbers of other parts.
    const auto want_numbers = [&](const std::string& prefix, const char* what, auto& part) {
        const std::string name = prefix + what;
        if (!file.contains(name)) return missing.push_back(name);
        taken.push_back(name);
        const std::string expected = number_names(part);
        const auto found = file.metadata().find(name);
        const std::vector<double> values = vector_of(file, name);
        if (found == file.metadata().end() || found->second != expected || values.size() != numbers_of(part).size())
            fail<FileError>(origin, " has other numbers under \"", name.c_str(), "\":\n", found == file.metadata().end() ? "(none)" : found->second.c_str(), "\nexpected:\n",
                            expected.c_str(), "\nhint: build the optimiser with the groups that the run was made with");
        check_numbers(origin, prefix, part, values);
    };
    std::vector<ModuleLoader> loaders;
    const auto check = [&](const auto& part) {
        using P = std::remove_cvref_t<decltype(part.part)>;
        const std::string prefix = std::string(part.name) + ".";
        std::vector<NamedArray> targets;
        if constexpr (OptimizerPart<P>) {
            const auto rule = file.metadata().find(prefix + "rule");
            if (rule == file.metadata().end() || rule->second != P::rule_name)
                fail<FileError>(origin, " holds ", rule == file.metadata().end() ? "no optimiser" : rule->second.c_str(), " under \"", part.name, "\": expected ",
                                P::rule_name, "\nhint: build the optimiser that the run was made with, or use another folder for another run");
            part.part.visit_state([&](const char* parameter, const char* name, const AnyTensor& values) { targets.push_back({std::string(parameter) + "." + name, Array(values)}); },
                                  [&](const char* parameter, long&) { want_count(prefix + parameter + ".steps"); });
            want_count(prefix + "statistics.steps");
            want_count(prefix + "statistics.skipped");
            want_numbers(prefix, "options", part.part);
        } else if constexpr (NumbersPart<P>) {
            want_numbers(prefix, "numbers", part.part);
        } else {
            targets = tensors_of(part.part);
        }
        const ModuleLoader& loader = loaders.emplace_back(operation, file, path, prefix, std::move(targets));
        missing.insert(missing.end(), loader.missing.begin(), loader.missing.end());
        taken.insert(taken.end(), loader.taken.begin(), loader.taken.end());
    };
    (check(parts), ...);
    std::sort(taken.begin(), taken.end());
    for (const std::string& name : file.names())
        if (!std::binary_search(taken.begin(), taken.end(), name)) unexpected.push_back(name);
    if (!missing.empty() || !unexpected.empty()) {
        Message text;
        add_list(text, "missing:", missing);
        add_list(text, "unexpected:", unexpected);
        fail<FileError>(origin, " does not have the names of what is to be loaded: expected the same parts, modules and optimisers", text.text(),
                        "\n       hint: the program has changed since it was written; use another folder for another run");
    }

    for (const ModuleLoader& loader : loaders) loader.fill();
    const auto count = [&](const auto& part) {
        using P = std::remove_cvref_t<decltype(part.part)>;
        if constexpr (OptimizerPart<P>) {
            const std::string prefix = std::string(part.name) + ".";
            part.part.visit_state([](const char*, const char*, const AnyTensor&) {},
                                  [&](const char* parameter, long& steps) { steps = count_of(origin, file, prefix + parameter + ".steps"); });
            part.part.restore({count_of(origin, file, prefix + "statistics.steps"), count_of(origin, file, prefix + "statistics.skipped")});
            set_numbers(part.part, vector_of(file, prefix + "options"));
        } else if constexpr (NumbersPart<P>) {
            set_numbers(part.part, vector_of(file, std::string(part.name) + ".numbers"));
        }
    };
    (count(parts), ...);
    return state;
}

}  // namespace detail

// Fills the parts from a checkpoint and gives its state. Everything is checked first: nothing is written unless all of
// it fits. Optimisers must have been built as they were (same rule, same parameters, same groups); their options become those
// of the file. Throws FileError for a file that is
// missing, torn, damaged or foreign, or whose names are not those of the parts, ShapeError for other sizes or types.
template <class... Parts>
CheckpointState load_checkpoint(const std::string& path, Parts&&... parts) {
    const Safetensors file = detail::open_checkpoint(path);
    return detail::load_from(file, path, detail::with_name(parts)...);
}

struct CheckpointOptions {
    int keep = 3;                     // how many stay, the latest ones
    std::string name = "checkpoint";  // files are <folder>/<name>-<step>.safetensors
};

// The checkpoints of a run: a folder with one file per saved step, of which the last few are kept. One program writes
// into a folder at a time.
//
//     io::Checkpoints checkpoints("out/checkpoints");
//     io::CheckpointState state;
//     if (auto found = checkpoints.load_latest(net, optimiser)) state = *found;
//     ... state.step = step; checkpoints.save(state, net, optimiser);
class Checkpoints {
public:
    // Makes the folder if it is not there. Throws FileError, and ValueError for keep < 1 or a name with a slash.
    explicit Checkpoints(std::string folder, CheckpointOptions options = {}) : folder_(std::move(folder)), options_(std::move(options)) {
        if (options_.keep < 1) fail<ValueError>("Checkpoints: keep is ", options_.keep, ": expected at least 1");
        if (options_.name.empty() || options_.name.find('/') != std::string::npos) fail<ValueError>("Checkpoints: the name \"", options_.name.c_str(), "\": expected one without a slash");
        std::error_code why;
        std::filesystem::create_directories(folder_, why);
        if (why) fail<FileError>("Checkpoints: cannot create the folder \"", folder_.c_str(), "\": ", why.message().c_str());
    }

    // Writes the checkpoint of state.step (see save_checkpoint), then removes the ones that are not to be kept: all but
    // the latest, and those of later steps, which the run that goes on from an earlier one has yet to reach. Gives the path.
    template <class... Parts>
    std::string save(const CheckpointState& state, Parts&&... parts) {
        if (state.step < 0) fail<ValueError>("Checkpoints: step is ", state.step, ": expected 0 or more");
        const std::string path = path_of(state.step);
        save_checkpoint(path, state, parts...);
        int kept = 0;
        for (long step : steps())
            if (step > state.step || ++kept > options_.keep) std::remove(path_of(step).c_str());
        remove_unfinished();
        return path;
    }

    // Fills the parts from the latest checkpoint that is sound, and gives its state; none: there is no checkpoint. Torn,
    // damaged and foreign files are passed over: refused() says which and why. Throws FileError where there are files but
    // all were refused, or where a sound one does not have the names of the parts; ShapeError for other sizes or types.
    template <class... Parts>
    std::optional<CheckpointState> load_latest(Parts&&... parts) {
        const std::optional<Found> found = find();
        if (!found) return std::nullopt;
        return detail::load_from(found->file, found->path, detail::with_name(parts)...);
    }

    // The state of the checkpoint that load_latest would load, without its parts: for a program that has to know where it
    // was before it can build them. Throws as load_latest does.
    std::optional<CheckpointState> latest_state() {
        const std::optional<Found> found = find();
        if (!found) return std::nullopt;
        std::vector<std::string> taken;
        return detail::state_of({"checkpoint", found->path.c_str()}, found->file, taken);
    }

    // The errors of the files that load_latest passed over, the latest first.
    const std::vector<std::string>& refused() const { return refused_; }

    // The steps that there are checkpoints of, the latest first.
    std::vector<long> steps() const {
        std::vector<long> result;
        std::error_code why;
        const std::string begin = options_.name + "-", end = ".safetensors";
        for (std::filesystem::directory_iterator at(folder_, why), last; !why && at != last; at.increment(why)) {
            const std::string file = at->path().filename().string();
            if (file.size() <= begin.size() + end.size() || file.compare(0, begin.size(), begin) != 0 || file.compare(file.size() - end.size(), end.size(), end) != 0) continue;
            const std::string digits = file.substr(begin.size(), file.size() - begin.size() - end.size());
            if (digits.size() > 18 || digits.find_first_not_of("0123456789") != std::string::npos) continue;
            const long step = std::strtol(digits.c_str(), nullptr, 10);
            if (path_of(step) == folder_ + "/" + file) result.push_back(step);
        }
        if (why) fail<FileError>("Checkpoints: cannot list \"", folder_.c_str(), "\": ", why.message().c_str());
        std::sort(result.rbegin(), result.rend());
        return result;
    }
    std::string path_of(long step) const {
        char digits[32];
        std::snprintf(digits, sizeof digits, "%010ld", step);
        return folder_ + "/" + options_.name + "-" + digits + ".safetensors";
    }

    // Removes every checkpoint: a run that starts over leaves none of another behind.
    void clear() {
        for (long step : steps()) std::remove(path_of(step).c_str());
        remove_unfinished();
    }

private:
    struct Found {
        Safetensors file;
        std::string path;
    };
    std::optional<Found> find() {
        refused_.clear();
        for (long step : steps()) {
            const std::string path = path_of(step);
            try {
                return Found{detail::open_checkpoint(path), path};
            } catch (const FileError& error) {
                refused_.push_back(error.what());
            }
        }
        if (refused_.empty()) return std::nullopt;
        Message text;
        for (const std::string& why : refused_) text << "\n" << why.c_str();
        fail<FileError>("Checkpoints: \"", folder_.c_str(), "\" holds no checkpoint that can be used: expected at least one", text.text());
    }

    // What a program that was killed while writing has left.
    void remove_unfinished() const {
        std::error_code why;
        std::vector<std::filesystem::path> found;
        for (std::filesystem::directory_iterator at(folder_, why), last; !why && at != last; at.increment(why)) {
            const std::string file = at->path().filename().string();
            if (file.compare(0, options_.name.size() + 1, options_.name + "-") == 0 && file.find(".safetensors.part-") != std::string::npos) found.push_back(at->path());
        }
        for (const std::filesystem::path& path : found) std::filesystem::remove(path, why);
    }

    std::string folder_;
    CheckpointOptions options_;
    std::vector<std::string> refused_;
};

}  // namespace tenon::io

// Reads what tests/golden/golden.py wrote.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

namespace golden {

struct Array {
    std::vector<long> shape;
    bool integer = false;
    std::vector<double> reals;
    std::vector<std::int64_t> integers;
    long size() const { return static_cast<long>(integer ? integers.size() : reals.size()); }
};
// Arrays by name; a case is the name up to the last slash.
using File = std::map<std::string, Array>;

inline File read(const std::string& path) {
    std::ifstream stream(path, std::ios::binary);
    if (!stream) throw std::runtime_error("golden: cannot open " + path);
    const std::string bytes{std::istreambuf_iterator<char>(stream), {}};
    std::uint64_t header = 0;
    std::memcpy(&header, bytes.data(), 8);
    const char* const data = bytes.data() + 8 + header;
    File file;
    const nlohmann::json entries = nlohmann::json::parse(bytes.data() + 8, data);
    for (const auto& [name, entry] : entries.items()) {
        if (name == "__metadata__") continue;
        Array array;
        array.integer = entry["dtype"] == "I64";
        array.shape = entry["shape"].get<std::vector<long>>();
        const std::size_t begin = entry["data_offsets"][0], end = entry["data_offsets"][1], count = (end - begin) / 8;
        if (array.integer) array.integers.resize(count);
        else array.reals.resize(count);
        if (count > 0) std::memcpy(array.integer ? static_cast<void*>(array.integers.data()) : array.reals.data(), data + begin, end - begin);
        file.emplace(name, std::move(array));
    }
    return file;
}

}  // namespace golden

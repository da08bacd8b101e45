// The golden cases of records, and what compares results. TENON_OPERATORS=scan,... picks families.
#pragma once

#include "../../golden/golden.hpp"
#include "run_time.hpp"

#include <catch2/catch.hpp>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <map>
#include <sstream>
#include <stdexcept>

namespace operators {

template <class V>
void for_each_family(V&& visit) {
    const char* chosen = std::getenv("TENON_OPERATORS");
    for (const Family* family : families()) {
        if (chosen != nullptr && ("," + std::string(chosen) + ",").find("," + std::string(family->name) + ",") == std::string::npos) continue;
        visit(*family);
    }
}
template <class V>
void for_each_record(V&& visit) {
    for_each_family([&](const Family& family) {
        for (const Record& record : family.records) {
            INFO(family.name << ": " << record.says.name);
            visit(family, record);
        }
    });
}

// Another arrangement of the same values: axes in reverse order in memory, or every second element.
inline AnyTensor rearranged(const AnyTensor& x, bool reversed) {
    const int rank = x->rank;
    std::vector<long> strides(static_cast<std::size_t>(rank));
    long all = reversed ? 1 : 2;
    for (int n = 0; n < rank; ++n) {
        const int i = reversed ? n : rank - 1 - n;
        strides[static_cast<std::size_t>(i)] = all;
        all *= x->dims()[i];
    }
    const AnyTensor memory = new_tensor(x->dtype, {all + 1});
    std::memset(memory->data(), 0, static_cast<std::size_t>(memory->size * size_of(x->dtype)));
    AnyTensor view(detail::new_view(memory.get(), rank, x->dims(), strides.data(), 0));
    view->is_view = false;  // may become a leaf
    for (long i = 0; i < x->size; ++i) set(view, i, get(x, i));
    return view;
}

inline const golden::File& golden_file(const Family& family) {
    static std::map<std::string, golden::File> files;
    auto found = files.find(family.name);
    if (found == files.end()) found = files.emplace(family.name, golden::read(std::string(TENON_TEST_DIR) + "/golden/" + family.name + ".safetensors")).first;
    return found->second;
}
// The cases of a record: names up to the last slash, equal to its prefix or below it.
inline std::vector<std::string> cases_of(const Family& family, const Record& record) {
    std::vector<std::string> cases;
    if (record.says.golden == nullptr) return cases;
    const std::string prefix = record.says.golden;
    for (const auto& [name, array] : golden_file(family)) {
        const std::size_t slash = name.rfind('/');
        const std::string key = name.substr(0, slash);
        if (name.substr(slash + 1) == "y" && (key == prefix || key.rfind(prefix + "/", 0) == 0)) cases.push_back(key);
    }
    return cases;
}
inline AnyTensor tensor_of(const golden::Array& array, DType dtype) {
    AnyTensor x = new_tensor(dtype, array.shape);
    for (long i = 0; i < array.size(); ++i)
        set(x, i, array.integer ? static_cast<double>(array.integers[static_cast<std::size_t>(i)]) : array.reals[static_cast<std::size_t>(i)]);
    return x;
}
inline const golden::Array& array_of(const Family& family, const std::string& key, const std::string& name) {
    const auto& file = golden_file(family);
    const auto found = file.find(key + "/" + name);
    if (found == file.end()) throw std::runtime_error("no " + name + " in the golden case " + key + " of " + family.name);
    return found->second;
}
inline Inputs inputs_of(const Family& family, const Record& record, const std::string& key, DType dtype) {
    Inputs inputs;
    for (const Argument& a : record.arguments) inputs.push_back(tensor_of(array_of(family, key, a.name), dtype_for(a, dtype)));
    return inputs;
}

// Reals that are whole numbers throughout fit any type.
inline bool all_whole(const golden::Array& array) {
    for (double v : array.reals)
        if (v != std::floor(v) || std::abs(v) > 1e6) return false;
    return true;
}
inline bool smooth_case(const std::string& key) {
    const std::string last = key.substr(key.rfind('/') + 1);
    for (const char* word : {"kink", "tie", "nan", "inf"})
        if (last.rfind(word, 0) == 0) return false;
    return true;
}

inline double bound_of(const Description& says, DType dtype) {
    switch (dtype) {
        case DType::float64: return says.in_double;
        case DType::float32: return says.in_float;
        case DType::bfloat16: return 0x1p-7;
        case DType::float16: return 0x1p-9;
        default: return 0;
    }
}
inline void check_values(const AnyTensor& got, const std::vector<double>& expected, double bound, const char* what) {
    INFO(what);
    REQUIRE(got->size == static_cast<long>(expected.size()));
    double scale = 0;
    for (double e : expected)
        if (std::isfinite(e)) scale = std::max(scale, std::abs(e));
    std::ostringstream wrong;
    int count = 0;
    for (long i = 0; i < got->size; ++i) {
        const double g = get(got, i), e = expected[static_cast<std::size_t>(i)];
        const bool agrees = std::isnan(e) ? std::isnan(g) : g == e || std::abs(g - e) <= bound * (std::abs(e) + scale);
        if (!agrees && ++count <= 3) wrong << " [" << i << "] got " << g << ", expected " << e << ";";
    }
    INFO(count << " differ:" << wrong.str());
    CHECK(count == 0);
}
inline std::vector<double> numbers(const golden::Array& array) {
    if (!array.integer) return array.reals;
    return {array.integers.begin(), array.integers.end()};
}
inline std::vector<double> numbers(const AnyTensor& x) {
    std::vector<double> all;
    for (long i = 0; i < x->size; ++i) all.push_back(get(x, i));
    return all;
}
inline bool same_bits(const AnyTensor& a, const AnyTensor& b) {
    if (a->size != b->size) return false;
    for (long i = 0; i < a->size; ++i) {
        const long size = size_of(a->dtype);
        if (std::memcmp(a->data() + offset_of(a, i) * size, b->data() + offset_of(b, i) * size, static_cast<std::size_t>(size)) != 0) return false;
    }
    return true;
}

}  // namespace operators

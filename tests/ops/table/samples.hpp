// Inputs of a record: its golden cases, or random ones.
#pragma once

#include "../../golden/golden.hpp"
#include "run_time.hpp"

#include <tenon/autograd/functional.hpp>
#include <tenon/ops/second_order.hpp>

#include <map>
#include <stdexcept>

namespace operators {

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

struct Sample {
    std::string key;
    Inputs inputs;
};
// The golden cases; for a record that names none, small random inputs.
inline std::vector<Sample> samples_of(const Family& family, const Record& record, DType dtype) {
    std::vector<Sample> samples;
    for (const std::string& key : cases_of(family, record)) samples.push_back({key, inputs_of(family, record, key, dtype)});
    if (record.says.golden == nullptr) samples.push_back({"random", random_inputs(record, dtype, false, 6)});
    return samples;
}

// Whether the pass back from y to these inputs can be recorded; runs it.
inline bool can_record_backward(const AnyTensor& y, const Inputs& inputs) {
    // Recorded gradients hold on to the leaves that hold them.
    struct Clearing {
        const Inputs& inputs;
        ~Clearing() {
            for (const AnyTensor& x : inputs)
                if (x->node != nullptr) detail::clear_gradient(x->node->slots[0]);
        }
    } const clearing{inputs};
    detail::BackwardRoot root{y->node, y->slot, cosines(y)};
    impl::WholePlan plan(false, true);
    try {
        detail::run_backward(&root, 1, &plan);
    } catch (const GradError&) {
        return false;
    } catch (const LinalgError&) {
        return false;  // not here: a singular matrix
    }
    return true;
}

}  // namespace operators

// Inputs of a record: its golden cases, or random ones.
#pragma once

#include "cases.hpp"

#include <tenon/autograd/functional.hpp>
#include <tenon/ops/second_order.hpp>

namespace operators {

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

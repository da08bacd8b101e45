// Every record of the operator table on the device against the same record on the CPU: values and gradients of the golden
// cases in every type, strided inputs, and small random inputs.
#include "cases.hpp"

using namespace operators;

namespace {

AnyTensor on_device(const AnyTensor& x) {
    // The memory as it is, and the same view of it.
    const long elements = static_cast<long>(x->storage->bytes) / size_of(x->dtype), step = 1;
    const AnyTensor memory(detail::new_view(x.get(), 1, &elements, &step, 0));
    const AnyTensor there = impl::transferred(memory.get(), cuda());
    AnyTensor view(detail::new_view(there.get(), x->rank, x->dims(), x->strides(), x->offset));
    view->is_view = false;  // may become a leaf
    return view;
}
AnyTensor on_host(const AnyTensor& x) { return impl::transferred(x.get(), cpu); }

void run_device_backward(const AnyTensor& y) {
    if (y->node == nullptr) return;
    const AnyTensor weights = new_tensor(y->dtype, shape_of(y));
    for (long i = 0; i < y->size; ++i) set(weights, i, std::cos(static_cast<double>(i)));
    detail::run_backward(y->node, y->slot, impl::transferred(weights.get(), cuda()));
}

void compare(const Record& record, DType dtype, Inputs here, double factor) {
    Inputs there;
    for (const AnyTensor& x : here) there.push_back(on_device(x));
    const bool marks = is_floating(dtype);
    for (std::size_t k = 0; k < here.size(); ++k)
        if (record.arguments[k].kind == Kind::real && marks) {
            if (here[k]->node == nullptr) mark(here[k]);
            mark(there[k]);
        }
    const AnyTensor z = record.run[static_cast<int>(dtype)](there);
    CHECK(z->storage->device == cuda());
    const AnyTensor y = record.run[static_cast<int>(dtype)](here);
    CHECK(shape_of(y) == shape_of(z));
    const double bound = factor * bound_of(record.says, dtype);
    check_values(on_host(z), numbers(y), bound, "value");
    if (!marks || !is_floating(y->dtype)) return;
    run_backward(y);
    run_device_backward(z);
    for (std::size_t k = 0; k < here.size(); ++k) {
        if (record.arguments[k].kind != Kind::real) continue;
        INFO("gradient of " << record.arguments[k].name);
        REQUIRE(has_gradient(here[k]) == has_gradient(there[k]));
        if (has_gradient(here[k])) check_values(on_host(gradient_of(there[k])), numbers(gradient_of(here[k])), 10 * bound, "gradient");
    }
}

}  // namespace

TEST_CASE("operators on the device agree with those on the CPU") {
    for_each_record([](const Family& family, const Record& record) {
        for (const std::string& key : cases_of(family, record))
            for (DType dtype : {DType::float64, DType::float32, DType::bfloat16, DType::float16}) {
                if (!record.runs(dtype) || (size_of(dtype) == 2 && !smooth_case(key))) continue;
                INFO(key << " in " << name(dtype));
                compare(record, dtype, inputs_of(family, record, key, dtype), 2);
            }
        if (record.says.golden != nullptr) return;
        for (DType dtype : {DType::float64, DType::float32, DType::bfloat16, DType::float16}) {
            if (!record.runs(dtype)) continue;
            INFO("random in " << name(dtype));
            const Inputs inputs = random_inputs(record, dtype, false, 37);
            if (!inputs.empty()) compare(record, dtype, inputs, 2);
        }
    });
}

TEST_CASE("operators on the device read strided inputs") {
    for_each_record([](const Family& family, const Record& record) {
        for (const std::string& key : cases_of(family, record))
            for (const bool reversed : {false, true}) {
                INFO(key << (reversed ? ", axes reversed in memory" : ", every second element"));
                const DType dtype = record.runs(DType::float64) ? DType::float64 : DType::float32;
                Inputs strided;
                for (const AnyTensor& x : inputs_of(family, record, key, dtype)) strided.push_back(rearranged(x, reversed));
                compare(record, dtype, strided, 2);
            }
    });
}

TEST_CASE("operators on the device agree on more than a block") {
    for_each_record([](const Family&, const Record& record) {
        for (DType dtype : {DType::float32, DType::int64}) {
            if (!record.runs(dtype) || record.arguments.empty()) continue;
            long largest = 0;
            for (const Argument& a : record.arguments) {
                long size = 1;
                for (long n : a.sizes) size *= n;
                largest = std::max(largest, size);
            }
            if (largest > 20000) continue;  // an emulated access costs a hundred times a real one
            const Inputs inputs = random_inputs(record, dtype);
            if (inputs.empty()) continue;
            compare(record, dtype, inputs, 4);
        }
    });
}

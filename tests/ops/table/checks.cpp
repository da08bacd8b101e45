// What every record of the operator table must hold. TENON_OPERATORS=scan,... picks families.
#include "samples.hpp"

#include <tenon/testing/gradcheck.hpp>
#include <tenon/testing/gradgradcheck.hpp>

using namespace operators;

namespace {

void check_case(const Family& family, const Record& record, const std::string& key, DType dtype) {
    INFO(key << " in " << name(dtype));
    const Inputs inputs = inputs_of(family, record, key, dtype);
    for (std::size_t k = 0; k < inputs.size(); ++k)
        if (record.arguments[k].kind == Kind::real && is_floating(dtype)) mark(inputs[k]);
    const AnyTensor y = record.run[static_cast<int>(dtype)](inputs);
    const golden::Array& expected = array_of(family, key, "y");
    CHECK(shape_of(y) == expected.shape);
    check_values(y, numbers(expected), bound_of(record.says, dtype), "value");
    if (!is_floating(dtype) || !is_floating(y->dtype)) return;
    run_backward(y);
    for (std::size_t k = 0; k < inputs.size(); ++k) {
        const auto& file = golden_file(family);
        const auto found = file.find(key + "/d_" + record.arguments[k].name);
        if (found == file.end()) continue;
        INFO("gradient of " << record.arguments[k].name);
        if (!has_gradient(inputs[k])) {
            for (double e : found->second.reals) CHECK(e == 0);
            continue;
        }
        // A derivative sums and cancels more than the value does.
        check_values(gradient_of(inputs[k]), found->second.reals, 10 * bound_of(record.says, dtype), "gradient");
    }
}

// The formula as a function of one vector that holds all real inputs.
struct Flat {
    const Record* record;
    Inputs inputs;
    Tensor<double, 1> operator()(const Tensor<double, 1>& flat) const {
        Inputs mine = inputs;
        long at = 0;
        for (std::size_t k = 0; k < inputs.size(); ++k) {
            if (record->arguments[k].kind != Kind::real) continue;
            const Tensor<double, 1> part = flat(slice(at, at + inputs[k]->size));
            at += inputs[k]->size;
            long dims[max_rank] = {};
            for (int i = 0; i < inputs[k]->rank; ++i) dims[i] = inputs[k]->dims()[i];
            mine[k] = detail::reshape_any(part.record(), inputs[k]->rank, dims);
        }
        const AnyTensor y = record->run[static_cast<int>(DType::float64)](mine);
        long size = y->size;
        return Tensor<double, 1>(detail::reshape_any(y.get(), 1, &size));
    }
};
bool flatten(const Record& record, const Inputs& inputs, Tensor<double, 1>& flat) {
    std::vector<double> values;
    for (std::size_t k = 0; k < inputs.size(); ++k)
        if (record.arguments[k].kind == Kind::real)
            for (double v : numbers(inputs[k])) {
                if (!std::isfinite(v)) return false;
                values.push_back(v);
            }
    if (values.empty()) return false;
    flat = empty<double>({values.size()});
    std::copy(values.begin(), values.end(), flat.data());
    return true;
}

}  // namespace

TEST_CASE("operators have PyTorch's values and gradients") {
    for_each_record([](const Family& family, const Record& record) {
        const auto cases = cases_of(family, record);
        if (record.says.golden != nullptr) CHECK_FALSE(cases.empty());
        for (const std::string& key : cases) {
            for (DType dtype : {DType::float64, DType::float32})
                if (record.runs(dtype)) check_case(family, record, key, dtype);
            bool fits = true;
            for (const Argument& a : record.arguments) fits = fits && (a.kind != Kind::real || all_whole(array_of(family, key, a.name)));
            fits = fits && all_whole(array_of(family, key, "y"));
            for (DType dtype : {DType::int32, DType::int64})
                if (fits && record.runs(dtype)) check_case(family, record, key, dtype);
        }
    });
}

TEST_CASE("operators over 16-bit storage are the float ones, rounded") {
    for_each_record([](const Family& family, const Record& record) {
        for (DType dtype : {DType::bfloat16, DType::float16})
            for (const auto& [key, inputs] : record.runs(dtype) ? samples_of(family, record, dtype) : std::vector<Sample>()) {
                if (!smooth_case(key)) continue;
                INFO(key << " in " << name(dtype));
                Inputs wide;
                for (std::size_t k = 0; k < inputs.size(); ++k) wide.push_back(new_tensor(dtype_for(record.arguments[k], DType::float64), shape_of(inputs[k])));
                for (std::size_t k = 0; k < inputs.size(); ++k)
                    for (long i = 0; i < inputs[k]->size; ++i) set(wide[k], i, get(inputs[k], i));
                for (std::size_t k = 0; k < inputs.size(); ++k)
                    if (record.arguments[k].kind == Kind::real) mark(inputs[k]), mark(wide[k]);
                const AnyTensor y = record.run[static_cast<int>(dtype)](inputs), z = record.run[static_cast<int>(DType::float64)](wide);
                check_values(y, numbers(z), bound_of(record.says, dtype), "value");
                if (!is_floating(y->dtype)) continue;
                run_backward(y), run_backward(z);
                for (std::size_t k = 0; k < inputs.size(); ++k)
                    if (record.arguments[k].kind == Kind::real && has_gradient(wide[k]) && has_gradient(inputs[k]))
                        check_values(gradient_of(inputs[k]), numbers(gradient_of(wide[k])), 4 * bound_of(record.says, dtype), "gradient");
            }
    });
}

// Second derivatives too, where the operation has them.
TEST_CASE("operators pass the gradient check") {
    for_each_record([](const Family& family, const Record& record) {
        if (!record.runs(DType::float64)) return;
        for (const auto& [key, inputs] : samples_of(family, record, DType::float64)) {
            Tensor<double, 1> flat;
            if (!smooth_case(key) || !flatten(record, inputs, flat)) continue;
            for (std::size_t k = 0; k < inputs.size(); ++k)
                if (record.arguments[k].kind == Kind::real) mark(inputs[k]);
            const AnyTensor y = record.run[static_cast<int>(DType::float64)](inputs);
            if (y->dtype != DType::float64) continue;
            INFO(key);
            CHECK_NOTHROW(testing::gradcheck({.kinks = record.says.kinks}, Flat{&record, inputs}, flat));
            if (y->node != nullptr && can_record_backward(y, inputs)) CHECK_NOTHROW(testing::gradgradcheck({.kinks = record.says.kinks}, Flat{&record, inputs}, flat));
        }
    });
}

// A node that held its own result would hold its inputs for ever.
TEST_CASE("operators let go of what was recorded and never walked") {
    for_each_record([](const Family& family, const Record& record) {
        if (!record.runs(DType::float64)) return;
        for (const auto& [key, inputs] : samples_of(family, record, DType::float64)) {
            INFO(key);
            for (std::size_t k = 0; k < inputs.size(); ++k)
                if (record.arguments[k].kind == Kind::real) mark(inputs[k]);
            { const AnyTensor y = record.run[static_cast<int>(DType::float64)](inputs); }
            for (const AnyTensor& x : inputs)
                if (x->node != nullptr) CHECK(x->node->references == 1);
        }
    });
}

TEST_CASE("operators read strided inputs") {
    for_each_record([](const Family& family, const Record& record) {
        const DType dtype = record.runs(DType::float64) ? DType::float64 : DType::float32;
        for (const bool reversed : {false, true})
            for (const auto& [key, inputs] : samples_of(family, record, dtype)) {
                INFO(key << (reversed ? ", axes reversed in memory" : ", every second element"));
                const double bound = bound_of(record.says, dtype);
                Inputs strided;
                for (const AnyTensor& x : inputs) strided.push_back(rearranged(x, reversed));
                for (std::size_t k = 0; k < inputs.size(); ++k)
                    if (record.arguments[k].kind == Kind::real) mark(inputs[k]), mark(strided[k]);
                const auto& run = record.run[static_cast<int>(dtype)];
                const AnyTensor y = run(inputs), z = run(strided);
                if (record.says.view_bits) CHECK(same_bits(y, z));
                else check_values(z, numbers(y), bound, "value");
                if (!is_floating(y->dtype)) continue;
                run_backward(y), run_backward(z);
                for (std::size_t k = 0; k < inputs.size(); ++k)
                    if (record.arguments[k].kind == Kind::real && has_gradient(inputs[k]))
                        check_values(gradient_of(strided[k]), numbers(gradient_of(inputs[k])), 10 * bound, "gradient");
            }
    });
}

TEST_CASE("operators give the same bits with one thread and with two") {
    for_each_record([](const Family&, const Record& record) {
        const Inputs inputs = random_inputs(record, DType::float32);
        if (inputs.empty()) return;
        const auto run = [&](int threads) {
            set_num_threads(threads);
            const AnyTensor y = record.run[static_cast<int>(DType::float32)](inputs);
            if (is_floating(y->dtype)) run_backward(y);
            Inputs results{y};
            for (const AnyTensor& x : inputs)
                if (has_gradient(x)) {
                    AnyTensor copy = new_tensor(x->dtype, shape_of(x));
                    std::memcpy(copy->data(), gradient_of(x)->data(), static_cast<std::size_t>(copy->size * size_of(copy->dtype)));
                    results.push_back(copy);
                    detail::clear_gradient(x->node->slots[0]);
                }
            set_num_threads(2);
            return results;
        };
        const Inputs one = run(1), two = run(2);
        REQUIRE(one.size() == two.size());
        for (std::size_t k = 0; k < one.size(); ++k) {
            INFO((k == 0 ? "value" : "gradient"));
            CHECK(same_bits(one[k], two[k]));
        }
    });
}

TEST_CASE("operators say what is wrong") {
    for_each_family([](const Family& family) {
        for (const ErrorSample& sample : family.errors) {
            INFO(family.name << ": " << sample.name << ", expected a text with \"" << sample.text << "\"");
            std::string text = "nothing was thrown";
            try {
                sample.run();
            } catch (const Error& error) {
                text = error.what();
            }
            INFO("got: " << text);
            CHECK(text.find(sample.text) != std::string::npos);
        }
    });
}

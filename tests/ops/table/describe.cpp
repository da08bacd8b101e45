// Prints docs/operators.md: what each operation of the table can do.
#include "samples.hpp"

#include <algorithm>
#include <cstdio>

using namespace operators;

int main() {
    std::puts("# Operators\n\nWritten by `tests/ops/table/describe.cpp` from the operator table; the tests hold every line to it.\n");
    std::puts("Element types: f = float, d = double, b = bf16, h = half, i = int32 and int64. Derivative: 1 = gradients, 2 = second\n"
              "derivatives too (`create_graph`; in f and d, of elementwise formulas in b and h as well), - = none. Checked against PyTorch: values (and gradients) are compared with\n"
              "PyTorch's. All run on the CPU and, compiled by nvcc, on CUDA devices, where linear algebra and ctc_loss are computed on\n"
              "the host.\n");
    std::sort(families().begin(), families().end(), [](const Family* a, const Family* b) { return std::string(a->name) < b->name; });
    for (const Family* family : families()) {
        std::printf("## %s\n\n| operation | types | derivative | checked against PyTorch | remarks |\n|---|---|---|---|---|\n", family->name);
        for (const Record& record : family->records) {
            std::string types;
            const struct { DType dtype; char letter; } letters[] = {
                {DType::float32, 'f'}, {DType::float64, 'd'}, {DType::bfloat16, 'b'}, {DType::float16, 'h'}, {DType::int64, 'i'}};
            for (const auto& l : letters)
                if (record.runs(l.dtype)) types += l.letter;
            std::string shown;
            for (const char* c = record.says.name; *c != 0; ++c) shown += *c == '|' ? std::string("\\|") : std::string(1, *c);
            if (record.says.types != nullptr) types = record.says.types;
            // Whether gradients flow, and whether their pass can be recorded, is asked of the operation itself.
            Inputs inputs = random_inputs(record, DType::float32);
            if (inputs.empty()) {
                inputs = inputs_of(*family, record, cases_of(*family, record).at(0), DType::float32);
                for (std::size_t k = 0; k < inputs.size(); ++k)
                    if (record.arguments[k].kind == Kind::real) mark(inputs[k]);
            }
            const AnyTensor y = record.run[static_cast<int>(DType::float32)](inputs);
            const char* derivative = y->node == nullptr ? "-" : can_record_backward(y, inputs) ? "2" : "1";
            std::printf("| `%s` | %s | %s | %s | %s |\n", shown.c_str(), types.c_str(), derivative,
                        record.says.golden != nullptr || std::string(family->name) == "elementwise" ? "yes" : "", record.says.note);
        }
        std::puts("");
    }
}

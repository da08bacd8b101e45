// Every record of the operator table that names sizes: forward, and forward with backward, in float, beside a copy of the
// bytes that must move at least once (inputs and results; with backward, twice that). Prints one JSON line per case.
// Usage: bench_operators [family] [--device cpu|cuda] [--tiny]
#include "on_device.hpp"

#include "../tests/ops/table/run_time.hpp"

using namespace operators;

namespace {

void print(const bench::Options& options, const Family& family, const Record& record, const char* what, double seconds, double peer) {
    std::printf("{\"case\":\"%s: %s %s\",\"unit\":\"us\",\"ours\":%.4g,\"peer\":\"%s\",\"peer_value\":%.4g,\"ratio\":%.3f,", family.name, record.says.name, what,
                1e6 * seconds, bench::copy_name(options.device), 1e6 * peer, peer / seconds);
    std::printf("\"threads\":%d,\"isa\":\"%s\"}\n", bench::threads(options.device), bench::where(options.device));
    std::fflush(stdout);
}

// The record's inputs on the device, reals as leaves.
Inputs inputs_on(const bench::Options& options, const Record& record) {
    Inputs inputs;
    for (const Argument& a : record.arguments) {
        long size = 1;
        for (long n : a.sizes) size *= n;
        if (options.tiny && size > 20000) return {};
    }
    const Inputs here = random_inputs(record, DType::float32, false);
    for (std::size_t k = 0; k < here.size(); ++k) {
        const AnyTensor x = options.device.is_cpu() ? here[k] : impl::transferred(here[k].get(), options.device);
        if (record.arguments[k].kind == Kind::real) mark(x);
        inputs.push_back(x);
    }
    return inputs;
}

void measure(const bench::Clock& clock, const Family& family, const Record& record) {
    const bench::Options& options = clock.options();
    const Inputs inputs = inputs_on(options, record);
    if (inputs.empty()) return;
    const auto& run = record.run[static_cast<int>(DType::float32)];
    AnyTensor y = run(inputs);
    std::size_t bytes = static_cast<std::size_t>(y->size * size_of(y->dtype));
    for (const AnyTensor& x : inputs) bytes += static_cast<std::size_t>(x->size * size_of(x->dtype));
    const double copy = bench::copy_seconds(clock, bytes);
    print(options, family, record, "F", clock.best([&] {
              const no_grad guard;
              y = run(inputs);
          }), copy);
    y = run(inputs);
    if (y->node == nullptr) return;
    const AnyTensor ones = new_tensor(y->dtype, shape_of(y));
    for (long i = 0; i < ones->size; ++i) set(ones, i, 1);
    const AnyTensor dy = options.device.is_cpu() ? ones : impl::transferred(ones.get(), options.device);
    print(options, family, record, "F+B", clock.best([&] {
              y = run(inputs);
              const AnyTensor copy_of(detail::new_record(dy->dtype, dy->rank, dy->dims(), options.device));
              impl::copy_records(copy_of.get(), dy.get());
              detail::run_backward(y->node, y->slot, copy_of);
              for (const AnyTensor& x : inputs)
                  if (has_gradient(x)) detail::clear_gradient(x->node->slots[0]);
          }), 2 * copy);
}

}  // namespace

int main(int count, char** arguments) {
    const bench::Options options = bench::parse(count, arguments);
    const bench::Clock clock(options);
    for (const int threads : {1, 2}) {
        if (threads == 2 && (options.tiny || !options.device.is_cpu())) break;
        set_num_threads(threads);
        for (const Family* family : families()) {
            if (options.family != nullptr && std::strcmp(options.family, family->name) != 0) continue;
            for (const Record& record : family->records) measure(clock, *family, record);
        }
    }
}

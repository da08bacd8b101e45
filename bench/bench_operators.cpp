// Every record of the operator table that names sizes: forward, and forward with backward, in float, beside memcpy of the
// bytes that must move at least once (inputs and results; with backward, twice that). Prints one JSON line per case.
// Usage: bench_operators [family]
#include "../tests/ops/table/run_time.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>

using namespace operators;

namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// Best seconds of one call within a tenth of a second.
template <class F>
double best(F&& f) {
    f();
    double least = 1e9;
    const double end = now() + 0.1;
    for (int i = 0; i < 3 || now() < end; ++i) {
        const double start = now();
        f();
        least = std::min(least, now() - start);
    }
    return least;
}
void print(const Family& family, const Record& record, const char* what, double seconds, double peer) {
    std::printf("{\"case\":\"%s: %s %s\",\"unit\":\"us\",\"ours\":%.4g,\"peer\":\"memcpy\",\"peer_value\":%.4g,\"ratio\":%.3f,\"threads\":%d,\"isa\":\"%s\"}\n", family.name,
                record.says.name, what, 1e6 * seconds, 1e6 * peer, peer / seconds, num_threads(), tenon::name(isa()));
    std::fflush(stdout);
}

}  // namespace

int main(int count, char** arguments) {
    for (const int threads : {1, 2}) {
        set_num_threads(threads);
        for (const Family* family : families()) {
            if (count > 1 && std::strcmp(arguments[1], family->name) != 0) continue;
            for (const Record& record : family->records) {
                const Inputs inputs = random_inputs(record, DType::float32);
                if (inputs.empty()) continue;
                const auto& run = record.run[static_cast<int>(DType::float32)];
                AnyTensor y = run(inputs);
                std::size_t bytes = static_cast<std::size_t>(y->size * size_of(y->dtype));
                for (const AnyTensor& x : inputs) bytes += static_cast<std::size_t>(x->size * size_of(x->dtype));
                // A copy reads and writes: half of the bytes.
                std::vector<char> from(bytes / 2 + 1, 1), to(bytes / 2 + 1, 2);
                const double copy = best([&] {
                    std::memcpy(to.data(), from.data(), bytes / 2);
                    __asm__ volatile("" ::"r"(to.data()) : "memory");
                });
                print(*family, record, "F", best([&] {
                          const no_grad guard;
                          y = run(inputs);
                      }), copy);
                y = run(inputs);
                if (y->node == nullptr) continue;
                const AnyTensor dy = new_tensor(y->dtype, shape_of(y));
                for (long i = 0; i < dy->size; ++i) set(dy, i, 1);
                print(*family, record, "F+B", best([&] {
                          y = run(inputs);
                          const AnyTensor copy_of = new_tensor(dy->dtype, shape_of(dy));
                          std::memcpy(copy_of->data(), dy->data(), static_cast<std::size_t>(dy->size * size_of(dy->dtype)));
                          detail::run_backward(y->node, y->slot, copy_of);
                          for (const AnyTensor& x : inputs)
                              if (has_gradient(x)) detail::clear_gradient(x->node->slots[0]);
                      }), 2 * copy);
            }
        }
    }
}

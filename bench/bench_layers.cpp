// Layers and losses end to end, forward and backward (and index_add, gather), as a training step runs them; the cases bear
// the names of bench_torch. Also printed against memcpy of the bytes that a case must move at least, in the same run.
// Usage: bench_layers [filter]
#include "copying.hpp"
#include "timing.hpp"

#include <tenon/tenon.hpp>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>

using namespace tenon;

namespace {

using timing::seconds;

const char* filter = "";

// bytes: what must be read and written at least, from inputs to gradients.
template <class F>
void measure(copying::Copy& copy, const char* name, double bytes, F&& f) {
    if (std::string(name).find(filter) == std::string::npos) return;
    const double time = seconds(f), bound = seconds([&] { copy(bytes); });
    std::printf("{\"case\":\"%s\",\"unit\":\"us\",\"value\":%.5g,\"lib\":\"ours\",\"threads\":%d,\"isa\":\"%s\"}\n", name, 1e6 * time, num_threads(), tenon::name(isa()));
    copying::print(name, bytes, time, bound);
}

}  // namespace

int main(int argc, char** argv) {
    if (const char* wish = std::getenv("TENON_BENCH_FILTER")) filter = wish;
    if (argc > 1) filter = argv[1];
    copying::Copy copy;
    const int most = std::min(num_threads(), 2);
    for (int threads = 1; threads <= most; ++threads) {
        set_num_threads(threads);
        {
            const auto x = randn<float>({512, 81}, Key{1}).require_grad();
            const auto labels = integers({512}, Key{2}, 0, 81);
            measure(copy, "cross_entropy 512x81 F+B", 3. * 4 * 512 * 81, [&] {
                cross_entropy(x, labels).backward();
                x.zero_grad();
            });
        }
        {
            const auto x = randn<float>({128, 64, 32, 32}, Key{1}).require_grad();
            const auto w = ones<float>({64}).require_grad(), b = zeros<float>({64}).require_grad();
            const auto mean = zeros<float>({64}), variance = ones<float>({64});
            const auto dy = randn<float>({128, 64, 32, 32}, Key{2});
            // x, y; x, dy, dx: and a channel's half of x fits into no cache of one core.
            measure(copy, "batch_norm 128x64x32x32 F+B", 5. * 4 * double(x.size()), [&] {
                batch_norm(x, w, b, mean, variance).backward(dy);
                x.zero_grad();
                w.zero_grad();
                b.zero_grad();
            });
        }
        {
            const auto x = randn<float>({4096, 1024}, Key{1}).require_grad();
            const auto w = ones<float>({1024}).require_grad(), b = zeros<float>({1024}).require_grad();
            const auto dy = randn<float>({4096, 1024}, Key{2});
            measure(copy, "layer_norm 4096x1024 F+B", 5. * 4 * double(x.size()), [&] {
                layer_norm(x, w, b).backward(dy);
                x.zero_grad();
                w.zero_grad();
                b.zero_grad();
            });
        }
        {
            const auto x = randn<float>({2708, 1433}, Key{1}).require_grad();
            const auto dy = randn<float>({2708, 1433}, Key{2});
            long step = 0;
            measure(copy, "dropout 2708x1433", 2. * 4 * double(x.size()), [&] {
                const no_grad guard;
                const auto y = dropout(x, 0.5, Key{3}.split(static_cast<std::uint32_t>(++step)));
            });
            measure(copy, "dropout 2708x1433 F+B", 4. * 4 * double(x.size()), [&] {
                dropout(x, 0.5, Key{3}.split(static_cast<std::uint32_t>(++step))).backward(dy);
                x.zero_grad();
            });
        }
        {
            // A million slices of 64 into 65,536 rows.
            const long rows = 65536, count = 1000000, width = 64;
            const auto x = randn<float>({rows, width}, Key{1}).require_grad();
            const auto index = integers({count}, Key{2}, 0, rows);
            const auto dy = randn<float>({rows, width}, Key{4});
            {
                const auto src = randn<float>({count, width}, Key{3}).require_grad();
                measure(copy, "index_add 65536x64 1M F+B", 4. * width * (2. * count + 4. * rows), [&] {
                    index_add<0>(x, index, src).backward(dy);
                    x.zero_grad();
                    src.zero_grad();
                });
                measure(copy, "index_add 65536x64 1M", 4. * width * (count + 2. * rows), [&] {
                    const no_grad guard;
                    const auto y = index_add<0>(x, index, src);
                });
            }
            const auto other = integers({count}, Key{5}, 0, rows);
            const auto base = zeros<float>({rows, width});
            measure(copy, "gather+index_add 65536x64 1M F+B", 4. * width * (4. * count + 4. * rows), [&] {
                index_add<0>(base, index, index_select<0>(x, other)).backward(dy);
                x.zero_grad();
            });
        }
    }
}

// Memory over long runs: what steps of ever-changing sizes leave behind.
#include <tenon/tenon.hpp>

#include <catch2/catch.hpp>

#include <fstream>

using namespace tenon;

TEST_CASE("ten thousand steps of changing sizes leave nothing behind and cache no more than the largest needed") {
    const auto w = randn<float>({16, 16}, Key{1}).require_grad();
    const auto b = zeros<float>({16}).require_grad();
    auto step = [&](long rows) {
        const auto x = randn<float>({rows, 16}, Key{2}.split(static_cast<std::uint64_t>(rows)));
        Tensor<float, 0> loss = mean(square(tanh(linear(x, w, b)) - 0.5f));
        loss.backward();
        w.zero_grad();
        b.zero_grad();
    };
    for (long rows = 1; rows <= 200; ++rows) step(rows);
    const auto before = memory::statistics();
    for (long i = 0; i < 10000; ++i) step(1 + i * 37 % 200);
    const auto after = memory::statistics();
    CHECK(after.live == before.live);
    CHECK(after.cached == before.cached);
    CHECK(after.system_calls == before.system_calls);
}

TEST_CASE("an empty tensor is not written: memory that nobody touches costs no pages") {
    const auto resident = [] {
        long pages[2] = {};
        std::ifstream("/proc/self/statm") >> pages[0] >> pages[1];
        return pages[1] * 4096;
    };
    const long before = resident();
    const auto x = empty<float>({1l << 28});  // 1 GiB
    CHECK(x.size() == 1l << 28);
    CHECK(resident() - before < 64l << 20);
}

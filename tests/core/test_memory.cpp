// Memory over long runs: what steps of ever-changing sizes leave behind.
#include <tenon/tenon.hpp>

#include <catch2/catch.hpp>

#include <fstream>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

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

#if defined(__SANITIZE_ADDRESS__)
TEST_CASE("to the address sanitizer a released tensor is gone and a tensor ends with its last element, cached or not") {
    for (const long size : {0l, 1l, 5l, 256l, 300l, 5000l, 3000000l})
        for (const bool from_cache : {false, true}) {
            CAPTURE(size, from_cache);
            const float* data = nullptr;
            {
                const auto x = empty<float>({size});
                data = x.data();
                const char* bytes = reinterpret_cast<const char*>(data);
                const std::size_t count = static_cast<std::size_t>(size) * sizeof(float);
                CHECK(__asan_region_is_poisoned(const_cast<char*>(bytes), count) == nullptr);
                CHECK(__asan_address_is_poisoned(bytes + count) != 0);
                CHECK(__asan_address_is_poisoned(bytes - 1) != 0);
            }
            // All but the eight bytes of the free list's link, which are among a larger tensor's elements.
            long readable = 0;
            for (long i = 0; i < size; ++i) readable += __asan_address_is_poisoned(data + i) == 0;
            CHECK(readable == (size > 256 ? 2 : 0));
        }
}
#endif

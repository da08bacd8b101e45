// Copies between host and device, and the memory of graphs.
#include <tenon/runtime/graph.hpp>
#include <tenon/tenon.hpp>

#include <catch2/catch.hpp>

#include <cstring>
#include <vector>

using namespace tenon;

namespace {

Tensor<std::uint8_t, 1> bytes(long n, unsigned seed) {
    auto x = empty<std::uint8_t>({n});
    unsigned state = seed * 2654435761u + 1;
    for (long i = 0; i < n; ++i) {
        state = state * 1664525u + 1013904223u;
        x.data()[i] = static_cast<std::uint8_t>(state >> 24);
    }
    return x;
}

}  // namespace

TEST_CASE("bytes come back from the device as they went, whatever their number") {
    const long room = static_cast<long>(cuda_detail::Staging::room);
    for (long n : {0l, 1l, 7l, 4096l, room - 1, room, room + 1, 3 * room + 17, 6 * room}) {
        CAPTURE(n);
        const auto x = bytes(n, static_cast<unsigned>(n));
        const auto back = x.to(cuda()).to(cpu);
        CHECK((n == 0 || std::memcmp(back.data(), x.data(), static_cast<std::size_t>(n)) == 0));
    }
}

TEST_CASE("a copy to the device has read the host's memory when it returns") {
    const auto x = bytes(9000000, 1), kept = clone(x);
    runtime::Stream stream;
    const runtime::StreamScope scope(stream);
    const auto there = x.to(cuda());
    std::memset(x.data(), 0, 9000000);
    CHECK(std::memcmp(there.to(cpu).data(), kept.data(), 9000000) == 0);
}

TEST_CASE("buffers of copies are used again") {
    const auto x = bytes(1000, 3);
    std::vector<Tensor<std::uint8_t, 1>> there;
    for (int i = 0; i < 100; ++i) there.push_back(x.to(cuda()));
    runtime::synchronize();
    cuda_detail::Staging::Buffer* taken[2 * cuda_detail::Staging::wanted];
    for (auto& buffer : taken) buffer = cuda_detail::staging().take(0);
    for (const auto* a : taken)
        for (const auto* b : taken) CHECK((a == b) == (a->data == b->data));
    for (auto* buffer : taken) cuda_detail::staging().give_back(buffer);
    for (const auto& y : there) CHECK(y.to(cpu).data()[999] == x.data()[999]);
}

TEST_CASE("a graph that lets go of memory takes the same again, and keeps what is held after it") {
    const long before = runtime::memory_statistics(cuda()).live;
    std::vector<Tensor<float, 1>> held;
    {
        auto x = full<float>({2000}, 1.f, cuda());
        runtime::Graph graph(cuda(), [&] {
            const long calls = runtime::memory_statistics(cuda()).driver_calls;
            Tensor<float, 1> y = x + 1.f;
            for (int i = 0; i < 50; ++i) y = y + 1.f;
            // Two tensors in turns; without the cache, one each.
            CHECK(runtime::memory_statistics(cuda()).driver_calls - calls <= (std::getenv("TENON_CUDA_CACHE") != nullptr ? 51 : 2));
            for (int i = 0; i < 200; ++i) held.push_back(y + static_cast<float>(i));
            return y;
        });
        CHECK(graph.replay().to(cpu).data()[1999] == 52);
        CHECK(held[199].to(cpu).data()[5] == 251);
    }
    CHECK(held[0].to(cpu).data()[5] == 52);
    while (!held.empty()) held.pop_back();
    CHECK(runtime::memory_statistics(cuda()).live == before);
}

// Handles, shapes, factories, devices, the allocator: what needs no formula.
#include <tenon/tenon.hpp>

#include <catch2/catch.hpp>

#include <cstdint>
#include <string>
#include <thread>
#include <vector>

using namespace tenon;

namespace {

// The text of what f throws; empty if nothing.
template <class E, class F>
std::string error_of(F&& f) {
    try {
        f();
    } catch (const E& e) {
        return e.what();
    }
    return "";
}
bool contains(const std::string& text, const char* piece) { return text.find(piece) != std::string::npos; }

}  // namespace

TEST_CASE("shape lists take any integer type; {} is a scalar") {
    const std::size_t n = 3;
    const short m = 2;
    const auto x = zeros<float>({n, m, 4});
    CHECK(x.size() == 24);
    CHECK(x.shape(0) == 3);
    CHECK(x.shape(-1) == 4);
    CHECK(x.stride(0) == 8);
    CHECK(x.is_contiguous());
    const auto s = full<double>({}, 2.5);
    CHECK(s.rank == 0);
    CHECK(s.size() == 1);
    CHECK(s.item() == 2.5);
    CHECK(zeros<float>({0, 5}).size() == 0);
    CHECK(contains(error_of<IndexError>([&] { (void)x.shape(3); }), "axis 3 is outside of float[3, 2, 4] on cpu"));
}

TEST_CASE("factories") {
    CHECK(arange<std::int64_t>(2, 11, 3).size() == 3);
    CHECK(arange<std::int64_t>(2, 11, 3).data()[2] == 8);
    CHECK(arange<float>(1, 0, -0.25f).size() == 4);
    CHECK(arange<float>(5, 1).size() == 0);
    CHECK(contains(error_of<ValueError>([] { (void)arange<float>(0, 1, 0); }), "step must not be 0"));
    const auto l = linspace<double>(-1, 1, 5);
    CHECK(l.data()[0] == -1);
    CHECK(l.data()[2] == 0);
    CHECK(l.data()[4] == 1);
    CHECK(linspace<double>(3, 7, 1).data()[0] == 3);
    const auto e = eye<float>(2, 3);
    CHECK(e.data()[0] == 1);
    CHECK(e.data()[4] == 1);
    CHECK(e.data()[3] == 0);
    CHECK(full<bf16>({2}, 1.5f).data()[1] == bf16(1.5f));
    CHECK(full<bool>({3}, true).data()[2]);
    const auto f = from<int>({2, 2}, {1, 2, 3, 4});
    CHECK(f.data()[3] == 4);
    CHECK(contains(error_of<ShapeError>([] { (void)from<int>({2, 2}, {1, 2, 3}); }), "3 values came for int32[2, 2] on cpu"));
    CHECK(ones_like(f).data()[3] == 1);
}

TEST_CASE("sizes that no tensor can have are errors, and hold no memory") {
    CHECK(contains(error_of<ShapeError>([] { (void)empty<float>({3, -1}); }), "negative size"));
    CHECK(contains(error_of<ShapeError>([] { (void)empty<float>({1l << 40, 1l << 40}); }), "too many elements"));
    CHECK(contains(error_of<ShapeError>([] { (void)empty<float>({0, 1l << 40, 1l << 40}); }), "too many elements"));
    CHECK(empty<float>({1l << 40, 0}).size() == 0);
    const auto before = memory::statistics();
    CHECK(contains(error_of<MemoryError>([] { (void)empty<float>({1l << 50}); }), "out of memory"));
    CHECK(contains(error_of<MemoryError>([] { (void)zeros<float>({1l << 42}); }), "out of memory"));  // 16 TiB
    CHECK(memory::statistics().live == before.live);
}

TEST_CASE("an empty handle says so") {
    const Tensor<float, 2> none;
    CHECK_FALSE(none.has_value());
    CHECK(contains(error_of<Error>([&] { (void)none.size(); }), "handle is empty"));
    CHECK(contains(error_of<Error>([&] { (void)eval(none + 1.f); }), "handle is empty"));
    auto x = ones<float>({2});
    const auto y = static_cast<Tensor<float, 1>&&>(x);
    CHECK_FALSE(x.has_value());
    CHECK(y.has_value());
}

TEST_CASE("devices are parsed, and one that is absent is an error") {
    CHECK(Device::parse("cpu") == cpu);
    CHECK(Device::parse("cuda") == cuda(0));
    CHECK(Device::parse("cuda:3") == cuda(3));
    for (const char* wrong : {"", "gpu", "cuda:", "cuda:x", "cuda:1x", "cuda:-1", "cuda:999", "cudax"})
        CHECK(contains(error_of<ValueError>([&] { (void)Device::parse(wrong); }), "expected cpu, cuda or cuda:<index>"));
    const auto x = ones<float>({2});
    CHECK(x.to(cpu).record() == x.record());
    CHECK_FALSE(error_of<DeviceError>([] { (void)zeros<float>({2}, cuda(0)); }).empty());
    CHECK_FALSE(error_of<DeviceError>([&] { (void)x.to(cuda(0)); }).empty());
}

TEST_CASE("item wants one element") {
    CHECK(ones<float>({1, 1}).item() == 1);
    CHECK(contains(error_of<ShapeError>([] { (void)ones<float>({2}).item(); }), "has 2 elements, expected 1"));
}

TEST_CASE("memory is aligned, reused and accounted") {
    const auto start = memory::statistics();
    long calls = 0;
    for (int round = 0; round < 3; ++round) {
        std::vector<Tensor<float, 1>> held;
        for (long n : {0l, 1l, 15l, 255l, 256l, 257l, 1000l, 5000l, 70000l, 1000000l}) {
            held.push_back(empty<float>({n}));
            CHECK(reinterpret_cast<std::uintptr_t>(held.back().data()) % 64 == 0);
            for (long i = 0; i < n; i += 97) held.back().data()[i] = static_cast<float>(n);
        }
        for (const auto& x : held)
            for (long i = 0; i < x.size(); i += 97) REQUIRE(x.data()[i] == static_cast<float>(x.size()));
        CHECK(memory::statistics().live - start.live >= 4 * 1076785);
        CHECK(memory::statistics().live - start.live < 2 * 4 * 1076785);
        if (round == 1) calls = memory::statistics().system_calls;
        if (round == 2) CHECK(memory::statistics().system_calls == calls);
    }
    CHECK(memory::statistics().live == start.live);
    memory::reset_peak();
    { const auto big = empty<double>({1 << 20}); }
    CHECK(memory::statistics().peak - start.live >= 8 << 20);
}

TEST_CASE("tensors made in one thread may be freed in another") {
    const auto start = memory::statistics().live;
    std::vector<Tensor<float, 1>> made;
    std::thread([&] {
        for (int i = 0; i < 3000; ++i) made.push_back(full<float>({1 + i % 40}, static_cast<float>(i)));
    }).join();
    bool right = true;
    for (std::size_t i = 0; i < made.size(); ++i) right = right && made[i].data()[0] == static_cast<float>(i);
    CHECK(right);
    std::thread([&] { made.clear(); }).join();
    CHECK(memory::statistics().live == start);
}

// Kernels that are right give the right results, under every order of threads.
#include <catch2/catch.hpp>

#include <string>

#include "device_array.hpp"
#include "kernels.hpp"

namespace {

template <class T>
std::vector<T> numbers(int n, int modulus = 101) {
    std::vector<T> values(static_cast<size_t>(n));
    for (int i = 0; i < n; ++i) values[static_cast<size_t>(i)] = static_cast<T>((i * 7919 + 13) % modulus);
    return values;
}

}  // namespace

#define NO_FAULT CHECK(std::string(cuda_emulator::last_fault()) == "")

TEMPLATE_TEST_CASE("block sum with shuffles", "", float, double, int, unsigned, long long) {
    for (int n : {1, 31, 256, 1000, 4097}) {
        for (unsigned threads : {32u, 96u, 256u, 1024u}) {
            const auto values = numbers<TestType>(n);
            const unsigned blocks = (static_cast<unsigned>(n) + threads - 1) / threads;
            DeviceArray<TestType> in(values), out(blocks);
            REQUIRE(launch(blocks, threads, 0, nullptr, &block_sum<TestType>, in.data, out.data, n) == cudaSuccess);
            TestType expected = 0, got = 0;
            for (TestType v : values) expected += v;
            for (TestType v : out.get()) got += v;
            CHECK(got == expected);
        }
    }
    NO_FAULT;
}

TEST_CASE("scan in dynamic shared memory") {
    for (int n : {1, 32, 100, 1024}) {
        const auto values = numbers<int>(n);
        DeviceArray<int> in(values), out(values.size());
        const unsigned threads = 1024;
        REQUIRE(launch(1, threads, threads * sizeof(int), nullptr, &scan_block<int>, in.data, out.data, n) == cudaSuccess);
        const auto got = out.get();
        int sum = 0;
        for (size_t i = 0; i < values.size(); ++i) REQUIRE(got[i] == (sum += values[i]));
    }
    NO_FAULT;
}

TEST_CASE("histogram with atomics") {
    const auto values = numbers<unsigned char>(10000, 64);
    DeviceArray<unsigned char> in(values);
    DeviceArray<unsigned> counts(64);
    REQUIRE(cudaMemset(counts.data, 0, 64 * sizeof(unsigned)) == cudaSuccess);
    REQUIRE(launch(5, 128, 0, nullptr, &histogram<64>, in.data, counts.data, 10000) == cudaSuccess);
    std::vector<unsigned> expected(64);
    for (unsigned char v : values) ++expected[v];
    CHECK(counts.get() == expected);
    NO_FAULT;
}

TEST_CASE("transpose through shared memory") {
    for (auto [rows, columns] : {std::pair{1, 1}, {32, 32}, {33, 70}, {100, 17}}) {
        const auto values = numbers<float>(rows * columns, 9973);
        DeviceArray<float> in(values), out(values.size());
        const dim3 grid(static_cast<unsigned>(columns + 31) / 32, static_cast<unsigned>(rows + 31) / 32);
        REQUIRE(launch(grid, dim3(32, 8), 0, nullptr, &transpose<float>, in.data, out.data, rows, columns) == cudaSuccess);
        const auto got = out.get();
        for (int r = 0; r < rows; ++r)
            for (int c = 0; c < columns; ++c)
                REQUIRE(got[static_cast<size_t>(c * rows + r)] == values[static_cast<size_t>(r * columns + c)]);
    }
    NO_FAULT;
}

TEST_CASE("vector loads") {
    const auto values = numbers<float>(4 * 300);
    DeviceArray<float> x(values), y(values);
    REQUIRE(launch(3, 128, 0, nullptr, &axpy4<float4>, 2.0f, reinterpret_cast<const float4*>(x.data), reinterpret_cast<float4*>(y.data),
                   300) == cudaSuccess);
    const auto got = y.get();
    for (size_t i = 0; i < values.size(); ++i) REQUIRE(got[i] == 3.0f * values[i]);
    NO_FAULT;
}

TEST_CASE("the last block adds up") {
    const auto values = numbers<int>(5000);
    DeviceArray<int> in(values), partials(20), out(1);
    DeviceArray<unsigned> arrived(std::vector<unsigned>{0});
    REQUIRE(launch(20, 256, 0, nullptr, &sum_by_last_block<int>, in.data, partials.data, arrived.data, out.data, 5000) == cudaSuccess);
    int expected = 0;
    for (int v : values) expected += v;
    CHECK(out.get()[0] == expected);
    NO_FAULT;
}

TEST_CASE("warp operations") {
    const auto values = numbers<int>(64);
    DeviceArray<int> in(values), out(64 * 11);
    REQUIRE(launch(1, 64, 0, nullptr, &warp_operations<int>, in.data, out.data) == cudaSuccess);
    const auto got = out.get();
    int even = 0;
    for (int v : values) even += v % 2 == 0;
    for (int thread = 0; thread < 64; ++thread) {
        const int* lanes = values.data() + thread / 32 * 32;
        const int lane = thread % 32;
        unsigned ballot = 0, match = 0;
        int any = 0, sum = 0, least = 1000, greatest = -1;
        for (int i = 0; i < 32; ++i) {
            ballot |= static_cast<unsigned>(lanes[i] % 2 == 0) << i;
            match |= static_cast<unsigned>(lanes[i] % 3 == lanes[lane] % 3) << i;
            any |= lanes[i] == values[7];
            sum += lanes[i];
            least = std::min(least, lanes[i]);
            greatest = std::max(greatest, lanes[i]);
        }
        const int* row = got.data() + thread * 11;
        CHECK(static_cast<unsigned>(row[0]) == ballot);
        CHECK(row[1] == any);
        CHECK(row[2] == 1);
        CHECK(static_cast<unsigned>(row[3]) == match);
        CHECK(row[4] == sum);
        CHECK(row[5] == least);
        CHECK(row[6] == greatest);
        CHECK(row[7] == lanes[lane / 8 * 8 + 3]);
        CHECK(row[8] == lanes[lane == 0 ? 0 : lane - 1]);
        CHECK(row[9] == lanes[lane ^ 5]);
        CHECK(row[10] == even);
    }
    NO_FAULT;
}

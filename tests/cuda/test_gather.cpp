// Gathers, scatters and strided copies on the device against the CPU.
#include <tenon/tenon.hpp>

#include <tenon/kernels/cuda/scatter.cuh>

#include "device_agreement.hpp"

#include <algorithm>
#include <numeric>

using namespace tenon;
using namespace device_agreement;

namespace {

template <class T>
struct OnDevice {
    kernels::cuda::Scratch<T> data;
    long size;
    explicit OnDevice(const std::vector<T>& values) : data(static_cast<long>(values.size())), size(static_cast<long>(values.size())) {
        if (size > 0) runtime::backend(gpu).copy(gpu, data.get(), cpu, values.data(), values.size() * sizeof(T));
    }
    explicit OnDevice(long count) : data(count), size(count) {}
    std::vector<T> read() const { return read(size); }
    std::vector<T> read(long count) const {
        std::vector<T> values(static_cast<std::size_t>(count));
        if (count > 0) runtime::backend(gpu).copy(cpu, values.data(), gpu, data.get(), values.size() * sizeof(T));
        return values;
    }
};

}  // namespace

TEST_CASE("a stable sort of positions") {
    for (const long count : {1l, 2l, 31l, 33l, 1000l, 4096l, 4097l, 9001l}) {
        for (const long size : {1l, 7l, 300l, 1l << 17, 1l << 40}) {
            if (count > 1000 && size == 1l << 40 && count != 4097) continue;
            CAPTURE(count, size);
            std::vector<std::int64_t> index(static_cast<std::size_t>(count)), expected(index.size());
            for (long i = 0; i < count; ++i) index[static_cast<std::size_t>(i)] = (i * 2654435761l + 17) % (size * 3) % size;
            std::iota(expected.begin(), expected.end(), 0);
            std::stable_sort(expected.begin(), expected.end(),
                             [&](long a, long b) { return index[static_cast<std::size_t>(a)] < index[static_cast<std::size_t>(b)]; });
            const OnDevice<std::int64_t> given(index), order(count);
            kernels::cuda::sort_positions(count, static_cast<const std::int64_t*>(given.data.get()), size, order.data.get());
            CHECK(order.read() == expected);
        }
    }
}

TEST_CASE("sums of rows by index, and the rows that came") {
    for (const long count : {0l, 1l, 33l, 700l}) {
        for (const long rows : {1l, 5l, 1000l}) {
            for (const long width : {1l, 3l, 40l}) {
                CAPTURE(count, rows, width);
                const auto index = indices<std::int32_t>(Shape<1>{{count}}, rows);
                const auto src = numbers<float>(Shape<2>{{count, width}});
                std::vector<float> expected(static_cast<std::size_t>(rows * width), 1.f);
                kernels::cpu::scatter_add_rows(count, width, static_cast<const float*>(src.data()), static_cast<const std::int32_t*>(index.data()), rows,
                                               expected.data(), true);
                const OnDevice<float> dst(std::vector<float>(expected.size(), 1.f));
                const OnDevice<std::int64_t> touched(std::min(count, rows));
                const auto device_src = src.to(gpu);
                const auto device_index = index.to(gpu);
                const long found =
                    kernels::cuda::scatter_add_rows(count, width, static_cast<const float*>(device_src.data()),
                                                    static_cast<const std::int32_t*>(device_index.data()), rows, dst.data.get(), true, touched.data.get());
                const std::vector<float> y = dst.read();
                double most = 0;
                for (std::size_t i = 0; i < y.size(); ++i) most = std::max(most, std::fabs(double(y[i]) - double(expected[i])));
                CHECK(most < 1e-3);
                std::vector<std::int64_t> different(index.data(), index.data() + count);
                std::sort(different.begin(), different.end());
                different.erase(std::unique(different.begin(), different.end()), different.end());
                REQUIRE(found == static_cast<long>(different.size()));
                CHECK(touched.read(found) == different);
            }
        }
    }
}

TEST_CASE("bad indices are found and named on the device") {
    const auto x = numbers<float>(Shape<2>{{5, 3}}).to(gpu);
    const auto good = indices<std::int64_t>(Shape<1>{{600}}, 5).to(gpu);
    CHECK(index_select<0>(x, good).shape(0) == 600);
    Tensor<std::int64_t, 1> bad = indices<std::int64_t>(Shape<1>{{600}}, 5);
    bad.data()[517] = 5;
    bad.data()[599] = -1;
    CHECK_THROWS_WITH(index_select<0>(x, bad.to(gpu)), Catch::Contains("index 5 at position [517]"));
}

TEMPLATE_TEST_CASE("choosing by index", "", float, double, bf16) {
    using T = TestType;
    for (const long m : {0l, 1l, 31l, 400l}) {
        CAPTURE(m);
        const auto index = indices<std::int64_t>(Shape<1>{{m}}, 33);
        const auto small = indices<std::int32_t>(Shape<1>{{m}}, 33);
        agree([&](Device d, const auto& x) { return index_select<0>(x, index.to(d)); }, numbers<T>(Shape<2>{{33, 8}}));
        agree([&](Device d, const auto& x) { return embedding(x, small.to(d)); }, numbers<T>(Shape<2>{{33, 5}}));
        agree([&](Device d, const auto& x) { return index_select<1>(x, index.to(d)); }, numbers<T>(Shape<3>{{3, 33, 5}}));
        agree([&](Device d, const auto& x) { return index_select<-1>(x, small.to(d)); }, numbers<T>(Shape<3>{{4, 3, 33}}));
        const auto each = indices<std::int64_t>(Shape<3>{{3, m, 4}}, 33);
        const auto last = indices<std::int64_t>(Shape<2>{{7, m}}, 33);
        agree([&](Device d, const auto& x) { return gather<1>(x, each.to(d)); }, numbers<T>(Shape<3>{{3, 33, 5}}));
        agree([&](Device d, const auto& x) { return gather<1>(x, last.to(d)); }, numbers<T>(Shape<2>{{7, 33}}));
    }
    // A view as the table.
    const auto index = indices<std::int64_t>(Shape<1>{{50}}, 33);
    agree([&](Device d, const auto& x) { return index_select<0>(transpose(x), index.to(d)); }, numbers<T>(Shape<2>{{6, 33}}));
}
TEST_CASE("the rows that an embedding's backward touched are listed when asked") {
    const auto index = indices<std::int64_t>(Shape<2>{{7, 9}}, 40).to(gpu);
    const auto table = numbers<float>(Shape<2>{{40, 3}}).to(gpu);
    table.require_grad();
    const auto y = embedding(table, index);
    sum(y).backward();
    std::vector<std::int64_t> expected;
    const auto host = index.to(cpu);
    expected.assign(host.data(), host.data() + host.size());
    std::sort(expected.begin(), expected.end());
    expected.erase(std::unique(expected.begin(), expected.end()), expected.end());
    for (int k = 0; k < 2; ++k) {
        const auto rows = touched_rows(y).to(cpu);
        CHECK(std::vector<std::int64_t>(rows.data(), rows.data() + rows.size()) == expected);
    }
}

TEMPLATE_TEST_CASE("strided copies and transposes", "", float, double, std::int8_t, bf16) {
    using T = TestType;
    for (const long n : {1l, 7l, 8l, 33l, 70l}) {
        CAPTURE(n);
        const auto x = numbers<T>(Shape<2>{{n, 65}});
        check_close(contiguous(transpose(x.to(gpu))), contiguous(transpose(x)));
        const auto y = numbers<T>(Shape<4>{{3, n, 2, 33}});
        check_close(contiguous(y.to(gpu).template permute<3, 0, 2, 1>()), contiguous(y.template permute<3, 0, 2, 1>()));
        check_close(contiguous(y.to(gpu).template permute<0, 3, 1, 2>()), contiguous(y.template permute<0, 3, 1, 2>()));
        check_close(contiguous(y.to(gpu)(tenon::all, slice(0, n), 1, slice(1, 20))), contiguous(y(tenon::all, slice(0, n), 1, slice(1, 20))));
    }
}

TEMPLATE_TEST_CASE("views along several axes", "", float, double, half) {
    using T = TestType;
    const auto x = numbers<T>(Shape<3>{{3, 9, 7}});
    agree([](const auto& a) { return diagonal<1, 2>(a, 2); }, x);
    agree([](const auto& a) { return contiguous(sliding_window<1>(a, 4, 2)); }, x);
    agree([](const auto& a) { return diag(a, -1); }, numbers<T>(Shape<2>{{6, 9}}));
    agree([](const auto& a) { return diag(a, 3); }, numbers<T>(Shape<1>{{40}}));
    agree([](const auto& a) { return trace(a); }, numbers<T>(Shape<2>{{9, 9}}));
}

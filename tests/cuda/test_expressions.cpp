// Expressions on the device: values, derived gradients, broadcasting, views, reductions, against the CPU.
#include <tenon/tenon.hpp>

#include <catch2/catch.hpp>

using namespace tenon;

namespace {

template <class T, int R>
Tensor<T, R> wave(const Shape<R>& shape, double step) {
    Tensor<T, R> x = empty<T>(shape);
    for (long i = 0; i < x.size(); ++i) x.data()[i] = static_cast<T>(static_cast<float>(std::sin(step * static_cast<double>(i) + 0.3)));
    return x;
}
template <class T, int R>
void check_close(const Tensor<T, R>& there, const Tensor<T, R>& here, double bound) {
    REQUIRE(there.device() == cuda());
    const Tensor<T, R> got = there.to(cpu), expected = contiguous(here);
    REQUIRE(got.shape() == expected.shape());
    long wrong = 0;
    for (long i = 0; i < got.size(); ++i) {
        const double g = static_cast<double>(got.data()[i]), e = static_cast<double>(expected.data()[i]);
        if (!(std::abs(g - e) <= bound * (1 + std::abs(e)))) ++wrong;
    }
    CHECK(wrong == 0);
}

// f on both devices, with the gradients of both arguments.
template <class T, int RA, int RB, class F>
void compare(const Shape<RA>& a_shape, const Shape<RB>& b_shape, F f, double bound) {
    auto a = wave<T, RA>(a_shape, 0.7);
    auto b = wave<T, RB>(b_shape, 1.1);
    auto a_there = a.to(cuda());
    auto b_there = b.to(cuda());
    a.require_grad(), b.require_grad(), a_there.require_grad(), b_there.require_grad();
    const auto here = eval(f(a, b));
    const auto there = eval(f(a_there, b_there));
    check_close(there, here, bound);
    sum(here * here).backward();
    sum(there * there).backward();
    check_close(a_there.grad(), a.grad(), 10 * bound);
    check_close(b_there.grad(), b.grad(), 10 * bound);
}

const auto swirl = [](const auto& a, const auto& b) { return tanh(a * b + a) / (square(b) + 1.5f); };

}  // namespace

TEST_CASE("formulas broadcast on the device as on the CPU") {
    for (long rows : {1, 3, 257})
        for (long columns : {1, 4, 7, 36}) {
            CAPTURE(rows, columns);
            compare<float, 2, 2>(Shape<2>{{rows, columns}}, Shape<2>{{rows, columns}}, swirl, 1e-5);
            compare<float, 2, 1>(Shape<2>{{rows, columns}}, Shape<1>{{columns}}, swirl, 1e-5);
            compare<float, 2, 2>(Shape<2>{{rows, columns}}, Shape<2>{{rows, 1}}, swirl, 1e-5);
        }
    compare<double, 3, 2>(Shape<3>{{5, 3, 9}}, Shape<2>{{3, 1}}, swirl, 1e-12);
    compare<float, 3, 3>(Shape<3>{{5, 3, 8}}, Shape<3>{{1, 3, 1}}, swirl, 1e-5);
    compare<bf16, 2, 1>(Shape<2>{{9, 12}}, Shape<1>{{12}}, swirl, 0.02);
    compare<half, 2, 1>(Shape<2>{{9, 13}}, Shape<1>{{13}}, swirl, 0.005);
}

TEST_CASE("a tensor in a let's value and in its body gets both gradients on the device") {
    const auto shared = [](const auto& a, const auto& b) { return let(a * b, [=](auto v) { return v * v * a + b * v; }); };
    compare<float, 2, 2>(Shape<2>{{9, 13}}, Shape<2>{{9, 13}}, shared, 1e-5);
    compare<float, 2, 1>(Shape<2>{{9, 12}}, Shape<1>{{12}}, shared, 1e-5);
}

TEST_CASE("sums over any axes on the device") {
    auto x = wave<float, 3>(Shape<3>{{7, 130, 33}}, 0.01);
    auto there = x.to(cuda());
    check_close(sum<0>(there), sum<0>(x), 1e-5);
    check_close(sum<1>(there), sum<1>(x), 1e-5);
    check_close(sum<2>(there), sum<2>(x), 1e-5);
    check_close(sum<0, 2>(there), sum<0, 2>(x), 1e-5);
    check_close(mean<1>(there.transpose<0, 2>()), mean<1>(x.transpose<0, 2>()), 1e-5);
    check_close(sum(square(there)), sum(square(x)), 1e-5);
    const auto integers = from<std::int64_t>({3, 2}, {1, 2, 3, 4, 5, 6}).to(cuda());
    CHECK(sum(integers).item() == 21);
    CHECK(sum(zeros<float>({0, 4}, cuda())).item() == 0);
    check_close(sum<0>(zeros<float>({0, 4}, cuda())), zeros<float>({4}), 0);
}

TEST_CASE("large sums on the device keep their accuracy and their bits") {
    const long n = 300000;
    auto x = full<float>({n}, 0.1f).to(cuda());
    const float once = sum(x).item();
    CHECK(std::abs(static_cast<double>(once) - 0.1f * static_cast<double>(n)) < 1e-6 * 0.1 * static_cast<double>(n));
    CHECK(sum(x).item() == once);
}

TEST_CASE("gradients of broadcast operands are added up whatever the axes, and on top of what is there") {
    const auto check = [](auto... shapes) {
        const auto run = [&](Device device) {
            const auto x = std::make_tuple(clone(wave<float>(shapes, 0.3 + 0.01 * static_cast<double>(shapes[0])).to(device)).require_grad()...);
            std::apply([](const auto&... leaf) {
                for (int pass = 0; pass < 2; ++pass) {
                    const auto y = eval(tanh((leaf * ...)));
                    sum(y * y).backward();
                }
            }, x);
            return std::apply([](const auto&... leaf) { return std::make_tuple(leaf.grad().detach()...); }, x);
        };
        const auto here = run(cpu), there = run(cuda());
        [&]<std::size_t... K>(std::index_sequence<K...>) { (check_close(std::get<K>(there), std::get<K>(here), 2e-5), ...); }
        (std::index_sequence_for<decltype(shapes)...>());
    };
    const auto shape = [](auto... n) { return Shape<sizeof...(n)>{{n...}}; };
    for (long inner : {1, 6, 8, 33, 300}) {
        CAPTURE(inner);
        // Every subset of the axes, of which no two take the same way; the scalar among them more than once.
        check(shape(5l, 7l, inner), shape(5l, 1l, inner), shape(7l, 1l), shape(1l), shape(inner), shape(5l, 7l, 1l), shape(5l, 1l, 1l), shape(1l, 1l, 1l));
    }
    check(shape(2000l, 12l), shape(12l));            // chunks of rows, several of which a block takes
    check(shape(70l, 1100l), shape(1100l));
    check(shape(3l, 5000l), shape(3l, 1l), shape(1l));  // chunks along the innermost axis
    check(shape(40000l), shape(1l), shape(1l), shape(1l), shape(1l), shape(1l));  // more than one loop adds up
}

TEST_CASE("sums on the device leave no copy of what they sum") {
    auto x = wave<float, 2>(Shape<2>{{512, 256}}, 0.01).to(cuda());
    auto b = zeros<float>({256}, cuda());
    b.require_grad();
    cuda_detail::DeviceMemory& memory = cuda_detail::device_memory();
    const auto most = [&](auto f) {
        const long before = memory.statistics(0).live;
        memory.reset_peak(0);
        f();
        return memory.statistics(0).peak - before;
    };
    const long whole = 4 * x.size();
    CHECK(most([&] { CHECK(std::isfinite(sum(x).item())); }) < whole / 2);
    CHECK(most([&] { CHECK(std::isfinite(mean(square(x - 1.f)).item())); }) < whole / 2);
    CHECK(most([&] { CHECK(sum<0>(x).shape(0) == 256); }) < whole / 2);
    CHECK(most([&] { mean(square(x - b)).backward(); }) < whole / 2);
    check_close(mean<0>(zeros<float>({3, 0}, cuda())), zeros<float>({0}), 0);
    CHECK(std::isnan(mean(zeros<float>({0}, cuda())).item()));
}

TEST_CASE("views on the device are read and written in place") {
    auto x = wave<float, 2>(Shape<2>{{6, 10}}, 0.5);
    auto there = x.to(cuda());
    check_close(eval(there.transpose<0, 1>() + 1.f), eval(x.transpose<0, 1>() + 1.f), 1e-6);
    check_close(clone(there(slice(1, 5), slice(2, 9, 3))), clone(x(slice(1, 5), slice(2, 9, 3))), 0);
    there(slice(0, 2)) = exp(there(slice(4, 6)));
    x(slice(0, 2)) = exp(x(slice(4, 6)));
    check_close(there, x, 1e-6);
    there.fill(2.f);
    CHECK(sum(there).item() == 120);
    there += 1.f;
    CHECK(there.to(cpu)(5, 9).item() == 3);
}

TEST_CASE("the gradient of a view on the device goes to what it shows") {
    auto x = wave<float, 2>(Shape<2>{{4, 6}}, 0.5);
    auto there = x.to(cuda());
    x.require_grad(), there.require_grad();
    sum(square(x(slice(1, 3), tenon::all)) * 2.f).backward();
    sum(square(there(slice(1, 3), tenon::all)) * 2.f).backward();
    check_close(there.grad(), x.grad(), 1e-6);
    // A copy to another device is recorded.
    auto w = wave<float, 1>(Shape<1>{{5}}, 0.2);
    w.require_grad();
    sum(w.to(cuda()) * 3.f).backward();
    CHECK(w.grad().data()[4] == 3);
}

TEST_CASE("masks, integers and where on the device") {
    auto x = wave<float, 1>(Shape<1>{{101}}, 0.9);
    auto there = x.to(cuda());
    check_close(eval(where(there > 0.f, there, -there * 2.f)), eval(where(x > 0.f, x, -x * 2.f)), 1e-6);
    const Tensor<bool, 1> positive = there > 0.f;
    const Tensor<bool, 1> expected = x > 0.f;
    for (long i = 0; i < 101; ++i) REQUIRE(positive.to(cpu).data()[i] == expected.data()[i]);
    check_close(eval(cast<float>(cast<std::int64_t>(there * 10.f))), eval(cast<float>(cast<std::int64_t>(x * 10.f))), 0);
    auto [s, c] = eval(sin(there), cos(there));
    check_close(s, eval(sin(x)), 1e-6);
    check_close(c, eval(cos(x)), 1e-6);
}

TEST_CASE("errors name the device") {
    auto here = zeros<float>({3}), there = zeros<float>({3}, cuda());
    CHECK_THROWS_WITH(eval(here + there), Catch::Matchers::Contains("cuda:0"));
    CHECK_THROWS_WITH(zeros<float>({3}, cuda(100)), Catch::Matchers::Contains("cuda:100 was asked for, but this machine has"));
    CHECK_THROWS_WITH(zeros<float>({1l << 40}, cuda()), Catch::Matchers::Contains("asked for") && Catch::Matchers::Contains("free on the device"));
    CHECK(sum(there).item() == 0);  // the device goes on
}

TEST_CASE("device memory is counted and comes back") {
    const long before = runtime::memory_statistics(cuda()).live;
    {
        auto x = zeros<float>({1000}, cuda());
        CHECK(runtime::memory_statistics(cuda()).live >= before + 4000);
    }
    CHECK(runtime::memory_statistics(cuda()).live == before);
}

TEST_CASE("work on another stream comes after what was given before, and before what follows") {
    runtime::Stream stream;
    auto x = full<float>({100}, 1.f).to(cuda());
    Tensor<float, 1> y;
    {
        runtime::StreamScope scope(stream);
        y = x + 1.f;
    }
    Tensor<float, 1> z = y * 2.f;
    CHECK(sum(z).item() == 400);
}

TEST_CASE("several outputs into tensors that are there") {
    auto x = wave<float, 1>(Shape<1>{{40}}, 0.4);
    auto there = x.to(cuda());
    auto s = zeros<float>({40}, cuda()), c = zeros<float>({40}, cuda());
    eval_into(tie(s, c), sin(there), cos(there));
    check_close(s, eval(sin(x)), 1e-6);
    check_close(c, eval(cos(x)), 1e-6);
}

// Views against index arithmetic on the tensor that they show.
#include <tenon/tenon.hpp>
#include <tenon/testing/gradcheck.hpp>

#include <catch2/catch.hpp>

#include <string>

using namespace tenon;

namespace {

Tensor<double, 3> counted() { return arange<double>(2 * 3 * 4).reshape({2, 3, 4}); }
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

TEST_CASE("indices and slices") {
    const auto x = counted();
    CHECK(x(1, 2, 3).item() == 23);
    CHECK(x(-1, -1, -1).item() == 23);
    const auto row = x(1, 0);
    CHECK(row.rank == 1);
    CHECK(row.data()[2] == 14);
    const auto v = x(all, slice(1, 3), slice(0, 4, 3));
    CHECK(v.shape() == Shape<3>{{2, 2, 2}});
    CHECK_FALSE(v.is_contiguous());
    CHECK(v(1, 1, 1).item() == 12 + 8 + 3);
    CHECK(x(all, slice(-2))(0, 0, 0).item() == 4);
    CHECK(x(all, slice(0, -1)).shape(1) == 2);
    CHECK(x(slice(5, 9)).shape(0) == 0);
    CHECK(x(slice(1, 0)).size() == 0);
    CHECK(sum(x(slice(2))).item() == 0);
    CHECK(contains(error_of<IndexError>([&] { (void)x(0, 3); }), "3 is outside of axis 1 of double[2, 3, 4] on cpu"));
    CHECK(contains(error_of<IndexError>([&] { (void)x(-3); }), "-3 is outside of axis 0"));
    CHECK(contains(error_of<ValueError>([&] { (void)x(slice(0, 2, 0)); }), "step 0 is not positive"));
}

TEST_CASE("transpose, permute, squeeze, unsqueeze, expand") {
    const auto x = counted();
    const auto t = x.transpose();
    const auto p = x.permute<2, 0, 1>();
    bool right = true;
    for (long i = 0; i < 2; ++i)
        for (long j = 0; j < 3; ++j)
            for (long k = 0; k < 4; ++k) {
                const double v = x(i, j, k).item();
                right = right && t(i, k, j).item() == v && p(k, i, j).item() == v;
            }
    CHECK(right);
    CHECK(x.transpose<0, 2>().shape() == Shape<3>{{4, 3, 2}});
    CHECK(x.unsqueeze<-1>().shape() == Shape<4>{{2, 3, 4, 1}});
    CHECK(x.unsqueeze<0>().squeeze<0>().shape() == x.shape());
    CHECK(contains(error_of<ShapeError>([&] { (void)x.squeeze<1>(); }), "has size 3, expected 1"));
    const auto row = from<double>({1, 3}, {1, 2, 3});
    const auto e = row.expand({2, 4, -1});
    CHECK(e.shape() == Shape<3>{{2, 4, 3}});
    CHECK(e(1, 3, 2).item() == 3);
    CHECK(row.expand({0, 3}).size() == 0);
    CHECK(contains(error_of<ShapeError>([&] { (void)row.expand({2, 4}); }), "has size 3 and cannot become 4"));
    CHECK(contains(error_of<ShapeError>([&] { (void)row.expand({-2, 3}); }), "negative size -2"));
    CHECK(contains(error_of<ShapeError>([&] { e.fill(1); }), "cannot write into an expanded tensor"));
}

TEST_CASE("reshape is a view where the strides allow it, else a copy with the same elements") {
    const auto x = counted();
    const auto flat = x.reshape({24});
    CHECK(flat.data() == x.data());
    CHECK(x.reshape({4, -1}).shape(1) == 6);
    const auto half = x(all, all, slice(0, 2));  // strides 12, 4, 1
    CHECK(half.reshape({6, 2}).data() == half.data());
    CHECK(half.reshape({2, 3, 1, 2}).data() == half.data());
    const auto copied = half.reshape({12});
    CHECK(copied.data() != half.data());
    CHECK(copied.data()[3] == half(0, 1, 1).item());
    const auto turned = x.transpose().reshape({24});
    CHECK(turned.data()[1] == x(0, 1, 0).item());
    CHECK(x(0, 0, slice(0, 1)).reshape({}).item() == 0);
    CHECK(zeros<float>({0, 3}).reshape({3, 0, 2}).size() == 0);
    CHECK(contains(error_of<ShapeError>([&] { (void)x.reshape({5, -1}); }), "24 elements, which do not fit [5, -1]"));
    CHECK(contains(error_of<ShapeError>([&] { (void)x.reshape({-1, -1}); }), "one -1"));
}

TEST_CASE("views of views, through formulas and gradients") {
    const auto x = eval(counted() * 0.1 - 1.);
    testing::gradcheck([](auto a) { return sin(a.transpose()(all, slice(1, 4), 1)); }, x);
    testing::gradcheck([](auto a) { return tanh(a.template permute<2, 0, 1>().reshape({4, 6})(slice(0, 4, 2))); }, x);
    testing::gradcheck([](auto a) { return square(a(1).template unsqueeze<0>().expand({5, 3, 4})) * a(0); }, x);
    testing::gradcheck([](auto a) { return a(0) * a(1) + a(0).transpose().transpose(); }, x);
}

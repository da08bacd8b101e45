// NumPy's broadcasting rules, exactly: every pair of shapes up to rank 3 with sizes 0, 1, 2 and 3.
#include <tenon/tenon.hpp>

#include <catch2/catch.hpp>

using namespace tenon;

namespace {

template <int R>
struct Shapes {
    static constexpr int count = R == 0 ? 1 : 4 * Shapes<(R > 0 ? R - 1 : 0)>::count;
};
template <>
struct Shapes<0> { static constexpr int count = 1; };
template <int R>
Shape<R> shape_number(int n) {
    Shape<R> s;
    for (int i = 0; i < R; ++i, n /= 4) s.dims[i] = n % 4;
    return s;
}

// What NumPy says: aligned at the last axis, equal or one of them 1. False: no common shape.
template <int A, int B, int C = (A > B ? A : B)>
bool merge(const Shape<A>& a, const Shape<B>& b, Shape<C>& result) {
    for (int i = 0; i < C; ++i) {
        const long x = i < C - A ? 1 : a[i - (C - A)], y = i < C - B ? 1 : b[i - (C - B)];
        if (x != y && x != 1 && y != 1) return false;
        result[i] = x == 1 ? y : x;
    }
    return true;
}
template <int R, int C>
long offset(const Shape<R>& s, const long (&index)[8]) {
    long at = 0;
    for (int i = 0; i < R; ++i) at = at * s[i] + (s[i] == 1 ? 0 : index[C - R + i]);
    return at;
}

template <int A, int B>
void check_pairs() {
    constexpr int C = A > B ? A : B;
    long wrong = 0, refused = 0;
    for (int m = 0; m < Shapes<A>::count; ++m)
        for (int n = 0; n < Shapes<B>::count; ++n) {
            const Shape<A> sa = shape_number<A>(m);
            const Shape<B> sb = shape_number<B>(n);
            Tensor<float, A> a = empty<float>(sa);
            Tensor<float, B> b = empty<float>(sb);
            for (long i = 0; i < a.size(); ++i) a.data()[i] = static_cast<float>(i + 1);
            for (long i = 0; i < b.size(); ++i) b.data()[i] = static_cast<float>(100 * (i + 1));
            Shape<C> expected;
            if (!merge(sa, sb, expected)) {
                try {
                    Tensor<float, C> y = a + b;
                    ++wrong;
                } catch (const ShapeError&) {
                    ++refused;
                }
                continue;
            }
            const Tensor<float, C> y = a + b;
            bool right = y.shape() == expected;
            long index[8] = {};
            for (long i = 0; right && i < y.size(); ++i) {
                long rest = i;
                for (int d = C - 1; d >= 0; --d) index[d] = rest % expected[d], rest /= expected[d];
                right = y.data()[i] == a.data()[offset<A, C>(sa, index)] + b.data()[offset<B, C>(sb, index)];
            }
            wrong += right ? 0 : 1;
        }
    INFO("ranks " << A << " and " << B);
    CHECK(wrong == 0);
    if (A > 0 && B > 0) CHECK(refused > 0);
}

}  // namespace

TEST_CASE("shapes broadcast as in NumPy, or are refused") {
    check_pairs<0, 2>();
    check_pairs<1, 1>();
    check_pairs<1, 3>();
    check_pairs<2, 2>();
    check_pairs<3, 2>();
    check_pairs<3, 3>();
}

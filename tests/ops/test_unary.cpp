// Every unary record of the operator table: PyTorch's values, gradient checks, views, tails, threads.
#include "elementwise_checks.hpp"

using namespace operators;

TEST_CASE("unary operations have PyTorch's values and derivatives, in float and double") {
    for_each_unary([](const auto& record) {
        check_golden<double>(record);
        check_golden<float>(record);
    });
}
TEST_CASE("unary operations pass the gradient check") {
    for_each_unary([](const auto& record) {
        INFO(record.name);
        const auto x = uniform<double>({3, 7}, Key{5}, {record.domain.low, record.domain.high});
        CHECK_NOTHROW(testing::gradcheck(record.formula, x));
        CHECK_NOTHROW(testing::gradcheck([&](auto v) { return sum<1>(record.formula(v.transpose())); }, x));
    });
}
TEST_CASE("unary operations do not depend on views, sizes and threads") {
    for_each_unary([](const auto& record) { check_variants(record); });
}

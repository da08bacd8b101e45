// Second derivatives of linear algebra: the rules of its nodes, run recorded.
#pragma once

#include <tenon/autograd/recorded.hpp>
#include <tenon/ops/linalg.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

#define TENON_RULE(name)                                                                                                                \
    inline detail::RecordedBackward name##_float_entry{&detail::node_kind<RuleNode<float, name<float>>>, &RuleNode<float, name<float>>::record_backward}; \
    inline detail::RecordedBackward name##_double_entry{&detail::node_kind<RuleNode<double, name<double>>>, &RuleNode<double, name<double>>::record_backward};
TENON_RULE(BandRule)
TENON_RULE(TriangularRule)
TENON_RULE(CholeskyRule)
TENON_RULE(ExchangeRule)
TENON_RULE(LuRule)
TENON_RULE(SolveRule)
TENON_RULE(InverseRule)
TENON_RULE(DetRule)
TENON_RULE(SignedLogDetRule)
TENON_RULE(QrRule)
TENON_RULE(EighRule)
TENON_RULE(SvdRule)
TENON_RULE(PinvRule)
TENON_RULE(LeastSquaresRule)
#undef TENON_RULE

}  // namespace impl
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

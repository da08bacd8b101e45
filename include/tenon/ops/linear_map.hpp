// Operations that are linear in one tensor, y = A x: the derivative is the transposed map, whose derivative is A again.
//
// A Map names its sizes and runs in both directions:
//     int rank(bool transposed); const long* dims(bool transposed);       sizes of the result
//     void run<T>(Device device, bool transposed, const T* from, T* to, bool add);   contiguous on both sides
//     void release();                                                    lets go of what it holds
#pragma once

#include <tenon/autograd/operation_node.hpp>
#include <tenon/ops/copy.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

template <class T, class Map>
class LinearMapNode final : public detail::OperationNode<1> {
public:
    LinearMapNode(const char* operation, detail::Record* x, const Map& map, bool transposed) : OperationNode(operation), map_(map), transposed_(transposed) {
        set_input(0, x);
        // A fill value is no part of the derivative.
        if constexpr (requires { map_.fill(0.0); }) map_.fill(0.0);
    }
    const void* kind() const noexcept override { return &detail::node_kind<LinearMapNode>; }
    void release_saved() noexcept override { map_.release(); }
    void backward() override {
        const T* dy = reinterpret_cast<const T*>(gradient()->data());
        const detail::GradientTarget to = detail::gradient_target(edges_[0]);
        map_.template run<T>(to.record->storage->device, !transposed_, dy, reinterpret_cast<T*>(to.record->data()), to.mode == 2);
    }
    const Map& map() const { return map_; }
    bool transposed() const { return transposed_; }

private:
    Map map_;
    bool transposed_;
};

// y = A x (or A' x) of a contiguous x, recorded.
template <class T, class Map>
detail::AnyTensor apply_map(const char* operation, detail::Record* x, const Map& map, bool transposed = false) {
    check_device(operation, x->storage->device);
    detail::AnyTensor y(detail::new_record(x->dtype, map.rank(transposed), map.dims(transposed), x->storage->device, operation));
    map.template run<T>(x->storage->device, transposed, reinterpret_cast<const T*>(x->data()), reinterpret_cast<T*>(y->data()), false);
    if constexpr (Floating<T>)
        if (detail::wants_gradient(x)) detail::make_node<LinearMapNode<T, Map>>(operation, x, map, transposed)->set_result(y.get());
    return y;
}

}  // namespace impl
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

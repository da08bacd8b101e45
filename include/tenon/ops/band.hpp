// Operations that treat the axes of an image one by one (kernels/cpu/band.hpp), as recorded linear maps.
#pragma once

#include <tenon/kernels/cpu/band.hpp>
#include <tenon/ops/linear_map.hpp>
#include <tenon/ops/spatial.hpp>
#if TENON_CUDA
#include <tenon/kernels/cuda/band.cuh>
#endif

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

class BandMap {
public:
    // axes: of the D spatial ones.
    BandMap(const detail::Record* x, int spatial, const kernels::cpu::BandAxis* axes) : rank_(x->rank), spatial_(spatial) {
        for (int i = 0; i < rank_; ++i) from_[i] = to_[i] = x->dims()[i];
        for (int i = 0; i < spatial; ++i) {
            axes_[3 - spatial + i] = axes[i];
            to_[rank_ - spatial + i] = axes[i].out;
        }
    }
    int rank(bool) const { return rank_; }
    const long* dims(bool transposed) const { return transposed ? from_ : to_; }
    int spatial() const { return spatial_; }
    void release() noexcept {}
    // Both packed.
    template <class T>
    void run(Device device, bool transposed, const T* from, T* to, bool add) const {
        run_on(device, packed_volume(dims(!transposed), rank_, spatial_), packed_volume(dims(transposed), rank_, spatial_), transposed, from, to, add);
    }
    template <class T>
    void run_on(Device device, const kernels::cpu::Volume& x, const kernels::cpu::Volume& y, bool transposed, const T* from, T* to, bool add) const {
        const kernels::cpu::BandShape shape{x, y, {axes_[0], axes_[1], axes_[2]}, transposed};
        TENON_RUN(device, band(shape, from, to, add));
    }

private:
    int rank_, spatial_;
    long from_[max_rank], to_[max_rank];
    kernels::cpu::BandAxis axes_[3];
};

// The map of x as it lies in memory: its strides are read, and y's are like them.
template <class T>
detail::AnyTensor apply_band(const char* operation, detail::Record* x, const BandMap& map) {
    const Device device = x->storage->device;
    check_device(operation, device);
    detail::AnyTensor y = new_image(operation, dtype_of<T>, x, map.spatial(), map.dims(false));
    map.run_on(device, volume_of(x, map.spatial()), volume_of(y.get(), map.spatial()), false, reinterpret_cast<const T*>(x->data()),
               reinterpret_cast<T*>(y->data()), false);
    if (detail::wants_gradient(x)) detail::make_node<LinearMapNode<T, BandMap>>(operation, x, map, false)->set_result(y.get());
    return y;
}

}  // namespace impl
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

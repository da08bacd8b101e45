// DLPack: tensors handed to and taken from other libraries of the same process, without a copy.
//
// Both forms of the protocol are there: DLManagedTensorVersioned (1.x, with flags) and the older DLManagedTensor. The
// structs are those of the protocol, in a namespace of their own; a pointer to another declaration of them is cast.
#pragma once

#include <tenon/io/array.hpp>

#include <cstdint>

namespace tenon::io {

namespace dlpack {

// What <dlpack/dlpack.h> calls kDLCPU, kDLInt, kDLUInt, kDLFloat, kDLBfloat and kDLBool.
inline constexpr int cpu_device = 1, int_code = 0, uint_code = 1, float_code = 2, bfloat_code = 4, bool_code = 6;
struct DLPackVersion {
    std::uint32_t major, minor;
};
struct DLDevice {
    std::int32_t device_type, device_id;
};
struct DLDataType {
    std::uint8_t code, bits;
    std::uint16_t lanes;
};
struct DLTensor {
    void* data;
    DLDevice device;
    std::int32_t ndim;
    DLDataType dtype;
    std::int64_t* shape;
    std::int64_t* strides;  // in elements; null: row-major
    std::uint64_t byte_offset;
};
struct DLManagedTensor {
    DLTensor dl_tensor;
    void* manager_ctx;
    void (*deleter)(DLManagedTensor* self);
};
struct DLManagedTensorVersioned {
    DLPackVersion version;
    void* manager_ctx;
    void (*deleter)(DLManagedTensorVersioned* self);
    std::uint64_t flags;
    DLTensor dl_tensor;
};
inline constexpr std::uint64_t read_only = 1, is_copied = 2;
static_assert(sizeof(DLTensor) == 48 && sizeof(DLManagedTensor) == 64 && sizeof(DLManagedTensorVersioned) == 80);

}  // namespace dlpack

namespace detail {

// What an exported tensor keeps alive.
template <class Managed>
struct DlpackExport {
    Managed managed{};
    AnyTensor tensor;
    std::int64_t shape[max_rank], strides[max_rank];
};

inline dlpack::DLDataType dlpack_type(DType dtype) {
    constexpr int codes[] = {dlpack::float_code, dlpack::float_code, dlpack::bfloat_code, dlpack::float_code, dlpack::int_code,
                             dlpack::int_code,   dlpack::int_code,   dlpack::uint_code,   dlpack::bool_code};
    return {static_cast<std::uint8_t>(codes[static_cast<int>(dtype)]), static_cast<std::uint8_t>(8 * size_of(dtype)), 1};
}

template <class Managed>
Managed* dlpack_export(const Array& x) {
    Record* r = x.record();
    if (!r->storage->device.is_cpu()) fail<DeviceError>("to_dlpack: ", r->description(), ": expected a tensor on cpu\n       hint: copy it there first: x.to(cpu)");
    if (r->node != nullptr)
        fail<GradError>("to_dlpack: ", r->description(), " is part of a recorded computation, which the other library would not see\n       hint: hand out x.detach()");
    auto* out = new DlpackExport<Managed>;
    out->tensor = x.any();
    for (int i = 0; i < r->rank; ++i) {
        out->shape[i] = r->dims()[i];
        out->strides[i] = r->strides()[i];
    }
    out->managed.manager_ctx = out;
    out->managed.deleter = [](Managed* self) {
        auto* held = static_cast<DlpackExport<Managed>*>(self->manager_ctx);
        __atomic_sub_fetch(&held->tensor->storage->exported, 1, __ATOMIC_ACQ_REL);
        delete held;
    };
    dlpack::DLTensor& t = out->managed.dl_tensor;
    t.data = r->data();
    t.device = {dlpack::cpu_device, 0};
    t.ndim = r->rank;
    t.dtype = dlpack_type(r->dtype);
    t.shape = out->shape;
    t.strides = out->strides;
    t.byte_offset = 0;
    // While it is lent out the memory stays where it is: no optimiser may move it into an arena.
    __atomic_add_fetch(&r->storage->exported, 1, __ATOMIC_ACQ_REL);
    return &out->managed;
}

// Takes over `managed`: its deleter is called when the last tensor over it is gone, or before an error leaves.
template <class Managed>
Array dlpack_import(Managed* managed, bool copy) {
    if (managed == nullptr) fail<ValueError>("from_dlpack: expected a tensor, got null");
    struct Guard {
        Managed* managed;
        ~Guard() {
            if (managed != nullptr && managed->deleter != nullptr) managed->deleter(managed);
        }
    } guard{managed};
    const dlpack::DLTensor& t = managed->dl_tensor;
    if (t.device.device_type != dlpack::cpu_device)
        fail<DeviceError>("from_dlpack: the tensor is on a device of type ", t.device.device_type, ": expected type 1, the CPU\n       hint: move it there first: x.cpu()");
    if (t.ndim < 0 || t.ndim > max_rank) fail<ShapeError>("from_dlpack: the tensor has ", t.ndim, " axes: expected 0 to ", int(max_rank));
    int found = -1;
    for (int i = 0; i < 9; ++i) {
        const dlpack::DLDataType own = dlpack_type(static_cast<DType>(i));
        if (own.code == t.dtype.code && own.bits == t.dtype.bits && t.dtype.lanes == 1) found = i;
    }
    if (found < 0)
        fail<DtypeError>("from_dlpack: the tensor has elements of type code ", int(t.dtype.code), ", ", int(t.dtype.bits), " bits, ", int(t.dtype.lanes),
                         " lanes: expected float (2) of 16, 32 or 64 bits, bfloat16 (4), int (0) of 8, 32 or 64, uint (1) of 8, or bool (6)\n       hint: convert it before");
    const DType dtype = static_cast<DType>(found);
    const int rank = t.ndim;
    long dims[max_rank], strides[max_rank], extent = 1;
    for (int i = 0; i < rank; ++i) dims[i] = t.shape[i];
    const long size = tenon::detail::checked_size("from_dlpack", dims, rank);
    row_major_strides(rank, dims, strides);
    if (t.strides != nullptr)
        for (int i = 0; i < rank; ++i) strides[i] = t.strides[i];
    for (int i = 0; i < rank && size > 0; ++i) {
        if (strides[i] < 0 && dims[i] > 1)
            fail<ValueError>("from_dlpack: axis ", i, " of ", tenon::detail::Sizes{rank, dims}, " runs backwards (stride ", strides[i],
                             "): expected strides of 0 and above\n       hint: copy it before: numpy.ascontiguousarray(x)");
        long reach = 0;
        if (__builtin_mul_overflow(dims[i] - 1, dims[i] > 1 ? strides[i] : 0, &reach) || __builtin_add_overflow(extent, reach, &extent) || extent > (1l << 56))
            fail<ValueError>("from_dlpack: axis ", i, " of ", tenon::detail::Sizes{rank, dims}, " has a stride of ", strides[i], ", which reaches beyond memory");
        if (dims[i] == 1 && strides[i] < 0) strides[i] = 1;
    }
    char* data = static_cast<char*>(t.data) + t.byte_offset;
    const std::size_t width = static_cast<std::size_t>(size_of(dtype));
    if (size == 0) {
        return Array(AnyTensor(tenon::detail::new_record(dtype, rank, dims, cpu, "from_dlpack")));
    }
    if (t.data == nullptr) fail<ValueError>("from_dlpack: the tensor of shape ", tenon::detail::Sizes{rank, dims}, " has no memory");
    if (copy || reinterpret_cast<std::uintptr_t>(data) % width != 0) {
        AnyTensor own(tenon::detail::new_record(dtype, rank, dims, cpu, "from_dlpack"));
        copy_elements(width, rank, dims, own->data(), own->strides(), data, strides);
        return Array(own);
    }
    tenon::detail::Storage* storage =
        tenon::detail::new_foreign_storage(data, static_cast<std::size_t>(extent) * width, cpu, managed, [](void* held) {
            Managed* self = static_cast<Managed*>(held);
            if (self->deleter != nullptr) self->deleter(self);
        });
    guard.managed = nullptr;
    // Shared with the other library, so it may not move either: an arena would quietly leave that library behind.
    storage->exported = 1;
    const AnyTensor whole(tenon::detail::new_record_on(storage, dtype, rank, dims));
    if (tenon::detail::is_contiguous(rank, dims, strides)) return Array(whole);
    return Array(AnyTensor(tenon::detail::new_view(whole.get(), rank, dims, strides, 0)));
}

}  // namespace detail

// The tensor for another library, sharing its memory; strides are kept. The library that takes it calls deleter when it is
// done (a "dltensor_versioned" capsule's consumer does); until then the memory stays alive and where it is: building an
// optimiser on the tensor throws. Throws DeviceError off the CPU, GradError where a gradient is recorded.
inline dlpack::DLManagedTensorVersioned* to_dlpack(const Array& x) {
    auto* managed = detail::dlpack_export<dlpack::DLManagedTensorVersioned>(x);
    managed->version = {1, 0};
    return managed;
}
// The same in the older form, for a "dltensor" capsule.
inline dlpack::DLManagedTensor* to_dlpack_unversioned(const Array& x) { return detail::dlpack_export<dlpack::DLManagedTensor>(x); }

// A tensor over the memory of another library, which is told (by its deleter) when the last tensor over it is gone. A
// read-only tensor is copied, since every tenon tensor may be written, and so is one at an odd address. The call takes
// `managed` over in any case, errors included. Throws DeviceError off the CPU, DtypeError for a type that tenon lacks,
// ShapeError above 8 axes, ValueError for a major version other than 1, and for axes that run backwards. The memory is
// shared, so an optimiser that would move it throws: give it clone(x).
inline Array from_dlpack(dlpack::DLManagedTensorVersioned* managed) {
    if (managed != nullptr && managed->version.major != 1) {
        const std::uint32_t major = managed->version.major;
        if (managed->deleter != nullptr) managed->deleter(managed);  // what every version has in the same place
        fail<ValueError>("from_dlpack: the tensor is of DLPack ", static_cast<unsigned long>(major), ".x: expected 1.x");
    }
    return detail::dlpack_import(managed, managed != nullptr && (managed->flags & dlpack::read_only) != 0);
}
inline Array from_dlpack(dlpack::DLManagedTensor* managed) { return detail::dlpack_import(managed, false); }
// The same, typed: DtypeError or ShapeError where it has another type or rank.
template <Element T, int Rank, class Managed>
Tensor<T, Rank> from_dlpack(Managed* managed) {
    return from_dlpack(managed).template as<T, Rank>();
}

}  // namespace tenon::io

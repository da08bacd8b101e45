// io::Array: a tensor whose element type and rank are known at run time only, as files hold them.
#pragma once

#include <tenon/ops/copy.hpp>

#include <cstring>
#include <string>
#include <vector>

namespace tenon::io {

// A handle on a tensor of any element type and rank; copying it shares the tensor. as<float, 2>() gives the tensor.
class Array {
public:
    // Names nothing until one is assigned.
    Array() = default;
    template <class T, int R>
    Array(const Tensor<T, R>& x) : any_((x.record(), x.any())) {}
    explicit Array(tenon::detail::AnyTensor any) : any_(static_cast<tenon::detail::AnyTensor&&>(any)) {}

    DType dtype() const { return record()->dtype; }
    int rank() const { return record()->rank; }
    long size() const { return record()->size; }
    // Throws IndexError outside of the axes; negative ones count from the end.
    long shape(int axis) const {
        const int i = axis < 0 ? axis + rank() : axis;
        if (i < 0 || i >= rank()) fail<IndexError>("shape: axis ", axis, " is outside of ", record()->description());
        return record()->dims()[i];
    }

    // The same tensor, typed. T and R must be its own: throws DtypeError or ShapeError, with what it is.
    template <Element T, int R>
    Tensor<T, R> as() const {
        if (dtype() != dtype_of<T>)
            fail<DtypeError>("Array::as: expected ", name(dtype_of<T>), ", the array is ", record()->description(), "\n       hint: take it as as<",
                             name(dtype()), ", ", rank(), ">() and cast<", name(dtype_of<T>), ">(x) what came");
        if (rank() != R)
            fail<ShapeError>("Array::as: expected rank ", int(R), ", the array is ", record()->description(), " of rank ", rank(),
                             "\n       hint: take it as as<", name(dtype()), ", ", rank(), ">() and reshape what came");
        return Tensor<T, R>(any_);
    }

    bool has_value() const noexcept { return static_cast<bool>(any_); }
    tenon::detail::Record* record() const {
        if (!any_) fail<Error>("this io::Array is empty: it was default-constructed or moved from, and names no tensor");
        return any_.get();
    }
    const tenon::detail::AnyTensor& any() const { return any_; }

private:
    tenon::detail::AnyTensor any_;
};

// What write_npz and write_safetensors take: {{"weight", w}, {"bias", b}}.
struct NamedArray {
    std::string name;
    Array array;
};

namespace detail {

using tenon::detail::AnyTensor;
using tenon::detail::Record;

// Where bytes came from, for the texts of errors: an operation, a path, a member of an archive.
struct Origin {
    const char* operation;
    const char* path;
    const char* member = nullptr;
};
inline Message& operator<<(Message& message, const Origin& o) {
    message << o.operation << ": \"" << o.path << '"';
    if (o.member != nullptr) message << ", member \"" << o.member << '"';
    return message;
}

// What was read from there, typed.
template <class T, int R>
Tensor<T, R> typed(const Origin& origin, const Array& x) {
    if (x.dtype() != dtype_of<T> || x.rank() != R) {
        Message expected;
        if (x.dtype() != dtype_of<T>) expected << "expected " << tenon::name(dtype_of<T>);
        else expected << "expected rank " << int(R);
        expected << ", the array is " << x.record()->description() << " of rank " << x.rank() << "\n       hint: read it as <" << tenon::name(x.dtype()) << ", " << x.rank()
                 << ">, then cast<...>(x) or x.reshape(...)";
        if (x.dtype() != dtype_of<T>) fail<DtypeError>(origin, ": ", expected.text());
        fail<ShapeError>(origin, ": ", expected.text());
    }
    return Tensor<T, R>(x.any());
}

inline std::size_t byte_count(const Record* r) { return static_cast<std::size_t>(r->size) * static_cast<std::size_t>(size_of(r->dtype)); }

// Copies elements of `width` bytes between two layouts (strides in elements) of the same sizes.
inline void copy_elements(std::size_t width, int rank, const long* dims, char* to, const long* to_strides, const char* from, const long* from_strides) {
    long index[max_rank] = {}, size = 1;
    for (int i = 0; i < rank; ++i) size *= dims[i];
    if (size == 0) return;
    const long inner = rank > 0 ? dims[rank - 1] : 1, to_step = rank > 0 ? to_strides[rank - 1] : 1, from_step = rank > 0 ? from_strides[rank - 1] : 1;
    const long signed_width = static_cast<long>(width);
    for (;;) {
        long a = 0, b = 0;
        for (int i = 0; i < rank - 1; ++i) {
            a += index[i] * to_strides[i];
            b += index[i] * from_strides[i];
        }
        char* t = to + a * signed_width;
        const char* f = from + b * signed_width;
        if (to_step == 1 && from_step == 1) {
            std::memcpy(t, f, width * static_cast<std::size_t>(inner));
        } else {
            for (long k = 0; k < inner; ++k) std::memcpy(t + k * to_step * signed_width, f + k * from_step * signed_width, width);
        }
        int axis = rank - 2;
        while (axis >= 0 && ++index[axis] == dims[axis]) index[axis--] = 0;
        if (axis < 0) return;
    }
}

inline void row_major_strides(int rank, const long* dims, long* strides) {
    long stride = 1;
    for (int i = rank - 1; i >= 0; --i) {
        strides[i] = stride;
        stride *= dims[i];
    }
}

// The elements in row-major order in the host's memory: the tensor itself, or a copy of one with other strides or elsewhere.
inline AnyTensor row_major(const AnyTensor& x) {
    if (!x->storage->device.is_cpu()) return impl::transferred(x.get(), cpu);
    if (x->contiguous) return x;
    AnyTensor copy(tenon::detail::new_record(x->dtype, x->rank, x->dims(), cpu, "io"));
    copy_elements(static_cast<std::size_t>(size_of(x->dtype)), x->rank, x->dims(), copy->data(), copy->strides(), x->data(), x->strides());
    return copy;
}

// Writes row-major elements into a tensor of any strides.
inline void write_elements(Record* to, const char* from, const char* operation) {
    long strides[max_rank];
    row_major_strides(to->rank, to->dims(), strides);
    if (!to->storage->device.is_cpu()) {
        const AnyTensor here(tenon::detail::new_record(to->dtype, to->rank, to->dims(), cpu, operation));
        std::memcpy(here->data(), from, static_cast<std::size_t>(to->size) * static_cast<std::size_t>(size_of(to->dtype)));
        impl::copy_records(to, impl::transferred(here.get(), to->storage->device).get());
        return tenon::detail::note_write(to->storage, operation);
    }
    copy_elements(static_cast<std::size_t>(size_of(to->dtype)), to->rank, to->dims(), to->data(), to->strides(), from, strides);
    tenon::detail::note_write(to->storage, operation);
}

}  // namespace detail
}  // namespace tenon::io

// Taking tensors apart: pieces of an axis, all of them views.
#pragma once

#include <tenon/core/tensor.hpp>

#include <new>

namespace tenon {

// Some tensors of one type, in order: what split and chunk return, and what concat takes.
template <class T, int R>
class Pieces {
public:
    Pieces() noexcept = default;
    explicit Pieces(long capacity) : data_(static_cast<Tensor<T, R>*>(std::malloc(sizeof(Tensor<T, R>) * static_cast<std::size_t>(capacity > 0 ? capacity : 1)))) {
        if (data_ == nullptr) fail<MemoryError>("split: out of memory");
    }
    Pieces(Pieces&& other) noexcept : data_(other.data_), size_(other.size_) {
        other.data_ = nullptr;
        other.size_ = 0;
    }
    Pieces& operator=(Pieces other) noexcept {
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
        return *this;
    }
    Pieces(const Pieces& other) : Pieces(other.size_) {
        for (const Tensor<T, R>& piece : other) push(piece);
    }
    ~Pieces() {
        for (long i = size_ - 1; i >= 0; --i) data_[i].~Tensor<T, R>();
        std::free(data_);
    }
    // Within the capacity.
    void push(const Tensor<T, R>& piece) { new (data_ + size_++) Tensor<T, R>(piece); }

    long size() const noexcept { return size_; }
    const Tensor<T, R>* data() const noexcept { return data_; }
    const Tensor<T, R>* begin() const noexcept { return data_; }
    const Tensor<T, R>* end() const noexcept { return data_ + size_; }
    // Throws IndexError.
    const Tensor<T, R>& operator[](long i) const {
        if (i < 0 || i >= size_) fail<IndexError>("split: piece ", i, " of ", size_);
        return data_[i];
    }

private:
    Tensor<T, R>* data_ = nullptr;
    long size_ = 0;
};

// A fixed number of tensors: auto [a, b, c] = chunk<1, 3>(x).
template <class T, int R, int N>
struct Chunks {
    Tensor<T, R> pieces[N];
    template <std::size_t I>
    const Tensor<T, R>& get() const { return pieces[I]; }
};

namespace detail {

template <int Axis, class T, int R>
Tensor<T, R> axis_range(const Tensor<T, R>& x, long begin, long length) {
    constexpr int axis = normal_axis<Axis, R>();
    ViewMap map = identity_map(x.record());
    map.start[axis] = length > 0 ? begin : 0;
    map.dims[axis] = length;
    return Tensor<T, R>(make_view(x.record(), map));
}
template <int Axis, int R>
constexpr void check_split_axis() {
    static_assert(Axis >= -R && Axis < R, "tenon: split<Axis>, chunk<Axis>: the axis is outside of the tensor's rank");
}

}  // namespace detail

// split<Axis>(x, size): views of `size` elements of the axis each, the last one of what is left. Throws ValueError for a
// size below 1. An axis without elements gives one piece.
template <int Axis, class T, int R>
[[nodiscard]] Pieces<T, R> split(const Tensor<T, R>& x, long size) {
    detail::check_split_axis<Axis, R>();
    if (size < 1) fail<ValueError>("split: size ", size, ", expected 1 or more");
    const long n = x.shape(Axis), count = n == 0 ? 1 : (n + size - 1) / size;
    Pieces<T, R> pieces(count);
    for (long k = 0; k < count; ++k) pieces.push(detail::axis_range<Axis>(x, k * size, n - k * size < size ? n - k * size : size));
    return pieces;
}
// split<Axis>(x, {2, 3, 5}): views of these sizes, which must add up to the axis. Throws ShapeError.
template <int Axis, class T, int R, std::size_t N>
[[nodiscard]] Pieces<T, R> split(const Tensor<T, R>& x, const Dim (&sizes)[N]) {
    detail::check_split_axis<Axis, R>();
    long total = 0, list[N];
    for (std::size_t k = 0; k < N; ++k) {
        list[k] = sizes[k].value;
        if (list[k] < 0) fail<ShapeError>("split: negative size ", list[k]);
        total += list[k];
    }
    if (total != x.shape(Axis))
        fail<ShapeError>("split: sizes ", detail::Sizes{static_cast<int>(N), list}, " add up to ", total, ", but axis ", Axis, " of ", x.record()->description(), " has ",
                         x.shape(Axis));
    Pieces<T, R> pieces(static_cast<long>(N));
    long begin = 0;
    for (std::size_t k = 0; k < N; ++k) {
        pieces.push(detail::axis_range<Axis>(x, begin, list[k]));
        begin += list[k];
    }
    return pieces;
}
// chunk<Axis>(x, count): views of equal sizes, the last one of what is left; as in PyTorch there may be fewer than asked for.
template <int Axis, class T, int R>
[[nodiscard]] Pieces<T, R> chunk(const Tensor<T, R>& x, long count) {
    detail::check_split_axis<Axis, R>();
    if (count < 1) fail<ValueError>("chunk: ", count, " chunks, expected 1 or more");
    const long n = x.shape(Axis);
    if (n == 0) {
        Pieces<T, R> pieces(count);
        for (long k = 0; k < count; ++k) pieces.push(x);
        return pieces;
    }
    return split<Axis>(x, (n + count - 1) / count);
}
// auto [a, b, c] = chunk<Axis, 3>(x): views of exactly equal sizes. Throws ShapeError where the axis does not divide.
template <int Axis, int N, class T, int R>
[[nodiscard]] Chunks<T, R, N> chunk(const Tensor<T, R>& x) {
    detail::check_split_axis<Axis, R>();
    static_assert(N >= 1, "tenon: chunk<Axis, N>: at least one chunk");
    const long n = x.shape(Axis);
    if (n % N != 0) fail<ShapeError>("chunk: axis ", Axis, " of ", x.record()->description(), " does not divide into ", N, " equal parts");
    Chunks<T, R, N> chunks;
    for (int k = 0; k < N; ++k) chunks.pieces[k] = detail::axis_range<Axis>(x, k * (n / N), n / N);
    return chunks;
}

}  // namespace tenon

template <class T, int R, int N>
struct std::tuple_size<tenon::Chunks<T, R, N>> : std::integral_constant<std::size_t, static_cast<std::size_t>(N)> {};
template <std::size_t I, class T, int R, int N>
struct std::tuple_element<I, tenon::Chunks<T, R, N>> { using type = const tenon::Tensor<T, R>; };

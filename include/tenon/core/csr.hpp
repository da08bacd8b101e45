// Csr<T>: a sparse matrix in compressed rows: a structure, shared and never written, and values Tensor<T, 1>.
//
// A structure is a pattern by rows, and by columns as soon as somebody asks (products with the transpose, derivatives).
// Indices are int64 at the interface and int32 inside.
#pragma once

#include <tenon/core/factories.hpp>

namespace tenon {
namespace detail {

// A counted reference to an S, which begins with references = 1 and is made by new.
template <class S>
class Shared {
public:
    Shared() noexcept = default;
    explicit Shared(S* adopted) noexcept : state_(adopted) {}
    Shared(const Shared& other) noexcept : state_(other.state_) {
        if (state_ != nullptr) __atomic_add_fetch(&state_->references, 1, __ATOMIC_RELAXED);
    }
    Shared(Shared&& other) noexcept : state_(other.state_) { other.state_ = nullptr; }
    Shared& operator=(Shared other) noexcept {
        std::swap(state_, other.state_);
        return *this;
    }
    ~Shared() {
        if (state_ != nullptr && __atomic_sub_fetch(&state_->references, 1, __ATOMIC_ACQ_REL) == 0) delete state_;
    }
    S* get() const noexcept { return state_; }
    S* operator->() const noexcept { return state_; }
    explicit operator bool() const noexcept { return state_ != nullptr; }

private:
    S* state_ = nullptr;
};

// Held while something shared is made on first use.
class FirstUse {
public:
    explicit FirstUse(int& lock) : lock_(lock) {
        while (__atomic_exchange_n(&lock_, 1, __ATOMIC_ACQUIRE) != 0) {}
    }
    FirstUse(const FirstUse&) = delete;
    FirstUse& operator=(const FirstUse&) = delete;
    ~FirstUse() { __atomic_store_n(&lock_, 0, __ATOMIC_RELEASE); }

private:
    int& lock_;
};

}  // namespace detail

// Which elements there are, row after row: row r has columns[k] for k in [pointers[r], pointers[r + 1]), and what is known
// of that element (its value, an edge's features) is number edges[k].
struct CsrPattern {
    long rows = 0, width = 0;                // rows and columns of the matrix
    Tensor<std::int32_t, 1> pointers;        // [rows + 1]
    Tensor<std::int32_t, 1> columns, edges;  // [elements]
    bool in_order = true;                    // edges[k] is k throughout
    long longest = -1;                       // elements of the longest row; -1: not known

    long elements() const { return columns.size(); }
    Device device() const { return pointers.device(); }
    CsrPattern to(Device device) const {
        return {rows, width, pointers.to(device), columns.to(device), edges.to(device), in_order, longest};
    }
};

namespace detail {

inline constexpr long most_indices = 0x7fffffff;

// The elements (row_of(k), column_of(k)) with the numbers edge_of(k), k < count, sorted by row; those of one row keep
// their order. A counting sort: O(count + rows).
template <class Row, class Column, class EdgeOf>
CsrPattern sort_by_row(long rows, long width, long count, Row&& row_of, Column&& column_of, EdgeOf&& edge_of) {
    CsrPattern p{rows, width, zeros<std::int32_t>({rows + 1}), empty<std::int32_t>({count}), empty<std::int32_t>({count}), true};
    std::int32_t* const begin = p.pointers.data();
    for (long k = 0; k < count; ++k) ++begin[row_of(k)];
    std::int32_t sum = 0;
    for (long r = 0; r < rows; ++r) {
        const std::int32_t here = begin[r];
        begin[r] = sum;
        sum += here;
        if (here > p.longest) p.longest = here;
    }
    begin[rows] = sum;
    for (long k = 0; k < count; ++k) {
        const std::int32_t at = begin[row_of(k)]++;
        p.columns.data()[at] = static_cast<std::int32_t>(column_of(k));
        p.edges.data()[at] = static_cast<std::int32_t>(edge_of(k));
    }
    // Every row's beginning has moved to its end, the next one's beginning.
    for (long r = rows - 1; r > 0; --r) begin[r] = begin[r - 1];
    if (rows > 0) begin[0] = 0;
    for (long k = 0; k < count && p.in_order; ++k) p.in_order = p.edges.data()[k] == k;
    return p;
}

// The same elements by columns, those of one column in the order of their rows.
inline CsrPattern transposed(const CsrPattern& p) {
    if (!p.device().is_cpu()) return transposed(p.to(cpu)).to(p.device());
    const long count = p.elements();
    const Tensor<std::int32_t, 1> row = empty<std::int32_t>({count});
    for (long r = 0; r < p.rows; ++r)
        for (long k = p.pointers.data()[r]; k < p.pointers.data()[r + 1]; ++k) row.data()[k] = static_cast<std::int32_t>(r);
    const std::int32_t *rows = row.data(), *columns = p.columns.data(), *edges = p.edges.data();
    return sort_by_row(p.width, p.rows, count, [&](long k) { return columns[k]; }, [&](long k) { return rows[k]; }, [&](long k) { return edges[k]; });
}

}  // namespace detail

// A pattern by rows and, made on first use, by columns. A cheap handle: copies share.
class CsrStructure {
public:
    // An empty handle.
    CsrStructure() = default;
    explicit CsrStructure(CsrPattern pattern) : state_(new State) { state_->by_row = static_cast<CsrPattern&&>(pattern); }
    // The same elements both ways, as the caller knows.
    CsrStructure(CsrPattern rows, CsrPattern columns) : CsrStructure(static_cast<CsrPattern&&>(rows)) {
        state_->by_column = static_cast<CsrPattern&&>(columns);
        state_->has_columns = true;
    }

    bool has_value() const { return static_cast<bool>(state_); }
    const CsrPattern& by_row() const { return state()->by_row; }
    const CsrPattern& by_column() const {
        State* const s = state();
        const detail::FirstUse guard(s->lock);
        if (!s->has_columns) {
            s->by_column = detail::transposed(s->by_row);
            s->has_columns = true;
        }
        return s->by_column;
    }
    long rows() const { return by_row().rows; }
    long columns() const { return by_row().width; }
    long elements() const { return by_row().elements(); }
    Device device() const { return by_row().device(); }
    CsrStructure to(Device device) const { return device == this->device() ? *this : CsrStructure(by_row().to(device)); }
    bool same_as(const CsrStructure& other) const { return state_.get() == other.state_.get(); }

private:
    struct State {
        int references = 1, lock = 0;
        bool has_columns = false;
        CsrPattern by_row, by_column;
    };
    State* state() const {
        if (TENON_UNLIKELY(!state_)) fail<Error>("this sparse matrix or graph is empty: it was default-constructed");
        return state_.get();
    }
    detail::Shared<State> state_;
};

// A sparse matrix. Not a tensor: its values are one, and gradients go to them only. matmul(a, x) is in ops/sparse.hpp.
template <Element T>
class Csr {
public:
    using Scalar = T;

    // An empty handle.
    Csr() = default;
    // Element k of the structure has the value values[edges[k]]. Throws ShapeError where there are not as many.
    Csr(CsrStructure structure, Tensor<T, 1> values) : structure_(static_cast<CsrStructure&&>(structure)), values_(static_cast<Tensor<T, 1>&&>(values)) {
        if (values_.size() != structure_.elements())
            fail<ShapeError>("Csr: ", values_.record()->description(), " came as the values of ", structure_.elements(), " elements");
    }

    // Row r has the columns columns[k] and values[k] for k in [pointers[r], pointers[r + 1]); columns of a row in any order.
    // Throws ShapeError, ValueError where the pointers go down, IndexError where a column is not below `width`.
    static Csr from_pointers(const Tensor<std::int64_t, 1>& pointers, const Tensor<std::int64_t, 1>& columns, const Tensor<T, 1>& values, long width) {
        const Tensor<std::int64_t, 1> p = pointers.detach().to(cpu), c = columns.detach().to(cpu);
        const long rows = p.size() - 1, count = c.size();
        if (rows < 0) fail<ShapeError>("Csr: no row pointers came, expected one more than there are rows");
        if (values.size() != count) fail<ShapeError>("Csr: ", count, " columns, but the values are ", values.record()->description());
        if (rows > detail::most_indices || width > detail::most_indices || count > detail::most_indices)
            fail<ValueError>("Csr: ", rows, " x ", width, " with ", count, " elements, expected fewer than 2^31 of each");
        const auto pointer = [&](long k) { return static_cast<long>(p.data()[k * p.stride(0)]); };
        const auto column = [&](long k) { return static_cast<long>(c.data()[k * c.stride(0)]); };
        if (pointer(0) != 0 || pointer(rows) != count)
            fail<ValueError>("Csr: the row pointers go from ", pointer(0), " to ", pointer(rows), ", expected 0 to ", count, ", the number of columns given");
        for (long r = 0; r < rows; ++r)
            if (pointer(r + 1) < pointer(r))
                fail<ValueError>("Csr: the row pointers go down at position ", r + 1, ", from ", pointer(r), " to ", pointer(r + 1));
        CsrPattern pattern{rows, width, empty<std::int32_t>({rows + 1}), empty<std::int32_t>({count}), empty<std::int32_t>({count}), true};
        for (long r = 0; r <= rows; ++r) pattern.pointers.data()[r] = static_cast<std::int32_t>(pointer(r));
        for (long k = 0; k < count; ++k) {
            if (column(k) < 0 || column(k) >= width)
                fail<IndexError>("Csr: column ", column(k), " of element ", k, " is out of range, expected 0 to ", width - 1);
            pattern.columns.data()[k] = static_cast<std::int32_t>(column(k));
            pattern.edges.data()[k] = static_cast<std::int32_t>(k);
        }
        return Csr(CsrStructure(pattern.to(values.device())), values);
    }
    // The elements of a matrix that are not 0.
    static Csr from_dense(const Tensor<T, 2>& dense) {
        const Tensor<T, 2> x = dense.detach().to(cpu);
        const long rows = x.shape(0), width = x.shape(1);
        const auto at = [&](long r, long c) { return x.data()[r * x.stride(0) + c * x.stride(1)]; };
        const auto filled = [&](long r, long c) { return !(static_cast<double>(at(r, c)) == 0); };
        const Tensor<std::int64_t, 1> pointers = zeros<std::int64_t>({rows + 1});
        for (long r = 0; r < rows; ++r) {
            long here = 0;
            for (long c = 0; c < width; ++c) here += filled(r, c) ? 1 : 0;
            pointers.data()[r + 1] = pointers.data()[r] + here;
        }
        const long count = static_cast<long>(pointers.data()[rows]);
        const Tensor<std::int64_t, 1> columns = empty<std::int64_t>({count});
        const Tensor<T, 1> values = empty<T>({count});
        for (long r = 0, k = 0; r < rows; ++r)
            for (long c = 0; c < width; ++c)
                if (filled(r, c)) {
                    columns.data()[k] = c;
                    values.data()[k++] = at(r, c);
                }
        return from_pointers(pointers, columns, values.to(dense.device()), width);
    }

    long shape(int axis) const { return axis == 0 ? structure_.rows() : structure_.columns(); }
    long elements() const { return structure_.elements(); }
    Device device() const { return values_.device(); }
    const CsrStructure& structure() const { return structure_; }
    const Tensor<T, 1>& values() const { return values_; }
    // The same elements with other values: dropout, scaling.
    Csr with_values(Tensor<T, 1> values) const { return Csr(structure_, static_cast<Tensor<T, 1>&&>(values)); }
    Csr to(Device device) const { return Csr(structure_.to(device), values_.to(device)); }
    // Zeros written out, on the CPU, without gradient record.
    Tensor<T, 2> to_dense() const {
        const CsrPattern p = structure_.by_row().to(cpu);
        const Tensor<T, 1> v = values_.detach().to(cpu);
        const Tensor<T, 2> x = zeros<T>({p.rows, p.width});
        for (long r = 0; r < p.rows; ++r)
            for (long k = p.pointers.data()[r]; k < p.pointers.data()[r + 1]; ++k) {
                T& to = x.data()[r * p.width + p.columns.data()[k]];
                to = static_cast<T>(to + v.data()[p.edges.data()[k] * v.stride(0)]);
            }
        return x;
    }

private:
    CsrStructure structure_;
    Tensor<T, 1> values_;
};

}  // namespace tenon

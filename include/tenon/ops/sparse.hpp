// Products with sparse matrices: of rows with weights, and of pairs of rows. Each is the other's derivative.
#pragma once

#include <tenon/core/csr.hpp>
#include <tenon/kernels/cpu/graph/extreme.hpp>
#include <tenon/kernels/cpu/graph/sddmm.hpp>
#if defined(TENON_EXTERN_KERNELS)
#include <tenon/kernels/cpu/graph/instances.hpp>
#endif
#include <tenon/ops/index.hpp>
#if TENON_CUDA
#include <tenon/kernels/cuda/graph/spmm.cuh>
#endif

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

inline kernels::cpu::CsrRows csr_rows(const CsrPattern& p) {
    return {p.rows, p.width, p.pointers.data(), p.columns.data(), p.in_order ? nullptr : p.edges.data(), p.elements(), p.longest};
}

// Values in the order of a structure's rows, and of its columns: read in place of values by number; empty where there are none.
struct OrderedValues {
    detail::AnyTensor by_row, by_column;
};

// How a product reads its operands: x [rows or columns of the structure, heads, width], weights [elements, heads].
struct SparseProduct {
    CsrStructure structure;
    bool transposed = false;  // rows of the result are the structure's columns
    bool mean = false;        // of the elements of a row; not transposed
    long heads = 1, width = 1;
    // Where only one element counts for each place of the structure's rows [rows, heads, width]: its number, int32.
    detail::AnyTensor chosen;

    const CsrPattern& pattern(bool turned) const { return turned ? structure.by_column() : structure.by_row(); }
    const std::int32_t* names() const { return chosen ? reinterpret_cast<const std::int32_t*>(chosen->data()) : nullptr; }

    // to (+)= A x, or A' x where turned. ordered: the weights again, in the order of those rows, or empty.
    template <class T>
    void multiply(bool turned, const T* weight, const T* x, bool of_mean, T* to, bool add, const detail::AnyTensor& ordered = {}) const {
        const Device device = structure.device();
        kernels::cpu::SpmmProblem<T> p{csr_rows(pattern(turned)), weight, heads, width, x, names(), of_mean, to, add};
        if (ordered) {
            p.weight = reinterpret_cast<const T*>(ordered->data());
            p.a.edges = nullptr;
        }
        if (!chosen) TENON_RUN(device, spmm(p));
        else if (turned) TENON_RUN(device, spmm<kernels::cpu::Chosen::by_column>(p));
        else TENON_RUN(device, spmm<kernels::cpu::Chosen::by_row>(p));
    }
    // to[element, head] (+)= u[row] . v[column].
    template <class T>
    void pair(const T* u, const T* v, T* to, bool add) const {
        const kernels::cpu::SddmmProblem<T> p{csr_rows(structure.by_row()), heads, width, u, v, names(), to, add};
        TENON_RUN(structure.device(), sddmm(p));
    }
};

template <class T>
detail::AnyTensor mean_shares(const SparseProduct& p, const detail::Record* from) {
    detail::AnyTensor to(detail::new_record(dtype_of<T>, from->rank, from->dims(), from->storage->device));
    TENON_RUN(from->storage->device, mean_share(p.structure.rows(), static_cast<const std::int32_t*>(p.structure.by_row().pointers.data()), p.heads * p.width,
                                                reinterpret_cast<const T*>(from->data()), reinterpret_cast<T*>(to->data())));
    return to;
}

// y = A(w) x: linear in x and in w.
template <class T>
class SpmmNode final : public detail::OperationNode<2> {
public:
    // ordered: weights of the backward pass in the order of its rows, or empty.
    SpmmNode(const char* operation, const SparseProduct& product, detail::Record* x, detail::Record* w, const detail::AnyTensor& ordered = {})
        : OperationNode(operation), product_(product), ordered_(ordered) {
        set_input(0, x);
        if (w == nullptr) return;
        set_input(1, w);
        if (wanted(1)) x_.save(x);
        if (wanted(0)) w_.save(w);
    }
    const void* kind() const noexcept override { return &detail::node_kind<SpmmNode>; }
    void release_saved() noexcept override {
        x_.tensor = w_.tensor = ordered_ = detail::AnyTensor();
        product_ = SparseProduct();
    }
    void backward() override {
        detail::AnyTensor shares;
        if (product_.mean) shares = mean_shares<T>(product_, gradient());
        const T* dy = reinterpret_cast<const T*>(shares ? shares->data() : gradient()->data());
        if (wanted(0)) {
            const T* w = w_.tensor ? reinterpret_cast<const T*>(w_.check(name)->data()) : nullptr;
            const detail::GradientTarget to = detail::gradient_target(edges_[0]);
            product_.template multiply<T>(!product_.transposed, w, dy, false, reinterpret_cast<T*>(to.record->data()), to.mode == 2, ordered_);
        }
        if (wanted(1)) {
            const T* x = reinterpret_cast<const T*>(x_.check(name)->data());
            const detail::GradientTarget to = detail::gradient_target(edges_[1]);
            product_.template pair<T>(product_.transposed ? x : dy, product_.transposed ? dy : x, reinterpret_cast<T*>(to.record->data()), to.mode == 2);
        }
    }
    const SparseProduct& product() const { return product_; }
    const detail::Saved& x() const { return x_; }
    const detail::Saved& w() const { return w_; }

private:
    SparseProduct product_;
    detail::Saved x_, w_;
    detail::AnyTensor ordered_;
};

// y[element, head] = u[row] . v[column].
template <class T>
class SddmmNode final : public detail::OperationNode<2> {
public:
    SddmmNode(const char* operation, const SparseProduct& product, detail::Record* u, detail::Record* v) : OperationNode(operation), product_(product) {
        set_input(0, u);
        set_input(1, v);
        if (wanted(1)) u_.save(u);
        if (wanted(0)) v_.save(v);
    }
    const void* kind() const noexcept override { return &detail::node_kind<SddmmNode>; }
    void release_saved() noexcept override {
        u_.tensor = v_.tensor = detail::AnyTensor();
        product_ = SparseProduct();
    }
    void backward() override {
        const T* dy = reinterpret_cast<const T*>(gradient()->data());
        for (int k = 0; k < 2; ++k) {
            if (!wanted(k)) continue;
            const T* other = reinterpret_cast<const T*>((k == 0 ? v_ : u_).check(name)->data());
            const detail::GradientTarget to = detail::gradient_target(edges_[k]);
            product_.template multiply<T>(k == 1, dy, other, false, reinterpret_cast<T*>(to.record->data()), to.mode == 2);
        }
    }
    const SparseProduct& product() const { return product_; }
    const detail::Saved& u() const { return u_; }
    const detail::Saved& v() const { return v_; }

private:
    SparseProduct product_;
    detail::Saved u_, v_;
};

// The product, recorded. Operands are contiguous and checked; the result has the sizes given.
template <class T>
detail::AnyTensor spmm_of(const char* operation, const SparseProduct& p, detail::Record* x, detail::Record* w, int rank, const long* dims,
                          const OrderedValues& ordered = {}) {
    detail::AnyTensor y(detail::new_record(dtype_of<T>, rank, dims, x->storage->device, operation));
    p.template multiply<T>(p.transposed, w != nullptr ? reinterpret_cast<const T*>(w->data()) : nullptr, reinterpret_cast<const T*>(x->data()), p.mean,
                           reinterpret_cast<T*>(y->data()), false, p.transposed ? ordered.by_column : ordered.by_row);
    if (detail::wants_gradient(x) || (w != nullptr && detail::wants_gradient(w)))
        detail::make_node<SpmmNode<T>>(operation, p, x, w, p.transposed ? ordered.by_row : ordered.by_column)->set_result(y.get());
    return y;
}
template <class T>
detail::AnyTensor sddmm_of(const char* operation, const SparseProduct& p, detail::Record* u, detail::Record* v, int rank, const long* dims) {
    detail::AnyTensor y(detail::new_record(dtype_of<T>, rank, dims, u->storage->device, operation));
    p.template pair<T>(reinterpret_cast<const T*>(u->data()), reinterpret_cast<const T*>(v->data()), reinterpret_cast<T*>(y->data()), false);
    if (detail::wants_gradient(u) || detail::wants_gradient(v)) detail::make_node<SddmmNode<T>>(operation, p, u, v)->set_result(y.get());
    return y;
}

template <bool Transposed, class T, class X>
auto sparse_matmul(const char* name, const Csr<T>& a, X&& given) {
    const auto x = contiguous(as_tensor(static_cast<X&&>(given)));
    using Own = std::remove_const_t<decltype(x)>;
    static_assert(Floating<T>, "tenon: matmul of a sparse matrix: defined for floating-point values");
    static_assert(std::is_same_v<typename Own::Scalar, T>, "tenon: matmul of a sparse matrix: both operands must have one element type");
    static_assert(Own::rank == 1 || Own::rank == 2, "tenon: matmul of a sparse matrix: the other operand is a vector or a matrix");
    const CsrStructure& s = a.structure();
    check_device(name, x.device());
    if (!(x.device() == s.device())) fail_devices(name, s.device(), x.device());
    if (x.shape(0) != a.shape(Transposed ? 0 : 1))
        fail<ShapeError>(name, ": inner sizes differ: the sparse matrix is [", a.shape(0), ", ", a.shape(1), "], the other operand ", x.record()->description());
    const auto w = contiguous(a.values());
    const long dims[2] = {a.shape(Transposed ? 1 : 0), Own::rank == 2 ? x.shape(-1) : 1};
    const SparseProduct p{s, Transposed, false, 1, dims[1], {}};
    return Own(spmm_of<T>(name, p, x.record(), w.record(), Own::rank, dims));
}

}  // namespace impl

// matmul(a, x): a sparse matrix [M, N] times x, [N] or [N, F]; result [M] or [M, F]. 16-bit types add up in float. Throws
// ShapeError. Derivatives of x and of the matrix's values.
template <Element T, Expression X>
[[nodiscard]] auto matmul(const Csr<T>& a, X&& x) { return impl::sparse_matmul<false>("matmul", a, static_cast<X&&>(x)); }
// a' x of x [M] or [M, F]; result [N] or [N, F].
template <Element T, Expression X>
[[nodiscard]] auto matmul_transposed(const Csr<T>& a, X&& x) { return impl::sparse_matmul<true>("matmul_transposed", a, static_cast<X&&>(x)); }

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

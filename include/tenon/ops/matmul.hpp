// Matrix products: lazy, so that what follows rides in the product's epilogue.
#pragma once

#include <tenon/autograd/evaluate.hpp>
#include <tenon/autograd/operation_node.hpp>
#include <tenon/kernels/cpu/gemm.hpp>
#include <tenon/runtime/precision.hpp>
#if TENON_CUDA
#include <tenon/kernels/cuda/gemm.cuh>
#endif

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

// What a product is, apart from element type and rank: C[batch..., m, n] = A[batch..., m, k] B[batch..., k, n].
struct ProductSpec {
    detail::AnyTensor a, b;
    bool b_transposed = false;  // b is stored [n, k], as the weight of a linear layer
    long m = 1, n = 1, k = 1;
    int batch_rank = 0;
    long batch[max_rank];
    long a_batch_strides[max_rank], b_batch_strides[max_rank];
    long a_row = 0, a_column = 0, b_row = 0, b_column = 0;  // strides in elements
};

// Works out sizes and strides; dims gets the sizes of the result. Throws ShapeError and DeviceError in the name of the operation.
inline void set_product(const char* where, ProductSpec& s, long* dims) {
    const detail::Record *a = s.a.get(), *b = s.b.get();
    if (!(a->storage->device == b->storage->device)) fail_devices(where, a->storage->device, b->storage->device);
    const int ra = a->rank, rb = b->rank;
    s.k = a->dims()[ra - 1];
    s.a_column = a->strides()[ra - 1];
    if (ra > 1) {
        s.m = a->dims()[ra - 2];
        s.a_row = a->strides()[ra - 2];
    }
    long inner;
    if (rb == 1) {
        inner = b->dims()[0];
        s.b_row = b->strides()[0];
    } else {
        const int k_axis = s.b_transposed ? rb - 1 : rb - 2, n_axis = s.b_transposed ? rb - 2 : rb - 1;
        inner = b->dims()[k_axis];
        s.b_row = b->strides()[k_axis];
        s.n = b->dims()[n_axis];
        s.b_column = b->strides()[n_axis];
    }
    if (inner != s.k) {
        Message hint;
        if (rb >= 2 && b->dims()[s.b_transposed ? rb - 2 : rb - 1] == s.k) hint << "; did you mean transpose(right)?";
        fail<ShapeError>(where, ": inner sizes differ: left is ", a->description(), " (last axis ", s.k, "), right is ", b->description(), " (",
                         s.b_transposed || rb == 1 ? "last" : "second to last", " axis ", inner, ").\n       hint: the left's last axis must equal the right's ",
                         s.b_transposed ? "last (a weight is [out, in])" : rb == 1 ? "only one" : "second to last", hint.text());
    }
    const int ba = ra > 2 ? ra - 2 : 0, bb = rb > 2 ? rb - 2 : 0;
    s.batch_rank = ba > bb ? ba : bb;
    for (int i = 0; i < s.batch_rank; ++i) s.batch[i] = 1;
    int bad = 0;
    if (!merge_dims(s.batch, s.batch_rank, a->dims(), ba, &bad) || !merge_dims(s.batch, s.batch_rank, b->dims(), bb, &bad))
        fail<ShapeError>(where, ": batch axes cannot be broadcast: left is ", a->description(), ", right is ", b->description(), " (axis ", bad, ")");
    broadcast_strides(s.a_batch_strides, s.batch_rank, ba, a->dims(), a->strides());
    broadcast_strides(s.b_batch_strides, s.batch_rank, bb, b->dims(), b->strides());
    int at = 0;
    for (int i = 0; i < s.batch_rank; ++i) dims[at++] = s.batch[i];
    if (ra > 1) dims[at++] = s.m;
    if (rb > 1) dims[at++] = s.n;
    // Rows of all batches are rows of one product where the right side is shared and the left side is laid out so.
    bool one = bb == 0 && s.batch_rank > 0;
    long rows = s.m;
    for (int i = s.batch_rank - 1; i >= 0 && one; --i) {
        one = s.a_batch_strides[i] == s.a_row * rows || s.batch[i] == 1;
        rows *= s.batch[i];
    }
    if (one) {
        s.m = rows;
        s.batch_rank = 0;
    }
}

inline void set_product(ProductSpec& s, long* dims) { set_product(s.b_transposed ? "linear" : "matmul", s, dims); }

// Calls f(index, a offset, b offset) for every matrix of a batch, in order.
template <class F>
void for_batch(const ProductSpec& s, F f) {
    long count = 1;
    for (int i = 0; i < s.batch_rank; ++i) count *= s.batch[i];
    long index[max_rank] = {}, a = 0, b = 0;
    for (long p = 0; p < count; ++p) {
        f(p, a, b);
        for (int i = s.batch_rank - 1; i >= 0; --i) {
            a += s.a_batch_strides[i];
            b += s.b_batch_strides[i];
            if (++index[i] < s.batch[i]) break;
            a -= s.a_batch_strides[i] * index[i];
            b -= s.b_batch_strides[i] * index[i];
            index[i] = 0;
        }
    }
}

#if TENON_CUDA
// The product on a device: batched over the last axis, one launch for each index of what axes remain before it.
template <class T>
void run_product_on_device(const ProductSpec& s, T* c, const kernels::cpu::GemmOptions<T>& options) {
    using View = kernels::cpu::MatrixView<T>;
    ProductSpec merged = s;  // axes that both operands walk through as one
    merged.batch_rank = 0;
    for (int i = 0; i < s.batch_rank; ++i) {
        if (s.batch[i] == 1) continue;
        int at = merged.batch_rank;
        if (at > 0 && merged.a_batch_strides[at - 1] == s.a_batch_strides[i] * s.batch[i] &&
            merged.b_batch_strides[at - 1] == s.b_batch_strides[i] * s.batch[i]) {
            merged.batch[--at] *= s.batch[i];
        } else {
            merged.batch[at] = s.batch[i];
            ++merged.batch_rank;
        }
        merged.a_batch_strides[at] = s.a_batch_strides[i];
        merged.b_batch_strides[at] = s.b_batch_strides[i];
    }
    const int inner = merged.batch_rank - 1;
    const long count = inner < 0 ? 1 : merged.batch[inner], a_stride = inner < 0 ? 0 : merged.a_batch_strides[inner],
               b_stride = inner < 0 ? 0 : merged.b_batch_strides[inner];
    if (inner >= 0) merged.batch_rank = inner;
    const T* a = reinterpret_cast<const T*>(s.a->data());
    const T* b = reinterpret_cast<const T*>(s.b->data());
    for_batch(merged, [&](long p, long ao, long bo) {
        kernels::cuda::gemm_batched<T>(count, s.m, s.n, s.k, View{a + ao, s.a_row, s.a_column}, a_stride, View{b + bo, s.b_row, s.b_column},
                                       b_stride, c + p * count * s.m * s.n, s.n, s.m * s.n, options);
    });
}
#endif

// The result of C's type; a block epilogue is for the CPU.
template <class T>
void run_product(const ProductSpec& s, T* c, const kernels::cpu::GemmOptions<T>& options) {
    using View = kernels::cpu::MatrixView<T>;
#if TENON_CUDA
    if (!s.a->storage->device.is_cpu()) return run_product_on_device<T>(s, c, options);
#endif
    const T* a = reinterpret_cast<const T*>(s.a->data());
    const T* b = reinterpret_cast<const T*>(s.b->data());
    if (s.batch_rank == 0)
        return kernels::cpu::gemm<T>(s.m, s.n, s.k, View{a, s.a_row, s.a_column}, View{b, s.b_row, s.b_column}, c, s.n, options);
    if (s.batch_rank == 1)
        return kernels::cpu::gemm_batched<T>(s.batch[0], s.m, s.n, s.k, View{a, s.a_row, s.a_column}, s.a_batch_strides[0],
                                             View{b, s.b_row, s.b_column}, s.b_batch_strides[0], c, s.n, s.m * s.n, options);
    struct Shifted {
        const kernels::cpu::BlockEpilogue* epilogue;
        long rows;
    };
    for_batch(s, [&](long p, long ao, long bo) {
        kernels::cpu::GemmOptions<T> mine = options;
        Shifted shifted{&options.epilogue, p * s.m};
        if (options.epilogue.run != nullptr)
            mine.epilogue = {[](void* context, long row, long rows, long column, long columns) {
                                 const Shifted& to = *static_cast<const Shifted*>(context);
                                 to.epilogue->run(to.epilogue->context, to.rows + row, rows, column, columns);
                             },
                             &shifted};
        kernels::cpu::gemm<T>(s.m, s.n, s.k, View{a + ao, s.a_row, s.a_column}, View{b + bo, s.b_row, s.b_column}, c + p * s.m * s.n, s.n, mine);
    });
}

// Products of T that this translation unit can make: those of bf16 and half cost who includes <tenon/ops/matmul_half.hpp>.
template <class T>
inline constexpr bool has_product = std::is_same_v<T, float> || std::is_same_v<T, double>;

// What products of T are summed in where a batch shares one gradient, and the kernel that makes C of it or of T: `batch` of them,
// whose C are contiguous, on the CPU one.
template <class T>
struct ProductSum {
    using type = T;
    using View = kernels::cpu::MatrixView<T>;
    static void multiply([[maybe_unused]] Device device, [[maybe_unused]] long batch, long m, long n, long k, View a,
                         [[maybe_unused]] long a_batch, View b, [[maybe_unused]] long b_batch, T* c, [[maybe_unused]] long c_batch,
                         bool accumulate) {
        kernels::cpu::GemmOptions<T> options;
        options.accumulate = accumulate;
#if TENON_CUDA
        if (!device.is_cpu()) return kernels::cuda::gemm_batched<T>(batch, m, n, k, a, a_batch, b, b_batch, c, n, c_batch, options);
#endif
        kernels::cpu::gemm<T>(m, n, k, a, b, c, n, options);
    }
    static void round([[maybe_unused]] Device device, long, const T*, T*, bool) {}
};

// dA = dC B', dB = A' dC; with broadcast batches summed in order.
template <class T>
class ProductNode final : public detail::OperationNode<2> {
public:
    explicit ProductNode(const ProductSpec& s) : OperationNode(s.b_transposed ? "linear" : "matmul"), s_(s) {
        set_input(0, s.a.get());
        set_input(1, s.b.get());
        if (wanted(0)) b_.save(s.b.get());
        if (wanted(1)) a_.save(s.a.get());
        s_.a = s_.b = detail::AnyTensor();
    }
    void release_saved() noexcept override { a_.tensor = b_.tensor = detail::AnyTensor(); }
    const void* kind() const noexcept override { return &detail::node_kind<ProductNode>; }
    const detail::Saved& a() const { return a_; }  // kept for the other's gradient
    const detail::Saved& b() const { return b_; }
    bool b_transposed() const { return s_.b_transposed; }
    void backward() override {
        using View = kernels::cpu::MatrixView<T>;
        using Sum = ProductSum<T>;
        const T* dc = reinterpret_cast<const T*>(gradient()->data());
        const long size = s_.m * s_.n;
        if (wanted(0)) {
            const T* b = reinterpret_cast<const T*>(b_.check(name)->data());
            collect(edges_[0], s_.a_batch_strides, [&](Device device, auto* da, const Visit& v, bool accumulate) {
                Sum::multiply(device, v.count, s_.m, s_.k, s_.n, View{dc + v.index * size, s_.n, 1}, size,
                              View{b + v.b, s_.b_column, s_.b_row}, v.b_step, da, v.step, accumulate);
            });
        }
        if (wanted(1)) {
            const T* a = reinterpret_cast<const T*>(a_.check(name)->data());
            collect(edges_[1], s_.b_batch_strides, [&](Device device, auto* db, const Visit& v, bool accumulate) {
                const T* dcp = dc + v.index * size;
                if (s_.b_transposed)
                    Sum::multiply(device, v.count, s_.n, s_.k, s_.m, View{dcp, 1, s_.n}, size, View{a + v.a, s_.a_row, s_.a_column},
                                  v.a_step, db, v.step, accumulate);
                else
                    Sum::multiply(device, v.count, s_.k, s_.n, s_.m, View{a + v.a, s_.a_column, s_.a_row}, v.a_step, View{dcp, s_.n, 1},
                                  size, db, v.step, accumulate);
            });
        }
    }

private:
    // `count` matrices of the batch that are multiplied at once, from index on: where the operands and the gradient of the first
    // lie, and how far the next ones.
    struct Visit {
        long index = 0, count = 1, a = 0, a_step = 0, b = 0, b_step = 0, offset = 0, step = 0;
    };
    // Calls product(device, gradient, visit, whether to add) until every matrix of the batch has had its turn.
    template <class F>
    void collect(const Edge& edge, const long* strides, F product) const {
        const detail::GradientTarget to = detail::gradient_target(edge);
        T* const gradient = reinterpret_cast<T*>(to.record->data());
        const Device device = to.record->storage->device;
        check_device(name, device);
        using S = typename ProductSum<T>::type;
        if constexpr (!std::is_same_v<S, T>)
            if (shared(strides)) {
                // Rounded once, when all are added.
                const detail::AnyTensor sums(detail::new_record(dtype_of<S>, to.record->rank, to.record->dims(), device));
                S* const sum = reinterpret_cast<S*>(sums->data());
                detail::zero_bytes(device, sum, static_cast<std::size_t>(sums->size) * sizeof(S));
                each(sums.get(), strides, [&](const Visit& v, bool) { product(device, sum + v.offset, v, true); });
                return ProductSum<T>::round(device, sums->size, sum, gradient, to.mode == 2);
            }
        clear_shared(to, strides);
        each(to.record, strides, [&](const Visit& v, bool again) { product(device, gradient + v.offset, v, to.mode == 2 || again); });
    }
    // Matrices of a broadcast batch share one gradient; the visits to it add up in order, from zero.
    bool shared(const long* strides) const {
        for (int i = 0; i < s_.batch_rank; ++i)
            if (s_.batch[i] == 0 || (strides[i] == 0 && s_.batch[i] > 1)) return true;
        return false;
    }
    void clear_shared(const detail::GradientTarget& to, const long* strides) const {
        if (to.mode == 1 && (shared(strides) || s_.m == 0 || s_.n == 0))
            detail::zero_bytes(to.record->storage->device, to.record->data(), static_cast<std::size_t>(to.record->size) * sizeof(T));
    }
    template <class F>
    void each(const detail::Record* target, const long* strides, F f) const {
        const bool adds = shared(strides);
        // Offsets into the contiguous gradient, whose batch axes are the last batch_rank of the target's leading ones.
        long offsets[max_rank];
        const int own = target->rank - 2;
        for (int i = 0; i < s_.batch_rank; ++i) {
            const int axis = own - s_.batch_rank + i;
            offsets[i] = axis < 0 || strides[i] == 0 ? 0 : target->strides()[axis];
        }
        // A device takes the last axis at once, unless all of it falls on one gradient.
        Visit v;
        int axes = s_.batch_rank;
        if (!target->storage->device.is_cpu() && axes > 0 && strides[axes - 1] != 0) {
            --axes;
            v.count = s_.batch[axes];
            v.a_step = s_.a_batch_strides[axes];
            v.b_step = s_.b_batch_strides[axes];
            v.step = offsets[axes];
        }
        long count = 1, index[max_rank] = {};
        for (int i = 0; i < axes; ++i) count *= s_.batch[i];
        for (long p = 0; p < count; ++p) {
            v.index = p * v.count;
            f(v, adds);
            for (int i = axes - 1; i >= 0; --i) {
                v.offset += offsets[i];
                v.a += s_.a_batch_strides[i];
                v.b += s_.b_batch_strides[i];
                if (++index[i] < s_.batch[i]) break;
                v.offset -= offsets[i] * index[i];
                v.a -= s_.a_batch_strides[i] * index[i];
                v.b -= s_.b_batch_strides[i] * index[i];
                index[i] = 0;
            }
        }
    }

    ProductSpec s_;
    detail::Saved a_, b_;
};

inline bool wants_gradient(const ProductSpec& s) { return detail::wants_gradient(s.a.get()) || detail::wants_gradient(s.b.get()); }

// What computes products of floats while an autocast scope lives (ops/autocast.hpp).
using ProductReplacement = detail::AnyTensor (*)(const ProductSpec& s, int rank, const long* dims);
inline constinit thread_local ProductReplacement product_replacement = nullptr;

// The product alone.
template <class T>
detail::AnyTensor evaluate_product(const ProductSpec& s, int rank, const long* dims) {
    if constexpr (std::is_same_v<T, float>)
        if (TENON_UNLIKELY(product_replacement != nullptr)) return product_replacement(s, rank, dims);
    check_device("matmul", s.a->storage->device);
    detail::AnyTensor result(detail::new_record(dtype_of<T>, rank, dims, s.a->storage->device, "matmul"));
    run_product<T>(s, reinterpret_cast<T*>(result->data()), {});
    if (wants_gradient(s)) detail::make_node<ProductNode<T>>(s)->set_result(result.get());
    return result;
}

// Formulas that the registers of a product do: what follows P in P + row, relu(P + row), relu(P).
template <class F> struct RegisterEpilogue { static constexpr bool possible = false, bias = false, relu = false; };
template <class T> struct RegisterEpilogue<formula::In<T>> { static constexpr bool possible = true, bias = false, relu = false; };
template <class T> struct RegisterEpilogue<formula::Op<fn::add, formula::In<T>, formula::In<T>>> {
    static constexpr bool possible = true, bias = true, relu = false;
};
template <class T> struct RegisterEpilogue<formula::Op<fn::relu, formula::In<T>>> { static constexpr bool possible = true, bias = false, relu = true; };
template <class T> struct RegisterEpilogue<formula::Op<fn::relu, formula::Op<fn::add, formula::In<T>, formula::In<T>>>> {
    static constexpr bool possible = true, bias = true, relu = true;
};

// Runs a formula over each finished block of a product.
struct FormulaEpilogue {
    const formula::Table& table;
    const Collector& c;
    const detail::Record* y;
    char* product;
    int rank;
    long m, n;

    static void run(void* context, long row, long rows, long column, long columns) {
        static_cast<const FormulaEpilogue*>(context)->block(row, rows, column, columns);
    }
    // Rows may run over several matrices of a batch: the leading axes are walked by the strides of each operand.
    void block(long row, long rows, long column, long columns) const {
        const int lead = rank - 1 < 0 ? 0 : rank - 1;  // axes that make up the rows
        const long width = rank == 0 ? 1 : y->dims()[rank - 1] == n || n != 1 ? y->dims()[rank - 1] : 1;
        if (rank <= 1 || width != n) return irregular(row, rows, column, columns);
        for (long done = 0; done < rows;) {
            // As many rows as stay within the innermost leading axis.
            const long inner = y->dims()[lead - 1], at = row + done;
            long count = inner - at % inner;
            if (count > rows - done) count = rows - done;
            ElementwiseOperand operands[kernels::cpu::elementwise_max_operands];
            ElementwiseJob job{2, {count, columns}, c.leaf_count, 1, operands, c.parameters, table.forward(), formula::lanes()};
            for (int k = 0; k < c.leaf_count; ++k) {
                ElementwiseOperand& o = operands[k];
                o.unread = false;
                o.element_size = size_of(table.leaf_types[k]);
                if (k == c.product_index) {
                    o.data = product + (at * n + column) * o.element_size;
                    o.strides[0] = n;
                    o.strides[1] = 1;
                    continue;
                }
                long strides[max_rank], offset = 0, rest = at;
                const detail::Record* r = c.leaves[k];
                broadcast_strides(strides, rank, r->rank, r->dims(), r->strides());
                for (int i = lead - 1; i >= 0; --i) {
                    offset += rest % y->dims()[i] * strides[i];
                    rest /= y->dims()[i];
                }
                o.data = r->data() + (offset + column * strides[rank - 1]) * o.element_size;
                o.strides[0] = strides[lead - 1];
                o.strides[1] = strides[rank - 1];
            }
            ElementwiseOperand& out = operands[c.leaf_count];
            out.element_size = size_of(y->dtype);
            out.data = y->data() + (at * n + column) * out.element_size;
            out.strides[0] = n;
            out.strides[1] = 1;
            out.mode = 1;
            out.reduced = false;
            kernels::cpu::run_elementwise(job);
            done += count;
        }
    }
    // Results of rank 0 and 1 (products with a vector): m * n elements in a row.
    void irregular(long row, long rows, long column, long columns) const {
        for (long i = row; i < row + rows; ++i) {
            ElementwiseOperand operands[kernels::cpu::elementwise_max_operands];
            ElementwiseJob job{1, {columns}, c.leaf_count, 1, operands, c.parameters, table.forward(), formula::lanes()};
            const long at = i * n + column;
            for (int k = 0; k < c.leaf_count; ++k) {
                ElementwiseOperand& o = operands[k];
                o.unread = false;
                o.element_size = size_of(table.leaf_types[k]);
                o.strides[0] = 1;
                o.data = product + at * o.element_size;
                if (k == c.product_index) continue;
                const detail::Record* r = c.leaves[k];
                long strides[max_rank], offset = 0, rest = at;
                broadcast_strides(strides, rank, r->rank, r->dims(), r->strides());
                for (int d = rank - 1; d >= 0; --d) {
                    offset += rest % y->dims()[d] * strides[d];
                    rest /= y->dims()[d];
                }
                o.strides[0] = rank > 0 ? strides[rank - 1] : 0;
                o.data = r->data() + offset * o.element_size;
            }
            ElementwiseOperand& out = operands[c.leaf_count];
            out.element_size = size_of(y->dtype);
            out.data = y->data() + at * out.element_size;
            out.strides[0] = 1;
            out.mode = 1;
            out.reduced = false;
            kernels::cpu::run_elementwise(job);
        }
    }
};

// A formula whose leaf c.product_index is the product s, of the result's own sizes.
template <class T, class F>
detail::AnyTensor evaluate_fused_product(const ProductSpec& s, Collector& c, int rank, const long* dims, Device device) {
    const formula::Table& table = formula::table<F, true, true>;
    check_device(table.name, device);
    detail::AnyTensor result(detail::new_record(table.output_types[0], rank, dims, device, table.name));
    const int p = c.product_index;
    bool recorded = false;
    if (detail::grad_enabled() && table.backward_kernels[0] != nullptr) {
        recorded = wants_gradient(s) && (table.reached >> p & 1u) != 0;
        for (int k = 0; k < c.leaf_count; ++k) recorded = recorded || (k != p && c.leaves[k]->node != nullptr && (table.reached >> k & 1u) != 0);
    }
    const bool from_output = recorded && table.from_output_kernels[0] != nullptr;
    // The pre-activation is kept only where backward reads it; otherwise the formula runs over it in place.
    const bool in_place = std::is_same_v<T, typename formula::Facts<F>::Type> && (!recorded || from_output || (table.needed >> p & 1u) == 0);
    detail::AnyTensor product = in_place ? detail::AnyTensor() : detail::AnyTensor(detail::new_record(dtype_of<T>, rank, dims, device));
    T* c_data = reinterpret_cast<T*>(in_place ? result->data() : product->data());
    kernels::cpu::GemmOptions<T> options;
    bool in_registers = RegisterEpilogue<F>::possible && in_place && p == 0;
    if (RegisterEpilogue<F>::bias && in_registers) {
        const detail::Record* row = c.leaves[1];
        in_registers = row->rank >= 1 && row->rank <= rank && row->size == s.n && row->dims()[row->rank - 1] == s.n && row->strides()[row->rank - 1] == 1 &&
                       dims[rank - 1] == s.n;
        if (in_registers) options.bias = reinterpret_cast<const T*>(row->data());
    }
    options.relu = RegisterEpilogue<F>::relu && in_registers;
    FormulaEpilogue epilogue{table, c, result.get(), reinterpret_cast<char*>(c_data), rank, s.m, s.n};
    if (!in_registers && device.is_cpu()) options.epilogue = {&FormulaEpilogue::run, &epilogue};
    run_product<T>(s, c_data, options);
    if (!in_registers && !device.is_cpu()) {
        // One more pass over the product, on its way out of the device's cache.
        c.leaves[p] = in_place ? result.get() : product.get();
        detail::Record* outputs[] = {result.get()};
        run_forward(table, c, rank, dims, outputs);
    }
    if (!recorded) return result;

    // The product's own node makes the (possibly unkept) pre-activation.
    detail::AnyTensor before = in_place ? detail::AnyTensor(detail::new_view(result.get(), rank, dims, result->strides(), result->offset)) : product;
    if (wants_gradient(s) && (table.reached >> p & 1u) != 0) detail::make_node<ProductNode<T>>(s)->set_result(before.get());
    c.leaves[p] = before.get();
    FusedNode* node = FusedNode::make(table, c, rank, dims);
    node->x.from_output = from_output;
    try {
        node->connect(c);
    } catch (...) {
        detail::release_node(node);
        throw;
    }
    detail::set_slot(node->slots[0], result.get());
    detail::attach(result.get(), node, 0);
    if (from_output) node->x.output.save_output(result.get());
    return result;
}

}  // namespace impl

// A matrix product that is not yet computed. Used in an expression as a temporary it runs together with what follows. A
// product that has a name (or is copied, as part of a named expression) is computed once and kept.
template <class T, int R>
class Product : public NotANumber<Product<T, R>> {
public:
    using Scalar = T;
    static constexpr int rank = R;

    // Sizes that do not fit are refused: the destructor runs, because the other constructor has ended.
    explicit Product(impl::ProductSpec&& spec) : Product(new State) {
        state_->spec = static_cast<impl::ProductSpec&&>(spec);
        impl::set_product(state_->spec, state_->dims);
    }
    Product(const Product& other) noexcept : NotANumber<Product>(other), state_(other.state_) {
        __atomic_add_fetch(&state_->references, 1, __ATOMIC_RELAXED);
    }
    Product(Product&& other) noexcept : state_(other.state_) { other.state_ = nullptr; }
    Product& operator=(const Product&) = delete;
    ~Product() {
        if (state_ != nullptr && __atomic_sub_fetch(&state_->references, 1, __ATOMIC_ACQ_REL) == 0) delete state_;
    }

    const long* dims() const { return state_->dims; }
    Device device() const { return state_->spec.a->storage->device; }
    const impl::ProductSpec& spec() const { return state_->spec; }
    // Whether somebody has used the product by name, so that its value is there.
    bool computed() const { return state_->value.has_value(); }
    // The product as a tensor, computed at the first call (and again, recorded, if that was under no_grad and gradients
    // are wanted now).
    const Tensor<T, R>& value() const {
        State& s = *state_;
        if (!s.value.has_value() || (!s.value.requires_grad() && impl::wants_gradient(s.spec)))
            s.value = Tensor<T, R>(impl::evaluate_product<T>(s.spec, R, s.dims));
        return s.value;
    }
    Shape<R> shape() const {
        Shape<R> s;
        for (int i = 0; i < R; ++i) s.dims[i] = state_->dims[i];
        return s;
    }
    long shape(int axis) const { return value().shape(axis); }
    T item() const { return value().item(); }
    void backward() const { value().backward(); }

private:
    struct State {
        impl::ProductSpec spec;
        Tensor<T, R> value;
        long dims[R > 0 ? R : 1];
        int references = 1;
    };
    explicit Product(State* state) noexcept : state_(state) {}
    State* state_;
};

namespace impl {

// A product as a leaf that may be fused.
template <class T, int R>
struct ProductLeaf {
    using Scalar = T;
    using Formula = formula::In<T>;
    static constexpr int rank = R, nodes = 1;
    static constexpr bool is_number = false, has_product = true;
    Product<T, R> product;
    mutable Tensor<T, R> computed = {};  // computed again at every evaluation

    const long* dims() const { return product.dims(); }
    Device device() const { return product.device(); }
    void collect(Collector& c) const {
        bool fits = c.fuse && c.product == nullptr && !product.computed() && c.product_rank == R && c.product_type == dtype_of<T>;
        for (int i = 0; fits && i < R; ++i) fits = product.dims()[i] == c.product_dims[i];
        if (!fits) {
            computed = product.computed() ? product.value() : Tensor<T, R>(impl::evaluate_product<T>(product.spec(), R, product.dims()));
            return c.add(computed.record());
        }
        c.product = &product.spec();
        c.product_index = c.leaf_count;
        c.add(nullptr);
    }
};

template <class W>
detail::AnyTensor evaluate_with_product(const W& w) {
    using T = typename W::Scalar;
    Collector c;
    if constexpr (has_product<T>) {
        c.fuse = TENON_LIKELY(detail::watch == nullptr) || !detail::watch->every_result;  // in anomaly mode every operation has a result of its own
        if (std::is_same_v<T, float> && TENON_UNLIKELY(product_replacement != nullptr)) c.fuse = false;
        c.product_rank = W::rank;
        c.product_dims = w.dims();
        c.product_type = dtype_of<T>;
    }
    w.collect(c);
    if constexpr (std::is_same_v<typename W::Formula, formula::In<T>>) {
        if (c.product == nullptr) return detail::AnyTensor::share(c.leaves[0]);
        return evaluate_product<T>(*static_cast<const ProductSpec*>(c.product), W::rank, w.dims());
    } else {
        if constexpr (has_product<T>)
            if (c.product != nullptr)
                return evaluate_fused_product<T, typename W::Formula>(*static_cast<const ProductSpec*>(c.product), c, W::rank, w.dims(), w.device());
        detail::AnyTensor result;
        evaluate(formula::table<typename W::Formula, true, true>, c, W::rank, w.dims(), w.device(), &result);
        return result;
    }
}

constexpr int product_rank(int a, int b) {
    return a == 1 && b == 1 ? 0 : a == 1 ? b - 1 : b == 1 ? a - 1 : a > b ? a : b;
}
}  // namespace impl
}  // namespace TENON_CONFIG_NAMESPACE

namespace detail {
template <class T, int R> struct is_expression<Product<T, R>> : std::true_type {};
}  // namespace detail

inline namespace TENON_CONFIG_NAMESPACE {

template <class T, int R>
impl::Leaf<T, R> wrap(const Product<T, R>& p) { return {p.value()}; }
template <class T, int R>
impl::Leaf<T, R> wrap(Product<T, R>& p) { return {p.value()}; }
template <class T, int R>
impl::ProductLeaf<T, R> wrap(Product<T, R>&& p) { return {static_cast<Product<T, R>&&>(p)}; }

// matmul(a, b): [..., m, k] x [..., k, n] -> [..., m, n]; a vector on the left is a row, on the right a column, and its
// axis is dropped from the result; leading axes broadcast. float and double (bf16 and half with
// <tenon/ops/matmul_half.hpp>), any strides. Throws ShapeError where inner
// sizes differ. Derivative: da = dc b', db = a' dc.
template <Expression A, Expression B>
[[nodiscard]] auto matmul(A&& a, B&& b) {
    using T = common_scalar_t<A>;
    static_assert(std::is_same_v<T, common_scalar_t<B>>, "tenon: matmul: the operands have different element types: write cast<T>(x) on one of them");
    static_assert(impl::has_product<T>, "tenon: matmul: products are defined for float and double: write cast<float>(x) first; those of bf16 and half need "
                                        "<tenon/ops/matmul_half.hpp>, those of int8 matmul_int8 of <tenon/ops/quantize.hpp>");
    auto left = impl::as_tensor(static_cast<A&&>(a));
    auto right = impl::as_tensor(static_cast<B&&>(b));
    constexpr int ra = decltype(left)::rank, rb = decltype(right)::rank;
    static_assert(ra >= 1 && rb >= 1, "tenon: matmul: a scalar has no axis to multiply over: write a * b");
    impl::ProductSpec spec;
    spec.a = left.any();
    spec.b = right.any();
    return Product<T, impl::product_rank(ra, rb)>(static_cast<impl::ProductSpec&&>(spec));
}

// x[..., in] times the transpose of weight[out, in] (plus bias[out]): [..., out]; PyTorch's linear.
template <Expression X, class T>
[[nodiscard]] auto linear(X&& x, const Tensor<T, 2>& weight) {
    static_assert(std::is_same_v<T, common_scalar_t<X>>, "tenon: linear: input and weight have different element types");
    static_assert(impl::has_product<T>, "tenon: linear: products are defined for float and double: write cast<float>(x) first; those of bf16 and half need "
                                        "<tenon/ops/matmul_half.hpp>");
    auto left = impl::as_tensor(static_cast<X&&>(x));
    static_assert(decltype(left)::rank >= 1, "tenon: linear: the input needs an axis of features");
    impl::ProductSpec spec;
    spec.a = left.any();
    spec.b = weight.any();
    spec.b_transposed = true;
    return Product<T, decltype(left)::rank>(static_cast<impl::ProductSpec&&>(spec));
}
template <Expression X, class T>
[[nodiscard]] auto linear(X&& x, const Tensor<T, 2>& weight, const Tensor<T, 1>& bias) {
    return linear(static_cast<X&&>(x), weight) + bias;
}

// Axes swapped; by default the last two: a view.
template <int A = -2, int B = -1, class T, int R>
[[nodiscard]] Tensor<T, R> transpose(const Tensor<T, R>& x) { return x.template transpose<A, B>(); }

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

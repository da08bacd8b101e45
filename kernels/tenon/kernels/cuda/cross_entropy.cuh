// Cross-entropy of logits and the negative log-likelihood of labels, forward and backward (cpu/cross_entropy.hpp).
//
// Memory moved: the logits once, and per row its label, loss, maximum and logarithm; backward the logits and their gradient
// once. Labels are checked on the device; whether they are in range is the one thing that the host waits for, unless the work is
// being captured into a graph: then a row whose label is not has the loss NaN.
#pragma once

#include <tenon/kernels/cpu/cross_entropy.hpp>
#include <tenon/kernels/cuda/rows.cuh>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cuda {

// What checking labels finds: the first row whose label is out of range (or -1), the sum of the weights of those that count.
struct LabelCheck {
    double counted;
    long bad;
};

// A block checks `chunk` labels.
template <class I, class A>
__global__ void check_labels(long rows, long chunk, const I* labels, long columns, long ignore_index, const A* weight, LabelCheck* found) {
#if TENON_DEVICE_CODE
    const long first = blockIdx.x * chunk, last = first + chunk < rows ? first + chunk : rows;
    double counted = 0;
    long bad = rows;
    for (long r = first + threadIdx.x; r < last; r += blockDim.x) {
        const long label = static_cast<long>(labels[r]);
        if (label == ignore_index) continue;
        if (label < 0 || label >= columns) bad = r < bad ? r : bad;
        else counted += weight != nullptr ? static_cast<double>(weight[label]) : 1.;
    }
    counted = block_sum(counted, block_threads);
    TENON_SHARED(long, rows_found, block_threads);
    rows_found[threadIdx.x] = bad;
    __syncthreads();
    if (threadIdx.x != 0) return;
    for (int k = 1; k < block_threads; ++k) bad = rows_found[k] < bad ? rows_found[k] : bad;
    found[blockIdx.x] = {counted, bad < rows ? bad : -1};
#endif
}
template <class Check>
__global__ void merge_label_checks(long blocks, Check* found, double* counted) {
#if TENON_DEVICE_CODE
    double total = 0;
    long bad = -1;
    for (long b = 0; b < blocks; ++b) {
        total += found[b].counted;
        if (bad < 0) bad = found[b].bad;
    }
    *counted = total;
    found[blocks].bad = bad;
#endif
}

namespace cross_entropy_impl {

// Labels per block: fixed by their number, so that the sum's bits are.
inline long label_chunk(long rows) {
    const long few = (rows + 255) / 256;
    return few > 4096 ? few : 4096;
}

class LabelsChecked {
public:
    template <class I, class A>
    LabelsChecked(const char* name, long rows, const I* labels, long columns, long ignore_index, const A* weight, double* counted)
        : blocks_((rows + label_chunk(rows) - 1) / label_chunk(rows)), found_(blocks_ + 1) {
        if (rows > 0)
            launch(name, check_labels<I, A>, blocks_, block_threads, rows, label_chunk(rows), labels, columns, ignore_index, weight,
                   found_.get());
        launch(name, merge_label_checks<LabelCheck>, 1, 1, blocks_, found_.get(), counted);
    }
    // Waits. The first bad row, or -1.
    long result() const { return cuda_detail::capturing() ? -1 : read_back(&found_.get()[blocks_].bad); }

private:
    long blocks_;
    Scratch<LabelCheck> found_;
};

template <class A>
struct Terms {
    const A* weight;
    const double* weights;  // the sum of the weights, on the device; null: as many as there are columns
    long ignore_index;
    A hot, flat;  // 1 - smoothing, smoothing / columns
};

}  // namespace cross_entropy_impl

// The sum of the weights of the classes, by one block.
template <class A>
__global__ void sum_weights(long columns, const A* weight, double* total) {
#if TENON_DEVICE_CODE
    double sum = 0;
    for (long c = threadIdx.x; c < columns; c += blockDim.x) sum += static_cast<double>(weight[c]);
    sum = block_sum(sum, block_threads);
    if (threadIdx.x == 0) *total = sum;
#endif
}

#if TENON_DEVICE_CODE
// The logarithm of the sum of exponentials relative to the maximum.
template <Group G, class A, class T>
__device__ inline Spread<A> spread_of(const Rows& rows, bool exists, const T* x) {
    Spread<A> s = no_spread<A>();
    for_elements<G>(rows, exists, [&](long, long k) { add_to(s, static_cast<A>(x[k])); });
    return row_spread<G>(s);
}
#endif

template <bool Smooth, Group G, class T, class I>
__global__ void cross_entropy_rows(Rows rows, const T* x, const I* labels, cross_entropy_impl::Terms<accumulator<T>> terms,
                                   accumulator<T>* loss, accumulator<T>* top, accumulator<T>* logs) {
#if TENON_DEVICE_CODE
    using A = accumulator<T>;
    const A weights = terms.weights != nullptr ? static_cast<A>(*terms.weights) : static_cast<A>(rows.n);
    for_rows<G>(rows, [&](long r, long at, bool exists) {
        const Spread<A> s = spread_of<G, A>(rows, exists, x + at);
        const A spread = math::log(s.sum);
        A distances = 0;
        if constexpr (Smooth) {
            for_elements<G>(rows, exists, [&](long c, long k) {
                distances += (s.largest - static_cast<A>(x[at + k])) * (terms.weight != nullptr ? terms.weight[c] : A(1));
            });
            distances = row_sum<G>(distances);
        }
        if (!exists || RowGroup<G>::lane() != 0) return;
        top[r] = s.largest;
        logs[r] = spread;
        const long label = static_cast<long>(labels[r]);
        if (label == terms.ignore_index || label < 0 || label >= rows.n) {
            loss[r] = label == terms.ignore_index ? A(0) : static_cast<A>(NAN);
            return;
        }
        // The maximum cancels first: a loss near zero keeps its digits.
        A weight = terms.hot;
        if (terms.weight != nullptr) weight *= terms.weight[label];
        A value = weight * ((s.largest - static_cast<A>(x[at + label * rows.inner])) + spread);
        if constexpr (Smooth) value += terms.flat * (distances + weights * spread);
        loss[r] = value;
    });
#endif
}
// dx[c] = softmax(x)[c] * (hot + flats) - (c == label ? hot : 0) - flat * weight[c].
template <bool Smooth, Group G, class T, class I>
__global__ void cross_entropy_rows_backward(Rows rows, const T* x, const I* labels, cross_entropy_impl::Terms<accumulator<T>> terms,
                                            const accumulator<T>* top, const accumulator<T>* logs, const accumulator<T>* scale, T* dx,
                                            bool accumulate) {
#if TENON_DEVICE_CODE
    using A = accumulator<T>;
    const A weights = terms.weights != nullptr ? static_cast<A>(*terms.weights) : static_cast<A>(rows.n);
    for_rows<G>(rows, [&](long r, long at, bool exists) {
        if (!exists) return;
        const long label = static_cast<long>(labels[r]);
        if (label == terms.ignore_index) {
            if (!accumulate) for_elements<G>(rows, exists, [&](long, long k) { dx[at + k] = static_cast<T>(A(0)); });
            return;
        }
        const bool known = label >= 0 && label < rows.n;
        const A own = !known ? static_cast<A>(NAN) : terms.weight != nullptr ? terms.weight[label] : A(1);
        const A hot = scale[r] * terms.hot * own, flat = scale[r] * terms.flat;
        const A m = top[r], all = (hot + flat * weights) * math::exp(-logs[r]);
        for_elements<G>(rows, exists, [&](long c, long k) {
            A d = math::exp(static_cast<A>(x[at + k]) - m) * all;
            if constexpr (Smooth) d -= terms.weight != nullptr ? flat * terms.weight[c] : flat;
            if (c == label) d -= hot;
            dx[at + k] = static_cast<T>(accumulate ? static_cast<A>(dx[at + k]) + d : d);
        });
    });
#endif
}

namespace cross_entropy_impl {

template <class A>
Terms<A> terms(const char* name, long columns, long ignore_index, double smoothing, const A* weight, double* weights) {
    if (weight != nullptr) launch(name, sum_weights<A>, 1, block_threads, columns, weight, weights);
    return {weight, weight != nullptr ? weights : nullptr, ignore_index, static_cast<A>(1 - smoothing),
            static_cast<A>(smoothing / static_cast<double>(columns))};
}

}  // namespace cross_entropy_impl

template <class T, class I>
long cross_entropy(long outer, long columns, long inner, const T* x, const I* labels, long ignore_index, double smoothing,
                   const accumulator<T>* weight, accumulator<T>* loss, accumulator<T>* top, accumulator<T>* logs, double* counted) {
    const Rows rows("cross_entropy", outer, columns, inner);
    const cross_entropy_impl::LabelsChecked check("cross_entropy", rows.count, labels, columns, ignore_index, weight, counted);
    const Scratch<double> weights(1);
    const auto terms = cross_entropy_impl::terms("cross_entropy", columns, ignore_index, smoothing, weight, weights.get());
    if (rows.count > 0)
        with_group(rows, [&]<Group G>(std::integral_constant<Group, G>, long blocks) {
            launch("cross_entropy", smoothing != 0 ? cross_entropy_rows<true, G, T, I> : cross_entropy_rows<false, G, T, I>, blocks,
                   block_threads, rows, x, labels, terms, loss, top, logs);
        });
    return check.result();
}
template <class T, class I>
void cross_entropy_backward(long outer, long columns, long inner, const T* x, const I* labels, long ignore_index, double smoothing,
                            const accumulator<T>* weight, const accumulator<T>* top, const accumulator<T>* logs,
                            const accumulator<T>* scale, T* dx, bool accumulate) {
    const Rows rows("cross_entropy", outer, columns, inner);
    if (rows.count == 0 || columns == 0) return;
    const Scratch<double> weights(1);
    const auto terms = cross_entropy_impl::terms("cross_entropy", columns, ignore_index, smoothing, weight, weights.get());
    with_group(rows, [&]<Group G>(std::integral_constant<Group, G>, long blocks) {
        launch("cross_entropy", smoothing != 0 ? cross_entropy_rows_backward<true, G, T, I> : cross_entropy_rows_backward<false, G, T, I>,
               blocks, block_threads, rows, x, labels, terms, top, logs, scale, dx, accumulate);
    });
}

template <Group G, class T>
__global__ void soft_cross_entropy_rows(Rows rows, const T* x, const T* t, const accumulator<T>* weight, accumulator<T> keep,
                                        accumulator<T> flat, accumulator<T>* loss, accumulator<T>* top, accumulator<T>* logs,
                                        accumulator<T>* total) {
#if TENON_DEVICE_CODE
    using A = accumulator<T>;
    for_rows<G>(rows, [&](long r, long at, bool exists) {
        const Spread<A> s = spread_of<G, A>(rows, exists, x + at);
        A all = 0, distances = 0;
        for_elements<G>(rows, exists, [&](long c, long k) {
            A u = static_cast<A>(t[at + k]) * keep + flat;
            if (weight != nullptr) u *= weight[c];
            all += u;
            // A column without a target counts for nothing, whatever its logit.
            if (u != A(0)) distances += u * (s.largest - static_cast<A>(x[at + k]));
        });
        all = row_sum<G>(all);
        distances = row_sum<G>(distances);
        if (!exists || RowGroup<G>::lane() != 0) return;
        const A spread = math::log(s.sum);
        top[r] = s.largest;
        logs[r] = spread;
        total[r] = all;
        loss[r] = distances + all * spread;
    });
#endif
}
template <Group G, class T>
__global__ void soft_cross_entropy_rows_backward(Rows rows, const T* x, const T* t, const accumulator<T>* weight, accumulator<T> keep,
                                                 accumulator<T> flat, const accumulator<T>* top, const accumulator<T>* logs,
                                                 const accumulator<T>* total, const accumulator<T>* scale, T* dx, bool add_dx, T* dt,
                                                 bool add_dt) {
#if TENON_DEVICE_CODE
    using A = accumulator<T>;
    for_rows<G>(rows, [&](long r, long at, bool exists) {
        if (!exists) return;
        const A m = top[r], l = logs[r], all = total[r], s = scale[r];
        for_elements<G>(rows, exists, [&](long c, long k) {
            const A w = weight != nullptr ? weight[c] : A(1), v = static_cast<A>(x[at + k]) - m;
            if (dx != nullptr) {
                const A d = (math::exp(v - l) * all - (static_cast<A>(t[at + k]) * keep + flat) * w) * s;
                dx[at + k] = static_cast<T>(add_dx ? static_cast<A>(dx[at + k]) + d : d);
            }
            if (dt != nullptr) {
                const A d = s * keep * w * (l - v);
                dt[at + k] = static_cast<T>(add_dt ? static_cast<A>(dt[at + k]) + d : d);
            }
        });
    });
#endif
}

template <class T>
void soft_cross_entropy(long outer, long columns, long inner, const T* x, const T* t, double smoothing, const accumulator<T>* weight,
                        accumulator<T>* loss, accumulator<T>* top, accumulator<T>* logs, accumulator<T>* total) {
    using A = accumulator<T>;
    const Rows rows("cross_entropy", outer, columns, inner);
    if (rows.count == 0 || columns == 0) return;
    with_group(rows, [&]<Group G>(std::integral_constant<Group, G>, long blocks) {
        launch("cross_entropy", soft_cross_entropy_rows<G, T>, blocks, block_threads, rows, x, t, weight, static_cast<A>(1 - smoothing),
               static_cast<A>(smoothing / static_cast<double>(columns)), loss, top, logs, total);
    });
}
template <class T>
void soft_cross_entropy_backward(long outer, long columns, long inner, const T* x, const T* t, double smoothing,
                                 const accumulator<T>* weight, const accumulator<T>* top, const accumulator<T>* logs,
                                 const accumulator<T>* total, const accumulator<T>* scale, T* dx, bool add_dx, T* dt, bool add_dt) {
    using A = accumulator<T>;
    const Rows rows("cross_entropy", outer, columns, inner);
    if (rows.count == 0 || columns == 0) return;
    with_group(rows, [&]<Group G>(std::integral_constant<Group, G>, long blocks) {
        launch("cross_entropy", soft_cross_entropy_rows_backward<G, T>, blocks, block_threads, rows, x, t, weight,
               static_cast<A>(1 - smoothing), static_cast<A>(smoothing / static_cast<double>(columns)), top, logs, total, scale, dx, add_dx,
               dt, add_dt);
    });
}

// A thread per row.
template <class T, class I>
__global__ void nll_rows(Rows rows, const T* x, const I* labels, long ignore_index, const accumulator<T>* weight, accumulator<T>* loss) {
#if TENON_DEVICE_CODE
    using A = accumulator<T>;
    for (long r = blockIdx.x * blockDim.x + threadIdx.x; r < rows.count; r += gridDim.x * blockDim.x) {
        const long label = static_cast<long>(labels[r]), o = rows.by_inner.quotient(static_cast<unsigned>(r));
        const bool known = label >= 0 && label < rows.n;
        if (label == ignore_index) loss[r] = 0;
        else if (!known) loss[r] = static_cast<A>(NAN);
        else loss[r] = -(weight != nullptr ? weight[label] : A(1)) * static_cast<A>(x[(o * (rows.n - 1) + label) * rows.inner + r]);
    }
#endif
}
template <class T, class I>
__global__ void nll_rows_backward(Rows rows, const I* labels, long ignore_index, const accumulator<T>* weight, const accumulator<T>* scale,
                                  T* dx) {
#if TENON_DEVICE_CODE
    using A = accumulator<T>;
    for (long r = blockIdx.x * blockDim.x + threadIdx.x; r < rows.count; r += gridDim.x * blockDim.x) {
        const long label = static_cast<long>(labels[r]), o = rows.by_inner.quotient(static_cast<unsigned>(r));
        if (label == ignore_index || label < 0 || label >= rows.n) continue;
        T& to = dx[(o * (rows.n - 1) + label) * rows.inner + r];
        to = static_cast<T>(static_cast<A>(to) - (weight != nullptr ? weight[label] : A(1)) * scale[r]);
    }
#endif
}

template <class T, class I>
long nll_loss(long outer, long columns, long inner, const T* x, const I* labels, long ignore_index, const accumulator<T>* weight,
              accumulator<T>* loss, double* counted) {
    const Rows rows("nll_loss", outer, columns, inner);
    const cross_entropy_impl::LabelsChecked check("nll_loss", rows.count, labels, columns, ignore_index, weight, counted);
    if (rows.count > 0)
        launch("nll_loss", nll_rows<T, I>, blocks_for(rows.count, block_threads), block_threads, rows, x, labels, ignore_index, weight,
               loss);
    return check.result();
}
template <class T, class I>
void nll_loss_backward(long outer, long columns, long inner, const I* labels, long ignore_index, const accumulator<T>* weight,
                       const accumulator<T>* scale, T* dx, bool accumulate) {
    const Rows rows("nll_loss", outer, columns, inner);
    if (rows.count == 0 || columns == 0) return;
    if (!accumulate)
        cuda_detail::check(cudaMemsetAsync(dx, 0, static_cast<std::size_t>(rows.count * columns) * sizeof(T), cuda_detail::current_stream),
                           "cudaMemsetAsync");
    launch("nll_loss", nll_rows_backward<T, I>, blocks_for(rows.count, block_threads), block_threads, rows, labels, ignore_index, weight,
           scale, dx);
}

// ---- from rows to a result -------------------------------------------------------------------------------------------

template <class T>
__global__ void round_losses_kernel(long n, const accumulator<T>* loss, T* out) {
#if TENON_DEVICE_CODE
    for (long i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) out[i] = static_cast<T>(loss[i]);
#endif
}
// A block's sum of `chunk` values, in double.
template <class From>
__global__ void sum_losses_kernel(long n, long chunk, const From* loss, double* partial) {
#if TENON_DEVICE_CODE
    const long first = blockIdx.x * chunk, last = first + chunk < n ? first + chunk : n;
    double sum = 0;
    for (long i = first + threadIdx.x; i < last; i += blockDim.x) sum += static_cast<double>(loss[i]);
    sum = block_sum(sum, block_threads);
    if (threadIdx.x == 0) partial[blockIdx.x] = sum;
#endif
}
template <class T>
__global__ void scale_loss_kernel(long parts, const double* partial, const double* counted, double scale, T* out) {
#if TENON_DEVICE_CODE
    if (counted != nullptr) scale /= *counted;
    double sum = 0;
    for (long i = 0; i < parts; ++i) sum += partial[i];
    *out = static_cast<T>(static_cast<accumulator<T>>(sum * scale));
#endif
}
template <class T>
__global__ void row_gradients_kernel(long rows, const T* dy, bool each, const double* counted, double scale, accumulator<T>* out) {
#if TENON_DEVICE_CODE
    if (counted != nullptr) scale = *counted == 0 ? 0 : scale / *counted;
    for (long i = blockIdx.x * blockDim.x + threadIdx.x; i < rows; i += gridDim.x * blockDim.x)
        out[i] = each ? static_cast<accumulator<T>>(dy[i])
                      : static_cast<accumulator<T>>(static_cast<double>(static_cast<accumulator<T>>(*dy)) * scale);
#endif
}

template <class T>
void round_losses(long n, const accumulator<T>* loss, T* out) {
    if (n > 0) launch("loss", round_losses_kernel<T>, blocks_for(n, block_threads), block_threads, n, loss, out);
}
template <class T>
void sum_losses(long n, const accumulator<T>* loss, const double* counted, double scale, T* out) {
    const long chunk = cross_entropy_impl::label_chunk(n), parts = (n + chunk - 1) / chunk;
    const Scratch<double> partial(parts);
    if (parts > 0) launch("loss", sum_losses_kernel<accumulator<T>>, parts, block_threads, n, chunk, loss, partial.get());
    launch("loss", scale_loss_kernel<T>, 1, 1, parts, partial.get(), counted, scale, out);
}
template <class T>
void row_gradients(long rows, const T* dy, bool each, const double* counted, double scale, accumulator<T>* out) {
    if (rows > 0)
        launch("loss", row_gradients_kernel<T>, blocks_for(rows, block_threads), block_threads, rows, dy, each, counted, scale, out);
}

}  // namespace kernels::cuda
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

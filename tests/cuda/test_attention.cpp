// The device's attention against the plain version: sizes beyond tiles and column chunks, strides, masks, lengths, shared heads,
// dropout.
#include <tenon/kernels/cuda/attention.cuh>

#include <catch2/catch.hpp>

#include <cmath>
#include <string>
#include <vector>

using namespace tenon;
namespace k = tenon::kernels::cpu;

namespace {

template <class T>
struct Array {
    T* data = nullptr;
    std::size_t size;
    explicit Array(std::size_t count) : size(count) { cuda_detail::check(cudaMalloc(&data, (count + 1) * sizeof(T)), "cudaMalloc"); }
    explicit Array(const std::vector<T>& values) : Array(values.size()) {
        cuda_detail::check(cudaMemcpy(data, values.data(), size * sizeof(T), cudaMemcpyHostToDevice), "cudaMemcpy");
    }
    Array(const Array&) = delete;
    Array& operator=(const Array&) = delete;
    ~Array() { cudaFree(data); }
    std::vector<T> get() const {
        std::vector<T> values(size);
        cuda_detail::check(cudaMemcpy(values.data(), data, size * sizeof(T), cudaMemcpyDeviceToHost), "cudaMemcpy");
        return values;
    }
};

struct Setting {
    long batch, heads, key_heads, queries, keys, width, value_width;
    bool causal = false, lengths = false;
    enum { none, per_query, per_key, biased } mask = none;
    double dropout = 0;
};

template <class T>
std::vector<T> numbers(long count, long seed) {
    std::vector<T> x;
    for (long i = 0; i < count; ++i) x.push_back(T(k::accumulator<T>(static_cast<double>((i * 7919 + seed * 104729) % 2003) / 1000 - 1)));
    return x;
}

template <class T>
void check(const Setting& s, bool positions_first) {
    using A = k::accumulator<T>;
    INFO("[" << s.batch << ", " << s.heads << " of " << s.key_heads << ", " << s.queries << " on " << s.keys << ", " << s.width << " and "
             << s.value_width << "], causal " << s.causal << ", lengths " << s.lengths << ", mask " << s.mask << ", dropout " << s.dropout);
    const long rows = s.batch * s.heads * s.queries, key_rows = s.batch * s.key_heads * s.keys, scores = s.heads * s.queries * s.keys;
    const auto q = numbers<T>(rows * s.width, 1), key = numbers<T>(key_rows * s.width, 2), v = numbers<T>(key_rows * s.value_width, 3),
               dy = numbers<T>(rows * s.value_width, 4);
    std::vector<std::int64_t> lengths;
    for (long b = 0; b < s.batch; ++b) lengths.push_back(b == 0 ? s.keys / 2 + 1 : b == 1 ? 0 : s.keys);
    std::vector<unsigned char> mask(static_cast<std::size_t>(scores));
    std::vector<T> bias(mask.size(), T(A(0)));
    for (long i = 0; i < scores; ++i) {
        const std::size_t at = static_cast<std::size_t>(i);
        mask[at] = (i * 7919 % 101) % 3 != 0 && i / s.keys != 1;  // the second query sees nothing
        bias[at] = T(A(mask[at] ? static_cast<double>(i % 17) / 8 - 1 : -HUGE_VAL));
    }
    k::AttentionProblem<T> p;
    p.batch = s.batch, p.heads = s.heads, p.key_heads = s.key_heads, p.queries = s.queries, p.keys = s.keys, p.width = s.width,
    p.value_width = s.value_width;
    const auto lay_out = [&](long* strides, long heads, long positions, long columns) {
        strides[0] = heads * positions * columns;
        strides[1] = positions_first ? columns : positions * columns;
        strides[2] = positions_first ? heads * columns : columns;
        strides[3] = 1;
    };
    lay_out(p.q_strides, s.heads, s.queries, s.width);
    lay_out(p.k_strides, s.key_heads, s.keys, s.width);
    lay_out(p.v_strides, s.key_heads, s.keys, s.value_width);
    lay_out(p.y_strides, s.heads, s.queries, s.value_width);
    p.mask_strides[1] = s.mask == Setting::per_key ? 0 : s.queries * s.keys;
    p.mask_strides[2] = s.mask == Setting::per_key ? 0 : s.keys;
    p.mask_strides[3] = 1;
    p.causal = s.causal;
    p.scale = 1 / std::sqrt(static_cast<double>(s.width));
    p.dropout = s.dropout;
    p.key = Key{5};

    k::AttentionProblem<T> here = p;
    here.q = q.data(), here.k = key.data(), here.v = v.data();
    here.lengths = s.lengths ? lengths.data() : nullptr;
    if (s.mask == Setting::biased)
        here.bias = bias.data();
    else if (s.mask != Setting::none)
        here.mask = reinterpret_cast<const bool*>(mask.data());
    std::vector<T> y(dy.size(), T(A(0)));
    std::vector<A> lse(static_cast<std::size_t>(rows));
    k::reference::attention(here, y.data(), lse.data());
    std::vector<double> dq(q.size(), 0.5), dk(key.size(), 0), dv(v.size(), 0.25), ds(static_cast<std::size_t>(rows * s.keys), 0);
    k::reference::attention_backward(here, dy.data(), dq.data(), dk.data(), dv.data(), ds.data());

    const Array<T> there_q(q), there_k(key), there_v(v), there_dy(dy), there_bias(bias), there_y(y.size()),
        there_dq(std::vector<T>(q.size(), T(A(0.5)))), there_dk(key.size()), there_dv(std::vector<T>(v.size(), T(A(0.25)))),
        there_ds(ds.size());
    const Array<unsigned char> there_mask(mask);
    const Array<std::int64_t> there_lengths(lengths);
    const Array<A> there_lse(lse.size());
    p.q = there_q.data, p.k = there_k.data, p.v = there_v.data;
    p.lengths = s.lengths ? there_lengths.data : nullptr;
    if (s.mask == Setting::biased)
        p.bias = there_bias.data;
    else if (s.mask != Setting::none)
        p.mask = reinterpret_cast<const bool*>(there_mask.data);
    kernels::cuda::attention(p, there_y.data, there_lse.data);
    kernels::cuda::attention_backward(p, there_y.data, there_lse.data, there_dy.data, there_dq.data, true, there_dk.data, false,
                                      there_dv.data, true, there_ds.data);

    const double unit = std::is_same_v<T, double> ? 0x1p-52 : 0x1p-23, out = sizeof(T) == 2 ? 0x1p-9 : 0;
    const double terms = static_cast<double>(s.keys + s.queries * s.heads / s.key_heads) / 8 + 24;
    const auto close = [&](const char* what, const auto& got, const auto& want) {
        INFO(what);
        double worst = 0;
        for (std::size_t i = 0; i < want.size(); ++i) {
            const double g = static_cast<double>(static_cast<A>(got[i])), w = static_cast<double>(static_cast<A>(want[i]));
            const double bound = 4 * unit * terms * (1 + std::fabs(w)) + out * (std::fabs(w) + 1);
            if (!(g == w || std::fabs(g - w) <= bound)) worst = std::fmax(worst, std::isnan(g) ? 1e9 : std::fabs(g - w) / bound);
        }
        CHECK(worst == 0);
    };
    close("y", there_y.get(), y);
    close("dq", there_dq.get(), dq);
    close("dk", there_dk.get(), dk);
    close("dv", there_dv.get(), dv);
    close("dscores", there_ds.get(), ds);
}

}  // namespace

TEMPLATE_TEST_CASE("attention on the device is that of its plain version", "[cuda][attention]", float, double, half) {
    using T = TestType;
    check<T>({1, 1, 1, 1, 1, 1, 1}, false);
    check<T>({1, 2, 1, 5, 70, 35, 70, true}, true);
    check<T>({2, 1, 1, 67, 65, 3, 2, true, true}, false);
    check<T>({1, 2, 2, 3, 40, 66, 4, false, false, Setting::per_query}, true);
    check<T>({2, 2, 1, 4, 33, 4, 5, false, true, Setting::biased, 0.25}, false);
    check<T>({1, 2, 2, 6, 9, 4, 5, true, false, Setting::per_key}, false);
    check<T>({1, 1, 1, 3, 0, 4, 5}, false);
}

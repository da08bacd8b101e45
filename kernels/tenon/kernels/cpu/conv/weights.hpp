// Weights as the micro-kernel reads them: panels of result channels, a row of them for each (tap, source channel).
#pragma once

#include <tenon/kernels/cpu/conv/layout.hpp>
#include <tenon/kernels/cpu/gemm/panels.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {
namespace conv_impl {

// The weight between result channel r and source channel s at tap t of the kernel: data[r * result + s * source + t].
template <class T>
struct WeightView {
    const T* data;
    long result, source, kernel;
    const T* scale;  // per result channel, or null
};

// Channels that a panel is packed from at once: of small kernels whole vectors of eight values.
inline long panel_channels(long kernel) { return kernel >= 64 ? 1 : kernel > 16 ? 64 / kernel : (64 / kernel + 7) / 8 * 8; }

// Images of one group, their channels' first at data.
template <class T>
struct PassJob {
    Pass pass;
    const T* x;
    ImageStrides<3> xs;
    WeightView<T> weights;
    T* y;
    ImageStrides<3> ys;
    const T* bias;
    bool relu, accumulate;
};

template <class T>
struct PanelJob {
    const Pass* pass;
    WeightView<T> weights;
    T* out;        // out[k * lanes + i]
    T* scratch;    // kernel * panel_channels(kernel) * lanes values
    long lanes, first, valid;
};

template <class T>
struct PanelBody {
    template <int Lanes>
    static TENON_ALWAYS_INLINE void run(const PanelJob<T>* job) {
        constexpr int L = int(Lanes * 4 / sizeof(T));
        using V = typename vector_of<T, L>::type;
        using U = typename vector_of<T, L>::unaligned;
        const Pass& pass = *job->pass;
        const WeightView<T>& w = job->weights;
        const long lanes = job->lanes, channels = pass.channels, taps = pass.taps(), kernel = w.kernel;
        const T* const from = w.data + job->first * w.result;
        if (kernel == 1) {
            PackBody<T>::template run<Lanes>(job->out, lanes, job->valid, from, w.result, w.source, channels);
        } else {
            // Channels that follow one another are read together, whole lines of memory.
            const long together = w.source == kernel ? panel_channels(kernel) : 1;
            for (long c = 0; c < channels; c += together) {
                const long now = channels - c < together ? channels - c : together;
                // What comes next lies on other pages, where the hardware does not look ahead.
                constexpr long line = long(64 / sizeof(T));
                if (together > 1) {
                    for (long i = 0; i < job->valid; ++i)
                        for (long j = 0; j < kernel * together; j += line) __builtin_prefetch(from + (c + together) * w.source + i * w.result + j);
                } else if (w.result == kernel) {
                    for (long j = 0; j < kernel * job->valid; j += line) __builtin_prefetch(from + (c + 4) * w.source + j);
                }
                PackBody<T>::template run<Lanes>(job->scratch, lanes, job->valid, from + c * w.source, w.result, 1, kernel * now);
                for (long j = 0; j < taps; ++j) {
                    const T* const tap = job->scratch + pass.tap_index(j) * lanes;
                    for (long i = 0; i < now; ++i) copy_run<T, L>(job->out + (j * channels + c + i) * lanes, tap + i * kernel * lanes, lanes);
                }
            }
        }
        if (w.scale == nullptr) return;
        for (long i = 0; i < lanes; i += L) {
            alignas(64) T scale[L];
            for (int l = 0; l < L; ++l) scale[l] = i + l < job->valid ? w.scale[job->first + i + l] : T(0);
            const V by = *reinterpret_cast<const V*>(scale);
            T* out = job->out + i;
            for (long k = 0; k < taps * channels; ++k, out += lanes)
                if (lanes - i >= L) *reinterpret_cast<U*>(out) = *reinterpret_cast<const U*>(out) * by;
                else
                    for (long l = 0; l < lanes - i; ++l) out[l] *= scale[l];
        }
    }
};

}  // namespace conv_impl
}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

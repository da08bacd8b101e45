#include "gemm.hpp"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <memory>

#include "../emulator/control.hpp"
#include "host.hpp"
#include "memory.hpp"
#include "stream.hpp"

namespace cuda_emulator {

namespace {

const char* name_of(cudaDataType type) {
    switch (type) {
        case CUDA_R_32F: return "float";
        case CUDA_R_64F: return "double";
        case CUDA_R_16F: return "half";
        case CUDA_R_16BF: return "bf16";
        case CUDA_R_8I: return "int8";
        case CUDA_R_32I: return "int32";
        default: return "another type";
    }
}

float round_to_bf16(float x) {
    if (x != x) return x;
    uint32_t bits = 0;
    memcpy(&bits, &x, 4);
    bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000u;
    memcpy(&x, &bits, 4);
    return x;
}
// Half precision by arithmetic, not by the library under test: not every compiler has the type.
double from_half(uint16_t bits) {
    const int exponent = bits >> 10 & 31, fraction = bits & 1023;
    const double magnitude = exponent == 31  ? (fraction == 0 ? HUGE_VAL : NAN)
                             : exponent == 0 ? ldexp(fraction, -24)
                                             : ldexp(1024 + fraction, exponent - 25);
    return bits >> 15 ? -magnitude : magnitude;
}
uint16_t to_half(double x) {
    const uint16_t sign = signbit(x) ? 0x8000 : 0;
    const double magnitude = fabs(x);
    if (x != x) return sign | 0x7e00;
    if (magnitude >= 65520) return sign | 0x7c00;
    if (magnitude == 0) return sign;
    // In units of the last place, which is that of the exponent or of the subnormals; rounding up may carry into the exponent.
    int exponent = 0;
    frexp(magnitude, &exponent);
    const int unit = exponent < -13 ? -24 : exponent - 11;
    const int units = static_cast<int>(nearbyint(ldexp(magnitude, -unit)));
    return static_cast<uint16_t>(sign | (unit == -24 ? units : ((unit + 24) << 10) + units));
}

bool is_integer(cublasComputeType_t c) { return c == CUBLAS_COMPUTE_32I || c == CUBLAS_COMPUTE_32I_PEDANTIC; }

// The table of types that go together.
bool supported(const Product& p) {
    const cudaDataType ab = p.a.type, cd = p.c.type, scale = p.scale;
    switch (p.compute) {
        case CUBLAS_COMPUTE_16F:
        case CUBLAS_COMPUTE_16F_PEDANTIC: return scale == CUDA_R_16F && ab == CUDA_R_16F && cd == CUDA_R_16F;
        case CUBLAS_COMPUTE_32I:
        case CUBLAS_COMPUTE_32I_PEDANTIC:
            return ab == CUDA_R_8I && ((scale == CUDA_R_32I && cd == CUDA_R_32I) || (scale == CUDA_R_32F && cd == CUDA_R_8I));
        case CUBLAS_COMPUTE_32F:
        case CUBLAS_COMPUTE_32F_PEDANTIC:
            if (scale != CUDA_R_32F) return false;
            if (ab == CUDA_R_16BF || ab == CUDA_R_16F) return cd == ab || cd == CUDA_R_32F;
            return (ab == CUDA_R_8I || ab == CUDA_R_32F) && cd == CUDA_R_32F;
        case CUBLAS_COMPUTE_32F_FAST_16F:
        case CUBLAS_COMPUTE_32F_FAST_16BF:
        case CUBLAS_COMPUTE_32F_FAST_TF32: return scale == CUDA_R_32F && ab == CUDA_R_32F && cd == CUDA_R_32F;
        case CUBLAS_COMPUTE_64F:
        case CUBLAS_COMPUTE_64F_PEDANTIC: return scale == CUDA_R_64F && ab == CUDA_R_64F && cd == CUDA_R_64F;
        default: return false;
    }
}

cublasStatus_t check_layout(const char* name, const Layout& l, int64_t rows, int64_t columns, int64_t batches) {
    if (l.rows != rows || l.columns != columns)
        return reject(CUBLAS_STATUS_INVALID_VALUE, "cuBLAS: %s is %lld x %lld, and the product needs %lld x %lld", name, (long long)l.rows,
                      (long long)l.columns, (long long)rows, (long long)columns);
    const int64_t least = l.row_major ? l.columns : l.rows;
    if (l.ld < (least > 0 ? least : 1))
        return reject(CUBLAS_STATUS_INVALID_VALUE,
                      "cuBLAS: %s is %lld x %lld, %s-major, with leading dimension %lld: it must be at least %lld", name, (long long)l.rows,
                      (long long)l.columns, l.row_major ? "row" : "column", (long long)l.ld, (long long)least);
    if (l.batches != batches)
        return reject(CUBLAS_STATUS_INVALID_VALUE, "cuBLAS: %s has %lld batches, A has %lld", name, (long long)l.batches,
                      (long long)batches);
    return CUBLAS_STATUS_SUCCESS;
}

double gelu(double x) { return 0.5 * x * (1.0 + tanh(0.7978845608028654 * (x + 0.044715 * x * x * x))); }
double gelu_derivative(double x) {
    const double t = tanh(0.7978845608028654 * (x + 0.044715 * x * x * x));
    return 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * 0.7978845608028654 * (1.0 + 3.0 * 0.044715 * x * x);
}

constexpr int relu_bit = 2, bias_bit = 4, drelu_bit = 8, bias_gradient_bit = 16, gelu_bit = 32, dgelu_bit = 64, aux_bit = 128;

// The columns (rows) of a matrix are live, and written if they are read.
bool check_memory(const char* name, const Layout& l, const void* base, bool write) {
    const size_t size = size_of(l.type);
    const int64_t lines = l.row_major ? l.rows : l.columns, length = l.row_major ? l.columns : l.rows;
    const std::string what =
        text("cuBLAS: %s (%lld x %lld, leading dimension %lld)", name, (long long)l.rows, (long long)l.columns, (long long)l.ld);
    for (int64_t batch = 0; batch < l.batches; ++batch)
        for (int64_t line = 0; line < lines; ++line) {
            char* at = static_cast<char*>(const_cast<void*>(base)) + static_cast<size_t>(line * l.ld + batch * l.batch_stride) * size;
            const size_t bytes = static_cast<size_t>(length) * size;
            if (write ? !check_write(at, bytes, what.c_str()) : !check_read(at, bytes, what.c_str())) return false;
        }
    return true;
}

struct Scalars {
    double alpha, beta;
    const void *device_alpha, *device_beta;
};

template <class Sum>
double dot(const Product& p, const void* a, const void* b, int64_t i, int64_t j, int64_t batch) {
    const int64_t k = p.transpose_a ? p.a.rows : p.a.columns;
    Sum sum = 0;
    for (int64_t l = 0; l < k; ++l) {
        double x = load(p.a.type, a, p.transpose_a ? p.a.at(l, i, batch) : p.a.at(i, l, batch));
        double y = load(p.b.type, b, p.transpose_b ? p.b.at(j, l, batch) : p.b.at(l, j, batch));
        switch (p.compute) {
            case CUBLAS_COMPUTE_32F_FAST_TF32:
                x = round_to_tf32(static_cast<float>(x));
                y = round_to_tf32(static_cast<float>(y));
                break;
            case CUBLAS_COMPUTE_32F_FAST_16BF:
                x = round_to_bf16(static_cast<float>(x));
                y = round_to_bf16(static_cast<float>(y));
                break;
            case CUBLAS_COMPUTE_32F_FAST_16F:
                x = from_half(to_half(x));
                y = from_half(to_half(y));
                break;
            default: break;
        }
        sum = static_cast<Sum>(sum + static_cast<Sum>(x) * static_cast<Sum>(y));
    }
    return static_cast<double>(sum);
}

cudaError_t failed() { return set_sticky(cudaErrorIllegalAddress), cudaErrorIllegalAddress; }

cudaError_t run(const Product& p, Scalars s, const void* a, const void* b, const void* c, void* d) {
    if (s.device_alpha != nullptr) {
        if (!check_read(s.device_alpha, size_of(p.scale), "cuBLAS: alpha") || !check_read(s.device_beta, size_of(p.scale), "cuBLAS: beta"))
            return failed();
        s.alpha = load(p.scale, s.device_alpha, 0);
        s.beta = load(p.scale, s.device_beta, 0);
    }
    const int64_t m = p.d.rows, n = p.d.columns;
    if (!check_memory("A", p.a, a, false) || !check_memory("B", p.b, b, false)) return failed();
    if (s.beta != 0 && !check_memory("C", p.c, c, false)) return failed();
    const size_t bias_size = size_of(p.bias_type);
    const bool reads_bias = (p.epilogue & bias_bit) != 0;
    const bool writes_bias = (p.epilogue & (bias_gradient_bit | CUBLASLT_EPILOGUE_BGRADA | CUBLASLT_EPILOGUE_BGRADB)) != 0;
    const int64_t bias_length = p.epilogue == CUBLASLT_EPILOGUE_BGRADB ? n : m;
    const bool reads_aux = (p.epilogue & (drelu_bit | dgelu_bit)) != 0, has_aux = (p.epilogue & aux_bit) != 0;
    const bool bits = (p.epilogue & (relu_bit | drelu_bit)) != 0;
    for (int64_t batch = 0; batch < p.d.batches; ++batch) {
        char* bias = static_cast<char*>(p.bias) + static_cast<size_t>(batch * p.bias_batch_stride) * bias_size;
        if (reads_bias && !check_read(bias, static_cast<size_t>(bias_length) * bias_size, "cuBLAS: bias")) return failed();
        if (writes_bias && !check_write(bias, static_cast<size_t>(bias_length) * bias_size, "cuBLAS: bias gradient")) return failed();
        for (int64_t j = 0; has_aux && j < n; ++j) {
            const int64_t first = batch * p.aux_batch_stride + j * p.aux_ld;
            char* at = static_cast<char*>(p.aux) + (bits ? first / 8 : first * static_cast<int64_t>(size_of(p.d.type)));
            const size_t bytes = bits ? static_cast<size_t>(m + 7) / 8 : static_cast<size_t>(m) * size_of(p.d.type);
            if (reads_aux ? !check_read(at, bytes, "cuBLAS: epilogue's auxiliary matrix")
                          : !check_write(at, bytes, "cuBLAS: epilogue's auxiliary matrix"))
                return failed();
        }
    }
    if (!check_memory("D", p.d, d, true)) return failed();

    for (int64_t batch = 0; batch < p.d.batches; ++batch) {
        char* bias = static_cast<char*>(p.bias) + static_cast<size_t>(batch * p.bias_batch_stride) * bias_size;
        for (int64_t i = 0; i < m; ++i) {
            double gradient = 0;
            for (int64_t j = 0; j < n; ++j) {
                double x = p.compute == CUBLAS_COMPUTE_64F || p.compute == CUBLAS_COMPUTE_64F_PEDANTIC ? dot<double>(p, a, b, i, j, batch)
                           : is_integer(p.compute)                                                     ? dot<int64_t>(p, a, b, i, j, batch)
                                                                                                       : dot<float>(p, a, b, i, j, batch);
                x *= s.alpha;
                if (s.beta != 0) x += s.beta * load(p.c.type, c, p.c.at(i, j, batch));
                if (reads_bias) x += load(p.bias_type, bias, i);
                const int64_t aux = batch * p.aux_batch_stride + j * p.aux_ld + i;
                auto* mask = static_cast<uint8_t*>(p.aux) + (has_aux && bits ? aux / 8 : 0);
                const uint8_t bit = static_cast<uint8_t>(1 << aux % 8);
                if (p.epilogue & relu_bit) {
                    if (has_aux) *mask = static_cast<uint8_t>(x > 0 ? *mask | bit : *mask & ~bit);
                    x = x > 0 || x != x ? x : 0;
                }
                if (p.epilogue & gelu_bit) {
                    if (has_aux) store(p.d.type, p.aux, aux, x);
                    x = gelu(x);
                }
                if (p.epilogue & drelu_bit) x = *mask & bit ? x : 0;
                if (p.epilogue & dgelu_bit) x *= gelu_derivative(load(p.d.type, p.aux, aux));
                gradient += x;
                store(p.d.type, d, p.d.at(i, j, batch), x);
            }
            if (p.epilogue & bias_gradient_bit) store(p.bias_type, bias, i, gradient);
        }
        const int64_t k = p.transpose_a ? p.a.rows : p.a.columns;
        for (int64_t i = 0; p.epilogue == CUBLASLT_EPILOGUE_BGRADA && i < m; ++i) {
            double sum = 0;
            for (int64_t l = 0; l < k; ++l) sum += load(p.a.type, a, p.transpose_a ? p.a.at(l, i, batch) : p.a.at(i, l, batch));
            store(p.bias_type, bias, i, sum);
        }
        for (int64_t j = 0; p.epilogue == CUBLASLT_EPILOGUE_BGRADB && j < n; ++j) {
            double sum = 0;
            for (int64_t l = 0; l < k; ++l) sum += load(p.b.type, b, p.transpose_b ? p.b.at(j, l, batch) : p.b.at(l, j, batch));
            store(p.bias_type, bias, j, sum);
        }
    }
    return cudaSuccess;
}

// The last byte of a matrix, as an offset from its base.
size_t extent(const Layout& l) {
    const int64_t lines = l.row_major ? l.rows : l.columns, length = l.row_major ? l.columns : l.rows;
    return static_cast<size_t>((lines - 1) * l.ld + length + (l.batches - 1) * l.batch_stride) * size_of(l.type);
}
bool overlap(const void* x, const Layout& lx, const void* y, const Layout& ly) {
    const auto p = reinterpret_cast<uintptr_t>(x), q = reinterpret_cast<uintptr_t>(y);
    return p < q + extent(ly) && q < p + extent(lx);
}

}  // namespace

double load(cudaDataType type, const void* base, int64_t i) {
    switch (type) {
        case CUDA_R_32F: return static_cast<const float*>(base)[i];
        case CUDA_R_64F: return static_cast<const double*>(base)[i];
        case CUDA_R_16F: return from_half(static_cast<const uint16_t*>(base)[i]);
        case CUDA_R_16BF: {
            const uint32_t bits = static_cast<uint32_t>(static_cast<const uint16_t*>(base)[i]) << 16;
            float value = 0;
            memcpy(&value, &bits, 4);
            return value;
        }
        case CUDA_R_8I: return static_cast<const int8_t*>(base)[i];
        default: return static_cast<const int32_t*>(base)[i];
    }
}
void store(cudaDataType type, void* base, int64_t i, double x) {
    switch (type) {
        case CUDA_R_32F: static_cast<float*>(base)[i] = static_cast<float>(x); break;
        case CUDA_R_64F: static_cast<double*>(base)[i] = x; break;
        case CUDA_R_16F: static_cast<uint16_t*>(base)[i] = to_half(x); break;
        case CUDA_R_16BF: {
            const float rounded = round_to_bf16(static_cast<float>(x));
            uint32_t bits = 0;
            memcpy(&bits, &rounded, 4);
            static_cast<uint16_t*>(base)[i] = static_cast<uint16_t>(bits >> 16);
            break;
        }
        case CUDA_R_8I: static_cast<int8_t*>(base)[i] = static_cast<int8_t>(nearbyint(fmax(-128.0, fmin(127.0, x)))); break;
        default: static_cast<int32_t*>(base)[i] = static_cast<int32_t>(static_cast<uint32_t>(static_cast<int64_t>(x))); break;
    }
}

float round_to_tf32(float x) {
    uint32_t bits = 0;
    memcpy(&bits, &x, 4);
    if ((bits >> 23 & 255) == 255) return x;
    bits = (bits + 0x1000) & 0xffffe000u;
    memcpy(&x, &bits, 4);
    return x;
}

size_t size_of(cudaDataType type) {
    switch (type) {
        case CUDA_R_64F:
        case CUDA_R_64I: return 8;
        case CUDA_R_32F:
        case CUDA_R_32I: return 4;
        case CUDA_R_16F:
        case CUDA_R_16BF: return 2;
        default: return 1;
    }
}

cublasStatus_t reject(cublasStatus_t status, const char* format, ...) {
    char buffer[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(buffer, sizeof buffer, format, arguments);
    va_end(arguments);
    keep_fault(buffer);
    return status;
}

cublasStatus_t check_product(const Product& p) {
    if (p.a.type != p.b.type || p.c.type != p.d.type || !supported(p))
        return reject(CUBLAS_STATUS_NOT_SUPPORTED, "cuBLAS: A is %s, B %s, C %s, D %s, scale %s: not supported with compute type %d",
                      name_of(p.a.type), name_of(p.b.type), name_of(p.c.type), name_of(p.d.type), name_of(p.scale), p.compute);
    const int64_t m = p.d.rows, n = p.d.columns, k = p.transpose_a ? p.a.rows : p.a.columns;
    if (p.a.batches < 1) return reject(CUBLAS_STATUS_INVALID_VALUE, "cuBLAS: %lld batches", (long long)p.a.batches);
    if (cublasStatus_t s = check_layout("A", p.a, p.transpose_a ? k : m, p.transpose_a ? m : k, p.a.batches)) return s;
    if (cublasStatus_t s = check_layout("B", p.b, p.transpose_b ? n : k, p.transpose_b ? k : n, p.a.batches)) return s;
    if (cublasStatus_t s = check_layout("C", p.c, m, n, p.a.batches)) return s;
    if (cublasStatus_t s = check_layout("D", p.d, m, n, p.a.batches)) return s;
    const bool several = p.d.batches > 1;
    const int64_t lines = p.d.row_major ? m : n, length = p.d.row_major ? n : m;
    if (several && p.d.batch_stride < (lines - 1) * p.d.ld + length)
        return reject(CUBLAS_STATUS_INVALID_VALUE, "cuBLAS: batches of D overlap: stride %lld", (long long)p.d.batch_stride);
    if (is_integer(p.compute)) {
        // Integer tensor cores take one form only.
        if (!p.transpose_a || p.transpose_b)
            return reject(CUBLAS_STATUS_NOT_SUPPORTED, "cuBLAS: int8 products need A transposed and B not");
        if (m % 4 != 0 || k % 4 != 0 || p.a.ld % 4 != 0 || p.b.ld % 4 != 0 || p.c.ld % 4 != 0 || p.d.ld % 4 != 0)
            return reject(CUBLAS_STATUS_NOT_SUPPORTED, "cuBLAS: int8 products need m, k and leading dimensions that are multiples of 4");
    }
    switch (p.epilogue) {
        case CUBLASLT_EPILOGUE_DEFAULT:
        case CUBLASLT_EPILOGUE_RELU:
        case CUBLASLT_EPILOGUE_BIAS:
        case CUBLASLT_EPILOGUE_RELU_BIAS:
        case CUBLASLT_EPILOGUE_GELU:
        case CUBLASLT_EPILOGUE_GELU_BIAS:
        case CUBLASLT_EPILOGUE_RELU_AUX:
        case CUBLASLT_EPILOGUE_RELU_AUX_BIAS:
        case CUBLASLT_EPILOGUE_DRELU:
        case CUBLASLT_EPILOGUE_DRELU_BGRAD:
        case CUBLASLT_EPILOGUE_GELU_AUX:
        case CUBLASLT_EPILOGUE_GELU_AUX_BIAS:
        case CUBLASLT_EPILOGUE_DGELU:
        case CUBLASLT_EPILOGUE_DGELU_BGRAD:
        case CUBLASLT_EPILOGUE_BGRADA:
        case CUBLASLT_EPILOGUE_BGRADB: break;
        default: return reject(CUBLAS_STATUS_NOT_SUPPORTED, "cuBLAS: epilogue %d", p.epilogue);
    }
    if (p.epilogue == CUBLASLT_EPILOGUE_DEFAULT) return CUBLAS_STATUS_SUCCESS;
    if (p.scale == CUDA_R_64F || p.scale == CUDA_R_32I || p.d.row_major)
        return reject(CUBLAS_STATUS_NOT_SUPPORTED, "cuBLAS: epilogues need a column-major result and are not there for double and int32");
    if ((p.epilogue & (bias_bit | bias_gradient_bit | CUBLASLT_EPILOGUE_BGRADA | CUBLASLT_EPILOGUE_BGRADB)) != 0) {
        if (p.bias_type != p.d.type && p.bias_type != CUDA_R_32F)
            return reject(CUBLAS_STATUS_NOT_SUPPORTED, "cuBLAS: a bias of %s for a result of %s", name_of(p.bias_type), name_of(p.d.type));
        if (several && p.bias_batch_stride != 0 && p.bias_batch_stride < m)
            return reject(CUBLAS_STATUS_INVALID_VALUE, "cuBLAS: batch stride %lld of a bias of length %lld", (long long)p.bias_batch_stride,
                          (long long)m);
    }
    if ((p.epilogue & aux_bit) != 0) {
        const int64_t unit = (p.epilogue & (relu_bit | drelu_bit)) != 0 ? 128 : 8;
        if (p.aux_ld < m || p.aux_ld % unit != 0)
            return reject(CUBLAS_STATUS_INVALID_VALUE,
                          "cuBLAS: leading dimension %lld of the epilogue's auxiliary matrix: it must be a multiple of %lld, at least %lld",
                          (long long)p.aux_ld, (long long)unit, (long long)m);
        if (several && p.aux_batch_stride % unit != 0)
            return reject(CUBLAS_STATUS_INVALID_VALUE, "cuBLAS: batch stride of the epilogue's auxiliary matrix");
    }
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t enqueue_product(const Product& p, const void* alpha, const void* a, const void* b, const void* beta, const void* c, void* d,
                               cudaStream_t stream) {
    if (!known_stream(stream)) return reject(CUBLAS_STATUS_INVALID_VALUE, "cuBLAS: a stream that does not exist");
    if (alpha == nullptr || beta == nullptr) return reject(CUBLAS_STATUS_INVALID_VALUE, "cuBLAS: alpha or beta is null");
    Scalars scalars = {1, 0, nullptr, nullptr};
    if (p.device_scalars) {
        if (!in_arena(alpha) || !in_arena(beta))
            return reject(CUBLAS_STATUS_INVALID_VALUE, "cuBLAS: pointer mode device, alpha or beta in host memory");
        scalars.device_alpha = alpha;
        scalars.device_beta = beta;
    } else {
        if (in_arena(alpha) || in_arena(beta))
            return reject(CUBLAS_STATUS_INVALID_VALUE, "cuBLAS: pointer mode host, alpha or beta in device memory");
        scalars.alpha = load(p.scale, alpha, 0);
        scalars.beta = load(p.scale, beta, 0);
    }
    if (p.d.rows == 0 || p.d.columns == 0) return CUBLAS_STATUS_SUCCESS;
    const bool reads_c = p.device_scalars || scalars.beta != 0;
    if (a == nullptr || b == nullptr || d == nullptr || (reads_c && c == nullptr))
        return reject(CUBLAS_STATUS_INVALID_VALUE, "cuBLAS: a matrix is null");
    const size_t unit_ab = is_integer(p.compute) ? 4 : size_of(p.a.type), unit_cd = is_integer(p.compute) ? 4 : size_of(p.d.type);
    if (reinterpret_cast<uintptr_t>(a) % unit_ab != 0 || reinterpret_cast<uintptr_t>(b) % unit_ab != 0 ||
        reinterpret_cast<uintptr_t>(d) % unit_cd != 0 || (reads_c && reinterpret_cast<uintptr_t>(c) % unit_cd != 0))
        return reject(CUBLAS_STATUS_INVALID_VALUE, "cuBLAS: a misaligned matrix");
    if (p.epilogue != CUBLASLT_EPILOGUE_DEFAULT) {
        if ((p.epilogue & (bias_bit | bias_gradient_bit | CUBLASLT_EPILOGUE_BGRADA | CUBLASLT_EPILOGUE_BGRADB)) != 0 &&
            (p.bias == nullptr || reinterpret_cast<uintptr_t>(p.bias) % size_of(p.bias_type) != 0))
            return reject(CUBLAS_STATUS_INVALID_VALUE, "cuBLAS: the bias is null or misaligned");
        if ((p.epilogue & aux_bit) != 0 && (p.aux == nullptr || reinterpret_cast<uintptr_t>(p.aux) % 16 != 0))
            return reject(CUBLAS_STATUS_INVALID_VALUE, "cuBLAS: the epilogue's auxiliary matrix is null or not aligned to 16 bytes");
    }
    if (overlap(d, p.d, a, p.a) || overlap(d, p.d, b, p.b)) return reject(CUBLAS_STATUS_INVALID_VALUE, "cuBLAS: D overlaps A or B");
    if (reads_c && overlap(d, p.d, c, p.c) &&
        (c != d || p.c.ld != p.d.ld || p.c.row_major != p.d.row_major || p.c.batch_stride != p.d.batch_stride))
        return reject(CUBLAS_STATUS_INVALID_VALUE, "cuBLAS: D overlaps C without being the same matrix");
    auto what = std::make_shared<Product>(p);
    cudaError_t error =
        enqueue(stream, cudaGraphNodeTypeKernel, [what, scalars, a, b, c, d] { return run(*what, scalars, a, b, c, d); });
    return error == cudaSuccess ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_EXECUTION_FAILED;
}

}  // namespace cuda_emulator

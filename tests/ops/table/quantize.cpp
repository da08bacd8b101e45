// Quantisation to bytes and products of bytes.
#include "record.hpp"

#include <tenon/ops/quantize.hpp>

TENON_OPERATORS(quantize) {
    using namespace tenon;
    using namespace operators;
    // Of three channels.
    const auto channels = [](Device device) {
        return Quantization{.scales = from<float>({0.5f, 0.25f, 0.125f}).to(device), .zero_points = from<std::int32_t>({0, -5, 9}).to(device)};
    };
    const auto scales = [](Device device) { return Quantization{.scales = from<float>({0.5f, 0.25f, 0.125f}).to(device)}; };
    const auto bias = [](Device device) { return from<float>({100.f, -20.f, 0.f}).to(device); };

    const auto x = real<2>("x", {300, 1000}, -5, 5);
    add<single>({.name = "quantize_per_tensor<int8>", .golden = "per_tensor/signed", .in_float = 0, .types = "f to int8"},
                [](const auto& a) { return quantize_per_tensor(a, {.scale = 0.05f, .zero_point = -3}); }, x);
    add<single>({.name = "quantize_per_tensor<uint8>", .golden = "per_tensor/unsigned", .in_float = 0, .types = "f to uint8"},
                [](const auto& a) { return quantize_per_tensor<std::uint8_t>(a, {.scale = 0.05f, .zero_point = 130}); }, x);
    add<single>({.name = "quantize_per_tensor<int8>, ties and limits", .golden = "halves/signed", .in_float = 0, .types = "f to int8"},
                [](const auto& a) { return quantize_per_tensor(a, {.scale = 0.25f, .zero_point = -2}); }, real<1>("x"));
    add<single>({.name = "quantize_per_tensor<uint8>, ties and limits", .golden = "halves/unsigned", .in_float = 0, .types = "f to uint8"},
                [](const auto& a) { return quantize_per_tensor<std::uint8_t>(a, {.scale = 0.25f, .zero_point = 130}); }, real<1>("x"));
    add<single>({.name = "quantize_per_channel<1>", .golden = "per_channel/middle", .in_float = 0, .types = "f to int8"},
                [=](const auto& a) { return quantize_per_channel<1>(a, channels(a.device())); }, real<3>("x", {300, 3, 300}, -50, 50));
    add<single>({.name = "quantize_per_channel<-1>", .golden = "per_channel/last", .in_float = 0, .types = "f to int8"},
                [=](const auto& a) { return quantize_per_channel<-1>(a, channels(a.device())); }, real<3>("x", {300, 300, 3}, -50, 50));
    add<single>({.name = "dequantize_per_tensor, int8", .golden = "dequantize/signed", .in_float = 0, .types = "int8 to f"},
                [](const auto& q) { return dequantize_per_tensor(q, {.scale = 0.125f, .zero_point = -3}); }, byte<2>("q", {300, 1000}));
    add<single>({.name = "dequantize_per_tensor, uint8", .golden = "dequantize/unsigned", .in_float = 0, .types = "uint8 to f"},
                [](const auto& q) { return dequantize_per_tensor(q, {.scale = 0.125f, .zero_point = 130}); }, unsigned_byte<2>("q", {300, 1000}));
    add<single>({.name = "dequantize_per_tensor, int32", .golden = "dequantize/wide", .in_float = 0, .types = "int32 to f"},
                [](const auto& q) { return dequantize_per_tensor(eval(cast<std::int32_t>(q)), {.scale = 0.125f, .zero_point = -3}); }, integer<2>("q"));
    add<single>({.name = "dequantize_per_channel<1>", .golden = "dequantize/channels", .in_float = 0, .types = "int8 to f"},
                [=](const auto& q) { return dequantize_per_channel<1>(q, channels(q.device())); }, byte<3>("q", {300, 3, 300}));

    const auto product = [](const auto& a, const auto& b) { return matmul_int8(a, b); };
    add<single>({.name = "matmul_int8", .golden = "product/signed", .types = "int8, int8 to int32"}, product, byte<2>("a", {130, 70}), byte<2>("b", {70, 90}));
    add<single>({.name = "matmul_int8, unsigned", .golden = "product/unsigned", .types = "uint8, int8 to int32"}, product, unsigned_byte<2>("a", {130, 70}), byte<2>("b", {70, 90}));
    add<single>({.name = "matmul_int8, broadcast batches", .golden = "product/batches", .types = "int8, int8 to int32"}, product, byte<4>("a", {4, 1, 33, 40}),
                byte<3>("b", {5, 40, 20}));
    add<single>({.name = "linear_int8", .golden = "linear", .types = "int8, int8 to int32"}, [](const auto& a, const auto& w) { return linear_int8(a, w); }, byte<3>("x", {4, 32, 256}),
                byte<2>("w", {64, 256}));
    add<single>({.name = "matmul_int8, scales, bias, relu", .golden = "scaled_product", .types = "uint8, int8 to f"},
                [=](const auto& a, const auto& b) { return matmul_int8(a, {.scale = 0.01f, .zero_point = 120}, b, channels(a.device()), {.bias = bias(a.device()), .relu = true}); },
                unsigned_byte<2>("a", {500, 300}), byte<2>("b", {300, 3}));
    add<single>({.name = "linear_int8, scales", .golden = "scaled_linear", .types = "int8, int8 to f"},
                [=](const auto& a, const auto& w) { return linear_int8(a, {.scale = 0.01f, .zero_point = 7}, w, scales(a.device())); }, byte<3>("x", {5, 100, 300}), byte<2>("w", {3, 300}));

    const auto bytes = [] { return zeros<std::int8_t>({2, 3}); };
    add_error("quantize_per_tensor", [] { return quantize_per_tensor(zeros<float>({2, 3}), {.scale = -1.f}); }, "quantize_per_tensor: scale -1 of channel 0 is not a positive number");
    add_error("quantize_per_channel", [=] { return quantize_per_channel<0>(zeros<float>({2, 3}), channels(cpu)); }, "expected one for each of the 2 channels");
    add_error("dequantize_per_tensor", [=] { return dequantize_per_tensor(bytes(), channels(cpu)); }, "dequantize_per_channel<Axis>(x, q) takes them");
    add_error("matmul_int8", [=] { return matmul_int8(bytes(), bytes()); }, "matmul_int8: inner sizes differ: left is int8[2, 3] on cpu (last axis 3)");
    add_error("linear_int8", [=] { return linear_int8(bytes(), zeros<std::int8_t>({3, 2})); }, "linear_int8: inner sizes differ");
    add_error("linear_int8", [=] { return linear_int8(bytes(), {}, bytes(), channels(cpu)); }, "expected one for each of the 2 columns of the right operand");
}

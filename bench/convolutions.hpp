// The convolutions that are measured, for our program and for the peers'.
#pragma once

#include <string>

namespace convolutions {

struct Case {
    long n, c_in, height, width, c_out, kernel, stride, padding, groups;
    const char* from;
    long out(long size) const { return (size + 2 * padding - kernel) / stride + 1; }
    double flops() const { return 2.0 * double(n * c_out * out(height) * out(width)) * double(c_in / groups * kernel * kernel); }
    std::string name(const char* pass, const char* layout) const {
        const auto s = [](long v) { return std::to_string(v); };
        return "conv " + s(n) + "x" + s(c_in) + "x" + s(height) + "x" + s(width) + (groups > 1 ? " depthwise" : "->" + s(c_out)) + " k" + s(kernel) +
               (stride > 1 ? " s" + s(stride) : "") + " " + pass + " " + layout;
    }
};

inline const Case cases[] = {
    {1, 3, 800, 1333, 64, 7, 2, 3, 1, "Mask R-CNN stem"},
    {1, 64, 200, 334, 64, 3, 1, 1, 1, "Mask R-CNN res2"},
    {1, 256, 200, 334, 64, 1, 1, 0, 1, "Mask R-CNN res2, in"},
    {1, 64, 200, 334, 256, 1, 1, 0, 1, "Mask R-CNN res2, out"},
    {1, 128, 100, 167, 128, 3, 2, 1, 1, "Mask R-CNN res3"},
    {1, 256, 200, 336, 256, 3, 1, 1, 1, "RPN"},
    {64, 256, 14, 14, 256, 3, 1, 1, 1, "mask head"},
    {32, 96, 32, 32, 96, 3, 1, 1, 1, "GAN"},
    {1, 1, 240, 320, 32, 3, 1, 1, 1, "GCNv2, first"},
    {1, 64, 120, 160, 128, 3, 1, 1, 1, "GCNv2"},
    {128, 64, 32, 32, 64, 3, 1, 1, 1, "CIFAR ResNet"},
    {128, 128, 16, 16, 128, 3, 1, 1, 1, "CIFAR ResNet"},
    {128, 256, 8, 8, 256, 3, 1, 1, 1, "CIFAR ResNet"},
    {128, 512, 4, 4, 512, 3, 1, 1, 1, "CIFAR ResNet"},
    {64, 48, 32, 32, 12, 3, 1, 1, 1, "DenseNet"},
    {64, 128, 32, 32, 32, 3, 1, 1, 1, "DenseNet-BC"},
    {16, 256, 28, 28, 256, 3, 1, 1, 256, "MobileNet"},
    {1, 512, 7, 7, 512, 3, 1, 1, 1, "ResNet res5, inference"},
    {64, 1, 28, 28, 6, 5, 1, 0, 1, "LeNet"},
    {64, 6, 14, 14, 16, 5, 1, 0, 1, "LeNet"},
};
inline const char* const layouts[] = {"NCHW", "NHWC"};

}  // namespace convolutions

// The built-in vector types, with the alignment that lets the hardware load them at once.
#pragma once

#define TENON_EMULATOR_VECTORS(T, name, align2, align4)                                       \
    struct name##1 {                                                                          \
        T x;                                                                                  \
    };                                                                                        \
    struct alignas(align2) name##2 {                                                          \
        T x, y;                                                                               \
    };                                                                                        \
    struct name##3 {                                                                          \
        T x, y, z;                                                                            \
    };                                                                                        \
    struct alignas(align4) name##4 {                                                          \
        T x, y, z, w;                                                                         \
    };                                                                                        \
    constexpr name##1 make_##name##1(T x) { return {x}; }                                     \
    constexpr name##2 make_##name##2(T x, T y) { return {x, y}; }                             \
    constexpr name##3 make_##name##3(T x, T y, T z) { return {x, y, z}; }                     \
    constexpr name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }

TENON_EMULATOR_VECTORS(signed char, char, 2, 4)
TENON_EMULATOR_VECTORS(unsigned char, uchar, 2, 4)
TENON_EMULATOR_VECTORS(short, short, 4, 8)
TENON_EMULATOR_VECTORS(unsigned short, ushort, 4, 8)
TENON_EMULATOR_VECTORS(int, int, 8, 16)
TENON_EMULATOR_VECTORS(unsigned, uint, 8, 16)
TENON_EMULATOR_VECTORS(long, long, 16, 16)
TENON_EMULATOR_VECTORS(unsigned long, ulong, 16, 16)
TENON_EMULATOR_VECTORS(long long, longlong, 16, 16)
TENON_EMULATOR_VECTORS(unsigned long long, ulonglong, 16, 16)
TENON_EMULATOR_VECTORS(float, float, 8, 16)
TENON_EMULATOR_VECTORS(double, double, 16, 16)
#undef TENON_EMULATOR_VECTORS

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned width = 1, unsigned height = 1, unsigned depth = 1) : x(width), y(height), z(depth) {}
    constexpr dim3(uint3 v) : x(v.x), y(v.y), z(v.z) {}
    constexpr operator uint3() const { return {x, y, z}; }
};

// Constant for the code of one thread: the scheduler writes them when it switches threads.
extern const uint3 threadIdx;
extern const uint3 blockIdx;
extern const dim3 blockDim;
extern const dim3 gridDim;
constexpr int warpSize = 32;

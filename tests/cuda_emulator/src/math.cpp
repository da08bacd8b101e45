// The fast functions, which the C library declares without exporting them.
#include <math.h>

extern "C" {
float __expf(float x) { return expf(x); }
float __exp10f(float x) { return exp10f(x); }
float __logf(float x) { return logf(x); }
float __log2f(float x) { return log2f(x); }
float __log10f(float x) { return log10f(x); }
float __sinf(float x) { return sinf(x); }
float __cosf(float x) { return cosf(x); }
float __tanf(float x) { return tanf(x); }
float __powf(float x, float y) { return powf(x, y); }
}

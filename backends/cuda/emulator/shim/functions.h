// Functions and intrinsics of CUDA C: the host's libm where it has the function, and integer work by built-ins. What CUDA defines and
// C does not (saturating conversions, NaN in minima, rounding once) is done as CUDA does it.
#pragma once
extern "C" {
double sin(double) noexcept; float sinf(float) noexcept;
double cos(double) noexcept; float cosf(float) noexcept;
double tan(double) noexcept; float tanf(float) noexcept;
double asin(double) noexcept; float asinf(float) noexcept;
double acos(double) noexcept; float acosf(float) noexcept;
double atan(double) noexcept; float atanf(float) noexcept;
double sinh(double) noexcept; float sinhf(float) noexcept;
double cosh(double) noexcept; float coshf(float) noexcept;
double tanh(double) noexcept; float tanhf(float) noexcept;
double asinh(double) noexcept; float asinhf(float) noexcept;
double acosh(double) noexcept; float acoshf(float) noexcept;
double atanh(double) noexcept; float atanhf(float) noexcept;
double exp(double) noexcept; float expf(float) noexcept;
double exp2(double) noexcept; float exp2f(float) noexcept;
double expm1(double) noexcept; float expm1f(float) noexcept;
double log(double) noexcept; float logf(float) noexcept;
double log2(double) noexcept; float log2f(float) noexcept;
double log10(double) noexcept; float log10f(float) noexcept;
double log1p(double) noexcept; float log1pf(float) noexcept;
double sqrt(double) noexcept; float sqrtf(float) noexcept;
double cbrt(double) noexcept; float cbrtf(float) noexcept;
double floor(double) noexcept; float floorf(float) noexcept;
double ceil(double) noexcept; float ceilf(float) noexcept;
double trunc(double) noexcept; float truncf(float) noexcept;
double round(double) noexcept; float roundf(float) noexcept;
double rint(double) noexcept; float rintf(float) noexcept;
double nearbyint(double) noexcept; float nearbyintf(float) noexcept;
double erf(double) noexcept; float erff(float) noexcept;
double erfc(double) noexcept; float erfcf(float) noexcept;
double lgamma(double) noexcept; float lgammaf(float) noexcept;
double tgamma(double) noexcept; float tgammaf(float) noexcept;
double fabs(double) noexcept; float fabsf(float) noexcept;
double logb(double) noexcept; float logbf(float) noexcept;
double pow(double, double) noexcept; float powf(float, float) noexcept;
double atan2(double, double) noexcept; float atan2f(float, float) noexcept;
double fmod(double, double) noexcept; float fmodf(float, float) noexcept;
double fmin(double, double) noexcept; float fminf(float, float) noexcept;
double fmax(double, double) noexcept; float fmaxf(float, float) noexcept;
double fdim(double, double) noexcept; float fdimf(float, float) noexcept;
double hypot(double, double) noexcept; float hypotf(float, float) noexcept;
double copysign(double, double) noexcept; float copysignf(float, float) noexcept;
double remainder(double, double) noexcept; float remainderf(float, float) noexcept;
double nextafter(double, double) noexcept; float nextafterf(float, float) noexcept;
double fma(double, double, double) noexcept; float fmaf(float, float, float) noexcept;
double exp10(double) noexcept; float exp10f(float) noexcept;
double ldexp(double, int) noexcept; float ldexpf(float, int) noexcept; double scalbn(double, int) noexcept; float scalbnf(float, int) noexcept;
double frexp(double, int*) noexcept; float frexpf(float, int*) noexcept; double modf(double, double*) noexcept; float modff(float, float*) noexcept;
int ilogb(double) noexcept; int ilogbf(float) noexcept;
double j0(double) noexcept; float j0f(float) noexcept; double j1(double) noexcept; float j1f(float) noexcept;
void sincos(double, double*, double*) noexcept; void sincosf(float, float*, float*) noexcept;
void* memcpy(void*, const void*, size_t) noexcept; void* memset(void*, int, size_t) noexcept;
int abs(int) noexcept; long long llabs(long long) noexcept;
}
ANYCHIP_INLINE float sin(float x) { return sinf(x); }
ANYCHIP_INLINE float cos(float x) { return cosf(x); }
ANYCHIP_INLINE float tan(float x) { return tanf(x); }
ANYCHIP_INLINE float asin(float x) { return asinf(x); }
ANYCHIP_INLINE float acos(float x) { return acosf(x); }
ANYCHIP_INLINE float atan(float x) { return atanf(x); }
ANYCHIP_INLINE float sinh(float x) { return sinhf(x); }
ANYCHIP_INLINE float cosh(float x) { return coshf(x); }
ANYCHIP_INLINE float tanh(float x) { return tanhf(x); }
ANYCHIP_INLINE float asinh(float x) { return asinhf(x); }
ANYCHIP_INLINE float acosh(float x) { return acoshf(x); }
ANYCHIP_INLINE float atanh(float x) { return atanhf(x); }
ANYCHIP_INLINE float exp(float x) { return expf(x); }
ANYCHIP_INLINE float exp2(float x) { return exp2f(x); }
ANYCHIP_INLINE float expm1(float x) { return expm1f(x); }
ANYCHIP_INLINE float log(float x) { return logf(x); }
ANYCHIP_INLINE float log2(float x) { return log2f(x); }
ANYCHIP_INLINE float log10(float x) { return log10f(x); }
ANYCHIP_INLINE float log1p(float x) { return log1pf(x); }
ANYCHIP_INLINE float sqrt(float x) { return sqrtf(x); }
ANYCHIP_INLINE float cbrt(float x) { return cbrtf(x); }
ANYCHIP_INLINE float floor(float x) { return floorf(x); }
ANYCHIP_INLINE float ceil(float x) { return ceilf(x); }
ANYCHIP_INLINE float trunc(float x) { return truncf(x); }
ANYCHIP_INLINE float round(float x) { return roundf(x); }
ANYCHIP_INLINE float rint(float x) { return rintf(x); }
ANYCHIP_INLINE float nearbyint(float x) { return nearbyintf(x); }
ANYCHIP_INLINE float erf(float x) { return erff(x); }
ANYCHIP_INLINE float erfc(float x) { return erfcf(x); }
ANYCHIP_INLINE float lgamma(float x) { return lgammaf(x); }
ANYCHIP_INLINE float tgamma(float x) { return tgammaf(x); }
ANYCHIP_INLINE float fabs(float x) { return fabsf(x); }
ANYCHIP_INLINE float logb(float x) { return logbf(x); }
ANYCHIP_INLINE float pow(float x, float y) { return powf(x, y); }
ANYCHIP_INLINE float atan2(float x, float y) { return atan2f(x, y); }
ANYCHIP_INLINE float fmod(float x, float y) { return fmodf(x, y); }
ANYCHIP_INLINE float fmin(float x, float y) { return fminf(x, y); }
ANYCHIP_INLINE float fmax(float x, float y) { return fmaxf(x, y); }
ANYCHIP_INLINE float fdim(float x, float y) { return fdimf(x, y); }
ANYCHIP_INLINE float hypot(float x, float y) { return hypotf(x, y); }
ANYCHIP_INLINE float copysign(float x, float y) { return copysignf(x, y); }
ANYCHIP_INLINE float remainder(float x, float y) { return remainderf(x, y); }
ANYCHIP_INLINE float nextafter(float x, float y) { return nextafterf(x, y); }
ANYCHIP_INLINE float fma(float a, float b, float c) { return fmaf(a, b, c); }
ANYCHIP_INLINE float ldexp(float x, int n) { return ldexpf(x, n); }
ANYCHIP_INLINE float abs(float x) { return fabsf(x); }
ANYCHIP_INLINE double abs(double x) { return fabs(x); }
ANYCHIP_INLINE long long abs(long long x) { return llabs(x); }
ANYCHIP_INLINE float rsqrtf(float x) { return 1.0f / sqrtf(x); }
ANYCHIP_INLINE double rsqrt(double x) { return 1.0 / sqrt(x); }
ANYCHIP_INLINE float rsqrt(float x) { return rsqrtf(x); }
ANYCHIP_INLINE float rcbrtf(float x) { return 1.0f / cbrtf(x); }
ANYCHIP_INLINE float sinpif(float x) { return (float)sin(3.14159265358979323846 * fmod((double)x, 2.0)); }
ANYCHIP_INLINE float cospif(float x) { return (float)cos(3.14159265358979323846 * fmod((double)x, 2.0)); }
ANYCHIP_INLINE float normcdff(float x) { return (float)(0.5 * erfc(-(double)x * 0.70710678118654752440)); }
ANYCHIP_INLINE float fdividef(float a, float b) { return a / b; }
ANYCHIP_INLINE float __saturatef(float x) { return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f; }
#define ANYCHIP_MINMAX(T)                                          \
  ANYCHIP_INLINE T min(T a, T b) { return b < a ? b : a; }          \
  ANYCHIP_INLINE T max(T a, T b) { return a < b ? b : a; }
ANYCHIP_MINMAX(int)
ANYCHIP_MINMAX(unsigned)
ANYCHIP_MINMAX(long)
ANYCHIP_MINMAX(unsigned long)
ANYCHIP_MINMAX(long long)
ANYCHIP_MINMAX(unsigned long long)
ANYCHIP_INLINE float min(float a, float b) { return fminf(a, b); }
ANYCHIP_INLINE float max(float a, float b) { return fmaxf(a, b); }
ANYCHIP_INLINE double min(double a, double b) { return fmin(a, b); }
ANYCHIP_INLINE double max(double a, double b) { return fmax(a, b); }
ANYCHIP_INLINE unsigned umin(unsigned a, unsigned b) { return a < b ? a : b; }
ANYCHIP_INLINE unsigned umax(unsigned a, unsigned b) { return a > b ? a : b; }
#define ANYCHIP_CLASS(T)                                           \
  ANYCHIP_INLINE bool isnan(T x) { return __builtin_isnan(x); }     \
  ANYCHIP_INLINE bool isinf(T x) { return __builtin_isinf(x); }     \
  ANYCHIP_INLINE bool isfinite(T x) { return __builtin_isfinite(x); } \
  ANYCHIP_INLINE bool signbit(T x) { return __builtin_signbit(x); }
ANYCHIP_CLASS(float)
ANYCHIP_CLASS(double)

// ---- bits ----
#define ANYCHIP_BITCAST(name, To, From)        \
  ANYCHIP_INLINE To name(From x) {             \
    To y;                                      \
    __builtin_memcpy(&y, &x, sizeof y);        \
    return y;                                  \
  }
ANYCHIP_BITCAST(__int_as_float, float, int)
ANYCHIP_BITCAST(__uint_as_float, float, unsigned)
ANYCHIP_BITCAST(__float_as_int, int, float)
ANYCHIP_BITCAST(__float_as_uint, unsigned, float)
ANYCHIP_BITCAST(__longlong_as_double, double, long long)
ANYCHIP_BITCAST(__double_as_longlong, long long, double)
ANYCHIP_BITCAST(anychip_u64_as_double, double, anychip_u64)
ANYCHIP_BITCAST(anychip_double_as_u64, anychip_u64, double)
ANYCHIP_INLINE double __hiloint2double(int hi, int lo) {
  return anychip_u64_as_double((anychip_u64)(unsigned)hi << 32 | (unsigned)lo);
}
ANYCHIP_INLINE int __double2hiint(double x) { return (int)(anychip_double_as_u64(x) >> 32); }
ANYCHIP_INLINE int __double2loint(double x) { return (int)anychip_double_as_u64(x); }
ANYCHIP_INLINE int __popc(unsigned x) { return __builtin_popcount(x); }
ANYCHIP_INLINE int __popcll(anychip_u64 x) { return __builtin_popcountll(x); }
ANYCHIP_INLINE int __clz(int x) { return x ? __builtin_clz(x) : 32; }
ANYCHIP_INLINE int __clzll(long long x) { return x ? __builtin_clzll(x) : 64; }
ANYCHIP_INLINE int __ffs(int x) { return __builtin_ffs(x); }
ANYCHIP_INLINE int __ffsll(long long x) { return __builtin_ffsll(x); }
ANYCHIP_INLINE anychip_u64 __brevll(anychip_u64 x) {
  x = (x >> 1 & 0x5555555555555555ull) | (x & 0x5555555555555555ull) << 1;
  x = (x >> 2 & 0x3333333333333333ull) | (x & 0x3333333333333333ull) << 2;
  x = (x >> 4 & 0x0f0f0f0f0f0f0f0full) | (x & 0x0f0f0f0f0f0f0f0full) << 4;
  return __builtin_bswap64(x);
}
ANYCHIP_INLINE unsigned __brev(unsigned x) { return (unsigned)(__brevll(x) >> 32); }
ANYCHIP_INLINE unsigned __byte_perm(unsigned a, unsigned b, unsigned s) {
  anychip_u64 all = (anychip_u64)b << 32 | a;
  unsigned r = 0;
  for (int i = 0; i < 4; i++) {
    unsigned pick = s >> (4 * i) & 15, byte = (unsigned)(all >> (8 * (pick & 7))) & 255;
    r |= (pick & 8 ? (byte & 128 ? 255u : 0u) : byte) << (8 * i);
  }
  return r;
}
ANYCHIP_INLINE unsigned __funnelshift_l(unsigned lo, unsigned hi, unsigned by) {
  return (unsigned)(((anychip_u64)hi << 32 | lo) << (by & 31) >> 32);
}
ANYCHIP_INLINE unsigned __funnelshift_r(unsigned lo, unsigned hi, unsigned by) {
  return (unsigned)(((anychip_u64)hi << 32 | lo) >> (by & 31));
}
ANYCHIP_INLINE unsigned __funnelshift_lc(unsigned lo, unsigned hi, unsigned by) {
  return by >= 32 ? lo : __funnelshift_l(lo, hi, by);
}
ANYCHIP_INLINE unsigned __funnelshift_rc(unsigned lo, unsigned hi, unsigned by) {
  return by >= 32 ? hi : __funnelshift_r(lo, hi, by);
}
ANYCHIP_INLINE int __mulhi(int a, int b) { return (int)((long long)a * b >> 32); }
ANYCHIP_INLINE unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)((anychip_u64)a * b >> 32); }
ANYCHIP_INLINE long long __mul64hi(long long a, long long b) { return (long long)((__int128)a * b >> 64); }
ANYCHIP_INLINE anychip_u64 __umul64hi(anychip_u64 a, anychip_u64 b) { return (anychip_u64)((unsigned __int128)a * b >> 64); }
ANYCHIP_INLINE int __mul24(int a, int b) { return (int)((unsigned)(a << 8 >> 8) * (unsigned)(b << 8 >> 8)); }
ANYCHIP_INLINE unsigned __umul24(unsigned a, unsigned b) { return (a & 0xffffff) * (b & 0xffffff); }
ANYCHIP_INLINE unsigned __sad(int a, int b, unsigned c) { return (a > b ? (unsigned)a - (unsigned)b : (unsigned)b - (unsigned)a) + c; }
ANYCHIP_INLINE unsigned __usad(unsigned a, unsigned b, unsigned c) { return (a > b ? a - b : b - a) + c; }
ANYCHIP_INLINE int __hadd(int a, int b) { return (int)(((long long)a + b) >> 1); }
ANYCHIP_INLINE int __rhadd(int a, int b) { return (int)(((long long)a + b + 1) >> 1); }
ANYCHIP_INLINE unsigned __uhadd(unsigned a, unsigned b) { return (unsigned)(((anychip_u64)a + b) >> 1); }
template <class A, class B> ANYCHIP_INLINE unsigned anychip_dp4a(unsigned a, unsigned b, unsigned c) {
  for (int i = 0; i < 32; i += 8) c += (unsigned)((int)(A)(a >> i) * (int)(B)(b >> i));
  return c;
}
ANYCHIP_INLINE int __dp4a(int a, int b, int c) { return (int)anychip_dp4a<signed char, signed char>(a, b, c); }
ANYCHIP_INLINE unsigned __dp4a(unsigned a, unsigned b, unsigned c) { return anychip_dp4a<unsigned char, unsigned char>(a, b, c); }
ANYCHIP_INLINE int __dp4a(char4 a, char4 b, int c) {
  return (int)((unsigned)(a.x * b.x + a.y * b.y + a.z * b.z + a.w * b.w) + (unsigned)c);
}

// ---- rounded once, never contracted ----
#if defined(__x86_64__)
#define ANYCHIP_APART(x) __asm__("" : "+x"(x))
#else
#define ANYCHIP_APART(x) __asm__("" : "+w"(x))
#endif
#define ANYCHIP_ROUNDED(name, T, op)                              \
  ANYCHIP_INLINE T name(T a, T b) {                               \
    ANYCHIP_APART(a);                                             \
    ANYCHIP_APART(b);                                             \
    T r = a op b;                                                 \
    ANYCHIP_APART(r);                                             \
    return r;                                                     \
  }
ANYCHIP_ROUNDED(__fadd_rn, float, +)
ANYCHIP_ROUNDED(__fsub_rn, float, -)
ANYCHIP_ROUNDED(__fmul_rn, float, *)
ANYCHIP_ROUNDED(__fdiv_rn, float, /)
ANYCHIP_ROUNDED(__dadd_rn, double, +)
ANYCHIP_ROUNDED(__dsub_rn, double, -)
ANYCHIP_ROUNDED(__dmul_rn, double, *)
ANYCHIP_ROUNDED(__ddiv_rn, double, /)
ANYCHIP_INLINE float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
ANYCHIP_INLINE double __fma_rn(double a, double b, double c) { return fma(a, b, c); }
ANYCHIP_INLINE float __fsqrt_rn(float x) { return sqrtf(x); }
ANYCHIP_INLINE double __dsqrt_rn(double x) { return sqrt(x); }
ANYCHIP_INLINE float __frcp_rn(float x) { return __fdiv_rn(1.0f, x); }
ANYCHIP_INLINE double __drcp_rn(double x) { return __ddiv_rn(1.0, x); }
ANYCHIP_INLINE float __frsqrt_rn(float x) { return (float)(1.0 / sqrt((double)x)); }
ANYCHIP_INLINE float __fdividef(float a, float b) { return a / b; }
ANYCHIP_INLINE float __expf(float x) { return expf(x); }
ANYCHIP_INLINE float __exp10f(float x) { return exp10f(x); }
ANYCHIP_INLINE float __logf(float x) { return logf(x); }
ANYCHIP_INLINE float __log2f(float x) { return log2f(x); }
ANYCHIP_INLINE float __log10f(float x) { return log10f(x); }
ANYCHIP_INLINE float __sinf(float x) { return sinf(x); }
ANYCHIP_INLINE float __cosf(float x) { return cosf(x); }
ANYCHIP_INLINE float __tanf(float x) { return tanf(x); }
ANYCHIP_INLINE float __powf(float x, float y) { return powf(x, y); }

// ---- conversions: they saturate, and NaN is 0 (0x8000000000000000 and 0x80000000 for a NaN double) ----
template <class I, class F> ANYCHIP_INLINE I anychip_to_int(F x, I low, I high, I nan) {
  if (x != x) return nan;
  if (x <= (F)low) return low;
  if (x >= (F)high) return high;
  return (I)x;
}
ANYCHIP_INLINE double anychip_round(double x, int how) {
  return how == 0 ? rint(x) : how == 1 ? trunc(x) : how == 2 ? floor(x) : ceil(x);
}
#define ANYCHIP_TO_INT(suffix, how)                                                                                               \
  ANYCHIP_INLINE int __float2int_##suffix(float x) {                                                                              \
    return anychip_to_int<int>(anychip_round(x, how), -0x7fffffff - 1, 0x7fffffff, 0);                                            \
  }                                                                                                                               \
  ANYCHIP_INLINE unsigned __float2uint_##suffix(float x) { return anychip_to_int<unsigned>(anychip_round(x, how), 0u, ~0u, 0u); }  \
  ANYCHIP_INLINE long long __float2ll_##suffix(float x) {                                                                         \
    return anychip_to_int<long long>(anychip_round(x, how), -0x7fffffffffffffffll - 1, 0x7fffffffffffffffll, -0x7fffffffffffffffll - 1); \
  }                                                                                                                               \
  ANYCHIP_INLINE anychip_u64 __float2ull_##suffix(float x) {                                                                      \
    return anychip_to_int<anychip_u64>(anychip_round(x, how), 0ull, ~0ull, 1ull << 63);                                           \
  }                                                                                                                               \
  ANYCHIP_INLINE int __double2int_##suffix(double x) {                                                                            \
    return anychip_to_int<int>(anychip_round(x, how), -0x7fffffff - 1, 0x7fffffff, -0x7fffffff - 1);                              \
  }                                                                                                                               \
  ANYCHIP_INLINE unsigned __double2uint_##suffix(double x) {                                                                      \
    return anychip_to_int<unsigned>(anychip_round(x, how), 0u, ~0u, 0x80000000u);                                                 \
  }                                                                                                                               \
  ANYCHIP_INLINE long long __double2ll_##suffix(double x) {                                                                       \
    return anychip_to_int<long long>(anychip_round(x, how), -0x7fffffffffffffffll - 1, 0x7fffffffffffffffll, -0x7fffffffffffffffll - 1); \
  }                                                                                                                               \
  ANYCHIP_INLINE anychip_u64 __double2ull_##suffix(double x) {                                                                    \
    return anychip_to_int<anychip_u64>(anychip_round(x, how), 0ull, ~0ull, 1ull << 63);                                           \
  }
ANYCHIP_TO_INT(rn, 0)
ANYCHIP_TO_INT(rz, 1)
ANYCHIP_TO_INT(rd, 2)
ANYCHIP_TO_INT(ru, 3)
ANYCHIP_INLINE float __int2float_rn(int x) { return (float)x; }
ANYCHIP_INLINE float __uint2float_rn(unsigned x) { return (float)x; }
ANYCHIP_INLINE float __ll2float_rn(long long x) { return (float)x; }
ANYCHIP_INLINE float __ull2float_rn(anychip_u64 x) { return (float)x; }
ANYCHIP_INLINE double __int2double_rn(int x) { return (double)x; }
ANYCHIP_INLINE double __uint2double_rn(unsigned x) { return (double)x; }
ANYCHIP_INLINE double __ll2double_rn(long long x) { return (double)x; }
ANYCHIP_INLINE double __ull2double_rn(anychip_u64 x) { return (double)x; }
ANYCHIP_INLINE float __double2float_rn(double x) { return (float)x; }
#if defined(__x86_64__)
ANYCHIP_INLINE long long clock64() { return (long long)__builtin_ia32_rdtsc(); }
#else
ANYCHIP_INLINE long long clock64() {
  long long t;
  __asm__ volatile("mrs %0, cntvct_el0" : "=r"(t));
  return t;
}
#endif
ANYCHIP_INLINE int clock() { return (int)clock64(); }

// __half and __half2 as CUDA's header of this name has them: arithmetic as if in f32 and rounded once, which is what the chips do.
#pragma once
#include "small.h"
struct __half_raw { unsigned short x; };
struct __align__(2) __half {
  unsigned short x;
  __half() = default;
  __half(float v) : x((unsigned short)anychip_to_f16(v)) {}
  __half(double v) : x((unsigned short)anychip_narrow<5, 10>(v)) {}
  __half(int v) : __half((double)v) {}
  __half(unsigned v) : __half((double)v) {}
  __half(__half_raw r) : x(r.x) {}
  operator float() const { return anychip_from_f16(x); }
  operator __half_raw() const { return {x}; }
  __half& operator+=(__half o);
  __half& operator-=(__half o);
  __half& operator*=(__half o);
  __half& operator/=(__half o);
};
struct __align__(4) __half2 { __half x, y; };
// A product and a sum, rounded once: exact in double but for the far end of the range, where the last digit is made odd first.
ANYCHIP_INLINE __half anychip_fma(__half a, __half b, __half c) {
  double p = (double)(float)a * (float)b, v = (double)(float)c, s = p + v, part = s - p, rest = (p - (s - part)) + (v - part);
  anychip_u64 bits = anychip_double_as_u64(s);
  if (rest != 0 && rest - rest == 0 && !(bits & 1)) s = anychip_u64_as_double((rest > 0) == (s > 0) ? bits + 1 : bits - 1);
  return __half(s);
}
ANYCHIP_INLINE __half __float2half(float v) { return __half(v); }
ANYCHIP_INLINE __half __float2half_rn(float v) { return __half(v); }
ANYCHIP_INLINE __half __double2half(double v) { return __half(v); }
ANYCHIP_INLINE float __half2float(__half v) { return v; }
ANYCHIP_INLINE unsigned short __half_as_ushort(__half v) { return v.x; }
ANYCHIP_INLINE short __half_as_short(__half v) { return (short)v.x; }
ANYCHIP_INLINE __half __ushort_as_half(unsigned short v) { return __half(__half_raw{v}); }
ANYCHIP_INLINE __half __short_as_half(short v) { return __half(__half_raw{(unsigned short)v}); }
ANYCHIP_INLINE __half2 __halves2half2(__half x, __half y) { return {x, y}; }
ANYCHIP_INLINE __half2 __half2half2(__half x) { return {x, x}; }
ANYCHIP_INLINE __half2 make_half2(__half x, __half y) { return {x, y}; }
ANYCHIP_INLINE __half __low2half(__half2 v) { return v.x; }
ANYCHIP_INLINE __half __high2half(__half2 v) { return v.y; }
ANYCHIP_INLINE float __low2float(__half2 v) { return v.x; }
ANYCHIP_INLINE float __high2float(__half2 v) { return v.y; }
ANYCHIP_INLINE __half2 __floats2half2_rn(float x, float y) { return {__half(x), __half(y)}; }
ANYCHIP_INLINE __half2 __float22half2_rn(float2 v) { return {__half(v.x), __half(v.y)}; }
ANYCHIP_INLINE float2 __half22float2(__half2 v) { return {v.x, v.y}; }
ANYCHIP_INLINE __half operator+(__half a, __half b) { return __half((float)a + (float)b); }
ANYCHIP_INLINE __half __hadd(__half a, __half b) { return a + b; }
inline __half& __half::operator+=(__half o) { return *this = *this + o; }
ANYCHIP_INLINE __half2 __hadd2(__half2 a, __half2 b) { return {a.x + b.x, a.y + b.y}; }
ANYCHIP_INLINE __half operator-(__half a, __half b) { return __half((float)a - (float)b); }
ANYCHIP_INLINE __half __hsub(__half a, __half b) { return a - b; }
inline __half& __half::operator-=(__half o) { return *this = *this - o; }
ANYCHIP_INLINE __half2 __hsub2(__half2 a, __half2 b) { return {a.x - b.x, a.y - b.y}; }
ANYCHIP_INLINE __half operator*(__half a, __half b) { return __half((float)a * (float)b); }
ANYCHIP_INLINE __half __hmul(__half a, __half b) { return a * b; }
inline __half& __half::operator*=(__half o) { return *this = *this * o; }
ANYCHIP_INLINE __half2 __hmul2(__half2 a, __half2 b) { return {a.x * b.x, a.y * b.y}; }
ANYCHIP_INLINE __half operator/(__half a, __half b) { return __half((float)a / (float)b); }
ANYCHIP_INLINE __half __hdiv(__half a, __half b) { return a / b; }
inline __half& __half::operator/=(__half o) { return *this = *this / o; }
ANYCHIP_INLINE __half2 __h2div(__half2 a, __half2 b) { return {a.x / b.x, a.y / b.y}; }
ANYCHIP_INLINE __half operator-(__half a) { return __half(__half_raw{(unsigned short)(a.x ^ 0x8000)}); }
ANYCHIP_INLINE __half __hneg(__half a) { return -a; }
ANYCHIP_INLINE __half __habs(__half a) { return __half(__half_raw{(unsigned short)(a.x & 0x7fff)}); }
ANYCHIP_INLINE __half __hfma(__half a, __half b, __half c) { return anychip_fma(a, b, c); }
ANYCHIP_INLINE __half2 __hfma2(__half2 a, __half2 b, __half2 c) { return {anychip_fma(a.x, b.x, c.x), anychip_fma(a.y, b.y, c.y)}; }
ANYCHIP_INLINE __half __hmin(__half a, __half b) { return __half(fminf(a, b)); }
ANYCHIP_INLINE __half __hmax(__half a, __half b) { return __half(fmaxf(a, b)); }
ANYCHIP_INLINE bool __hisnan(__half a) { return isnan((float)a); }
ANYCHIP_INLINE bool operator==(__half a, __half b) { return (float)a == (float)b; }
ANYCHIP_INLINE bool __heq(__half a, __half b) { return a == b; }
ANYCHIP_INLINE bool operator!=(__half a, __half b) { return (float)a != (float)b; }
ANYCHIP_INLINE bool __hne(__half a, __half b) { return a != b; }
ANYCHIP_INLINE bool operator<(__half a, __half b) { return (float)a < (float)b; }
ANYCHIP_INLINE bool __hlt(__half a, __half b) { return a < b; }
ANYCHIP_INLINE bool operator<=(__half a, __half b) { return (float)a <= (float)b; }
ANYCHIP_INLINE bool __hle(__half a, __half b) { return a <= b; }
ANYCHIP_INLINE bool operator>(__half a, __half b) { return (float)a > (float)b; }
ANYCHIP_INLINE bool __hgt(__half a, __half b) { return a > b; }
ANYCHIP_INLINE bool operator>=(__half a, __half b) { return (float)a >= (float)b; }
ANYCHIP_INLINE bool __hge(__half a, __half b) { return a >= b; }
ANYCHIP_INLINE __half hsqrt(__half a) { return __half(sqrtf((float)a)); }
ANYCHIP_INLINE __half hrsqrt(__half a) { return __half(rsqrtf((float)a)); }
ANYCHIP_INLINE __half hexp(__half a) { return __half(expf((float)a)); }
ANYCHIP_INLINE __half hexp2(__half a) { return __half(exp2f((float)a)); }
ANYCHIP_INLINE __half hlog(__half a) { return __half(logf((float)a)); }
ANYCHIP_INLINE __half hlog2(__half a) { return __half(log2f((float)a)); }
ANYCHIP_INLINE __half hsin(__half a) { return __half(sinf((float)a)); }
ANYCHIP_INLINE __half hcos(__half a) { return __half(cosf((float)a)); }
ANYCHIP_INLINE __half hrcp(__half a) { return __half(1.0f / ((float)a)); }
ANYCHIP_INLINE __half hfloor(__half a) { return __half(floorf((float)a)); }
ANYCHIP_INLINE __half hceil(__half a) { return __half(ceilf((float)a)); }
ANYCHIP_INLINE __half htrunc(__half a) { return __half(truncf((float)a)); }
ANYCHIP_INLINE __half hrint(__half a) { return __half(rintf((float)a)); }
ANYCHIP_INLINE __half atomicAdd(__half* p, __half v) { return anychip_update(p, [=](__half old) -> __half { return old + v; }); }
ANYCHIP_INLINE __half2 atomicAdd(__half2* p, __half2 v) { return anychip_update(p, [=](__half2 old) -> __half2 { return __hadd2(old, v); }); }
typedef __half half;
typedef __half2 half2;

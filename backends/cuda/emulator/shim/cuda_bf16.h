// __nv_bfloat16 and __nv_bfloat162 as CUDA's header of this name has them: arithmetic as if in f32 and rounded once, which is what the chips do.
#pragma once
#include "small.h"
struct __nv_bfloat16_raw { unsigned short x; };
struct __align__(2) __nv_bfloat16 {
  unsigned short x;
  __nv_bfloat16() = default;
  __nv_bfloat16(float v) : x((unsigned short)anychip_to_bf16(v)) {}
  __nv_bfloat16(double v) : x((unsigned short)anychip_narrow<8, 7>(v)) {}
  __nv_bfloat16(int v) : __nv_bfloat16((double)v) {}
  __nv_bfloat16(unsigned v) : __nv_bfloat16((double)v) {}
  __nv_bfloat16(__nv_bfloat16_raw r) : x(r.x) {}
  operator float() const { return anychip_from_bf16(x); }
  operator __nv_bfloat16_raw() const { return {x}; }
  __nv_bfloat16& operator+=(__nv_bfloat16 o);
  __nv_bfloat16& operator-=(__nv_bfloat16 o);
  __nv_bfloat16& operator*=(__nv_bfloat16 o);
  __nv_bfloat16& operator/=(__nv_bfloat16 o);
};
struct __align__(4) __nv_bfloat162 { __nv_bfloat16 x, y; };
// A product and a sum, rounded once: exact in double but for the far end of the range, where the last digit is made odd first.
ANYCHIP_INLINE __nv_bfloat16 anychip_fma(__nv_bfloat16 a, __nv_bfloat16 b, __nv_bfloat16 c) {
  double p = (double)(float)a * (float)b, v = (double)(float)c, s = p + v, part = s - p, rest = (p - (s - part)) + (v - part);
  anychip_u64 bits = anychip_double_as_u64(s);
  if (rest != 0 && rest - rest == 0 && !(bits & 1)) s = anychip_u64_as_double((rest > 0) == (s > 0) ? bits + 1 : bits - 1);
  return __nv_bfloat16(s);
}
ANYCHIP_INLINE __nv_bfloat16 __float2bfloat16(float v) { return __nv_bfloat16(v); }
ANYCHIP_INLINE __nv_bfloat16 __float2bfloat16_rn(float v) { return __nv_bfloat16(v); }
ANYCHIP_INLINE __nv_bfloat16 __double2bfloat16(double v) { return __nv_bfloat16(v); }
ANYCHIP_INLINE float __bfloat162float(__nv_bfloat16 v) { return v; }
ANYCHIP_INLINE unsigned short __bfloat16_as_ushort(__nv_bfloat16 v) { return v.x; }
ANYCHIP_INLINE short __bfloat16_as_short(__nv_bfloat16 v) { return (short)v.x; }
ANYCHIP_INLINE __nv_bfloat16 __ushort_as_bfloat16(unsigned short v) { return __nv_bfloat16(__nv_bfloat16_raw{v}); }
ANYCHIP_INLINE __nv_bfloat16 __short_as_bfloat16(short v) { return __nv_bfloat16(__nv_bfloat16_raw{(unsigned short)v}); }
ANYCHIP_INLINE __nv_bfloat162 __halves2bfloat162(__nv_bfloat16 x, __nv_bfloat16 y) { return {x, y}; }
ANYCHIP_INLINE __nv_bfloat162 __bfloat162bfloat162(__nv_bfloat16 x) { return {x, x}; }
ANYCHIP_INLINE __nv_bfloat162 make_bfloat162(__nv_bfloat16 x, __nv_bfloat16 y) { return {x, y}; }
ANYCHIP_INLINE __nv_bfloat16 __low2bfloat16(__nv_bfloat162 v) { return v.x; }
ANYCHIP_INLINE __nv_bfloat16 __high2bfloat16(__nv_bfloat162 v) { return v.y; }
ANYCHIP_INLINE float __low2float(__nv_bfloat162 v) { return v.x; }
ANYCHIP_INLINE float __high2float(__nv_bfloat162 v) { return v.y; }
ANYCHIP_INLINE __nv_bfloat162 __floats2bfloat162_rn(float x, float y) { return {__nv_bfloat16(x), __nv_bfloat16(y)}; }
ANYCHIP_INLINE __nv_bfloat162 __float22bfloat162_rn(float2 v) { return {__nv_bfloat16(v.x), __nv_bfloat16(v.y)}; }
ANYCHIP_INLINE float2 __bfloat1622float2(__nv_bfloat162 v) { return {v.x, v.y}; }
ANYCHIP_INLINE __nv_bfloat16 operator+(__nv_bfloat16 a, __nv_bfloat16 b) { return __nv_bfloat16((float)a + (float)b); }
ANYCHIP_INLINE __nv_bfloat16 __hadd(__nv_bfloat16 a, __nv_bfloat16 b) { return a + b; }
inline __nv_bfloat16& __nv_bfloat16::operator+=(__nv_bfloat16 o) { return *this = *this + o; }
ANYCHIP_INLINE __nv_bfloat162 __hadd2(__nv_bfloat162 a, __nv_bfloat162 b) { return {a.x + b.x, a.y + b.y}; }
ANYCHIP_INLINE __nv_bfloat16 operator-(__nv_bfloat16 a, __nv_bfloat16 b) { return __nv_bfloat16((float)a - (float)b); }
ANYCHIP_INLINE __nv_bfloat16 __hsub(__nv_bfloat16 a, __nv_bfloat16 b) { return a - b; }
inline __nv_bfloat16& __nv_bfloat16::operator-=(__nv_bfloat16 o) { return *this = *this - o; }
ANYCHIP_INLINE __nv_bfloat162 __hsub2(__nv_bfloat162 a, __nv_bfloat162 b) { return {a.x - b.x, a.y - b.y}; }
ANYCHIP_INLINE __nv_bfloat16 operator*(__nv_bfloat16 a, __nv_bfloat16 b) { return __nv_bfloat16((float)a * (float)b); }
ANYCHIP_INLINE __nv_bfloat16 __hmul(__nv_bfloat16 a, __nv_bfloat16 b) { return a * b; }
inline __nv_bfloat16& __nv_bfloat16::operator*=(__nv_bfloat16 o) { return *this = *this * o; }
ANYCHIP_INLINE __nv_bfloat162 __hmul2(__nv_bfloat162 a, __nv_bfloat162 b) { return {a.x * b.x, a.y * b.y}; }
ANYCHIP_INLINE __nv_bfloat16 operator/(__nv_bfloat16 a, __nv_bfloat16 b) { return __nv_bfloat16((float)a / (float)b); }
ANYCHIP_INLINE __nv_bfloat16 __hdiv(__nv_bfloat16 a, __nv_bfloat16 b) { return a / b; }
inline __nv_bfloat16& __nv_bfloat16::operator/=(__nv_bfloat16 o) { return *this = *this / o; }
ANYCHIP_INLINE __nv_bfloat162 __h2div(__nv_bfloat162 a, __nv_bfloat162 b) { return {a.x / b.x, a.y / b.y}; }
ANYCHIP_INLINE __nv_bfloat16 operator-(__nv_bfloat16 a) { return __nv_bfloat16(__nv_bfloat16_raw{(unsigned short)(a.x ^ 0x8000)}); }
ANYCHIP_INLINE __nv_bfloat16 __hneg(__nv_bfloat16 a) { return -a; }
ANYCHIP_INLINE __nv_bfloat16 __habs(__nv_bfloat16 a) { return __nv_bfloat16(__nv_bfloat16_raw{(unsigned short)(a.x & 0x7fff)}); }
ANYCHIP_INLINE __nv_bfloat16 __hfma(__nv_bfloat16 a, __nv_bfloat16 b, __nv_bfloat16 c) { return anychip_fma(a, b, c); }
ANYCHIP_INLINE __nv_bfloat162 __hfma2(__nv_bfloat162 a, __nv_bfloat162 b, __nv_bfloat162 c) { return {anychip_fma(a.x, b.x, c.x), anychip_fma(a.y, b.y, c.y)}; }
ANYCHIP_INLINE __nv_bfloat16 __hmin(__nv_bfloat16 a, __nv_bfloat16 b) { return __nv_bfloat16(fminf(a, b)); }
ANYCHIP_INLINE __nv_bfloat16 __hmax(__nv_bfloat16 a, __nv_bfloat16 b) { return __nv_bfloat16(fmaxf(a, b)); }
ANYCHIP_INLINE bool __hisnan(__nv_bfloat16 a) { return isnan((float)a); }
ANYCHIP_INLINE bool operator==(__nv_bfloat16 a, __nv_bfloat16 b) { return (float)a == (float)b; }
ANYCHIP_INLINE bool __heq(__nv_bfloat16 a, __nv_bfloat16 b) { return a == b; }
ANYCHIP_INLINE bool operator!=(__nv_bfloat16 a, __nv_bfloat16 b) { return (float)a != (float)b; }
ANYCHIP_INLINE bool __hne(__nv_bfloat16 a, __nv_bfloat16 b) { return a != b; }
ANYCHIP_INLINE bool operator<(__nv_bfloat16 a, __nv_bfloat16 b) { return (float)a < (float)b; }
ANYCHIP_INLINE bool __hlt(__nv_bfloat16 a, __nv_bfloat16 b) { return a < b; }
ANYCHIP_INLINE bool operator<=(__nv_bfloat16 a, __nv_bfloat16 b) { return (float)a <= (float)b; }
ANYCHIP_INLINE bool __hle(__nv_bfloat16 a, __nv_bfloat16 b) { return a <= b; }
ANYCHIP_INLINE bool operator>(__nv_bfloat16 a, __nv_bfloat16 b) { return (float)a > (float)b; }
ANYCHIP_INLINE bool __hgt(__nv_bfloat16 a, __nv_bfloat16 b) { return a > b; }
ANYCHIP_INLINE bool operator>=(__nv_bfloat16 a, __nv_bfloat16 b) { return (float)a >= (float)b; }
ANYCHIP_INLINE bool __hge(__nv_bfloat16 a, __nv_bfloat16 b) { return a >= b; }
ANYCHIP_INLINE __nv_bfloat16 hsqrt(__nv_bfloat16 a) { return __nv_bfloat16(sqrtf((float)a)); }
ANYCHIP_INLINE __nv_bfloat16 hrsqrt(__nv_bfloat16 a) { return __nv_bfloat16(rsqrtf((float)a)); }
ANYCHIP_INLINE __nv_bfloat16 hexp(__nv_bfloat16 a) { return __nv_bfloat16(expf((float)a)); }
ANYCHIP_INLINE __nv_bfloat16 hexp2(__nv_bfloat16 a) { return __nv_bfloat16(exp2f((float)a)); }
ANYCHIP_INLINE __nv_bfloat16 hlog(__nv_bfloat16 a) { return __nv_bfloat16(logf((float)a)); }
ANYCHIP_INLINE __nv_bfloat16 hlog2(__nv_bfloat16 a) { return __nv_bfloat16(log2f((float)a)); }
ANYCHIP_INLINE __nv_bfloat16 hsin(__nv_bfloat16 a) { return __nv_bfloat16(sinf((float)a)); }
ANYCHIP_INLINE __nv_bfloat16 hcos(__nv_bfloat16 a) { return __nv_bfloat16(cosf((float)a)); }
ANYCHIP_INLINE __nv_bfloat16 hrcp(__nv_bfloat16 a) { return __nv_bfloat16(1.0f / ((float)a)); }
ANYCHIP_INLINE __nv_bfloat16 hfloor(__nv_bfloat16 a) { return __nv_bfloat16(floorf((float)a)); }
ANYCHIP_INLINE __nv_bfloat16 hceil(__nv_bfloat16 a) { return __nv_bfloat16(ceilf((float)a)); }
ANYCHIP_INLINE __nv_bfloat16 htrunc(__nv_bfloat16 a) { return __nv_bfloat16(truncf((float)a)); }
ANYCHIP_INLINE __nv_bfloat16 hrint(__nv_bfloat16 a) { return __nv_bfloat16(rintf((float)a)); }
ANYCHIP_INLINE __nv_bfloat16 atomicAdd(__nv_bfloat16* p, __nv_bfloat16 v) { return anychip_update(p, [=](__nv_bfloat16 old) -> __nv_bfloat16 { return old + v; }); }
ANYCHIP_INLINE __nv_bfloat162 atomicAdd(__nv_bfloat162* p, __nv_bfloat162 v) { return anychip_update(p, [=](__nv_bfloat162 old) -> __nv_bfloat162 { return __hadd2(old, v); }); }
typedef __nv_bfloat16 nv_bfloat16;
typedef __nv_bfloat162 nv_bfloat162;

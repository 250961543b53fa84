// Small floats as their bits: f16, bf16, tf32 and the two of 8 bits, widened exactly and rounded to nearest, ties to even.
#pragma once
// Of `exponent` and `mantissa` bits; with `infinite` the highest exponent is infinity and NaN, else only the highest number is NaN.
template <int exponent, int mantissa, bool infinite> ANYCHIP_INLINE float anychip_wide(unsigned bits) {
  const int bias = (1 << (exponent - 1)) - 1;
  unsigned sign = bits >> (exponent + mantissa) & 1, e = bits >> mantissa & ((1u << exponent) - 1), m = bits & ((1u << mantissa) - 1);
  if (infinite ? e == (1u << exponent) - 1 : (bits & ((1u << (exponent + mantissa)) - 1)) == (1u << (exponent + mantissa)) - 1)
    return __uint_as_float(sign << 31 | (m ? 0x7fc00000u : 0x7f800000u));
  if (e == 0) {
    float small = (float)m * __uint_as_float((unsigned)(127 + 1 - bias - mantissa) << 23);
    return sign ? -small : small;
  }
  return __uint_as_float(sign << 31 | (e + 127 - bias) << 23 | m << (23 - mantissa));
}
ANYCHIP_INLINE float anychip_from_bf16(unsigned bits) { return __uint_as_float((bits & 0xffff) << 16); }
ANYCHIP_INLINE float anychip_from_tf32(unsigned bits) { return __uint_as_float(bits & 0xffffe000u); }
ANYCHIP_INLINE float anychip_from_e4m3(unsigned bits) { return anychip_wide<4, 3, false>(bits & 0xff); }
ANYCHIP_INLINE float anychip_from_e5m2(unsigned bits) { return anychip_wide<5, 2, true>(bits & 0xff); }
// A double to the nearest number with so many bits of mantissa, exponents of f16 or of f32: f64 is rounded once.
template <int exponent, int mantissa> ANYCHIP_INLINE unsigned anychip_narrow(double x) {
  const int bias = (1 << (exponent - 1)) - 1;
  anychip_u64 b = anychip_double_as_u64(x), low = b & 0x7fffffffffffffffull;
  unsigned sign = (unsigned)(b >> 63) << (exponent + mantissa), top = ((1u << exponent) - 1) << mantissa;
  if (low > 0x7ff0000000000000ull) return top | ((1u << mantissa) - 1);
  int e = (int)(low >> 52) - 1023;
  if (low == 0 || e < -bias - mantissa - 1) return sign;
  int dropped = 52 - mantissa + (e < 1 - bias ? 1 - bias - e : 0);
  anychip_u64 digits = (low & 0xfffffffffffffull) | 1ull << 52;
  anychip_u64 kept = digits >> dropped, rest = digits & ((1ull << dropped) - 1), half = 1ull << (dropped - 1);
  kept += rest > half || (rest == half && (kept & 1));
  // A carry out of the mantissa raises the exponent by itself.
  if (e >= 1 - bias) kept += (anychip_u64)(e + bias - 1) << mantissa;
  return sign | (kept >= top ? top : (unsigned)kept);
}
#if defined(__F16C__)
#define ANYCHIP_F16C 1
ANYCHIP_INLINE float anychip_from_f16(unsigned bits) {
  typedef short v8 __attribute__((vector_size(16)));
  typedef float v4 __attribute__((vector_size(16)));
  v8 h = {(short)bits};
  v4 f = __builtin_ia32_vcvtph2ps(h);
  return f[0];
}
ANYCHIP_INLINE unsigned anychip_to_f16(float x) {
  typedef short v8 __attribute__((vector_size(16)));
  typedef float v4 __attribute__((vector_size(16)));
  v4 f = {x};
  v8 h = __builtin_ia32_vcvtps2ph(f, 0);
  unsigned bits = (unsigned short)h[0];
  return x != x ? 0x7fffu : bits;
}
#else
ANYCHIP_INLINE float anychip_from_f16(unsigned bits) { return anychip_wide<5, 10, true>(bits & 0xffff); }
ANYCHIP_INLINE unsigned anychip_to_f16(float x) { return anychip_narrow<5, 10>(x); }
#endif
ANYCHIP_INLINE unsigned anychip_to_bf16(float x) {
  unsigned b = __float_as_uint(x);
  return x != x ? 0x7fffu : (b + 0x7fffu + (b >> 16 & 1)) >> 16;
}
// What can be an operand of a matrix instruction: bits in a register to a number that double holds exactly.
struct anychip_f16 { enum { bits = 16 }; static float of(unsigned b) { return anychip_from_f16(b); } };
struct anychip_bf16 { enum { bits = 16 }; static float of(unsigned b) { return anychip_from_bf16(b); } };
struct anychip_tf32 { enum { bits = 32 }; static float of(unsigned b) { return anychip_from_tf32(b); } };
struct anychip_e4m3 { enum { bits = 8 }; static float of(unsigned b) { return anychip_from_e4m3(b); } };
struct anychip_e5m2 { enum { bits = 8 }; static float of(unsigned b) { return anychip_from_e5m2(b); } };
struct anychip_s8 { enum { bits = 8 }; static int of(unsigned b) { return (signed char)b; } };
struct anychip_u8t { enum { bits = 8 }; static int of(unsigned b) { return (unsigned char)b; } };
template <class T> ANYCHIP_INLINE auto anychip_part(unsigned word, unsigned i) { return T::of(word >> (i * T::bits & 31)); }
// Sums of matrix instructions: exact, then cut off as the chips do; integers wrap.
ANYCHIP_INLINE float anychip_cut(double x) {
  float f = (float)x;
  if (f - f != 0 || fabs((double)f) <= fabs(x)) return f;
  return __uint_as_float(__float_as_uint(f) - 1);
}
template <class C> struct anychip_sum;
template <> struct anychip_sum<float> {
  typedef double type;
  typedef double row __attribute__((vector_size(64)));
  static float of(double x) { return anychip_cut(x); }
};
template <> struct anychip_sum<int> {
  typedef unsigned type;
  typedef unsigned row __attribute__((vector_size(32)));
  static int of(unsigned x) { return (int)x; }
};

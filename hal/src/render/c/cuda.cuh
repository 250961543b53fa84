// What the printer's text needs and CUDA C++ lacks. No header is included: NVRTC finds none.
// ANYCHIP_EMULATED: compiled for a host; what an instruction does is then written out.
#define INLINE __device__ __forceinline__
// Workgroups of a processor that the assembler must leave room for; 0: as many as it thinks best.
#ifndef RESIDENT
#define RESIDENT 0
#endif
namespace anychip {
typedef signed char schar;
typedef unsigned char uchar;
typedef unsigned short ushort;
typedef unsigned int uint;
typedef long long llong;
typedef unsigned long long ullong;

// Bits of one type as another of the same size.
template <class T, class S> INLINE T bits_as(S x) {
    static_assert(sizeof(T) == sizeof(S), "sizes are equal");
    T y;
    memcpy(&y, &x, sizeof(T));
    return y;
}

// Lanes of a comparison: integers of the same size, 0 or -1.
template <int> struct mask_of;
template <> struct mask_of<1> { typedef schar type; };
template <> struct mask_of<2> { typedef short type; };
template <> struct mask_of<4> { typedef int type; };
template <> struct mask_of<8> { typedef llong type; };

#define EACH for (int i = 0; i < N; ++i)
template <class T, int N> struct alignas(sizeof(T) * N < 16 ? sizeof(T) * N : 16) vec {
    T s[N];
    typedef T elem;
    typedef vec<typename mask_of<sizeof(T)>::type, N> mask;
    vec() = default;
    __device__ __forceinline__ vec(T x) {
#pragma unroll
        EACH s[i] = x;
    }
    template <class... R> __device__ __forceinline__ vec(T a, T b, R... r) : s{a, b, T(r)...} {}
#define BINARY(op) \
    friend __device__ __forceinline__ vec operator op(vec a, vec b) { \
        vec r; \
        _Pragma("unroll") EACH r.s[i] = T(a.s[i] op b.s[i]); \
        return r; \
    }
#define COMPARE(op) \
    friend __device__ __forceinline__ mask operator op(vec a, vec b) { \
        mask r; \
        _Pragma("unroll") EACH r.s[i] = a.s[i] op b.s[i] ? -1 : 0; \
        return r; \
    }
#define UNARY(op) \
    friend __device__ __forceinline__ vec operator op(vec a) { \
        vec r; \
        _Pragma("unroll") EACH r.s[i] = T(op a.s[i]); \
        return r; \
    }
    BINARY(+) BINARY(-) BINARY(*) BINARY(/) BINARY(%) BINARY(&) BINARY(|) BINARY(^) BINARY(<<) BINARY(>>)
    COMPARE(==) COMPARE(!=) COMPARE(<) COMPARE(<=) COMPARE(>) COMPARE(>=)
    UNARY(-) UNARY(~)
};
template <class T, class M, int N> INLINE vec<T, N> select(vec<T, N> no, vec<T, N> yes, vec<M, N> mask) {
    vec<T, N> r;
#pragma unroll
    EACH r.s[i] = mask.s[i] ? yes.s[i] : no.s[i];
    return r;
}
template <class V, class T, int N> INLINE V convert(vec<T, N> x) {
    V r;
#pragma unroll
    EACH r.s[i] = typename V::elem(x.s[i]);
    return r;
}
template <int N, class T> INLINE vec<T, N> vload(const T* p) {
    vec<T, N> r;
#pragma unroll
    EACH r.s[i] = p[i];
    return r;
}
template <class T, int N> INLINE void vstore(vec<T, N> x, T* p) {
#pragma unroll
    EACH p[i] = x.s[i];
}
// Where a vector lies aligned. The compiler reads it by 16 bytes at once, but may take a write apart; of a pointer into a buffer it
// knows that it is one.
template <class V> INLINE void put(V* p, V x) {
#ifndef ANYCHIP_EMULATED
    if (sizeof(V) % 8 == 0 && __isGlobal(p)) {
        ullong to = __cvta_generic_to_global(p);
        uint w[(sizeof(V) + 3) / 4];
        memcpy(w, &x, sizeof(V));
        if constexpr (sizeof(V) == 8) {
            asm volatile("st.global.v2.u32 [%0], {%1, %2};" ::"l"(to), "r"(w[0]), "r"(w[1]) : "memory");
        } else if constexpr (sizeof(V) % 16 == 0) {
#pragma unroll
            for (int i = 0; i < int(sizeof(V) / 4); i += 4) {
                asm volatile("st.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(to + 4 * i), "r"(w[i]), "r"(w[i + 1]),
                             "r"(w[i + 2]), "r"(w[i + 3]) : "memory");
            }
        }
        return;
    }
#endif
    *p = x;
}

#define NAMES(T, N) \
    typedef vec<T, N> T##N; \
    template <class S> INLINE T##N as_##T##N(S x) { return bits_as<T##N>(x); } \
    template <class S> INLINE T##N convert_##T##N(S x) { return convert<T##N>(x); }
#define TYPE(T) \
    template <class S> INLINE T as_##T(S x) { return bits_as<T>(x); } \
    NAMES(T, 2) NAMES(T, 4) NAMES(T, 8) NAMES(T, 16)
TYPE(schar) TYPE(short) TYPE(int) TYPE(llong)
TYPE(uchar) TYPE(ushort) TYPE(uint) TYPE(ullong)
TYPE(float) TYPE(double)
// Literals of 64 bits, where `unsigned long` has 32.
INLINE double as_double(unsigned long x) { return bits_as<double>(ullong(x)); }
#define WIDTH(N) \
    template <class T> INLINE vec<T, N> vload##N(int, const T* p) { return vload<N>(p); } \
    template <class T> INLINE void vstore##N(vec<T, N> x, int, T* p) { vstore(x, p); }
WIDTH(2) WIDTH(4) WIDTH(8) WIDTH(16)

// Small floats: the bits in memory, f32 on the way. Rounded to nearest, ties to even.
struct half { ushort bits; };
struct bfloat { ushort bits; };
#ifdef ANYCHIP_EMULATED
INLINE float widened(half h) {
    uint sign = uint(h.bits & 0x8000) << 16, low = h.bits & 0x7fff;
    if (low >= 0x7c00) return as_float(sign | 0x7f800000u | (low & 0x3ff) << 13);
    if (low >= 0x400) return as_float(sign | ((low << 13) + 0x38000000u));
    return as_float(sign | as_uint(float(low) * 0x1p-24f));
}
// From the bits of a double: every float is one, and f64 is rounded once.
INLINE half narrowed(double x, half) {
    ullong b = as_ullong(x), low = b & 0x7fffffffffffffffull;
    ushort sign = ushort(b >> 48 & 0x8000);
    if (low > 0x7ff0000000000000ull) return half{0x7fff};
    if (low >= 0x40effe0000000000ull) return half{ushort(sign | 0x7c00)};
    int shift = low >= 0x3f10000000000000ull ? 42 : 1051 - int(low >> 52);
    if (shift > 54) return half{sign};
    ullong digits = shift == 42 ? low - (1008ull << 52) : (low & 0xfffffffffffffull) | 1ull << 52;
    ullong kept = digits >> shift, rest = digits & ((1ull << shift) - 1), tie = 1ull << (shift - 1);
    return half{ushort(sign | (kept + (rest > tie || (rest == tie && (kept & 1)))))};
}
#else
INLINE float widened(half h) {
    float x;
    asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(h.bits));
    return x;
}
INLINE half narrowed(float x, half) {
    half h;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h.bits) : "f"(x));
    return h;
}
INLINE half narrowed(double x, half) {
    half h;
    asm("cvt.rn.f16.f64 %0, %1;" : "=h"(h.bits) : "d"(x));
    return h;
}
#endif
INLINE float widened(bfloat h) { return as_float(uint(h.bits) << 16); }
INLINE bfloat narrowed(float x, bfloat) {
#if !defined(ANYCHIP_EMULATED) && __CUDA_ARCH__ >= 800
    bfloat h;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(h.bits) : "f"(x));
    return h;
#else
    uint b = as_uint(x);
    return bfloat{ushort(x != x ? 0x7fffu : (b + 0x7fffu + (b >> 16 & 1)) >> 16)};
#endif
}
// To an odd last digit first: what is left out of the f32 still decides a tie.
INLINE bfloat narrowed(double x, bfloat) {
    float y = float(x);
    if (double(y) != x && x == x && !(as_uint(y) & 1)) {
        bool up = double(y) > x ? y < 0 : y > 0;
        y = as_float((as_uint(y) & 0x7fffffffu) == 0 ? as_uint(y) | 1u : up ? as_uint(y) + 1u : as_uint(y) - 1u);
    }
    return narrowed(y, bfloat());
}
template <int N, class H> INLINE vec<float, N> widened(vec<ushort, N> x) {
    vec<float, N> r;
#pragma unroll
    EACH r.s[i] = widened(H{x.s[i]});
    return r;
}
template <class H, class T, int N> INLINE vec<ushort, N> narrowed(vec<T, N> x) {
    vec<ushort, N> r;
#pragma unroll
    EACH r.s[i] = narrowed(x.s[i], H()).bits;
    return r;
}
#define SMALL_WIDTH(H, N) \
    INLINE float##N vload_##H##N(int, const H* p) { return widened<N, H>(vload<N>((const ushort*)p)); } \
    INLINE float##N vloada_##H##N(int, const H* p) { return widened<N, H>(*(const ushort##N*)p); } \
    template <class T> INLINE void vstore_##H##N##_rte(vec<T, N> x, int, H* p) { vstore(narrowed<H>(x), (ushort*)p); } \
    template <class T> INLINE void vstorea_##H##N##_rte(vec<T, N> x, int, H* p) { put((ushort##N*)p, narrowed<H>(x)); }
#define SMALL(H) \
    template <class I> INLINE float vload_##H(I i, const H* p) { return widened(p[i]); } \
    template <class T, class I> INLINE void vstore_##H##_rte(T x, I i, H* p) { p[i] = narrowed(x, H()); } \
    SMALL_WIDTH(H, 2) SMALL_WIDTH(H, 4) SMALL_WIDTH(H, 8) SMALL_WIDTH(H, 16)
SMALL(half) SMALL(bfloat)

// Functions of numbers, and of vectors lane by lane.
#define LANES1(f) \
    template <class T, int N> INLINE vec<T, N> f(vec<T, N> x) { \
        vec<T, N> r; \
        _Pragma("unroll") EACH r.s[i] = f(x.s[i]); \
        return r; \
    }
#define LANES2(f) \
    template <class T, int N> INLINE vec<T, N> f(vec<T, N> x, vec<T, N> y) { \
        vec<T, N> r; \
        _Pragma("unroll") EACH r.s[i] = f(x.s[i], y.s[i]); \
        return r; \
    }
#define FLOAT1(name) \
    INLINE float name(float x) { return ::name##f(x); } \
    INLINE double name(double x) { return ::name(x); } \
    LANES1(name)
#define FLOAT2(name) \
    INLINE float name(float x, float y) { return ::name##f(x, y); } \
    INLINE double name(double x, double y) { return ::name(x, y); } \
    LANES2(name)
FLOAT1(fabs) FLOAT1(floor) FLOAT1(ceil) FLOAT1(trunc) FLOAT1(rint) FLOAT1(sqrt) FLOAT1(rsqrt) FLOAT1(exp) FLOAT1(exp2)
FLOAT1(log) FLOAT1(log2) FLOAT1(sin) FLOAT1(cos) FLOAT1(tan) FLOAT1(tanh) FLOAT1(erf)
FLOAT2(fmin) FLOAT2(fmax) FLOAT2(fmod) FLOAT2(pow) FLOAT2(copysign)
INLINE float fma(float x, float y, float z) { return ::__fmaf_rn(x, y, z); }
INLINE double fma(double x, double y, double z) { return ::__fma_rn(x, y, z); }
template <class T, int N> INLINE vec<T, N> fma(vec<T, N> x, vec<T, N> y, vec<T, N> z) {
    vec<T, N> r;
#pragma unroll
    EACH r.s[i] = fma(x.s[i], y.s[i], z.s[i]);
    return r;
}
INLINE bool isnan(float x) { return x != x; }
INLINE bool isnan(double x) { return x != x; }
INLINE bool isinf(float x) { return fabs(x) == as_float(0x7f800000u); }
INLINE bool isinf(double x) { return fabs(x) == as_double(0x7ff0000000000000ull); }
template <class T, int N> INLINE typename vec<T, N>::mask isnan(vec<T, N> x) { return x != x; }
template <class T, int N> INLINE typename vec<T, N>::mask isinf(vec<T, N> x) {
    typename vec<T, N>::mask r;
#pragma unroll
    EACH r.s[i] = isinf(x.s[i]) ? -1 : 0;
    return r;
}
// Counts of bits are those of the type's own width; an absolute value wraps.
#define INTEGER(T, U, B) \
    INLINE T min(T x, T y) { return y < x ? y : x; } \
    INLINE T max(T x, T y) { return x < y ? y : x; } \
    INLINE T popcount(T x) { return T(B == 64 ? ::__popcll(llong(U(x))) : ::__popc(int(U(x)))); } \
    INLINE T clz(T x) { return T(B == 64 ? ::__clzll(llong(U(x))) : ::__clz(int(U(x))) - (32 - B)); }
#define SIGNED(T, U) \
    INLINE U abs(T x) { return x < 0 ? U(0u - U(x)) : U(x); } \
    template <int N> INLINE vec<U, N> abs(vec<T, N> x) { \
        vec<U, N> r; \
        _Pragma("unroll") EACH r.s[i] = abs(x.s[i]); \
        return r; \
    }
INTEGER(schar, uchar, 8) INTEGER(short, ushort, 16) INTEGER(int, uint, 32) INTEGER(llong, ullong, 64)
INTEGER(uchar, uchar, 8) INTEGER(ushort, ushort, 16) INTEGER(uint, uint, 32) INTEGER(ullong, ullong, 64)
SIGNED(schar, uchar) SIGNED(short, ushort) SIGNED(int, uint) SIGNED(llong, ullong)
LANES2(min) LANES2(max) LANES1(popcount) LANES1(clz)

// Packed products of four bytes.
#ifdef ANYCHIP_EMULATED
template <class A, class B> INLINE int dot4(uint a, uint b, int c) {
    for (int i = 0; i < 32; i += 8) c = int(uint(c) + uint(int(A(a >> i)) * int(B(b >> i))));
    return c;
}
#define DOT4(a, b, A, B) INLINE int dot4_##a##b(uint x, uint y, int z) { return dot4<A, B>(x, y, z); }
#else
#define DOT4(a, b, A, B) \
    INLINE int dot4_##a##b(uint x, uint y, int z) { \
        int r; \
        asm("dp4a." #a "32." #b "32 %0, %1, %2, %3;" : "=r"(r) : "r"(x), "r"(y), "r"(z)); \
        return r; \
    }
#endif
#if defined(ANYCHIP_EMULATED) || __CUDA_ARCH__ >= 610
DOT4(s, s, schar, schar) DOT4(s, u, schar, uchar) DOT4(u, s, uchar, schar) DOT4(u, u, uchar, uchar)
INLINE uint dot4_uu(uint x, uint y, uint z) { return uint(dot4_uu(x, y, int(z))); }
#endif

// Atomics: relaxed, with the old value.
#define ATOMIC(name, does, T, R) \
    INLINE T name(volatile T* p, T x) { return T(::does((R*)p, R(x))); }
#define ATOMICS(family, T, R, B) \
    ATOMIC(family##_add, atomicAdd, T, B) ATOMIC(family##_xchg, atomicExch, T, B) \
    ATOMIC(family##_min, atomicMin, T, R) ATOMIC(family##_max, atomicMax, T, R) \
    ATOMIC(family##_and, atomicAnd, T, B) ATOMIC(family##_or, atomicOr, T, B) ATOMIC(family##_xor, atomicXor, T, B) \
    INLINE T family##_cmpxchg(volatile T* p, T old, T x) { return T(::atomicCAS((B*)p, B(old), B(x))); }
ATOMICS(atomic, int, int, int) ATOMICS(atomic, uint, uint, uint)
ATOMICS(atom, llong, llong, ullong) ATOMICS(atom, ullong, ullong, ullong)
ATOMIC(atomic_add, atomicAdd, float, float) ATOMIC(atom_add, atomicAdd, double, double)

// Subgroups are warps. The last one of a workgroup may be partial: its lanes are those of the mask.
#define LANES (LANES_X * LANES_Y * LANES_Z)
INLINE uint local_lane() { return (threadIdx.z * LANES_Y + threadIdx.y) * LANES_X + threadIdx.x; }
INLINE uint subgroup_lane() { return local_lane() % 32; }
INLINE uint subgroup_id() { return local_lane() / 32; }
INLINE uint subgroup_lanes() {
    return LANES % 32 == 0 ? 32u : min(LANES - 32 * subgroup_id(), 32u);
}
INLINE uint subgroup_mask() { return LANES % 32 == 0 ? ~0u : ~0u >> (32 - subgroup_lanes()); }

// How a word is fetched. A lane that is not there is not asked: its place is taken by the asking one.
struct at_lane {
    static INLINE uint word(uint x, uint lane) {
        return ::__shfl_sync(subgroup_mask(), x, int(lane < subgroup_lanes() ? lane : subgroup_lane()));
    }
};
struct at_xor {
    static INLINE uint word(uint x, uint lane) {
        if constexpr (LANES % 32 == 0) return ::__shfl_xor_sync(~0u, x, int(lane % 32));
        else return at_lane::word(x, subgroup_lane() ^ lane);
    }
};
template <class At, class T> INLINE T fetched(T x, uint lane) {
    if constexpr (sizeof(T) == 1) {
        return bits_as<T>(uchar(At::word(bits_as<uchar>(x), lane)));
    } else if constexpr (sizeof(T) == 2) {
        return bits_as<T>(ushort(At::word(bits_as<ushort>(x), lane)));
    } else if constexpr (sizeof(T) == 4) {
        return bits_as<T>(At::word(bits_as<uint>(x), lane));
    } else {
        ullong b = bits_as<ullong>(x);
        return bits_as<T>(ullong(At::word(uint(b >> 32), lane)) << 32 | At::word(uint(b), lane));
    }
}
template <class At, class T, int N> INLINE vec<T, N> fetched(vec<T, N> x, uint lane) {
    vec<T, N> r;
#pragma unroll
    EACH r.s[i] = fetched<At>(x.s[i], lane);
    return r;
}
template <class T> INLINE T subgroup_shuffle(T x, uint lane) { return fetched<at_lane>(x, lane); }
template <class T> INLINE T subgroup_shuffle_xor(T x, uint lane) { return fetched<at_xor>(x, lane); }
template <class T> INLINE T subgroup_shuffle_down(T x, uint lane) { return subgroup_shuffle(x, subgroup_lane() + lane); }
template <class T> INLINE T subgroup_shuffle_up(T x, uint lane) { return subgroup_shuffle(x, subgroup_lane() - lane); }

// A reduction of a whole warp is a butterfly, the same in every lane; of a part of one a tree towards the first lane.
template <class F, class T> INLINE T subgroup_reduce(T x) {
    if constexpr (LANES % 32 == 0) {
#pragma unroll
        for (uint s = 16; s > 0; s /= 2) x = F::of(x, subgroup_shuffle_xor(x, s));
        return x;
    } else {
#pragma unroll
        for (uint s = 16; s > 0; s /= 2) {
            T other = subgroup_shuffle_down(x, s);
            if (subgroup_lane() + s < subgroup_lanes()) x = F::of(x, other);
        }
        return subgroup_shuffle(x, 0u);
    }
}
template <class F, class T, int N> INLINE vec<T, N> subgroup_reduce(vec<T, N> x) {
#pragma unroll
    EACH x.s[i] = subgroup_reduce<F>(x.s[i]);
    return x;
}
#define REDUCE(name, value) \
    struct of_##name { \
        template <class T> static INLINE T of(T a, T b) { return value; } \
    }; \
    template <class T> INLINE T name(T x) { return subgroup_reduce<of_##name>(x); }
REDUCE(subgroup_min, (b < a || b != b ? b : a)) REDUCE(subgroup_max, (a < b || b != b ? b : a))
REDUCE(subgroup_and, T(a & b)) REDUCE(subgroup_or, T(a | b)) REDUCE(subgroup_xor, T(a ^ b))
// Sums and products wrap.
template <class T> struct wrapping { typedef T type; };
template <> struct wrapping<schar> { typedef uint type; };
template <> struct wrapping<short> { typedef uint type; };
template <> struct wrapping<ushort> { typedef uint type; };
template <> struct wrapping<int> { typedef uint type; };
template <> struct wrapping<llong> { typedef ullong type; };
#define WRAPPED(op) T(typename wrapping<T>::type(a) op typename wrapping<T>::type(b))
REDUCE(subgroup_sum, WRAPPED(+)) REDUCE(subgroup_prod, WRAPPED(*))
#if __CUDA_ARCH__ >= 800
// One instruction for 32-bit integers, whatever lanes there are.
#define REDUX(name, does) \
    INLINE uint name(uint x) { return ::does(subgroup_mask(), x); } \
    INLINE int name(int x) { return int(::does(subgroup_mask(), x)); }
#define REDUX_BITS(name, does) \
    INLINE uint name(uint x) { return ::does(subgroup_mask(), x); } \
    INLINE int name(int x) { return int(::does(subgroup_mask(), uint(x))); }
REDUX(subgroup_sum, __reduce_add_sync) REDUX(subgroup_min, __reduce_min_sync) REDUX(subgroup_max, __reduce_max_sync)
REDUX_BITS(subgroup_and, __reduce_and_sync) REDUX_BITS(subgroup_or, __reduce_or_sync)
REDUX_BITS(subgroup_xor, __reduce_xor_sync)
#endif
template <class T> INLINE T subgroup_scan(T x) {
#pragma unroll
    for (uint s = 1; s < 32; s *= 2) {
        T other = subgroup_shuffle_up(x, s);
        if (subgroup_lane() >= s) x = of_subgroup_sum::of(other, x);
    }
    T before = subgroup_shuffle_up(x, 1u);
    return subgroup_lane() == 0 ? T(0) : before;
}
template <class T, int N> INLINE vec<T, N> subgroup_scan(vec<T, N> x) {
#pragma unroll
    EACH x.s[i] = subgroup_scan(x.s[i]);
    return x;
}


// Fragments laid out as mma.sync has them from sm_75 (PTX manual, "Matrix Fragments for mma"): rows of products are 16,
// columns multiples of 8, the inner extent 32 bytes. Of lane l, g is l / 4 and t is l % 4. Sums of more rows are held by a subgroup
// for every 16 of them (as wgmma has it, "Register Fragments for wgmma").
template <int N, bool TRANSPOSED> INLINE void load_matrices(uint* r, const void* row) {
#ifdef ANYCHIP_EMULATED
    anychip_ldmatrix<N, TRANSPOSED>(r, row);
#else
    uint at = uint(__cvta_generic_to_shared(row));
    if constexpr (N == 2 && !TRANSPOSED)
        asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
                     : "=r"(r[0]), "=r"(r[1]) : "r"(at) : "memory");
    else if constexpr (N == 2)
        asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
                     : "=r"(r[0]), "=r"(r[1]) : "r"(at) : "memory");
    else if constexpr (!TRANSPOSED)
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at) : "memory");
    else
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at) : "memory");
#endif
}
template <int ROLE, class T, int M, int N, int K> struct frag {
    typedef T elem;
    typedef typename word_of<sizeof(T)>::type bits;
    typedef typename either<(ROLE >= FRAG_SUM), T, uint>::type reg;
    static constexpr int role = ROLE, size = sizeof(T);
    static_assert(N % 8 == 0 && (ROLE == FRAG_SUM || M == 16), "a product of mma.sync");
    static_assert(ROLE >= FRAG_SUM || K * size == 32, "a product of mma.sync");
    // Elements of a register, of a lane; registers of a lane.
    static constexpr int per = ROLE >= FRAG_SUM ? 1 : 4 / size;
    static constexpr int all = ROLE == FRAG_A ? M * K : ROLE == FRAG_B ? K * N : ROLE == FRAG_SUM ? M * N : 64;
    static constexpr int held = all / (2 * M), regs = held / per, columns = N;
    reg r[regs];

    // Lines of 16 bytes are read by ldmatrix, across them what has the 16 bits that it transposes.
    template <bool INNER>
    static constexpr bool by_lines = ROLE < FRAG_SUM && (regs == 2 || regs == 4) && (INNER || size == 2);
    template <bool INNER, int BITS, int SHIFT, class I> INLINE void load_lines(const T* p, I index, uint stride) {
        uint n = subgroup_lane() / 8;
        uint far = ROLE == FRAG_A ? n & 1 : n >> 1 & (regs == 4), deep = ROLE == FRAG_A ? n >> 1 : n & 1;
        uint line = subgroup_lane() % 8 + 8 * (INNER ? far : deep), along = INNER ? 16 / size * deep : 8 * far;
        load_matrices<regs, !INNER>(r, p + swizzled<BITS, SHIFT, size>(index + I(line * stride + along)));
    }
    static INLINE uint row(int e) {
        uint g = subgroup_lane() / 4, t = subgroup_lane() % 4, n = e / per;
        if (ROLE == FRAG_A) return g + 8 * (n & 1);
        if (ROLE == FRAG_B) return 4 * per * (n & 1) + per * t + e % per;
        if (ROLE == FRAG_ROWS) return g + 8 * n;
        return (M == 16 ? 0 : 16 * subgroup_id()) + g + 8 * (n >> 1 & 1);
    }
    static INLINE uint col(int e) {
        uint g = subgroup_lane() / 4, t = subgroup_lane() % 4, n = e / per;
        if (ROLE == FRAG_A) return 4 * per * (n >> 1) + per * t + e % per;
        if (ROLE == FRAG_B) return 8 * (n >> 1) + g;
        if (ROLE == FRAG_ROWS) return 0;
        return 8 * (n >> 2) + 2 * t + (n & 1);
    }
    INLINE T get(int e) const {
        if constexpr (ROLE >= FRAG_SUM) return r[e];
        else return bits_as<T>(bits(r[e / per] >> (e % per * size * 8 % 32)));
    }
    // Registers hold zeros there.
    INLINE void put(int e, T x) {
        if constexpr (ROLE >= FRAG_SUM) r[e] = x;
        else r[e / per] |= uint(bits_as<bits>(x)) << (e % per * size * 8 % 32);
    }
};
// What a map to F reads for its element e: sums lie as operands A of 16 bits do, and each row has its number.
template <class F, class S> INLINE typename S::elem frag_part(S s, int e) {
    if constexpr (S::role == FRAG_ROWS && F::role != FRAG_ROWS) return s.r[e >> 1 & 1];
    else return s.get(e);
}
// Rows lie in groups of four lanes.
template <class R, class Of, class F> INLINE R frag_rows(F f) {
    R rows = {};
#pragma unroll
    for (int n = 0; n < 2; ++n) {
        typename R::elem x = f.r[2 * n];
#pragma unroll
        for (int e = 2 * n + 1; e < F::regs; ++e)
            if ((e >> 1 & 1) == n) x = Of::of(x, f.r[e]);
        x = Of::of(x, fetched<at_xor>(x, 1u));
        rows.r[n] = Of::of(x, fetched<at_xor>(x, 2u));
    }
    return rows;
}


// Sums of 16 rows and 8 columns.
template <class A, class B> struct product;
#ifdef ANYCHIP_EMULATED
#define PRODUCT(A, B, C, form, text, c) \
    template <> struct product<A, B> { \
        static INLINE void add(C* s, const uint* a, const uint* b) { anychip_mma_##form(s, a, b, s); } \
    };
#else
#define PRODUCT(A, B, C, form, text, c) \
    template <> struct product<A, B> { \
        static INLINE void add(C* s, const uint* a, const uint* b) { \
            asm("mma.sync.aligned." text " {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};" \
                : "+" c(s[0]), "+" c(s[1]), "+" c(s[2]), "+" c(s[3]) \
                : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1])); \
        } \
    };
#endif
#if __CUDA_ARCH__ >= 800
PRODUCT(half, half, float, m16n8k16_f16_f32, "m16n8k16.row.col.f32.f16.f16.f32", "f")
PRODUCT(bfloat, bfloat, float, m16n8k16_bf16_f32, "m16n8k16.row.col.f32.bf16.bf16.f32", "f")
PRODUCT(schar, schar, int, m16n8k32_s8_s32, "m16n8k32.row.col.s32.s8.s8.s32", "r")
PRODUCT(uchar, uchar, int, m16n8k32_u8_s32, "m16n8k32.row.col.s32.u8.u8.s32", "r")
PRODUCT(schar, uchar, int, m16n8k32_s8_u8_s32, "m16n8k32.row.col.s32.s8.u8.s32", "r")
PRODUCT(uchar, schar, int, m16n8k32_u8_s8_s32, "m16n8k32.row.col.s32.u8.s8.s32", "r")
// Of f32 the unit reads the first 19 bits: rounded to nearest before, so that it cuts off zeros.
struct tf32 {};
PRODUCT(tf32, tf32, float, m16n8k8_tf32_f32, "m16n8k8.row.col.f32.tf32.tf32.f32", "f")
INLINE uint to_tf32(uint x) {
#ifdef ANYCHIP_EMULATED
    return (x & 0x7f800000u) == 0x7f800000u ? x : (x + 0x1000u) & 0xffffe000u;
#else
    uint r;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(r) : "f"(as_float(x)));
    return r;
#endif
}
template <> struct product<float, float> {
    static INLINE void add(float* s, const uint* a, const uint* b) {
        uint x[4] = {to_tf32(a[0]), to_tf32(a[1]), to_tf32(a[2]), to_tf32(a[3])}, y[2] = {to_tf32(b[0]), to_tf32(b[1])};
        product<tf32, tf32>::add(s, x, y);
    }
};
#elif __CUDA_ARCH__ >= 750
// The inner extent by halves.
template <> struct product<half, half> {
    static INLINE void add(float* s, const uint* a, const uint* b) {
#pragma unroll
        for (int n = 0; n < 2; ++n) {
#ifdef ANYCHIP_EMULATED
            anychip_mma_m16n8k8_f16_f32(s, a + 2 * n, b + n, s);
#else
            asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
                : "+f"(s[0]), "+f"(s[1]), "+f"(s[2]), "+f"(s[3]) : "r"(a[2 * n]), "r"(a[2 * n + 1]), "r"(b[n]));
#endif
        }
    }
};
#endif
template <class A, class B, class C> INLINE C frag_mma(A a, B b, C c) {
#pragma unroll
    for (int n = 0; n < C::regs / 4; ++n)
        product<typename A::elem, typename B::elem>::add(c.r + 4 * n, a.r, b.r + 2 * n);
    return c;
}


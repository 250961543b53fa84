// Fragments of Volta's mma.sync.m8n8k4 (PTX manual, "Matrix Fragments for mma.m8n8k4"): lanes 4 q to 4 q + 3 and those 16 above
// multiply 8 rows by 8 columns, the four groups together 16 by 16, 4 of the inner extent at a time. Operands are held twice.
template <int ROLE, class T, int M, int N, int K> struct frag {
    typedef T elem;
    typedef typename word_of<sizeof(T)>::type bits;
    typedef typename either<(ROLE >= FRAG_SUM), T, uint>::type reg;
    static constexpr int role = ROLE, size = sizeof(T);
    static_assert(M == 16 && N == 16 && K == 16 && (ROLE >= FRAG_SUM || size == 2), "a product of four groups");
    static constexpr int per = ROLE >= FRAG_SUM ? 1 : 2, held = ROLE == FRAG_SUM ? 8 : ROLE == FRAG_ROWS ? 2 : 16;
    static constexpr int regs = held / per;
    reg r[regs];

    // The first of eight rows or columns, of the lane's group; the lane's own row of A or column of B.
    static INLINE uint first_row() { return 2 * (subgroup_lane() & 4) + (subgroup_lane() >> 4) * 4; }
    static INLINE uint first_col() { return subgroup_lane() & 8; }
    static INLINE uint line() {
        return (ROLE == FRAG_A ? first_row() : first_col() + (subgroup_lane() >> 4) * 4) + subgroup_lane() % 4;
    }
    // Lines along the inner extent are read by 16 bytes.
    template <bool INNER> static constexpr bool by_lines = ROLE < FRAG_SUM && INNER;
    template <bool INNER, int BITS, int SHIFT, class I> INLINE void load_lines(const T* p, I index, uint stride) {
#pragma unroll
        for (int n = 0; n < 2; ++n) {
            I at = swizzled<BITS, SHIFT, size>(I(index + I(line() * stride + 8 * n)));
            auto four = *reinterpret_cast<const vec<uint, 4>*>(p + at);
#pragma unroll
            for (int i = 0; i < 4; ++i) r[4 * n + i] = four.s[i];
        }
    }
    static INLINE uint row(int e) {
        if (ROLE == FRAG_A) return line();
        if (ROLE == FRAG_B) return e;
        if (ROLE == FRAG_ROWS) return first_row() + (subgroup_lane() & 1) + 2 * e;
        return first_row() + (subgroup_lane() & 1) + (e & 2);
    }
    static INLINE uint col(int e) {
        if (ROLE == FRAG_A) return e;
        if (ROLE == FRAG_B) return line();
        if (ROLE == FRAG_ROWS) return 0;
        return first_col() + (subgroup_lane() & 2) + (e & 5);
    }
    INLINE T get(int e) const {
        if constexpr (ROLE >= FRAG_SUM) return r[e];
        else return bits_as<T>(bits(r[e / 2] >> (e % 2 * 16)));
    }
    // Registers hold zeros there.
    INLINE void put(int e, T x) {
        if constexpr (ROLE >= FRAG_SUM) r[e] = x;
        else r[e / 2] |= uint(bits_as<bits>(x)) << (e % 2 * 16);
    }
};

// What a map to F reads for its element e. A row of an operand A lies in eight lanes as sums: they are asked.
template <class F, class S> INLINE typename S::elem frag_part(S s, int e) {
    if constexpr (S::role == FRAG_ROWS && F::role == FRAG_SUM) {
        return s.r[e >> 1 & 1];
    } else if constexpr (S::role == FRAG_ROWS && F::role == FRAG_A) {
        return subgroup_lane() & 2 ? s.r[1] : s.r[0];
    } else if constexpr (S::role == FRAG_SUM && F::role == FRAG_A) {
        uint holder = (subgroup_lane() & 21) | (e & 10);
        typename S::elem even = fetched<at_lane>(s.r[e & 5], holder), odd = fetched<at_lane>(s.r[(e & 5) | 2], holder);
        return subgroup_lane() & 2 ? odd : even;
    } else {
        return s.get(e);
    }
}
// A row lies in the four lanes that differ in bits 1 and 3.
template <class R, class Of, class F> INLINE R frag_rows(F f) {
    R rows = {};
#pragma unroll
    for (int n = 0; n < 2; ++n) {
        typename R::elem x = f.r[2 * n];
#pragma unroll
        for (int e = 2 * n + 1; e < F::regs; ++e)
            if ((e >> 1 & 1) == n) x = Of::of(x, f.r[e]);
        x = Of::of(x, fetched<at_xor>(x, 2u));
        rows.r[n] = Of::of(x, fetched<at_xor>(x, 8u));
    }
    return rows;
}

template <class A, class B, class C> INLINE C frag_mma(A a, B b, C c) {
#pragma unroll
    for (int n = 0; n < 8; n += 2) {
#ifdef ANYCHIP_EMULATED
        anychip_mma_m8n8k4_f16_f32(c.r, a.r + n, b.r + n, c.r);
#else
        asm("mma.sync.aligned.m8n8k4.row.col.f32.f16.f16.f32 {%0, %1, %2, %3, %4, %5, %6, %7}, {%8, %9}, {%10, %11}, "
            "{%0, %1, %2, %3, %4, %5, %6, %7};"
            : "+f"(c.r[0]), "+f"(c.r[1]), "+f"(c.r[2]), "+f"(c.r[3]), "+f"(c.r[4]), "+f"(c.r[5]), "+f"(c.r[6]), "+f"(c.r[7])
            : "r"(a.r[n]), "r"(a.r[n + 1]), "r"(b.r[n]), "r"(b.r[n + 1]));
#endif
    }
    return c;
}


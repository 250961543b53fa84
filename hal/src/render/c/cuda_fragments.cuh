// Matrix fragments of a warp, filled, loaded and stored. How their elements are spread over lanes depends on the architecture: the
// type `frag<role, element, m, n, k>` comes behind this.
template <bool, class A, class B> struct either { typedef A type; };
template <class A, class B> struct either<false, A, B> { typedef B type; };
template <int> struct word_of;
template <> struct word_of<1> { typedef uchar type; };
template <> struct word_of<2> { typedef ushort type; };
template <> struct word_of<4> { typedef uint type; };

enum { FRAG_A, FRAG_B, FRAG_SUM, FRAG_ROWS };
#define HELD(F) for (int e = 0; e < F::held; ++e)
template <class F> INLINE F frag_fill(typename F::elem x) {
    F f = {};
#pragma unroll
    HELD(F) f.put(e, x);
    return f;
}

// Where an element of a tile lies: the index of its 16 bytes within 1 << BITS is XORed with its row.
template <int BITS, int SHIFT, int SIZE, class I> INLINE I swizzled(I at) {
    constexpr int chunk = SIZE == 1 ? 4 : SIZE == 2 ? 3 : 2;
    if constexpr (BITS == 0) return at;
    else return at ^ ((at >> (chunk + BITS + SHIFT) & I((1 << BITS) - 1)) << chunk);
}
// COLS: columns are contiguous. WHOLE: in memory of the workgroup, every line aligned to 16 bytes.
template <class F, bool COLS, int BITS, int SHIFT, bool WHOLE, class I>
INLINE F frag_load(const typename F::elem* p, I index, uint stride) {
    F f = {};
    // The inner extent of the product lies side by side.
    constexpr bool inner = (F::role == FRAG_A) != COLS;
    if constexpr (WHOLE && F::template by_lines<inner>) {
        f.template load_lines<inner, BITS, SHIFT>(p, index, stride);
    } else {
#pragma unroll
        HELD(F) {
            I line = COLS ? F::col(e) : F::row(e), along = COLS ? F::row(e) : F::col(e);
            f.put(e, p[swizzled<BITS, SHIFT, F::size>(I(index + line * I(stride) + along))]);
        }
    }
    return f;
}
template <bool COLS, class F, class I> INLINE void frag_store(F f, typename F::elem* p, I index, uint stride) {
#pragma unroll
    HELD(F) {
        I line = COLS ? F::col(e) : F::row(e), along = COLS ? F::row(e) : F::col(e);
        p[index + line * I(stride) + along] = f.get(e);
    }
}


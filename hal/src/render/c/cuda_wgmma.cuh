// Products of fragments that a workgroup holds, by wgmma: 64 rows by each warpgroup. It reads tiles in shared memory whose lines have
// 128 bytes, permuted by eights: the swizzle of 128 bytes, which begins anew every 1024.
#ifdef ANYCHIP_EMULATED
// Bytes; the emulation makes descriptors of them.
typedef const char* tile_place;
#define PLACES 16
INLINE auto tile_at(tile_place p) { return anychip_wgmma_desc(p, 16, 1024, 128); }
template <class T> INLINE tile_place place_of(const T* p) { return reinterpret_cast<const char*>(p); }
INLINE void tiles_written() {}
// The emulation waits at once: what is under way writes to where its sums were.
INLINE void products_done() {}
template <class F> INLINE void frag_fence(F&) {}
#else
// A descriptor (PTX manual, "Matrix Descriptor Format"): the address by 16 bytes, 1024 bytes to the next eight lines, the swizzle.
typedef ullong tile_place;
#define PLACES 1
template <class T> INLINE tile_place place_of(const T* p) {
    return (uint(__cvta_generic_to_shared(p)) & 0x3ffffu) >> 4 | 1ull << 16 | 64ull << 32 | 1ull << 62;
}
// What lanes have written is seen by the units that read tiles themselves.
INLINE void tiles_written() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
INLINE void products_done() { asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory"); }
// Sums are not read before this.
template <class F> INLINE void frag_fence(F& f) {
#pragma unroll
    HELD(F) asm volatile("" : "+f"(f.r[e])::"memory");
}
#endif
template <class F> INLINE F frag_done(F f) {
    products_done();
    frag_fence(f);
    return f;
}
// The whole inner extent of a warpgroup's product; the text of each comes behind this.
template <class T, int N, bool BY_K> struct warpgroup;
// The left operand lies by rows, each a line; subgroups 4 w to 4 w + 3 multiply rows 64 w to 64 w + 63.
template <bool BY_K, class T, class C> INLINE C frag_mma_tiles(const T* a, const T* b, C c) {
    uint first = 64 * (subgroup_id() / 4);
#ifndef ANYCHIP_EMULATED
    // The same in all lanes, and known to be.
    first = ::__shfl_sync(~0u, first, 0);
#endif
    warpgroup<T, C::columns, BY_K>::add(c.r, place_of(a + 64 * first), place_of(b));
    return c;
}


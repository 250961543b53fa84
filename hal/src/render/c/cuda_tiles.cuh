// Copies of boxes of tensors to memory of the workgroup, from sm_90 on: the first lane starts them, and a barrier for each slot counts
// their bytes. The launch makes the map of each tensor.
struct alignas(64) tile_map {
    ullong words[16];
};
INLINE bool is_first() { return (threadIdx.x | threadIdx.y | threadIdx.z) == 0; }
#ifdef ANYCHIP_EMULATED
INLINE void slot_begin(ullong* bar) { anychip_mbarrier_init(bar, 1); }
INLINE void slots_begun() {}
INLINE void slot_expects(ullong* bar, uint bytes) { anychip_mbarrier_expect_tx(bar, bytes); }
INLINE void slot_closes(ullong* bar) { anychip_mbarrier_arrive(bar); }
template <class... I> INLINE void box_copy(void* to, const tile_map* map, ullong* bar, I... at) {
    anychip_bulk_tensor(to, map, bar, at...);
}
INLINE void tile_wait(ullong* bar, uint parity) { anychip_mbarrier_wait(bar, parity); }
#else
INLINE uint in_shared(const void* p) { return uint(__cvta_generic_to_shared(p)); }
INLINE void slot_begin(ullong* bar) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(in_shared(bar)) : "memory");
}
// The units that copy see them.
INLINE void slots_begun() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
INLINE void slot_expects(ullong* bar, uint bytes) {
    asm volatile("mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [%0], %1;" ::"r"(in_shared(bar)), "r"(bytes) : "memory");
}
INLINE void slot_closes(ullong* bar) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(in_shared(bar)) : "memory");
}
#define BOX(D, names, ...) \
    asm volatile("cp.async.bulk.tensor." D ".shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {" names "}], [%2];" \
                 ::"r"(in_shared(to)), "l"(map), "r"(in_shared(bar)), __VA_ARGS__ : "memory")
INLINE void box_copy(void* to, const tile_map* map, ullong* bar, int x, int y) {
    BOX("2d", "%3, %4", "r"(x), "r"(y));
}
INLINE void box_copy(void* to, const tile_map* map, ullong* bar, int x, int y, int z) {
    BOX("3d", "%3, %4, %5", "r"(x), "r"(y), "r"(z));
}
INLINE void box_copy(void* to, const tile_map* map, ullong* bar, int x, int y, int z, int u) {
    BOX("4d", "%3, %4, %5, %6", "r"(x), "r"(y), "r"(z), "r"(u));
}
INLINE void box_copy(void* to, const tile_map* map, ullong* bar, int x, int y, int z, int u, int v) {
    BOX("5d", "%3, %4, %5, %6, %7", "r"(x), "r"(y), "r"(z), "r"(u), "r"(v));
}
INLINE void tile_wait(ullong* bar, uint parity) {
    for (uint done = 0; !done;) {
        asm volatile("{\n.reg .pred p;\nmbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\nselp.u32 %0, 1, 0, p;\n}"
                     : "=r"(done) : "r"(in_shared(bar)), "r"(parity) : "memory");
    }
}
#endif
INLINE void slots_begin(ullong* bars, uint slots) {
    if (is_first()) {
        for (uint i = 0; i < slots; ++i) slot_begin(bars + i);
        slots_begun();
    }
    __syncthreads();
}
// The coordinates innermost first.
template <uint BYTES, class... I> INLINE void copy_tile(void* to, const tile_map& map, ullong* bar, I... at) {
    if (is_first()) {
        slot_expects(bar, BYTES);
        box_copy(to, &map, bar, int(at)...);
    }
}
INLINE void tile_commit(ullong* bar) {
    if (is_first()) slot_closes(bar);
}

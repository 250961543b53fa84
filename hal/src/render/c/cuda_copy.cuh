// Asynchronous copies to memory of the workgroup, from sm_80: `take` of the bytes are read, zeros stand for the rest.
#ifdef ANYCHIP_EMULATED
template <int B> INLINE void copy_async(void* to, const void* from, uint take) { anychip_cp_async(to, from, B, take); }
template <int B> INLINE void copy_async(void* to, const void* from) { anychip_cp_async(to, from, B, B); }
INLINE void copy_commit() { anychip_cp_async_commit(); }
template <int N> INLINE void copy_wait() { anychip_cp_async_wait(N); }
#else
// Those of 16 bytes pass by the first cache: the memory of the workgroup is one.
#define COPY(B, kind) \
    template <> INLINE void copy_async<B>(void* to, const void* from, uint take) { \
        asm volatile("cp.async." kind " [%0], [%1], " #B ", %2;" ::"r"(uint(__cvta_generic_to_shared(to))), \
                     "l"(__cvta_generic_to_global(from)), "r"(take) : "memory"); \
    } \
    template <> INLINE void copy_async<B>(void* to, const void* from) { \
        asm volatile("cp.async." kind " [%0], [%1], " #B ";" ::"r"(uint(__cvta_generic_to_shared(to))), \
                     "l"(__cvta_generic_to_global(from)) : "memory"); \
    }
template <int B> INLINE void copy_async(void* to, const void* from, uint take);
template <int B> INLINE void copy_async(void* to, const void* from);
COPY(4, "ca.shared.global") COPY(8, "ca.shared.global") COPY(16, "cg.shared.global.L2::128B")
INLINE void copy_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int N> INLINE void copy_wait() { asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory"); }
#endif


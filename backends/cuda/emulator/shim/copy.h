// Asynchronous copies from global to shared memory (`cp.async`). What was copied appears at the latest possible moment, when its
// thread waits for it: a kernel that forgets to wait reads poison.
#pragma once
#define ANYCHIP_COPIES 256
struct anychip_copy { void* to; const void* from; unsigned short bytes, take; unsigned group; };
#ifdef ANYCHIP_WARPGROUP
#define ANYCHIP_BULKS 64
#define ANYCHIP_OPS 64
struct anychip_tensor_map;
struct anychip_bulk { void* to; const void* from; unsigned bytes; void* bar; const anychip_tensor_map* map; int at[5]; };
struct anychip_wgmma_tile { const char* at; unsigned lead, stride, swizzle; };
struct anychip_wgmma_op {
  anychip_together product;
  void* d;
  anychip_wgmma_tile a, b;
  unsigned words[4];
  bool add;
  unsigned thread, group;
};
#endif
// What a fiber holds besides its stack: what it has under way, in order. What counts stands in the first 64 bytes, which the host sets to
// zero.
struct __align__(16) anychip_lane {
  unsigned first, count;  // of the ring
  unsigned group;         // the open group
#ifdef ANYCHIP_WARPGROUP
  unsigned bulk_count, op_first, op_count, op_group;
  anychip_bulk bulk[ANYCHIP_BULKS];
  anychip_wgmma_op ops[ANYCHIP_OPS];
#endif
  anychip_copy ring[ANYCHIP_COPIES];
};
ANYCHIP_INLINE void anychip_copy_now(const anychip_copy& c) {
  __builtin_memcpy(c.to, c.from, c.take);
  __builtin_memset((char*)c.to + c.take, 0, c.bytes - c.take);
}
ANYCHIP_INLINE void anychip_copy_until(unsigned group) {
  anychip_lane* l = anychip_self;
  while (l->count && (int)(l->ring[l->first % ANYCHIP_COPIES].group - group) < 0) {
    anychip_copy_now(l->ring[l->first % ANYCHIP_COPIES]);
    l->first++, l->count--;
  }
}
#if __CUDA_ARCH__ >= 800
// cp.async.ca/.cg.shared.global: `bytes` are 4, 8 or 16; `take` of them are read, the rest is zero.
ANYCHIP_INLINE void anychip_cp_async(void* shared, const void* global, unsigned bytes, unsigned take) {
  // Names the function that only modules with fibers have: copies need a thread's own memory.
  if (!anychip_self) anychip_collective(0, 1u << anychip_laneid(), nullptr, nullptr);
  if ((bytes != 4 && bytes != 8 && bytes != 16) || take > bytes) anychip_host->fail(anychip_host, 719, "cp.async copies 4, 8 or 16 bytes");
  if ((size_t)shared % bytes || (size_t)global % bytes) anychip_host->fail(anychip_host, 716, "cp.async: an address is not aligned to the copied bytes");
  anychip_lane* l = anychip_self;
  // A copy may finish at any time: with no room left the oldest does.
  if (l->count == ANYCHIP_COPIES) {
    anychip_copy_now(l->ring[l->first % ANYCHIP_COPIES]);
    l->first++, l->count--;
  }
  l->ring[(l->first + l->count++) % ANYCHIP_COPIES] = {shared, global, (unsigned short)bytes, (unsigned short)take, l->group};
}
ANYCHIP_INLINE void anychip_cp_async_commit() {
  if (anychip_self) anychip_self->group++;
}
// cp.async.wait_group N: all but the newest N groups have landed.
ANYCHIP_INLINE void anychip_cp_async_wait(unsigned newest) {
  if (anychip_self) anychip_copy_until(anychip_self->group - newest);
}
ANYCHIP_INLINE void anychip_cp_async_wait_all() {
  if (anychip_self) anychip_self->group++, anychip_copy_until(anychip_self->group);
}
#endif

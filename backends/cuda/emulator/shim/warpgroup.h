// What Hopper has: mbarriers, bulk and tensor copies into shared memory, and matrix products of four warps (wgmma). All of it happens at
// the latest moment: copies land when somebody looks at their barrier, products when their group is waited for.
#pragma once
#include "small.h"
#if __CUDA_ARCH__ >= 900

// ---- mbarriers: 64 bits of shared memory. Bit 0 is the phase, then 15 bits expected, 15 bits pending, 32 bits of bytes to come ----
struct anychip_phase { unsigned phase, expected, pending; int bytes; };
ANYCHIP_INLINE anychip_phase anychip_mbarrier_read(const void* bar) {
  anychip_u64 b = *(const volatile anychip_u64*)bar;
  return {(unsigned)b & 1, (unsigned)(b >> 1) & 0x7fff, (unsigned)(b >> 16) & 0x7fff, (int)(b >> 32)};
}
ANYCHIP_INLINE void anychip_mbarrier_write(void* bar, anychip_phase p) {
  if (p.pending == 0 && p.bytes == 0) p.phase ^= 1, p.pending = p.expected;
  *(volatile anychip_u64*)bar = p.phase | (anychip_u64)p.expected << 1 | (anychip_u64)p.pending << 16 | (anychip_u64)(unsigned)p.bytes << 32;
}
ANYCHIP_INLINE void anychip_mbarrier_init(void* bar, unsigned count) {
  if ((size_t)bar % 8 || count == 0 || count > 0x7fff) anychip_host->fail(anychip_host, 719, "mbarrier.init: aligned to 8, a count of 1 to 32767");
  *(volatile anychip_u64*)bar = (anychip_u64)count << 1 | (anychip_u64)count << 16;
}
ANYCHIP_INLINE void anychip_mbarrier_expect_tx(void* bar, unsigned bytes) {
  anychip_phase p = anychip_mbarrier_read(bar);
  p.bytes += (int)bytes;
  anychip_mbarrier_write(bar, p);
}
ANYCHIP_INLINE void anychip_mbarrier_arrive(void* bar) {
  anychip_phase p = anychip_mbarrier_read(bar);
  if (p.pending == 0) anychip_host->fail(anychip_host, 719, "mbarrier.arrive: more threads than the barrier expects");
  p.pending--;
  anychip_mbarrier_write(bar, p);
}
ANYCHIP_INLINE void anychip_mbarrier_arrive_expect_tx(void* bar, unsigned bytes) {
  anychip_phase p = anychip_mbarrier_read(bar);
  if (p.pending == 0) anychip_host->fail(anychip_host, 719, "mbarrier.arrive: more threads than the barrier expects");
  p.bytes += (int)bytes, p.pending--;
  anychip_mbarrier_write(bar, p);
}

// ---- copies ----
// CUtensorMap, as cuTensorMapEncodeTiled of the emulation fills it.
struct anychip_tensor_map {
  anychip_u64 mark, at;
  anychip_u64 strides[4];  // in bytes, of axes 1 and up
  unsigned extents[5];
  unsigned short box[5];
  unsigned char steps[5], rank, bytes, swizzle, nan;  // swizzle: 0, 1 (32 bytes), 2 (64), 3 (128)
};
#define ANYCHIP_TENSOR_MAP 0x70616d726f736e74ull
// A block's copies under way lie with its first thread.
ANYCHIP_INLINE anychip_lane* anychip_first() { return anychip_self - anychip_linear(); }
// The swizzle of 32, 64 or 128 bytes: bits 4 to 6 of an address in shared memory change with bits 7 to 9.
ANYCHIP_INLINE char* anychip_swizzled(const void* at, unsigned span) {
  size_t a = (size_t)at, bits = span == 128 ? 0x70 : span == 64 ? 0x30 : span == 32 ? 0x10 : 0;
  return (char*)(a ^ (a >> 3 & bits));
}
static void anychip_bulk_land(const anychip_bulk& c) {
  unsigned moved = c.bytes;
  if (!c.map) {
    __builtin_memcpy(c.to, c.from, c.bytes);
  } else {
    const anychip_tensor_map& m = *c.map;
    const unsigned span = m.swizzle ? 16u << m.swizzle : 0;
    unsigned count = 1;
    for (int d = 0; d < m.rank; d++) count *= m.box[d];
    moved = count * m.bytes;
    for (unsigned i = 0; i < count; i++) {
      const char* from = (const char*)m.at;
      bool inside = true;
      unsigned rest = i;
      for (int d = 0; d < m.rank; d++) {
        long long x = (long long)c.at[d] + (long long)(rest % m.box[d]) * m.steps[d];
        rest /= m.box[d];
        inside = inside && x >= 0 && x < (long long)m.extents[d];
        from += x * (long long)(d ? m.strides[d - 1] : m.bytes);
      }
      char* to = anychip_swizzled((char*)c.to + i * m.bytes, span);
      if (inside) __builtin_memcpy(to, from, m.bytes);
      else __builtin_memset(to, m.nan ? 0xff : 0, m.bytes);
    }
  }
  anychip_phase p = anychip_mbarrier_read(c.bar);
  p.bytes -= (int)moved;
  anychip_mbarrier_write(c.bar, p);
}
ANYCHIP_INLINE void anychip_bulk_put(anychip_bulk c) {
  // Only modules with fibers have memory of threads.
  if (!anychip_self) anychip_collective(0, 1u << anychip_laneid(), nullptr, nullptr);
  anychip_lane* first = anychip_first();
  if (first->bulk_count == ANYCHIP_BULKS) {
    anychip_bulk_land(first->bulk[0]);
    for (unsigned i = 1; i < ANYCHIP_BULKS; i++) first->bulk[i - 1] = first->bulk[i];
    first->bulk_count--;
  }
  first->bulk[first->bulk_count++] = c;
}
// cp.async.bulk.shared.global.mbarrier
ANYCHIP_INLINE void anychip_bulk_copy(void* shared, const void* global, unsigned bytes, void* bar) {
  if ((size_t)shared % 16 || (size_t)global % 16 || bytes % 16)
    anychip_host->fail(anychip_host, 716, "cp.async.bulk: addresses and size are multiples of 16");
  anychip_bulk_put({shared, global, bytes, bar, nullptr, {0, 0, 0, 0, 0}});
}
// cp.async.bulk.tensor.Nd.shared.global.tile.mbarrier: the first coordinate is that of the axis that lies contiguous.
template <class... I> ANYCHIP_INLINE void anychip_bulk_tensor(void* shared, const void* map, void* bar, I... at) {
  const anychip_tensor_map* m = (const anychip_tensor_map*)map;
  if (m->mark != ANYCHIP_TENSOR_MAP || m->rank != sizeof...(I))
    anychip_host->fail(anychip_host, 715, "cp.async.bulk.tensor: no tensor map, or one of another rank");
  if ((size_t)shared % 128) anychip_host->fail(anychip_host, 716, "cp.async.bulk.tensor: shared memory is aligned to 128 bytes");
  anychip_bulk_put({shared, nullptr, 0, bar, m, {(int)at...}});
}
// mbarrier.try_wait.parity: has the phase of this parity ended? Copies that belong to the barrier land now.
ANYCHIP_INLINE bool anychip_mbarrier_try_wait(void* bar, unsigned parity) {
  if (anychip_mbarrier_read(bar).phase != (parity & 1)) return true;
  if (!anychip_self) anychip_collective(0, 1u << anychip_laneid(), nullptr, nullptr);
  anychip_lane* first = anychip_first();
  unsigned kept = 0;
  for (unsigned i = 0; i < first->bulk_count; i++) {
    anychip_bulk c = first->bulk[i];
    if (c.bar == bar) anychip_bulk_land(c);
    else first->bulk[kept++] = c;
  }
  first->bulk_count = kept;
  if (anychip_mbarrier_read(bar).phase != (parity & 1)) return true;
  anychip_host->yield(anychip_host);
  return anychip_mbarrier_read(bar).phase != (parity & 1);
}
ANYCHIP_INLINE void anychip_mbarrier_wait(void* bar, unsigned parity) {
  while (!anychip_mbarrier_try_wait(bar, parity)) {
  }
}

// ---- wgmma: 64 rows, N columns, 256 bits of the inner dimension ----
// A tile in shared memory: `lead` and `stride` are the byte offsets of the descriptor, `swizzle` 0, 32, 64 or 128 bytes.
ANYCHIP_INLINE anychip_wgmma_tile anychip_wgmma_desc(const void* at, unsigned lead, unsigned stride, unsigned swizzle) {
  if ((size_t)at % 16) anychip_host->fail(anychip_host, 716, "wgmma: a tile is aligned to 16 bytes");
  return {(const char*)at, lead, stride, swizzle};
}
// Where element `k` of row `r` lies; a tile that is not `by_k` has its rows contiguous.
template <int bits, bool by_k> ANYCHIP_INLINE const char* anychip_wgmma_at(const anychip_wgmma_tile& t, unsigned r, unsigned k) {
  unsigned bytes = bits / 8, span = t.swizzle;
  if (by_k) {
    unsigned in = k * bytes;
    if (!span) return t.at + r / 8 * t.stride + in / 16 * t.lead + r % 8 * 16 + in % 16;
    return anychip_swizzled(t.at + r / 8 * t.stride + r % 8 * span + in, span);
  }
  unsigned in = r * bytes;
  if (!span) return t.at + in / 16 * t.stride + k / 8 * t.lead + k % 8 * 16 + in % 16;
  return anychip_swizzled(t.at + in / span * t.lead + k / 8 * t.stride + k % 8 * span + in % span, span);
}
template <class T> ANYCHIP_INLINE auto anychip_wgmma_element(const char* at) {
  unsigned bits = 0;
  __builtin_memcpy(&bits, at, T::bits / 8);
  return T::of(bits);
}
// Every thread computes its own part from the four warps' operands: registers of A come from the group, tiles from shared memory.
template <class T, class C, int N, bool a_tile, bool a_by_k, bool b_by_k> static void anychip_do_wgmma(void** posts, unsigned n) {
  const int K = 256 / T::bits, per = 32 / T::bits;
  if (n != 128) return anychip_host->fail(anychip_host, 719, "wgmma needs the four warps of a group");
  typedef typename anychip_sum<C>::type S;
  // Too large for a frame; only one block of a module runs at a time.
  static S a[64][K], b[K][N];
  anychip_wgmma_op* any = (anychip_wgmma_op*)posts[0];
  for (int k = 0; k < K; k++) {
    for (int col = 0; col < N; col++) b[k][col] = (S)anychip_wgmma_element<T>(anychip_wgmma_at<T::bits, b_by_k>(any->b, col, k));
    if (a_tile)
      for (int row = 0; row < 64; row++) a[row][k] = (S)anychip_wgmma_element<T>(anychip_wgmma_at<T::bits, a_by_k>(any->a, row, k));
  }
  if (!a_tile)
    for (unsigned i = 0; i < n; i++) {
      anychip_wgmma_op* op = (anychip_wgmma_op*)posts[i];
      int row = op->thread / 32 * 16 + (op->thread & 31) / 4, t = op->thread & 3;
      for (int r = 0; r < 4; r++)
        for (int j = 0; j < per; j++) a[row + 8 * (r & 1)][(r >> 1) * 4 * per + t * per + j] = (S)anychip_part<T>(op->words[r], j);
    }
  for (unsigned i = 0; i < n; i++) {
    anychip_wgmma_op* op = (anychip_wgmma_op*)posts[i];
    C* d = (C*)op->d;
    for (int j = 0; j < N / 2; j++) {
      int row = op->thread / 32 * 16 + (op->thread & 31) / 4 + 8 * (j >> 1 & 1), col = j / 4 * 8 + (op->thread & 3) * 2 + (j & 1);
      S sum = op->add ? (S)d[j] : S();
      for (int k = 0; k < K; k++) sum += a[row][k] * b[k][col];
      d[j] = anychip_sum<C>::of(sum);
    }
  }
}
ANYCHIP_INLINE void anychip_wgmma_put(anychip_wgmma_op op) {
  if (!anychip_self) anychip_collective(0, 1u << anychip_laneid(), nullptr, nullptr);
  anychip_lane* l = anychip_self;
  if (l->op_count == ANYCHIP_OPS) return anychip_host->fail(anychip_host, 719, "wgmma: more products under way than the emulation holds");
  op.thread = anychip_linear() & 127, op.group = l->op_group;
  l->ops[(l->op_first + l->op_count++) % ANYCHIP_OPS] = op;
}
#define ANYCHIP_WGMMA_LIMITS(N) static_assert(N >= 8 && N <= 256 && N % 8 == 0, "wgmma has 8 to 256 columns, a multiple of 8")
// d (N/2 registers) = a × b, and + d where `add`; T is anychip_f16, _bf16, _tf32, _e4m3, _e5m2, _s8 or anychip_u8t.
template <class T, int N, bool a_by_k = true, bool b_by_k = true, class C>
ANYCHIP_INLINE void anychip_wgmma(C* d, anychip_wgmma_tile a, anychip_wgmma_tile b, bool add) {
  ANYCHIP_WGMMA_LIMITS(N);
  static_assert(T::bits == 16 || (a_by_k && b_by_k), "only tiles of 16-bit elements may lie by rows");
  anychip_wgmma_put({anychip_do_wgmma<T, C, N, true, a_by_k, b_by_k>, d, a, b, {0, 0, 0, 0}, add, 0, 0});
}
template <class T, int N, bool b_by_k = true, class C>
ANYCHIP_INLINE void anychip_wgmma(C* d, const unsigned* a, anychip_wgmma_tile b, bool add) {
  ANYCHIP_WGMMA_LIMITS(N);
  anychip_wgmma_put({anychip_do_wgmma<T, C, N, false, true, b_by_k>, d, {0, 0, 0, 0}, b, {a[0], a[1], a[2], a[3]}, add, 0, 0});
}
ANYCHIP_INLINE void anychip_wgmma_fence() { __asm__ volatile("" ::: "memory"); }
ANYCHIP_INLINE void anychip_wgmma_commit() {
  if (anychip_self) anychip_self->op_group++;
}
// wgmma.wait_group n: all but the newest n groups are done.
ANYCHIP_INLINE void anychip_wgmma_wait(unsigned newest) {
  anychip_lane* l = anychip_self;
  if (!l) return;
  while (l->op_count && (int)(l->ops[l->op_first % ANYCHIP_OPS].group - (l->op_group - newest)) < 0) {
    anychip_wgmma_op* op = &l->ops[l->op_first % ANYCHIP_OPS];
    anychip_collective(ANYCHIP_PLACE(2, 0, 0), 0, op->product, op);
    l->op_first++, l->op_count--;
  }
  __asm__ volatile("" ::: "memory");
}
#endif

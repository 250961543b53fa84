// What CUDA C finds on the emulated device, in plain C++17 and without any header of the system: qualifiers, indices, vector types,
// barriers, warp operations, atomics, intrinsics, asynchronous copies. A kernel's threads are fibers of one thread of the host; what
// they do together goes through `anychip_collective`, whose last arriver does it for all. A module that never names that function
// needs no fibers: its threads run as a plain loop. The host side is src/exec; the two agree on `anychip_binding`.
#pragma once
#define ANYCHIP_EMULATED 1
#define __CUDACC_RTC__ 1
#define __CUDACC__ 1
#define __global__
#define __device__
#define __host__
#define __constant__ static __attribute__((used))
#define __shared__ static __attribute__((used, section("anychip_shared")))
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __align__(n) __attribute__((aligned(n)))
#define __restrict __restrict__
#define __launch_bounds__(...)
#define __maxnreg__(...)
#define __grid_constant__
#define __cluster_dims__(...)
#define ANYCHIP_INLINE static inline

typedef __SIZE_TYPE__ size_t;
typedef __PTRDIFF_TYPE__ ptrdiff_t;
typedef unsigned char anychip_u8;
typedef unsigned short anychip_u16;
typedef unsigned long long anychip_u64;

#ifndef __clang__
#define __builtin_assume(x) ((void)0)
#endif

// ---- vector types ----
#define ANYCHIP_VECTORS(T, S, A2, A4)                                                                                  \
  struct S##1 { T x; };                                                                                                \
  struct __align__(A2) S##2 { T x, y; };                                                                               \
  struct S##3 { T x, y, z; };                                                                                          \
  struct __align__(A4) S##4 { T x, y, z, w; };                                                                         \
  ANYCHIP_INLINE S##1 make_##S##1(T x) { return {x}; }                                                                 \
  ANYCHIP_INLINE S##2 make_##S##2(T x, T y) { return {x, y}; }                                                         \
  ANYCHIP_INLINE S##3 make_##S##3(T x, T y, T z) { return {x, y, z}; }                                                 \
  ANYCHIP_INLINE S##4 make_##S##4(T x, T y, T z, T w) { return {x, y, z, w}; }
ANYCHIP_VECTORS(signed char, char, 2, 4)
ANYCHIP_VECTORS(unsigned char, uchar, 2, 4)
ANYCHIP_VECTORS(short, short, 4, 8)
ANYCHIP_VECTORS(unsigned short, ushort, 4, 8)
ANYCHIP_VECTORS(int, int, 8, 16)
ANYCHIP_VECTORS(unsigned int, uint, 8, 16)
ANYCHIP_VECTORS(long long, longlong, 16, 16)
ANYCHIP_VECTORS(unsigned long long, ulonglong, 16, 16)
ANYCHIP_VECTORS(float, float, 8, 16)
ANYCHIP_VECTORS(double, double, 16, 16)
struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

// ---- the seam to the host ----
typedef void (*anychip_together)(void** posts, unsigned lanes);
struct anychip_calls {
  // Waits until all that wait together have come here with the same `f`; the last of them runs it over what they posted. `place` is
  // ANYCHIP_PLACE of 0 and a mask of the warp's lanes in `lanes`; of 1, a barrier and so many threads, 0 for all of the block; of 2
  // for the four warps around the caller.
  void (*collective)(const anychip_calls* self, unsigned place, unsigned lanes, anychip_together f, void* post);
  unsigned (*alive)(const anychip_calls* self);
  void (*yield)(const anychip_calls* self);
  void (*fail)(const anychip_calls* self, int code, const char* why);
};
struct anychip_lane;
struct anychip_binding {
  const anychip_calls** calls;
  uint3 *thread, *block;
  dim3 *threads, *blocks;
  anychip_lane** lane;
  char** dynamic;
  unsigned* dynamic_bytes;
  unsigned lane_bytes;
  char *shared, *shared_end;
};
static const anychip_calls* anychip_host;
static uint3 threadIdx, blockIdx;
static dim3 blockDim, gridDim;
static anychip_lane* anychip_self;
static char* anychip_dynamic;
static unsigned anychip_dynamic_bytes;
static const int warpSize = 32;

#define ANYCHIP_PLACE(scope, which, line) ((scope) | (which) << 2 | (line) << 8)
// Out of line and with a name that the host looks for: it is emitted only where a kernel calls it.
extern "C" __attribute__((noinline)) inline void anychip_collective(unsigned place, unsigned lanes, anychip_together f, void* post) {
  anychip_host->collective(anychip_host, place, lanes, f, post);
}
ANYCHIP_INLINE unsigned anychip_linear() { return threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z); }
ANYCHIP_INLINE unsigned anychip_laneid() { return anychip_linear() & 31u; }

// ---- barriers ----
#define __syncthreads() anychip_collective(ANYCHIP_PLACE(1, 0, __LINE__), 0, nullptr, nullptr)
ANYCHIP_INLINE void __syncwarp(unsigned mask = 0xffffffffu, unsigned line = __builtin_LINE()) {
  anychip_collective(ANYCHIP_PLACE(0, 0, line), mask, nullptr, nullptr);
}
// bar.sync: the named barrier `which` (1 to 15) of `count` threads.
#define anychip_bar_sync(which, count) anychip_collective(ANYCHIP_PLACE(1, which, __LINE__), count, nullptr, nullptr)
// What the threads of a block find together with a barrier: how many say yes.
struct anychip_vote { int yes, count; unsigned lanes; };
ANYCHIP_INLINE void anychip_count_block(void** posts, unsigned n) {
  int count = 0;
  for (unsigned i = 0; i < n; i++) count += ((anychip_vote*)posts[i])->yes;
  for (unsigned i = 0; i < n; i++) { ((anychip_vote*)posts[i])->count = count; ((anychip_vote*)posts[i])->lanes = n; }
}
ANYCHIP_INLINE anychip_vote anychip_count(int yes, unsigned line) {
  anychip_vote v = {yes != 0, 0, 0};
  anychip_collective(ANYCHIP_PLACE(1, 0, line), 0, anychip_count_block, &v);
  return v;
}
ANYCHIP_INLINE int anychip_all_of(anychip_vote v) { return v.count == (int)v.lanes; }
#define __syncthreads_count(p) (anychip_count(p, __LINE__).count)
#define __syncthreads_or(p) (anychip_count(p, __LINE__).count != 0)
#define __syncthreads_and(p) anychip_all_of(anychip_count(p, __LINE__))
#define __threadfence() __atomic_thread_fence(__ATOMIC_SEQ_CST)
#define __threadfence_block() __atomic_signal_fence(__ATOMIC_SEQ_CST)
#define __threadfence_system() __atomic_thread_fence(__ATOMIC_SEQ_CST)

// ---- warp operations ----
// What an inactive lane holds: a NaN in every float type, never a value that one could take for right.
#define ANYCHIP_POISON 0xffa5ffa5ffa5ffa5ull
struct anychip_shuffle { anychip_u64 value, result; unsigned from; };
ANYCHIP_INLINE void anychip_do_shuffle(void** posts, unsigned lanes) {
  for (unsigned i = 0; i < 32; i++)
    if (lanes >> i & 1) {
      anychip_shuffle* s = (anychip_shuffle*)posts[i];
      s->result = lanes >> s->from & 1 ? ((anychip_shuffle*)posts[s->from])->value : ANYCHIP_POISON;
    }
}
template <class T> ANYCHIP_INLINE T anychip_shuffle_from(unsigned mask, T v, unsigned from) {
  static_assert(sizeof(T) <= 8, "shuffles move at most 8 bytes");
  anychip_shuffle s = {0, 0, from & 31};
  __builtin_memcpy(&s.value, &v, sizeof(T));
  anychip_collective(0, mask, anychip_do_shuffle, &s);
  __builtin_memcpy(&v, &s.result, sizeof(T));
  return v;
}
template <class T> ANYCHIP_INLINE T __shfl_sync(unsigned mask, T v, int from, int width = 32) {
  return anychip_shuffle_from(mask, v, (anychip_laneid() & ~(width - 1)) | (from & (width - 1)));
}
template <class T> ANYCHIP_INLINE T __shfl_up_sync(unsigned mask, T v, unsigned by, int width = 32) {
  int lane = anychip_laneid(), from = lane - (int)by;
  return anychip_shuffle_from(mask, v, from < (lane & ~(width - 1)) ? lane : from);
}
template <class T> ANYCHIP_INLINE T __shfl_down_sync(unsigned mask, T v, unsigned by, int width = 32) {
  int lane = anychip_laneid();
  return anychip_shuffle_from(mask, v, (lane & (width - 1)) + (int)by >= width ? lane : lane + (int)by);
}
template <class T> ANYCHIP_INLINE T __shfl_xor_sync(unsigned mask, T v, int by, int width = 32) {
  int lane = anychip_laneid(), from = lane ^ by;
  return anychip_shuffle_from(mask, v, from >= ((lane & ~(width - 1)) + width) ? lane : from);
}
struct anychip_reduce { anychip_u64 value, result; unsigned result_mask; };
ANYCHIP_INLINE void anychip_do_ballot(void** posts, unsigned lanes) {
  unsigned ballot = 0;
  for (unsigned i = 0; i < 32; i++)
    if (lanes >> i & 1 && ((anychip_reduce*)posts[i])->value) ballot |= 1u << i;
  for (unsigned i = 0; i < 32; i++)
    if (lanes >> i & 1) { ((anychip_reduce*)posts[i])->result = ballot; ((anychip_reduce*)posts[i])->result_mask = lanes; }
}
ANYCHIP_INLINE anychip_reduce anychip_vote_of(unsigned mask, int yes) {
  anychip_reduce r = {(anychip_u64)(yes != 0), 0, 0};
  anychip_collective(0, mask, anychip_do_ballot, &r);
  return r;
}
ANYCHIP_INLINE unsigned __ballot_sync(unsigned mask, int yes) { return (unsigned)anychip_vote_of(mask, yes).result; }
ANYCHIP_INLINE int __any_sync(unsigned mask, int yes) { return anychip_vote_of(mask, yes).result != 0; }
ANYCHIP_INLINE int __all_sync(unsigned mask, int yes) {
  anychip_reduce r = anychip_vote_of(mask, yes);
  return r.result == r.result_mask;
}
ANYCHIP_INLINE unsigned __activemask() {
  anychip_collective(0, 1u << anychip_laneid(), nullptr, nullptr);
  return anychip_host->alive(anychip_host);
}
ANYCHIP_INLINE void anychip_do_match(void** posts, unsigned lanes) {
  for (unsigned i = 0; i < 32; i++)
    if (lanes >> i & 1) {
      anychip_reduce* r = (anychip_reduce*)posts[i];
      r->result = 0, r->result_mask = lanes;
      for (unsigned j = 0; j < 32; j++)
        if (lanes >> j & 1 && ((anychip_reduce*)posts[j])->value == r->value) r->result |= 1u << j;
    }
}
template <class T> ANYCHIP_INLINE anychip_reduce anychip_match(unsigned mask, T v) {
  anychip_reduce r = {0, 0, 0};
  __builtin_memcpy(&r.value, &v, sizeof(T));
  anychip_collective(0, mask, anychip_do_match, &r);
  return r;
}
template <class T> ANYCHIP_INLINE unsigned __match_any_sync(unsigned mask, T v) { return (unsigned)anychip_match(mask, v).result; }
template <class T> ANYCHIP_INLINE unsigned __match_all_sync(unsigned mask, T v, int* all) {
  anychip_reduce r = anychip_match(mask, v);
  *all = r.result == r.result_mask;
  return *all ? r.result_mask : 0;
}
struct anychip_add { template <class T> static T of(T a, T b) { return a + b; } };
struct anychip_min { template <class T> static T of(T a, T b) { return b < a ? b : a; } };
struct anychip_max { template <class T> static T of(T a, T b) { return a < b ? b : a; } };
struct anychip_and { template <class T> static T of(T a, T b) { return a & b; } };
struct anychip_or { template <class T> static T of(T a, T b) { return a | b; } };
struct anychip_xor { template <class T> static T of(T a, T b) { return a ^ b; } };
template <class Op, class T> static void anychip_do_reduce(void** posts, unsigned lanes) {
  T all = T();
  bool first = true;
  for (unsigned i = 0; i < 32; i++)
    if (lanes >> i & 1) { T v = *(T*)posts[i]; all = first ? v : Op::of(all, v), first = false; }
  for (unsigned i = 0; i < 32; i++)
    if (lanes >> i & 1) *(T*)posts[i] = all;
}
template <class Op, class T> ANYCHIP_INLINE T anychip_reduced(unsigned mask, T v) {
#if __CUDA_ARCH__ < 800
  static_assert(sizeof(T) == 0, "__reduce_*_sync needs sm_80");
#endif
  anychip_collective(0, mask, anychip_do_reduce<Op, T>, &v);
  return v;
}
#define ANYCHIP_REDUCE(name, T) \
  template <class M> ANYCHIP_INLINE T __reduce_##name##_sync(M mask, T v) { return anychip_reduced<anychip_##name, T>(mask, v); }
ANYCHIP_REDUCE(add, int)
ANYCHIP_REDUCE(add, unsigned)
ANYCHIP_REDUCE(min, int)
ANYCHIP_REDUCE(min, unsigned)
ANYCHIP_REDUCE(max, int)
ANYCHIP_REDUCE(max, unsigned)
ANYCHIP_REDUCE(and, unsigned)
ANYCHIP_REDUCE(or, unsigned)
ANYCHIP_REDUCE(xor, unsigned)
ANYCHIP_INLINE void __nanosleep(unsigned) { anychip_collective(0, 1u << anychip_laneid(), nullptr, nullptr); anychip_host->yield(anychip_host); }
ANYCHIP_INLINE void __trap() { anychip_host->fail(anychip_host, 719, "the kernel called __trap()"); }
#define __brkpt() __trap()
#define assert(c) ((c) ? (void)0 : anychip_host->fail(anychip_host, 710, "assertion failed in the kernel: " #c))
extern "C" int printf(const char*, ...);

// ---- atomics ----
template <class T> struct anychip_same { typedef T type; };
template <unsigned N> struct anychip_bits;
template <> struct anychip_bits<2> { typedef unsigned short type; };
template <> struct anychip_bits<4> { typedef unsigned type; };
template <> struct anychip_bits<8> { typedef anychip_u64 type; };
// Whatever `f` makes of a value, stored as one; gives what was there before.
template <class T, class F> ANYCHIP_INLINE T anychip_update(T* p, F f) {
  typedef typename anychip_bits<sizeof(T)>::type B;
  B seen = __atomic_load_n((B*)p, __ATOMIC_RELAXED), next;
  T old, now;
  do {
    __builtin_memcpy(&old, &seen, sizeof(T));
    now = f(old);
    __builtin_memcpy(&next, &now, sizeof(T));
  } while (!__atomic_compare_exchange_n((B*)p, &seen, next, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
  return old;
}
#define ANYCHIP_FETCH(name, T, fetch) \
  ANYCHIP_INLINE T atomic##name(T* p, T v) { return fetch(p, v, __ATOMIC_RELAXED); }
#define ANYCHIP_UPDATE(name, T, expr) \
  ANYCHIP_INLINE T atomic##name(T* p, T v) { return anychip_update(p, [=](T old) -> T { return expr; }); }
ANYCHIP_FETCH(Add, int, __atomic_fetch_add)
ANYCHIP_FETCH(Add, unsigned, __atomic_fetch_add)
ANYCHIP_FETCH(Add, anychip_u64, __atomic_fetch_add)
ANYCHIP_UPDATE(Add, float, old + v)
ANYCHIP_UPDATE(Add, double, old + v)
ANYCHIP_FETCH(Sub, int, __atomic_fetch_sub)
ANYCHIP_FETCH(Sub, unsigned, __atomic_fetch_sub)
#define ANYCHIP_BITS(T)                       \
  ANYCHIP_FETCH(And, T, __atomic_fetch_and)   \
  ANYCHIP_FETCH(Or, T, __atomic_fetch_or)     \
  ANYCHIP_FETCH(Xor, T, __atomic_fetch_xor)
ANYCHIP_BITS(int)
ANYCHIP_BITS(unsigned)
ANYCHIP_BITS(anychip_u64)
#define ANYCHIP_ORDER(T)                   \
  ANYCHIP_UPDATE(Min, T, v < old ? v : old) \
  ANYCHIP_UPDATE(Max, T, v > old ? v : old)
ANYCHIP_ORDER(int)
ANYCHIP_ORDER(unsigned)
ANYCHIP_ORDER(long long)
ANYCHIP_ORDER(anychip_u64)
ANYCHIP_FETCH(Exch, int, __atomic_exchange_n)
ANYCHIP_FETCH(Exch, unsigned, __atomic_exchange_n)
ANYCHIP_FETCH(Exch, anychip_u64, __atomic_exchange_n)
ANYCHIP_UPDATE(Exch, float, v)
ANYCHIP_UPDATE(Inc, unsigned, old >= v ? 0 : old + 1)
ANYCHIP_UPDATE(Dec, unsigned, old == 0 || old > v ? v : old - 1)
#define ANYCHIP_CAS(T)                                                                                      \
  ANYCHIP_INLINE T atomicCAS(T* p, T expected, T v) {                                                       \
    __atomic_compare_exchange_n(p, &expected, v, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);                \
    return expected;                                                                                        \
  }
ANYCHIP_CAS(int)
ANYCHIP_CAS(unsigned)
ANYCHIP_CAS(anychip_u64)
ANYCHIP_CAS(unsigned short)
#define atomicAdd_block atomicAdd
#define atomicAdd_system atomicAdd
#define atomicCAS_block atomicCAS
#define atomicCAS_system atomicCAS
#define atomicExch_block atomicExch
#define atomicExch_system atomicExch
#define atomicMin_block atomicMin
#define atomicMax_block atomicMax
#define atomicAnd_block atomicAnd
#define atomicOr_block atomicOr
#define atomicXor_block atomicXor
#define atomicSub_block atomicSub

// ---- loads and stores with hints ----
template <class T> ANYCHIP_INLINE T __ldg(const T* p) { return *p; }
template <class T> ANYCHIP_INLINE T __ldcg(const T* p) { return *p; }
template <class T> ANYCHIP_INLINE T __ldca(const T* p) { return *p; }
template <class T> ANYCHIP_INLINE T __ldcs(const T* p) { return *p; }
template <class T> ANYCHIP_INLINE T __ldlu(const T* p) { return *p; }
template <class T> ANYCHIP_INLINE T __ldcv(const T* p) { return *(const volatile T*)p; }
template <class T> ANYCHIP_INLINE void __stcg(T* p, T v) { *p = v; }
template <class T> ANYCHIP_INLINE void __stcs(T* p, T v) { *p = v; }
template <class T> ANYCHIP_INLINE void __stwb(T* p, T v) { *p = v; }
template <class T> ANYCHIP_INLINE void __stwt(T* p, T v) { *p = v; }

#include "functions.h"
#include "copy.h"

// ---- kernels, as the host calls them ----
template <unsigned... I> struct anychip_indices {};
template <unsigned N, unsigned... I> struct anychip_count_to : anychip_count_to<N - 1, N - 1, I...> {};
template <unsigned... I> struct anychip_count_to<0, I...> { typedef anychip_indices<I...> type; };
template <class... A, unsigned... I>
ANYCHIP_INLINE void anychip_call(void (*f)(A...), void** p, const uint3* threads, unsigned n, anychip_indices<I...>) {
  for (unsigned i = 0; i < n; i++) {
    threadIdx = threads[i];
    f(*(A*)p[I]...);
  }
}
template <class... A> ANYCHIP_INLINE void anychip_run(void (*f)(A...), void** p, const uint3* threads, unsigned n) {
  anychip_call(f, p, threads, n, typename anychip_count_to<sizeof...(A)>::type());
}
// Size and alignment of every parameter; with that of none, so that no array is empty.
template <class... A> ANYCHIP_INLINE unsigned anychip_layout(void (*)(A...), unsigned* to, unsigned room) {
  const unsigned all[] = {(unsigned)(sizeof(A) << 8 | alignof(A))..., 0};
  for (unsigned i = 0; i < sizeof...(A) && i < room; i++) to[i] = all[i];
  return sizeof...(A);
}
// `at` is the kernel with its namespaces, `bound` that of __launch_bounds__, 0 without one.
#define ANYCHIP_KERNEL(name, at, bound)                                                                                  \
  extern "C" void anychip_run_##name(void** p, const uint3* threads, unsigned n) { anychip_run(at, p, threads, n); } \
  extern "C" unsigned anychip_layout_##name(unsigned* to, unsigned room) { return anychip_layout(at, to, room); }    \
  extern "C" unsigned anychip_bound_##name() { return bound; }
#define ANYCHIP_MODULE()                                                                                               \
  extern "C" char __start_anychip_shared[] __attribute__((weak, visibility("hidden")));                                \
  extern "C" char __stop_anychip_shared[] __attribute__((weak, visibility("hidden")));                                 \
  extern "C" void anychip_bind(anychip_binding* b) {                                                                   \
    *b = {&anychip_host, &threadIdx, &blockIdx, &blockDim, &gridDim, &anychip_self, &anychip_dynamic,                  \
          &anychip_dynamic_bytes, sizeof(anychip_lane), __start_anychip_shared, __stop_anychip_shared};                \
  }

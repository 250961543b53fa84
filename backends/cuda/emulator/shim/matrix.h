// Matrix instructions of a warp: mma.sync, ldmatrix, stmatrix, wmma, with the layouts of the PTX manual. The last lane to come computes
// for all. Sums are exact and then cut off (f32) or rounded (f16); a chip's own order differs within the bound of its data sheet.
#pragma once
#include "small.h"

// ---- mma.sync: m16n8, `K` = 4 registers' worth of columns for each pair of registers of A ----
template <int RA, class C> struct anychip_mma_post { const unsigned *a, *b; const C* c; C* d; };
template <class A, class B, int RA, class C> static void anychip_do_mma(void** posts, unsigned lanes) {
  typedef anychip_mma_post<RA, C> P;
  const int per = 32 / A::bits, K = RA / 2 * 4 * per;
  if (lanes != 0xffffffffu) return anychip_host->fail(anychip_host, 719, "mma.sync needs all 32 lanes");
  typedef typename anychip_sum<C>::type S;
  typename anychip_sum<C>::row b[K], sums[16];
  S a[16][K];
  for (int lane = 0; lane < 32; lane++) {
    P* p = (P*)posts[lane];
    int g = lane >> 2, t = lane & 3;
    for (int r = 0; r < RA; r++)
      for (int i = 0; i < per; i++) a[g + 8 * (r & 1)][(r >> 1) * 4 * per + t * per + i] = (S)anychip_part<A>(p->a[r], i);
    for (int r = 0; r < RA / 2; r++)
      for (int i = 0; i < per; i++) b[r * 4 * per + t * per + i][g] = (S)anychip_part<B>(p->b[r], i);
    for (int i = 0; i < 4; i++) sums[g + 8 * (i >> 1)][2 * t + (i & 1)] = (S)p->c[i];
  }
  for (int row = 0; row < 16; row++)
    for (int k = 0; k < K; k++) sums[row] += a[row][k] * b[k];
  for (int lane = 0; lane < 32; lane++)
    for (int i = 0; i < 4; i++)
      ((P*)posts[lane])->d[i] = anychip_sum<C>::of(sums[(lane >> 2) + 8 * (i >> 1)][(lane & 3) * 2 + (i & 1)]);
}
template <class A, class B, int RA, class C> ANYCHIP_INLINE void anychip_mma(C* d, const unsigned* a, const unsigned* b, const C* c) {
  anychip_mma_post<RA, C> post = {a, b, c, d};
  anychip_collective(0, 0xffffffffu, anychip_do_mma<A, B, RA, C>, &post);
}
// m8n8k4: four products of 8 rows and 8 columns, each by lanes 4 q to 4 q + 3 and those 16 above; A by rows, B by columns.
struct anychip_mma4_post { const unsigned *a, *b; const float* c; float* d; };
static void anychip_do_mma4(void** posts, unsigned lanes) {
  if (lanes != 0xffffffffu) return anychip_host->fail(anychip_host, 719, "mma.sync needs all 32 lanes");
  for (int q = 0; q < 4; q++) {
    double a[8][4], b[8][4], sums[8][8];
    anychip_mma4_post* of[8];
    for (int line = 0; line < 8; line++) {
      anychip_mma4_post* p = of[line] = (anychip_mma4_post*)posts[4 * q + line % 4 + line / 4 * 16];
      for (int k = 0; k < 4; k++)
        a[line][k] = anychip_part<anychip_f16>(p->a[k / 2], k % 2), b[line][k] = anychip_part<anychip_f16>(p->b[k / 2], k % 2);
    }
#define ANYCHIP_EACH_SUM for (int line = 0; line < 8; line++) for (int i = 0; i < 8; i++)
#define ANYCHIP_SUM sums[line / 4 * 4 + (line & 1) + (i & 2)][(i & 4) + (line & 2) + (i & 1)]
    ANYCHIP_EACH_SUM ANYCHIP_SUM = of[line]->c[i];
    for (int row = 0; row < 8; row++)
      for (int col = 0; col < 8; col++)
        for (int k = 0; k < 4; k++) sums[row][col] += a[row][k] * b[col][k];
    ANYCHIP_EACH_SUM of[line]->d[i] = anychip_cut(ANYCHIP_SUM);
#undef ANYCHIP_EACH_SUM
#undef ANYCHIP_SUM
  }
}
#if __CUDA_ARCH__ >= 700
ANYCHIP_INLINE void anychip_mma_m8n8k4_f16_f32(float* d, const unsigned* a, const unsigned* b, const float* c) {
  anychip_mma4_post post = {a, b, c, d};
  anychip_collective(0, 0xffffffffu, anychip_do_mma4, &post);
}
#endif
#define ANYCHIP_MMA(name, A, B, RA, C) \
  ANYCHIP_INLINE void name(C* d, const unsigned* a, const unsigned* b, const C* c) { anychip_mma<A, B, RA, C>(d, a, b, c); }
#if __CUDA_ARCH__ >= 750
ANYCHIP_MMA(anychip_mma_m16n8k8_f16_f32, anychip_f16, anychip_f16, 2, float)
#endif
#if __CUDA_ARCH__ >= 800
ANYCHIP_MMA(anychip_mma_m16n8k16_f16_f32, anychip_f16, anychip_f16, 4, float)
ANYCHIP_MMA(anychip_mma_m16n8k8_bf16_f32, anychip_bf16, anychip_bf16, 2, float)
ANYCHIP_MMA(anychip_mma_m16n8k16_bf16_f32, anychip_bf16, anychip_bf16, 4, float)
ANYCHIP_MMA(anychip_mma_m16n8k4_tf32_f32, anychip_tf32, anychip_tf32, 2, float)
ANYCHIP_MMA(anychip_mma_m16n8k8_tf32_f32, anychip_tf32, anychip_tf32, 4, float)
ANYCHIP_MMA(anychip_mma_m16n8k16_s8_s32, anychip_s8, anychip_s8, 2, int)
ANYCHIP_MMA(anychip_mma_m16n8k32_s8_s32, anychip_s8, anychip_s8, 4, int)
ANYCHIP_MMA(anychip_mma_m16n8k32_u8_s32, anychip_u8t, anychip_u8t, 4, int)
ANYCHIP_MMA(anychip_mma_m16n8k32_s8_u8_s32, anychip_s8, anychip_u8t, 4, int)
ANYCHIP_MMA(anychip_mma_m16n8k32_u8_s8_s32, anychip_u8t, anychip_s8, 4, int)
#endif
#if __CUDA_ARCH__ >= 890
ANYCHIP_MMA(anychip_mma_m16n8k32_e4m3_f32, anychip_e4m3, anychip_e4m3, 4, float)
ANYCHIP_MMA(anychip_mma_m16n8k32_e5m2_f32, anychip_e5m2, anychip_e5m2, 4, float)
#endif
// With f16 sums, two to a register: rounded to nearest once.
#if __CUDA_ARCH__ >= 800
struct anychip_mma_f16_post { const unsigned *a, *b, *c; unsigned* d; };
static void anychip_do_mma_f16(void** posts, unsigned lanes) {
  anychip_sum<float>::row b[16], sums[16];
  double a[16][16];
  if (lanes != 0xffffffffu) return anychip_host->fail(anychip_host, 719, "mma.sync needs all 32 lanes");
  for (int lane = 0; lane < 32; lane++) {
    anychip_mma_f16_post* p = (anychip_mma_f16_post*)posts[lane];
    int g = lane >> 2, t = lane & 3;
    for (int r = 0; r < 4; r++)
      for (int i = 0; i < 2; i++) a[g + 8 * (r & 1)][(r >> 1) * 8 + t * 2 + i] = anychip_part<anychip_f16>(p->a[r], i);
    for (int r = 0; r < 2; r++)
      for (int i = 0; i < 2; i++) {
        b[r * 8 + t * 2 + i][g] = anychip_part<anychip_f16>(p->b[r], i);
        sums[g + 8 * r][2 * t + i] = anychip_part<anychip_f16>(p->c[r], i);
      }
  }
  for (int row = 0; row < 16; row++)
    for (int k = 0; k < 16; k++) sums[row] += a[row][k] * b[k];
  for (int lane = 0; lane < 32; lane++)
    for (int r = 0; r < 2; r++) {
      int row = (lane >> 2) + 8 * r, col = (lane & 3) * 2;
      ((anychip_mma_f16_post*)posts[lane])->d[r] =
          anychip_narrow<5, 10>(sums[row][col]) | anychip_narrow<5, 10>(sums[row][col + 1]) << 16;
    }
}
ANYCHIP_INLINE void anychip_mma_m16n8k16_f16_f16(unsigned* d, const unsigned* a, const unsigned* b, const unsigned* c) {
  anychip_mma_f16_post post = {a, b, c, d};
  anychip_collective(0, 0xffffffffu, anychip_do_mma_f16, &post);
}
#endif

// ---- ldmatrix, stmatrix: N matrices of 8 rows of 8 × 16 bits; lane 8 i + j brings the address of row j of matrix i ----
struct anychip_rows { const char* row; unsigned* r; };
template <int N, bool transposed, bool store> static void anychip_do_rows(void** posts, unsigned lanes) {
  if (lanes != 0xffffffffu) return anychip_host->fail(anychip_host, 719, "ldmatrix and stmatrix need all 32 lanes");
  for (int i = 0; i < N; i++) {
    for (int j = 0; j < 8; j++)
      if ((size_t)((anychip_rows*)posts[8 * i + j])->row % 16)
        return anychip_host->fail(anychip_host, 716, "ldmatrix, stmatrix: a row is not aligned to 16 bytes");
    for (int lane = 0; lane < 32; lane++)
      for (int h = 0; h < 2; h++) {
        int row = transposed ? 2 * (lane & 3) + h : lane >> 2, col = transposed ? lane >> 2 : 2 * (lane & 3) + h;
        unsigned short* at = (unsigned short*)((anychip_rows*)posts[8 * i + row])->row + col;
        unsigned* r = ((anychip_rows*)posts[lane])->r + i;
        if (store) *at = (unsigned short)(*r >> (16 * h));
        else *r = h ? (*r & 0xffffu) | (unsigned)*at << 16 : *at;
      }
  }
}
#if __CUDA_ARCH__ >= 750
template <int N, bool transposed = false> ANYCHIP_INLINE void anychip_ldmatrix(unsigned* r, const void* row) {
  static_assert(N == 1 || N == 2 || N == 4, "ldmatrix loads 1, 2 or 4 matrices");
  anychip_rows post = {(const char*)row, r};
  anychip_collective(0, 0xffffffffu, anychip_do_rows<N, transposed, false>, &post);
}
#endif
#if __CUDA_ARCH__ >= 900
template <int N, bool transposed = false> ANYCHIP_INLINE void anychip_stmatrix(void* row, const unsigned* r) {
  static_assert(N == 1 || N == 2 || N == 4, "stmatrix stores 1, 2 or 4 matrices");
  anychip_rows post = {(const char*)row, (unsigned*)r};
  anychip_collective(0, 0xffffffffu, anychip_do_rows<N, transposed, true>, &post);
}
#endif

// ---- wmma: m16n16k16. Which lane holds which element is nobody's business on a chip; here it is by rows, twice, as Volta has it ----
// Operands: 8 registers of two elements; `ld` is in elements. Lane l holds half of row (of A) or column (of B) l / 2.
ANYCHIP_INLINE void anychip_wmma_load(unsigned* r, const void* p, unsigned ld, bool contiguous) {
  __syncwarp();
  int line = anychip_laneid() >> 1, half = anychip_laneid() & 1;
  const unsigned short* e = (const unsigned short*)p;
  for (int i = 0; i < 4; i++) {
    int k = half * 8 + 2 * i;
    unsigned lo = contiguous ? e[line * ld + k] : e[k * ld + line], hi = contiguous ? e[line * ld + k + 1] : e[(k + 1) * ld + line];
    r[i] = r[i + 4] = lo | hi << 16;
  }
}
#define anychip_wmma_load_a(r, p, ld, row_major) anychip_wmma_load(r, p, ld, row_major)
#define anychip_wmma_load_b(r, p, ld, row_major) anychip_wmma_load(r, p, ld, !(row_major))
// Sums: 8 f32 registers; lane l holds half of row l / 2.
ANYCHIP_INLINE void anychip_wmma_load_c(float* r, const float* p, unsigned ld, bool row_major) {
  __syncwarp();
  int row = anychip_laneid() >> 1, half = anychip_laneid() & 1;
  for (int i = 0; i < 8; i++) r[i] = p[row_major ? row * ld + half * 8 + i : (half * 8 + i) * ld + row];
}
ANYCHIP_INLINE void anychip_wmma_store(float* p, const float* r, unsigned ld, bool row_major) {
  int row = anychip_laneid() >> 1, half = anychip_laneid() & 1;
  for (int i = 0; i < 8; i++) p[row_major ? row * ld + half * 8 + i : (half * 8 + i) * ld + row] = r[i];
  __syncwarp();
}
struct anychip_wmma_post { const unsigned *a, *b; const float* c; float* d; };
template <class A> static void anychip_do_wmma(void** posts, unsigned lanes) {
  if (lanes != 0xffffffffu) return anychip_host->fail(anychip_host, 719, "wmma needs all 32 lanes");
  anychip_sum<float>::row b[16][2], sums[16][2];
  double a[16][16];
  for (int lane = 0; lane < 32; lane++)
    for (int i = 0; i < 8; i++) {
      anychip_wmma_post* p = (anychip_wmma_post*)posts[lane];
      int line = lane >> 1, half = lane & 1;
      a[line][half * 8 + i] = anychip_part<A>(p->a[i >> 1], i & 1);
      b[half * 8 + i][line >> 3][line & 7] = anychip_part<A>(p->b[i >> 1], i & 1);
      sums[line][half][i] = p->c[i];
    }
  for (int row = 0; row < 16; row++)
    for (int k = 0; k < 16; k++)
      for (int half = 0; half < 2; half++) sums[row][half] += a[row][k] * b[k][half];
  for (int lane = 0; lane < 32; lane++)
    for (int i = 0; i < 8; i++) ((anychip_wmma_post*)posts[lane])->d[i] = anychip_cut(sums[lane >> 1][lane & 1][i]);
}
#if __CUDA_ARCH__ >= 700
ANYCHIP_INLINE void anychip_wmma_mma_f16(float* d, const unsigned* a, const unsigned* b, const float* c) {
  anychip_wmma_post post = {a, b, c, d};
  anychip_collective(0, 0xffffffffu, anychip_do_wmma<anychip_f16>, &post);
}
#endif
#if __CUDA_ARCH__ >= 800
ANYCHIP_INLINE void anychip_wmma_mma_bf16(float* d, const unsigned* a, const unsigned* b, const float* c) {
  anychip_wmma_post post = {a, b, c, d};
  anychip_collective(0, 0xffffffffu, anychip_do_wmma<anychip_bf16>, &post);
}
#endif

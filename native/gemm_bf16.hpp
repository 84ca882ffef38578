// Products of float32 numbers that are rounded to bfloat16 and added up in float32: twice as many multiplications in the same time.
//
// A factor is a pair of numbers, neighbours along k, the earlier in the low half: vdpbf16ps adds both products to a sum.
// Numbers too small for a normal float32 count as zeros.
#pragma once
#include "gemm.hpp"

namespace elman::ELMAN_KERNELS {

struct Rounded {
  using Number = float;
  using Factor = int32_t;
  static constexpr int COUNT = 2;
  static constexpr int GROUPED = LANES<Factor>;
  static_assert(GROUPED == 2 * OUTER_ROWS);

  static ELMAN_INLINE Vector<float> add_product(Vector<float> sum, Vector<Factor> a, Vector<Factor> b) {
    return (Vector<float>)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
  }

  // To the nearest, to even in the middle: 16 numbers in the low half, 16 in the high one.
  static ELMAN_INLINE Vector<Factor> round(Vector<float> low, Vector<float> high) {
    return (Vector<Factor>)_mm512_cvtne2ps_pbh((__m512)high, (__m512)low);
  }

  static ELMAN_INLINE Vector<Factor> along(const float *from, int64_t numbers) {
    constexpr int lanes = LANES<float>;
    const Vector<float> low = load_first(from, numbers);
    return round(low, numbers > lanes ? load_first(from + lanes, numbers - lanes) : Vector<float>{});
  }

  static ELMAN_INLINE Vector<Factor> across(Rows<const float> from, int64_t rows, int64_t columns) {
    const Vector<float> low = load_first(from.data, columns);
    const Vector<Factor> halves =
        round(low, rows == COUNT ? load_first(from.data + from.stride, columns) : Vector<float>{});
    const Vector<int32_t> order = iota<int32_t>() * 0x10001 + 0x100000;  // of halves: 0, 16, 1, 17 ...
    return (Vector<Factor>)_mm512_maskz_permutexvar_epi16(-1, (__m512i)order, (__m512i)halves);
  }

  static ELMAN_INLINE void group(Rows<const float> from, int64_t rows, int64_t columns, Factor *packed, int64_t size) {
    const __m512i both = (__m512i)across(from, rows, columns);
    _mm256_storeu_si256(reinterpret_cast<__m256i *>(packed), _mm512_maskz_extracti64x4_epi64(-1, both, 0));
    if (columns > OUTER_ROWS)
      _mm256_storeu_si256(reinterpret_cast<__m256i *>(packed + size), _mm512_maskz_extracti64x4_epi64(-1, both, 1));
  }

  // Rows begin on different sets of the first-level cache.
  static int64_t left_stride(int64_t k) { return (factors<Rounded>(k) + 15) / 16 * 16 + 16; }
  static int64_t left_size(int64_t m, int64_t k) { return m * left_stride(k); }
  static Rows<const Factor> left(int64_t m, int64_t k, Rows<const float> from, Factor *scratch) {
    const int64_t stride = left_stride(k);
    for (int64_t row = 0; row < m; ++row)
      for (int64_t i = 0; i < k; i += 2 * LANES<float>)
        store(scratch + row * stride + i / COUNT, along(from.data + row * from.stride + i, k - i));
    return {scratch, stride};
  }
};

}  // namespace elman::ELMAN_KERNELS

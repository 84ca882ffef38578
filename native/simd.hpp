// Vectors: one source for AVX-512, AVX2, NEON and plain C++, through the vector extension of GCC and clang.
//
// Included only by what kernels.cpp compiles once per instruction set. All of it lies in a namespace of that set's name, because
// an inline function compiled with wide instructions must never be merged with the same function in code that runs everywhere.
// For the same reason the headers included there use no function templates of the standard library (std::min, std::vector ...).
//
// a + b, a * b, -a, a < b, a & b, a >> 3 ... work on vectors, lane by lane, and on a vector and a number. a * b + c is a fused
// multiplication and addition where the machine has one (-ffp-contract=fast). A comparison gives a Mask<T>: integers, all bits
// set where true.
#pragma once
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#endif

#ifndef ELMAN_KERNELS
#error "compiled by kernels.cpp, once per instruction set, with ELMAN_KERNELS its name"
#endif
#define ELMAN_INLINE inline __attribute__((always_inline))

namespace elman::ELMAN_KERNELS {

#if defined(__AVX512F__)
constexpr int VECTOR_BYTES = 64;
#elif defined(__AVX2__)
constexpr int VECTOR_BYTES = 32;
#else
constexpr int VECTOR_BYTES = 16;
#endif

// A vector of T: float, double, or an integer of 32 or 64 bits.
template <class T>
struct VectorType {
  typedef T type __attribute__((vector_size(VECTOR_BYTES)));
  typedef T unaligned __attribute__((vector_size(VECTOR_BYTES), aligned(alignof(T)), may_alias));
};
template <class T>
using Vector = typename VectorType<T>::type;

template <class T>
constexpr int LANES = VECTOR_BYTES / int(sizeof(T));

// The type of the lanes of a vector, for templates that take any vector: template <class V> V f(V x).
template <class V>
using Element = std::remove_reference_t<decltype(std::declval<V &>()[0])>;

// The signed integer as wide as a T, and vectors of it: what comparisons give, and the bits of a vector.
template <class T>
using Integer = std::conditional_t<sizeof(T) == 4, int32_t, int64_t>;
template <class T>
using Mask = Vector<Integer<T>>;

template <class T>
ELMAN_INLINE Vector<T> splat(T value) {
  return value - Vector<T>{};  // not +, which would turn -0 into 0
}

template <class T>
ELMAN_INLINE Vector<T> load(const T *from) {
  return *reinterpret_cast<const typename VectorType<T>::unaligned *>(from);
}

template <class T>
ELMAN_INLINE void store(T *to, Vector<T> value) {
  *reinterpret_cast<typename VectorType<T>::unaligned *>(to) = value;
}

// 0, 1, 2 ...
template <class T>
ELMAN_INLINE Vector<T> iota() {
  Vector<T> result{};
  for (int lane = 0; lane < LANES<T>; ++lane) result[lane] = T(lane);
  return result;
}

// True in the first n lanes.
template <class T>
ELMAN_INLINE Mask<T> first(int64_t n) {
  return iota<Integer<T>>() < Integer<T>(n);
}

// The first n lanes, 0 to LANES; memory beyond them is not touched, and loaded as zeros.
template <class T>
ELMAN_INLINE Vector<T> load_first(const T *from, int64_t n) {
  if (n >= LANES<T>) return load(from);
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4)
    return (Vector<T>)_mm512_maskz_loadu_epi32(__mmask16((1u << n) - 1), from);
  else
    return (Vector<T>)_mm512_maskz_loadu_epi64(__mmask8((1u << n) - 1), from);
#elif defined(__AVX2__)
  if constexpr (sizeof(T) == 4)
    return (Vector<T>)_mm256_maskload_epi32((const int *)from, (__m256i)first<T>(n));
  else
    return (Vector<T>)_mm256_maskload_epi64((const long long *)from, (__m256i)first<T>(n));
#else
  Vector<T> result{};
  for (int lane = 0; lane < n; ++lane) result[lane] = from[lane];
  return result;
#endif
}

template <class T>
ELMAN_INLINE void store_first(T *to, Vector<T> value, int64_t n) {
  if (n >= LANES<T>) return store(to, value);
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4)
    _mm512_mask_storeu_epi32(to, __mmask16((1u << n) - 1), (__m512i)value);
  else
    _mm512_mask_storeu_epi64(to, __mmask8((1u << n) - 1), (__m512i)value);
#elif defined(__AVX2__)
  if constexpr (sizeof(T) == 4)
    _mm256_maskstore_epi32((int *)to, (__m256i)first<T>(n), (__m256i)value);
  else
    _mm256_maskstore_epi64((long long *)to, (__m256i)first<T>(n), (__m256i)value);
#else
  for (int lane = 0; lane < n; ++lane) to[lane] = value[lane];
#endif
}

// mask ? a : b, lane by lane.
template <class V>
ELMAN_INLINE V select(Mask<Element<V>> mask, V a, V b) {
  return mask ? a : b;
}

// The bits of a vector of numbers as signed integers, and back: as_numbers<float>(bits(x)).
template <class V>
ELMAN_INLINE Mask<Element<V>> bits(V value) {
  return (Mask<Element<V>>)value;
}
template <class T>
ELMAN_INLINE Vector<T> as_numbers(Mask<T> bits) {
  return (Vector<T>)bits;
}

// Conversion by value: to_numbers<float>(integers); to_integers rounds towards zero (out of range: any number).
template <class T>
ELMAN_INLINE Vector<T> to_numbers(Mask<T> integers) {
  return __builtin_convertvector(integers, Vector<T>);
}
template <class V>
ELMAN_INLINE Mask<Element<V>> to_integers(V value) {
  return __builtin_convertvector(value, Mask<Element<V>>);
}

template <class V>
ELMAN_INLINE V absolute(V a) {
  using T = Element<V>;
  return as_numbers<T>(bits(a) & ~(Integer<T>(1) << (8 * sizeof(T) - 1)));
}
// The magnitude of one, the sign of the other.
template <class V>
ELMAN_INLINE V copysign(V magnitude, V sign) {
  using T = Element<V>;
  const Integer<T> high = Integer<T>(uint64_t(1) << (8 * sizeof(T) - 1));
  return as_numbers<T>((bits(magnitude) & ~high) | (bits(sign) & high));
}

// An intrinsic of AVX-512 or AVX2. The zeroing form of AVX-512, with a full mask, is the plain instruction; GCC's headers for the
// plain form warn of themselves.
#if defined(__AVX512F__)
#define ELMAN_SIMD(name, ...) _mm512_maskz_##name(-1, __VA_ARGS__)
#elif defined(__AVX2__)
#define ELMAN_SIMD(name, ...) _mm256_##name(__VA_ARGS__)
#endif

// a < b ? a : b and a > b ? a : b: b where one is not a number.
template <class V>
ELMAN_INLINE V minimum(V a, V b) {
#ifdef ELMAN_SIMD
  if constexpr (std::is_same_v<Element<V>, float>) return (V)ELMAN_SIMD(min_ps, a, b);
  if constexpr (std::is_same_v<Element<V>, double>) return (V)ELMAN_SIMD(min_pd, a, b);
#endif
  return a < b ? a : b;
}
template <class V>
ELMAN_INLINE V maximum(V a, V b) {
#ifdef ELMAN_SIMD
  if constexpr (std::is_same_v<Element<V>, float>) return (V)ELMAN_SIMD(max_ps, a, b);
  if constexpr (std::is_same_v<Element<V>, double>) return (V)ELMAN_SIMD(max_pd, a, b);
#endif
  return a > b ? a : b;
}

template <class V>
ELMAN_INLINE V sqrt(V a) {
  using T = Element<V>;
#ifdef ELMAN_SIMD
  if constexpr (std::is_same_v<T, float>)
    return (V)ELMAN_SIMD(sqrt_ps, a);
  else
    return (V)ELMAN_SIMD(sqrt_pd, a);
#else
  for (int lane = 0; lane < LANES<T>; ++lane)
    a[lane] = std::is_same_v<T, float> ? T(__builtin_sqrtf(float(a[lane]))) : T(__builtin_sqrt(double(a[lane])));
  return a;
#endif
}

// The next whole number below.
template <class V>
ELMAN_INLINE V floor(V a) {
  using T = Element<V>;
#if defined(__AVX512F__)
  if constexpr (std::is_same_v<T, float>)
    return (V)_mm512_maskz_roundscale_ps(-1, a, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
  else
    return (V)_mm512_maskz_roundscale_pd(-1, a, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
#elif defined(__AVX2__)
  if constexpr (std::is_same_v<T, float>)
    return (V)_mm256_floor_ps(a);
  else
    return (V)_mm256_floor_pd(a);
#else
  for (int lane = 0; lane < LANES<T>; ++lane) a[lane] = T(__builtin_floor(double(a[lane])));
  return a;
#endif
}

// Whether a mask is true in any lane.
template <class M>
ELMAN_INLINE bool any(M mask) {
#if defined(__AVX512F__)
  return _mm512_test_epi32_mask((__m512i)mask, (__m512i)mask) != 0;
#elif defined(__AVX2__)
  return !_mm256_testz_si256((__m256i)mask, (__m256i)mask);
#else
  Element<M> found = 0;
  for (int lane = 0; lane < LANES<Element<M>>; ++lane) found |= mask[lane];
  return found != 0;
#endif
}

// Lanes of a and b, counted through from a's first to b's last, in any order.
template <int... lane, class V>
ELMAN_INLINE V shuffle(V a, V b) {
#ifdef __clang__
  return __builtin_shufflevector(a, b, lane...);
#else
  return __builtin_shuffle(a, b, Mask<Element<V>>{lane...});
#endif
}

// Lane i gets lane i ^ distance.
template <int distance, class V, size_t... lane>
ELMAN_INLINE V exchange(V value, std::index_sequence<lane...>) {
  return shuffle<int(lane ^ distance)...>(value, value);
}

// Combines all lanes, in the same order whatever the compiler.
template <class V, class F>
ELMAN_INLINE Element<V> fold(V value, F combine) {
  constexpr int lanes = LANES<Element<V>>;
  constexpr auto order = std::make_index_sequence<lanes>();
  if constexpr (lanes > 8) value = combine(value, exchange<8>(value, order));
  if constexpr (lanes > 4) value = combine(value, exchange<4>(value, order));
  if constexpr (lanes > 2) value = combine(value, exchange<2>(value, order));
  return combine(value, exchange<1>(value, order))[0];
}

// The sum of all lanes; the greatest of them, not a number where one is not.
template <class V>
ELMAN_INLINE Element<V> sum_of(V value) {
  return fold(value, [](V a, V b) { return a + b; });
}
template <class V>
ELMAN_INLINE Element<V> maximum_of(V value) {
  return fold(value, [](V a, V b) { return ((a != a) | (a > b)) ? a : b; });
}

}  // namespace elman::ELMAN_KERNELS

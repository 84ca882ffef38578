// Functions of vectors: exp, expm1, log, log1p, tanh, sigmoid, sin, cos, erf, rsqrt, reciprocal, pow.
//
// Of floats: polynomials, at most 2.5 units in the last place from the true value over the whole range (erf, pow: what <cmath>
// gives). Zeros keep their sign, infinities and what is not a number give what <cmath> gives, and denormal numbers are neither
// taken for zeros nor given as zeros. Of doubles, which are for checks: <cmath>, lane by lane.
//
// The coefficients are those of least relative error (Remez' exchange), rounded to floats.
#pragma once
#include "simd.hpp"

namespace elman::ELMAN_KERNELS {

template <class V>
constexpr bool IS_FLOAT = std::is_same_v<Element<V>, float>;

// function(lane, ...) of every lane.
template <class V, class Function>
ELMAN_INLINE V by_lanes(Function function, V a) {
  for (int lane = 0; lane < LANES<Element<V>>; ++lane) a[lane] = function(a[lane]);
  return a;
}
template <class V, class Function>
ELMAN_INLINE V by_lanes(Function function, V a, V b) {
  for (int lane = 0; lane < LANES<Element<V>>; ++lane) a[lane] = function(a[lane], b[lane]);
  return a;
}

// A function of <cmath>, by the type of its argument: ELMAN_SCALAR(exp) is one callable for both.
#define ELMAN_SCALAR(name)                       \
  [](auto... lane) {                             \
    if constexpr (IS_ONE_FLOAT<decltype(lane)...>) \
      return __builtin_##name##f(lane...);       \
    else                                         \
      return __builtin_##name(lane...);          \
  }
template <class First, class... Rest>
constexpr bool IS_ONE_FLOAT = std::is_same_v<First, float>;

// c[0] + c[1] x + c[2] x^2 ...
template <class V>
ELMAN_INLINE V polynomial(V, float last) {
  return splat(last);
}
template <class V, class... Rest>
ELMAN_INLINE V polynomial(V x, float first, Rest... rest) {
  return polynomial(x, rest...) * x + first;
}

// log(2) in two parts: the first has so few digits that its products with exponents are exact.
constexpr float LOG_2_HIGH = 0.693359375f, LOG_2_LOW = -2.12194440e-4f;
constexpr float INFINITE = __builtin_inff();
constexpr int32_t SIGN = INT32_MIN;  // its bit

// Added to |x| < 2^22 it leaves no digits behind the point: x + ROUNDING is a whole number in its last bits.
constexpr float ROUNDING = 12582912;  // 1.5 * 2^23

// 2^n, -127 < n < 128.
template <class V>
ELMAN_INLINE V power_of_two(Mask<Element<V>> n) {
  return as_numbers<float>((n + 127) << 23);
}

// p * 2^n, n whole and |n| <= 252, rounded once.
template <class V>
ELMAN_INLINE V scale(V p, V n) {
#if defined(__AVX512F__)
  return (V)_mm512_maskz_scalef_ps(0xffff, p, n);
#else
  const auto exponent = to_integers(n), half = exponent >> 1;
  return p * power_of_two<V>(half) * power_of_two<V>(exponent - half);
#endif
}

// x = n log(2) + rest, |rest| <= log(2) / 2; power = 2^n, for -127 < n < 128. Without PRECISE rest is wrong by up to 2e-9 n.
template <class V>
struct Exponent {
  V n, rest, power;
};
template <bool PRECISE = true, class V>
ELMAN_INLINE Exponent<V> split(V x) {
  constexpr float BIASED = ROUNDING + 127;  // the last bits of the sum are then the exponent bits of 2^n
  const V sum = x * 1.44269504f + BIASED;
  const V n = sum - BIASED;
  const V rest = PRECISE ? (x - n * LOG_2_HIGH) - n * LOG_2_LOW : x - n * (LOG_2_HIGH + LOG_2_LOW);
  return {n, rest, as_numbers<float>(bits(sum) << 23)};
}

// exp(r) - 1 for |r| <= log(2) / 2.
template <class V>
ELMAN_INLINE V expm1_of_rest(V r) {
  const V square = r * r;
  const V low = polynomial(r, 0.499999981f, 0.166665432f);  // in two halves, which run side by side
  const V high = square * 0.00138825105f + polynomial(r, 0.0416672018f, 0.00836658033f);
  return (high * square + low) * square + r;
}

template <class V>
ELMAN_INLINE V exp_float(V x) {
  const auto [n, rest, power] = split(minimum(splat(89.0f), maximum(splat(-104.0f), x)));
  return scale(expm1_of_rest(rest) + 1, n);
}

template <class V>
ELMAN_INLINE V exp(V x) {
  if constexpr (!IS_FLOAT<V>) return by_lanes(ELMAN_SCALAR(exp), x);
  else return exp_float(x);
}

// Half of 2^n, which is infinite for the largest x.
template <class V>
ELMAN_INLINE V half_power(const Exponent<V> &exponent) {
  return as_numbers<float>(bits(exponent.power) - (1 << 23));
}

template <class V>
ELMAN_INLINE V expm1_float(V x) {
  const auto exponent = split(minimum(splat(89.0f), maximum(splat(-18.0f), x)));
  const V half = half_power(exponent);
  const V result = 2 * (half * expm1_of_rest(exponent.rest) + (half - 0.5f));
  return absolute(x) < 1e-8f ? x : result;
}

template <class V>
ELMAN_INLINE V expm1(V x) {
  if constexpr (!IS_FLOAT<V>) return by_lanes(ELMAN_SCALAR(expm1), x);
  else return expm1_float(x);
}

// 1 / (1 + exp(-x)): 0 where the exponential is infinite, below -88.7.
template <class V>
ELMAN_INLINE V sigmoid_float(V x) {
  const auto exponent = split(minimum(splat(89.0f), maximum(splat(-30.0f), -x)));
  const V half = half_power(exponent);
  return 1 / (2 * (half * expm1_of_rest(exponent.rest) + half) + 1);
}

template <class V>
ELMAN_INLINE V sigmoid(V x) {
  if constexpr (!IS_FLOAT<V>) return by_lanes([](double lane) { return 1 / (1 + __builtin_exp(-lane)); }, x);
  else return sigmoid_float(x);
}

// (1 - e) / (1 + e), e = exp(-2 |x|) = power + power (exp(rest) - 1): 1 - power is exact, so that small x keep their digits.
template <class V>
ELMAN_INLINE V tanh_float(V x) {
  const V magnitude = minimum(splat(9.02f), absolute(x));  // beyond it is 1 to all digits
  const auto exponent = split<false>(-(magnitude + magnitude));
  const V more = expm1_of_rest(exponent.rest);
  const V result = ((1 - exponent.power) - exponent.power * more) / ((1 + exponent.power) + exponent.power * more);
  return as_numbers<float>(bits(result) | (bits(x) & SIGN));
}

template <class V>
ELMAN_INLINE V tanh(V x) {
  if constexpr (!IS_FLOAT<V>) return by_lanes(ELMAN_SCALAR(tanh), x);
  else return tanh_float(x);
}

// log(2^exponent (1 + f)) + small, f between sqrt(1/2) - 1 and sqrt(2) - 1.
template <class V>
ELMAN_INLINE V log_of_parts(V exponent, V f, V small) {
  const V square = f * f;
  const V tail = polynomial(f, 0.333333312f, -0.25000838f, 0.200012927f, -0.16622765f, 0.141996951f, -0.131641847f, 0.127791181f,
                            -0.0764611151f);
  return exponent * LOG_2_HIGH + (f + (square * -0.5f + (f * square * tail + (exponent * LOG_2_LOW + small))));
}

// The exponent of a positive normal x = 2^exponent m, sqrt(1/2) <= m < sqrt(2).
template <class V>
ELMAN_INLINE Mask<Element<V>> exponent_of(V x) {
  return (bits(x) - 0x3f3504f3) >> 23;  // the bits of sqrt(1/2)
}

// What a logarithm is where it is not finite: x is what `finite` is the logarithm of.
template <class V>
ELMAN_INLINE V log_or_not_finite(V x, V finite, V unchanged) {
  const V at_most_zero = x == 0 ? splat(-INFINITE) : splat(__builtin_nanf(""));
  return x > 0 ? (x < INFINITE ? finite : unchanged) : at_most_zero;
}

template <class V>
ELMAN_INLINE V log_float(V x) {
  const auto denormal = x < 1.17549435e-38f;
  const V normal = denormal ? x * 8388608.0f : x;
  const auto exponent = exponent_of(normal);
  const V f = as_numbers<float>(bits(normal) - (exponent << 23)) - 1;
  const V whole = to_numbers<float>(exponent - (denormal & 23));
  return log_or_not_finite(x, log_of_parts(whole, f, V{}), x);
}

template <class V>
ELMAN_INLINE V log(V x) {
  if constexpr (!IS_FLOAT<V>) return by_lanes(ELMAN_SCALAR(log), x);
  else return log_float(x);
}

template <class V>
ELMAN_INLINE V log1p_float(V x) {
  const V sum = 1 + x;
  const V lost = x < 1 ? x - (sum - 1) : 1 - (sum - x);  // what rounding took from the sum
  const auto exponent = exponent_of(sum);
  const auto near = exponent == 0;
  const V f = near ? x : as_numbers<float>(bits(sum) - (exponent << 23)) - 1;
  const V result = log_of_parts(to_numbers<float>(exponent), f, near ? V{} : lost / sum);
  return absolute(x) < 1e-8f ? x : log_or_not_finite(sum, result, x);
}

template <class V>
ELMAN_INLINE V log1p(V x) {
  if constexpr (!IS_FLOAT<V>) return by_lanes(ELMAN_SCALAR(log1p), x);
  else return log1p_float(x);
}

// sin(x + shift pi/2) for |x| < 1e5.
template <class V>
ELMAN_INLINE V sine_within(V x, int shift) {
  const V n = (x * 0.636619772f + ROUNDING) - ROUNDING;
  const V r = ((x - n * 1.57079637f) - n * -4.37113883e-08f) - n * -1.71512489e-15f;  // pi/2 in three parts, with fused products
  const V square = r * r;
  const V sine = r + r * square * polynomial(square, -0.166666546f, 0.00833216087f, -0.000195152956f);
  const V cosine = 1 - 0.5f * square + square * square * polynomial(square, 0.0416666456f, -0.00138873099f, 2.44324131e-05f);
  const auto quadrant = to_integers(n) + shift;
  const V result = (quadrant & 1) != 0 ? cosine : sine;
  return as_numbers<float>(bits(result) ^ ((quadrant & 2) << 30));
}

#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
constexpr bool FUSES = true;
#else
constexpr bool FUSES = false;
#endif

// Whether sine_within can do it; the rest, and machines without fused products, go through <cmath>.
template <class V>
ELMAN_INLINE bool has_large_angle(V x) {
  return !FUSES || any(~(absolute(x) < 1e5f));
}

template <class V>
ELMAN_INLINE V sin(V x) {
  if constexpr (IS_FLOAT<V>)
    if (!has_large_angle(x)) return absolute(x) < 1e-4f ? x : sine_within(x, 0);
  return by_lanes(ELMAN_SCALAR(sin), x);
}

template <class V>
ELMAN_INLINE V cos(V x) {
  if constexpr (IS_FLOAT<V>)
    if (!has_large_angle(x)) return sine_within(x, 1);
  return by_lanes(ELMAN_SCALAR(cos), x);
}

template <class V>
ELMAN_INLINE V erf(V x) {
  return by_lanes(ELMAN_SCALAR(erf), x);
}

template <class V>
ELMAN_INLINE V pow(V x, V exponent) {
  return by_lanes(ELMAN_SCALAR(pow), x, exponent);
}

template <class V>
ELMAN_INLINE V reciprocal(V x) {
  return 1 / x;
}

template <class V>
ELMAN_INLINE V rsqrt(V x) {
  return 1 / sqrt(x);
}

}  // namespace elman::ELMAN_KERNELS

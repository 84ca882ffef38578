/* What each operation of a Program means, for one element; C99, shared by everything that runs a Program.
 *
 * ELMAN_OPERATIONS(X) lists them as X(name, operands, meaning of a, b, c in type T with the functions of <math.h>).
 * The vector forms in pointwise.hpp agree with these to the error stated there. Truth is 1, falsehood 0. */
#ifndef ELMAN_OPERATIONS_H
#define ELMAN_OPERATIONS_H

#define ELMAN_OPERATIONS(X)                                  \
  X(copy, 1, a)                                              \
  X(neg, 1, -a)                                              \
  X(abs, 1, ELMAN_FN(fabs)(a))                               \
  X(sign, 1, (T)((a > 0) - (a < 0)))                         \
  X(exp, 1, ELMAN_FN(exp)(a))                                \
  X(expm1, 1, ELMAN_FN(expm1)(a))                            \
  X(log, 1, ELMAN_FN(log)(a))                                \
  X(log1p, 1, ELMAN_FN(log1p)(a))                            \
  X(sqrt, 1, ELMAN_FN(sqrt)(a))                              \
  X(rsqrt, 1, 1 / ELMAN_FN(sqrt)(a))                         \
  X(reciprocal, 1, 1 / a)                                    \
  X(sin, 1, ELMAN_FN(sin)(a))                                \
  X(cos, 1, ELMAN_FN(cos)(a))                                \
  X(erf, 1, ELMAN_FN(erf)(a))                                \
  X(tanh, 1, ELMAN_FN(tanh)(a))                              \
  X(sigmoid, 1, 1 / (1 + ELMAN_FN(exp)(-a)))                 \
  X(relu, 1, a > 0 ? a : (a != a ? a : 0))                   \
  X(floor, 1, ELMAN_FN(floor)(a))                            \
  X(add, 2, a + b)                                           \
  X(sub, 2, a - b)                                           \
  X(mul, 2, a * b)                                           \
  X(div, 2, a / b)                                           \
  X(maximum, 2, a != a || a > b ? a : b)                     \
  X(minimum, 2, a != a || a < b ? a : b)                     \
  X(pow, 2, ELMAN_FN(pow)(a, b))                             \
  X(gt, 2, (T)(a > b))                                       \
  X(ge, 2, (T)(a >= b))                                      \
  X(lt, 2, (T)(a < b))                                       \
  X(le, 2, (T)(a <= b))                                      \
  X(eq, 2, (T)(a == b))                                      \
  X(ne, 2, (T)(a != b))                                      \
  X(fma, 3, a * b + c)                                       \
  X(where, 3, a != 0 ? b : c)                                \
  X(sigmoid_slope, 2, a * b * (1 - b))  /* a: gradient, b: the sigmoid */ \
  X(tanh_slope, 2, a * (1 - b * b))     /* a: gradient, b: the tanh */

#endif

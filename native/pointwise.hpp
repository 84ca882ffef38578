// The instructions of a stage over a few rows: operations element by element, sums and maxima of groups of columns.
//
// Compiled once per instruction set. Operations by operators, minimum, maximum and sqrt give what operations.h says, exactly, but
// for a product and a sum that are one fused instruction; exp and its kin have the error stated in math.hpp.
#pragma once
#include "kernels.hpp"
#include "math.hpp"
#include "operations.h"
#include "simd.hpp"

namespace elman::ELMAN_KERNELS {

// ---- What each operation does with vectors -------------------------------------------------------------------------
// `unroll`: how many vectors are under way at once; fewer where one of them has work enough to fill the machine.

template <class T>
ELMAN_INLINE Vector<T> truth(Mask<T> mask) {
  return as_numbers<T>(mask & bits(splat(T(1))));
}

#define ELMAN_VECTOR_FORM(name, vectors, parameters, ...)                 \
  struct of_##name {                                                      \
    static constexpr int unroll = vectors;                                \
    template <class T, class V = Vector<T>>                               \
    static ELMAN_INLINE V apply parameters {                              \
      return __VA_ARGS__;                                                 \
    }                                                                     \
  };

ELMAN_VECTOR_FORM(copy, 4, (V a), a)
ELMAN_VECTOR_FORM(neg, 4, (V a), -a)
ELMAN_VECTOR_FORM(abs, 4, (V a), absolute(a))
ELMAN_VECTOR_FORM(sign, 4, (V a), truth<T>(a > T(0)) - truth<T>(a < T(0)))
ELMAN_VECTOR_FORM(exp, 2, (V a), exp(a))
ELMAN_VECTOR_FORM(expm1, 2, (V a), expm1(a))
ELMAN_VECTOR_FORM(log, 2, (V a), log(a))
ELMAN_VECTOR_FORM(log1p, 2, (V a), log1p(a))
ELMAN_VECTOR_FORM(sqrt, 2, (V a), sqrt(a))
ELMAN_VECTOR_FORM(rsqrt, 2, (V a), rsqrt(a))
ELMAN_VECTOR_FORM(reciprocal, 2, (V a), reciprocal(a))
ELMAN_VECTOR_FORM(sin, 1, (V a), sin(a))
ELMAN_VECTOR_FORM(cos, 1, (V a), cos(a))
ELMAN_VECTOR_FORM(erf, 1, (V a), erf(a))
ELMAN_VECTOR_FORM(tanh, 2, (V a), tanh(a))
ELMAN_VECTOR_FORM(sigmoid, 2, (V a), sigmoid(a))
ELMAN_VECTOR_FORM(relu, 4, (V a), select<V>(a <= T(0), V{}, a))
ELMAN_VECTOR_FORM(floor, 4, (V a), floor(a))
ELMAN_VECTOR_FORM(add, 4, (V a, V b), a + b)
ELMAN_VECTOR_FORM(sub, 4, (V a, V b), a - b)
ELMAN_VECTOR_FORM(mul, 4, (V a, V b), a *b)
ELMAN_VECTOR_FORM(div, 2, (V a, V b), a / b)
ELMAN_VECTOR_FORM(maximum, 4, (V a, V b), select<V>((a != a) | (a > b), a, b))
ELMAN_VECTOR_FORM(minimum, 4, (V a, V b), select<V>((a != a) | (a < b), a, b))
ELMAN_VECTOR_FORM(pow, 1, (V a, V b), pow(a, b))
ELMAN_VECTOR_FORM(gt, 4, (V a, V b), truth<T>(a > b))
ELMAN_VECTOR_FORM(ge, 4, (V a, V b), truth<T>(a >= b))
ELMAN_VECTOR_FORM(lt, 4, (V a, V b), truth<T>(a < b))
ELMAN_VECTOR_FORM(le, 4, (V a, V b), truth<T>(a <= b))
ELMAN_VECTOR_FORM(eq, 4, (V a, V b), truth<T>(a == b))
ELMAN_VECTOR_FORM(ne, 4, (V a, V b), truth<T>(a != b))
ELMAN_VECTOR_FORM(fma, 4, (V a, V b, V c), a *b + c)
ELMAN_VECTOR_FORM(where, 4, (V a, V b, V c), select<V>(a != T(0), b, c))
ELMAN_VECTOR_FORM(sigmoid_slope, 4, (V a, V b), a *b *(T(1) - b))
ELMAN_VECTOR_FORM(tanh_slope, 4, (V a, V b), a *(T(1) - b * b))
#undef ELMAN_VECTOR_FORM

// ---- The loops -----------------------------------------------------------------------------------------------------

// One operand within a row: columns, or one number for all of them.
template <class T, bool is_splat>
struct Reader {
  const T *columns;
  ELMAN_INLINE explicit Reader(const T *row) : columns(row) {}
  ELMAN_INLINE Vector<T> at(int64_t column) const { return load(columns + column); }
};
template <class T>
struct Reader<T, true> {
  Vector<T> number;
  ELMAN_INLINE explicit Reader(const T *row) : number(splat(*row)) {}
  ELMAN_INLINE Vector<T> at(int64_t) const { return number; }
};

template <class T, class Operation, class... Readers>
ELMAN_INLINE void over_row(int64_t size, T *result, Readers... readers) {
  constexpr int lanes = LANES<T>, unroll = Operation::unroll;
  int64_t column = 0;
  for (; column + unroll * lanes <= size; column += unroll * lanes) {
    Vector<T> values[unroll];
#pragma GCC unroll 4
    for (int i = 0; i < unroll; ++i) values[i] = Operation::template apply<T>(readers.at(column + i * lanes)...);
#pragma GCC unroll 4
    for (int i = 0; i < unroll; ++i) store(result + column + i * lanes, values[i]);
  }
  for (; column < size; column += lanes)
    store_first(result + column, Operation::template apply<T>(readers.at(column)...), size - column);
}

template <class T>
using Loop = void (*)(int64_t rows, int64_t size, Rows<T> result, const Source<T> *operands);

// Not inlined anywhere: one loop per operation and kinds of operands, `splats[i]` telling whether operand i is a splat.
template <class T, class Operation, bool... splats>
struct PointwiseLoop {
  template <size_t... place>
  static ELMAN_INLINE void run(int64_t rows, int64_t size, Rows<T> result, const Source<T> *operands,
                               std::index_sequence<place...>) {
    for (int64_t row = 0; row < rows; ++row)
      over_row<T, Operation>(size, result.data + row * result.stride,
                             Reader<T, splats>(operands[place].data + row * operands[place].stride)...);
  }
  static void loop(int64_t rows, int64_t size, Rows<T> result, const Source<T> *operands) {
    run(rows, size, result, operands, std::make_index_sequence<sizeof...(splats)>());
  }
};

// The loops of one operation: bit i of the place is whether operand i is a splat.
template <class T, class Operation, int operands>
struct Loops;
template <class T, class Operation>
struct Loops<T, Operation, 1> {
  static constexpr Loop<T> table[8] = {PointwiseLoop<T, Operation, false>::loop, PointwiseLoop<T, Operation, true>::loop};
};
template <class T, class Operation>
struct Loops<T, Operation, 2> {
  static constexpr Loop<T> table[8] = {
      PointwiseLoop<T, Operation, false, false>::loop, PointwiseLoop<T, Operation, true, false>::loop,
      PointwiseLoop<T, Operation, false, true>::loop, PointwiseLoop<T, Operation, true, true>::loop};
};
template <class T, class Operation>
struct Loops<T, Operation, 3> {
  static constexpr Loop<T> table[8] = {
      PointwiseLoop<T, Operation, false, false, false>::loop, PointwiseLoop<T, Operation, true, false, false>::loop,
      PointwiseLoop<T, Operation, false, true, false>::loop,  PointwiseLoop<T, Operation, true, true, false>::loop,
      PointwiseLoop<T, Operation, false, false, true>::loop,  PointwiseLoop<T, Operation, true, false, true>::loop,
      PointwiseLoop<T, Operation, false, true, true>::loop,   PointwiseLoop<T, Operation, true, true, true>::loop};
};

// result (rows, size) = operation(operands): see Kernels::pointwise.
template <class T>
void pointwise(int operation, int64_t rows, int64_t size, Rows<T> result, const Source<T> *operands) {
  struct Entry {
    const Loop<T> *loops;
    int operands;
  };
#define ELMAN_ENTRY(name, count, ...) {Loops<T, of_##name, count>::table, count},
  static constexpr Entry entries[] = {ELMAN_OPERATIONS(ELMAN_ENTRY)};
#undef ELMAN_ENTRY
  const Entry &entry = entries[operation];
  int splats = 0;
  for (int i = 0; i < entry.operands; ++i) splats |= int(operands[i].splat) << i;
  entry.loops[splats](rows, size, result, operands);
}

// ---- Sums and maxima -----------------------------------------------------------------------------------------------

struct Adding {
  template <class V>
  ELMAN_INLINE V operator()(V a, V b) const {
    return a + b;
  }
};
// The greater; not a number where either is not.
struct Greater {
  template <class V>
  ELMAN_INLINE V operator()(V a, V b) const {
    return ((a != a) | (a > b)) ? a : b;
  }
};

// Combines `length` adjacent numbers, at least one. Four sums at once, so that additions need not wait for each other.
template <class T, class Combine>
ELMAN_INLINE T reduce(int64_t length, const T *from, Vector<T> neutral) {
  constexpr int lanes = LANES<T>;
  const Combine combine;
  Vector<T> partial[4] = {neutral, neutral, neutral, neutral};
  int64_t column = 0;
  for (; column + 4 * lanes <= length; column += 4 * lanes)
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) partial[i] = combine(partial[i], load(from + column + i * lanes));
  for (; column + lanes <= length; column += lanes) partial[0] = combine(partial[0], load(from + column));
  if (column < length) {
    const Vector<T> last = select(first<T>(length - column), load_first(from + column, length - column), neutral);
    partial[1] = combine(partial[1], last);
  }
  return fold(combine(combine(partial[0], partial[1]), combine(partial[2], partial[3])), combine);
}

template <class T, class Combine>
ELMAN_INLINE void reduce_rows(int64_t rows, int64_t groups, int64_t length, Rows<T> result, Rows<const T> operand,
                              Vector<T> neutral) {
  for (int64_t row = 0; row < rows; ++row) {
    const T *from = operand.data + row * operand.stride;
    T *to = result.data + row * result.stride;
    for (int64_t group = 0; group < groups; ++group) to[group] = reduce<T, Combine>(length, from + group * length, neutral);
  }
}

// result[g] = sum over j < length of operand[g * length + j]: see Kernels::sum.
template <class T>
void sum(int64_t rows, int64_t groups, int64_t length, Rows<T> result, Rows<const T> operand) {
  reduce_rows<T, Adding>(rows, groups, length, result, operand, Vector<T>{});
}

// The greatest of each group; not a number where one of them is not.
template <class T>
void maximum(int64_t rows, int64_t groups, int64_t length, Rows<T> result, Rows<const T> operand) {
  reduce_rows<T, Greater>(rows, groups, length, result, operand, splat(T(-__builtin_inf())));
}

}  // namespace elman::ELMAN_KERNELS

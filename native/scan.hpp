// Linear recurrences, h_t = a_t * h_{t-1} + b_t, and their gradients: one thread's share of the sequences and channels.
//
// A recurrence reads and writes much and computes little, so the memory sets its pace: every array is passed over once, in order.
// The state stays in the nearest cache, in double precision: a result is then rounded once, however many steps it sums up.
#pragma once
#include "kernels.hpp"
#include "simd.hpp"

namespace elman::ELMAN_KERNELS {

// ---- Vectors of doubles, read from and written to memory of T ------------------------------------------------------

using Wide = Vector<double>;
constexpr int WIDE = LANES<double>;
typedef float Narrow __attribute__((vector_size(VECTOR_BYTES / 2), aligned(alignof(float)), may_alias));

ELMAN_INLINE Wide load_wide(const double *from) { return load(from); }
ELMAN_INLINE Wide load_wide(const float *from) {
  return __builtin_convertvector(*reinterpret_cast<const Narrow *>(from), Wide);
}
ELMAN_INLINE void store_wide(double *to, Wide value) { store(to, value); }
ELMAN_INLINE void store_wide(float *to, Wide value) {
  *reinterpret_cast<Narrow *>(to) = __builtin_convertvector(value, Narrow);
}

// ---- Numbers -------------------------------------------------------------------------------------------------------

// How to multiply numbers that lie side by side in memory; `parts` of them make one.
struct Real {
  static constexpr int parts = 1;
  static ELMAN_INLINE Wide product(Wide a, Wide b) { return a * b; }
  static ELMAN_INLINE Wide conjugate_product(Wide a, Wide b) { return a * b; }
};

// Real and imaginary parts in turn.
struct Complex {
  static constexpr int parts = 2;

  template <size_t... lane>
  static ELMAN_INLINE Wide real(Wide a, std::index_sequence<lane...>) {
    return shuffle<int(lane & ~size_t(1))...>(a, a);
  }
  template <size_t... lane>
  static ELMAN_INLINE Wide imaginary(Wide a, std::index_sequence<lane...>) {
    return shuffle<int(lane | 1)...>(a, a);
  }
  template <size_t... lane>
  static ELMAN_INLINE Wide swapped(Wide a, std::index_sequence<lane...>) {
    return exchange<1>(a, std::index_sequence<lane...>());
  }
  template <size_t... lane>
  static ELMAN_INLINE Wide signs(double even, std::index_sequence<lane...>) {
    return Wide{(lane & 1 ? -even : even)...};
  }
  // a b where `even` is -1, conj(a) b where it is 1.
  static ELMAN_INLINE Wide product(Wide a, Wide b, double even) {
    constexpr auto lanes = std::make_index_sequence<WIDE>();
    return real(a, lanes) * b + imaginary(a, lanes) * signs(even, lanes) * swapped(b, lanes);
  }
  static ELMAN_INLINE Wide product(Wide a, Wide b) { return product(a, b, -1); }
  static ELMAN_INLINE Wide conjugate_product(Wide a, Wide b) { return product(a, b, 1); }
};

// ---- Arrays over time ----------------------------------------------------------------------------------------------

template <class T>
ELMAN_INLINE T *row_of(const Series<T> &series, int64_t row) {
  return series.data + row * series.row_stride;
}

template <class From, class To>
ELMAN_INLINE void copy_row(int64_t width, const From *from, To *to) {
  for (int64_t column = 0; column < width; ++column) to[column] = To(from[column]);
}

// ---- One step, over adjacent numbers -------------------------------------------------------------------------------

// Runs step(load, store) over the columns, WIDE at a time; the last ones lane by lane, so that nothing beyond the arrays is
// touched. In the order of the loop over time, up or down: the machine then foresees what will be read next.
template <class Step>
ELMAN_INLINE void over_columns(int64_t width, bool down, Step step) {
  const int64_t whole = width / WIDE, rest = width % WIDE, last = whole * WIDE;
  const auto over_rest = [=] {
    step(
        [=](const auto *row) {
          Wide value{};
          for (int64_t lane = 0; lane < rest; ++lane) value[lane] = double(row[last + lane]);
          return value;
        },
        [=](auto *row, Wide value) {
          using T = std::remove_reference_t<decltype(*row)>;
          for (int64_t lane = 0; lane < rest; ++lane) row[last + lane] = T(value[lane]);
        });
  };
  if (rest && down) over_rest();
  int64_t column = down ? last - WIDE : 0;
  for (int64_t n = 0; n < whole; ++n, column += down ? -WIDE : WIDE)
    step([=](const auto *row) { return load_wide(row + column); }, [=](auto *row, Wide value) { store_wide(row + column, value); });
  if (rest && !down) over_rest();
}

template <class Number, class T>
void scan_row(const Scan<T> &scan, int64_t row, double *state) {
  const T *decay = row_of(scan.decay, row), *values = row_of(scan.values, row);
  T *hidden = row_of(scan.hidden, row);
  copy_row(scan.width, row_of(scan.initial, row), state);
  const bool down = scan.hidden.step < 0;
  for (int64_t t = 0; t < scan.steps; ++t) {
    over_columns(scan.width, down, [=](auto load, auto store) {
      const Wide next = Number::product(load(decay), load(state)) + load(values);
      store(state, next);
      store(hidden, next);
    });
    decay += scan.decay.step, values += scan.values.step, hidden += scan.hidden.step;
  }
}

template <class T>
void scan(const Scan<T> &scan) {
  alignas(64) double state[SCAN_WIDTH];
  for (int64_t row = 0; row < scan.rows; ++row)
    if (scan.is_complex)
      scan_row<Complex>(scan, row, state);
    else
      scan_row<Real>(scan, row, state);
}

// ---- Gradients -----------------------------------------------------------------------------------------------------

// What becomes of the gradient by a step's decay: it is not wanted; stored; added to what is there; summed over time.
enum class ByDecay { unwanted, stored, added, summed };

template <class T>
ELMAN_INLINE ByDecay by_decay(const ScanBackward<T> &scan, int64_t row) {
  if (!scan.decay_gradient.data) return ByDecay::unwanted;
  if (scan.decay_gradient.step == 0) return ByDecay::summed;
  return scan.decay_gradient.row_stride == 0 && row > 0 ? ByDecay::added : ByDecay::stored;
}

// `carried`: in the end, the gradient by the initial state. `sums`: of the gradients by a decay that is constant in time.
template <class Number, ByDecay kind, class T>
void scan_backward_row(const ScanBackward<T> &scan, int64_t row, double *carried, double *sums) {
  const T *decay = row_of(scan.decay, row), *slope = row_of(scan.slope, row), *before = row_of(scan.hidden, row);
  T *by_value = row_of(scan.value_gradient, row), *by_decay = row_of(scan.decay_gradient, row);
  const bool down = scan.slope.step < 0;
  for (int64_t t = scan.steps; t > 0; --t) {
    before = t == 1 ? row_of(scan.initial, row) : before + scan.hidden.step;
    over_columns(scan.width, down, [=](auto load, auto store) {
      const Wide total = load(slope) + load(carried);
      store(by_value, total);
      store(carried, Number::conjugate_product(load(decay), total));
      if constexpr (kind == ByDecay::stored) store(by_decay, Number::conjugate_product(load(before), total));
      if constexpr (kind == ByDecay::added)
        store(by_decay, load(by_decay) + Number::conjugate_product(load(before), total));
      if constexpr (kind == ByDecay::summed) store(sums, load(sums) + Number::conjugate_product(load(before), total));
    });
    decay += scan.decay.step, slope += scan.slope.step;
    by_value += scan.value_gradient.step, by_decay += scan.decay_gradient.step;
  }
}

template <class Number, class T>
ELMAN_INLINE void scan_backward_row(const ScanBackward<T> &scan, int64_t row, double *carried, double *sums) {
  switch (by_decay(scan, row)) {
    case ByDecay::unwanted: return scan_backward_row<Number, ByDecay::unwanted>(scan, row, carried, sums);
    case ByDecay::stored: return scan_backward_row<Number, ByDecay::stored>(scan, row, carried, sums);
    case ByDecay::added: return scan_backward_row<Number, ByDecay::added>(scan, row, carried, sums);
    case ByDecay::summed: return scan_backward_row<Number, ByDecay::summed>(scan, row, carried, sums);
  }
}

// The gradient by a decay that all sequences share, where there are none.
template <class T>
void clear_decay_gradient(const ScanBackward<T> &scan) {
  const int64_t steps = scan.decay_gradient.step == 0 ? 1 : scan.steps;
  for (int64_t t = 0; t < steps; ++t)
    for (int64_t column = 0; column < scan.width; ++column)
      scan.decay_gradient.data[t * scan.decay_gradient.step + column] = 0;
}

template <class T>
void scan_backward(const ScanBackward<T> &scan) {
  alignas(64) double carried[SCAN_WIDTH], sums[SCAN_WIDTH] = {};
  if (scan.rows == 0 && scan.decay_gradient.data) clear_decay_gradient(scan);
  for (int64_t row = 0; row < scan.rows; ++row) {
    for (int64_t column = 0; column < scan.width; ++column) carried[column] = 0;
    if (scan.is_complex)
      scan_backward_row<Complex>(scan, row, carried, sums);
    else
      scan_backward_row<Real>(scan, row, carried, sums);
    if (scan.initial_gradient.data) copy_row(scan.width, carried, row_of(scan.initial_gradient, row));
    const bool is_last = row == scan.rows - 1 || scan.decay_gradient.row_stride != 0;
    if (by_decay(scan, row) != ByDecay::summed || !is_last) continue;
    copy_row(scan.width, sums, row_of(scan.decay_gradient, row));
    for (int64_t column = 0; column < scan.width; ++column) sums[column] = 0;
  }
}

}  // namespace elman::ELMAN_KERNELS

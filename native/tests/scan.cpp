// Linear recurrences and their gradients beside plain loops over complex numbers, in several layouts, on arrays of exactly the
// right size.
#include <cmath>
#include <complex>

#include "testing.hpp"

namespace {

using Number = std::complex<double>;

enum class Layout { batch_major, time_major, backward };  // backward: the last step first in memory, a stride below 0

// Sizes of a problem, and where a number of it lies.
struct Sizes {
  bool is_complex;
  int64_t batch, steps, channels;
  Layout layout;

  int64_t count() const { return batch * steps * channels * (is_complex ? 2 : 1); }

  template <class T>
  elman_array array(std::vector<T> &values) const {
    if (layout == Layout::time_major) return {values.data(), channels, batch * channels};
    if (layout == Layout::batch_major || !steps) return {values.data(), steps * channels, channels};
    return {values.data() + (steps - 1) * channels * (is_complex ? 2 : 1), steps * channels, -channels};
  }
  template <class T>
  elman_array state(std::vector<T> &values) const {
    return {values.data(), channels, 0};
  }

  template <class T>
  T *address(const elman_array &array, int64_t row, int64_t step, int64_t channel) const {
    return static_cast<T *>(array.data) + (row * array.row_stride + step * array.step_stride + channel) * (is_complex ? 2 : 1);
  }
  template <class T>
  Number number(const elman_array &array, int64_t row, int64_t step, int64_t channel) const {
    const T *at = address<T>(array, row, step, channel);
    return {double(at[0]), is_complex ? double(at[1]) : 0.0};
  }
  template <class T>
  void check(const elman_array &array, int64_t row, int64_t step, int64_t channel, Number expected) const {
    CHECK(std::abs(number<T>(array, row, step, channel) - expected) < (sizeof(T) == 8 ? 1e-12 : 1e-4));
  }
};

template <class T>
struct Case {
  Sizes sizes;
  bool reverse, is_constant;  // the decay: of a channel, the same in all sequences and steps
  int threads;
  std::vector<T> decay, values, initial, slope, hidden, by_decay, by_value, by_initial;
  elman_array a, b, h0, dh, h, da, db, dh0;

  Case(Sizes sizes, bool reverse, bool is_constant, int threads)
      : sizes(sizes), reverse(reverse), is_constant(is_constant), threads(threads) {
    const int64_t parts = sizes.is_complex ? 2 : 1, all = sizes.count();
    const int64_t states = sizes.batch * sizes.channels * parts, decays = is_constant ? sizes.channels * parts : all;
    decay = random_numbers<T>(decays, 1), values = random_numbers<T>(all, 2), initial = random_numbers<T>(states, 3);
    slope = random_numbers<T>(all, 4), hidden.resize(all), by_decay.assign(decays, T(NAN)), by_value.resize(all);
    by_initial.resize(states);
    for (T &one : decay) one *= T(0.6);
    const auto decay_array = [&](std::vector<T> &of) { return is_constant ? elman_array{of.data(), 0, 0} : sizes.array(of); };
    a = decay_array(decay), b = sizes.array(values), h0 = sizes.state(initial), dh = sizes.array(slope), h = sizes.array(hidden);
    da = decay_array(by_decay), db = sizes.array(by_value), dh0 = sizes.state(by_initial);
  }

  int64_t in_time(int64_t order) const { return reverse ? sizes.steps - 1 - order : order; }

  void check() {
    const auto [is_complex, batch, steps, channels, layout] = sizes;
    CHECK(elman_scan(DTYPE<T>, is_complex, reverse, threads, batch, steps, channels, &a, &b, &h0, &h) == 0);
    CHECK(elman_scan_backward(DTYPE<T>, is_complex, reverse, threads, batch, steps, channels, &a, &h, &h0, &dh, &da, &db,
                              &dh0) == 0);
    for (int64_t channel = 0; channel < channels; ++channel) {
      Number sum = 0;
      for (int64_t row = 0; row < batch; ++row) sum += check_channel(row, channel);
      if (is_constant) sizes.template check<T>(da, 0, 0, channel, sum);
    }
  }

  // One channel of one sequence. The gradient by its decay, summed over time.
  Number check_channel(int64_t row, int64_t channel) const {
    const auto at = [&](const elman_array &array, int64_t step) { return sizes.template number<T>(array, row, step, channel); };
    Number state = at(h0, 0), carried = 0, sum = 0;
    for (int64_t order = 0; order < sizes.steps; ++order) {
      state = at(a, in_time(order)) * state + at(b, in_time(order));
      sizes.template check<T>(h, row, in_time(order), channel, state);
    }
    for (int64_t order = sizes.steps; order-- > 0;) {
      const int64_t step = in_time(order);
      const Number total = at(dh, step) + carried;
      const Number by_decay = std::conj(order ? at(h, in_time(order - 1)) : at(h0, 0)) * total;
      carried = std::conj(at(a, step)) * total;
      sum += by_decay;
      sizes.template check<T>(db, row, step, channel, total);
      if (!is_constant) sizes.template check<T>(da, row, step, channel, by_decay);
    }
    sizes.template check<T>(dh0, row, 0, channel, carried);
    return sum;
  }
};

template <class T>
void test_layouts() {
  for (const Layout layout : {Layout::batch_major, Layout::time_major, Layout::backward})
    for (const bool is_complex : {false, true})
      for (const bool reverse : {false, true})
        for (const bool is_constant : {false, true}) {
          Case<T>({is_complex, 3, 5, 21, layout}, reverse, is_constant, 2).check();
          Case<T>({is_complex, 1, 1, 1, layout}, reverse, is_constant, 2).check();
        }
  Case<T>({false, 2, 9, 5003, Layout::batch_major}, false, false, 3).check();  // more than a share, and more than one thread
  Case<T>({false, 0, 4, 3, Layout::batch_major}, false, true, 1).check();      // no sequence: the sum of nothing
  Case<T>({false, 2, 0, 3, Layout::batch_major}, false, true, 1).check();
}

}  // namespace

void test_scans() {
  test_layouts<float>();
  test_layouts<double>();
  const elman_array nothing{};
  CHECK(elman_scan(ELMAN_FLOAT32, 0, 0, 1, INT64_MAX, INT64_MAX, 2, &nothing, &nothing, &nothing, &nothing) != 0);
  CHECK(elman_scan(ELMAN_FLOAT32, 0, 0, 1, 1, 1, INT64_MAX, &nothing, &nothing, &nothing, &nothing) != 0);
}

// elman_scan and elman_scan_backward: a recurrence, checked and cut into shares for the threads.
#include <algorithm>
#include <type_traits>

#include "core.h"
#include "kernels.hpp"

namespace elman {
namespace {

constexpr int64_t WORTH_A_THREAD = 1 << 14;  // numbers; with fewer a second thread costs more than it saves
constexpr int64_t MOST_THREADS = 1 << 10;
constexpr int64_t LARGEST = int64_t(1) << 52;  // of the numbers in an array: what is computed from that cannot overflow
constexpr int64_t LINE = 16;                 // floats in a line of the cache: no two threads write to one

struct Problem {
  bool is_complex, reverse;
  int64_t threads, batch, steps, width;  // width: numbers a step, two for a complex channel
  bool whole_batch;                      // a share has all sequences, because something is summed over them
};

// Some sequences, and some adjacent numbers of each.
struct Share {
  int64_t row, rows, column, width;
};

// How a problem is cut into shares: at most SCAN_WIDTH numbers each, and no fewer shares than threads if that can be.
struct Shares {
  const Problem &problem;
  int64_t threads, strip, strips, count;

  explicit Shares(const Problem &problem) : problem(problem) {
    const auto &[is_complex, reverse, wanted, batch, steps, width, whole_batch] = problem;
    const int64_t groups = whole_batch ? 1 : batch;
    threads = std::max<int64_t>(1, std::min({wanted, MOST_THREADS, batch * steps * width / WORTH_A_THREAD}));
    const int64_t fewest = std::max<int64_t>(1, threads / std::max<int64_t>(1, groups));
    strip = std::min(SCAN_WIDTH, ((width + fewest - 1) / fewest + LINE - 1) / LINE * LINE);
    strips = width ? (width + strip - 1) / strip : 0;
    count = strips * groups;
  }

  Share operator[](int64_t place) const {
    const int64_t column = place % strips * strip, row = place / strips;
    return {row, problem.whole_batch ? problem.batch : 1, column, std::min(strip, problem.width - column)};
  }
};

// Calls work(share) for every share.
template <class Work>
void for_each_share(const Shares &shares, const Work &work) {
  struct Context {
    const Shares &shares;
    const Work &work;
  } context{shares, work};
  const auto run = [](int64_t thread, void *pointer) {
    const auto &[shares, work] = *static_cast<const Context *>(pointer);
    const int64_t last = (thread + 1) * shares.count / shares.threads;
    for (int64_t place = thread * shares.count / shares.threads; place < last; ++place) work(shares[place]);
  };
  parallel(shares.threads, run, &context);
}

// A share's part of an array; of its steps, the last comes first if `from_end`. What is only read may be absent: it is zeros.
template <class T>
Series<T> part(const Problem &problem, const Share &share, const elman_array &array, int64_t steps = 1, bool from_end = false) {
  static const std::remove_const_t<T> zeros[SCAN_WIDTH] = {};
  if constexpr (std::is_const_v<T>)
    if (!array.data) return {zeros, 0, 0};
  if (!array.data) return {nullptr, 0, 0};
  const int64_t parts = problem.is_complex ? 2 : 1, row_stride = array.row_stride * parts, step = array.step_stride * parts;
  T *first = static_cast<T *>(array.data) + share.row * row_stride + share.column;
  if (!from_end || steps == 0) return {first, row_stride, step};
  return {first + (steps - 1) * step, row_stride, -step};
}

template <class T>
void scan(const Problem &problem, const elman_array &decay, const elman_array &values, const elman_array &initial,
          const elman_array &hidden) {
  const int64_t steps = problem.steps;
  const bool from_end = problem.reverse;
  for_each_share(Shares(problem), [&](const Share &share) {
    kernels<T>().scan({problem.is_complex, share.rows, steps, share.width, part<const T>(problem, share, decay, steps, from_end),
                       part<const T>(problem, share, values, steps, from_end), part<const T>(problem, share, initial),
                       part<T>(problem, share, hidden, steps, from_end)});
  });
}

struct Gradients {
  const elman_array &decay, &values, &initial;
};

template <class T>
void scan_backward(const Problem &problem, const elman_array &decay, const elman_array &hidden, const elman_array &initial,
                   const elman_array &slope, const Gradients &gradients) {
  const int64_t steps = problem.steps;
  const bool from_end = !problem.reverse;
  for_each_share(Shares(problem), [&](const Share &share) {
    kernels<T>().scan_backward(
        {problem.is_complex, share.rows, steps, share.width, part<const T>(problem, share, decay, steps, from_end),
         part<const T>(problem, share, hidden, steps, from_end), part<const T>(problem, share, initial),
         part<const T>(problem, share, slope, steps, from_end), part<T>(problem, share, gradients.decay, steps, from_end),
         part<T>(problem, share, gradients.values, steps, from_end), part<T>(problem, share, gradients.initial)});
  });
}

int check(int dtype, int64_t batch, int64_t steps, int64_t channels) {
  if (dtype != ELMAN_FLOAT32 && dtype != ELMAN_FLOAT64) return fail("expected a dtype of 0 or 1, got %d", dtype);
  int64_t size = 2;
  if (batch < 0 || steps < 0 || channels < 0)
    return fail("expected sizes of at least 0, got batch %lld, steps %lld, channels %lld", static_cast<long long>(batch),
                static_cast<long long>(steps), static_cast<long long>(channels));
  for (int64_t factor : {batch, steps, channels})
    if (__builtin_mul_overflow(size, std::max<int64_t>(1, factor), &size) || size > LARGEST)
      return fail("too much to scan: batch %lld, steps %lld, channels %lld", static_cast<long long>(batch),
                  static_cast<long long>(steps), static_cast<long long>(channels));
  return 0;
}

int check(const char *name, const elman_array *array, bool needs_data) {
  if (!array || (needs_data && !array->data)) return fail("expected an array for `%s`, got a null pointer", name);
  return 0;
}

}  // namespace
}  // namespace elman

using namespace elman;

int elman_scan(int dtype, int is_complex, int reverse, int threads, int64_t batch, int64_t steps, int64_t channels,
               const elman_array *decay, const elman_array *values, const elman_array *initial, const elman_array *hidden) {
  if (check(dtype, batch, steps, channels)) return 1;
  const bool has_data = batch && steps && channels;
  if (check("decay", decay, has_data) || check("values", values, has_data) || check("initial", initial, false) ||
      check("hidden", hidden, has_data))
    return 1;
  const int64_t width = channels * (is_complex ? 2 : 1);
  const Problem problem{is_complex != 0, reverse != 0, threads, batch, steps, width, false};
  (dtype == ELMAN_FLOAT32 ? scan<float> : scan<double>)(problem, *decay, *values, *initial, *hidden);
  return 0;
}

int elman_scan_backward(int dtype, int is_complex, int reverse, int threads, int64_t batch, int64_t steps, int64_t channels,
                        const elman_array *decay, const elman_array *hidden, const elman_array *initial, const elman_array *slope,
                        const elman_array *decay_gradient, const elman_array *value_gradient,
                        const elman_array *initial_gradient) {
  if (check(dtype, batch, steps, channels)) return 1;
  const bool has_data = batch && steps && channels;
  if (check("decay", decay, has_data) || check("hidden", hidden, has_data) || check("initial", initial, false) ||
      check("slope", slope, has_data) || check("decay_gradient", decay_gradient, false) ||
      check("value_gradient", value_gradient, has_data) || check("initial_gradient", initial_gradient, false))
    return 1;
  const int64_t width = channels * (is_complex ? 2 : 1);
  const bool sums_rows = decay_gradient->data && decay_gradient->row_stride == 0;
  const Problem problem{is_complex != 0, reverse != 0, threads, batch, steps, width, sums_rows};
  (dtype == ELMAN_FLOAT32 ? scan_backward<float> : scan_backward<double>)(
      problem, *decay, *hidden, *initial, *slope, {*decay_gradient, *value_gradient, *initial_gradient});
  return 0;
}

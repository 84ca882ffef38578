// What is compiled once for each instruction set, and chosen when the core is loaded: a table of functions.
#pragma once
#include <cstddef>
#include <cstdint>

namespace elman {

// Rows of numbers: `stride` elements from row to row; 0: the same row for all.
template <class T>
struct Rows {
  T *data;
  int64_t stride;
};

// One operand of a pointwise instruction; `splat`: its first column stands for all columns.
template <class T>
struct Source {
  const T *data;
  int64_t stride;
  bool splat;
};

// Rows of numbers at every time step. Either stride may be 0, and `step` negative: the first step of the loop is the one at `data`.
template <class T>
struct Series {
  T *data;
  int64_t row_stride, step;
};

// One thread's share of a linear recurrence: see elman_scan. Complex numbers are two numbers each.
constexpr int64_t SCAN_WIDTH = 4096;
template <class T>
struct Scan {
  bool is_complex;
  int64_t rows, steps, width;  // width: adjacent numbers, at most SCAN_WIDTH
  Series<const T> decay, values, initial;
  Series<T> hidden;
};

// See elman_scan_backward. All series start at the step that the recurrence did last. A gradient that is not wanted has no data.
template <class T>
struct ScanBackward {
  bool is_complex;
  int64_t rows, steps, width;
  Series<const T> decay, hidden, initial, slope;
  Series<T> decay_gradient, value_gradient, initial_gradient;
};

// Memory that is wanted soon. Products ask for it while they compute, a cache line at a time, so that nobody waits for it then.
struct Ahead {
  struct Stretch {
    const char *start;
    int64_t lines;  // at least one
  };
  Stretch *next, *past;  // of an array; products change it
};

// Products of matrices (gemm.hpp). Sizes of memory are in elements of T; scratch is aligned to 64 bytes.
template <class T>
struct Products {
  // Matrices, packed in panels of columns so that the product reads them in order.
  size_t (*packed_size)(int64_t k, int64_t n);
  void (*pack)(int64_t k, int64_t n, const T *matrix, int64_t k_stride, int64_t n_stride, T *packed);
  // c (m, n) = a (m, k) * packed + addend; addend.data may be null, and c itself. matmul_scratch does not shrink as m grows.
  size_t (*matmul_scratch)(int64_t m, int64_t k);
  void (*matmul)(int64_t m, int64_t n, int64_t k, Rows<const T> a, const T *packed, Rows<const T> addend, Rows<T> c, T *scratch,
                 Ahead &ahead);
  // out (p, q) += sum over r < m of left[r][p] * right[r][q]. outer_scratch does not shrink as m grows.
  size_t (*outer_scratch)(int64_t m, int64_t p, int64_t q);
  void (*outer)(int64_t m, int64_t p, int64_t q, Rows<const T> left, Rows<const T> right, Rows<T> out, T *scratch);
};

template <class T>
struct Kernels : Products<T> {
  const char *name;
  void (*column_sums)(int64_t m, int64_t p, Rows<const T> left, T *out);  // out[p] += sum over r of left[r][p]
  // Instructions over a few rows (pointwise.hpp). Reads may run up to 63 bytes past the last column of a row; writes may not.
  void (*pointwise)(int operation, int64_t rows, int64_t size, Rows<T> result, const Source<T> *operands);
  void (*sum)(int64_t rows, int64_t groups, int64_t length, Rows<T> result, Rows<const T> operand);
  void (*maximum)(int64_t rows, int64_t groups, int64_t length, Rows<T> result, Rows<const T> operand);
  // Linear recurrences (scan.hpp).
  void (*scan)(const Scan<T> &share);
  void (*scan_backward)(const ScanBackward<T> &share);
};

// Fastest that runs here, or the one forced by elman_use_kernels.
template <class T>
const Kernels<T> &kernels();
// The same whose products, where the machine can, round what they multiply to bfloat16 (gemm_bf16.hpp); only those of float32 do.
template <class T>
const Kernels<T> &kernels_that_round();

// Calls work(i) for i < count, on at most that many threads of OpenMP's team, torch's own; in order on one thread if count is 1.
// No exception may leave `work`.
void parallel(int64_t count, void (*work)(int64_t i, void *context), void *context);

// Sets what elman_error() tells, printf-like, and returns 1.
int fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

}  // namespace elman

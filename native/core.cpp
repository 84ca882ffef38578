// What core.h offers beyond plans and scans: errors, the choice of kernels, single operations, dense layers.
#include "core.h"

#include <atomic>
#include <cstdarg>
#include <cstdio>
#include <cstring>

#include "kernels.hpp"
#include "operations.h"

namespace elman {

// One table for each instruction set that was compiled: see CMakeLists.txt and kernels.cpp.
#define ELMAN_DECLARE(set)                       \
  namespace set {                                \
  extern const Kernels<float> single_precision;  \
  extern const Kernels<double> double_precision; \
  }
#ifdef ELMAN_HAS_avx512
ELMAN_DECLARE(avx512)
#endif
#ifdef ELMAN_HAS_avx2
ELMAN_DECLARE(avx2)
#endif
#ifdef ELMAN_HAS_neon
ELMAN_DECLARE(neon)
#endif
ELMAN_DECLARE(portable)
#ifdef ELMAN_HAS_avx512_bf16
namespace avx512_bf16 {
extern const Products<float> rounded_products;
}
#endif

namespace {

struct Set {
  bool (*runs)();
  const Kernels<float> *single_precision;
  const Kernels<double> *double_precision;
};

// The fastest first.
const Set SETS[] = {
#ifdef ELMAN_HAS_avx512
    {[] {
       return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
              __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma");
     },
     &avx512::single_precision, &avx512::double_precision},
#endif
#ifdef ELMAN_HAS_avx2
    {[] { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }, &avx2::single_precision,
     &avx2::double_precision},
#endif
#ifdef ELMAN_HAS_neon
    {[] { return true; }, &neon::single_precision, &neon::double_precision},
#endif
    {[] { return true; }, &portable::single_precision, &portable::double_precision},
};

const Set *fastest() {
  for (const Set &set : SETS)
    if (set.runs()) return &set;
  return nullptr;  // not reached: the portable set runs
}

std::atomic<const Set *> &in_use() {
  static std::atomic<const Set *> set{fastest()};
  return set;
}

// The kernels of the avx512 set, but with products that round; null if these or others are not what runs.
const Kernels<float> *rounding() {
#ifdef ELMAN_HAS_avx512_bf16
  static const Kernels<float> rounding = [] {
    Kernels<float> all = avx512::single_precision;
    static_cast<Products<float> &>(all) = avx512_bf16::rounded_products;
    return all;
  }();
  const bool is_avx512 = in_use().load(std::memory_order_relaxed)->single_precision == &avx512::single_precision;
  if (is_avx512 && __builtin_cpu_supports("avx512bf16")) return &rounding;
#endif
  return nullptr;
}

thread_local char message[512];

}  // namespace

template <>
const Kernels<float> &kernels<float>() {
  return *in_use().load(std::memory_order_relaxed)->single_precision;
}
template <>
const Kernels<double> &kernels<double>() {
  return *in_use().load(std::memory_order_relaxed)->double_precision;
}

template <>
const Kernels<float> &kernels_that_round<float>() {
  const Kernels<float> *found = rounding();
  return found ? *found : kernels<float>();
}
template <>
const Kernels<double> &kernels_that_round<double>() {
  return kernels<double>();
}

int fail(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(message, sizeof message, format, arguments);
  va_end(arguments);
  return 1;
}

namespace {

constexpr int OPERANDS[] = {
#define ELMAN_OPERANDS(name, operands, meaning) operands,
    ELMAN_OPERATIONS(ELMAN_OPERANDS)
#undef ELMAN_OPERANDS
};
constexpr int OPERATIONS = sizeof OPERANDS / sizeof *OPERANDS;

constexpr int64_t LARGEST = int64_t(1) << 30;  // of a width: products of two cannot overflow
constexpr int64_t MOST_THREADS = 1 << 10;

int check_dtype(int dtype) {
  return dtype == ELMAN_FLOAT32 || dtype == ELMAN_FLOAT64 ? 0 : fail("dtype %d: expected 0 (float32) or 1 (float64)", dtype);
}
int check_dtype_of_product(int dtype) {
  return dtype >= ELMAN_FLOAT32 && dtype <= ELMAN_BFLOAT16
             ? 0
             : fail("dtype %d: expected 0 (float32), 1 (float64) or 2 (products of bfloat16)", dtype);
}

int check_sizes(const char *function, int64_t rows, int64_t width, int64_t other_width) {
  if (rows >= 0 && width >= 0 && other_width >= 0 && width <= LARGEST && other_width <= LARGEST) return 0;
  return fail("%s: %lld rows, widths %lld and %lld: expected none below 0, and no width above %lld", function, (long long)rows,
              (long long)width, (long long)other_width, (long long)LARGEST);
}

int64_t at_least_one(int64_t number) { return number > 1 ? number : 1; }
int64_t lesser(int64_t a, int64_t b) { return a < b ? a : b; }

// Among how many threads something is shared out that is worth so many.
int64_t parts_for(int64_t threads, int64_t worth) {
  return lesser(lesser(at_least_one(threads), MOST_THREADS), at_least_one(worth));
}

// Elements [begin, end) of `count` that fall to one of `parts`, in multiples of `step`.
struct Range {
  int64_t begin, end;
  Range(int64_t count, int64_t parts, int64_t part, int64_t step) {
    const int64_t steps = (count + step - 1) / step;
    begin = lesser(count, steps * part / parts * step);
    end = lesser(count, steps * (part + 1) / parts * step);
  }
  int64_t size() const { return end - begin; }
};

// So many elements that what follows is aligned.
size_t whole_vectors(size_t elements) { return (elements + 15) / 16 * 16; }

// Memory for the length of a scope.
template <class T>
struct Scratch {
  T *data;
  explicit Scratch(size_t elements) : data(static_cast<T *>(elman_allocate(elements * sizeof(T)))) {}
  ~Scratch() { elman_release(data); }
  Scratch(const Scratch &) = delete;
  Scratch &operator=(const Scratch &) = delete;
};

// The kernels may read a little past a row's end, so the caller's numbers are copied, block by block.
template <class T>
void apply(int operation, int64_t n, const T *const *operands, T *out) {
  constexpr int64_t BLOCK = 1024, MARGIN = 64;
  alignas(64) T inputs[3][BLOCK + MARGIN] = {};
  alignas(64) T result[BLOCK + MARGIN];
  for (int64_t start = 0; start < n; start += BLOCK) {
    const int64_t size = lesser(BLOCK, n - start);
    Source<T> sources[3] = {};
    for (int i = 0; i < OPERANDS[operation]; ++i) {
      std::memcpy(inputs[i], operands[i] + start, size_t(size) * sizeof(T));
      sources[i] = {inputs[i], 0, false};
    }
    kernels<T>().pointwise(operation, 1, size, {result, 0}, sources);
    std::memcpy(out + start, result, size_t(size) * sizeof(T));
  }
}

template <class T>
struct Product {
  const Kernels<T> &table;  // the one that packed the matrix
  int64_t m, n, k, parts;
  Rows<const T> x;
  const T *packed, *bias;
  Rows<T> y;
  bool accumulate;
  size_t scratch_size;
  T *scratch;

  static void run(int64_t part, void *context) { static_cast<const Product *>(context)->share(part); }

  void share(int64_t part) const {
    const Range range(m, parts, part, 1);
    const Rows<const T> own_x{x.data + range.begin * x.stride, x.stride};
    const Rows<T> own_y{y.data + range.begin * y.stride, y.stride};
    const Rows<const T> addend = accumulate ? Rows<const T>{own_y.data, own_y.stride} : Rows<const T>{bias, 0};
    Ahead nothing{};
    table.matmul(range.size(), n, k, own_x, packed, addend, own_y, scratch + size_t(part) * scratch_size, nothing);
    if (!accumulate || !bias) return;
    for (int64_t row = 0; row < range.size(); ++row)
      for (int64_t column = 0; column < n; ++column) own_y.data[row * y.stride + column] += bias[column];
  }
};

template <class T>
int matmul(const Kernels<T> &table, int64_t threads, int64_t m, int64_t n, int64_t k, const elman_array &x, const elman_array &w,
           const void *bias, const elman_array &y, bool accumulate) {
  const int64_t parts = parts_for(threads, m / 4);
  const size_t scratch_size = whole_vectors(table.matmul_scratch(m, k)), packed_size = whole_vectors(table.packed_size(k, n));
  const Scratch<T> packed(packed_size + scratch_size * size_t(parts));
  if (!packed.data) return fail("no memory for a matrix of %lld x %lld", (long long)k, (long long)n);
  table.pack(k, n, static_cast<const T *>(w.data), w.step_stride, w.row_stride, packed.data);
  Product<T> product{table,
                     m,
                     n,
                     k,
                     parts,
                     {static_cast<const T *>(x.data), x.row_stride},
                     packed.data,
                     static_cast<const T *>(bias),
                     {static_cast<T *>(y.data), y.row_stride},
                     accumulate,
                     scratch_size,
                     packed.data + packed_size};
  parallel(product.parts, Product<T>::run, &product);
  return 0;
}

// Threads share the rows of the result out, or its columns where there are more of them.
template <class T>
struct Outer {
  const Kernels<T> &table;  // the one that knows the size of the scratch memory
  int64_t m, p, q, parts;
  Rows<const T> left, right;
  T *out;
  size_t scratch_size;
  T *scratch;

  static void run(int64_t part, void *context) { static_cast<const Outer *>(context)->share(part); }

  void share(int64_t part) const {
    const bool by_rows = p >= q;
    const Range range(by_rows ? p : q, parts, part, 64);
    T *own = scratch + size_t(part) * scratch_size;
    if (by_rows)
      table.outer(m, range.size(), q, {left.data + range.begin, left.stride}, right, {out + range.begin * q, q}, own);
    else
      table.outer(m, p, range.size(), left, {right.data + range.begin, right.stride}, {out + range.begin, q}, own);
  }
};

template <class T>
int outer(const Kernels<T> &table, int64_t threads, int64_t m, int64_t p, int64_t q, const elman_array &left,
          const elman_array &right, void *out, bool accumulate) {
  if (!accumulate) std::memset(out, 0, size_t(p) * size_t(q) * sizeof(T));
  const int64_t parts = parts_for(threads, (p > q ? p : q) / 64);
  const size_t scratch_size = whole_vectors(table.outer_scratch(m, p, q));
  const Scratch<T> scratch(scratch_size * size_t(parts));
  if (!scratch.data) return fail("no memory for the gradient of a weight of %lld x %lld", (long long)p, (long long)q);
  Outer<T> work{table,
                m,
                p,
                q,
                parts,
                {static_cast<const T *>(left.data), left.row_stride},
                {static_cast<const T *>(right.data), right.row_stride},
                static_cast<T *>(out),
                scratch_size,
                scratch.data};
  parallel(parts, Outer<T>::run, &work);
  return 0;
}

}  // namespace
}  // namespace elman

using namespace elman;

extern "C" int64_t elman_interface() { return ELMAN_INTERFACE; }

extern "C" const char *elman_error() { return message; }

extern "C" const char *elman_operations() {
#define ELMAN_NAME(name, operands, meaning) "," #name
  return &ELMAN_OPERATIONS(ELMAN_NAME)[1];
#undef ELMAN_NAME
}

extern "C" const char *elman_kernels() { return kernels<float>().name; }

extern "C" int elman_has_bfloat16() { return rounding() != nullptr; }

extern "C" int elman_use_kernels(const char *name) {
  for (const Set &set : SETS)
    if (name && std::strcmp(set.single_precision->name, name) == 0) {
      if (!set.runs()) return fail("this machine lacks the instructions of the %s kernels", name);
      in_use().store(&set);
      return 0;
    }
  return fail("no kernels named %s here: expected avx512, avx2, neon or portable", name ? name : "(null)");
}

extern "C" int elman_apply(int dtype, int operation, int64_t n, const void *a, const void *b, const void *c, void *out) {
  if (check_dtype(dtype)) return 1;
  if (operation < 0 || operation >= OPERATIONS) return fail("operation %d: expected 0 to %d", operation, OPERATIONS - 1);
  const void *operands[] = {a, b, c};
  for (int i = 0; i < OPERANDS[operation]; ++i)
    if (n > 0 && !operands[i]) return fail("operation %d takes %d operands; number %d is null", operation, OPERANDS[operation], i);
  if (n < 0 || (n > 0 && !out)) return fail("apply: no room for the result, or a negative number of elements");
  if (dtype == ELMAN_FLOAT32)
    apply(operation, n, reinterpret_cast<const float *const *>(operands), static_cast<float *>(out));
  else
    apply(operation, n, reinterpret_cast<const double *const *>(operands), static_cast<double *>(out));
  return 0;
}

extern "C" int elman_matmul(int dtype, int threads, int64_t m, int64_t n, int64_t k, const elman_array *x, const elman_array *w,
                            const void *bias, const elman_array *y, int accumulate) {
  if (check_dtype_of_product(dtype)) return 1;
  if (check_sizes("matmul", m, n, k)) return 1;
  if (!x || !w || !y) return fail("matmul: an array is missing");
  if (m == 0 || n == 0) return 0;
  if (!y->data || (k > 0 && (!x->data || !w->data))) return fail("matmul: an array without data");
  if (dtype == ELMAN_FLOAT64)
    return matmul(kernels<double>(), threads, m, n, k, *x, *w, bias, *y, accumulate != 0);
  const Kernels<float> &single = dtype == ELMAN_BFLOAT16 ? kernels_that_round<float>() : kernels<float>();
  return matmul(single, threads, m, n, k, *x, *w, bias, *y, accumulate != 0);
}

extern "C" int elman_outer(int dtype, int threads, int64_t m, int64_t p, int64_t q, const elman_array *left,
                           const elman_array *right, void *out, int accumulate) {
  if (check_dtype_of_product(dtype)) return 1;
  if (check_sizes("outer", m, p, q)) return 1;
  if (!left || !right) return fail("outer: an array is missing");
  if (p == 0 || q == 0) return 0;
  if (!out || (m > 0 && (!left->data || !right->data))) return fail("outer: an array without data");
  if (dtype == ELMAN_FLOAT64)
    return outer(kernels<double>(), threads, m, p, q, *left, *right, out, accumulate != 0);
  const Kernels<float> &single = dtype == ELMAN_BFLOAT16 ? kernels_that_round<float>() : kernels<float>();
  return outer(single, threads, m, p, q, *left, *right, out, accumulate != 0);
}

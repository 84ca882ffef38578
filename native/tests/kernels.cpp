// Every kernel on arrays of exactly the size that they say: matrix products beside plain loops, operations beside <cmath>.
#include <cmath>

#include "operations.h"
#include "testing.hpp"

namespace {

template <class T>
void check_close(const std::vector<T> &got, const std::vector<double> &expected) {
  for (size_t i = 0; i < got.size(); ++i)
    CHECK(std::abs(double(got[i]) - expected[i]) <= (sizeof(T) == 8 ? 1e-9 : 1e-3) * std::max(1.0, std::abs(expected[i])));
}

template <class T>
void test_products(int64_t m, int64_t n, int64_t k, int threads) {
  std::vector<T> x = random_numbers<T>(m * k, 1), w = random_numbers<T>(n * k, 2), bias = random_numbers<T>(n, 3), y(m * n);
  std::vector<T> gradient(n * k);
  std::vector<double> expected(m * n), expected_gradient(n * k);
  for (int64_t row = 0; row < m; ++row)
    for (int64_t column = 0; column < n; ++column) {
      double &sum = expected[row * n + column] = bias[column];
      for (int64_t i = 0; i < k; ++i) sum += double(x[row * k + i]) * w[column * k + i];
      for (int64_t i = 0; i < k; ++i) expected_gradient[column * k + i] += sum * x[row * k + i];
    }
  const elman_array x_of = rows_of(x, k), w_of = rows_of(w, k), y_of = rows_of(y, n);
  CHECK(elman_matmul(DTYPE<T>, threads, m, n, k, &x_of, &w_of, bias.data(), &y_of, 0) == 0);
  check_close(y, expected);
  CHECK(elman_outer(DTYPE<T>, threads, m, n, k, &y_of, &x_of, gradient.data(), 0) == 0);
  check_close(gradient, expected_gradient);
}

// The same product and gradient with wider rows, and a matrix that lies across, or apart; added to what is there.
void test_layouts(int64_t m, int64_t n, int64_t k, elman_array w_of, const std::vector<double> &w) {
  std::vector<double> x = random_numbers<double>((m - 1) * (k + 3) + k, 1), y((m - 1) * (n + 5) + n, 0.5), expected = y;
  const elman_array x_of = rows_of(x, k + 3), y_of = rows_of(y, n + 5);
  for (int64_t row = 0; row < m; ++row)
    for (int64_t column = 0; column < n; ++column)
      for (int64_t i = 0; i < k; ++i)
        expected[row * (n + 5) + column] += x[row * (k + 3) + i] * w[column * w_of.row_stride + i * w_of.step_stride];
  CHECK(elman_matmul(ELMAN_FLOAT64, 2, m, n, k, &x_of, &w_of, nullptr, &y_of, 1) == 0);
  check_close(y, expected);
}

void test_layouts() {
  for (int64_t m : {1, 13})
    for (int64_t n : {1, 17, 70})
      for (int64_t k : {1, 9, 33}) {
        std::vector<double> across = random_numbers<double>(n * k, 2), apart = random_numbers<double>(2 * n * k, 3);
        test_layouts(m, n, k, rows_of(across, 1, n), across);
        test_layouts(m, n, k, rows_of(apart, 2 * k, 2), apart);
      }
}

// Sums of nothing.
void test_without_terms() {
  std::vector<float> bias = random_numbers<float>(37, 1), y(5 * 37, 2), gradient(37 * 3, 2);
  const elman_array nothing{}, y_of = rows_of(y, 37);
  CHECK(elman_matmul(ELMAN_FLOAT32, 2, 5, 37, 0, &nothing, &nothing, bias.data(), &y_of, 0) == 0);
  for (size_t i = 0; i < y.size(); ++i) CHECK(y[i] == bias[i % 37]);
  CHECK(elman_outer(ELMAN_FLOAT32, 2, 0, 37, 3, &nothing, &nothing, gradient.data(), 0) == 0);
  for (float one : gradient) CHECK(one == 0);
}

// The meaning of each operation, in float64.
namespace meaning {
#define ELMAN_FN(name) std::name
using T = double;
#define MEANING(name, operands, ...) \
  [](double a, [[maybe_unused]] double b, [[maybe_unused]] double c) -> double { return __VA_ARGS__; },
double (*const OF_OPERATION[])(double, double, double) = {ELMAN_OPERATIONS(MEANING)};
#undef MEANING
}  // namespace meaning

template <class T>
void test_operations() {
  constexpr int64_t count = 37;
  std::vector<T> a = random_numbers<T>(count, 4), b = random_numbers<T>(count, 5), c = random_numbers<T>(count, 6), out(count);
  for (T &value : a) value = std::abs(value) + T(0.1);
  int code = 0;
  for (const auto operation : meaning::OF_OPERATION) {
    std::vector<double> expected;
    for (int64_t i = 0; i < count; ++i) expected.push_back(operation(a[i], b[i], c[i]));
    CHECK(elman_apply(DTYPE<T>, code++, count, a.data(), b.data(), c.data(), out.data()) == 0);
    check_close(out, expected);
  }
}

}  // namespace

void test_kernels() {
  for (int threads : {1, 2}) {
    test_products<float>(7, 33, 19, threads);
    test_products<double>(7, 33, 19, threads);
    test_products<float>(150, 70, 130, threads);
    test_products<float>(2, 5, 1100, threads);
    test_products<double>(1, 1, 1, threads);
  }
  test_layouts();
  test_without_terms();
  test_operations<float>();
  test_operations<double>();
}

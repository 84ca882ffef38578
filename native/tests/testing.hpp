// What the native tests share. They are few, and meant to run under sanitizers; tests/native checks the numbers at length.
#pragma once
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "core.h"

// Ends the tests where something does not hold.
#define CHECK(condition)                                                                                          \
  do {                                                                                                            \
    if (!(condition)) {                                                                                           \
      std::fprintf(stderr, "%s:%d: %s does not hold (%s)\n", __FILE__, __LINE__, #condition, elman_error());      \
      std::exit(1);                                                                                               \
    }                                                                                                             \
  } while (false)

template <class T>
constexpr int DTYPE = sizeof(T) == 8 ? ELMAN_FLOAT64 : ELMAN_FLOAT32;

// Numbers from -1 to 1, in memory of exactly that size: whoever reads past its end is seen.
template <class T>
std::vector<T> random_numbers(int64_t count, unsigned seed) {
  std::mt19937 generator(seed);
  std::uniform_real_distribution<double> numbers(-1, 1);
  std::vector<T> values(count);
  for (T &value : values) value = T(numbers(generator));
  values.shrink_to_fit();
  return values;
}

template <class T>
elman_array rows_of(std::vector<T> &values, int64_t row_stride, int64_t step_stride = 1) {
  return {values.data(), row_stride, step_stride};
}

void test_kernels();
void test_lstm();
void test_hostile_plans();
void test_hostile_sizes();
void test_scans();
void test_threads();

// The table of kernels for one instruction set, ELMAN_KERNELS: this file is compiled once for each, with that set's flags.
#include "kernels.hpp"

#include "gemm.hpp"
#include "pointwise.hpp"
#include "scan.hpp"

#define ELMAN_TEXT(name) ELMAN_STRING(name)
#define ELMAN_STRING(name) #name

namespace elman::ELMAN_KERNELS {

template <class T>
constexpr Kernels<T> table() {
  return {products<Exact<T>>(), ELMAN_TEXT(ELMAN_KERNELS), column_sums<T>, pointwise<T>, sum<T>, maximum<T>, scan<T>,
          scan_backward<T>};
}

extern const Kernels<float> single_precision = table<float>();
extern const Kernels<double> double_precision = table<double>();

}  // namespace elman::ELMAN_KERNELS

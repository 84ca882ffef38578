// Runs all native tests with every set of kernels that this machine can run.
#include "testing.hpp"

int main() {
  for (const char *set : {"portable", "neon", "avx2", "avx512"}) {
    if (elman_use_kernels(set)) continue;
    test_kernels();
    test_lstm();
    test_hostile_plans();
    std::printf("%s: passed\n", set);
  }
  elman_trim();
  return 0;
}

// Runs all native tests with every set of kernels that this machine can run.
#include "testing.hpp"

#ifdef __SANITIZE_ADDRESS__
// There are tests that ask for more memory than there is.
extern "C" const char *__asan_default_options() { return "allocator_may_return_null=1"; }
#endif

int main() {
  for (const char *set : {"portable", "neon", "avx2", "avx512"}) {
    if (elman_use_kernels(set)) continue;
    test_kernels();
    test_scans();
    test_lstm();
    test_threads();
    test_hostile_plans();
    test_hostile_sizes();
    std::printf("%s: passed\n", set);
    std::fflush(stdout);  // a forked child must have nothing to write
  }
  elman_trim();
  return 0;
}

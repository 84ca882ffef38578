// Threads: OpenMP's team, which is torch's own, so that the two never run more threads than there are cores.
#include <pthread.h>

#ifdef _OPENMP
#include <omp.h>
#else
#include <exception>
#include <thread>
#include <vector>
#endif

#include "kernels.hpp"

namespace elman {
namespace {

// In a forked child the threads of its parent are gone, and OpenMP would wait for them for ever.
bool forked = false;
[[maybe_unused]] const int watch = pthread_atfork(nullptr, nullptr, [] { forked = true; });

void in_order(int64_t count, void (*work)(int64_t, void *), void *context) {
  for (int64_t i = 0; i < count; ++i) work(i, context);
}

}  // namespace

#ifdef _OPENMP

void parallel(int64_t count, void (*work)(int64_t, void *), void *context) {
  if (count <= 1 || forked || omp_in_parallel()) return in_order(count, work, context);
#pragma omp parallel for num_threads(int(count)) schedule(static, 1)
  for (int64_t i = 0; i < count; ++i) work(i, context);
}

#else

void parallel(int64_t count, void (*work)(int64_t, void *), void *context) {
  static thread_local bool nested = false;
  if (count <= 1 || forked || nested) return in_order(count, work, context);
  std::vector<std::thread> team;
  int64_t started = 1;
  try {
    team.reserve(size_t(count));
    for (; started < count; ++started)
      team.emplace_back([=, i = started] {
        nested = true;
        work(i, context);
      });
  } catch (const std::exception &) {
    // the system has no more threads, or memory for them: this one does what is left
  }
  nested = true;
  work(0, context);
  for (int64_t i = started; i < count; ++i) work(i, context);
  nested = false;
  for (std::thread &thread : team) thread.join();
}

#endif

}  // namespace elman

// What several threads of the caller do at once: runs of one plan, memory, another choice of kernels; and a forked child.
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>

#include "lstm.hpp"
#include "testing.hpp"

namespace {

constexpr int64_t BATCH = 6, STEPS = 7, INPUTS = 5, HIDDEN = 18;

struct Destroy {
  void operator()(elman_plan *plan) const { elman_plan_destroy(plan); }
};

// One run of the LSTM, with arrays of its own; the outputs.
std::vector<float> outputs_of(const elman_plan *plan, int threads) {
  std::vector<float> x = random_numbers<float>(BATCH * STEPS * INPUTS, 1), y(BATCH * STEPS * HIDDEN);
  std::vector<float> w = random_numbers<float>(4 * HIDDEN * INPUTS, 2), u = random_numbers<float>(4 * HIDDEN * HIDDEN, 3);
  std::vector<float> bias = random_numbers<float>(4 * HIDDEN, 4);
  std::vector<std::vector<float>> kept;
  std::vector<void *> sequences;
  for (int64_t width : {HIDDEN, HIDDEN, 4 * HIDDEN, HIDDEN})
    sequences.push_back(kept.emplace_back(elman_sequence_size(ELMAN_FLOAT32, width, BATCH * STEPS)).data());
  const elman_array x_of = rows_of(x, STEPS * INPUTS, INPUTS), y_of = rows_of(y, STEPS * HIDDEN, HIDDEN), none[2] = {};
  const elman_array matrices[] = {rows_of(w, INPUTS), rows_of(u, HIDDEN)};
  const void *vectors[] = {bias.data()};
  elman_call call{};
  call.batch = BATCH, call.steps = STEPS, call.threads = threads;
  call.inputs = &x_of, call.outputs = &y_of, call.initial = call.final = none;
  call.vectors = vectors, call.matrices = matrices, call.sequences = sequences.data();
  CHECK(elman_run(plan, &call) == 0);
  return y;
}

// Rows of ones times columns of ones: each result is the length of a row, whatever the kernels.
void check_product(int threads) {
  constexpr int64_t m = 24, n = 70, k = 33;
  std::vector<float> x(m * k, 1), w(n * k, 1), y(m * n), gradient(n * k);
  const elman_array x_of = rows_of(x, k), w_of = rows_of(w, k), y_of = rows_of(y, n);
  CHECK(elman_matmul(ELMAN_FLOAT32, threads, m, n, k, &x_of, &w_of, nullptr, &y_of, 0) == 0);
  for (float one : y) CHECK(one == k);
  CHECK(elman_outer(ELMAN_FLOAT32, threads, m, n, k, &y_of, &x_of, gradient.data(), 0) == 0);
  for (float one : gradient) CHECK(one == m * k);
}

void check_memory(unsigned seed) {
  std::mt19937 numbers(seed);
  for (int i = 0; i < 50; ++i) {
    const size_t bytes = 1 + numbers() % (3 << 20);
    unsigned char *memory = static_cast<unsigned char *>(elman_allocate(bytes));
    CHECK(memory && reinterpret_cast<uintptr_t>(memory) % 64 == 0);
    memory[0] = memory[bytes - 1] = static_cast<unsigned char>(seed);
    std::this_thread::yield();
    CHECK(memory[0] == seed && memory[bytes - 1] == seed);
    elman_release(memory);
    if (i % 16 == 0) elman_trim();
  }
}

void test_callers_at_once(const elman_plan *plan) {
  const std::vector<float> expected = outputs_of(plan, 2);
  const auto caller = [&](unsigned seed) {
    for (int i = 0; i < 10; ++i) CHECK(outputs_of(plan, 2) == expected);
    check_memory(seed);
  };
  std::vector<std::thread> callers;
  for (unsigned seed = 1; seed < 4; ++seed) callers.emplace_back(caller, seed);
  for (std::thread &one : callers) one.join();
}

// A product packs its matrix for one set of kernels, and must end with the same.
void test_change_of_kernels() {
  const std::string before = elman_kernels();
  std::atomic<bool> is_over{false};
  std::thread changer([&] {
    while (!is_over)
      for (const char *set : {"portable", before.c_str()}) CHECK(elman_use_kernels(set) == 0);
  });
  for (int i = 0; i < 200; ++i) check_product(2);
  is_over = true;
  changer.join();
  CHECK(elman_use_kernels(before.c_str()) == 0);
}

// The threads of the parent are not in its child, which must not wait for them.
void test_fork(const elman_plan *plan) {
  const std::vector<float> expected = outputs_of(plan, 2);
  const pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) _exit(outputs_of(plan, 2) == expected ? 0 : 1);
  int status = -1;
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(status == 0);
}

}  // namespace

void test_threads() {
  const Words words = lstm_forward(ELMAN_FLOAT32, INPUTS, HIDDEN);
  const std::unique_ptr<elman_plan, Destroy> plan(elman_plan_create(words.data(), words.size(), nullptr));
  CHECK(plan);
  check_product(1 << 30);
  test_callers_at_once(plan.get());
  test_change_of_kernels();
  test_fork(plan.get());
}

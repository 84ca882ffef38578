// Plans with words changed at random: refused, or run to some end on arrays of exactly the right size.
#include "lstm.hpp"
#include "testing.hpp"

namespace {

constexpr int64_t BATCH = 3, STEPS = 5, INPUTS = 5, HIDDEN = 4;
constexpr int64_t LENGTHS[BATCH] = {5, 0, 3};

using Numbers = std::vector<float>;

Words spoilt(Words words, size_t first, std::mt19937 &numbers) {
  for (unsigned changes = 1 + numbers() % 2; changes; --changes) {
    const size_t place = first + numbers() % (words.size() - first);
    const int64_t beside = words[place] ^ 1, small = int64_t(numbers() % 4), anything = int64_t(numbers() % 40) - 3;
    const int64_t extreme[] = {INT64_MIN, INT64_MAX, 1 << 30}, values[] = {beside, small, small, anything, extreme[small % 3]};
    if (numbers() % 10 == 0)
      words.erase(words.begin() + int64_t(place));
    else
      words[place] = values[numbers() % 5];
  }
  return words;
}

// The arrays of a call that fits the LSTM's plans, both of them.
struct Arrays {
  Numbers x = Numbers(BATCH * STEPS * INPUTS, 1), y = Numbers(BATCH * STEPS * HIDDEN, 1), state = Numbers(BATCH * HIDDEN);
  Numbers last = Numbers(BATCH * HIDDEN), w = Numbers(4 * HIDDEN * INPUTS), u = Numbers(4 * HIDDEN * HIDDEN), bias = Numbers(4 * HIDDEN);
  std::vector<Numbers> sequences;
  elman_array x_of = rows_of(x, STEPS * INPUTS, INPUTS), y_of = rows_of(y, STEPS * HIDDEN, HIDDEN);
  elman_array both[2] = {y_of, x_of}, initial[4] = {rows_of(state, HIDDEN), rows_of(state, HIDDEN), {}, {}};
  elman_array final[2] = {rows_of(last, HIDDEN), {}}, matrices[2] = {rows_of(w, INPUTS), rows_of(u, HIDDEN)};
  const void *vectors[1] = {bias.data()};
  void *kept[4], *matrix_gradients[2] = {w.data(), u.data()}, *vector_gradients[1] = {bias.data()};

  Arrays() {
    for (int64_t width : {HIDDEN, HIDDEN, 4 * HIDDEN, HIDDEN})
      sequences.emplace_back(elman_sequence_size(ELMAN_FLOAT32, width, 8));
    for (int i = 0; i < 4; ++i) kept[i] = sequences[i].data();
  }

  elman_call call(bool reverse) {
    elman_call call{};
    call.batch = BATCH, call.steps = STEPS, call.lengths = LENGTHS, call.threads = 2;
    call.inputs = reverse ? both : &x_of, call.outputs = reverse ? &x_of : &y_of;
    call.initial = call.sequence_initial = initial, call.final = final;
    call.vectors = vectors, call.matrices = matrices, call.sequences = kept;
    call.matrix_gradients = matrix_gradients, call.vector_gradients = vector_gradients;
    return call;
  }
};

void spoil(const Words &words, size_t stages, bool reverse, std::mt19937 &numbers) {
  Arrays arrays;
  const elman_call call = arrays.call(reverse);
  int refused = 0, ran = 0;
  for (int i = 0; i < 2000; ++i) {
    const bool keeps_sizes = i % 4;
    const Words changed = spoilt(words, keeps_sizes ? stages : 0, numbers);
    const std::vector<double> constants(changed.size());
    elman_plan *plan = elman_plan_create(changed.data(), changed.size(), constants.data());
    refused += !plan;
    if (plan && keeps_sizes) ran += elman_run(plan, &call) == 0;
    elman_plan_destroy(plan);
  }
  CHECK(refused > 100);
  CHECK(ran > 50);
}

}  // namespace

void test_hostile_plans() {
  std::mt19937 numbers(11);
  const Words forward = lstm_forward(ELMAN_FLOAT32, INPUTS, HIDDEN), backward = lstm_backward(ELMAN_FLOAT32, INPUTS, HIDDEN);
  // Words before the stages: the buffers, whose sizes the arrays have, and the one output.
  spoil(forward, 35, false, numbers);
  spoil(backward, 38, true, numbers);
}

// Sizes that nobody has: refused, not multiplied until they look small.
void test_hostile_sizes() {
  constexpr int64_t large = int64_t(1) << 30, larger = large + 1;
  Numbers one(64);
  const elman_array none{one.data(), 0, 0};
  CHECK(elman_matmul(ELMAN_FLOAT32, 1, 1, larger, 1, &none, &none, nullptr, &none, 0) != 0);
  CHECK(elman_matmul(ELMAN_FLOAT32, 1, 1, large, large, &none, &none, nullptr, &none, 0) != 0);
  CHECK(elman_matmul(ELMAN_FLOAT64, 1, -1, 1, 1, &none, &none, nullptr, &none, 0) != 0);
  CHECK(elman_outer(ELMAN_FLOAT32, 1, 1, 1, INT64_MAX, &none, &none, one.data(), 0) != 0);
  CHECK(elman_allocate(SIZE_MAX) == nullptr);
  CHECK(elman_allocate(SIZE_MAX / 4) == nullptr);
  CHECK(elman_allocate(size_t(elman_sequence_size(ELMAN_FLOAT64, INT64_MAX, 1)) * 8) == nullptr);
  CHECK(elman_allocate(size_t(elman_sequence_size(ELMAN_FLOAT32, large, large * large)) * 4) == nullptr);
  Arrays arrays;
  const Words words = lstm_forward(ELMAN_FLOAT32, INPUTS, HIDDEN);
  elman_plan *plan = elman_plan_create(words.data(), words.size(), nullptr);
  const int64_t sizes[][2] = {{1, INT64_MAX}, {0, INT64_MAX}, {INT64_MAX, 1}, {large, INT64_MAX}, {-1, 1}, {1, -1}};
  for (const auto &[batch, steps] : sizes) {
    elman_call call = arrays.call(false);
    call.batch = batch, call.steps = steps, call.lengths = nullptr;
    CHECK(elman_run(plan, &call) == 1);
  }
  elman_plan_destroy(plan);
}

// An LSTM over a batch of sequences: its loss beside a plain loop, its gradients beside differences of the loss.
#include "lstm.hpp"

#include <cmath>
#include <memory>

#include "testing.hpp"

namespace {

struct Destroy {
  void operator()(elman_plan *plan) const { elman_plan_destroy(plan); }
};
using Plan = std::unique_ptr<elman_plan, Destroy>;

Plan create(const Words &words) {
  Plan plan(elman_plan_create(words.data(), words.size(), nullptr));
  CHECK(plan);
  return plan;
}

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

// Everything that a step reads. The loss is the sum of all outputs and of the last states, each times a weight.
template <class T>
struct Case {
  static constexpr int64_t inputs = 5, hidden = 19, gates = 4 * hidden;
  int64_t batch, steps, threads;
  std::vector<int64_t> lengths;
  std::vector<T> x, dy, h, c, dh, dc, w, u, bias;
  std::vector<std::vector<T>> sequences;

  Case(int64_t batch, int64_t steps, int64_t threads) : batch(batch), steps(steps), threads(threads) {
    std::mt19937 numbers(7);
    for (int64_t row = 0; row < batch; ++row) lengths.push_back(numbers() % (steps + 1));
    x = random_numbers<T>(batch * steps * inputs, 1), dy = random_numbers<T>(batch * steps * hidden, 2);
    h = random_numbers<T>(batch * hidden, 3), c = random_numbers<T>(batch * hidden, 4);
    dh = random_numbers<T>(batch * hidden, 5), dc = random_numbers<T>(batch * hidden, 6);
    w = random_numbers<T>(gates * inputs, 7), u = random_numbers<T>(gates * hidden, 8), bias = random_numbers<T>(gates, 9);
    int64_t total = 0;
    for (int64_t length : lengths) total += length;
    for (int64_t width : {hidden, hidden, gates, hidden})
      sequences.emplace_back(elman_sequence_size(DTYPE<T>, width, total));
  }

  double sequence_loss(int64_t row) const {
    std::vector<double> state(h.begin() + row * hidden, h.begin() + (row + 1) * hidden);
    std::vector<double> cell(c.begin() + row * hidden, c.begin() + (row + 1) * hidden), z(gates);
    double loss = 0;
    for (int64_t step = 0; step < lengths[row]; ++step) {
      for (int64_t gate = 0; gate < gates; ++gate) {
        z[gate] = bias[gate];
        for (int64_t i = 0; i < inputs; ++i) z[gate] += double(w[gate * inputs + i]) * x[(row * steps + step) * inputs + i];
        for (int64_t i = 0; i < hidden; ++i) z[gate] += double(u[gate * hidden + i]) * state[i];
      }
      for (int64_t i = 0; i < hidden; ++i) {
        cell[i] = sigmoid(z[hidden + i]) * cell[i] + sigmoid(z[i]) * std::tanh(z[2 * hidden + i]);
        state[i] = sigmoid(z[3 * hidden + i]) * std::tanh(cell[i]);
        loss += state[i] * dy[(row * steps + step) * hidden + i];
      }
    }
    for (int64_t i = 0; i < hidden; ++i) loss += state[i] * dh[row * hidden + i] + cell[i] * dc[row * hidden + i];
    return loss;
  }

  double plain_loss() const {
    double loss = 0;
    for (int64_t row = 0; row < batch; ++row) loss += sequence_loss(row);
    return loss;
  }

  // What forward and backward runs have in common.
  template <class Run>
  void call(const Words &words, Run complete) {
    std::vector<elman_array> matrices{rows_of(w, inputs), rows_of(u, hidden)};
    std::vector<const void *> vectors{bias.data()};
    std::vector<void *> kept;
    for (std::vector<T> &sequence : sequences) kept.push_back(sequence.data());
    elman_call call{};
    call.batch = batch, call.steps = steps, call.threads = threads, call.lengths = lengths.data();
    call.matrices = matrices.data(), call.vectors = vectors.data(), call.sequences = kept.data();
    const Plan plan = create(words);
    complete(call, [&] { CHECK(elman_run(plan.get(), &call) == 0); });
  }

  double loss() {
    std::vector<T> y(batch * steps * hidden), last_h(batch * hidden), last_c(batch * hidden);
    call(lstm_forward(DTYPE<T>, inputs, hidden), [&](elman_call &call, auto run) {
      elman_array x_of = rows_of(x, steps * inputs, inputs), y_of = rows_of(y, steps * hidden, hidden);
      elman_array before[] = {rows_of(h, hidden), rows_of(c, hidden)}, after[] = {rows_of(last_h, hidden), rows_of(last_c, hidden)};
      call.inputs = &x_of, call.outputs = &y_of, call.initial = before, call.final = after;
      run();
    });
    double loss = 0;
    for (size_t i = 0; i < y.size(); ++i) loss += double(y[i]) * dy[i];
    for (size_t i = 0; i < dh.size(); ++i) loss += double(last_h[i]) * dh[i] + double(last_c[i]) * dc[i];
    return loss;
  }

  // Of x, h, c, w, u and the bias, after `loss`.
  std::vector<std::vector<T>> gradients() {
    std::vector<std::vector<T>> found;
    for (const std::vector<T> *of : {&x, &h, &c, &w, &u, &bias}) found.emplace_back(of->size());
    call(lstm_backward(DTYPE<T>, inputs, hidden), [&](elman_call &call, auto run) {
      elman_array read[] = {rows_of(dy, steps * hidden, hidden), rows_of(x, steps * inputs, inputs)};
      elman_array dx = rows_of(found[0], steps * inputs, inputs), nothing{};
      elman_array before[] = {rows_of(dh, hidden), rows_of(dc, hidden)};
      elman_array after[] = {rows_of(found[1], hidden), rows_of(found[2], hidden)};
      elman_array first[] = {rows_of(h, hidden), rows_of(c, hidden), nothing, nothing};
      void *matrices[] = {found[3].data(), found[4].data()}, *vectors[] = {found[5].data()};
      call.inputs = read, call.outputs = &dx, call.initial = before, call.final = after;
      call.sequence_initial = first, call.matrix_gradients = matrices, call.vector_gradients = vectors;
      run();
    });
    return found;
  }

  void check() {
    const double tolerance = sizeof(T) == 8 ? 1e-9 : 1e-2;
    CHECK(std::abs(loss() - plain_loss()) < tolerance);
    if (sizeof(T) == 4) return (void)gradients();
    const std::vector<std::vector<T>> found = gradients();
    std::vector<T> *const leaves[] = {&x, &h, &c, &w, &u, &bias};
    for (size_t leaf = 0; leaf < found.size(); ++leaf) check_gradient(*leaves[leaf], found[leaf]);
  }

  // Along a random direction: the difference of the loss a little further, and a little back.
  void check_gradient(std::vector<T> &leaf, const std::vector<T> &gradient) {
    const std::vector<T> direction = random_numbers<T>(int64_t(leaf.size()), 10), here = leaf;
    const double little = 1e-6;
    double slope = 0, difference = 0;
    for (const double sign : {1.0, -1.0}) {
      for (size_t i = 0; i < leaf.size(); ++i) leaf[i] = here[i] + T(sign * little) * direction[i];
      difference += sign * plain_loss() / (2 * little);
    }
    leaf = here;
    for (size_t i = 0; i < leaf.size(); ++i) slope += gradient[i] * direction[i];
    CHECK(std::abs(slope - difference) < 1e-5 * std::max(1.0, std::abs(slope)));
  }
};

}  // namespace

void test_lstm() {
  for (int64_t threads : {1, 3}) {
    Case<double>(6, 9, threads).check();
    Case<float>(6, 9, threads).check();
    Case<float>(40, 30, threads).check();
    Case<float>(1, 3000, threads).check();
    Case<float>(2, 0, threads).check();
    Case<double>(0, 3, threads).check();
  }
}

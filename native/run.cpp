// Runs a plan: shares the batch out among threads, packs the weights, and adds up what the threads found.
#include <algorithm>
#include <exception>
#include <memory>
#include <numeric>
#include <stdexcept>

#include "shard.hpp"

namespace elman {
namespace {

// ---- What the caller gave ----------------------------------------------------------------------------------------------

void require(bool holds, const char *sentence) {
  if (!holds) throw std::runtime_error(sentence);
}

void check_sizes(const elman_call &call) {
  constexpr int64_t most_sequences = int64_t(1) << 32, most_steps = int64_t(1) << 48;  // times a width: they cannot overflow
  int64_t rows;
  require(call.batch >= 0 && call.steps >= 0, "run: the batch and the number of steps are not below 0");
  require(call.batch <= most_sequences && !__builtin_mul_overflow(call.batch, call.steps, &rows) && rows <= most_steps &&
              call.steps <= most_steps,
          "run: the batch has too many steps");
  require(call.threads >= 1, "run: it takes at least one thread");
  require(call.precision == ELMAN_FLOAT32 || call.precision == ELMAN_BFLOAT16,
          "run: the precision is ELMAN_FLOAT32 or ELMAN_BFLOAT16");
  if (!call.lengths) return;
  for (int64_t i = 0; i < call.batch; ++i)
    require(call.lengths[i] >= 0 && call.lengths[i] <= call.steps, "run: lengths are from 0 to the number of steps");
}

// Arrays that must be there if they have any element.
void check_arrays(const elman_array *arrays, size_t count, bool need_data, const char *sentence) {
  require(!count || arrays, sentence);
  for (size_t i = 0; i < count && need_data; ++i) require(arrays[i].data, sentence);
}

template <class Pointer>
void check_pointers(const Pointer *pointers, size_t count, bool need_data, const char *sentence) {
  require(!count || pointers, sentence);
  for (size_t i = 0; i < count && need_data; ++i) require(pointers[i], sentence);
}

void check_call(const Plan &plan, const elman_call &call, bool has_rows) {
  check_arrays(call.inputs, plan.inputs.size(), has_rows, "run: an input is NULL");
  check_arrays(call.outputs, plan.outputs.size(), has_rows, "run: an output is NULL");
  check_arrays(call.initial, plan.states.size(), false, "run: initial states are NULL");
  check_arrays(call.final, plan.states.size(), false, "run: final states are NULL");
  check_arrays(call.fixed, plan.fixed.size(), call.batch > 0, "run: what is fixed is NULL");
  check_arrays(call.matrices, plan.matrices.size(), true, "run: a matrix is NULL");
  check_pointers(call.vectors, plan.vectors.size(), true, "run: a vector is NULL");
  check_pointers(call.sequences, plan.sequences.size(), has_rows, "run: a sequence is NULL");
}

// ---- Shards ------------------------------------------------------------------------------------------------------------

void count_rows(const elman_call &call, Shard &shard) {
  shard.starts.assign(call.steps + 1, 0);
  int64_t active = int64_t(shard.order.size());
  for (int64_t step = 0; step < call.steps; ++step) {
    while (active && call.lengths && call.lengths[shard.order[active - 1]] <= step) --active;
    shard.starts[step + 1] = shard.starts[step] + active;
  }
}

// With lengths, sequences are dealt out longest first, one to each shard in turn: all get nearly the same work.
std::vector<Shard> share_out(const elman_call &call) {
  const int64_t count = std::max<int64_t>(1, std::min({call.threads, call.batch, MOST_SHARDS}));
  std::vector<int64_t> order(call.batch);
  std::iota(order.begin(), order.end(), 0);
  if (call.lengths)
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return call.lengths[a] > call.lengths[b]; });
  std::vector<Shard> shards(count);
  int64_t rows = 0;
  for (int64_t index = 0; index < count; ++index) {
    Shard &shard = shards[index];
    shard.index = index;
    shard.rows_before = rows;
    if (call.lengths)
      for (int64_t i = index; i < call.batch; i += count) shard.order.push_back(order[i]);
    else
      shard.order.assign(order.begin() + call.batch * index / count, order.begin() + call.batch * (index + 1) / count);
    count_rows(call, shard);
    rows += shard.rows();
  }
  return shards;
}

// ---- The run -----------------------------------------------------------------------------------------------------------

struct Release {
  void operator()(void *memory) const { elman_release(memory); }
};

template <class T>
class Run {
 public:
  Run(const Plan &plan, const elman_call &call)
      : plan_(plan),
        call_(call),
        kernels_(call.precision == ELMAN_BFLOAT16 ? kernels_that_round<T>() : kernels<T>()),
        shards_(share_out(call)) {
    check_call(plan, call, std::any_of(shards_.begin(), shards_.end(), [](const Shard &one) { return one.rows() > 0; }));
    for (const Shard &shard : shards_) runs_.emplace_back(plan, call, shard, weights_, kernels_);
  }

  int run() {
    Cutter counter;
    lay_out(counter);
    require(!counter.is_too_much(), "run: it would take more memory than there is");
    memory_.reset(elman_allocate(size_t(counter.used())));
    require(memory_ != nullptr, "run: out of memory");
    Cutter cutter(memory_.get());
    lay_out(cutter);
    copy_weights();
    in_parallel<&Run::pack>();
    in_parallel<&Run::run_shard>();
    if (std::find(is_complete_.begin(), is_complete_.end(), false) != is_complete_.end()) return ELMAN_STOPPED;
    if (runs_.size() > 1) in_parallel<&Run::add_shards>();
    return 0;
  }

 private:
  template <void (Run::*work)(int64_t shard)>
  void in_parallel() {
    parallel(int64_t(runs_.size()), [](int64_t i, void *run) { (static_cast<Run *>(run)->*work)(i); }, this);
  }

  void run_shard(int64_t shard) { is_complete_[shard] = runs_[shard].run(); }

  void lay_out(Cutter &cutter) {
    weights_ = {};
    for (size_t i = 0; i < plan_.constants.size(); ++i) weights_.constants.push_back(cutter.cut<T>(1, 1));
    for (int64_t width : plan_.vectors) weights_.vectors.push_back(cutter.cut<T>(1, width));
    for (const Packed &one : plan_.packed) {
      const Matrix &matrix = plan_.matrices[one.matrix];
      const int64_t k = one.transposed ? matrix.columns : matrix.rows, n = one.transposed ? matrix.rows : matrix.columns;
      weights_.packed.push_back(cutter.cut<T>(1, int64_t(kernels_.packed_size(k, n))));
    }
    for (ShardRun<T> &run : runs_) run.lay_out(cutter);
  }

  void copy_weights() {
    for (size_t i = 0; i < plan_.constants.size(); ++i) *weights_.constants[i] = T(plan_.constants[i]);
    for (size_t i = 0; i < plan_.vectors.size(); ++i)
      std::copy_n(static_cast<const T *>(call_.vectors[i]), plan_.vectors[i], weights_.vectors[i]);
  }

  // Every so many-th matrix.
  void pack(int64_t shard) {
    for (size_t i = size_t(shard); i < plan_.packed.size(); i += runs_.size()) {
      const auto &[index, transposed] = plan_.packed[i];
      const Matrix &matrix = plan_.matrices[index];
      const elman_array &from = call_.matrices[index];
      const T *data = static_cast<const T *>(from.data);
      if (transposed)
        kernels_.pack(matrix.columns, matrix.rows, data, from.step_stride, from.row_stride, weights_.packed[i]);
      else
        kernels_.pack(matrix.rows, matrix.columns, data, from.row_stride, from.step_stride, weights_.packed[i]);
    }
  }

  // The first shard wrote into the caller's gradients; the others' parts are added in their order, each thread a slice of them.
  void add_shards(int64_t slice) {
    const int64_t count = int64_t(runs_.size());
    const auto add = [&](void *const *given, size_t i, int64_t size, auto part) {
      if (!given || !given[i]) return;
      T *sum = static_cast<T *>(given[i]);
      for (int64_t shard = 1; shard < count; ++shard) {
        const T *added = part(runs_[shard]);
        for (int64_t j = size * slice / count; j < size * (slice + 1) / count; ++j) sum[j] += added[j];
      }
    };
    for (size_t i = 0; i < plan_.matrices.size(); ++i)
      add(call_.matrix_gradients, i, plan_.matrices[i].rows * plan_.matrices[i].columns,
          [i](const ShardRun<T> &run) { return run.matrix_gradient(int64_t(i)); });
    for (size_t i = 0; i < plan_.vectors.size(); ++i)
      add(call_.vector_gradients, i, plan_.vectors[i], [i](const ShardRun<T> &run) { return run.vector_gradient(int64_t(i)); });
  }

  const Plan &plan_;
  const elman_call &call_;
  const Kernels<T> &kernels_;
  std::vector<Shard> shards_;
  Weights<T> weights_;
  std::vector<ShardRun<T>> runs_;
  std::vector<char> is_complete_ = std::vector<char>(shards_.size());
  std::unique_ptr<void, Release> memory_;
};

}  // namespace
}  // namespace elman

extern "C" int64_t elman_sequence_size(int dtype, int64_t width, int64_t total_steps) {
  // Shards keep apart: what one reads past the end of its last row is not what another writes.
  const int64_t between = elman::padded_width(dtype, 1) * elman::MOST_SHARDS, most = INT64_MAX / 16;  // nobody has that much
  int64_t size;
  if (width < 0 || width > most || total_steps < 0) return most;
  if (__builtin_mul_overflow(elman::padded_width(dtype, width), total_steps, &size) || size > most - between) return most;
  return size + between;
}

extern "C" int elman_run(const elman_plan *plan, const elman_call *call) try {
  elman::require(plan && call, "run: the plan or the call is NULL");
  elman::check_sizes(*call);
  if (plan->plan.dtype == ELMAN_FLOAT64) return elman::Run<double>(plan->plan, *call).run();
  return elman::Run<float>(plan->plan, *call).run();
} catch (const std::exception &error) {
  return elman::fail("%s", error.what());
}

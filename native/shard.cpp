// The run of a plan over one thread's rows.
#include "shard.hpp"

#include <algorithm>
#include <cstring>

namespace elman {
namespace {

// Rows of a chunk: as many as keep its buffers in the cache, but enough for the products to run at full speed.
constexpr int64_t CHUNK_BYTES = 1 << 20;
constexpr int64_t CHUNK_ROWS = 256;

template <class T>
constexpr int64_t LANES_TO_SPARE = 64 / int64_t(sizeof(T));

bool is_of_chunk(const Place &place) {
  const bool is_block = place.space == ELMAN_BLOCK && (place.is_used[BEFORE] || place.is_used[AFTER]);
  return place.space == ELMAN_INPUT || place.space == ELMAN_CHUNK || is_block;
}

}  // namespace

template <class T>
ShardRun<T>::ShardRun(const Plan &plan, const elman_call &call, const Shard &shard, const Weights<T> &weights,
                      const Kernels<T> &kernels)
    : plan_(plan), call_(call), shard_(shard), weights_(weights), kernels_(kernels), chunk_rows_(chunk_rows()) {
  for (size_t i = 0; i < plan.places.size(); ++i) {
    const int space = plan.places[i].space;
    const bool is_state = space == ELMAN_STATE || space == ELMAN_NEXT;
    const bool moves = space == ELMAN_INPUT || space == ELMAN_CHUNK || space == ELMAN_SEQUENCE || space == ELMAN_PREVIOUS;
    if (is_state || (moves && plan.places[i].is_used[STEP])) moving_.push_back(int64_t(i));
    const bool is_kept = space == ELMAN_SEQUENCE || space == ELMAN_PREVIOUS ||
                         (space == ELMAN_NEXT && plan.states[plan.places[i].index].sequence >= 0);
    if (is_kept && plan.places[i].is_used[STEP]) far_.push_back(int64_t(i));
  }
}

template <class T>
int64_t ShardRun<T>::chunk_rows() const {
  int64_t row_bytes = 1;
  for (const Place &place : plan_.places)
    if (is_of_chunk(place)) row_bytes += place.stride * int64_t(sizeof(T));
  const int64_t rows = std::max(CHUNK_ROWS, CHUNK_BYTES / row_bytes);
  return std::min(shard_.rows(), std::max(rows, shard_.active(0)));
}

// ---- Memory --------------------------------------------------------------------------------------------------------

template <class T>
void ShardRun<T>::lay_out(Cutter &cutter) {
  base_.clear();
  shifted_.clear();
  to_clear_.clear();
  for (const Place &place : plan_.places) base_.push_back(lay_out_place(place, cutter));
  for (size_t i = 0; i < plan_.sequences.size(); ++i) {
    const Place &place = place_of(ELMAN_PREVIOUS, int64_t(i));
    shifted_.push_back(place.is_differentiated ? cutter.cut<T>(chunk_rows_, place.stride) : nullptr);
  }
  lay_out_gradients(cutter);
  lay_out_scratch(cutter);
  places_ = base_;
}

template <class T>
T *ShardRun<T>::lay_out_place(const Place &place, Cutter &cutter) {
  const int64_t batch = int64_t(shard_.order.size());
  int64_t rows = batch;
  if (place.space == ELMAN_CONSTANT) return weights_.constants[place.index];
  if (place.space == ELMAN_VECTOR) return weights_.vectors[place.index];
  if (place.space == ELMAN_SEQUENCE) {
    T *all = static_cast<T *>(call_.sequences[place.index]);
    return all ? all + shard_.rows_before * place.stride + shard_.index * LANES_TO_SPARE<T> : nullptr;
  }
  if (place.space == ELMAN_NEXT && plan_.states[place.index].sequence >= 0) return nullptr;
  if (is_of_chunk(place)) rows = chunk_rows_;
  if (place.space == ELMAN_TILE) rows = plan_.tile_rows;
  T *memory = cutter.cut<T>(rows, place.stride);
  to_clear_.push_back({memory, rows * place.stride + LANES_TO_SPARE<T>});
  return memory;
}

template <class T>
void ShardRun<T>::lay_out_gradients(Cutter &cutter) {
  const auto lay_out = [&](void *const *given, size_t i, int64_t rows, int64_t columns) -> T * {
    if (!given || !given[i]) return nullptr;
    T *memory = shard_.index ? cutter.cut<T>(rows, columns) : static_cast<T *>(given[i]);
    to_clear_.push_back({memory, rows * columns});
    return memory;
  };
  matrix_gradients_.clear();
  vector_gradients_.clear();
  for (size_t i = 0; i < plan_.matrices.size(); ++i)
    matrix_gradients_.push_back(lay_out(call_.matrix_gradients, i, plan_.matrices[i].rows, plan_.matrices[i].columns));
  for (size_t i = 0; i < plan_.vectors.size(); ++i)
    vector_gradients_.push_back(lay_out(call_.vector_gradients, i, 1, plan_.vectors[i]));
}

template <class T>
void ShardRun<T>::lay_out_scratch(Cutter &cutter) {
  size_t size = 0;
  const int64_t rows = std::max(chunk_rows_, int64_t(shard_.order.size()));
  for (const std::vector<Stage> &part : plan_.parts)
    for (const Stage &stage : part)
      if (stage.is_product) size = std::max(size, kernels_.matmul_scratch(rows, stage.product.k));
  for (const Gradient &one : plan_.gradients)
    if (one.is_matrix) size = std::max(size, kernels_.outer_scratch(chunk_rows_, one.left_width, one.right_width));
  scratch_ = cutter.cut<T>(1, int64_t(size));
}

template <class T>
void ShardRun<T>::clear() {
  for (const auto &[memory, count] : to_clear_) std::memset(memory, 0, size_t(count) * sizeof(T));
}

// ---- Between the caller's layout and this shard's rows ---------------------------------------------------------------

// Rows first to past of an array that has one row a sequence.
template <class T>
void ShardRun<T>::gather_rows(const elman_array &from, const Place &place, int64_t first, int64_t past, T *to) const {
  for (int64_t row = first; row < past; ++row) {
    T *columns = to + row * place.stride;
    if (from.data)
      std::memcpy(columns, static_cast<const T *>(from.data) + shard_.order[row] * from.row_stride, place.width * sizeof(T));
    else
      std::memset(columns, 0, place.width * sizeof(T));
  }
}

// Row by row: the caller's steps of one sequence mostly follow each other in memory, and what they are copied to is in cache.
template <class T>
void ShardRun<T>::gather_chunk(const elman_array &from, const Place &place) {
  T *to = base_[plan_.place(place.space, place.index)];
  for (int64_t row = 0; row < shard_.active(first_); ++row) {
    const T *sequence = static_cast<const T *>(from.data) + shard_.order[row] * from.row_stride;
    for (int64_t step = first_; step < past_ && row < shard_.active(step); ++step)
      std::memcpy(to + (shard_.starts[step] - shard_.starts[first_] + row) * place.stride, sequence + step * from.step_stride,
                  place.width * sizeof(T));
  }
}

template <class T>
void ShardRun<T>::scatter_chunk(const Output &output, const elman_array &to) const {
  const T *from = address(output.from, 0);
  for (int64_t row = 0; row < shard_.active(first_); ++row) {
    T *sequence = static_cast<T *>(to.data) + shard_.order[row] * to.row_stride;
    for (int64_t step = first_; step < past_ && row < shard_.active(step); ++step)
      std::memcpy(sequence + step * to.step_stride,
                  from + (shard_.starts[step] - shard_.starts[first_] + row) * output.from.stride, output.width * sizeof(T));
  }
}

// The last states of rows first to past: what the present step computed, or, of sequences without a step, what they began with.
template <class T>
void ShardRun<T>::write_final(int64_t first, int64_t past, bool after_a_step) const {
  for (size_t i = 0; i < plan_.states.size(); ++i) {
    const elman_array &to = call_.final[i];
    const Place &place = place_of(after_a_step ? ELMAN_NEXT : ELMAN_STATE, int64_t(i));
    if (!to.data) continue;
    const T *from = places_[plan_.place(place.space, place.index)];
    for (int64_t row = first; row < past; ++row)
      std::memcpy(static_cast<T *>(to.data) + shard_.order[row] * to.row_stride, from + row * place.stride,
                  place.width * sizeof(T));
  }
}

// ---- Time ------------------------------------------------------------------------------------------------------------

template <class T>
bool ShardRun<T>::run() {
  clear();
  begin();
  while (next_chunk()) {
    if (call_.stop && __atomic_load_n(call_.stop, __ATOMIC_RELAXED)) return false;
    if (shard_.active(first_)) run_chunk();
  }
  return true;
}

// What is known before the first step. Backward in time, rows begin when their last step comes (run_step); here, too, the states
// of all rows are set, for those that have no step.
template <class T>
void ShardRun<T>::begin() {
  const int64_t batch = int64_t(shard_.order.size());
  const auto gather = [&](int space, size_t count, const elman_array *from) {
    for (int64_t i = 0; i < int64_t(count); ++i)
      gather_rows(from[i], place_of(space, i), 0, batch, base_[plan_.place(space, i)]);
  };
  gather(ELMAN_STATE, plan_.states.size(), call_.initial);
  gather(ELMAN_FIXED, plan_.fixed.size(), call_.fixed);
  for (int64_t i = 0; i < int64_t(plan_.sequences.size()); ++i)
    if (call_.sequence_initial && is_previous_used(i))
      gather_rows(call_.sequence_initial[i], place_of(ELMAN_PREVIOUS, i), 0, batch, base_[plan_.place(ELMAN_PREVIOUS, i)]);
  first_ = past_ = plan_.reverse ? call_.steps : 0;
  write_final(shard_.active(0), batch, false);
}

template <class T>
bool ShardRun<T>::next_chunk() {
  const std::vector<int64_t> &starts = shard_.starts;
  if (plan_.reverse) {
    if (first_ == 0) return false;
    past_ = first_--;
    while (first_ > 0 && starts[past_] - starts[first_ - 1] <= chunk_rows_) --first_;
  } else {
    if (past_ == call_.steps) return false;
    first_ = past_++;
    while (past_ < call_.steps && starts[past_ + 1] - starts[first_] <= chunk_rows_) ++past_;
  }
  return true;
}

template <class T>
void ShardRun<T>::run_chunk() {
  const int64_t rows = shard_.starts[past_] - shard_.starts[first_];
  for (size_t i = 0; i < plan_.inputs.size(); ++i) gather_chunk(call_.inputs[i], place_of(ELMAN_INPUT, int64_t(i)));
  point_at_chunk();
  run_stages(plan_.parts[BEFORE], rows);
  if (plan_.reverse)
    for (int64_t step = past_; step-- > first_;) run_step(step);
  else
    for (int64_t step = first_; step < past_; ++step) run_step(step);
  ahead_ = {};
  point_at_chunk();
  run_stages(plan_.parts[AFTER], rows);
  add_gradients();
  for (size_t i = 0; i < plan_.outputs.size(); ++i) scatter_chunk(plan_.outputs[i], call_.outputs[i]);
}

// At all rows of the chunk.
template <class T>
void ShardRun<T>::point_at_chunk() {
  for (size_t i = 0; i < base_.size(); ++i) {
    const Place &place = plan_.places[i];
    places_[i] = place.space == ELMAN_SEQUENCE ? sequence_at(place.index, first_) : base_[i];
  }
}

template <class T>
void ShardRun<T>::point_at_step(int64_t step) {
  for (int64_t i : moving_) places_[i] = at_step(plan_.places[i], step);
}

template <class T>
T *ShardRun<T>::sequence_at(int64_t sequence, int64_t step) const {
  const int64_t place = plan_.place(ELMAN_SEQUENCE, sequence);
  return base_[place] + shard_.starts[step] * plan_.places[place].stride;
}

template <class T>
T *ShardRun<T>::at_step(const Place &place, int64_t step) const {
  T *base = base_[plan_.place(place.space, place.index)];
  if (place.space == ELMAN_SEQUENCE) return base + shard_.starts[step] * place.stride;
  if (place.space == ELMAN_PREVIOUS) return step ? sequence_at(place.index, step - 1) : base;
  if (place.space == ELMAN_STATE || place.space == ELMAN_NEXT) return state_at_step(place, step);
  return base + (shard_.starts[step] - shard_.starts[first_]) * place.stride;
}

// A state that is kept lies in its sequence, any other by turns in one of two buffers.
template <class T>
T *ShardRun<T>::state_at_step(const Place &place, int64_t step) const {
  const int64_t sequence = plan_.states[place.index].sequence;
  const bool is_next = place.space == ELMAN_NEXT;
  if (sequence < 0) return base_[plan_.place(is_next == is_odd_ ? ELMAN_STATE : ELMAN_NEXT, place.index)];
  if (is_next) return sequence_at(sequence, step);
  return step ? sequence_at(sequence, step - 1) : base_[plan_.place(ELMAN_STATE, place.index)];
}

// Lets the products of this step ask for what the instructions after them go far for: those of this step, or, where it begins
// with instructions, those of the next.
template <class T>
void ShardRun<T>::look_ahead(int64_t step) {
  const std::vector<Stage> &stages = plan_.parts[STEP];
  if (!stages.empty() && !stages.front().is_product) step += plan_.reverse ? -1 : 1;
  stretches_.clear();
  if (step >= 0 && shard_.active(step))
    for (int64_t i : far_) {
      const Place &place = plan_.places[i];
      const int64_t bytes = shard_.active(step) * place.stride * int64_t(sizeof(T));
      stretches_.push_back({reinterpret_cast<const char *>(at_step(place, step)), (bytes + 63) / 64});
    }
  ahead_ = {stretches_.data(), stretches_.data() + stretches_.size()};
}

template <class T>
void ShardRun<T>::run_step(int64_t step) {
  const int64_t rows = shard_.active(step), later = shard_.active(step + 1);
  if (rows == 0) return;
  point_at_step(step);
  if (plan_.reverse && later < rows)
    for (int64_t i = 0; i < int64_t(plan_.states.size()); ++i)
      gather_rows(call_.initial[i], place_of(ELMAN_STATE, i), later, rows, places_[plan_.place(ELMAN_STATE, i)]);
  look_ahead(step);
  run_stages(plan_.parts[STEP], rows);
  if (plan_.reverse && step == 0) write_final(0, rows, true);
  if (!plan_.reverse && later < rows) write_final(later, rows, true);
  is_odd_ = !is_odd_;
}

// ---- Stages ----------------------------------------------------------------------------------------------------------

template <class T>
void ShardRun<T>::run_stages(const std::vector<Stage> &stages, int64_t rows) {
  for (const Stage &stage : stages) {
    if (stage.is_product) {
      run_product(stage.product, rows);
      continue;
    }
    for (int64_t first = 0; first < rows; first += stage.tile_rows) {
      const int64_t count = std::min(stage.tile_rows, rows - first);
      for (const Instruction &instruction : stage.instructions) run_instruction(instruction, first, count);
    }
  }
}

template <class T>
void ShardRun<T>::run_product(const Product &product, int64_t rows) {
  Rows<const T> addend{nullptr, 0};
  if (product.has_addend) addend = {address(product.addend, 0), product.addend.stride};
  kernels_.matmul(rows, product.n, product.k, {address(product.input, 0), product.input.stride},
                  weights_.packed[product.packed], addend, {address(product.result, 0), product.result.stride}, scratch_,
                  ahead_);
}

template <class T>
void ShardRun<T>::run_instruction(const Instruction &instruction, int64_t first, int64_t rows) {
  if (instruction.kind == Instruction::POINTWISE) return run_pointwise(instruction, first, rows);
  if (instruction.kind == Instruction::GATHER) return run_gather(instruction, first, rows);
  const auto reduce = instruction.kind == Instruction::SUM ? kernels_.sum : kernels_.maximum;
  const Operand &read = instruction.operands[0], &result = instruction.result;
  reduce(rows, instruction.size, instruction.length, {address(result, first), result.stride},
         {address(read, first), read.stride});
}

template <class T>
void ShardRun<T>::run_pointwise(const Instruction &instruction, int64_t first, int64_t rows) {
  Source<T> sources[3];
  for (int i = 0; i < instruction.operand_count; ++i) {
    const Operand &read = instruction.operands[i];
    sources[i] = {address(read, first), read.stride, read.splat};
  }
  int64_t size = instruction.size;
  if (instruction.is_one_row) size *= std::exchange(rows, 1);
  kernels_.pointwise(instruction.operation, rows, size, {address(instruction.result, first), instruction.result.stride},
                     sources);
}

template <class T>
void ShardRun<T>::run_gather(const Instruction &instruction, int64_t first, int64_t rows) {
  const int64_t *sizes = instruction.sizes, *strides = instruction.strides;
  const Operand &read = instruction.operands[0], &result = instruction.result;
  for (int64_t row = 0; row < rows; ++row) {
    const T *from = address(read, first) + row * read.stride;
    T *to = address(result, first) + row * result.stride;
    for (int64_t i = 0; i < sizes[0]; ++i)
      for (int64_t j = 0; j < sizes[1]; ++j)
        for (int64_t k = 0; k < sizes[2]; ++k, to += sizes[3]) {
          const T *columns = from + i * strides[0] + j * strides[1] + k * strides[2];
          for (int64_t l = 0; l < sizes[3]; ++l) to[l] = columns[l * strides[3]];
        }
  }
}

// ---- Gradients of weights --------------------------------------------------------------------------------------------

// The chunk's rows one step earlier. They lie one after the other where no sequence ends in between; elsewhere they are copied.
template <class T>
T *ShardRun<T>::previous_of_chunk(const Place &place) const {
  const bool ends = past_ - first_ > 1 && first_ > 0 && shard_.active(first_ - 1) != shard_.active(past_ - 1);
  if (first_ > 0 && !ends) return sequence_at(place.index, first_ - 1);
  T *to = shifted_[place.index];
  for (int64_t step = first_; step < past_; ++step)
    std::memcpy(to + (shard_.starts[step] - shard_.starts[first_]) * place.stride, at_step(place, step),
                size_t(shard_.active(step) * place.stride) * sizeof(T));
  return to;
}

template <class T>
void ShardRun<T>::add_gradients() {
  const int64_t rows = shard_.starts[past_] - shard_.starts[first_];
  for (size_t i = 0; i < plan_.sequences.size(); ++i) {
    const Place &place = place_of(ELMAN_PREVIOUS, int64_t(i));
    if (place.is_differentiated) places_[plan_.place(ELMAN_PREVIOUS, int64_t(i))] = previous_of_chunk(place);
  }
  const auto side = [&](const Operand &operand) { return Rows<const T>{address(operand, 0), operand.stride}; };
  for (const Gradient &one : plan_.gradients) {
    T *out = one.is_matrix ? matrix_gradients_[one.index] : vector_gradients_[one.index];
    if (!out) continue;
    if (one.is_matrix)
      kernels_.outer(rows, one.left_width, one.right_width, side(one.left), side(one.right), {out, one.right_width}, scratch_);
    else
      kernels_.column_sums(rows, one.left_width, side(one.left), out);
  }
}

template class ShardRun<float>;
template class ShardRun<double>;

}  // namespace elman

// One thread's share of a batch: which rows it runs, where its memory lies, and the run of a plan over them.
#pragma once
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "kernels.hpp"
#include "plan.hpp"

namespace elman {

constexpr int64_t MOST_SHARDS = 256;

// The sequences that one thread runs, longest first. Rows are kept step after step, those of sequences that are not over: rows
// starts[t] to starts[t + 1] are those of step t.
struct Shard {
  int64_t index;
  int64_t rows_before;         // of the shards before this one, in all steps
  std::vector<int64_t> order;  // which of the caller's sequences each row is
  std::vector<int64_t> starts;

  int64_t active(int64_t step) const { return step + 1 < int64_t(starts.size()) ? starts[step + 1] - starts[step] : 0; }
  int64_t rows() const { return starts.back(); }
};

// Cuts pieces from one block of memory, each aligned to 64 bytes, with 64 bytes at least to spare behind it. Without a block it
// only counts: the same code first finds the size, and then lays out.
class Cutter {
 public:
  explicit Cutter(void *block = nullptr) : block_(static_cast<char *>(block)) {}

  template <class T>
  T *cut(int64_t rows, int64_t columns) {
    int64_t bytes = 0;
    is_too_much_ |= __builtin_mul_overflow(rows, columns, &bytes) || bytes > LARGEST || used_ > LARGEST;
    if (is_too_much_) return nullptr;
    char *piece = block_ ? block_ + used_ : nullptr;
    used_ += (bytes * int64_t(sizeof(T)) + 127) / 64 * 64;
    return reinterpret_cast<T *>(piece);
  }

  int64_t used() const { return used_; }
  bool is_too_much() const { return is_too_much_; }

 private:
  static constexpr int64_t LARGEST = int64_t(1) << 48;
  char *block_;
  int64_t used_ = 0;
  bool is_too_much_ = false;
};

// What all shards read: numbers and vectors with room behind them, matrices packed for the product.
template <class T>
struct Weights {
  std::vector<T *> constants, vectors, packed;
};

template <class T>
class ShardRun {
 public:
  ShardRun(const Plan &plan, const elman_call &call, const Shard &shard, const Weights<T> &weights, const Kernels<T> &kernels);

  // Takes memory; called twice, the second time with a block.
  void lay_out(Cutter &cutter);
  // Runs all of time. False if it was stopped.
  bool run();
  // This shard's part of a gradient; null where nobody wants it.
  const T *matrix_gradient(int64_t index) const { return matrix_gradients_[index]; }
  const T *vector_gradient(int64_t index) const { return vector_gradients_[index]; }

 private:
  int64_t chunk_rows() const;
  T *lay_out_place(const Place &place, Cutter &cutter);
  void lay_out_gradients(Cutter &cutter);
  void lay_out_scratch(Cutter &cutter);

  void clear();
  void begin();
  bool next_chunk();
  void run_chunk();
  void point_at_chunk();
  void point_at_step(int64_t step);
  T *at_step(const Place &place, int64_t step) const;
  T *state_at_step(const Place &place, int64_t step) const;
  void run_step(int64_t step);
  void look_ahead(int64_t step);

  void run_stages(const std::vector<Stage> &stages, int64_t rows);
  void run_product(const Product &product, int64_t rows);
  void run_instruction(const Instruction &instruction, int64_t first, int64_t rows);
  void run_pointwise(const Instruction &instruction, int64_t first, int64_t rows);
  void run_gather(const Instruction &instruction, int64_t first, int64_t rows);

  T *previous_of_chunk(const Place &place) const;
  void add_gradients();

  void gather_chunk(const elman_array &from, const Place &place);
  void scatter_chunk(const Output &output, const elman_array &to) const;
  void gather_rows(const elman_array &from, const Place &place, int64_t first, int64_t past, T *to) const;
  void write_final(int64_t first, int64_t past, bool after_a_step) const;

  const Place &place_of(int space, int64_t index) const { return plan_.places[plan_.place(space, index)]; }
  T *sequence_at(int64_t sequence, int64_t step) const;
  bool is_previous_used(int64_t sequence) const {
    const Place &place = place_of(ELMAN_PREVIOUS, sequence);
    return place.is_used[STEP] || place.is_differentiated;
  }
  // Where an operand lies for instructions that begin at this row of the part's.
  T *address(const Operand &operand, int64_t row) const {
    return places_[operand.place] + operand.start + row * operand.advance;
  }

  const Plan &plan_;
  const elman_call &call_;
  const Shard &shard_;
  const Weights<T> &weights_;
  const Kernels<T> &kernels_;

  int64_t chunk_rows_;
  std::vector<T *> base_;      // of each place
  std::vector<T *> places_;    // of each place, at the rows that run now
  std::vector<int64_t> moving_;  // places that lie elsewhere at each step
  std::vector<int64_t> far_;     // those of them that are kept over all of time, and hardly in the cache when their turn comes
  std::vector<Ahead::Stretch> stretches_;
  Ahead ahead_{};
  std::vector<T *> shifted_;   // of each sequence: the rows of a chunk one step earlier, where they do not lie one after the other
  std::vector<T *> matrix_gradients_, vector_gradients_;
  T *scratch_ = nullptr;  // of the products
  std::vector<std::pair<T *, int64_t>> to_clear_;

  int64_t first_ = 0, past_ = 0;  // steps of the chunk
  bool is_odd_ = false;           // whether the latest state is in the second buffer
};

extern template class ShardRun<float>;
extern template class ShardRun<double>;

}  // namespace elman

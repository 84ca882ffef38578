// A plan, decoded from its words and checked: every place, column, size and code in it is in range (core.h says what they mean).
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "core.h"

namespace elman {

constexpr int SPACES = ELMAN_TILE + 1;
enum PartName { BEFORE, STEP, AFTER, PARTS };

// One buffer that operands name by space and index. Plans number all of them.
struct Place {
  int space;
  int64_t index;
  int64_t width;
  int64_t stride;          // from row to row: 1, or the width rounded up to 64 bytes; 0: one row for all
  bool is_used[PARTS];     // by stages of this part
  bool is_differentiated;  // read by `gradients`
};

struct Operand {
  int64_t place;
  int64_t start;
  int64_t stride;   // of the rows that one instruction runs on
  int64_t advance;  // from one row of the part to the next: 0 where rows are kept for a few of them, or for all
  bool splat;
};

struct Instruction {
  enum Kind { POINTWISE, SUM, MAXIMUM, GATHER } kind;
  int operation;         // POINTWISE
  int64_t size;          // columns of the result; POINTWISE: with the padding of a whole row
  bool is_one_row;       // POINTWISE: rows follow each other without a gap in all that it reads and writes
  int64_t length;        // SUM, MAXIMUM: of a group
  int64_t sizes[4];      // GATHER: of four axes, the first of them 1 where the plan gave fewer
  int64_t strides[4];    // GATHER
  int operand_count;
  Operand result;
  Operand operands[3];
};

struct Product {
  Operand input;
  int64_t k, n;
  int64_t packed;  // which of the plan's packed matrices
  bool has_addend;
  Operand addend, result;
};

struct Stage {
  bool is_product;
  Product product;
  std::vector<Instruction> instructions;
  int64_t tile_rows;  // how many rows the instructions run on at once
};

struct Output {
  Operand from;
  int64_t width;
};

struct Gradient {
  bool is_matrix;
  int64_t index;
  Operand left, right;
  int64_t left_width, right_width;
};

struct State {
  int64_t width;
  int64_t sequence;  // -1: only the latest is kept
};

struct Matrix {
  int64_t rows, columns;
};

struct Packed {
  int64_t matrix;
  bool transposed;
};

struct Plan {
  int dtype;
  bool reverse;
  std::vector<double> constants;
  std::vector<int64_t> inputs, fixed, vectors, sequences, chunks, blocks, tiles;  // widths
  std::vector<State> states;
  std::vector<Matrix> matrices;
  std::vector<Packed> packed;  // the matrices that products read, as they read them
  std::vector<Output> outputs;
  std::vector<Stage> parts[PARTS];
  std::vector<Gradient> gradients;
  std::vector<Place> places;
  int64_t first_place[SPACES + 1];  // of each space
  int64_t tile_rows;                // the most of any stage

  size_t element_size() const { return dtype == ELMAN_FLOAT64 ? 8 : 4; }
  int64_t place(int space, int64_t index) const { return first_place[space] + index; }
};

// The row stride of a buffer: its width rounded up to 64 bytes.
int64_t padded_width(int dtype, int64_t width);

// Throws std::runtime_error with a sentence that says what is wrong.
Plan decode_plan(const int64_t *words, size_t count, const double *constants);

}  // namespace elman

struct elman_plan {
  elman::Plan plan;
};

// Decodes the words of a plan, and checks each: what runs a plan trusts it.
#include "plan.hpp"

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string>

#include "kernels.hpp"
#include "operations.h"

namespace elman {
namespace {

constexpr int64_t LARGEST = int64_t(1) << 30;  // of a width or stride: products of two cannot overflow
constexpr int64_t TILE_ROWS = 8;                // of a tile, at least
constexpr int64_t TILE_BYTES = 32 << 10;       // what a stage of instructions touches at once: it stays in the first-level cache

#define ELMAN_OPERAND_COUNT(name, count, ...) count,
constexpr int OPERAND_COUNTS[] = {ELMAN_OPERATIONS(ELMAN_OPERAND_COUNT)};
#undef ELMAN_OPERAND_COUNT
constexpr int64_t OPERATIONS = sizeof(OPERAND_COUNTS) / sizeof(OPERAND_COUNTS[0]);

const char *const SPACE_NAMES[SPACES] = {"CONSTANT", "VECTOR",   "INPUT", "STATE", "NEXT", "FIXED",
                                         "SEQUENCE", "PREVIOUS", "CHUNK", "BLOCK", "TILE"};

constexpr unsigned bit(int space) { return 1u << space; }
constexpr unsigned EVERYWHERE = bit(ELMAN_CONSTANT) | bit(ELMAN_VECTOR) | bit(ELMAN_INPUT) | bit(ELMAN_SEQUENCE) |
                                bit(ELMAN_CHUNK) | bit(ELMAN_BLOCK);
constexpr unsigned ONLY_IN_STEP = bit(ELMAN_FIXED) | bit(ELMAN_STATE) | bit(ELMAN_NEXT) | bit(ELMAN_PREVIOUS);
constexpr unsigned READ_ONLY = bit(ELMAN_CONSTANT) | bit(ELMAN_VECTOR) | bit(ELMAN_FIXED) | bit(ELMAN_PREVIOUS);

class Decoder {
 public:
  Decoder(const int64_t *words, size_t count, const double *constants)
      : words_(words), count_(count), constants_(constants) {}

  Plan decode() {
    header();
    buffers();
    number_places();
    outputs();
    for (int part = BEFORE; part < PARTS; ++part) stages(PartName(part));
    gradients();
    if (position_ != count_) refuse("the plan ends, but %zu words follow", count_ - position_);
    return std::move(plan_);
  }

 private:
  [[noreturn]] void refuse(const char *format, ...) const __attribute__((format(printf, 2, 3))) {
    char sentence[256];
    va_list values;
    va_start(values, format);
    vsnprintf(sentence, sizeof sentence, format, values);
    va_end(values);
    throw std::runtime_error("plan, before word " + std::to_string(position_) + ": " + sentence);
  }

  int64_t word(const char *what, int64_t least, int64_t most) {
    if (position_ >= count_) refuse("it ends where %s should be", what);
    const int64_t value = words_[position_++];
    if (value < least || value > most)
      refuse("%s is %lld, not from %lld to %lld", what, (long long)value, (long long)least, (long long)most);
    return value;
  }
  // How many of something follow: each takes at least a word, but for constants, and nobody has more of those than words.
  int64_t number_of(const char *what) { return word(what, 0, int64_t(count_)); }
  int64_t width(const char *what) { return word(what, 1, LARGEST); }

  void widths(const char *what, std::vector<int64_t> &list) {
    list.resize(number_of(what));
    for (int64_t &one : list) one = width(what);
  }

  void header() {
    word("the version", ELMAN_INTERFACE, ELMAN_INTERFACE);
    plan_.dtype = int(word("the dtype", ELMAN_FLOAT32, ELMAN_FLOAT64));
    plan_.reverse = word("reverse", 0, 1);
    const int64_t constants = number_of("the number of constants");
    if (constants && !constants_) refuse("constants are NULL");
    plan_.constants.assign(constants_, constants_ + constants);
  }

  void buffers() {
    widths("inputs", plan_.inputs);
    plan_.states.resize(number_of("states"));
    for (State &state : plan_.states) {
      state.width = width("the width of a state");
      state.sequence = word("the sequence of a state", -1, LARGEST);
    }
    widths("fixed", plan_.fixed);
    widths("vectors", plan_.vectors);
    plan_.matrices.resize(number_of("matrices"));
    for (Matrix &matrix : plan_.matrices) {
      matrix.rows = width("the rows of a matrix");
      matrix.columns = width("the columns of a matrix");
    }
    widths("sequences", plan_.sequences);
    widths("chunks", plan_.chunks);
    widths("blocks", plan_.blocks);
    widths("tiles", plan_.tiles);
    check_states();
  }

  void check_states() const {
    std::vector<bool> taken(plan_.sequences.size());
    for (const State &state : plan_.states) {
      if (state.sequence < 0) continue;
      if (plan_.reverse) refuse("a state is kept over time in a plan that runs backward");
      if (state.sequence >= int64_t(taken.size())) refuse("a state is kept in sequence %lld of %zu",
                                                          (long long)state.sequence, taken.size());
      if (plan_.sequences[state.sequence] != state.width) refuse("a state is not as wide as its sequence");
      if (taken[state.sequence]) refuse("two states are kept in one sequence");
      taken[state.sequence] = true;
    }
  }

  void number_places() {
    std::vector<int64_t> states;
    for (const State &state : plan_.states) states.push_back(state.width);
    const std::vector<int64_t> constants(plan_.constants.size(), 1);
    const std::vector<int64_t> *sections[SPACES] = {
        &constants, &plan_.vectors, &plan_.inputs, &states, &states, &plan_.fixed, &plan_.sequences, &plan_.sequences,
        &plan_.chunks, &plan_.blocks, &plan_.tiles};
    for (int space = 0; space < SPACES; ++space) {
      plan_.first_place[space] = int64_t(plan_.places.size());
      const bool is_one_row = space == ELMAN_CONSTANT || space == ELMAN_VECTOR;
      for (size_t index = 0; index < sections[space]->size(); ++index) {
        const int64_t columns = (*sections[space])[index];
        const int64_t stride = is_one_row ? 0 : columns == 1 ? 1 : padded_width(plan_.dtype, columns);
        plan_.places.push_back({space, int64_t(index), columns, stride, {false, false, false}, false});
      }
    }
    plan_.first_place[SPACES] = int64_t(plan_.places.size());
  }

  // One operand in a part of the plan; its columns are checked when it is known how many are used.
  Operand operand(unsigned allowed) {
    const int space = int(word("the space of an operand", 0, SPACES - 1));
    if (!(allowed & bit(space))) refuse("an operand is in %s, which is not allowed here", SPACE_NAMES[space]);
    const int64_t first = plan_.first_place[space], past = plan_.first_place[space + 1];
    if (first == past) refuse("an operand is in %s, of which the plan has none", SPACE_NAMES[space]);
    const int64_t place = first + word("the index of an operand", 0, past - first - 1);
    const int64_t start = word("the first column of an operand", 0, LARGEST);
    const bool splat = word("splat", 0, 1);
    const int64_t stride = plan_.places[place].stride;
    return {place, start, stride, space == ELMAN_TILE ? 0 : stride, splat};
  }

  void check_columns(const Operand &operand, int64_t columns) const {
    const Place &place = plan_.places[operand.place];
    if (operand.start + (operand.splat ? 1 : columns) > place.width)
      refuse("columns %lld to %lld of %s %lld, which has %lld", (long long)operand.start,
             (long long)(operand.start + columns), SPACE_NAMES[place.space], (long long)place.index, (long long)place.width);
  }
  void refuse_splat(const Operand &operand) const {
    if (operand.splat) refuse("an operand is a splat, which is not allowed here");
  }

  // Where an instruction or a product may write. A state that is kept over time must not change later.
  Operand result(unsigned allowed, int64_t columns) {
    const Operand operand = this->operand(allowed & ~READ_ONLY);
    refuse_splat(operand);
    check_columns(operand, columns);
    const Place &place = plan_.places[operand.place];
    if (place.space == ELMAN_STATE && plan_.states[place.index].sequence >= 0) refuse("a state that is kept is written to");
    return operand;
  }

  // The place where the numbers really are.
  int64_t memory(const Operand &operand) const {
    const Place &place = plan_.places[operand.place];
    const bool is_kept = place.space == ELMAN_NEXT && plan_.states[place.index].sequence >= 0;
    return is_kept ? plan_.place(ELMAN_SEQUENCE, plan_.states[place.index].sequence) : operand.place;
  }
  void check_apart(const Operand &result, int64_t size, const Operand &read, int64_t first, int64_t columns) const {
    if (memory(result) == memory(read) && first < result.start + size && result.start < first + columns)
      refuse("a result overlaps what it is computed from");
  }

  void outputs() {
    plan_.outputs.resize(number_of("outputs"));
    for (Output &output : plan_.outputs) {
      output.from = operand(bit(ELMAN_INPUT) | bit(ELMAN_CHUNK) | bit(ELMAN_SEQUENCE));
      refuse_splat(output.from);
      output.width = width("the width of an output");
      check_columns(output.from, output.width);
    }
  }

  void stages(PartName part) {
    const unsigned allowed = part == STEP ? EVERYWHERE | ONLY_IN_STEP : EVERYWHERE;
    plan_.parts[part].resize(number_of("stages"));
    for (Stage &stage : plan_.parts[part]) {
      stage = Stage();
      stage.is_product = word("the kind of a stage", 0, 1);
      if (stage.is_product) {
        product(allowed, stage.product);
      } else {
        stage.instructions.resize(number_of("instructions"));
        for (Instruction &one : stage.instructions) instruction(allowed | bit(ELMAN_TILE), one);
        choose_tile(stage);
      }
      mark_used(part, stage);
    }
  }

  void product(unsigned allowed, Product &product) {
    product.input = operand(allowed);
    product.k = width("the length of a product");
    const int64_t matrix = word("the matrix of a product", 0, int64_t(plan_.matrices.size()) - 1);
    const bool transposed = word("transposed", 0, 1);
    product.n = width("the columns of a product");
    product.has_addend = word("whether there is an addend", 0, 1);
    if (product.has_addend) {
      product.addend = operand(allowed);
    } else {
      for (int i = 0; i < 4; ++i) word("the addend that there is not", 0, 0);
    }
    product.result = result(allowed, product.n);
    check_product(product, matrix, transposed);
    product.packed = packed(matrix, transposed);
  }

  void check_product(const Product &product, int64_t matrix, bool transposed) const {
    const Matrix &read = plan_.matrices[matrix];
    const int64_t k = transposed ? read.columns : read.rows, n = transposed ? read.rows : read.columns;
    if (product.k != k || product.n != n)
      refuse("a product of %lld by %lld with a matrix of %lld by %lld", (long long)product.k, (long long)product.n,
             (long long)k, (long long)n);
    refuse_splat(product.input);
    check_columns(product.input, product.k);
    check_apart(product.result, product.n, product.input, product.input.start, product.k);
    if (!product.has_addend) return;
    refuse_splat(product.addend);
    check_columns(product.addend, product.n);
    if (memory(product.addend) != memory(product.result) || product.addend.start != product.result.start)
      check_apart(product.result, product.n, product.addend, product.addend.start, product.n);
  }

  int64_t packed(int64_t matrix, bool transposed) {
    for (size_t i = 0; i < plan_.packed.size(); ++i)
      if (plan_.packed[i].matrix == matrix && plan_.packed[i].transposed == transposed) return int64_t(i);
    plan_.packed.push_back({matrix, transposed});
    return int64_t(plan_.packed.size()) - 1;
  }

  void instruction(unsigned allowed, Instruction &instruction) {
    instruction = Instruction();
    instruction.kind = Instruction::Kind(word("the kind of an instruction", Instruction::POINTWISE, Instruction::GATHER));
    instruction.operand_count = 1;
    if (instruction.kind == Instruction::POINTWISE) return pointwise(allowed, instruction);
    if (instruction.kind == Instruction::GATHER) return gather(allowed, instruction);
    instruction.size = width("the groups of a reduction");
    instruction.length = width("the length of a group");
    read_whole(allowed, instruction, 0, instruction.size * instruction.length - 1);
  }

  // The result, and one operand of which the columns from start + low to start + high are read.
  void read_whole(unsigned allowed, Instruction &instruction, int64_t low, int64_t high) {
    instruction.result = result(allowed, instruction.size);
    Operand &read = instruction.operands[0] = operand(allowed);
    refuse_splat(read);
    if (read.start + low < 0) refuse("a gather reads before the first column");
    check_columns(read, high + 1);
    check_apart(instruction.result, instruction.size, read, read.start + low, high - low + 1);
  }

  void pointwise(unsigned allowed, Instruction &instruction) {
    instruction.operation = int(word("a pointwise operation", 0, OPERATIONS - 1));
    instruction.size = width("the size of an operation");
    const int expected = OPERAND_COUNTS[instruction.operation];
    instruction.operand_count = int(word("the number of operands", expected, expected));
    const Operand &result = instruction.result = this->result(allowed, instruction.size);
    for (int i = 0; i < expected; ++i) {
      const Operand &read = instruction.operands[i] = operand(allowed);
      check_columns(read, instruction.size);
      if (read.splat || read.start != result.start)
        check_apart(result, instruction.size, read, read.start, read.splat ? 1 : instruction.size);
    }
    use_whole_rows(instruction);
  }

  // A result that is a whole row is computed with its padding, without a remainder; rows that all lie one after the other are
  // computed as a single one.
  void use_whole_rows(Instruction &instruction) const {
    const Operand &result = instruction.result;
    if (instruction.size != plan_.places[result.place].width) return;
    instruction.size = result.stride;
    instruction.is_one_row = std::all_of(instruction.operands, instruction.operands + instruction.operand_count,
                                         [&](const Operand &read) { return read.stride == (read.splat ? 0 : result.stride); });
  }

  void gather(unsigned allowed, Instruction &instruction) {
    const int axes = int(word("the axes of a gather", 1, 4));
    std::fill_n(instruction.sizes, 4 - axes, 1);
    instruction.size = 1;
    for (int axis = 4 - axes; axis < 4; ++axis) {
      instruction.sizes[axis] = width("the size of an axis");
      instruction.size *= instruction.sizes[axis];
      if (instruction.size > LARGEST) refuse("a gather of more than %lld columns", (long long)LARGEST);
    }
    int64_t low = 0, high = 0;
    for (int axis = 4 - axes; axis < 4; ++axis) {
      instruction.strides[axis] = word("the stride of an axis", -LARGEST, LARGEST);
      const int64_t reach = (instruction.sizes[axis] - 1) * instruction.strides[axis];
      (reach < 0 ? low : high) += reach;
    }
    read_whole(allowed, instruction, low, high);
  }

  // As many rows as leave what the stage touches in the cache, but enough that it pays to begin each instruction.
  void choose_tile(Stage &stage) {
    std::vector<int64_t> touched;
    bool uses_tiles = false;
    for (const Instruction &one : stage.instructions)
      for (int i = -1; i < one.operand_count; ++i) {
        const int64_t place = i < 0 ? one.result.place : one.operands[i].place;
        uses_tiles |= plan_.places[place].space == ELMAN_TILE;
        if (std::find(touched.begin(), touched.end(), place) == touched.end()) touched.push_back(place);
      }
    int64_t row_bytes = 1;
    for (int64_t place : touched) row_bytes += plan_.places[place].stride * int64_t(plan_.element_size());
    stage.tile_rows = std::max(TILE_ROWS, TILE_BYTES / row_bytes);
    if (uses_tiles) plan_.tile_rows = std::max(plan_.tile_rows, stage.tile_rows);
  }

  void mark_used(PartName part, const Stage &stage) {
    const auto mark = [&](const Operand &operand) { plan_.places[operand.place].is_used[part] = true; };
    if (stage.is_product) {
      mark(stage.product.input);
      mark(stage.product.result);
      if (stage.product.has_addend) mark(stage.product.addend);
    }
    for (const Instruction &one : stage.instructions) {
      mark(one.result);
      std::for_each(one.operands, one.operands + one.operand_count, mark);
    }
  }

  void gradients() {
    plan_.gradients.resize(number_of("gradients"));
    for (Gradient &gradient : plan_.gradients) {
      gradient.is_matrix = word("whether a gradient is that of a matrix", 0, 1);
      const size_t weights = gradient.is_matrix ? plan_.matrices.size() : plan_.vectors.size();
      gradient.index = word("the weight of a gradient", 0, int64_t(weights) - 1);
      gradient.left = gradient_operand(gradient.left_width);
      const Matrix matrix = gradient.is_matrix ? plan_.matrices[gradient.index] : Matrix{plan_.vectors[gradient.index], 0};
      if (gradient.is_matrix) {
        gradient.right = gradient_operand(gradient.right_width);
      } else {
        for (int i = 0; i < 5; ++i) word("the right side that the gradient of a vector has not", 0, 0);
        gradient.right_width = 0;
      }
      if (gradient.left_width != matrix.rows || gradient.right_width != matrix.columns)
        refuse("a gradient does not have the shape of its weight");
    }
  }

  Operand gradient_operand(int64_t &columns) {
    const Operand operand =
        this->operand(bit(ELMAN_INPUT) | bit(ELMAN_CHUNK) | bit(ELMAN_SEQUENCE) | bit(ELMAN_PREVIOUS));
    refuse_splat(operand);
    columns = width("the width of a side of a gradient");
    check_columns(operand, columns);
    plan_.places[operand.place].is_differentiated = true;
    return operand;
  }

  const int64_t *words_;
  size_t count_;
  const double *constants_;
  size_t position_ = 0;
  Plan plan_{};
};

}  // namespace

int64_t padded_width(int dtype, int64_t width) {
  const int64_t lanes = dtype == ELMAN_FLOAT64 ? 8 : 16;
  return (width + lanes - 1) / lanes * lanes;
}

Plan decode_plan(const int64_t *words, size_t count, const double *constants) {
  return Decoder(words, count, constants).decode();
}

}  // namespace elman

extern "C" elman_plan *elman_plan_create(const int64_t *words, size_t count, const double *constants) try {
  if (!words) return elman::fail("a plan is NULL"), nullptr;
  return new elman_plan{elman::decode_plan(words, count, constants)};
} catch (const std::exception &error) {
  return elman::fail("%s", error.what()), nullptr;
}

extern "C" void elman_plan_destroy(elman_plan *plan) { delete plan; }

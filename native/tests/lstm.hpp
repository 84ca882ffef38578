// An LSTM as plans, forward and backward: the words that core.h defines, written by hand.
#pragma once
#include <cstdint>
#include <initializer_list>
#include <vector>

#include "core.h"
#include "operations.h"

using Words = std::vector<int64_t>;

enum {
#define NUMBER(name, ...) OPERATION_##name,
  ELMAN_OPERATIONS(NUMBER)
#undef NUMBER
};

inline Words at(int64_t space, int64_t index = 0, int64_t start = 0) { return {space, index, start, 0}; }

inline Words joined(std::initializer_list<Words> pieces) {
  Words words;
  for (const Words &piece : pieces) words.insert(words.end(), piece.begin(), piece.end());
  return words;
}

inline Words pointwise(int64_t operation, int64_t size, const Words &result, std::initializer_list<Words> operands) {
  return joined({{0, operation, size, int64_t(operands.size())}, result, joined(operands)});
}

// Inputs `inputs` wide; states h and c; sequences h, c, gates i f g o, tanh c; output h.
inline Words lstm_forward(int dtype, int64_t inputs, int64_t hidden) {
  const int64_t gates = 4 * hidden;
  return joined({
      {ELMAN_INTERFACE, dtype, 0, 0, 1, inputs, 2, hidden, 0, hidden, 1, 0, 1, gates, 2, gates, inputs, gates, hidden},
      {4, hidden, hidden, gates, hidden, 1, gates, 0, 1, hidden},
      {1}, at(ELMAN_SEQUENCE), {hidden},
      {1, 1}, at(ELMAN_INPUT), {inputs, 0, 1, gates, 1}, at(ELMAN_VECTOR), at(ELMAN_CHUNK),
      {2, 1}, at(ELMAN_STATE), {hidden, 1, 1, gates, 1}, at(ELMAN_CHUNK), at(ELMAN_CHUNK),
      {0, 7},
      pointwise(OPERATION_sigmoid, 2 * hidden, at(ELMAN_SEQUENCE, 2), {at(ELMAN_CHUNK)}),
      pointwise(OPERATION_tanh, hidden, at(ELMAN_SEQUENCE, 2, 2 * hidden), {at(ELMAN_CHUNK, 0, 2 * hidden)}),
      pointwise(OPERATION_sigmoid, hidden, at(ELMAN_SEQUENCE, 2, 3 * hidden), {at(ELMAN_CHUNK, 0, 3 * hidden)}),
      pointwise(OPERATION_mul, hidden, at(ELMAN_TILE), {at(ELMAN_SEQUENCE, 2, hidden), at(ELMAN_STATE, 1)}),
      pointwise(OPERATION_fma, hidden, at(ELMAN_NEXT, 1),
                {at(ELMAN_SEQUENCE, 2), at(ELMAN_SEQUENCE, 2, 2 * hidden), at(ELMAN_TILE)}),
      pointwise(OPERATION_tanh, hidden, at(ELMAN_SEQUENCE, 3), {at(ELMAN_NEXT, 1)}),
      pointwise(OPERATION_mul, hidden, at(ELMAN_NEXT), {at(ELMAN_SEQUENCE, 2, 3 * hidden), at(ELMAN_SEQUENCE, 3)}),
      {0, 0},
  });
}

// Inputs dy and x; states dh and dc; output dx; gradients of both matrices and of the bias.
inline Words lstm_backward(int dtype, int64_t inputs, int64_t hidden) {
  const int64_t gates = 4 * hidden;
  const Words i = at(ELMAN_SEQUENCE, 2), f = at(ELMAN_SEQUENCE, 2, hidden), g = at(ELMAN_SEQUENCE, 2, 2 * hidden);
  const Words o = at(ELMAN_SEQUENCE, 2, 3 * hidden), tanh_c = at(ELMAN_SEQUENCE, 3);
  const Words dh = at(ELMAN_TILE), dc = at(ELMAN_TILE, 1);
  return joined({
      {ELMAN_INTERFACE, dtype, 1, 0, 2, hidden, inputs, 2, hidden, -1, hidden, -1, 0, 1, gates},
      {2, gates, inputs, gates, hidden, 4, hidden, hidden, gates, hidden, 2, gates, inputs, 0, 2, hidden, hidden},
      {1}, at(ELMAN_CHUNK, 1), {inputs},
      {0, 2, 0, 13},
      pointwise(OPERATION_add, hidden, dh, {at(ELMAN_STATE), at(ELMAN_INPUT)}),
      pointwise(OPERATION_mul, hidden, dc, {dh, tanh_c}),
      pointwise(OPERATION_sigmoid_slope, hidden, at(ELMAN_CHUNK, 0, 3 * hidden), {dc, o}),
      pointwise(OPERATION_mul, hidden, dc, {dh, o}),
      pointwise(OPERATION_tanh_slope, hidden, dc, {dc, tanh_c}),
      pointwise(OPERATION_add, hidden, dc, {dc, at(ELMAN_STATE, 1)}),
      pointwise(OPERATION_mul, hidden, dh, {dc, g}),
      pointwise(OPERATION_sigmoid_slope, hidden, at(ELMAN_CHUNK), {dh, i}),
      pointwise(OPERATION_mul, hidden, dh, {dc, at(ELMAN_PREVIOUS, 1)}),
      pointwise(OPERATION_sigmoid_slope, hidden, at(ELMAN_CHUNK, 0, hidden), {dh, f}),
      pointwise(OPERATION_mul, hidden, dh, {dc, i}),
      pointwise(OPERATION_tanh_slope, hidden, at(ELMAN_CHUNK, 0, 2 * hidden), {dh, g}),
      pointwise(OPERATION_mul, hidden, at(ELMAN_NEXT, 1), {dc, f}),
      {1}, at(ELMAN_CHUNK), {gates, 1, 0, hidden, 0}, at(0), at(ELMAN_NEXT),
      {1, 1}, at(ELMAN_CHUNK), {gates, 0, 0, inputs, 0}, at(0), at(ELMAN_CHUNK, 1),
      {3, 1, 0}, at(ELMAN_CHUNK), {gates}, at(ELMAN_INPUT, 1), {inputs},
      {1, 1}, at(ELMAN_CHUNK), {gates}, at(ELMAN_PREVIOUS), {hidden},
      {0, 0}, at(ELMAN_CHUNK), {gates}, at(0), {0},
  });
}

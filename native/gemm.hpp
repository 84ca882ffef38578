// Products of matrices: packed once, multiplied often; and the gradients of weights.
//
// A matrix is packed in panels of a few vectors of columns: [panel][k][column]. A tile of the result, some rows by one panel,
// stays in registers while k runs. The loops around it keep what is read again in the second-level cache: a block of rows of the
// left side, and a slice of a panel, BLOCK_K long.
#pragma once
#include "kernels.hpp"
#include "simd.hpp"

namespace elman::ELMAN_KERNELS {

#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int PANEL_VECTORS = 4, ACCUMULATORS = 24;  // of 32 registers
constexpr int OUTER_ROWS = 8;
#else
constexpr int PANEL_VECTORS = 2, ACCUMULATORS = 12;  // of 16
constexpr int OUTER_ROWS = 6;
#endif
constexpr int OUTER_VECTORS = ACCUMULATORS / OUTER_ROWS;
constexpr int MOST_ROWS = 12;

constexpr int64_t BLOCK_K = 512;            // rows of a panel that are used together
constexpr int64_t BLOCK_BYTES = 384 << 10;  // of the left side, in the second-level cache
constexpr int64_t BLOCK_P = 24 * OUTER_ROWS;  // columns of the left side of an outer product that are packed together

ELMAN_INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
ELMAN_INLINE int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

// How `count` things are shared out: in the fewest parts of at most `limit`, whose sizes differ by at most one, larger ones first.
struct Shares {
  int64_t parts, size, extra;
  Shares(int64_t count, int64_t limit) : parts((count + limit - 1) / limit), size(parts ? count / parts : 0) {
    extra = count - parts * size;
  }
  int64_t start(int64_t part) const { return part * size + smaller(part, extra); }
  int64_t length(int64_t part) const { return size + (part < extra); }
};

// The panels of n columns, in vectors.
template <class T>
Shares panels_of(int64_t n, int most_vectors) {
  return Shares((n + LANES<T> - 1) / LANES<T>, most_vectors);
}

// The left side of a tile: rows of a matrix as it lies in memory; or columns of one, packed in groups.
template <class T>
struct Strided {
  static constexpr int most_vectors = PANEL_VECTORS;
  static constexpr int most_rows(int width) { return ACCUMULATORS / width < MOST_ROWS ? ACCUMULATORS / width : MOST_ROWS; }

  const T *data;
  int64_t stride;
  ELMAN_INLINE const T &at(int row, int64_t k) const { return data[row * stride + k]; }
};
template <class T>
struct Grouped {
  static constexpr int most_vectors = OUTER_VECTORS;
  static constexpr int most_rows(int) { return OUTER_ROWS; }

  const T *data;
  ELMAN_INLINE const T &at(int row, int64_t k) const { return data[k * OUTER_ROWS + row]; }
};

// c (rows, columns) = left (rows, k) * panel (k, columns) + addend.
template <class T, class Left, int rows, int width>
void tile(int64_t k, int64_t columns, Left left, const T *panel, Rows<const T> addend, Rows<T> c) {
  constexpr int lanes = LANES<T>;
  const Rows<const T> result{addend.data ? addend.data : c.data, addend.data ? addend.stride : c.stride};
#pragma GCC unroll 16
  for (int row = 0; row < rows; ++row)
#pragma GCC unroll 4
    for (int v = 0; v < width; ++v) __builtin_prefetch(result.data + row * result.stride + v * lanes);

  Vector<T> sums[rows][width] = {};
  for (int64_t i = 0; i < k; ++i) {
    Vector<T> right[width];
#pragma GCC unroll 4
    for (int v = 0; v < width; ++v) right[v] = load(panel + (i * width + v) * lanes);
#pragma GCC unroll 16
    for (int row = 0; row < rows; ++row) {
      const Vector<T> factor = splat(left.at(row, i));
#pragma GCC unroll 4
      for (int v = 0; v < width; ++v) sums[row][v] = factor * right[v] + sums[row][v];
    }
  }

#pragma GCC unroll 16
  for (int row = 0; row < rows; ++row)
#pragma GCC unroll 4
    for (int v = 0; v < width; ++v) {
      const int64_t left_over = v == width - 1 ? columns - v * lanes : lanes;
      Vector<T> sum = sums[row][v];
      if (addend.data) sum += load_first(addend.data + row * addend.stride + v * lanes, left_over);
      store_first(c.data + row * c.stride + v * lanes, sum, left_over);
    }
}

template <class T, class Left>
using Tile = void (*)(int64_t k, int64_t columns, Left left, const T *panel, Rows<const T> addend, Rows<T> c);

// All tiles of one kind of left side, by width and rows.
template <class T, class Left>
struct Tiles {
  Tile<T, Left> of[Left::most_vectors][MOST_ROWS];

  template <int width, int... rows>
  constexpr void fill(std::integer_sequence<int, rows...>) {
    ((of[width - 1][rows] = tile<T, Left, rows + 1, width>), ...);
  }
  template <int... widths>
  constexpr void fill_all(std::integer_sequence<int, widths...>) {
    (fill<widths + 1>(std::make_integer_sequence<int, Left::most_rows(widths + 1)>()), ...);
  }
  constexpr Tiles() : of() { fill_all(std::make_integer_sequence<int, Left::most_vectors>()); }

  Tile<T, Left> operator()(int64_t width, int64_t rows) const { return of[width - 1][rows - 1]; }
};
template <class T, class Left>
constexpr Tiles<T, Left> tiles{};

// ---- Packing

template <int distance, bool high, int lanes, size_t... lane, class V>
ELMAN_INLINE V interleave(V a, V b, std::index_sequence<lane...>) {
  constexpr int shift = high ? distance : 0;
  return shuffle<int(lane & distance ? lane - distance + lanes + shift : lane + shift)...>(a, b);
}

// A square block, in log2(lanes) rounds that swap ever larger corners.
template <int distance = 1, class V, size_t lanes>
ELMAN_INLINE void transpose(V (&rows)[lanes]) {
  constexpr auto order = std::make_index_sequence<lanes>();
#pragma GCC unroll 16
  for (size_t row = 0; row < lanes; ++row) {
    if (row & distance) continue;
    const V low = interleave<distance, false, int(lanes)>(rows[row], rows[row + distance], order);
    rows[row + distance] = interleave<distance, true, int(lanes)>(rows[row], rows[row + distance], order);
    rows[row] = low;
  }
  if constexpr (distance * 2 < int(lanes)) transpose<distance * 2>(rows);
}

// One vector of columns of a panel, whose rows are `stride` apart, from a matrix that is contiguous along k.
template <class T>
void pack_along_k(int64_t k, int64_t columns, const T *matrix, int64_t n_stride, T *packed, int64_t stride) {
  constexpr int lanes = LANES<T>;
  for (int64_t i = 0; i < k; i += lanes) {
    const int64_t left_over = smaller(lanes, k - i);
    Vector<T> block[lanes];
#pragma GCC unroll 16
    for (int column = 0; column < lanes; ++column)
      block[column] = column < columns ? load_first(matrix + column * n_stride + i, left_over) : Vector<T>{};
    transpose(block);
#pragma GCC unroll 16
    for (int row = 0; row < lanes; ++row)
      if (row < left_over) store(packed + (i + row) * stride, block[row]);
  }
}

template <class T>
void pack_any(int64_t k, int64_t columns, const T *matrix, int64_t k_stride, int64_t n_stride, T *packed, int64_t stride) {
  for (int64_t i = 0; i < k; ++i)
    for (int column = 0; column < LANES<T>; ++column)
      packed[i * stride + column] = column < columns ? matrix[i * k_stride + column * n_stride] : T(0);
}

template <class T>
void pack_along_n(int64_t k, int64_t columns, const T *matrix, int64_t k_stride, T *packed, int64_t stride) {
  for (int64_t i = 0; i < k; ++i)
    for (int64_t column = 0; column < stride; column += LANES<T>)
      store(packed + i * stride + column,
            column < columns ? load_first(matrix + i * k_stride + column, columns - column) : Vector<T>{});
}

template <class T>
size_t packed_size(int64_t k, int64_t n) {
  return size_t(k) * size_t((n + LANES<T> - 1) / LANES<T> * LANES<T>);
}

template <class T>
void pack_panels(const Shares &panels, int64_t k, int64_t n, const T *matrix, int64_t k_stride, int64_t n_stride, T *packed) {
  constexpr int lanes = LANES<T>;
  for (int64_t panel = 0; panel < panels.parts; ++panel) {
    const int64_t first = panels.start(panel) * lanes, stride = panels.length(panel) * lanes;
    T *const to = packed + first * k;
    if (n_stride == 1) {
      pack_along_n(k, smaller(stride, n - first), matrix + first, k_stride, to, stride);
      continue;
    }
    for (int64_t column = 0; column < stride; column += lanes) {
      const T *const from = matrix + (first + column) * n_stride;
      const int64_t columns = smaller(lanes, n - first - column);
      if (k_stride == 1)
        pack_along_k(k, columns, from, n_stride, to + column, stride);
      else
        pack_any(k, columns, from, k_stride, n_stride, to + column, stride);
    }
  }
}

template <class T>
void pack(int64_t k, int64_t n, const T *matrix, int64_t k_stride, int64_t n_stride, T *packed) {
  pack_panels(panels_of<T>(n, PANEL_VECTORS), k, n, matrix, k_stride, n_stride, packed);
}

// ---- Products

// One panel of the result, for some rows.
template <class T>
void matmul_panel(int64_t m, int64_t columns, int64_t k, int64_t width, Rows<const T> a, const T *panel, Rows<const T> addend,
                  Rows<T> c) {
  const Shares slices(larger(k, 1), BLOCK_K), rows(m, Strided<T>::most_rows(int(width)));
  for (int64_t slice = 0; slice < slices.parts; ++slice) {
    const int64_t begin = slices.start(slice), length = smaller(k, slices.length(slice));
    const Rows<const T> start = slice ? Rows<const T>{c.data, c.stride} : addend;
    for (int64_t part = 0; part < rows.parts; ++part) {
      const int64_t row = rows.start(part);
      tiles<T, Strided<T>>(width, rows.length(part))(
          length, columns, {a.data + row * a.stride + begin, a.stride}, panel + begin * width * LANES<T>,
          {start.data ? start.data + row * start.stride : nullptr, start.stride}, {c.data + row * c.stride, c.stride});
    }
  }
}

template <class T>
void matmul(int64_t m, int64_t n, int64_t k, Rows<const T> a, const T *packed, Rows<const T> addend, Rows<T> c) {
  const Shares panels = panels_of<T>(n, PANEL_VECTORS);
  const Shares blocks(m, larger(MOST_ROWS, BLOCK_BYTES / int64_t(sizeof(T)) / larger(k, 1)));
  for (int64_t block = 0; block < blocks.parts; ++block)
    for (int64_t panel = 0; panel < panels.parts; ++panel) {
      const int64_t row = blocks.start(block), first = panels.start(panel) * LANES<T>;
      matmul_panel<T>(blocks.length(block), n - first, k, panels.length(panel), {a.data + row * a.stride, a.stride},
                      packed + first * k,
                      {addend.data ? addend.data + row * addend.stride + first : nullptr, addend.stride},
                      {c.data + row * c.stride + first, c.stride});
    }
}

// ---- Gradients of weights

// A group of columns takes this much, so that neighbours do not meet in the same sets of the first-level cache.
constexpr int64_t group_size(int64_t m) { return (m + 8) * OUTER_ROWS; }

// Columns of m rows, in groups: [group][row][column of the group].
template <class T>
void pack_groups(int64_t m, int64_t columns, Rows<const T> left, T *packed) {
  const int64_t whole = columns / OUTER_ROWS, rest = columns % OUTER_ROWS, size = group_size(m);
  for (int64_t row = 0; row < m; ++row) {
    const T *const from = left.data + row * left.stride;
    T *const to = packed + row * OUTER_ROWS;
    for (int64_t group = 0; group < whole; ++group)
      __builtin_memcpy(to + group * size, from + group * OUTER_ROWS, OUTER_ROWS * sizeof(T));
    for (int64_t column = 0; column < rest; ++column) to[whole * size + column] = from[whole * OUTER_ROWS + column];
  }
}

template <class T>
size_t outer_scratch(int64_t m, int64_t p, int64_t q) {
  const int64_t length = smaller(m, BLOCK_K), groups = (smaller(p, BLOCK_P) + OUTER_ROWS - 1) / OUTER_ROWS;
  return packed_size<T>(length, q) + size_t(groups * group_size(length));
}

// out += for some columns of the left side, packed in groups, and all of the right side, packed in panels.
template <class T>
void outer_block(int64_t m, int64_t p, int64_t q, const T *groups, const T *packed, Rows<T> out) {
  const Shares panels = panels_of<T>(q, OUTER_VECTORS);
  for (int64_t panel = 0; panel < panels.parts; ++panel) {
    const int64_t first = panels.start(panel) * LANES<T>;
    for (int64_t row = 0; row < p; row += OUTER_ROWS) {
      T *const result = out.data + row * out.stride + first;
      tiles<T, Grouped<T>>(panels.length(panel), smaller(OUTER_ROWS, p - row))(
          m, q - first, {groups + row / OUTER_ROWS * group_size(m)}, packed + first * m, {result, out.stride},
          {result, out.stride});
    }
  }
}

template <class T>
void outer(int64_t m, int64_t p, int64_t q, Rows<const T> left, Rows<const T> right, Rows<T> out, T *scratch) {
  const Shares slices(m, BLOCK_K);
  T *const groups = scratch + packed_size<T>(smaller(m, BLOCK_K), q);
  for (int64_t slice = 0; slice < slices.parts; ++slice) {
    const int64_t begin = slices.start(slice), length = slices.length(slice);
    pack_panels(panels_of<T>(q, OUTER_VECTORS), length, q, right.data + begin * right.stride, right.stride, 1, scratch);
    for (int64_t column = 0; column < p; column += BLOCK_P) {
      const int64_t columns = smaller(BLOCK_P, p - column);
      pack_groups<T>(length, columns, {left.data + begin * left.stride + column, left.stride}, groups);
      outer_block<T>(length, columns, q, groups, scratch, {out.data + column * out.stride, out.stride});
    }
  }
}

// Some vectors of columns, the last `rest` columns wide, in blocks of rows: a sum of few sums is more exact than one long sum.
template <class T, int vectors>
void add_up(int64_t m, int64_t rest, Rows<const T> left, T *out) {
  constexpr int lanes = LANES<T>, last = vectors - 1;
  constexpr int64_t BLOCK = 64;
  Vector<T> sums[vectors] = {};
  for (int64_t begin = 0; begin < m; begin += BLOCK) {
    Vector<T> block[vectors] = {};
    for (int64_t row = begin; row < smaller(begin + BLOCK, m); ++row) {
      const T *const from = left.data + row * left.stride;
#pragma GCC unroll 4
      for (int v = 0; v < last; ++v) block[v] += load(from + v * lanes);
      block[last] += load_first(from + last * lanes, rest);
    }
    for (int v = 0; v < vectors; ++v) sums[v] += block[v];
  }
  for (int v = 0; v < last; ++v) store(out + v * lanes, load(out + v * lanes) + sums[v]);
  store_first(out + last * lanes, load_first(out + last * lanes, rest) + sums[last], rest);
}

template <class T>
void column_sums(int64_t m, int64_t p, Rows<const T> left, T *out) {
  constexpr int lanes = LANES<T>;
  int64_t column = 0;
  for (; column + 4 * lanes <= p; column += 4 * lanes) add_up<T, 4>(m, lanes, {left.data + column, left.stride}, out + column);
  for (; column < p; column += lanes)
    add_up<T, 1>(m, smaller(lanes, p - column), {left.data + column, left.stride}, out + column);
}

}  // namespace elman::ELMAN_KERNELS

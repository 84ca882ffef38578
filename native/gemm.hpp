// Products of matrices: packed once, multiplied often; and the gradients of weights.
//
// A matrix is packed in panels of a few vectors of columns: [panel][k][column]. A tile of the result, some rows by one panel,
// stays in registers while k runs. The loops around it keep what is read again in the second-level cache: a block of rows of the
// left side, and a slice of a panel, BLOCK_K long.
//
// `Form` says what is multiplied, the factors: the numbers themselves (Exact, below), or pairs of them, neighbours along k, rounded
// (gemm_bf16.hpp). A factor is as wide as a number.
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
constexpr int64_t LINE_BYTES = 64;  // of the cache

constexpr int64_t BLOCK_K = 512;            // rows of a panel, in factors, that are used together
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

template <class T>
struct Exact {
  using Number = T;
  using Factor = T;
  static constexpr int COUNT = 1;              // numbers in a factor
  static constexpr int GROUPED = OUTER_ROWS;  // columns that `group` packs at once

  static ELMAN_INLINE Vector<T> add_product(Vector<T> sum, Vector<T> a, Vector<T> b) { return a * b + sum; }
  // A vector of factors: of the first numbers of a row; of the first columns of `rows` rows, 1 to COUNT, along k.
  static ELMAN_INLINE Vector<T> along(const T *from, int64_t numbers) { return load_first(from, numbers); }
  static ELMAN_INLINE Vector<T> across(Rows<const T> from, int64_t, int64_t columns) { return load_first(from.data, columns); }
  // The same columns, 1 to GROUPED, in groups of OUTER_ROWS that are `size` apart.
  static ELMAN_INLINE void group(Rows<const T> from, int64_t, int64_t columns, T *packed, int64_t) {
    if (columns == OUTER_ROWS)
      __builtin_memcpy(packed, from.data, OUTER_ROWS * sizeof(T));
    else
      for (int64_t column = 0; column < columns; ++column) packed[column] = from.data[column];
  }
  // The left side of a product, as factors; `scratch` has room for left_size(m, k).
  static int64_t left_size(int64_t, int64_t) { return 0; }
  static Rows<const T> left(int64_t, int64_t, Rows<const T> from, T *) { return from; }
};
template <class Form>
using NumberOf = typename Form::Number;
template <class Form>
using FactorOf = typename Form::Factor;

// Factors along k for so many numbers; the last one may hold fewer, and zeros.
template <class Form>
constexpr int64_t factors(int64_t k) {
  return (k + Form::COUNT - 1) / Form::COUNT;
}

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

// The next lines of what is wanted soon, at most so many; one that is here if no more is wanted.
ELMAN_INLINE Ahead::Stretch take(Ahead &ahead, int64_t lines, const void *here) {
  if (ahead.next == ahead.past) return {static_cast<const char *>(here), 1};
  Ahead::Stretch &stretch = *ahead.next;
  const Ahead::Stretch taken{stretch.start, smaller(lines, stretch.lines)};
  stretch.start += taken.lines * LINE_BYTES;
  stretch.lines -= taken.lines;
  if (stretch.lines == 0) ++ahead.next;
  return taken;
}

// c (rows, columns) = left (rows, k) * panel (k, columns) + addend; k counts factors.
template <class Form, class Left, int rows, int width>
void tile(int64_t k, int64_t columns, Left left, const FactorOf<Form> *panel, Rows<const NumberOf<Form>> addend,
          Rows<NumberOf<Form>> c, Ahead &ahead) {
  using T = NumberOf<Form>;
  using Factor = FactorOf<Form>;
  constexpr int lanes = LANES<T>;
  const Rows<const T> result{addend.data ? addend.data : c.data, addend.data ? addend.stride : c.stride};
#pragma GCC unroll 16
  for (int row = 0; row < rows; ++row)
#pragma GCC unroll 4
    for (int v = 0; v < width; ++v) __builtin_prefetch(result.data + row * result.stride + v * lanes);

  Vector<T> sums[rows][width] = {};
  const Ahead::Stretch wanted = take(ahead, k, panel);
  for (int64_t i = 0; i < k; ++i) {
    __builtin_prefetch(wanted.start + smaller(i, wanted.lines - 1) * LINE_BYTES);
    Vector<Factor> right[width];
#pragma GCC unroll 4
    for (int v = 0; v < width; ++v) right[v] = load(panel + (i * width + v) * lanes);
#pragma GCC unroll 16
    for (int row = 0; row < rows; ++row) {
      const Vector<Factor> factor = splat(left.at(row, i));
#pragma GCC unroll 4
      for (int v = 0; v < width; ++v) sums[row][v] = Form::add_product(sums[row][v], factor, right[v]);
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

template <class Form, class Left>
using Tile = void (*)(int64_t k, int64_t columns, Left left, const FactorOf<Form> *panel, Rows<const NumberOf<Form>> addend,
                      Rows<NumberOf<Form>> c, Ahead &ahead);

// All tiles of one kind of left side, by width and rows.
template <class Form, class Left>
struct Tiles {
  Tile<Form, Left> of[Left::most_vectors][MOST_ROWS];

  template <int width, int... rows>
  constexpr void fill(std::integer_sequence<int, rows...>) {
    ((of[width - 1][rows] = tile<Form, Left, rows + 1, width>), ...);
  }
  template <int... widths>
  constexpr void fill_all(std::integer_sequence<int, widths...>) {
    (fill<widths + 1>(std::make_integer_sequence<int, Left::most_rows(widths + 1)>()), ...);
  }
  constexpr Tiles() : of() { fill_all(std::make_integer_sequence<int, Left::most_vectors>()); }

  Tile<Form, Left> operator()(int64_t width, int64_t rows) const { return of[width - 1][rows - 1]; }
};
template <class Form, class Left>
constexpr Tiles<Form, Left> tiles{};

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
template <class Form>
void pack_along_k(int64_t k, int64_t columns, Rows<const NumberOf<Form>> matrix, FactorOf<Form> *packed, int64_t stride) {
  using Factor = FactorOf<Form>;
  constexpr int lanes = LANES<Factor>;
  for (int64_t i = 0; i < factors<Form>(k); i += lanes) {
    const int64_t left_over = smaller(lanes, factors<Form>(k) - i);
    Vector<Factor> block[lanes];
#pragma GCC unroll 16
    for (int column = 0; column < lanes; ++column)
      block[column] = column < columns
                          ? Form::along(matrix.data + column * matrix.stride + i * Form::COUNT, k - i * Form::COUNT)
                          : Vector<Factor>{};
    transpose(block);
#pragma GCC unroll 16
    for (int row = 0; row < lanes; ++row)
      if (row < left_over) store(packed + (i + row) * stride, block[row]);
  }
}

// The same from a matrix with gaps in both directions.
template <class Form>
void pack_any(int64_t k, int64_t columns, const NumberOf<Form> *matrix, int64_t k_stride, int64_t n_stride,
              FactorOf<Form> *packed, int64_t stride) {
  constexpr int lanes = LANES<NumberOf<Form>>;
  for (int64_t i = 0; i < k; i += Form::COUNT, packed += stride) {
    const int64_t rows = smaller(Form::COUNT, k - i);
    NumberOf<Form> block[Form::COUNT][lanes] = {};
    for (int64_t row = 0; row < rows; ++row)
      for (int64_t column = 0; column < columns; ++column)
        block[row][column] = matrix[(i + row) * k_stride + column * n_stride];
    store(packed, Form::across({block[0], lanes}, rows, lanes));
  }
}

// A panel from a matrix that is contiguous along n.
template <class Form>
void pack_along_n(int64_t k, int64_t columns, Rows<const NumberOf<Form>> matrix, FactorOf<Form> *packed, int64_t stride) {
  using Factor = FactorOf<Form>;
  for (int64_t i = 0; i < k; i += Form::COUNT, packed += stride)
    for (int64_t column = 0; column < stride; column += LANES<Factor>)
      store(packed + column, column < columns ? Form::across({matrix.data + i * matrix.stride + column, matrix.stride},
                                                             smaller(Form::COUNT, k - i), columns - column)
                                              : Vector<Factor>{});
}

template <class Form>
size_t packed_size(int64_t k, int64_t n) {
  constexpr int lanes = LANES<NumberOf<Form>>;
  return size_t(factors<Form>(k)) * size_t((n + lanes - 1) / lanes * lanes);
}

template <class Form>
void pack_panels(const Shares &panels, int64_t k, int64_t n, const NumberOf<Form> *matrix, int64_t k_stride, int64_t n_stride,
                 FactorOf<Form> *packed) {
  constexpr int lanes = LANES<NumberOf<Form>>;
  for (int64_t panel = 0; panel < panels.parts; ++panel) {
    const int64_t first = panels.start(panel) * lanes, stride = panels.length(panel) * lanes;
    FactorOf<Form> *const to = packed + first * factors<Form>(k);
    if (n_stride == 1) {
      pack_along_n<Form>(k, smaller(stride, n - first), {matrix + first, k_stride}, to, stride);
      continue;
    }
    for (int64_t column = 0; column < stride; column += lanes) {
      const NumberOf<Form> *const from = matrix + (first + column) * n_stride;
      const int64_t columns = smaller(lanes, n - first - column);
      if (k_stride == 1)
        pack_along_k<Form>(k, columns, {from, n_stride}, to + column, stride);
      else
        pack_any<Form>(k, columns, from, k_stride, n_stride, to + column, stride);
    }
  }
}

// What is packed, and scratch, is memory for numbers that holds factors.
template <class Form>
FactorOf<Form> *as_factors(NumberOf<Form> *memory) {
  return reinterpret_cast<FactorOf<Form> *>(memory);
}

template <class Form>
void pack(int64_t k, int64_t n, const NumberOf<Form> *matrix, int64_t k_stride, int64_t n_stride, NumberOf<Form> *packed) {
  pack_panels<Form>(panels_of<NumberOf<Form>>(n, PANEL_VECTORS), k, n, matrix, k_stride, n_stride, as_factors<Form>(packed));
}

// ---- Products

// One panel of the result, for some rows; k counts factors.
template <class Form>
void matmul_panel(int64_t m, int64_t columns, int64_t k, int64_t width, Rows<const FactorOf<Form>> a,
                  const FactorOf<Form> *panel, Rows<const NumberOf<Form>> addend, Rows<NumberOf<Form>> c, Ahead &ahead) {
  using T = NumberOf<Form>;
  using Left = Strided<FactorOf<Form>>;
  const Shares slices(larger(k, 1), BLOCK_K), rows(m, Left::most_rows(int(width)));
  for (int64_t slice = 0; slice < slices.parts; ++slice) {
    const int64_t begin = slices.start(slice), length = smaller(k, slices.length(slice));
    const Rows<const T> start = slice ? Rows<const T>{c.data, c.stride} : addend;
    for (int64_t part = 0; part < rows.parts; ++part) {
      const int64_t row = rows.start(part);
      tiles<Form, Left>(width, rows.length(part))(
          length, columns, {a.data + row * a.stride + begin, a.stride}, panel + begin * width * LANES<T>,
          {start.data ? start.data + row * start.stride : nullptr, start.stride}, {c.data + row * c.stride, c.stride},
          ahead);
    }
  }
}

// How many rows of the left side, at most, are used together.
template <class Form>
int64_t block_rows(int64_t k) {
  return larger(MOST_ROWS, BLOCK_BYTES / int64_t(sizeof(FactorOf<Form>)) / larger(factors<Form>(k), 1));
}

template <class Form>
size_t matmul_scratch(int64_t m, int64_t k) {
  return size_t(Form::left_size(smaller(m, block_rows<Form>(k)), k));
}

template <class Form>
void matmul(int64_t m, int64_t n, int64_t k, Rows<const NumberOf<Form>> a, const NumberOf<Form> *packed,
            Rows<const NumberOf<Form>> addend, Rows<NumberOf<Form>> c, NumberOf<Form> *scratch, Ahead &ahead) {
  using T = NumberOf<Form>;
  const Shares panels = panels_of<T>(n, PANEL_VECTORS), blocks(m, block_rows<Form>(k));
  const FactorOf<Form> *const factors_of = as_factors<Form>(const_cast<T *>(packed));
  for (int64_t block = 0; block < blocks.parts; ++block) {
    const int64_t row = blocks.start(block), rows = blocks.length(block);
    const auto left = Form::left(rows, k, {a.data + row * a.stride, a.stride}, as_factors<Form>(scratch));
    for (int64_t panel = 0; panel < panels.parts; ++panel) {
      const int64_t first = panels.start(panel) * LANES<T>;
      matmul_panel<Form>(rows, n - first, factors<Form>(k), panels.length(panel), left,
                         factors_of + first * factors<Form>(k),
                         {addend.data ? addend.data + row * addend.stride + first : nullptr, addend.stride},
                         {c.data + row * c.stride + first, c.stride}, ahead);
    }
  }
}

// ---- Gradients of weights

// A group of columns takes this much, so that neighbours do not meet in the same sets of the first-level cache.
constexpr int64_t group_size(int64_t factors) { return (factors + 8) * OUTER_ROWS; }

// Columns of m rows, in groups: [group][factor][column of the group].
template <class Form>
void pack_groups(int64_t m, int64_t columns, Rows<const NumberOf<Form>> left, FactorOf<Form> *packed) {
  const int64_t size = group_size(factors<Form>(m));
  for (int64_t row = 0; row < m; row += Form::COUNT, packed += OUTER_ROWS)
    for (int64_t column = 0; column < columns; column += Form::GROUPED)
      Form::group({left.data + row * left.stride + column, left.stride}, smaller(Form::COUNT, m - row),
                  smaller(Form::GROUPED, columns - column), packed + column / OUTER_ROWS * size, size);
}

// How many rows, at most, are packed together.
template <class Form>
constexpr int64_t OUTER_LENGTH = BLOCK_K * Form::COUNT;

template <class Form>
size_t outer_scratch(int64_t m, int64_t p, int64_t q) {
  const int64_t length = smaller(m, OUTER_LENGTH<Form>), groups = (smaller(p, BLOCK_P) + OUTER_ROWS - 1) / OUTER_ROWS;
  return packed_size<Form>(length, q) + size_t(groups * group_size(factors<Form>(length)));
}

// out += for some columns of the left side, packed in groups, and all of the right side, packed in panels; m counts factors.
template <class Form>
void outer_block(int64_t m, int64_t p, int64_t q, const FactorOf<Form> *groups, const FactorOf<Form> *packed,
                 Rows<NumberOf<Form>> out) {
  using T = NumberOf<Form>;
  const Shares panels = panels_of<T>(q, OUTER_VECTORS);
  Ahead nothing{};
  for (int64_t panel = 0; panel < panels.parts; ++panel) {
    const int64_t first = panels.start(panel) * LANES<T>;
    for (int64_t row = 0; row < p; row += OUTER_ROWS) {
      T *const result = out.data + row * out.stride + first;
      tiles<Form, Grouped<FactorOf<Form>>>(panels.length(panel), smaller(OUTER_ROWS, p - row))(
          m, q - first, {groups + row / OUTER_ROWS * group_size(m)}, packed + first * m, {result, out.stride},
          {result, out.stride}, nothing);
    }
  }
}

template <class Form>
void outer(int64_t m, int64_t p, int64_t q, Rows<const NumberOf<Form>> left, Rows<const NumberOf<Form>> right,
           Rows<NumberOf<Form>> out, NumberOf<Form> *scratch) {
  const Shares slices(m, OUTER_LENGTH<Form>);
  FactorOf<Form> *const packed = as_factors<Form>(scratch);
  FactorOf<Form> *const groups = packed + packed_size<Form>(smaller(m, OUTER_LENGTH<Form>), q);
  for (int64_t slice = 0; slice < slices.parts; ++slice) {
    const int64_t begin = slices.start(slice), length = slices.length(slice);
    pack_panels<Form>(panels_of<NumberOf<Form>>(q, OUTER_VECTORS), length, q, right.data + begin * right.stride, right.stride, 1,
                      packed);
    for (int64_t column = 0; column < p; column += BLOCK_P) {
      const int64_t columns = smaller(BLOCK_P, p - column);
      pack_groups<Form>(length, columns, {left.data + begin * left.stride + column, left.stride}, groups);
      outer_block<Form>(factors<Form>(length), columns, q, groups, packed, {out.data + column * out.stride, out.stride});
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

template <class Form>
constexpr Products<NumberOf<Form>> products() {
  return {packed_size<Form>, pack<Form>, matmul_scratch<Form>, matmul<Form>, outer_scratch<Form>, outer<Form>};
}

}  // namespace elman::ELMAN_KERNELS

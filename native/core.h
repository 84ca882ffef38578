/* The C interface of elman's core. Plain pointers; no PyTorch, no Python.
 *
 * Every function that can fail returns 0, or another number with a sentence from elman_error() (of this thread).
 * Sizes and strides count elements, not bytes. Thread-safe unless said otherwise. */
#ifndef ELMAN_CORE_H
#define ELMAN_CORE_H
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

/* ELMAN_BFLOAT16 is one of products only: of float32 arrays, whose numbers are rounded to bfloat16, and added up in float32.
 * Where elman_has_bfloat16() is 0 they are products of float32. */
enum { ELMAN_FLOAT32 = 0, ELMAN_FLOAT64 = 1, ELMAN_BFLOAT16 = 2 };
#define ELMAN_INTERFACE 2 /* raised when anything below changes; the binding refuses another */

int64_t elman_interface(void);
const char *elman_error(void);
const char *elman_operations(void); /* names of the pointwise operations, comma-separated; the code of each is its place */
const char *elman_kernels(void);    /* the kernels in use: "avx512", "avx2", "neon" or "portable" */
int elman_has_bfloat16(void);       /* whether products of the kernels in use can round to bfloat16: 1 or 0 */
int elman_use_kernels(const char *name); /* for tests and benchmarks: forces them; fails where they cannot run */

/* Memory in huge pages, aligned to 64 bytes, not cleared; what is given back is kept for the next call, up to a limit. */
void *elman_allocate(size_t bytes);
void elman_release(void *memory);
void elman_trim(void); /* gives what is kept back to the system */

/* An array in the caller's layout. Columns are adjacent. */
typedef struct {
  void *data;
  int64_t row_stride;
  int64_t step_stride; /* of a matrix: the stride of its columns */
} elman_array;

/* out[i] = a[op](...) for i < n, through the vector kernels. Unused operands may be NULL. */
int elman_apply(int dtype, int operation, int64_t n, const void *a, const void *b, const void *c, void *out);

/* Dense layers; dtype may be ELMAN_BFLOAT16. y (m, n) = x (m, k) W' + bias, where
 * W'[k][n] = w.data[n * row_stride + k * step_stride]; bias may be NULL. Rows of x and y are contiguous; row_stride is from row
 * to row. accumulate: y is added to. */
int elman_matmul(int dtype, int threads, int64_t m, int64_t n, int64_t k, const elman_array *x, const elman_array *w,
                 const void *bias, const elman_array *y, int accumulate);
/* out (p, q), contiguous = sum over rows r < m of left[r][p] * right[r][q]: the gradient of a weight. */
int elman_outer(int dtype, int threads, int64_t m, int64_t p, int64_t q, const elman_array *left, const elman_array *right,
                void *out, int accumulate);

/* ---- A planned Program ------------------------------------------------------------------------------------------
 *
 * A plan runs a recurrence over a batch of sequences: forward in time, or backward in time (`reverse`) for gradients.
 * Time is cut into chunks of consecutive steps that fit the cache. For each chunk, in the order of time that the plan has:
 * gather the inputs; part BEFORE, over all rows of the chunk; part STEP, time step by time step; part AFTER, over all rows of
 * the chunk; gradients, over all rows of the chunk; scatter the outputs.
 * Threads share the rows of the batch out among themselves (a shard each), and each runs all of time without a barrier.
 *
 * A plan is given as int64 words:
 *   version (= ELMAN_INTERFACE), dtype, reverse (0 or 1)
 *   constants: n; the numbers are given apart, as doubles
 *   inputs:    n, then the width of each           one row a time step and sequence, in the caller's layout
 *   states:    n, then width, sequence of each     carried from step to step; `sequence`: the slot where each step's new state
 *                                                  is kept, or -1: only the latest is
 *   fixed:     n, then the width of each           one row a sequence, the same at all steps
 *   vectors:   n, then the size of each            weights added to, or multiplied with, every row
 *   matrices:  n, then rows, columns of each
 *   sequences: n, then the width of each           kept over all of time: what the backward pass needs
 *   chunks:    n, then the width of each           kept for the rows of the current chunk
 *   blocks:    n, then the width of each           kept for the rows that a part is running on: a step's, or a chunk's
 *   tiles:     n, then the width of each           kept for a few rows, while a stage of instructions runs over them
 *   outputs:   n, then an operand of each (INPUT, CHUNK or SEQUENCE, not splat) and its width
 *   parts:     three times, BEFORE, STEP, AFTER: number of stages, then the stages
 *   gradients: n, then of each: is_matrix (0 or 1), index, left operand, left width, right operand, right width
 *                                                  matrix[p][q] += sum over rows of left[p] * right[q]; a vector has no
 *                                                  right (zeros there). Operands: INPUT, CHUNK, SEQUENCE or PREVIOUS.
 * operand: space, index, start, splat              `start`: first column; splat: that one column stands for all columns
 * stage:   0 (instructions), n, then n instructions; or
 *          1 (product), input operand, k, matrix, transposed, n, has_addend, addend operand, result operand
 *              result[n] = sum over k of input[k] * M[k][n] + addend, M the matrix, or its transpose
 * instruction: kind, ...
 *          0 (pointwise): operation, size, number of operands (1 to 3), result operand, operands
 *          1 (sum), 2 (maximum): groups, length, result operand, operand      result[g] = of operand[g * length + j] over j
 *          3 (gather): axes (1 to 4), sizes, strides of each axis, result operand, operand
 *              result, row-major over the sizes; operand column = start + sum of index * stride
 * The result of an instruction does not overlap its operands, except element by element in place.
 * PREVIOUS i is the sequence i one step earlier in time, and its `initial` at the first: what a state was before the step.
 * CONSTANT, VECTOR and FIXED can be read only. FIXED and STATE, NEXT and PREVIOUS occur only in part STEP (PREVIOUS also in
 * gradients). NEXT i is where the new state i goes; it can be read back in the same step. */
enum {
  ELMAN_CONSTANT, ELMAN_VECTOR, ELMAN_INPUT, ELMAN_STATE, ELMAN_NEXT, ELMAN_FIXED,
  ELMAN_SEQUENCE, ELMAN_PREVIOUS, ELMAN_CHUNK, ELMAN_BLOCK, ELMAN_TILE
};
typedef struct elman_plan elman_plan;
/* Checks every number: NULL, with elman_error(), if one is out of range. */
elman_plan *elman_plan_create(const int64_t *words, size_t count, const double *constants);
void elman_plan_destroy(elman_plan *plan);

typedef struct {
  int64_t batch, steps;
  const int64_t *lengths;      /* (batch,) real steps of each sequence, 0..steps; NULL: all */
  int64_t threads;             /* at most; a backward plan gets the number of its forward run */
  const elman_array *inputs;   /* read only at real steps */
  const elman_array *outputs;  /* written only at real steps */
  const elman_array *initial;  /* states before the first step in the plan's order of time; data NULL: zeros */
  const elman_array *final;    /* states after the last; data NULL: not wanted. A sequence of length 0 keeps its initial */
  const elman_array *fixed;
  const void *const *vectors;  /* contiguous */
  const elman_array *matrices; /* data[row * row_stride + column * step_stride] */
  void *const *sequences;      /* elman_sequence_size elements each; layout private to the core, the same for the forward and
                                  the backward plan given the same batch, steps, lengths and threads */
  const elman_array *sequence_initial; /* for PREVIOUS; data NULL: zeros */
  void *const *matrix_gradients; /* contiguous, overwritten; NULL where there is none */
  void *const *vector_gradients;
  volatile const int *stop;    /* NULL, or becomes nonzero to stop between chunks: the run then returns ELMAN_STOPPED */
  int64_t precision;           /* of all products of a float32 plan, gradients of matrices too: ELMAN_FLOAT32 or ELMAN_BFLOAT16;
                                  without meaning for a float64 plan */
} elman_call;
enum { ELMAN_STOPPED = 2 };
int64_t elman_sequence_size(int dtype, int64_t width, int64_t total_steps); /* total_steps: the sum of all lengths */
int elman_run(const elman_plan *plan, const elman_call *call);

/* ---- Linear recurrences -----------------------------------------------------------------------------------------
 * h_t = a_t * h_{t-1} + b_t along time, for (batch, steps, channels) arrays in any layout, channels adjacent; complex numbers as
 * pairs. `decay` may have row_stride 0 or step_stride 0 (constant along that axis). reverse: from the last step to the first,
 * h_t = a_t * h_{t+1} + b_t. */
int elman_scan(int dtype, int is_complex, int reverse, int threads, int64_t batch, int64_t steps, int64_t channels,
               const elman_array *decay, const elman_array *values, const elman_array *initial, const elman_array *hidden);
/* Gradients of a scan that ran forward in time (reverse = 0): total_t = slope_t + conj(a_{t+1}) total_{t+1} is the gradient by b_t,
 * conj(h_{t-1}) total_t the one by a_t (summed over the axes where the decay is constant), conj(a_1) total_1 the one by h_0.
 * decay_gradient.data and initial_gradient.data may be NULL. */
int elman_scan_backward(int dtype, int is_complex, int reverse, int threads, int64_t batch, int64_t steps, int64_t channels,
                        const elman_array *decay, const elman_array *hidden, const elman_array *initial, const elman_array *slope,
                        const elman_array *decay_gradient, const elman_array *value_gradient,
                        const elman_array *initial_gradient);

#ifdef __cplusplus
}
#endif
#endif

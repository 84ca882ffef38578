// The products that round to bfloat16, compiled with the instructions for it: ELMAN_KERNELS is avx512_bf16.
#include "gemm_bf16.hpp"

namespace elman::ELMAN_KERNELS {

extern const Products<float> rounded_products = products<Rounded>();

}  // namespace elman::ELMAN_KERNELS

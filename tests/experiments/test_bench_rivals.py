"""The rivals compute what they are compared with."""

import numpy as np
import pytest
import torch

from elman.experiments.bench_rivals import TORCH, has_jax, scan_call, torch_call, torch_module
from elman.experiments.bench_timing import Shape


@pytest.mark.skipif(not has_jax(), reason="JAX is not installed")
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("kind", TORCH)
def test_lax_scan_gives_the_gradients_of_torch(kind: str, layers: int) -> None:
    shape = Shape(2, 5, 3, 4, layers)
    module = torch_module(kind, shape)
    x, slope = torch.randn(2, 5, 3), torch.randn(2, 5, 4)
    torch_call(module, x, slope)()
    for parameter, gradient in zip(module.parameters(), scan_call(module, x, slope)(), strict=True):
        assert parameter.grad is not None
        np.testing.assert_allclose(np.asarray(gradient).T, parameter.grad.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", TORCH)
def test_torch_starts_from_no_gradient_each_time(kind: str) -> None:
    module = torch_module(kind, Shape(2, 5, 3, 4))
    call = torch_call(module, torch.randn(2, 5, 3), torch.randn(2, 5, 4))
    call()
    first = [parameter.grad for parameter in module.parameters()]
    call()
    for parameter, gradient in zip(module.parameters(), first, strict=True):
        assert parameter.grad is not None
        assert gradient is not None
        assert parameter.grad is not gradient
        torch.testing.assert_close(parameter.grad, gradient)

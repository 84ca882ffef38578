"""Equality of two computations: values, final states and every gradient."""

from collections.abc import Mapping

import torch
from torch import Tensor

from elman.layers.layer import SequenceLayer
from elman.state import State, leaves, map_leaves

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}
"""The largest difference over the largest value of a tensor that counts as rounding."""


def assert_equal(actual: Mapping[str, Tensor], expected: Mapping[str, Tensor], where: str) -> None:
    """Raises AssertionError that names the first tensor that differs by more than rounding, and by how much."""
    assert actual.keys() == expected.keys(), f"{where}: expected {sorted(expected)}, got {sorted(actual)}"
    for name, value in expected.items():
        got = actual[name]
        assert got.shape == value.shape, f"{where}: {name} has shape {tuple(got.shape)}, not {tuple(value.shape)}"
        assert got.dtype == value.dtype, f"{where}: {name} is {got.dtype}, not {value.dtype}"
        error = relative_difference(got, value)
        assert error <= TOLERANCE.get(value.dtype, 0.0), f"{where}: {name} differs by {error:.1e} of its largest value"


def relative_difference(actual: Tensor, expected: Tensor) -> float:
    """The largest difference over the largest expected value; infinite where either is not finite.

    >>> relative_difference(torch.tensor([1.0, 3.0]), torch.tensor([1.0, 4.0]))
    0.25
    """
    if expected.numel() == 0:
        return 0.0
    actual, expected = actual.detach().double(), expected.detach().double()
    if not (actual.isfinite().all() and expected.isfinite().all()):
        return float("inf")
    largest = float(expected.abs().max())
    return float((actual - expected).abs().max()) / (largest if largest > 0 else 1.0)


def run(layer: SequenceLayer, x: Tensor, state: State, lengths: Tensor | None = None) -> dict[str, Tensor]:
    """The output and the leaves of the final state, by name."""
    y, last = layer(x, state, lengths)
    return {"the output": y} | {f"leaf {index} of the final state": leaf for index, leaf in enumerate(leaves(last))}


def run_with_gradients(
    layer: SequenceLayer, x: Tensor, state: State, lengths: Tensor | None = None
) -> dict[str, Tensor]:
    """As `run`, and the gradients of a random weighing of all of it by x, the state and the layer's parameters."""
    x = x.detach().clone().requires_grad_()
    state = map_leaves(lambda leaf: leaf.detach().clone().requires_grad_(leaf.is_floating_point()), state)
    results = run(layer, x, state, lengths)
    generator = torch.Generator().manual_seed(0)
    loss = torch.stack(
        [
            (value * torch.randn(value.shape, generator=generator, dtype=torch.float64).to(x.dtype)).sum()
            for value in results.values()
            if value.is_floating_point()
        ]
    ).sum()
    sources = {"the gradient of x": x}
    sources |= {
        f"the gradient of leaf {index} of the initial state": leaf
        for index, leaf in enumerate(leaves(state))
        if leaf.is_floating_point()
    }
    sources |= {f"the gradient of {name}": parameter for name, parameter in layer.named_parameters()}
    gradients = torch.autograd.grad(loss, list(sources.values()), allow_unused=True, materialize_grads=True)
    return results | dict(zip(sources, gradients, strict=True))

import math

import pytest
import torch
from torch import nn

from elman.layers import PerStep
from elman.testing.compare import assert_equal, relative_difference, run_with_gradients


def test_differences_are_relative_to_the_largest_value() -> None:
    expected = torch.tensor([100.0, 0.001])
    assert relative_difference(torch.tensor([100.0, 0.002]), expected) == pytest.approx(1e-5)
    assert relative_difference(torch.tensor([0.5]), torch.tensor([0.0])) == 0.5
    assert relative_difference(torch.tensor([math.nan]), torch.tensor([math.nan])) == math.inf
    assert relative_difference(torch.zeros(0), torch.zeros(0)) == 0


@pytest.mark.parametrize(
    ("actual", "message"),
    [
        ({"y": torch.tensor([1.0, 2.001])}, "here: y differs by 5.0e-04 of its largest value"),
        ({"y": torch.tensor([[1.0, 2.0]])}, r"here: y has shape \(1, 2\), not \(2,\)"),
        ({"y": torch.tensor([1.0, 2.0]).double()}, "here: y is torch.float64, not torch.float32"),
        ({"z": torch.tensor([1.0, 2.0])}, r"here: expected \['y'\], got \['z'\]"),
    ],
)
def test_what_is_not_equal_is_named(actual: dict[str, torch.Tensor], message: str) -> None:
    assert_equal({"y": torch.tensor([1.0, 2.0 + 1e-6])}, {"y": torch.tensor([1.0, 2.0])}, "here")
    with pytest.raises(AssertionError, match=message):
        assert_equal(actual, {"y": torch.tensor([1.0, 2.0])}, "here")


def test_gradients_are_those_of_a_weighted_sum() -> None:
    layer = PerStep(nn.Linear(2, 1)).double()
    x = torch.randn(1, 3, 2).double()
    results = run_with_gradients(layer, x, ())
    weights = torch.randn(1, 3, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(results["the gradient of module.bias"], weights.sum().reshape(1))
    torch.testing.assert_close(results["the gradient of module.weight"], (weights * x).sum(1))
    assert set(results) == {"the output"} | {
        f"the gradient of {name}" for name in ("x", "module.weight", "module.bias")
    }

"""The equation again in NumPy, torch's convolution on the padded whole, and errors."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from elman.errors import ConfigError
from elman.layers.causal_convolution import CausalConvolution
from elman.testing import check_layer


@pytest.mark.parametrize("options", [{}, {"dilation": 2}, {"groups": 3}, {"dilation": 3, "groups": 3}])
@pytest.mark.parametrize("kernel", [1, 3])
def test_keeps_the_contract(kernel: int, options: dict[str, Any]) -> None:
    check_layer(lambda: CausalConvolution(3, 6, kernel, **options))


@pytest.mark.parametrize("dilation", [1, 3])
def test_the_docstrings_equation(dilation: int) -> None:
    torch.manual_seed(0)
    layer = CausalConvolution(3, 4, 3, dilation=dilation).double()
    torch.nn.init.normal_(layer.convolution.bias)  # type: ignore[arg-type]
    x = torch.randn(2, 9, 3).double()
    W, b = (parameter.detach().numpy() for parameter in layer.parameters())  # (4, 3, k)
    expected = np.zeros((2, 9, 4)) + b
    for t in range(9):
        for i in range(3):
            source = t - (3 - 1 - i) * dilation
            if source >= 0:
                expected[:, t] += x[:, source].numpy() @ W[:, :, i].T
    y, state = layer(x)
    np.testing.assert_allclose(y.detach(), expected, rtol=0, atol=1e-13)
    assert isinstance(state, torch.Tensor)
    assert torch.equal(state, x[:, 9 - 2 * dilation :])


def test_equal_to_torch_on_the_padded_whole() -> None:
    layer, x = CausalConvolution(4, 6, 5, dilation=2, groups=2), torch.randn(3, 11, 4)
    weight, bias = layer.parameters()
    expected = F.conv1d(F.pad(x.mT, (8, 0)), weight, bias, dilation=2, groups=2).mT
    torch.testing.assert_close(layer(x)[0], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("options", [{"kernel": 0}, {"kernel": 2, "dilation": 0}, {"kernel": 2, "groups": 2}])
def test_out_of_range(options: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="expected"):
        CausalConvolution(3, 4, **options)

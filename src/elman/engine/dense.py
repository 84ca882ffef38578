"""The dense layer by the core's matrix product: on CPUs where torch's own reaches less than half of what they can."""

import ctypes
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from elman import core
from elman.engine.kernels import can_run
from elman.engine.native import CODES, array

WORTHWHILE = 1 << 21  # multiplications, below which the call costs more than the faster product saves


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """As `torch.nn.functional.linear`: x (..., k), weight (n, k), bias (n,) -> (..., n); all of its gradients."""
    rows = x.numel() // max(x.shape[-1], 1)
    if rows * weight.numel() < WORTHWHILE or not _fits(x, weight, bias):
        return F.linear(x, weight, bias)
    y: Tensor = _Linear.apply(x.reshape(rows, x.shape[-1]), weight, bias)  # type: ignore[no-untyped-call]
    return y.reshape(*x.shape[:-1], weight.shape[0])


def _fits(x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    return (
        can_run(x)
        and not torch.is_autocast_enabled("cpu")
        and core.available()
        and weight.is_cpu
        and x.dtype == weight.dtype
        and (bias is None or bias.dtype == x.dtype)
    )


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight.t(), bias)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad
        if torch.is_grad_enabled():  # the gradient is to be differentiated in its turn
            dx, dw = slope @ weight if of_x else None, slope.t() @ x if of_weight else None
        else:
            dx, dw = _product(slope, weight, None) if of_x else None, _outer(slope, x) if of_weight else None
        return dx, dw, slope.sum(0) if of_bias else None


def _product(x: Tensor, matrix: Tensor, bias: Tensor | None) -> Tensor:
    """x (m, k) times a matrix (k, n) of any strides, plus the bias."""
    x = x.contiguous()
    y = x.new_empty(x.shape[0], matrix.shape[1])
    bias = None if bias is None else bias.contiguous()
    core.check(
        core.library().elman_matmul(
            CODES[x.dtype],
            torch.get_num_threads(),
            x.shape[0],
            matrix.shape[1],
            x.shape[1],
            ctypes.byref(array(x)),
            ctypes.byref(array(matrix)),
            None if bias is None else bias.data_ptr(),
            ctypes.byref(array(y)),
            0,
        )
    )
    return y


def _outer(left: Tensor, right: Tensor) -> Tensor:
    """The sum over rows of left (m, p) times right (m, q): (p, q)."""
    left, right = left.contiguous(), right.contiguous()
    out = left.new_empty(left.shape[1], right.shape[1])
    core.check(
        core.library().elman_outer(
            CODES[left.dtype],
            torch.get_num_threads(),
            left.shape[0],
            left.shape[1],
            right.shape[1],
            ctypes.byref(array(left)),
            ctypes.byref(array(right)),
            out.data_ptr(),
            0,
        )
    )
    return out

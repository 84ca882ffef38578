"""The dense layer by the core's matrix product: on CPUs where torch's own reaches less than half of what they can."""

import ctypes
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from elman import core
from elman.cells.memory import empty
from elman.engine.native import CODES, array, can_run

WORTHWHILE = 1 << 20  # multiplications, below which the call costs more than the faster product saves
FEWEST_ROWS = 16  # with fewer, arranging the weight for the product costs more than the product


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """As `torch.nn.functional.linear`: x (..., k), weight (n, k), bias (n,) -> (..., n); all of its gradients."""
    rows = math.prod(x.shape[:-1])
    if rows < FEWEST_ROWS or rows * weight.numel() < WORTHWHILE or not _fits(x, weight, bias):
        return F.linear(x, weight, bias)
    y: Tensor = _Linear.apply(x.reshape(rows, x.shape[-1]), weight, bias)  # type: ignore[no-untyped-call]
    return y.reshape(*x.shape[:-1], weight.shape[0])


class DenseByCore(TorchFunctionMode):
    """Where torch's dense layers are `linear`."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return (linear if func is F.linear else func)(*args, **(kwargs or {}))


def _fits(x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    given = (x, weight) if bias is None else (x, weight, bias)
    return (
        can_run(x)
        and not torch.is_autocast_enabled("cpu")
        and all(type(one) in (Tensor, nn.Parameter) and one.is_cpu and one.dtype == x.dtype for one in given)
        and weight.ndim == 2
        and x.shape[-1] == weight.shape[1]
        and (bias is None or bias.shape == weight.shape[:1])
        and core.available()
    )


class _Linear(torch.autograd.Function):
    """x (m, k), weight (n, k), bias (n,) or None -> (m, n)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        of_x, of_weight, _ = ctx.needs_input_grad
        ctx.save_for_backward(x if of_weight else None, weight if of_x else None)
        return _product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        again = torch.is_grad_enabled()  # the gradient is to be differentiated in its turn
        dx = None if weight is None else slope @ weight if again else _product(slope, weight.t())
        dw = None if x is None else slope.t() @ x if again else _outer(slope, x)
        return dx, dw, slope.sum(0) if ctx.needs_input_grad[2] else None


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x (m, k) times the transpose of weight (n, k), which may have any strides, plus the bias."""
    x, weight = _adjacent(x), weight.resolve_neg()
    y = empty((x.shape[0], weight.shape[0]), x.dtype)
    bias = None if bias is None else bias.resolve_neg().contiguous()
    core.check(
        core.functions().elman_matmul(
            CODES[x.dtype],
            torch.get_num_threads(),
            x.shape[0],
            weight.shape[0],
            x.shape[1],
            ctypes.byref(array(x)),
            ctypes.byref(array(weight)),
            None if bias is None else bias.data_ptr(),
            ctypes.byref(array(y)),
            0,
        )
    )
    return y


def _outer(left: Tensor, right: Tensor) -> Tensor:
    """The sum over rows of left (m, p) times right (m, q): (p, q)."""
    left, right = _adjacent(left), _adjacent(right)
    out = empty((left.shape[1], right.shape[1]), left.dtype)
    core.check(
        core.functions().elman_outer(
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


def _adjacent(rows: Tensor) -> Tensor:
    """With columns side by side, as the core reads them; rows may lie anywhere."""
    rows = rows.resolve_neg()
    return rows if rows.stride(1) == 1 else rows.contiguous()

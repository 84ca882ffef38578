"""A plan in the core, and a run of it over tensors."""

import ctypes
import threading
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from ctypes import POINTER, c_double, c_int, c_int64, c_void_p, pointer
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import Parameter

from elman import core
from elman.cells.memory import in_core
from elman.engine.plan import Plan
from elman.engine.program import Operation

NUMPY: dict[torch.dtype, type[np.floating]] = {torch.float32: np.float32, torch.float64: np.float64}
LONG = 10**9
"""Work, in numbers touched, from which a run lasts some hundredths of a second or more and can be interrupted."""
CODES = {torch.float32: core.FLOAT32, torch.float64: core.FLOAT64}


DTYPES = (torch.float32, torch.float64)


def can_run(x: Tensor) -> bool:
    """Whether the core can run on such a tensor, here and now; whether it is there and can run the cell are other questions."""
    return (
        type(x) in (Tensor, Parameter)  # others see what torch does to them
        and x.device.type == "cpu"
        and (x.dtype in DTYPES or torch.is_autocast_enabled("cpu"))
        # torch.func and forward differentiation see through torch's operations only
        and torch._C._functorch.peek_interpreter_stack() is None
        and forward_ad._current_level < 0
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    )


@dataclass(frozen=True)
class Batch:
    """What all runs over a batch have in common.

    Args:
        size: sequences.
        steps: time steps, padding included.
        lengths: (size,) int64, contiguous; None: all steps are real.
        threads: at most. Forward and backward run on the same number, and give the same results whenever it is the same.
        dtype: float32 or float64.
        bfloat16: whether products of float32 may round to it: see `elman.core.has_bfloat16`.
    """

    size: int
    steps: int
    lengths: Tensor | None
    threads: int
    dtype: torch.dtype
    bfloat16: bool = False

    @property
    def real_steps(self) -> int:
        """Of all sequences together."""
        return self.size * self.steps if self.lengths is None else int(self.lengths.sum())


@dataclass(frozen=True)
class Tensors:
    """What a run reads and writes, each in the order of the plan. Shapes: core.h, with the batch first.

    Args:
        inputs, outputs: (batch, steps, width), columns adjacent.
        initial, final: (batch, width); None: zeros, or not wanted. fixed: (batch, width).
        vectors: (size,). matrices: (rows, columns).
        sequences: from `sequence`. sequence_initial: of each, the state that it keeps before the first step; or None.
        matrix_gradients, vector_gradients: contiguous, overwritten; None where none is wanted, empty if there is none at all.
    """

    inputs: Sequence[Tensor]
    outputs: Sequence[Tensor]
    initial: Sequence[Tensor | None]
    final: Sequence[Tensor | None]
    fixed: Sequence[Tensor]
    vectors: Sequence[Tensor]
    matrices: Sequence[Tensor]
    sequences: Sequence[Tensor]
    sequence_initial: Sequence[Tensor | None]
    matrix_gradients: Sequence[Tensor | None] = ()
    vector_gradients: Sequence[Tensor | None] = ()


class NativePlan:
    """A plan that the core holds.

    Raises: ElmanError, at a run or when it is made, with what the core says.
    """

    def __init__(self, plan: Plan, dtype: torch.dtype) -> None:
        words = plan.words(NUMPY[dtype])
        constants = (c_double * len(plan.constants))(*plan.constants)
        functions = core.functions()
        handle = functions.elman_plan_create(words.ctypes.data_as(POINTER(c_int64)), len(words), constants)
        core.check(0 if handle else 1)
        self.plan = plan
        self._work = sum(_work(plan, operation) for operation in plan.program.operations)
        self._handle = handle
        weakref.finalize(self, functions.elman_plan_destroy, handle).atexit = False

    def run(self, batch: Batch, tensors: Tensors) -> None:
        """Run over the batch; what the plan computes is written into the tensors."""
        lengths = batch.lengths
        call = core.Call(
            batch=batch.size,
            steps=batch.steps,
            lengths=None if lengths is None else ctypes.cast(lengths.data_ptr(), POINTER(c_int64)),
            threads=batch.threads,
            inputs=_arrays(tensors.inputs),
            outputs=_arrays(tensors.outputs),
            initial=_arrays(tensors.initial),
            final=_arrays(tensors.final),
            fixed=_arrays(tensors.fixed),
            vectors=_pointers(tensors.vectors),
            matrices=_arrays(tensors.matrices),
            sequences=_pointers(tensors.sequences),
            sequence_initial=_arrays(tensors.sequence_initial),
            matrix_gradients=_pointers(tensors.matrix_gradients or [None] * len(tensors.matrices)),
            vector_gradients=_pointers(tensors.vector_gradients or [None] * len(tensors.vectors)),
            precision=core.BFLOAT16 if batch.bfloat16 else core.FLOAT32,
        )
        if batch.real_steps * self._work < LONG or threading.current_thread() is not threading.main_thread():
            self._run(call)
        else:
            self._run_interruptibly(call)

    def _run(self, call: core.Call) -> None:
        core.check(core.functions().elman_run(self._handle, ctypes.byref(call)))

    def _run_interruptibly(self, call: core.Call) -> None:
        """Python looks at signals only between its own instructions: it waits while another thread is in the core."""
        stop = c_int(0)
        call.stop = pointer(stop)
        with ThreadPoolExecutor(1) as other:
            running = other.submit(self._run, call)
            try:
                running.result()
            except KeyboardInterrupt:
                stop.value = 1  # the core looks at it between chunks
                raise


def _work(plan: Plan, operation: Operation) -> int:
    """About how many elements are touched for one row."""
    read = plan.leaves.matrices[operation.weight][operation.transposed] if operation.kind == "matmul" else 10
    return operation.size * read


def sequence(batch: Batch, width: int) -> Tensor:
    """Memory for what is kept of all steps, (elements,), not cleared; it goes back to the core with the tensor."""
    size = core.functions().elman_sequence_size(CODES[batch.dtype], width, batch.real_steps)
    return in_core(size * batch.dtype.itemsize, batch.dtype)


def _arrays(tensors: Sequence[Tensor | None]) -> "ctypes.Array[core.Array]":
    return (core.Array * len(tensors))(*map(array, tensors))


def array(tensor: Tensor | None) -> core.Array:
    """(batch, width) or (rows, columns): strides of both; (batch, steps, width): strides of the first two."""
    return core.Array() if tensor is None else core.Array(tensor.data_ptr(), tensor.stride(0), tensor.stride(1))


def _pointers(tensors: Sequence[Tensor | None]) -> "ctypes.Array[c_void_p]":
    return (c_void_p * len(tensors))(*(None if tensor is None else tensor.data_ptr() for tensor in tensors))

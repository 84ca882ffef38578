"""A compiled cell over a batch of sequences, in the native core: forward and backward, as one function of autograd."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from elman.cells.cell import Cell
from elman.cells.scan import loop
from elman.engine.compile import Compiled, Wanted, compile_cell
from elman.engine.native import Batch, Tensors, sequence
from elman.state import State, leaves, unflatten

DTYPES = (torch.float32, torch.float64)


def can_run(x: Tensor) -> bool:
    """Whether the core can run on such a tensor, here and now; whether it is there and can run the cell are other questions."""
    return (
        x.device.type == "cpu"
        and (x.dtype in DTYPES or torch.is_autocast_enabled("cpu"))
        and torch._C._functorch.peek_interpreter_stack() is None  # torch.func sees through torch's operations only
    )


def run_native(cell: Cell, x: Tensor, state: State, lengths: Tensor | None) -> tuple[Tensor, State]:
    """Run a cell over time in the core: see `elman.cells.scan.loop`, whose arguments and result these are.

    Under autocast it computes in the type of the cell's weights, and so are its results.

    Raises: Untraceable if the cell's step cannot be compiled.
    """
    compiled = compile_cell(cell, state)
    with torch.autocast(x.device.type, enabled=False):
        weights = compiled.traced.weights(cell)
        dtype = _dtype([*weights, *leaves(state), x])
        x = x.to(dtype)
        if not compiled.projects:
            x = cell.project(x)
        if x.shape[0] == 0 or x.shape[1] == 0:
            return x.new_zeros(*x.shape[:2], cell.output_size), state
        y, last = _over_time(compiled, x, [leaf.to(dtype) for leaf in leaves(state)], weights, lengths)
    return y, unflatten(state, iter(last))


def _dtype(tensors: Sequence[Tensor]) -> torch.dtype:
    return next((tensor.dtype for tensor in tensors if tensor.dtype in DTYPES), torch.float32)


def _over_time(
    compiled: Compiled, x: Tensor, state: list[Tensor], weights: list[Tensor], lengths: Tensor | None
) -> tuple[Tensor, list[Tensor]]:
    """Outputs and final states; states that never change are given back as they are."""
    shapes = [leaf.shape for leaf in state]
    batch = Batch(
        size=x.shape[0],
        steps=x.shape[1],
        lengths=None if lengths is None else lengths.to(torch.int64).contiguous(),
        threads=torch.get_num_threads(),
        dtype=x.dtype,
    )
    call = _Call(compiled, _wanted(compiled, x, state, weights), batch)
    y, *changed = _OverTime.apply(call, x, *(leaf.flatten(1) for leaf in state), *weights)  # type: ignore[no-untyped-call]
    found = dict(zip(call.changing, changed, strict=True))
    names = compiled.program.states
    return y, [
        found[name].reshape(shape) if name in found else leaf
        for name, leaf, shape in zip(names, state, shapes, strict=True)
    ]


def _wanted(compiled: Compiled, x: Tensor, state: list[Tensor], weights: list[Tensor]) -> Wanted | None:
    program = compiled.program
    named = ((program.inputs, [x]), (program.states, state), (program.weights, weights))
    inputs, states, parameters = (
        frozenset(name for name, tensor in zip(names, tensors, strict=True) if tensor.requires_grad)
        for names, tensors in named
    )
    if not torch.is_grad_enabled() or not (inputs or states or parameters):
        return None
    return Wanted(inputs, states, parameters)


@dataclass(frozen=True)
class _Call:
    """What the backward pass must know of a call, beside its tensors."""

    compiled: Compiled
    wanted: Wanted | None
    batch: Batch

    @property
    def changing(self) -> list[str]:
        """The states that a step changes."""
        return [name for name, after in self.compiled.program.next_states.items() if after is not None]

    @property
    def names(self) -> tuple[str, ...]:
        """Of the tensors of a call: the input, the states, the weights."""
        program = self.compiled.program
        return *program.inputs, *program.states, *program.weights


class _OverTime(torch.autograd.Function):
    """(call, x, *states, *weights) -> (y, *states that change)."""

    @staticmethod
    def forward(ctx: Any, call: _Call, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        ctx.call = call
        named = dict(zip(call.names, map(_adjacent, tensors), strict=True))
        y, last, sequences = _forward(call, named)
        ctx.save_for_backward(*tensors, *sequences)
        return y, *last

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor | None) -> tuple[Tensor | None, ...]:
        call: _Call = ctx.call
        count = len(call.names)
        tensors, sequences = ctx.saved_tensors[:count], ctx.saved_tensors[count:]
        if torch.is_grad_enabled():  # the gradient is to be differentiated in its turn
            return None, *_gradients_by_loop(call, tensors, slopes)
        named = dict(zip(call.names, map(_adjacent, tensors), strict=True))
        found = _backward(call, named, sequences, slopes)
        return None, *(found.get(name) for name in call.names)


def _adjacent(tensor: Tensor) -> Tensor:
    """The tensor with its columns side by side, as the core reads them; a weight as it is stored."""
    return tensor if tensor.stride(-1) == 1 or tensor.ndim == 2 else tensor.contiguous()


def _forward(call: _Call, named: Mapping[str, Tensor]) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Outputs, final states, and what is kept of all steps."""
    native = call.compiled.plans(call.wanted, call.batch.dtype).forward
    plan, batch = native.plan, call.batch
    (y,) = _outputs(batch, (operand.size for operand in plan.program.outputs.values()))
    last = [named[name].new_empty(batch.size, width) for name, width in plan.leaves.states.items()]
    sequences = [sequence(batch, kept.width) for kept in plan.sequences]
    tensors = Tensors(
        inputs=[named[name] for name in plan.leaves.inputs],
        outputs=[y],
        initial=[named[name] for name in plan.leaves.states],
        final=last,
        fixed=[named[name] for name in plan.leaves.fixed],
        vectors=[named[name] for name in plan.leaves.vectors],
        matrices=[named[name] for name in plan.leaves.matrices],
        sequences=sequences,
        sequence_initial=[named.get(kept.state) for kept in plan.sequences],
    )
    native.run(batch, tensors)
    return y, last, sequences


def _backward(
    call: _Call, named: Mapping[str, Tensor], sequences: Sequence[Tensor], slopes: Sequence[Tensor | None]
) -> dict[str, Tensor]:
    """The gradients that are wanted, by name."""
    native = call.compiled.plans(call.wanted, call.batch.dtype).backward
    assert native is not None and call.wanted is not None
    plan, batch, wanted = native.plan, call.batch, call.wanted
    leaves = plan.leaves
    dy, *after = slopes
    following = dict(zip(call.changing, after, strict=True))
    outputs = _outputs(batch, (operand.size for operand in plan.program.outputs.values()))
    before = {name: torch.empty(batch.size, width, dtype=batch.dtype) for name, width in leaves.states.items()}
    weights = {
        name: torch.empty(shape, dtype=batch.dtype)
        for name, shape in plan.program.weights.items()
        if name in {one.weight for one in plan.program.gradients}
    }
    tensors = Tensors(
        inputs=[_slope(dy, batch, width) for width in leaves.inputs.values()]
        + [named[name] for name in leaves.kept_inputs],
        outputs=outputs,
        initial=[_dense(following.get(name)) for name in leaves.states],
        final=[before[name] if name in wanted.states else None for name in leaves.states],
        fixed=[named[name] for name in leaves.fixed] + [named[name] for name in leaves.kept_fixed],
        vectors=[named[name] for name in leaves.vectors],
        matrices=[named[name] for name in leaves.matrices],
        sequences=sequences,
        sequence_initial=[named.get(kept.state) for kept in plan.sequences],
        matrix_gradients=[weights.get(name) for name in leaves.matrices],
        vector_gradients=[weights.get(name) for name in leaves.vectors],
    )
    native.run(batch, tensors)
    inputs = {name.removeprefix("d"): one for name, one in zip(plan.program.outputs, outputs, strict=True)}
    return {**inputs, **{name: one for name, one in before.items() if name in wanted.states}, **weights}


def _outputs(batch: Batch, widths: Iterable[int]) -> list[Tensor]:
    """Room for what a run gives at each step; where there is padding it stays zero."""
    make = torch.empty if batch.lengths is None else torch.zeros
    return [make(batch.size, batch.steps, width, dtype=batch.dtype) for width in widths]


def _slope(slope: Tensor | None, batch: Batch, width: int) -> Tensor:
    if slope is None:  # the outputs have no part in the loss: only the final state has
        return torch.zeros(width, dtype=batch.dtype).expand(batch.size, batch.steps, width)
    return _adjacent(slope)


def _dense(slope: Tensor | None) -> Tensor | None:
    return None if slope is None else slope.contiguous()


class _TracedStep:
    """A traced step, which torch runs and differentiates any number of times, as the loop wants it."""

    def __init__(self, call: _Call, weights: Sequence[Tensor]) -> None:
        (y,) = call.compiled.program.outputs.values()
        self.output_size = y.size
        self._traced, self._weights = call.compiled.traced, weights

    def project(self, x: Tensor) -> Tensor:
        return x

    def step(self, z_t: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        y, after = self._traced.step(z_t, list(state), list(self._weights))
        return y, tuple(after)


def _gradients_by_loop(
    call: _Call, tensors: Sequence[Tensor], slopes: Sequence[Tensor | None]
) -> tuple[Tensor | None, ...]:
    """The gradients by all tensors of a call, as functions of these and of the slopes."""
    program = call.compiled.program
    x, state, weights = tensors[0], tensors[1 : 1 + len(program.states)], tensors[1 + len(program.states) :]
    y, last = loop(_TracedStep(call, weights), x, tuple(state), call.batch.lengths)
    final = dict(zip(program.states, last, strict=True))
    results = [y, *(final[name] for name in call.changing)]
    pairs = [(one, slope) for one, slope in zip(results, slopes, strict=True) if slope is not None]
    needed = [tensor for tensor in tensors if tensor.requires_grad]
    found = torch.autograd.grad(
        [one for one, _ in pairs], needed, [slope for _, slope in pairs], create_graph=True, allow_unused=True
    )
    by_tensor = dict(zip(map(id, needed), found, strict=True))
    return tuple(by_tensor.get(id(tensor)) for tensor in tensors)

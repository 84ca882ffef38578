"""A compiled cell over a batch of sequences, in the native core: forward and backward, as one function of autograd."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from elman.cells.cell import Cell
from elman.cells.memory import empty
from elman.cells.scan import loop
from elman.engine.compile import Compiled, Wanted, compile_cell
from elman.engine.dense import DenseByCore
from elman.engine.native import Batch, Tensors, sequence
from elman.engine.trace import flat
from elman.errors import UsageError
from elman.state import State, leaves, unflatten


def run_native(
    cell: Cell, x: Tensor, state: State, lengths: Tensor | None, compiled: Compiled | None = None
) -> tuple[Tensor, State]:
    """Run a cell over time in the core: see `elman.cells.scan.loop`, whose arguments and result these are.

    Under autocast it computes in the type of the cell's weights, and so are its results. Under autocast to bfloat16 float32
    products, the gradients of weights among them, round what they multiply to bfloat16 and add up in float32; where the
    machine has no instructions for it (AVX512_BF16) they stay as they are.

    Args:
        compiled: the cell's step as it is now, if that is known.
    Raises: Untraceable if the cell's step cannot be compiled; UsageError if the input or the state does not fit the cell.
    """
    if x.shape[0] == 0 or x.shape[1] == 0:
        return loop(cell, x, state, lengths)
    compiled = compiled or compile_cell(cell, state)
    bfloat16 = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") is torch.bfloat16
    with torch.autocast(x.device.type, enabled=False):
        weights = compiled.traced.weights(cell)
        dtype = compiled.traced.dtype
        _check(x, list(leaves(state)), dtype)
        x = x.to(dtype)
        if not compiled.projects:
            with DenseByCore():
                x = cell.project(x)
        y, last = _over_time(compiled, x, [leaf.to(dtype) for leaf in leaves(state)], weights, lengths, bfloat16)
    return y, unflatten(state, iter(last))


def _check(x: Tensor, state: Sequence[Tensor], dtype: torch.dtype) -> None:
    for leaf in state:
        if len(leaf) != len(x):
            raise UsageError(f"expected a state of {len(x)} rows, as the input has, got {tuple(leaf.shape)}")
    for what, tensor in (("inputs", x), *(("a state", leaf) for leaf in state)):
        if torch.promote_types(tensor.dtype, dtype) != dtype:
            raise UsageError(
                f"expected {what} of the cell's {dtype}, got {tensor.dtype}: convert one of them, by `.to({dtype})`"
            )


def _over_time(
    compiled: Compiled,
    x: Tensor,
    state: list[Tensor],
    weights: list[Tensor],
    lengths: Tensor | None,
    bfloat16: bool,
) -> tuple[Tensor, list[Tensor]]:
    """Outputs and final states; states that never change are given back as they are."""
    shapes = [leaf.shape for leaf in state]
    batch = Batch(
        size=x.shape[0],
        steps=x.shape[1],
        lengths=None if lengths is None else lengths.to(torch.int64, copy=True),  # the backward pass reads them again
        threads=torch.get_num_threads(),
        dtype=x.dtype,
        bfloat16=bfloat16,
    )
    call = _Call(compiled, _wanted(compiled, x, state, weights), batch)
    y, *changed = _OverTime.apply(call, x, *map(flat, state), *weights)  # type: ignore[no-untyped-call]
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

    def named(self, tensors: Sequence[Tensor]) -> dict[str, Tensor]:
        """The tensors of a call by name, as the core reads them: columns side by side, but matrices of weights as they are."""
        weights = self.compiled.program.weights
        return {
            name: tensor if len(weights.get(name, ())) == 2 else _adjacent(tensor)
            for name, tensor in zip(self.names, (one.resolve_neg() for one in tensors), strict=True)
        }


class _OverTime(torch.autograd.Function):
    """(call, x, *states, *weights) -> (y, *states that change)."""

    @staticmethod
    def forward(ctx: Any, call: _Call, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        ctx.call = call
        y, last, sequences = _forward(call, call.named(tensors))
        ctx.save_for_backward(*tensors, *sequences)
        return y, *last

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor | None) -> tuple[Tensor | None, ...]:
        call: _Call = ctx.call
        count = len(call.names)
        saved = ctx.saved_tensors  # once: `torch.utils.checkpoint` computes them again for each time that they are read
        tensors, sequences = saved[:count], saved[count:]
        if torch.is_grad_enabled():  # the gradient is to be differentiated in its turn
            return None, *_gradients_by_loop(call, tensors, slopes)
        found = _backward(call, call.named(tensors), sequences, slopes)
        return None, *(found.get(name) for name in call.names)


def _adjacent(tensor: Tensor) -> Tensor:
    return tensor if tensor.stride(-1) == 1 else tensor.contiguous()


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
    assert native is not None
    assert call.wanted is not None
    plan, batch, wanted = native.plan, call.batch, call.wanted
    leaves = plan.leaves
    dy, *after = slopes
    following = dict(zip(call.changing, after, strict=True))
    outputs = _outputs(batch, (operand.size for operand in plan.program.outputs.values()))
    before = {name: empty((batch.size, width), batch.dtype) for name, width in leaves.states.items()}
    weights = {
        name: empty(shape, batch.dtype)
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
    outputs = [empty((batch.size, batch.steps, width), batch.dtype) for width in widths]
    return outputs if batch.lengths is None else [output.zero_() for output in outputs]


def _slope(slope: Tensor | None, batch: Batch, width: int) -> Tensor:
    if slope is None:  # the outputs have no part in the loss: only the final state has
        return torch.zeros(width, dtype=batch.dtype, device="cpu").expand(batch.size, batch.steps, width)
    return _adjacent(slope.resolve_neg())


def _dense(slope: Tensor | None) -> Tensor | None:
    return None if slope is None else slope.resolve_neg().contiguous()


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
    # One tensor may come in twice, or be made of another, which is not this function's business: each counts by itself.
    given = [tensor.view_as(tensor) for tensor in tensors]
    x, state, weights = given[0], given[1 : 1 + len(program.states)], given[1 + len(program.states) :]
    y, last = loop(_TracedStep(call, weights), x, tuple(state), call.batch.lengths)
    final = dict(zip(program.states, last, strict=True))
    results = [y, *(final[name] for name in call.changing)]
    pairs = [(one, slope) for one, slope in zip(results, slopes, strict=True) if slope is not None]
    needed = [place for place, tensor in enumerate(tensors) if tensor.requires_grad]
    found = torch.autograd.grad(
        [one for one, _ in pairs],
        [given[place] for place in needed],
        [slope for _, slope in pairs],
        create_graph=True,
        allow_unused=True,
    )
    by_place = dict(zip(needed, found, strict=True))
    return tuple(by_place.get(place) for place in range(len(tensors)))

"""A program over time in plain NumPy, forward and backward, by `elman.engine.interpret`: slow, and readable at a glance."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.engine.interpret import interpret
from elman.engine.program import Backward, Operand, Program

Array = NDArray[Any]


@dataclass(frozen=True)
class Pass:
    """What a pass forward in time gives.

    Args:
        outputs: (batch, time, width) by name, zero in the padding.
        last: the states (batch, width) by name, each after its real steps.
        kept: what was saved at every step, (batch, time, width) by name.
    """

    outputs: Mapping[str, Array]
    last: Mapping[str, Array]
    kept: Mapping[str, Array]


def forward(
    program: Program,
    inputs: Mapping[str, Array],
    state: Mapping[str, Array],
    weights: Mapping[str, Array],
    lengths: Array,
    saved: Mapping[str, Operand],
) -> Pass:
    """Run a program over inputs (batch, time, width), and keep what `Backward.saved` names."""
    prefixed = {f"kept {name}": operand for name, operand in saved.items()}
    whole = replace(program, outputs={**program.outputs, **prefixed})
    (x,) = inputs.values()
    collected: dict[str, Array] = {}
    for t in range(x.shape[1]):
        now = {name: value[:, t] for name, value in inputs.items()}
        outputs, following, _ = interpret(whole, now, state, weights)
        real = (t < lengths)[:, None]
        for name, value in outputs.items():
            width = value.shape[-1]
            rows = collected.setdefault(name, np.zeros((*x.shape[:2], width), x.dtype))
            rows[:, t] = np.where(real, value, 0)
        state = {name: np.where(real, following[name], value) for name, value in state.items()}
    kept = {name: collected[f"kept {name}"] for name in saved}
    return Pass({name: collected[name] for name in program.outputs}, state, kept)


def backward(
    program: Backward,
    kept: Mapping[str, Array],
    slopes: Mapping[str, Array],
    last: Mapping[str, Array],
    weights: Mapping[str, Array],
    lengths: Array,
) -> tuple[dict[str, Array], dict[str, Array], dict[str, Array]]:
    """The gradients by the inputs (batch, time, width), by the initial states (batch, width) and by the weights.

    Args:
        program: the backward program.
        kept: from the forward pass.
        slopes: the gradients by the outputs, (batch, time, width), under the names of the program's inputs.
        last: the gradients by the final states.
        weights: of the forward program.
        lengths: (batch,).
    """
    given = {**kept, **slopes}
    batch, steps = next(iter(slopes.values())).shape[:2]
    state = {name: last[name] for name in program.program.states}
    by_input: dict[str, Array] = {}
    by_weight: dict[str, Array] = {}
    if not program.program.inputs and not program.program.states:  # nothing that is wanted matters
        return by_input, state, by_weight
    for t in reversed(range(int(lengths.max()))):
        real = t < lengths
        now = {name: given[name][real, t] for name in program.program.inputs}
        outputs, following, found = interpret(
            program.program, now, {name: value[real] for name, value in state.items()}, weights
        )
        for name, value in outputs.items():
            by_input.setdefault(name, np.zeros((batch, steps, value.shape[-1]), value.dtype))[real, t] = value
        for name, value in found.items():
            by_weight[name] = by_weight.get(name, 0) + value
        state = {name: value.copy() for name, value in state.items()}
        for name, value in following.items():
            state[name][real] = value
    return by_input, state, by_weight

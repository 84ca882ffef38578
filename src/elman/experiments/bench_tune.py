"""Measuring the table by which `Recurrent` chooses between torch's kernel and the native program."""

from collections.abc import Callable, Sequence
from functools import partial

import torch

from elman import core
from elman.cells.cell import CELLS
from elman.errors import ElmanError
from elman.experiments.bench import Progress
from elman.experiments.bench_contenders import RIVALS, build_layer, forward, sample_input
from elman.experiments.bench_timing import Call, Shape, interleave, training_call
from elman.layers.timings import SITUATIONS, Point, Situation

LEAST, MOST, BUDGET = 3, 30, 0.2  # rounds, and seconds for those of one situation: all of them take about a minute


def tune(progress: Progress | None = None, situations: Sequence[Situation] = SITUATIONS) -> list[Point]:
    """Time both backends in each situation, with the threads that torch has now.

    Raises: ElmanError if there is nothing to choose between: no compiled core.
    """
    if reason := core.why_absent():
        raise ElmanError(f"there is nothing to choose between: {reason}")
    points = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for done, situation in enumerate(situations):
            if progress is not None:
                progress(" ".join(map(str, (situation.kind, *situation[2:]))), done, len(situations))
            points.append(Point(situation, _speed(situation)))
    return points


def _speed(situation: Situation) -> float:
    shape = Shape(situation.batch, situation.time, situation.hidden, situation.hidden)
    layer = build_layer(CELLS.get(RIVALS[situation.kind][0]), shape)
    x, slope = sample_input(shape), torch.randn(shape.batch, shape.time, shape.hidden)
    runs = {one: partial(forward, layer, x, one) for one in ("native", "torch")}
    calls: dict[str, Call] = {
        one: training_call(layer, run, slope) if situation.training else partial(_without_gradients, run)
        for one, run in runs.items()
    }
    seconds = interleave(calls, least=LEAST, most=MOST, budget=BUDGET)
    # The least, not the median: these calls are so short that one interruption outweighs them, and it only ever adds.
    return min(seconds["torch"]) / min(seconds["native"])


def _without_gradients(run: Callable[[], object]) -> None:
    with torch.no_grad():
        run()

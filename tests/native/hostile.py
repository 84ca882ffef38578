"""Creates and runs plans with random words changed: `python -m tests.native.hostile SEED` prints how many were refused and ran.

A plan whose buffers still have their sizes is run too, whatever became of its stages: the arrays of the call fit it.
"""

import random
import sys
from collections.abc import Iterator

import numpy as np

from elman import core
from tests.native import plans
from tests.native.plans import Array, Call, Plan

BATCH, STEPS = 3, 5


def call_of(plan: Plan) -> Call:
    """A call with arrays of the right sizes."""

    def series(width: int) -> Array:
        return np.ones((BATCH, STEPS, width), np.float32)

    def rows(width: int) -> Array:
        return np.ones((BATCH, width), np.float32)

    return Call(
        batch=BATCH,
        steps=STEPS,
        lengths=np.array([5, 0, 3]),
        threads=2,
        inputs=[series(width) for width in plan.inputs],
        outputs=[series(width) for _, width in plan.outputs],
        initial=[rows(width) for width, _ in plan.states],
        final=[rows(width) for width, _ in plan.states],
        fixed=[rows(width) for width in plan.fixed],
        vectors=[np.ones(width, np.float32) for width in plan.vectors],
        matrices=[np.ones(shape, np.float32) for shape in plan.matrices],
        sequences=plans.sequence_memory(plan, core.FLOAT32, BATCH * STEPS),
        matrix_gradients=[np.ones(shape, np.float32) for shape in plan.matrices],
        vector_gradients=[np.ones(width, np.float32) for width in plan.vectors],
    )


def mutations(words: list[int], first: int, numbers: random.Random) -> list[int]:
    """A copy with one to three words from `first` on changed, taken away or doubled."""
    words = list(words)
    for _ in range(numbers.randint(1, 3)):
        place = numbers.randrange(first, len(words))
        kind = numbers.random()
        if kind < 0.1:
            del words[place]
        elif kind < 0.2:
            words.insert(place, words[place])
        else:
            words[place] = numbers.choice(
                [words[place] + 1, words[place] - 1, numbers.randint(-3, 40), -(2**63), 2**63 - 1, 2**30]
            )
    return words


def plans_to_spoil() -> Iterator[Plan]:
    yield plans.lstm_forward(5, 4)
    yield plans.lstm_backward(5, 4)
    yield plans.assorted()


def main(seed: int) -> None:
    numbers, refused, ran = random.Random(seed), 0, 0
    for plan in plans_to_spoil():
        call, words = call_of(plan), plan.words(core.FLOAT32)
        # Behind the buffers, and behind the outputs, whose widths the arrays have too.
        stages = len(plan.buffers(core.FLOAT32)) + 1 + 5 * len(plan.outputs)
        for _ in range(2000):
            keeps_sizes = numbers.random() < 0.7
            address = plans.create(mutations(words, stages if keeps_sizes else 0, numbers), [0.5] * (len(words) + 3))
            refused += address is None
            if address is None:
                continue
            if keeps_sizes:
                call.run(address)
                ran += 1
            core.functions().elman_plan_destroy(address)
    print(refused, ran)


if __name__ == "__main__":
    main(int(sys.argv[1]))

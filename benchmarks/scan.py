"""Linear recurrences over time: ``python benchmarks/scan.py [--batch 8] [--channels 128] [--threads 1]``.

h_t = a_t * h_{t-1} + b_t, forward and backward, in float32: `linear_scan` in the compiled core, and as it runs without; the loop
over time; and a sum of logarithms, the usual form of a parallel scan, for decays and values above 0. All run in turns; the table
has the medians in milliseconds, how many times faster the core is, and what it reads and writes a second beside a copy.
"""

import argparse
import time
from collections.abc import Callable
from statistics import median
from unittest.mock import patch

import torch
from torch import Tensor

from elman import core
from elman.cells.scan import linear_scan, loop

STEPS = (512, 2048, 8192)
ARRAYS_MOVED = 8  # of the values' size: a, b, h forward; a, h, the slope and the gradients by a and b backward

Scan = Callable[[Tensor, Tensor, Tensor], Tensor]


class Decay:
    """The recurrence as a cell that reads a and b."""

    def __init__(self, size: int) -> None:
        self.output_size = size

    def project(self, x: Tensor) -> Tensor:
        return x

    def step(self, z_t: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        decay, values = z_t.chunk(2, -1)
        state = decay * state + values
        return state, state


def by_loop(decay: Tensor, values: Tensor, initial: Tensor) -> Tensor:
    return loop(Decay(initial.shape[-1]), torch.cat([decay, values], -1), initial)[0]


def by_blocks(decay: Tensor, values: Tensor, initial: Tensor) -> Tensor:
    """What `linear_scan` does without the core."""
    with patch.object(core, "available", return_value=False):
        return linear_scan(decay, values, initial)


def by_logarithms(decay: Tensor, values: Tensor, initial: Tensor) -> Tensor:
    """log h_t = A_t + log(h_0 + sum of b_s / exp(A_s) over s <= t), where A_t is the sum of log a_s over s <= t."""
    kept = decay.log().cumsum(1)
    terms = torch.cat([initial.log()[:, None], values.log() - kept], 1)
    return (kept + torch.logcumsumexp(terms, 1)[:, 1:]).exp()


FORMS: dict[str, Scan] = {"core": linear_scan, "blocks": by_blocks, "loop": by_loop, "logarithms": by_logarithms}


def milliseconds(scan: Scan, arguments: list[Tensor], slope: Tensor) -> float:
    """Of one forward and backward pass."""
    begin = time.perf_counter()
    torch.autograd.grad(scan(*arguments), arguments, slope)
    return 1000 * (time.perf_counter() - begin)


def copy_bandwidth(source: Tensor, rounds: int) -> float:
    """Bytes that a copy reads and writes in a second."""
    times, target = [], torch.empty_like(source)
    for _ in range(rounds):
        begin = time.perf_counter()
        target.copy_(source)
        times.append(time.perf_counter() - begin)
    return 2 * source.nbytes / median(times)


def row(shape: tuple[int, int, int], rounds: int) -> str:
    """The medians of all forms, side by side."""
    arguments = [torch.rand(shape), torch.rand(shape), torch.rand(shape[0], shape[2])]
    arguments = [tensor.requires_grad_() for tensor in arguments]
    slope = torch.randn(shape)
    for scan in FORMS.values():  # the first call also loads
        milliseconds(scan, arguments, slope)
    rounds_of_times = [[milliseconds(scan, arguments, slope) for scan in FORMS.values()] for _ in range(rounds)]
    times = [median(column) for column in zip(*rounds_of_times, strict=True)]
    moved = ARRAYS_MOVED * slope.nbytes / times[0] / 1e6
    cells = [f"{time:>12.2f}" for time in times] + [f"{time / times[0]:>10.1f}" for time in times[1:]]
    return "".join(cells) + f"{moved:>8.1f}{copy_bandwidth(slope, rounds) / 1e9:>8.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--channels", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    if not core.available():
        parser.error(core.why_absent())
    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    print(
        f"batch {options.batch}, {options.channels} channels, {options.threads} threads, {core.kernels()}: ms, times faster, GB/s"
    )
    names = "".join(f"{name:>12}" for name in FORMS) + "".join(f"{'/ ' + name:>10.10}" for name in list(FORMS)[1:])
    print(f"{'steps':>6}{names}{'GB/s':>8}{'copy':>8}")
    for steps in STEPS:
        print(f"{steps:>6,}{row((options.batch, steps, options.channels), options.rounds)}", flush=True)


if __name__ == "__main__":
    main()

"""The parallel scan against the loop: ``python benchmarks/scan.py [--batch 8] [--channels 64] [--threads 1]``.

h_t = a_t * h_{t-1} + b_t, forward and backward, in float32. Both run in turns; the table has the medians in milliseconds.
"""

import argparse
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor

from elman.cells.scan import linear_scan, loop

STEPS = tuple(4**k for k in range(3, 9))  # 64 to 65,536
FEW_ROUNDS_FROM = 10_000  # steps, where the loop takes seconds

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


def milliseconds(scan: Scan, arguments: list[Tensor]) -> float:
    """Of one forward and backward pass."""
    begin = time.perf_counter()
    torch.autograd.grad(scan(*arguments).sum(), arguments)
    return 1000 * (time.perf_counter() - begin)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    print(f"batch {options.batch}, {options.channels} channels, {options.threads} threads, forward and backward, ms")
    print(f"{'steps':>8} {'loop':>10} {'scan':>10} {'times faster':>13}")
    for steps in STEPS:
        shape = (options.batch, steps, options.channels)
        arguments = [torch.rand(shape), torch.randn(shape), torch.randn(shape[0], shape[2])]
        arguments = [tensor.requires_grad_() for tensor in arguments]
        milliseconds(linear_scan, arguments)  # the first call also loads
        rounds = 3 if steps > FEW_ROUNDS_FROM else options.rounds
        times = [(milliseconds(by_loop, arguments), milliseconds(linear_scan, arguments)) for _ in range(rounds)]
        slow, fast = (median(column) for column in zip(*times, strict=True))
        print(f"{steps:>8,} {slow:>10.1f} {fast:>10.1f} {slow / fast:>13.1f}", flush=True)


if __name__ == "__main__":
    main()

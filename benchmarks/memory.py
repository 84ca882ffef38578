"""What gradient checkpointing over time saves: ``python benchmarks/memory.py [--backend loop] [--steps 10000]``.

An LSTM of 512 units over (8, 10000, 64), forward and backward, each way in a process of its own: the highest memory in use above
that before the call, seconds, and the largest difference of a gradient over its largest value.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

import elman
from elman.cells import LSTM
from elman.layers import Recurrent
from elman.testing.compare import relative_difference

BATCH, INPUT_SIZE, HIDDEN_SIZE = 8, 64, 512


def highest() -> float:
    """The most memory this process has had so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(backend: str, steps: int, checkpoint: bool, out: Path) -> None:
    """One forward and one backward pass: prints MiB and seconds, writes the gradients to a file."""
    torch.manual_seed(0)
    layer = Recurrent(LSTM(INPUT_SIZE, HIDDEN_SIZE), checkpoint=checkpoint)
    x = torch.randn(BATCH, steps, INPUT_SIZE, requires_grad=True)
    # A short call first, so that what the libraries load once does not count.
    layer(torch.zeros(BATCH, 2, INPUT_SIZE))[0].sum().backward()
    layer.zero_grad()
    slope = torch.randn(BATCH, steps, HIDDEN_SIZE)  # of a loss, by the output: what a loss itself takes does not count
    before, begin = highest(), time.perf_counter()
    with elman.backend(backend):
        y, _ = layer(x)
        y.backward(slope)
    print(highest() - before, time.perf_counter() - begin)
    named = (("x", x), *layer.named_parameters())
    save_file({name: tensor.grad for name, tensor in named if tensor.grad is not None}, out)


def compare(backend: str, steps: int) -> None:
    """Both ways, one after the other, and what they differ by."""
    with tempfile.TemporaryDirectory() as folder:
        plain, saved = (Path(folder) / name for name in ("plain", "checkpointed"))
        print(
            f"LSTM({INPUT_SIZE}, {HIDDEN_SIZE}), batch {BATCH}, {steps} steps, backend {backend!r}, {torch.__version__}"
        )
        used = []
        for out in (plain, saved):
            command = [sys.executable, __file__, "--backend", backend, "--steps", str(steps), "--measure", str(out)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            memory, seconds = (float(number) for number in done.stdout.split())
            used.append(memory)
            print(f"  {out.name:>12}: {memory:7.0f} MiB {seconds:6.1f} s", flush=True)
        expected, actual = load_file(plain), load_file(saved)
        worst = max(relative_difference(actual[name], gradient) for name, gradient in expected.items())
        print(f"  memory {used[1] / used[0]:.3f} of that without; largest difference of a gradient {worst:.1e}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend", choices=("torch", "loop"), default="torch")
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure is None:
        compare(arguments.backend, arguments.steps)
    else:
        measure(arguments.backend, arguments.steps, arguments.measure.name == "checkpointed", arguments.measure)


if __name__ == "__main__":
    main()

"""The adding problem: ``python benchmarks/adding.py --encoder gru --steps 600 [--seed 1] [--minutes 8] [--out DIR]``.

Each step has a number in 0..1 and a mark, which is 1 at one random step of the first half and one of the second, else 0. The
target is the sum of the two marked numbers, at the end: two things to remember, and hundreds to ignore. To answer 1 always
gives an error of 1/6. Sequences are drawn as they are needed and never seen twice, so the curve of training is one of fresh data.

Source: Hochreiter, Schmidhuber, "Long Short-Term Memory", 1997, experiment 4; in this form Le, Jaitly, Hinton, 2015,
arXiv:1504.00941. The mean squared error of 10,000 fresh sequences is printed; ``--out`` keeps it with the curve.
"""

import argparse
import json
import time
from collections.abc import Iterator
from math import ceil, cos, pi
from pathlib import Path

import torch
from torch import Tensor, nn

from elman.cells import CELLS
from elman.layers import PerStep, Recurrent, Stack, at_end

Scalar = bool | int | float | str

POINTS = 100  # on the curve
MEASURED = 20  # updates that tell how many fit into the minutes
SCORED = 10_000  # fresh sequences
ALWAYS_ONE = 1 / 6


class Adder(nn.Module):
    """Cells on top of each other, a feed-forward network between, and one that reads the sum from the last step."""

    def __init__(self, encoder: str, hidden: int, layers: int, options: dict[str, Scalar]) -> None:
        super().__init__()
        cell = CELLS.get(encoder)
        stack: list[Recurrent | PerStep] = [Recurrent(cell(2, hidden, **options))]
        for _ in range(layers - 1):
            size = stack[-1].output_size
            stack += [PerStep(feed_forward(size, hidden), size, hidden), Recurrent(cell(hidden, hidden, **options))]
        self.encoder = Stack(stack)
        self.sum = feed_forward(self.encoder.output_size, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, time, 2) -> (batch,)."""
        total: Tensor = self.sum(at_end(self.encoder(x)[0]))
        return total[:, 0]


def feed_forward(input_size: int, output_size: int) -> nn.Module:
    return nn.Sequential(nn.Linear(input_size, 2 * input_size), nn.GELU(), nn.Linear(2 * input_size, output_size))


def draw(count: int, steps: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Sequences (count, steps, 2) and their sums (count,)."""
    numbers = torch.rand(count, steps, generator=generator)
    half = steps // 2
    first = torch.randint(half, (count, 1), generator=generator)
    second = torch.randint(half, steps, (count, 1), generator=generator)
    marks = torch.zeros(count, steps).scatter_(1, torch.cat([first, second], 1), 1.0)
    return torch.stack([numbers, marks], -1), (numbers * marks).sum(1)


def train(model: Adder, options: argparse.Namespace) -> Iterator[tuple[int, float, float]]:
    """Adam, its rate falling along a cosine; yields updates, seconds of one core, mean squared error since the last."""
    generator = torch.Generator().manual_seed(options.seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.rate, weight_decay=0.0)
    begin = time.process_time()
    updates: int | None = options.updates
    errors: list[float] = []
    done = 0
    while updates is None or done < updates:
        if updates is None and done == MEASURED:
            updates = ceil(60 * options.minutes * MEASURED / (time.process_time() - begin))
        x, y = draw(options.batch, options.steps, generator)
        share = done / (updates or POINTS * MEASURED)
        for group in optimizer.param_groups:
            group["lr"] = options.rate * (0.01 + 0.99 * (1 + cos(pi * share)) / 2) * min(1.0, (done + 1) / 50)
        loss = nn.functional.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        errors.append(loss.item())
        done += 1
        if updates is not None and (done % ceil(updates / POINTS) == 0 or done == updates):
            yield done, time.process_time() - begin, sum(errors) / len(errors)
            errors.clear()


@torch.no_grad()
def score(model: Adder, steps: int, seed: int) -> float:
    """The mean squared error of fresh sequences."""
    generator = torch.Generator().manual_seed(10_000 + seed)
    squared = 0.0
    for _ in range(SCORED // 100):
        x, y = draw(100, steps, generator)
        squared += (model(x) - y).square().sum().item()
    return squared / SCORED


def draw_curve(curve: list[tuple[int, float, float]], title: str, path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.semilogy([seconds / 60 for _, seconds, _ in curve], [error for _, _, error in curve])
    axes.axhline(ALWAYS_ONE, linestyle="--", color="gray", label="always 1")
    axes.set(xlabel="minutes", ylabel="mean squared error", title=title)
    axes.legend()
    figure.savefig(path, dpi=120)


def pair(text: str) -> tuple[str, Scalar]:
    """The name and the value of a cell's option; what is no JSON is a word."""
    name, _, value = text.partition("=")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", default="gru", choices=CELLS.names())
    parser.add_argument("--set", nargs="*", type=pair, default=[], metavar="OPTION=VALUE", help="options of the cell")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--hidden", type=int, default=32)
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=5e-3, help="of learning, at its highest")
    parser.add_argument(
        "--minutes", type=float, default=8.0, help="of training, of one core; becomes a number of updates, printed"
    )
    parser.add_argument("--updates", type=int, help="instead of minutes: the same command gives the same weights")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="folder for curve.png and result.json")
    return parser.parse_args()


def main() -> None:
    options = parse()
    torch.set_num_threads(1)  # so that the time of the processor is that of an idle machine
    torch.manual_seed(options.seed)
    model = Adder(options.encoder, options.hidden, options.layers, dict(options.set))
    curve = []
    for point in train(model, options):
        curve.append(point)
        print("{:6d} updates  {:5.0f} s  mean squared error {:.2e}".format(*point), flush=True)
    error = score(model, options.steps, options.seed)
    print(f"{options.encoder}, {options.steps} steps: mean squared error {error:.2e} on {SCORED:,} fresh sequences"
          f" (always 1: {ALWAYS_ONE:.3f}); {curve[-1][1] / 60:.1f} minutes")  # fmt: skip
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        settings = {name: value for name, value in vars(options).items() if name not in ("minutes", "out")}
        result = {
            "settings": settings | {"updates": curve[-1][0]},  # with which the same run is had again
            "mean_squared_error": error,
            "curve": {"columns": ["updates", "seconds", "mean squared error"], "rows": curve},
        }
        (options.out / "result.json").write_text(json.dumps(result) + "\n", encoding="utf-8")
        draw_curve(curve, f"Adding problem, {options.steps} steps: {options.encoder}", options.out / "curve.png")


if __name__ == "__main__":
    main()

"""What a Hopfield network holds: ``python benchmarks/hopfield.py [--out DIR] [--size 500] [--seeds 3]``.

Capacity: a network of N units stores P random patterns; a recall starts at each of up to 50 of them and runs to rest
(asynchronous updates, at most 100 sweeps), so errors are the network's own. The overlap m = 1/N sum_i x_i s_i compares the end
with the pattern: stable (m = 1), kept (m > 0.95). The critical load is where the share kept, interpolated between loads, falls
below a half. Theory for Hebb's rule: 0.138 N, where m falls from 0.967 at once (Amit, Gutfreund, Sompolinsky, "Storing infinite
numbers of patterns in a spin-glass model of neural networks", 1985, doi:10.1103/PhysRevLett.55.1530). That is the limit of
large N. In a small network the fall is a slope, and lies higher: it is measured for several N, and continued by a straight line in
1/sqrt(N), a form that is assumed, not derived.

Digits: the first pictures of MNIST (``$ELMAN_DATA/mnist``), +1 where a pixel is 128 or brighter, are stored, damaged and recalled:
pixels flipped at random, or the lower half replaced by noise, the upper half then free to change, or held. Shares of digits
recalled in all 784 pixels, and mean overlap. The modern network takes one step and then signs; pixels that are not held are 0.
Its two betas are the 1/sqrt(D) of attention and one near the nearest neighbour; no other was tried.
"""

import argparse
import gzip
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import torch
from common import data
from matplotlib.axes import Axes
from rich.console import Console
from rich.table import Table
from torch import Tensor

from elman.layers.hopfield import retrieve
from elman.models.hopfield import HopfieldNetwork, Rule

TESTED = 50  # patterns of those stored that recalls start from
KEPT = 0.95  # overlap from which a pattern counts as kept
CRITICAL = 0.138
SIDE = 28
BETAS = {"modern, 1/28": 1 / SIDE, "modern, 1/4": 1 / 4}
COUNTS = (10, 30, 100)
LOADS: dict[Rule, tuple[float, ...]] = {
    "hebbian": (0.04, 0.08, 0.10, 0.12, 0.14, 0.16, 0.18, 0.20, 0.24),
    "storkey": (0.04, 0.10, 0.20, 0.26, 0.30, 0.36, 0.40, 0.44, 0.50, 0.56),
    "pseudo_inverse": (0.1, 0.25, 0.5, 0.75, 0.9, 0.998),
}
SIZES = (250, 500, 1000, 2000)
LOADS_BY_SIZE = (0.12, 0.13, 0.14, 0.15, 0.16, 0.17, 0.18, 0.20)
COLOURS = {"hebbian": "#0b6bcb", "storkey": "#c4500f", "pseudo_inverse": "#1a7f4b"}


class Load(NamedTuple):
    """Means over patterns and seeds at one load P/N."""

    load: float
    stable: float
    kept: float
    bits: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("hopfield"), help="folder for the pictures")
    parser.add_argument("--size", type=int, default=500, help="units of the capacity measurement")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    console, begin = Console(width=120), time.perf_counter()
    curves = {rule: [measure(rule, load, options.size, options.seeds) for load in LOADS[rule]] for rule in LOADS}
    console.print(capacity_table(curves, options.size, options.seeds))
    sizes = {size: [measure("hebbian", load, size, options.seeds) for load in LOADS_BY_SIZE] for size in SIZES}
    console.print(sizes_table(sizes, options.seeds))
    draw_capacity(curves, sizes, options.size, options.out / "capacity.png")
    digits = read_digits(max(COUNTS))
    console.print(digits_table(digits))
    draw_digits(digits[:10], options.out / "digits.png")
    console.print(f"{time.perf_counter() - begin:.0f} s; pictures in {options.out}/")


def measure(rule: Rule, load: float, size: int, seeds: int) -> Load:
    """Start at stored patterns, run to rest, compare."""
    overlaps = []
    for seed in range(seeds):
        patterns = torch.from_numpy(np.random.default_rng(seed).choice([-1.0, 1.0], (round(load * size), size)))
        network = HopfieldNetwork(size)
        network.learn(patterns, rule)
        network.float()
        overlaps.append(overlap(network.recall(patterns[:TESTED], seed=seed).states, patterns[:TESTED]))
    m = torch.cat(overlaps)
    shares = ((m > 1 - 1 / size).double(), (m > KEPT).double(), (1 + m) / 2)
    return Load(load, *(float(share.mean()) for share in shares))


def overlap(states: Tensor, patterns: Tensor) -> Tensor:
    return (states.double() * patterns).mean(1)


def critical_load(curve: list[Load]) -> float | None:
    """The load where the share of patterns kept crosses a half; None if it does not."""
    for below, above in pairwise(curve):
        if below.kept >= 0.5 > above.kept:
            return below.load + (above.load - below.load) * (below.kept - 0.5) / (below.kept - above.kept)
    return None


def capacity_table(curves: dict[Rule, list[Load]], size: int, seeds: int) -> Table:
    table = Table(title=f"Capacity: N = {size}, random patterns, {seeds} seeds", caption_justify="left")
    for column in ("rule", "P/N", "stable", f"m > {KEPT}", "bits right"):
        table.add_column(column, justify="left" if column == "rule" else "right")
    for rule, curve in curves.items():
        for load in curve:
            table.add_row(rule, f"{load.load:.3f}", f"{load.stable:.1%}", f"{load.kept:.1%}", f"{load.bits:.2%}")
        table.add_section()
    found = {rule: critical_load(curve) for rule, curve in curves.items()}
    words = (f"{rule} {load:.3f}" if load else f"{rule} none up to {LOADS[rule][-1]}" for rule, load in found.items())
    table.caption = f"Half kept at P/N: {', '.join(words)}."
    return table


def sizes_table(sizes: dict[int, list[Load]], seeds: int) -> Table:
    table = Table(
        title=f"Hebb's rule: share of patterns with m > {KEPT} by N and P/N, {seeds} seeds", caption_justify="left"
    )
    for column in ("N", *(f"{load:.2f}" for load in LOADS_BY_SIZE), "half kept at"):
        table.add_column(column, justify="right")
    found = {size: critical_load(curve) for size, curve in sizes.items()}
    for size, curve in sizes.items():
        table.add_row(str(size), *(f"{load.kept:.0%}" for load in curve), f"{found[size] or np.nan:.3f}")
    measured = [(size**-0.5, load) for size, load in found.items() if load]
    if len(measured) > 2:
        limit = np.polyfit([root for root, _ in measured], [load for _, load in measured], deg=1)[1]
        table.caption = (
            f"A straight line in 1/sqrt(N) through the last column ends at {limit:.3f}; theory, large N: {CRITICAL}."
        )
    return table


def draw_capacity(curves: dict[Rule, list[Load]], sizes: dict[int, list[Load]], size: int, path: Path) -> None:
    figure, axes = plt.subplots(1, 3, figsize=(13, 4), sharey=True, layout="constrained")
    for axis, field, title in zip(axes, ("stable", "kept"), ("every bit kept", f"overlap above {KEPT}"), strict=False):
        for rule, curve in curves.items():
            shares = [getattr(load, field) for load in curve]
            label = rule.replace("_", "-")
            axis.plot([load.load for load in curve], shares, "o-", ms=4, color=COLOURS[rule], label=label)
        axis.set(title=f"{title.capitalize()}, N = {size}", xlim=(0, 1.02))
        axis.legend(frameon=False, loc="center right")
    for shade, (units, curve) in zip(np.linspace(0.35, 1, len(sizes)), sizes.items(), strict=True):
        shares = [load.kept for load in curve]
        line = axes[2].plot(
            [load.load for load in curve], shares, "o-", ms=4, color=COLOURS["hebbian"], label=f"N = {units}"
        )
        line[0].set_alpha(shade)
    axes[2].set(title=f"Hebbian, overlap above {KEPT}", xlim=(LOADS_BY_SIZE[0] - 0.005, LOADS_BY_SIZE[-1] + 0.005))
    axes[2].legend(frameon=False, loc="upper right")
    axes[0].set_ylabel("share of patterns")
    for axis in axes:
        axis.axvline(CRITICAL, color="#59636e", lw=1, ls="--")
        axis.annotate(f"{CRITICAL} ", (CRITICAL, 0.0), ha="right", color="#59636e")
        axis.set(xlabel="load P/N", ylim=(-0.03, 1.05))
        axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle("Recall that starts at a stored random pattern", x=0.01, ha="left", weight="bold")
    figure.savefig(path, dpi=130)
    plt.close(figure)


def read_digits(count: int) -> Tensor:
    """(count, 784), +1 where the pen was."""
    with gzip.open(data("mnist/train-images-idx3-ubyte.gz")) as file:
        pixels = np.frombuffer(file.read(16 + count * SIDE**2), np.uint8, offset=16)
    return torch.from_numpy(np.where(pixels >= 128, 1.0, -1.0).reshape(count, SIDE**2))


class Damage(NamedTuple):
    name: str
    states: Tensor
    known: Tensor | None = None


def damages(digits: Tensor, seed: int = 0) -> Iterator[Damage]:
    """The same for every rule."""
    generator = np.random.default_rng(seed)
    yield Damage("none", digits)
    for share in (0.1, 0.2, 0.3):
        flipped = torch.from_numpy(generator.random(digits.shape) < share)
        yield Damage(f"{share:.0%} flipped", digits.where(~flipped, -digits))
    upper = torch.arange(SIDE**2) < SIDE**2 // 2
    halved = digits.where(upper, torch.from_numpy(generator.choice([-1.0, 1.0], digits.shape)))
    yield Damage("half hidden", halved)
    yield Damage("half hidden, half held", halved, upper)


def recalled(digits: Tensor, damage: Damage) -> Iterator[tuple[str, Tensor]]:
    """By each rule, and by the modern network."""
    for rule in LOADS:
        network = HopfieldNetwork(SIDE**2)
        network.learn(digits, rule)
        yield rule, network.float().recall(damage.states, known=damage.known).states
    queries = damage.states if damage.known is None else damage.states.where(damage.known, 0)
    for name, beta in BETAS.items():
        yield name, retrieve(queries[None], digits[None], beta)[0].sign()


def digits_table(digits: Tensor) -> Table:
    table = Table(title="MNIST digits: share recalled exactly / mean overlap")
    for column in ("stored", "damage", *(rule.replace("_", "-") for rule in LOADS), *BETAS):
        table.add_column(column, justify="left" if column == "damage" else "right", no_wrap=True)
    for count in COUNTS:
        for damage in damages(digits[:count]):
            overlaps = [overlap(states, digits[:count]) for _, states in recalled(digits[:count], damage)]
            cells = (f"{(m > 1 - 1 / SIDE**2).double().mean():.0%} / {m.mean():.3f}" for m in overlaps)
            table.add_row(str(count), damage.name, *cells)
        table.add_section()
    return table


def draw_digits(digits: Tensor, path: Path) -> None:
    """Ten stored digits; for two damages: what was shown, and what each network made of it."""
    chosen = [damage for damage in damages(digits) if damage.name in ("30% flipped", "half hidden, half held")]
    rows = [("true", digits)]
    for damage in chosen:
        made = [(name, states) for name, states in recalled(digits, damage) if name not in list(BETAS)[:-1]]
        rows += [(damage.name, damage.states), *made]
    figure, axes = plt.subplots(len(rows), len(digits), figsize=(9, 0.82 * len(rows)), layout="constrained")
    for (name, pictures), line in zip(rows, axes, strict=True):
        draw_row(name, pictures, line)
    figure.suptitle(f"{len(digits)} digits stored, shown damaged, recalled", x=0.01, ha="left", weight="bold")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def draw_row(name: str, pictures: Tensor, axes: list[Axes]) -> None:
    for picture, axis in zip(pictures, axes, strict=True):
        axis.imshow(picture.view(SIDE, SIDE), cmap="gray_r", vmin=-1, vmax=1)
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_color("#d1d9e0")
    label = name.replace("_", "-").replace(", ", ",\n")
    weight = "normal" if name in (*LOADS, *BETAS) else "bold"  # what was shown stands out from what was made of it
    axes[0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=9, weight=weight)


if __name__ == "__main__":
    main()

"""`elman bench`: this machine's truth."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from elman.cli.common import AsJson, dumps, errors, number, print_json, results, tell
from elman.errors import UsageError
from elman.registry import suggest

if TYPE_CHECKING:
    from rich.table import Table

    from elman.experiments.bench import Bench
    from elman.layers.timings import Point

NAME = "bench"
EXAMPLES = """[b]Examples[/b]

elman bench train --cells gru,highway --shapes 16x50x32x64

elman bench train --cells lstm --shapes 8x20x16x32,8x20x16x32x2 --out speed"""


def command(
    what: Annotated[str, typer.Argument(metavar="train", help="What is measured.")] = "train",
    cells: Annotated[str, typer.Option(help="Names, comma between; those of [b]elman list cells[/b].")] = "",
    backends: Annotated[str, typer.Option(help="loop, torch, scan, native; all that a cell has.")] = "",
    shapes: Annotated[
        str, typer.Option(help="batch x time x inputs x hidden, such as 32x100x64x128; a fifth number: layers.")
    ] = "",
    threads: Annotated[int, typer.Option(help="For all that is measured.")] = 1,
    rounds: Annotated[int | None, typer.Option(help="Runs of each, in turns.", show_default="9")] = None,
    out: Annotated[Path | None, typer.Option(help="Write bench.json and a plot into this folder.")] = None,
    tune: Annotated[
        bool, typer.Option("--tune", help="Measure and store what chooses between torch's kernel and ours instead.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Time training, forward and backward, of cells on every backend they have, beside torch.nn and JAX where installed.

    All run in turns in one process; the figures are medians. The peak is the best rate of a large matrix product in the same run.
    """
    _check(what)
    if tune:
        if any((cells, backends, shapes, rounds, out)):
            raise UsageError("`--tune` measures a table of its own: leave out cells, backends, shapes, rounds and out")
        _tune(threads, json)
        return
    bench = _measure(cells, backends, shapes, threads, rounds)
    tell(bench.notes)
    if out is not None:
        _write(bench, out)
    if json:
        print_json(bench.to_json())
    else:
        _show(bench)


def _check(what: str) -> None:
    if what == "stream":
        raise UsageError("`elman bench stream` is not there yet; `elman bench train` times training")
    if what != "train":
        raise UsageError(f"there is no benchmark {what!r}; {suggest(what, ['train'])}")


def _measure(cells: str, backends: str, shapes: str, threads: int, rounds: int | None) -> "Bench":
    from elman.experiments.bench import DEFAULT_CELLS, DEFAULT_ROUNDS, DEFAULT_SHAPES, measure
    from elman.experiments.bench_timing import Shape

    with _progress() as progress:
        return measure(
            _names(cells) or DEFAULT_CELLS,
            _names(backends),
            [Shape.parse(one) for one in _names(shapes)] or DEFAULT_SHAPES,
            threads=threads,
            rounds=DEFAULT_ROUNDS if rounds is None else rounds,
            progress=progress,
        )


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None] | None]:
    """A bar on stderr while there is work; none where nobody looks at it."""
    from rich.progress import Progress

    console = errors()
    if not console.is_terminal:
        yield None
        return
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("")

        def tell_progress(what: str, done: int, of: int) -> None:
            bar.update(task, description=what, completed=done, total=of)

        yield tell_progress


def _write(bench: "Bench", folder: Path) -> None:
    from elman.data.files import write_text
    from elman.experiments.bench_plot import draw

    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "bench.json", dumps(bench.to_json(), indent=1) + "\n")
    draw(bench, folder / "bench.png")


def _show(bench: "Bench") -> None:
    say = results()
    about, peak = bench.machine, ", ".join(f"{name} {rate:.0f}" for name, rate in bench.peak.items())
    threads = "one thread" if bench.threads == 1 else f"{bench.threads} threads"
    say.print(f"{about['cpu']}, {about['cores']} cores; torch {about['torch']}; {threads}", highlight=False)
    say.print(f"GFLOP/s of a large matrix product: {peak}; median of {bench.rounds} rounds", highlight=False)
    for shape in dict.fromkeys(row.shape for row in bench.rows):
        say.print(_table(bench, str(shape)))


def _table(bench: "Bench", shape: str) -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(title=shape, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("cell")
    table.add_column("runs on")
    for heading in ("ms", "GFLOP/s", "of peak", "times as fast"):
        table.add_column(heading, justify="right")
    table.add_column("as")
    for row in bench.rows:
        if str(row.shape) == shape:
            figures = (number(row.milliseconds), f"{row.gflops:.1f}", f"{row.share_of_peak:.0%}", f"{row.ratio:.2f}")
            table.add_row(row.cell, row.backend, *figures, row.yardstick)
    return table


def _tune(threads: int, json: bool) -> None:
    from elman.experiments.bench_timing import on_threads
    from elman.experiments.bench_tune import tune
    from elman.layers.timings import machine, store

    with on_threads(threads), _progress() as progress:
        points = tune(progress)
    path = store(points)
    if json:
        print_json({"machine": machine(), "file": str(path), "rows": [_flat(point) for point in points]})
        return
    results().print(_tuned(points))
    typer.echo(f"stored in {path}")


def _flat(point: "Point") -> dict[str, object]:
    return {**point.situation._asdict(), "speed": point.speed}


def _tuned(points: "list[Point]") -> "Table":
    from rich import box
    from rich.table import Table

    heads = ("kind", "", "batch", "time", "hidden", "native, times as fast as torch")
    table = Table(*heads, box=box.SIMPLE_HEAD, pad_edge=False)
    for (kind, training, *sizes), speed in points:
        table.add_row(kind, "training" if training else "forward", *map(str, sizes), f"{speed:.2f}")
    return table

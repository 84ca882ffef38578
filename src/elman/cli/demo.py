"""`elman demo`: the main job, on data that comes with an installed package."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from elman.cli.common import errors, results

if TYPE_CHECKING:
    import polars as pl

NAME = "demo"
EXAMPLES = """[b]Examples[/b]

elman demo

elman demo --out demo-run --budget 30s"""

HORIZON = 8


def command(
    out: Annotated[Path, typer.Option(help="Where the data, the run and the report go; made anew.")] = Path("demo-run"),
    budget: Annotated[str, typer.Option(help="Time to train.")] = "60s",
) -> None:
    """Weekly CO2 at Mauna Loa, 8 weeks ahead: fit, score against the baselines, prove and time the stream, write the report.

    The series comes with statsmodels. It is real and awkward: a trend that leaves the training range, a season, 59 missing weeks.
    """
    from elman.cli.evaluate import table
    from elman.data.source import Source
    from elman.job import fit
    from elman.streaming.prove import prove
    from elman.training.folder import check_new

    say = results()
    if (out / "run" / "config.toml").is_file():
        shutil.rmtree(out)
    check_new(out)
    out.mkdir(parents=True, exist_ok=True)
    old, new = _write_data(out)
    say.print(
        f"[b]1. Fit[/b] a GRU on {old}, the first four fifths of the series, for at most {budget}", highlight=False
    )
    run = fit(
        "forecast", old, out=out / "run", time="date", target="co2", horizon=HORIZON, budget=budget, console=errors()
    )
    say.print(f"\n[b]2. Score[/b] it on {new}, which it has never seen, beside the baselines", highlight=False)
    evaluation = run.evaluate(new)
    say.print(table(evaluation))
    say.print(f"[b]3. Stream[/b] {new} row by row, and compare with the whole series at once", highlight=False)
    proof = prove(run.stream(), run.task.replay(run.model, [Source(new)]))
    say.print(
        f"{proof.steps} rows: largest difference {proof.largest:.1e} of values up to {proof.scale:.0f} ppm "
        f"({'equal to float32 rounding' if proof.holds else '[red]NOT EQUAL[/red]'}); "
        f"{proof.p50:.0f} microseconds a step (99 % under {proof.p99:.0f})\n",
        highlight=False,
    )
    report = run.report(new, evaluation=evaluation)
    say.print(f"[b]4. Report[/b]: {report}\n\n[b]Next[/b], with a file of your own:", highlight=False)
    say.print(
        "  elman fit forecast FILE.csv --time COLUMN --target COLUMN --horizon 24 --budget 5m --out runs/mine\n"
        "  elman evaluate runs/mine NEWER.csv\n"
        f"  elman predict {run.path} {old}    elman stream {run.path}    elman describe {run.path}",
        highlight=False,
        markup=False,
    )
    if not proof.holds:
        raise typer.Exit(1)


def _write_data(out: Path) -> tuple[Path, Path]:
    """The series as two CSV files, the older four fifths and the newer fifth; missing weeks stay missing."""
    import polars as pl
    from statsmodels.datasets import co2

    weekly = co2.load_pandas().data["co2"]
    frame = pl.DataFrame({"date": weekly.index.strftime("%Y-%m-%d").tolist(), "co2": weekly.to_numpy()}).fill_nan(None)
    cut = len(frame) * 4 // 5
    return _write(out / "co2.csv", frame[:cut]), _write(out / "co2-newer.csv", frame[cut:])


def _write(path: Path, frame: "pl.DataFrame") -> Path:
    frame.write_csv(path)
    return path

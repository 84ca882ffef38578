"""`elman fit`: train."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from elman.cli.common import AsJson, DataFiles, Format, errors, number, print_json

if TYPE_CHECKING:
    from elman.run import Run

NAME = "fit"
EXAMPLES = """[b]Examples[/b]

elman fit forecast demand.csv --time date --target load --horizon 24 --out runs/load

elman fit language book.txt --level char --budget 10m --out runs/book

elman fit classify reviews.tsv --text text --label stars --out runs/reviews

elman fit regress engines.csv --id engine --time cycle --label life --out runs/engines"""


def _list(text: str | None) -> list[str] | None:
    """A comma-separated option."""
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


def command(
    task: Annotated[
        str,
        typer.Argument(
            metavar="TASK", help="Such as forecast or classify; see [b]elman list tasks[/b].", show_default=False
        ),
    ],
    data: DataFiles,
    out: Annotated[
        Path | None, typer.Option(help="The run folder; new or empty. Default: the next free one under runs/.")
    ] = None,
    encoder: Annotated[
        str | None, typer.Option(help="Any cell, or a network to compare with; see [b]elman list encoders[/b].")
    ] = None,
    hidden: Annotated[int | None, typer.Option(help="Units of each layer.")] = None,
    layers: Annotated[int | None, typer.Option(help="Layers.")] = None,
    bidirectional: Annotated[
        bool | None,
        typer.Option("--bidirectional/--no-bidirectional", help="Read both ways, or only forward, as a stream must."),
    ] = None,
    dropout: Annotated[
        float | None, typer.Option(help="Probability of zeroing a value, of inputs, between layers, of outputs.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training part at most.")] = None,
    budget: Annotated[
        str | None, typer.Option(help="Time to train, like 90s or 10m; the best weights are kept.")
    ] = None,
    valid: Annotated[str | None, typer.Option(help="Data to select on, instead of a part that is held out.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of weights, order and dropout. Default: 1.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Any setting; see --dry-run.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="A TOML file of settings, such as another run's config.toml.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint in --out; start if there is none.")
    ] = False,
    processes: Annotated[
        int | None, typer.Option(help="Processes that train together, each on some rows of every batch.")
    ] = None,
    track: Annotated[
        str | None, typer.Option(help="Follow training in tensorboard, wandb or both, comma-separated.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read the data, show the settings as TOML, train nothing.")
    ] = False,
    format: Format = None,
    no_header: Annotated[
        bool | None, typer.Option("--no-header", help="Tables have no header; columns go by number.")
    ] = None,
    json: AsJson = False,
    time: Annotated[
        str | None, typer.Option(metavar="COL[,COL]", help="Time stamp, joined from several columns.")
    ] = None,
    time_format: Annotated[str | None, typer.Option(help="Like %d/%m/%y %H, or dayfirst or monthfirst.")] = None,
    target: Annotated[str | None, typer.Option(metavar="COL[,COL]", help="forecast: what to forecast.")] = None,
    horizon: Annotated[int | None, typer.Option(help="forecast: steps ahead.")] = None,
    context: Annotated[int | None, typer.Option(help="forecast: steps that only warm up the state.")] = None,
    id: Annotated[str | None, typer.Option(metavar="COL", help="Which series or sequence a row belongs to.")] = None,
    past: Annotated[str | None, typer.Option(metavar="COLS", help="forecast: covariates known up to now.")] = None,
    future: Annotated[str | None, typer.Option(metavar="COLS", help="forecast: covariates known ahead.")] = None,
    static: Annotated[
        str | None, typer.Option(metavar="COLS", help="forecast: covariates constant in a series.")
    ] = None,
    quantiles: Annotated[str | None, typer.Option(help="forecast: comma-separated. Default: 0.1,0.5,0.9.")] = None,
    level: Annotated[str | None, typer.Option(help="language, classify, regress: char or word.")] = None,
    min_count: Annotated[int | None, typer.Option(help="Of texts: rarer symbols become <unk>.")] = None,
    text: Annotated[str | None, typer.Option(metavar="COL", help="classify, regress: the column of text.")] = None,
    label: Annotated[str | None, typer.Option(metavar="COL[,COL]", help="classify, regress: what is learned.")] = None,
    gaps: Annotated[
        bool | None,
        typer.Option(
            "--gaps", help="classify, regress: the time between rows is read too, for data at irregular times."
        ),
    ] = None,
    features: Annotated[
        str | None, typer.Option(metavar="COLS", help="classify, regress: columns to read. Default: all others.")
    ] = None,
    group: Annotated[
        str | None, typer.Option(metavar="COL", help="classify, regress: rows of a group are held out together.")
    ] = None,
    multi: Annotated[
        bool | None, typer.Option("--multi", help="classify: several labels at once, as a|b or columns of 0 and 1.")
    ] = None,
    pooling: Annotated[
        str | None, typer.Option(help="classify, regress: last, mean, max or attention, over the steps.")
    ] = None,
    score: Annotated[
        str | None, typer.Option(help="classify, regress: last or all rows, where labels vary within an --id.")
    ] = None,
    class_weights: Annotated[
        str | None,
        typer.Option(help="classify: balanced makes rare labels count as much; probabilities are then of such data."),
    ] = None,
) -> None:
    """Train a model on DATA and keep it in a run folder."""
    from elman.errors import ElmanError
    from elman.job import finished_run, gather, prepare
    from elman.training.folder import kept, new_folder
    from elman.training.settings import Sections, load_config, over, parse_set, put
    from elman.training.tracking import trackers_of

    options: dict[str, Any] = {
        "hidden": hidden, "layers": layers, "bidirectional": bidirectional, "epochs": epochs, "seed": seed,
        "processes": processes,
        "header": None if no_header is None else False,
        "time": _list(time), "time_format": time_format, "target": _list(target), "horizon": horizon, "context": context,
        "id": id, "past": _list(past), "future": _list(future), "static": _list(static), "quantiles": _list(quantiles),
        "level": level, "min_count": min_count, "text": text, "label": _list(label), "gaps": gaps,
        "features": _list(features), "group": group, "multi": multi, "pooling": pooling, "score": score,
        "class_weights": class_weights,
    }  # fmt: skip
    if (done := finished_run(out, resume=resume)) is not None:
        _show(done, json)
        return
    trackers = trackers_of(track)
    settings: Sections = {}
    for setting in set_ or []:
        put(settings, *parse_set(setting))
    said = gather(settings, encoder=encoder, dropout=dropout, budget=budget, options=options)
    if config:
        said = over(load_config(config, task), said, lambda note: typer.echo(note, err=True))
    job = prepare(task, data, valid=valid, format=format, said=said, console=errors())
    if dry_run:
        if json:
            print_json(job.settings.model_dump(mode="json"))
        else:
            typer.echo(job.settings.to_toml(), nl=False)
        return
    folder = new_folder(out, task, job.settings.encoder.name, resume=resume)
    try:
        _show(job.train(folder, resume=resume, track=trackers), json)
    except KeyboardInterrupt:
        raise ElmanError(f"interrupted; {kept(folder)}") from None


def _show(run: "Run", json: bool) -> None:
    """What `fit` says at the end."""
    if json:
        print_json(vars(run.fitted))
        return
    best = ", ".join(f"{name} {number(value)}" for name, value in run.fitted.best.items())
    typer.echo(f"{run.path}: {run.fitted.encoder}, {run.fitted.parameters:,} parameters, {run.fitted.seconds:.0f} s")
    typer.echo(f"best on the validation part: {best}")
    typer.echo(f"next: elman report {run.path} DATA   elman evaluate {run.path} DATA   elman describe {run.path}")

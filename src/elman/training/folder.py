"""The folder of a run while it trains: what in it is ours, and what may be removed or gone on with."""

import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from elman.errors import ElmanError, UsageError

FILES = {
    "config.toml", "codec.json", "tail.safetensors", "environment.json", "metrics.jsonl", "model.safetensors", "checkpoints",
    "report", "report.html", "tensorboard", "wandb",
}  # fmt: skip
"""What is in a run folder before it has finished."""
CHECKPOINTS = {"latest.safetensors", "lock"}
"""What is in its folder of checkpoints."""


def new_folder(out: str | Path | None, task: str, encoder: str, *, resume: bool = False) -> Path:
    """Where a run goes: ``out``, which `check_new` must accept, or the next free ``runs/task-encoder-N``."""
    if out is None:
        number = 1
        while Path(f"runs/{task}-{encoder}-{number}").exists():
            number += 1
        return Path(f"runs/{task}-{encoder}-{number}")
    folder = Path(out)
    check_new(folder, resume=resume)
    return folder


def check_new(folder: Path, *, resume: bool = False) -> None:
    """Raises UsageError if something is there already that is not a training to go on with, or is under way."""
    from elman.training.lock import check_free

    if not folder.is_file() and not (folder.is_dir() and any(folder.iterdir())):
        return
    check_free(folder)
    if not was_interrupted(folder):
        if (folder / "checkpoints" / "latest.safetensors").is_file() and (others := foreign(folder)):
            raise UsageError(
                f"{others[0]}: no training has written this; move it elsewhere to go on with `--resume`, "
                "or choose another `--out`"
            )
        raise UsageError(f"{folder}: exists already; choose another `--out`, or remove it")
    if not resume:
        raise UsageError(f"{folder}: its training was interrupted; go on with `--resume`, or choose another `--out`")


def was_interrupted(folder: Path) -> bool:
    """Whether this is a run that was started and has not finished, and nothing else."""
    if not folder.is_dir() or (folder / "result.json").exists():
        return False
    return (folder / "checkpoints").is_dir() and not foreign(folder)


def foreign(folder: Path) -> list[Path]:
    """What no training has written, in a run folder and its checkpoints."""
    files = (*folder.iterdir(), *(folder / "checkpoints").glob("*"))
    return [file for file in files if not is_own(file.relative_to(folder))]


def is_own(file: Path) -> bool:
    """Whether a training may have written this, by its path inside a run folder."""
    return is_part(file) or (file.name in FILES if len(file.parts) == 1 else file.name in CHECKPOINTS)


def is_part(file: Path) -> bool:
    """A file that was being written; see `elman.data.files.replacing`."""
    return re.fullmatch(r"\..+\.\d+\.part", file.name) is not None


@contextmanager
def created(folder: Path) -> Iterator[None]:
    """A run folder; it is gone afterwards if the block has left nothing in a new one. Raises ElmanError if it cannot be made."""
    try:
        is_new = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ElmanError(f"{folder}: the run folder cannot be made: {error.strerror or error}") from error
    try:
        yield
    finally:
        if is_new:
            with suppress(OSError):  # it is not empty
                folder.rmdir()


def has_results(folder: Path) -> bool:
    """Whether a training has left weights or validations: without them it is no run, only half of one."""
    log = folder / "metrics.jsonl"
    return (folder / "model.safetensors").exists() or (log.exists() and log.stat().st_size > 0)


def discard(files: Iterable[Path]) -> None:
    """Remove what a training has written, of these; its checkpoints apart."""
    for file in files:
        if file.name == "checkpoints" or not is_own(Path(file.name)):
            continue
        if file.is_dir():
            shutil.rmtree(file, ignore_errors=True)
        else:
            file.unlink(missing_ok=True)


def tidy(folder: Path) -> None:
    """Remove the checkpoints of a training that was killed when it had finished. Raises UsageError if it is still at it."""
    from elman.training.lock import check_free

    check_free(folder)
    for file in (folder / "checkpoints").iterdir():
        if is_own(file.relative_to(folder)):
            file.unlink()
    (folder / "checkpoints").rmdir()


def kept(folder: Path) -> str:
    """What there is of a training that was interrupted, and where it goes on."""
    from elman.training.checkpoint import read

    if not has_results(folder) and not (folder / "checkpoints").exists():
        return f"{folder} is not kept"
    saved = read(folder)
    if saved is None or not saved.began:
        what = "what was learned so far" if (folder / "model.safetensors").exists() else "the log of its validations"
        return f"{folder} keeps {what}; `--resume` starts anew"
    done, plan = saved.values["history"], saved.about.plan
    return (
        f"{folder} keeps what was learned so far; `--resume` goes on after update {done['updates'] + done['finished']} "
        f"of {plan.updates + plan.finish}"
    )

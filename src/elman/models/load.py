"""The trained model of a run folder: ``config.toml`` says what it is, ``model.safetensors`` holds its weights."""

import tomllib
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_model as load_weights
from safetensors.torch import save_model as save_weights

from elman.data.files import replacing
from elman.errors import ElmanError, RunError
from elman.models.build import build_model
from elman.models.model import Model

FORMAT = 1
"""Version of the run folder. A reader refuses a higher one."""


def save_model(model: Model, folder: Path) -> None:
    """Write the weights; tied ones once."""
    with replacing(folder / "model.safetensors") as beside:
        save_weights(model, str(beside))


def read_config(folder: Path) -> dict[str, Any]:
    """``config.toml`` of a run. Raises RunError if the folder is not a run, damaged, or written by a newer version."""
    path = folder / "config.toml"
    if not path.is_file():
        raise RunError(f"{folder}: expected a run folder written by `elman fit`, found no config.toml in it")
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RunError(f"{path}: damaged: {error}") from error
    format, version = values.get("format"), values.get("version", "?")
    if not isinstance(format, int):
        raise RunError(f"{path}: damaged: expected a whole number as its format, got {format!r}")
    if format > FORMAT:
        raise RunError(
            f"{folder}: the run has format {format}, written by elman {version}; this elman reads formats up to {FORMAT}: "
            f"install elman {version} or later"
        )
    return values


def load_model(folder: Path) -> Model:
    """The model in eval mode. Raises RunError if the run is unfinished or damaged."""
    settings, path = read_config(folder), folder / "model.safetensors"
    if not path.exists():
        raise RunError(
            f"{path}: not found; expected a run folder whose training has finished: go on with `elman fit ... --resume`"
        )
    try:
        model = build_model(settings["model"])
        load_weights(model, path)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError, ElmanError) as error:
        reason = str(error).splitlines()[0]
        raise RunError(f"{path}: damaged, or not of this run's config.toml: {reason}") from error
    return model.eval()

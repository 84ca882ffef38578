"""The trained model of a run folder: ``config.toml`` says what it is, ``model.safetensors`` holds its weights."""

import hashlib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from elman.data.files import replacing
from elman.errors import ElmanError, RunError
from elman.models.build import build_model
from elman.models.model import Model

FORMAT = 2
"""Version of the run folder. A reader refuses a higher one. 2: the weights carry a digest."""


def save_model(model: Model, folder: Path) -> None:
    """Write the weights, tied ones once, with a digest: a flipped bit is no error to any reader of numbers."""
    weights, _ = _untied(model)
    with replacing(folder / "model.safetensors") as beside:
        save_file(weights, beside, metadata={"sha256": _digest(weights)})


def _untied(model: Model) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The weights by name, those that share memory once; and the other names of these, each with the one that is kept."""
    kept: dict[tuple[int, int], str] = {}
    weights: dict[str, Tensor] = {}
    tied: dict[str, str] = {}
    for name, weight in model.state_dict().items():
        place = (weight.data_ptr(), weight.numel())
        if weight.numel() and place in kept:
            tied[name] = kept[place]
        else:
            kept[place] = name
            weights[name] = weight.contiguous()
    return weights, tied


def _digest(weights: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(f"{name} {tuple(weights[name].shape)} {weights[name].dtype}".encode())
        digest.update(weights[name].numpy().data)
    return digest.hexdigest()


def _load_weights(model: Model, path: Path, format: int) -> None:
    """Raises RuntimeError or ValueError if the weights are not this model's, or not as they were written."""
    with safe_open(path, framework="pt") as file:
        weights, about = {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    if format > 1 and about.get("sha256") != _digest(weights):
        raise ValueError("the weights differ from what was written; copy the file again")
    _, tied = _untied(model)
    model.load_state_dict(weights | {name: weights[kept] for name, kept in tied.items()})


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
        _load_weights(model, path, settings["format"])
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError, ElmanError) as error:
        reason = str(error).splitlines()[0]
        raise RunError(f"{path}: damaged, or not of this run's config.toml: {reason}") from error
    return model.eval()

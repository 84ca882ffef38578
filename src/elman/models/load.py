"""The trained model of a run folder: ``config.toml`` says what it is, ``model.safetensors`` holds its weights."""

import tomllib
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_model as load_weights
from safetensors.torch import save_model as save_weights

from elman.data.files import replacing
from elman.errors import ElmanError, RunError
from elman.models.build import build_model
from elman.models.model import Model


def save_model(model: Model, folder: Path) -> None:
    """Write the weights; tied ones once."""
    with replacing(folder / "model.safetensors") as beside:
        save_weights(model, str(beside))


def load_model(folder: Path) -> Model:
    """The model in eval mode. Raises RunError if the run is unfinished or damaged."""
    path = folder / "model.safetensors"
    if not path.exists():
        raise RunError(f"{path}: not found; expected a run folder whose training has finished")
    try:
        settings = tomllib.loads((folder / "config.toml").read_text(encoding="utf-8"))
        model = build_model(settings["model"])
        load_weights(model, path)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError, ElmanError) as error:
        raise RunError(f"{folder}: the run is damaged, its model cannot be read: {error}") from error
    return model.eval()

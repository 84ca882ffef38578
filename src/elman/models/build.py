"""From a configuration to layers: the only builder."""

import inspect
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from elman.cells import CELLS
from elman.errors import ConfigError
from elman.layers import Bidirectional, Recurrent, SequenceLayer, Stack
from elman.models.model import MODELS, Model
from elman.registry import suggest

Scalar = bool | int | float | str


class EncoderConfig(BaseModel):
    """The part of a model that carries the state: which cell, how wide, how deep."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = "gru"
    """Any registered cell."""
    hidden: int = Field(64, ge=1)
    """Units of each layer and direction."""
    layers: int = Field(1, ge=1)
    bidirectional: bool = False
    dropout: float = Field(0.0, ge=0, lt=1)
    """Probability of zeroing a value between layers."""
    residual: bool = False
    layer_norm: Literal["none", "before", "after"] = "none"
    cell: dict[str, Scalar] = {}
    """Options of the cell, by the names of its constructor."""


def check_cell_options(name: str, options: Mapping[str, Scalar]) -> None:
    """Raises ConfigError for an option the cell does not have, with the nearest name."""
    signature = inspect.signature(CELLS.get(name))
    valid = [key for key in signature.parameters if key not in ("input_size", "hidden_size")]
    for key in options:
        if key not in valid:
            hint = suggest(key, valid) if valid else "it has none"
            raise ConfigError(f"cell {name!r} has no option {key!r}; {hint}")


def build_encoder(config: EncoderConfig, input_size: int) -> SequenceLayer:
    """The layers of ``config`` over ``input_size`` features."""
    check_cell_options(config.name, config.cell)
    cell = CELLS.get(config.name)

    def layer(size: int) -> SequenceLayer:
        forward = Recurrent(cell(size, config.hidden, **config.cell))
        if not config.bidirectional:
            return forward
        return Bidirectional(forward, Recurrent(cell(size, config.hidden, **config.cell), direction="backward"))

    layers = [layer(input_size)]
    while len(layers) < config.layers:
        layers.append(layer(layers[-1].output_size))
    return Stack(layers, residual=config.residual, layer_norm=config.layer_norm, dropout=config.dropout)


def build_model(config: Mapping[str, Any]) -> Model:
    """A model from what `Model.config` returned, with fresh weights."""
    arguments = dict(config)
    return MODELS.get(arguments.pop("kind"))(**arguments)

"""From a configuration to layers: the only builder."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from elman.cells import CELLS, Cell
from elman.cells.wrappers import DropConnect, LearnedInitialState, RecurrentDropout, VariationalDropout, Zoneout
from elman.errors import ConfigError, UsageError
from elman.layers import Backward, Bidirectional, Completed, FeedForward, Recurrent, SequenceLayer, Stack
from elman.layers.completed import completed_width
from elman.models.encoder import ENCODERS
from elman.models.model import MODELS, Model
from elman.registry import suggest

Scalar = bool | int | float | str


class EncoderConfig(BaseModel):
    """The part of a model that carries the state: which cell or other network, how wide, how deep."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = "gru"
    """Any registered cell, or one of the networks they are compared with; `elman list encoders`."""
    hidden: int = Field(64, ge=1)
    """Units of each layer and direction."""
    layers: int | None = Field(None, ge=1)
    """One on top of the other. Default: 1 of a cell, and of another network what suits it."""
    bidirectional: bool = False
    """Each layer reads both ways; such a model answers at the end of a sequence and cannot stream."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Probability of zeroing a value between layers."""
    connections: Literal["none", "residual", "highway", "dense"] = "none"
    """What leads around a layer of cells; see `elman.layers.Stack`."""
    layer_norm: Literal["none", "before", "after"] = "none"
    """What a layer of cells reads, or what it gives, is normalized; see `elman.layers.Stack`."""
    feedforward: bool = False
    """A network without memory after each layer of cells: what recurrences that are linear in their state need between them."""
    variational_dropout: float = Field(0.0, ge=0, lt=1)
    """Probability of zeroing a unit of the recurrent state, the same ones all along a sequence."""
    recurrent_dropout: float = Field(0.0, ge=0, lt=1)
    """Probability that a unit of the recurrent state drops a step's news."""
    zoneout: float = Field(0.0, ge=0, lt=1)
    """Probability that a unit of the hidden state keeps its old value for a step."""
    zoneout_cell: float = Field(0.0, ge=0, lt=1)
    """The same for a unit of the memory, of a cell that has one beside its hidden state."""
    weight_drop: float = Field(0.0, ge=0, lt=1)
    """Probability of zeroing a recurrent weight, for a window."""
    learned_state: bool = False
    """The state before the first step is learned."""
    checkpoint: bool = False
    """Compute steps again in the backward pass instead of keeping them: memory of the order of the square root of a window."""
    cell: dict[str, Scalar] = {}
    """Options of the cell, or of the network, by the names of its constructor."""

    @model_validator(mode="before")
    @classmethod
    def _older(cls, values: Any) -> Any:
        """Runs of format 2 say ``residual = true``."""
        if not isinstance(values, dict) or "residual" not in values:
            return values
        others = {name: value for name, value in values.items() if name != "residual"}
        return {"connections": "residual" if values["residual"] else "none", **others}


OF_CELLS = (
    "connections", "layer_norm", "feedforward", "variational_dropout", "recurrent_dropout", "zoneout", "zoneout_cell",
    "weight_drop", "learned_state", "checkpoint",
)  # fmt: skip
"""Settings that mean something for layers of cells only: the other networks have their own depth and norms."""


def encoder_names() -> list[str]:
    """Everything `EncoderConfig.name` may be."""
    return sorted([*CELLS.names(), *ENCODERS.names()])


def encoder_class(name: str) -> type[SequenceLayer] | type[Cell]:
    """Raises UsageError if there is none, with the nearest name or all of them."""
    if name in ENCODERS:
        return ENCODERS.get(name)
    if name in CELLS:
        return CELLS.get(name)
    raise UsageError(f"there is no encoder {name!r}; {suggest(name, encoder_names())}")


def check_config(config: EncoderConfig) -> None:
    """Tells what is wrong whatever the input will be, a wrapper that does not fit its cell included.

    Raises: ConfigError for what this encoder has no use for, with the nearest name; UsageError if there is no such encoder.
    """
    _check_settings(config)
    if config.name in CELLS and _wrappers(config):
        _try_wrappers(config)


def _check_settings(config: EncoderConfig) -> None:
    kind = "cell" if config.name in CELLS else "encoder"
    options = inspect.signature(encoder_class(config.name)).parameters
    valid = [key for key in options if key not in ("input_size", "hidden_size", "layers", "dropout")]
    for key, value in config.cell.items():
        if key not in valid:
            hint = suggest(key, valid) if valid else "it has none"
            raise ConfigError(f"{kind} {config.name!r} has no option {key!r}; {hint}")
        _check_type(key, value, options[key].annotation)
    if kind == "encoder":
        said = [name for name in OF_CELLS if getattr(config, name) != EncoderConfig.model_fields[name].default]
        if said:
            raise ConfigError(
                f"encoder, {said[0]!r}: it is for layers of cells, and {config.name!r} is no cell; leave it out"
            )
    elif config.feedforward and config.connections == "dense":
        raise ConfigError("encoder, 'feedforward': expected connections none, residual or highway with it, got dense")


def _check_type(key: str, value: Scalar, annotation: Any) -> None:
    """By the annotation in the constructor; one that is missing, or only a name, tells nothing."""
    if annotation is inspect.Parameter.empty or isinstance(annotation, str):
        return
    try:
        TypeAdapter(annotation, config=ConfigDict(strict=True, allow_inf_nan=False)).validate_python(value)
    except ValidationError as error:
        expected = error.errors()[0]["msg"].replace("Input should be", "expected")
        raise ConfigError(f"encoder, 'cell.{key}': {expected}, got {value!r}") from None


def _try_wrappers(config: EncoderConfig) -> None:
    """On a cell that reads as many features as it has units."""
    width = completed_width(config.hidden, ("x",), CELLS.get(config.name).inputs)
    with torch.random.fork_rng(devices=[]):
        try:
            cell = _bare_cell(config, width)
        except ConfigError:  # it may fit the true sizes, which come with the data
            return
        _wrapped(config, cell)


def wanted(config: EncoderConfig) -> tuple[str, ...]:
    """What the encoder can make something of: "x", and "mask" or "gap" if it is a cell for missing values or irregular time."""
    return CELLS.get(config.name).inputs if config.name in CELLS else ("x",)


def build_encoder(config: EncoderConfig, input_size: int, *, reads: Sequence[str] = ("x",)) -> SequenceLayer:
    """The layers of ``config``.

    Args:
        input_size: the width of what comes in.
        reads: what that holds, joined in this order: "x", or with "mask" or "gap"; see `elman.cells.Cell.inputs`. A cell that wants
            a mask or a gap which is not there reads ones; to a cell that does not want them they are features.
    """
    _check_settings(config)
    return _rival(config, input_size) if config.name in ENCODERS else _stack(config, input_size, reads)


def _rival(config: EncoderConfig, input_size: int) -> SequenceLayer:
    kind = ENCODERS.get(config.name)
    options: dict[str, Any] = {"dropout": config.dropout, **config.cell}
    if config.layers is not None:
        options["layers"] = config.layers

    def one() -> SequenceLayer:
        return kind(input_size, config.hidden, **options)

    return Bidirectional(one(), Backward(one())) if config.bidirectional else one()


def _stack(config: EncoderConfig, input_size: int, reads: Sequence[str]) -> SequenceLayer:
    layers: list[SequenceLayer] = []
    width = input_size
    for level in range(config.layers or 1):
        layers.append(_layer(config, width, reads if level == 0 else ("x",)))
        width = layers[-1].output_size + (width if config.connections == "dense" else 0)
        if config.feedforward:
            layers.append(FeedForward(width, dropout=config.dropout))
    return Stack(layers, connections=config.connections, layer_norm=config.layer_norm, dropout=config.dropout)


def _layer(config: EncoderConfig, width: int, reads: Sequence[str]) -> SequenceLayer:
    wants = CELLS.get(config.name).inputs
    size = completed_width(width, reads, wants)

    def recurrent(direction: Literal["forward", "backward"]) -> Recurrent:
        return Recurrent(_cell(config, size), direction=direction, checkpoint=config.checkpoint)

    both = config.bidirectional
    layer = Bidirectional(recurrent("forward"), recurrent("backward")) if both else recurrent("forward")
    return layer if wants == ("x",) else Completed(layer, width, reads=reads, wants=wants)


def _cell(config: EncoderConfig, input_size: int) -> Cell:
    return _wrapped(config, _bare_cell(config, input_size))


def _bare_cell(config: EncoderConfig, input_size: int) -> Cell:
    return CELLS.get(config.name)(input_size, config.hidden, **config.cell)


def _wrapped(config: EncoderConfig, cell: Cell) -> Cell:
    for setting, wrapper in _wrappers(config).items():
        try:
            cell = wrapper(cell)
        except ConfigError as error:
            raise ConfigError(f"encoder, {setting!r}: {error}") from None
    return cell


def _wrappers(config: EncoderConfig) -> dict[str, Callable[[Cell], Cell]]:
    """What ``config`` asks for, by setting: what changes the old state is inside, what mixes old and new is outside."""
    wrappers: dict[str, Callable[[Cell], Cell]] = {
        "learned_state": LearnedInitialState,
        "variational_dropout": partial(VariationalDropout, p=config.variational_dropout),
        "recurrent_dropout": partial(RecurrentDropout, p=config.recurrent_dropout),
        "weight_drop": partial(DropConnect, p=config.weight_drop),
        "zoneout" if config.zoneout else "zoneout_cell": partial(Zoneout, p=config.zoneout, p_cell=config.zoneout_cell),
    }
    return {setting: wrapper for setting, wrapper in wrappers.items() if getattr(config, setting)}


def build_model(config: Mapping[str, Any]) -> Model:
    """A model from what `Model.config` returned, with fresh weights."""
    arguments = dict(config)
    return MODELS.get(arguments.pop("kind"))(**arguments)

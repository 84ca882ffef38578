"""Weights from a safetensors file of a torch module."""

import os
import re
from typing import Literal

from safetensors import SafetensorError, safe_open

from elman.errors import DataError, UsageError
from elman.layers.convert.torch import from_torch, module_of
from elman.layers.stack import Stack

NAME = re.compile(r"(?P<prefix>.*?)(?P<weight>(?:weight_(?:ih|hh|hr)|bias_(?:ih|hh))_l\d+(?:_reverse)?)", re.DOTALL)


def from_safetensors(
    path: str | os.PathLike[str], *, prefix: str | None = None, nonlinearity: Literal["tanh", "relu"] = "tanh"
) -> Stack:
    """The recurrent network of a file that holds the `state_dict` of a torch module, whole or as part of a larger model.

    Whether it is an nn.RNN, nn.LSTM or nn.GRU, its sizes, layers, directions, projection and biases are read off the
    names and shapes. The weights keep their dtype and come on the CPU.

    Args:
        path: the file, as written by `safetensors.torch.save_file`.
        prefix: what comes before ``weight_ih_l0`` in its name, such as "encoder.rnn."; the dot at the end may be left
            out. None: the file has one recurrent network only.
        nonlinearity: of an nn.RNN, "tanh" or "relu": the file does not say.
    Raises: DataError if there is no such file, it is damaged, or its weights do not fit together; UsageError if it has no
        recurrent network at that prefix, or several and none was chosen.
    """
    if nonlinearity not in ("tanh", "relu"):
        raise UsageError(f"expected `nonlinearity` 'tanh' or 'relu', got {nonlinearity!r}")
    try:
        with safe_open(path, framework="pt") as file:
            names = _names(list(file.keys()), prefix, path)
            weights = {weight: file.get_tensor(name) for weight, name in names.items()}
    except (OSError, SafetensorError) as error:
        raise DataError(f"{path}: expected a whole safetensors file: {str(error).splitlines()[0]}") from error
    try:
        module = module_of(weights, nonlinearity=nonlinearity)
    except ValueError as error:
        raise DataError(
            f"{path}: the weights are not those of an nn.RNN, nn.LSTM or nn.GRU: {error}; is the file whole?"
        ) from error
    return from_torch(module)


def _names(names: list[str], prefix: str | None, path: object) -> dict[str, str]:
    """The names in the file of one network's weights, by their names in the module."""
    found: dict[str, dict[str, str]] = {}
    for name in names:
        if match := NAME.fullmatch(name):
            found.setdefault(match["prefix"], {})[match["weight"]] = name
    listed = ", ".join(map(repr, sorted(found)))
    if not found:
        raise UsageError(
            f"{path}: expected weights of an nn.RNN, nn.LSTM or nn.GRU, named like weight_ih_l0, found none among "
            f"{len(names)}: {', '.join(names[:5])}{' ...' if len(names) > 5 else ''}"
        )
    if prefix is None:
        if len(found) > 1:
            raise UsageError(f"{path}: {len(found)} recurrent networks; choose one by its `prefix`: {listed}")
        (prefix,) = found
    for spelled in (prefix, f"{prefix}."):
        if spelled in found:
            return found[spelled]
    raise UsageError(f"{path}: no recurrent network at the `prefix` {prefix!r}; there is {listed}")

"""What a model is, in words: its layers, which backend runs each and why, whether it streams."""

from typing import Any

import torch

from elman.cells.wrappers import CellWrapper
from elman.layers import Recurrent
from elman.layers.backends import choose
from elman.models.encoder import Encoder
from elman.models.encoder_decoder import EncoderDecoder
from elman.models.model import Model, count_parameters
from elman.state import leaves


def describe_model(model: Model) -> dict[str, Any]:
    """Parameters, state, backends of the recurrent layers, and whether the model can stream."""
    layers: list[dict[str, Any]] = []
    for name, layer in model.named_modules():
        if isinstance(layer, Encoder):
            layers.append({"layer": name, **_encoder(layer)})
        elif isinstance(layer, Recurrent):
            layers.append({"layer": name, **_recurrent(layer)})
    return {
        "model": model.kind,
        "parameters": count_parameters(model),
        **_state_numbers(model),
        "streams": "yes" if model.causal else "no: it reads each sequence to its end before it answers",
        "layers": layers,
    }


def _encoder(layer: Encoder) -> dict[str, Any]:
    return {
        "encoder": type(layer).__name__,
        "input_size": layer.input_size,
        "output_size": layer.output_size,
        "reach": f"{layer.reach} steps" if layer.reach else "all steps before",
    }


def _recurrent(layer: Recurrent) -> dict[str, Any]:
    example = torch.zeros(()).expand(32, 100, layer.input_size)
    sequence, step = choose(layer.cell, example), choose(layer.cell, example[:, :1])
    wrappers, cell = [], layer.cell
    while isinstance(cell, CellWrapper):
        wrappers.append(type(cell).__name__)
        cell = cell.cell
    return {
        "cell": type(cell).__name__,
        **({"wrappers": ", ".join(wrappers)} if wrappers else {}),
        "input_size": layer.input_size,
        "output_size": layer.output_size,
        "sequence": f"{sequence.name}: {sequence.reason}",
        "step": f"{step.name}: {step.reason}",
    }


@torch.no_grad()
def _state_numbers(model: Model) -> dict[str, int]:
    """What the state of one row holds; of an encoder-decoder without its source, and what each step of that adds when encoded."""
    if not isinstance(model, EncoderDecoder):
        return {"state_numbers": sum(leaf.numel() for leaf in leaves(model.begin({}, 1)))}
    nothing = torch.zeros(1, 0, dtype=torch.int64, device=model.embedding.weight.device)
    state = model.begin({"source": nothing}, 1)
    of_a_step = state.memory.values.shape[-1] + state.memory.keys.shape[-1]
    return {"state_numbers": sum(leaf.numel() for leaf in leaves(state)), "memory_numbers_per_step": of_a_step}

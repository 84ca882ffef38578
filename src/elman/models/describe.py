"""What a model is, in words: its layers, which backend runs each and why, whether it streams."""

from typing import Any

from elman.layers import Recurrent
from elman.layers.backends import choose
from elman.models.model import Model, count_parameters
from elman.state import leaves


def describe_model(model: Model) -> dict[str, Any]:
    """Parameters, state, backends of the recurrent layers, and whether the model can stream."""
    layers = []
    for name, layer in model.named_modules():
        if isinstance(layer, Recurrent):
            sequence, step = choose(layer.cell, 100), choose(layer.cell, 1)
            layers.append(
                {
                    "layer": name,
                    "cell": type(layer.cell).__name__,
                    "input_size": layer.input_size,
                    "output_size": layer.output_size,
                    "sequence": f"{sequence.name}: {sequence.reason}",
                    "step": f"{step.name}: {step.reason}",
                }
            )
    numbers = sum(leaf.numel() for leaf in leaves(model.begin({}, 1)))
    return {
        "model": model.kind,
        "parameters": count_parameters(model),
        "state_numbers": numbers,
        "streams": "yes" if model.causal else "no: it reads each sequence to its end before it answers",
        "layers": layers,
    }

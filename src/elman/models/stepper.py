"""A model as a `Stepper`: one step at a time in NumPy terms, computed by PyTorch."""

from typing import Any

import numpy as np
import torch

from elman.data.batch import tensors
from elman.models.model import Model
from elman.state import NumpyState, map_leaves
from elman.stepper import Arrays


class TorchStepper:
    """Steps a model in eval mode. Its weights must not change while a stream runs."""

    def __init__(self, model: Model) -> None:
        self.model = model.eval()

    def begin(self, context: Arrays, batch_size: int) -> NumpyState:
        with torch.inference_mode():
            state = self.model.begin(tensors(context), batch_size)
        return _to_numpy(state)

    def step(self, inputs: Arrays, state: NumpyState) -> tuple["np.ndarray[Any, Any]", NumpyState]:
        with torch.inference_mode():
            one = {name: tensor.unsqueeze(1) for name, tensor in tensors(inputs).items()}
            features, after = self.model(one, map_leaves(torch.from_numpy, state))
            outputs = self.model.head(features).squeeze(1)
        return outputs.numpy(), _to_numpy(after)


def _to_numpy(state: Any) -> NumpyState:
    converted: NumpyState = map_leaves(lambda leaf: leaf.numpy(), state)
    return converted

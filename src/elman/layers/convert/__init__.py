"""Weights from and to other libraries: torch's recurrent modules, Keras layers, a safetensors file of a torch module."""

from elman.layers.convert.keras import from_keras
from elman.layers.convert.safetensors import from_safetensors
from elman.layers.convert.torch import from_torch, to_torch

__all__ = ["from_keras", "from_safetensors", "from_torch", "to_torch"]

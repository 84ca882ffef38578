"""From scores to symbols: NumPy host code over a `Stepper`."""

from elman.decoding.generate import generate
from elman.decoding.sample import Sampler

__all__ = ["Sampler", "generate"]

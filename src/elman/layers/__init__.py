"""Layers: sequences in, sequences out, state carried. ``layer(x, state=None, lengths=None) -> (y, state)``."""

from elman.layers.backends import Choice, backend
from elman.layers.bidirectional import Bidirectional
from elman.layers.convert import from_torch, to_torch
from elman.layers.layer import SequenceLayer
from elman.layers.per_step import PerStep
from elman.layers.pooling import Pooling, at_end
from elman.layers.recurrent import Recurrent
from elman.layers.stack import Stack

__all__ = [
    "Bidirectional",
    "Choice",
    "PerStep",
    "Pooling",
    "Recurrent",
    "SequenceLayer",
    "Stack",
    "at_end",
    "backend",
    "from_torch",
    "to_torch",
]

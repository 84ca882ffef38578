"""Layers: sequences in, sequences out, state carried. ``layer(x, state=None, lengths=None) -> (y, state)``."""

from elman.layers.attention import Attention, Memory
from elman.layers.backends import Choice, backend
from elman.layers.backward import Backward
from elman.layers.bidirectional import Bidirectional
from elman.layers.causal_convolution import CausalConvolution
from elman.layers.completed import Completed
from elman.layers.convert import from_keras, from_safetensors, from_torch, to_torch
from elman.layers.feed_forward import FeedForward
from elman.layers.hopfield import HopfieldAssociation, HopfieldLookup, retrieval_energy, retrieve
from elman.layers.layer import SequenceLayer
from elman.layers.per_step import PerStep
from elman.layers.pooling import Pooling, at_end
from elman.layers.pyramid import Pyramid
from elman.layers.recurrent import Recurrent
from elman.layers.stack import Stack

__all__ = [
    "Attention",
    "Backward",
    "Bidirectional",
    "CausalConvolution",
    "Choice",
    "Completed",
    "FeedForward",
    "HopfieldAssociation",
    "HopfieldLookup",
    "Memory",
    "PerStep",
    "Pooling",
    "Pyramid",
    "Recurrent",
    "SequenceLayer",
    "Stack",
    "at_end",
    "backend",
    "from_keras",
    "from_safetensors",
    "from_torch",
    "retrieval_energy",
    "retrieve",
    "to_torch",
]
